//! What came of a trial.

use std::time::Duration;

use homeostasis_core::Digest;
use homeostasis_core::document::duration_text;
use homeostasis_core::port::Redactor;
use serde::{Deserialize, Serialize};

use super::coverage::Coverage;
use super::plan::Level;
use super::timing::TimingOutcome;
use crate::sandbox::{Ending, Layers};

/// What came of one test.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TestResult {
    /// It passed whenever it ran.
    Passed,
    /// It failed whenever it ran.
    Failed,
    /// It failed and passed on the same content: it proves nothing.
    Flaky,
    /// Its timings came to no verdict, and why; it refuses nothing.
    Undecided(String),
    /// It was not run, and why.
    NotRun(String),
}

/// One run of a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// How it ended.
    pub ending: Ending,
    /// How long it took.
    #[serde(with = "duration_text")]
    pub took: Duration,
    /// Whether it showed what its test [must show](super::TrialTest::shows); `None` if that is nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shown: Option<bool>,
}

/// What came of one test, run by run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TestOutcome {
    /// The test.
    pub name: String,
    /// How far it reaches.
    pub level: Level,
    /// Whether the patch stands or falls with it.
    pub required: bool,
    /// What came of it.
    pub result: TestResult,
    /// Its runs, first to last.
    pub attempts: Vec<Attempt>,
    /// The end of what its last failing run wrote, else its last; at most 8 KiB.
    pub output: String,
    /// What held it, in its last run.
    pub layers: Layers,
    /// How its timings compare, if it is of the level performance and was timed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timing: Option<TimingOutcome>,
    /// Whether this is the outcome of an earlier trial of the same content.
    pub cached: bool,
}

/// Whether a patch may be handed over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrialVerdict {
    /// The fault shows without the patch and not with it, and every required test passes.
    Accepted,
    /// Why not, each reason in words.
    Refused(Vec<String>),
}

/// What came of a trial.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrialReport {
    /// The hash of the candidate, to which the verdict is bound.
    pub candidate: Digest,
    /// The content of the project that was tested, with the patch; `None` if it did not come to that.
    pub tree: Option<Digest>,
    /// Whether the patch may be handed over.
    pub verdict: TrialVerdict,
    /// The triggers on the project as it is.
    pub before: Vec<TestOutcome>,
    /// Every test of the plan with the patch, by level.
    pub after: Vec<TestOutcome>,
    /// Which of the changed lines ran.
    pub coverage: Coverage,
}

impl TrialReport {
    /// Takes secrets out of the outputs.
    pub fn redact(&mut self, redactor: &dyn Redactor) {
        for outcome in self.before.iter_mut().chain(&mut self.after) {
            outcome.output = redactor.text(&outcome.output).into_owned();
        }
    }

    /// Whether the patch may be handed over.
    pub fn is_accepted(&self) -> bool {
        self.verdict == TrialVerdict::Accepted
    }
}
