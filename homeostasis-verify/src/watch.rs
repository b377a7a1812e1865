//! The watch after a remedy.

use std::time::Duration;

use homeostasis_core::record::{Anomaly, CheckResult, Verdict, VerdictKind};
use homeostasis_core::stage::{Verifier, VerifyError, VerifyRequest};
use homeostasis_core::{ConfigError, Context, Target, Timestamp, async_trait, timeout};

use crate::config::WatchConfig;
use crate::criterion::{Evaluator, Look, Reading};
use crate::harm::{HarmReading, HarmWatch};
use crate::judgment::{Judgment, judge};

/// Looks again and again until it is decided whether a remedy helped.
///
/// The first look is `wait` after the remedy ended (or at once, if that is past), further ones
/// `interval` apart until `watch` after the first look or the deadline of the context. All waiting
/// goes through the context's clock. Only what was seen after the remedy ended counts.
///
/// A plan's criteria decide. A plan without criteria, or with comparisons only, is also judged by
/// the incident's own anomalies being gone (their series back in the expected band, their
/// conditions false); where an anomaly cannot say so or its series is silent, the health checks of
/// its target stand in. So must be any anomaly that began after the remedy.
///
/// # The states and what follows
/// | verdict | when | advice | what the healing cycle does |
/// |---|---|---|---|
/// | success | every criterion passed, each as often in a row and as long as it asks, and nothing got clearly worse | close | closes the incident and counts a success for the playbook |
/// | partial | at the end some hold and some do not | keep watching | keeps the incident open and tries the next plan; people are called if there is none |
/// | failed | clearly worse than in trouble ([`HarmWatch`]; at once), or at the end nothing holds | roll back | takes back what can be taken back, then tries the next plan or calls people |
/// | uncertain | data are missing, not enough, or contradict each other | escalate | extends the watch once, then calls people; nothing further is changed |
///
/// # Cancel safety
/// It only reads; a dropped watch leaves nothing behind and can be started again.
///
/// ```
/// use homeostasis::core::stage::Verifier;
/// use homeostasis::verify::{SequentialWatch, WatchConfig};
/// let watch = SequentialWatch::new(WatchConfig::default())?;
/// assert_eq!(watch.name(), "sequential_watch");
/// # Ok::<(), homeostasis::core::ConfigError>(())
/// ```
#[derive(Debug, Clone)]
pub struct SequentialWatch {
    config: WatchConfig,
}

impl SequentialWatch {
    /// A watch.
    ///
    /// # Errors
    /// If a value of `config` is out of its range.
    pub fn new(config: WatchConfig) -> Result<Self, ConfigError> {
        config.check()?;
        Ok(Self { config })
    }

    fn checks(&self, request: &VerifyRequest<'_>) -> Result<Vec<Check>, VerifyError> {
        let criteria = &request.plan.verification.criteria;
        let mut checks = criteria
            .iter()
            .map(|criterion| {
                Evaluator::new(criterion, self.config.tolerance).map(|evaluator| Check {
                    evaluator,
                    stand_in: None,
                })
            })
            .collect::<Result<Vec<_>, _>>()?;
        // Whatever a plan asks for: while the symptoms of its incident last, nothing is healed.
        for anomaly in &request.incident.anomalies {
            let check = self.recovery(anomaly);
            let words = check.evaluator.words();
            if !checks.iter().any(|known| known.evaluator.words() == words) {
                checks.push(check);
            }
        }
        Ok(checks)
    }

    fn recovery(&self, anomaly: &Anomaly) -> Check {
        let health = Evaluator::health_of(&anomaly.target, &self.config);
        match Evaluator::recovery(anomaly, &self.config) {
            Some(evaluator) => Check {
                evaluator,
                stand_in: Some(health),
            },
            None => Check {
                evaluator: health,
                stand_in: None,
            },
        }
    }

    fn harm(&self, look: &Look<'_>, request: &VerifyRequest<'_>) -> HarmWatch {
        let spec = &request.plan.verification;
        let warm_up = spec.wait.max(self.config.warm_up.min(spec.watch / 4));
        let mut targets = request.incident.targets();
        targets.push(request.plan.target.clone());
        HarmWatch::new(look, request.started, &targets, warm_up, &self.config)
    }
}

