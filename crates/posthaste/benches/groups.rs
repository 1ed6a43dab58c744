//! What it costs to handle events in a group: `cargo bench -p posthaste --bench groups`.
//!
//! Publishes small events over 64 keys, then has one consumer handle them, 64 keys at once, and prints
//! how many it handled a second, beside reading the same events without a group in the same run.

#![expect(clippy::print_stdout, reason = "a benchmark prints what it measured")]

use std::time::{Duration, Instant};

use posthaste::event::{EventCx, GroupSettings, Page, ReadFrom};
use posthaste::{Event, Posthaste};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

const EVENTS: u64 = 400_000;
const KEYS: u64 = 64;

#[derive(Serialize, Deserialize, Event)]
#[event(topic = "measured", key = "sensor")]
struct Measured {
    sensor: u64,
    number: u64,
    said: String,
}

async fn publish(hub: &Posthaste) -> posthaste::Result<()> {
    for from in (0..EVENTS).step_by(1_000) {
        let events = (from..from + 1_000).map(|number| Measured {
            sensor: number % KEYS,
            number,
            said: "x".repeat(128),
        });
        hub.publish_all(events).await?;
    }
    Ok(())
}

async fn read(hub: &Posthaste) -> posthaste::Result<Duration> {
    let begun = Instant::now();
    let mut tail = hub.topic_of::<Measured>().tail().from(ReadFrom::Earliest);
    let (mut left, mut bytes) = (EVENTS, 0);
    while left > 0 {
        match tail.next_page().await? {
            Page::Events(events) => {
                left -= events.len() as u64;
                bytes += events
                    .iter()
                    .filter_map(|event| event.payload.as_ref())
                    .count();
            }
            Page::Gap(gap) => panic!("{gap:?}"),
        }
    }
    assert!(bytes > 0);
    Ok(begun.elapsed())
}

async fn handle(hub: &Posthaste, in_flight: u32, with: bool) -> posthaste::Result<Duration> {
    static THROUGH: Notify = Notify::const_new();
    let group = hub.group_of::<Measured>(&format!("{in_flight}-{with}"));
    let settings = GroupSettings {
        in_flight: Some(in_flight),
        ..GroupSettings::default()
    };
    let consumer = group.consumer().from(ReadFrom::Earliest).settings(settings);
    let consumer = consumer.concurrency(64);
    let consumer = consumer.on(move |event: Measured, cx: EventCx| async move {
        if with {
            cx.commit_with_command(posthaste::Command::Publish {
                topic: "seen".parse()?,
                events: vec![posthaste::core::NewEvent::new(
                    event.number.to_string(),
                    "seen",
                    posthaste::Payload::json("1"),
                )],
            });
        }
        if event.number + 1 == EVENTS {
            THROUGH.notify_one();
        }
        posthaste::Done
    });
    let begun = Instant::now();
    consumer.run_until(THROUGH.notified()).await?;
    let took = begun.elapsed();
    Ok(took)
}

fn rate(what: &str, took: Duration) {
    let rate = f64::from(u32::try_from(EVENTS).expect("small")) / took.as_secs_f64();
    println!("{what}: {rate:.0} events/s");
}

#[tokio::main]
async fn main() -> posthaste::Result<()> {
    let dir = tempfile::tempdir().expect("a directory");
    for url in [
        "memory:".to_owned(),
        format!("file:{}", dir.path().display()),
    ] {
        println!("{}", url.split(':').next().unwrap_or_default());
        let hub = Posthaste::open(&url).await?;
        let begun = Instant::now();
        publish(&hub).await?;
        rate("  published, 1,000 a commit", begun.elapsed());
        rate("  read without a group", read(&hub).await?);
        for in_flight in [1_000, 4_000] {
            let took = handle(&hub, in_flight, false).await?;
            rate(&format!("  handled, {in_flight} in flight"), took);
        }
        let took = handle(&hub, 1_000, true).await?;
        rate("  handled, each with an event in its commit", took);
        hub.close().await?;
    }
    Ok(())
}
