//! Runs a plan for a candidate.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::task::Poll;

use homeostasis_core::record::PatchCandidate;
use homeostasis_core::{Context, Digest, Violation, Violations};

use super::cache::Cache;
use super::coverage::{self, Coverage};
use super::error::TrialError;
use super::plan::{Level, TrialPlan, TrialTest};
use super::reasons::{does_not_reproduce, is_at_bound, not_run, refuses};
use super::report::{Attempt, TestOutcome, TestResult, TrialReport, TrialVerdict};
use super::timing::{Timing, TimingJudge};
use super::tree::{Tree, TreeMaker};
use super::trigger_source::TriggerSource;
use crate::sandbox::{CopyConfig, Ending, Sandbox, SandboxReport, on_thread, sweep};

/// How much of an output a report keeps, in bytes.
const OUTPUT: usize = 8 * 1024;

/// Tries patches of one project, and remembers what it tested already.
///
/// # Guarantees
/// - The project itself is only read; every test runs in the sandbox on a copy that is removed afterwards.
/// - A patch is accepted only if each trigger failed on the project as it is, in every attempt by itself or
///   with what it must show, and passed with the patch in every attempt; and if each required test passed.
/// - What tests of one level change in their copy, later levels do not see: they get another one. What the
///   copy leaves out of the project, such as the folder of builds, stays.
/// - An outcome is taken from an earlier trial only for the same content of the project (what its copy
///   leaves out does not count), the same test and the same sandbox, and if no test changed that content.
#[derive(Debug)]
pub struct Trial {
    sandbox: Sandbox,
    plan: TrialPlan,
    place: PathBuf,
    copy: CopyConfig,
    cache: Cache,
    judge: Option<Arc<dyn TimingJudge>>,
    source: Option<Arc<dyn TriggerSource>>,
}

impl Trial {
    /// Tries patches by `plan` in `sandbox`, on copies below the folder `place`.
    ///
    /// # Errors
    /// [`TrialError::Config`]: everything in the plan that is out of range.
    pub fn new(
        sandbox: Sandbox,
        plan: TrialPlan,
        place: impl Into<PathBuf>,
        copy: CopyConfig,
    ) -> Result<Self, TrialError> {
        Self::made(sandbox, plan, place.into(), copy, None)
    }

    /// The same, whose triggers are those of `plan`, if it has any, and those that `source` gives when a
    /// patch is tested.
    ///
    /// # Errors
    /// [`TrialError::Config`]: everything in the plan that is out of range.
    pub fn triggered_by(
        source: impl TriggerSource + 'static,
        sandbox: Sandbox,
        plan: TrialPlan,
        place: impl Into<PathBuf>,
        copy: CopyConfig,
    ) -> Result<Self, TrialError> {
        Self::made(sandbox, plan, place.into(), copy, Some(Arc::new(source)))
    }

    fn made(
        sandbox: Sandbox,
        plan: TrialPlan,
        place: PathBuf,
        copy: CopyConfig,
        source: Option<Arc<dyn TriggerSource>>,
    ) -> Result<Self, TrialError> {
        plan.validate(source.is_some())
            .map_err(TrialError::Config)?;
        Ok(Self {
            sandbox,
            plan,
            place,
            copy,
            cache: Cache::default(),
            judge: None,
            source,
        })
    }

    /// Removes the copies that processes which were killed left in the folder of this trial; gives how many.
    ///
    /// Those of living processes are locked and stay. The engine calls it when it starts.
    ///
    /// # Errors
    /// [`TrialError::Sandbox`]: the folder cannot be read. One that does not exist holds nothing.
    pub async fn sweep(&self) -> Result<usize, TrialError> {
        let place = self.place.clone();
        let swept = on_thread(move || match place.try_exists() {
            Ok(false) => Ok(0),
            _ => sweep(&place).map(|removed| removed.len()),
        });
        let swept = swept.await.and_then(|swept| swept);
        swept.map_err(TrialError::sandbox("the sweep"))
    }

    /// The same with who compares timings; tests of the level performance need one.
    #[must_use]
    pub fn with_timing_judge(mut self, judge: impl TimingJudge + 'static) -> Self {
        self.judge = Some(Arc::new(judge));
        self
    }

    /// The tests, without those of a source.
    pub fn plan(&self) -> &TrialPlan {
        &self.plan
    }

