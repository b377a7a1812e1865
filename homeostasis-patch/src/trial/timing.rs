//! What a patch costs: a program timed on both copies, turn by turn.

use std::fmt;
use std::time::Duration;

use homeostasis_core::document::duration_text;
use homeostasis_core::{Context, Violation, Violations};
use serde::{Deserialize, Serialize};

use super::error::TrialError;
use super::plan::TrialTest;
use super::report::{Attempt, TestOutcome, TestResult};
use super::runner::tail;
use crate::sandbox::{Ending, ProjectCopy, Sandbox, SandboxReport};

/// What takes less is not judged to be within bounds: the sandbox's own start is part of what is measured,
/// and would hide a slower program.
const SHORTEST: Duration = Duration::from_millis(100);

/// Which time is compared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// CPU time of all processes, which other programs of the machine disturb less.
    #[default]
    CpuTime,
    /// From start to end: what waits counts, and so does a busy machine.
    WallTime,
}

impl Measure {
    fn of(self, report: &SandboxReport) -> Duration {
        match self {
            Self::CpuTime => report.cpu,
            Self::WallTime => report.took,
        }
    }
}

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CpuTime => "CPU time",
            Self::WallTime => "wall time",
        })
    }
}

/// How the timings of a program with a patch and without it are compared.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TimingConfig {
    /// By which share of its time the program may become slower; default 0.1 (10 %), 0 to 10.
    ///
    /// At 0 a patch that costs nothing is never shown to be within.
    pub max_impact: f64,
    /// Which time; default CPU time.
    pub measure: Measure,
    /// How many pairs of runs, one with and one without the patch, are made at most; fewer if the
    /// verdict is clear before. Default 40, 5 to 1000.
    pub max_pairs: u32,
    /// How many pairs before them are not counted; default 1, at most 100.
    pub warm_up: u32,
}

impl Default for TimingConfig {
    fn default() -> Self {
        Self {
            max_impact: 0.1,
            measure: Measure::default(),
            max_pairs: 40,
            warm_up: 1,
        }
    }
}

impl TimingConfig {
    pub(super) fn check(&self, place: &str, violations: &mut Violations) {
        let mut require = |holds: bool, name: &str, value: String, expected: &str| {
            if !holds {
                violations.push(Violation::new(format!("{place}.{name}"), value, expected));
            }
        };
        require(
            (0.0..=10.0).contains(&self.max_impact),
            "max_impact",
            self.max_impact.to_string(),
            "0 <= max_impact <= 10",
        );
        require(
            (5..=1000).contains(&self.max_pairs),
            "max_pairs",
            self.max_pairs.to_string(),
            "5 <= max_pairs <= 1000",
        );
        require(
            self.warm_up <= 100,
            "warm_up",
            self.warm_up.to_string(),
            "at most 100",
        );
    }
}

/// What two runs took, one right after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimingPair {
    /// Without the patch.
    pub before: Duration,
    /// With it.
    pub after: Duration,
}

/// Whether a program became slower than it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimingVerdict {
    /// It did not.
    Within,
    /// It did.
    Over,
    /// The timings do not tell.
    Unsure,
}

/// What timings say, as shares of the time without the patch: 0.1 is 10 % slower, -0.1 faster.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TimingJudgment {
    /// How much slower it became, the best guess; `None` without a pair.
    pub impact: Option<f64>,
    /// Not less than this, with the confidence of the judge; `None` if nothing can be said.
    pub at_least: Option<f64>,
    /// Not more than this, with the confidence of the judge; `None` if nothing can be said.
    pub at_most: Option<f64>,
    /// Which side of the bound it lies on.
    pub verdict: TimingVerdict,
}

/// Says what pairs of timings prove.
///
/// `homeostasis::PairedTimings` is one, by the statistics of the verification module.
///
/// # Assumptions
/// It may be asked after every pair with all pairs so far, and its errors stay bounded all the same.
pub trait TimingJudge: fmt::Debug + Send + Sync {
    /// Compares `pairs`, first to last, with the bound `max_impact`, a share of the time without the patch.
    fn judge(&self, pairs: &[TimingPair], max_impact: f64) -> TimingJudgment;
}

