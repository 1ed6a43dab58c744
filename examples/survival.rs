//! A service that survives ten times its load and the loss of 60 % of its capacity, and the same one
//! without a policy, which does not.
//!
//! `cargo run --release -p posthaste-server --example survival`
//!
//! A shop (axum) asks a warehouse for every request. The warehouse can do eight things at once, takes
//! 20 ms for each, fails now and then, and goes on with work whose caller has gone, as databases do. It
//! knows nothing of policies. Everything talks HTTP over loopback. Customers come at their own pace,
//! however long the shop takes, and leave after a second.
//!
//! With policies, the shop lets in what it can do (`Policy::serving`), asks the warehouse carefully
//! (`Policy::calling`), and the twentieth of the customers that is critical goes first. Without them, it does what is
//! often written first: it takes every request, and asks up to four times.

#![expect(clippy::print_stdout, reason = "it prints what happened")]

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::get;
use bytes::Bytes;
use http_body_util::Empty;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use posthaste::policy::{Context, Criticality, Policy, PolicyError, Verdict, of_status};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tower_service::Service as _;

/// How many things the warehouse does at once, and how long one takes: 400 a second.
const PLACES: u32 = 8;
const TAKES: Duration = Duration::from_millis(20);
const CAPACITY: f64 = 400.0;
/// How long a customer waits.
const PATIENCE: Duration = Duration::from_secs(1);

type Http = Client<HttpConnector, Empty<Bytes>>;
type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(async {
            println!("goodput: what was answered in time, as a part of what could be done\n");
            println!(
                "{:<34} {:>9} {:>9} {:>9} {:>9} {:>9}",
                "", "0.5x", "10x", "0.8x", "60% lost", "0.8x"
            );
            let with = play(true).await?;
            print_row("with the default policies", &with, |phase| phase.goodput());
            print_row("  critical customers served", &with, |phase| {
                phase.critical()
            });
            let without = play(false).await?;
            print_row("without", &without, |phase| phase.goodput());
            print_row("  critical customers served", &without, |phase| {
                phase.critical()
            });
            Ok(())
        })
}

fn print_row(name: &str, phases: &[Phase], figure: fn(&Phase) -> f64) {
    let figures: String = phases
        .iter()
        .map(|phase| format!(" {:>8.0}%", figure(phase) * 100.0))
        .collect();
    println!("{name:<34}{figures}");
}

// The warehouse: what the shop depends on.

struct Warehouse {
    places: Arc<Semaphore>,
    /// How long a thing takes, in tenths of the usual.
    slow: AtomicU32,
    served: AtomicU64,
}

