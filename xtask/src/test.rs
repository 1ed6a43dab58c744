//! Whether it works.

use crate::check::installed;
use crate::packages;
use crate::report::Report;
use crate::step::Step;

/// Runs everything that must pass. What doesn't build is not run.
pub(crate) fn all(report: &mut Report) {
    report.judge("packages", "cargo xtask packages", packages::install);
    let build = Step::cargo(
        "build",
        "build --workspace --all-features --bins --tests --examples",
    );
    if !report.run(&build) {
        return;
    }
    let run = if installed("nextest") {
        "nextest run --workspace --all-features --no-fail-fast"
    } else {
        "test --workspace --all-features --no-fail-fast --bins --lib --tests"
    };
    report.run(&Step::cargo(
        "doctests",
        "test --doc --workspace --all-features",
    ));
    report.run(&Step::cargo("tests", run));
}
