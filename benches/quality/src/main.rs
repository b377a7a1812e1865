//! Accuracy and robustness suites of homeostasis.
//!
//! `homeostasis-quality SUITE [options]` runs one suite, says on standard error what it is doing,
//! and prints one JSON object as its last line on standard output.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command speaks to its user"
)]

mod args;
mod overhead;

use std::process::ExitCode;

use args::{Command, Suite};

fn main() -> ExitCode {
    let report = match args::parse(std::env::args().skip(1)) {
        Err(message) => {
            eprintln!("{message}");
            return ExitCode::from(2);
        }
        Ok(Command::Help) => {
            println!("{}", args::HELP);
            return ExitCode::SUCCESS;
        }
        Ok(Command::Suite(Suite::Overhead)) => overhead::run(),
    };
    match report {
        Ok(report) => {
            println!("{report}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
