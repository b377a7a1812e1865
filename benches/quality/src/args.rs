//! The command line.

use std::path::PathBuf;

use crate::{crash, nab, univariate};

/// What the command says of itself.
pub(crate) const HELP: &str = "\
homeostasis-quality SUITE [options]: runs one suite; the last line on standard output is one JSON object

suites
  crash             kills a real healer again and again, also while it recovers: what is lost, repeated, stuck
    --kills N         how often, 1 to 100000 (default 300)
    --seed S          where chance comes from (default 20261122)
  overhead          what recording costs the host: nanoseconds and allocations per event, memory under a flood
  redaction         lines of logs without secrets that are redacted all the same, and megabytes a second
    --data DIR        logs in the layout of loghub: DIR/System/System_2k.log
  forecast          coverage of the intervals of forecasts, and the time to a breach of leaks added to real series
    --data DIR        DIR/data/<group>/<series>.csv or DIR/<group>/<series>.csv with timestamp,value
  nab               the furnished detector on the Numenta Anomaly Benchmark
    --data DIR        its layout: DIR/data/<category>/<file>.csv, DIR/labels/combined_windows.json
    --out DIR         writes timestamp,value,anomaly_score for every series
    --ablation        scores the detector without each of its parts, too
  univariate        the furnished detector on labelled series
    --data DIR        DIR/<group>/<series>.csv with TimeStamp,Value,Label
    --out DIR         writes timestamp,value,anomaly_score for every series

multivariate, logs, errors, rca, patches and canary arrive with the stages they measure";

/// Suites of the plan that arrive later, with what they wait for.
const LATER: &[(&str, &str)] = &[
    ("multivariate", "the multivariate detectors"),
    ("logs", "the template miner"),
    ("errors", "the shipped rule set"),
    ("rca", "the loaders of the published sets"),
    ("patches", "the code patchers and the sandbox"),
    ("canary", "the rollout verifiers"),
];

/// The first argument of the process that `crash` kills. It is not for people.
pub(crate) const CRASH_CHILD: &str = "__crash-child";

const DEFAULT_KILLS: u32 = 300;
const MOST_KILLS: u32 = 100_000;
const DEFAULT_SEED: u64 = 20_261_122;

/// What to run.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Suite {
    /// What a killed healer loses or repeats.
    Crash(crash::Options),
    /// What recording costs.
    Overhead,
    /// How often redaction is wrong on the logs in this folder.
    Redaction(PathBuf),
    /// How well forecasts of the series in this folder hold.
    Forecast(PathBuf),
    /// The furnished detector on the Numenta Anomaly Benchmark.
    Nab(nab::Options),
    /// The furnished detector on labelled series.
    Univariate(univariate::Options),
}

/// What was asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// Say what there is.
    Help,
    /// Run a suite.
    Suite(Suite),
    /// Be the process that `crash` kills.
    CrashChild(crash::ChildOptions),
}

