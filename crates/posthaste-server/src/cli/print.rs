//! Writing to the terminal. A reader who left (`| head`) ends the program quietly.

use std::io::{self, Write};

use posthaste_core::Error;

/// Prints one line.
pub(crate) fn line(text: &str) {
    let mut out = io::stdout().lock();
    if let Err(error) = writeln!(out, "{text}").and_then(|()| out.flush())
        && error.kind() == io::ErrorKind::BrokenPipe
    {
        std::process::exit(0);
    }
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
