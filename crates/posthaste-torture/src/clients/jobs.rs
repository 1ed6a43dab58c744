//! Clients of the queue: enqueuers and workers.

use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Client, LEASES_MS, PATIENCE, QUEUE, ids};
use crate::history::{Answer, Delivery, Label, What};
use crate::http::Sent;

impl Client<'_> {
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
            40
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
