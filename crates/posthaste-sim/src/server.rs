//! The one that is called: workers, those whom they serve next, and the policy in front, if there is
//! one. A worker that has begun goes on to the end, be the caller gone or not.

use std::collections::VecDeque;

use posthaste_core::Result;
use posthaste_core::policy::engine::{Admit, Ask, Call, Engine, Permit};
use posthaste_core::policy::gate::Ticket;
use posthaste_core::policy::verdict::{Ended, Verdict};
use posthaste_core::time::MonoNs;

use crate::chance::Chance;
use crate::client::forget;
use crate::rig::{Order, Scenario};
use crate::slots::Key;
use crate::world::{Event, Stage, nanoseconds, whole};

/// Most messages that wait for a worker. What comes then is refused, as by a full backlog.
const BACKLOG_MAX: usize = 100_000;

/// The server.
#[derive(Debug)]
pub(crate) struct Server {
    engine: Option<Engine>,
    /// Who waits for a place.
    waiting: Vec<(Ticket, Key, Call)>,
    /// Who was let in and waits for a worker.
    ready: VecDeque<Key>,
    /// Who is to be told that nothing comes of it. That is done first: it is short.
    refusing: VecDeque<Key>,
    busy: u32,
    due: Option<MonoNs>,
    /// How long a refusal takes a worker.
    refusal_ns: u64,
    chance: Chance,
}

impl Server {
    pub(crate) fn new(scenario: &Scenario, chance: Chance) -> Result<Self> {
        let settings = scenario.server.clone();
        let rig = &scenario.rig;
        Ok(Self {
            engine: settings
                .map(|settings| Engine::new(settings, MonoNs(0)))
                .transpose()?,
            waiting: Vec::new(),
            ready: VecDeque::new(),
            refusing: VecDeque::new(),
            busy: 0,
            due: None,
            refusal_ns: nanoseconds(rig.refusal_cost * rig.service.mean_ns()),
            chance,
        })
    }

    /// A message arrives.
    pub(crate) fn reached(&mut self, stage: &mut Stage<'_>, key: Key) {
        let Some(message) = stage.messages.get(key) else {
            return;
        };
        stage.tally.reached(stage.now);
        let Some(engine) = &mut self.engine else {
            if self.ready.len() < BACKLOG_MAX {
                self.ready.push_back(key);
            } else {
                self.refuse(stage, key);
            }
            return self.dispatch(stage);
        };
        let ask = Ask {
            tier: message.tier,
            caller: u64::from(message.client),
            deadline: message.deadline,
            idempotent: true,
            tag: None,
        };
        let now = stage.now;
        let chance = self.chance.draw();
        match engine.begin(now, ask) {
            Err(_) => self.refuse(stage, key),
            Ok(call) => match engine.admit(now, &call, chance) {
                Admit::Run(permit) => self.enter(stage, key, permit),
                Admit::Wait(ticket) => self.waiting.push((ticket, key, call)),
                Admit::Refused(_) => self.refuse(stage, key),
            },
        }
        self.go_on(stage);
    }

    fn enter(&mut self, stage: &mut Stage<'_>, key: Key, permit: Permit) {
        if let Some(message) = stage.messages.get(key) {
            message.place = Some(permit);
            self.ready.push_back(key);
        }
    }

    fn refuse(&mut self, stage: &mut Stage<'_>, key: Key) {
        stage.tally.refused_there(stage.now);
        self.refusing.push_back(key);
    }

    /// Gives work to the workers who have none.
    pub(crate) fn dispatch(&mut self, stage: &mut Stage<'_>) {
        let rig = &stage.scenario.rig;
        let workers = whole((f64::from(rig.workers) * stage.weather.capacity).round());
        while self.busy < workers {
            if let Some(key) = self.refusing.pop_front() {
                self.busy += 1;
                let at = stage.now.plus(self.refusal_ns);
                stage.agenda.enter(at, Event::Refused(key));
                continue;
            }
            let next = match rig.order {
                Order::Fifo => self.ready.pop_front(),
                Order::Lifo => self.ready.pop_back(),
            };
            let Some(key) = next else {
                return;
            };
            self.begin(stage, key);
        }
    }

