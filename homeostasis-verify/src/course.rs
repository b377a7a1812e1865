//! The course of one verification: its phases, one after another.

use std::time::Duration;

use homeostasis_core::record::{
    CheckOutcome, CheckResult, Criterion, Recommendation, Scenario, Verdict, VerdictKind,
    VerificationSpec,
};
use homeostasis_core::stage::{VerifyError, VerifyRequest};
use homeostasis_core::{Context, Target, Timestamp, timeout};

use crate::check::Check;
use crate::config::WatchConfig;
use crate::criterion::{Look, Reading};
use crate::harm::{HarmReading, HarmWatch};
use crate::judgment::{Judgment, judge};
use crate::placebo::Past;
use crate::scenario::Scenarios;

/// Silent at more than this share of its looks, what is to hold for long was not watched for long.
const MAX_SILENT: f64 = 0.2;

/// Readings with their criteria in words.
type Readings = Vec<(String, Reading)>;

/// One verification under way.
#[derive(Debug)]
pub(crate) struct Course<'a> {
    config: &'a WatchConfig,
    scenarios: &'a Scenarios,
    cx: &'a Context,
    request: &'a VerifyRequest<'a>,
    spec: &'a VerificationSpec,
    /// Everyone this or an earlier plan of the incident acted on.
    treated: Vec<Target>,
    /// What the phases that are over found.
    found: Readings,
}

impl<'a> Course<'a> {
    pub(crate) fn new(
        config: &'a WatchConfig,
        scenarios: &'a Scenarios,
        cx: &'a Context,
        request: &'a VerifyRequest<'a>,
    ) -> Self {
        // Whom an earlier plan of this incident treated is no untreated peer either.
        let incident = request.incident;
        let earlier = incident
            .runs
            .iter()
            .filter_map(|run| incident.plan(run.plan));
        let targets = earlier.chain([request.plan]).flat_map(|plan| {
            let steps = plan.steps.iter().map(|step| step.target.clone());
            steps.chain([plan.target.clone()])
        });
        let mut treated: Vec<_> = targets.collect();
        treated.sort();
        treated.dedup();
        Self {
            config,
            scenarios,
            cx,
            request,
            spec: &request.plan.verification,
            treated,
            found: Vec::new(),
        }
    }

    pub(crate) async fn run(mut self) -> Result<Verdict, VerifyError> {
        let mut harm = self.harm();
        if let Some(verdict) = self.immediate().await? {
            return Ok(verdict);
        }
        let mut checks = self.checks()?;
        let short = self.short_watch(&mut checks, &mut harm).await?;
        let is_over =
            self.spec.phases.stability.is_zero() && self.functional_tests().next().is_none();
        // What is silent leaves the word to the scenarios, which may be all that a plan asks for.
        let is_silent = short.0.kind == VerdictKind::Uncertain
            && !short.1.is_worse()
            && self.found.iter().all(|(_, reading)| {
                matches!(reading.outcome, CheckOutcome::Passed | CheckOutcome::NoData)
            });
        if is_over || !(short.0.kind == VerdictKind::Success || is_silent) {
            let (judgment, harm) = short;
            return Ok(self.verdict(judgment, Some(&harm)));
        }
        if let Some(verdict) = self.functional(&short.1).await? {
            return Ok(verdict);
        }
        if is_silent {
            let judgment = judge(&named(&self.found));
            return Ok(self.verdict(judgment, Some(&short.1)));
        }
        if self.spec.phases.stability.is_zero() {
            let (judgment, harm) = short;
            return Ok(self.verdict(judgment, Some(&harm)));
        }
        self.stability(checks, &mut harm).await
    }

