//! The command `homeostasis`: tools for the people who write rules or playbooks or train classifiers, and to look again at evidence.
//!
//! Exit codes: 0 when all is well, 1 when something was found (a rule that does not load, a doubt, a
//! text that no rule matches), 2 when the command itself is wrong or a file cannot be read.

mod args;
#[cfg(feature = "classifier")]
mod classifier;
mod diagnose;
mod playbook;
mod rules;

use std::ffi::OsString;
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
    let answer = answer(std::env::args_os().skip(1));
    // A reader that went away, as `head` does, is no error of ours.
    let _ = std::io::stdout().write_all(answer.out.as_bytes());
    let _ = std::io::stderr().write_all(answer.err.as_bytes());
    ExitCode::from(answer.code)
}

fn answer(args: impl Iterator<Item: Into<OsString>>) -> Answer {
    let args: Result<Vec<String>, OsString> = args.map(|arg| arg.into().into_string()).collect();
    let args = args.map_err(|arg| format!("argument {}, expected UTF-8", arg.display()));
    #[cfg(feature = "classifier")]
    if let Ok([first, rest @ ..]) = args.as_deref()
        && first == "classifier"
    {
        return classifier::run(rest);
    }
    if let Ok([first, rest @ ..]) = args.as_deref()
        && first == "playbook"
    {
        return playbook::run(rest);
    }
    match args.and_then(|args| args::parse(args.into_iter())) {
        Ok(args::Command::Help) => Answer {
            out: help(),
            ..Answer::default()
        },
        Ok(args::Command::Version) => Answer {
            out: format!("homeostasis {}\n", env!("CARGO_PKG_VERSION")),
            ..Answer::default()
        },
        Ok(args::Command::Rules(command)) => rules::run(&command),
        Ok(args::Command::Diagnose(command)) => diagnose::run(&command),
        Err(message) => Answer {
            err: format!("{message}\n\n{}\n", args::HELP),
            code: 2,
            ..Answer::default()
        },
    }
}

/// The help of all commands that are built in.
fn help() -> String {
    let parts = [
        args::HELP,
        playbook::HELP,
        #[cfg(feature = "classifier")]
        classifier::HELP,
    ];
    format!("{}\n", parts.join("\n\n"))
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::ffi::OsStringExt as _;

    use super::*;

    #[test]
    fn an_argument_that_is_no_text_is_a_wrong_command() {
        let args = [
            OsString::from("rules"),
            OsString::from_vec(vec![b'a', 0xff]),
        ];
        let answer = answer(args.into_iter());
        assert_eq!((answer.code, answer.out.as_str()), (2, ""));
        let expected = "argument a\u{fffd}, expected UTF-8\n";
        assert!(answer.err.starts_with(expected), "{}", answer.err);
    }
}
