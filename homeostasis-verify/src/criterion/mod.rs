//! Criteria, evaluated against what was seen after the remedy.

mod band;
mod comparison;
mod health;
mod metric;
mod usual;

use std::time::Duration;

use homeostasis_core::condition::Condition;
use homeostasis_core::record::{
    Anomaly, CheckOutcome, CheckResult, Criterion, Expectation, Subject,
};
use homeostasis_core::stage::VerifyError;
use homeostasis_core::{Observations, Target, Timestamp};

use crate::config::{Tolerance, WatchConfig};
use band::Band;
use comparison::Compared;
use health::Healthy;
use metric::Holding;

/// One look at the world after a remedy.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Look<'a> {
    /// What was seen.
    pub observations: &'a dyn Observations,
    /// When the trouble began; what is older is the baseline.
    pub since: Timestamp,
    /// When the remedy ended; only what is newer counts.
    pub ended: Timestamp,
    /// The present.
    pub now: Timestamp,
    /// Who was treated; the others of the same service are the control group.
    pub treated: &'a [Target],
    /// Stretches of earlier trouble that the healer did something about: what was measured in them is
    /// not usual.
    pub healed: &'a [(Timestamp, Timestamp)],
}

impl<'a> Look<'a> {
    /// A look without a control group.
    pub fn new(
        observations: &'a dyn Observations,
        since: Timestamp,
        ended: Timestamp,
        now: Timestamp,
    ) -> Self {
        Self {
            observations,
            since,
            ended,
            now,
            treated: &[],
            healed: &[],
        }
    }

    /// The same where the healer acted in these stretches of earlier trouble.
    pub fn leaving_out(mut self, healed: &'a [(Timestamp, Timestamp)]) -> Self {
        self.healed = healed;
        self
    }

    /// The same where `treated` were acted on and their peers were not.
    pub fn treating(mut self, treated: &'a [Target]) -> Self {
        self.treated = treated;
        self
    }

    /// The oldest instant of the last `window` that lies after the remedy.
    fn from(&self, window: Duration) -> Timestamp {
        (self.now - window).max(self.ended + Duration::from_nanos(1))
    }

    /// How long one has watched.
    fn watched(&self) -> Duration {
        self.now.since(self.ended)
    }
}

/// What one look at one criterion says.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reading {
    /// Passed, failed, no data, or not decided yet.
    pub outcome: CheckOutcome,
    /// What was seen, and what was expected.
    pub detail: String,
    /// Whether a pass is due to the remedy, as far as one can tell.
    pub attribution: Attribution,
    /// What would settle it, if it is not settled.
    pub would_settle: Option<String>,
}

impl Reading {
    pub(crate) fn new(outcome: CheckOutcome, detail: impl Into<String>) -> Self {
        Self {
            outcome,
            detail: detail.into(),
            attribution: Attribution::Unexamined,
            would_settle: None,
        }
    }

    pub(crate) fn settled_by(mut self, what: impl Into<String>) -> Self {
        self.would_settle = Some(what.into());
        self
    }
}

/// Whether what holds after a remedy holds because of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Attribution {
    /// Nothing is known for or against it: the criterion held all the time, asks for a state whose past
    /// was not seen, or names the instance, so that peers cannot be asked. It counts.
    #[default]
    Unexamined,
    /// It failed until the remedy began and holds since, and never got well without one in its own
    /// past; no untreated peer could be asked.
    Attributed,
    /// It failed until the remedy began and holds since, and most of the untreated peers that failed
    /// it alike still do.
    AgainstPeers,
    /// It rests on before and after of the treated alone, and the world may have changed by itself
    /// meanwhile: a comparison without untreated peers, or a level of which too little was seen before
    /// the trouble.
    WithoutControl,
    /// It got well by itself before: in this trouble before anything was done, or after earlier
    /// trouble of the same length.
    ByItself,
    /// At least half of the untreated peers that failed it alike got well too.
    PeersAlike,
}

#[derive(Debug, Clone)]
enum Kind {
    Holding(Holding),
    Healthy(Healthy),
    Compared(Compared),
    Band(Band),
}

