//! What comes before a store has threads: its options judged, its directory locked, read and made
//! into the parts it is built from. What the bytes mean is the matter of `recovery`.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use posthaste_core::machine::{Bounds, Kept, Machine};
use posthaste_core::{Error, ErrorKind, Result, duration, limits};

use crate::bodies::Bodies;
use crate::disk::{Disk, FileSystem};
use crate::effect::Effect;
use crate::files::{Files, io_error};
use crate::journal::Journal;
use crate::live::Live;
use crate::recovery::{self, Recovered};
use crate::segments::Segments;
use crate::topics::{Mover, Topics};
use crate::{Durability, Location, Options};

/// What a store is built from, in memory or on disk.
pub(crate) struct Parts {
    pub(crate) machine: Machine,
    pub(crate) bodies: Bodies,
    pub(crate) journal: Option<Journal<Effect>>,
    pub(crate) topics: Topics,
    pub(crate) live: Live,
    pub(crate) disk: Option<OnDisk>,
    pub(crate) clean: bool,
    pub(crate) cut: Option<String>,
    /// What its file system can't promise.
    pub(crate) warning: Option<String>,
}

pub(crate) struct OnDisk {
    pub(crate) files: Arc<Files>,
    pub(crate) segments: Arc<Segments>,
    pub(crate) snapshot: u64,
    pub(crate) mover: Mover,
    pub(crate) lock: Box<dyn Send + Sync>,
}

/// Everything a store at this place starts from.
pub(crate) fn parts(options: &Options) -> Result<Parts> {
    check_options(options)?;
    let mut parts = match &options.location {
        Location::Memory => Parts {
            machine: Machine::new(),
            bodies: Bodies::Memory(Mutex::default()),
            journal: None,
            topics: Topics::new(epoch()?, Vec::new(), options.clock.now().wall),
            live: Live::default(),
            disk: None,
            clean: true,
            cut: None,
            warning: None,
        },
        Location::Directory(dir) => on_disk(options, dir)?,
    };
    parts.machine.set_bounds(Bounds {
        done: options.completed_kept,
        dead: options.dead_kept,
        create_topics: options.create_topics,
        ..Bounds::default()
    });
    Ok(parts)
}

/// The history of a store in memory: another one each time.
fn epoch() -> Result<u32> {
    getrandom::u32().map_err(|error| {
        Error::new(
            ErrorKind::Io,
            format!("the system gives no random numbers: {error}"),
        )
    })
}

fn check_options(options: &Options) -> Result<()> {
    let bytes = options.segment_bytes;
    if !bytes.is_multiple_of(4096) || !(64 * 1024..=64 * 1024 * 1024).contains(&bytes) {
        return Err(Error::new(
            ErrorKind::Invalid,
            format!("segments of {bytes} bytes can't be"),
        )
        .next("use a multiple of 4096 from 64 KiB to 64 MiB"));
    }
    if let Durability::Interval(ms) = options.durability
        && !(1..=60_000).contains(&ms)
    {
        return Err(Error::new(
            ErrorKind::Invalid,
            format!("a sync interval of {ms} ms can't be"),
        )
        .next("use 1ms to 1m"));
    }
    check_kept("completed", options.completed_kept)?;
    check_kept("dead", options.dead_kept)?;
    if options.location == Location::Memory {
        options.durability.must_be_sync("memory:")?;
    }
    Ok(())
}

fn check_kept(which: &str, kept: Kept) -> Result<()> {
    let (longest, most) = (limits::DELAY_MS_MAX, limits::JOBS_MAX);
    if (limits::KEPT_MS_MIN..=longest).contains(&kept.ms)
        && (limits::KEPT_MIN as usize..=most).contains(&(kept.most as usize))
    {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Invalid,
        format!(
            "{which} jobs can't be kept for {}, at most {} of them",
            duration::print_ms(kept.ms),
            kept.most
        ),
    )
    .next(format!(
        "keep them for {} to {}, and {} to {most} of them",
        duration::print_ms(limits::KEPT_MS_MIN),
        duration::print_ms(longest),
        limits::KEPT_MIN
    )))
}

