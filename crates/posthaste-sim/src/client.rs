//! Those who call: a few processes, each with the calls that run under its policy.

use posthaste_core::Result;
use posthaste_core::policy::Criticality;
use posthaste_core::policy::engine::{Admit, Ask, Call, Engine, Next, Permit};
use posthaste_core::policy::gate::Ticket;
use posthaste_core::policy::settings::Fault;
use posthaste_core::policy::verdict::{Ended, Verdict};
use posthaste_core::time::MonoNs;

use crate::chance::Chance;
use crate::rig::Scenario;
use crate::slots::{Key, Slots};
use crate::tally::End;
use crate::world::{Event, Stage, send};

/// An attempt on its way, at the server, or on its way back.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) client: u32,
    pub(crate) tier: Criticality,
    pub(crate) sent: MonoNs,
    /// When nobody waits for the answer any more, as the server is told.
    pub(crate) deadline: Option<MonoNs>,
    /// Whose attempt it is, and the client's leave for it, while the client waits.
    waits: Option<(Key, Permit)>,
    /// The answer gets lost.
    lost: bool,
    /// The server's leave for it.
    pub(crate) place: Option<Permit>,
    /// Whether the server still has something to do with it.
    pub(crate) at_server: bool,
}

impl Message {
    /// One whose answer nobody waits for.
    pub(crate) const fn unwanted(client: u32, tier: Criticality, now: MonoNs) -> Self {
        Self {
            client,
            tier,
            sent: now,
            deadline: None,
            waits: None,
            lost: false,
            place: None,
            at_server: true,
        }
    }
}

/// Forgets a message that nobody has anything to do with any more.
pub(crate) fn forget(stage: &mut Stage<'_>, key: Key) {
    let over = |message: &mut Message| message.waits.is_none() && !message.at_server;
    if stage.messages.get(key).is_some_and(over) {
        stage.messages.take(key);
    }
}

/// A call under way.
#[derive(Debug)]
struct UnderWay {
    client: u32,
    tier: Criticality,
    began: MonoNs,
    call: Call,
    /// Attempts that were sent and not answered.
    sent: [Option<Key>; 2],
    /// Attempts that wait for a place.
    waiting: u32,
    hedged: bool,
}

impl UnderWay {
    fn is_idle(&self) -> bool {
        self.waiting == 0 && self.sent == [None; 2]
    }
}

/// One process.
#[derive(Debug)]
struct Client {
    engine: Engine,
    /// Whose attempts wait for a place here.
    waiting: Vec<(Ticket, Key)>,
    /// When it is looked at, though nothing happened.
    due: Option<MonoNs>,
}

/// All who call.
#[derive(Debug)]
pub(crate) struct Clients {
    clients: Vec<Client>,
    calls: Slots<UnderWay>,
    chance: Chance,
}

impl Clients {
    pub(crate) fn new(scenario: &Scenario, chance: Chance) -> Result<Self> {
        let client = |_| {
            Ok(Client {
                engine: Engine::new(scenario.client.clone(), MonoNs(0))?,
                waiting: Vec::new(),
                due: None,
            })
        };
        Ok(Self {
            clients: (0..scenario.rig.clients)
                .map(client)
                .collect::<Result<_>>()?,
            calls: Slots::new(),
            chance,
        })
    }

    /// A call begins.
    pub(crate) fn call(&mut self, stage: &mut Stage<'_>, client: u32, tier: Criticality) {
        let now = stage.now;
        stage.tally.call(now, tier);
        let ask = Ask {
            tier,
            caller: u64::from(client),
            deadline: Some(now.after(stage.scenario.rig.deadline)),
            idempotent: true,
            tag: None,
        };
        match self.clients[client as usize].engine.begin(now, ask) {
            Err(_) => stage.tally.end(now, now, tier, End::RefusedHere),
            Ok(call) => {
                let key = self.calls.put(UnderWay {
                    client,
                    tier,
                    began: now,
                    call,
                    sent: [None; 2],
                    waiting: 0,
                    hedged: false,
                });
                self.attempt(stage, key);
            }
        }
    }

    /// An attempt asks to be let out.
    pub(crate) fn attempt(&mut self, stage: &mut Stage<'_>, key: Key) {
        let Some(call) = self.calls.get(key) else {
            return;
        };
        let number = call.client;
        let client = &mut self.clients[number as usize];
        match client
            .engine
            .admit(stage.now, &call.call, self.chance.draw())
        {
            Admit::Run(permit) => self.send(stage, key, permit),
            Admit::Wait(ticket) => {
                call.waiting += 1;
                client.waiting.push((ticket, key));
            }
            Admit::Refused(_) => self.refused(stage, key),
        }
        self.go_on(stage, number);
    }

    /// A call has taken so long that a second attempt beside the first may be worth it.
    pub(crate) fn hedge(&mut self, stage: &mut Stage<'_>, key: Key) {
        let Some(call) = self.calls.get(key) else {
            return;
        };
        let one_is_out = call.waiting == 0 && call.sent.iter().flatten().count() == 1;
        let engine = &mut self.clients[call.client as usize].engine;
        if one_is_out && engine.hedge(stage.now, &mut call.call) {
            self.attempt(stage, key);
        }
    }

