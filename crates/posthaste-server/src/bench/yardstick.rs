//! What the others are held against: the bare disk, and a bare channel.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use posthaste_core::{Error, ErrorKind, Result};

/// A payload of JSON of exactly this many bytes.
pub(super) fn payload(bytes: usize) -> Bytes {
    let mut text = String::from("{\"data\":\"");
    while text.len() + 2 < bytes {
        text.push(char::from(
            b'a' + u8::try_from(text.len() % 26).unwrap_or(0),
        ));
    }
    text.push_str("\"}");
    Bytes::from(text)
}

/// How the file of the raw loop is prepared.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum File {
    /// Written through with zeros beforehand, as segments that stand ready are.
    WrittenThrough,
    /// Zero-filled as it goes, a megabyte ahead.
    FilledAsItGoes,
}

/// Records a second of appending `batch` records of `record` bytes and syncing, until `total`
/// bytes are written.
pub(super) fn raw_loop(
    dir: &Path,
    file: File,
    record: usize,
    batch: usize,
    total: u64,
) -> Result<f64> {
    let path = dir.join("yardstick");
    let measured = raw(&path, file, record, batch, total);
    let _removed_with_the_directory = std::fs::remove_file(&path);
    let (records, took) = measured.map_err(|error| failed(&error))?;
    Ok(super::rate(records, took))
}

fn raw(
    path: &Path,
    how: File,
    record: usize,
    batch: usize,
    total: u64,
) -> io::Result<(u64, Duration)> {
    const SLICE: usize = 1024 * 1024;
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .open(path)?;
    let zeros = vec![0; SLICE];
    let fill = |from: u64, to: u64| -> io::Result<()> {
        (from..to)
            .step_by(SLICE)
            .try_for_each(|at| file.write_all_at(&zeros, at))
    };
    if how == File::WrittenThrough {
        fill(0, total + SLICE as u64)?;
        file.sync_all()?;
    }
    let bytes = vec![b'x'; record * batch];
    let (mut at, mut filled) = (0, 0);
    let start = Instant::now();
    while at < total {
        if how == File::FilledAsItGoes && at + bytes.len() as u64 > filled {
            let to = filled + SLICE as u64 + bytes.len() as u64;
            fill(filled, to)?;
            filled = to.next_multiple_of(SLICE as u64);
        }
        file.write_all_at(&bytes, at)?;
        file.sync_data()?;
        at += bytes.len() as u64;
    }
    Ok((at / record as u64, start.elapsed()))
}

/// Median of one 4 KiB write and its sync on a written-through file, in microseconds, each after
/// `pause`: a disk that rests takes longer than one that is kept busy.
pub(super) fn sync_micros(dir: &Path, pause: Duration) -> Result<f64> {
    let path = dir.join("yardstick");
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .open(&path)
        .map_err(|error| failed(&error))?;
    let measure = || -> io::Result<Vec<Duration>> {
        file.write_all_at(&vec![0; 4096 * 1_000], 0)?;
        file.sync_all()?;
        (0..1_000_u64)
            .map(|turn| {
                std::thread::sleep(pause);
                let start = Instant::now();
                file.write_all_at(&[1; 4096], turn * 4096)?;
                file.sync_data()?;
                Ok(start.elapsed())
            })
            .collect()
    };
    let times = measure().map_err(|error| failed(&error))?;
    let _removed_with_the_directory = std::fs::remove_file(&path);
    Ok(percentile(times, 50))
}

/// The given percentile, in microseconds.
pub(super) fn percentile(mut times: Vec<Duration>, percent: usize) -> f64 {
    times.sort_unstable();
    let at = (times.len() * percent / 100).min(times.len().saturating_sub(1));
    times.get(at).map_or(0.0, |time| time.as_secs_f64() * 1e6)
}

/// Messages a second through a bounded channel in memory, one task to another.
pub(super) async fn channel(payload: &Bytes, count: u64) -> f64 {
    let (sender, mut receiver) = tokio::sync::mpsc::channel(1_024);
    let start = Instant::now();
    let payload = payload.to_vec();
    let sending = tokio::spawn(async move {
        for _ in 0..count {
            if sender.send(payload.clone()).await.is_err() {
                return;
            }
        }
    });
    while receiver.recv().await.is_some() {}
    let took = start.elapsed();
    drop(sending.await);
    super::rate(count, took)
}

fn failed(error: &io::Error) -> Error {
    Error::new(
        ErrorKind::Io,
        format!("the bare disk can't be measured: {error}"),
    )
    .next("see whether there is room in --dir")
}
