//! The JSON shapes of the HTTP surface, shared by the server and by the `http:` store.
//!
//! Every shape converts from and to the types of the port. Requests refuse fields they don't
//! know, by name; answers let them pass, so that an older client reads a newer server. JSON
//! payloads pass through unparsed. What a field *means* is said at the port's own types; here
//! stands how it is written:
//!
//! - durations are text: `"200ms"`, `"30s"`, `"1h30m"` ([`Span`]);
//! - instants are RFC 3339 in UTC: `"2026-11-20T21:30:00Z"` ([`Instant`]);
//! - ids are UUIDs, tokens are numbers below 2⁵³;
//! - a JSON payload is the value itself under `payload`; any other is `payload_base64` beside
//!   `content_type`;
//! - events come as `CloudEvents` or plain, and are told as `CloudEvents` ([`event`]);
//! - what is absent has its default.
//!
//! This module refuses to decide anything about jobs, and does no I/O.

mod commit;
mod edit;
pub mod event;
mod group;
mod job;
mod lease;
mod names;
mod pace;
mod page;
mod parse;
mod payload;
mod problem;
mod queue;
mod reply;
mod settle;
#[cfg(test)]
mod tests;
mod text;
mod topic;
mod view;

pub use commit::{Command, Commit, JobRef};
pub use edit::{Edit, EditJob};
pub use group::{
    EventAsk, EventEnd, EventOutcomeWord, EventPlace, EventsSettled, GroupRef, GroupSettings,
    GroupTotals, GroupView, Groups, KeptEvent, KeptPage, LeasedEvents, MemberRef, MemberToken,
    MemberView, Moved, Redrive, Replay, Reset, ResetGroup, SetGroup, SettleEvents, SettledEvents,
    SettledEventsReply, Unpark, UnparkingWord, Which, WrittenKeptPage, WrittenLeasedEvents,
};
pub use job::{Backoff, Enqueued, EnqueuedJobs, NewJob, OnConflict, Unique};
pub use lease::{
    Heartbeat, HeartbeatResult, HeartbeatResults, LeaseAsk, LeasedJob, LeasedJobs, QueueAsk, Status,
};
pub use names::Metadata;
pub use pace::Pace;
pub use page::{EventPage, Gap, ReadFrom, WrittenPage};
pub use parse::{check_depth, parse, parse_one_or_many};
pub use problem::{Problem, status};
pub use queue::{ConfigureQueue, Health, QueueSettings, QueueView, Queues, Totals};
pub use reply::{Committed, EnqueuedReply, Extended, Nothing, Reply, SettledReply, StateReply};
pub use settle::{OutcomeWord, Settle, SettleResult, SettleResults};
pub use text::{Instant, Span};
pub use topic::{
    Publish, Published, PublishedEvents, Retention, SetTopic, TopicRef, TopicSettings, TopicView,
    Topics,
};
pub use view::{JobPage, JobView, Sweep, Swept};
