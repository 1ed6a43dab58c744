//! What a life does with groups: few of them, on one topic that keeps everything, so that what they
//! are handed hangs on nothing that a store may choose.

use std::sync::Arc;

use posthaste_core::backoff::Backoff;
use posthaste_core::command::{Command, Commit};
use posthaste_core::group::{EventAsk, EventOutcome, GroupSettings, OnExhausted, Unparking, Which};
use posthaste_core::ids::{GroupName, Token, WorkerName};
use posthaste_core::job::Payload;
use posthaste_core::port::TailGroup;
use posthaste_core::text::Text;
use posthaste_core::time::WallMs;
use posthaste_core::topic::{NewEvent, Position, ReadFrom, TopicSettings, hash_of};

use super::draw::Draw;
use super::{Life, Verdict};
use crate::block_on;
use crate::conformance::words::topic;

/// The topic of the groups. Nothing of it goes by itself.
pub(super) const PARCELS: &str = "parcels";
const GROUPS: [&str; 3] = ["billing", "audit", "billing"];
const KEYS: [&str; 3] = ["ann", "bob", "cleo"];
/// How many events that were handed out are remembered, to be settled, settled again, or too late.
const HANDED: usize = 60;

/// An event that was handed out: to whom, and where it is.
#[derive(Clone, Debug)]
pub(super) struct Handed {
    pub(super) group: GroupName,
    pub(super) token: Token,
    pub(super) at: u64,
}

fn named(name: &str) -> GroupName {
    GroupName::new(name).expect("a good name")
}

/// Everything there is to know of who took part, and of what was settled.
#[derive(Debug, Default)]
pub(super) struct Parties {
    pub(super) members: Vec<(GroupName, Token)>,
    pub(super) handed: Vec<Handed>,
    /// Settles that were applied, with what went with them.
    pub(super) settled: Vec<Vec<Command>>,
}

impl Parties {
    pub(super) fn forget(&mut self) {
        let handed = self.handed.len().saturating_sub(HANDED);
        self.handed.drain(..handed);
        let members = self.members.len().saturating_sub(12);
        self.members.drain(..members);
        let settled = self.settled.len().saturating_sub(12);
        self.settled.drain(..settled);
    }
}

/// As many of these as fit into the smallest segments, whatever they come to: a command that moves
/// events may move hundreds, and a settle take back as many.
fn fitting(mut commands: Vec<Command>) -> Vec<Command> {
    let mut room = 4;
    commands.retain(|command| {
        let takes = match command {
            Command::Unpark { .. } | Command::Redrive { .. } => 3,
            Command::SettleEvents { .. } => 1,
            _ => 0,
        };
        let fits = takes <= room;
        room -= if fits { takes } else { 0 };
        fits
    });
    commands
}

