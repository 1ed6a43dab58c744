//! A server as a store: what the conformance suite and the random lives are given as `http:`.
//!
//! The store that is served stands on a clock that is moved by hand, in memory or on a disk in
//! memory. The second can be opened again, and the server with it: drained and closed, or left at
//! one moment, as when its process is killed.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use posthaste::HttpStore;
use posthaste_core::command::Committed;
use posthaste_core::port::{LeaseAsk, Leased, PortFuture, TailJob};
use posthaste_core::topic::{TailTopic, TopicRead, TopicView};
use posthaste_core::view::{Health, JobFilter, JobPage, JobView, QueueView};
use posthaste_core::{Commit, JobId, Result, Store, WallMs};
use posthaste_log::{Clock, Location, Log, ManualClock, Options};
use posthaste_server::{Served, router, server};
use posthaste_testkit::block_on;
use posthaste_testkit::conformance::{Capabilities, Ending, Fixture};
use posthaste_testkit::disk::FaultDisk;
use tokio::runtime::{Handle, Runtime};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A server.
pub(crate) struct OfServer {
    clock: ManualClock,
    disk: Option<Mutex<FaultDisk>>,
    /// Who hangs up on an ask waits until that is over on both sides.
    patient: bool,
    running: Mutex<Option<Running>>,
}

/// A server that runs, and clients of it on the same runtime.
struct Running {
    store: Arc<Log>,
    runtime: Runtime,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<u32>,
}

/// A server over a fresh store in memory.
pub(crate) fn over_memory() -> OfServer {
    OfServer {
        clock: ManualClock::at(WallMs(1_700_000_000_000)),
        disk: None,
        patient: false,
        running: Mutex::default(),
    }
}

/// A server over a fresh store in a directory, in small segments.
pub(crate) fn over_directory() -> OfServer {
    OfServer {
        disk: Some(Mutex::default()),
        ..over_memory()
    }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime")
}

impl OfServer {
    /// Has whoever hangs up on an ask wait until the server knows it and everything was given back.
    pub(crate) fn patient(self) -> Self {
        Self {
            patient: true,
            ..self
        }
    }

    fn start(&self) -> Arc<dyn Store> {
        let mut options = Options::new(Location::Memory);
        options.clock = Arc::new(self.clock.clone());
        options.reserve_bytes = 1024 * 1024;
        if let Some(disk) = &self.disk {
            options.location = Location::Directory("/store".into());
            // The largest payload has to fit where it is tried.
            options.segment_bytes = 2 * 1024 * 1024;
            options.disk = Arc::new(lock(disk).clone());
        }
        let store = Arc::new(Log::open(options).expect("the store opens"));
        let runtime = runtime();
        let listening = server::listen(([127, 0, 0, 1], 0).into());
        let listener = runtime.block_on(listening).expect("a port");
        let address = listener.local_addr().expect("an address");
        let served = Served::new(Arc::clone(&store) as Arc<dyn Store>);
        let (stop, stopped) = oneshot::channel();
        let drain = served.drain();
        let serving = server::serve(
            listener,
            router(served),
            server::Limits::default(),
            async move {
                drop(stopped.await);
                drain.begin();
            },
        );
        let serving = runtime.spawn(serving);
        let remote = Remote::connect(runtime.handle(), address, self.patient);
        *lock(&self.running) = Some(Running {
            store,
            runtime,
            stop,
            serving,
        });
        Arc::new(remote)
    }
}

fn lock<T>(what: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    what.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Running {
    /// Drains the server and closes its store.
    fn close(self) {
        self.stop.send(()).expect("the server runs");
        let cut = self.runtime.block_on(self.serving);
        assert_eq!(
            cut.expect("the server ends well"),
            0,
            "connections were cut"
        );
        block_on(self.store.close()).expect("it closes");
    }

    /// Ends it without a word.
    fn kill(self) {
        drop(self.runtime);
        // Its disk is no longer the one that counts.
        drop(block_on(self.store.close()));
    }
}

impl Fixture for OfServer {
    fn open(&self) -> Arc<dyn Store> {
        self.start()
    }

    fn reopen(&self, store: Arc<dyn Store>, ending: Ending) -> Option<Arc<dyn Store>> {
        let disk = self.disk.as_ref()?;
        let running = lock(&self.running).take().expect("it runs");
        match ending {
            Ending::Clean => {
                drop(store);
                running.close();
            }
            Ending::Crash => {
                let left = lock(disk).copy();
                *lock(disk) = left;
                running.kill();
                drop(store);
            }
        }
        Some(self.start())
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
            restart: self.disk.is_some(),
            chosen_ids: true,
            local_leases: false,
            undoes_leases: false,
        }
    }
}

/// The store that a server is, for callers without a runtime.
struct Remote {
    address: SocketAddr,
    patient: bool,
    runtime: Handle,
    store: Mutex<Arc<HttpStore>>,
    hung_up: AtomicU32,
}

