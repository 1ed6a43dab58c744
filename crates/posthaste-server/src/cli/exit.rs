//! Exit codes, one for each kind of trouble that a script would treat differently.

use std::process::ExitCode;

use posthaste_core::ErrorKind;

/// The table that every `--help` ends with.
pub(super) const HELP: &str = "\
Exit codes:
  0  done
  1  failed, or what became of it is not known
  2  bad usage or bad input
  3  no such job, queue, topic or group
  4  not possible in the state it is in, or a key that was used before
  5  not reachable, busy, held by another process, or port taken: try again later
  6  stored data is damaged
  7  disk full
  8  written by a newer version
  9  what was to be read on from is gone (tail)";

/// What was to be read on from is gone: no error of the store's, and no end either.
pub(super) const GAP: u8 = 9;

/// The exit code of an error.
pub(super) fn code(kind: ErrorKind) -> ExitCode {
    ExitCode::from(number(kind))
}

fn number(kind: ErrorKind) -> u8 {
    match kind {
        ErrorKind::Invalid | ErrorKind::TooLarge | ErrorKind::Unsupported => 2,
        ErrorKind::NotFound => 3,
        ErrorKind::Conflict
        | ErrorKind::KeyReused
        | ErrorKind::UniqueConflict
        | ErrorKind::Stale
        | ErrorKind::UnknownLease
        | ErrorKind::SettledOtherwise => 4,
        ErrorKind::Busy
        | ErrorKind::Overloaded
        | ErrorKind::Closed
        | ErrorKind::Unavailable
        | ErrorKind::Locked => 5,
        ErrorKind::Corrupt => 6,
        ErrorKind::DiskFull => 7,
        ErrorKind::NewerFormat => 8,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_names_every_code_that_is_used() {
        for kind in ErrorKind::ALL {
            let line = format!("\n  {}  ", number(kind));
            assert!(HELP.contains(&line), "{}", kind.slug());
            assert_ne!(number(kind), GAP, "it is told apart");
        }
        assert!(HELP.contains(&format!("\n  {GAP}  ")));
    }
}
