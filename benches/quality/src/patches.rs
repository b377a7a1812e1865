//! How often the templates answer an error with a patch after which the trigger passes.
//!
//! It reads a folder of cases. A case in Rust is a package of cargo whose program is the trigger; the
//! code under repair is what else lies in the folder, such as a path dependency. A case in Python is a
//! folder with `trigger.py`. Neither the trigger nor the tests may be patched.
//!
//! Some triggers fail for another reason once they are healed: `expected.txt` then holds lines that
//! they must print.
//!
//! For each case the trigger must fail; its output is read by the normalizer, the proposer is asked,
//! the validator looks at each candidate, and the first ones are applied in turn. A candidate is
//! plausible if the trigger ends well afterwards, and no test of the case that passed before fails.
//! Programs run in the sandbox; compilers do not, because they read registries.

mod case;
mod program;

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use homeostasis::core::record::PatchCandidate;
use homeostasis::core::signal::ErrorEvent;
use homeostasis::patch::{
    FilePatch, PatchValidator, Proposer, SourceTree, TemplateSet, ValidatorConfig,
};
use homeostasis::signals::{ErrorNormalizer, ErrorNormalizerConfig};
use serde_json::{Value, json};

use case::Case;
pub(crate) use case::Kind;
use program::Programs;

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) cases: PathBuf,
    /// Only cases of this language.
    pub(crate) language: Option<Kind>,
    /// Only the case of this name.
    pub(crate) only: Option<String>,
    /// Where diffs and outputs go.
    pub(crate) keep: Option<PathBuf>,
    /// Where copies and their builds stay for the next run; else they are removed.
    pub(crate) work: Option<PathBuf>,
    /// How many candidates of a case are tried.
    pub(crate) tries: usize,
}

/// What the bars are about.
pub(crate) const DEFAULT_TRIES: usize = 5;

/// The most candidates there are.
pub(crate) const MOST_TRIES: usize = 20;

/// How often the trigger must fail before anything is proposed.
const REPRODUCTIONS: usize = 2;

/// What came of one case.
#[derive(Debug)]
struct Outcome {
    name: String,
    /// Why it counts as no case: it cannot be built, or its trigger passes.
    left_out: Option<String>,
    kind: String,
    n_candidates: usize,
    /// Counted from 1, with the template.
    plausible: Option<(usize, String)>,
    /// Reading the error, proposing and validating.
    own: Duration,
    /// Of candidates that were tried and not plausible, why.
    tried: Vec<String>,
}

/// Runs the suite.
#[expect(clippy::print_stderr, reason = "people look at each case")]
pub(crate) fn run(options: &Options) -> Result<Value, Box<dyn Error>> {
    let cases = case::find(&options.cases, options.language, options.only.as_deref())?;
    let temporary = tempfile::tempdir()?;
    let work = options.work.as_deref().unwrap_or(temporary.path());
    fs::create_dir_all(work).map_err(|error| format!("{}: {error}", work.display()))?;
    let programs = Programs::new()?;
    let healer = Healer::new()?;
    let mut outcomes = Vec::new();
    for case in &cases {
        let outcome = healer.heal(case, work, &programs, options)?;
        eprintln!("{}", line(&outcome));
        outcomes.push(outcome);
    }
    let mut report = summary(&outcomes);
    report["suite"] = json!("patches");
    report["layers"] = json!(programs.layers());
    Ok(report)
}

fn line(outcome: &Outcome) -> String {
    let name = &outcome.name;
    if let Some(reason) = &outcome.left_out {
        return format!("{name}: left out: {reason}");
    }
    let (kind, n) = (&outcome.kind, outcome.n_candidates);
    let came = outcome
        .plausible
        .as_ref()
        .map_or("none plausible".to_owned(), |(nth, template)| {
            format!("plausible {nth} {template}")
        });
    let tried = if outcome.tried.is_empty() {
        String::new()
    } else {
        format!(" [{}]", outcome.tried.join("; "))
    };
    format!("{name}: {kind}: {n} candidates, {came}{tried}")
}

fn summary(outcomes: &[Outcome]) -> Value {
    let counted: Vec<&Outcome> = outcomes.iter().filter(|o| o.left_out.is_none()).collect();
    let within = |most: usize| {
        let is_within = |o: &&&Outcome| o.plausible.as_ref().is_some_and(|(nth, _)| *nth <= most);
        counted.iter().filter(is_within).count()
    };
    let share = |n: usize| {
        if counted.is_empty() {
            0.0
        } else {
            n as f64 / counted.len() as f64
        }
    };
    let mut times: Vec<Duration> = counted.iter().map(|o| o.own).collect();
    times.sort_unstable();
    let median = times.get(times.len() / 2).copied().unwrap_or_default();
    let by_case: BTreeMap<&str, Value> = counted
        .iter()
        .map(|o| {
            let said = json!({
                "error": o.kind,
                "candidates": o.n_candidates,
                "plausible": o.plausible.as_ref().map(|(nth, _)| nth),
                "template": o.plausible.as_ref().map(|(_, template)| template),
                "seconds": o.own.as_secs_f64(),
            });
            (o.name.as_str(), said)
        })
        .collect();
    let left_out: BTreeMap<&str, &str> = outcomes
        .iter()
        .filter_map(|o| Some((o.name.as_str(), o.left_out.as_deref()?)))
        .collect();
    json!({
        "cases": counted.len(),
        "plausible": within(usize::MAX),
        "plausible_at_1": share(within(1)),
        "plausible_at_5": share(within(5)),
        "median_seconds": median.as_secs_f64(),
        "by_case": by_case,
        "left_out": left_out,
    })
}