impl Remote {
    fn connect(runtime: &Handle, address: SocketAddr, patient: bool) -> Self {
        Self {
            address,
            patient,
            runtime: runtime.clone(),
            store: Mutex::new(connect(runtime, address)),
            hung_up: AtomicU32::new(0),
        }
    }

    fn call<'a, T, F>(&'a self, call: impl FnOnce(Arc<HttpStore>) -> F) -> PortFuture<'a, T>
    where
        T: 'a,
        F: Future<Output = T> + Send + 'a,
    {
        Box::pin(OnRuntime {
            runtime: self.runtime.clone(),
            future: Some(Box::pin(call(Arc::clone(&lock(&self.store))))),
        })
    }

    /// Waits until what was dropped is over: until nothing of it can reach the server any more,
    /// and what came of it was given back. That is what closing the client waits for.
    fn give_back(&self) {
        let fresh = connect(&self.runtime, self.address);
        let old = std::mem::replace(&mut *lock(&self.store), fresh);
        self.runtime.block_on(old.close()).expect("it closes");
    }
}

fn connect(runtime: &Handle, address: SocketAddr) -> Arc<HttpStore> {
    let url = format!("http://{address}");
    Arc::new(
        runtime
            .block_on(HttpStore::connect(&url))
            .expect("a server"),
    )
}

/// A future that finds its runtime wherever it is polled and dropped.
struct OnRuntime<'a, T> {
    runtime: Handle,
    future: Option<PortFuture<'a, T>>,
}

impl<T> Future for OnRuntime<'_, T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let this = &mut *self;
        let _entered = this.runtime.enter();
        let future = this.future.as_mut().expect("polled once too often");
        let polled = future.as_mut().poll(context);
        if polled.is_ready() {
            this.future = None;
        }
        polled
    }
}

impl<T> Drop for OnRuntime<'_, T> {
    fn drop(&mut self) {
        let _entered = self.runtime.enter();
        self.future = None;
    }
}

/// A lease whose asker, when he hangs up, waits until that is over.
struct Patiently<'a> {
    remote: &'a Remote,
    lease: Option<PortFuture<'a, Result<Vec<Leased>>>>,
}

impl Future for Patiently<'_> {
    type Output = Result<Vec<Leased>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let lease = self.lease.as_mut().expect("polled once too often");
        let polled = lease.as_mut().poll(context);
        if polled.is_ready() {
            self.lease = None;
        }
        polled
    }
}

impl Drop for Patiently<'_> {
    fn drop(&mut self) {
        if let Some(lease) = self.lease.take() {
            // By then the ask, or its answer, is somewhere on its way.
            let wait = self.remote.hung_up.fetch_add(1, Ordering::Relaxed) % 64;
            (0..wait).for_each(|_| std::thread::yield_now());
            drop(lease);
            self.remote.give_back();
        }
    }
}

impl Store for Remote {
    fn commit(&self, commits: Vec<Commit>) -> PortFuture<'_, Result<Vec<Result<Committed>>>> {
        self.call(|store| async move { store.commit(commits).await })
    }

    fn lease(&self, ask: LeaseAsk) -> PortFuture<'_, Result<Vec<Leased>>> {
        let lease = self.call(|store| async move { store.lease(ask).await });
        if !self.patient {
            return lease;
        }
        Box::pin(Patiently {
            remote: self,
            lease: Some(lease),
        })
    }

    fn tail(&self, ask: TailJob) -> PortFuture<'_, Result<JobView>> {
        self.call(move |store| async move { store.tail(ask).await })
    }

    fn read(&self, ask: TailTopic) -> PortFuture<'_, Result<TopicRead>> {
        self.call(move |store| async move { store.read(ask).await })
    }

    fn topics(&self) -> PortFuture<'_, Result<Vec<TopicView>>> {
        self.call(move |store| async move { store.topics().await })
    }

    fn lease_events(
        &self,
        ask: posthaste_core::group::EventAsk,
    ) -> PortFuture<'_, Result<posthaste_core::group::LeasedEvents>> {
        self.call(move |store| async move { store.lease_events(ask).await })
    }

    fn tail_group(
        &self,
        ask: posthaste_core::port::TailGroup,
    ) -> PortFuture<'_, Result<posthaste_core::group::GroupView>> {
        self.call(move |store| async move { store.tail_group(ask).await })
    }

    fn groups(&self) -> PortFuture<'_, Result<Vec<posthaste_core::group::GroupView>>> {
        self.call(move |store| async move { store.groups().await })
    }

    fn kept(
        &self,
        ask: posthaste_core::port::KeptAsk,
    ) -> PortFuture<'_, Result<posthaste_core::group::KeptPage>> {
        self.call(move |store| async move { store.kept(ask).await })
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
