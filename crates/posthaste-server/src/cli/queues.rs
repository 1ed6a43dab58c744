//! `queues`: what they hold, and what they may do.

use std::time::Duration;

use posthaste::wire;
use posthaste_core::command::QueueSettings;
use posthaste_core::view::QueueView;
use posthaste_core::{
    Command as Verb, Commit, Error, ErrorKind, JobState, QueueName, Result, Store, duration,
};
use posthaste_server::mint;

use super::config::span;
use super::{Global, SERVER, print, store};

/// What to do with queues.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// List every queue and how many jobs it holds
    List,
    /// Set what is given of a queue's settings; creates the queue where there is none
    Set(Set),
    /// Hand out nothing; what runs goes on
    Pause {
        /// The queue
        queue: QueueName,
    },
    /// Hand out jobs again
    Resume {
        /// The queue
        queue: QueueName,
    },
}

/// A queue's settings.
#[derive(Debug, clap::Args)]
pub(super) struct Set {
    /// The queue
    queue: QueueName,
    /// Most jobs running at once over all workers; 0 lifts the limit
    #[arg(long, value_name = "N")]
    concurrency: Option<u32>,
    /// Highest priority first and no aging (true), or aging (false)
    #[arg(long, value_name = "BOOL")]
    strict: Option<bool>,
    /// How much waiting time one step of priority is worth
    #[arg(long, value_name = "DURATION", value_parser = span)]
    priority_step: Option<Duration>,
}

pub(super) async fn run(command: Command, global: &Global) -> Result<()> {
    let store = store::open(global.url(SERVER), &store::How::existing()).await?;
    let done = act(command, &*store, global.json).await;
    let closed = store.close().await;
    done.and(closed)
}

async fn act(command: Command, store: &dyn Store, json: bool) -> Result<()> {
    let paused = |paused| QueueSettings {
        paused: Some(paused),
        ..QueueSettings::default()
    };
    match command {
        Command::List => {
            show(&store.queues().await?, json);
            Ok(())
        }
        Command::Set(set) => {
            let settings = settings(&set)?;
            configure(store, set.queue, settings, json).await
        }
        Command::Pause { queue } => configure(store, queue, paused(true), json).await,
        Command::Resume { queue } => configure(store, queue, paused(false), json).await,
    }
}

fn settings(set: &Set) -> Result<QueueSettings> {
    let settings = QueueSettings {
        paused: None,
        concurrency: set.concurrency,
        strict: set.strict,
        priority_step_ms: set
            .priority_step
            .map(|step| u64::try_from(step.as_millis()).unwrap_or(u64::MAX)),
    };
    if settings == QueueSettings::default() {
        return Err(Error::new(ErrorKind::Invalid, "there is nothing to set")
            .next("give --concurrency, --strict or --priority-step"));
    }
    Ok(settings)
}

async fn configure(
    store: &dyn Store,
    queue: QueueName,
    settings: QueueSettings,
    json: bool,
) -> Result<()> {
    let verb = Verb::Configure {
        queue: queue.clone(),
        settings,
    };
    for answer in store.commit(vec![Commit::one(verb)]).await? {
        answer?;
    }
    let mut queues = store.queues().await?;
    queues.retain(|view| view.name == queue);
    show(&queues, json);
    Ok(())
}

fn show(queues: &[QueueView], json: bool) {
    if json {
        let queues = queues.iter().map(wire::QueueView::write).collect();
        return print::json(&wire::Queues { queues });
    }
    let mut heads = vec!["QUEUE"];
    let states = JobState::ALL.map(|state| state.as_str().to_uppercase());
    heads.extend(states.iter().map(String::as_str));
    heads.extend(["OLDEST", "SETTINGS"]);
    let rows: Vec<_> = queues.iter().map(row).collect();
    print::table(&heads, &rows);
}

fn row(queue: &QueueView) -> Vec<String> {
    let mut row = vec![queue.name.to_string()];
    row.extend(queue.held.iter().map(ToString::to_string));
    row.push(queue.oldest_ready.map_or_else(
        || "-".to_owned(),
        |ready| duration::print_ms(mint::now().since(ready) / 1_000 * 1_000),
    ));
    let mut settings = Vec::new();
    if queue.paused {
        settings.push("paused".to_owned());
    }
    if queue.concurrency > 0 {
        settings.push(format!("at most {} at once", queue.concurrency));
    }
    if queue.strict {
        settings.push("strict".to_owned());
    }
    row.push(settings.join(", "));
    row
}