    fn send(&mut self, stage: &mut Stage<'_>, key: Key, permit: Permit) {
        let Some(call) = self.calls.get(key) else {
            return;
        };
        let client = call.client;
        let fault = permit.fault().map(|(_, fault)| fault);
        if fault == Some(Fault::Error) {
            let ended = Ended::With(Verdict::Retry);
            let engine = &mut self.clients[client as usize].engine;
            engine.ended(stage.now, permit, ended);
            return self.over(stage, key, ended);
        }
        let mut message = Message::unwanted(client, call.tier, stage.now);
        message.deadline = permit.must_end().or(call.call.deadline());
        message.waits = Some((key, permit));
        message.lost = fault == Some(Fault::Abort);
        if let Some(Fault::Delay(delay)) = fault {
            message.sent = message.sent.after(delay);
        }
        let sent = send(stage, message);
        if let Some(place) = call.sent.iter_mut().find(|place| place.is_none()) {
            *place = Some(sent);
        }
        if let Some(at) = permit.must_end().or(call.call.deadline()) {
            stage.agenda.enter(at, Event::TimedOut(sent));
        }
        let engine = &self.clients[client as usize].engine;
        if let (false, Some(after)) = (call.hedged, engine.hedge_after()) {
            call.hedged = true;
            stage.agenda.enter(stage.now.plus(after), Event::Hedge(key));
        }
    }

    /// An answer comes.
    pub(crate) fn answered(&mut self, stage: &mut Stage<'_>, message: Key, verdict: Verdict) {
        let lost = stage.messages.get(message).is_some_and(|it| it.lost);
        let verdict = if lost { Verdict::Unknown } else { verdict };
        self.ended(stage, message, Ended::With(verdict));
    }

    /// An attempt has taken as long as it may.
    pub(crate) fn timed_out(&mut self, stage: &mut Stage<'_>, message: Key) {
        self.ended(stage, message, Ended::TimedOut);
    }

    fn ended(&mut self, stage: &mut Stage<'_>, message: Key, ended: Ended) {
        let Some(it) = stage.messages.get(message) else {
            return;
        };
        let Some((key, permit)) = it.waits.take() else {
            return;
        };
        let (client, sent) = (it.client, it.sent);
        forget(stage, message);
        let engine = &mut self.clients[client as usize].engine;
        engine.ended(stage.now, permit, ended);
        if ended == Ended::With(Verdict::Ok) {
            stage.tally.answered(stage.now, sent);
        }
        if let Some(call) = self.calls.get(key) {
            for place in &mut call.sent {
                if *place == Some(message) {
                    *place = None;
                }
            }
            self.over(stage, key, ended);
        }
        self.go_on(stage, client);
    }

    /// An attempt of a call is over.
    fn over(&mut self, stage: &mut Stage<'_>, key: Key, ended: Ended) {
        let Some(call) = self.calls.get(key) else {
            return;
        };
        if ended == Ended::With(Verdict::Ok) {
            return self.finish(stage, key, End::Ok);
        }
        if !call.is_idle() {
            return; // the other attempt may still succeed
        }
        let engine = &mut self.clients[call.client as usize].engine;
        let chance = self.chance.draw();
        match engine.again(stage.now, &mut call.call, ended, chance) {
            Next::Retry { at } => stage.agenda.enter(at, Event::Again(key)),
            Next::Done | Next::Stop(_) => {
                let end = match ended.verdict() {
                    Some(Verdict::Throttled(_)) => End::RefusedThere,
                    Some(Verdict::Unknown) | None => End::TimedOut,
                    Some(_) => End::Failed,
                };
                self.finish(stage, key, end);
            }
        }
    }

    fn refused(&mut self, stage: &mut Stage<'_>, key: Key) {
        stage.tally.refused_here(stage.now);
        if self.calls.get(key).is_some_and(|call| call.is_idle()) {
            self.finish(stage, key, End::RefusedHere);
        }
    }

    /// The call has its result. What else it has under way is dropped.
    fn finish(&mut self, stage: &mut Stage<'_>, key: Key, end: End) {
        let Some(call) = self.calls.take(key) else {
            return;
        };
        stage.tally.end(stage.now, call.began, call.tier, end);
        let client = &mut self.clients[call.client as usize];
        for message in call.sent.into_iter().flatten() {
            let waits = stage.messages.get(message).and_then(|it| it.waits.take());
            if let Some((_, permit)) = waits {
                client.engine.ended(stage.now, permit, Ended::Dropped);
            }
            forget(stage, message);
        }
        if call.waiting > 0 {
            let gone = client.waiting.extract_if(.., |(_, of)| *of == key);
            for (ticket, _) in gone {
                client.engine.leave(stage.now, ticket);
            }
        }
    }

    /// The time has come that a client was to be looked at.
    pub(crate) fn due(&mut self, stage: &mut Stage<'_>, client: u32) {
        self.clients[client as usize].due = None;
        self.go_on(stage, client);
    }

    /// Lets those go on who waited at a client, as far as they may.
    fn go_on(&mut self, stage: &mut Stage<'_>, number: u32) {
        loop {
            let client = &mut self.clients[number as usize];
            let Some((ticket, told)) = client.engine.next(stage.now) else {
                break;
            };
            let found = client.waiting.iter().position(|held| held.0 == ticket);
            let Some(found) = found else {
                continue;
            };
            let (_, key) = client.waiting.swap_remove(found);
            let Some(call) = self.calls.get(key) else {
                continue;
            };
            call.waiting -= 1;
            let chance = self.chance.draw();
            let admit = match told {
                Ok(place) => client
                    .engine
                    .enter(stage.now, &call.call, Some(place), chance),
                Err(refusal) => Admit::Refused(refusal),
            };
            match admit {
                Admit::Run(permit) => self.send(stage, key, permit),
                Admit::Wait(_) | Admit::Refused(_) => self.refused(stage, key),
            }
        }
        let client = &mut self.clients[number as usize];
        let Some(due) = client.engine.due() else {
            return;
        };
        if client.due.is_none_or(|entered| due < entered) {
            client.due = Some(due);
            stage
                .agenda
                .enter(due.max(stage.now), Event::ClientDue(number));
        }
    }
}
