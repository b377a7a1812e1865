//! The command line.

/// What the command says of itself.
pub(crate) const HELP: &str = "\
homeostasis-quality SUITE [options]: runs one suite; the last line on standard output is one JSON object

suites
  overhead          what recording costs the host: nanoseconds and allocations per event, memory under a flood

nab, univariate, multivariate, logs, errors, rca, patches and canary arrive with the stages they measure";

/// Suites of the plan that arrive later, with what they wait for.
const LATER: &[(&str, &str)] = &[
    ("nab", "the furnished detector"),
    ("univariate", "the furnished detector"),
    ("multivariate", "the multivariate detectors"),
    ("logs", "the template miner"),
    ("errors", "the shipped rule set"),
    ("rca", "the loaders of the published sets"),
    ("patches", "the code patchers and the sandbox"),
    ("canary", "the rollout verifiers"),
];

/// What to run.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Suite {
    /// What recording costs.
    Overhead,
}

/// What was asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// Say what there is.
    Help,
    /// Run a suite.
    Suite(Suite),
}

/// Reads the arguments, or says what is wrong with them.
pub(crate) fn parse(mut args: impl Iterator<Item = String>) -> Result<Command, String> {
    let Some(suite) = args.next() else {
        return Err(format!("which suite?\n\n{HELP}"));
    };
    let command = match suite.as_str() {
        "help" | "--help" | "-h" => Command::Help,
        "overhead" => Command::Suite(Suite::Overhead),
        other => {
            return Err(match LATER.iter().find(|(name, _)| *name == other) {
                Some((name, what)) => {
                    format!("suite {name:?} is not there yet: it arrives with {what}")
                }
                None => format!("suite {other:?}, expected one of those listed\n\n{HELP}"),
            });
        }
    };
    match args.next() {
        Some(extra) => Err(format!("option {extra:?}, expected none")),
        None => Ok(command),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(args: &[&str]) -> Result<Command, String> {
        parse(args.iter().map(ToString::to_string))
    }

    #[test]
    fn what_is_not_there_is_refused_with_the_reason() {
        assert_eq!(read(&["overhead"]), Ok(Command::Suite(Suite::Overhead)));
        assert!(read(&["nab"]).unwrap_err().contains("not there yet"));
        assert!(read(&["nabb"]).unwrap_err().contains("\"nabb\""));
        assert!(
            read(&["overhead", "--fast"])
                .unwrap_err()
                .contains("--fast")
        );
        assert!(read(&[]).is_err());
    }
}
