//! `publish --import`: the events of a file, in order, a commit for as many as one may have.
//!
//! Its state says up to which byte of the input everything is published. It is written after each
//! commit: a run that ends in between publishes that commit's events once more, under their own
//! ids, by which the topic knows them for ten minutes.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use posthaste::wire;
use posthaste::wire::event::CloudEvent;
use posthaste_core::{Error, ErrorKind, NewEvent, Result, Store, TopicName, check, limits};
use serde::{Deserialize, Serialize};

use super::super::enqueue::of_line;
use super::super::print;
use super::super::resume::Resume;
use super::publish;

/// After how many events progress is told.
const TELL_EVERY: u64 = 100_000;

/// How far an import came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Came {
    /// To which topic.
    topic: String,
    /// So many bytes of the input.
    bytes: u64,
    /// So many lines of it.
    lines: u64,
}

/// What is imported, behind what was imported before.
pub(super) struct Input {
    lines: BufReader<Box<dyn Read>>,
    came: Came,
    /// How many bytes there are, where that is known.
    size: Option<u64>,
    resume: Option<Resume>,
}

impl Input {
    /// Opens a file, or standard input (`-`), and passes over what `state` says is published.
    ///
    /// # Errors
    /// `Invalid` where it can't be read, or is shorter than what was read of it before.
    pub(super) fn open(path: &Path, state: Option<&Path>, topic: &TopicName) -> Result<Self> {
        let resume = state.map(Resume::new);
        let came = match &resume {
            Some(resume) => resume.read::<Came>()?,
            None => None,
        };
        let came = came.unwrap_or_else(|| Came {
            topic: topic.to_string(),
            bytes: 0,
            lines: 0,
        });
        if let Some(resume) = resume.as_ref().filter(|_| came.topic != topic.as_str()) {
            return Err(resume.other_topic(&came.topic));
        }
        let (read, size) = begin(path, came.bytes).map_err(|error| {
            let path = path.display();
            Error::new(ErrorKind::Invalid, format!("cannot read {path}: {error}"))
                .next("name a file that can be read, or - for standard input")
        })?;
        Ok(Self {
            lines: BufReader::new(read),
            came,
            size,
            resume,
        })
    }

    /// The next line, with its end; `None` where there is none.
    fn line(&mut self) -> Result<Option<Vec<u8>>> {
        let mut line = Vec::new();
        let most = limits::IMPORT_LINE_BYTES_MAX as u64 + 1;
        let mut limited = self.lines.by_ref().take(most);
        let read = limited.read_until(b'\n', &mut line);
        let read = read.map_err(|error| {
            Error::new(ErrorKind::Io, format!("cannot read the input: {error}"))
                .next("see to where it comes from")
        })?;
        if read > limits::IMPORT_LINE_BYTES_MAX {
            let most = limits::IMPORT_LINE_BYTES_MAX;
            return Err(Error::new(
                ErrorKind::TooLarge,
                format!("line {} is longer than {most} bytes", self.came.lines + 1),
            )
            .next("give one event in each line, with its payload within 1 MiB"));
        }
        self.came.bytes += read as u64;
        self.came.lines += u64::from(read > 0);
        Ok((read > 0).then_some(line))
    }

    /// Events for one commit: as many as fit its limits. None at the end of the input.
    fn batch(&mut self) -> Result<Vec<(u64, NewEvent)>> {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        // Half of what a commit may have, because bytes grow by a third on their way to a server.
        while batch.len() < limits::EVENTS_PER_COMMIT_MAX && bytes < limits::COMMIT_BYTES_MAX / 2 {
            let Some(line) = self.line()? else {
                break;
            };
            if line.trim_ascii().is_empty() {
                continue;
            }
            bytes += line.len();
            let number = self.came.lines;
            let event = event(&line);
            let event = event.map_err(|error| of_line(error.at_command(0), &[number]))?;
            batch.push((number, event));
        }
        Ok(batch)
    }

    /// How much of the input has been read, in words.
    fn share(&self) -> String {
        let of = self.size.filter(|size| *size > 0);
        of.map_or_else(String::new, |size| {
            format!(" ({} %)", self.came.bytes.min(size) * 100 / size)
        })
    }
}

/// What is left of the input behind its first bytes, and its size where that is known.
fn begin(path: &Path, passed: u64) -> io::Result<(Box<dyn Read>, Option<u64>)> {
    let short = |found: u64| {
        let why = format!("it has {found} bytes, and {passed} of it were imported before");
        io::Error::new(io::ErrorKind::UnexpectedEof, why)
    };
    if path != Path::new("-") {
        let mut file = File::open(path)?;
        let known = file.metadata()?;
        if known.is_file() {
            if known.len() < passed {
                return Err(short(known.len()));
            }
            file.seek(SeekFrom::Start(passed))?;
            return Ok((Box::new(file), Some(known.len())));
        }
        return Ok((Box::new(skip(file, passed, short)?), None));
    }
    Ok((Box::new(skip(io::stdin(), passed, short)?), None))
}

