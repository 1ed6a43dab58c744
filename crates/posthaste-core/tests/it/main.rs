//! The machine through its public face.

mod random;
mod script;
mod world;
