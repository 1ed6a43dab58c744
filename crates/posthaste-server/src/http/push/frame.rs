//! Events as they are sent to those who follow a topic: framed once, and shared by all of them.

use bytes::Bytes;
use posthaste::wire::event::WrittenEvent;
use posthaste_core::topic::{Event, Position, TailTopic};
use posthaste_core::{Error, ErrorKind, Result, Text};

/// Bytes after which a chunk is full. It has one event at least.
const CHUNK_BYTES: usize = 64 * 1024;

/// Which events a follower wants.
#[derive(Clone, Debug, Default)]
pub(super) struct Filter {
    pub(super) partition: Option<u16>,
    pub(super) types: Vec<Text>,
    pub(super) keys: Vec<Text>,
}

impl Filter {
    /// What `ask` asks for.
    pub(super) fn of(ask: &TailTopic) -> Self {
        Self {
            partition: ask.partition,
            types: ask.types.clone(),
            keys: ask.keys.clone(),
        }
    }

    fn is_none(&self) -> bool {
        self.partition.is_none() && self.types.is_empty() && self.keys.is_empty()
    }

    fn wants(&self, frame: &Frame) -> bool {
        let key = frame.key.as_deref();
        self.partition.is_none_or(|of| of == frame.partition)
            && (self.types.is_empty() || self.types.iter().any(|of| *of == *frame.event_type))
            && (self.keys.is_empty()
                || key.is_some_and(|key| self.keys.iter().any(|of| *of == *key)))
    }
}

/// One event of a chunk.
#[derive(Debug)]
struct Frame {
    /// Where its bytes begin in the chunk, where its JSON does, and where they end.
    start: u32,
    json: u32,
    end: u32,
    /// Where to read on behind it.
    next: u64,
    partition: u16,
    event_type: Box<str>,
    key: Option<Box<str>>,
}

/// Events that lie behind one another, as server-sent events: `id:` is where to read on behind each,
/// `data:` is the event of `CloudEvents` as JSON, on one line.
#[derive(Debug)]
pub(super) struct Chunk {
    /// Where to read on behind all of it.
    next: Position,
    frames: Vec<Frame>,
    bytes: Bytes,
}

impl Chunk {
    /// The first of `events`, and how many: as many as fit. Where all do, the chunk leads on to
    /// `next`, which may be further than the last of them.
    ///
    /// # Errors
    /// `Io` where an event can't be written.
    pub(super) fn of(events: &[Event], next: Position) -> Result<(Self, usize)> {
        let mut bytes = Vec::new();
        let mut frames = Vec::new();
        for event in events {
            if bytes.len() >= CHUNK_BYTES {
                break;
            }
            frames.push(Frame::write(event, &mut bytes)?);
        }
        let count = frames.len();
        let last = frames.last().filter(|_| count < events.len());
        let next = last.map_or(next, |last| next.at(last.next));
        let chunk = Self {
            next,
            frames,
            bytes: bytes.into(),
        };
        Ok((chunk, count))
    }

    /// Where to read on behind it.
    pub(super) fn next(&self) -> Position {
        self.next
    }

    /// Its size, and what it costs to know where its events lie.
    pub(super) fn cost(&self) -> usize {
        let frames = self.frames.iter();
        let known = frames.map(|frame| {
            let key = frame.key.as_deref().map_or(0, str::len);
            size_of::<Frame>() + frame.event_type.len() + key
        });
        self.bytes.len() + known.sum::<usize>()
    }

    fn wanted<'a>(&'a self, from: Position, filter: &'a Filter) -> impl Iterator<Item = &'a Frame> {
        let first = self
            .frames
            .partition_point(|frame| frame.next <= from.sequence);
        let rest = self.frames.get(first..).unwrap_or_default().iter();
        rest.filter(|frame| filter.is_none() || filter.wants(frame))
    }

    /// Where to read on behind the last that is wanted of it from there on.
    pub(super) fn told(&self, from: Position, filter: &Filter) -> Option<Position> {
        let last = self.wanted(from, filter).last();
        last.map(|frame| self.next.at(frame.next))
    }

    /// What is wanted of it from there on, as server-sent events. Without a filter it is shared.
    pub(super) fn sent(&self, from: Position, filter: &Filter) -> Bytes {
        let mut wanted = self.wanted(from, filter);
        let Some(first) = wanted.next() else {
            return Bytes::new();
        };
        if filter.is_none() {
            return self.bytes.slice(first.start as usize..);
        }
        let mut copied = Vec::new();
        for frame in std::iter::once(first).chain(wanted) {
            copied.extend_from_slice(&self.bytes[frame.start as usize..frame.end as usize]);
        }
        copied.into()
    }

    /// What is wanted of it from there on, each as JSON.
    pub(super) fn texts<'a>(
        &'a self,
        from: Position,
        filter: &'a Filter,
    ) -> impl Iterator<Item = Bytes> {
        self.wanted(from, filter).map(|frame| {
            // Without the empty line behind it.
            self.bytes
                .slice(frame.json as usize..frame.end as usize - 2)
        })
    }
}

