//! What the embedded store promises, attacked through its public face.

mod bench;
mod crash;
mod faults;
mod ledger;
mod life;
mod space;
