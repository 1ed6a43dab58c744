//! Clients outside the process that is killed. They write down everything.

mod jobs;
mod member;
mod publish;
mod read;
mod watch;

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::draw::Draw;
use crate::history::{Answer, Label, Place, Published, Recorder, Seen};
use crate::http::{Connection, Sent};
use crate::server;

const QUEUE: &str = "torture";
/// The topic whose events the groups handle.
pub(crate) const ORDERS: &str = "orders";
/// The topic to which members publish what comes of that.
pub(crate) const EFFECTS: &str = "effects";
/// The groups, by topic and name. The first parks what fails too often; the second gives it up.
pub(crate) const GROUPS: [&str; 2] = ["orders/mails", "orders/ledger"];
/// How long a client waits for the server to come back before it looks whether it is all over.
const PATIENCE: Duration = Duration::from_millis(200);
/// The lengths of leases, in milliseconds.
const LEASES_MS: [u64; 2] = [500, 3_000];

/// What all clients share.
#[derive(Debug)]
pub(crate) struct Scene {
    pub(crate) place: server::Place,
    pub(crate) recorder: Recorder,
    /// Enqueue no more; work off what is there.
    pub(crate) draining: AtomicBool,
    /// Stop.
    pub(crate) over: AtomicBool,
    labels: AtomicU64,
    /// Jobs whose worker died once. Twice is enough for nobody: five times is poison.
    abandoned: Mutex<HashSet<Label>>,
    /// The same of events, by group.
    abandoned_in: Mutex<HashSet<(&'static str, Label)>>,
}

impl Scene {
    pub(crate) fn new() -> Self {
        Self {
            place: server::Place::default(),
            recorder: Recorder::new(),
            draining: AtomicBool::new(false),
            over: AtomicBool::new(false),
            labels: AtomicU64::new(1),
            abandoned: Mutex::new(HashSet::new()),
            abandoned_in: Mutex::new(HashSet::new()),
        }
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    fn abandon(&self, label: Label) -> bool {
        let mut abandoned = self
            .abandoned
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        abandoned.insert(label)
    }

    /// True where nobody gave up one of these in that group before.
    fn abandon_in(&self, group: &'static str, labels: impl Iterator<Item = Label>) -> bool {
        let mut abandoned = self
            .abandoned_in
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let labels: Vec<_> = labels.map(|label| (group, label)).collect();
        let fresh = labels.iter().all(|it| !abandoned.contains(it));
        if fresh {
            abandoned.extend(labels);
        }
        fresh
    }
}

/// One client with a connection of its own.
#[derive(Debug)]
pub(crate) struct Client<'a> {
    scene: &'a Scene,
    number: u32,
    draw: Draw,
    connection: Connection,
}

impl<'a> Client<'a> {
    pub(crate) fn new(scene: &'a Scene, number: u32, seed: u64) -> Self {
        Self {
            scene,
            number,
            draw: Draw::new(seed, u64::from(number)),
            connection: Connection::default(),
        }
    }

    fn post(&mut self, address: SocketAddr, path: &str, key: Option<&str>, body: &Value) -> Sent {
        self.connection.send(address, "POST", path, key, Some(body))
    }

    /// The server is not there: lets others run, and says whether it is all over.
    fn pause(&self) -> bool {
        thread::yield_now();
        self.scene.is_over()
    }
}

/// The ids of an answer to an enqueue.
fn ids(body: &Value) -> Vec<String> {
    let jobs = body["jobs"].as_array().map_or(&[][..], Vec::as_slice);
    let ids = jobs.iter().filter_map(|job| job["id"].as_str());
    ids.map(str::to_owned).collect()
}

/// The ids of the jobs among the replies of a commit.
fn job_ids(replies: &Value) -> Vec<String> {
    let replies = replies.as_array().map_or(&[][..], Vec::as_slice);
    let ids = replies
        .iter()
        .filter_map(|it| it["enqueued"]["id"].as_str());
    ids.map(str::to_owned).collect()
}

/// Where the events are that the replies of a commit tell of.
fn events_of(replies: &Value) -> Vec<Published> {
    let replies = replies.as_array().map_or(&[][..], Vec::as_slice);
    let published = replies.iter().map(|it| &it["published"]["events"]);
    published.flat_map(places).collect()
}

/// Where events are, as the answer to publishing tells it.
fn places(events: &Value) -> Vec<Published> {
    let events = events.as_array().map_or(&[][..], Vec::as_slice);
    let published = |event: &Value| Published {
        place: Place {
            partition: event["partition"].as_u64().unwrap_or(u64::MAX),
            offset: event["offset"].as_u64().unwrap_or(u64::MAX),
            cursor: event["cursor"].as_str().unwrap_or_default().to_owned(),
        },
        existing: event["existing"] == true,
    };
    events.iter().map(published).collect()
}

/// An event as it is read: a `CloudEvent` with its place.
fn seen(event: &Value) -> Seen {
    // CloudEvents write an offset as text: it has more bits than their numbers.
    let offset = event["offset"].as_str().and_then(|it| it.parse().ok());
    Seen {
        label: event["data"]["label"].as_u64().unwrap_or(0),
        key: event["partitionkey"].as_str().map(str::to_owned),
        place: Place {
            partition: event["partition"].as_u64().unwrap_or(u64::MAX),
            offset: offset.unwrap_or(u64::MAX),
            cursor: event["cursor"].as_str().unwrap_or_default().to_owned(),
        },
        attempt: (0, 0),
    }
}

/// What became of a request whose answer says no more than that; `None` where it was not sent.
fn done(sent: &Sent) -> Option<Answer<()>> {
    match sent {
        Sent::Unsent => None,
        Sent::Answered {
            status: 200..=299, ..
        } => Some(Answer::Ok(())),
        Sent::Answered {
            status: 400..=499, ..
        } => Some(Answer::Fail),
        Sent::Answered { .. } | Sent::Unknown => Some(Answer::Unknown),
    }
}
