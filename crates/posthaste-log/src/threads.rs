//! The threads of a store: all of them, or none. They decide nothing about jobs.

use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use posthaste_core::{Error, ErrorKind, Result};

use crate::background::Background;
use crate::commits::Shared;
use crate::effect::{self, Effect};
use crate::files::{Files, io_error};
use crate::sequencer::Sequencer;
use crate::topics::Order;

/// What a thread does.
pub(crate) type Run = Box<dyn FnOnce() + Send>;
/// Starts a thread of this name.
pub(crate) type Spawn = dyn Fn(&str, Run) -> std::io::Result<JoinHandle<()>>;

/// A store's threads, and the lock that its directory is under while they live.
pub(crate) struct Threads {
    sequencer: Option<JoinHandle<()>>,
    syncer: Option<JoinHandle<()>>,
    reader: Option<JoinHandle<()>>,
    tail: Option<JoinHandle<()>>,
    stop_reader: mpsc::Sender<Effect>,
    stop_tail: mpsc::Sender<Order>,
    background: Option<(Background, Arc<Files>)>,
    _lock: Option<Box<dyn Send + Sync>>,
}

impl std::fmt::Debug for Threads {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Threads")
    }
}

impl Threads {
    /// None yet.
    pub(crate) fn new(
        stop_reader: mpsc::Sender<Effect>,
        stop_tail: mpsc::Sender<Order>,
        lock: Option<Box<dyn Send + Sync>>,
    ) -> Self {
        Self {
            sequencer: None,
            syncer: None,
            reader: None,
            tail: None,
            stop_reader,
            stop_tail,
            background: None,
            _lock: lock,
        }
    }

    /// Starts them, the one that decides last. Where one can't be started, those before it have
    /// ended when this returns: nobody works on a directory that is no longer locked.
    pub(crate) fn start(
        mut self,
        shared: &Arc<Shared>,
        sequencer: Sequencer,
        (to_read, to_fetch): (mpsc::Receiver<Effect>, mpsc::Receiver<Order>),
        background: Option<(impl FnOnce() -> Result<Background>, Arc<Files>)>,
        spawn: &Spawn,
    ) -> Result<Self> {
        let read = (to_read, to_fetch);
        let started = self.try_start(shared, sequencer, read, background, spawn);
        match started {
            Ok(()) => Ok(self),
            Err(error) => {
                drop(shared.inbox.close());
                shared.stop();
                self.end();
                Err(error)
            }
        }
    }

    fn try_start(
        &mut self,
        shared: &Arc<Shared>,
        sequencer: Sequencer,
        (to_read, to_fetch): (mpsc::Receiver<Effect>, mpsc::Receiver<Order>),
        background: Option<(impl FnOnce() -> Result<Background>, Arc<Files>)>,
        spawn: &Spawn,
    ) -> Result<()> {
        let spawn = |name: &str, run: Run| {
            spawn(name, run).map_err(|error| {
                Error::new(ErrorKind::Io, format!("a thread can't be started: {error}"))
                    .next("raise the limit of threads of this user")
            })
        };
        let reading = Arc::clone(shared);
        let read = move || {
            to_read
                .into_iter()
                .take_while(|effect| !matches!(effect, Effect::Stop))
                .for_each(|effect| {
                    effect::read_and_release(effect, &reading.bodies, &reading.inbox);
                });
        };
        self.reader = Some(spawn("posthaste-reader", Box::new(read))?);
        let fetching = Arc::clone(shared);
        let fetch = move || {
            to_fetch
                .into_iter()
                .take_while(|order| !matches!(order, Order::Stop))
                .for_each(|order| order.obey(&fetching.bodies));
        };
        self.tail = Some(spawn("posthaste-tail", Box::new(fetch))?);
        if let Some((background, files)) = background {
            let syncing = Arc::clone(shared);
            let sync = move || syncing.sync_until_stopped();
            self.syncer = Some(spawn("posthaste-syncer", Box::new(sync))?);
            self.background = Some((background()?, files));
        }
        let decide = move || sequencer.run();
        self.sequencer = Some(spawn("posthaste-sequencer", Box::new(decide))?);
        Ok(())
    }

    /// Waits for their end and lets go of the directory, which is marked as closed in order. The
    /// sequencer has been told to finish.
    pub(crate) fn join(mut self, shared: &Shared) -> Result<()> {
        let files = self.background.as_ref().map(|(_, files)| Arc::clone(files));
        self.end_writing();
        let marked = match files {
            Some(files) if shared.hold().poisoned.is_none() => shared
                .mark(&files, true)
                .map_err(|error| io_error("write", &files.dir.join("superblock"), &error)),
            _ => Ok(()),
        };
        self.end();
        marked
    }

    fn end_writing(&mut self) {
        for thread in [self.sequencer.take(), self.syncer.take()] {
            let _panicked_and_poisoned = thread.map(JoinHandle::join);
        }
        if let Some((background, _)) = self.background.take() {
            background.stop();
        }
    }

    fn end(&mut self) {
        self.end_writing();
        let _ended = self.stop_reader.send(Effect::Stop);
        let _ended = self.stop_tail.send(Order::Stop);
        for thread in [self.reader.take(), self.tail.take()] {
            let _panicked = thread.map(JoinHandle::join);
        }
    }
}

/// Starts a thread of the operating system.
pub(crate) fn spawn(name: &str, run: Run) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name.to_owned()).spawn(run)
}
