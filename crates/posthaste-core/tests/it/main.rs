//! The machine and the checks, through their public face.

mod keys;
mod lives;
mod random;
mod script;
mod turns;
mod world;
