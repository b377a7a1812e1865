//! The remediator that runs rollouts.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use homeostasis_core::Context;
use homeostasis_core::policy::Permit;
use homeostasis_core::record::{Outcome, Plan};
use homeostasis_core::stage::{ExecuteError, PlanError, PlanRequest, Remediator, RunLog};

use crate::action::ActionRegistry;

/// The name of [`RolloutRemediator`] in plans, journal and configuration.
pub const ROLLOUTS: &str = "rollouts";

/// Runs the plans of [rollouts](super::Rollout). It proposes none: people order them.
#[derive(Debug, Clone)]
pub struct RolloutRemediator {
    actions: Arc<ActionRegistry>,
}

impl RolloutRemediator {
    /// A remediator that runs these actions.
    pub fn new(actions: impl Into<Arc<ActionRegistry>>) -> Self {
        Self {
            actions: actions.into(),
        }
    }

    /// The actions.
    pub fn actions(&self) -> &Arc<ActionRegistry> {
        &self.actions
    }
}

#[async_trait]
impl Remediator for RolloutRemediator {
    fn name(&self) -> &'static str {
        ROLLOUTS
    }

    async fn plan(&self, _: &Context, _: PlanRequest<'_>) -> Result<Vec<Plan>, PlanError> {
        Ok(Vec::new())
    }

    fn known_names(&self) -> Option<BTreeSet<String>> {
        let names = self.actions.names();
        let names = names.flat_map(|name| [name.to_owned(), format!("{ROLLOUTS}.{name}")]);
        Some(names.collect())
    }

    async fn execute(
        &self,
        cx: &Context,
        permit: Permit,
        run: &mut RunLog<'_>,
    ) -> Result<Outcome, ExecuteError> {
        crate::run::execute(&self.actions, cx, permit, run).await
    }

    async fn undo(
        &self,
        cx: &Context,
        permit: Permit,
        run: &mut RunLog<'_>,
    ) -> Result<Outcome, ExecuteError> {
        crate::run::undo(&self.actions, cx, permit, run).await
    }
}
