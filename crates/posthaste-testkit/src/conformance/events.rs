//! What cases do often with topics.

use posthaste_core::command::Reply;
use posthaste_core::error::{ErrorKind, Result};
use posthaste_core::topic::{
    Event, EventPage, NewEvent, Published, ReadFrom, TailTopic, TopicRead, TopicSettings, TopicView,
};

use super::Bench;
use super::words::{page, places, publish, read, set_topic};
use crate::block_on;

impl Bench<'_> {
    /// Publishes events that must be accepted, and says where they are.
    pub fn publish(&self, name: &str, events: Vec<NewEvent>) -> Vec<Published> {
        let count = events.len();
        let reply = self.one(publish(name, events)).expect("it is published");
        let places = places(&reply);
        assert_eq!(places.len(), count, "one place for one event");
        places
    }

    /// Publishes one event that must be accepted, and says where it is.
    pub fn publish_one(&self, name: &str, event: NewEvent) -> Published {
        self.publish(name, vec![event]).remove(0)
    }

    /// Makes or changes a topic.
    pub fn set_topic(&self, name: &str, settings: TopicSettings) {
        let reply = self.one(set_topic(name, settings));
        assert_eq!(reply, Ok(Reply::Configured));
    }

    /// Every topic. How much it holds is left out: that is told roughly.
    pub fn topics(&self) -> Vec<TopicView> {
        let mut topics = block_on(self.step().topics()).expect("the store shows its topics");
        for topic in &mut topics {
            (topic.events, topic.bytes) = (0, 0);
        }
        topics
    }

    /// The topic of this name.
    pub fn find_topic(&self, name: &str) -> Option<TopicView> {
        let mut topics = self.topics().into_iter();
        topics.find(|topic| topic.name.as_str() == name)
    }

    /// The topic of this name, which must be there.
    pub fn topic(&self, name: &str) -> TopicView {
        self.find_topic(name).expect("the topic is there")
    }

    /// Reads, and says what came.
    ///
    /// # Errors
    /// Where the store refuses it.
    pub fn read(&self, ask: TailTopic) -> Result<TopicRead> {
        let most = ask.max as usize;
        let read = block_on(self.step().read(ask));
        if let Ok(TopicRead::Page(page)) = &read {
            check_page(page, most);
        }
        read
    }

    /// Reads a page, which must be there.
    pub fn page(&self, ask: TailTopic) -> EventPage {
        page(self.read(ask).expect("it can be read"))
    }

    /// The read is refused as `kind`.
    pub fn check_unread(&self, ask: TailTopic, kind: ErrorKind) {
        match self.read(ask) {
            Err(error) => assert_eq!(error.kind(), kind, "{error}"),
            Ok(read) => panic!("{read:?} where it should be refused"),
        }
    }

    /// Everything that `ask` gets, over all pages up to the end.
    pub fn read_on(&self, ask: TailTopic) -> Vec<Event> {
        let (mut ask, mut events) = (ask, Vec::new());
        loop {
            let page = self.page(ask.clone());
            events.extend(page.events);
            if page.next == page.end {
                return events;
            }
            let from = ReadFrom::Position(page.next);
            assert_ne!(ask.from, from, "a page goes on");
            ask.from = from;
        }
    }

    /// Everything of a topic.
    pub fn events(&self, name: &str) -> Vec<Event> {
        self.read_on(read(name, ReadFrom::Earliest))
    }
}

/// What holds of every page.
pub(super) fn check_page(page: &EventPage, most: usize) {
    assert!(page.events.len() <= most, "no more than {most} a page");
    assert!(
        page.earliest <= page.next && page.next <= page.end,
        "{page:?}"
    );
    let positions = page.events.iter().map(|event| event.position);
    let positions: Vec<_> = positions.chain([page.next]).collect();
    let rises = positions.windows(2).all(|two| two[0] < two[1]);
    assert!(rises, "positions rise up to the next page: {positions:?}");
    let one = positions.iter().all(|position| position.is_of(page.end));
    assert!(
        one && page.earliest.is_of(page.end),
        "a page is of one topic"
    );
}
