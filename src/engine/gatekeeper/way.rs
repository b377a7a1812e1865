//! Who goes first: a rollout that is ordered holds the lease of its service for hours, and something
//! worse does not wait for its end.

use std::sync::Arc;

use homeostasis_core::Incident;
use homeostasis_core::cycle::Phase;
use homeostasis_core::record::Plan;
use serde_json::json;

use super::HEALER;
use crate::engine::hand_over;
use crate::engine::shared::Shared;

/// Has the rollout taken back whose run is `holder`, if the incident that waits for its lease is worse
/// than the rollout's own (SEV3), and does not stem from an order itself. The heal is admitted once the
/// lease is free.
///
/// A rollout of another process is not seen from here: then the heal waits.
pub(super) async fn make(shared: &Shared, incident: &Incident, plan: &Plan, holder: &str) {
    if plan.ordered_by.is_some() {
        return;
    }
    let open: Vec<_> = shared.journals().values().map(Arc::clone).collect();
    for journal in open {
        let other = journal.incident().await;
        let Phase::Running { run } = other.phase else {
            continue;
        };
        let is_in_the_way = other.is_ordered()
            && run.to_string() == holder
            && incident.severity < other.severity
            && other
                .run(run)
                .is_some_and(|state| state.cancelled.is_none());
        if !is_in_the_way {
            continue;
        }
        let (worse, id) = (incident.severity, incident.id);
        let reason = format!("a heal of {id} ({worse}) waits for the lease of the service");
        let subject = format!("{} {run}", other.id);
        let detail = json!({ "reason": reason });
        if let Err(error) = shared
            .audit(HEALER, "cancel_run", &subject, true, detail)
            .await
        {
            tracing::error!(%error, "that a rollout makes way could not be audited");
        }
        // If it ended meanwhile it is in nobody's way.
        if let Err(error) = hand_over::cancel(shared, other.id, run, (HEALER, &reason)).await {
            tracing::debug!(%error, "the rollout could not be stopped");
        }
        return;
    }
}
