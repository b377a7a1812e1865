//! The engine as an analyzer beside others.

use homeostasis_core::record::{Category, Finding, Proof, Role};
use homeostasis_core::stage::{AnalyzeError, Analyzer, Evidence};
use homeostasis_core::{Context, Target, async_trait};

use super::bundle::{EvidenceBundle, SeriesKind};
use super::engine::{EvidenceFusion, Suspect};
use super::family::Family;

/// So many suspects become findings.
const MOST: usize = 5;

/// What a suspect says below this, in nats, is no finding.
const LEAST: f64 = 0.1;

/// Texts are cut after so many characters.
const MAX_TEXT: usize = 2000;

/// No finding counts more than this, in nats.
const MAX_NATS: f64 = 8.0;

/// Ranks services by [`EvidenceFusion`] from what was observed, without memory of earlier incidents.
///
/// Each of the first five suspects is a finding of role cause, with the nats that all families give
/// it, their proofs, and a sentence that shows the sum. If the ranking names nobody, there is no
/// finding. The cause is that of the strongest family: `network_delay`, `behavior_change`,
/// `error_rate` of failures, and for measurements `cpu_saturation`, `resource_growth`, `error_rate`
/// or `slow_response` by what the strongest of them measures.
#[derive(Debug, Clone, Copy, Default)]
pub struct FusionAnalyzer;

#[async_trait]
impl Analyzer for FusionAnalyzer {
    fn name(&self) -> &'static str {
        "fusion"
    }

    async fn analyze(
        &self,
        cx: &Context,
        evidence: &Evidence<'_>,
    ) -> Result<Vec<Finding>, AnalyzeError> {
        let bundle = EvidenceBundle::gather(cx, evidence);
        let ranking = EvidenceFusion.rank(&bundle);
        if ranking.abstained.is_some() {
            return Ok(Vec::new());
        }
        let suspects = ranking.suspects.iter().take(MOST);
        let findings =
            suspects.filter(|suspect| suspect.nats >= LEAST && !suspect.proofs.is_empty());
        Ok(findings.filter_map(|it| finding(self.name(), it)).collect())
    }
}

fn finding(analyzer: &str, suspect: &Suspect) -> Option<Finding> {
    let target = Target::service(&suspect.service).ok()?;
    let strongest = suspect.families.first()?;
    let (cause, category) = match strongest.family {
        Family::Network => ("network_delay", Category::Network),
        Family::Behavior => ("behavior_change", Category::ApplicationError),
        Family::Failure => ("error_rate", Category::ApplicationError),
        _ => {
            let reference = suspect.proofs.first()?.reference.as_str();
            let metric = metric_of(&suspect.service, reference);
            match SeriesKind::of_metric(metric) {
                SeriesKind::Cpu => ("cpu_saturation", Category::ResourceExhaustion),
                SeriesKind::Memory | SeriesKind::Disk => {
                    ("resource_growth", Category::ResourceExhaustion)
                }
                SeriesKind::Errors => ("error_rate", Category::ApplicationError),
                _ => ("slow_response", Category::ResourceExhaustion),
            }
        }
    };
    let nats = suspect.nats.min(MAX_NATS);
    let mut finding = Finding::new(analyzer, target, cause, category, Role::Cause, nats)
        .saying(cut(&suspect.to_string()));
    finding.onset = suspect.proofs.iter().filter_map(|proof| proof.at).min();
    let proofs = suspect.proofs.iter().take(Finding::MAX_PROOFS);
    let proof = |proof: &Proof| Proof {
        reference: cut(&proof.reference),
        statement: cut(&proof.statement),
        ..proof.clone()
    };
    finding.proofs = proofs.map(proof).collect();
    Some(finding)
}

/// The metric that a proof refers to: `metric{…}` of a series, `service/metric` of an alarm.
fn metric_of<'a>(service: &str, reference: &'a str) -> &'a str {
    let own = reference.strip_prefix(service);
    let metric = own.and_then(|rest| rest.strip_prefix('/'));
    let metric = metric.unwrap_or(reference);
    metric.split('{').next().unwrap_or(metric)
}

/// Names of operations and first words of lines can be as long as they like; findings cannot.
fn cut(text: &str) -> String {
    text.chars().take(MAX_TEXT).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cause_is_not_taken_from_the_name_of_a_service() {
        let kind = |reference| SeriesKind::of_metric(metric_of("memcached", reference));
        assert_eq!(kind("memcached/queue"), SeriesKind::Other);
        assert_eq!(kind("queue{service=\"memcached\"}"), SeriesKind::Other);
        assert_eq!(kind("memcached/cpu_usage"), SeriesKind::Cpu);
        assert_eq!(kind("heap{service=\"memcached\"}"), SeriesKind::Memory);
    }
}