/// How the timings of a test compare.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TimingOutcome {
    /// What they say.
    #[serde(flatten)]
    pub judgment: TimingJudgment,
    /// Which share more the program may take.
    pub max_impact: f64,
    /// Which time was compared.
    pub measure: Measure,
    /// How many pairs were.
    pub pairs: u32,
    /// The median without the patch.
    #[serde(with = "duration_text")]
    pub before: Duration,
    /// The median with it.
    #[serde(with = "duration_text")]
    pub after: Duration,
}

impl fmt::Display for TimingOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |share: Option<f64>| match share {
            Some(share) => format!("{:+.1} %", share * 100.0),
            None => "unknown".to_owned(),
        };
        let Self { judgment, .. } = self;
        write!(
            f,
            "{} {} ({} to {}, at most {} allowed, {} pairs)",
            self.measure,
            percent(judgment.impact),
            percent(judgment.at_least),
            percent(judgment.at_most),
            percent(Some(self.max_impact)),
            self.pairs,
        )
    }
}

/// Times one test on both copies until its judge knows or its pairs are used up.
pub(super) struct Timing<'a> {
    pub cx: &'a Context,
    pub sandbox: &'a Sandbox,
    pub judge: &'a dyn TimingJudge,
    /// Without the patch.
    pub before: &'a ProjectCopy,
    /// With it.
    pub after: &'a ProjectCopy,
}

/// A run that did not succeed, and on which copy.
struct Failure {
    with_patch: bool,
    report: SandboxReport,
}

impl Timing<'_> {
    /// # Errors
    /// Nothing could be run, or the context was cancelled.
    pub(super) async fn outcome(&self, test: &TrialTest) -> Result<TestOutcome, TrialError> {
        let config = test.timing.clone().unwrap_or_default();
        let mut outcome = TestOutcome {
            name: test.name.clone(),
            level: test.level,
            required: test.is_required(),
            result: TestResult::Passed,
            attempts: Vec::new(),
            output: String::new(),
            layers: crate::sandbox::Layers::default(),
            timing: None,
            cached: false,
        };
        let mut pairs = Vec::new();
        for round in 0..config.warm_up + config.max_pairs {
            let (before, after) = match self.round(test, round % 2 == 1, &mut outcome).await? {
                Ok(pair) => pair,
                Err(failure) => {
                    outcome.output = tail(&failure.report.output);
                    let ending = failure.report.ending;
                    outcome.result = if failure.with_patch {
                        TestResult::Failed
                    } else {
                        let why = format!("it does not run without the patch: {ending}");
                        TestResult::Undecided(why)
                    };
                    return Ok(outcome);
                }
            };
            if round < config.warm_up {
                continue;
            }
            pairs.push(TimingPair {
                before: config.measure.of(&before),
                after: config.measure.of(&after),
            });
            outcome.output = tail(&after.output);
            outcome.layers = after.layers;
            let judgment = self.judge.judge(&pairs, config.max_impact);
            outcome.timing = Some(summary(&pairs, judgment, &config));
            if judgment.verdict != TimingVerdict::Unsure {
                break;
            }
        }
        outcome.result = result(outcome.timing.as_ref());
        Ok(outcome)
    }

    /// One run on each copy, whose order changes from round to round.
    async fn round(
        &self,
        test: &TrialTest,
        patched_first: bool,
        outcome: &mut TestOutcome,
    ) -> Result<Result<(SandboxReport, SandboxReport), Failure>, TrialError> {
        let mut reports = [None, None];
        for with_patch in [patched_first, !patched_first] {
            let copy = if with_patch { self.after } else { self.before };
            let ran = self.sandbox.run(self.cx, copy, &test.command).await;
            let report = ran.map_err(TrialError::sandbox(&test.name))?;
            if report.ending == Ending::Cancelled {
                return Err(TrialError::Cancelled);
            }
            if with_patch {
                outcome.attempts.push(Attempt {
                    ending: report.ending,
                    took: report.took,
                    shown: None,
                });
            }
            if !report.ending.success() {
                return Ok(Err(Failure { with_patch, report }));
            }
            reports[usize::from(with_patch)] = Some(report);
        }
        match reports {
            [Some(before), Some(after)] => Ok(Ok((before, after))),
            // Each copy had its turn.
            _ => Err(TrialError::Cancelled),
        }
    }
}