/// What makes patches of what a program printed.
struct Healer {
    normalizer: ErrorNormalizer,
    proposer: Proposer,
    validator: PatchValidator,
}

/// The candidates of one error, those that may be applied first to last, and how long it took.
struct Proposed {
    error: ErrorEvent,
    candidates: Vec<PatchCandidate>,
    own: Duration,
}

impl Healer {
    fn new() -> Result<Self, Box<dyn Error>> {
        Ok(Self {
            normalizer: ErrorNormalizer::new(&ErrorNormalizerConfig::default())?,
            proposer: Proposer::new(TemplateSet::built_in()?),
            validator: PatchValidator::new(ValidatorConfig::default())?,
        })
    }

    fn heal(
        &self,
        case: &Case,
        work: &Path,
        programs: &Programs,
        options: &Options,
    ) -> Result<Outcome, Box<dyn Error>> {
        let mut outcome = Outcome {
            name: case.name.clone(),
            left_out: None,
            kind: String::new(),
            n_candidates: 0,
            plausible: None,
            own: Duration::ZERO,
            tried: Vec::new(),
        };
        let copy = case.copy_to(work)?;
        let mut printed = String::new();
        for _ in 0..REPRODUCTIONS {
            match programs.trigger(case, &copy)? {
                Ok(ran) if case.is_healed(ran.ending, &ran.output) => {
                    outcome.left_out = Some("the trigger passes".to_owned());
                    return Ok(outcome);
                }
                Ok(ran) => printed = ran.output,
                Err(diagnostics) => {
                    keep(options, &case.name, "build.txt", &diagnostics)?;
                    outcome.left_out = Some("it cannot be built".to_owned());
                    return Ok(outcome);
                }
            }
        }
        keep(options, &case.name, "failure.txt", &printed)?;
        let tests_before = programs.tests(case, &copy)?;
        let Some(proposed) = self.propose(case, &copy, &printed) else {
            "no error was read".clone_into(&mut outcome.kind);
            return Ok(outcome);
        };
        outcome.kind = format!(
            "{}: {}",
            proposed.error.kind,
            proposed.error.message.lines().next().unwrap_or_default()
        );
        outcome.n_candidates = proposed.candidates.len();
        outcome.own = proposed.own;
        for (idx, candidate) in proposed.candidates.iter().enumerate() {
            let (nth, template) = (idx + 1, &candidate.template);
            let file = format!("{nth}-{}.diff", template.replace('/', "-"));
            let said = format!(
                "# {} ({})\n# {}\n{}",
                template,
                candidate.confidence.get(),
                candidate.behaviour,
                candidate.diff
            );
            keep(options, &case.name, &file, &said)?;
        }
        for (idx, candidate) in proposed.candidates.iter().take(options.tries).enumerate() {
            let nth = idx + 1;
            let at = copy.join(&candidate.path);
            let source = fs::read_to_string(&at)?;
            let patched = FilePatch::from_candidate(candidate, &source)
                .and_then(|patch| patch.apply(&source))?;
            fs::write(&at, patched)?;
            let came = after(case, &copy, programs, &tests_before);
            fs::write(&at, source)?;
            match came? {
                Ok(()) => {
                    outcome.plausible = Some((nth, candidate.template.clone()));
                    let file = "plausible.diff";
                    keep(options, &case.name, file, &candidate.diff)?;
                    break;
                }
                Err((why, output)) => {
                    keep(options, &case.name, &format!("{nth}-output.txt"), &output)?;
                    outcome.tried.push(format!("{} {why}", candidate.template));
                }
            }
        }
        Ok(outcome)
    }

    /// `None` if no error is to be read.
    fn propose(&self, case: &Case, copy: &Path, printed: &str) -> Option<Proposed> {
        #[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
        let start = Instant::now();
        let mut error = self.normalizer.parse(printed)?;
        case.forget_trigger(&mut error);
        let proposal = self.proposer.propose(&SourceTree::new(copy), &error);
        let mut candidates = proposal.candidates;
        candidates.retain(|candidate| {
            let source = fs::read_to_string(copy.join(&candidate.path)).unwrap_or_default();
            !case.is_trigger(&candidate.path)
                && self
                    .validator
                    .validate_candidate(candidate, &source)
                    .is_accepted()
        });
        Some(Proposed {
            error,
            candidates,
            own: start.elapsed(),
        })
    }
}