impl Durability {
    /// Refuses an interval for a store, named, that isn't a directory and so can't keep one.
    ///
    /// # Errors
    /// `Unsupported`.
    pub fn must_be_sync(self, store: &str) -> Result<()> {
        match self {
            Self::Sync => Ok(()),
            Self::Interval(_) => Err(Error::new(
                ErrorKind::Unsupported,
                format!("{store} has no durability interval=…: only a directory is synced"),
            )
            .next("leave the sync interval out, or open a directory: file:./data")),
        }
    }
}

fn on_disk(options: &Options, dir: &Path) -> Result<Parts> {
    options
        .disk
        .create_dir_all(dir)
        .map_err(|error| match error.kind() {
            // A file has that name.
            io::ErrorKind::AlreadyExists => {
                io_error("use", dir, &io::ErrorKind::NotADirectory.into())
            }
            _ => io_error("create", dir, &error),
        })?;
    let warning = file_system(options, dir)?;
    let lock = lock(&*options.disk, dir, options.lock_wait_ms)?;
    let now = options.clock.now();
    let Recovered {
        files,
        machine,
        segments,
        position,
        live,
        clean,
        snapshot,
        cut,
        topics,
        mover,
    } = recovery::open(
        Arc::clone(&options.disk),
        dir,
        options.segment_bytes,
        now.mono,
    )?;
    segments.keep_free(options.reserve_bytes);
    let epoch = files.superblock().epoch;
    Ok(Parts {
        machine,
        bodies: Bodies::on_disk(Arc::clone(&segments)),
        journal: Some(Journal::new(Arc::clone(&segments), epoch, position)),
        topics: {
            let index = Topics::new(epoch, Vec::new(), now.wall);
            index.open(topics, mover.readers(), now.wall);
            index
        },
        live,
        disk: Some(OnDisk {
            files,
            segments,
            snapshot,
            mover,
            lock,
        }),
        warning,
        clean,
        cut,
    })
}

/// Refuses a file system that can't keep the promises, or says which of them it can't.
fn file_system(options: &Options, dir: &Path) -> Result<Option<String>> {
    let on = options
        .disk
        .file_system(dir)
        .map_err(|error| io_error("look at", dir, &error))?;
    match on {
        FileSystem::Local => Ok(None),
        FileSystem::Volatile(name) => Ok(Some(format!(
            "{} lies on {name}: what is acknowledged there ends with the machine or the container",
            dir.display()
        ))),
        FileSystem::Network(name) if options.allow_network => Ok(Some(format!(
            "{} lies on {name}: a sync or a lock there may not be what it says",
            dir.display()
        ))),
        FileSystem::Network(name) => Err(Error::new(
            ErrorKind::Unsupported,
            format!("{} lies on {name}, where syncs and locks can't be trusted", dir.display()),
        )
        .next("keep the data directory on a local disk, and reach it with `posthaste serve` and --store http://…")),
    }
}

/// Takes the lock of a directory, waiting for it where that was asked for.
pub(crate) fn lock(disk: &dyn Disk, dir: &Path, wait_ms: u64) -> Result<Box<dyn Send + Sync>> {
    let path = dir.join("lock");
    let until = Instant::now() + Duration::from_millis(wait_ms);
    let holder = format!("{}\n", std::process::id());
    loop {
        if let Some(lock) = disk
            .lock(&path, &holder)
            .map_err(|error| io_error("lock", &path, &error))?
        {
            return Ok(lock);
        }
        if Instant::now() >= until {
            let by = disk.read_small(&path).unwrap_or_default();
            let by = by.trim();
            let by = if by.is_empty() {
                "another process".to_owned()
            } else {
                format!("process {by}")
            };
            return Err(Error::new(ErrorKind::Locked, format!("{} is held by {by}", dir.display()))
                .next("stop it, or talk to its server with --store http://…; a server that is to follow it waits: posthaste serve --lock-wait 30s"));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
