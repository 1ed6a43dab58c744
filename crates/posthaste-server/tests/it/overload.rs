//! A real server and a real load generator on the loopback: what the policies of both sides make of too
//! much load and of a bad moment, and what naive retries make of it, in one run.
//!
//! Everything is a ratio to what the same server managed just before, and the bands are wide: this is a
//! machine that does other things too.

#![expect(clippy::print_stdout, reason = "the curves are for people to see")]

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::error_handling::HandleError;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use posthaste::policy::{Context, Criticality, Policy, PolicyError, Settings, Verdict};
use posthaste_server::server::{self, Limits};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tower_layer::Layer;

/// How many requests the server works on at once, and how long each takes.
const WORKERS: u32 = 4;
const SERVICE: Duration = Duration::from_millis(50);
/// How long a caller waits for what it asked.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long each load lasts.
const LOAD: Duration = Duration::from_millis(2_500);

/// A server with a fixed number of workers, who do not notice when nobody waits for them any more.
#[derive(Clone)]
struct Workshop {
    workers: Arc<Semaphore>,
    /// How long each takes now, in milliseconds.
    service_ms: Arc<AtomicU64>,
}

impl Workshop {
    fn new() -> Self {
        let service = u64::try_from(SERVICE.as_millis()).expect("few");
        Self {
            workers: Arc::new(Semaphore::new(WORKERS as usize)),
            service_ms: Arc::new(AtomicU64::new(service)),
        }
    }

