//! From the root cause to what raised the incident: one chain, each step with what it cites.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use homeostasis_core::record::{Anomaly, CausalChain, ChainPlace, ChainStep, Finding, Hypothesis};
use homeostasis_core::stage::Evidence;
use homeostasis_core::{Confidence, ConfigError, Context, Violation, Violations};
use serde::{Deserialize, Serialize};

use crate::calls::Calls;
use crate::scope::TOLERANCE;

mod happening;
mod paths;

use happening::Happening;
use paths::{Link, Paths};

/// What counts as a link of a chain.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ChainConfig {
    /// What began within this time of the step before may have come of it at full strength; what
    /// began later less, as this time divided by the delay; seconds in JSON; 1 second to 1 day;
    /// default 60 seconds.
    #[serde(with = "seconds")]
    pub window: Duration,
    /// How much earlier than its cause a step may seem to begin; seconds in JSON; 0 to 1 day;
    /// default 30 seconds. A [`LogOddsFuser`](crate::LogOddsFuser) uses its own
    /// [`tolerance`](crate::LogOddsConfig::tolerance) if that is longer.
    #[serde(with = "seconds")]
    pub tolerance: Duration,
    /// So many calls the objective may be away from the cause; 1 to 16; default 5.
    pub depth: usize,
    /// Links below this probability are not drawn; 0 to 1; default 0.7.
    pub threshold: f64,
}

impl Default for ChainConfig {
    fn default() -> Self {
        Self {
            window: Duration::from_secs(60),
            tolerance: TOLERANCE,
            depth: 5,
            threshold: 0.7,
        }
    }
}

/// Durations as seconds.
mod seconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(value: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_f64(value.as_secs_f64())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        let seconds = f64::deserialize(from)?;
        Duration::try_from_secs_f64(seconds)
            .map_err(|_| de::Error::custom(format!("{seconds}, expected seconds, 0 or more")))
    }
}

/// If the time of one of two steps is unknown, this is how likely they are in order: few causes are
/// seen after their effects.
const UNKNOWN_ORDER: f64 = 0.8;

/// Who is on both sides of a circle of calls may as well be cause as effect, unless time decides.
const CIRCLE: f64 = 0.5;

/// Builds the chain of a root cause.
///
/// It leads from the cause over what it did to its own service, and over callers that fell ill, to
/// the anomaly that raised the incident. If the strongest effect on its own service does not lead
/// on, for it came later, the chain goes without it. A link's probability is a product of three numbers:
///
/// - how sure it is that the later step happened: `1 - e^-nats` of its strongest finding or the
///   surprise of its anomaly, or the anomaly's score if it has no surprise;
/// - order: 1 from [`tolerance`](ChainConfig::tolerance) before to
///   [`window`](ChainConfig::window) after the step before, `window / delay` for what came later, 0
///   for what came earlier, 0.8 if a time is unknown. What grows (a leak, a disk that fills) and what was changed has no
///   window: it works when it has grown, or when it is used;
/// - calls: 1 if they are declared; (n + 1) / (n + 2) if n of them, at least 2, were seen in spans and the caller
///   declares none; 0.9 for every service between of which nothing is known; 0.5 if both call each
///   other in a circle and time does not tell who was first.
///
/// Of several ways the most probable one over links of [`threshold`](ChainConfig::threshold) or more
/// is taken; then the one with fewer calls, then the first by name. If there is none, the chain ends
/// where it can be followed to, and says why. O(services · calls + depth · links).
#[derive(Debug, Clone, Default)]
pub struct ChainBuilder {
    config: ChainConfig,
}

impl ChainBuilder {
    /// A builder with `config`.
    ///
    /// # Errors
    /// Names every value out of its range.
    pub fn new(config: ChainConfig) -> Result<Self, ConfigError> {
        let mut violations = Violations::new();
        let window = config.window.as_secs_f64();
        if !(1.0..=86_400.0).contains(&window) {
            violations.push(Violation::new("window", window, "1 <= seconds <= 86400"));
        }
        let tolerance = config.tolerance.as_secs_f64();
        if !(0.0..=86_400.0).contains(&tolerance) {
            let expected = "0 <= seconds <= 86400";
            violations.push(Violation::new("tolerance", tolerance, expected));
        }
        if !(1..=16).contains(&config.depth) {
            violations.push(Violation::new("depth", config.depth, "1 <= calls <= 16"));
        }
        if !(0.0..=1.0).contains(&config.threshold) {
            violations.push(Violation::new(
                "threshold",
                config.threshold,
                "0 <= value <= 1",
            ));
        }
        violations.into_result(Self { config })
    }

    /// The chain from `root` to the anomaly that raised the incident. `findings` is everything the
    /// analyzers found, in any order. `None` if `root` rests on no proof, or there is no anomaly.
    pub fn build(
        &self,
        cx: &Context,
        evidence: &Evidence<'_>,
        findings: &[Finding],
        root: &Hypothesis,
    ) -> Option<CausalChain> {
        self.draw(&Calls::of(cx, evidence), evidence, findings, root)
    }

