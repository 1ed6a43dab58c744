//! Stories of topics and groups: one partition, whose events lie in the order in which they were
//! published, and one group, which is through in the end.

use posthaste_torture::checker::Fault;
use posthaste_torture::history::{
    Answer, EventEnd, GroupEnd, Label, NewEvent, OfTopic, Page, Place, Published, Seen, What,
};

use crate::story::Story;

pub(crate) const TOPIC: &str = "orders";
pub(crate) const GROUP: &str = "orders/mails";
/// How long memberships last, in milliseconds.
pub(crate) const LEASE_MS: u64 = 1_000;
/// Who reads everything in the end.
const LAST: u32 = 0;

/// A story and the topic that it is about.
pub(crate) struct Tale {
    pub(crate) story: Story,
    /// What lies in the topic, in order. What is taken out of it is lost.
    pub(crate) log: Vec<Seen>,
    /// How the group is to end; counted along where it is not changed.
    pub(crate) end: GroupEnd,
    /// The last reading is left out.
    pub(crate) unread: bool,
}

/// Before the first event.
pub(crate) fn start() -> String {
    cursor(0)
}

/// Behind so many events.
pub(crate) fn cursor(events: u64) -> String {
    format!("c-{events}")
}

/// An event at the place of that offset, under a key.
pub(crate) fn seen(label: Label, key: &str, offset: u64) -> Seen {
    Seen {
        label,
        key: Some(key.to_owned()),
        place: Place {
            partition: 0,
            offset,
            cursor: cursor(offset + 1),
        },
        attempt: (1, 3),
    }
}

impl Tale {
    fn new() -> Self {
        Self {
            story: Story::new(),
            log: Vec::new(),
            end: GroupEnd {
                group: GROUP.to_owned(),
                ..GroupEnd::default()
            },
            unread: false,
        }
    }

    pub(crate) fn say(&mut self, what: OfTopic) {
        self.story.say(What::Topic(what));
    }

    /// An event is published under a key, and acknowledged.
    pub(crate) fn publish(&mut self, label: Label, key: &str) {
        let event = self.append(label, key);
        let answer = Answer::Ok(vec![at(&event)]);
        self.publish_as(label, key, Vec::new(), answer);
    }

    /// An event comes to lie in the topic, and nobody is told.
    pub(crate) fn append(&mut self, label: Label, key: &str) -> Seen {
        let event = seen(label, key, self.log.len() as u64);
        self.log.push(event.clone());
        event
    }

    pub(crate) fn publish_as(
        &mut self,
        label: Label,
        key: &str,
        jobs: Vec<Label>,
        answer: Answer<Vec<Published>>,
    ) {
        let key = Some(key.to_owned());
        self.say(OfTopic::Publish {
            topic: TOPIC.to_owned(),
            events: vec![NewEvent { label, key }],
            jobs,
            answer,
        });
    }

    /// The events with those labels, as they lie in the topic.
    pub(crate) fn events(&self, labels: &[Label]) -> Vec<Seen> {
        let find = |label: &Label| {
            let found = self.log.iter().find(|event| event.label == *label);
            found.expect("it was published").clone()
        };
        labels.iter().map(find).collect()
    }

    /// A reader who began at the earliest is told these, and then that this was `all`.
    pub(crate) fn read(&mut self, events: Vec<Seen>, all: bool) {
        self.read_by(1, events, all);
    }

    pub(crate) fn read_by(&mut self, client: u32, events: Vec<Seen>, all: bool) {
        let next = events
            .last()
            .map_or_else(start, |it| it.place.cursor.clone());
        let page = Page {
            events,
            next,
            earliest: Some(start()),
            all,
        };
        self.say(OfTopic::Read {
            topic: TOPIC.to_owned(),
            from: None,
            answer: Answer::Ok(page),
        });
        self.story.by(client);
    }

    /// A member joins and is handed these.
    pub(crate) fn join(&mut self, token: u64, labels: &[Label]) {
        self.ask(None, token, labels);
    }

