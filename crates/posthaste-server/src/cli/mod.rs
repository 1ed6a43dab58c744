//! The command line: what can be said, and what is answered when it goes wrong.
//!
//! Every command works on a store named by a URL, through the same port as the library. It prints
//! for people, and with `--json` for programs; what went wrong goes to standard error with the
//! next step, and the exit code says of what kind it was.

mod again;
pub(crate) mod config;
mod dead;
mod enqueue;
mod exit;
#[cfg(feature = "fault-injection")]
mod fault;
mod groups;
mod jobs;
mod payload;
mod plan;
pub(crate) mod print;
mod publish;
mod queues;
mod repair;
mod resume;
mod serve;
pub(crate) mod signal;
mod sim;
mod size;
pub(crate) mod store;
mod tail;
mod topics;
mod verify;
mod work;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::ErrorKind as Usage;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use posthaste_core::{Error, ErrorKind, Result};

use config::Config;
pub(crate) use serve::allow_descriptors;

/// Durable background jobs: one binary, its own log, nothing to install.
#[derive(Debug, Parser)]
#[command(name = "posthaste", version, max_term_width = 100)]
struct Cli {
    /// The store: memory:, file:DIR, or http://HOST:PORT
    ///
    /// Default: file:./posthaste-data for serve, a temporary directory for demo,
    /// http://127.0.0.1:7766 for everything else.
    #[arg(long, global = true, env = "POSTHASTE_STORE", value_name = "URL")]
    store: Option<String>,
    /// Print JSON instead of text
    #[arg(long, global = true)]
    json: bool,
    /// A TOML file with settings; flags and `POSTHASTE_*` variables come before it
    #[arg(long, global = true, env = "POSTHASTE_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve a store over HTTP on this machine
    Serve(serve::Args),
    /// Watch a shop with slow and failing third parties, everything in one process
    Demo(crate::demo::Args),
    /// Measure what jobs cost on this machine, next to its bare disk
    #[command(subcommand)]
    Bench(crate::bench::Command),
    /// Enqueue one job, or one for each line of standard input
    Enqueue(Box<enqueue::Args>),
    /// Run a command for each job
    Work(work::Args),
    /// List, show and change jobs
    #[command(subcommand)]
    Jobs(jobs::Command),
    /// List queues, and set what they may do
    #[command(subcommand)]
    Queues(queues::Command),
    /// Reckon how many workers a queue needs, and what it could do more
    Plan(plan::Args),
    /// List, show, bring back and delete dead jobs
    #[command(subcommand)]
    Dead(dead::Command),
    /// List, show, make, set and delete topics
    #[command(subcommand)]
    Topics(topics::Command),
    /// List, show, make, set and move consumer groups, and decide on what they gave up on
    #[command(subcommand)]
    Groups(groups::Command),
    /// Publish an event, or every event of a file
    Publish(Box<publish::Args>),
    /// Read a topic on from a place, and follow it
    Tail(tail::Args),
    /// Read everything that a closed store keeps, and name what is damaged
    Verify,
    /// Play overload and failure against policies, and show how they fare
    Sim(sim::Args),
    /// Say what it takes to open a damaged store again and what that costs, or do it
    Repair(repair::Args),
}

/// What every command is given.
#[derive(Debug)]
pub(crate) struct Global {
    /// The store that was named, if one was.
    pub(crate) store: Option<String>,
    /// Print JSON.
    pub(crate) json: bool,
    /// The settings of the file.
    pub(crate) config: Config,
}

impl Global {
    /// The URL of the store: the one that was named, or `default`.
    pub(crate) fn url<'a>(&'a self, default: &'a str) -> &'a str {
        self.store.as_deref().unwrap_or(default)
    }
}

/// Where commands look for a server when no store is named.
pub(crate) const SERVER: &str = "http://127.0.0.1:7766";

/// Reads the command line, does what it says, and answers with the exit code.
pub(crate) fn main() -> ExitCode {
    let cli = match parse(std::env::args_os().collect()) {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    let json = cli.json;
    match start(cli) {
        Ok(code) => code,
        Err(error) => {
            print::error(&error, json);
            exit::code(error.kind())
        }
    }
}

/// What the arguments say; else what was told about them (help is told too), as an exit code.
fn parse(arguments: Vec<OsString>) -> Result<Cli, ExitCode> {
    let as_json = arguments.iter().any(|argument| argument == "--json");
    let matches = with_exit_codes(Cli::command()).try_get_matches_from(arguments);
    let parsed = matches.and_then(|matches| Cli::from_arg_matches(&matches));
    parsed.map_err(|error| {
        let asked_for = matches!(error.kind(), Usage::DisplayHelp | Usage::DisplayVersion);
        if as_json && !asked_for {
            print::error(&usage(&error), true);
            return exit::code(ErrorKind::Invalid);
        }
        // Where nobody listens there is nobody to tell.
        drop(error.print());
        u8::try_from(error.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from)
    })
}

/// Has the help of every command end with the table of exit codes.
fn with_exit_codes(command: clap::Command) -> clap::Command {
    let own = command.get_after_help().map(ToString::to_string);
    let help = own.map_or_else(
        || exit::HELP.to_owned(),
        |own| format!("{own}\n\n{}", exit::HELP),
    );
    command.after_help(help).mut_subcommands(with_exit_codes)
}

/// A usage error in our own words: what is wrong, and what to do.
fn usage(error: &clap::Error) -> Error {
    let told = error.render().to_string();
    let (what, more) = told.split_once("\n\n").unwrap_or((&told, ""));
    let what = what.trim().trim_start_matches("error: ");
    let next: Vec<&str> = more
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    Error::new(ErrorKind::Invalid, what).next(next.join("; "))
}

fn start(cli: Cli) -> Result<ExitCode> {
    let config = config::read(cli.config.as_deref())?;
    let global = Global {
        store: cli.store.or_else(|| config.store.clone()),
        json: cli.json,
        config,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| {
            Error::new(ErrorKind::Io, format!("cannot start threads: {error}"))
                .next("look at the limits of this user (ulimit -u)")
        })?;
    let ended = runtime.block_on(run(cli.command, &global));
    // A read of standard input or a slow disk must not hold the process.
    runtime.shutdown_background();
    ended
}

async fn run(command: Command, global: &Global) -> Result<ExitCode> {
    match command {
        Command::Serve(args) => serve::run(args, global).await,
        Command::Bench(command) => crate::bench::run(command, global).await,
        Command::Demo(args) => crate::demo::run(args, global).await,
        Command::Enqueue(args) => enqueue::run(*args, global).await,
        Command::Work(args) => work::run(args, global).await,
        Command::Jobs(command) => jobs::run(command, global).await,
        Command::Queues(command) => queues::run(command, global).await,
        Command::Plan(args) => plan::run(args, global).await,
        Command::Topics(command) => topics::run(command, global).await,
        Command::Groups(command) => groups::run(command, global).await,
        Command::Publish(args) => publish::run(*args, global).await,
        Command::Tail(args) => return tail::run(args, global).await,
        Command::Verify => verify::run(global).await,
        Command::Sim(args) => sim::run(args, global).await,
        Command::Repair(args) => repair::run(args, global).await,
        Command::Dead(command) => dead::run(command, global).await,
    }
    .map(|()| ExitCode::SUCCESS)
}
