//! `topics`: what they hold, how much of it they keep, and making and deleting them.

use std::time::Duration;

use posthaste::wire;
use posthaste_core::topic::{Compression, TopicConfig, TopicSettings, TopicView};
use posthaste_core::{
    Command as Verb, Commit, Error, ErrorKind, Result, Store, TopicName, duration, suggest,
};

use super::config::span;
use super::{Global, SERVER, print, size, store};

/// What to do with topics.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// List every topic and how much it holds
    List,
    /// Show everything that is known of a topic
    Show {
        /// The topic
        topic: TopicName,
    },
    /// Set what is given of a topic's settings; makes the topic where there is none
    Set(Set),
    /// Forget a topic and every event of it
    Delete {
        /// The topic
        topic: TopicName,
        /// Do it
        #[arg(long)]
        yes: bool,
    },
}

/// A topic's settings. What is not given stays as it is; a new topic has the defaults.
#[derive(Debug, clap::Args)]
pub(super) struct Set {
    /// The topic
    topic: TopicName,
    /// How many partitions, 1 to 256; fixed once the topic is there [default: 4]
    #[arg(long, value_name = "N")]
    partitions: Option<u16>,
    /// For how long events are kept at least; 0s is for ever [default: 7d]
    #[arg(long, value_name = "DURATION", value_parser = span)]
    kept: Option<Duration>,
    /// How many bytes of events are kept at least, such as 512MiB; 0 is no limit [default: 10GiB]
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    kept_bytes: Option<u64>,
    /// How many events are kept at least; 0 is no limit [default: 0]
    #[arg(long, value_name = "N")]
    kept_events: Option<u64>,
    /// Of events of one key, only the newest is sure to be kept; --compacted=false ends that
    #[arg(
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    compacted: Option<bool>,
    /// For how long compaction keeps a tombstone [default: 24h]
    #[arg(long, value_name = "DURATION", value_parser = span)]
    tombstones_kept: Option<Duration>,
    /// How events are kept that left the journal: none or lz4 [default: none]
    #[arg(long, value_name = "WORD", value_parser = compression)]
    compression: Option<Compression>,
}

fn compression(word: &str) -> Result<Compression> {
    Compression::from_word(word).ok_or_else(|| {
        let known = [Compression::None, Compression::Lz4].map(Compression::as_str);
        let error = Error::new(
            ErrorKind::Invalid,
            format!("the compression {word:?} is unknown"),
        );
        match suggest::nearest(word, known) {
            Some(near) => error.next(format!("did you mean {near:?}?")),
            None => error.next(format!("known: {}", known.join(", "))),
        }
    })
}

impl Set {
    fn settings(&self) -> TopicSettings {
        let ms = |time: Option<Duration>| {
            time.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
        };
        TopicSettings {
            partitions: self.partitions,
            kept_ms: ms(self.kept),
            kept_bytes: self.kept_bytes,
            kept_events: self.kept_events,
            compacted: self.compacted,
            tombstones_kept_ms: ms(self.tombstones_kept),
            compression: self.compression,
        }
    }
}

pub(super) async fn run(command: Command, global: &Global) -> Result<()> {
    let how = match command {
        Command::Set(_) => store::How::default(),
        _ => store::How::existing(),
    };
    let store = store::open(global.url(SERVER), &how).await?;
    let done = act(command, &*store, global.json).await;
    let closed = store.close().await;
    done.and(closed)
}

async fn act(command: Command, store: &dyn Store, json: bool) -> Result<()> {
    match command {
        Command::List => list(&store.topics().await?, json),
        Command::Show { topic } => show(&find(store, &topic).await?, json),
        Command::Set(set) => {
            let settings = set.settings();
            let topic = set.topic.clone();
            commit(store, Verb::SetTopic { topic, settings }).await?;
            show(&find(store, &set.topic).await?, json);
        }
        Command::Delete { topic, yes } => delete(store, topic, yes, json).await?,
    }
    Ok(())
}

