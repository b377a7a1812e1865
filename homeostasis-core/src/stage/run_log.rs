//! The run log: the journal as an executor sees it, and the last lock before an effect.

use std::fmt;

use async_trait::async_trait;

use crate::error::ErrorKind;
use crate::flags::KillSwitch;
use crate::id::RunId;
use crate::policy::{Grant, Permit, PermitError};
use crate::port::{Fence, StoreError};
use crate::record::{
    EventKind, Outcome, Plan, RunState, StepIntent, StepOutcome, StepPhase, StepState,
};
use crate::time::{Clock, Timestamp};

/// Where a run log writes: the incident's journal. Durable when the call returns.
#[async_trait]
pub trait RunJournal: fmt::Debug + Send + Sync {
    /// Appends `kind` to the incident if the lease in `fence` is still the newest.
    async fn append(&self, kind: EventKind, fence: Fence) -> Result<(), StoreError>;
}

/// Why a step may not start, or its outcome could not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunLogError {
    /// No permit was redeemed for this run.
    #[error("no permit was redeemed for {run}")]
    NotPermitted {
        /// Which run.
        run: RunId,
    },
    /// The permit does not cover this run.
    #[error("the permit is refused")]
    Permit(#[source] PermitError),
    /// It is too late to start another step.
    #[error("the permit expired at {expired}")]
    Expired {
        /// When.
        expired: Timestamp,
    },
    /// Everything is stopped.
    #[error("the kill switch is engaged")]
    Stopped,
    /// The order of intent and outcome was not kept.
    #[error("step {step_idx}: {reason}", step_idx = step_idx + 1)]
    Sequence {
        /// Which step, from 0.
        step_idx: usize,
        /// What was wrong.
        reason: String,
    },
    /// The journal refused: another process took over, or it failed.
    #[error("the journal refused")]
    Journal(#[source] StoreError),
}

impl RunLogError {
    /// What may be done next.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NotPermitted { .. } | Self::Permit(_) | Self::Expired { .. } => ErrorKind::Denied,
            Self::Stopped => ErrorKind::Cancelled,
            Self::Sequence { .. } => ErrorKind::Permanent,
            Self::Journal(source) => source.kind(),
        }
    }

    /// The outcome of a run that this stopped before it was through.
    pub fn halted(&self) -> Outcome {
        let cause = std::error::Error::source(self)
            .map(|source| format!(": {source}"))
            .unwrap_or_default();
        Outcome::Halted {
            reason: format!("{self}{cause}"),
        }
    }
}

/// The log of one run. Every effect passes it twice: intent before, outcome after.
///
/// It refuses an intent without a redeemed permit for that direction, after its expiry, with the
/// kill switch engaged, out of sequence, other than the plan says, or when the journal says that the lease is stale. An intent is durable when the call returns.
#[derive(Debug)]
pub struct RunLog<'a> {
    plan: &'a Plan,
    state: RunState,
    journal: &'a dyn RunJournal,
    clock: &'a dyn Clock,
    kill_switch: KillSwitch,
    grant: Option<Grant>,
}

impl<'a> RunLog<'a> {
    /// The log of the run in `state`, of `plan`.
    pub fn new(
        plan: &'a Plan,
        state: RunState,
        journal: &'a dyn RunJournal,
        clock: &'a dyn Clock,
        kill_switch: KillSwitch,
    ) -> Self {
        Self {
            plan,
            state,
            journal,
            clock,
            kill_switch,
            grant: None,
        }
    }

