//! One settle of events, with what is committed together with it.

use serde_json::{Value, json};

use super::{Held, Member};
use crate::clients::{Client, EFFECTS, PATIENCE, QUEUE, events_of, job_ids};
use crate::history::{Answer, EventEnd, Label, NewEvent, OfTopic, Published};
use crate::http::Sent;

/// One settle: how events ended, and what is committed with that.
pub(super) struct Ending {
    pub(super) ends: Vec<(Held, &'static str)>,
    pub(super) jobs: Vec<Label>,
    pub(super) events: Vec<Label>,
    pub(super) delay_ms: u64,
    pub(super) key: Option<String>,
}

impl Client<'_> {
    /// One attempt; `None` where it could not be sent.
    pub(super) fn try_end(&mut self, is: Member, ending: &Ending) -> Option<Answer<bool>> {
        let address = self.scene.place.wait(PATIENCE)?;
        let invoked = self.scene.recorder.now();
        let path = format!("/v1/groups/{}/settle", is.group);
        let sent = self.post(address, &path, ending.key.as_deref(), &ending.body(is));
        let mut results = &Value::Null;
        let answer = match &sent {
            Sent::Unsent => {
                self.pause();
                return None;
            }
            Sent::Answered { status: 200, body } => {
                results = &body["results"];
                Answer::Ok(body["repeated"] == true)
            }
            Sent::Answered {
                status: 400..=499, ..
            } => Answer::Fail,
            Sent::Answered { .. } | Sent::Unknown => Answer::Unknown,
        };
        // A repeated one did nothing; what it stands for was written down before.
        if answer != Answer::Ok(true) {
            let enqueued = with(&answer, || job_ids(results));
            self.tell_jobs(invoked, &ending.jobs, None, enqueued);
            self.tell_effects(invoked, ending, with(&answer, || events_of(results)));
        }
        let what = OfTopic::Settle {
            group: is.group.to_owned(),
            token: is.token,
            ends: ending
                .ends
                .iter()
                .map(|(held, outcome)| end_of(held, outcome))
                .collect(),
            jobs: ending.jobs.clone(),
            events: ending.events.clone(),
            answer: answer.clone(),
        };
        self.tell(invoked, what);
        Some(answer)
    }

    fn tell_effects(&self, invoked: u64, ending: &Ending, answer: Answer<Vec<Published>>) {
        if ending.events.is_empty() {
            return;
        }
        let events = ending.events.iter().map(|label| NewEvent {
            label: *label,
            key: None,
        });
        let what = OfTopic::Publish {
            topic: EFFECTS.to_owned(),
            events: events.collect(),
            jobs: Vec::new(),
            answer,
        };
        self.tell(invoked, what);
    }
}

impl Ending {
    fn body(&self, is: Member) -> Value {
        let end = |(held, outcome): &(Held, &'static str)| {
            let mut end = json!({"position": held.position, "outcome": outcome});
            match *outcome {
                "retry" => {
                    end["error"] = json!("drawn");
                    end["delay"] = json!(format!("{}ms", self.delay_ms));
                }
                "park" | "dead" | "skip" => end["error"] = json!("drawn"),
                _ => {}
            }
            end
        };
        let jobs = self.jobs.iter().map(|label| {
            json!({"enqueue": {"kind": "work", "queue": QUEUE, "payload": {"label": label}}})
        });
        let events = self.events.iter().map(|label| {
            let event = json!({"type": "effect", "payload": {"label": label}});
            json!({"publish": {"topic": EFFECTS, "events": [event]}})
        });
        json!({
            "token": is.token,
            "events": self.ends.iter().map(end).collect::<Vec<_>>(),
            "commit": jobs.chain(events).collect::<Vec<_>>(),
        })
    }
}

fn with<T>(answer: &Answer<bool>, read: impl FnOnce() -> T) -> Answer<T> {
    match answer {
        Answer::Ok(_) => Answer::Ok(read()),
        Answer::Fail => Answer::Fail,
        Answer::Unknown => Answer::Unknown,
    }
}

fn end_of(held: &Held, outcome: &str) -> EventEnd {
    let (attempt, most) = held.event.attempt;
    EventEnd {
        label: held.event.label,
        outcome: outcome.to_owned(),
        last: attempt >= most,
    }
}
