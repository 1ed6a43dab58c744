//! SIGTERM and SIGINT, as something to wait for.

use posthaste_core::{Error, ErrorKind, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Both signals that ask a program to end.
pub(crate) struct Ending {
    terminate: Signal,
    interrupt: Signal,
}

impl Ending {
    /// Takes the signals over from now on.
    ///
    /// # Errors
    /// `Io` where the operating system refuses.
    pub(crate) fn new() -> Result<Self> {
        let take = |kind| {
            signal(kind).map_err(|error| {
                Error::new(ErrorKind::Io, format!("cannot wait for signals: {error}"))
            })
        };
        Ok(Self {
            terminate: take(SignalKind::terminate())?,
            interrupt: take(SignalKind::interrupt())?,
        })
    }

    /// Ready when the program was asked to end. Cancel-safe.
    pub(crate) async fn wait(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
