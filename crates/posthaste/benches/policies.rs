//! What a policy costs: `cargo bench -p posthaste --bench policies`.
//!
//! Calls an empty function under each strategy by itself, under five together, and under the layers of
//! tower and of tower-resilience that do the same, and prints nanoseconds beyond an empty call made in
//! the same way in the same run: the median of many rounds, and beside it the best one, which a machine
//! that others use disturbs least; with everything uncontended on one thread. Nothing here is durable.

#![expect(clippy::print_stdout, reason = "a benchmark prints what it measured")]

use std::convert::Infallible;
use std::future::Future;
use std::hint::black_box;
use std::time::{Duration, Instant};

use posthaste::TimeUnits;
use posthaste::policy::{Policy, settings};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};

const ROUNDS: usize = 41;
const CALLS: u32 = 20_000;

type Answer = Result<u64, Infallible>;

async fn empty(number: u64) -> Answer {
    Ok(black_box(number))
}

/// The median time of a call, in nanoseconds, over rounds that every contender takes in turn.
struct Measured {
    name: &'static str,
    rounds: Vec<f64>,
}

impl Measured {
    fn new(name: &'static str) -> Self {
        let rounds = Vec::with_capacity(ROUNDS);
        Self { name, rounds }
    }

    async fn round<F: Future<Output = bool>>(&mut self, mut call: impl FnMut() -> F) {
        let begun = Instant::now();
        for _ in 0..CALLS {
            assert!(call().await, "{}: a call was refused", self.name);
        }
        let took = begun.elapsed().as_secs_f64();
        self.rounds.push(took * 1e9 / f64::from(CALLS));
    }

    fn median(&mut self) -> f64 {
        self.rounds.sort_by(f64::total_cmp);
        self.rounds[self.rounds.len() / 2]
    }

    fn best(&self) -> f64 {
        self.rounds.iter().copied().fold(f64::INFINITY, f64::min)
    }
}

fn breaker() -> settings::Breaker {
    settings::Breaker::default()
}

fn bulkhead() -> settings::Concurrency {
    settings::Concurrency {
        limit: settings::Limit::Static(100),
        queue: settings::Queue::default(),
    }
}

fn rate() -> settings::Rate {
    settings::Rate {
        count: 1_000_000_000,
        per: 1.secs(),
        burst: 1_000_000_000,
    }
}

fn policies() -> posthaste::Result<Vec<(&'static str, Policy)>> {
    let named = || Policy::named("measured");
    Ok(vec![
        ("nothing", named().build()?),
        ("deadline", named().deadline(5.secs()).build()?),
        (
            "retry and budget",
            named().retry(settings::Retry::default()).build()?,
        ),
        ("hedge", named().hedge(settings::Hedge::default()).build()?),
        (
            "throttle",
            named().throttle(settings::Throttle::default()).build()?,
        ),
        ("rate", named().rate(rate()).build()?),
        (
            "concurrency, static",
            named().concurrency(bulkhead()).build()?,
        ),
        (
            "concurrency, gradient",
            named()
                .concurrency(settings::Concurrency::default())
                .build()?,
        ),
        ("breaker, by time", named().breaker(breaker()).build()?),
        (
            "breaker, in a row",
            named()
                .breaker(settings::Breaker {
                    trip: settings::Trip::Consecutive(5),
                    ..breaker()
                })
                .build()?,
        ),
        (
            "attempt timeout",
            named().attempt_timeout(1.secs()).build()?,
        ),
        (
            "five together",
            named()
                .deadline(5.secs())
                .retry(settings::Retry::default())
                .concurrency(bulkhead())
                .breaker(breaker())
                .attempt_timeout(1.secs())
                .build()?,
        ),
        ("the default, calling", Policy::calling("measured")),
        ("the default, serving", Policy::serving("measured")),
    ])
}

/// A service, measured as it is called by its users: made ready, then called.
macro_rules! round {
    ($measured:expr, $service:expr) => {{
        let service = &mut $service;
        let begun = Instant::now();
        for number in 0..u64::from(CALLS) {
            let ready = service.ready().await.expect("it is ready");
            let answer = ready.call(number).await;
            assert!(
                black_box(answer).is_ok(),
                "{}: a call was refused",
                $measured.name
            );
        }
        let took = begun.elapsed().as_secs_f64();
        $measured.rounds.push(took * 1e9 / f64::from(CALLS));
    }};
}