impl Frame {
    fn write(event: &Event, bytes: &mut Vec<u8>) -> Result<Self> {
        let start = bytes.len();
        let next = event.position.plus(1);
        bytes.extend_from_slice(format!("id: {next}\ndata: ").as_bytes());
        let json = bytes.len();
        serde_json::to_writer(&mut *bytes, &WrittenEvent(event)).map_err(|error| {
            Error::new(
                ErrorKind::Io,
                format!("the event {:?} can't be written: {error}", event.id),
            )
        })?;
        // A line would end there. Inside of a text JSON has them escaped; elsewhere they are space.
        for byte in &mut bytes[json..] {
            if matches!(byte, b'\n' | b'\r') {
                *byte = b' ';
            }
        }
        bytes.extend_from_slice(b"\n\n");
        Ok(Self {
            start: place(start)?,
            json: place(json)?,
            end: place(bytes.len())?,
            next: next.sequence,
            partition: event.partition,
            event_type: event.event_type.as_str().into(),
            key: event.key.as_ref().map(|key| key.as_str().into()),
        })
    }
}

fn place(bytes: usize) -> Result<u32> {
    u32::try_from(bytes)
        .map_err(|_| Error::new(ErrorKind::TooLarge, "an event is too large to send"))
}

#[cfg(test)]
pub(super) mod tests {
    use posthaste_core::{Payload, WallMs};

    use super::*;

    /// Where a topic has that many events behind it.
    pub(in super::super) fn at(sequence: u64) -> Position {
        Position {
            epoch: 1,
            topic: 1,
            sequence,
        }
    }

    /// The event with that number.
    pub(in super::super) fn event(number: u64, payload: &str) -> Event {
        Event {
            position: at(number),
            partition: u16::from(!number.is_multiple_of(2)),
            offset: number / 2,
            at: WallMs(0),
            id: number.to_string().into(),
            event_type: format!("t{}", number % 3).into(),
            source: "s".into(),
            key: (!number.is_multiple_of(4)).then(|| format!("k{}", number % 4).into()),
            headers: Vec::new(),
            payload: Some(Payload::json(payload.to_owned())),
        }
    }

    fn ids(sent: &[u8]) -> Vec<&str> {
        let text = std::str::from_utf8(sent).expect("text");
        let lines = text
            .lines()
            .filter_map(|line| line.strip_prefix("id: 1-1-"));
        lines.collect()
    }

    #[test]
    fn an_event_is_one_line_whatever_its_payload_looks_like() {
        let events = [event(0, "{\r\n\t\"a\":\n\"x\\ny\"}")];
        let (chunk, count) = Chunk::of(&events, at(1)).expect("written");
        assert_eq!(count, 1);
        let sent = chunk.sent(at(0), &Filter::default());
        let text = std::str::from_utf8(&sent).expect("text");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text:?}");
        assert_eq!((lines[0], lines[2]), ("id: 1-1-1", ""));
        let json = lines[1].strip_prefix("data: ").expect("data");
        let value: serde_json::Value = serde_json::from_str(json).expect("JSON");
        assert_eq!(value["data"]["a"], "x\ny");
        assert_eq!(chunk.told(at(0), &Filter::default()), Some(at(1)));
        let texts: Vec<Bytes> = chunk.texts(at(0), &Filter::default()).collect();
        assert_eq!(texts, [json.as_bytes()]);
    }

    #[test]
    fn a_chunk_is_sent_from_a_place_in_it_and_filtered() {
        let events: Vec<Event> = (0..12).map(|number| event(number, "1")).collect();
        let (chunk, count) = Chunk::of(&events, at(20)).expect("written");
        assert_eq!((count, chunk.next()), (12, at(20)));
        let all = Filter::default();
        assert_eq!(ids(&chunk.sent(at(0), &all)).len(), 12);
        assert_eq!(ids(&chunk.sent(at(9), &all)), ["10", "11", "12"]);
        assert_eq!(chunk.sent(at(12), &all), "");
        let filter = Filter {
            types: vec!["t0".into()],
            ..Filter::default()
        };
        assert_eq!(ids(&chunk.sent(at(0), &filter)), ["1", "4", "7", "10"]);
        assert_eq!(chunk.texts(at(4), &filter).count(), 2);
        assert_eq!(chunk.told(at(4), &filter), Some(at(10)));
        assert_eq!(chunk.told(at(10), &filter), None);
        let filter = Filter {
            partition: Some(1),
            keys: vec!["k1".into(), "k2".into()],
            ..Filter::default()
        };
        assert_eq!(ids(&chunk.sent(at(0), &filter)), ["2", "6", "10"]);
    }

    #[test]
    fn large_events_make_several_chunks() {
        let large = format!("\"{}\"", "x".repeat(CHUNK_BYTES / 2));
        let events: Vec<Event> = (0..3).map(|number| event(number, &large)).collect();
        let (chunk, count) = Chunk::of(&events, at(9)).expect("written");
        assert_eq!((count, chunk.next()), (2, at(2)));
        let (chunk, count) = Chunk::of(&events[2..], at(9)).expect("written");
        assert_eq!((count, chunk.next()), (1, at(9)));
    }
}
