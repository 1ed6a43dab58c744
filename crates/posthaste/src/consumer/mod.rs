//! Consumers: members of a group that ask for events, run their handlers, and settle how it ended.

mod build;
mod context;
mod ended;
mod engine;
mod handle;
mod handler;
mod held;
mod inbox;
mod lines;
mod making;
mod member;
mod outcome;
mod pulse;
mod route;
mod service;
mod settler;
mod shadow;
mod slot;
mod summary;

pub use build::Consumer;
pub use context::{EventCx, EventRequest};
pub use handle::ConsumerHandle;
pub use handler::{EventHandler, FromEvent, OfType};
pub use inbox::{Inbox, InboxEntry, MemoryInbox, once};
pub use outcome::{IntoEventOutcome, Park, Skip};
pub use route::IntoRoute;
pub use service::{EventService, Otherwise};
pub use shadow::Effects;
pub use summary::ConsumerSummary;