/// Reads the arguments, or says what is wrong with them.
pub(crate) fn parse(mut args: impl Iterator<Item = String>) -> Result<Command, String> {
    let Some(suite) = args.next() else {
        return Err(format!("which suite?\n\n{HELP}"));
    };
    let command = match suite.as_str() {
        "help" | "--help" | "-h" => Command::Help,
        "crash" => return crash(args).map(|options| Command::Suite(Suite::Crash(options))),
        "overhead" => Command::Suite(Suite::Overhead),
        "redaction" => {
            let data = data(args)?;
            return Ok(Command::Suite(Suite::Redaction(data)));
        }
        "forecast" => {
            let data = data(args)?;
            return Ok(Command::Suite(Suite::Forecast(data)));
        }
        "nab" => return nab(args).map(|options| Command::Suite(Suite::Nab(options))),
        "univariate" => {
            let (data, out) = data_and_out(args)?;
            let options = univariate::Options { data, out };
            return Ok(Command::Suite(Suite::Univariate(options)));
        }
        CRASH_CHILD => return crash_child(args).map(Command::CrashChild),
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

fn crash(mut args: impl Iterator<Item = String>) -> Result<crash::Options, String> {
    let (mut kills, mut seed) = (None, None);
    while let Some(option) = args.next() {
        match option.as_str() {
            "--kills" => {
                let expected = format!("a whole number, 1 to {MOST_KILLS}");
                let in_range = |kills: &u32| (1..=MOST_KILLS).contains(kills);
                once(&mut kills, &option, args.next(), &expected, in_range)?;
            }
            "--seed" => {
                let expected = "a whole number, 0 to 2^64 - 1";
                once(&mut seed, &option, args.next(), expected, |_| true)?;
            }
            other => return Err(format!("option {other:?}, expected --kills or --seed")),
        }
    }
    Ok(crash::Options {
        kills: kills.unwrap_or(DEFAULT_KILLS),
        seed: seed.unwrap_or(DEFAULT_SEED),
    })
}

fn data(mut args: impl Iterator<Item = String>) -> Result<PathBuf, String> {
    let mut folder = None;
    while let Some(option) = args.next() {
        match option.as_str() {
            "--data" => once(&mut folder, &option, args.next(), "a folder", |_| true)?,
            other => return Err(format!("option {other:?}, expected --data")),
        }
    }
    folder.ok_or_else(|| "--data is missing, expected a folder".to_owned())
}

fn nab(args: impl Iterator<Item = String>) -> Result<nab::Options, String> {
    let mut ablation = false;
    let rest = args.filter(|arg| {
        let is_ablation = arg == "--ablation";
        ablation |= is_ablation;
        !is_ablation
    });
    let (data, out) = data_and_out(rest)?;
    Ok(nab::Options {
        data,
        out,
        ablation,
    })
}

fn data_and_out(
    mut args: impl Iterator<Item = String>,
) -> Result<(PathBuf, Option<PathBuf>), String> {
    let (mut data, mut out) = (None, None);
    while let Some(option) = args.next() {
        match option.as_str() {
            "--data" => once(&mut data, &option, args.next(), "a folder", |_| true)?,
            "--out" => once(&mut out, &option, args.next(), "a folder", |_| true)?,
            other => return Err(format!("option {other:?}, expected --data or --out")),
        }
    }
    let data = data.ok_or_else(|| "--data is missing, expected a folder".to_owned())?;
    Ok((data, out))
}

/// Reads the value of an option that may be given once.
fn once<T: std::str::FromStr>(
    slot: &mut Option<T>,
    option: &str,
    value: Option<String>,
    expected: &str,
    accepts: impl Fn(&T) -> bool,
) -> Result<(), String> {
    let Some(text) = value else {
        return Err(format!("{option} without a value, expected {expected}"));
    };
    match text.parse().ok().filter(accepts) {
        Some(_) if slot.is_some() => Err(format!("{option} {text}, but it is given already")),
        Some(value) => {
            *slot = Some(value);
            Ok(())
        }
        None => Err(format!("{option} = {text:?}, expected {expected}")),
    }
}

fn crash_child(args: impl Iterator<Item = String>) -> Result<crash::ChildOptions, String> {
    let args: Vec<_> = args.collect();
    let read = || {
        let [folder, seed, base, mode] = &args[..] else {
            return None;
        };
        Some(crash::ChildOptions {
            folder: folder.into(),
            seed: seed.parse().ok()?,
            base: base.parse().ok()?,
            mode: crash::Mode::named(mode)?,
        })
    };
    read().ok_or_else(|| format!("{CRASH_CHILD} {args:?}, expected FOLDER SEED BASE MODE"))
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
        assert!(read(&["rca"]).unwrap_err().contains("not there yet"));
        assert!(read(&["nabb"]).unwrap_err().contains("\"nabb\""));
        assert!(
            read(&["overhead", "--fast"])
                .unwrap_err()
                .contains("--fast")
        );
        assert!(read(&[]).is_err());
    }

    #[test]
    fn redaction_needs_a_folder() {
        let suite = Command::Suite(Suite::Redaction("logs".into()));
        assert_eq!(read(&["redaction", "--data", "logs"]), Ok(suite));
        assert!(read(&["redaction"]).unwrap_err().contains("--data"));
        assert!(
            read(&["redaction", "--fast"])
                .unwrap_err()
                .contains("--fast")
        );
    }

    #[test]
    fn suites_of_detectors_need_data_and_may_write_scores() {
        let nab = Suite::Nab(nab::Options {
            data: "here".into(),
            out: Some("there".into()),
            ablation: true,
        });
        assert_eq!(
            read(&["nab", "--data", "here", "--ablation", "--out", "there"]),
            Ok(Command::Suite(nab))
        );
        let univariate = Suite::Univariate(univariate::Options {
            data: "here".into(),
            out: None,
        });
        assert_eq!(
            read(&["univariate", "--data", "here"]),
            Ok(Command::Suite(univariate))
        );
        for suite in ["nab", "univariate"] {
            assert!(read(&[suite]).unwrap_err().contains("--data"));
            assert!(read(&[suite, "--fast"]).unwrap_err().contains("--fast"));
        }
    }

    #[test]
    fn crash_has_defaults_and_refuses_what_is_out_of_range() {
        let crash = |kills, seed| Ok(Command::Suite(Suite::Crash(crash::Options { kills, seed })));
        assert_eq!(read(&["crash"]), crash(DEFAULT_KILLS, DEFAULT_SEED));
        assert_eq!(
            read(&["crash", "--seed", "7", "--kills", "30"]),
            crash(30, 7)
        );
        for (wrong, named) in [
            (&["crash", "--kills", "0"][..], "\"0\""),
            (&["crash", "--kills", "many"], "\"many\""),
            (&["crash", "--kills"], "without a value"),
            (&["crash", "--seed", "-1"], "\"-1\""),
            (&["crash", "--seed", "1", "--seed", "2"], "already"),
            (&["crash", "--fast"], "--fast"),
        ] {
            let message = read(wrong).unwrap_err();
            assert!(message.contains(named), "{message}");
        }
    }

    #[test]
    fn the_child_reads_back_what_its_parent_passes() {
        let child = read(&[CRASH_CHILD, "somewhere", "7", "12", "calm"]);
        let expected = crash::ChildOptions {
            folder: "somewhere".into(),
            seed: 7,
            base: 12,
            mode: crash::Mode::Calm,
        };
        assert_eq!(child, Ok(Command::CrashChild(expected)));
        assert!(read(&[CRASH_CHILD, "somewhere", "7", "12", "wild"]).is_err());
    }
}
