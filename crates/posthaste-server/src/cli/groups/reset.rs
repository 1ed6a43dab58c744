//! `groups reset`: a group goes on elsewhere.

use posthaste::event::standing::{self, Replay};
use posthaste::wire;
use posthaste_core::{Command as Verb, Error, ErrorKind, Result, Store};

use super::{Names, commit, find, show};
use crate::cli::print;

/// Where to, and how sure.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Reset {
    #[command(flatten)]
    names: Names,
    /// Where it goes on: earliest, latest, a cursor, time:INSTANT, or offset:PARTITION:OFFSET
    #[arg(long, value_name = "PLACE")]
    to: wire::ReadFrom,
    /// Change nothing, and say what would come of it
    #[arg(long)]
    dry_run: bool,
    /// Also while members hold events: they hold them no longer
    #[arg(long)]
    force: bool,
    /// Do it
    #[arg(long, conflicts_with = "dry_run")]
    yes: bool,
}

pub(super) async fn run(reset: Reset, store: &dyn Store, json: bool) -> Result<()> {
    let Names { topic, group } = reset.names.clone();
    if reset.yes {
        let verb = Verb::ResetGroup {
            topic,
            group,
            to: reset.to.0,
            force: reset.force,
        };
        commit(store, verb).await?;
        show::one(&find(store, &reset.names).await?, json);
        return Ok(());
    }
    let view = find(store, &reset.names).await?;
    let replay = standing::replay(store, &view, reset.to.0).await?;
    if !reset.dry_run {
        return Err(Error::new(
            ErrorKind::Invalid,
            format!(
                "the group {group} of {topic} would go on elsewhere: {}",
                words(&replay)
            ),
        )
        .next("give --yes to do it"));
    }
    if json {
        print::json(&wire::Replay::write(&replay));
    } else {
        print::line(&format!("from {} to {}", replay.position, replay.to));
        print::line(&words(&replay));
        if replay.leased > 0 && !reset.force {
            print::note("while members hold events, --force is needed");
        }
    }
    Ok(())
}

fn words(replay: &Replay) -> String {
    format!(
        "up to {} events are handed out again, up to {} are passed over, and members hold {}",
        replay.again, replay.passed_over, replay.leased
    )
}