async fn commit(store: &dyn Store, verb: Verb) -> Result<()> {
    for answer in store.commit(vec![Commit::one(verb)]).await? {
        answer?;
    }
    Ok(())
}

async fn find(store: &dyn Store, topic: &TopicName) -> Result<TopicView> {
    let topics = store.topics().await?;
    let names: Vec<_> = topics.iter().map(|of| of.name.to_string()).collect();
    let found = topics.into_iter().find(|of| of.name == *topic);
    found.ok_or_else(|| {
        let error = Error::new(ErrorKind::NotFound, format!("there is no topic {topic}"));
        let near = suggest::nearest(topic.as_str(), names.iter().map(String::as_str));
        match near {
            Some(near) => error.next(format!("did you mean {near:?}?")),
            None => error.next("see which there are: posthaste topics list"),
        }
    })
}

async fn delete(store: &dyn Store, topic: TopicName, yes: bool, json: bool) -> Result<()> {
    if !yes {
        let events = find(store, &topic).await?.events;
        return Err(Error::new(
            ErrorKind::Invalid,
            format!("the topic {topic} has {events} events, which would be gone"),
        )
        .next("give --yes to delete it"));
    }
    commit(store, Verb::DeleteTopic(topic.clone())).await?;
    if json {
        print::json(&serde_json::json!({"deleted": topic.to_string()}));
    } else {
        print::line(&format!("{topic} deleted"));
    }
    Ok(())
}

fn list(topics: &[TopicView], json: bool) {
    if json {
        let topics = topics.iter().map(wire::TopicView::write).collect();
        return print::json(&wire::Topics { topics });
    }
    let row = |topic: &TopicView| {
        vec![
            topic.name.to_string(),
            topic.config.partitions.to_string(),
            topic.end.sequence.to_string(),
            topic.events.to_string(),
            size::print(topic.bytes),
            kept(&topic.config),
            settings(&topic.config),
        ]
    };
    print::table(
        &[
            "TOPIC",
            "PARTITIONS",
            "PUBLISHED",
            "EVENTS",
            "BYTES",
            "KEPT",
            "SETTINGS",
        ],
        &topics.iter().map(row).collect::<Vec<_>>(),
    );
}

/// What is kept at least, in words.
fn kept(config: &TopicConfig) -> String {
    let limits = [
        (config.kept_ms > 0).then(|| duration::print_ms(config.kept_ms)),
        (config.kept_bytes > 0).then(|| size::print(config.kept_bytes)),
        (config.kept_events > 0).then(|| format!("{} events", config.kept_events)),
    ];
    let limits: Vec<String> = limits.into_iter().flatten().collect();
    if limits.is_empty() {
        "for ever".to_owned()
    } else {
        limits.join(", ")
    }
}

fn settings(config: &TopicConfig) -> String {
    let mut settings = Vec::new();
    if config.compacted {
        settings.push("compacted");
    }
    if config.compression != Compression::None {
        settings.push(config.compression.as_str());
    }
    settings.join(", ")
}

fn show(topic: &TopicView, json: bool) {
    if json {
        return print::json(&wire::TopicView::write(topic));
    }
    let config = &topic.config;
    let next: Vec<_> = topic.next_offsets.iter().map(u64::to_string).collect();
    let compacted = match config.compacted {
        true => format!(
            "by key, tombstones kept {}",
            duration::print_ms(config.tombstones_kept_ms)
        ),
        false => "no".to_owned(),
    };
    for (name, value) in [
        ("topic", topic.name.to_string()),
        ("made", wire::Instant(topic.created_at).to_string()),
        ("partitions", config.partitions.to_string()),
        ("published", topic.end.sequence.to_string()),
        ("events", topic.events.to_string()),
        ("bytes", size::print(topic.bytes)),
        ("kept", kept(config)),
        ("compacted", compacted),
        ("compression", config.compression.as_str().to_owned()),
        ("earliest", topic.earliest.to_string()),
        ("end", topic.end.to_string()),
        ("offsets", next.join(" ")),
    ] {
        print::line(&format!("{name:<13}{value}"));
    }
}
