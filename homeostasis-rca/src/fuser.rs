//! Adding evidence up in log odds, explaining symptoms away, and abstaining when that is honest.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use homeostasis_core::record::{Category, Diagnosis, Finding, Hypothesis, Role};
use homeostasis_core::stage::{Evidence, Fuser};
use homeostasis_core::{
    Confidence, ConfigError, Context, Target, Timestamp, Violation, Violations,
};

use crate::calls::Calls;
use crate::chain::{ChainBuilder, ChainConfig};
use crate::effect::{is_effect, shows_a_callee};
use crate::scope::TOLERANCE;

mod families;

use families::{facts, families};

/// How evidence is weighed.
#[derive(Debug, Clone, PartialEq)]
pub struct LogOddsConfig {
    /// Log odds of any one cause of any one target before evidence; -10 to 0; default -2 (12 %).
    pub prior: f64,
    /// Other priors by cause, in the same unit and range; default none.
    pub priors: BTreeMap<String, f64>,
    /// What each further finding of one analyzer, or on the same proofs, on one cause counts
    /// compared with the one before: 0 counts the strongest alone, 1 takes them for independent; default 0.5.
    pub damping: f64,
    /// No finding counts more than this, either way, in nats; 1 to 20; default 8.
    pub max_finding: f64,
    /// All context together counts no more than this, either way, in nats; 0 to 10; default 2.5.
    pub max_context: f64,
    /// How much later than a caller a callee may fall ill and still explain it; default 30 seconds.
    pub tolerance: Duration,
    /// Below this confidence no cause is named; 0 to 1; default 0.6.
    pub threshold: f64,
    /// If the best causes of two targets are closer than this, none is named, in nats; 0 to 10;
    /// default ln 2.
    pub margin: f64,
    /// Calibration: confidence is the logistic function of `slope · logit + offset` of the posterior.
    /// Fit both on labeled incidents (Platt, "Probabilistic outputs for support vector machines",
    /// 1999); slope more than 0, at most 10; default 1.
    pub calibration_slope: f64,
    /// See [`calibration_slope`](Self::calibration_slope); -10 to 10; default 0.
    pub calibration_offset: f64,
    /// How the chain from the root cause to what raised the incident is drawn.
    pub chain: ChainConfig,
}

impl Default for LogOddsConfig {
    fn default() -> Self {
        Self {
            prior: -2.0,
            priors: BTreeMap::new(),
            damping: 0.5,
            max_finding: 8.0,
            max_context: 2.5,
            tolerance: TOLERANCE,
            threshold: 0.6,
            margin: std::f64::consts::LN_2,
            calibration_slope: 1.0,
            calibration_offset: 0.0,
            chain: ChainConfig::default(),
        }
    }
}

/// The most hypotheses a diagnosis lists.
const MAX_HYPOTHESES: usize = 16;

/// Adds findings up to a ranked diagnosis.
///
/// 1. Findings of role cause are grouped by service and cause. If they name one instance, the
///    hypothesis is about it; if they name several or none, about the service.
/// 2. Each group begins with its prior log odds and adds log likelihood ratios. Findings of one
///    analyzer are not independent, nor are those of several that rest on the same proofs: each
///    further one counts [`damping`](LogOddsConfig::damping) times as much as the one before,
///    strongest first, for and against separately.
/// 3. Context on the same service multiplies the odds: fully for the cause it names, half for other
///    causes if it speaks for them, never where nothing else speaks for the cause.
/// 4. Evidence that another cause explains is taken away in proportion to how sure that cause is. A
///    dead process, a leak, a full disk, a busy CPU, a bad deployment explain slowness and errors
///    of the same service; any illness of a callee explains slowness, errors and the harm after a
///    change of its callers (and half of their growth, since waiting requests hold memory), unless
///    the callee fell ill clearly later, and not more evidence than its own illness shows. So the
///    deepest callee that is ill enough wins. Symptom findings do
///    the same with the certainty they state; the stronger of both counts, not the sum.
/// 5. Causes of one target may be true together and do not compete; causes of different services
///    do, and with them the possibility that none is true: the confidence of a cause is
///    `e^s / (1 + e^s + Σ e^s')` over the best cause of every other service, then calibrated.
///    Evidence about different instances of one service does not compete.
/// 6. The root cause gets its chain to what raised the incident: see [`ChainBuilder`].
/// 7. It abstains below [`threshold`](LogOddsConfig::threshold) and when the best causes of two
///    services are closer than [`margin`](LogOddsConfig::margin). The ranking is kept for people.
///
/// Findings that break the contract of [`Finding::violation`] are ignored. The order of findings
/// does not matter. O(n log n + groups² · edges).
#[derive(Debug, Clone, Default)]
pub struct LogOddsFuser {
    config: LogOddsConfig,
    chains: ChainBuilder,
}

