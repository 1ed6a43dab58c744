//! The HTTP surface and the command line, from outside.

mod abuse;
mod bad_input;
mod client;
mod drain;
mod life;
mod watched;
