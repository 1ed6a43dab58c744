//! One command from start to end, in a process group of its own.

use std::collections::VecDeque;
use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use posthaste::wire;
use posthaste_core::port::Leased;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};
use tokio::sync::watch;

use super::capture::{self, Captured};
use crate::worker::Stop;

/// How long output may still come once the command and its group are gone. Only a process that
/// left the group can make use of it.
const OUTPUT_WAIT: Duration = Duration::from_secs(1);

/// How a command ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// By itself.
    Exited {
        status: ExitStatus,
        stdout: Captured,
        stderr: String,
    },
    /// Because it was told to; what it had said on standard error.
    Stopped { stderr: String },
}

/// Kills what is left of a process group when it is dropped, however that comes about.
struct Group(Pid);

impl Group {
    fn signal(&self, signal: Signal) {
        // There may be nobody left in it.
        let _ = kill_process_group(self.0, signal);
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

/// Runs `sh -c command` for `job`, until it ends or `stop` says so.
///
/// # Errors
/// Where it could not be started.
pub(super) async fn run(
    command: &str,
    kill_after: Duration,
    job: &Leased,
    mut stop: watch::Receiver<Stop>,
) -> io::Result<Ended> {
    let mut child = spawn(command, job)?;
    let group = child
        .id()
        .and_then(|pid| i32::try_from(pid).ok())
        .and_then(Pid::from_raw)
        .map(Group)
        .ok_or_else(|| io::Error::other("the process has no id"))?;
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let feed = async {
        if let Some(mut stdin) = stdin {
            // A command need not read its payload.
            drop(stdin.write_all(&job.payload.bytes).await);
        }
    };
    let (mut out, mut err) = (Captured::default(), VecDeque::new());
    let listen = async {
        tokio::join!(
            feed,
            async {
                if let Some(stdout) = stdout {
                    capture::head(stdout, &mut out).await;
                }
            },
            async {
                if let Some(stderr) = stderr {
                    capture::tail(stderr, &mut err).await;
                }
            }
        )
    };
    let ended = {
        let mut listen = std::pin::pin!(listen);
        let mut heard = false;
        let ended = loop {
            tokio::select! {
                ended = child.wait() => break Some(ended?),
                _ = &mut listen, if !heard => heard = true,
                _ = stop.wait_for(|stop| *stop != Stop::Go) => break None,
            }
        };
        if ended.is_none() {
            let mut ending = std::pin::pin!(end(&mut child, &group, kill_after));
            // A command that has much to say about its end must not wait for a reader.
            tokio::select! {
                () = &mut ending => {}
                _ = &mut listen, if !heard => {
                    heard = true;
                    ending.await;
                }
            }
        }
        drop(group);
        if !heard {
            drop(tokio::time::timeout(OUTPUT_WAIT, listen).await);
        }
        ended
    };
    let stderr = String::from_utf8_lossy(err.make_contiguous()).into_owned();
    Ok(match ended {
        None => Ended::Stopped { stderr },
        Some(status) => Ended::Exited {
            status,
            stdout: out,
            stderr,
        },
    })
}

/// Asks the group to end, and ends it where it doesn't.
async fn end(child: &mut Child, group: &Group, kill_after: Duration) {
    group.signal(Signal::TERM);
    if tokio::time::timeout(kill_after, child.wait())
        .await
        .is_err()
    {
        group.signal(Signal::KILL);
        drop(child.wait().await);
    }
}

fn spawn(command: &str, job: &Leased) -> io::Result<Child> {
    let mut sh = Command::new("sh");
    sh.arg("-c")
        .arg(command)
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    environment(&mut sh, job);
    sh.spawn()
}

/// The job's fields, as `docs/cli.md` lists them.
fn environment(sh: &mut Command, job: &Leased) {
    let tags: Vec<&str> = job.tags.iter().map(AsRef::as_ref).collect();
    sh.env("POSTHASTE_JOB_ID", job.id.to_string())
        .env("POSTHASTE_JOB_KIND", job.kind.as_str())
        .env("POSTHASTE_JOB_QUEUE", job.queue.as_str())
        .env("POSTHASTE_JOB_ATTEMPT", job.attempt.to_string())
        .env("POSTHASTE_JOB_MAX_ATTEMPTS", job.max_attempts.to_string())
        .env("POSTHASTE_JOB_PRIORITY", job.priority.get().to_string())
        .env("POSTHASTE_JOB_TIMEOUT_MS", job.timeout_ms.to_string())
        .env("POSTHASTE_JOB_TAGS", tags.join(","))
        .env(
            "POSTHASTE_JOB_ENQUEUED_AT",
            wire::Instant(job.enqueued_at).to_string(),
        )
        .env("POSTHASTE_IDEMPOTENCY_KEY", job.id.to_string())
        .env(
            "POSTHASTE_JOB_CONTENT_TYPE",
            job.payload
                .content_type
                .as_deref()
                .unwrap_or("application/json"),
        );
    if let Some(deadline) = job.deadline {
        sh.env(
            "POSTHASTE_JOB_DEADLINE",
            wire::Instant(deadline).to_string(),
        );
    }
    for (name, value) in &job.metadata {
        match &**name {
            "traceparent" => sh.env("TRACEPARENT", &**value),
            "tracestate" => sh.env("TRACESTATE", &**value),
            _ => sh,
        };
    }
}