    /// Tries `candidate` on the project at `project`.
    ///
    /// # Errors
    /// - [`TrialError::Config`]: a test is of the level performance, and there is no judge of timings.
    /// - [`TrialError::Trigger`]: the source of triggers gave no answer.
    /// - [`TrialError::Patch`]: the candidate was made for another text.
    /// - [`TrialError::Sandbox`], [`TrialError::File`]: nothing could be tested.
    /// - [`TrialError::ProjectChanged`], [`TrialError::Cancelled`].
    ///
    /// # Cancel safety
    /// Dropping the future kills what runs; the copies are removed.
    pub async fn test(
        &self,
        cx: &Context,
        project: &Path,
        candidate: &PatchCandidate,
    ) -> Result<TrialReport, TrialError> {
        let plan = &self.plan_of(cx, project).await?;
        self.require_judge(plan)?;
        let mut report = TrialReport {
            candidate: candidate.hash(),
            tree: None,
            verdict: TrialVerdict::Accepted,
            before: Vec::new(),
            after: Vec::new(),
            coverage: Coverage::NotMeasured("not asked for".to_owned()),
        };
        if of_level(plan, Level::Trigger).next().is_none() {
            let unknown = "no trigger is known, so nothing shows the fault".to_owned();
            report.verdict = TrialVerdict::Refused(vec![unknown]);
            return Ok(report);
        }
        let maker = self.maker(project);
        let mut tree = maker.make(None).await?;
        let before = tree.content;
        let triggers = of_level(plan, Level::Trigger);
        report.before = self.run_all(cx, &mut tree, triggers).await?;
        drop(tree);
        let triggers = of_level(plan, Level::Trigger);
        let mut reasons: Vec<String> = triggers
            .zip(&report.before)
            .filter_map(|(test, outcome)| does_not_reproduce(test, outcome))
            .collect();
        if !reasons.is_empty() {
            report.verdict = TrialVerdict::Refused(reasons);
            return Ok(report);
        }

        let patch = Some((candidate, before));
        let mut tree = maker.make(patch).await?;
        report.tree = Some(tree.content);
        let levels: BTreeSet<Level> = plan.tests.iter().map(|test| test.level).collect();
        for level in levels {
            if !reasons.is_empty() {
                let skipped = of_level(plan, level).map(|test| not_run(test, &reasons[0]));
                report.after.extend(skipped);
                continue;
            }
            let outcomes = if level == Level::Performance {
                self.performance(cx, maker, candidate, before, plan).await?
            } else {
                tree = maker.renew(tree, patch).await?;
                self.run_all(cx, &mut tree, of_level(plan, level)).await?
            };
            reasons.extend(outcomes.iter().filter_map(refuses));
            report.after.extend(outcomes);
        }
        if plan.coverage && reasons.is_empty() {
            tree = maker.renew(tree, patch).await?;
            report.coverage =
                coverage::measure(cx, &self.sandbox, plan, &tree.copy, candidate).await;
        }
        if !reasons.is_empty() {
            report.verdict = TrialVerdict::Refused(reasons);
        }
        Ok(report)
    }

    fn maker<'a>(&'a self, project: &'a Path) -> TreeMaker<'a> {
        TreeMaker {
            project,
            place: &self.place,
            config: &self.copy,
            files: &self.plan.files,
        }
    }

    /// The plan with the triggers that are known now.
    async fn plan_of(&self, cx: &Context, project: &Path) -> Result<TrialPlan, TrialError> {
        let mut plan = self.plan.clone();
        if let Some(source) = &self.source {
            let triggers = source.triggers(cx, project).await;
            for mut trigger in triggers.map_err(TrialError::Trigger)? {
                trigger.level = Level::Trigger;
                plan.tests.push(trigger);
            }
            plan.validate(true).map_err(TrialError::Config)?;
        }
        Ok(plan)
    }

    fn require_judge(&self, plan: &TrialPlan) -> Result<(), TrialError> {
        let timed = |test: &TrialTest| test.level == Level::Performance;
        let Some(index) = plan.tests.iter().position(timed) else {
            return Ok(());
        };
        if self.judge.is_some() {
            return Ok(());
        }
        let violation = Violation::new(
            format!("trial.tests[{index}].level"),
            Level::Performance,
            "another level, or a trial with a judge of timings",
        );
        let mut violations = Violations::new();
        violations.push(violation);
        violations.into_result(()).map_err(TrialError::Config)
    }

    /// Times the programs of the level performance one after the other, on two copies nothing else ran
    /// on. Timings are never taken from an earlier trial: the machine was another one then.
    async fn performance(
        &self,
        cx: &Context,
        maker: TreeMaker<'_>,
        candidate: &PatchCandidate,
        content: Digest,
        plan: &TrialPlan,
    ) -> Result<Vec<TestOutcome>, TrialError> {
        let Some(judge) = &self.judge else {
            return Ok(Vec::new());
        };
        let patch = Some((candidate, content));
        let mut before = maker.make(None).await?;
        if before.content != content {
            return Err(TrialError::ProjectChanged);
        }
        let mut after = maker.make(patch).await?;
        let mut outcomes = Vec::new();
        for test in of_level(plan, Level::Performance) {
            before = maker.renew(before, None).await?;
            after = maker.renew(after, patch).await?;
            let timing = Timing {
                cx,
                sandbox: &self.sandbox,
                judge: &**judge,
                before: &before.copy,
                after: &after.copy,
            };
            outcomes.push(timing.outcome(test).await?);
        }
        Ok(outcomes)
    }

