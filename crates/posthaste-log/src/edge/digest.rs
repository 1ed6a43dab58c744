//! What something is known by when it is repeated. A settle: its outcome, and the commands that
//! follow it in its commit; kept for ten minutes, so it need not be the same in every version. A
//! key: itself, and what came with it.

use posthaste_core::command::{Command, Commit};
use posthaste_core::machine::KeyDigest;
use posthaste_core::{NewEvent, Outcome, Text};
use sha2::{Digest, Sha256};

use super::lasting_body;

/// What an outcome is known by. Never 0.
pub(super) fn of_outcome(outcome: &Outcome) -> u32 {
    let mut crc = crc32c::crc32c(outcome.word().as_bytes());
    let mut add = |bytes: &[u8]| crc = crc32c::crc32c_append(crc, bytes);
    match outcome {
        Outcome::Completed {
            result: Some(result),
        } => add(&result.bytes),
        Outcome::Completed { result: None } => {}
        Outcome::Retry { error, delay_ms } => {
            add(error.as_bytes());
            add(&delay_ms.map_or(u64::MAX, |delay| delay).to_le_bytes());
        }
        Outcome::Snooze { delay_ms } => add(&delay_ms.to_le_bytes()),
        Outcome::Cancel { reason: text } | Outcome::Dead { error: text } => add(text.as_bytes()),
        Outcome::Release {
            delay_ms,
            undecodable,
            error,
        } => {
            add(&delay_ms.to_le_bytes());
            add(&[u8::from(*undecodable)]);
            add(error.as_deref().unwrap_or_default().as_bytes());
        }
    }
    crc.max(1)
}

/// The digest of a settle, given that of its outcome and the commands behind it. Those up to the
/// next settle or heartbeat are applied with it, and are not applied again when it is repeated.
pub(super) fn with_follow_ups(outcome: u32, behind: &[Command]) -> u32 {
    let theirs = behind.iter().take_while(|command| {
        !matches!(command, Command::Settle { .. } | Command::Heartbeat { .. })
    });
    theirs.fold(outcome, follow_up).max(1)
}

fn follow_up(crc: u32, command: &Command) -> u32 {
    if let Command::Publish { topic, events } = command {
        // Nor an event's, unless its publisher chose it.
        let same = |event: &NewEvent| match event.deduplicate {
            true => format!("{event:?}"),
            false => format!(
                "{:?}",
                NewEvent {
                    id: Text::default(),
                    ..event.clone()
                }
            ),
        };
        let crc = crc32c::crc32c_append(crc, topic.as_str().as_bytes());
        let each = events.iter().map(same);
        return each.fold(crc, |crc, event| {
            crc32c::crc32c_append(crc, event.as_bytes())
        });
    }
    let Command::Enqueue(job) = command else {
        return crc32c::crc32c_append(crc, format!("{command:?}").as_bytes());
    };
    // Not its id, which is minted anew when a request is sent again.
    let crc = crc32c::crc32c_append(crc, &lasting_body(job));
    let rest = format!("{:?} {:?} {:?}", job.start, job.idempotency_key, job.unique);
    crc32c::crc32c_append(crc, rest.as_bytes())
}

/// A digest of `parts`, each with its length before it.
pub(super) fn sha(parts: &[&[u8]]) -> [u8; 16] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    let digest: [u8; 32] = hash.finalize().into();
    digest.first_chunk().copied().unwrap_or_default()
}

/// What a commit's own key is known by.
pub(crate) fn of_commit(commit: &Commit) -> Option<KeyDigest> {
    let key = commit.key.as_ref()?;
    Some(of_key(b"commit", &key.key, &key.digest))
}

pub(super) fn of_key(scope: &[u8], key: &str, body: &[u8; 16]) -> KeyDigest {
    let [a, b, c, d, ..] = *body;
    let digest = sha(&[scope, key.as_bytes()]);
    KeyDigest {
        key: digest.first_chunk().copied().unwrap_or_default(),
        body: u32::from_le_bytes([a, b, c, d]),
    }
}
