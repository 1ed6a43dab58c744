//! What every store must do, on this one.

mod memory {
    posthaste_testkit::conformance_tests!(crate::fixture::memory);
}

mod file {
    posthaste_testkit::conformance_tests!(crate::fixture::file, restarts);
}
