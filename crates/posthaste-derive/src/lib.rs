//! `#[derive(Job)]` and `#[derive(Event)]`, the derive macros of `posthaste`, and nothing else.
//!
//! They read the `#[job(…)]` or `#[event(…)]` attribute, refuse at compile time what would be refused
//! at run time (by the same rules, those of `posthaste-core`), and write one `impl`.

mod event;
mod job;
mod names;
mod settings;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

/// Makes a type a job: `impl posthaste::Job`.
///
/// The type needs serde's `Serialize` and `Deserialize` too. All settings are optional:
///
/// | `#[job(…)]` | meaning | default |
/// |---|---|---|
/// | `kind = "welcome-email"` | which handler it is for | the type's name in kebab-case |
/// | `queue = "mail"` | which queue it waits in | `default` |
/// | `priority = 9` | rank, 1 to 9; 9 is served first | 5 |
/// | `max_attempts = 8` | attempts in all, 1 to 1000 | 25 |
/// | `timeout = "30s"` | longest time for one attempt, at most 7 days | `15m` |
/// | `backoff = "10s"` | the same delay after each failed attempt | 2ⁿ s, at most 6 h, ±25 % |
/// | `backoff(base = "1s", factor = 2, max = "6h", jitter_percent = 25)` | a growing one; what is left out has its default | |
/// | `keep_result = false` | whether the handler's result is kept | `true` |
/// | `criticality = "batch"` | how much it matters: `critical`, `default`, `batch` or `best-effort` | that of the context it is enqueued in |
///
/// ```text
/// #[derive(Serialize, Deserialize, Job)]
/// #[job(queue = "mail", max_attempts = 8, timeout = "30s")]
/// struct WelcomeEmail { user: u64 } // the kind is welcome-email
/// ```
#[proc_macro_derive(Job, attributes(job))]
pub fn derive_job(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    job::expand(&input)
        .unwrap_or_else(|error| error.to_compile_error())
        .into()
}

/// Makes a type an event: `impl posthaste::Event`.
///
/// The type needs serde's `Serialize` and `Deserialize` too. All settings are optional:
///
/// | `#[event(…)]` | meaning | default |
/// |---|---|---|
/// | `type = "order.placed"` | what happened, 1 to 255 bytes | the type's name in kebab-case |
/// | `topic = "orders"` | where it is published | as `type` |
/// | `version = 2` | which shape its payload has; told in the header `dataversion` | 1 |
/// | `source = "shop"` | who tells it, 1 to 255 bytes | `posthaste` |
/// | `key = "order"` | the field that is its key, which must be `Display`; of a tuple, its number | none |
///
/// ```text
/// #[derive(Serialize, Deserialize, Event)]
/// #[event(type = "order.placed", topic = "orders", source = "shop", key = "order")]
/// struct OrderPlaced { order: u64, total: u64 }
/// ```
#[proc_macro_derive(Event, attributes(event))]
pub fn derive_event(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    event::expand(&input)
        .unwrap_or_else(|error| error.to_compile_error())
        .into()
}
