//! Members of groups: they ask, handle, settle, and sometimes fail, leave, or fall silent.

mod ending;

use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Client, PATIENCE, seen};
use crate::history::{Answer, Label, OfTopic, Seen, What};
use crate::http::Sent;
use ending::Ending;

/// How long memberships last without a sign of life, in milliseconds.
const MEMBERSHIPS_MS: [u64; 2] = [300, 3_000];
/// Of these labels, one is retried until its attempts are used up.
const STUBBORN: Label = 97;

/// A membership.
#[derive(Clone, Copy, Debug)]
struct Member {
    group: &'static str,
    token: u64,
    lease_ms: u64,
}

/// An event in its hands.
#[derive(Clone, Debug)]
struct Held {
    position: u64,
    event: Seen,
}

/// What an ask came to.
enum Asked {
    Handed(u64, Vec<Held>),
    /// The membership is over.
    Refused,
    /// Nobody knows what was handed out.
    Unknown,
    Unsent,
}

impl Client<'_> {
    /// Takes part in a group until it is all over.
    pub(crate) fn take_part(mut self, group: &'static str) {
        let mut member: Option<Member> = None;
        while !self.scene.is_over() {
            let lease_ms = match member {
                Some(member) => member.lease_ms,
                None => MEMBERSHIPS_MS[usize::from(!self.draw.one_in(2))],
            };
            match self.ask(group, member.map(|it| it.token), lease_ms) {
                Asked::Handed(token, held) => {
                    let is = Member {
                        group,
                        token,
                        lease_ms,
                    };
                    member = self.handle_events(is, held).then_some(is);
                    if self.draw.one_in(60)
                        && let Some(leaving) = member.take()
                    {
                        self.leave(leaving);
                    }
                }
                Asked::Refused => {
                    member = None;
                    self.pause();
                }
                // It may hold events that it was not told of: it gives all of them back.
                Asked::Unknown => {
                    if let Some(leaving) = member.take() {
                        self.leave(leaving);
                    }
                }
                Asked::Unsent => drop(self.pause()),
            }
        }
    }

    fn ask(&mut self, group: &'static str, token: Option<u64>, lease_ms: u64) -> Asked {
        let Some(address) = self.scene.place.wait(PATIENCE) else {
            return Asked::Unsent;
        };
        let max = match self.scene.is_draining() {
            true => 40,
            false => self.draw.between(1, 20),
        };
        let mut ask = json!({
            "member": format!("member-{}", self.number), "max": max, "wait": "20ms",
            "lease": format!("{lease_ms}ms"),
        });
        if let Some(token) = token {
            ask["token"] = json!(token);
        }
        let invoked = self.scene.recorder.now();
        let path = format!("/v1/groups/{group}/lease");
        let sent = self.post(address, &path, None, &ask);
        let (asked, answer) = match &sent {
            Sent::Unsent => return Asked::Unsent,
            Sent::Answered { status: 200, body } => {
                let token = body["token"].as_u64().unwrap_or(0);
                let held = held(body);
                let events = held.iter().map(|it| it.event.clone()).collect();
                (Asked::Handed(token, held), Answer::Ok((token, events)))
            }
            Sent::Answered {
                status: 400..=499, ..
            } => (Asked::Refused, Answer::Fail),
            Sent::Answered { .. } | Sent::Unknown => (Asked::Unknown, Answer::Unknown),
        };
        let what = OfTopic::Ask {
            group: group.to_owned(),
            token,
            lease_ms,
            answer,
        };
        self.tell(invoked, what);
        asked
    }

    /// Handles what it was handed. False where it is no member any longer.
    fn handle_events(&mut self, is: Member, held: Vec<Held>) -> bool {
        let calm = self.scene.is_draining() || held.is_empty();
        if !calm && self.draw.one_in(30) && self.abandon_events(is, &held) {
            if is.lease_ms != MEMBERSHIPS_MS[0] || self.draw.one_in(2) {
                return false; // it falls silent
            }
            // It is late, and settles all the same.
            let late = is.lease_ms + self.draw.between(50, 1_300);
            thread::sleep(Duration::from_millis(late));
        }
        if self.draw.one_in(3)
            && held
                .iter()
                .all(|it| calm || !it.event.label.is_multiple_of(STUBBORN))
        {
            let ends = held.into_iter().map(|held| (held, "done")).collect();
            return self.end(is, ends);
        }
        let mut behind: HashSet<String> = HashSet::new();
        for held in held {
            let key = held.event.key.clone();
            if key.as_ref().is_some_and(|key| behind.contains(key)) {
                continue; // it comes again behind the one before
            }
            let outcome = self.outcome(&held);
            if matches!(outcome, "retry" | "park" | "release") {
                behind.extend(key);
            }
            if !self.end(is, vec![(held, outcome)]) {
                return false;
            }
            if self.draw.one_in(12) {
                self.beat(is);
            }
        }
        true
    }

    /// Whether nobody has fallen silent yet over one of these: five times is too often.
    fn abandon_events(&self, is: Member, held: &[Held]) -> bool {
        self.scene
            .abandon_in(is.group, held.iter().map(|it| it.event.label))
    }

    fn outcome(&mut self, held: &Held) -> &'static str {
        if self.scene.is_draining() {
            return "done";
        }
        if held.event.label.is_multiple_of(STUBBORN) {
            return "retry";
        }
        match self.draw.between(0, 199) {
            0..8 => "retry",
            8..10 => "park",
            10..13 => "dead",
            13..16 => "skip",
            16..20 => "release",
            _ => "done",
        }
    }

    /// Settles until it is known what became of it. False where it is no member any longer.
    fn end(&mut self, is: Member, ends: Vec<(Held, &'static str)>) -> bool {
        if ends.is_empty() {
            return true;
        }
        let with = ends.iter().all(|(_, outcome)| *outcome == "done") && self.draw.one_in(6);
        let jobs = u64::from(with && self.draw.one_in(2));
        let events = if with {
            self.draw.between(1 - jobs, 1)
        } else {
            0
        };
        let first = self
            .scene
            .labels
            .fetch_add(jobs + events, Ordering::Relaxed);
        let key = self.draw.one_in(4).then(|| {
            let (held, _) = &ends[0];
            format!("s-{}-{}-{first}", is.token, held.position)
        });
        let ending = Ending {
            jobs: (first..first + jobs).collect(),
            events: (first + jobs..first + jobs + events).collect(),
            delay_ms: self.draw.between(1, 60),
            ends,
            key,
        };
        loop {
            match self.try_end(is, &ending) {
                Some(Answer::Ok(_)) => return true,
                Some(Answer::Fail) => {
                    self.leave(is); // it may hold others
                    return false;
                }
                Some(Answer::Unknown) | None if self.scene.is_over() => return false,
                Some(Answer::Unknown) | None => {}
            }
        }
    }

    fn beat(&mut self, is: Member) {
        let Some((invoked, answer)) = self.say(is, "heartbeat") else {
            return;
        };
        let what = OfTopic::Beat {
            group: is.group.to_owned(),
            token: is.token,
            answer,
        };
        self.tell(invoked, what);
    }

    /// Leaves, and says so until it was heard.
    fn leave(&mut self, is: Member) {
        loop {
            if let Some((invoked, answer)) = self.say(is, "leave") {
                let known = answer != Answer::Unknown;
                let what = OfTopic::Leave {
                    group: is.group.to_owned(),
                    token: is.token,
                    answer,
                };
                self.tell(invoked, what);
                if known {
                    return;
                }
            }
            if self.scene.is_over() {
                return;
            }
        }
    }

    fn say(&mut self, is: Member, what: &str) -> Option<(u64, Answer<()>)> {
        let address = self.scene.place.wait(PATIENCE)?;
        let path = format!("/v1/groups/{}/{what}", is.group);
        let invoked = self.scene.recorder.now();
        let sent = self.post(address, &path, None, &json!({"token": is.token}));
        Some((invoked, super::done(&sent)?))
    }

    fn tell(&self, invoked: u64, what: OfTopic) {
        self.scene
            .recorder
            .add(self.number, invoked, What::Topic(what));
    }
}

fn held(body: &Value) -> Vec<Held> {
    let events = body["events"].as_array().map_or(&[][..], Vec::as_slice);
    let held = |it: &Value| Held {
        position: it["position"].as_u64().unwrap_or(u64::MAX),
        event: Seen {
            attempt: (
                it["attempt"].as_u64().unwrap_or(0),
                it["max_attempts"].as_u64().unwrap_or(0),
            ),
            ..seen(&it["event"])
        },
    };
    events.iter().map(held).collect()
}
