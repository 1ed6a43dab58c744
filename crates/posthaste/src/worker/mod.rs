//! Workers: they lease jobs, run their handlers, and settle how it ended.

pub(crate) mod again;
pub(crate) mod batch;
mod build;
mod engine;
mod kinds;
mod lane;
mod pulse;
mod retries;
mod service;
mod settler;
mod slot;
mod summary;

pub use build::{WorkQueue, Worker, WorkerHandle};
pub(crate) use build::{check_slots, check_times};
pub use service::JobService;
pub use summary::Summary;
