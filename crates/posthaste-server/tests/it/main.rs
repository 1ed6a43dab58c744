//! The HTTP surface and the command line, from outside.

mod abuse;
mod bad_input;
mod binary;
mod browser;
mod capacity;
mod client;
mod command_line;
mod conformance;
mod consumers;
mod drain;
mod exec;
mod group_resets;
mod later;
mod life;
mod listener;
mod random;
mod served;
mod shop;
mod simulated;
mod stream;
mod topic_abuse;
mod topic_commands;
mod topics;
mod usage;
mod walkthrough;
mod watched;
