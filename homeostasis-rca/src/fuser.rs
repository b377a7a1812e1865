//! Adding evidence up in log odds, explaining symptoms away, and abstaining when that is honest.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use homeostasis_core::record::{Category, Diagnosis, Finding, Hypothesis, Role};
use homeostasis_core::stage::{Evidence, Fuser};
use homeostasis_core::{
    Confidence, ConfigError, Context, Target, Timestamp, Violation, Violations,
};

use crate::chain::{ChainBuilder, ChainConfig};
use crate::effect::{is_effect, shows_a_callee};
use crate::scope::TOLERANCE;

/// How evidence is weighed.
#[derive(Debug, Clone, PartialEq)]
pub struct LogOddsConfig {
    /// Log odds of any one cause of any one target before evidence; -10 to 0; default -2 (12 %).
    pub prior: f64,
    /// Other priors by cause, in the same unit and range; default none.
    pub priors: BTreeMap<String, f64>,
    /// What each further finding of one analyzer on one cause counts compared with the one before:
    /// 0 counts the strongest alone, 1 takes them for independent; default 0.5.
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
///    analyzer are not independent: each further one counts [`damping`](LogOddsConfig::damping)
///    times as much as the one before, strongest first, for and against separately.
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
        let chains = ChainBuilder::new(config.chain.clone());
        let chains = violations.absorb(chains.map_err(|error| error.under("chain")));
        violations.into_result(Self {
            config,
            chains: chains.unwrap_or_default(),
        })
    }

    /// The sum of the findings' nats, each analyzer's damped.
    fn damped<'a>(&self, findings: impl IntoIterator<Item = (&'a Finding, f64)>) -> f64 {
        let mut families: BTreeMap<(&str, bool), Vec<f64>> = BTreeMap::new();
        for (finding, weight) in findings {
            let limit = self.config.max_finding;
            let nats = finding.log_likelihood_ratio.clamp(-limit, limit) * weight;
            let family = (finding.analyzer.as_str(), nats > 0.0);
            families.entry(family).or_default().push(nats);
        }
        families
            .into_values()
            .map(|mut nats| {
                nats.sort_by(|a, b| b.abs().total_cmp(&a.abs()));
                let mut weight = 1.0;
                let mut sum = 0.0;
                for value in nats {
                    sum += value * weight;
                    weight *= self.config.damping;
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
    fn share(&self, cx: &Context, effect: &Group, other: &Group) -> f64 {
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
        let topology = cx.topology();
        let waits = topology.depends_on(&effect.service, &other.service)
            && !topology.depends_on(&other.service, &effect.service);
        if waits {
            sure * shows_a_callee(&effect.cause) * effect.outdone_by(other.evidence)
        } else {
            0.0
        }
    }

    fn explain(&self, cx: &Context, groups: &mut [Group]) {
        let explained: Vec<_> = groups
            .iter()
            .map(|effect| {
                let by_groups = groups
                    .iter()
                    .map(|other| {
                        let what = format!("{} of {}", other.cause, other.service);
                        (what, self.share(cx, effect, other))
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
        self.explain(cx, &mut groups);
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
            None => self.chains.build(cx, evidence, &findings, top),
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
mod tests {
    use std::sync::Arc;

    use homeostasis_core::record::{Anomaly, Proof, Subject};
    use homeostasis_core::testing::analyzer::{incident_of, topology_of};
    use homeostasis_core::{ManualClock, Topology};
    use proptest::prelude::*;

    use super::*;

    fn target(text: &str) -> Target {
        text.parse().unwrap()
    }

    fn finding(analyzer: &str, who: &str, cause: &str, nats: f64) -> Finding {
        let category = Category::ApplicationError;
        let proof = Proof {
            kind: "test".to_owned(),
            reference: "test".to_owned(),
            at: None,
            statement: "it is so".to_owned(),
        };
        Finding::new(analyzer, target(who), cause, category, Role::Cause, nats)
            .proven_by(proof)
            .saying(format!("{who} has {cause}"))
    }

    fn context_of(who: &str, cause: &str, nats: f64) -> Finding {
        let mut made = finding("change", who, cause, nats);
        made.role = Role::Context;
        made
    }

    fn fuse_in(topology: Topology, config: LogOddsConfig, findings: Vec<Finding>) -> Diagnosis {
        let cx = Context::new(Arc::new(ManualClock::new(Timestamp::EPOCH)), 1)
            .in_topology(Arc::new(topology));
        let subject = Subject::Condition("x".to_owned());
        let anomaly = Anomaly::new("d", target("a"), subject, Timestamp::EPOCH).saying("x");
        let incident = incident_of(&[anomaly]);
        let evidence = Evidence::new(&incident, Timestamp::EPOCH, Timestamp::EPOCH);
        let fuser = LogOddsFuser::new(config).unwrap();
        fuser.fuse(&cx, &evidence, findings)
    }

    fn fuse(findings: Vec<Finding>) -> Diagnosis {
        let topology = topology_of(&[("a", &["b"]), ("b", &["c"])]);
        fuse_in(topology, LogOddsConfig::default(), findings)
    }

    fn confidence(diagnosis: &Diagnosis, who: &str) -> f64 {
        let found = diagnosis
            .hypotheses
            .iter()
            .find(|h| h.target == target(who));
        found.map_or(0.0, |h| h.confidence.get())
    }

    #[test]
    fn one_finding_gives_the_posterior_of_its_odds() {
        // Log odds -2 + 3 = 1: e / (1 + e).
        let diagnosis = fuse(vec![finding("x", "c", "leak", 3.0)]);
        assert!((confidence(&diagnosis, "c") - 0.731_058_578_63).abs() < 1e-9);
        assert_eq!(diagnosis.root_cause().unwrap().cause, "leak");
    }

    #[test]
    fn findings_of_one_analyzer_count_less_than_those_of_two() {
        let twice = |second: &str| {
            let second = finding(second, "c", "leak", 1.5);
            confidence(&fuse(vec![finding("x", "c", "leak", 1.5), second]), "c")
        };
        assert!(twice("x") < twice("y"));
        assert!(twice("x") > confidence(&fuse(vec![finding("x", "c", "leak", 1.5)]), "c"));
    }

    #[test]
    fn context_multiplies_and_is_nothing_alone() {
        let alone = fuse(vec![context_of("c", "bad_deploy", 5.0)]);
        assert!(alone.hypotheses.is_empty() && alone.abstained.is_some());
        let harm = || finding("x", "c", "bad_deploy", 2.0);
        let with = fuse(vec![harm(), context_of("c", "bad_deploy", 1.0)]);
        // Log odds -2 + 2 + 1 against -2 + 2.
        assert!((confidence(&with, "c") - 0.731_058_578_63).abs() < 1e-9);
        assert!((confidence(&fuse(vec![harm()]), "c") - 0.5).abs() < 1e-9);
        let elsewhere = fuse(vec![harm(), context_of("b", "bad_deploy", 1.0)]);
        assert!((confidence(&elsewhere, "c") - 0.5).abs() < 1e-9);
    }

    #[test]
    fn two_close_rivals_are_left_to_people_even_when_both_are_likely_enough() {
        let config = LogOddsConfig {
            threshold: 0.1,
            ..LogOddsConfig::default()
        };
        let diagnose = |nats| {
            let findings = vec![
                finding("x", "b", "leak", 4.0),
                finding("x", "c", "leak", nats),
            ];
            fuse_in(Topology::default(), config.clone(), findings)
        };
        let close = diagnose(4.3);
        assert!(close.abstained.unwrap().contains("too close"));
        assert!(diagnose(5.0).root_cause().is_some());
    }

    #[test]
    fn a_circle_of_calls_explains_nothing() {
        let circle = topology_of(&[("a", &["b"]), ("b", &["a"])]);
        assert_eq!(blamed_of(circle, 5.0), "a");
        assert_eq!(blamed_of(topology_of(&[("a", &["b"])]), 5.0), "b");
    }

    #[test]
    fn a_callee_that_stumbles_does_not_explain_a_caller_that_falls() {
        assert_eq!(blamed_of(topology_of(&[("a", &["b"])]), 2.5), "a");
    }

    /// Who is blamed if the caller `a` fails with 6 nats and `b` with `nats`.
    fn blamed_of(topology: Topology, nats: f64) -> String {
        let findings = vec![
            finding("x", "a", "error_rate", 6.0),
            finding("x", "b", "error_rate", nats),
        ];
        let diagnosis = fuse_in(topology, LogOddsConfig::default(), findings);
        diagnosis.hypotheses[0].target.to_string()
    }

    #[test]
    fn one_instance_is_named_and_several_are_the_service() {
        let who = |instances: &[&str]| {
            let findings = instances
                .iter()
                .map(|instance| finding("x", instance, "process_down", 6.0));
            let service = finding("y", "c", "process_down", 2.0);
            let diagnosis = fuse(findings.chain([service]).collect());
            diagnosis.hypotheses[0].target.to_string()
        };
        assert_eq!(who(&["c/0"]), "c/0");
        assert_eq!(who(&["c/0", "c/1"]), "c");
        assert_eq!(who(&[]), "c");
    }

    #[test]
    fn findings_that_break_the_contract_are_ignored() {
        let mut unproven = finding("x", "c", "leak", 9.0);
        unproven.proofs.clear();
        let diagnosis = fuse(vec![unproven, finding("x", "c", "leak", f64::NAN)]);
        assert_eq!(
            diagnosis.abstained.as_deref(),
            Some("no analyzer found a cause")
        );
    }

    #[test]
    fn a_configuration_out_of_range_names_every_value() {
        let config = LogOddsConfig {
            prior: 1.0,
            damping: f64::NAN,
            priors: BTreeMap::from([("leak".to_owned(), -11.0)]),
            ..LogOddsConfig::default()
        };
        let error = LogOddsFuser::new(config).unwrap_err().to_string();
        assert_eq!(
            error,
            "prior = 1, expected -10 <= value <= 0\n\
             priors.leak = -11, expected -10 <= value <= 0\n\
             damping = NaN, expected 0 <= value <= 1"
        );
    }

    fn any_finding() -> impl Strategy<Value = Finding> {
        let who = prop::sample::select(vec!["a", "b", "b/0", "b/1", "c"]);
        let cause = prop::sample::select(vec![
            "process_down",
            "error_rate",
            "bad_deploy",
            "memory_leak",
        ]);
        let role = prop::sample::select(vec![Role::Cause, Role::Context, Role::Symptom]);
        let analyzer = prop::sample::select(vec!["x", "y"]);
        let nats = prop_oneof![-9.0..9.0f64, Just(f64::MAX), Just(-1e300), Just(f64::NAN)];
        (
            analyzer,
            who,
            cause,
            role,
            nats,
            prop::option::of(0..90_i64),
        )
            .prop_map(|(analyzer, who, cause, role, nats, onset)| {
                let mut made = finding(analyzer, who, cause, nats);
                made.role = role;
                made.onset = onset.map(Timestamp::from_secs);
                made
            })
    }

    proptest! {
        #[test]
        fn the_order_of_findings_does_not_matter_and_numbers_stay_sane(
            findings in prop::collection::vec(any_finding(), 0..24),
            turn in 0..24_usize,
        ) {
            let mut turned = findings.clone();
            turned.reverse();
            if !turned.is_empty() {
                let by = turn % turned.len();
                turned.rotate_left(by);
            }
            let (a, b) = (fuse(findings), fuse(turned));
            prop_assert_eq!(&a, &b);
            prop_assert!(a.root_cause().is_some() || a.abstained.is_some());
            let sure: Vec<f64> = a.hypotheses.iter().map(|h| h.confidence.get()).collect();
            prop_assert!(sure.windows(2).all(|pair| pair[0] >= pair[1]));
        }

        #[test]
        fn more_evidence_for_a_cause_never_lowers_its_confidence(
            findings in prop::collection::vec(any_finding(), 0..12),
            nats in 0.0..8.0f64,
        ) {
            let with = |nats| {
                let mut findings = findings.clone();
                findings.push(finding("z", "c", "disk_full", nats));
                confidence_of(&fuse(findings), "disk_full")
            };
            prop_assert!(with(nats) <= with(nats + 0.5) + 1e-12);
        }
    }

    fn confidence_of(diagnosis: &Diagnosis, cause: &str) -> f64 {
        let found = diagnosis.hypotheses.iter().find(|h| h.cause == cause);
        found.map_or(0.0, |h| h.confidence.get())
    }
}
