//! Whether the code is in order.

use std::process::Command;

use crate::report::Report;
use crate::step::Step;
use crate::{arrows, docs, files};

/// Runs every check, also after one has failed: a person wants to see them all.
///
/// Lints, documentation and tests are built with the same features, so that each dependency is
/// compiled as few times as possible.
pub(crate) fn all(report: &mut Report) {
    report.run(&Step::cargo("format", "fmt --all --check"));
    report.judge("arrows", "cargo xtask arrows", arrows::check);
    report.judge("files", "cargo xtask files", files::check);
    report.judge("docs", "cargo xtask docs", docs::check);
    report.run(&Step::cargo(
        "lints",
        "clippy --workspace --all-targets --all-features -- -D warnings",
    ));
    report.run(
        &Step::cargo("rustdoc", "doc --workspace --no-deps --all-features")
            .env("RUSTDOCFLAGS", "-D warnings"),
    );
    if installed("deny") {
        report.run(&Step::cargo("deny", "deny --all-features check"));
    } else {
        report.skip(
            "deny",
            "cargo-deny is not installed: cargo install cargo-deny",
        );
    }
}

/// Whether `cargo NAME` is there.
pub(crate) fn installed(name: &str) -> bool {
    Command::new("cargo")
        .args([name, "--version"])
        .output()
        .is_ok_and(|output| output.status.success())
}
