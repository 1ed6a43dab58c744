//! Opening the store that a URL names.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use posthaste_core::{Error, ErrorKind, Result, Store, duration, suggest};
use posthaste_log::{Durability, Kept, Location, Log, Options};

/// How to open a store that lives in this process. A server's is its own affair.
#[derive(Clone, Debug, Default)]
pub(crate) struct How {
    /// What an acknowledgement means.
    pub(crate) durability: Durability,
    /// How long to wait for another process to let go of the directory.
    pub(crate) lock_wait: Duration,
    /// A directory without a store is refused and not made one: whoever looks for jobs where there
    /// are none mistyped.
    pub(crate) must_exist: bool,
    /// How long jobs that have ended are kept, where it was said.
    pub(crate) kept: Retention,
    /// Whether publishing makes a topic that is not there, where it was said.
    pub(crate) create_topics: Option<bool>,
}

/// How long jobs that have ended are kept, and how many of them; nothing is the store's default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Retention {
    pub(crate) completed: Option<Duration>,
    pub(crate) completed_most: Option<u32>,
    pub(crate) dead: Option<Duration>,
    pub(crate) dead_most: Option<u32>,
}

impl Retention {
    fn set(&self, options: &mut Options) {
        let set = |kept: &mut Kept, time: Option<Duration>, most: Option<u32>| {
            kept.ms = time.map_or(kept.ms, |time| {
                u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
            });
            kept.most = most.unwrap_or(kept.most);
        };
        set(
            &mut options.completed_kept,
            self.completed,
            self.completed_most,
        );
        set(&mut options.dead_kept, self.dead, self.dead_most);
    }
}

impl How {
    /// As it is, where it is.
    pub(crate) fn existing() -> Self {
        Self {
            must_exist: true,
            ..Self::default()
        }
    }
}

/// Where a URL leads.
#[derive(Debug, PartialEq, Eq)]
enum Place<'a> {
    Memory,
    Directory(&'a str),
    Server,
}

/// Opens the store at `url`.
///
/// # Errors
/// `Invalid` for a URL of no known kind; what the store answers when it is opened.
pub(crate) async fn open(url: &str, how: &How) -> Result<Arc<dyn Store>> {
    let location = match place(url)? {
        Place::Server => {
            how.durability.must_be_sync("http:")?;
            if how.kept != Retention::default() {
                return Err(Error::new(
                    ErrorKind::Unsupported,
                    format!("{url} says itself how long jobs are kept"),
                )
                .next("give --completed-kept and --dead-kept to that server"));
            }
            if how.create_topics.is_some() {
                return Err(Error::new(
                    ErrorKind::Unsupported,
                    format!("{url} says itself whether publishing makes topics"),
                )
                .next("give --create-topics to that server"));
            }
            return Ok(Arc::clone(posthaste::Posthaste::open(url).await?.store()));
        }
        Place::Memory => Location::Memory,
        Place::Directory(dir) => {
            if how.must_exist {
                check_exists(Path::new(dir))?;
            }
            Location::Directory(PathBuf::from(dir))
        }
    };
    let mut options = Options::new(location);
    options.durability = how.durability;
    how.kept.set(&mut options);
    options.create_topics = how.create_topics.unwrap_or(options.create_topics);
    options.lock_wait_ms = u64::try_from(how.lock_wait.as_millis()).unwrap_or(u64::MAX);
    #[cfg(feature = "fault-injection")]
    super::fault::inject(&mut options)?;
    let opened = tokio::task::spawn_blocking(move || Log::open(options)).await;
    let log = opened.map_err(|error| {
        Error::new(
            ErrorKind::Io,
            format!("opening the store broke off: {error}"),
        )
    })??;
    if let Some(cut) = log.recovery_report() {
        super::print::warning(cut);
    }
    Ok(Arc::new(log))
}

/// Whether there is a store in `dir`, or what is left of one.
fn check_exists(dir: &Path) -> Result<()> {
    let is_absent = |name: &str| {
        let found = std::fs::symlink_metadata(dir.join(name));
        found.is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
    };
    if !(is_absent("superblock") && is_absent("segments")) {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::NotFound,
        format!("{} holds no store", dir.display()),
    )
    .next("name the data directory that the server was started with; serve, enqueue and publish make one"))
}

