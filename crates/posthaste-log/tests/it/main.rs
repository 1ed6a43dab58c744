//! What the embedded store promises, attacked through its public face.

mod answers;
mod bench;
mod bounds;
mod broken;
mod conformance;
mod crash;
mod directory;
mod faults;
mod fences;
mod fixture;
mod full;
mod interval;
mod ledger;
mod life;
mod memory;
mod random;
mod repairs;
mod space;
mod sweeps;
mod unread;
