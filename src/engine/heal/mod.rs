//! The heal of one incident: runs the effects its state asks for, one after another.
//!
//! Each file holds one kind of effect; this one holds the loop.

mod admission;
mod closing;
mod diagnose;
mod plan;
mod running;
mod verify;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use homeostasis_core::cycle::Effect;
use homeostasis_core::policy::Permit;
use homeostasis_core::record::{EventKind, Plan};
use homeostasis_core::{ErrorKind, ErrorReport, Incident, RunId};

use crate::engine::calls;
use crate::engine::journal::{IncidentJournal, JournalError, describe};
use crate::engine::lease::HeldLease;
use crate::engine::remember::remember;
use crate::engine::shared::Shared;
use crate::engine::slots::Slot;

/// How soon the journal is tried again after it failed; it doubles up to a minute.
const JOURNAL_RETRY: Duration = Duration::from_secs(1);

/// The longest wait for the journal.
const LONGEST_JOURNAL_RETRY: Duration = Duration::from_secs(60);

/// A journal that refuses this often in a row, for a reason that does not pass, is given up.
const MAX_REFUSALS: u32 = 5;

/// How often people's answers and the return of symptoms are looked at.
const POLL: Duration = Duration::from_secs(1);

/// One incident being healed.
#[derive(Debug)]
pub(crate) struct Heal {
    shared: Arc<Shared>,
    journal: Arc<IncidentJournal>,
    slot: Option<Slot>,
    permit: Option<Permit>,
    lease: Option<HeldLease>,
    /// How often a remediator gave no outcome.
    reentries: u32,
    /// How many steps of its run were settled, forward and back, when it was last entered.
    settled: usize,
    /// Whether analyzers know that the incident is over.
    told: Arc<AtomicBool>,
}

impl Heal {
    /// `told` outlives heals of the incident that fail: what is over is told once.
    pub(crate) fn new(
        shared: Arc<Shared>,
        journal: Arc<IncidentJournal>,
        told: Arc<AtomicBool>,
    ) -> Self {
        Self {
            shared,
            journal,
            slot: None,
            permit: None,
            lease: None,
            reentries: 0,
            settled: 0,
            told,
        }
    }

    /// Goes on until the incident is closed or the engine shuts down.
    pub(crate) async fn run(mut self) {
        let mut refusals = 0;
        let mut retry = JOURNAL_RETRY;
        loop {
            let incident = self.journal.incident().await;
            self.shared.board().note(&incident, self.shared.now());
            if !matches!(incident.effects().first(), Some(Effect::AskGate { .. }))
                && !incident.is_in_flight()
            {
                self.rest().await;
            }
            // Only now: nobody else waits for analyzers that take their time.
            if incident.is_closed() && !self.told.swap(true, Ordering::Relaxed) {
                Box::pin(self.tell_analyzers(&incident)).await;
                Box::pin(remember(&self.shared, &incident)).await;
            }
            let Some(effect) = incident.effects().into_iter().next() else {
                return;
            };
            if self.shared.cancellation.is_cancelled() {
                return;
            }
            let Err(error) = self.perform(&incident, effect).await else {
                (refusals, retry) = (0, JOURNAL_RETRY);
                continue;
            };
            self.shared.vitals.store_error();
            let report = ErrorReport::message(error.kind(), describe(&error));
            tracing::error!(incident = %incident.id, %report, "the journal refused");
            if report.kind == ErrorKind::Permanent {
                refusals += 1;
                if refusals == MAX_REFUSALS {
                    // What cannot be written cannot be done; the incident stays open for people.
                    self.shared
                        .blame("journal", &incident.id.to_string(), &report);
                    self.rest().await;
                    return;
                }
            }
            if !self.shared.pause(retry).await {
                return;
            }
            retry = (retry * 2).min(LONGEST_JOURNAL_RETRY);
        }
    }

    /// Gives back what only an active heal holds.
    async fn rest(&mut self) {
        self.slot = None;
        self.permit = None;
        if let Some(lease) = self.lease.take() {
            lease.release(&self.shared).await;
        }
    }

    async fn perform(
        &mut self,
        incident: &Arc<Incident>,
        effect: Effect,
    ) -> Result<(), JournalError> {
        // Boxed: an incident that waits for people holds no room for everything it might do.
        match effect {
            Effect::Diagnose => Box::pin(self.diagnose()).await,
            Effect::Plan => Box::pin(self.plan(incident)).await,
            Effect::AskGate { plan_idx } => Box::pin(self.ask_gate(plan_idx)).await,
            Effect::AwaitApproval { plan_idx, expires } => {
                Box::pin(self.await_approval(incident, plan_idx, expires)).await
            }
            Effect::WakeAt { plan_idx, until } => {
                Box::pin(self.wake_at(incident, plan_idx, until)).await
            }
            Effect::Execute { run } => Box::pin(self.execute(incident, run)).await,
            Effect::Verify { run } => Box::pin(self.verify(incident, run)).await,
            Effect::Undo { run } => Box::pin(self.undo(incident, run)).await,
            Effect::Escalate { reason } => Box::pin(self.escalate(reason)).await,
            Effect::WatchRecovery => Box::pin(self.watch_recovery(incident)).await,
            Effect::Close { resolution } => {
                let closed = vec![EventKind::Closed { resolution }];
                Box::pin(self.journal.append(closed)).await.map(drop)
            }
            other => {
                let reason = format!("this engine does not know the effect {other:?}");
                Box::pin(self.escalate(reason)).await
            }
        }
    }

    /// Calls a plug-in on a task of its own, within `limit`.
    async fn call<T: Send + 'static>(
        &self,
        limit: Duration,
        plugin: impl Future<Output = Result<T, ErrorReport>> + Send + 'static,
    ) -> Result<T, ErrorReport> {
        calls::call(&self.shared.tasks, self.shared.clock(), limit, plugin).await
    }

    fn blamed(&self, stage: &str, plugin: &str, report: ErrorReport) -> EventKind {
        self.shared.blame(stage, plugin, &report);
        EventKind::Blamed {
            stage: stage.to_owned(),
            plugin: plugin.to_owned(),
            report,
        }
    }
}

fn plan_of(incident: &Incident, run: RunId) -> Option<&Plan> {
    incident
        .run(run)
        .and_then(|state| incident.plan(state.plan))
}
