//! Random lives: a store and the [`Model`] are given the same commands, leases, reads, clock steps
//! and restarts, and must agree after each.
//!
//! A run is decided by its seed alone, which is printed when it fails; `POSTHASTE_SEED` runs that
//! one again. Where the promises leave a choice (which of several equal jobs is handed out, the
//! jitter of a backoff) the store's choice is checked against what is allowed, and the model takes
//! it over. At the end of a campaign every command, refusal and change of state was reached, or it
//! fails.
//!
//! It refuses to shrink: a run is a few hundred steps, and its trace says what led to the end.

mod commands;
mod draw;
mod groups;
mod judge;
mod judge_groups;
mod judge_read;
mod places;
mod reached;
mod reached_groups;
mod topics;

use std::env;
use std::time::{SystemTime, UNIX_EPOCH};

use posthaste_core::command::{Command, Commit};
use posthaste_core::ids::{JobId, Token, TopicName};
use posthaste_core::job::{JobState, NewJob, Outcome};
use posthaste_core::port::{LeaseAsk, Leased};
use posthaste_core::topic::Position;

use crate::conformance::{Bench, Ending, Fixture};
use crate::model::Model;
use crate::{block_on, poll_once};
use draw::Draw;
use groups::Parties;
use places::Places;
pub use reached::Reached;
use topics::Chosen;

/// How many steps of a failed run are shown.
const SHOWN: usize = 12;
/// A step of the clock that may make the store forget keys.
const LONG_MS: u64 = 20 * 3_600_000;
/// How many leases are remembered, to be settled, settled again, or settled too late.
const REMEMBERED: usize = 24;

/// Of so many lives what is rare is demanded too. A slow store is lived on less often: over HTTP what is
/// rare is a matter of the store behind it.
const MANY: u64 = 40;
/// How many times as many lives are tried as were asked for, where not everything was reached.
const GOES_ON: u64 = 8;

/// Runs one life after the other, each on a store of its own, and checks that everything there is
/// was reached. `first` is the first seed, `lives` how many, `steps` how long each is. One more is
/// run from a seed that nobody has tried. Where something is missing then, more follow, within
/// reason: chance may have passed it by.
///
/// # Panics
/// Where a store and the model disagree, with the seed; where something was never reached.
pub fn campaign<F: Fixture>(make: impl Fn() -> F, first: u64, lives: u64, steps: u32) {
    if let Ok(seed) = env::var("POSTHASTE_SEED") {
        let seed = seed.parse().expect("POSTHASTE_SEED is a number");
        life(&make(), seed, steps);
        return;
    }
    let mut reached = Reached::default();
    let mut missing = Vec::new();
    let mut live = |seed| {
        let fixture = make();
        reached.add(&life(&fixture, seed, steps));
        missing = reached.missing(fixture.capabilities().restart, lives >= MANY);
        missing.is_empty()
    };
    let asked_for = (first..first + lives).chain([fresh_seed()]);
    let everything = asked_for.fold(false, |_, seed| live(seed))
        || (first + lives..first + lives * GOES_ON).any(live);
    assert!(everything, "never reached: {missing:?}");
}

fn fresh_seed() -> u64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
    since_1970.map_or(0, |it| u64::from(it.subsec_nanos()))
}

/// Runs one life of `steps` steps, and says what it reached.
///
/// # Panics
/// Where the store and the model disagree, with the seed and the last steps.
pub fn life(fixture: &dyn Fixture, seed: u64, steps: u32) -> Reached {
    let mut life = Life::new(fixture, seed);
    for step in 0..steps {
        if let Err(problem) = life.step() {
            let last = life.trace.len().saturating_sub(SHOWN);
            panic!(
                "step {step}: {problem}\nafter:\n{}\nrun it again with POSTHASTE_SEED={seed}",
                life.trace[last..].join("\n")
            );
        }
    }
    life.reached
}