/// What a patched copy does: nothing wrong, or what and what was printed.
fn after(
    case: &Case,
    copy: &Path,
    programs: &Programs,
    tests_before: &BTreeMap<String, bool>,
) -> Result<Result<(), (String, String)>, Box<dyn Error>> {
    let ran = match programs.trigger(case, copy)? {
        Ok(ran) => ran,
        Err(diagnostics) => return Ok(Err(("does not compile".to_owned(), diagnostics))),
    };
    if !case.is_healed(ran.ending, &ran.output) {
        return Ok(Err((format!("{}", ran.ending), ran.output)));
    }
    let tests = programs.tests(case, copy)?;
    let broken = tests_before
        .iter()
        .find(|(name, passed)| **passed && tests.get(*name) != Some(&true));
    Ok(match broken {
        Some((name, _)) => Err((format!("breaks {name}"), String::new())),
        None => Ok(()),
    })
}

fn keep(options: &Options, name: &str, file: &str, text: &str) -> Result<(), Box<dyn Error>> {
    let Some(folder) = &options.keep else {
        return Ok(());
    };
    let folder = folder.join(name);
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    fs::write(folder.join(file), text)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(cases: &Path, keep: &Path) -> Options {
        Options {
            cases: cases.to_owned(),
            language: Some(Kind::Python),
            only: None,
            keep: Some(keep.to_owned()),
            work: None,
            tries: DEFAULT_TRIES,
        }
    }

    fn case(folder: &Path, name: &str, files: &[(&str, &str)]) {
        for (path, text) in files {
            let at = folder.join(name).join(path);
            fs::create_dir_all(at.parent().unwrap()).unwrap();
            fs::write(at, text).unwrap();
        }
    }

    const SHOP: &str = "def price(order):\n    return order['price'] * 2\n";

    #[test]
    fn a_case_is_plausible_if_its_trigger_passes_and_its_tests_still_do() {
        let (cases, kept) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let trigger = "import shop\nassert shop.price({}) == 0\n";
        case(
            cases.path(),
            "a",
            &[("shop.py", SHOP), ("trigger.py", trigger)],
        );
        // No value of a missing price is right here.
        let other = "import shop\nassert shop.price({}) == 77\n";
        case(
            cases.path(),
            "b",
            &[("shop.py", SHOP), ("trigger.py", other)],
        );
        // A test asks for the error, so that each patch breaks it.
        let test = "import unittest, shop\nclass T(unittest.TestCase):\n    def test(self):\n        self.assertRaises(KeyError, shop.price, {})\n";
        case(
            cases.path(),
            "c",
            &[
                ("shop.py", SHOP),
                ("trigger.py", trigger),
                ("test_shop.py", test),
            ],
        );
        case(
            cases.path(),
            "d",
            &[("shop.py", SHOP), ("trigger.py", "import shop\n")],
        );
        let report = match run(&options(cases.path(), kept.path())) {
            Ok(report) => report,
            Err(error) if error.to_string().contains("unprotected") => return,
            Err(error) => panic!("{error}"),
        };
        assert_eq!(report["cases"], 3);
        assert_eq!(report["plausible"], 1);
        assert_eq!(report["left_out"]["d"], "the trigger passes");
        assert_eq!(report["by_case"]["a"]["plausible"], 1);
        assert!(report["by_case"]["b"]["plausible"].is_null());
        assert!(report["by_case"]["c"]["plausible"].is_null());
        assert!(!report["layers"].as_array().unwrap().is_empty());
        let diff = fs::read_to_string(kept.path().join("a/plausible.diff")).unwrap();
        assert!(diff.contains("+++ b/shop.py"), "{diff}");
        let left = fs::read_to_string(cases.path().join("a/shop.py")).unwrap();
        assert_eq!(left, SHOP);
    }

    #[test]
    fn the_share_counts_what_was_left_out_nowhere() {
        let outcome = |name: &str, nth: Option<usize>, left_out: bool| Outcome {
            name: name.to_owned(),
            left_out: left_out.then(|| "it cannot be built".to_owned()),
            kind: String::new(),
            n_candidates: 7,
            plausible: nth.map(|nth| (nth, "t".to_owned())),
            own: Duration::from_millis(10),
            tried: Vec::new(),
        };
        let report = summary(&[
            outcome("a", Some(1), false),
            outcome("b", Some(5), false),
            outcome("c", Some(6), false),
            outcome("d", None, false),
            outcome("e", None, true),
        ]);
        assert_eq!(report["cases"], 4);
        assert_eq!(report["plausible_at_1"], 0.25);
        assert_eq!(report["plausible_at_5"], 0.5);
        assert_eq!(report["median_seconds"], 0.01);
    }

    #[test]
    fn a_folder_without_cases_is_named() {
        let empty = tempfile::tempdir().unwrap();
        let error = run(&options(empty.path(), empty.path())).unwrap_err();
        assert!(error.to_string().contains("no case"), "{error}");
    }
}
