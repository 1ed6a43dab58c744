//! Policies that keep a service alive: one value around any call.
//!
//! A [`Policy`] decides whether a call is made, how long it may take, whether it is made again, and says
//! why. It is cheap to clone, shared by all that clone it, and needs no store:
//!
//! ```
//! use posthaste::policy::{Policy, PolicyError};
//!
//! # async fn ask(_: u64) -> Result<String, std::io::Error> { Ok("7".to_owned()) }
//! # async fn program() -> Result<(), PolicyError<std::io::Error>> {
//! let billing = Policy::calling("billing");                     // one value …
//! let invoice = billing.call(|_| ask(7)).await?;                // … and one line
//! # Ok(())
//! # }
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
//! #     .block_on(program()).unwrap();
//! ```
//!
//! # Which one
//!
//! | for | take |
//! |---|---|
//! | calls to somebody else | [`Policy::calling`] |
//! | the requests that a server takes | [`Policy::serving`], around the handler |
//! | anything else | [`Policy::named`], strategy by strategy, or [`Policy::new`] from [`Settings`] |
//!
//! # The strategies
//!
//! In the order in which a call meets them; what stands wrongly is [refused](Builder::build) with the
//! reason. Other orders are made by calling one policy inside another.
//!
//! | strategy | does | see |
//! |---|---|---|
//! | deadline | the time of the whole call, which only ever narrows | [`Builder::deadline`], [`Context`] |
//! | retry | attempts after the first, under a budget that is charged when they are decided | [`settings::Retry`], [`settings::Budget`] |
//! | hedge | a second attempt beside one that takes long, under the same budget | [`settings::Hedge`] |
//! | throttle | does not ask who keeps refusing, for each tier by itself | [`settings::Throttle`] |
//! | rate | so many a second | [`settings::Rate`] |
//! | concurrency | so many at once, by number or by what the durations say; who waits, and who is shed | [`settings::Concurrency`] |
//! | breaker | does not ask who is ill | [`settings::Breaker`] |
//! | attempt timeout | the time of one attempt | [`Builder::attempt_timeout`] |
//! | chaos | injects delays, errors and lost answers | [`settings::ChaosRule`], [`Policy::set_chaos`] |
//!
//! Around them stand a [fallback](Calling::run_or), a [stale value](Stale), and [degraded modes](Mode). What a result means is said by a [`Judge`]; without one, every error is of
//! unknown effect, and a call is repeated only where its [`Context`] says that this is safe.
//!
//! # What it costs
//!
//! One lock, held twice a call for some tens of nanoseconds, two readings of the clock, and no allocation
//! where nothing waits: timers and hedges are put on the heap when they are needed (a tower service boxes
//! its future, as tower's own do). `cargo bench -p posthaste --bench policies` prints what each strategy
//! costs beside an empty call.
//!
//! # Cancellation
//!
//! Dropping a call anywhere is safe: its place, its probe and its turn are free at once. What the
//! callee made of the request is then unknown, as ever.

mod build;
mod call;
mod clock;
mod context;
mod error;
pub mod form;
mod judge;
mod lane;
mod layer;
mod mode;
mod names;
mod race;
mod room;
mod run;
mod scope;
mod stale;
mod sync;
mod tell;

pub use posthaste_core::policy::breaker::State as BreakerState;
pub use posthaste_core::policy::degrade::Level;
pub use posthaste_core::policy::engine::Counts;
pub use posthaste_core::policy::{Criticality, Refusal, Settings, Stop, Verdict, settings};

pub use build::Builder;
pub use call::{Calling, Places, Policy};
pub use context::{
    ATTEMPT_HEADER, CRITICALITY_HEADER, Context, IDEMPOTENCY_KEY_HEADER, Shares, TIMEOUT_HEADER,
    TRACEPARENT_HEADER, TRACESTATE_HEADER,
};
pub use error::PolicyError;
pub use judge::{AnyError, ByKind, Judge, of_status};
pub use layer::{OnceLayer, OnceService, PolicyLayer, PolicyService};
pub use mode::Mode;
pub use names::Policies;
pub use run::Attempt;
pub use stale::{Served, Stale};
