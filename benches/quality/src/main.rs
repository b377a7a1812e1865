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
mod canary;
mod context;
mod crash;
mod errors;
mod flags;
mod forecast;
mod logs;
mod multivariate;
mod nab;
mod overhead;
mod patches;
mod rca;
mod redaction;
mod repairs;
mod score;
mod series_file;
mod univariate;

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
        Ok(Command::CrashChild(options)) => {
            return match crash::serve(&options) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    eprintln!("{error}");
                    ExitCode::FAILURE
                }
            };
        }
        Ok(Command::OverheadChild(journal)) => overhead::take_up(&journal)
            .map(|report| (report, true))
            .map_err(|error| -> Box<dyn std::error::Error> { error }),
        Ok(Command::Suite(Suite::Crash(options))) => crash::run(options),
        Ok(Command::Suite(Suite::Overhead)) => overhead::run()
            .map(|report| (report, true))
            .map_err(|error| -> Box<dyn std::error::Error> { error }),
        Ok(Command::Suite(Suite::Multivariate(options))) => {
            multivariate::run(&options).map(|report| (report, true))
        }
        Ok(Command::Suite(Suite::Redaction(data))) => {
            redaction::run(&data).map(|report| (report, true))
        }
        Ok(Command::Suite(Suite::Forecast(data))) => {
            forecast::run(&data).map(|report| (report, true))
        }
        Ok(Command::Suite(Suite::Canary(options))) => canary::run(options),
        Ok(Command::Suite(Suite::Errors(options))) => {
            errors::run(&options).map(|report| (report, true))
        }
        Ok(Command::Suite(Suite::Patches(options))) => {
            patches::run(&options).map(|report| (report, true))
        }
        Ok(Command::Suite(Suite::Repairs(options))) => {
            repairs::run(&options).map(|report| (report, true))
        }
        Ok(Command::Suite(Suite::Context)) => context::run().map(|report| (report, true)),
        Ok(Command::Suite(Suite::Logs(options))) => {
            logs::run(&options).map(|report| (report, true))
        }
        Ok(Command::Suite(Suite::Rca(options))) => rca::run(&options).map(|report| (report, true)),
        Ok(Command::Suite(Suite::Nab(options))) => nab::run(&options).map(|report| (report, true)),
        Ok(Command::Suite(Suite::Univariate(options))) => {
            univariate::run(&options).map(|report| (report, true))
        }
    };
    match report {
        Ok((report, sound)) => {
            println!("{report}");
            if sound {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            }
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
