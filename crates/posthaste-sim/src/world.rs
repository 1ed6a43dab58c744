//! One run: what happens, one event after the other.

use posthaste_core::Result;
use posthaste_core::policy::Criticality;
use posthaste_core::policy::verdict::Verdict;
use posthaste_core::time::MonoNs;

use crate::agenda::Agenda;
use crate::chance::Chance;
use crate::client::{Clients, Message};
use crate::outcome::Outcome;
use crate::rig::{Scenario, TriggerKind};
use crate::server::Server;
use crate::slots::{Key, Slots};
use crate::tally::Tally;

/// What can happen.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Event {
    /// The next call arrives.
    Arrival,
    /// A trigger begins or ends.
    Change,
    /// An attempt reaches the server.
    Reaches(Key),
    /// A worker is done with it.
    Worked(Key),
    /// A worker is done with refusing it.
    Refused(Key),
    /// Somebody may have waited long enough at the server.
    ServerDue,
    /// The answer reaches the client.
    Answer(Key, Verdict),
    /// The client gives the attempt up.
    TimedOut(Key),
    /// The pause before the call's next attempt is over.
    Again(Key),
    /// The call has taken so long that another attempt is worth a thought.
    Hedge(Key),
    /// Somebody may have waited long enough at this client.
    ClientDue(u32),
}

/// What is wrong at this moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weather {
    pub(crate) capacity: f64,
    pub(crate) latency: f64,
    pub(crate) errors: f64,
    pub(crate) load: f64,
    pub(crate) storm: f64,
}

/// What both sides need at hand.
#[derive(Debug)]
pub(crate) struct Stage<'a> {
    pub(crate) scenario: &'a Scenario,
    pub(crate) now: MonoNs,
    pub(crate) weather: Weather,
    pub(crate) agenda: Agenda<Event>,
    /// Messages that a client or the server still has something to do with.
    pub(crate) messages: Slots<Message>,
    pub(crate) tally: Tally,
}

struct World<'a> {
    stage: Stage<'a>,
    clients: Clients,
    server: Server,
    arrivals: Chance,
    /// Nanoseconds between two arrivals, on average.
    gap_ns: f64,
    /// The parts of the tiers, added up.
    tiers: [f64; 4],
}

/// Plays a scenario at an offered load (1 is what the workers can do) with the chance of `seed`.
///
/// # Errors
/// [`Invalid`](posthaste_core::ErrorKind::Invalid) for what cannot be simulated, or a policy that is
/// nonsense.
pub fn run(scenario: &Scenario, load: f64, seed: u64) -> Result<Outcome> {
    scenario.check(load)?;
    let mut world = World::new(scenario, load, seed)?;
    let last = scenario.ends().after(scenario.rig.deadline);
    world.stage.agenda.enter(MonoNs(0), Event::Change);
    world.stage.agenda.enter(MonoNs(0), Event::Arrival);
    while let Some((at, event)) = world.stage.agenda.next() {
        if at > last {
            break;
        }
        world.stage.now = at;
        world.happen(event);
    }
    Ok(Outcome::of(&world.stage.tally, scenario, load))
}

impl<'a> World<'a> {
    fn new(scenario: &'a Scenario, load: f64, seed: u64) -> Result<Self> {
        let mut agenda = Agenda::new();
        let from = scenario.measured_from();
        for trigger in &scenario.triggers {
            let begins = from.after(trigger.at);
            agenda.enter(begins, Event::Change);
            agenda.enter(begins.after(trigger.lasts), Event::Change);
        }
        let whole: f64 = scenario.rig.mix.iter().sum();
        let mut sum = 0.0;
        let tiers = scenario.rig.mix.map(|part| {
            sum += part / whole;
            sum
        });
        Ok(Self {
            stage: Stage {
                scenario,
                now: MonoNs(0),
                weather: Weather::fair(),
                agenda,
                messages: Slots::new(),
                tally: Tally::new(scenario),
            },
            clients: Clients::new(scenario, Chance::new(seed, 1))?,
            server: Server::new(scenario, Chance::new(seed, 2))?,
            arrivals: Chance::new(seed, 3),
            gap_ns: 1e9 / (scenario.capacity() * load),
            tiers,
        })
    }

    fn happen(&mut self, event: Event) {
        let stage = &mut self.stage;
        match event {
            Event::Arrival => self.arrival(),
            Event::Change => {
                stage.weather = Weather::at(stage.scenario, stage.now);
                self.server.dispatch(stage);
            }
            Event::Reaches(message) => self.server.reached(stage, message),
            Event::Worked(message) => self.server.worked(stage, message),
            Event::Refused(message) => self.server.has_refused(stage, message),
            Event::ServerDue => self.server.due(stage),
            Event::Answer(message, verdict) => self.clients.answered(stage, message, verdict),
            Event::TimedOut(message) => self.clients.timed_out(stage, message),
            Event::Again(call) => self.clients.attempt(stage, call),
            Event::Hedge(call) => self.clients.hedge(stage, call),
            Event::ClientDue(client) => self.clients.due(stage, client),
        }
    }

    fn arrival(&mut self) {
        let stage = &mut self.stage;
        if stage.now >= stage.scenario.ends() {
            return;
        }
        let client = self.arrivals.below(stage.scenario.rig.clients);
        let draw = self.arrivals.unit();
        let place = self.tiers.iter().position(|sum| draw < *sum).unwrap_or(3);
        let tier = Criticality::ALL[place];
        self.clients.call(stage, client, tier);
        let storm = stage.weather.storm;
        let mut copies = whole(storm);
        copies += u32::from(self.arrivals.unit() < storm.fract());
        for _ in 0..copies {
            let copy = Message::unwanted(client, tier, stage.now);
            send(stage, copy);
        }
        let gap = self.arrivals.exponential() * self.gap_ns / stage.weather.load.max(1e-6);
        let next = stage.now.plus(nanoseconds(gap));
        stage.agenda.enter(next, Event::Arrival);
    }
}

/// Sends a message to the server.
pub(crate) fn send(stage: &mut Stage<'_>, message: Message) -> Key {
    let arrives = message.sent.after(stage.scenario.rig.network);
    let key = stage.messages.put(message);
    stage.agenda.enter(arrives, Event::Reaches(key));
    key
}

/// A time as the clock counts it.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a cast of a float stays at the ends of the range"
)]
pub(crate) const fn nanoseconds(ns: f64) -> u64 {
    ns as u64
}

/// The whole part.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a cast of a float stays at the ends of the range"
)]
pub(crate) const fn whole(value: f64) -> u32 {
    value as u32
}

impl Weather {
    const fn fair() -> Self {
        Self {
            capacity: 1.0,
            latency: 1.0,
            errors: 0.0,
            load: 1.0,
            storm: 0.0,
        }
    }

    /// What is wrong at a moment. Where two triggers of a kind meet, the later of the list holds.
    fn at(scenario: &Scenario, now: MonoNs) -> Self {
        let mut weather = Self::fair();
        for trigger in &scenario.triggers {
            let begins = scenario.measured_from().after(trigger.at);
            if now < begins || now >= begins.after(trigger.lasts) {
                continue;
            }
            match trigger.kind {
                TriggerKind::Capacity => weather.capacity = trigger.factor,
                TriggerKind::Latency => weather.latency = trigger.factor,
                TriggerKind::Errors => weather.errors = trigger.factor,
                TriggerKind::Load => weather.load = trigger.factor,
                TriggerKind::Storm => weather.storm = trigger.factor,
            }
        }
        weather
    }
}