    fn look(&self, now: Timestamp) -> Look<'_> {
        let request = self.request;
        let observations = self.cx.observations();
        Look::new(observations, request.incident.since, request.ended, now)
            .treating(&self.treated)
            .leaving_out(request.healed_before)
    }

    fn past(&self) -> Past<'a> {
        let incident = self.request.incident;
        let runs = incident.runs.iter().map(|run| run.opened_at);
        let untreated_until = runs.chain([self.request.started]).min();
        Past {
            from: incident.since - self.config.history,
            untreated_until: untreated_until.unwrap_or(self.request.started),
            healed: self.request.healed_before,
            interval: self.spec.interval,
        }
    }

    fn harm(&self) -> HarmWatch {
        let warm_up = self.config.warm_up.min(self.spec.watch / 4);
        let mut targets = self.request.incident.targets();
        targets.push(self.request.plan.target.clone());
        HarmWatch::new(
            &self.look(self.cx.now()),
            self.request.started,
            &targets,
            self.spec.wait.max(warm_up),
            self.config,
        )
    }

    /// When something that may last `span` from `from` ends: sooner if the deadline is, or the time by
    /// which there must be a verdict.
    fn end(&self, from: Timestamp, span: Duration) -> Timestamp {
        [self.cx.deadline(), self.request.until]
            .into_iter()
            .flatten()
            .fold(from + span, Timestamp::min)
    }

    /// What the short watch looks at. Comparisons wait for the stability watch, if there is one.
    fn checks(&self) -> Result<Vec<Check>, VerifyError> {
        let is_later = |criterion: &Criterion| match criterion {
            Criterion::Functional { .. } => true,
            Criterion::Comparison { .. } => !self.spec.phases.stability.is_zero(),
            _ => false,
        };
        let now = self.spec.criteria.iter().filter(|it| !is_later(it));
        let mut checks = now
            .map(|criterion| Check::new(criterion, self.config))
            .collect::<Result<Vec<_>, _>>()?;
        // Whatever a plan asks for: while the symptoms of its incident last, nothing is healed.
        for anomaly in &self.request.incident.anomalies {
            let check = Check::recovery(anomaly, self.config);
            if !checks.iter().any(|known| known.words() == check.words()) {
                checks.push(check);
            }
        }
        Ok(checks)
    }

    fn functional_tests(&self) -> impl Iterator<Item = &'a Scenario> + use<'a> {
        self.spec
            .criteria
            .iter()
            .filter_map(|criterion| match criterion {
                Criterion::Functional { scenario } => Some(scenario),
                _ => None,
            })
    }

    /// Phase 1: a verdict only if what must hold at once does not.
    async fn immediate(&mut self) -> Result<Option<Verdict>, VerifyError> {
        let phases = &self.spec.phases;
        if phases.immediate.is_empty() {
            return Ok(None);
        }
        let mut checks = phases
            .immediate
            .iter()
            .map(|criterion| Check::new(criterion, self.config))
            .collect::<Result<Vec<_>, _>>()?;
        let end = self
            .end(self.request.ended, phases.immediate_within)
            .max(self.cx.now());
        loop {
            let now = self.cx.now();
            let look = self.look(now);
            let mut readings = look_all(&mut checks, &look)?;
            let judgment = judge(&named(&readings));
            let is_decided = judgment.kind == VerdictKind::Success;
            if !is_decided && now < end {
                sleep_until(self.cx, (now + self.spec.interval).min(end)).await?;
                continue;
            }
            label(&mut readings, "immediate");
            let is_failed = readings
                .iter()
                .any(|(_, it)| it.outcome == CheckOutcome::Failed);
            self.found.append(&mut readings);
            let within = phases.immediate_within;
            return Ok(match (is_decided, is_failed) {
                (true, _) => None,
                (false, true) => {
                    let reason = format!(
                        "immediate checks failed within {within:?}: {}",
                        judgment.reason
                    );
                    Some(self.verdict(Judgment::new(VerdictKind::Failed, reason), None))
                }
                (false, false) => {
                    let reason = format!(
                        "immediate checks are not decided after {within:?}: {}",
                        judgment.reason
                    );
                    Some(self.verdict(Judgment::new(VerdictKind::Uncertain, reason), None))
                }
            });
        }
    }

    /// Phase 2, and the whole of it where a plan asks for no other.
    async fn short_watch(
        &mut self,
        checks: &mut [Check],
        harm: &mut HarmWatch,
    ) -> Result<(Judgment, HarmReading), VerifyError> {
        let first = (self.request.ended + self.spec.wait).max(self.cx.now());
        let end = self.end(first, self.spec.watch);
        sleep_until(self.cx, first.min(end)).await?;
        loop {
            let now = self.cx.now();
            let is_last = now >= end;
            let look = self.look(now);
            let mut readings = look_all(checks, &look)?;
            let mut outcomes = readings.iter().map(|(_, reading)| reading.outcome);
            if outcomes.all(|outcome| outcome == CheckOutcome::Passed) {
                // Only now: the past is long, and what does not hold needs no explanation.
                for (check, (_, reading)) in checks.iter_mut().zip(&mut readings) {
                    check.attribute(reading, &look, (self.past(), is_last))?;
                }
            }
            let harm = harm.look(self.cx.observations(), now);
            tracing::debug!(log_e = harm.log_e, n_checks = readings.len(), "looked");
            if let Some(judgment) = decide(&readings, &harm, is_last) {
                self.found.append(&mut readings);
                return Ok((judgment, harm));
            }
            sleep_until(self.cx, (now + self.spec.interval).min(end)).await?;
        }
    }

    /// Phase 3: a verdict only if too few scenarios pass.
    async fn functional(&mut self, harm: &HarmReading) -> Result<Option<Verdict>, VerifyError> {
        let mut readings = Vec::new();
        for scenario in self.functional_tests() {
            if self.cx.cancellation().is_cancelled() {
                return Err(cancelled());
            }
            let reading = self.scenarios.run(self.cx, scenario).await;
            readings.push((scenario.name.clone(), reading));
        }
        let n = readings.len();
        let count = |outcome| {
            readings
                .iter()
                .filter(|(_, it)| it.outcome == outcome)
                .count()
        };
        let (passed, failed) = (count(CheckOutcome::Passed), count(CheckOutcome::Failed));
        let needed = self.spec.phases.min_pass_rate;
        let is_enough = |passed: usize| passed as f64 >= needed.get() * n as f64 - 1e-9;
        let broken: Vec<_> = readings
            .iter()
            .filter(|(_, reading)| reading.outcome != CheckOutcome::Passed)
            .map(|(name, reading)| format!("{name} ({})", reading.detail))
            .collect();
        let words = format!(
            "{passed} of {n} functional tests pass, expected {needed}; not: {}",
            broken.join("; ")
        );
        label(&mut readings, "functional");
        self.found.append(&mut readings);
        if is_enough(passed) {
            return Ok(None);
        }
        // What could not be done may have passed: it is a failure only if that would not be enough.
        Ok(Some(if is_enough(n - failed) {
            let reason = format!("{words}; it would be settled by scenarios that can be done");
            self.verdict(Judgment::new(VerdictKind::Uncertain, reason), Some(harm))
        } else {
            self.verdict(Judgment::new(VerdictKind::Partial, words), Some(harm))
                .advising(Recommendation::Investigate)
        }))
    }

    /// Phases 4 and 5: what held must go on holding, and then be as it was.
    async fn stability(
        mut self,
        mut checks: Vec<Check>,
        harm: &mut HarmWatch,
    ) -> Result<Verdict, VerifyError> {
        let phases = &self.spec.phases;
        let begun = self.cx.now();
        let end = self.end(begun, phases.stability);
        let comparisons = self.spec.criteria.iter();
        let mut comparisons = comparisons
            .filter(|criterion| matches!(criterion, Criterion::Comparison { .. }))
            .map(|criterion| Check::new(criterion, self.config))
            .collect::<Result<Vec<_>, _>>()?;
        let mut kept = vec![Kept::default(); checks.len()];
        let mut n_looks = 0;
        loop {
            let next = (self.cx.now() + phases.stability_interval).min(end);
            sleep_until(self.cx, next).await?;
            n_looks += 1;
            let now = self.cx.now();
            let is_last = now >= end;
            let look = self.look(now);
            let mut readings = look_all(&mut checks, &look)?;
            for (kept, (_, reading)) in kept.iter_mut().zip(&readings) {
                kept.count(reading.outcome);
            }
            let harm = harm.look(self.cx.observations(), now);
            if !is_last && !harm.is_worse() {
                continue;
            }
            for (check, (kept, (_, reading))) in
                checks.iter_mut().zip(kept.iter().zip(&mut readings))
            {
                check.recall(reading);
                kept.tell(reading, n_looks);
            }
            label(&mut readings, "stability");
            let relapses = relapses(&kept, &readings);
            let mut compared = look_all(&mut comparisons, &look)?;
            label(&mut compared, "comparison");
            readings.append(&mut compared);
            let mut judgment =
                decide(&readings, &harm, true).unwrap_or_else(|| judge(&named(&readings)));
            // One bad look takes nothing back, and is no success either.
            let is_final = match judgment.kind {
                VerdictKind::Failed => harm.is_worse() || kept.iter().any(Kept::is_confirmed),
                VerdictKind::Success => relapses.is_empty(),
                VerdictKind::Partial | VerdictKind::Uncertain => true,
            };
            if !is_final {
                let reason = if relapses.is_empty() {
                    judgment.reason
                } else {
                    format!("what held did not go on holding: {}", relapses.join("; "))
                };
                judgment = Judgment::new(VerdictKind::Partial, reason);
            }
            let watched = now.since(begun);
            if judgment.kind == VerdictKind::Success && watched < phases.stability {
                let (kind, all) = (VerdictKind::Uncertain, phases.stability);
                let reason = format!(
                    "{}, but the stability watch was cut short; it would be settled by watching for \
                     {all:?} instead of {watched:?}",
                    judgment.reason
                );
                judgment = Judgment::new(kind, reason);
            }
            self.found.append(&mut readings);
            return Ok(self.verdict(judgment, Some(&harm)));
        }
    }

    fn verdict(&self, judgment: Judgment, harm: Option<&HarmReading>) -> Verdict {
        let found = self.found.iter().map(|(words, reading)| CheckResult {
            criterion: words.clone(),
            outcome: reading.outcome,
            detail: reading.detail.clone(),
        });
        let checks = found.chain(harm.map(harm_result)).collect();
        Verdict::new(judgment.kind, self.cx.now(), judgment.reason).resting_on(checks)
    }
}

