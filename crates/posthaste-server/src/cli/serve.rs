//! `serve`: a store over HTTP.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use posthaste::Posthaste;
use posthaste_core::{Error, ErrorKind, Result, Store};
use posthaste_log::Durability;
use posthaste_server::{Served, router, server};

use super::config::{self, or_file, span};
use super::{Global, print, signal::Ending, store};

/// How to serve.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Where to listen: a loopback address; port 0 finds a free one [default: 127.0.0.1:7766]
    #[arg(long, env = "POSTHASTE_LISTEN", value_name = "ADDRESS")]
    listen: Option<String>,
    /// What an acknowledgement means: sync, or interval=DURATION (survives kill -9, and loses at
    /// most that much to a power cut) [default: sync]
    #[arg(long, env = "POSTHASTE_DURABILITY", value_name = "MODE", value_parser = store::durability)]
    durability: Option<Durability>,
    /// How long to wait for another process to let go of the directory [default: 0s]
    #[arg(long, env = "POSTHASTE_LOCK_WAIT", value_name = "DURATION", value_parser = span)]
    lock_wait: Option<Duration>,
    /// How long requests under way may take after SIGTERM [default: 30s]
    #[arg(long, env = "POSTHASTE_GRACE", value_name = "DURATION", value_parser = span)]
    grace: Option<Duration>,
    /// Most connections at once [default: 12288]
    #[arg(long, env = "POSTHASTE_MAX_CONNECTIONS", value_name = "N",
        value_parser = clap::value_parser!(u32).range(1..=100_000))]
    max_connections: Option<u32>,
    /// How long completed and cancelled jobs are kept [default: 24h]
    #[arg(long, env = "POSTHASTE_COMPLETED_KEPT", value_name = "DURATION", value_parser = span)]
    completed_kept: Option<Duration>,
    /// Most completed and cancelled jobs kept, the newest; 1000 at least [default: 100000]
    #[arg(long, env = "POSTHASTE_COMPLETED_KEPT_MAX", value_name = "N")]
    completed_kept_max: Option<u32>,
    /// How long dead jobs are kept [default: 90d]
    #[arg(long, env = "POSTHASTE_DEAD_KEPT", value_name = "DURATION", value_parser = span)]
    dead_kept: Option<Duration>,
    /// Most dead jobs kept, the newest; 1000 at least [default: 1000000]
    #[arg(long, env = "POSTHASTE_DEAD_KEPT_MAX", value_name = "N")]
    dead_kept_max: Option<u32>,
    /// Whether publishing to a topic that is not there makes it, with the defaults [default: true]
    #[arg(long, env = "POSTHASTE_CREATE_TOPICS", value_name = "BOOL")]
    create_topics: Option<bool>,
    /// Most jobs that wait, ready or between two attempts: past 70 % best-effort ones are refused, past
    /// 80 % batch ones, at 100 % the others, at 110 % critical ones [default: any number]
    #[arg(long, env = "POSTHASTE_BACKLOG_MAX", value_name = "N",
        value_parser = clap::value_parser!(u64).range(1..))]
    backlog_max: Option<u64>,
    /// Whether requests are turned away while more is asked than the server can do [default: true]
    #[arg(long, env = "POSTHASTE_ADMISSION", value_name = "BOOL")]
    admission: Option<bool>,
}

/// Where `serve` keeps its data when nothing else is said.
pub(super) const DATA: &str = "file:./posthaste-data";
/// Where `serve` listens when nothing else is said.
const LISTEN: &str = "127.0.0.1:7766";

pub(super) async fn run(args: Args, global: &Global) -> Result<()> {
    let file = &global.config.serve;
    let listen = args.listen.as_deref().or(file.listen.as_deref());
    let address = address(listen.unwrap_or(LISTEN))?;
    let how = store::How {
        durability: or_file(
            args.durability,
            file.durability.as_deref(),
            store::durability,
            Durability::Sync,
        )?,
        lock_wait: or_file(
            args.lock_wait,
            file.lock_wait.as_deref(),
            span,
            Duration::ZERO,
        )?,
        must_exist: false,
        kept: retention(&args, file)?,
        create_topics: args.create_topics.or(file.create_topics),
    };
    let mut limits = server::Limits::default();
    limits.grace = or_file(args.grace, file.grace.as_deref(), span, limits.grace)?;
    if let Some(most) = args.max_connections.or(file.max_connections) {
        limits.connections_max = most;
    }
    allow_descriptors();
    let mut ending = Ending::new()?;
    let listener = server::listen(address).await?;
    let bound = listener.local_addr().map_err(|error| {
        Error::new(ErrorKind::Io, format!("the socket has no address: {error}"))
    })?;
    let store = store::open(global.url(DATA), &how).await?;
    for problem in store.health().await?.problems {
        print::warning(&problem);
    }
    // Events that are published later wait in jobs; they need somebody who runs them.
    let hub = Posthaste::with_store(Arc::clone(&store))?;
    let publisher = hub.worker().publishes().name("serve").start().await?;
    print::line(&format!("listening on http://{bound}"));
    let served = served(&args, file, &store)?;
    let drain = served.drain();
    let cut = server::serve(listener, router(served), limits, async move {
        ending.wait().await;
        print::note("draining: no new connections, requests under way may finish");
        drain.begin();
    })
    .await;
    if cut > 0 {
        print::warning(&format!(
            "{cut} connections were cut at the end of the grace"
        ));
    }
    if let Err(error) = publisher.stop().await
        && error.kind() != ErrorKind::Closed
    {
        print::warning(&format!("publishing what is due has ended: {error}"));
    }
    store.close().await
}

fn served(args: &Args, file: &config::Serve, store: &Arc<dyn Store>) -> Result<Served> {
    let mut served = Served::new(Arc::clone(store));
    match args.backlog_max.or(file.backlog_max) {
        Some(0) => {
            return Err(
                Error::new(ErrorKind::Invalid, "a backlog of no jobs takes none at all")
                    .next("give backlog_max a number of jobs, or leave it out"),
            );
        }
        Some(most) => served = served.with_backlog_max(most),
        None => {}
    }
    if args.admission.or(file.admission) == Some(false) {
        served = served.with_admission(None);
    }
    Ok(served)
}

fn retention(args: &Args, file: &config::Serve) -> Result<store::Retention> {
    let time = |flag: Option<Duration>, file: &Option<String>| match (flag, file) {
        (None, Some(text)) => span(text).map(Some),
        (flag, _) => Ok(flag),
    };
    Ok(store::Retention {
        completed: time(args.completed_kept, &file.completed_kept)?,
        completed_most: args.completed_kept_max.or(file.completed_kept_max),
        dead: time(args.dead_kept, &file.dead_kept)?,
        dead_most: args.dead_kept_max.or(file.dead_kept_max),
    })
}

/// Allows this process as many descriptors as it may have, because each connection takes one. Where
/// that is refused there are merely fewer: what can't be accepted waits.
pub(crate) fn allow_descriptors() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let most = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    let _ = setrlimit(Resource::Nofile, most);
}

fn address(text: &str) -> Result<SocketAddr> {
    let text = text.replace("localhost:", "127.0.0.1:");
    text.parse().map_err(|_| {
        Error::new(
            ErrorKind::Invalid,
            format!("{text:?} is not an address to listen on"),
        )
        .next("write it as 127.0.0.1:7766 or [::1]:7766")
    })
}