    /// Does one piece of work, to its end whatever becomes of who asked.
    async fn work(self) -> StatusCode {
        let work = tokio::spawn(async move {
            let worker = self.workers.acquire().await;
            sleep(Duration::from_millis(
                self.service_ms.load(Ordering::Relaxed),
            ))
            .await;
            drop(worker);
        });
        match work.await {
            Ok(()) => StatusCode::OK,
            Err(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// What a policy answers where it lets nobody in.
async fn explained(error: PolicyError<Infallible>) -> Response {
    let status = StatusCode::SERVICE_UNAVAILABLE;
    (status, [("retry-after", "1")], error.to_string()).into_response()
}

/// One server, and who calls it.
#[derive(Clone)]
struct Rig {
    address: SocketAddr,
    workshop: Workshop,
    /// How the callers call.
    calling: Policy,
    /// Connections at rest.
    rest: Arc<Mutex<VecDeque<TcpStream>>>,
    /// Requests that were sent.
    sent: Arc<AtomicU32>,
}

/// What came of a load.
#[derive(Debug, Clone, Copy)]
struct Came {
    asked: u32,
    answered: u32,
    critical: u32,
    critical_answered: u32,
    sent: u32,
}

impl Came {
    fn success(&self) -> f64 {
        f64::from(self.answered) / f64::from(self.asked)
    }

    fn amplification(&self) -> f64 {
        f64::from(self.sent) / f64::from(self.asked)
    }
}

impl Rig {
    /// Starts a server under `serving`, where there is one, and callers under `calling`.
    async fn start(serving: Option<Policy>, calling: Settings) -> Self {
        let workshop = Workshop::new();
        let doing = workshop.clone();
        let plain = tower_fn(move |_: Request| {
            let doing = doing.clone();
            async move { Ok::<_, Infallible>(doing.work().await.into_response()) }
        });
        let router = match serving {
            Some(policy) => {
                let once = policy.layer_once().judge(judge_answer).layer(plain);
                let scoped = tower_fn(move |request: Request| {
                    let context =
                        Context::from_headers(request.headers().iter().filter_map(
                            |(name, value)| Some((name.as_str(), value.to_str().ok()?)),
                        ));
                    let mut once = once.clone();
                    context.scope(
                        async move { tower_service::Service::call(&mut once, request).await },
                    )
                });
                Router::new().route_service("/work", HandleError::new(scoped, explained))
            }
            None => Router::new().route_service("/work", plain),
        };
        let listener = server::listen(([127, 0, 0, 1], 0).into())
            .await
            .expect("a port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(server::serve(
            listener,
            router,
            Limits::default(),
            std::future::pending(),
        ));
        Self {
            address,
            workshop,
            calling: Policy::new("calling", calling).expect("settings that make sense"),
            rest: Arc::default(),
            sent: Arc::default(),
        }
    }

    /// Requests a second that the workers manage at most.
    async fn capacity(&self) -> f64 {
        let mut workers = JoinSet::new();
        let start = Instant::now();
        for _ in 0..WORKERS {
            let rig = self.clone();
            workers.spawn(async move {
                let mut done = 0;
                while start.elapsed() < Duration::from_secs(1) {
                    done += u32::from(
                        rig.ask(&Context::new())
                            .await
                            .is_ok_and(|status| status == 200),
                    );
                }
                done
            });
        }
        let done: u32 = workers.join_all().await.into_iter().sum();
        f64::from(done) / start.elapsed().as_secs_f64()
    }

    /// Sends `rate` requests a second, whatever becomes of them: an open loop. One of ten is critical.
    async fn load(&self, rate: f64, lasting: Duration) -> Came {
        let sent = self.sent.load(Ordering::Relaxed);
        let mut callers = JoinSet::new();
        let mut ticks = interval(Duration::from_millis(5));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (start, mut asked) = (Instant::now(), 0_u32);
        while start.elapsed() < lasting {
            ticks.tick().await;
            while f64::from(asked) < start.elapsed().as_secs_f64() * rate {
                let (rig, critical) = (self.clone(), asked % 10 == 0);
                callers.spawn(async move { (critical, rig.call(critical).await) });
                asked += 1;
            }
        }
        let came = callers.join_all().await;
        let count = |of: &dyn Fn(&(bool, bool)) -> bool| {
            u32::try_from(came.iter().filter(|came| of(came)).count()).expect("few")
        };
        Came {
            asked,
            answered: count(&|(_, answered)| *answered),
            critical: count(&|(critical, _)| *critical),
            critical_answered: count(&|(critical, answered)| *critical && *answered),
            sent: self.sent.load(Ordering::Relaxed) - sent,
        }
    }

    /// One call under the callers' policy. Whether it was answered in time.
    async fn call(&self, critical: bool) -> bool {
        let tier = match critical {
            true => Criticality::Critical,
            false => Criticality::Default,
        };
        let context = Context::new().within(PATIENCE).criticality(tier).safe();
        let call = self
            .calling
            .with(context)
            .judge(|asked: &std::io::Result<u16>| match asked {
                Ok(status) => {
                    posthaste::policy::of_status(*status, (*status == 503).then_some("0"))
                }
                Err(_) => Verdict::Unknown,
            })
            .run(|attempt| {
                let rig = self.clone();
                async move { rig.ask(attempt.context()).await }
            });
        matches!(timeout(PATIENCE, call).await, Ok(Ok(200)))
    }

    /// One request.
    async fn ask(&self, context: &Context) -> std::io::Result<u16> {
        self.sent.fetch_add(1, Ordering::Relaxed);
        let rested = self.rest().pop_back();
        let mut stream = match rested {
            Some(stream) => stream,
            None => TcpStream::connect(self.address).await?,
        };
        let mut head = String::from("GET /work HTTP/1.1\r\nhost: 127.0.0.1\r\n");
        for (name, value) in context.headers() {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        stream.write_all(head.as_bytes()).await?;
        let mut answer = Vec::new();
        let mut some = [0; 1024];
        loop {
            let read = stream.read(&mut some).await?;
            if read == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            answer.extend_from_slice(&some[..read]);
            let text = String::from_utf8_lossy(&answer);
            let Some((head, body)) = text.split_once("\r\n\r\n") else {
                continue;
            };
            let length = head.split("content-length: ").nth(1);
            let length = length.and_then(|rest| rest.lines().next()?.trim().parse().ok());
            if body.len() >= length.unwrap_or(0) {
                let status = head.split(' ').nth(1).and_then(|word| word.parse().ok());
                self.rest().push_back(stream);
                return status.ok_or_else(|| std::io::ErrorKind::InvalidData.into());
            }
        }
    }

    fn rest(&self) -> std::sync::MutexGuard<'_, VecDeque<TcpStream>> {
        self.rest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the callers' policy did not send, by the reason.
    fn refused(&self) -> String {
        let counts = self.calling.counts().refused;
        let named = posthaste::policy::Refusal::SLUGS.iter().zip(counts);
        let some = named.filter(|(_, count)| *count > 0);
        some.map(|(slug, count)| format!("{slug} {count} "))
            .collect()
    }

    /// A bad moment: while the load goes on, work takes two and a half times as long.
    async fn trigger(&self, rate: f64) -> Came {
        let usual = self.workshop.service_ms.load(Ordering::Relaxed);
        let slow = &self.workshop.service_ms;
        slow.store(usual * 5 / 2, Ordering::Relaxed);
        let came = self.load(rate, Duration::from_secs(3)).await;
        slow.store(usual, Ordering::Relaxed);
        came
    }
}

fn judge_answer(answer: &Result<Response, Infallible>) -> Verdict {
    match answer {
        Ok(response) if response.status().is_success() => Verdict::Ok,
        _ => Verdict::Retry,
    }
}

/// A service of a function, without more of tower than its trait.
#[derive(Clone)]
struct TowerFn<F>(F);

fn tower_fn<F>(make: F) -> TowerFn<F> {
    TowerFn(make)
}

impl<F, Fut, E> tower_service::Service<Request> for TowerFn<F>
where
    F: FnMut(Request) -> Fut,
    Fut: Future<Output = Result<Response, E>> + Send + 'static,
    E: 'static,
{
    type Response = Response;
    type Error = E;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<Response, E>> + Send>>;

    fn poll_ready(
        &mut self,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), Self::Error>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        Box::pin((self.0)(request))
    }
}

/// The server of a rig lives on a runtime of its own, as on a machine of its own.
fn elsewhere(serving: Option<Policy>, calling: Settings) -> (Rig, Runtime) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    let (tell, told) = oneshot::channel();
    runtime.spawn(async move {
        drop(tell.send(Rig::start(serving, calling).await));
    });
    let rig = told.blocking_recv().expect("a rig");
    (rig, runtime)
}

#[test]
fn policies_keep_a_server_working_and_naive_retries_do_not() {
    let (governed, server_one) = elsewhere(Some(Policy::serving("work")), Settings::calling());
    // A naive server is busy for a minute with what one load left behind: each gets a fresh one.
    let naive = [(); 3].map(|()| elsewhere(None, Settings::naive()));
    let [(at_two, _), (at_five, _), (at_bad, _)] = &naive;
    let here = tokio::runtime::Runtime::new().expect("a runtime");
    here.block_on(async {
        let capacity = governed.capacity().await;
        println!("capacity {capacity:.0}/s");
        let mut goodput = Vec::new();
        for (times, naive) in [(2.0, at_two), (5.0, at_five)] {
            let of = |came: Came, lasting: Duration| {
                f64::from(came.answered) / lasting.as_secs_f64() / capacity
            };
            let with = governed.load(capacity * times, LOAD).await;
            let without = naive.load(capacity * times, LOAD).await;
            println!(
                "{times}x: with policies {:.2} of capacity, amplification {:.2}, critical {}/{}; naive {:.2}, amplification {:.2}",
                of(with, LOAD),
                with.amplification(),
                with.critical_answered,
                with.critical,
                of(without, LOAD),
                without.amplification()
            );
            println!("    the callers refused {}", governed.refused());
            goodput.push((of(with, LOAD), of(without, LOAD), with, without));
        }
        println!("trigger: capacity x 0.4 for 3 s at a load of 0.7");
        let rate = capacity * 0.7;
        let (bad_with, bad_without) = (governed.trigger(rate).await, at_bad.trigger(rate).await);
        println!("  during: with policies {:.2} answered; naive {:.2}", bad_with.success(), bad_without.success());
        let (with, without) = (governed.load(rate, LOAD).await, at_bad.load(rate, LOAD).await);
        println!("  after: with policies {:.2} answered; naive {:.2}", with.success(), without.success());
        for (with, without, came, storm) in goodput {
            assert!(with > 0.4, "{with} of the capacity");
            assert!(with > 2.0 * without, "{with} against {without}");
            assert!(came.amplification() < 1.3, "{came:?}");
            assert!(storm.amplification() > 1.5, "{storm:?}");
        }
        assert!(with.success() > 0.6, "recovered: {with:?}");
        assert!(with.success() > without.success(), "{with:?} against {without:?}");
    });
    server_one.shutdown_background();
    for (_, server) in naive {
        server.shutdown_background();
    }
}
