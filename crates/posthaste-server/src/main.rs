//! The binary `posthaste`: the command line, and what runs only there.

mod bench;
mod cli;
mod demo;
mod exec;
mod worker;

fn main() -> std::process::ExitCode {
    cli::main()
}
