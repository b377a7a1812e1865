//! Who only suffers: callers of a callee that is ill itself.

use std::collections::BTreeMap;
use std::f64::consts::LN_2;

use homeostasis_core::record::{Category, Finding, Proof, Role};
use homeostasis_core::stage::{AnalyzeError, Analyzer, Evidence};
use homeostasis_core::{Context, Target, Timestamp, async_trait};

use crate::down::DownAnalyzer;
use crate::meaning::Meaning;
use crate::scope::{Scope, TOLERANCE};
use crate::shift::shifts_of;

/// A latency that rose by less than this share of another's accounts for little beside it.
const ACCOUNTS_FOR: f64 = 0.25;

/// A callee that is only slower makes its caller fail where the caller's patience ends: a rise of this
/// many seconds accounts for half of the caller's errors.
const PATIENCE: f64 = 0.25;

/// Walks from every ill service along its calls to the deepest ill callee.
///
/// A service is ill if its latency, errors or queues rose, or if it is down. A caller that fell ill
/// no earlier than an ill callee gets a *symptom* finding, which speaks against its being the cause
/// by as much as the callee's illness is certain; a callee that answers all the same, only later, speaks
/// the less against a caller that fails the fewer milliseconds it is late. The ill service that waits for no other ill one
/// gets a *context* finding of ln 2 if somebody suffers from it: root causes lie deep. Among such
/// services that the same caller waits for, one whose latency rose by less than a quarter of
/// another's accounts for little of what the caller suffers: its context speaks against it instead.
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
    /// By how many seconds its latency rose, if that is its illness.
    rise: Option<f64>,
    /// Whether it fails calls: it is down, or its errors rose.
    fails: bool,
}

impl Illness {
    /// How much speaks for `caller` only suffering from this callee, in nats.
    fn accounts_for(&self, caller: &Self) -> f64 {
        let share = match self.rise {
            Some(rise) if caller.fails && !self.fails => rise / (rise + PATIENCE),
            _ => 1.0,
        };
        self.nats.min(4.0) * share
    }
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
                rise: None,
                fails: true,
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
                    rise: (shift.meaning == Meaning::Latency).then_some(shift.after - shift.before),
                    fails: shift.meaning == Meaning::Errors,
                };
                let known = ill
                    .entry(service.clone())
                    .or_insert_with(|| illness.clone());
                // Of what stands for the service the strongest is kept, of its rises the largest.
                let rise = [known.rise, illness.rise]
                    .into_iter()
                    .flatten()
                    .reduce(f64::max);
                let fails = known.fails || illness.fails;
                if illness.nats > known.nats {
                    *known = illness;
                }
                (known.rise, known.fails) = (rise, fails);
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
            let worst = ill_callees.iter().max_by(|a, b| {
                let (a_nats, b_nats) = (a.1.accounts_for(its), b.1.accounts_for(its));
                a_nats.total_cmp(&b_nats).then_with(|| b.0.cmp(a.0))
            });
            if let Some((callee, illness)) = worst {
                let mut finding = Finding::new(
                    Self::NAME,
                    target,
                    "slow_dependency",
                    Category::DependencyFailure,
                    Role::Symptom,
                    -illness.accounts_for(its),
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
            let louder = ill.iter().filter(|(other, illness)| {
                let rises = illness.rise.zip(its.rise);
                rises.is_some_and(|(theirs, own)| own < theirs * ACCOUNTS_FOR)
                    && suffering
                        .iter()
                        .any(|caller| scope.waits_for(caller, other))
                    && !scope.waits_for(service, other)
            });
            let louder =
                louder.max_by(|a, b| a.1.nats.total_cmp(&b.1.nats).then_with(|| b.0.cmp(a.0)));
            let (weight, explanation) = match louder {
                Some((other, illness)) => (
                    -2.0 * LN_2,
                    format!(
                        "{service} accounts for little of what {} suffers: in {other} {}",
                        suffering.join(", "),
                        illness.proof.statement
                    ),
                ),
                None => (
                    LN_2,
                    format!(
                        "{service} is the deepest ill service: {} depends on it",
                        suffering.join(", ")
                    ),
                ),
            };
            let (cause, category) = (its.cause.clone(), its.category);
            let mut finding =
                Finding::new(Self::NAME, target, cause, category, Role::Context, weight)
                    .proven_by(its.proof.clone())
                    .saying(explanation);
            finding.onset = Some(its.onset);
            findings.push(finding);
        }
        Ok(findings)
    }
}
