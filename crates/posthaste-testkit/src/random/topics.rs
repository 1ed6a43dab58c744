//! What a life does with topics: few of them, with few keys and few ids, so that events come again,
//! and topics go and are made again.

use posthaste_core::command::{Command, Commit, Committed, Reply};
use posthaste_core::ids::TopicName;
use posthaste_core::job::Payload;
use posthaste_core::text::Text;
use posthaste_core::time::WallMs;
use posthaste_core::topic::{
    Compression, EventPage, NewEvent, Position, ReadFrom, TailTopic, TopicRead, TopicSettings,
    TopicView,
};

use super::draw::Draw;
use super::{Life, Verdict};
use crate::block_on;
use crate::conformance::words::topic;
use crate::model::{Look, Memory};

const TOPICS: [&str; 3] = ["orders", "users", "audit"];
const TYPES: [&str; 3] = ["placed", "paid", "sent"];
const KEYS: [&str; 3] = ["ann", "bob", "cleo"];
const SOURCES: [&str; 3] = ["posthaste", "/shop", "/shop"];

/// How many places are remembered, to be read from.
const CURSORS: usize = 40;
/// How many pages are read one after the other at most.
const PAGES: usize = 12;

/// An event whose id was chosen: its topic, source and id.
pub(super) type Chosen = (Position, Text, Text);

