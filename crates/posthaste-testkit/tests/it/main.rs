//! The model against itself: what the other rooms rest their tests on must stand.

mod conformance;
mod model;
mod random;
