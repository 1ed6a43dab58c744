//! `verify`: reads everything that a store keeps, and names what is damaged.

use std::sync::Arc;
use std::time::{Duration, Instant};

use posthaste_core::{Error, ErrorKind, Result};
use posthaste_log::{Disk, Progress, RealDisk, VerifyReport};

use super::{Global, print, store};

/// How often progress is told.
const TELL: Duration = Duration::from_secs(1);

/// Verifies the directory that `--store` names, or the one that `serve` uses.
pub(super) async fn run(global: &Global) -> Result<()> {
    let dir = store::directory(global.url(super::serve::DATA))?;
    let json = global.json;
    let verified = tokio::task::spawn_blocking(move || {
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        let mut told = Instant::now();
        posthaste_log::verify(&disk, &dir, &mut |progress: Progress<'_>| {
            if told.elapsed() >= TELL {
                told = Instant::now();
                print::note(&progress_line(&progress));
            }
        })
    });
    let report = verified
        .await
        .map_err(|error| Error::new(ErrorKind::Io, format!("verifying broke off: {error}")))??;
    if json {
        print::json(&as_json(&report));
    } else {
        show(&report);
    }
    if report.is_sound() {
        return Ok(());
    }
    let damaged = report.damage.len() as u64 + report.more;
    Err(
        Error::new(ErrorKind::Corrupt, format!("{damaged} places are damaged")).next(
            "see what can be saved: posthaste repair --dry-run; restore a backup if there is one",
        ),
    )
}

fn progress_line(progress: &Progress<'_>) -> String {
    let percent = progress.done_bytes * 100 / progress.total_bytes.max(1);
    format!("{percent:>3} % read, now {}", progress.path.display())
}

fn show(report: &VerifyReport) {
    print::line(&format!(
        "{} MiB read: {} segments, {} snapshots, {} groups, {} records, {} facts, {} jobs, {} archives of topics, {} events in them",
        report.bytes >> 20,
        report.segments,
        report.snapshots,
        report.groups,
        report.records,
        report.facts,
        report.jobs,
        report.topics,
        report.events
    ));
    let closed = if report.clean {
        "closed in order"
    } else {
        "not closed in order"
    };
    print::line(&format!("the store was {closed}"));
    if let Some(torn) = &report.torn {
        print::line(&format!(
            "unfinished writing at the end, never acknowledged, cut off at the next start: {torn}"
        ));
    }
    for finding in &report.damage {
        print::line(&format!("damaged: {finding}"));
    }
    if report.more > 0 {
        print::line(&format!("and {} more", report.more));
    }
    if report.is_sound() {
        print::line("nothing is damaged");
    }
}

fn as_json(report: &VerifyReport) -> serde_json::Value {
    let finding = |finding: &posthaste_log::Finding| {
        serde_json::json!({
            "file": finding.path.display().to_string(),
            "offset": finding.offset,
            "what": finding.what,
        })
    };
    serde_json::json!({
        "sound": report.is_sound(),
        "clean": report.clean,
        "segments": report.segments,
        "snapshots": report.snapshots,
        "groups": report.groups,
        "records": report.records,
        "facts": report.facts,
        "jobs": report.jobs,
        "topics": report.topics,
        "events": report.events,
        "bytes": report.bytes,
        "damage": report.damage.iter().map(finding).collect::<Vec<_>>(),
        "more": report.more,
        "torn": report.torn.as_ref().map(finding),
    })
}
