//! Runs a plan for a candidate.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::task::Poll;

use homeostasis_core::record::PatchCandidate;
use homeostasis_core::{Context, Digest, Violation, Violations};

use super::cache::Cache;
use super::coverage::{self, Coverage};
use super::error::TrialError;
use super::plan::{Level, TrialFile, TrialPlan, TrialTest};
use super::report::{Attempt, TestOutcome, TestResult, TrialReport, TrialVerdict};
use super::timing::{Timing, TimingJudge};
use super::trigger_source::TriggerSource;
use crate::apply_candidate;
use crate::sandbox::{CopyConfig, Ending, ProjectCopy, Sandbox, SandboxReport, on_thread, sweep};

/// How much of an output a report keeps, in bytes.
const OUTPUT: usize = 8 * 1024;

/// Tries patches of one project, and remembers what it tested already.
///
/// # Guarantees
/// - The project itself is only read; every test runs in the sandbox on a copy that is removed afterwards.
/// - A patch is accepted only if each trigger failed on the project as it is, in every attempt and with
///   what it must show, and passed with the patch in every attempt; and if each required test passed.
/// - An outcome is taken from an earlier trial only for the same content of the project (what its copy
///   leaves out does not count), the same test and the same sandbox.
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
        let (copy, tree) = self.prepare(project, None).await?;
        let triggers = of_level(plan, Level::Trigger);
        report.before = self.run_all(cx, &copy, tree, triggers).await?;
        drop(copy);
        let triggers = of_level(plan, Level::Trigger);
        let mut reasons: Vec<String> = triggers
            .zip(&report.before)
            .filter_map(|(test, outcome)| does_not_reproduce(test, outcome))
            .collect();
        if !reasons.is_empty() {
            report.verdict = TrialVerdict::Refused(reasons);
            return Ok(report);
        }

        let (copy, patched) = self.prepare(project, Some((candidate, tree))).await?;
        report.tree = Some(patched);
        let levels: BTreeSet<Level> = plan.tests.iter().map(|test| test.level).collect();
        for level in levels {
            if !reasons.is_empty() {
                let skipped = of_level(plan, level).map(|test| not_run(test, &reasons[0]));
                report.after.extend(skipped);
                continue;
            }
            let outcomes = if level == Level::Performance {
                self.performance(cx, project, candidate, tree, plan).await?
            } else {
                self.run_all(cx, &copy, patched, of_level(plan, level))
                    .await?
            };
            reasons.extend(outcomes.iter().filter_map(refuses));
            report.after.extend(outcomes);
        }
        if plan.coverage && reasons.is_empty() {
            report.coverage = coverage::measure(cx, &self.sandbox, plan, &copy, candidate).await;
        }
        if !reasons.is_empty() {
            report.verdict = TrialVerdict::Refused(reasons);
        }
        Ok(report)
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

    /// Times the programs of the level performance one after the other, on two copies nothing ran on
    /// before. Timings are never taken from an earlier trial: the machine was another one then.
    async fn performance(
        &self,
        cx: &Context,
        project: &Path,
        candidate: &PatchCandidate,
        tree: Digest,
        plan: &TrialPlan,
    ) -> Result<Vec<TestOutcome>, TrialError> {
        let Some(judge) = &self.judge else {
            return Ok(Vec::new());
        };
        let (before, now) = self.prepare(project, None).await?;
        if now != tree {
            return Err(TrialError::ProjectChanged);
        }
        let (after, _) = self.prepare(project, Some((candidate, tree))).await?;
        let timing = Timing {
            cx,
            sandbox: &self.sandbox,
            judge: &**judge,
            before: &before,
            after: &after,
        };
        let mut outcomes = Vec::new();
        for test in of_level(plan, Level::Performance) {
            outcomes.push(timing.outcome(test).await?);
        }
        Ok(outcomes)
    }

    /// A copy with the files of the plan, and with the patch if the copy before it had the given digest.
    async fn prepare(
        &self,
        project: &Path,
        patch: Option<(&PatchCandidate, Digest)>,
    ) -> Result<(ProjectCopy, Digest), TrialError> {
        let (project, place) = (project.to_owned(), self.place.clone());
        let (config, files) = (self.copy.clone(), self.plan.files.clone());
        let patch = patch.map(|(candidate, before)| (candidate.clone(), before));
        let prepared = on_thread(move || {
            let failed = || TrialError::sandbox("the copy");
            let copy = ProjectCopy::make(&project, &place, &config).map_err(failed())?;
            for file in &files {
                write_new(&copy.path(), file).map_err(|source| TrialError::File {
                    path: file.path.clone(),
                    source,
                })?;
            }
            let mut digest = copy.digest().map_err(failed())?;
            if let Some((candidate, before)) = patch {
                if digest != before {
                    return Err(TrialError::ProjectChanged);
                }
                apply_candidate(&candidate, &copy.path(), None).map_err(TrialError::Patch)?;
                digest = copy.digest().map_err(failed())?;
            }
            Ok((copy, digest))
        });
        prepared.await.map_err(TrialError::sandbox("the copy"))?
    }

    /// Tests of a level, side by side as far as the sandbox lets them.
    async fn run_all<'a>(
        &self,
        cx: &Context,
        copy: &ProjectCopy,
        tree: Digest,
        tests: impl Iterator<Item = &'a TrialTest>,
    ) -> Result<Vec<TestOutcome>, TrialError> {
        let outcomes = tests.map(|test| self.outcome(cx, copy, tree, test));
        all(outcomes).await.into_iter().collect()
    }

    async fn outcome(
        &self,
        cx: &Context,
        copy: &ProjectCopy,
        tree: Digest,
        test: &TrialTest,
    ) -> Result<TestOutcome, TrialError> {
        let key = Digest::of(&(
            tree,
            test,
            self.sandbox.config(),
            self.sandbox.has_namespaces(),
        ));
        if let Some(outcome) = self.cache.get(&key) {
            return Ok(outcome);
        }
        let mut attempts = Vec::new();
        let mut telling: Option<SandboxReport> = None;
        for _ in 0..test.attempts {
            let report = self.sandbox.run(cx, copy, &test.command).await;
            let report = report.map_err(TrialError::sandbox(&test.name))?;
            if report.ending == Ending::Cancelled {
                return Err(TrialError::Cancelled);
            }
            let passed = report.ending.success();
            attempts.push(Attempt {
                ending: report.ending,
                took: report.took,
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
        let outcome = TestOutcome {
            name: test.name.clone(),
            level: test.level,
            required: test.is_required(),
            result,
            attempts,
            output,
            layers,
            timing: None,
            cached: false,
        };
        // A bound may be that of the context or of a busy machine, and a flaky test says nothing twice.
        let by_itself = |attempt: &Attempt| matches!(attempt.ending, Ending::Exited(_));
        if outcome.result != TestResult::Flaky && outcome.attempts.iter().all(by_itself) {
            self.cache.put(key, outcome.clone());
        }
        Ok(outcome)
    }
}

fn of_level(plan: &TrialPlan, level: Level) -> impl Iterator<Item = &TrialTest> {
    plan.tests.iter().filter(move |test| test.level == level)
}

/// Why this trigger, on the project as it is, shows no fault.
fn does_not_reproduce(test: &TrialTest, outcome: &TestOutcome) -> Option<String> {
    let name = &outcome.name;
    let failures = outcome
        .attempts
        .iter()
        .filter(|attempt| !attempt.ending.success())
        .count();
    match &outcome.result {
        TestResult::Failed => {}
        TestResult::Flaky => {
            return Some(format!(
                "the trigger {name} is flaky: without the patch it failed {failures} of {} times",
                outcome.attempts.len()
            ));
        }
        _ => {
            return Some(format!(
                "the trigger does not reproduce: {name} passes without the patch"
            ));
        }
    }
    if let Some(Ending::Exited(status @ (126 | 127))) = outcome.attempts.first().map(|a| a.ending) {
        return Some(format!(
            "the trigger {name} cannot be run: status {status}: {}",
            outcome.output.trim()
        ));
    }
    let expected = test
        .shows
        .as_deref()
        .filter(|text| !outcome.output.contains(text))?;
    Some(format!(
        "the trigger does not reproduce: {name} fails without the patch, but does not show {expected:?}"
    ))
}

/// Why this outcome, with the patch, refuses it.
fn refuses(outcome: &TestOutcome) -> Option<String> {
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

fn not_run(test: &TrialTest, why: &str) -> TestOutcome {
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

/// The last bytes of `text`, whole characters.
pub(super) fn tail(text: &str) -> String {
    let mut from = text.len().saturating_sub(OUTPUT);
    while !text.is_char_boundary(from) {
        from += 1;
    }
    text[from..].to_owned()
}

/// Writes a file that is not there yet, below `root` and through no link; the copy is ours, and nothing ran
/// on it yet.
fn write_new(root: &Path, file: &TrialFile) -> std::io::Result<()> {
    use std::io::{Error, ErrorKind};
    let plain = |part| matches!(part, std::path::Component::Normal(_));
    if file.path.is_empty() || !Path::new(&file.path).components().all(plain) {
        return Err(Error::new(
            ErrorKind::InvalidInput,
            "expected a path below the project",
        ));
    }
    let path = root.join(&file.path);
    let folder = path.parent().unwrap_or(root);
    fs::create_dir_all(folder)?;
    if !fs::canonicalize(folder)?.starts_with(fs::canonicalize(root)?) {
        return Err(Error::new(
            ErrorKind::InvalidInput,
            "a link leads out of the project",
        ));
    }
    fs::File::create_new(path)?.write_all(file.text.as_bytes())
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
