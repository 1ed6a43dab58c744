//! `repair`: says what it takes to open a damaged store again and what that costs, and does it
//! only when it is told to.

use std::sync::Arc;

use posthaste_core::{Error, ErrorKind, Result};
use posthaste_log::{Disk, RealDisk, RepairReport};

use super::{Global, print, store};

/// How to repair.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only say what would be done, and what it would cost
    #[arg(long, required_unless_present = "yes")]
    dry_run: bool,
    /// Do it; what is taken out is kept in lost+found
    #[arg(long, conflicts_with = "dry_run")]
    yes: bool,
}

/// Repairs the directory that `--store` names, or the one that `serve` uses.
pub(super) async fn run(args: Args, global: &Global) -> Result<()> {
    let dir = store::directory(global.url(super::serve::DATA))?;
    let dry_run = args.dry_run;
    let repaired = tokio::task::spawn_blocking(move || {
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        posthaste_log::repair(&disk, &dir, dry_run)
    });
    let report = repaired
        .await
        .map_err(|error| Error::new(ErrorKind::Io, format!("repairing broke off: {error}")))??;
    if global.json {
        print::json(&serde_json::json!({
            "damage": report.found.damage.len() as u64 + report.found.more,
            "steps": report.steps,
            "last_kept": report.last_kept,
            "groups_lost": report.groups_lost,
            "events_lost": report.events_lost,
            "done": report.done,
        }));
    } else {
        show(&report);
    }
    Ok(())
}

fn show(report: &RepairReport) {
    for finding in &report.found.damage {
        print::line(&format!("damaged: {finding}"));
    }
    if report.steps.is_empty() {
        return print::line("nothing needs to be repaired");
    }
    let word = if report.done { "done" } else { "would be done" };
    for step in &report.steps {
        print::line(&format!("{word}: {step}"));
    }
    print::line(&format!(
        "kept up to group {}; {} groups are known to be lost",
        report.last_kept, report.groups_lost
    ));
    if report.events_lost > 0 {
        print::line(&format!(
            "at most {} events are lost that had left the journal",
            report.events_lost
        ));
    }
    if !report.done {
        print::line(
            "nothing was changed; keep a copy of the directory, then: posthaste repair --yes",
        );
    }
}
