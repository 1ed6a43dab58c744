//! A stream that notes what its peer does and when, so that a watchdog can judge it.
//!
//! The stream itself never times out: it only writes down. [`Pulse::deadline`] says when the
//! connection is to be closed if nothing changes.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::time::Instant;

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Between requests.
    Quiet,
    /// The first byte of a request's head has come, the last hasn't.
    Head,
    /// A request is being worked on; its handler has limits of its own.
    Handling,
    /// The peer takes its response.
    Answering,
    /// The response is a stream, which may say nothing for as long as it likes.
    Streaming,
    /// It is one, and the peer does not take what it said.
    Stalled,
}

/// The phase of a connection and since when it lasts, shared by the stream, the service and the
/// watchdog of one connection. One word: milliseconds since the start, and the phase in its low
/// three bits.
#[derive(Debug)]
pub(super) struct Pulse {
    start: Instant,
    word: AtomicU64,
    leaving: AtomicBool,
    let_go: Notify,
}

impl Pulse {
    pub(super) fn new() -> Self {
        Self {
            start: Instant::now(),
            word: AtomicU64::new(0),
            leaving: AtomicBool::new(false),
            let_go: Notify::new(),
        }
    }

    /// Since when nothing was under way. `None` where something is, or it was let go already.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        let (phase, since) = self.now();
        let idle = phase == Phase::Quiet && !self.leaving.load(Ordering::Relaxed);
        idle.then_some(since)
    }

    /// Has the connection closed, after the request under way if there is one by then.
    pub(super) fn let_go(&self) {
        self.leaving.store(true, Ordering::Relaxed);
        self.let_go.notify_one();
    }

    /// Ready when the connection was let go.
    pub(super) async fn was_let_go(&self) {
        self.let_go.notified().await;
    }

    pub(super) fn set(&self, phase: Phase) {
        let ms = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX >> 3);
        let bits = match phase {
            Phase::Quiet => 0,
            Phase::Head => 1,
            Phase::Handling => 2,
            Phase::Answering => 3,
            Phase::Streaming => 4,
            Phase::Stalled => 5,
        };
        self.word.store(ms << 3 | bits, Ordering::Relaxed);
    }

    pub(super) fn phase(&self) -> Phase {
        self.now().0
    }

    /// The phase, and since when it lasts.
    fn now(&self) -> (Phase, Instant) {
        let word = self.word.load(Ordering::Relaxed);
        let phase = match word & 7 {
            0 => Phase::Quiet,
            1 => Phase::Head,
            2 => Phase::Handling,
            3 => Phase::Answering,
            4 => Phase::Streaming,
            _ => Phase::Stalled,
        };
        (phase, self.start + Duration::from_millis(word >> 3))
    }

    /// When the present phase has lasted too long. A request that is being worked on, or a stream,
    /// has no deadline here; the answer is then when to look again.
    pub(super) fn deadline(&self, quiet: Duration, head: Duration) -> Deadline {
        let (phase, since) = self.now();
        match phase {
            Phase::Quiet | Phase::Answering | Phase::Stalled => Deadline::CloseAt(since + quiet),
            Phase::Head => Deadline::CloseAt(since + head),
            Phase::Handling => Deadline::LookAgainIn(head),
            // It stalls when it does, and not before.
            Phase::Streaming => Deadline::LookAgainIn(quiet),
        }
    }
}

/// What a watchdog waits for.
#[derive(Debug)]
pub(super) enum Deadline {
    /// Close the connection then, if the phase is still the same.
    CloseAt(Instant),
    /// Nothing can be late before this has passed.
    LookAgainIn(Duration),
}

/// A stream and its pulse.
#[derive(Debug)]
pub(super) struct Clocked<S> {
    pub(super) stream: S,
    pub(super) pulse: Arc<Pulse>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Clocked<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if buffer.filled().len() > before && self.pulse.phase() == Phase::Quiet {
            self.pulse.set(Phase::Head);
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> Clocked<S> {
    fn wrote(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match (self.pulse.phase(), &written) {
            (Phase::Answering, Poll::Ready(Ok(_))) => self.pulse.set(Phase::Answering),
            (Phase::Streaming, Poll::Pending) => self.pulse.set(Phase::Stalled),
            (Phase::Stalled, Poll::Ready(Ok(_))) => self.pulse.set(Phase::Streaming),
            _ => {}
        }
        written
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Clocked<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.wrote(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.wrote(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        // That is asked for when everything was written.
        if flushed.is_ready() && self.pulse.phase() == Phase::Answering {
            self.pulse.set(Phase::Quiet);
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
