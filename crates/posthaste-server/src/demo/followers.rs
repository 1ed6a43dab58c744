//! What the shop tells, and the two groups that follow it: events of its customers, published in the
//! commit that accepts their jobs.
//!
//! Billing charges orders, one after the other for each customer, at a bank that is slow and fails;
//! analytics counts everything. What one of them can't keep up with is its lag, and nobody else's.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use posthaste::event::{
    ConsumerHandle, EventDraft, GroupSettings, GroupView, OnExhausted, RawEvent, ReadFrom,
};
use posthaste::{Backoff, Dead, Done, Event, HandlerError, HandlerResult, Posthaste};
use posthaste_core::{Command, Result};
use posthaste_server::mint::Mint;
use serde::{Deserialize, Serialize};

use super::acknowledged::Acknowledged;
use super::chance::Chance;

/// Where it is told.
pub(super) const TOPIC: &str = "shop";
/// One customer in so many has a card that no bank takes.
const BAD_CARDS: u64 = 400;

/// A customer signed up.
#[derive(Debug, Serialize, Deserialize, Event)]
#[event(
    type = "customer.signed-up",
    topic = "shop",
    source = "demo",
    key = "customer"
)]
pub(super) struct SignedUp {
    pub(super) customer: u64,
}

/// A customer ordered.
#[derive(Debug, Serialize, Deserialize, Event)]
#[event(
    type = "order.placed",
    topic = "shop",
    source = "demo",
    key = "customer"
)]
pub(super) struct OrderPlaced {
    pub(super) customer: u64,
    pub(super) total: u64,
}

/// A group and its manners.
pub(super) struct Follower {
    pub(super) group: &'static str,
    pub(super) manners: &'static str,
}

/// The groups, in the order in which they are shown.
pub(super) const FOLLOWERS: [Follower; 2] = [
    Follower {
        group: "billing",
        manners: "5-60 ms for an order, 4 % fail, 1 card of 400 is bad",
    },
    Follower {
        group: "analytics",
        manners: "counts everything",
    },
];

/// Both groups at work.
pub(super) struct Followers(Vec<ConsumerHandle>);

impl Followers {
    /// Makes the groups where they are not there, from the first event on, and has them follow.
    ///
    /// # Errors
    /// What the store answers.
    pub(super) async fn start(hub: &Posthaste, seed: u64, grace: Duration) -> Result<Self> {
        let [billing, analytics] = FOLLOWERS.map(|of| hub.group(TOPIC, of.group).consumer());
        let bank = Arc::new(Chance::new(seed.rotate_left(32)));
        let billing = billing
            .from(ReadFrom::Earliest)
            .settings(GroupSettings {
                on_exhausted: Some(OnExhausted::Dead),
                backoff: Some(Backoff::fixed(500)),
                ..GroupSettings::default()
            })
            .name("demo")
            .grace(grace)
            .on(move |order: OrderPlaced| charge(Arc::clone(&bank), order));
        let counted = Arc::new(AtomicU64::new(0));
        let analytics = analytics
            .from(ReadFrom::Earliest)
            .name("demo")
            .grace(grace)
            .on_any(move |event: RawEvent| {
                let bytes = event.payload.map_or(0, |payload| payload.bytes.len());
                counted.fetch_add(bytes as u64, Ordering::Relaxed);
                async { Done }
            });
        Ok(Self(vec![billing.start().await?, analytics.start().await?]))
    }

    /// Has both leave, once what they hold is handled.
    ///
    /// # Errors
    /// Why a group ended before it was told to.
    pub(super) async fn stop(self) -> Result<()> {
        for follower in self.0 {
            follower.stop().await?;
        }
        Ok(())
    }
}

/// Takes the money for an order.
async fn charge(bank: Arc<Chance>, order: OrderPlaced) -> HandlerResult {
    tokio::time::sleep(bank.time(5, 60)).await;
    if order.customer.is_multiple_of(BAD_CARDS) {
        return Dead::because("the bank refuses the card");
    }
    if bank.happens(40) {
        return Err(HandlerError::new("the bank does not answer"));
    }
    Done
}

