//! A commit whose fate isn't known is repeated, under the key that it has.

use std::time::Duration;

use posthaste_core::{Commit, Committed, Error, ErrorKind, Result, Store};

use super::print;

/// How often.
const TRIES: u32 = 10;

/// Commits, and again while that may help. `done` says what has not happened yet, and `look` where
/// to see whether it has.
///
/// # Errors
/// As [`Store::commit`]; the last one where none of the tries helped.
pub(super) async fn commit(
    store: &dyn Store,
    commit: Commit,
    done: &str,
    look: &str,
) -> Result<Committed> {
    let mut pause = Duration::from_millis(100);
    for _ in 1..TRIES {
        match once(store, commit.clone(), look).await {
            Err(error) if error.is_retryable() => {
                print::warning(&format!("not {done} yet, trying again: {error}"));
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(3));
            }
            ended => return ended,
        }
    }
    once(store, commit, look).await
}

async fn once(store: &dyn Store, commit: Commit, look: &str) -> Result<Committed> {
    let answers = store.commit(vec![commit]).await?;
    answers.into_iter().next().unwrap_or_else(|| {
        Err(Error::new(ErrorKind::Uncertain, "the store gave no answer")
            .next(format!("see whether it is there: {look}")))
    })
}
