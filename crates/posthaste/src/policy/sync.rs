//! The lock that a policy is held under. It is named here alone, so that the test `interleavings` can
//! put one in its place whose orders it chooses.

pub(super) use std::sync::{Mutex, MutexGuard};
