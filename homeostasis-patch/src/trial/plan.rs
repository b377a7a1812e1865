//! Which tests a patch must pass.

use std::collections::BTreeSet;
use std::fmt;

use homeostasis_core::{ConfigError, Violation, Violations};
use serde::{Deserialize, Serialize};

use super::timing::TimingConfig;
use crate::sandbox::SandboxCommand;

/// How far a test reaches; cheaper ones come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Shows the fault itself: it fails on the project as it is and passes once it is mended.
    Trigger,
    /// Tests of the changed file.
    Related,
    /// All tests of single parts.
    Unit,
    /// Tests of parts together.
    Integration,
    /// Tests of the whole service.
    System,
    /// A program that is timed with the patch and without it, turn by turn.
    Performance,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Trigger => "trigger",
            Self::Related => "related",
            Self::Unit => "unit",
            Self::Integration => "integration",
            Self::System => "system",
            Self::Performance => "performance",
        })
    }
}

/// One test: a program that passes if it ends with status 0.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrialTest {
    /// What it is called; unique in its plan.
    pub name: String,
    /// How far it reaches.
    pub level: Level,
    /// What is run, where, and with how much.
    pub command: SandboxCommand,
    /// Whether a patch that fails it is refused; default yes. A trigger is always required.
    #[serde(default = "yes")]
    pub required: bool,
    /// How often it is run to tell a failure from a flaky test; default 3, 1 to 10.
    ///
    /// A trigger is always run so often, the others until they pass. The runs share the copy with those of
    /// the other tests of the level: a test that leaves behind what makes its next run fail is flaky too.
    #[serde(default = "three")]
    pub attempts: u8,
    /// For a trigger, what the last 64 KiB of its output must contain on the project as it is, in every
    /// attempt, such as `KeyError: 'price'`; default nothing. Without, any failure counts as the fault, but
    /// for an end at a bound (time, memory, output): a busy machine may be why.
    #[serde(default)]
    pub shows: Option<String>,
    /// For the level performance, how its timings are compared; default [`TimingConfig::default`].
    /// Others have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timing: Option<TimingConfig>,
}

impl TrialTest {
    /// A required test of three attempts.
    pub fn new(name: impl Into<String>, level: Level, command: SandboxCommand) -> Self {
        Self {
            name: name.into(),
            level,
            command,
            required: true,
            attempts: three(),
            shows: None,
            timing: None,
        }
    }

    /// A required comparison of what `command` takes with the patch and without it.
    pub fn performance(name: impl Into<String>, command: SandboxCommand) -> Self {
        Self::new(name, Level::Performance, command)
    }

    /// The same compared as `timing` says.
    #[must_use]
    pub fn timed(mut self, timing: TimingConfig) -> Self {
        self.timing = Some(timing);
        self
    }

    /// The same trigger, whose output must contain `text` on the project as it is.
    #[must_use]
    pub fn showing(mut self, text: impl Into<String>) -> Self {
        self.shows = Some(text.into());
        self
    }

    /// The same test, whose failure is told and does not refuse the patch.
    #[must_use]
    pub fn optional(mut self) -> Self {
        self.required = false;
        self
    }

    pub(super) fn is_required(&self) -> bool {
        self.required || self.level == Level::Trigger
    }
}

/// A file the tests need that the project does not have, such as a generated regression test.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrialFile {
    /// Where, below the top of the project; no such file may exist.
    pub path: String,
    /// What it holds.
    pub text: String,
}

/// Which tests a patch must pass.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrialPlan {
    /// The tests, in any order; one trigger at least.
    pub tests: Vec<TrialTest>,
    /// Files written into both copies before anything runs; default none.
    pub files: Vec<TrialFile>,
    /// Whether the lines a patch changes are traced through the triggers and related tests, in one more
    /// run of them, where the language has a tool for it; default no.
    pub coverage: bool,
}

impl TrialPlan {
    /// # Errors
    /// Everything that is out of range, at once; no trigger is an error only where they are not
    /// `given_later`.
    pub(super) fn validate(&self, given_later: bool) -> Result<(), ConfigError> {
        let mut violations = Violations::new();
        if !given_later && !self.tests.iter().any(|test| test.level == Level::Trigger) {
            violations.push(Violation::new(
                "trial.tests",
                format!("{} tests", self.tests.len()),
                "at least one of level trigger",
            ));
        }
        let mut names = BTreeSet::new();
        for (index, test) in self.tests.iter().enumerate() {
            let place = format!("trial.tests[{index}]");
            if test.name.is_empty() || !names.insert(&test.name) {
                violations.push(Violation::new(
                    format!("{place}.name"),
                    format!("{:?}", test.name),
                    "a name of its own",
                ));
            }
            if !(1..=10).contains(&test.attempts) {
                violations.push(Violation::new(
                    format!("{place}.attempts"),
                    test.attempts,
                    "1 <= attempts <= 10",
                ));
            }
            if test.command.argv.first().is_none_or(String::is_empty) {
                violations.push(Violation::new(
                    format!("{place}.command.argv"),
                    "",
                    "a program and its arguments",
                ));
            }
            match &test.timing {
                Some(_) if test.level != Level::Performance => violations.push(Violation::new(
                    format!("{place}.timing"),
                    format!("one of level {}", test.level),
                    "none, or the level performance",
                )),
                Some(timing) => timing.check(&format!("{place}.timing"), &mut violations),
                None => {}
            }
            let limits = test.command.limits.violations();
            let limits = limits.iter().cloned();
            violations.merge(limits.map(|found| found.under(&format!("{place}.command"))));
        }
        violations.into_result(())
    }
}

fn yes() -> bool {
    true
}

fn three() -> u8 {
    3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bad_value_of_a_plan_is_named_at_once() {
        let plan: TrialPlan = serde_json::from_str(
            r#"{"tests":[{"name":"a","level":"unit","command":{"argv":[]},"attempts":0},
                         {"name":"a","level":"unit","command":{"argv":["x"],"limits":{"tasks":1}}}]}"#,
        )
        .unwrap();
        let error = plan.validate(false).unwrap_err();
        let places: Vec<&str> = error.violations().iter().map(|v| v.path.as_str()).collect();
        assert_eq!(
            places,
            [
                "trial.tests",
                "trial.tests[0].attempts",
                "trial.tests[0].command.argv",
                "trial.tests[1].name",
                "trial.tests[1].command.limits.tasks",
            ]
        );
    }
}
