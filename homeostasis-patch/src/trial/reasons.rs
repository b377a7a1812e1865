//! Why a patch is refused.

use super::plan::TrialTest;
use super::report::{Attempt, TestOutcome, TestResult};
use crate::sandbox::Ending;

/// Statuses of a shell for a program that is not there or cannot be executed.
const NOT_RUN: [i32; 2] = [126, 127];

/// Signals with which the kernel ends what goes beyond a bound: memory (`SIGKILL`), CPU time (`SIGXCPU`),
/// the size of a file (`SIGXFSZ`).
const OF_BOUNDS: [i32; 3] = [9, 24, 25];

/// Why this trigger, on the project as it is, shows no fault.
pub(super) fn does_not_reproduce(test: &TrialTest, outcome: &TestOutcome) -> Option<String> {
    let name = &outcome.name;
    let n_attempts = outcome.attempts.len();
    let failures = outcome
        .attempts
        .iter()
        .filter(|attempt| !attempt.ending.success())
        .count();
    match &outcome.result {
        TestResult::Failed => {}
        TestResult::Flaky => {
            return Some(format!(
                "the trigger {name} is flaky: without the patch it failed {failures} of {n_attempts} times"
            ));
        }
        _ => {
            return Some(format!(
                "the trigger does not reproduce: {name} passes without the patch"
            ));
        }
    }
    let mut attempts = outcome.attempts.iter().enumerate();
    attempts.find_map(|(idx, attempt)| {
        let why = shows_nothing(test, attempt)?;
        let which = format!("attempt {} of {n_attempts} of {name}", idx + 1);
        Some(match why {
            Nothing::NotRun(status) => format!(
                "the trigger {name} cannot be run: status {status}: {}",
                outcome.output.trim()
            ),
            Nothing::NotShown(text) => format!(
                "the trigger does not reproduce: {which} fails without the patch, but does not show {text:?}"
            ),
            Nothing::AtBound(ending) => format!(
                "the trigger does not reproduce: {which} ends at a bound without the patch ({ending}), \
                 and nothing says what it must show"
            ),
        })
    })
}

/// Why a failure is not the fault.
enum Nothing<'a> {
    NotRun(i32),
    NotShown(&'a str),
    AtBound(Ending),
}

fn shows_nothing<'a>(test: &'a TrialTest, attempt: &Attempt) -> Option<Nothing<'a>> {
    match (attempt.ending, &test.shows) {
        (Ending::Exited(status), _) if NOT_RUN.contains(&status) => Some(Nothing::NotRun(status)),
        (_, Some(text)) => (attempt.shown != Some(true)).then_some(Nothing::NotShown(text)),
        // A busy machine, or the bound itself, may be why.
        (ending, None) => is_at_bound(ending).then_some(Nothing::AtBound(ending)),
    }
}

/// Whether a bound ended it, ours or one of the kernel; in namespaces a death by signal is a status.
pub(super) fn is_at_bound(ending: Ending) -> bool {
    match ending {
        Ending::Stopped(_) | Ending::Cancelled => true,
        Ending::Signaled(signal) => OF_BOUNDS.contains(&signal),
        Ending::Exited(status) => OF_BOUNDS.contains(&(status - 128)),
    }
}

/// Why this outcome, with the patch, refuses it.
pub(super) fn refuses(outcome: &TestOutcome) -> Option<String> {
    let TestOutcome { name, level, .. } = outcome;
    match outcome.result {
        _ if !outcome.required => None,
        TestResult::Passed | TestResult::NotRun(_) | TestResult::Undecided(_) => None,
        TestResult::Flaky => Some(format!("{level} test {name} is flaky and proves nothing")),
        TestResult::Failed => {
            let ending = outcome.attempts.last()?.ending;
            if let Some(timing) = outcome.timing.as_ref().filter(|_| ending.success()) {
                return Some(format!("{level} test {name} is too slow: {timing}"));
            }
            Some(format!("{level} test {name} fails: {ending}"))
        }
    }
}

/// What is said of a test that was not run.
pub(super) fn not_run(test: &TrialTest, why: &str) -> TestOutcome {
    TestOutcome {
        name: test.name.clone(),
        level: test.level,
        required: test.is_required(),
        result: TestResult::NotRun(why.to_owned()),
        attempts: Vec::new(),
        output: String::new(),
        layers: crate::sandbox::Layers::default(),
        timing: None,
        cached: false,
    }
}
