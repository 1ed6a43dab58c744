//! The binary `posthaste`.
fn main() {}