async fn values() -> posthaste::Result<()> {
    let mut bare = Measured::new("an empty call");
    let mut under: Vec<_> = policies()?
        .into_iter()
        .map(|(name, policy)| (Measured::new(name), policy))
        .collect();
    for _ in 0..ROUNDS {
        bare.round(|| async { empty(7).await.is_ok() }).await;
        for (measured, policy) in &mut under {
            measured
                .round(|| async { policy.call(|_| empty(7)).await.is_ok() })
                .await;
        }
    }
    let base = bare.median();
    let best_base = bare.best();
    println!("a policy as a value: ns a call         median      best   beyond an empty call");
    println!("  {:<34} {base:>9.1} {best_base:>9.1}", bare.name);
    let mut nothing = (0.0, 0.0);
    for (measured, _) in &mut under {
        let (median, best) = (measured.median(), measured.best());
        let (beyond, best_beyond) = (median - base, best - best_base);
        print!(
            "  {:<34} {median:>9.1} {best:>9.1} {beyond:>11.1} {best_beyond:>9.1}",
            measured.name
        );
        if measured.name == "nothing" {
            nothing = (beyond, best_beyond);
            println!();
        } else {
            println!(
                "   {:>6.1} {:>6.1} over a policy of nothing",
                beyond - nothing.0,
                best_beyond - nothing.1
            );
        }
    }
    Ok(())
}

async fn layers() -> posthaste::Result<()> {
    use tower_resilience::bulkhead::BulkheadLayer;
    use tower_resilience::circuitbreaker::CircuitBreakerLayer;
    use tower_resilience::timelimiter::TimeLimiterLayer;

    let ours = |builder: posthaste::policy::Builder| -> posthaste::Result<_> {
        Ok(builder.build()?.layer().layer(service_fn(empty)))
    };
    let named = || Policy::named("measured");
    let mut bare = service_fn(empty);
    let mut boxed = tower::util::BoxService::new(service_fn(empty));
    let mut our_timeout = ours(named().attempt_timeout(1.secs()))?;
    let mut our_places = ours(named().concurrency(bulkhead()))?;
    let mut our_breaker = ours(named().breaker(breaker()))?;
    let mut our_three = ours(
        named()
            .concurrency(bulkhead())
            .breaker(breaker())
            .attempt_timeout(1.secs()),
    )?;
    let mut timeout = ServiceBuilder::new()
        .timeout(1.secs())
        .service(service_fn(empty));
    let mut places = ServiceBuilder::new()
        .concurrency_limit(100)
        .service(service_fn(empty));
    let mut rate = ServiceBuilder::new()
        .rate_limit(1_000_000_000, Duration::from_secs(1))
        .service(service_fn(empty));
    let their_breaker = || {
        CircuitBreakerLayer::builder()
            .failure_rate_threshold(0.5)
            .sliding_window_size(100)
            .build()
            .expect("these settings are well")
    };
    let their_places = || {
        BulkheadLayer::builder()
            .max_concurrent_calls(100)
            .build()
            .expect("these settings are well")
    };
    let their_timeout = || {
        TimeLimiterLayer::builder()
            .timeout_duration(Duration::from_secs(1))
            .build()
    };
    let mut resilience_breaker = their_breaker().layer(service_fn(empty));
    let mut resilience_places = their_places().layer(service_fn(empty));
    let mut resilience_timeout = their_timeout().layer(service_fn(empty));
    let mut resilience_three =
        their_places().layer(their_breaker().layer(their_timeout().layer(service_fn(empty))));

    let mut all: Vec<Measured> = [
        "an empty service",
        "an empty service in a box",
        "posthaste: attempt timeout",
        "tower: timeout",
        "tower-resilience: time limiter",
        "posthaste: concurrency",
        "tower: concurrency limit",
        "tower-resilience: bulkhead",
        "tower: rate limit",
        "posthaste: breaker",
        "tower-resilience: circuit breaker",
        "posthaste: concurrency, breaker, timeout",
        "tower-resilience: bulkhead, breaker, timeout",
    ]
    .into_iter()
    .map(Measured::new)
    .collect();
    for _ in 0..ROUNDS {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m] = all.as_mut_slice() else {
            unreachable!("thirteen are measured");
        };
        round!(a, bare);
        round!(b, boxed);
        round!(c, our_timeout);
        round!(d, timeout);
        round!(e, resilience_timeout);
        round!(f, our_places);
        round!(g, places);
        round!(h, resilience_places);
        round!(i, rate);
        round!(j, our_breaker);
        round!(k, resilience_breaker);
        round!(l, our_three);
        round!(m, resilience_three);
    }
    println!(
        "\nas a tower service: ns a call                      median      best   beyond an empty service"
    );
    let mut base = None;
    for measured in &mut all {
        let (median, best) = (measured.median(), measured.best());
        let (base, best_base) = *base.get_or_insert((median, best));
        println!(
            "  {:<46} {median:>9.1} {best:>9.1} {:>11.1} {:>9.1}",
            measured.name,
            median - base,
            best - best_base
        );
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()?;
    runtime.block_on(async {
        values().await?;
        layers().await
    })?;
    Ok(())
}
