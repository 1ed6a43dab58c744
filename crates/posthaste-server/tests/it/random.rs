//! Random lives over HTTP: the server and the naive model agree after every step.

use posthaste_testkit::random::campaign;

use crate::served::{OfServer, over_directory, over_memory};

/// Whoever hangs up waits until that is over, so that what happens next does not depend on it.
fn memory() -> OfServer {
    over_memory().patient()
}

fn directory() -> OfServer {
    over_directory().patient()
}

#[test]
fn a_server_over_memory_agrees_with_the_model() {
    campaign(memory, 1, 5, 800);
}

#[test]
fn a_server_over_a_directory_agrees_with_the_model() {
    campaign(directory, 1_000, 5, 800);
}