    fn begin(&mut self, stage: &mut Stage<'_>, key: Key) {
        let Some(message) = stage.messages.get(key) else {
            return;
        };
        let rig = &stage.scenario.rig;
        let looks = rig.drop_expired || self.engine.is_some();
        if looks
            && message
                .deadline
                .is_some_and(|deadline| deadline <= stage.now)
        {
            return self.over(stage, key, Ended::TimedOut);
        }
        self.busy += 1;
        let takes = rig.service.draw_ns(&mut self.chance) * stage.weather.latency;
        let at = stage.now.plus(nanoseconds(takes));
        stage.agenda.enter(at, Event::Worked(key));
    }

    /// A worker is done with a message.
    pub(crate) fn worked(&mut self, stage: &mut Stage<'_>, key: Key) {
        self.busy -= 1;
        let failed = self.chance.unit() < stage.weather.errors;
        let verdict = if failed { Verdict::Retry } else { Verdict::Ok };
        let late = |deadline: MonoNs| deadline <= stage.now;
        let ended = match stage.messages.get(key) {
            Some(message) if message.deadline.is_some_and(late) => Ended::TimedOut,
            _ => Ended::With(verdict),
        };
        answer(stage, key, verdict);
        self.over(stage, key, ended);
        self.go_on(stage);
    }

    /// A worker has refused a message.
    pub(crate) fn has_refused(&mut self, stage: &mut Stage<'_>, key: Key) {
        self.busy -= 1;
        answer(stage, key, Verdict::Throttled(None));
        self.over(stage, key, Ended::Dropped);
        self.dispatch(stage);
    }

    /// The server has nothing to do with a message any more.
    fn over(&mut self, stage: &mut Stage<'_>, key: Key, ended: Ended) {
        let Some(message) = stage.messages.get(key) else {
            return;
        };
        message.at_server = false;
        if let (Some(permit), Some(engine)) = (message.place.take(), &mut self.engine) {
            engine.ended(stage.now, permit, ended);
        }
        forget(stage, key);
    }

    /// The time has come that the waiting room was to be looked at.
    pub(crate) fn due(&mut self, stage: &mut Stage<'_>) {
        self.due = None;
        self.go_on(stage);
    }

    /// Lets those in who waited, as far as they may, and has the workers go on.
    fn go_on(&mut self, stage: &mut Stage<'_>) {
        // A message that is thrown away when its turn comes leaves its place to another.
        loop {
            self.let_in(stage);
            self.dispatch(stage);
            let rig = &stage.scenario.rig;
            let free = f64::from(self.busy) < f64::from(rig.workers) * stage.weather.capacity;
            if self.waiting.is_empty() || !free || !self.has_news(stage) {
                break;
            }
        }
        let Some(due) = self.engine.as_ref().and_then(Engine::due) else {
            return;
        };
        if self.due.is_none_or(|entered| due < entered) {
            self.due = Some(due);
            stage.agenda.enter(due.max(stage.now), Event::ServerDue);
        }
    }

    /// Takes in one answer for those who wait; whether there was one.
    fn has_news(&mut self, stage: &mut Stage<'_>) -> bool {
        let Some(engine) = &mut self.engine else {
            return false;
        };
        let Some((ticket, told)) = engine.next(stage.now) else {
            return false;
        };
        let found = self.waiting.iter().position(|held| held.0 == ticket);
        let Some(found) = found else {
            return true;
        };
        let (_, key, call) = self.waiting.swap_remove(found);
        let admit = match told {
            Ok(place) => engine.enter(stage.now, &call, Some(place), self.chance.draw()),
            Err(refusal) => Admit::Refused(refusal),
        };
        match admit {
            Admit::Run(permit) => self.enter(stage, key, permit),
            Admit::Wait(_) | Admit::Refused(_) => self.refuse(stage, key),
        }
        true
    }

    fn let_in(&mut self, stage: &mut Stage<'_>) {
        while self.has_news(stage) {}
    }
}

/// Sends an answer back.
fn answer(stage: &mut Stage<'_>, key: Key, verdict: Verdict) {
    let at = stage.now.after(stage.scenario.rig.network);
    stage.agenda.enter(at, Event::Answer(key, verdict));
}
