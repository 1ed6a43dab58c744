//! The HTTP surface of Posthaste.
//!
//! [`router`] turns any [`Store`](posthaste_core::Store) into an [`axum::Router`], which a program
//! that embeds a store can mount beside its own routes; [`server`] serves it within limits, as the
//! binary `posthaste` does. State lives in the store: this crate keeps nothing beyond connections
//! and the requests under way. It refuses to interpret a payload, and to decide anything about a
//! job.
//!
//! ```no_run
//! # async fn run(store: std::sync::Arc<dyn posthaste_core::Store>) -> posthaste_core::Result<()> {
//! use posthaste_server::{Served, router, server};
//!
//! let listener = server::listen(([127, 0, 0, 1], 7766).into()).await?;
//! let forever = std::future::pending();
//! server::serve(listener, router(Served::new(store)), server::Limits::default(), forever).await;
//! # Ok(())
//! # }
//! ```

mod http;
pub mod mint;
pub mod server;

pub use http::{Drain, OPENAPI, ROUTES, Served, Streams, admission, router};
