//! A server as a store keeps the promises of every store: `http:` over a store in memory.

use std::future::Future;
use std::sync::{Arc, Mutex};

use posthaste::HttpStore;
use posthaste_core::command::Committed;
use posthaste_core::port::{LeaseAsk, Leased, PortFuture, TailJob};
use posthaste_core::view::{Health, JobFilter, JobPage, JobView, QueueView};
use posthaste_core::{Commit, Error, ErrorKind, JobId, Result, Store, WallMs};
use posthaste_log::{Clock, Location, Log, ManualClock, Options};
use posthaste_server::{Served, router, server};
use posthaste_testkit::conformance::{Capabilities, Ending, Fixture, cases};
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

/// A server over a store in memory, on a clock that stands still.
struct OfServer {
    clock: ManualClock,
    runtime: Arc<Mutex<Option<Runtime>>>,
}

/// A fresh one.
fn server_over_memory() -> OfServer {
    OfServer {
        clock: ManualClock::at(WallMs(1_700_000_000_000)),
        runtime: Arc::default(),
    }
}

impl Fixture for OfServer {
    fn open(&self) -> Arc<dyn Store> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        let mut options = Options::new(Location::Memory);
        options.clock = Arc::new(self.clock.clone());
        let log: Arc<dyn Store> = Arc::new(Log::open(options).expect("a store"));
        let remote = runtime.block_on(async {
            let listener = server::listen(([127, 0, 0, 1], 0).into())
                .await
                .expect("a port");
            let url = format!("http://{}", listener.local_addr().expect("an address"));
            let router = router(Served::new(log));
            let forever = std::future::pending();
            tokio::spawn(server::serve(
                listener,
                router,
                server::Limits::default(),
                forever,
            ));
            HttpStore::connect(&url).await.expect("a server")
        });
        let handle = runtime.handle().clone();
        *self.runtime.lock().expect("a lock") = Some(runtime);
        Arc::new(OnRuntime {
            store: Arc::new(remote),
            handle,
        })
    }

    fn reopen(&self, _store: Arc<dyn Store>, _ending: Ending) -> Option<Arc<dyn Store>> {
        None
    }

    fn advance(&self, ms: u64) {
        self.clock.advance(ms);
    }

    fn set_wall(&self, wall: WallMs) {
        self.clock.set_wall(wall);
    }

    fn wall(&self) -> WallMs {
        self.clock.now().wall
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            restart: false,
            chosen_ids: true,
            local_leases: false,
        }
    }
}

impl Drop for OfServer {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.lock().expect("a lock").take() {
            runtime.shutdown_background();
        }
    }
}

/// The store of a server, for callers without a runtime: each call is a task, which ends with
/// whoever waits for it.
struct OnRuntime {
    store: Arc<HttpStore>,
    handle: tokio::runtime::Handle,
}

impl OnRuntime {
    fn call<T, F>(&self, call: impl FnOnce(Arc<HttpStore>) -> F) -> PortFuture<'_, Result<T>>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let call = call(Arc::clone(&self.store));
        let (mut answer, answered) = oneshot::channel();
        self.handle.spawn(async move {
            tokio::select! {
                done = call => drop(answer.send(done)),
                () = answer.closed() => {}
            }
        });
        Box::pin(async move {
            let gone = || Err(Error::new(ErrorKind::Closed, "the runtime is gone"));
            answered.await.unwrap_or_else(|_| gone())
        })
    }
}

impl Store for OnRuntime {
    fn commit(&self, commits: Vec<Commit>) -> PortFuture<'_, Result<Vec<Result<Committed>>>> {
        self.call(move |store| async move { store.commit(commits).await })
    }

    fn lease(&self, ask: LeaseAsk) -> PortFuture<'_, Result<Vec<Leased>>> {
        self.call(move |store| async move { store.lease(ask).await })
    }

    fn tail(&self, ask: TailJob) -> PortFuture<'_, Result<JobView>> {
        self.call(move |store| async move { store.tail(ask).await })
    }

    fn job(&self, id: JobId) -> PortFuture<'_, Result<Option<JobView>>> {
        self.call(move |store| async move { store.job(id).await })
    }

    fn jobs(
        &self,
        filter: JobFilter,
        cursor: Option<u64>,
        max: u32,
    ) -> PortFuture<'_, Result<JobPage>> {
        self.call(move |store| async move { store.jobs(filter, cursor, max).await })
    }

    fn queues(&self) -> PortFuture<'_, Result<Vec<QueueView>>> {
        self.call(|store| async move { store.queues().await })
    }

    fn health(&self) -> PortFuture<'_, Result<Health>> {
        self.call(|store| async move { store.health().await })
    }

    fn close(&self) -> PortFuture<'_, Result<()>> {
        self.call(|store| async move { store.close().await })
    }
}

/// What a server cannot promise: an answer that was on its way when the client hung up is known to
/// nobody, and its lease lapses instead of being given back. (A client that hangs up before there
/// is an answer is another matter: `abuse` attacks that.)
const NOT_OVER_HTTP: [&str; 1] = ["waits::an_untaken_lease_comes_back"];

#[test]
fn a_server_keeps_the_promises_of_every_store() {
    let cases = cases();
    for name in NOT_OVER_HTTP {
        assert!(
            cases.iter().any(|case| case.name == name),
            "{name} is no case"
        );
    }
    let kept = cases.iter().filter(|case| {
        // It declares no restart: killing a server is `walkthrough`'s and `command_line`'s.
        !case.name.starts_with("restart::") && !NOT_OVER_HTTP.contains(&case.name)
    });
    let broken: Vec<&str> = kept
        .filter(|case| std::panic::catch_unwind(|| case.run(&server_over_memory())).is_err())
        .map(|case| case.name)
        .collect();
    assert!(broken.is_empty(), "{broken:?}");
}
