//! `sim`: plays overload and failure against policies on virtual time, and shows how they fare.
//!
//! Nothing is called and no store is opened: the state machines that run in production run here
//! against a rig of clients and workers. The same seed gives the same answer.

mod draw;
mod file;
mod play;
mod show;

use std::path::PathBuf;

use posthaste_core::{Error, ErrorKind, Result};
use posthaste_sim::{Scenario, Trigger};

use super::{Global, print};

/// What is simulated.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Without a file it plays the default policy and naive retries on the reference rig: 50 workers that
take 10 ms on average, a deadline of 1s, attempts of 300ms. A file has [client] and [server], policies
as docs/policies/gallery.md shows them, [rig], and [[trigger]].

Examples:
  posthaste sim
  posthaste sim --policy mine.toml --load 0.5..10 --svg mine.svg
  posthaste sim --compare mine.toml theirs.toml --trigger capacity:0.4:10s")]
pub(super) struct Args {
    /// A TOML file with policies, a rig and triggers
    #[arg(long, value_name = "FILE", conflicts_with = "compare")]
    policy: Option<PathBuf>,
    /// Several such files, side by side
    #[arg(long, value_name = "FILE", num_args = 2..=6)]
    compare: Vec<PathBuf>,
    /// Offered loads, 1 being what the workers can do: 0.5..10 or 0.5,1,2
    #[arg(long, value_name = "LOADS")]
    load: Option<String>,
    /// What goes wrong, for how long: capacity, latency, errors, load or storm, and by how much;
    /// may be given again
    #[arg(long, value_name = "KIND:FACTOR:DURATION", value_parser = file::trigger)]
    trigger: Vec<Trigger>,
    /// Where chance begins
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// How many seeds, from --seed on; the middle of their figures is shown, and the worst recovery
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    seeds: u32,
    /// Write the curves to a file
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

/// Loads without triggers.
const LOADS: [f64; 8] = [0.5, 0.8, 1.0, 1.2, 1.5, 2.0, 5.0, 10.0];
/// Loads with triggers.
const LOADS_WITH_TRIGGERS: [f64; 1] = [0.8];
/// The trigger that is played after the loads, where none is named.
const TRIGGER: &str = "capacity:0.4:10s";

pub(super) async fn run(args: Args, global: &Global) -> Result<()> {
    let json = global.json;
    let played = tokio::task::spawn_blocking(move || act(&args, json));
    played
        .await
        .map_err(|error| Error::new(ErrorKind::Io, format!("simulating broke off: {error}")))?
}

fn act(args: &Args, json: bool) -> Result<()> {
    let mut scenarios = scenarios(args)?;
    let loads = args.load.as_deref().map(file::loads).transpose()?;
    let triggers = |scenario: &Scenario| !scenario.triggers.is_empty();
    for scenario in &mut scenarios {
        scenario.triggers.extend(&args.trigger);
    }
    let seeds = args.seed..args.seed.saturating_add(args.seeds.into());
    let mut report = play::Report::default();
    if scenarios.iter().any(triggers) {
        let loads = loads.unwrap_or_else(|| LOADS_WITH_TRIGGERS.to_vec());
        report.recoveries = play::all(&scenarios, &loads, &seeds)?;
    } else {
        let sweep = loads.clone().unwrap_or_else(|| LOADS.to_vec());
        report.sweep = play::all(&scenarios, &sweep, &seeds)?;
        if loads.is_none() {
            let trigger = file::trigger(TRIGGER)?;
            for scenario in &mut scenarios {
                scenario.triggers.push(trigger);
            }
            report.recoveries = play::all(&scenarios, &LOADS_WITH_TRIGGERS, &seeds)?;
        }
    }
    if json {
        print::json(&show::as_json(&report, &seeds));
    } else {
        show::tables(&report);
    }
    let charts = draw::charts(&report);
    if !json {
        draw::on_the_terminal(&charts);
    }
    match &args.svg {
        Some(path) => draw::to_files(&charts, path),
        None => Ok(()),
    }
}

fn scenarios(args: &Args) -> Result<Vec<Scenario>> {
    let files: Vec<&PathBuf> = args.policy.iter().chain(&args.compare).collect();
    if files.is_empty() {
        return Ok(vec![file::built_in("default")?, file::built_in("naive")?]);
    }
    files.into_iter().map(|path| file::read(path)).collect()
}