/// Evaluates one criterion, look after look.
///
/// Only samples and reports from after the remedy count. A look that finds the same samples as the
/// one before adds nothing to a row.
///
/// | criterion | passed | failed | no data | undecided |
/// |---|---|---|---|---|
/// | metric | the condition held the required times in a row | it does not hold now | a value is missing | the row is not long enough |
/// | health | the rate was reached over the whole window | it was not reached | no report | the window is not over |
/// | comparison | within the factor over the whole window | outside, relatively and absolutely | fewer than 5 values before or after | the window is not over |
///
/// A comparison with the same time yesterday or last week fails only outside of what was usual then,
/// too: the lowest to the highest of up to 13 stretches around that time, without those in which the
/// healer acted and those that stick out. Fewer than 5 are no data.
/// Functional criteria are not looked at but done: see [`Scenarios`](crate::Scenarios).
///
/// A health check passes if it finds its target healthy; degraded is not recovered.
/// A condition over a service with several instances must hold for each of them, and for the
/// highest and the lowest value of each series it names.
///
/// ```
/// use std::time::Duration;
/// use homeostasis::core::condition::Condition;
/// use homeostasis::core::record::{CheckOutcome, Criterion};
/// use homeostasis::core::signal::SeriesKey;
/// use homeostasis::core::testing::RecordedObservations;
/// use homeostasis::core::{Target, Timestamp};
/// use homeostasis::verify::{Evaluator, Look, Tolerance};
///
/// let at = Timestamp::from_secs;
/// let up = SeriesKey::new("up").with("service", "orders");
/// let world = RecordedObservations::new().with_series(up, [(at(9), 1.0), (at(11), 0.0)]);
/// let criterion = Criterion::Metric {
///     condition: Condition::parse("up == 1")?,
///     target: Target::service("orders")?,
///     window: Duration::from_secs(60),
///     consecutive: 1,
/// };
/// let mut evaluator = Evaluator::new(&criterion, Tolerance::default())?;
/// let reading = evaluator.look(&Look::new(&world, at(0), at(10), at(12)))?;
/// assert_eq!(reading.outcome, CheckOutcome::Failed);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Evaluator {
    kind: Kind,
    words: String,
}

impl Evaluator {
    /// An evaluator that has not looked yet.
    ///
    /// # Errors
    /// A window of zero, zero times in a row, a factor that is negative or not finite, or a kind of
    /// criterion that this version does not know.
    pub fn new(criterion: &Criterion, tolerance: Tolerance) -> Result<Self, VerifyError> {
        Ok(match criterion {
            Criterion::Metric {
                condition,
                target,
                window,
                consecutive,
            } => Self {
                words: format!("{condition} on {target}, {}", times(*consecutive)),
                kind: Kind::Holding(Holding::new(
                    condition.clone(),
                    target.clone(),
                    *window,
                    *consecutive,
                )?),
            },
            Criterion::Health {
                target,
                pass_rate,
                window,
                tier,
            } => {
                let of_tier = tier.map(|tier| format!("{tier} ")).unwrap_or_default();
                Self {
                    words: format!(
                        "{pass_rate} of the {of_tier}health checks of {target} pass over {window:?}"
                    ),
                    kind: Kind::Healthy(
                        Healthy::new(target.clone(), *pass_rate, *window)?.of(*tier),
                    ),
                }
            }
            Criterion::Comparison {
                metric,
                target,
                comparison,
                window,
                baseline,
            } => Self {
                words: comparison::words(metric, target, *comparison, *baseline),
                kind: Kind::Compared(Compared::new(
                    metric.clone(),
                    target.clone(),
                    (*comparison, *baseline),
                    *window,
                    tolerance.of(metric),
                )?),
            },
            other => {
                return Err(VerifyError::invalid(
                    "criterion",
                    format!("{other:?}, expected metric, health or comparison"),
                ));
            }
        })
    }

    /// An evaluator of "this anomaly is gone": its series is back in the expected band, its
    /// condition does not hold any more, its health check passes. `None` where an anomaly says no
    /// such thing; the health of its target has to stand in.
    pub fn recovery(anomaly: &Anomaly, config: &WatchConfig) -> Option<Self> {
        let (looks, window) = (config.recovery_looks.max(1), config.freshness);
        match (&anomaly.subject, &anomaly.expected) {
            (Subject::Series(key), Expectation::Between { low, high })
                if low.is_some() || high.is_some() =>
            {
                Some(Self {
                    words: format!("{key} is back at {}, {}", anomaly.expected, times(looks)),
                    kind: Kind::Band(Band::new(key.clone(), (*low, *high), looks, window)),
                })
            }
            (Subject::Condition(text), _) => {
                // The detector parsed it before; text that does not parse any more is no evidence.
                let condition = Condition::parse(&format!("not ({text})")).ok()?;
                Some(Self {
                    words: format!("{condition} on {}, {}", anomaly.target, times(looks)),
                    kind: Kind::Holding(
                        Holding::new(condition, anomaly.target.clone(), window, looks).ok()?,
                    ),
                })
            }
            (Subject::Health(check), _) => Some(Self {
                words: format!(
                    "health check {check} of {} passes, {}",
                    anomaly.target,
                    times(looks)
                ),
                kind: Kind::Healthy(Healthy::in_a_row(
                    anomaly.target.clone(),
                    Some(check.clone()),
                    looks,
                    window,
                )),
            }),
            _ => None,
        }
    }

    /// An evaluator of "all health checks of `target` pass, several times in a row".
    pub fn health_of(target: &Target, config: &WatchConfig) -> Self {
        let looks = config.recovery_looks.max(1);
        Self {
            words: format!("health checks of {target} pass, {}", times(looks)),
            kind: Kind::Healthy(Healthy::in_a_row(
                target.clone(),
                None,
                looks,
                config.freshness,
            )),
        }
    }

