//! The machine and the checks, through their public face.

mod checks;
mod group_checks;
mod group_lives;
mod group_world;
mod groups;
mod keys;
mod lives;
mod pace;
mod pages;
mod plan;
mod random;
mod script;
mod topics;
mod turns;
mod world;