impl Life<'_> {
    /// A commit about groups, or about what they are handed.
    pub(super) fn draw_group_commit(&mut self) -> Commit {
        let there = self.model.topic_views();
        let there = there.iter().find(|view| view.name.as_str() == PARCELS);
        let Some(end) = there.map(|view| view.end) else {
            return Commit::of(self.draw_beginning());
        };
        let billing = named(GROUPS[0]);
        let again = self.model.met_again(&topic(PARCELS), &billing);
        if let Some(at) = self.draw.pick(&again)
            && self.draw.one_in(4)
        {
            return Commit::one(Command::Redrive {
                topic: topic(PARCELS),
                group: billing,
                which: Which::At(at), // few are met again, and not for long
            });
        }
        match self.draw.below(24) {
            0..3 => Commit::of(self.draw_elsewhere(end)),
            3 => Commit::of(self.draw_end_of_groups()),
            4 | 5 if !self.parties.settled.is_empty() => {
                let lately = self.parties.settled.len().saturating_sub(3);
                let again = self.draw.pick(&self.parties.settled[lately..]);
                Commit::of(again.unwrap_or_default())
            }
            6 | 7 => Commit::of(vec![self.draw_settle_done(), self.draw_publish()]),
            _ => {
                let count = 1 + self.draw.below(3);
                let commands = (0..count).map(|_| self.draw_group_command());
                Commit::of(fitting(commands.collect()))
            }
        }
    }

    /// The topic is made before anything is published to it.
    fn draw_beginning(&mut self) -> Vec<Command> {
        let keeps = TopicSettings {
            kept_ms: Some(0),
            kept_bytes: Some(0),
            kept_events: Some(0),
            compacted: Some(false),
            partitions: Some(2),
            ..TopicSettings::default()
        };
        let made = Command::SetTopic {
            topic: topic(PARCELS),
            settings: keeps,
        };
        match self.draw.below(4) {
            0 => vec![self.draw_set_group(None)], // there is no such topic
            1 => vec![made, self.draw_publish()],
            _ => vec![made, self.draw_set_group(None), self.draw_publish()],
        }
    }

    /// A group goes on elsewhere, or begins somewhere; then something that may be refused. A place is
    /// looked up before anything is decided, so that it comes first.
    fn draw_elsewhere(&mut self, end: Position) -> Vec<Command> {
        let billing = named(GROUPS[0]);
        let dead = self.model.kept_of(&topic(PARCELS), &billing, true);
        if let Some(at) = self.draw.pick(&dead)
            && self.draw.one_in(2)
        {
            return vec![Command::ResetGroup {
                topic: topic(PARCELS),
                group: billing,
                to: ReadFrom::Position(end.at(at)), // it is met again then
                force: true,
            }];
        }
        let to = self.draw_place(end);
        let first = if self.draw.one_in(3) {
            self.draw_set_group(Some(to))
        } else {
            Command::ResetGroup {
                topic: topic(PARCELS),
                group: self.draw_group(),
                to,
                force: self.draw.one_in(2),
            }
        };
        let mut commands = vec![first];
        if self.draw.one_in(3) {
            let (group, token) = self.draw_member();
            commands.push(Command::Leave {
                topic: topic(PARCELS),
                group,
                token,
            });
        }
        commands
    }

    fn draw_place(&mut self, end: Position) -> ReadFrom {
        let wall = self.model.now().wall;
        let draw = &mut self.draw;
        match draw.below(12) {
            0..3 => ReadFrom::Earliest,
            3 => ReadFrom::Latest,
            4 => ReadFrom::Time(WallMs(wall.0 - draw.tens(600_000))),
            5 => ReadFrom::Offset {
                partition: draw.small(2).into(),
                offset: draw.below(end.sequence / 2 + 2),
            },
            6 => ReadFrom::Position(end.plus(2)),
            7 => ReadFrom::Position(Position {
                epoch: end.epoch ^ 1,
                ..end
            }),
            _ => ReadFrom::Position(end.at(draw.below(end.sequence + 1))),
        }
    }

    fn draw_end_of_groups(&mut self) -> Vec<Command> {
        if self.draw.one_in(4) {
            return vec![Command::DeleteTopic(topic(PARCELS))];
        }
        vec![Command::DeleteGroup {
            topic: topic(PARCELS),
            group: self.draw_group(),
        }]
    }

    fn draw_group(&mut self) -> GroupName {
        if self.draw.one_in(40) {
            return named("nobody");
        }
        named(self.draw.word(&GROUPS))
    }

    fn draw_group_command(&mut self) -> Command {
        let (topic, group) = (topic(PARCELS), self.draw_group());
        match self.draw.below(40) {
            0..10 => self.draw_publish(),
            10..24 => self.draw_settle_events(),
            24..26 => {
                let (group, token) = self.draw_member();
                Command::Beat {
                    topic,
                    group,
                    token,
                }
            }
            26..28 => {
                let (group, token) = self.draw_member();
                Command::Leave {
                    topic,
                    group,
                    token,
                }
            }
            28..32 => Command::Unpark {
                topic,
                which: self.draw_which(&group, false),
                group,
                how: if self.draw.one_in(3) {
                    Unparking::Skip
                } else {
                    Unparking::Release
                },
            },
            32..35 => Command::Redrive {
                topic,
                which: self.draw_which(&group, true),
                group,
            },
            35..38 => self.draw_set_group(None),
            38 => Command::Enqueue(Box::new(self.draw_plain_job())),
            _ => Command::Cancel(self.bench.job().id), // there is none
        }
    }

    fn draw_plain_job(&mut self) -> posthaste_core::job::NewJob {
        let id = self.bench.job().id;
        let mut job = self.draw.job(id, self.model.now().wall);
        (job.idempotency_key, job.unique) = (None, None);
        job
    }

    fn draw_publish(&mut self) -> Command {
        let count = 1 + self.draw.below(4);
        let events = (0..count).map(|_| {
            let draw = &mut self.draw;
            let id = Text::from(format!("p{:x}", draw.next()));
            let payload = Payload::json(format!("{{\"n\":{}}}", draw.below(10)));
            let event = NewEvent::new(id, "sent", payload);
            match draw.one_in(6) {
                true => event,
                false => event.keyed(draw.word(&KEYS)),
            }
        });
        Command::Publish {
            events: events.collect(),
            topic: topic(PARCELS),
        }
    }

    fn draw_set_group(&mut self, from: Option<ReadFrom>) -> Command {
        let group = self.draw_group();
        let draw = &mut self.draw;
        let backoff = Backoff {
            jitter_percent: 0,
            base_ms: 1_000,
            factor: 2,
            max_ms: 600_000,
        };
        let bad = from.is_none() && draw.one_in(12);
        let settings = GroupSettings {
            in_flight: match bad {
                true => Some(0),
                false => draw.one_in(3).then(|| 1 + u32::from(draw.small(8))),
            },
            max_attempts: Some(1 + u16::from(draw.small(4))),
            backoff: Some(backoff),
            on_exhausted: draw.one_in(2).then(|| match draw.one_in(2) {
                true => OnExhausted::Dead,
                false => OnExhausted::Park,
            }),
            parked_max: draw.one_in(2).then(|| match draw.one_in(3) {
                true => 1 + u32::from(draw.small(3)),
                false => 100,
            }),
            paused: draw.one_in(3).then(|| draw.one_in(4)),
        };
        Command::SetGroup {
            topic: topic(PARCELS),
            group,
            settings,
            from,
        }
    }

    /// Most often one that was a member lately.
    fn draw_member(&mut self) -> (GroupName, Token) {
        let lately = self.parties.members.len().saturating_sub(4);
        let some = self.draw.pick(&self.parties.members[lately..]);
        match some {
            Some(member) if !self.draw.one_in(20) => member,
            _ => (self.draw_group(), Token(1 + self.draw.below(1 << 50))),
        }
    }

    fn draw_which(&mut self, group: &GroupName, dead: bool) -> Which {
        let again = self.model.met_again(&topic(PARCELS), group);
        if let Some(at) = self.draw.pick(&again)
            && dead
            && self.draw.one_in(2)
        {
            return Which::At(at); // few are, and not for long
        }
        let kept = self.model.kept_of(&topic(PARCELS), group, dead);
        match (self.draw.below(5), self.draw.pick(&kept)) {
            (0, _) => Which::All,
            (1, _) => Which::Key(hash_of(self.draw.word(&KEYS).as_bytes())),
            (2..5, Some(at)) => Which::At(at),
            _ => Which::At(self.draw.below(30)),
        }
    }

    /// Some of what a member was handed, in order most often.
    fn draw_settle_events(&mut self) -> Command {
        let lately = self.parties.handed.len().saturating_sub(16);
        let lately = self.parties.handed[lately..].to_vec();
        let (group, token) = match self.draw.pick(&lately) {
            Some(one) => (one.group, one.token),
            None => self.draw_member(),
        };
        let of = |it: &&Handed| it.token == token && it.group == group;
        let mut positions: Vec<u64> = lately.iter().filter(of).map(|it| it.at).collect();
        positions.sort_unstable();
        positions.dedup();
        let held = self.model.held_of(&topic(PARCELS), &group, token);
        if !self.draw.one_in(4) {
            positions.retain(|at| held.contains(at));
        }
        let count = 1 + usize::from(self.draw.small(4));
        if self.draw.one_in(8) {
            positions.reverse();
        }
        positions.truncate(count);
        if positions.is_empty() && !self.draw.one_in(8) {
            positions.push(self.draw.below(30));
        }
        let ends = positions.into_iter();
        let ends = ends.map(|at| (at, self.draw.event_outcome())).collect();
        Command::SettleEvents {
            topic: topic(PARCELS),
            group,
            token,
            ends,
        }
    }

    /// The same, and all of it was done.
    fn draw_settle_done(&mut self) -> Command {
        let mut settle = self.draw_settle_events();
        if let Command::SettleEvents { ends, .. } = &mut settle {
            ends.iter_mut().for_each(|end| end.1 = EventOutcome::Done);
        }
        settle
    }

    pub(super) fn draw_event_ask(&mut self) -> EventAsk {
        let member = self.draw_member();
        let joins = self.draw.one_in(3);
        let group = match joins {
            true => self.draw_group(),
            false => member.0,
        };
        let draw = &mut self.draw;
        let max = match draw.below(24) {
            0 => 0,
            _ => 1 + u32::from(draw.small(5)),
        };
        EventAsk {
            topic: topic(PARCELS),
            group,
            member: WorkerName::new("m").expect("a good name"),
            token: (!joins).then_some(member.1),
            max,
            lease_ms: 1_005 + u32::from(draw.small(100)) * 1_000,
            wait_ms: 0,
            local: draw.one_in(4) && self.bench.capabilities().local_leases,
        }
    }

    /// Whoever waits for a group to have passed something is told at once where it has.
    pub(super) fn tail_of_group(&mut self) -> Verdict {
        let views = self.model.group_views();
        let Some(view) = self.draw.pick(&views) else {
            return Ok(());
        };
        let at = view.position.at(self.draw.below(view.end.sequence + 1));
        let Some(theirs) = self.places.theirs(at) else {
            return Ok(());
        };
        let passed = view.position > at;
        let ask = TailGroup {
            topic: view.topic.clone(),
            group: view.name.clone(),
            passed: Some(theirs),
            wait_ms: if passed { 60_000 } else { 0 },
        };
        self.trace.push(format!("{ask:?}"));
        let got = block_on(self.bench.store().tail_group(ask));
        let got = got.map_err(|error| format!("no answer: {error}"))?;
        let got = self.places.our_group(got, &view);
        self.reached.note(match passed {
            true => "group passed",
            false => "group not passed",
        });
        super::judge::same("the group", &got, &view)
    }

    /// Keeps what was settled, to be settled again.
    pub(super) fn remember_settled(&mut self, commit: &Commit) {
        let settles = |it: &Command| matches!(it, Command::SettleEvents { .. });
        let plain = |it: &Command| {
            settles(it) || matches!(it, Command::Publish { .. } | Command::Leave { .. })
        };
        let first = commit.commands.first().is_some_and(settles);
        if first && commit.commands.iter().all(plain) {
            self.parties.settled.push(commit.commands.clone());
        }
        self.parties.forget();
    }
}

impl Draw {
    fn event_outcome(&mut self) -> EventOutcome {
        let error: Arc<str> = Arc::from(["no answer", "refused"][usize::from(self.small(2))]);
        match self.below(14) {
            0..6 => EventOutcome::Done,
            6..9 => EventOutcome::Retry {
                error,
                delay_ms: match self.below(4) {
                    0 => None,
                    1 => Some(0),
                    _ => Some(self.tens(60_000)),
                },
            },
            9 | 10 => EventOutcome::Park { error },
            11 => EventOutcome::Dead { error },
            12 => EventOutcome::Skip { reason: error },
            _ => EventOutcome::Release,
        }
    }
}