    /// The same over calls that are known already.
    pub(crate) fn draw(
        &self,
        calls: &Calls,
        evidence: &Evidence<'_>,
        findings: &[Finding],
        root: &Hypothesis,
    ) -> Option<CausalChain> {
        let anomalies = &evidence.incident.anomalies;
        let raised = anomalies.first()?;
        let cause = Happening::of_cause(root)?;
        let origin = root.target.service_name();
        let objective = Happening::of_objective(raised, findings);
        let mut steps = vec![ChainStep {
            place: ChainPlace::Cause,
            target: root.target.clone(),
            what: cause.what.clone(),
            at: cause.at,
            probability: root.confidence,
            through: Vec::new(),
            proofs: cause.proofs.clone(),
        }];
        let mut ill = Happening::of_callers(findings, anomalies);
        ill.insert(raised.target.service_name().to_owned(), objective.clone());
        let reach = |last: &Happening, mut steps: Vec<ChainStep>| {
            let broken = if raised.target.service_name() == origin {
                let sure = self.link(last, &objective, 1.0);
                if sure >= self.config.threshold {
                    steps.push(step(ChainPlace::Objective, &objective, sure, Vec::new()));
                    None
                } else {
                    Some(self.weak(last, &objective, sure))
                }
            } else {
                let mut ill = ill.clone();
                ill.insert(origin.to_owned(), last.clone());
                self.follow(calls, &ill, origin, raised, &mut steps)
            };
            CausalChain { steps, broken }
        };
        let own = Happening::of_symptom(root, findings, anomalies, raised);
        let own = own.map(|symptom| (self.link(&cause, &symptom, 1.0), symptom));
        let shown = own.filter(|(sure, _)| *sure >= self.config.threshold);
        let Some((sure, symptom)) = shown else {
            return Some(reach(&cause, steps));
        };
        let without = steps.clone();
        steps.push(step(ChainPlace::Symptom, &symptom, sure, Vec::new()));
        let with = reach(&symptom, steps);
        if with.broken.is_none() {
            return Some(with);
        }
        // What the cause did to itself may have come later than what it did to others.
        let direct = reach(&cause, without);
        let is_longer = direct.broken.is_none() || direct.steps.len() > with.steps.len();
        Some(if is_longer { direct } else { with })
    }

    /// Adds the callers and the objective; or as many as can be followed, and says why no more.
    fn follow(
        &self,
        calls: &Calls,
        ill: &BTreeMap<String, Happening>,
        origin: &str,
        raised: &Anomaly,
        steps: &mut Vec<ChainStep>,
    ) -> Option<String> {
        let goal = raised.target.service_name();
        let known: BTreeSet<&str> = ill.keys().map(String::as_str).collect();
        let paths = Paths::new(calls, &known, self.config.depth, |from, to, by_calls| {
            let (earlier, later) = (&ill[from], &ill[to]);
            let circle = if calls.depends_on(from, to) && !is_after(earlier, later) {
                CIRCLE
            } else {
                1.0
            };
            self.link(earlier, later, by_calls * circle)
        });
        let drawn = paths.best(origin, goal, self.config.threshold);
        let Some(links) = drawn.or_else(|| paths.best(origin, goal, 0.0)) else {
            return Some(format!(
                "no {} or fewer calls are known that lead from {goal} to {origin}",
                self.config.depth
            ));
        };
        for Link {
            from,
            to,
            probability,
            through,
            ..
        } in links
        {
            if probability < self.config.threshold {
                return Some(self.weak(&ill[from], &ill[to], probability));
            }
            let place = if to == goal {
                ChainPlace::Objective
            } else {
                ChainPlace::Caller
            };
            let through = through.into_iter().map(str::to_owned).collect();
            steps.push(step(place, &ill[to], probability, through));
        }
        None
    }

    /// How probable it is that `earlier` led to `later`, which sees it with `by_calls`.
    fn link(&self, earlier: &Happening, later: &Happening, by_calls: f64) -> f64 {
        let order = match earlier.at.zip(later.at) {
            None => UNKNOWN_ORDER,
            Some((first, second)) if second + self.config.tolerance < first => 0.0,
            Some(_) if earlier.is_latent => 1.0,
            Some((first, second)) => {
                let delay = second.since(first).max(self.config.window);
                self.config.window.as_secs_f64() / delay.as_secs_f64()
            }
        };
        (later.sure * order * by_calls).clamp(0.0, 1.0)
    }

    fn weak(&self, earlier: &Happening, later: &Happening, probability: f64) -> String {
        let when = |happening: &Happening| match happening.at {
            Some(at) => format!("at {at}"),
            None => "nobody knows when".to_owned(),
        };
        format!(
            "that {} ({}) led to {} ({}) has a probability of {:.0} %, expected at least {:.0} %",
            earlier.target,
            when(earlier),
            later.target,
            when(later),
            probability * 100.0,
            self.config.threshold * 100.0
        )
    }
}

fn is_after(earlier: &Happening, later: &Happening) -> bool {
    matches!(earlier.at.zip(later.at), Some((first, second)) if first < second)
}

fn step(place: ChainPlace, happening: &Happening, sure: f64, through: Vec<String>) -> ChainStep {
    ChainStep {
        place,
        target: happening.target.clone(),
        what: happening.what.clone(),
        at: happening.at,
        probability: Confidence::saturating(sure),
        through,
        proofs: happening.proofs.clone(),
    }
}

#[cfg(test)]
mod tests;