fn skip<R: Read>(mut input: R, bytes: u64, short: impl Fn(u64) -> io::Error) -> io::Result<R> {
    let found = io::copy(&mut input.by_ref().take(bytes), &mut io::sink())?;
    if found == bytes {
        Ok(input)
    } else {
        Err(short(found))
    }
}

/// The event of one line.
fn event(line: &[u8]) -> Result<NewEvent> {
    let event = wire::parse::<CloudEvent>(line)?.read()?;
    check::new_event(&event)?;
    Ok(event)
}

/// Imports everything that is left of `input`.
pub(super) async fn run(
    mut input: Input,
    topic: TopicName,
    store: &dyn Store,
    json: bool,
) -> Result<()> {
    let (mut published, mut existing, mut told) = (0_u64, 0_u64, 0_u64);
    let mut done = input.came.clone();
    loop {
        let batch = input
            .batch()
            .map_err(|error| after(&error, &input, &done))?;
        if batch.is_empty() {
            break;
        }
        let (numbers, events): (Vec<u64>, Vec<NewEvent>) = batch.into_iter().unzip();
        let places = publish(store, topic.clone(), events).await;
        let places = places.map_err(|error| {
            let first = numbers.first().copied().unwrap_or_default();
            let named = Error::new(
                error.kind(),
                format!("lines {first} to {}: {}", input.came.lines, error.message()),
            );
            let named = match error.next_step() {
                Some(next) => named.next(next),
                None => named,
            };
            after(&named, &input, &done)
        })?;
        let known = places.iter().filter(|place| place.existing).count() as u64;
        existing += known;
        published += places.len() as u64 - known;
        done = input.came.clone();
        if let Some(resume) = &input.resume {
            resume.write(&done)?;
        }
        if published + existing >= told + TELL_EVERY {
            told = published + existing;
            print::note(&format!("{told} so far{}", input.share()));
        }
    }
    if json {
        print::json(&serde_json::json!({"published": published, "existing": existing}));
    } else {
        print::line(&format!(
            "{published} events published, {existing} were there before"
        ));
    }
    Ok(())
}

/// Says what is done already when something fails, so that the rest can be sent.
fn after(error: &Error, input: &Input, done: &Came) -> Error {
    let next = error.next_step().unwrap_or("see what is wrong with it");
    let so_far = match (done.lines, &input.resume) {
        (0, _) => "nothing was published before it".to_owned(),
        (lines, None) => format!("everything up to line {lines} is published, go on behind it"),
        (lines, Some(_)) => {
            format!("everything up to line {lines} is published, the same command goes on there")
        }
    };
    Error::new(error.kind(), error.message()).next(format!("{next}; {so_far}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(text: &str) -> Input {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("events");
        std::fs::write(&path, text).expect("a file");
        Input::open(&path, None, &topic()).expect("it is there")
    }

    fn topic() -> TopicName {
        "orders".parse().expect("a name")
    }

    fn line(id: u32) -> String {
        format!(r#"{{"specversion":"1.0","id":"{id}","source":"test","type":"t","data":{id}}}"#)
    }

    #[test]
    fn lines_are_events_and_empty_ones_are_passed_over() {
        let text = format!("{}\n\n \r\n{}\r\n{}", line(1), line(2), line(3));
        let mut input = input(&text);
        let batch = input.batch().expect("three events");
        let numbers: Vec<u64> = batch.iter().map(|(number, _)| *number).collect();
        assert_eq!(numbers, [1, 4, 5]);
        assert!(batch.iter().all(|(_, event)| event.deduplicate));
        assert_eq!(input.came.bytes, text.len() as u64);
        assert!(input.batch().expect("its end").is_empty());
    }

    #[test]
    fn a_commit_takes_a_thousand() {
        let text: String = (0..1_500).map(|id| line(id) + "\n").collect();
        let mut input = input(&text);
        let first = input.batch().expect("events");
        assert_eq!((first.len(), input.came.lines), (1_000, 1_000));
        let bytes: usize = (0..1_000).map(|id| line(id).len() + 1).sum();
        assert_eq!(input.came.bytes, bytes as u64);
        assert_eq!(input.batch().expect("the rest").len(), 500);
    }

    #[test]
    fn a_line_that_is_no_event_is_told_by_its_number() {
        for (bad, says) in [
            ("{", "line 2: the body is not JSON"),
            ("{}", "line 2: the attribute \"specversion\""),
            (
                r#"{"specversion":"1.0","id":"","source":"s","type":"t"}"#,
                "line 2: the attribute \"id\"",
            ),
            (
                r#"{"specversion":"1.0","id":"1","source":"s","type":"t"}"#,
                "line 2: the event \"1\" has neither",
            ),
        ] {
            let error = input(&format!("{}\n{bad}\n", line(1))).batch();
            let error = error.expect_err("refused");
            assert!(error.message().starts_with(says), "{error}");
        }
    }

    #[test]
    fn a_line_has_an_end_somewhere() {
        let text = format!("\n{}", "x".repeat(limits::IMPORT_LINE_BYTES_MAX + 1));
        let error = input(&text).batch().expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::TooLarge);
        assert!(error.message().starts_with("line 2 is longer"), "{error}");
    }
}
