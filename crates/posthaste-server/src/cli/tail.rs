//! `tail`: a topic read on from a place, to its end or for ever.
//!
//! What was printed is what its state says, never less: the state is written after the lines are
//! out, so that a run that ends in between prints them again when it goes on.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use posthaste::wire;
use posthaste::wire::event::WrittenEvent;
use posthaste_core::topic::{EventPage, Gap, GapReason, ReadFrom, TailTopic, TopicRead};
use posthaste_core::{Error, ErrorKind, Event, Result, Store, Text, TopicName, check, limits};
use serde::{Deserialize, Serialize};

use super::resume::Resume;
use super::signal::Ending;
use super::{Global, SERVER, exit, payload, print, store};

/// What to read.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Which topic
    topic: TopicName,
    /// Where to begin: earliest, latest, a cursor, time:INSTANT, or offset:PARTITION:OFFSET
    #[arg(long, default_value = "earliest", value_name = "PLACE")]
    from: wire::ReadFrom,
    /// Go on at the end: wait for what is published next
    #[arg(long)]
    follow: bool,
    /// Events of this type only; given again, of any of them
    #[arg(long = "type", value_name = "TYPE")]
    types: Vec<String>,
    /// Events of this key only; given again, of any of them
    #[arg(long = "key", value_name = "KEY")]
    keys: Vec<String>,
    /// Events of this partition only
    #[arg(long, value_name = "N")]
    partition: Option<u16>,
    /// Most events to print
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    max: Option<u64>,
    /// A file that remembers how far it came, so that it goes on from there; --from is for the
    /// first time
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
}

/// How far a tail came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Came {
    /// Of which topic.
    topic: String,
    /// Where to go on.
    next: String,
}

/// How a tail ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// At the end, at its most events, or because it was asked to.
    Done,
    /// What was to be read is gone.
    Gap(Gap),
}

pub(super) async fn run(args: Args, global: &Global) -> Result<ExitCode> {
    let mut tail = Tail::new(&args, global.json)?;
    let store = store::open(global.url(SERVER), &store::How::existing()).await?;
    let read = match args.follow {
        // Told to end, it ends well: what it printed is in its state.
        true => {
            let mut ending = Ending::new()?;
            tokio::select! {
                read = tail.read(&*store) => read,
                () = ending.wait() => Ok(End::Done),
            }
        }
        false => tail.read(&*store).await,
    };
    let closed = store.close().await;
    let end = read?;
    closed?;
    Ok(match end {
        End::Done => ExitCode::SUCCESS,
        End::Gap(gap) => {
            tail.tell(&gap);
            ExitCode::from(exit::GAP)
        }
    })
}

struct Tail {
    ask: TailTopic,
    follow: bool,
    json: bool,
    /// How many events may still be printed.
    left: u64,
    resume: Option<Resume>,
}

impl Tail {
    fn new(args: &Args, json: bool) -> Result<Self> {
        let resume = args.state.as_deref().map(Resume::new);
        let came = match &resume {
            Some(resume) => resume.read::<Came>()?,
            None => None,
        };
        let from = match (came, &resume) {
            (Some(came), Some(resume)) if came.topic != args.topic.as_str() => {
                return Err(resume.other_topic(&came.topic));
            }
            (Some(came), _) => ReadFrom::Position(came.next.parse()?),
            (None, _) => args.from.0,
        };
        let texts = |texts: &[String]| texts.iter().map(|text| Text::from(&**text)).collect();
        let ask = TailTopic {
            partition: args.partition,
            types: texts(&args.types),
            keys: texts(&args.keys),
            ..TailTopic::new(args.topic.clone(), from)
        };
        check::read(&ask)?;
        Ok(Self {
            ask,
            follow: args.follow,
            json,
            left: args.max.unwrap_or(u64::MAX),
            resume,
        })
    }

    /// Reads on and prints, until there is no more of it.
    async fn read(&mut self, store: &dyn Store) -> Result<End> {
        let mut stop = None;
        loop {
            let most = u32::try_from(self.left).unwrap_or(u32::MAX);
            self.ask.max = most.min(limits::READ_EVENTS_DEFAULT);
            let page = match self.page(store, stop.is_some()).await? {
                TopicRead::Page(page) => page,
                TopicRead::Gap(gap) => return Ok(End::Gap(gap)),
            };
            self.print(&page)?;
            self.left -= page.events.len() as u64;
            // A topic that is published to all the time has no end; where it was is one.
            let stop = *stop.get_or_insert(page.end);
            if self.left == 0 {
                if page.next < page.end && !self.json {
                    print::note(&format!("there are more: --from {}", page.next));
                }
                return Ok(End::Done);
            }
            if !self.follow && page.next >= stop {
                return Ok(End::Done);
            }
            self.ask.from = ReadFrom::Position(page.next);
            if self.follow {
                self.ask.wait_ms = limits::WAIT_MS_MAX;
            }
        }
    }