/// The directory of the store at `url`.
///
/// # Errors
/// `Unsupported` where it isn't in a directory of this machine.
pub(crate) fn directory(url: &str) -> Result<PathBuf> {
    match place(url)? {
        Place::Directory(dir) => Ok(PathBuf::from(dir)),
        Place::Memory | Place::Server => Err(Error::new(
            ErrorKind::Unsupported,
            format!("{url} is not a directory"),
        )
        .next("name the data directory: --store file:./posthaste-data")),
    }
}

/// Whether the store at `url` lives in this process.
pub(crate) fn is_local(url: &str) -> bool {
    !matches!(place(url), Ok(Place::Server))
}

fn place(url: &str) -> Result<Place<'_>> {
    let (scheme, rest) = url.split_once(':').unwrap_or((url, ""));
    match scheme {
        "memory" if rest.is_empty() => Ok(Place::Memory),
        "file" if !rest.is_empty() => Ok(Place::Directory(rest.strip_prefix("//").unwrap_or(rest))),
        "http" if rest.len() > 2 && rest.starts_with("//") => Ok(Place::Server),
        _ => Err(unknown(url, scheme)),
    }
}

fn unknown(url: &str, scheme: &str) -> Error {
    let forms = "memory:, file:DIR or http://HOST:PORT";
    let error = Error::new(ErrorKind::Invalid, format!("{url:?} names no store"));
    match suggest::nearest(scheme, ["memory", "file", "http"]) {
        Some(near) if near != scheme => error.next(format!("did you mean {near:?}? ({forms})")),
        _ => error.next(format!("give {forms}")),
    }
}

/// `sync`, or `interval=` and a duration.
///
/// # Errors
/// `Invalid` for anything else.
pub(crate) fn durability(text: &str) -> Result<Durability> {
    if text == "sync" {
        return Ok(Durability::Sync);
    }
    let interval = text.strip_prefix("interval=").map(duration::parse_ms);
    match interval.transpose()?.map(u32::try_from) {
        Some(Ok(ms)) if ms > 0 => Ok(Durability::Interval(ms)),
        _ => Err(
            Error::new(ErrorKind::Invalid, format!("{text:?} is not a durability"))
                .next("give sync, or interval=DURATION such as interval=50ms"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_stores() {
        assert_eq!(place("memory:"), Ok(Place::Memory));
        assert_eq!(place("file:./a"), Ok(Place::Directory("./a")));
        assert_eq!(place("file:///var/a"), Ok(Place::Directory("/var/a")));
        assert_eq!(place("http://127.0.0.1:7766"), Ok(Place::Server));
        for bad in [
            "",
            "file:",
            "memory:x",
            "http:",
            "http://",
            "fiel:./a",
            "./data",
            "redis://a",
        ] {
            assert!(place(bad).is_err(), "{bad}");
        }
        let error = place("fiel:./a").expect_err("refused");
        assert!(
            error.to_string().contains("did you mean \"file\"?"),
            "{error}"
        );
    }

    #[test]
    fn a_directory_without_a_store_is_not_made_one_by_looking() {
        let dir = tempfile::tempdir().expect("a directory");
        for (name, made) in [("absent", false), ("empty", true), ("torn", true)] {
            let path = dir.path().join(name);
            if made {
                std::fs::create_dir(&path).expect("a directory");
            }
            if name == "torn" {
                std::fs::create_dir(path.join("segments")).expect("a directory");
            }
            let found = check_exists(&path).map_err(|error| error.kind());
            let want = if name == "torn" {
                Ok(())
            } else {
                Err(ErrorKind::NotFound)
            };
            assert_eq!(found, want, "{name}");
        }
        let file = dir.path().join("file");
        std::fs::write(&file, "").expect("a file");
        assert_eq!(check_exists(&file), Ok(()), "the store tells what it is");
    }

    #[test]
    fn durabilities_are_read() {
        assert_eq!(durability("sync"), Ok(Durability::Sync));
        assert_eq!(durability("interval=50ms"), Ok(Durability::Interval(50)));
        for bad in [
            "",
            "none",
            "interval",
            "interval=",
            "interval=0s",
            "interval=5",
        ] {
            assert!(durability(bad).is_err(), "{bad}");
        }
    }
}
