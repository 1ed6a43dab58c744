//! Scripts: one command a line with what it became, so that a test reads as a story.
//!
//! `25 settle 1#1 completed => completed` settles job 1 under token 1 at millisecond 25. Several
//! commands between semicolons are one commit. At the end the facts alone must rebuild the state,
//! and a snapshot of it must load to the same.

mod groups;
mod pace;
mod topics;

use std::collections::BTreeMap;

use posthaste_core::command::QueueSettings;
use posthaste_core::ids::{JobId, Token};
use posthaste_core::job::{OnConflict, Priority, RetryRule, Start, StateSet};
use posthaste_core::machine::{
    Action, Answer, Bounds, Claim, Ending, Fact, KeyDigest, Machine, Moment, Place, Slot, Summary,
    To, UniqueClaim,
};
use posthaste_core::time::{MonoMs, WallMs};

use crate::world::load;

/// When scripts begin, on the wall clock.
const EPOCH: u64 = 1_000_000_000_000;

/// Runs a script and checks each answer.
pub(crate) fn check(script: &str) {
    check_within(Bounds::default(), script);
}

/// The same, for a machine that may hold less.
pub(crate) fn check_within(bounds: Bounds, script: &str) {
    let mut story = Story {
        machine: Machine::with_bounds(bounds),
        facts: Vec::new(),
        moment: Moment::default(),
        bodies: 0,
        log: BTreeMap::new(),
        gone: BTreeMap::new(),
    };
    for line in script.lines().map(str::trim).filter(|l| !l.is_empty()) {
        let (ask, answer) = line
            .split_once("=>")
            .expect("a line is: time command => answer");
        let (time, command) = ask.trim().split_once(' ').expect("a time and a command");
        let ms: u64 = time.parse().expect("milliseconds");
        story.moment = Moment {
            wall: WallMs(EPOCH + ms),
            mono: MonoMs(ms),
            entropy: ms,
        };
        assert_eq!(story.run(command.trim()), answer.trim(), "in: {line}");
        story
            .machine
            .audit()
            .expect("the machine agrees with itself");
    }
    story.rebuild(bounds);
}

struct Story {
    machine: Machine,
    facts: Vec<Fact<'static>>,
    moment: Moment,
    bodies: u64,
    /// The hashes of what was published, by topic; `None` is gone.
    log: BTreeMap<u32, Vec<Option<u32>>>,
    /// Below is gone by retention.
    gone: BTreeMap<u32, u64>,
}

/// The words of one command.
struct Words<'a>(Vec<&'a str>);

impl Words<'_> {
    fn has(&self, word: &str) -> bool {
        self.0.contains(&word)
    }

    fn text(&self, name: &str) -> Option<&'static str> {
        let value = self.0.iter().find_map(|word| {
            let (key, value) = word.split_once('=')?;
            (key == name).then_some(value)
        })?;
        Some(Box::leak(value.to_owned().into_boxed_str()))
    }

    fn number(&self, name: &str) -> Option<u64> {
        Some(self.text(name)?.parse().expect("a number"))
    }

    fn list(&self, name: &str) -> Vec<&'static str> {
        self.text(name)
            .map_or(Vec::new(), |text| text.split(',').collect())
    }

    fn priority(&self) -> Option<Priority> {
        let number = self.number("p")?;
        Priority::new(u8::try_from(number).expect("small"))
    }

    fn at(&self) -> Option<WallMs> {
        Some(WallMs(EPOCH + self.number("at")?))
    }

    fn id(&self) -> JobId {
        id(self.0[1].split('#').next().expect("an id"))
    }

    fn name(&self) -> &'static str {
        Box::leak(self.0[1].to_owned().into_boxed_str())
    }

    fn token(&self) -> Token {
        let (_, token) = self.0[1].split_once('#').expect("job#token");
        Token(token.parse().expect("a token"))
    }
}

fn id(word: &str) -> JobId {
    let number: u8 = word.parse().expect("a small number");
    let mut bytes = [0; 16];
    bytes[15] = number;
    JobId::from_bytes(bytes)
}

fn number(id: JobId) -> u8 {
    id.to_bytes()[15]
}

