//! Who only suffers: callers of a callee that is ill itself.

use std::collections::BTreeMap;

use homeostasis_core::record::{Category, Finding, Proof, Role};
use homeostasis_core::stage::{AnalyzeError, Analyzer, Evidence};
use homeostasis_core::{Context, Target, Timestamp, async_trait};

use crate::down::DownAnalyzer;
use crate::scope::{Scope, TOLERANCE};
use crate::shift::shifts_of;

/// Walks from every ill service along its calls to the deepest ill callee.
///
/// A service is ill if its latency, errors or queues rose, or if it is down. A caller that fell ill
/// no earlier than an ill callee gets a *symptom* finding, which speaks against its being the cause
/// by as much as the callee's illness is certain. The ill service that waits for no other ill one
/// gets a *context* finding of ln 2 if somebody suffers from it: root causes lie deep.
///
/// Services that call each other in a circle explain nothing about each other.
#[derive(Debug, Clone, Copy, Default)]
pub struct TopologyWalk;

#[derive(Debug, Clone)]
struct Illness {
    nats: f64,
    onset: Timestamp,
    proof: Proof,
    cause: String,
    category: Category,
}

impl TopologyWalk {
    const NAME: &str = "topology";

    async fn illnesses(
        scope: &Scope<'_>,
        evidence: &Evidence<'_>,
    ) -> Result<BTreeMap<String, Illness>, AnalyzeError> {
        let mut ill: BTreeMap<String, Illness> = BTreeMap::new();
        for finding in DownAnalyzer.analyze(scope.cx, evidence).await? {
            let Some(proof) = finding.proofs.first().cloned() else {
                continue;
            };
            let illness = Illness {
                nats: finding.log_likelihood_ratio,
                onset: finding.onset.unwrap_or(scope.split),
                proof,
                cause: finding.cause,
                category: finding.category,
            };
            let service = finding.target.service_name().to_owned();
            let known = ill.entry(service).or_insert_with(|| illness.clone());
            if illness.nats > known.nats {
                *known = illness;
            }
        }
        for service in &scope.services {
            for shift in shifts_of(scope, service) {
                let (cause, category) = shift.meaning.cause();
                let illness = Illness {
                    nats: shift.nats(),
                    onset: shift.onset,
                    proof: shift.proof(),
                    cause: cause.to_owned(),
                    category,
                };
                let known = ill
                    .entry(service.clone())
                    .or_insert_with(|| illness.clone());
                if illness.nats > known.nats {
                    *known = illness;
                }
            }
        }
        Ok(ill)
    }
}

#[async_trait]
impl Analyzer for TopologyWalk {
    fn name(&self) -> &str {
        Self::NAME
    }

    async fn analyze(
        &self,
        cx: &Context,
        evidence: &Evidence<'_>,
    ) -> Result<Vec<Finding>, AnalyzeError> {
        let scope = Scope::new(cx, evidence);
        let ill = Self::illnesses(&scope, evidence).await?;
        let mut findings = Vec::new();
        for (service, its) in &ill {
            let Ok(target) = Target::service(service) else {
                continue;
            };
            let ill_callees: Vec<_> = ill
                .iter()
                .filter(|(callee, illness)| {
                    scope.waits_for(service, callee) && illness.onset <= its.onset + TOLERANCE
                })
                .collect();
            let worst = ill_callees
                .iter()
                .max_by(|a, b| a.1.nats.total_cmp(&b.1.nats).then_with(|| b.0.cmp(a.0)));
            if let Some((callee, illness)) = worst {
                let mut finding = Finding::new(
                    Self::NAME,
                    target,
                    "slow_dependency",
                    Category::DependencyFailure,
                    Role::Symptom,
                    -illness.nats.min(4.0),
                )
                .proven_by(illness.proof.clone())
                .saying(format!(
                    "{service} depends on {callee}, where {}",
                    illness.proof.statement
                ));
                finding.onset = Some(its.onset);
                findings.push(finding);
                continue;
            }
            let suffering: Vec<_> = ill
                .keys()
                .filter(|caller| scope.waits_for(caller, service))
                .map(String::as_str)
                .collect();
            if suffering.is_empty() {
                continue;
            }
            let mut finding = Finding::new(
                Self::NAME,
                target,
                its.cause.clone(),
                its.category,
                Role::Context,
                std::f64::consts::LN_2,
            )
            .proven_by(its.proof.clone())
            .saying(format!(
                "{service} is the deepest ill service: {} depends on it",
                suffering.join(", ")
            ));
            finding.onset = Some(its.onset);
            findings.push(finding);
        }
        Ok(findings)
    }
}
