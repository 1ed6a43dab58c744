//! The machine and the checks, through their public face.

mod checks;
mod keys;
mod lives;
mod pages;
mod random;
mod script;
mod turns;
mod world;
