//! `demo`: a shop whose sign-ups and orders hang on slow and failing third parties, with
//! everything in one process: the store, the HTTP server, the workers, and the customers.
//!
//! What it shows is real: jobs are durable before they count, and the totals at the end are
//! checked against what the customers and the workers were told, and not only against themselves.

mod acknowledged;
mod chance;
mod customers;
mod followers;
mod parties;
mod screen;
mod totals;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use posthaste::Posthaste;
use posthaste_core::{Error, ErrorKind, QueueName, Result, WorkerName, limits};
use posthaste_log::Durability;
use posthaste_server::{Served, router, server};
use tokio::sync::watch;

use crate::cli::config::span;
use crate::cli::signal::Ending;
use crate::cli::{Global, print, store};
use crate::worker::{self, WorkerOptions};
use acknowledged::Acknowledged;
use chance::Chance;
use customers::Customers;
use followers::{Followers, Told};
use parties::{PARTIES, Parties};
use screen::Screen;
use totals::Totals;

/// How to run the demo.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Sign-ups and orders in a second; each enqueues three or four jobs in one commit
    #[arg(long, default_value_t = 100, value_name = "N",
        value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: u32,
    /// How long to run
    #[arg(long, default_value_t = 30, value_name = "N",
        value_parser = clap::value_parser!(u32).range(1..=86_400))]
    seconds: u32,
    /// Most jobs worked on at once
    #[arg(long, default_value_t = 128, value_name = "N",
        value_parser = clap::value_parser!(u32).range(1..=10_000))]
    concurrency: u32,
    /// Where to serve HTTP meanwhile; port 0 finds a free one
    #[arg(long, default_value = "127.0.0.1:0", value_name = "ADDRESS")]
    listen: std::net::SocketAddr,
    /// What an acknowledgement means: sync, or interval=DURATION
    #[arg(long, default_value = "sync", value_name = "MODE", value_parser = store::durability)]
    durability: Durability,
    /// The same number gives the same customers and the same failures
    #[arg(long, default_value_t = 1, value_name = "N")]
    seed: u64,
    /// How long jobs under way may take at the end
    #[arg(long, default_value = "5s", value_name = "DURATION", value_parser = span)]
    grace: Duration,
}

/// Where the demo keeps its data.
struct Home {
    url: String,
    /// Where the customers write down what was acknowledged, beside the store.
    notes: Option<PathBuf>,
    /// Gone with everything in it at the end.
    _temporary: Option<tempfile::TempDir>,
}

pub(crate) async fn run(args: Args, global: &Global) -> Result<()> {
    let home = home(global)?;
    let mut ending = Ending::new()?;
    let listener = server::listen(args.listen).await?;
    let address = listener
        .local_addr()
        .map_err(|error| io("the socket has no address", &error))?;
    let how = store::How {
        durability: args.durability,
        ..store::How::default()
    };
    let store = store::open(&home.url, &how).await?;
    let acknowledged = Arc::new(Acknowledged::open(home.notes.as_deref())?);
    let mut screen = Screen::new(global.json);
    screen.opening(&args, &home.url, &address.to_string());
    let hub = Posthaste::with_store(Arc::clone(&store))?;
    let found = Totals::read(&*store).await?;
    let missing = acknowledged.missing(&found, &Told::read(&hub).await?);
    screen.found(&found, &acknowledged.before(), missing);

    let (stop, stopping) = watch::channel(false);
    let served = Served::new(Arc::clone(&store));
    let drain = served.drain();
    let limits = server::Limits {
        grace: Duration::from_secs(2),
        ..server::Limits::default()
    };
    let serving = tokio::spawn(server::serve(
        listener,
        router(served),
        limits,
        stopped(stopping.clone()),
    ));
    let parties = Arc::new(Parties::new(
        Chance::new(args.seed),
        Arc::clone(&acknowledged),
    ));
    let working = tokio::spawn(worker::run(
        Arc::clone(&store),
        worker_options(&args)?,
        Arc::clone(&parties) as Arc<dyn worker::Work>,
        stopped(stopping),
    ));
    let followers = Followers::start(&hub, args.seed, args.grace).await?;
    let customers = Customers::new(
        Arc::clone(&store),
        Chance::new(!args.seed),
        Arc::clone(&acknowledged),
    );

    let length = Duration::from_secs(args.seconds.into());
    let whole = async {
        tokio::join!(
            customers.come(args.rate, length),
            screen.follow(&hub, &parties, &customers, length)
        )
    };
    tokio::select! {
        ((), ()) = whole => {}
        () = ending.wait() => print::note("stopping early"),
    }
    customers.leave().await;
    drain.begin();
    stop.send_replace(true);
    let worked = working
        .await
        .map_err(|error| io("the workers broke off", &error))?;
    serving
        .await
        .map_err(|error| io("the server broke off", &error))?;
    let followed = followers.stop().await;
    let (end, told) = (Totals::read(&*store).await?, Told::read(&hub).await?);
    let verdict = end
        .verdict(&found, &acknowledged)
        .and_then(|()| told.verdict(&acknowledged));
    screen.closing(
        (&end, &told),
        &acknowledged,
        &verdict,
        &home.url,
        home.notes.is_some() && home._temporary.is_none(),
    );
    let closed = store.close().await;
    worked.and(followed).and(closed)?;
    if missing > 0 {
        return Err(lost(&format!(
            "{missing} jobs and events that were acknowledged before are not there"
        )));
    }
    verdict.map_err(|what| lost(&what))
}

fn lost(what: &str) -> Error {
    Error::new(
        ErrorKind::Corrupt,
        format!("the totals do not balance: {what}"),
    )
    .next("keep the directory, and report this with the output above")
}

fn io(what: &str, error: &dyn std::fmt::Display) -> Error {
    Error::new(ErrorKind::Io, format!("{what}: {error}"))
}

async fn stopped(mut stopping: watch::Receiver<bool>) {
    // A sender that is gone has nothing to wait for either.
    drop(stopping.wait_for(|stop| *stop).await);
}

fn home(global: &Global) -> Result<Home> {
    if let Some(url) = &global.store {
        if !store::is_local(url) {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("the demo brings its own server, and cannot use the one at {url}"),
            )
            .next("leave --store out, or give file:DIR"));
        }
        let notes = url
            .strip_prefix("file:")
            .map(|dir| PathBuf::from(format!("{}.acknowledged", dir.trim_end_matches('/'))));
        return Ok(Home {
            url: url.clone(),
            notes,
            _temporary: None,
        });
    }
    let temporary = tempfile::Builder::new()
        .prefix("posthaste-demo-")
        .tempdir()
        .map_err(|error| io("cannot make a temporary directory", &error))?;
    print::remove_at_the_end(temporary.path());
    Ok(Home {
        url: format!("file:{}", temporary.path().join("data").display()),
        notes: Some(temporary.path().join("data.acknowledged")),
        _temporary: Some(temporary),
    })
}

fn worker_options(args: &Args) -> Result<WorkerOptions> {
    let queues = PARTIES
        .iter()
        .map(|party| Ok((QueueName::new(party.queue)?, 1)));
    Ok(WorkerOptions {
        queues: queues.collect::<Result<_>>()?,
        strict: false,
        kinds: Vec::new(),
        concurrency: args.concurrency,
        lease_ms: limits::LEASE_MS_DEFAULT,
        grace: args.grace,
        name: WorkerName::new("demo")?,
        local: true,
    })
}
