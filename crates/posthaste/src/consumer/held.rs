//! Events that were leased together, and what is known of each while it is held.
//!
//! One allocation for each lease, not for each event: an event costs a count of references on its
//! way through, and only one that has follow-ups allocates.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use posthaste_core::group::LeasedEvent;
use posthaste_core::topic::hash_of;
use posthaste_core::{Command, GroupName, Token, TopicName};
use tokio::sync::Notify;

use super::shadow::Effects;
use crate::hub::Posthaste;
use crate::worker::batch::lock;

/// What everything that a consumer holds has in common.
pub(super) struct Shared {
    pub(super) hub: Posthaste,
    pub(super) topic: TopicName,
    pub(super) group: GroupName,
    /// It replays beside the real group, and this is what becomes of effects.
    pub(super) shadow: Option<Effects>,
    /// The grace is over: what runs is given back.
    pub(super) leaving: AtomicBool,
    /// Somebody may have to stop.
    ended: Notify,
}

/// One membership of a group, under its token.
pub(super) struct Membership {
    pub(super) token: Token,
    pub(super) lease_ms: u32,
    /// When the consumer started: the zero of its clock.
    start: Instant,
    /// When the store last heard of the member, on the consumer's clock, in milliseconds.
    heard_ms: AtomicU64,
    lost: AtomicBool,
    /// Events may be held under it of which nobody here was told.
    doubted: AtomicBool,
}

/// Events of one lease.
pub(super) struct Batch {
    pub(super) shared: Arc<Shared>,
    pub(super) membership: Arc<Membership>,
    events: Box<[Cell]>,
}

/// One event while it is held.
struct Cell {
    leased: LeasedEvent,
    /// Of its key, or of its id where it has none: what the store orders by.
    hash: u32,
    follow_ups: OnceLock<Box<Mutex<Vec<Command>>>>,
    /// What goes with it was declared as a route.
    routed: AtomicBool,
}

impl Shared {
    pub(super) fn new(
        hub: Posthaste,
        topic: TopicName,
        group: GroupName,
        shadow: Option<Effects>,
    ) -> Self {
        Self {
            hub,
            topic,
            group,
            shadow,
            leaving: AtomicBool::new(false),
            ended: Notify::new(),
        }
    }

    /// Tells whoever waits to be told that he is to stop.
    pub(super) fn tell(&self) {
        self.ended.notify_waiters();
    }
}

impl Membership {
    pub(super) fn new(token: Token, lease_ms: u32, start: Instant, asked_ms: u64) -> Self {
        Self {
            token,
            lease_ms,
            start,
            heard_ms: AtomicU64::new(asked_ms),
            lost: AtomicBool::new(false),
            doubted: AtomicBool::new(false),
        }
    }

    /// The store heard of the member, in what was sent then.
    pub(super) fn heard(&self, sent_ms: u64) {
        self.heard_ms.fetch_max(sent_ms, Ordering::Relaxed);
    }

    /// Until when it lasts at least.
    pub(super) fn until(&self) -> Instant {
        let heard_ms = self.heard_ms.load(Ordering::Relaxed);
        self.start + Duration::from_millis(heard_ms + u64::from(self.lease_ms))
    }

    pub(super) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Acquire)
    }

    /// An answer got lost that may have brought events.
    pub(super) fn doubt(&self) {
        self.doubted.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_doubted(&self) -> bool {
        self.doubted.load(Ordering::Relaxed)
    }

    /// It is over; false where it was before.
    pub(super) fn lose(&self) -> bool {
        let before = self.lost.swap(true, Ordering::AcqRel);
        fence(Ordering::SeqCst);
        !before
    }
}

impl Batch {
    pub(super) fn new(
        shared: &Arc<Shared>,
        membership: &Arc<Membership>,
        events: Vec<LeasedEvent>,
    ) -> Arc<Self> {
        let cells = events.into_iter().map(|leased| {
            let event = &leased.event;
            let hash = hash_of(event.key.as_ref().unwrap_or(&event.id).as_bytes());
            Cell {
                leased,
                hash,
                follow_ups: OnceLock::new(),
                routed: AtomicBool::new(false),
            }
        });
        Arc::new(Self {
            shared: Arc::clone(shared),
            membership: Arc::clone(membership),
            events: cells.collect(),
        })
    }

    /// Its events, in order.
    pub(super) fn held(self: &Arc<Self>) -> impl Iterator<Item = Held> {
        let count = u32::try_from(self.events.len()).unwrap_or(u32::MAX);
        (0..count).map(|index| Held {
            batch: Arc::clone(self),
            index,
        })
    }
}

/// One event that is held, by its place in its batch.
#[derive(Clone)]
pub(super) struct Held {
    pub(super) batch: Arc<Batch>,
    index: u32,
}

impl Held {
    fn cell(&self) -> &Cell {
        &self.batch.events[self.index as usize]
    }

    pub(super) fn leased(&self) -> &LeasedEvent {
        &self.cell().leased
    }

    pub(super) fn hash(&self) -> u32 {
        self.cell().hash
    }

    /// Its place in the topic.
    pub(super) fn at(&self) -> u64 {
        self.leased().event.position.sequence
    }

    pub(super) fn token(&self) -> Token {
        self.batch.membership.token
    }

    pub(super) fn is_lost(&self) -> bool {
        self.batch.membership.is_lost()
    }

    pub(super) fn is_leaving(&self) -> bool {
        self.batch.shared.leaving.load(Ordering::Acquire)
    }

    /// Waits until the membership is lost, or the consumer gives back what runs.
    pub(super) async fn stopped(&self) {
        let shared = &self.batch.shared;
        loop {
            let told = shared.ended.notified();
            tokio::pin!(told);
            told.as_mut().enable();
            fence(Ordering::SeqCst);
            if self.is_lost() || self.is_leaving() {
                return;
            }
            told.await;
        }
    }

    pub(super) fn follow_up(&self, command: Command) {
        let all = self.cell().follow_ups.get_or_init(Box::default);
        lock(all).push(command);
    }

    pub(super) fn set_routed(&self) {
        self.cell().routed.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_routed(&self) -> bool {
        self.cell().routed.load(Ordering::Relaxed)
    }

    pub(super) fn take_follow_ups(&self) -> Vec<Command> {
        let all = self.cell().follow_ups.get();
        all.map(|all| std::mem::take(&mut *lock(all)))
            .unwrap_or_default()
    }
}