async fn warehouse(State(warehouse): State<Arc<Warehouse>>) -> StatusCode {
    // It goes on with it, whoever has gone.
    let work = tokio::spawn(async move {
        let place = warehouse.places.acquire().await;
        sleep(TAKES * warehouse.slow.load(Ordering::Relaxed) / 10).await;
        drop(place);
        // One in two hundred fails.
        warehouse.served.fetch_add(1, Ordering::Relaxed) % 200 != 199
    });
    match work.await {
        Ok(true) => StatusCode::OK,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

// The shop: the service that is to survive.

struct Shop {
    http: Http,
    warehouse: String,
    /// What it lets in, and how it asks the warehouse; nothing where it has no policies.
    policies: Option<(Policy, Policy)>,
}

async fn shop(State(shop): State<Arc<Shop>>, headers: HeaderMap) -> (StatusCode, String) {
    let Some((serving, calling)) = &shop.policies else {
        for _ in 0..4 {
            if let Ok(StatusCode::OK) = shop.http.ask(&shop.warehouse, &Context::new()).await {
                return (StatusCode::OK, String::new());
            }
        }
        return (StatusCode::BAD_GATEWAY, String::new());
    };
    let known = headers
        .iter()
        .filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
    let answer = serving
        .with(Context::from_headers(known))
        .run_once(|_| async {
            // Reading is safe to repeat.
            let asked = calling.with(Context::current().safe()).judge(judge);
            asked
                .run(|attempt| {
                    let (http, warehouse) = (&shop.http, &shop.warehouse);
                    async move { http.ask(warehouse, attempt.context()).await }
                })
                .await
        })
        .await;
    match answer {
        Ok(status) => (status, String::new()),
        Err(PolicyError::Refused(refusal)) => {
            (StatusCode::SERVICE_UNAVAILABLE, refusal.to_string())
        }
        Err(error) => (StatusCode::BAD_GATEWAY, error.to_string()),
    }
}

fn judge(answer: &Result<StatusCode, Failure>) -> Verdict {
    match answer {
        Ok(status) => of_status(status.as_u16(), None),
        Err(_) => Verdict::Unknown,
    }
}

trait Ask {
    fn ask(
        &self,
        url: &str,
        cx: &Context,
    ) -> impl Future<Output = Result<StatusCode, Failure>> + Send;
}

impl Ask for Http {
    /// Asks with what the context sends along.
    async fn ask(&self, url: &str, cx: &Context) -> Result<StatusCode, Failure> {
        let mut request = hyper::Request::get(url);
        for (name, value) in cx.headers() {
            request = request.header(name, value);
        }
        let answer = self.request(request.body(Empty::new())?).await?;
        Ok(answer.status())
    }
}

// The customers.

/// What came of the customers of one phase.
#[derive(Default)]
struct Phase {
    could: f64,
    served: u64,
    critical: u64,
    critical_served: u64,
}

impl Phase {
    fn goodput(&self) -> f64 {
        self.served as f64 / self.could
    }

    fn critical(&self) -> f64 {
        self.critical_served as f64 / self.critical.max(1) as f64
    }
}

/// The customers of a phase come evenly, `load` times the capacity of them, for `seconds`.
async fn customers(http: &Http, url: &str, load: f64, capacity: f64, seconds: f64) -> Phase {
    let begun = Instant::now();
    let mut all = Vec::new();
    for number in 0_u32.. {
        let comes = f64::from(number) / (load * CAPACITY);
        if comes >= seconds {
            break;
        }
        sleep_until(begun + Duration::from_secs_f64(comes)).await;
        let critical = number % 20 == 0;
        let tier = if critical {
            Criticality::Critical
        } else {
            Criticality::Default
        };
        let (http, url) = (http.clone(), url.to_owned());
        let cx = Context::new().criticality(tier).within(PATIENCE);
        all.push(tokio::spawn(async move {
            let answer = timeout(PATIENCE, http.ask(&url, &cx)).await;
            (critical, matches!(answer, Ok(Ok(StatusCode::OK))))
        }));
    }
    let mut phase = Phase {
        could: f64::min(load, capacity) * CAPACITY * seconds,
        ..Phase::default()
    };
    for customer in all {
        if let Ok((critical, served)) = customer.await {
            phase.served += u64::from(served);
            phase.critical += u64::from(critical);
            phase.critical_served += u64::from(critical && served);
        }
    }
    phase
}

/// All phases against a shop of its own.
async fn play(with_policies: bool) -> Result<Vec<Phase>, Failure> {
    let http: Http = Client::builder(TokioExecutor::new()).build_http();
    let house = Arc::new(Warehouse {
        places: Arc::new(Semaphore::new(PLACES as usize)),
        slow: AtomicU32::new(10),
        served: AtomicU64::new(0),
    });
    let router = Router::new()
        .route("/", get(warehouse))
        .with_state(house.clone());
    let (at, warehouse_task) = serve(router).await?;
    let shop_state = Arc::new(Shop {
        http: http.clone(),
        warehouse: format!("http://{at}/"),
        policies: with_policies.then(|| (Policy::serving("shop"), Policy::calling("warehouse"))),
    });
    let router = Router::new().route("/", get(shop)).with_state(shop_state);
    let (at, shop_task) = serve(router).await?;
    let url = format!("http://{at}/");
    let mut phases = Vec::new();
    for (load, slow, seconds) in [
        (0.5, 10, 3.0),
        (10.0, 10, 5.0),
        (0.8, 10, 5.0),
        // Everything takes 2.5 times as long: 40 % of the capacity is left.
        (0.8, 25, 5.0),
        (0.8, 10, 5.0),
    ] {
        house.slow.store(slow, Ordering::Relaxed);
        let capacity = 10.0 / f64::from(slow);
        phases.push(customers(&http, &url, load, capacity, seconds).await);
    }
    shop_task.abort();
    warehouse_task.abort();
    Ok(phases)
}

/// Serves on a free port of loopback.
async fn serve(router: Router) -> Result<(SocketAddr, tokio::task::JoinHandle<()>), Failure> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let at = listener.local_addr()?;
    let task = tokio::spawn(async move {
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                return;
            };
            let router = router.clone();
            let service = hyper::service::service_fn(move |request| router.clone().call(request));
            tokio::spawn(async move {
                let io = hyper_util::rt::TokioIo::new(stream);
                // Who hangs up is no news.
                drop(
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(io, service)
                        .await,
                );
            });
        }
    });
    Ok((at, task))
}
