//! A disk in memory that breaks on demand: the Nth call fails, the power goes, a bit flips.
//!
//! - [`FaultDisk`]: the disk, which counts its calls and fails those that were named.
//! - [`Chance`]: the seeded generator that decides what a power cut leaves behind.
//!
//! What was not synced when the power goes may be there or not, sector by sector and name by name:
//! that is all a file system promises. It refuses to know what the files mean.

mod chance;
mod directory;
mod fault;
mod file;
mod tree;

pub use chance::Chance;
pub use fault::{Call, Fault, FaultDisk};
