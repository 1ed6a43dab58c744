//! Clients that publish: events alone, several together, and together with jobs.

use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use super::{Client, ORDERS, PATIENCE, QUEUE, events_of, job_ids, places};
use crate::history::{Answer, Label, NewEvent, OfTopic, Published, What};
use crate::http::Sent;

/// A key is in use for so many labels; one that was parked does not stop the rest for ever.
const KEY_LASTS: Label = 300;
/// Keys that are in use at a time.
const KEYS: u64 = 8;

/// What is to be published in one request.
struct Draft {
    events: Vec<NewEvent>,
    jobs: Vec<Label>,
    /// Each event has an id of its own, by which it is known when it comes again.
    chosen: bool,
    /// The idempotency key of the request.
    key: Option<String>,
    /// More of each payload.
    fill: String,
}

impl Client<'_> {
    /// Publishes until the drain begins. What can be told when it comes again, by an id or by the
    /// key of the request, is sent again until it is known what became of it.
    pub(crate) fn publish(mut self) {
        while !self.scene.is_draining() && !self.scene.is_over() {
            let draft = self.draft();
            while !self.try_publish(&draft) {}
        }
    }

    fn draft(&mut self) -> Draft {
        let count = match self.draw.one_in(3) {
            true => self.draw.between(2, 12),
            false => 1,
        };
        let jobs = match self.draw.one_in(4) {
            true => self.draw.between(1, 2),
            false => 0,
        };
        let first = self.scene.labels.fetch_add(count + jobs, Ordering::Relaxed);
        let mut key_of = |label: Label| {
            let keyed = !self.draw.one_in(6);
            let number = self.draw.between(1, KEYS);
            keyed.then(|| format!("key-{}-{number}", label / KEY_LASTS))
        };
        let mut events: Vec<NewEvent> = (first..first + count)
            .map(|label| NewEvent {
                label,
                key: key_of(label),
            })
            .collect();
        if self.draw.one_in(40)
            && let Some(last) = events.last_mut()
        {
            last.key = Some("x".repeat(300)); // too long: all of it has to be refused
        }
        let fill = match self.draw.one_in(8) {
            true => self.draw.between(4_000, 24_000),
            false => self.draw.between(0, 200),
        };
        Draft {
            events,
            jobs: (first + count..first + count + jobs).collect(),
            chosen: self.draw.one_in(2),
            key: self.draw.one_in(2).then(|| format!("p-{first}")),
            fill: "f".repeat(usize::try_from(fill).unwrap_or(0)),
        }
    }

    /// One attempt. True when there is no sense in another.
    fn try_publish(&mut self, draft: &Draft) -> bool {
        let Some(address) = self.scene.place.wait(PATIENCE) else {
            return self.scene.is_over();
        };
        let events: Value = draft.events.iter().map(|it| draft.event(it)).collect();
        let (path, body) = match draft.jobs.is_empty() {
            true => (format!("/v1/topics/{ORDERS}/events"), events),
            false => {
                let publish = json!({"publish": {"topic": ORDERS, "events": events}});
                let jobs = draft.jobs.iter().map(|label| {
                    json!({"enqueue": {"kind": "work", "queue": QUEUE, "payload": {"label": label}}})
                });
                let commands: Vec<Value> = [publish].into_iter().chain(jobs).collect();
                (String::from("/v1/commit"), json!({"commands": commands}))
            }
        };
        let invoked = self.scene.recorder.now();
        let sent = self.post(address, &path, draft.key.as_deref(), &body);
        let (published, enqueued) = match &sent {
            Sent::Unsent => return self.pause(),
            Sent::Answered {
                status: 200 | 201,
                body,
            } => (
                Answer::Ok(draft.published(body)),
                Answer::Ok(job_ids(&body["replies"])),
            ),
            Sent::Answered {
                status: 400..=499, ..
            } => (Answer::Fail, Answer::Fail),
            Sent::Answered { .. } | Sent::Unknown => (Answer::Unknown, Answer::Unknown),
        };
        let known_again = draft.key.is_some() || (draft.chosen && draft.jobs.is_empty());
        let again = published == Answer::Unknown && known_again;
        self.tell_jobs(invoked, &draft.jobs, draft.key.as_deref(), enqueued);
        let what = OfTopic::Publish {
            topic: ORDERS.to_owned(),
            events: draft.events.clone(),
            jobs: draft.jobs.clone(),
            answer: published,
        };
        self.scene
            .recorder
            .add(self.number, invoked, What::Topic(what));
        !again
    }

    /// Writes down jobs that were enqueued with something else.
    pub(super) fn tell_jobs(
        &self,
        invoked: u64,
        labels: &[Label],
        key: Option<&str>,
        answer: Answer<Vec<String>>,
    ) {
        if labels.is_empty() {
            return;
        }
        let what = What::Enqueue {
            labels: labels.to_vec(),
            key: key.map(str::to_owned),
            delay_ms: 0,
            answer,
        };
        self.scene.recorder.add(self.number, invoked, what);
    }
}

impl Draft {
    fn event(&self, event: &NewEvent) -> Value {
        let label = event.label;
        let mut shape = json!({"type": "drawn", "payload": {"label": label, "fill": self.fill}});
        if let Some(key) = &event.key {
            shape["key"] = json!(key);
        }
        if self.chosen {
            shape["id"] = json!(format!("e-{label}"));
        }
        shape
    }

    fn published(&self, body: &Value) -> Vec<Published> {
        match self.jobs.is_empty() {
            true => places(&body["events"]),
            false => events_of(&body["replies"]),
        }
    }
}