/// How one criterion went on in the stability watch.
#[derive(Debug, Clone, Copy, Default)]
struct Kept {
    n_failed: u32,
    n_silent: u32,
    /// Failed looks at the end.
    row: u32,
}

impl Kept {
    fn count(&mut self, outcome: CheckOutcome) {
        match outcome {
            CheckOutcome::Failed => {
                self.n_failed += 1;
                self.row += 1;
            }
            CheckOutcome::NoData => self.n_silent += 1,
            CheckOutcome::Passed | CheckOutcome::Undecided => self.row = 0,
        }
    }

    /// Whether it failed at the last two looks at which there was something to see.
    fn is_confirmed(&self) -> bool {
        self.row >= 2
    }

    /// Says of the last look what was before it.
    fn tell(&self, reading: &mut Reading, n_looks: u32) {
        if self.n_failed > 0 {
            let n = self.n_failed;
            reading.detail = format!("failed at {n} of {n_looks} looks; {}", reading.detail);
        }
        if f64::from(self.n_silent) > MAX_SILENT * f64::from(n_looks) && !self.is_confirmed() {
            let n = self.n_silent;
            reading.outcome = CheckOutcome::NoData;
            reading.detail = format!("silent at {n} of {n_looks} looks; {}", reading.detail);
            reading.would_settle = Some("data of the whole stability watch".to_owned());
        }
    }
}

