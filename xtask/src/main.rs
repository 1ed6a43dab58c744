//! Checks and tests of the workspace, the same here as in CI.
//!
//! `cargo xtask check` says whether the code is in order, `cargo xtask test` whether it works,
//! `cargo xtask ci` both. It has no dependencies, so that it starts at once on a cold machine, and
//! it holds no tests of the product: it only starts them.

/// Prints a line. A reader who has left (`| head`) is no reason to stop.
macro_rules! say {
    ($($what:tt)*) => {
        drop(std::io::Write::write_fmt(
            &mut std::io::stdout(),
            format_args!("{}\n", format_args!($($what)*)),
        ))
    };
}

mod arrows;
mod check;
mod docs;
mod files;
mod packages;
mod report;
mod step;
mod test;

use std::process::ExitCode;

use report::Report;

const USAGE: &str = "\
usage: cargo xtask COMMAND

  check      format, lints, docs, dependency arrows, files      (no test is run)
  test       everything that must pass, installing what it needs
  ci         check, then test

one part alone:
  arrows     which crate may depend on which
  files      lengths of files, words that may not appear
  docs       links, names of tests and lines of dependencies in the documentation
  packages   the programs that the tests need; installs them where it can";

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let command = args.next().unwrap_or_default();
    if let Some(extra) = args.next() {
        eprintln!("unexpected argument {extra:?}\n\n{USAGE}");
        return ExitCode::from(2);
    }
    let mut report = Report::default();
    match command.as_str() {
        "check" => check::all(&mut report),
        "test" => test::all(&mut report),
        "ci" => {
            check::all(&mut report);
            test::all(&mut report);
        }
        "arrows" => report.judge("arrows", "cargo xtask arrows", arrows::check),
        "files" => report.judge("files", "cargo xtask files", files::check),
        "docs" => report.judge("docs", "cargo xtask docs", docs::check),
        "packages" => report.judge("packages", "cargo xtask packages", packages::install),
        "" | "help" | "-h" | "--help" => {
            say!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        other => {
            eprintln!("there is no command {other:?}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    }
    report.close()
}
