//! `work --exec`: a command for each job, run by `sh -c` in a process group of its own.
//!
//! The payload is the command's standard input, the job's fields are in its environment, its exit
//! code says how the attempt ended, and its output is kept. Nothing that the command started
//! outlives it: whatever is left of the process group when the command ends, times out or is
//! called off is killed.

mod capture;
mod process;

use std::process::ExitStatus;
use std::time::Duration;

use posthaste_core::port::Leased;
use posthaste_core::{Error, Outcome, Payload, duration};
use tokio::sync::watch;

use crate::worker::{Attempt, Done, Stop, Stopped, Work};
use capture::{Captured, cut_note};
use process::Ended;

/// Exit code: the data is bad and no further attempt will help (`EX_DATAERR`).
const EXIT_DEAD: i32 = 65;
/// Exit code: the job is called off.
const EXIT_CANCEL: i32 = 100;

/// What becomes of a command's output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum KeepResult {
    /// The job's result, as text (or bytes, where it isn't UTF-8).
    #[default]
    Text,
    /// The job's result, as JSON. Output that isn't JSON fails the attempt.
    Json,
    /// Nothing.
    None,
}

/// Runs a command for each job.
#[derive(Debug)]
pub(crate) struct Exec {
    /// What `sh -c` is given.
    pub(crate) command: String,
    /// What becomes of its output.
    pub(crate) keep: KeepResult,
    /// How long a command that is told to stop (SIGTERM) may take before it is killed.
    pub(crate) kill_after: Duration,
    /// Whether to print JSON lines.
    pub(crate) json: bool,
    /// Whether to print only what went wrong.
    pub(crate) quiet: bool,
}

impl Exec {
    async fn run(&self, job: &Leased, stop: watch::Receiver<Stop>) -> Result<Outcome, Stopped> {
        match process::run(&self.command, self.kill_after, job, stop).await {
            Ok(Ended::Stopped { stderr }) => Err(Stopped { said: stderr }),
            Ok(Ended::Exited {
                status,
                stdout,
                stderr,
            }) => Ok(outcome(self.keep, status, stdout, &stderr)),
            Err(error) => Ok(Outcome::Retry {
                error: format!("sh could not be started: {error}").into(),
                delay_ms: None,
            }),
        }
    }
}

/// What an exit status means.
fn outcome(keep: KeepResult, status: ExitStatus, stdout: Captured, stderr: &str) -> Outcome {
    match status.code() {
        Some(0) => match result(keep, stdout) {
            Ok(result) => Outcome::Completed { result },
            Err(error) => Outcome::Retry {
                error: error.into(),
                delay_ms: None,
            },
        },
        Some(EXIT_DEAD) => Outcome::Dead {
            error: said(&status, stderr).into(),
        },
        Some(EXIT_CANCEL) => Outcome::Cancel {
            reason: said(&status, stderr).into(),
        },
        _ => Outcome::Retry {
            error: said(&status, stderr).into(),
            delay_ms: None,
        },
    }
}

fn said(status: &ExitStatus, stderr: &str) -> String {
    use std::os::unix::process::ExitStatusExt;
    let how = match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("killed by signal {signal}"),
        (None, None) => "ended without a code".to_owned(),
    };
    match stderr.trim() {
        "" => how,
        words => format!("{how}: {words}"),
    }
}

fn result(keep: KeepResult, stdout: Captured) -> Result<Option<Payload>, String> {
    if stdout.total == 0 || keep == KeepResult::None {
        return Ok(None);
    }
    let cut = stdout.is_cut();
    match keep {
        KeepResult::Json if cut => Err(format!(
            "the command wrote {} bytes, more than a result may have; write less, or use --result none",
            stdout.total
        )),
        KeepResult::Json => match serde_json::from_slice::<serde::de::IgnoredAny>(&stdout.bytes) {
            Ok(_) => Ok(Some(Payload::json(stdout.bytes))),
            Err(error) => Err(format!("the command's output is not JSON: {error}")),
        },
        _ => Ok(Some(text(stdout, cut))),
    }
}

fn text(stdout: Captured, cut: bool) -> Payload {
    let Captured { mut bytes, total } = stdout;
    if cut {
        // A character that the cut split goes with it.
        if let Err(error) = std::str::from_utf8(&bytes)
            && error.error_len().is_none()
        {
            bytes.truncate(error.valid_up_to());
        }
        bytes.extend_from_slice(cut_note(total).as_bytes());
    }
    let kind = match std::str::from_utf8(&bytes) {
        Ok(_) => "text/plain; charset=utf-8",
        Err(_) => "application/octet-stream",
    };
    Payload::bytes(kind, bytes)
}

impl Work for Exec {
    fn attempt<'a>(&'a self, job: &'a Leased, stop: watch::Receiver<Stop>) -> Attempt<'a> {
        Box::pin(self.run(job, stop))
    }

    fn settled(&self, done: &Done<'_>) {
        if self.quiet && matches!(done.outcome, Outcome::Completed { .. }) && done.settled.is_ok() {
            return;
        }
        crate::cli::print::line(&if self.json {
            json_line(done)
        } else {
            plain_line(done)
        });
    }

    fn trouble(&self, verb: &'static str, error: &Error) {
        crate::cli::print::warning(&format!("{verb} failed, trying again: {error}"));
    }
}