/// The findings for one cause of one service.
#[derive(Debug)]
struct Group {
    service: String,
    cause: String,
    category: Category,
    causes: Vec<Finding>,
    others: Vec<Finding>,
    prior: f64,
    /// The damped sum of the causes.
    evidence: f64,
    context: f64,
    onset: Option<Timestamp>,
    explained_by: Option<(String, f64)>,
}

impl Group {
    /// How much of the evidence an illness elsewhere of this strength can account for, 0 to 1: a
    /// callee that stumbles does not explain a caller that falls.
    fn outdone_by(&self, nats: f64) -> f64 {
        if self.evidence > 0.0 {
            (nats / self.evidence).clamp(0.0, 1.0)
        } else {
            1.0
        }
    }

    /// How much the latencies of its callees account for of what its service suffers, in nats, where
    /// that was measured.
    fn waits(&self) -> Option<f64> {
        let measured = self
            .others
            .iter()
            .filter(|finding| finding.role == Role::Symptom && finding.cause == "slow_dependency");
        let nats = measured.map(|finding| -finding.log_likelihood_ratio);
        nats.reduce(f64::max)
    }

    /// Before anything is explained away.
    fn alone(&self) -> f64 {
        self.prior + self.evidence + self.context
    }

    fn score(&self) -> f64 {
        let rest = 1.0 - self.explained_by.as_ref().map_or(0.0, |(_, share)| *share);
        // What speaks against it stays.
        let scaled = |nats: f64| if nats > 0.0 { nats * rest } else { nats };
        // Beyond this nothing gets surer; without a bound many analyzers could overflow `exp`.
        (self.prior + scaled(self.evidence) + scaled(self.context)).clamp(-100.0, 100.0)
    }

    fn target(&self) -> Option<Target> {
        let instances: BTreeSet<&Target> = self
            .causes
            .iter()
            .filter(|f| f.log_likelihood_ratio > 0.0 && f.target.instance_name().is_some())
            .map(|finding| &finding.target)
            .collect();
        match (instances.len(), instances.first()) {
            (1, Some(only)) => Some((*only).clone()),
            _ => Target::service(&self.service).ok(),
        }
    }
}

fn logistic(score: f64) -> f64 {
    1.0 / (1.0 + (-score).exp())
}

impl LogOddsFuser {
    /// A fuser with `config`.
    ///
    /// # Errors
    /// Names every value out of its range.
    pub fn new(config: LogOddsConfig) -> Result<Self, ConfigError> {
        let mut violations = Violations::new();
        let mut check = |path: String, value: f64, low: f64, high: f64| {
            if !(low..=high).contains(&value) {
                let expected = format!("{low} <= value <= {high}");
                violations.push(Violation::new(path, value, expected));
            }
        };
        check("prior".into(), config.prior, -10.0, 0.0);
        for (cause, prior) in &config.priors {
            check(format!("priors.{cause}"), *prior, -10.0, 0.0);
        }
        check("damping".into(), config.damping, 0.0, 1.0);
        check("max_finding".into(), config.max_finding, 1.0, 20.0);
        check("max_context".into(), config.max_context, 0.0, 10.0);
        check("threshold".into(), config.threshold, 0.0, 1.0);
        check("margin".into(), config.margin, 0.0, 10.0);
        let slope = config.calibration_slope;
        check("calibration_slope".into(), slope, 1e-3, 10.0);
        let offset = config.calibration_offset;
        check("calibration_offset".into(), offset, -10.0, 10.0);
        let mut chain = config.chain.clone();
        chain.tolerance = chain.tolerance.max(config.tolerance);
        let chains = ChainBuilder::new(chain);
        let chains = violations.absorb(chains.map_err(|error| error.under("chain")));
        violations.into_result(Self {
            config,
            chains: chains.unwrap_or_default(),
        })
    }

