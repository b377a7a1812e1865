//! Remembering: closed incidents go to the knowledge base, those of earlier lives too.

use std::sync::Arc;

use homeostasis_core::cycle::{Phase, replay};
use homeostasis_core::port::{PastIncident, PastRun};
use homeostasis_core::record::{Outcome, RunState, VerdictKind};
use homeostasis_core::{Incident, IncidentId};

use crate::engine::shared::Shared;

/// At most this many incidents of earlier lives are read at the start, the newest.
const MAX_REREAD: usize = 512;

/// What is remembered of `incident`; `None` while it is open.
pub(crate) fn past(incident: &Incident) -> Option<PastIncident> {
    if !matches!(incident.phase, Phase::Closed { .. }) {
        return None;
    }
    let tried = |run: &RunState| {
        let plan = incident.plan(run.plan);
        let playbook = plan.and_then(|plan| plan.playbook.as_ref());
        PastRun {
            playbook: playbook.map(|playbook| playbook.id.clone()),
            verdict: verdict(incident, run),
        }
    };
    let cause = incident.diagnosis.as_ref();
    let cause = cause.and_then(|diagnosis| diagnosis.root_cause());
    Some(PastIncident {
        incident: incident.id,
        fingerprint: incident.fingerprint(),
        target: incident.anomalies[0].target.clone(),
        cause: cause.map(|cause| cause.cause.clone()),
        runs: incident.runs.iter().map(tried).collect(),
        closed_at: incident.updated_at,
    })
}

/// The last verdict on a run; without one, what its outcome says.
fn verdict(incident: &Incident, run: &RunState) -> VerdictKind {
    let mut given = incident.verdicts.iter().rev();
    match (given.find(|(of, _)| *of == run.run), &run.outcome) {
        (Some((_, verdict)), _) => verdict.kind,
        // That a person stopped it says nothing of the playbook.
        (None, Some(Outcome::Failed { .. })) if run.stopped_by().is_none() => VerdictKind::Failed,
        (None, _) => VerdictKind::Uncertain,
    }
}

/// Gives a closed incident to the knowledge base. What goes wrong changes what is chosen first, and
/// nothing else.
pub(crate) async fn remember(shared: &Shared, incident: &Incident) {
    if let Some(past) = past(incident)
        && let Err(error) = shared.knowledge.remember(past).await
    {
        shared.blame("knowledge", "remember", &error.report());
    }
}

/// Reads the newest closed incidents of the store, oldest of them first.
pub(crate) async fn reread(shared: Arc<Shared>) {
    let store = &shared.journal.store;
    let ids: Vec<IncidentId> = match store.incidents(MAX_REREAD).await {
        Ok(ids) => ids,
        Err(error) => {
            tracing::warn!(%error, "past incidents cannot be read");
            return;
        }
    };
    for id in ids.into_iter().rev() {
        if shared.cancellation.is_cancelled() {
            return;
        }
        let Ok(events) = store.read(id).await else {
            continue;
        };
        if let Ok(Some(incident)) = replay(&events) {
            remember(&shared, &incident).await;
        }
    }
}