struct Life<'a> {
    bench: Bench<'a>,
    model: Model,
    draw: Draw,
    leases: Vec<Leased>,
    /// Settles that were applied, with what followed them, to be repeated.
    settled: Vec<(Leased, Outcome, Vec<Command>)>,
    /// Jobs that were accepted under a key.
    keyed_jobs: Vec<NewJob>,
    /// Commits that were applied under a key.
    keyed: Vec<Commit>,
    last_token: Token,
    places: Places,
    parties: Parties,
    /// What groups keep is compared too, after this step.
    looks_closer: bool,
    /// Places that were told, as the model tells them, to be read from.
    cursors: Vec<Position>,
    /// Events that were published under ids of their publishers.
    chosen: Vec<Chosen>,
    /// Topics that were there at some time.
    names: Vec<TopicName>,
    /// How many days were passed at once: keys have other names after each.
    days: u32,
    reached: Reached,
    trace: Vec<String>,
}

type Verdict = Result<(), String>;

impl<'a> Life<'a> {
    fn new(fixture: &'a dyn Fixture, seed: u64) -> Self {
        Self {
            bench: Bench::new(fixture, false),
            model: Model::new(fixture.wall()),
            draw: Draw::new(seed),
            leases: Vec::new(),
            settled: Vec::new(),
            keyed_jobs: Vec::new(),
            keyed: Vec::new(),
            last_token: Token(0),
            places: Places::default(),
            parties: Parties::default(),
            looks_closer: false,
            cursors: Vec::new(),
            chosen: Vec::new(),
            names: Vec::new(),
            days: 0,
            reached: Reached::default(),
            trace: Vec::new(),
        }
    }

    fn step(&mut self) -> Verdict {
        let before = self.model.views();
        let model = &self.model;
        let known = |it: &Leased| !model.may_be_forgotten(it.id, it.token);
        self.leases.retain(known);
        self.settled.retain(|(leased, ..)| known(leased));
        let groups = self.model.group_views();
        self.looks_closer = false;
        match self.draw.below(200) {
            0..52 => self.commit()?,
            52..76 => self.lease()?,
            76..80 => self.hang_up()?,
            80..97 => self.clock()?,
            97..100 => self.restart(),
            100..112 => self.read()?,
            112..154 => self.group_commit()?,
            154..194 => self.lease_events()?,
            _ => self.tail_of_group()?,
        }
        self.reached.changes(&before, &self.model.views());
        let after = self.model.group_views();
        self.reached.group_changes(&groups, &after);
        self.agree()
    }

    fn commit(&mut self) -> Verdict {
        let commit = self.draw_commit();
        self.do_commit(&commit)
    }

    fn group_commit(&mut self) -> Verdict {
        let commit = self.draw_group_commit();
        self.looks_closer = true;
        self.do_commit(&commit)
    }

    fn do_commit(&mut self, commit: &Commit) -> Verdict {
        let Some(theirs) = self.their_commit(commit) else {
            return Ok(());
        };
        self.trace.push(format!("{commit:?}"));
        let answers = block_on(self.bench.store().commit(vec![theirs]));
        let got = answers.map_err(|error| format!("no answer: {error}"))?;
        let [got] = &got[..] else {
            return Err(format!("{} answers for one commit", got.len()));
        };
        let mut expected = self.model.clone();
        let want = expected.commit(commit);
        self.trace.push(format!("    {got:?}"));
        let got = self.places.our_answer(got, &want);
        judge::same_answer(commit, &got, &want)?;
        self.reached.answered(commit, &want);
        let before = std::mem::replace(&mut self.model, expected);
        if let Ok(answer) = &want {
            self.adopt(commit)?;
            self.remember(commit);
            self.told(commit, answer);
            self.topics_changed(&before.topic_views());
            self.remember_settled(commit);
            self.adopt_parked();
        }
        Ok(())
    }