fn reason(outcome: &Outcome) -> Option<&str> {
    match outcome {
        Outcome::Retry { error, .. } | Outcome::Dead { error } => Some(error),
        Outcome::Cancel { reason } => Some(reason),
        _ => None,
    }
}

fn plain_line(done: &Done<'_>) -> String {
    let job = done.job;
    let state = match done.settled {
        Ok(state) => state.as_str().to_owned(),
        Err(error) => format!("{}, not settled ({error})", done.outcome.word()),
    };
    let why = reason(done.outcome).map_or(String::new(), |why| {
        format!(": {}", why.lines().last().unwrap_or_default())
    });
    format!(
        "{} {} attempt {}/{} {state} in {}{why}",
        job.id,
        job.kind,
        job.attempt,
        job.max_attempts,
        duration::print(done.took),
    )
}

fn json_line(done: &Done<'_>) -> String {
    let job = done.job;
    serde_json::json!({
        "id": job.id.to_string(),
        "kind": job.kind.as_str(),
        "queue": job.queue.as_str(),
        "attempt": job.attempt,
        "outcome": done.outcome.word(),
        "state": done.settled.as_ref().ok().map(|state| state.as_str()),
        "error": reason(done.outcome),
        "refused": done.settled.as_ref().err().map(|error| error.kind().slug()),
        "took_ms": u64::try_from(done.took.as_millis()).unwrap_or(u64::MAX),
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;

    fn check(code: i32, stderr: &str, word: &str, why: Option<&str>) {
        let outcome = outcome(
            KeepResult::Text,
            ExitStatus::from_raw(code << 8),
            Captured::default(),
            stderr,
        );
        assert_eq!((outcome.word(), reason(&outcome)), (word, why), "{code}");
    }

    #[test]
    fn exit_codes_say_how_the_attempt_ended() {
        check(0, "noise", "completed", None);
        check(1, "no route\n", "retry", Some("exit code 1: no route"));
        check(75, "", "retry", Some("exit code 75"));
        check(
            127,
            "sh: nope: not found",
            "retry",
            Some("exit code 127: sh: nope: not found"),
        );
        check(
            EXIT_DEAD,
            "bad line 3",
            "dead",
            Some("exit code 65: bad line 3"),
        );
        check(EXIT_CANCEL, "", "cancel", Some("exit code 100"));
    }

    #[test]
    fn a_signal_is_a_failed_attempt() {
        let outcome = outcome(
            KeepResult::Text,
            ExitStatus::from_raw(9),
            Captured::default(),
            "",
        );
        assert_eq!(reason(&outcome), Some("killed by signal 9"));
    }

    #[test]
    fn output_is_kept_as_what_it_is() {
        let of = |keep, bytes: &[u8]| {
            result(
                keep,
                Captured {
                    bytes: bytes.to_vec(),
                    total: bytes.len() as u64,
                },
            )
        };
        let text = of(KeepResult::Text, b"12\n").expect("kept").expect("some");
        assert_eq!(
            text.content_type.as_deref(),
            Some("text/plain; charset=utf-8")
        );
        let bytes = of(KeepResult::Text, &[0xff]).expect("kept").expect("some");
        assert_eq!(
            bytes.content_type.as_deref(),
            Some("application/octet-stream")
        );
        let json = of(KeepResult::Json, b"{\"a\":1}")
            .expect("kept")
            .expect("some");
        assert_eq!(json.content_type, None);
        assert!(of(KeepResult::Json, b"{").is_err());
        assert_eq!(of(KeepResult::None, b"x"), Ok(None));
        assert_eq!(of(KeepResult::Text, b""), Ok(None));
    }

    /// A job for a command.
    fn leased() -> Leased {
        Leased {
            id: posthaste_core::JobId::new(0, [7; 10]),
            token: posthaste_core::Token(1),
            kind: posthaste_core::KindName::new("print").expect("a kind"),
            queue: posthaste_core::QueueName::new("q").expect("a queue"),
            payload: Payload::json("null"),
            attempt: 1,
            max_attempts: 25,
            priority: posthaste_core::Priority::default(),
            lease_ms: 30_000,
            timeout_ms: 60_000,
            deadline: None,
            enqueued_at: posthaste_core::WallMs(0),
            tags: Vec::new(),
            metadata: Vec::new(),
        }
    }

    #[test]
    fn what_a_command_said_before_it_was_stopped_is_kept() {
        let dir = tempfile::tempdir().expect("a directory");
        let ready = dir.path().join("ready");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &ready,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RWXU,
            0,
        )
        .expect("a fifo");
        let exec = Exec {
            // More than a pipe holds, so that somebody has to read it while the command ends.
            command: format!(
                "trap 'head -c 100000 /dev/zero >&2; echo no paper >&2; exit 1' TERM; \
                 echo > {}; sleep 1000 & wait",
                ready.display()
            ),
            keep: KeepResult::None,
            kill_after: Duration::from_secs(3_600),
            json: false,
            quiet: true,
        };
        let (stop, stopping) = watch::channel(Stop::Go);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build();
        let stopped = runtime.expect("a runtime").block_on(async {
            let told = tokio::task::spawn_blocking(move || std::fs::read(ready));
            let tell = async {
                told.await.expect("it reads").expect("it is ready");
                stop.send_replace(Stop::TimedOut);
            };
            let job = leased();
            tokio::join!(exec.run(&job, stopping), tell).0
        });
        let said = stopped.expect_err("it was told to stop").said;
        assert!(said.ends_with("no paper\n"), "{} bytes", said.len());
    }
}
