//! Opening a store by its URL.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use posthaste_core::{Error, ErrorKind, Result, Store, suggest};
use posthaste_log::{Clock, Durability, Kept, Location, Log, SystemClock};

use crate::hub::Posthaste;
use crate::units::{millis, millis_u32};

/// The schemes of stores, each with an example.
const SCHEMES: [(&str, &str); 3] = [
    ("memory", "memory:"),
    ("file", "file:./data"),
    ("http", "http://127.0.0.1:7766"),
];

/// How to open a store; begun by [`Posthaste::options`].
#[derive(Clone, Debug)]
#[must_use]
pub struct Options {
    durability: Durability,
    lock_wait: Duration,
    clock: Option<Arc<dyn Clock>>,
    completed_kept: Option<Kept>,
    dead_kept: Option<Kept>,
    create_topics: Option<bool>,
}

impl Posthaste {
    /// Opens the store that `url` names, with every default:
    ///
    /// - `memory:` keeps jobs in memory: they end with the process;
    /// - `file:./data` keeps them in a directory, which is created if it isn't there;
    /// - `http://host:port` is a Posthaste server (feature `http`).
    ///
    /// # Errors
    /// `Invalid` for a URL that names no store; `Unsupported` for one that this build can't open;
    /// `Locked` where another process holds the directory; `Corrupt`, `NewerFormat`, `Io`,
    /// `DiskFull`; `Unavailable` where the server can't be reached.
    pub async fn open(url: &str) -> Result<Self> {
        Self::options().open(url).await
    }

    /// Begins to open a store otherwise than by default.
    pub fn options() -> Options {
        Options {
            durability: Durability::Sync,
            lock_wait: Duration::ZERO,
            clock: None,
            completed_kept: None,
            dead_kept: None,
            create_topics: None,
        }
    }
}

impl Options {
    /// Acknowledges once a commit is written and not yet synced; a sync follows within
    /// `interval`. Survives kill -9; a power cut may take the last interval. For `file:` only: any
    /// other store is refused as `Unsupported`. Default: acknowledges once it is synced.
    pub fn sync_interval(mut self, interval: Duration) -> Self {
        self.durability = Durability::Interval(millis_u32(interval).max(1));
        self
    }

    /// How long to wait for another process to let go of the directory, as in a rolling deploy.
    /// Default: not at all.
    pub fn lock_wait(mut self, wait: Duration) -> Self {
        self.lock_wait = wait;
        self
    }

    /// How long completed and cancelled jobs are kept, and how many of them at most; what ended
    /// first is forgotten first. A second and a thousand at least. Not for `http:`, whose server has
    /// its own: refused as `Unsupported`. Default: 24 hours, the newest 100,000.
    pub fn completed_kept(mut self, time: Duration, most: u32) -> Self {
        let ms = millis(time);
        self.completed_kept = Some(Kept { ms, most });
        self
    }

    /// How long dead jobs are kept, and how many of them at most, as
    /// [`completed_kept`](Self::completed_kept). Default: 90 days, the newest million.
    pub fn dead_kept(mut self, time: Duration, most: u32) -> Self {
        let ms = millis(time);
        self.dead_kept = Some(Kept { ms, most });
        self
    }

    /// Whether publishing to a topic that is not there makes it, with the defaults. Without, a
    /// mistyped name is refused as `NotFound`, and topics are made with
    /// [`Topic::set`](crate::event::Topic::set). Not for `http:`, whose server says so itself:
    /// refused as `Unsupported`. Default: it does.
    pub fn create_topics(mut self, create: bool) -> Self {
        self.create_topics = Some(create);
        self
    }

    /// Where the store takes its time from. Default: the operating system.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Opens the store that `url` names.
    ///
    /// # Errors
    /// As [`Posthaste::open`].
    pub async fn open(self, url: &str) -> Result<Posthaste> {
        let Some((scheme, rest)) = url.split_once(':') else {
            return Err(unknown(url, url));
        };
        match scheme {
            "memory" if rest.is_empty() => self.embedded(Location::Memory).await,
            "memory" => Err(malformed(url, "memory: takes no path")),
            "file" => {
                let path = rest.strip_prefix("//").unwrap_or(rest);
                if path.is_empty() {
                    return Err(malformed(
                        url,
                        "file: needs a directory, such as file:./data",
                    ));
                }
                self.embedded(Location::Directory(PathBuf::from(path)))
                    .await
            }
            "http" => {
                self.durability.must_be_sync("http:")?;
                if self.completed_kept.or(self.dead_kept).is_some() {
                    return Err(said_by_server(
                        "how long jobs are kept",
                        "--completed-kept and --dead-kept",
                    ));
                }
                if self.create_topics.is_some() {
                    return Err(said_by_server(
                        "whether publishing makes topics",
                        "--create-topics",
                    ));
                }
                remote(url).await
            }
            _ => Err(unknown(url, scheme)),
        }
    }

    async fn embedded(self, location: Location) -> Result<Posthaste> {
        let clock = self.clock.unwrap_or_else(|| Arc::new(SystemClock::new()));
        let mut options = posthaste_log::Options::new(location);
        options.durability = self.durability;
        options.lock_wait_ms = millis(self.lock_wait);
        options.completed_kept = self.completed_kept.unwrap_or(options.completed_kept);
        options.dead_kept = self.dead_kept.unwrap_or(options.dead_kept);
        options.create_topics = self.create_topics.unwrap_or(options.create_topics);
        options.clock = Arc::clone(&clock);
        let opening = tokio::task::spawn_blocking(move || Log::open(options));
        let log = opening.await.map_err(|error| {
            Error::new(
                ErrorKind::Closed,
                format!("opening the store was broken off: {error}"),
            )
            .next("open it again")
        })??;
        let store: Arc<dyn Store> = Arc::new(log);
        Posthaste::with_clock(store, clock)
    }
}

#[cfg(feature = "http")]
async fn remote(url: &str) -> Result<Posthaste> {
    let store = crate::http::HttpStore::connect(url).await?;
    Posthaste::with_store(Arc::new(store))
}

#[cfg(not(feature = "http"))]
async fn remote(url: &str) -> Result<Posthaste> {
    Err(Error::new(
        ErrorKind::Unsupported,
        format!("{url} names a server, and this program was built without a client for one"),
    )
    .next("turn on the feature `http` of the crate posthaste"))
}

fn said_by_server(what: &str, flags: &str) -> Error {
    Error::new(
        ErrorKind::Unsupported,
        format!("a server says itself {what}: http: can't"),
    )
    .next(format!("leave it out, and start the server with {flags}"))
}

fn malformed(url: &str, next: &str) -> Error {
    Error::new(ErrorKind::Invalid, format!("{url:?} names no store")).next(next)
}

fn unknown(url: &str, scheme: &str) -> Error {
    let known = SCHEMES.map(|(_, example)| example).join(", ");
    let error = Error::new(ErrorKind::Invalid, format!("{url:?} names no store"));
    match suggest::nearest(scheme, SCHEMES.map(|(scheme, _)| scheme)) {
        Some(near) => error.next(format!("did you mean {near}:? known: {known}")),
        None => error.next(format!("known: {known}")),
    }
}
