//! Running: executing a permitted plan, going on with it after a crash, taking it back.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use homeostasis_core::policy::{GateDecision, Permit, Purpose};
use homeostasis_core::record::{EventKind, Outcome, Plan, RunState};
use homeostasis_core::stage::RunLog;
use homeostasis_core::{Cancellation, ErrorKind, ErrorReport, Incident, RunId};

use super::{Heal, POLL, plan_of};
use crate::engine::gatekeeper::{self, Readmission};
use crate::engine::hand_over;
use crate::engine::journal::JournalError;

/// How often a remediator that gave no outcome is asked to go on before people are.
const MAX_REENTRIES: u32 = 2;

/// How long taking back waits for the lease on its target: as long as another heal may take.
const UNDO_WAITS: Duration = Duration::from_secs(15 * 60);

/// What came of asking for a permit for an open run.
enum Entry {
    Permitted(Permit),
    /// It may not go on; people must know.
    Halted(String),
    /// The engine shuts down: the next start takes it up.
    Stopping,
}

impl Heal {
    pub(super) async fn execute(
        &mut self,
        incident: &Arc<Incident>,
        run: RunId,
    ) -> Result<(), JournalError> {
        // Nothing is begun, resumed or probed of a run that a person stopped.
        let stopped = hand_over::cancelled(&*self.journal.incident().await, run);
        let carried = match stopped {
            Some(outcome) => Some(outcome),
            None => self.carry_out(incident, run, Purpose::Resume).await?,
        };
        let Some(outcome) = carried else {
            return Ok(());
        };
        // That a person stopped it says nothing of the playbook.
        let now = self.journal.incident().await;
        let stopped = hand_over::is_cancelled(&now, run);
        let failed =
            !stopped && matches!(outcome, Outcome::Failed { .. } | Outcome::Unknown { .. });
        let kinds = hand_over::ending(&now, run, outcome);
        match plan_of(incident, run).filter(|_| failed) {
            Some(plan) => gatekeeper::settle(&self.shared, &self.journal, plan, false, kinds)
                .await
                .map(drop),
            None => self.journal.append(kinds).await.map(drop),
        }
    }

    pub(super) async fn undo(
        &mut self,
        incident: &Arc<Incident>,
        run: RunId,
    ) -> Result<(), JournalError> {
        // The permit to execute does not permit to take back.
        self.permit = None;
        let Some(outcome) = self.carry_out(incident, run, Purpose::Undo).await? else {
            return Ok(());
        };
        self.journal
            .append(vec![EventKind::UndoEnded { run, outcome }])
            .await
            .map(drop)
    }

    /// Executes or undoes `run` under a permit. `None` means that it is to be asked again: after a
    /// failure of the remediator, or by the next start because the engine shuts down.
    async fn carry_out(
        &mut self,
        incident: &Arc<Incident>,
        run: RunId,
        purpose: Purpose,
    ) -> Result<Option<Outcome>, JournalError> {
        let halted = |reason: String| Ok(Some(Outcome::Halted { reason }));
        let Some(plan) = plan_of(incident, run) else {
            return halted(format!("{run} has no plan"));
        };
        // What harms is taken back at once, whoever else heals.
        if purpose != Purpose::Undo && !self.take_slot().await {
            return Ok(None);
        }
        let permit = match self.permit.take() {
            Some(permit) => permit,
            None => match self.readmit(incident, plan, run, purpose).await? {
                Entry::Permitted(permit) => permit,
                Entry::Halted(reason) => return halted(reason),
                Entry::Stopping => return Ok(None),
            },
        };
        let remediators = &self.shared.stages.remediators;
        let remediator = remediators
            .iter()
            .find(|known| known.name() == plan.remediator);
        let Some(remediator) = remediator.map(Arc::clone) else {
            return halted(format!("no remediator is called {:?}", plan.remediator));
        };
        let incident = self.journal.incident().await;
        let Some(state) = incident.run(run).cloned() else {
            return halted(format!("{run} is unknown"));
        };
        self.note_progress(&state);
        let leases = self.lease.as_ref();
        let Some((lost, held_until)) = leases.map(|held| (held.lost(), held.held_until())) else {
            return halted(format!("{run} has no lease"));
        };
        let watches = plan.watches();
        if purpose != Purpose::Undo && plan.ordered_by.is_some() && !watches.is_zero() {
            // It watches for hours and acts for moments: it keeps its lease and nobody else waits.
            self.slot = None;
        }
        let limit = self.shared.policy.permit_ttl.saturating_add(watches);
        let stop = Cancellation::default();
        let cx = self
            .shared
            .context(Some(&incident), limit)
            .cancelled_by(stop.clone());
        let name = plan.remediator.clone();
        let (shared, journal, plan) = (
            Arc::clone(&self.shared),
            Arc::clone(&self.journal),
            plan.clone(),
        );
        let clock = Arc::clone(self.shared.clock());
        let its_clock = Arc::clone(&clock);
        let effects = async move {
            let kill_switch = shared.controls.kill_switch.clone();
            let mut log = RunLog::new(&plan, state, &*journal, &*clock, kill_switch);
            let outcome = match purpose {
                Purpose::Undo => remediator.undo(&cx, permit, &mut log).await,
                _ => remediator.execute(&cx, permit, &mut log).await,
            };
            outcome.map_err(|error| error.report())
        };
        let effects = self.call(limit, held_until.while_held(its_clock, effects));
        let answer = tokio::select! {
            answer = effects => answer,
            () = lost.cancelled() => {
                Err(ErrorReport::message(ErrorKind::Conflict, "the lease on the target was lost"))
            }
            never = self.pass_on_stop(run, &stop) => match never {},
        };
        let answer = match answer {
            // A claim of completion is held against what the journal knows of the steps.
            Ok(Outcome::Completed) => match self.unsettled(run, purpose).await {
                None => Ok(Outcome::Completed),
                Some(step_idx) => Err(ErrorReport::message(
                    ErrorKind::Permanent,
                    format!("said it was through, but step {} is not", step_idx + 1),
                )),
            },
            other => other,
        };
        match answer {
            Ok(outcome) => Ok(Some(outcome)),
            Err(_) if self.shared.cancellation.is_cancelled() => Ok(None),
            // It gave up because it was told to.
            Err(_)
                if purpose != Purpose::Undo
                    && hand_over::is_cancelled(&*self.journal.incident().await, run) =>
            {
                Ok(None)
            }
            Err(report) => {
                self.reentries += 1;
                let reason = report.to_string();
                let blamed = self.blamed("remediator", &name, report);
                self.journal.append(vec![blamed]).await?;
                if self.reentries > MAX_REENTRIES {
                    halted(reason)
                } else {
                    Ok(None)
                }
            }
        }
    }