/// One thing to look at, and what to look at instead if it is silent.
#[derive(Debug)]
struct Check {
    evaluator: Evaluator,
    stand_in: Option<Evaluator>,
}

impl Check {
    /// The words and the reading of what had something to say.
    fn look(&mut self, look: &Look<'_>) -> Result<(String, Reading), VerifyError> {
        use homeostasis_core::record::CheckOutcome::NoData;
        let reading = self.evaluator.look(look)?;
        if let Some(stand_in) = &mut self.stand_in {
            let instead = stand_in.look(look)?;
            if reading.outcome == NoData && instead.outcome != NoData {
                return Ok((stand_in.words().to_owned(), instead));
            }
        }
        Ok((self.evaluator.words().to_owned(), reading))
    }
}

#[async_trait]
impl Verifier for SequentialWatch {
    fn name(&self) -> &'static str {
        "sequential_watch"
    }

    async fn verify(
        &self,
        cx: &Context,
        request: VerifyRequest<'_>,
    ) -> Result<Verdict, VerifyError> {
        let spec = &request.plan.verification;
        if spec.interval.is_zero() {
            return Err(VerifyError::invalid(
                "verification interval",
                "0s, expected more than zero",
            ));
        }
        if cx.remaining().is_some_and(|left| left.is_zero()) {
            return Err(VerifyError::Timeout {
                during: "waiting for the first look".to_owned(),
            });
        }
        let treated = treated(&request);
        let look_at = |now| {
            Look::new(
                cx.observations(),
                request.incident.since,
                request.ended,
                now,
            )
            .treating(&treated)
        };
        let mut checks = self.checks(&request)?;
        let mut harm = self.harm(&look_at(cx.now()), &request);
        let first = (request.ended + spec.wait).max(cx.now());
        let end = first + spec.watch;
        let end = cx.deadline().map_or(end, |deadline| deadline.min(end));
        sleep_until(cx, first.min(end)).await?;
        loop {
            let now = cx.now();
            let look = look_at(now);
            let readings = checks
                .iter_mut()
                .map(|check| check.look(&look))
                .collect::<Result<Vec<_>, _>>()?;
            let harm = harm.look(cx.observations(), now);
            tracing::debug!(log_e = harm.log_e, n_checks = readings.len(), "looked");
            if let Some(judgment) = decide(&readings, &harm, now >= end) {
                return Ok(verdict(judgment, now, &readings, &harm));
            }
            sleep_until(cx, (now + spec.interval).min(end)).await?;
        }
    }
}

/// Everyone the plan acted on.
fn treated(request: &VerifyRequest<'_>) -> Vec<Target> {
    let mut treated: Vec<_> = request
        .plan
        .steps
        .iter()
        .map(|step| step.target.clone())
        .chain([request.plan.target.clone()])
        .collect();
    treated.sort();
    treated.dedup();
    treated
}

/// The judgment, if there is one already.
fn decide(readings: &[(String, Reading)], harm: &HarmReading, is_last: bool) -> Option<Judgment> {
    let readings: Vec<_> = readings.iter().map(|(w, r)| (w.as_str(), r)).collect();
    let judgment = judge(&readings);
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

fn verdict(
    judgment: Judgment,
    now: Timestamp,
    readings: &[(String, Reading)],
    harm: &HarmReading,
) -> Verdict {
    use homeostasis_core::record::CheckOutcome::{Failed, NoData, Passed};
    let mut checks: Vec<_> = readings
        .iter()
        .map(|(words, reading)| CheckResult {
            criterion: words.clone(),
            outcome: reading.outcome,
            detail: reading.detail.clone(),
        })
        .collect();
    checks.push(CheckResult {
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
    });
    Verdict::new(judgment.kind, now, judgment.reason).resting_on(checks)
}

/// Waits on the context's clock, unless somebody asks to stop.
async fn sleep_until(cx: &Context, at: Timestamp) -> Result<(), VerifyError> {
    let wait: Duration = at.since(cx.now());
    let cancelled = || VerifyError::Cancelled {
        during: "watching the outcome".to_owned(),
    };
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

#[cfg(test)]
mod tests;
