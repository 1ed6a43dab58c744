//! `groups parked`, `groups dead` and `groups redrive`: what a group gave up on.

use posthaste::wire;
use posthaste_core::group::{KeptEvent, KeptPage, Unparking, Which};
use posthaste_core::port::KeptAsk;
use posthaste_core::topic::hash_of;
use posthaste_core::{Command as Verb, Error, ErrorKind, Reply, Result, Store, Text, limits};

use super::{Names, commit, find};
use crate::cli::{payload, print};

/// Parked events, and what becomes of them.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Parked {
    #[command(flatten)]
    names: Names,
    /// What becomes of them; without it they are listed
    #[arg(value_enum, requires = "which")]
    how: Option<How>,
    #[command(flatten)]
    chosen: Chosen,
    #[command(flatten)]
    most: Most,
}

/// What becomes of parked events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum How {
    /// They are handed out again, with all their attempts
    Release,
    /// They are forgotten
    Skip,
}

/// Dead letters, and what becomes of them.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Dead {
    #[command(flatten)]
    names: Names,
    /// Have them handled again; without it they are listed
    #[arg(value_enum, requires = "which")]
    how: Option<Again>,
    #[command(flatten)]
    chosen: Chosen,
    #[command(flatten)]
    most: Most,
}

/// What becomes of dead letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Again {
    /// They are handled again, with all their attempts
    Redrive,
}

/// Dead letters that are handled again.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Redrive {
    #[command(flatten)]
    names: Names,
    #[command(flatten)]
    chosen: Chosen,
}

/// Which of them.
#[derive(Clone, Debug, clap::Args)]
#[group(id = "which", multiple = false)]
struct Chosen {
    /// The one at this position: a number, or the cursor that came with it
    #[arg(long, value_name = "POSITION", value_parser = place)]
    position: Option<wire::EventPlace>,
    /// Those of this key
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// All of them
    #[arg(long)]
    all: bool,
}

/// How many to list.
#[derive(Clone, Copy, Debug, clap::Args)]
struct Most {
    /// Most events to list
    #[arg(long, default_value_t = 100, value_name = "N",
        value_parser = clap::value_parser!(u32).range(1..))]
    max: u32,
}

fn place(text: &str) -> Result<wire::EventPlace> {
    match text.parse() {
        Ok(sequence) => Ok(wire::EventPlace::at(sequence)),
        Err(_) => wire::EventPlace::of_cursor(text),
    }
}

impl Chosen {
    async fn which(&self, names: &Names, store: &dyn Store) -> Result<Which> {
        if let Some(place) = self.position {
            if let Some(position) = place.position
                && !position.is_of(find(store, names).await?.end)
            {
                let what = format!(
                    "the cursor {} is of another history than the topic {}",
                    position.plus(1),
                    names.topic
                );
                let error = Error::new(ErrorKind::Invalid, what);
                return Err(error.next("give the cursor that was listed with the event"));
            }
            return Ok(Which::At(place.sequence));
        }
        match &self.key {
            Some(key) => Ok(Which::Key(hash_of(key.as_bytes()))),
            None if self.all => Ok(Which::All),
            None => Err(
                Error::new(ErrorKind::Invalid, "it is not said which events are meant")
                    .next("give one of --position, --key and --all"),
            ),
        }
    }

    /// Without a word for what becomes of them, there is nothing to choose.
    fn is_given(&self) -> bool {
        self.position.is_some() || self.key.is_some() || self.all
    }
}

pub(super) async fn parked(parked: Parked, store: &dyn Store, json: bool) -> Result<()> {
    let how = match parked.how {
        Some(How::Release) => Unparking::Release,
        Some(How::Skip) => Unparking::Skip,
        None => {
            undecided(&parked.chosen, "release or skip")?;
            return list(&parked.names, false, parked.most.max, store, json).await;
        }
    };
    let which = parked.chosen.which(&parked.names, store).await?;
    let verb = || Verb::Unpark {
        topic: parked.names.topic.clone(),
        group: parked.names.group.clone(),
        which,
        how,
    };
    let word = match how {
        Unparking::Release => "released",
        Unparking::Skip => "skipped",
    };
    moved(verb, which, word, store, json).await
}