/// The command that tells of a customer.
///
/// # Errors
/// What can't be said of an event.
pub(super) fn tell(mint: &mut Mint, event: impl Event) -> Result<Command> {
    let (topic, event) = EventDraft::new(event).build(|| mint.id())?;
    let events = vec![event];
    Ok(Command::Publish { topic, events })
}

/// What was published, and what became of it in each group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Told {
    /// Events that were published.
    pub(super) published: u64,
    /// Each group, by its name, in the order of [`FOLLOWERS`].
    pub(super) groups: Vec<Followed>,
}

/// What became of the events in one group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Followed {
    pub(super) group: &'static str,
    pub(super) done: u64,
    pub(super) skipped: u64,
    pub(super) retried: u64,
    /// Given up on, or put aside.
    pub(super) dead: u64,
    /// Gone before they were handled.
    pub(super) gone: u64,
    /// Not finished, or not looked at yet.
    pub(super) lag: u64,
    /// Some of what was given up on was brought back, and counts twice.
    brought_back: bool,
    published: u64,
}

impl Told {
    /// Reads it.
    ///
    /// # Errors
    /// What the store answers.
    pub(super) async fn read(hub: &Posthaste) -> Result<Self> {
        let groups = hub.groups().await?;
        let groups = FOLLOWERS.iter().filter_map(|follower| {
            let of = |view: &&GroupView| {
                view.topic.as_str() == TOPIC && view.name.as_str() == follower.group
            };
            let view = groups.iter().find(of)?;
            Some(Followed::of(follower.group, view))
        });
        let groups: Vec<Followed> = groups.collect();
        let published = groups.iter().map(|group| group.published).max();
        Ok(Self {
            published: published.unwrap_or(0),
            groups,
        })
    }

    /// Whether every published event is somewhere in every group, and whether all are there that
    /// the customers were told of.
    ///
    /// # Errors
    /// What doesn't agree, in words.
    pub(super) fn verdict(&self, acknowledged: &Acknowledged) -> Result<(), String> {
        if let Some(group) = self.groups.iter().find(|group| !group.balances()) {
            return Err(format!("{group:?}"));
        }
        let said = acknowledged.now().published;
        match said > self.published {
            true => Err(format!(
                "{said} events were said to be published, the store has {}",
                self.published
            )),
            false => Ok(()),
        }
    }
}

impl Followed {
    fn of(group: &'static str, view: &GroupView) -> Self {
        let totals = view.totals;
        let unread = view.end.sequence.saturating_sub(view.head.sequence);
        Self {
            group,
            done: totals.done,
            skipped: totals.skipped,
            retried: totals.retried,
            dead: totals.dead + totals.parked,
            gone: totals.lost_to_retention,
            lag: view.unfinished + unread,
            brought_back: (totals.dead, totals.parked) != (view.dead, view.parked),
            published: view.end.sequence,
        }
    }

    fn balances(&self) -> bool {
        let sum = self.done + self.skipped + self.dead + self.gone + self.lag;
        sum == self.published || (self.brought_back && sum > self.published)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told() -> Told {
        let group = Followed {
            group: "billing",
            done: 5,
            skipped: 2,
            dead: 1,
            lag: 2,
            published: 10,
            ..Followed::default()
        };
        Told {
            published: 10,
            groups: vec![group],
        }
    }

    #[test]
    fn an_event_that_is_nowhere_or_twice_is_noticed() {
        let said = Acknowledged::open(None).expect("no file");
        said.accepted(0, 10);
        assert_eq!(told().verdict(&said), Ok(()));
        for lag in [1, 3] {
            let mut wrong = told();
            wrong.groups[0].lag = lag;
            assert!(wrong.verdict(&said).is_err(), "{wrong:?}");
        }
        said.accepted(0, 1);
        assert!(
            told().verdict(&said).is_err(),
            "one was acknowledged and is not there"
        );
    }
}
