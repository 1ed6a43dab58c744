//! Durable background jobs and event topics to embed: on a log of their own, nothing to install.
//!
//! ```
//! use posthaste::{Cx, Done, HandlerError, Job, Posthaste};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize, Deserialize, Job)]
//! struct WelcomeEmail { user: u64 }
//!
//! # async fn send_mail(_: u64, _: String) -> std::io::Result<()> { Ok(()) }
//! # async fn program() -> posthaste::Result<()> {
//! let hub = Posthaste::open("memory:").await?; // or file:./data, to outlive the process
//! let job = hub.enqueue(WelcomeEmail { user: 7 }).priority(9).await?;
//! let worker = hub.worker().on(|job: WelcomeEmail, cx: Cx| async move {
//!     send_mail(job.user, cx.idempotency_key()).await?; // an error: again, after a backoff
//!     Done
//! });
//! worker.run_until(async { job.result::<()>().await.unwrap() }).await?;
//! # Ok(())
//! # }
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
//! #     .block_on(program()).unwrap();
//! ```
//!
//! # What it promises
//!
//! An enqueue that was answered is on the disk, and its job is run at least once: through kill -9,
//! an operating-system crash and a power cut. A job that was settled is never run again. What a
//! handler does outside is not undone when it fails half-way: call others under
//! [`Cx::idempotency_key`].
//!
//! # Where to look
//!
//! | to | see |
//! |---|---|
//! | open a store | [`Posthaste::open`], [`Posthaste::options`] |
//! | say what a job is | [`#[derive(Job)]`](derive@Job), [`JobRule`] |
//! | enqueue one, many, or with other commands | [`Posthaste::enqueue`], [`Posthaste::enqueue_many`], [`Posthaste::commit`] |
//! | wait for a result | [`Enqueued::result`] |
//! | run handlers | [`Posthaste::worker`], [`Worker`], [`Cx`], [`State`] |
//! | handle events in groups, each key in order | [`Posthaste::group`], [`Consumer`], [`EventCx`], [`event`] |
//! | publish events, and read a topic on | [`#[derive(Event)]`](derive@Event), [`Posthaste::publish`], [`event`] |
//! | end an attempt | [`Done`](const@Done), [`Retry`], [`Snooze`], [`Cancel`], [`Dead`], [`HandlerError`] |
//! | look and operate | [`Posthaste::job`], [`Posthaste::queues`], [`Posthaste::retry`], [`Posthaste::pause`] |
//! | put a policy around a call, a kind of job or a server | [`policy`] |
//! | test without waiting | [`testing`] |
//!
//! # Features
//!
//! | feature | default | adds |
//! |---|---|---|
//! | `http` | no | `http://host:port` as a store: a Posthaste server |
//! | `wire` | no | the JSON shapes of the HTTP surface |
//!
//! This crate refuses to decide what is true of a job: that is the store's. It spawns tasks on the
//! tokio runtime that it is called from, and pulls in no command line, HTTP server or database
//! driver.

extern crate self as posthaste;

/// What the front page shows must compile.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;

/// So must what the guide shows.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/guide/events.md")]
struct GuideToEvents;

/// And what the guide to policies shows.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/guide/policies.md")]
struct GuideToPolicies;

mod carry;
mod commit;
mod consumer;
mod context;
mod digest;
mod draft;
mod enqueue;
pub mod event;
mod handler;
#[cfg(feature = "http")]
mod http;
mod hub;
mod ids;
mod job;
mod open;
mod outcome;
pub mod policy;
pub mod sweep;
pub mod testing;
mod units;
#[cfg(feature = "wire")]
pub mod wire;
mod worker;

pub use posthaste_core as core;
pub use posthaste_core::command::{Edit, QueueSettings};
pub use posthaste_core::view::{Health, JobFilter, JobPage, JobView, Pace, QueueView};
pub use posthaste_core::{
    Backoff, Command, Committed, DeadReason, Error, ErrorKind, JobId, JobState, Outcome, Payload,
    Published, Result, Store, duration,
};
pub use posthaste_derive::{Event, Job};

pub use commit::CommitBuilder;
pub use consumer::{Consumer, ConsumerHandle, ConsumerSummary, EventCx, Park, Skip};
pub use context::{Cx, JobRequest, RawJob, State};
pub use draft::{Draft, IntoDraft, UniqueRule};
pub use enqueue::{BoxFuture, Enqueue, Enqueued};
pub use event::Event;
pub use handler::{FromPayload, Handler};
#[cfg(feature = "http")]
pub use http::HttpStore;
pub use hub::Posthaste;
pub use job::{Job, JobRule};
pub use open::Options;
pub use outcome::{
    BoxError, Cancel, Dead, Done, HandlerError, HandlerResult, IntoOutcome, Output, Retry, Snooze,
};
pub use units::TimeUnits;
pub use worker::{JobService, Summary, WorkQueue, Worker, WorkerHandle};
