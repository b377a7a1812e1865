//! Rolling out: somebody orders a new version of a service, and the engine sees it through.

use std::sync::Arc;

use homeostasis_core::port::Permission;
use homeostasis_core::record::{Anomaly, Diagnosis, EventKind, Severity, Subject};
use homeostasis_core::{ConfigError, IncidentId, PlanId, Target};
use homeostasis_remediate::action::ActionRegistry;
use homeostasis_remediate::rollout::{ROLLOUTS, Rollout, RolloutBinding};
use serde_json::json;

use crate::engine::journal::{IncidentJournal, JournalError, describe};
use crate::engine::operator::{CommandError, Operator};
use crate::engine::sense::start_heal;
use crate::engine::shared::Shared;
use crate::engine::{EngineError, Homeostasis};

/// Why a rollout did not begin.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RollOutError {
    /// No plan can be made of it.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Another one of the service is open.
    #[error("{service}: {open} is open, expected it to be closed first")]
    Open {
        /// Of which service.
        service: String,
        /// The other one.
        open: IncidentId,
    },
    /// The engine could not keep it.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// What rollouts are made of.
#[derive(Debug, Default)]
pub(crate) struct Rollouts {
    /// The actions of their steps; `None` if none is registered that shifts traffic.
    pub(crate) actions: Option<Arc<ActionRegistry>>,
    /// One is begun after the other: a service has one at a time.
    turn: tokio::sync::Mutex<()>,
}

impl Rollouts {
    pub(crate) fn of(actions: Option<Arc<ActionRegistry>>) -> Self {
        Self {
            actions,
            ..Self::default()
        }
    }
}

impl Homeostasis {
    /// Rolls a new version out on behalf of a person the host vouches for; see also
    /// [`Operator::roll_out`]. It is durable when the call returns, and goes on by itself.
    ///
    /// The rollout is an incident of its own: its plan goes through the gate, its run survives a
    /// crash, what it sees and decides is in its [events](Homeostasis::events_of). It is closed as
    /// healed when the last stage is confirmed. If a stage fails it is taken back, and people are
    /// told: the incident stays open until somebody closes it.
    ///
    /// The actions `shift_traffic` and `await_canary` must be registered
    /// ([`Builder::action`](crate::Builder::action)), and those of its other steps.
    ///
    /// # Errors
    /// Everything that is wrong with it; another rollout of the service is open; the store failed.
    #[cfg_attr(docsrs, doc(cfg(feature = "remediate")))]
    pub async fn roll_out(
        &self,
        rollout: &Rollout,
        by: impl Into<String>,
    ) -> Result<IncidentId, RollOutError> {
        begin(&self.shared, rollout, &by.into()).await
    }
}

impl Operator {
    /// Rolls a new version out, as [`Homeostasis::roll_out`] does.
    ///
    /// # Errors
    /// If they may not execute plans for the service, or it cannot begin.
    #[cfg_attr(docsrs, doc(cfg(feature = "remediate")))]
    pub async fn roll_out(&self, rollout: &Rollout) -> Result<IncidentId, CommandError> {
        let (action, subject) = ("roll_out", rollout.service.clone());
        let services = [subject.clone()];
        self.may(Permission::Execute, action, &subject, &services)
            .await?;
        let detail = json!({"from": rollout.from, "to": rollout.to});
        self.grant(action, &subject, detail).await?;
        match begin(self.shared(), rollout, &self.principal().name).await {
            Ok(id) => Ok(id),
            Err(RollOutError::Engine(error)) => Err(error.into()),
            Err(error) => self.refuse(action, &subject, error.to_string()).await,
        }
    }
}

async fn begin(
    shared: &Arc<Shared>,
    rollout: &Rollout,
    by: &str,
) -> Result<IncidentId, RollOutError> {
    rollout.check()?;
    let rollouts = &shared.stages.rollouts;
    let Some(actions) = &rollouts.actions else {
        let expected = "the action `shift_traffic` to be registered";
        return Err(ConfigError::single("actions", "none", expected).into());
    };
    let _turn = rollouts.turn.lock().await;
    let open: Vec<_> = shared.journals().values().map(Arc::clone).collect();
    for journal in open {
        let incident = journal.incident().await;
        let is_same = |target: &Target| target.service_name() == rollout.service;
        if !incident.is_closed() && incident.is_ordered() && incident.targets().iter().any(is_same)
        {
            return Err(RollOutError::Open {
                service: rollout.service.clone(),
                open: incident.id,
            });
        }
    }
    let id = shared.new_incident_id();
    let now = shared.now();
    let binding = RolloutBinding {
        id: PlanId::from_u128(id.as_u128()),
        incident: id,
        ordered_by: by,
        topology: &shared.topology,
    };
    let plan = rollout.plan(actions, binding)?;
    let why = format!("{} ordered: {}", by, plan.title);
    let subject = Subject::Condition(plan.title.clone());
    let anomaly = Anomaly::new(ROLLOUTS, plan.target.clone(), subject, now).saying(why.clone());
    let kinds = vec![
        EventKind::Opened {
            tenant: shared.tenant.clone(),
            anomaly: Box::new(anomaly),
            severity: Severity::Sev3,
            radius: plan.radius,
            score: None,
        },
        EventKind::Diagnosed {
            diagnosis: Diagnosis::abstain(why),
        },
        EventKind::Planned {
            plans: vec![plan],
            considered: Vec::new(),
        },
    ];
    match IncidentJournal::open(shared.journal.clone(), id, kinds, None).await {
        Ok(journal) => {
            start_heal(shared, Arc::new(journal)).await;
            Ok(id)
        }
        Err(JournalError::Store(error)) => {
            // It may be durable all the same: then it is found and seen through.
            shared.doubtful().push(id);
            Err(EngineError::Store(error).into())
        }
        Err(error) => Err(EngineError::Refused {
            id,
            reason: describe(&error),
        }
        .into()),
    }
}