    /// A member is handed these.
    pub(crate) fn more(&mut self, token: u64, labels: &[Label]) {
        self.ask(Some(token), token, labels);
    }

    fn ask(&mut self, given: Option<u64>, token: u64, labels: &[Label]) {
        let events = self.events(labels);
        self.say(OfTopic::Ask {
            group: GROUP.to_owned(),
            token: given,
            lease_ms: LEASE_MS,
            answer: Answer::Ok((token, events)),
        });
    }

    /// A settle of one event.
    pub(crate) fn settle(&mut self, token: u64, label: Label, outcome: &str, answer: Answer<bool>) {
        self.settle_with(token, label, outcome, (Vec::new(), Vec::new()), answer);
    }

    /// The same, with jobs and events in the same commit.
    pub(crate) fn settle_with(
        &mut self,
        token: u64,
        label: Label,
        outcome: &str,
        (jobs, events): (Vec<Label>, Vec<Label>),
        answer: Answer<bool>,
    ) {
        let end = EventEnd {
            label,
            outcome: outcome.to_owned(),
            last: false,
        };
        self.say(OfTopic::Settle {
            group: GROUP.to_owned(),
            token,
            ends: vec![end],
            jobs,
            events,
            answer,
        });
    }

    /// A member is done with an event.
    pub(crate) fn done(&mut self, token: u64, label: Label) {
        self.settle(token, label, "done", Answer::Ok(false));
        self.end.done += 1;
    }

    pub(crate) fn leave(&mut self, token: u64) {
        self.say(OfTopic::Leave {
            group: GROUP.to_owned(),
            token,
            answer: Answer::Ok(()),
        });
    }

    pub(crate) fn beat(&mut self, token: u64) {
        self.say(OfTopic::Beat {
            group: GROUP.to_owned(),
            token,
            answer: Answer::Ok(()),
        });
    }

    /// The group is said to be behind so many events.
    pub(crate) fn look(&mut self, events: u64) {
        self.say(OfTopic::Look {
            group: GROUP.to_owned(),
            position: cursor(events),
        });
    }

    pub(crate) fn release(&mut self) {
        self.say(OfTopic::Release {
            group: GROUP.to_owned(),
            answer: Answer::Ok(()),
        });
    }

    fn faults(mut self) -> Vec<String> {
        if !self.unread {
            self.read_by(LAST, self.log.clone(), true);
        }
        let end = self
            .log
            .last()
            .map_or_else(start, |it| it.place.cursor.clone());
        for place in [&mut self.end.position, &mut self.end.end] {
            if place.is_empty() {
                place.clone_from(&end);
            }
        }
        self.story.groups = vec![self.end];
        self.story.faults()
    }
}

/// Where an event was put.
pub(crate) fn at(event: &Seen) -> Published {
    Published {
        place: event.place.clone(),
        existing: false,
    }
}

/// Nothing is wrong with the tale.
pub(crate) fn sound(tell: impl FnOnce(&mut Tale)) {
    let mut tale = Tale::new();
    tell(&mut tale);
    assert_eq!(tale.faults(), Vec::<String>::new());
}

/// The tale breaks this promise, and no other.
pub(crate) fn flagged(fault: Fault, tell: impl FnOnce(&mut Tale)) {
    let mut tale = Tale::new();
    tell(&mut tale);
    let found = tale.faults();
    let named = format!("{fault:?}: ");
    let flagged = !found.is_empty() && found.iter().all(|it| it.starts_with(&named));
    assert!(
        flagged,
        "{fault:?} alone was to be found; found was: {found:#?}"
    );
}

/// The tale breaks this promise, and perhaps others with it.
pub(crate) fn flagged_too(fault: Fault, tell: impl FnOnce(&mut Tale)) {
    let mut tale = Tale::new();
    tell(&mut tale);
    let found = tale.faults();
    let named = format!("{fault:?}: ");
    let flagged = found.iter().any(|it| it.starts_with(&named));
    assert!(flagged, "{fault:?} was not found; found was: {found:#?}");
}
