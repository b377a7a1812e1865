//! The command line.

use std::path::PathBuf;

use crate::flags::Flags;
use crate::{canary, crash, errors, logs, multivariate, nab, patches, rca, repairs, univariate};

/// What the command says of itself.
pub(crate) const HELP: &str = "\
homeostasis-quality SUITE [options]: runs one suite; the last line on standard output is one JSON object

suites
  crash             kills a real healer again and again, also while it recovers: what is lost, repeated, stuck
    --kills N         how often, 1 to 100000 (default 300)
    --stops N         how often one is stopped past its leases while another takes over (default: a kill in 20)
    --worlds N        over how many worlds of their own, at once, all that is spread, 1 to 16 (default 3)
    --seed S          where chance comes from (default 20261122)
  overhead          what recording costs the host: nanoseconds and allocations per event, memory under a flood;
                    step records a second of the journal, and the memory of ten thousand open incidents
  redaction         lines of logs without secrets that are redacted all the same, and megabytes a second
    --data DIR        logs in the layout of loghub: DIR/System/System_2k.log
  forecast          coverage of the intervals of forecasts, and the time to a breach of leaks added to real series
    --data DIR        DIR/data/<group>/<series>.csv or DIR/<group>/<series>.csv with timestamp,value
  nab               the furnished detector on the Numenta Anomaly Benchmark
    --data DIR        its layout: DIR/data/<category>/<file>.csv, DIR/labels/combined_windows.json
    --out DIR         writes timestamp,value,anomaly_score for every series
    --ablation        scores the detector without each of its parts, too
  context           the furnished detector on made-up series: values at the wrong time
  univariate        the furnished detector on labelled series
    --data DIR        DIR/<group>/<series>.csv with TimeStamp,Value,Label
    --out DIR         writes timestamp,value,anomaly_score for every series
  multivariate      a detector of rows on labelled servers, fitted on what was before
    --data DIR        entities in the layout of ASD and SMD: DIR[/set]/entity/{train,test}.csv.gz, test_label.csv
    --out DIR         writes row,anomaly_score for every entity
    --detector NAME   pca_residual (default), isolation_forest or autoencoder
  logs              how well templates of logs are found, in every order, how fast, in how much memory
    --data DIR        labelled logs in the layout of loghub: DIR/System/System_2k.log_structured.csv
    --out DIR         the groups found go there, one CSV for each system
    --adversarial N   reads N lines that no miner can group, too: 0 to 1000000000 (default 0)
  rca               who is the cause of labelled incidents, and which change if changes are labelled
    --format NAME     petshop, nezha, rootcausebench or rcaeval
    --data DIR        the set in its published layout
    --out FILE        writes {case: [services, most likely first]}
    --past-only       only what was before the onset counts as calm
    --onset-shift S   gives the onset wrong by so many seconds, -3600 to 3600 (default 0)

  canary            how canaries are decided on made-up traffic, by ours and by the rules of three tools
    --trials N        runs in each cell, 1 to 100000 (default 2000)
    --seed S          where chance comes from (default 20261122)
  errors            how well the shipped rules name the category of errors, and how many a second
    --data DIR        JSON lines of id, language, text and category: DIR/*.jsonl
    --verbose         says every row that is wrong on standard error
  patches           how often templates answer an error with a patch after which its trigger passes
    --cases DIR       DIR/<case>: a package of cargo whose program is the trigger, or a folder with trigger.py
    --language NAME   rust or python (default both)
    --only NAME       one case
    --keep OUT        writes every diff, and what failed, to OUT/<case>
    --work DIR        keeps copies and builds there for the next run
    --tries N         candidates that are tried, 1 to 20 (default 5)
  repairs           how often the validator of patches refuses what people committed as a fix
    --repositories A,B  folders of git repositories
    --max-lines N     the most lines that a change adds and removes, 1 to 1000 (default 20)";

/// The first argument of the process that `crash` kills. It is not for people.
pub(crate) const CRASH_CHILD: &str = "__crash-child";

/// The first argument of the process whose memory `overhead` measures. It is not for people.
pub(crate) const OVERHEAD_CHILD: &str = "__overhead-child";

const DEFAULT_KILLS: u32 = 300;
const DEFAULT_WORLDS: u32 = 3;
const MOST_WORLDS: u32 = 16;
const KILLS_PER_STOP: u32 = 20;
const MOST_KILLS: u32 = 100_000;
const DEFAULT_TRIALS: u32 = 2000;
const MOST_TRIALS: u32 = 100_000;
const MOST_LINES: u64 = 1_000_000_000;
const DEFAULT_SEED: u64 = 20_261_122;

/// What to run.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Suite {
    /// What a killed healer loses or repeats.
    Crash(crash::Options),
    /// How canaries are decided.
    Canary(canary::Options),
    /// What recording costs.
    Overhead,
    /// How often redaction is wrong on the logs in this folder.
    Redaction(PathBuf),
    /// How well forecasts of the series in this folder hold.
    Forecast(PathBuf),
    /// The furnished detector on the Numenta Anomaly Benchmark.
    Nab(nab::Options),
    /// The furnished detector on values at the wrong time.
    Context,
    /// The furnished detector on labelled series.
    Univariate(univariate::Options),
    /// A detector of rows on labelled servers.
    Multivariate(multivariate::Options),
    /// How well templates of logs are found.
    Logs(logs::Options),
    /// How well rules name the category of errors.
    Errors(errors::Options),
    /// Who is the cause of labelled incidents.
    Rca(rca::Options),
    /// How often patches of code make a trigger pass.
    Patches(patches::Options),
    /// How often fixes of people are refused.
    Repairs(repairs::Options),
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
    /// Be the process that takes up this journal and says how much memory that takes.
    OverheadChild(PathBuf),
}

/// Reads the arguments, or says what is wrong with them.
pub(crate) fn parse(mut args: impl Iterator<Item = String>) -> Result<Command, String> {
    let Some(suite) = args.next() else {
        return Err(format!("which suite?\n\n{HELP}"));
    };
    let suite = match suite.as_str() {
        "help" | "--help" | "-h" => return Flags::read(args, &[], &[]).map(|_| Command::Help),
        CRASH_CHILD => return crash_child(args).map(Command::CrashChild),
        OVERHEAD_CHILD => {
            let journal = args.next().ok_or("which journal?")?;
            return Ok(Command::OverheadChild(journal.into()));
        }
        "canary" => Suite::Canary(canary(args)?),
        "crash" => Suite::Crash(crash(args)?),
        "overhead" => {
            Flags::read(args, &[], &[])?;
            Suite::Overhead
        }
        "context" => {
            Flags::read(args, &[], &[])?;
            Suite::Context
        }
        "redaction" => Suite::Redaction(Flags::read(args, &["--data"], &[])?.data()?),
        "forecast" => Suite::Forecast(Flags::read(args, &["--data"], &[])?.data()?),
        "nab" => {
            let flags = Flags::read(args, &["--data", "--out"], &["--ablation"])?;
            Suite::Nab(nab::Options {
                data: flags.data()?,
                out: flags.out()?,
                ablation: flags.is_on("--ablation"),
            })
        }
        "univariate" => {
            let flags = Flags::read(args, &["--data", "--out"], &[])?;
            Suite::Univariate(univariate::Options {
                data: flags.data()?,
                out: flags.out()?,
            })
        }
        "multivariate" => {
            let flags = Flags::read(args, &["--data", "--out", "--detector"], &[])?;
            let named = flags.value("--detector", multivariate::Kind::NAMES, |_| true)?;
            Suite::Multivariate(multivariate::Options {
                data: flags.data()?,
                out: flags.out()?,
                detector: named.unwrap_or_default(),
            })
        }
        "logs" => {
            let flags = Flags::read(args, &["--data", "--out", "--adversarial"], &[])?;
            let expected = format!("a whole number, 0 to {MOST_LINES}");
            let lines = flags.value("--adversarial", &expected, |n| *n <= MOST_LINES)?;
            Suite::Logs(logs::Options {
                data: flags.data()?,
                out: flags.out()?,
                adversarial: lines.unwrap_or(0),
            })
        }
        "errors" => {
            let flags = Flags::read(args, &["--data"], &["--verbose"])?;
            Suite::Errors(errors::Options {
                data: flags.data()?,
                verbose: flags.is_on("--verbose"),
            })
        }
        "rca" => {
            let with_value = ["--format", "--data", "--out", "--onset-shift"];
            let flags = Flags::read(args, &with_value, &["--past-only"])?;
            let most = rca::MOST_SHIFT;
            let expected = format!("a whole number, -{most} to {most}");
            let shift = flags.value("--onset-shift", &expected, |s| (-most..=most).contains(s))?;
            let format = flags.value("--format", rca::Format::NAMES, |_| true)?;
            let missing = || format!("--format is missing, expected {}", rca::Format::NAMES);
            Suite::Rca(rca::Options {
                format: format.ok_or_else(missing)?,
                data: flags.data()?,
                out: flags.value("--out", "a file", |_| true)?,
                past_only: flags.is_on("--past-only"),
                onset_shift: shift.unwrap_or(0),
            })
        }
        "patches" => Suite::Patches(patches(args)?),
        "repairs" => Suite::Repairs(repairs(args)?),
        other => {
            return Err(format!(
                "suite {other:?}, expected one of those listed\n\n{HELP}"
            ));
        }
    };
    Ok(Command::Suite(suite))
}

fn repairs(args: impl Iterator<Item = String>) -> Result<repairs::Options, String> {
    let flags = Flags::read(args, &["--repositories", "--max-lines"], &[])?;
    let listed = flags.value("--repositories", "folders", |listed: &String| {
        !listed.is_empty()
    })?;
    let listed = listed.ok_or("--repositories is missing, expected folders of git repositories")?;
    let max_lines = flags.value("--max-lines", "a whole number, 1 to 1000", |n| {
        (1..=1000).contains(n)
    })?;
    Ok(repairs::Options {
        repositories: listed.split(',').map(PathBuf::from).collect(),
        max_lines: max_lines.unwrap_or(repairs::DEFAULT_LINES),
    })
}

fn patches(args: impl Iterator<Item = String>) -> Result<patches::Options, String> {
    let with_value = [
        "--cases",
        "--language",
        "--only",
        "--keep",
        "--work",
        "--tries",
    ];
    let flags = Flags::read(args, &with_value, &[])?;
    let most = patches::MOST_TRIES;
    let expected = format!("a whole number, 1 to {most}");
    let cases = flags.value("--cases", "a folder", |_| true)?;
    Ok(patches::Options {
        cases: cases.ok_or("--cases is missing, expected a folder")?,
        language: flags.value("--language", patches::Kind::NAMES, |_| true)?,
        only: flags.value("--only", "the name of a case", |_| true)?,
        keep: flags.value("--keep", "a folder", |_| true)?,
        work: flags.value("--work", "a folder", |_| true)?,
        tries: flags
            .value("--tries", &expected, |n| (1..=most).contains(n))?
            .unwrap_or(patches::DEFAULT_TRIES),
    })
}

fn canary(args: impl Iterator<Item = String>) -> Result<canary::Options, String> {
    let flags = Flags::read(args, &["--trials", "--seed"], &[])?;
    let expected = format!("a whole number, 1 to {MOST_TRIALS}");
    let trials = flags.value("--trials", &expected, |n| (1..=MOST_TRIALS).contains(n))?;
    let seed = flags.value("--seed", "a whole number, 0 to 2^64 - 1", |_| true)?;
    Ok(canary::Options {
        trials: trials.unwrap_or(DEFAULT_TRIALS),
        seed: seed.unwrap_or(DEFAULT_SEED),
    })
}

fn crash(args: impl Iterator<Item = String>) -> Result<crash::Options, String> {
    let flags = Flags::read(args, &["--kills", "--stops", "--seed", "--worlds"], &[])?;
    let expected = format!("a whole number, 1 to {MOST_KILLS}");
    let kills = flags.value("--kills", &expected, |n| (1..=MOST_KILLS).contains(n))?;
    let kills = kills.unwrap_or(DEFAULT_KILLS);
    let expected = format!("a whole number, 0 to {MOST_KILLS}");
    let stops = flags.value("--stops", &expected, |n| *n <= MOST_KILLS)?;
    let seed = flags.value("--seed", "a whole number, 0 to 2^64 - 1", |_| true)?;
    let expected = format!("a whole number, 1 to {MOST_WORLDS}");
    let worlds = flags.value("--worlds", &expected, |n| (1..=MOST_WORLDS).contains(n))?;
    Ok(crash::Options {
        worlds: worlds.unwrap_or(DEFAULT_WORLDS),
        kills,
        stops: stops.unwrap_or(kills / KILLS_PER_STOP),
        seed: seed.unwrap_or(DEFAULT_SEED),
    })
}

fn crash_child(args: impl Iterator<Item = String>) -> Result<crash::ChildOptions, String> {
    let args: Vec<_> = args.collect();
    let read = || {
        let [folder, seed, base, mode, journal] = &args[..] else {
            return None;
        };
        Some(crash::ChildOptions {
            folder: folder.into(),
            seed: seed.parse().ok()?,
            base: base.parse().ok()?,
            mode: crash::Mode::named(mode)?,
            shared: match journal.as_str() {
                "own" => false,
                "shared" => true,
                _ => return None,
            },
        })
    };
    read()
        .ok_or_else(|| format!("{CRASH_CHILD} {args:?}, expected FOLDER SEED BASE MODE own|shared"))
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
    fn canary_has_defaults_and_refuses_what_is_out_of_range() {
        let canary = |trials, seed| {
            Ok(Command::Suite(Suite::Canary(canary::Options {
                trials,
                seed,
            })))
        };
        assert_eq!(read(&["canary"]), canary(DEFAULT_TRIALS, DEFAULT_SEED));
        assert_eq!(
            read(&["canary", "--trials", "5", "--seed", "7"]),
            canary(5, 7)
        );
        assert!(
            read(&["canary", "--trials", "0"])
                .unwrap_err()
                .contains("1 to 100000")
        );
    }

    #[test]
    fn patches_need_cases_and_take_bounded_tries() {
        let suite = patches::Options {
            cases: "in".into(),
            language: Some(patches::Kind::Rust),
            only: Some("a".to_owned()),
            keep: None,
            work: None,
            tries: 5,
        };
        let args = [
            "patches",
            "--cases",
            "in",
            "--language",
            "rust",
            "--only",
            "a",
        ];
        assert_eq!(read(&args), Ok(Command::Suite(Suite::Patches(suite))));
        assert!(read(&args[..1]).unwrap_err().contains("--cases"));
        let many = ["patches", "--cases", "in", "--tries", "21"];
        assert!(read(&many).unwrap_err().contains("1 to 20"));
        let other = ["patches", "--cases", "in", "--language", "go"];
        assert!(read(&other).unwrap_err().contains("rust or python"));
    }

    #[test]
    fn repairs_need_repositories() {
        let suite = repairs::Options {
            repositories: vec!["a".into(), "b/c".into()],
            max_lines: 9,
        };
        let args = ["repairs", "--repositories", "a,b/c", "--max-lines", "9"];
        assert_eq!(read(&args), Ok(Command::Suite(Suite::Repairs(suite))));
        assert!(read(&args[..1]).unwrap_err().contains("--repositories"));
        let none = ["repairs", "--repositories", "a", "--max-lines", "0"];
        assert!(read(&none).unwrap_err().contains("1 to 1000"));
    }

    #[test]
    fn errors_need_a_folder() {
        let suite = errors::Options {
            data: "in".into(),
            verbose: true,
        };
        let args = ["errors", "--verbose", "--data", "in"];
        assert_eq!(read(&args), Ok(Command::Suite(Suite::Errors(suite))));
        assert!(read(&args[..2]).unwrap_err().contains("--data"));
    }

    #[test]
    fn logs_need_a_folder_and_take_a_bounded_adversary() {
        let suite = logs::Options {
            data: "in".into(),
            out: Some("out".into()),
            adversarial: 7,
        };
        let all = ["logs", "--adversarial", "7", "--data", "in", "--out", "out"];
        assert_eq!(read(&all), Ok(Command::Suite(Suite::Logs(suite))));
        for (wrong, named) in [
            (&["logs"][..], "--data"),
            (&["logs", "--data", "a", "--data", "b"], "already"),
            (&["logs", "--adversarial", "-1"], "\"-1\""),
            (&["logs", "--fast"], "--fast"),
        ] {
            let message = read(wrong).unwrap_err();
            assert!(message.contains(named), "{message}");
        }
    }

    #[test]
    fn rca_needs_a_format_and_takes_a_wrong_onset() {
        let suite = rca::Options {
            format: rca::Format::Nezha,
            data: "in".into(),
            out: Some("out.json".into()),
            past_only: true,
            onset_shift: -60,
        };
        let all = "rca --format nezha --data in --out out.json --past-only --onset-shift -60";
        let all: Vec<&str> = all.split(' ').collect();
        assert_eq!(read(&all), Ok(Command::Suite(Suite::Rca(suite))));
        for (wrong, named) in [
            ("rca --data in", "--format"),
            ("rca --format nezha", "--data"),
            ("rca --format nasa --data in", "\"nasa\""),
            ("rca --format nezha --data in --onset-shift 4000", "4000"),
        ] {
            let wrong: Vec<&str> = wrong.split(' ').collect();
            let message = read(&wrong).unwrap_err();
            assert!(message.contains(named), "{message}");
        }
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
    fn multivariate_has_a_default_detector_and_refuses_others() {
        let options = |detector, out: Option<&str>| {
            Ok(Command::Suite(Suite::Multivariate(multivariate::Options {
                data: "here".into(),
                out: out.map(Into::into),
                detector,
            })))
        };
        let args = ["multivariate", "--data", "here"];
        assert_eq!(read(&args), options(multivariate::Kind::PcaResidual, None));
        let more = [
            &args[..],
            &["--detector", "isolation_forest", "--out", "there"],
        ]
        .concat();
        assert_eq!(
            read(&more),
            options(multivariate::Kind::IsolationForest, Some("there"))
        );
        let wrong = [&args[..], &["--detector", "oracle"]].concat();
        assert!(read(&wrong).unwrap_err().contains("\"oracle\""));
        assert!(read(&args[..1]).unwrap_err().contains("--data"));
    }

    #[test]
    fn crash_has_defaults_and_refuses_what_is_out_of_range() {
        let crash = |kills, stops, seed| {
            let worlds = DEFAULT_WORLDS;
            let options = crash::Options {
                kills,
                seed,
                stops,
                worlds,
            };
            Ok(Command::Suite(Suite::Crash(options)))
        };
        assert_eq!(read(&["crash"]), crash(DEFAULT_KILLS, 15, DEFAULT_SEED));
        assert_eq!(
            read(&["crash", "--seed", "7", "--kills", "30"]),
            crash(30, 1, 7)
        );
        assert_eq!(
            read(&["crash", "--kills", "30", "--stops", "0"]),
            crash(30, 0, DEFAULT_SEED)
        );
        for (wrong, named) in [
            (&["crash", "--kills", "0"][..], "\"0\""),
            (&["crash", "--kills", "many"], "\"many\""),
            (&["crash", "--kills"], "without a value"),
            (&["crash", "--seed", "-1"], "\"-1\""),
            (&["crash", "--stops", "-1"], "\"-1\""),
            (&["crash", "--worlds", "0"], "\"0\""),
            (&["crash", "--seed", "1", "--seed", "2"], "already"),
            (&["crash", "--fast"], "--fast"),
        ] {
            let message = read(wrong).unwrap_err();
            assert!(message.contains(named), "{message}");
        }
    }

    #[test]
    fn the_child_reads_back_what_its_parent_passes() {
        let child = read(&[CRASH_CHILD, "somewhere", "7", "12", "calm", "shared"]);
        let expected = crash::ChildOptions {
            folder: "somewhere".into(),
            seed: 7,
            base: 12,
            mode: crash::Mode::Calm,
            shared: true,
        };
        assert_eq!(child, Ok(Command::CrashChild(expected)));
        assert!(read(&[CRASH_CHILD, "somewhere", "7", "12", "wild", "own"]).is_err());
        assert!(read(&[CRASH_CHILD, "somewhere", "7", "12", "calm", "ours"]).is_err());
    }
}
