//! Random lives: the store and the naive model agree after every step.

use posthaste_testkit::random::campaign;

use crate::fixture::{memory, small_file};

#[test]
fn memory_agrees_with_the_model() {
    campaign(memory, 1, 80, 400);
}

#[test]
fn a_directory_agrees_with_the_model() {
    campaign(small_file, 1_000, 80, 400);
}
