//! Rehearsing: what the gate would answer about a plan that nobody has made yet.

use std::fmt;
use std::sync::Arc;

use homeostasis_core::cycle::transition;
use homeostasis_core::policy::GateRecord;
use homeostasis_core::record::{
    Anomaly, EventKind, HealEvent, Plan, SCHEMA_VERSION, Severity, Subject,
};
use homeostasis_core::{IncidentId, Target};

use crate::engine::gatekeeper;
use crate::engine::journal::{JournalError, describe};
use crate::engine::shared::Shared;
use crate::engine::triage::triage;
use crate::engine::{EngineError, Homeostasis};

/// What the gate would answer now about a plan, for an incident of its target as the rules of
/// severity and reach see one that just began.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Rehearsal {
    /// How bad such an incident would be.
    pub severity: Severity,
    /// The answers, up to the one that decided.
    pub record: GateRecord,
}

impl fmt::Display for Rehearsal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "gate for a {} of this moment: {}",
            self.severity, self.record
        )?;
        for answer in &self.record.answers {
            writeln!(
                f,
                "  {:?}: {:?}, {}",
                answer.check, answer.answer, answer.detail
            )?;
        }
        Ok(())
    }
}

impl Homeostasis {
    /// What the gate would answer now about `plan`, whose author says how bad the trouble is that it
    /// is for. Mode, flags, policy, limits, breakers and the health of its peers are those of this
    /// moment; nothing is opened, counted or touched. Authorizer, tenants and pre-conditions are asked;
    /// no vote is called for, so a plan that needs a quorum has none.
    ///
    /// The incident of a rehearsal is one of its target alone, with no approval and, if the plan
    /// names a playbook, a known cause: a real one may be graver, wider, or less understood.
    ///
    /// # Errors
    /// If such an incident cannot be thought of: the plan breaks its post-conditions.
    pub async fn rehearse(
        &self,
        plan: &Plan,
        severity: Option<Severity>,
    ) -> Result<Rehearsal, EngineError> {
        let incident = plan.incident;
        if let Some(reason) = plan.violation() {
            return Err(EngineError::Refused {
                id: incident,
                reason,
            });
        }
        rehearse(&self.shared, plan, severity)
            .await
            .map_err(|error| EngineError::Refused {
                id: incident,
                reason: describe(&error),
            })
    }
}

async fn rehearse(
    shared: &Arc<Shared>,
    plan: &Plan,
    severity: Option<Severity>,
) -> Result<Rehearsal, JournalError> {
    let now = shared.now();
    let target: Target = plan.target.clone();
    let subject = Subject::Health("rehearsal".to_owned());
    let mut anomaly = Anomaly::new("rehearsal", target, subject, now);
    anomaly.severity_hint = severity;
    anomaly.playbook_hint = plan.playbook.as_ref().map(|playbook| playbook.id.clone());
    let (score, radius) = triage(&[anomaly.clone()], &shared.topology, 0, now);
    let opened = HealEvent {
        schema_version: SCHEMA_VERSION,
        incident: IncidentId::from_u128(0),
        seq: 0,
        at: now,
        node: shared.journal.node.clone(),
        kind: EventKind::Opened {
            tenant: shared.tenant.clone(),
            anomaly: Box::new(anomaly),
            severity: score.severity,
            radius,
            score: Some(score),
        },
    };
    let (incident, _) = transition(None, &opened)?;
    let record = gatekeeper::rehearse(shared, &incident, plan).await;
    Ok(Rehearsal {
        severity: incident.severity,
        record,
    })
}