fn summary(pairs: &[TimingPair], judgment: TimingJudgment, config: &TimingConfig) -> TimingOutcome {
    TimingOutcome {
        judgment,
        max_impact: config.max_impact,
        measure: config.measure,
        pairs: u32::try_from(pairs.len()).unwrap_or(u32::MAX),
        before: middle(pairs.iter().map(|pair| pair.before)),
        after: middle(pairs.iter().map(|pair| pair.after)),
    }
}

/// The median, the upper one of two.
fn middle(times: impl Iterator<Item = Duration>) -> Duration {
    let mut times: Vec<_> = times.collect();
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

/// What the comparison means for the patch.
fn result(timing: Option<&TimingOutcome>) -> TestResult {
    let Some(timing) = timing else {
        return TestResult::Undecided("nothing was timed".to_owned());
    };
    match timing.judgment.verdict {
        TimingVerdict::Over => TestResult::Failed,
        TimingVerdict::Within if timing.before < SHORTEST => TestResult::Undecided(format!(
            "it takes {:?}, expected {SHORTEST:?} at least for a comparison: {timing}",
            timing.before
        )),
        TimingVerdict::Within => TestResult::Passed,
        TimingVerdict::Unsure => {
            TestResult::Undecided(format!("the timings do not tell: {timing}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timed(before: u64, verdict: TimingVerdict) -> TimingOutcome {
        let pair = TimingPair {
            before: Duration::from_millis(before),
            after: Duration::from_millis(before),
        };
        let judgment = TimingJudgment {
            impact: Some(0.031),
            at_least: Some(-0.01),
            at_most: None,
            verdict,
        };
        summary(&[pair], judgment, &TimingConfig::default())
    }

    #[test]
    fn only_what_is_slower_for_sure_fails_and_only_what_is_long_enough_passes() {
        use TimingVerdict::{Over, Unsure, Within};
        assert_eq!(result(Some(&timed(100, Within))), TestResult::Passed);
        assert_eq!(result(Some(&timed(1, Over))), TestResult::Failed);
        let TestResult::Undecided(why) = result(Some(&timed(99, Within))) else {
            panic!("too short to be judged");
        };
        assert!(why.contains("takes 99ms, expected 100ms"), "{why}");
        let TestResult::Undecided(why) = result(Some(&timed(100, Unsure))) else {
            panic!("the judge was unsure");
        };
        assert!(
            why.ends_with("CPU time +3.1 % (-1.0 % to unknown, at most +10.0 % allowed, 1 pairs)"),
            "{why}"
        );
        assert!(matches!(result(None), TestResult::Undecided(_)));
    }

    #[test]
    fn every_bad_value_of_a_comparison_is_named() {
        let config: TimingConfig =
            serde_json::from_str(r#"{"max_impact":-0.1,"max_pairs":4,"warm_up":101}"#).unwrap();
        let mut violations = Violations::new();
        config.check("t", &mut violations);
        let places: Vec<_> = violations.iter().map(|it| it.path.clone()).collect();
        assert_eq!(places, ["t.max_impact", "t.max_pairs", "t.warm_up"]);
        let nan = TimingConfig {
            max_impact: f64::NAN,
            ..TimingConfig::default()
        };
        let mut violations = Violations::new();
        nan.check("t", &mut violations);
        assert_eq!(violations.iter().count(), 1);
        assert!(serde_json::from_str::<TimingConfig>(r#"{"of":"cpu"}"#).is_err());
    }
}
