//! `plan`: how many workers a queue needs, and what it could do more.
//!
//! The figures are typed in, or read from a store that measured them; what is typed in comes first.
//! This reads and reckons. It changes nothing.

mod advice;
mod input;
mod told;

use std::time::Duration;

use posthaste_core::plan::{Load, Plan, plan};
use posthaste_core::view::{Pace, QueueView};
use posthaste_core::{Error, ErrorKind, QueueName, Result};

use super::config::span;
use super::{Global, SERVER, store};
use input::{rate, service};

/// How many workers a queue needs, from its load and the wait that is wanted.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The queue to read the figures of. Default: every queue, unless they are typed in
    #[arg(long, value_name = "NAME")]
    queue: Option<QueueName>,
    /// How many jobs become ready: 120/s, 90/m, 5000/h or 100000/d
    #[arg(long, value_name = "RATE", value_parser = rate)]
    arrivals: Option<f64>,
    /// How bursty they are: the coefficient of variation of the time between two. 1 is at random
    #[arg(long, value_name = "NUMBER")]
    arrival_cv: Option<f64>,
    /// How long one takes, on average: 80ms, 1.5s, 250us
    #[arg(long, value_name = "DURATION", value_parser = service)]
    service: Option<Duration>,
    /// How much that varies: its coefficient of variation. 1 is exponential, 0 is constant
    #[arg(long, value_name = "NUMBER")]
    service_cv: Option<f64>,
    /// How many jobs run at once, over all workers
    ///
    /// Default: the queue's limit, or the most that ran at once in the last minutes.
    #[arg(long, value_name = "N")]
    workers: Option<u32>,
    /// How many jobs wait already
    #[arg(long, value_name = "N")]
    backlog: Option<u64>,
    /// How long a job may wait for a worker
    #[arg(long, value_name = "DURATION", value_parser = span)]
    target_wait: Option<Duration>,
    /// Which part of all jobs is to wait no longer than that
    #[arg(long, value_name = "PART", default_value_t = 0.99)]
    quantile: f64,
}

/// One queue, typed in or measured, and what comes of it.
struct Planned {
    queue: Option<QueueName>,
    load: Load,
    plan: Plan,
    /// How many workers there are was not said, but seen.
    seen: bool,
}

/// What is told of a queue.
enum Told {
    Planned(Box<Planned>),
    /// Why there is no plan of it.
    Unknown(QueueName, Error),
}

pub(super) async fn run(args: Args, global: &Global) -> Result<()> {
    if let Some(load) = typed(&args)? {
        let plan = plan(&load)?;
        let planned = Planned {
            queue: None,
            load,
            plan,
            seen: false,
        };
        told::one(&planned, global.json);
        return Ok(());
    }
    let store = store::open(global.url(SERVER), &store::How::existing()).await?;
    let queues = store.queues().await;
    store.close().await?;
    let queues = queues?;
    let Some(name) = &args.queue else {
        let told: Vec<_> = queues.into_iter().map(|queue| told(queue, &args)).collect();
        told::all(&told, global.json);
        return Ok(());
    };
    let queue = queues.into_iter().find(|queue| queue.name == *name);
    let queue = queue.ok_or_else(|| {
        Error::new(ErrorKind::NotFound, format!("there is no queue {name}"))
            .next("see posthaste queues list, or type its figures in without --queue")
    })?;
    match told(queue, &args) {
        Told::Planned(planned) => told::one(&planned, global.json),
        Told::Unknown(_, why) => return Err(why),
    }
    Ok(())
}

/// The load that is typed in, where it is no queue's.
fn typed(args: &Args) -> Result<Option<Load>> {
    if args.queue.is_some() || (args.arrivals.is_none() && args.service.is_none()) {
        return Ok(None);
    }
    let (Some(arrivals), Some(service), Some(workers)) =
        (args.arrivals, args.service, args.workers)
    else {
        let message = "--arrivals, --service and --workers go together";
        let next = "give the other two, or name the --queue whose measured figures fill in";
        return Err(Error::new(ErrorKind::Invalid, message).next(next));
    };
    Ok(Some(with(args, Load::new(arrivals, service, workers))))
}

/// The load with what is said besides.
fn with(args: &Args, load: Load) -> Load {
    let squared = |cv: f64| if cv < 0.0 { cv } else { cv * cv };
    Load {
        arrival_cv2: args.arrival_cv.map_or(load.arrival_cv2, squared),
        service_cv2: args.service_cv.map_or(load.service_cv2, squared),
        workers: args.workers.unwrap_or(load.workers),
        backlog: args.backlog.unwrap_or(load.backlog),
        target_wait: args.target_wait,
        quantile: args.quantile,
        ..load
    }
}

fn told(queue: QueueView, args: &Args) -> Told {
    let name = queue.name.clone();
    let seen = args.workers.is_none() && queue.concurrency == 0;
    let planned = measured(queue, args).and_then(|load| {
        Ok(Planned {
            queue: Some(name.clone()),
            load,
            plan: plan(&load)?,
            seen,
        })
    });
    match planned {
        Ok(planned) => Told::Planned(Box::new(planned)),
        Err(why) => Told::Unknown(name, why),
    }
}

/// The load of a queue as it was measured, and as it is said.
fn measured(mut queue: QueueView, args: &Args) -> Result<Load> {
    let unknown = |what: &str, next: &str| {
        let message = format!("{what} of the queue {} is not known yet", queue.name);
        Error::new(ErrorKind::Conflict, message).next(next)
    };
    let pace = match (queue.pace, args.arrivals) {
        (Some(pace), _) => pace,
        (None, Some(_)) => Pace::default(),
        (None, None) => {
            let next = "wait until a second after its first job since the store was opened, \
                        or give --arrivals and --service";
            return Err(unknown("the pace", next));
        }
    };
    let service_mean = args.service.or(pace.service_mean);
    if service_mean.is_none_or(|mean| mean.is_zero()) {
        let next =
            "wait until jobs were settled that take a millisecond or more, or give --service";
        return Err(unknown("the service time", next));
    }
    queue.pace = Some(Pace {
        arrivals_per_second: args.arrivals.unwrap_or(pace.arrivals_per_second),
        service_mean,
        ..pace
    });
    let load = Load::measured(&queue).ok_or_else(|| unknown("the pace", "give --arrivals"))?;
    Ok(with(args, load))
}