    /// The sum of the findings' nats, those of one family damped: findings of one analyzer, and of
    /// analyzers that rest on the same proofs, are not independent, and one that rests on nothing
    /// but what a stronger one rests on says nothing more.
    fn damped<'a>(&self, findings: impl IntoIterator<Item = (&'a Finding, f64)>) -> f64 {
        let limit = self.config.max_finding;
        let findings: Vec<(&Finding, f64)> = findings.into_iter().collect();
        let roots = families(findings.iter().map(|(finding, _)| *finding));
        let mut by_family: BTreeMap<(usize, bool), Vec<(f64, BTreeSet<_>)>> = BTreeMap::new();
        for ((finding, weight), root) in findings.into_iter().zip(roots) {
            let nats = finding.log_likelihood_ratio.clamp(-limit, limit) * weight;
            let family = by_family.entry((root, nats > 0.0)).or_default();
            family.push((nats, facts(finding)));
        }
        by_family
            .into_values()
            .map(|mut nats| {
                nats.sort_by(|(a, _), (b, _)| b.abs().total_cmp(&a.abs()));
                let (mut weight, mut sum) = (1.0, 0.0);
                let mut known = BTreeSet::new();
                for (value, facts) in nats {
                    if facts.is_empty() || !facts.is_subset(&known) {
                        sum += value * weight;
                        weight *= self.config.damping;
                        known.extend(facts);
                    }
                }
                sum
            })
            .sum()
    }

    fn groups(&self, findings: Vec<Finding>) -> Vec<Group> {
        let (causes, others): (Vec<_>, Vec<_>) = findings
            .into_iter()
            .partition(|finding| finding.role == Role::Cause);
        let mut grouped: BTreeMap<(String, String), Vec<Finding>> = BTreeMap::new();
        for finding in causes {
            if finding.category != Category::Unknown {
                let service = finding.target.service_name().to_owned();
                let key = (service, finding.cause.clone());
                grouped.entry(key).or_default().push(finding);
            }
        }
        grouped
            .into_iter()
            .filter_map(|((service, cause), causes)| {
                let evidence = self.damped(causes.iter().map(|finding| (finding, 1.0)));
                let others: Vec<_> = others
                    .iter()
                    .filter(|finding| finding.target.service_name() == service)
                    .cloned()
                    .collect();
                let weigh = |finding: &Finding| {
                    if finding.cause == cause {
                        1.0
                    } else if finding.log_likelihood_ratio > 0.0 {
                        0.5
                    } else {
                        0.0
                    }
                };
                let context = others
                    .iter()
                    .filter(|finding| finding.role == Role::Context)
                    .map(|finding| (finding, weigh(finding)));
                let limit = self.config.max_context;
                let context = if evidence > 0.0 {
                    self.damped(context).clamp(-limit, limit)
                } else {
                    0.0
                };
                let prior = self.config.priors.get(&cause);
                Some(Group {
                    category: causes.first()?.category,
                    prior: prior.copied().unwrap_or(self.config.prior),
                    onset: causes.iter().filter_map(|finding| finding.onset).min(),
                    service,
                    cause,
                    causes,
                    others,
                    evidence,
                    context,
                    explained_by: None,
                })
            })
            .collect()
    }

    /// The share of `effect`'s evidence that `other` explains.
    fn share(&self, calls: &Calls, effect: &Group, other: &Group) -> f64 {
        let is_late = match (effect.onset, other.onset) {
            (Some(effect), Some(other)) => other > effect + self.config.tolerance,
            _ => false,
        };
        if is_late {
            return 0.0;
        }
        let sure = logistic(other.alone());
        if effect.service == other.service {
            let explains = is_effect(&effect.cause) && !is_effect(&other.cause);
            return if explains { sure } else { 0.0 };
        }
        let waits = calls.depends_on(&effect.service, &other.service)
            && !calls.depends_on(&other.service, &effect.service);
        if waits {
            let nats = match effect.waits() {
                Some(measured) if other.cause == "slow_response" => other.evidence.min(measured),
                _ => other.evidence,
            };
            sure * shows_a_callee(&effect.cause) * effect.outdone_by(nats)
        } else {
            0.0
        }
    }

    fn explain(&self, calls: &Calls, groups: &mut [Group]) {
        let explained: Vec<_> = groups
            .iter()
            .map(|effect| {
                let by_groups = groups
                    .iter()
                    .map(|other| {
                        let what = format!("{} of {}", other.cause, other.service);
                        (what, self.share(calls, effect, other))
                    })
                    .filter(|(_, share)| *share > 0.0);
                let by_symptoms = effect
                    .others
                    .iter()
                    .filter(|f| f.role == Role::Symptom && f.log_likelihood_ratio < 0.0)
                    .map(|finding| {
                        let sure = 1.0 - finding.log_likelihood_ratio.exp();
                        let nats = finding.log_likelihood_ratio.abs();
                        let share = sure * shows_a_callee(&effect.cause) * effect.outdone_by(nats);
                        (finding.explanation.clone(), share)
                    });
                by_groups.chain(by_symptoms).fold(None, |best, next| {
                    let is_better = best
                        .as_ref()
                        .is_none_or(|best: &(String, f64)| next.1 > best.1);
                    if is_better { Some(next) } else { best }
                })
            })
            .collect();
        for (group, explained) in groups.iter_mut().zip(explained) {
            group.explained_by = explained;
        }
    }

    fn calibrate(&self, probability: f64) -> Confidence {
        let odds = probability / (1.0 - probability);
        let logit = if odds.is_finite() { odds.ln() } else { 40.0 };
        let config = &self.config;
        let calibrated = config.calibration_slope * logit + config.calibration_offset;
        Confidence::saturating(logistic(calibrated))
    }

    fn hypothesis(&self, group: Group, probability: f64) -> Option<Hypothesis> {
        let target = group.target()?;
        let mut explanation = group.causes.first()?.explanation.clone();
        if explanation.is_empty() {
            explanation = format!("{} of {target}", group.cause);
        }
        if let Some((by, share)) = &group.explained_by
            && *share >= 0.5
        {
            explanation = format!("{explanation} (largely explained: {by})");
        }
        let mut evidence = group.causes;
        let is_evidence = |finding: &Finding| {
            finding.role == Role::Symptom
                || finding.cause == group.cause
                || finding.log_likelihood_ratio > 0.0
        };
        evidence.extend(group.others.into_iter().filter(is_evidence));
        evidence.sort_by(strongest);
        Some(Hypothesis {
            target,
            cause: group.cause,
            category: group.category,
            confidence: self.calibrate(probability),
            evidence,
            explanation,
        })
    }
}