impl Story {
    fn run(&mut self, command: &str) -> String {
        let words = Words(command.split_whitespace().collect());
        match words.0[0] {
            "lease" => self.lease(&words),
            "tick" => self.tick(),
            "show" => self.show(&words),
            "totals" => self.totals(),
            "pace" => self.pace(),
            "reopen" => self.reopen(),
            "topics" => self.topics(),
            "untaken" => self.untaken(&words),
            "take" => self.take(&words),
            "join" => self.join(&words),
            "feed" => self.feed(&words),
            "compacted" | "expired" => self.lose(&words),
            "keep" => self.keep(),
            "claimable" => self.claimable(),
            "group" => self.show_group(&words),
            "counted" => self.counted(&words),
            "give-back" => self.untaken_events(&words),
            "wake" => format!(
                "{:?}",
                self.machine
                    .next_wake_ms(self.moment.wall, self.moment.mono)
            ),
            "crashed" | "stopped" => self.reopened(words.0[0] == "stopped"),
            _ => self.commit(command),
        }
    }

    fn lease(&mut self, words: &Words<'_>) -> String {
        let named = words.list("q");
        let weight = |name: &&'static str| match name.split_once(':') {
            Some((name, weight)) => (name, weight.parse().expect("a weight")),
            None => (*name, 1),
        };
        let queues: Vec<(&str, u32)> = match named.is_empty() {
            true => vec![("q", 1)],
            false => named.iter().map(weight).collect(),
        };
        let kinds = words.list("kinds");
        let claim = Claim {
            queues: queues.leak(),
            strict: words.has("strict"),
            kinds: kinds.leak(),
            max: words
                .number("max")
                .map_or(10, |max| u32::try_from(max).expect("small")),
            lease_ms: words
                .number("for")
                .map_or(100, |ms| u32::try_from(ms).expect("small")),
            worker: "w",
            local: words.has("local"),
        };
        let (before, mut grants) = (self.facts.len(), Vec::new());
        self.machine
            .lease(&claim, self.moment, &mut self.facts, &mut grants);
        let told = grants.iter().map(|grant| {
            let (job, token) = (number(grant.id), grant.token);
            match grant.attempt {
                1 => format!("{job}#{token}"),
                nth => format!("{job}#{token} attempt {nth}"),
            }
        });
        let others = self.facts[before..].iter().filter_map(|fact| match fact {
            Fact::Leased { .. } => None,
            fact => Some(self.told(fact)),
        });
        join(told.chain(others))
    }

    fn tick(&mut self) -> String {
        let mut facts = Vec::new();
        while self.machine.tick(self.moment, 3, &mut facts) {}
        let told = join(facts.iter().map(|fact| self.told(fact)));
        self.facts.extend(facts);
        told
    }

    fn reopened(&mut self, clean: bool) -> String {
        let (saved, mono) = (self.machine.export(), self.moment.mono);
        self.machine = Machine::new();
        load(&mut self.machine, &saved, mono);
        let mut facts = Vec::new();
        while self.machine.lapse_local(clean, self.moment, 1, &mut facts) {}
        let told = join(facts.iter().map(|fact| self.told(fact)));
        self.facts.extend(facts);
        told
    }

    fn told(&self, fact: &Fact<'_>) -> String {
        let name = |slot: &Slot| {
            let view = self.machine.view(*slot);
            view.map_or("gone".into(), |view| number(view.id).to_string())
        };
        match fact {
            Fact::Changed { slot, to, .. } => {
                let to = match to {
                    To::Available { .. } => "available".into(),
                    To::Scheduled { .. } => "scheduled".into(),
                    To::Retryable { .. } => "retryable".into(),
                    To::Completed => "completed".into(),
                    To::Cancelled => "cancelled".into(),
                    To::Dead(reason) => format!("dead {}", reason.as_str()),
                };
                format!("{} {to}", name(slot))
            }
            Fact::Deleted { .. } => "one forgotten".into(),
            Fact::KeysForgotten { count } => format!("{count} keys forgotten"),
            Fact::SettlesForgotten { .. } => "settles forgotten".into(),
            Fact::EventsForgotten { count } => format!("{count} events forgotten"),
            Fact::EventEnding { position, dead, .. } => {
                let how = if *dead { "dying" } else { "parking" };
                format!("{position} {how}")
            }
            other => format!("{other:?}"),
        }
    }

    fn show(&self, words: &Words<'_>) -> String {
        let Some(slot) = self.machine.find(words.id()) else {
            return "nobody".into();
        };
        let view = self.machine.view(slot).expect("found jobs are there");
        let mut told = view.state.to_string();
        if let Some(reason) = view.reason {
            told = format!("{told} {}", reason.as_str());
        }
        if view.attempt > 0 {
            told = format!("{told} attempt {}", view.attempt);
        }
        if view.crashes > 0 {
            told = format!("{told} crashes {}", view.crashes);
        }
        if view.cancelling {
            told += " cancelling";
        }
        format!("{told} at {}", view.at.since(WallMs(EPOCH)))
    }

    fn untaken(&mut self, words: &Words<'_>) -> String {
        let mut facts = Vec::new();
        self.machine
            .untaken(words.id(), words.token(), self.moment, &mut facts);
        let told = join(facts.iter().map(|fact| self.told(fact)));
        self.facts.extend(facts);
        told
    }

    /// The totals of the queue q that are not 0.
    fn totals(&self) -> String {
        let queues = self.machine.queues(self.moment.mono);
        let queue = queues.iter().find(|queue| queue.name.as_str() == "q");
        let t = queue.expect("there is a queue q").totals;
        let all = [
            (t.enqueued, "enqueued"),
            (t.completed, "completed"),
            (t.dead, "dead"),
            (t.cancelled, "cancelled"),
            (t.redriven, "redriven"),
            (t.deleted, "deleted"),
            (t.retried, "retried"),
            (t.lapsed, "lapsed"),
        ];
        let told = all.iter().filter(|(count, _)| *count > 0);
        join(told.map(|(count, what)| format!("{count} {what}")))
    }

    fn commit(&mut self, command: &str) -> String {
        let commands = command.split(';').map(|one| one.split_whitespace());
        let commands: Vec<_> = commands.map(|words| Words(words.collect())).collect();
        let actions: Vec<_> = commands.iter().map(|words| self.action(words)).collect();
        let (before, mut answers) = (self.machine.export(), Vec::new());
        let (mut changes, number_of_facts) = (Vec::new(), self.facts.len());
        self.machine.drain_topics(&mut changes);
        changes.clear();
        let told = self
            .machine
            .commit(&actions, self.moment, &mut self.facts, &mut answers);
        self.machine.drain_topics(&mut changes);
        match told {
            Ok(()) => {
                self.note_published(number_of_facts);
                join(answers.iter().map(answered))
            }
            Err(refused) => {
                assert!(self.machine.export() == before, "refused, and yet changed");
                assert!(changes.is_empty(), "refused, and yet told: {changes:?}");
                assert_eq!(self.facts.len(), number_of_facts, "refused, and yet true");
                let why = format!("{:?}", refused.refusal);
                let why = why.replace("{ current: Token(", "#").replace(") }", "");
                match actions.len() {
                    1 => why,
                    _ => format!("command {}: {why}", refused.index),
                }
            }
        }
    }

    fn place(&mut self) -> Place {
        self.bodies += 1;
        Place(self.bodies)
    }

    fn action(&mut self, words: &Words<'_>) -> Action<'static> {
        match words.0[0] {
            "enqueue" => self.enqueue(words),
            "settle" => self.settle(words),
            "beat" => Action::Heartbeat {
                id: words.id(),
                token: words.token(),
            },
            "cancel" => Action::Cancel(words.id()),
            "retry" => Action::Retry(words.id()),
            "delete" => Action::Delete(words.id()),
            "edit" => Action::Edit {
                id: words.id(),
                place: if words.has("body") {
                    self.place()
                } else {
                    Place::NONE
                },
                priority: words.priority(),
                run_at: words.at(),
            },
            "condemn" => {
                let slot = self.machine.find(words.id()).unwrap_or(Slot(99));
                let view = self.machine.view(slot);
                Action::Condemn {
                    slot,
                    place: match view {
                        Some(view) if !words.has("elsewhere") => view.place,
                        _ => Place(77),
                    },
                }
            }
            "queue" => Action::Configure {
                queue: words.name(),
                settings: Box::leak(Box::new(QueueSettings {
                    paused: words
                        .has("paused")
                        .then_some(true)
                        .or(words.has("resumed").then_some(false)),
                    concurrency: words
                        .number("concurrency")
                        .map(|n| u32::try_from(n).expect("small")),
                    strict: words.has("strict").then_some(true),
                    priority_step_ms: words.number("step"),
                })),
            },
            "publish" => self.publish(words),
            "topic" => Self::set_topic(words),
            "delete-topic" => Action::DeleteTopic {
                topic: words.name(),
            },
            other => self
                .group_action(words)
                .unwrap_or_else(|| panic!("no command {other}")),
        }
    }

    fn enqueue(&mut self, words: &Words<'_>) -> Action<'static> {
        let now = self.moment.wall;
        let until = |ms: u64| (ms > 0).then(|| now.plus(ms));
        let place = self.place();
        Action::Enqueue {
            job: Summary {
                id: words.id(),
                queue: words.text("q").unwrap_or("q"),
                kind: words.text("kind").unwrap_or("k"),
                priority: words.priority().unwrap_or_default(),
                retry: RetryRule {
                    max_attempts: words
                        .number("attempts")
                        .map_or(25, |n| u16::try_from(n).expect("small")),
                    ..RetryRule::default()
                },
                deadline: words.number("deadline").map(|ms| WallMs(EPOCH + ms)),
                unique: words.number("unique").map(|ms| UniqueClaim {
                    digest: [3; 16],
                    until: until(ms),
                    states: StateSet::UNFINISHED,
                }),
                keep_result: true,
            },
            place,
            answer: place,
            start: match (words.number("after"), words.at()) {
                (Some(ms), _) => Start::After(ms),
                (None, Some(at)) => Start::At(at),
                (None, None) => Start::Now,
            },
            key: words.text("key").map(|key| KeyDigest {
                key: [key.as_bytes()[0]; 12],
                body: words
                    .number("body")
                    .map_or(1, |body| u32::try_from(body).expect("small")),
            }),
            on_conflict: if words.has("reject") {
                OnConflict::Reject
            } else {
                OnConflict::Existing
            },
        }
    }

    fn settle(&mut self, words: &Words<'_>) -> Action<'static> {
        let (ending, delay) = words.0[2].split_once('=').unwrap_or((words.0[2], ""));
        let delay: Option<u64> = delay.parse().ok();
        let (ending, digest) = match ending {
            "completed" => (Ending::Completed, 1),
            "retry" => (Ending::Retry { delay_ms: delay }, 2),
            "snooze" => (
                Ending::Snooze {
                    delay_ms: delay.unwrap_or(0),
                },
                3,
            ),
            "cancel" => (Ending::Cancel, 4),
            "dead" => (Ending::Dead, 5),
            word => (
                Ending::Release {
                    delay_ms: delay.unwrap_or(0),
                    undecodable: word == "unreadable",
                },
                6,
            ),
        };
        Action::Settle {
            id: words.id(),
            token: words.token(),
            digest,
            ending,
            note: self.place(),
        }
    }

    /// The facts alone, and a snapshot.
    fn rebuild(&self, bounds: Bounds) {
        let mut replayed = Machine::with_bounds(bounds);
        for fact in &self.facts {
            replayed.evolve(fact, MonoMs(0));
        }
        pace::unmeasured(&replayed);
        let saved = self.machine.export();
        assert!(replayed.export() == saved, "replayed otherwise");
        let mut loaded = Machine::with_bounds(bounds);
        load(&mut loaded, &saved, MonoMs(0));
        pace::unmeasured(&loaded);
        assert!(loaded.export() == saved, "loaded otherwise");
    }
}

fn answered(answer: &Answer) -> String {
    match answer {
        Answer::Enqueued {
            id,
            state,
            existing: true,
        } => format!("{} is there, {state}", number(*id)),
        Answer::Enqueued { state, .. } | Answer::Changed { state } => state.to_string(),
        Answer::Kept(place) => format!("kept at {}", place.0),
        Answer::Settled {
            state,
            repeated: true,
        } => format!("{state} before"),
        Answer::Settled { state, .. } => state.to_string(),
        Answer::Extended { cancelled: true } => "stop".into(),
        Answer::Extended { cancelled: false } => "go on".into(),
        Answer::Published {
            topic,
            position,
            count,
        } => format!("{topic}@{position}+{count}"),
        Answer::Seen(seen) => format!(
            "{}@{} before at {}:{}",
            seen.topic, seen.position, seen.partition, seen.offset
        ),
        Answer::EventsSettled { repeated: true } => "settled before".into(),
        Answer::EventsSettled { repeated: false } => "settled".into(),
        Answer::Left => "left".into(),
        Answer::EventsMoved { events, left: 0 } => format!("{events} moved"),
        Answer::EventsMoved { events, left } => format!("{events} moved, {left} left"),
        Answer::Deleted => "deleted".into(),
        Answer::Configured => "in force".into(),
        Answer::Repeated => "done before".into(),
        Answer::Noted => "noted".into(),
    }
}

fn join(told: impl Iterator<Item = String>) -> String {
    let all: Vec<_> = told.collect();
    if all.is_empty() {
        return "nothing".into();
    }
    all.join(", ")
}
