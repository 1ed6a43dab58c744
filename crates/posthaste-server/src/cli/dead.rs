//! `dead`: jobs that were given up on.

use posthaste::sweep::Deed;
use posthaste_core::{Command as Verb, JobId, JobState, Result, Store};

use super::jobs::{self, Which};
use super::{Global, SERVER, store};

/// What to do with dead jobs.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// List dead jobs, each with its reason and its last error
    List(Which),
    /// Show everything that is known of a dead job
    Show {
        /// The job's id
        id: JobId,
    },
    /// Bring dead jobs back, with all their attempts: those named, or all of a filter
    Redrive(Chosen),
    /// Forget dead jobs: those named, or all of a filter
    Delete(Chosen),
}

/// Some jobs by name, or all of a filter.
#[derive(Debug, clap::Args)]
pub(super) struct Chosen {
    /// The jobs' ids
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    ids: Vec<JobId>,
    /// Every dead job, or those of --queue, --kind and --tag
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    which: Which,
}

pub(super) async fn run(command: Command, global: &Global) -> Result<()> {
    let store = store::open(global.url(SERVER), &store::How::existing()).await?;
    let done = act(command, &*store, global.json).await;
    let closed = store.close().await;
    done.and(closed)
}

async fn act(command: Command, store: &dyn Store, json: bool) -> Result<()> {
    match command {
        Command::List(which) => {
            jobs::show_list(store, which.filter(Some(JobState::Dead)), which.max, json).await
        }
        Command::Show { id } => jobs::show(store, id, None, json).await,
        Command::Redrive(chosen) => each(store, chosen, Verb::Retry, &Deed::Redrive, json).await,
        Command::Delete(chosen) => each(store, chosen, Verb::Delete, &Deed::Delete, json).await,
    }
}

async fn each(
    store: &dyn Store,
    chosen: Chosen,
    verb: impl Fn(JobId) -> Verb,
    deed: &Deed,
    json: bool,
) -> Result<()> {
    if !chosen.all {
        return jobs::change(store, chosen.ids, verb, json).await;
    }
    let filter = chosen.which.filter(Some(JobState::Dead));
    let changed = jobs::sweep_all(store, deed, &filter).await?;
    let word = match deed {
        Deed::Redrive => "redriven",
        Deed::Prune { .. } | Deed::Delete => "deleted",
    };
    jobs::print_changed(changed, word, json);
    Ok(())
}
