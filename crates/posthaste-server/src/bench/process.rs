//! What the system tells of a process: its memory and its processor time.

use std::fs;
use std::time::Duration;

use posthaste_core::{Error, ErrorKind, Result};

/// A line of `/proc/PID/status`, in bytes.
pub(super) fn memory(pid: &str, line: &str) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let found = status
        .lines()
        .find_map(|of| of.strip_prefix(line)?.strip_prefix(':'));
    let kilobytes = found.and_then(|text| text.trim().trim_end_matches(" kB").parse::<u64>().ok());
    let kilobytes = kilobytes.ok_or_else(|| unknown("the memory"))?;
    Ok(kilobytes * 1024)
}

/// Processor time of all threads that a process has now.
pub(super) fn processor(pid: u32) -> Result<Duration> {
    let threads = fs::read_dir(format!("/proc/{pid}/task"));
    let threads = threads.map_err(|_| unknown("the processor time"))?;
    let times = threads.flatten().filter_map(|thread| {
        let told = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        told.split(' ').next()?.parse::<u64>().ok()
    });
    Ok(Duration::from_nanos(times.sum()))
}

fn unknown(what: &str) -> Error {
    Error::new(
        ErrorKind::Unsupported,
        format!("this system does not tell {what} of a process"),
    )
    .next("leave this measure out with --only")
}
