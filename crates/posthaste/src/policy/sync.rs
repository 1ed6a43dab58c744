//! The lock that a policy is held under, so that its interleavings can be tried one by one (feature
//! `interleavings`, for tests only).

#[cfg(feature = "interleavings")]
pub(super) use shuttle::sync::{Mutex, MutexGuard};
#[cfg(not(feature = "interleavings"))]
pub(super) use std::sync::{Mutex, MutexGuard};