    /// The plan that was permitted.
    pub fn plan(&self) -> &'a Plan {
        self.plan
    }

    /// What the journal knows of the run.
    pub fn state(&self) -> &RunState {
        &self.state
    }

    /// What the journal knows of one step; `NotStarted` for a step the plan does not have.
    pub fn step(&self, phase: StepPhase, step_idx: usize) -> &StepState {
        const NONE: &StepState = &StepState::NotStarted;
        self.state.phase(phase).get(step_idx).unwrap_or(NONE)
    }

    /// Consumes the permit; from now on intents of its purpose are accepted.
    ///
    /// # Errors
    /// If it is for another run, plan or lease than the journal has, or expired.
    pub fn redeem(&mut self, permit: Permit) -> Result<(), RunLogError> {
        let (permitted, held) = (permit.lease().token, self.state.token);
        if permitted != held {
            return Err(RunLogError::Permit(PermitError::OtherLease {
                permitted,
                held,
            }));
        }
        // The permit is for the plan that was opened, and that is the plan that is carried out.
        let shown = self.plan.hash();
        if shown != self.state.plan_hash {
            return Err(RunLogError::Permit(PermitError::OtherPlan {
                permitted: self.state.plan_hash.short(),
                shown: shown.short(),
            }));
        }
        let grant = permit
            .redeem(self.state.run, shown, self.clock.now())
            .map_err(RunLogError::Permit)?;
        self.grant = Some(grant);
        Ok(())
    }

    /// When no further step may start; `None` before a permit is redeemed.
    pub fn expires(&self) -> Option<Timestamp> {
        self.grant.as_ref().map(Grant::expires)
    }

    /// Makes `intent` durable. Only then may the effect begin.
    ///
    /// # Errors
    /// See [`RunLogError`]; after any of them the effect must not begin.
    pub async fn intend(&mut self, intent: StepIntent) -> Result<(), RunLogError> {
        let fence = self.ready(&intent)?;
        let (step_idx, phase) = (intent.step_idx, intent.phase);
        let kind = EventKind::StepIntended {
            run: self.state.run,
            intent: intent.clone(),
        };
        self.journal
            .append(kind, fence)
            .await
            .map_err(RunLogError::Journal)?;
        // The switch may have been thrown while the intent was being written.
        self.state.note_begun(&intent);
        self.state.phase_mut(phase)[step_idx] = StepState::InFlight(intent);
        if self.kill_switch.is_engaged() {
            let outcome = StepOutcome::Skipped {
                reason: "the kill switch was engaged before the effect began".to_owned(),
            };
            self.end(phase, step_idx, outcome).await?;
            return Err(RunLogError::Stopped);
        }
        Ok(())
    }

    /// Makes the outcome of a step durable. It is accepted with the kill switch engaged and after
    /// the expiry: what happened, happened.
    ///
    /// # Errors
    /// If no permit for that direction was redeemed, the step was neither intended nor is skipped, or the journal refused.
    pub async fn end(
        &mut self,
        phase: StepPhase,
        step_idx: usize,
        outcome: StepOutcome,
    ) -> Result<(), RunLogError> {
        let grant = self.grant.as_ref().ok_or(RunLogError::NotPermitted {
            run: self.state.run,
        })?;
        grant.covers(phase).map_err(RunLogError::Permit)?;
        let fence = grant.lease.fence();
        let intent = match self.step(phase, step_idx) {
            StepState::InFlight(intent) => Some(intent.clone()),
            StepState::NotStarted
                if matches!(outcome, StepOutcome::Skipped { .. })
                    && step_idx < self.state.phase(phase).len() =>
            {
                None
            }
            _ => {
                return Err(RunLogError::Sequence {
                    step_idx,
                    reason: "an outcome without an intent".to_owned(),
                });
            }
        };
        let kind = EventKind::StepEnded {
            run: self.state.run,
            step_idx,
            phase,
            outcome: outcome.clone(),
        };
        self.journal
            .append(kind, fence)
            .await
            .map_err(RunLogError::Journal)?;
        self.state.phase_mut(phase)[step_idx] = StepState::Ended { intent, outcome };
        Ok(())
    }

    fn ready(&self, intent: &StepIntent) -> Result<Fence, RunLogError> {
        let grant = self.grant.as_ref().ok_or(RunLogError::NotPermitted {
            run: self.state.run,
        })?;
        grant.covers(intent.phase).map_err(RunLogError::Permit)?;
        if self.kill_switch.is_engaged() {
            return Err(RunLogError::Stopped);
        }
        if self.clock.now() >= grant.expires {
            return Err(RunLogError::Expired {
                expired: grant.expires,
            });
        }
        if let Some(reason) = self.state.objection(self.plan, intent) {
            let step_idx = intent.step_idx;
            return Err(RunLogError::Sequence { step_idx, reason });
        }
        Ok(grant.lease.fence())
    }
}

#[cfg(test)]
mod tests;
