//! Writing to the terminal. A reader who left (`| head`) ends the program quietly.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use posthaste_core::{Error, ErrorKind, Result};

/// A directory that must not outlive the program.
static TEMPORARY: OnceLock<PathBuf> = OnceLock::new();

/// Has a directory removed also where the program ends because its reader left.
pub(crate) fn remove_at_the_end(dir: &Path) {
    drop(TEMPORARY.set(dir.to_owned()));
}

/// Prints one line.
pub(crate) fn line(text: &str) {
    // What can't be written is lost, as a table is whose reader has seen enough.
    drop(lines(&format!("{text}\n")));
}

/// Prints lines, each with its end, as data that must arrive.
///
/// # Errors
/// `Io` or `DiskFull` where it can't be written.
pub(crate) fn lines(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => {
            let temporary = TEMPORARY.get();
            drop(temporary.map(std::fs::remove_dir_all));
            std::process::exit(0);
        }
        kind => unwritten(kind, &error),
    })
}

/// Where standard output is a file, makes what was printed durable.
///
/// # Errors
/// As [`lines`].
pub(crate) fn sync() -> Result<()> {
    let synced = io::stdout().as_fd().try_clone_to_owned().and_then(|fd| {
        let file = File::from(fd);
        match file.metadata()?.is_file() {
            true => file.sync_data(),
            false => Ok(()),
        }
    });
    synced.map_err(|error| unwritten(error.kind(), &error))
}

fn unwritten(kind: io::ErrorKind, error: &io::Error) -> Error {
    let kind = match kind {
        io::ErrorKind::StorageFull => ErrorKind::DiskFull,
        _ => ErrorKind::Io,
    };
    Error::new(kind, format!("cannot write standard output: {error}"))
        .next("see to where it goes, and go on from where it ended")
}

/// Prints a value as JSON on one line.
pub(crate) fn json(value: &impl serde::Serialize) {
    match serde_json::to_string(value) {
        Ok(text) => line(&text),
        Err(error) => warning(&format!("the answer could not be written as JSON: {error}")),
    }
}

/// Prints a warning to standard error.
pub(crate) fn warning(text: &str) {
    note(&format!("warning: {text}"));
}

/// Prints a note to standard error.
pub(crate) fn note(text: &str) {
    // Where nobody listens there is nobody to tell.
    drop(writeln!(io::stderr().lock(), "{text}"));
}

/// Prints what failed and what to do next to standard error.
pub(crate) fn error(error: &Error, as_json: bool) {
    note(&if as_json {
        serde_json::json!({
            "error": error.kind().slug(),
            "message": error.message(),
            "next": error.next_step(),
            "command": error.command(),
        })
        .to_string()
    } else {
        plain(error)
    });
}

fn plain(error: &Error) -> String {
    let place = error
        .command()
        .map_or(String::new(), |index| format!(" (item {index})"));
    let next = error
        .next_step()
        .map_or(String::new(), |next| format!("\nnext: {next}"));
    format!("error: {}{place}{next}", error.message())
}

/// Lines up columns under their heads. The last column is not padded.
pub(crate) fn table(heads: &[&str], rows: &[Vec<String>]) {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = heads
        .iter()
        .enumerate()
        .map(|(column, head)| width(column).max(head.len()))
        .collect();
    let heads: Vec<String> = heads.iter().map(|head| (*head).to_owned()).collect();
    for row in std::iter::once(&heads).chain(rows) {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}", width = *width))
            .collect();
        line(cells.join("  ").trim_end());
    }
}