    /// The next page. Whoever follows stays through a restart of the server, once it began.
    async fn page(&self, store: &dyn Store, began: bool) -> Result<TopicRead> {
        let mut pause = Duration::from_millis(100);
        let mut told = false;
        loop {
            match store.read(self.ask.clone()).await {
                Err(error) if self.follow && began && error.is_retryable() => {
                    if !told {
                        print::warning(&format!("nothing is read now, trying again: {error}"));
                        told = true;
                    }
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_secs(3));
                }
                read => return read,
            }
        }
    }

    fn print(&self, page: &EventPage) -> Result<()> {
        let mut text = String::new();
        for event in &page.events {
            text.push_str(&match self.json {
                true => json(event)?,
                false => plain(event),
            });
            text.push('\n');
        }
        if !text.is_empty() {
            print::lines(&text)?;
        }
        let Some(resume) = &self.resume else {
            return Ok(());
        };
        if self.ask.from == ReadFrom::Position(page.next) {
            return Ok(());
        }
        print::sync()?;
        resume.write(&Came {
            topic: self.ask.topic.to_string(),
            next: page.next.to_string(),
        })
    }

    /// Says that what was to be read is gone.
    fn tell(&self, gap: &Gap) {
        let topic = &self.ask.topic;
        let why = match gap.reason {
            GapReason::Retention => "it was kept no longer",
            GapReason::History => {
                "that place is of another history: of a topic that was deleted, or of another store"
            }
            GapReason::Damage => "it is damaged on the disk; `posthaste verify` tells more",
        };
        let message = format!(
            "what was to be read of {topic} at {} is gone: {why}",
            wire::ReadFrom(self.ask.from)
        );
        let earliest = gap.earliest;
        let next = match self.resume {
            None => format!("read on from the earliest that is there: --from {earliest}"),
            Some(_) => format!(
                "remove the file of --state, and read on from the earliest that is there: --from \
                 {earliest}"
            ),
        };
        print::note(&if self.json {
            serde_json::json!({
                "error": "gap",
                "message": message,
                "next": next,
                "command": null,
                "reason": gap.reason.as_str(),
                "earliest": earliest.to_string(),
                "end": gap.end.to_string(),
            })
            .to_string()
        } else {
            format!("error: {message}\nnext: {next}")
        });
    }
}

/// One event as JSON, on one line.
fn json(event: &Event) -> Result<String> {
    let text = serde_json::to_string(&WrittenEvent(event)).map_err(|error| {
        Error::new(
            ErrorKind::Invalid,
            format!(
                "the event at {} can't be written as JSON: {error}",
                event.position
            ),
        )
        .next("read on behind it")
    })?;
    // JSON that was published over several lines is passed through as it is. Within its strings a
    // line's end is escaped; anywhere else it is space.
    Ok(match text.contains(['\n', '\r']) {
        true => text.replace(['\n', '\r'], " "),
        false => text,
    })
}

/// One event for people, on one line.
fn plain(event: &Event) -> String {
    let payload = event.payload.as_ref().map(payload::shown);
    let line = format!(
        "{}  {}:{}  {}  {}  {}",
        wire::Instant(event.at),
        event.partition,
        event.offset,
        event.event_type,
        event.key.as_ref().map_or("-", Text::as_str),
        payload.as_deref().unwrap_or("(tombstone)"),
    );
    // A payload does not get at the terminal.
    line.replace(char::is_control, " ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use posthaste::wire::event::CloudEvent;
    use posthaste_core::{Payload, Position, WallMs};

    fn event(payload: Payload) -> Event {
        Event {
            position: Position {
                epoch: 1,
                topic: 2,
                sequence: 3,
            },
            partition: 1,
            offset: 7,
            at: WallMs(1_000),
            id: "a".into(),
            event_type: "order.placed".into(),
            source: "shop".into(),
            key: Some("k".into()),
            headers: vec![("subject".into(), "s".into())],
            payload: Some(payload),
        }
    }

    #[test]
    fn an_event_is_one_line_that_reads_back() {
        for payload in [
            Payload::json("{\n  \"a\": \"b\\nc\",\r\n  \"d\": [1,\n2]\n}"),
            Payload::bytes("text/plain", "two\nlines"),
            Payload::bytes("application/octet-stream", vec![0, 10, 255]),
        ] {
            let event = event(payload);
            let line = json(&event).expect("written");
            assert!(!line.contains(['\n', '\r']), "{line}");
            let read: CloudEvent = wire::parse(line.as_bytes()).expect("an event");
            let read = read.read().expect("an event");
            let value =
                |payload: &Payload| serde_json::from_slice::<serde_json::Value>(&payload.bytes);
            let (read, of) = (read.payload.expect("one"), event.payload.expect("one"));
            assert_eq!(read.content_type, of.content_type);
            match of.content_type {
                None => assert_eq!(value(&read).ok(), value(&of).ok()),
                Some(_) => assert_eq!(read.bytes, of.bytes),
            }
        }
    }

    #[test]
    fn an_event_is_one_line_for_people() {
        let shown = |payload| plain(&event(payload));
        assert_eq!(
            shown(Payload::json("{\"a\": 1}")),
            "1970-01-01T00:00:01.000Z  1:7  order.placed  k  {\"a\": 1}"
        );
        let hostile = shown(Payload::bytes("text/plain", "a\u{1b}[2Jb\nc"));
        assert!(hostile.ends_with("a [2Jb c"), "{hostile}");
    }
}