    /// Whom it is about; `None` for a series without one, and for comparisons, which have a control
    /// of their own.
    pub(crate) fn target(&self) -> Option<Target> {
        match &self.kind {
            Kind::Holding(holding) => Some(holding.target().clone()),
            Kind::Healthy(healthy) => Some(healthy.target().clone()),
            Kind::Band(band) => band.target(),
            Kind::Compared(_) => None,
        }
    }

    /// Whether it can be asked of another time: comparisons bring theirs with them.
    pub(crate) fn has_past(&self) -> bool {
        !matches!(self.kind, Kind::Compared(_))
    }

    /// Whether it asks for a level, which noise crosses both ways, and not for a state such as up or
    /// healthy.
    pub(crate) fn is_level(&self) -> bool {
        match &self.kind {
            Kind::Holding(holding) => holding.is_level(),
            Kind::Healthy(_) => false,
            Kind::Band(_) | Kind::Compared(_) => true,
        }
    }

    /// The same question about another instance; `None` where it cannot be asked.
    pub(crate) fn about(&self, other: &Target) -> Option<Self> {
        let kind = match &self.kind {
            Kind::Holding(holding) => Kind::Holding(holding.about(other)?),
            Kind::Healthy(healthy) => Kind::Healthy(healthy.about(other)),
            Kind::Band(band) => Kind::Band(band.about(other)?),
            Kind::Compared(_) => return None,
        };
        let words = self.words.clone();
        Some(Self { kind, words })
    }

    /// The criterion in words.
    pub fn words(&self) -> &str {
        &self.words
    }

    /// Looks once.
    ///
    /// # Errors
    /// If the values do not fit the condition, such as a size where a time is expected.
    pub fn look(&mut self, look: &Look<'_>) -> Result<Reading, VerifyError> {
        match &mut self.kind {
            Kind::Holding(holding) => holding.look(look),
            Kind::Healthy(healthy) => Ok(healthy.look(look)),
            Kind::Compared(compared) => Ok(compared.look(look)),
            Kind::Band(band) => Ok(band.look(look)),
        }
    }

    /// The record of a reading.
    pub fn record(&self, reading: &Reading) -> CheckResult {
        CheckResult {
            criterion: self.words.clone(),
            outcome: reading.outcome,
            detail: reading.detail.clone(),
        }
    }
}

fn times(n: u32) -> String {
    match n {
        1 => "once".to_owned(),
        n => format!("{n} times in a row"),
    }
}

fn check_window(window: Duration) -> Result<(), VerifyError> {
    if window.is_zero() {
        return Err(VerifyError::invalid(
            "criterion window",
            "0s, expected more than zero",
        ));
    }
    Ok(())
}

/// Whether a stretch of `window` has been watched; if not, the reading that says so.
fn not_over(look: &Look<'_>, window: Duration, detail: &str) -> Option<Reading> {
    (look.watched() < window).then(|| {
        Reading::new(
            CheckOutcome::Undecided,
            format!("{detail}, {:?} of {window:?} watched", look.watched()),
        )
        .settled_by(format!("watching for {window:?}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_anomaly_in_words_has_no_recovery_of_its_own() {
        let anomaly = Anomaly::new(
            "d",
            Target::service("orders").unwrap(),
            Subject::Logs("panic".to_owned()),
            Timestamp::EPOCH,
        );
        assert!(Evaluator::recovery(&anomaly, &WatchConfig::default()).is_none());
        let condition = Anomaly::new(
            "d",
            anomaly.target,
            Subject::Condition("up == 0".to_owned()),
            Timestamp::EPOCH,
        );
        let evaluator = Evaluator::recovery(&condition, &WatchConfig::default()).unwrap();
        assert_eq!(evaluator.words(), "not up == 0 on orders, 3 times in a row");
    }

    #[test]
    fn values_out_of_range_are_refused_with_what_was_expected() {
        let target = Target::service("orders").unwrap();
        let refuse = |criterion: Criterion| {
            Evaluator::new(&criterion, Tolerance::default())
                .unwrap_err()
                .to_string()
        };
        let window = Duration::from_secs(1);
        let condition = Condition::parse("up == 1").unwrap();
        let metric = |window, consecutive| Criterion::Metric {
            condition: condition.clone(),
            target: target.clone(),
            window,
            consecutive,
        };
        assert!(refuse(metric(Duration::ZERO, 1)).contains("expected more than zero"));
        assert!(refuse(metric(window, 0)).contains("expected 1 or more"));
        for factor in [-1.0, f64::NAN, f64::INFINITY] {
            let text = refuse(Criterion::Comparison {
                metric: "error_ratio".to_owned(),
                target: target.clone(),
                comparison: homeostasis_core::record::Comparison::AtMost(factor),
                window,
                baseline: homeostasis_core::record::Baseline::default(),
            });
            assert!(text.contains("expected a finite number"), "{text}");
        }
    }
}
