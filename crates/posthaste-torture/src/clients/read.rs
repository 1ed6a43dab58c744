//! Clients that read topics on from the earliest: page by page, and as a stream that they come back
//! to where they were.

use serde_json::Value;

use super::{Client, PATIENCE, seen};
use crate::history::{Answer, OfTopic, Page, Seen, What};
use crate::http::{Sent, Stream, Told};

/// Events of a stream that are written down together at most.
const TOGETHER: usize = 64;

impl Client<'_> {
    /// Polls a topic until it is all over.
    pub(crate) fn poll(mut self, topic: &'static str) {
        let mut from = None;
        while !self.scene.is_over() {
            let max = self.draw.between(1, 200);
            if let Some(page) = self.read_page(topic, from.as_deref(), max, "50ms") {
                from = Some(page.next);
            }
        }
    }

    /// One page, where there is an answer.
    pub(super) fn read_page(
        &mut self,
        topic: &str,
        from: Option<&str>,
        max: u64,
        wait: &str,
    ) -> Option<Page> {
        let address = self.scene.place.wait(PATIENCE)?;
        let place = from.unwrap_or("earliest");
        let path = format!("/v1/topics/{topic}/events?from={place}&max={max}&wait={wait}");
        let invoked = self.scene.recorder.now();
        let answer = match self.connection.send(address, "GET", &path, None, None) {
            Sent::Unsent => {
                self.pause();
                return None;
            }
            Sent::Answered { status: 200, body } => Answer::Ok(page(&body)),
            // In the end a topic that is not there has no event.
            Sent::Answered { status: 404, .. } if from.is_none() && self.scene.is_draining() => {
                Answer::Ok(Page {
                    events: Vec::new(),
                    next: String::from("nowhere"),
                    earliest: None,
                    all: true,
                })
            }
            Sent::Answered {
                status: 400..=499, ..
            } if from.is_some() => Answer::Fail,
            Sent::Answered { .. } | Sent::Unknown => Answer::Unknown,
        };
        let page = answer.ok().cloned();
        self.tell_read(topic, from, invoked, answer);
        page
    }

    fn tell_read(&self, topic: &str, from: Option<&str>, invoked: u64, answer: Answer<Page>) {
        let what = OfTopic::Read {
            topic: topic.to_owned(),
            from: from.map(str::to_owned),
            answer,
        };
        self.scene
            .recorder
            .add(self.number, invoked, What::Topic(what));
    }

    /// Follows a topic by server-sent events until it is all over. Each time the connection breaks
    /// it comes back with the last cursor that it was told.
    pub(crate) fn follow(self, topic: &'static str) {
        let mut from: Option<String> = None;
        let path = format!("/v1/topics/{topic}/stream?from=earliest");
        while !self.scene.is_over() {
            let Some(address) = self.scene.place.wait(PATIENCE) else {
                continue;
            };
            match Stream::open(address, &path, from.as_deref()) {
                Ok(stream) => from = self.listen(topic, stream, from),
                Err(status) => {
                    if (400..=499).contains(&status) && from.is_some() {
                        let now = self.scene.recorder.now();
                        self.tell_read(topic, from.as_deref(), now, Answer::Fail);
                    }
                    self.pause();
                }
            }
        }
    }

    /// Listens until the stream ends; where to go on.
    fn listen(&self, topic: &str, mut stream: Stream, mut from: Option<String>) -> Option<String> {
        let mut at = from.clone();
        let mut events: Vec<Seen> = Vec::new();
        let mut invoked = self.scene.recorder.now();
        loop {
            let told = stream.next();
            let mut over = self.scene.is_over() || matches!(told, Told::Over);
            if let Told::Block(block) = &told {
                let parts = Parts::of(block);
                if parts.event == Some("reset") {
                    self.tell_read(topic, at.as_deref(), invoked, Answer::Fail);
                }
                over |= parts.event == Some("problem");
                if parts.event.is_none() {
                    events.extend(parts.data.and_then(read_seen));
                }
                if let Some(id) = parts.id {
                    at = Some(id.to_owned());
                }
            }
            let pause = over || matches!(told, Told::Quiet) || events.len() >= TOGETHER;
            if pause && at != from {
                if let Some(next) = at.clone() {
                    let page = Page {
                        events: std::mem::take(&mut events),
                        next,
                        earliest: None,
                        all: false,
                    };
                    self.tell_read(topic, from.as_deref(), invoked, Answer::Ok(page));
                }
                from.clone_from(&at);
                invoked = self.scene.recorder.now();
            }
            if over {
                return from;
            }
        }
    }
}

/// The lines of a block of a stream that count.
#[derive(Default)]
struct Parts<'a> {
    id: Option<&'a str>,
    event: Option<&'a str>,
    data: Option<&'a str>,
}

impl<'a> Parts<'a> {
    fn of(block: &'a str) -> Self {
        let mut parts = Self::default();
        for line in block.lines() {
            match line.split_once(": ") {
                Some(("id", id)) => parts.id = Some(id),
                Some(("event", event)) => parts.event = Some(event),
                Some(("data", data)) => parts.data = Some(data),
                _ => {}
            }
        }
        parts
    }
}

fn read_seen(data: &str) -> Option<Seen> {
    serde_json::from_str(data)
        .ok()
        .map(|event: Value| seen(&event))
}

fn page(body: &Value) -> Page {
    let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
    let events = body["events"].as_array().map_or(&[][..], Vec::as_slice);
    Page {
        events: events.iter().map(seen).collect(),
        next: text("next"),
        earliest: Some(text("earliest")),
        all: body["next"] == body["end"],
    }
}
