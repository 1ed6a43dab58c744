//! The HTTP surface and the command line, from outside.

mod abuse;
mod bad_input;
mod binary;
mod client;
mod command_line;
mod conformance;
mod drain;
mod exec;
mod life;
mod random;
mod served;
mod shop;
mod usage;
mod walkthrough;
mod watched;
