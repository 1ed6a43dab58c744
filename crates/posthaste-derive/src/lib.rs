//! `#[derive(Job)]`, the derive macro of `posthaste`, and nothing else.
//!
//! It reads the `#[job(…)]` attribute, refuses at compile time what would be refused at run time
//! (by the same rules, those of `posthaste-core`), and writes one `impl Job`.

mod job;
mod names;

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
