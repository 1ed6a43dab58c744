//! Degraded modes: what a service leaves out when it can't do everything.

use std::fmt;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use posthaste_core::policy::Refusal;
use posthaste_core::policy::degrade::{Degrade, Level};
use posthaste_core::{Error, ErrorKind, Result};

use super::clock;

/// A named switch with levels that code asks: 0 is as usual, and each level above leaves out more.
///
/// Moved by hand with [`set`](Self::set), or by [pressure](Self::pressure): one level at a time, and only
/// when the pressure has lasted. What pressure is, is for the caller to say: a queue's delay over its
/// target, or the share of places that are taken. Cheap to clone, and to ask: one atomic read.
///
/// ```
/// use posthaste::TimeUnits;
/// use posthaste::policy::{Level, Mode};
///
/// # fn main() -> posthaste::Result<()> {
/// let mode = Mode::named(
///     "shop",
///     &[
///         Level { rise: 0.8, fall: 0.6 }, // 1: no recommendations
///         Level { rise: 0.95, fall: 0.7 }, // 2: and no search
///     ],
///     5.secs(),
/// )?;
/// mode.pressure(0.99);                 // has not lasted yet
/// assert!(mode.allows(1).is_ok());
/// mode.set(Some(1));                   // by hand
/// assert_eq!(mode.allows(1).unwrap_err().to_string(), "switched off at degraded level 1");
/// assert!(mode.allows(2).is_ok());
/// mode.set(None);
/// assert_eq!(mode.level(), 0);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Mode(Arc<Shared>);

struct Shared {
    name: Box<str>,
    level: AtomicU8,
    degrade: Mutex<Degrade>,
}

impl Mode {
    /// A switch with these levels, the first being 1. A level is entered when the pressure has been over
    /// its `rise` for `hold`, and left when it has been under its `fall` as long.
    ///
    /// # Errors
    /// `Invalid` where the levels make no sense.
    pub fn named(name: impl Into<Box<str>>, levels: &[Level], hold: Duration) -> Result<Self> {
        let degrade = Degrade::new(levels, hold).map_err(|error| {
            Error::new(ErrorKind::Invalid, error.to_string())
                .next("let each level rise above, and fall below, what it should")
        })?;
        Ok(Self(Arc::new(Shared {
            name: name.into(),
            level: AtomicU8::new(0),
            degrade: Mutex::new(degrade),
        })))
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The level: 0 is as usual.
    #[must_use]
    pub fn level(&self) -> u8 {
        self.0.level.load(Ordering::Relaxed)
    }

    /// Whether what is switched off at `level` is allowed now.
    ///
    /// # Errors
    /// That it is switched off, to explain.
    pub fn allows(&self, level: u8) -> Result<(), Refusal> {
        let now = self.level();
        if level > 0 && now >= level {
            return Err(Refusal::Degraded { level: now });
        }
        Ok(())
    }

    /// Tells it of the pressure now, and gives the level that follows. Tell it at least every `hold`.
    pub fn pressure(&self, pressure: f64) -> u8 {
        self.change(|degrade| {
            degrade.pressure(clock::now(), pressure);
        })
    }

    /// Sets it by hand, whatever the pressure; `None` gives it back to the pressure.
    pub fn set(&self, level: Option<u8>) {
        self.change(|degrade| degrade.set(level));
    }

    fn change(&self, change: impl FnOnce(&mut Degrade)) -> u8 {
        let mut degrade = self
            .0
            .degrade
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        change(&mut degrade);
        let level = degrade.level();
        let before = self.0.level.swap(level, Ordering::Relaxed);
        drop(degrade);
        if before != level {
            let mode = self.name();
            tracing::info!(target: "posthaste::policy", mode, before, level, "the degraded mode moved");
        }
        level
    }
}

impl fmt::Debug for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mode")
            .field("name", &self.name())
            .field("level", &self.level())
            .finish()
    }
}
