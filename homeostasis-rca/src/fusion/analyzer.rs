//! The engine as an analyzer beside others.

use homeostasis_core::record::{Category, Finding, Role};
use homeostasis_core::stage::{AnalyzeError, Analyzer, Evidence};
use homeostasis_core::{Context, Target, async_trait};

use super::bundle::{EvidenceBundle, SeriesKind};
use super::engine::{EvidenceFusion, Suspect};
use super::family::Family;

/// So many suspects become findings.
const MOST: usize = 5;

/// What a suspect says below this, in nats, is no finding.
const LEAST: f64 = 0.1;

/// No finding counts more than this, in nats.
const MAX_NATS: f64 = 8.0;

/// Ranks services by [`EvidenceFusion`] from what was observed, without memory of earlier incidents.
///
/// Each of the first five suspects is a finding of role cause, with the nats that all families give
/// it, their proofs, and a sentence that shows the sum. If the ranking names nobody, there is no
/// finding. The cause is that of the strongest family: `cpu_saturation` or `resource_growth`,
/// `network_delay`, `behavior_change`, and `slow_response` or `error_rate` for the others.
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
        Ok(findings
            .filter_map(|it| finding(&bundle, self.name(), it))
            .collect())
    }
}

fn finding(bundle: &EvidenceBundle, analyzer: &str, suspect: &Suspect) -> Option<Finding> {
    let target = Target::service(&suspect.service).ok()?;
    let strongest = suspect.families.first()?;
    let alarmed = bundle
        .alarm
        .as_ref()
        .map(|alarm| SeriesKind::of_metric(&alarm.metric));
    let (cause, category) = match strongest.family {
        Family::Resource => {
            let is_cpu = suspect
                .proofs
                .first()
                .is_some_and(|proof| SeriesKind::of_metric(&proof.reference) == SeriesKind::Cpu);
            let cause = if is_cpu {
                "cpu_saturation"
            } else {
                "resource_growth"
            };
            (cause, Category::ResourceExhaustion)
        }
        Family::Network => ("network_delay", Category::Network),
        Family::Behavior => ("behavior_change", Category::ApplicationError),
        Family::Failure => ("error_rate", Category::ApplicationError),
        _ if alarmed == Some(SeriesKind::Errors) => ("error_rate", Category::ApplicationError),
        _ => ("slow_response", Category::ResourceExhaustion),
    };
    let nats = suspect.nats.min(MAX_NATS);
    let mut finding = Finding::new(analyzer, target, cause, category, Role::Cause, nats)
        .saying(suspect.to_string());
    finding.onset = suspect.proofs.iter().filter_map(|proof| proof.at).min();
    let proofs = suspect.proofs.iter().take(Finding::MAX_PROOFS);
    finding.proofs = proofs.cloned().collect();
    Some(finding)
}