pub(super) async fn dead(dead: Dead, store: &dyn Store, json: bool) -> Result<()> {
    let Dead { names, chosen, .. } = dead;
    match dead.how {
        Some(Again::Redrive) => redrive(Redrive { names, chosen }, store, json).await,
        None => {
            undecided(&chosen, "redrive")?;
            list(&names, true, dead.most.max, store, json).await
        }
    }
}

pub(super) async fn redrive(redrive: Redrive, store: &dyn Store, json: bool) -> Result<()> {
    let Names { topic, group } = &redrive.names;
    let which = redrive.chosen.which(&redrive.names, store).await?;
    let verb = || Verb::Redrive {
        topic: topic.clone(),
        group: group.clone(),
        which,
    };
    moved(verb, which, "redriven", store, json).await
}

fn undecided(chosen: &Chosen, words: &str) -> Result<()> {
    if !chosen.is_given() {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Invalid,
        "it is not said what becomes of the events",
    )
    .next(format!(
        "say {words} behind the group, or leave them out to list all"
    )))
}

/// Does it, a slice at a time, and says how many events it was.
async fn moved(
    verb: impl Fn() -> Verb,
    which: Which,
    word: &str,
    store: &dyn Store,
    json: bool,
) -> Result<()> {
    let mut changed = 0;
    loop {
        let reply = commit(store, verb()).await?;
        let Some(Reply::EventsMoved { events, left }) = reply else {
            return Err(Error::new(
                ErrorKind::Uncertain,
                format!("the store did not say how many events were {word}"),
            )
            .next("list them to see whether they are still there"));
        };
        changed += u64::from(events);
        if left == 0 || events == 0 || matches!(which, Which::At(_)) {
            break;
        }
    }
    if json {
        print::json(&serde_json::json!({"changed": changed}));
    } else {
        print::line(&format!("{changed} events {word}"));
    }
    Ok(())
}

/// Lists up to `max` events, page by page.
async fn list(names: &Names, dead: bool, max: u32, store: &dyn Store, json: bool) -> Result<()> {
    let mut kept = KeptPage::default();
    let most = max as usize;
    loop {
        let left = u32::try_from(most - kept.events.len()).unwrap_or(limits::PAGE_MAX);
        let ask = KeptAsk {
            topic: names.topic.clone(),
            group: names.group.clone(),
            dead,
            cursor: kept.next,
            max: left.min(limits::PAGE_MAX),
        };
        let page = store.kept(ask).await?;
        kept.events.extend(page.events);
        kept.next = page.next;
        if kept.next.is_none() || kept.events.len() >= most {
            break;
        }
    }
    if json {
        print::json(&wire::WrittenKeptPage::write(&kept));
        return Ok(());
    }
    let rows: Vec<_> = kept.events.iter().map(row).collect();
    print::table(
        &[
            "POSITION", "TYPE", "KEY", "REASON", "ATTEMPTS", "SINCE", "ERROR", "PAYLOAD",
        ],
        &rows,
    );
    if kept.next.is_some() {
        print::note(&format!(
            "the first {}; there are more: --max {}",
            kept.events.len(),
            u64::from(max) * 10
        ));
    }
    Ok(())
}

fn row(kept: &KeptEvent) -> Vec<String> {
    let event = &kept.event;
    let error = kept.error.as_deref().unwrap_or("-");
    let payload = event.payload.as_ref().map(payload::shown);
    let cells = [
        event.position.sequence.to_string(),
        event.event_type.to_string(),
        event.key.as_ref().map_or("-", Text::as_str).to_owned(),
        kept.reason.as_str().to_owned(),
        kept.attempts.to_string(),
        wire::Instant(kept.at).to_string(),
        error.lines().next().unwrap_or("-").to_owned(),
        payload.unwrap_or_else(|| "(tombstone)".to_owned()),
    ];
    // What others published does not get at the terminal.
    cells.map(|cell| cell.replace(char::is_control, " ")).into()
}