    /// Tests of a level, side by side as far as the sandbox lets them.
    ///
    /// They share the copy: what one of them changes, the others may see, so that then nobody's outcome
    /// is kept.
    async fn run_all<'a>(
        &self,
        cx: &Context,
        tree: &mut Tree,
        tests: impl Iterator<Item = &'a TrialTest>,
    ) -> Result<Vec<TestOutcome>, TrialError> {
        let keyed = tests.map(|test| (self.key(tree.content, test), test));
        let keyed: Vec<_> = keyed.collect();
        let shared = &*tree;
        let outcomes = keyed.iter().map(|(key, test)| async move {
            match self.cache.get(key) {
                Some(outcome) => Ok(outcome),
                None => self.outcome(cx, shared, test).await,
            }
        });
        let outcomes: Result<Vec<_>, _> = all(outcomes).await.into_iter().collect();
        let outcomes = outcomes?;
        let new = keyed.iter().zip(&outcomes);
        let new: Vec<_> = new
            .filter(|(_, outcome)| speaks_for_itself(outcome))
            .collect();
        if !new.is_empty() && tree.is_as_made().await {
            for ((key, _), outcome) in new {
                self.cache.put(*key, outcome.clone());
            }
        }
        Ok(outcomes)
    }

    /// What an outcome is kept under.
    fn key(&self, content: Digest, test: &TrialTest) -> Digest {
        let sandbox = (self.sandbox.config(), self.sandbox.has_namespaces());
        Digest::of(&(content, test, sandbox.0, sandbox.1))
    }

    async fn outcome(
        &self,
        cx: &Context,
        tree: &Tree,
        test: &TrialTest,
    ) -> Result<TestOutcome, TrialError> {
        let mut attempts = Vec::new();
        let mut telling: Option<SandboxReport> = None;
        for _ in 0..test.attempts {
            let report = self.sandbox.run(cx, &tree.copy, &test.command).await;
            let report = report.map_err(TrialError::sandbox(&test.name))?;
            if report.ending == Ending::Cancelled {
                return Err(TrialError::Cancelled);
            }
            let passed = report.ending.success();
            let shows = test.shows.as_deref();
            attempts.push(Attempt {
                ending: report.ending,
                took: report.took,
                shown: shows.map(|text| report.output.contains(text)),
            });
            if !passed || telling.as_ref().is_none_or(|last| last.ending.success()) {
                telling = Some(report);
            }
            if passed && test.level != Level::Trigger {
                break;
            }
        }
        let passes = attempts
            .iter()
            .filter(|attempt| attempt.ending.success())
            .count();
        let result = match passes {
            0 => TestResult::Failed,
            all if all == attempts.len() => TestResult::Passed,
            _ => TestResult::Flaky,
        };
        let (output, layers) = telling
            .map(|report| (tail(&report.output), report.layers))
            .unwrap_or_default();
        Ok(TestOutcome {
            name: test.name.clone(),
            level: test.level,
            required: test.is_required(),
            result,
            attempts,
            output,
            layers,
            timing: None,
            cached: false,
        })
    }
}

/// Whether the outcome is new and one of the content alone: a bound may be that of the context or of a busy
/// machine, and a flaky test says nothing twice.
fn speaks_for_itself(outcome: &TestOutcome) -> bool {
    let by_itself = |attempt: &Attempt| {
        matches!(attempt.ending, Ending::Exited(_)) && !is_at_bound(attempt.ending)
    };
    let is_flaky = outcome.result == TestResult::Flaky;
    !outcome.cached && !is_flaky && outcome.attempts.iter().all(by_itself)
}

fn of_level(plan: &TrialPlan, level: Level) -> impl Iterator<Item = &TrialTest> {
    plan.tests.iter().filter(move |test| test.level == level)
}

/// The last bytes of `text`, whole characters.
pub(super) fn tail(text: &str) -> String {
    let mut from = text.len().saturating_sub(OUTPUT);
    while !text.is_char_boundary(from) {
        from += 1;
    }
    text[from..].to_owned()
}

/// Drives all futures together and gives their values in order.
async fn all<T>(futures: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut running: Vec<_> = futures.map(|future| (Box::pin(future), None)).collect();
    std::future::poll_fn(move |cx| {
        let mut pending = false;
        for (future, value) in &mut running {
            if value.is_none() {
                match future.as_mut().poll(cx) {
                    Poll::Ready(ready) => *value = Some(ready),
                    Poll::Pending => pending = true,
                }
            }
        }
        if pending {
            return Poll::Pending;
        }
        Poll::Ready(running.drain(..).filter_map(|(_, value)| value).collect())
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_may_have_ended_at_a_bound_is_not_kept() {
        for (ending, expected) in [
            (Ending::Exited(0), true),
            (Ending::Exited(1), true),
            (Ending::Exited(134), true),
            (Ending::Exited(137), false),
            (Ending::Exited(152), false),
            (Ending::Exited(153), false),
            (Ending::Signaled(9), false),
        ] {
            let attempt = |ending| Attempt {
                ending,
                took: Duration::from_millis(1),
                shown: None,
            };
            let outcome = TestOutcome {
                name: "unit".to_owned(),
                level: Level::Unit,
                required: true,
                result: TestResult::Failed,
                attempts: vec![attempt(Ending::Exited(1)), attempt(ending)],
                output: String::new(),
                layers: crate::sandbox::Layers::default(),
                timing: None,
                cached: false,
            };
            assert_eq!(speaks_for_itself(&outcome), expected, "{ending}");
        }
    }
}
