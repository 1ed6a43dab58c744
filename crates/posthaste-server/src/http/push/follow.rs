//! One follower of a topic: a place in it, and what he wants of it.

use std::sync::Arc;

use posthaste_core::Result;
use posthaste_core::topic::{Gap, Position, ReadFrom, TailTopic, TopicRead};
use tokio::sync::watch;

use super::feed::{Feed, Feeds, Pace};
use super::frame::{Chunk, Filter};
use super::ring::Found;

/// Bytes of events that a follower who reads by himself is meant to read at once.
const OWN_BYTES: usize = 64 * 1024;

/// A place in a topic.
pub(super) struct Follower {
    feed: Arc<Feed>,
    changes: watch::Receiver<()>,
    ask: TailTopic,
    filter: Filter,
    pace: Pace,
    at: Position,
    /// What is to be told before anything else.
    gap: Option<Gap>,
}

/// What a follower is told.
pub(super) enum Told {
    /// Events, from that place on.
    Events(Arc<Chunk>, Position),
    /// What lay there is gone; it goes on from the earliest.
    Reset(Gap),
}

impl Follower {
    /// Begins where `ask` says.
    ///
    /// # Errors
    /// What the store answers: `NotFound`, `Invalid` past the end.
    pub(super) async fn begin(feeds: &Feeds, ask: TailTopic) -> Result<Self> {
        // First of all, so that what is published from now on will be in it.
        let feed = feeds.follow(&ask.topic);
        let changes = feed.changes();
        let first = TailTopic {
            max: 1,
            ..TailTopic::new(ask.topic.clone(), ask.from)
        };
        let (at, gap) = match feed.read(first).await? {
            TopicRead::Page(page) => {
                let first = page.events.first();
                (first.map_or(page.next, |event| event.position), None)
            }
            TopicRead::Gap(gap) => (gap.earliest, Some(gap)),
        };
        Ok(Self {
            feed,
            changes,
            filter: Filter::of(&ask),
            ask,
            pace: Pace::of(OWN_BYTES),
            at,
            gap,
        })
    }

    /// Where it is: everything before was told, or not wanted.
    pub(super) fn at(&self) -> Position {
        self.at
    }

    /// Whether it begins with being told of a gap.
    pub(super) fn is_reset(&self) -> bool {
        self.gap.is_some()
    }

    /// What it wants.
    pub(super) fn filter(&self) -> &Filter {
        &self.filter
    }

    /// Waits for what comes next. Dropped before that, nothing is lost.
    ///
    /// # Errors
    /// What the store answers: the topic, or the store, is gone.
    pub(super) async fn next(&mut self) -> Result<Told> {
        if let Some(gap) = self.gap.take() {
            return Ok(Told::Reset(gap));
        }
        loop {
            self.changes.mark_unchanged();
            match self.feed.find(self.at)? {
                Found::Chunk(chunk) => return Ok(self.pass(chunk)),
                Found::Nothing => self.change().await,
                Found::Outside => match self.read().await? {
                    Some(told) => return Ok(told),
                    // The feed has yet to learn what this read knows.
                    None => self.change().await,
                },
            }
        }
    }

    async fn change(&mut self) {
        // The feed lives as long as its followers, so that an error cannot come.
        drop(self.changes.changed().await);
    }

    fn pass(&mut self, chunk: Arc<Chunk>) -> Told {
        let from = std::mem::replace(&mut self.at, chunk.next());
        Told::Events(chunk, from)
    }

    /// Reads the log. None where nothing more is there.
    async fn read(&mut self) -> Result<Option<Told>> {
        let ask = TailTopic {
            from: ReadFrom::Position(self.at),
            max: self.pace.max(),
            wait_ms: 0,
            ..self.ask.clone()
        };
        let page = match self.feed.read(ask).await? {
            TopicRead::Page(page) => page,
            TopicRead::Gap(gap) => {
                self.at = gap.earliest;
                return Ok(Some(Told::Reset(gap)));
            }
        };
        self.pace.learn(&page);
        if page.next == self.at {
            return Ok(None);
        }
        let (chunk, _) = Chunk::of(&page.events, page.next)?;
        Ok(Some(self.pass(Arc::new(chunk))))
    }
}
