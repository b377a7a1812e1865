//! Who became slow, failed more, or ran out of breath: robust comparison of every service with its
//! own past.

use std::collections::BTreeMap;

use homeostasis_core::record::{Category, Direction, Finding, Proof, Role, Subject};
use homeostasis_core::stage::{AnalyzeError, Analyzer, Evidence};
use homeostasis_core::{Context, Target, async_trait};

use crate::meaning::Meaning;
use crate::scope::Scope;
use crate::shift::{Shift, shifts_of};

/// A CPU is saturated from this share of one core on; a rise below it is work, not illness.
const SATURATED: f64 = 0.8;

/// A disk is full from this share on.
const FULL: f64 = 0.95;

/// Compares latency, errors, queues and CPU of every service around the incident with what they
/// were before it, and looks for disks that are full.
///
/// Normal is the median before the onset (less 15 seconds, since detectors need time); the unit
/// of deviation is max(IQR/1.349, 1.4826 MAD, 5 % of the median, a floor by unit). A rise counts
/// if its largest mean over two points in a row exceeds what the series does in its own calm. Its
/// weight is twice the logarithm of that excess, at most 5 nats. Services that merely wait for an
/// ill callee get findings too; which of them is the cause is for the
/// [fuser](crate::LogOddsFuser) to say.
///
/// Where a series has no past, an anomaly of the incident itself counts, up to 3 nats.
#[derive(Debug, Clone, Copy, Default)]
pub struct SaturationAnalyzer;

impl SaturationAnalyzer {
    const NAME: &str = "saturation";

    fn risen(scope: &Scope<'_>, service: &str, findings: &mut Vec<Finding>) {
        let mut ill: BTreeMap<(Target, &str), Vec<Shift>> = BTreeMap::new();
        for shift in shifts_of(scope, service) {
            if shift.meaning == Meaning::Cpu && shift.after < SATURATED {
                continue;
            }
            let key = (shift.target.clone(), shift.meaning.cause().0);
            ill.entry(key).or_default().push(shift);
        }
        for ((target, cause), shifts) in ill {
            // Strongest first, as `shifts_of` gave them.
            let strongest = &shifts[0];
            let mut finding = Finding::new(
                Self::NAME,
                target.clone(),
                cause,
                strongest.meaning.cause().1,
                Role::Cause,
                strongest.nats(),
            )
            .saying(format!("{target}: {}", strongest.statement()));
            finding.onset = shifts.iter().map(|shift| shift.onset).min();
            finding.proofs = shifts.iter().take(3).map(Shift::proof).collect();
            findings.push(finding);
        }
    }

    fn full_disks(scope: &Scope<'_>, service: &str, findings: &mut Vec<Finding>) {
        for window in scope.series_of(service) {
            let metric = &window.key.metric;
            let full = match metric.as_str() {
                "disk_used_ratio" | "disk_usage_ratio" => FULL,
                "disk_used_percent" | "disk_usage_percent" => FULL * 100.0,
                _ => continue,
            };
            let (Some(target), Some((at, value))) = (window.key.target(), window.latest()) else {
                continue;
            };
            if at < scope.split || !value.is_finite() || value < full {
                continue;
            }
            let onset = window
                .points
                .iter()
                .rev()
                .take_while(|(_, value)| value.is_nan() || *value >= full)
                .last()
                .map(|(at, _)| *at);
            let statement = format!("{metric} is {value:.3}, full from {full:.2} on");
            let mut finding = Finding::new(
                Self::NAME,
                target.clone(),
                "disk_full",
                Category::ResourceExhaustion,
                Role::Cause,
                4.0,
            )
            .proven_by(Proof {
                kind: "series".to_owned(),
                reference: window.key.to_string(),
                at: Some(at),
                statement: statement.clone(),
            })
            .saying(format!("{target}: {statement}"));
            finding.onset = onset;
            findings.push(finding);
        }
    }

    /// Anomalies of series that have no past of their own to compare with.
    fn only_detected(evidence: &Evidence<'_>, findings: &mut Vec<Finding>) {
        let mut found: BTreeMap<(Target, &str), Finding> = BTreeMap::new();
        for anomaly in &evidence.incident.anomalies {
            let Subject::Series(key) = &anomaly.subject else {
                continue;
            };
            let Some(meaning) = Meaning::of(&key.metric) else {
                continue;
            };
            let is_idle_cpu =
                meaning == Meaning::Cpu && anomaly.observed.is_none_or(|v| v < SATURATED);
            let (cause, category) = meaning.cause();
            let is_known = findings
                .iter()
                .any(|finding| finding.target == anomaly.target && finding.cause == cause);
            if anomaly.direction != Direction::High || is_idle_cpu || is_known {
                continue;
            }
            let told = if anomaly.surprise > 0.0 && anomaly.surprise.is_finite() {
                anomaly.surprise / 2.0
            } else {
                2.0 * anomaly.score.get()
            };
            let mut finding = Finding::new(
                Self::NAME,
                anomaly.target.clone(),
                cause,
                category,
                Role::Cause,
                told.min(3.0) * meaning.weight(),
            )
            .proven_by(Proof {
                // The same fact as the series that others cite.
                kind: "series".to_owned(),
                reference: key.to_string(),
                at: Some(anomaly.at),
                statement: anomaly.explanation.clone(),
            })
            .saying(format!("{}: {}", anomaly.target, anomaly.explanation));
            finding.onset = Some(anomaly.since);
            let strength = |finding: &Finding| finding.log_likelihood_ratio;
            let slot = found.entry((anomaly.target.clone(), cause));
            slot.and_modify(|known| {
                let order = strength(&finding)
                    .total_cmp(&strength(known))
                    .then_with(|| known.explanation.cmp(&finding.explanation));
                if order.is_gt() {
                    known.clone_from(&finding);
                }
            })
            .or_insert(finding);
        }
        findings.extend(found.into_values());
    }
}

#[async_trait]
impl Analyzer for SaturationAnalyzer {
    fn name(&self) -> &str {
        Self::NAME
    }

    async fn analyze(
        &self,
        cx: &Context,
        evidence: &Evidence<'_>,
    ) -> Result<Vec<Finding>, AnalyzeError> {
        let scope = Scope::new(cx, evidence);
        let mut findings = Vec::new();
        for service in &scope.services {
            Self::risen(&scope, service, &mut findings);
            Self::full_disks(&scope, service, &mut findings);
        }
        Self::only_detected(evidence, &mut findings);
        Ok(findings)
    }
}
