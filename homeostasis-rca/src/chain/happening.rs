//! What happened to one service, as far as a chain needs it.

use std::collections::BTreeMap;

use homeostasis_core::record::{Anomaly, ChainStep, Finding, Hypothesis, Proof, Role};
use homeostasis_core::{Target, Timestamp};

use crate::effect::{is_effect, is_latent, shows_a_callee};

/// A step cites so many proofs of one finding.
const CITED: usize = 3;

/// Sentences of a chain are cut after so many characters.
const MAX_TEXT: usize = 400;

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Happening {
    pub(super) target: Target,
    pub(super) what: String,
    pub(super) at: Option<Timestamp>,
    /// How sure it is that it happened, 0 to 1.
    pub(super) sure: f64,
    /// Whether it works later: when it has grown, or when what was changed is used.
    pub(super) is_latent: bool,
    /// Never empty.
    pub(super) proofs: Vec<Proof>,
}

impl Happening {
    /// The cause itself; `None` if it rests on no proof.
    pub(super) fn of_cause(root: &Hypothesis) -> Option<Self> {
        let own = root.evidence.iter().filter(|finding| {
            finding.role == Role::Cause
                && finding.cause == root.cause
                && finding.log_likelihood_ratio > 0.0
        });
        let mut proofs = Vec::new();
        for proof in own.clone().flat_map(|finding| &finding.proofs) {
            if proofs.len() < ChainStep::MAX_PROOFS && !proofs.contains(proof) {
                proofs.push(proof.clone());
            }
        }
        let what = match root.explanation.trim() {
            "" => root.cause.clone(),
            explanation => format!("{}: {explanation}", root.cause),
        };
        (!proofs.is_empty()).then(|| Self {
            target: root.target.clone(),
            what: cut(&what),
            at: own.filter_map(onset).min(),
            sure: root.confidence.get(),
            is_latent: is_latent(&root.cause),
            proofs,
        })
    }

    /// What the cause did to its own service: the strongest effect that was found there, or else the
    /// first other anomaly. `None` if that is the objective itself.
    pub(super) fn of_symptom(
        root: &Hypothesis,
        findings: &[Finding],
        anomalies: &[Anomaly],
        raised: &Anomaly,
    ) -> Option<Self> {
        let origin = root.target.service_name();
        let raised_here = raised.target.service_name() == origin;
        let raised = raised.subject.to_string();
        let effects = findings.iter().filter(|finding| {
            finding.target.service_name() == origin
                && finding.cause != root.cause
                && is_effect(&finding.cause)
        });
        let strongest = effects
            .filter_map(Self::of_finding)
            .max_by(Self::by_strength);
        let is_other = |proof: &Proof| !raised_here || proof.reference != raised;
        let cites_other = |it: &Self| it.proofs.iter().any(is_other);
        strongest.filter(cites_other).or_else(|| {
            let cited: Vec<&str> = root.evidence.iter().flat_map(references).collect();
            let mut others = anomalies.iter().filter(|anomaly| {
                let reference = anomaly.subject.to_string();
                anomaly.target.service_name() == origin
                    && !cited.contains(&reference.as_str())
                    && !(raised_here && reference == raised)
            });
            others.next().map(Self::of_anomaly)
        })
    }

    /// What raised the incident, with what analyzers found of the same service.
    pub(super) fn of_objective(raised: &Anomaly, findings: &[Finding]) -> Self {
        let mut objective = Self::of_anomaly(raised);
        let service = raised.target.service_name();
        let own = findings.iter().filter(|finding| {
            finding.target.service_name() == service && is_effect(&finding.cause)
        });
        if let Some(found) = own.filter_map(Self::of_finding).max_by(Self::by_strength) {
            objective.sure = objective.sure.max(found.sure);
            objective.proofs.extend(found.proofs);
        }
        objective
    }

    /// What happened to every service that could be a caller's: its strongest effect, or its first
    /// anomaly.
    pub(super) fn of_callers(
        findings: &[Finding],
        anomalies: &[Anomaly],
    ) -> BTreeMap<String, Self> {
        let mut ill: BTreeMap<String, Self> = BTreeMap::new();
        for finding in findings.iter().filter(|it| shows_a_callee(&it.cause) > 0.0) {
            let Some(found) = Self::of_finding(finding) else {
                continue;
            };
            let service = finding.target.service_name();
            match ill.get(service) {
                Some(known) if known.by_strength(&found).is_ge() => {}
                _ => drop(ill.insert(service.to_owned(), found)),
            }
        }
        for anomaly in anomalies {
            let service = anomaly.target.service_name().to_owned();
            ill.entry(service)
                .or_insert_with(|| Self::of_anomaly(anomaly));
        }
        ill
    }

    /// `None` if it speaks against itself or cites nothing.
    fn of_finding(finding: &Finding) -> Option<Self> {
        let nats = finding.log_likelihood_ratio;
        let is_told = finding.role == Role::Cause && nats > 0.0 && !finding.proofs.is_empty();
        let what = match finding.explanation.trim() {
            "" => &finding.cause,
            explanation => explanation,
        };
        is_told.then(|| Self {
            target: finding.target.clone(),
            what: cut(what),
            at: onset(finding),
            sure: 1.0 - (-nats).exp(),
            is_latent: is_latent(&finding.cause),
            proofs: finding.proofs.iter().take(CITED).cloned().collect(),
        })
    }

    fn of_anomaly(anomaly: &Anomaly) -> Self {
        let what = match anomaly.explanation.trim() {
            "" => "it is abnormal",
            explanation => explanation,
        };
        Self {
            target: anomaly.target.clone(),
            what: cut(what),
            at: Some(anomaly.since),
            sure: if anomaly.surprise > 0.0 {
                1.0 - (-anomaly.surprise).exp()
            } else {
                anomaly.score.get()
            },
            is_latent: false,
            proofs: vec![Proof {
                kind: "anomaly".to_owned(),
                reference: cut(&anomaly.subject.to_string()),
                at: Some(anomaly.since),
                statement: cut(&format!("{} found it: {what}", anomaly.detector)),
            }],
        }
    }

    /// A total order on what a chain shows, so that the order of findings never does.
    fn by_strength(&self, other: &Self) -> std::cmp::Ordering {
        self.sure
            .total_cmp(&other.sure)
            .then_with(|| other.at.cmp(&self.at))
            .then_with(|| other.what.cmp(&self.what))
            .then_with(|| other.target.cmp(&self.target))
    }
}

/// When it began: as the analyzer says, or else the first of its proofs.
fn onset(finding: &Finding) -> Option<Timestamp> {
    let proven = || finding.proofs.iter().filter_map(|proof| proof.at).min();
    finding.onset.or_else(proven)
}

fn references(finding: &Finding) -> impl Iterator<Item = &str> {
    finding.proofs.iter().map(|proof| proof.reference.as_str())
}

fn cut(text: &str) -> String {
    if text.chars().count() <= MAX_TEXT {
        return text.to_owned();
    }
    text.chars()
        .take(MAX_TEXT - 2)
        .chain(" …".chars())
        .collect()
}
