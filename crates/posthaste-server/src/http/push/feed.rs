//! One tail for each topic that is followed, whoever many follow it.
//!
//! It reads on, frames what it reads, and tells its followers. What is published within 20 ms goes out
//! together. It ends when its last follower has gone.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};
use std::time::Duration;

use posthaste_core::topic::{EventPage, Position, ReadFrom, TailTopic, TopicRead};
use posthaste_core::{Error, Result, Store, TopicName, limits};
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

use super::frame::Chunk;
use super::ring::{Found, Ring};

/// How long events wait for company.
const COALESCE: Duration = Duration::from_millis(20);
/// Bytes of events that one read of a feed is meant to bring.
const PAGE_BYTES: usize = 1024 * 1024;
/// Most followers that read the log by themselves at once; others wait for their turn.
const CATCHING_UP_MAX: usize = 16;

/// The feeds of a store.
#[derive(Clone)]
pub(in super::super) struct Feeds(Arc<Shared>);

struct Shared {
    store: Arc<dyn Store>,
    open: Mutex<HashMap<TopicName, Weak<Feed>>>,
    catching_up: Semaphore,
}

/// A topic that is followed.
pub(super) struct Feed {
    topic: TopicName,
    feeds: Feeds,
    state: RwLock<State>,
    changed: watch::Sender<()>,
}

enum State {
    /// It has not been read yet.
    Starting,
    /// What was read.
    Running(Ring),
    /// It can't be read any more.
    Ended(Error),
}

impl Feeds {
    pub(in super::super) fn new(store: Arc<dyn Store>) -> Self {
        Self(Arc::new(Shared {
            store,
            open: Mutex::default(),
            catching_up: Semaphore::new(CATCHING_UP_MAX),
        }))
    }

    /// The feed of `topic`, begun where there is none.
    pub(super) fn follow(&self, topic: &TopicName) -> Arc<Feed> {
        // Let go of after the lock, which the end of a feed takes.
        let ended;
        let mut open = self.lock();
        match open.get(topic).and_then(Weak::upgrade) {
            Some(feed) if !feed.has_ended() => return feed,
            feed => ended = feed,
        }
        let feed = Arc::new(Feed {
            topic: topic.clone(),
            feeds: self.clone(),
            state: RwLock::new(State::Starting),
            changed: watch::Sender::new(()),
        });
        open.insert(topic.clone(), Arc::downgrade(&feed));
        drop(open);
        drop(ended);
        tokio::spawn(run(Arc::downgrade(&feed), self.clone(), topic.clone()));
        feed
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<TopicName, Weak<Feed>>> {
        self.0.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        let mut open = self.feeds.lock();
        // Another may have begun meanwhile.
        if open
            .get(&self.topic)
            .is_some_and(|feed| feed.strong_count() == 0)
        {
            open.remove(&self.topic);
        }
    }
}

impl Feed {
    /// What is told when there is more.
    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// What is at `place`.
    ///
    /// # Errors
    /// What ended the feed.
    pub(super) fn find(&self, place: Position) -> Result<Found> {
        match &*self.state.read().unwrap_or_else(PoisonError::into_inner) {
            State::Starting => Ok(Found::Nothing),
            State::Running(ring) => Ok(ring.find(place)),
            State::Ended(error) => Err(error.clone()),
        }
    }

    /// Reads the log for one follower, without waiting, when it is his turn.
    ///
    /// # Errors
    /// What the store answers.
    pub(super) async fn read(&self, ask: TailTopic) -> Result<TopicRead> {
        // Nobody closes it, so that an error cannot come.
        let _turn = self.feeds.0.catching_up.acquire().await.ok();
        self.feeds.0.store.read(ask).await
    }

    fn has_ended(&self) -> bool {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        matches!(*state, State::Ended(_))
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.write().unwrap_or_else(PoisonError::into_inner));
        self.changed.send_replace(());
    }

    /// Adds a page.
    fn add(&self, page: &EventPage) -> Result<()> {
        let mut chunks = Vec::new();
        let mut rest = page.events.as_slice();
        loop {
            let (chunk, count) = Chunk::of(rest, page.next)?;
            rest = rest.get(count..).unwrap_or_default();
            chunks.push(chunk);
            if rest.is_empty() {
                break;
            }
        }
        self.change(|state| {
            if let State::Running(ring) = state {
                chunks.into_iter().for_each(|chunk| ring.push(chunk));
            }
        });
        Ok(())
    }
}

/// How many events to ask for, so that a page has about so many bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    bytes: usize,
    max: u32,
}

impl Pace {
    pub(super) fn of(bytes: usize) -> Self {
        Self { bytes, max: 64 }
    }

    pub(super) fn max(self) -> u32 {
        self.max
    }

    /// Learns from a page.
    pub(super) fn learn(&mut self, page: &EventPage) {
        let payloads = page.events.iter().map(|event| {
            let payload = event
                .payload
                .as_ref()
                .map_or(0, |payload| payload.bytes.len());
            // And the attributes, roughly.
            payload + 512
        });
        let bytes: usize = payloads.sum();
        if let Some(fit) = (page.events.len() * self.bytes).checked_div(bytes) {
            let most = limits::READ_EVENTS_DEFAULT;
            self.max = u32::try_from(fit).unwrap_or(most).clamp(1, most);
        }
    }
}

/// Reads on for as long as somebody follows.
async fn run(feed: Weak<Feed>, feeds: Feeds, topic: TopicName) {
    let Some(mut gone) = feed.upgrade().map(|feed| feed.changes()) else {
        return;
    };
    let told = tokio::select! {
        told = read_on(&feed, &feeds, topic) => told,
        () = left(&mut gone) => return,
    };
    if let (Err(error), Some(feed)) = (told, feed.upgrade()) {
        feed.change(|state| *state = State::Ended(error));
    }
}

/// Ready when there is no feed any more.
async fn left(changes: &mut watch::Receiver<()>) {
    while changes.changed().await.is_ok() {}
}

async fn read_on(feed: &Weak<Feed>, feeds: &Feeds, topic: TopicName) -> Result<()> {
    let mut pace = Pace::of(PAGE_BYTES);
    let mut ask = TailTopic::new(topic, ReadFrom::Latest);
    let mut told_at: Option<Instant> = None;
    loop {
        ask.max = pace.max();
        let read = feeds.0.store.read(ask.clone()).await?;
        let Some(feed) = feed.upgrade() else {
            return Ok(());
        };
        match read {
            TopicRead::Page(page) if ask.from == ReadFrom::Latest => {
                feed.change(|state| *state = State::Running(Ring::at(page.next)));
                ask.from = ReadFrom::Position(page.next);
                ask.wait_ms = limits::WAIT_MS_MAX;
            }
            TopicRead::Page(page) => {
                pace.learn(&page);
                if ask.from != ReadFrom::Position(page.next) {
                    feed.add(&page)?;
                    told_at = Some(Instant::now());
                }
                ask.from = ReadFrom::Position(page.next);
                // Whoever is behind does not wait for company.
                if page.next < page.end {
                    told_at = None;
                }
            }
            // Each follower is told by his own read.
            TopicRead::Gap(gap) => {
                feed.change(|state| *state = State::Running(Ring::at(gap.earliest)));
                ask.from = ReadFrom::Position(gap.earliest);
            }
        }
        drop(feed);
        if let Some(told_at) = told_at.take() {
            tokio::time::sleep_until(told_at + COALESCE).await;
        }
    }
}
