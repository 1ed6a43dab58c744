//! Whoever looks on: how far groups are, what queues hold, and in the end everything that is there.
//! He also releases what is parked.

use std::net::SocketAddr;
use std::thread;

use serde_json::{Value, json};

use super::{Client, EFFECTS, GROUPS, ORDERS, PATIENCE, QUEUE, done};
use crate::history::{Counters, GroupEnd, Label, OfTopic, What};
use crate::http::Sent;

/// Events of a page of the last reading.
const PAGE: u64 = 1_000;

impl Client<'_> {
    /// Makes the topics and the groups of the campaign.
    ///
    /// # Errors
    /// What the server answered instead.
    pub(crate) fn prepare(&mut self, address: SocketAddr) -> Result<(), String> {
        let mut put = |path: String, body: &Value| {
            let sent = self
                .connection
                .send(address, "PUT", &path, None, Some(body));
            match sent {
                Sent::Answered { status: 200, .. } => Ok(()),
                other => Err(format!("PUT {path}: {other:?}")),
            }
        };
        for (topic, partitions) in [(ORDERS, 3), (EFFECTS, 1)] {
            put(
                format!("/v1/topics/{topic}"),
                &json!({"partitions": partitions}),
            )?;
        }
        for (group, on_exhausted) in GROUPS.into_iter().zip(["park", "dead"]) {
            let settings = json!({
                "from": "earliest", "max_attempts": 3, "on_exhausted": on_exhausted,
                "parked_max": 10_000,
            });
            put(format!("/v1/groups/{group}"), &settings)?;
        }
        Ok(())
    }

    /// Looks at the groups until it is all over, and sometimes releases what is parked.
    pub(crate) fn watch(mut self) {
        while !self.scene.is_over() {
            for group in GROUPS {
                self.look(group);
                if self.draw.one_in(25) {
                    self.release(group);
                }
            }
            thread::sleep(self.draw.millis(2, 20));
        }
    }

    fn look(&mut self, group: &str) -> Option<Value> {
        let address = self.scene.place.wait(PATIENCE)?;
        let path = format!("/v1/groups/{group}");
        let invoked = self.scene.recorder.now();
        match self.connection.send(address, "GET", &path, None, None) {
            Sent::Answered { status: 200, body } => {
                let what = OfTopic::Look {
                    group: group.to_owned(),
                    position: text(&body["position"]),
                };
                self.scene
                    .recorder
                    .add(self.number, invoked, What::Topic(what));
                Some(body)
            }
            Sent::Answered {
                status: 400..=499, ..
            } => Some(Value::Null),
            _ => None,
        }
    }

    fn release(&mut self, group: &str) {
        let Some(address) = self.scene.place.wait(PATIENCE) else {
            return;
        };
        let path = format!("/v1/groups/{group}/parked/release");
        let invoked = self.scene.recorder.now();
        let sent = self.post(address, &path, None, &json!({"all": true}));
        let Some(answer) = done(&sent) else { return };
        let what = OfTopic::Release {
            group: group.to_owned(),
            answer,
        };
        self.scene
            .recorder
            .add(self.number, invoked, What::Topic(what));
    }

    /// How the groups are, once all of them are through; `None` before. Releases what is parked.
    pub(crate) fn groups(&mut self, late: bool) -> Option<Vec<GroupEnd>> {
        let mut ends = Vec::new();
        for group in GROUPS {
            let body = self.look(group)?;
            if body.is_null() {
                let (group, position) = (group.to_owned(), String::from("nowhere"));
                ends.push(GroupEnd {
                    group,
                    position,
                    ..GroupEnd::default()
                });
                continue;
            }
            let count = |name: &str| body[name].as_u64().unwrap_or(0);
            let through = body["position"] == body["end"] && count("unfinished") == 0;
            if count("parked") > 0 && !late {
                self.release(group);
                return None;
            }
            if !through && !late {
                return None;
            }
            ends.push(GroupEnd {
                group: group.to_owned(),
                position: text(&body["position"]),
                end: text(&body["end"]),
                unfinished: count("unfinished"),
                parked: count("parked"),
                dead: self.dead_letters(group)?,
                done: body["totals"]["done"].as_u64().unwrap_or(0),
                skipped: body["totals"]["skipped"].as_u64().unwrap_or(0),
            });
        }
        Some(ends)
    }

    fn dead_letters(&mut self, group: &str) -> Option<Vec<Label>> {
        let (mut labels, mut cursor) = (Vec::new(), Some(String::from("0")));
        while let Some(from) = cursor.take() {
            let address = self.scene.place.wait(PATIENCE)?;
            let path = format!("/v1/groups/{group}/dead?max={PAGE}&cursor={from}");
            let sent = self.connection.send(address, "GET", &path, None, None);
            let Sent::Answered { status: 200, body } = sent else {
                return None;
            };
            for kept in body["events"].as_array()? {
                labels.push(super::seen(&kept["event"]).label);
            }
            cursor = body["next"].as_str().map(str::to_owned);
        }
        Some(labels)
    }

    /// Reads both topics from the earliest to the end.
    ///
    /// # Errors
    /// The server does not answer.
    pub(crate) fn read_all(&mut self) -> Result<(), String> {
        for topic in [ORDERS, EFFECTS] {
            let mut from: Option<String> = None;
            loop {
                let page = self.read_page(topic, from.as_deref(), PAGE, "0s");
                let page = page.ok_or_else(|| format!("{topic} can't be read from {from:?}"))?;
                from = Some(page.next);
                if page.all {
                    break;
                }
            }
        }
        Ok(())
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
        // A store that has lost its queue has no job left.
        let queue = queues.iter().find(|queue| queue["name"] == QUEUE);
        let queue = queue.unwrap_or(&Value::Null);
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

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
