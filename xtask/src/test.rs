//! Whether it works.

use crate::check::installed;
use crate::packages;
use crate::report::Report;
use crate::step::Step;

const BROWSER: &str = "in a browser";

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
    let (run, browser) = if installed("nextest") {
        (
            "nextest run --workspace --all-features --no-fail-fast -E !test(/^browser::/)",
            "nextest run --workspace --all-features -E test(/^browser::/)",
        )
    } else {
        (
            "test --workspace --all-features --no-fail-fast --bins --lib --tests -- --skip browser::",
            "test --workspace --all-features --test it browser::",
        )
    };
    report.run(&Step::cargo(
        "doctests",
        "test --doc --workspace --all-features",
    ));
    report.run(&Step::cargo("tests", run));
    // As root it was installed, or the first step has failed.
    if packages::is_here("chromium") {
        report.run(&Step::cargo(BROWSER, browser));
    } else {
        report.skip(
            BROWSER,
            "chromium is not installed: apt-get install chromium",
        );
    }
    torture(report);
}

/// Crashes the server that was just built, and judges what its clients saw.
///
/// The control comes with it: a judge that lets a store without its sync pass can't be trusted to
/// pass ours.
fn torture(report: &mut Report) {
    let step = |name, args: &str| {
        let target = std::env::var("CARGO_TARGET_DIR").unwrap_or_else(|_| "target".to_owned());
        let torture = format!("{target}/debug/posthaste-torture");
        let args = format!("{args} --binary {target}/debug/posthaste");
        Step::program(name, &torture, &args)
    };
    report.run(&step(
        "kill -9, 200 times",
        "kill --rounds 200 --fault small-segments",
    ));
    if packages::is_root() {
        report.run(&step(
            "power cut, 20 times",
            "power --rounds 20 --fault small-segments",
        ));
        report.run(&step(
            "power cut, without the sync: must be caught",
            "power --rounds 5 --fault skip-sync,small-segments --expect Lost,EventLost",
        ));
    } else {
        report.skip("power cut, 20 times", "mounting a file system needs root");
    }
}