    /// A remediator that gave up on a step and brought it to its end the next time is not given up
    /// on.
    fn note_progress(&mut self, state: &RunState) {
        let steps = state.steps.iter().chain(&state.undo);
        let settled = steps.filter(|step| step.is_settled()).count();
        if settled > self.settled {
            (self.settled, self.reentries) = (settled, 0);
        }
    }

    /// Asks the remediator to stop when the engine does or a person stops the run; waits for ever.
    async fn pass_on_stop(&self, run: RunId, stop: &Cancellation) -> Infallible {
        while self.shared.pause(POLL).await
            && !hand_over::is_cancelled(&*self.journal.incident().await, run)
        {}
        stop.cancel();
        std::future::pending().await
    }

    /// The first step that a completed run or undo would have settled and this one has not.
    async fn unsettled(&self, run: RunId, purpose: Purpose) -> Option<usize> {
        let incident = self.journal.incident().await;
        let plan = plan_of(&incident, run)?;
        incident.run(run)?.unsettled(plan, purpose.phase())
    }

    /// A new permit for an open run: under the lease that is held, or under a new one.
    ///
    /// It waits while the lease of a former life runs out, and through a pause of the healer.
    async fn readmit(
        &mut self,
        incident: &Arc<Incident>,
        plan: &Plan,
        run: RunId,
        purpose: Purpose,
    ) -> Result<Entry, JournalError> {
        if self
            .lease
            .as_ref()
            .is_some_and(|lease| lease.is_lost() || self.reentries > 0)
            && let Some(lease) = self.lease.take()
        {
            lease.release(&self.shared).await;
        }
        let begun = self.shared.now();
        let short = self.shared.settings.lease_ttl * 2;
        loop {
            let held = self.lease.take();
            let asked = gatekeeper::readmit(
                &self.shared,
                &self.journal,
                incident,
                plan,
                run,
                purpose,
                held,
            );
            let (reason, patience) = match asked.await? {
                Readmission::Granted(permit, lease) => {
                    self.lease = Some(lease);
                    return Ok(Entry::Permitted(permit));
                }
                Readmission::Refused(record, held) => {
                    self.lease = held;
                    if let GateDecision::Deferred { until } = record.decision {
                        if !self
                            .shared
                            .pause(until.since(self.shared.now()).min(POLL))
                            .await
                        {
                            return Ok(Entry::Stopping);
                        }
                        continue;
                    }
                    (record.reason(), short)
                }
                // Half taken back is worse than late.
                Readmission::NoLease(reason) if purpose == Purpose::Undo => {
                    (reason, short.max(UNDO_WAITS))
                }
                Readmission::NoLease(reason) => (reason, short),
                Readmission::Overtaken(reason) => {
                    gatekeeper::audit_refusal(&self.shared, plan, purpose, &reason).await;
                    return Ok(Entry::Halted(reason));
                }
            };
            let is_over = self.shared.now().since(begun) >= patience;
            if is_over || self.shared.controls.kill_switch.is_engaged() {
                // Once, not at every turn.
                gatekeeper::audit_refusal(&self.shared, plan, purpose, &reason).await;
                return Ok(Entry::Halted(reason));
            }
            if !self.shared.pause(POLL).await {
                return Ok(Entry::Stopping);
            }
        }
    }
}
