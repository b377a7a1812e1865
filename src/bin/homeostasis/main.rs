//! The command `homeostasis`: tools for the people who write rules.
//!
//! Exit codes: 0 when all is well, 1 when something was found (a rule that does not load, a doubt, a
//! text that no rule matches), 2 when the command itself is wrong or a file cannot be read.

mod args;
mod rules;

use std::io::Write as _;
use std::process::ExitCode;

/// What a command says and how it ends.
#[derive(Debug, Default)]
struct Answer {
    out: String,
    err: String,
    code: u8,
}

fn main() -> ExitCode {
    let answer = answer(std::env::args().skip(1));
    // A reader that went away, as `head` does, is no error of ours.
    let _ = std::io::stdout().write_all(answer.out.as_bytes());
    let _ = std::io::stderr().write_all(answer.err.as_bytes());
    ExitCode::from(answer.code)
}

fn answer(args: impl Iterator<Item = String>) -> Answer {
    match args::parse(args) {
        Ok(args::Command::Help) => Answer {
            out: format!("{}\n", args::HELP),
            ..Answer::default()
        },
        Ok(args::Command::Version) => Answer {
            out: format!("homeostasis {}\n", env!("CARGO_PKG_VERSION")),
            ..Answer::default()
        },
        Ok(args::Command::Rules(command)) => rules::run(&command),
        Err(message) => Answer {
            err: format!("{message}\n\n{}\n", args::HELP),
            code: 2,
            ..Answer::default()
        },
    }
}
