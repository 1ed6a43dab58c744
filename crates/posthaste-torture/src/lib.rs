//! Crashes a real server under real clients, and judges what they saw.
//!
//! Clients outside the killed process keep a [`history`] of what they asked and what they were
//! told. The server is killed, or the power of its disk cut, again and again ([`campaign`]); in
//! the end everything is drained and the [`checker`] looks for what a promise forbids.
//!
//! It shares no code with the product and knows it only by its HTTP surface and its command line,
//! so that one mistake can't hide in both. It refuses to guess: an answer that did not come is
//! neither success nor failure.

pub mod campaign;
pub mod checker;
pub mod history;

mod clients;
mod disk;
mod draw;
mod http;
mod server;
