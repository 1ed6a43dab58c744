//! Events: types that are events, publishing them, and reading a topic on from a position.
//!
//! An event is a fact that is told to whoever cares. It is published to a topic, lies there in the
//! order of publication for as long as the topic's retention says, and can be read any number of
//! times.
//!
//! ```
//! use posthaste::event::{ReadFrom, TailedOf};
//! use posthaste::{Event, Posthaste};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Debug, Serialize, Deserialize, Event)]
//! #[event(type = "order.placed", topic = "orders", source = "shop", key = "order")]
//! struct OrderPlaced { order: u64, total: u64 }
//!
//! # async fn program() -> posthaste::Result<()> {
//! let hub = Posthaste::open("memory:").await?;
//! hub.publish(OrderPlaced { order: 7, total: 1999 }).await?;
//!
//! let mut tail = hub.tail_of::<OrderPlaced>().from(ReadFrom::Earliest);
//! match tail.next().await? {
//!     TailedOf::Event(told) => assert_eq!((told.data.order, told.event.offset), (7, 0)),
//!     TailedOf::Gap(gap) => println!("what lay before {} is gone", gap.earliest),
//!     other => println!("not an order: {other:?}"),
//! }
//! # Ok(())
//! # }
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
//! #     .block_on(program()).unwrap();
//! ```
//!
//! # What it promises
//!
//! An event whose publishing was answered is on the disk, at one place that is never another's.
//! Everybody who reads gets the same events in the same order, and is told where some are gone
//! ([`Gap`]). A publish that broke off may have happened: choose the event's [`id`](Publish::id) to
//! be able to ask again.
//!
//! A group handles each event once, and may do it more than once: after a failure, a crash, a lost
//! membership. Events of one key are handled in order. What is [committed](EventCx::commit_with) with
//! an event happens exactly when it ends.
//!
//! # An effect elsewhere
//!
//! An [`InboxEntry`] belongs into the transaction of the effect; then both happen or neither:
//!
//! ```sql
//! create table inbox (
//!     topic      text not null,
//!     group_name text not null,
//!     source     text not null,
//!     id         text not null,
//!     at         timestamptz not null default now(),
//!     primary key (topic, group_name, source, id)
//! );
//!
//! begin;
//! insert into inbox (topic, group_name, source, id) values ($1, $2, $3, $4)
//!     on conflict do nothing;       -- no row inserted: it had its effect; roll back, `Done`
//! update accounts set balance = balance - $5 where id = $6;
//! commit;
//! ```
//!
//! Entries can be deleted when no replay reaches back to them: after the retention of the topic.
//!
//! # Where to look
//!
//! | to | see |
//! |---|---|
//! | say what an event is | [`#[derive(Event)]`](derive@crate::Event), [`trait@Event`] |
//! | publish one, many, later, or with other commands | [`Posthaste::publish`](crate::Posthaste::publish), [`Posthaste::publish_all`](crate::Posthaste::publish_all), [`Publish::after`], [`CommitBuilder::publish`](crate::CommitBuilder::publish), [`Cx::publish_with`](crate::Cx::publish_with) |
//! | publish what has no type | [`EventDraft`] |
//! | handle them in a group | [`Group::consumer`], [`Consumer`], [`EventCx`] |
//! | make jobs of them | [`Consumer::route`] |
//! | look at a group, reset it, decide on what is parked | [`Posthaste::group`](crate::Posthaste::group), [`Group`] |
//! | see one's own write in a projection | [`Group::reached`] |
//! | have an effect elsewhere once | [`Inbox`], [`once`] |
//! | read on | [`Topic::tail`], [`Tail`], [`TailOf`] |
//! | set up a topic | [`Posthaste::topic`](crate::Posthaste::topic), [`Topic::set`] |
//! | see in a test what was published | [`TestHub::events`](crate::testing::TestHub::events) |

mod draft;
mod group;
mod later;
pub(crate) mod publish;
mod reached;
mod reset;
pub mod standing;
mod tail;
mod tail_of;
mod topic;
mod typed;

pub use posthaste_core::topic::{
    Compression, Event as RawEvent, Gap, GapReason, Position, Published, ReadFrom, TopicConfig,
    TopicSettings, TopicView,
};

pub use posthaste_core::group::{
    EventOutcome, GroupConfig, GroupSettings, GroupTotals, GroupView, KeptEvent, KeptPage,
    KeptReason, MemberView, OnExhausted, PausedBy, Which,
};

pub use crate::consumer::{
    Consumer, ConsumerHandle, ConsumerSummary, Effects, EventCx, EventHandler, EventRequest,
    EventService, FromEvent, Inbox, InboxEntry, IntoEventOutcome, IntoRoute, MemoryInbox, OfType,
    Otherwise, Park, Skip, once,
};
pub use draft::{EventDraft, IntoEvent};
pub use group::{Group, GroupLag, of_key};
pub use publish::Publish;
pub use reached::Reached;
pub use reset::ResetGroup;
pub use standing::Replay;
pub use tail::{Page, Tail, Tailed};
pub use tail_of::{TailOf, TailedOf, Undecodable};
pub use topic::Topic;
pub use typed::{DATA_VERSION, Event, TypedEvent};

pub(crate) use later::{Later, publish_now};
pub(crate) use typed::decode;
