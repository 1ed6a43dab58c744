//! Keeping a bounded part of what a command writes: the head of its output, the tail of its
//! complaints.

use std::collections::VecDeque;

use posthaste_core::limits::RESULT_BYTES_MAX;
use tokio::io::{AsyncRead, AsyncReadExt};

/// Bytes left free behind a cut result for the note that says so.
const NOTE_BYTES: usize = 96;
/// Bytes of standard error that are kept: the last ones.
const STDERR_BYTES_MAX: usize = 16 * 1024;
/// Bytes read at once.
const CHUNK_BYTES: usize = 8 * 1024;

/// The first bytes of a stream, and how many there were in all.
#[derive(Debug, Default)]
pub(super) struct Captured {
    pub(super) bytes: Vec<u8>,
    pub(super) total: u64,
}

impl Captured {
    /// Whether the stream was longer than what is kept.
    pub(super) fn is_cut(&self) -> bool {
        self.total > self.bytes.len() as u64
    }

    fn push(&mut self, chunk: &[u8]) {
        self.total += chunk.len() as u64;
        let room = RESULT_BYTES_MAX - NOTE_BYTES - self.bytes.len();
        self.bytes
            .extend_from_slice(&chunk[..chunk.len().min(room)]);
    }
}

/// What stands at the end of a result that was cut.
pub(super) fn cut_note(total: u64) -> String {
    format!("\n[cut: the command wrote {total} bytes]\n")
}

/// Reads `stream` to its end into `kept`, which holds what came so far when this is dropped.
pub(super) async fn head(mut stream: impl AsyncRead + Unpin, kept: &mut Captured) {
    let mut chunk = vec![0; CHUNK_BYTES];
    while let Ok(n @ 1..) = stream.read(&mut chunk).await {
        kept.push(&chunk[..n]);
    }
}

/// Reads `stream` to its end and keeps the last bytes in `kept`.
pub(super) async fn tail(mut stream: impl AsyncRead + Unpin, kept: &mut VecDeque<u8>) {
    let mut chunk = vec![0; CHUNK_BYTES];
    while let Ok(n @ 1..) = stream.read(&mut chunk).await {
        kept.extend(&chunk[..n]);
        let over = kept.len().saturating_sub(STDERR_BYTES_MAX);
        kept.drain(..over);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn long_output_is_cut_to_a_result_and_says_so() {
        let long = vec![b'x'; 3 * RESULT_BYTES_MAX];
        let mut kept = Captured::default();
        head(long.as_slice(), &mut kept).await;
        assert!(kept.is_cut());
        assert_eq!(kept.total, long.len() as u64);
        assert!(kept.bytes.len() + cut_note(u64::MAX).len() <= RESULT_BYTES_MAX);
    }

    #[tokio::test]
    async fn the_last_complaints_are_kept() {
        let mut long = vec![b'x'; 3 * STDERR_BYTES_MAX];
        long.extend_from_slice(b"the end");
        let mut kept = VecDeque::new();
        tail(long.as_slice(), &mut kept).await;
        assert_eq!(kept.len(), STDERR_BYTES_MAX);
        assert!(kept.make_contiguous().ends_with(b"the end"));
    }
}
