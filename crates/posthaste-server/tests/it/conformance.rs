//! A server keeps the promises of every store.

mod over_memory {
    posthaste_testkit::conformance_tests!(crate::served::over_memory);
}

mod over_directory {
    posthaste_testkit::conformance_tests!(crate::served::over_directory, restarts);
}