impl Life<'_> {
    pub(super) fn draw_topic_command(&mut self) -> Command {
        let topic = topic(self.draw.word(&TOPICS));
        match self.draw.below(12) {
            0 => Command::DeleteTopic(topic),
            1 | 2 => Command::SetTopic {
                topic,
                settings: self.draw.topic_settings(),
            },
            _ => {
                let count = 1 + self.draw.below(4);
                let mut events: Vec<NewEvent> =
                    (0..count).map(|_| self.draw_event(&topic)).collect();
                match self.draw.below(60) {
                    0 => events.clear(),
                    1 => events[0].event_type = Text::from("a\nb"),
                    _ => {}
                }
                Command::Publish { topic, events }
            }
        }
    }

    fn draw_event(&mut self, topic: &TopicName) -> NewEvent {
        let draw = &mut self.draw;
        let fresh = Text::from(format!("x{:x}", draw.next()));
        let payload = match draw.below(8) {
            0 => Payload::bytes("text/plain", "as it is"),
            _ => Payload::json(format!("{{\"n\":{}}}", draw.below(10))),
        };
        let mut event = NewEvent::new(fresh.clone(), draw.word(&TYPES), payload);
        event.source = draw.word(&SOURCES).into();
        if !draw.one_in(3) {
            event.key = Some(draw.word(&KEYS).into());
            if draw.one_in(8) {
                event.payload = None;
            }
        }
        if draw.one_in(4) {
            event.headers = vec![("subject".into(), "order 7".into())];
        }
        if !draw.one_in(3) {
            event.id = Text::from(format!("e{}", draw.below(6)));
            event.deduplicate = true;
        }
        if self.model.memory(topic, &event.source, &event.id) == Memory::Open {
            (event.id, event.deduplicate) = (fresh, false); // either is right
        }
        event
    }

    /// Keeps the places that were told, to be read from, and says what was reached.
    pub(super) fn told(&mut self, commit: &Commit, answer: &Committed) {
        for (command, reply) in commit.commands.iter().zip(&answer.replies) {
            let (Command::Publish { events, .. }, Reply::Published(places)) = (command, reply)
            else {
                continue;
            };
            self.cursors
                .extend(places.iter().map(|place| place.position));
            for (event, place) in events.iter().zip(places.iter()) {
                let chosen = (place.position.at(0), event.source.clone(), event.id.clone());
                if !event.deduplicate || place.existing || answer.repeated {
                    continue;
                }
                if self.chosen.contains(&chosen) {
                    self.reached.note("published after it was forgotten");
                } else {
                    self.chosen.push(chosen);
                }
            }
        }
        let forgotten = self.cursors.len().saturating_sub(CURSORS);
        self.cursors.drain(..forgotten);
    }

    /// What became of topics in one commit.
    pub(super) fn topics_changed(&mut self, before: &[TopicView]) {
        let after = self.model.topic_views();
        let same = |a: &TopicView, b: &TopicView| a.end.is_of(b.end);
        for new in after
            .iter()
            .filter(|new| !before.iter().any(|old| same(old, new)))
        {
            self.reached.note("new topic");
            if self.names.contains(&new.name) {
                self.reached.note("topic made again");
            }
            self.names.push(new.name.clone());
        }
        if before
            .iter()
            .any(|old| !after.iter().any(|new| same(old, new)))
        {
            self.reached.note("topic > gone");
        }
    }

    /// Reads a topic, and goes on to its end.
    pub(super) fn read(&mut self) -> Verdict {
        let mut ask = self.draw_read();
        let all = self.draw.one_in(2);
        for _ in 0..PAGES {
            let Some(page) = self.read_once(&ask)? else {
                return Ok(());
            };
            if !all || page.next == page.end {
                return Ok(());
            }
            self.reached.note("read on");
            ask.from = ReadFrom::Position(page.next);
        }
        Ok(())
    }

    fn read_once(&mut self, ask: &TailTopic) -> Result<Option<EventPage>, String> {
        let look = self.model.look(ask);
        let mut ask = ask.clone();
        if let Ok(Look::Events(readable)) = &look {
            let begin = readable.begin();
            let mut events = readable.events.iter();
            let there = events.any(|(event, may_miss)| !may_miss && event.position >= begin);
            if there && self.draw.one_in(3) {
                ask.wait_ms = 60_000; // no clock has to move
                self.reached.note("read with a wait");
            }
        }
        let Some(theirs) = self.places.their_ask(&ask) else {
            return Ok(None);
        };
        self.trace.push(format!("{theirs:?}"));
        let got = block_on(self.bench.store().read(theirs));
        self.trace.push(format!("    {got:?}"));
        let end = match &look {
            Ok(Look::Events(readable) | Look::History(readable)) => Some(readable.end),
            Err(_) => None,
        };
        let got = got.map(|got| match end {
            Some(end) => self.places.our_read(got, end),
            None => got,
        });
        super::judge_read::same_read(&ask, &got, &look)?;
        self.reached.read(&ask, &got);
        match got {
            Ok(TopicRead::Page(page)) => {
                self.cursors.push(page.next);
                Ok(Some(page))
            }
            _ => Ok(None),
        }
    }

    fn draw_read(&mut self) -> TailTopic {
        let topic = topic(self.draw.word(&TOPICS));
        let from = self.draw_from(&topic);
        let partitions = self.partitions(&topic);
        let draw = &mut self.draw;
        let mut ask = TailTopic::new(topic, from);
        ask.max = match draw.below(12) {
            0 => 1_000,
            1 if draw.one_in(4) => 0,
            _ => 1 + u32::from(draw.small(6)),
        };
        if draw.one_in(4) {
            let past = u64::from(draw.one_in(8));
            ask.partition = u16::try_from(draw.below(partitions) + past).ok();
        }
        if draw.one_in(4) {
            ask.types = vec![draw.word(&TYPES).into(), draw.word(&TYPES).into()];
        }
        if let ReadFrom::Offset { partition, .. } = ask.from {
            // Where compaction took what was there, only that partition's order says what follows.
            ask.partition = Some(partition);
        }
        if draw.one_in(4) {
            ask.keys = vec![draw.word(&KEYS).into()];
        }
        ask
    }

    fn partitions(&self, topic: &TopicName) -> u64 {
        let topics = self.model.topic_views().into_iter();
        let mut of_name = topics.filter(|view| view.name == *topic);
        of_name
            .next()
            .map_or(4, |view| view.config.partitions.into())
    }

    fn draw_from(&mut self, topic: &TopicName) -> ReadFrom {
        let views = self.model.topic_views();
        let view = views.iter().find(|view| view.name == *topic);
        let wall = self.model.now().wall;
        let draw = &mut self.draw;
        let mut of_topic = self.cursors.clone();
        if let Some(view) = view
            && !draw.one_in(4)
        {
            of_topic.retain(|place| place.is_of(view.end));
        }
        match (draw.below(9), draw.pick(&of_topic), view) {
            (0, ..) => ReadFrom::Latest,
            (1, ..) => ReadFrom::Time(WallMs(wall.0 - draw.tens(600_000))),
            (2 | 3, _, Some(view)) => {
                let partition = draw.small(u8::try_from(view.next_offsets.len()).unwrap_or(8));
                let next = view.next_offsets[usize::from(partition)];
                let past = u64::from(draw.one_in(12));
                ReadFrom::Offset {
                    partition: partition.into(),
                    offset: draw.below(next + 1) + past,
                }
            }
            (4..7, Some(place), _) => ReadFrom::Position(match draw.below(24) {
                0 => place.plus(1_000),
                1 => Position {
                    epoch: place.epoch ^ 1,
                    ..place
                },
                _ => place,
            }),
            _ => ReadFrom::Earliest,
        }
    }
}

impl Draw {
    fn topic_settings(&mut self) -> TopicSettings {
        let partitions = match self.below(24) {
            0 => Some(0),
            1..8 => Some(1 + u16::from(self.small(5))),
            _ => None,
        };
        TopicSettings {
            partitions,
            kept_ms: self.one_in(4).then(|| match self.below(3) {
                0 => 0,
                _ => self.tens(600_000) + 5,
            }),
            kept_bytes: self
                .one_in(6)
                .then(|| [0, 6_000, 120_000][usize::from(self.small(3))]),
            kept_events: self.one_in(4).then(|| self.below(20)),
            compacted: self.one_in(6).then(|| self.one_in(2)),
            tombstones_kept_ms: self.one_in(6).then(|| self.tens(600_000) + 5),
            compression: self.one_in(6).then_some(Compression::Lz4),
        }
    }
}