/// What failed at a look of the stability watch, in words.
fn relapses(kept: &[Kept], readings: &[(String, Reading)]) -> Vec<String> {
    let all = kept.iter().zip(readings);
    all.filter(|(kept, _)| kept.n_failed > 0)
        .map(|(_, (words, reading))| format!("{words} ({})", reading.detail))
        .collect()
}

fn harm_result(harm: &HarmReading) -> CheckResult {
    use CheckOutcome::{Failed, NoData, Passed};
    CheckResult {
        criterion: "nothing is clearly worse than before the remedy".to_owned(),
        outcome: match (&harm.loudest, harm.is_worse()) {
            (None, _) => NoData,
            (Some(_), true) => Failed,
            (Some(_), false) => Passed,
        },
        detail: match &harm.loudest {
            None => "nothing that could tell was measured before the remedy".to_owned(),
            Some(loudest) => format!(
                "evidence e^{:.2}, harm from e^{:.2}; {loudest}",
                harm.log_e, harm.limit
            ),
        },
    }
}

fn look_all(checks: &mut [Check], look: &Look<'_>) -> Result<Readings, VerifyError> {
    checks.iter_mut().map(|check| check.look(look)).collect()
}

fn named(readings: &[(String, Reading)]) -> Vec<(&str, &Reading)> {
    readings
        .iter()
        .map(|(words, reading)| (words.as_str(), reading))
        .collect()
}

fn label(readings: &mut [(String, Reading)], phase: &str) {
    for (words, _) in readings {
        *words = format!("{phase}: {words}");
    }
}

/// The judgment, if there is one already.
pub(crate) fn decide(
    readings: &[(String, Reading)],
    harm: &HarmReading,
    is_last: bool,
) -> Option<Judgment> {
    let judgment = judge(&named(readings));
    let worse = harm
        .is_worse()
        .then(|| harm.loudest.as_deref().unwrap_or_default());
    match (judgment.kind, worse) {
        (VerdictKind::Success, None) => Some(judgment),
        (VerdictKind::Success, Some(worse)) => Some(Judgment::new(
            VerdictKind::Uncertain,
            format!(
                "the criteria hold but {worse}, clearly worse than before the remedy; \
                 it would be settled by a person or by that signal coming back"
            ),
        )),
        (_, Some(worse)) => Some(Judgment::new(
            VerdictKind::Failed,
            format!("clearly worse than before the remedy: {worse}"),
        )),
        _ => is_last.then_some(judgment),
    }
}

/// Waits on the context's clock, unless somebody asks to stop.
async fn sleep_until(cx: &Context, at: Timestamp) -> Result<(), VerifyError> {
    let wait: Duration = at.since(cx.now());
    if cx.cancellation().is_cancelled() {
        return Err(cancelled());
    }
    if wait.is_zero() {
        return Ok(());
    }
    match timeout(&**cx.clock(), wait, cx.cancellation().cancelled()).await {
        Ok(()) => Err(cancelled()),
        Err(_elapsed) => Ok(()),
    }
}

fn cancelled() -> VerifyError {
    VerifyError::Cancelled {
        during: "watching the outcome".to_owned(),
    }
}
