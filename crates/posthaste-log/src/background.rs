//! The background thread: keeps segments ready, watches the disk, and marks how far the store is
//! durable. No commit waits for it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{JoinHandle, Thread};
use std::time::Duration;

use posthaste_core::{Error, ErrorKind, Result};

use crate::Options;
use crate::commits::Shared;
use crate::disk::Disk;
use crate::files::{self, Files};
use crate::live::Live;
use crate::segments::Segments;

/// How often it looks around.
const TURN: Duration = Duration::from_millis(200);

/// The thread, to be stopped.
pub(crate) struct Background {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
    handle: Thread,
}

struct Chores {
    shared: Arc<Shared>,
    files: Arc<Files>,
    segments: Arc<Segments>,
    live: Arc<Mutex<Live>>,
    snapshot: u64,
    ready: usize,
    reserve_bytes: u64,
    segment_bytes: u64,
    stop: Arc<AtomicBool>,
    marked: u64,
}

impl Background {
    pub(crate) fn start(
        options: &Options,
        shared: Arc<Shared>,
        files: Arc<Files>,
        segments: Arc<Segments>,
        live: Arc<Mutex<Live>>,
        snapshot: u64,
    ) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut chores = Chores {
            shared,
            files,
            segments,
            live,
            snapshot,
            ready: options.segments_ready,
            reserve_bytes: options.reserve_bytes,
            segment_bytes: u64::from(options.segment_bytes),
            stop: Arc::clone(&stop),
            marked: 0,
        };
        let thread = std::thread::Builder::new()
            .name("posthaste-background".to_owned())
            .spawn(move || chores.run())
            .map_err(|error| {
                Error::new(ErrorKind::Io, format!("a thread can't be started: {error}"))
            })?;
        let handle = thread.thread().clone();
        Ok(Self {
            stop,
            thread,
            handle,
        })
    }

    pub(crate) fn stop(self) {
        self.stop.store(true, Ordering::SeqCst);
        self.handle.unpark();
        let _panicked = self.thread.join();
    }
}

impl Chores {
    fn run(&mut self) {
        while !self.stop.load(Ordering::SeqCst) {
            self.watch_disk();
            self.keep_ready();
            self.mark();
            std::thread::park_timeout(TURN);
        }
    }

    fn disk(&self) -> &dyn Disk {
        &*self.files.disk
    }

    /// New work is refused while the disk is so full that settling could stop.
    fn watch_disk(&self) {
        let Ok(free) = self.disk().free_bytes(&self.files.dir) else {
            return;
        };
        let left = self
            .shared
            .hold()
            .journal
            .as_ref()
            .map_or(0, |journal| journal.bytes_left());
        let at_hand = left + self.segments.ready() as u64 * self.segment_bytes;
        let low = free < self.reserve_bytes && at_hand < self.segment_bytes;
        self.shared.stats.disk_low.store(low, Ordering::Relaxed);
    }

    fn keep_ready(&self) {
        while self.segments.ready() < self.ready && !self.stop.load(Ordering::SeqCst) {
            let room = self.disk().free_bytes(&self.files.dir).unwrap_or(u64::MAX);
            if room < self.segment_bytes + self.reserve_bytes {
                return;
            }
            let stop = &self.stop;
            if let Err(error) = self.segments.prepare(|| !stop.load(Ordering::SeqCst)) {
                let dir = files::segments_dir(&self.files.dir);
                self.shared
                    .stats
                    .problem(files::io_error("prepare a segment in", &dir, &error).to_string());
                return;
            }
        }
    }

    /// Marks in the superblock how far the store is durable, once it has moved on and rests.
    fn mark(&mut self) {
        let durable = self
            .shared
            .hold()
            .journal
            .as_ref()
            .map_or(0, |journal| journal.durable().0);
        if durable == self.marked {
            return;
        }
        match self.shared.mark(&self.files, false) {
            Ok(()) => self.marked = durable,
            Err(error) => {
                let path = self.files.dir.join("superblock");
                self.shared
                    .stats
                    .problem(files::io_error("write", &path, &error).to_string());
            }
        }
    }
}