    fn lease(&mut self) -> Verdict {
        let ask = self.draw_ask();
        self.trace.push(format!("{ask:?}"));
        let got = block_on(self.bench.store().lease(ask.clone()));
        let got = got.map_err(|error| format!("no lease: {error}"))?;
        for leased in got {
            self.trace.push(format!("    {leased:?}"));
            self.granted(&leased, &ask)?;
            self.leases.push(leased);
        }
        let forgotten = self.leases.len().saturating_sub(REMEMBERED);
        self.leases.drain(..forgotten);
        Ok(())
    }

    /// Asks, and is gone before it is answered, or just after.
    fn hang_up(&mut self) -> Verdict {
        let ask = self.draw_ask();
        let views = self.model.views();
        if views.iter().any(|view| self.model.may_settle_late(view.id)) {
            return Ok(()); // whether that worker comes too late is then a matter of chance
        }
        let undone = self.bench.capabilities().undoes_leases;
        let counted = views.iter().any(|view| view.crashes > 0) || self.model.counts_unreadable();
        if !undone && counted {
            return Ok(()); // and so is whether crashes, and the hour of a payload, are counted afresh
        }
        self.trace.push(format!("hang up on {ask:?}"));
        let store = self.bench.store();
        let mut lease = store.lease(ask.clone());
        match poll_once(lease.as_mut()) {
            None => Ok(()),
            Some(Err(error)) => Err(format!("no lease: {error}")),
            Some(Ok(got)) => {
                for leased in got {
                    self.granted(&leased, &ask)?;
                    self.leases.push(leased);
                }
                Ok(())
            }
        }
    }

    fn clock(&mut self) -> Verdict {
        let (mut ms, mut wall) = self.draw.clock(self.model.now().wall);
        if let Some(until) = self.until_a_retry_expires()
            && self.draw.one_in(2)
        {
            (ms, wall) = (until, None); // few do
        }
        self.trace
            .push(format!("{ms} ms pass, wall clock {wall:?}"));
        self.reached.note("clock forward");
        if ms > LONG_MS {
            // whether a key of a day ago is still known, the clock having jumped, is left open
            self.days += 1;
            self.keyed.clear();
            self.keyed_jobs.clear();
        }
        self.bench.advance(ms);
        self.model.advance(ms);
        if let Some(wall) = wall {
            self.agree()?; // what was due before the jump is done before it
            self.reached.note("wall clock set");
            self.bench.set_wall(wall);
            self.model.set_wall(wall);
        }
        Ok(())
    }

    /// How long until the deadline of a job that waits for its retry has passed.
    fn until_a_retry_expires(&self) -> Option<u64> {
        let now = self.model.now().wall;
        let views = self.model.views().into_iter();
        let mut ends = views
            .filter(|view| view.state == JobState::Retryable)
            .filter_map(|view| view.deadline);
        ends.find(|end| *end > now).map(|end| end.0 - now.0 + 5)
    }

    fn restart(&mut self) {
        if !self.bench.capabilities().restart {
            return;
        }
        let clean = self.draw.one_in(2);
        let ending = if clean { Ending::Clean } else { Ending::Crash };
        self.trace.push(format!("restart, {ending:?}"));
        self.reached.note("restart");
        self.bench.restart(ending);
        self.model.restart(clean);
    }

    fn granted(&mut self, leased: &Leased, ask: &LeaseAsk) -> Verdict {
        let allowed = self.model.lease_allowed(ask);
        if !allowed.contains(&leased.id) {
            let told = |id: &JobId| self.model.turn_of(*id);
            let allowed: Vec<String> = allowed.iter().map(told).collect();
            let leased = told(&leased.id);
            return Err(format!("leased {leased}\n   allowed {allowed:#?}"));
        }
        if leased.token <= self.last_token {
            return Err(format!("{} after {}", leased.token, self.last_token));
        }
        self.last_token = leased.token;
        self.model.grant(leased.id, leased.token, ask);
        judge::same(
            "the lease",
            &Some(leased.clone()),
            &self.model.leased(leased.id),
        )
    }
}
