//! Enqueuers and workers, outside the process that is killed. They write down everything.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::draw::Draw;
use crate::history::{Answer, Counters, Delivery, Label, Recorder, What};
use crate::http::{Connection, Sent};
use crate::server::Place;

const QUEUE: &str = "torture";
/// How long a client waits for the server to come back before it looks whether it is all over.
const PATIENCE: Duration = Duration::from_millis(200);
/// The lengths of leases, in milliseconds.
const LEASES_MS: [u64; 2] = [500, 3_000];

/// What all clients share.
#[derive(Debug)]
pub(crate) struct Scene {
    pub(crate) place: Place,
    pub(crate) recorder: Recorder,
    /// Enqueue no more; work off what is there.
    pub(crate) draining: AtomicBool,
    /// Stop.
    pub(crate) over: AtomicBool,
    labels: AtomicU64,
    /// Jobs whose worker died once. Twice is enough for nobody: five times is poison.
    abandoned: Mutex<HashSet<Label>>,
}

impl Scene {
    pub(crate) fn new() -> Self {
        Self {
            place: Place::default(),
            recorder: Recorder::new(),
            draining: AtomicBool::new(false),
            over: AtomicBool::new(false),
            labels: AtomicU64::new(1),
            abandoned: Mutex::new(HashSet::new()),
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

    /// Enqueues until the drain begins: one job or some together, half of them under a key and
    /// then sent again until it is known what became of them.
    pub(crate) fn enqueue(mut self) {
        while !self.scene.is_draining() && !self.scene.is_over() {
            let count = if self.draw.one_in(3) {
                self.draw.between(2, 12)
            } else {
                1
            };
            let first = self.scene.labels.fetch_add(count, Ordering::Relaxed);
            let labels: Vec<Label> = (first..first + count).collect();
            let key = self.draw.one_in(2).then(|| format!("k-{first}"));
            let in_field = count == 1 && self.draw.one_in(2);
            let delay_ms = if self.draw.one_in(8) {
                self.draw.between(1, 80)
            } else {
                0
            };
            let sure = || self.try_enqueue(&labels, key.as_deref(), in_field, delay_ms);
            let mut sure = sure;
            while !sure() {}
        }
    }

    /// One attempt. True when there is no sense in another.
    fn try_enqueue(
        &mut self,
        labels: &[Label],
        key: Option<&str>,
        in_field: bool,
        delay_ms: u64,
    ) -> bool {
        let Some(address) = self.scene.place.wait(PATIENCE) else {
            return self.scene.is_over();
        };
        let job = |label: &Label| {
            let mut job = json!({"kind": "work", "queue": QUEUE, "payload": {"label": label}});
            if delay_ms > 0 {
                job["delay"] = json!(format!("{delay_ms}ms"));
            }
            if let (Some(key), true) = (key, in_field) {
                job["idempotency_key"] = json!(key);
            }
            job
        };
        let body = match labels {
            [label] => job(label),
            labels => labels.iter().map(job).collect(),
        };
        let header = key.filter(|_| !in_field);
        let invoked = self.scene.recorder.now();
        let answer = match self.post(address, "/v1/jobs", header, &body) {
            Sent::Unsent => return self.pause(),
            Sent::Answered {
                status: 200 | 201,
                body,
            } => Answer::Ok(ids(&body)),
            Sent::Answered {
                status: 400..=499, ..
            } => Answer::Fail,
            Sent::Answered { .. } | Sent::Unknown => Answer::Unknown,
        };
        let again = answer == Answer::Unknown && key.is_some();
        let what = What::Enqueue {
            labels: labels.to_vec(),
            key: key.map(str::to_owned),
            delay_ms,
            answer,
        };
        self.scene.recorder.add(self.number, invoked, what);
        !again
    }

    /// The server is not there: lets others run, and says whether it is all over.
    fn pause(&self) -> bool {
        thread::yield_now();
        self.scene.is_over()
    }

    /// Leases and settles until it is all over.
    pub(crate) fn work(mut self) {
        while !self.scene.is_over() {
            let lease_ms = LEASES_MS[usize::from(!self.draw.one_in(4))];
            for delivery in self.lease(lease_ms) {
                self.handle(&delivery, lease_ms);
            }
        }
    }

    fn lease(&mut self, lease_ms: u64) -> Vec<Delivery> {
        let Some(address) = self.scene.place.wait(PATIENCE) else {
            return Vec::new();
        };
        let max = if self.scene.is_draining() {
            200
        } else {
            self.draw.between(1, 20)
        };
        let ask = json!({
            "queues": [QUEUE], "max": max, "wait": "20ms",
            "lease": format!("{lease_ms}ms"), "worker": format!("worker-{}", self.number),
        });
        let invoked = self.scene.recorder.now();
        let answer = match self.post(address, "/v1/leases", None, &ask) {
            Sent::Unsent => {
                self.pause();
                return Vec::new();
            }
            Sent::Answered { status: 200, body } => Answer::Ok(deliveries(&body)),
            Sent::Answered { .. } | Sent::Unknown => Answer::Unknown,
        };
        let jobs = answer.ok().cloned().unwrap_or_default();
        let what = What::Lease { lease_ms, answer };
        self.scene.recorder.add(self.number, invoked, what);
        jobs
    }

    fn handle(&mut self, delivery: &Delivery, lease_ms: u64) {
        let draining = self.scene.is_draining();
        let chance = self.draw.between(0, 99);
        let mut outcome = ("completed", 0);
        match chance {
            0..2 if !draining && self.scene.abandon(delivery.label) => return,
            2..5 if !draining => outcome = ("retry", self.draw.between(1, 60)),
            5..7 if !draining => outcome = ("snooze", self.draw.between(1, 60)),
            7..9 if !draining => outcome = ("release", 0),
            9 => outcome = ("dead", 0),
            10 => outcome = ("cancel", 0),
            11 if !draining && lease_ms == LEASES_MS[0] => {
                thread::sleep(Duration::from_millis(lease_ms + 100)); // a worker that is late
            }
            _ => {}
        }
        while !self.settle(delivery, outcome.0, outcome.1) {}
        if chance == 12 {
            self.settle(delivery, outcome.0, outcome.1); // a worker that says it twice
        }
    }

    /// One attempt. True when there is no sense in another.
    fn settle(&mut self, delivery: &Delivery, outcome: &str, delay_ms: u64) -> bool {
        let Some(address) = self.scene.place.wait(PATIENCE) else {
            return self.scene.is_over();
        };
        let mut item = json!({"id": delivery.id, "token": delivery.token, "outcome": outcome});
        if delay_ms > 0 {
            item["delay"] = json!(format!("{delay_ms}ms"));
        }
        match outcome {
            "completed" => item["result"] = json!({"label": delivery.label}),
            "retry" | "dead" | "cancel" => item["error"] = json!("drawn"),
            _ => {}
        }
        let invoked = self.scene.recorder.now();
        let answer = match self.post(address, "/v1/leases/settle", None, &json!([item])) {
            Sent::Unsent => return self.pause(),
            Sent::Answered { status: 200, body } => match body["results"][0]["status"].as_str() {
                Some(status) => Answer::Ok(status.to_owned()),
                None => Answer::Unknown,
            },
            Sent::Answered {
                status: 400..=499, ..
            } => Answer::Fail,
            Sent::Answered { .. } | Sent::Unknown => Answer::Unknown,
        };
        let known = answer != Answer::Unknown;
        let what = What::Settle {
            delivery: delivery.clone(),
            outcome: outcome.to_owned(),
            delay_ms,
            answer,
        };
        self.scene.recorder.add(self.number, invoked, what);
        known
    }

    /// What the server says of the queue.
    pub(crate) fn counters(&mut self) -> Option<Counters> {
        let address = self.scene.place.wait(PATIENCE)?;
        let sent = self
            .connection
            .send(address, "GET", "/v1/queues", None, None);
        let Sent::Answered { status: 200, body } = sent else {
            return None;
        };
        let queues = body["queues"].as_array()?;
        let queue = queues.iter().find(|queue| queue["name"] == QUEUE)?;
        let count = |name: &str| queue[name].as_u64().unwrap_or(0);
        let total = |name: &str| queue["totals"][name].as_u64().unwrap_or(0);
        let waiting = ["scheduled", "available", "running", "retryable"];
        Some(Counters {
            enqueued: total("enqueued"),
            deleted: total("deleted"),
            unfinished: waiting.into_iter().map(count).sum(),
            completed: count("completed"),
            dead: count("dead"),
            cancelled: count("cancelled"),
            completed_ever: total("completed"),
            dead_ever: total("dead"),
            cancelled_ever: total("cancelled"),
            redriven: total("redriven"),
        })
    }
}

fn ids(body: &Value) -> Vec<String> {
    let jobs = body["jobs"].as_array().map_or(&[][..], Vec::as_slice);
    let ids = jobs.iter().filter_map(|job| job["id"].as_str());
    ids.map(str::to_owned).collect()
}

fn deliveries(body: &Value) -> Vec<Delivery> {
    let jobs = body["jobs"].as_array().map_or(&[][..], Vec::as_slice);
    let delivery = |job: &Value| Delivery {
        label: job["payload"]["label"].as_u64().unwrap_or(0),
        id: job["id"].as_str().unwrap_or_default().to_owned(),
        token: job["token"].as_u64().unwrap_or(0),
    };
    jobs.iter().map(delivery).collect()
}