/// Strongest first; a total order on what matters, so that the input's order never shows.
fn strongest(a: &Finding, b: &Finding) -> Ordering {
    let role = |finding: &Finding| match finding.role {
        Role::Cause => 0,
        Role::Context => 1,
        Role::Symptom => 2,
    };
    let size = |finding: &Finding| finding.log_likelihood_ratio.abs();
    size(b)
        .total_cmp(&size(a))
        .then_with(|| role(a).cmp(&role(b)))
        .then_with(|| a.analyzer.cmp(&b.analyzer))
        .then_with(|| a.target.cmp(&b.target))
        .then_with(|| a.cause.cmp(&b.cause))
        .then_with(|| a.explanation.cmp(&b.explanation))
        .then_with(|| a.log_likelihood_ratio.total_cmp(&b.log_likelihood_ratio))
        .then_with(|| a.category.cmp(&b.category))
        .then_with(|| a.onset.cmp(&b.onset))
        .then_with(|| a.proofs.len().cmp(&b.proofs.len()))
}

impl Fuser for LogOddsFuser {
    fn fuse(&self, cx: &Context, evidence: &Evidence<'_>, mut findings: Vec<Finding>) -> Diagnosis {
        findings.retain(|finding| finding.violation().is_none());
        findings.sort_by(strongest);
        let mut groups = self.groups(findings.clone());
        let calls = Calls::of(cx, evidence);
        self.explain(&calls, &mut groups);
        let mut best: BTreeMap<String, f64> = BTreeMap::new();
        for group in &groups {
            let known = best.entry(group.service.clone()).or_insert(f64::MIN);
            *known = known.max(group.score());
        }
        groups.sort_by(|a, b| {
            b.score()
                .total_cmp(&a.score())
                .then_with(|| a.service.cmp(&b.service))
                .then_with(|| a.cause.cmp(&b.cause))
        });
        let Some(first) = groups.first() else {
            return Diagnosis::abstain("no analyzer found a cause");
        };
        let rival = groups
            .iter()
            .find(|group| group.service != first.service)
            .filter(|rival| first.score() - rival.score() < self.config.margin)
            .map(|rival| format!("{} of {}", rival.cause, rival.service));
        let mut hypotheses: Vec<_> = groups
            .into_iter()
            .take(MAX_HYPOTHESES)
            .filter_map(|group| {
                let others: f64 = best
                    .iter()
                    .filter(|(service, _)| **service != group.service)
                    .map(|(_, score)| score.exp())
                    .sum();
                let odds = group.score().exp();
                self.hypothesis(group, odds / (1.0 + odds + others))
            })
            .collect();
        // Second causes of the most likely service compete with less than causes elsewhere do, so
        // that the order of scores is not quite that of confidence; the first is the same. Stable.
        hypotheses.sort_by_key(|hypothesis| std::cmp::Reverse(hypothesis.confidence));
        let Some(top) = hypotheses.first() else {
            return Diagnosis::abstain("no cause with a target that can be named");
        };
        let abstained = if top.confidence.get() < self.config.threshold {
            Some(format!(
                "the most likely cause, {top}, stays below {:.0} %",
                self.config.threshold * 100.0
            ))
        } else {
            rival.map(|rival| format!("{top} and {rival} are too close to tell apart"))
        };
        let chain = match &abstained {
            None => self.chains.draw(&calls, evidence, &findings, top),
            Some(_) => None,
        };
        Diagnosis {
            hypotheses,
            abstained,
            chain,
        }
    }
}

#[cfg(test)]
mod tests;
