//! People and runs: answering about steps that were handed over, and stopping a run.

use std::sync::Arc;

use homeostasis_core::cycle::Phase;
use homeostasis_core::record::{
    EffectClass, EventKind, HandOver, HandOverAnswer, Outcome, StepOutcome, StepPhase, StepState,
};
use homeostasis_core::{ErrorKind, ErrorReport, Incident, IncidentId, RunId};

use crate::engine::journal::{IncidentJournal, JournalError, describe};
use crate::engine::shared::Shared;
use crate::engine::{EngineError, Homeostasis, open_journal};

impl Homeostasis {
    /// The steps that wait for a person: nobody can tell whether they happened, and they must not be
    /// repeated.
    pub async fn hand_overs(&self) -> Vec<HandOver> {
        let journals: Vec<_> = self.shared.journals().values().map(Arc::clone).collect();
        let mut waiting = Vec::new();
        for journal in journals {
            waiting.extend(journal.incident().await.hand_over());
        }
        waiting
    }

    /// Answers about a step that was handed over. When the call returns the answer is durable: what
    /// follows from it is done by this life or the next.
    ///
    /// After an answer the rest of the run goes on under the kill switch, the flag, the mode and the
    /// maintenance windows as they are now, as after a crash. Approvals, limits, breakers and peers
    /// are not asked again, however long the question waited: who answers takes that on themselves,
    /// and should abort if the world has moved on (ADR 0015).
    ///
    /// `by` is somebody the host vouches for: it has proven who they are and that they may, by its own
    /// rules. The access control is not asked and the audit log not written; the journal keeps the name
    /// and the reason. [`Operator::answer_hand_over`](crate::Operator::answer_hand_over) does both.
    ///
    /// The same answer to the same question is taken once: giving it again changes nothing and is no
    /// error.
    ///
    /// # Errors
    /// If the question does not wait: it was answered otherwise, the run went another way, or the
    /// incident is closed or unknown. If `by` is empty. If the store fails.
    pub async fn answer_hand_over(
        &self,
        asked: &HandOver,
        given: HandOverAnswer,
        by: &str,
        reason: &str,
    ) -> Result<(), EngineError> {
        answer(&self.shared, asked, given, (by, reason)).await
    }

    /// Stops a run: no step of it begins any more, steps in flight end, what can be taken back is,
    /// and people are called instead of another plan being tried, also if the step in flight was the
    /// last. A step that nobody can tell about is handed over first; then nothing is taken back until
    /// somebody answered. When the call returns that is durable. Cancelling a cancelled run changes
    /// nothing and is no error.
    ///
    /// A run that stopped half way, or whose undo did, and that is with people is taken back: what
    /// failed of its undo is tried anew, under the kill switch and the lease as they are now. If it
    /// stops again people are told again.
    ///
    /// `by` is somebody the host vouches for, as for [`answer_hand_over`](Self::answer_hand_over): a
    /// host must be able to stop what runs in it when its access control is down.
    /// [`Operator::cancel_run`](crate::Operator::cancel_run) asks and audits.
    ///
    /// # Errors
    /// If the run neither runs nor stopped half way: it ended, or is being verified or taken back. If
    /// a step stands in the way that nobody can tell about. If the incident is
    /// closed or unknown, or `by` is empty. If the store fails.
    pub async fn cancel_run(
        &self,
        id: IncidentId,
        run: RunId,
        by: &str,
        reason: &str,
    ) -> Result<(), EngineError> {
        cancel(&self.shared, id, run, (by, reason)).await
    }
}

pub(crate) async fn answer(
    shared: &Shared,
    asked: &HandOver,
    answer: HandOverAnswer,
    (by, reason): (&str, &str),
) -> Result<(), EngineError> {
    let id = asked.incident;
    let journal = journal_for(shared, id, by).await?;
    let kind = EventKind::HandOverAnswered {
        run: asked.run,
        step_idx: asked.step_idx,
        question: asked.question,
        answer,
        by: by.to_owned(),
        reason: reason.to_owned(),
    };
    let Err(error) = journal.append(vec![kind]).await else {
        return Ok(());
    };
    // As it would have been journaled.
    let (by, reason) = (shared.redacted(by), shared.redacted(reason));
    let incident = journal.incident().await;
    let given = incident.run(asked.run).and_then(|run| {
        let question = usize::try_from(asked.question).ok()?;
        run.answers.get(question)
    });
    match given {
        Some(given)
            if (given.step_idx, given.answer) == (asked.step_idx, answer)
                && (&given.by, &given.reason) == (&by, &reason) =>
        {
            Ok(())
        }
        Some(given) => Err(EngineError::Refused {
            id,
            reason: format!("{} already answered: {}", given.by, given.answer),
        }),
        None => Err(refused(id, error)),
    }
}

pub(crate) async fn cancel(
    shared: &Shared,
    id: IncidentId,
    run: RunId,
    (by, reason): (&str, &str),
) -> Result<(), EngineError> {
    let journal = journal_for(shared, id, by).await?;
    let kind = EventKind::RunCancelled {
        run,
        by: by.to_owned(),
        reason: reason.to_owned(),
    };
    match journal.append(vec![kind]).await {
        Ok(_) => Ok(()),
        Err(error) => {
            let incident = journal.incident().await;
            let known = incident.run(run);
            if known.is_some_and(|known| known.cancelled.is_some()) {
                return Ok(());
            }
            Err(refused(id, error))
        }
    }
}

/// The journal of an open incident, for somebody with a name.
async fn journal_for(
    shared: &Shared,
    id: IncidentId,
    by: &str,
) -> Result<Arc<IncidentJournal>, EngineError> {
    if by.trim().is_empty() {
        let reason = format!("by {by:?}, expected the name of a person");
        return Err(EngineError::Refused { id, reason });
    }
    open_journal(shared, id).await
}

fn refused(id: IncidentId, error: JournalError) -> EngineError {
    match error {
        JournalError::Store(error) => EngineError::Store(error),
        error => EngineError::Refused {
            id,
            reason: describe(&error),
        },
    }
}

/// Whether a person stopped the run that is open.
pub(crate) fn is_cancelled(incident: &Incident, run: RunId) -> bool {
    incident.phase == Phase::Running { run }
        && incident
            .run(run)
            .is_some_and(|state| state.cancelled.is_some())
}

/// What is said of an opaque step whose outcome was not written.
const INTERRUPTED: &str =
    "an attempt was interrupted; it may have happened and must not be repeated";

/// What ends a run that a person stopped. A step in flight that nobody can tell about is ended with
/// it, so that its question is asked.
pub(crate) fn ending(incident: &Incident, run: RunId, outcome: Outcome) -> Vec<EventKind> {
    let mut kinds = Vec::new();
    let known = incident.run(run).map_or(&[][..], |state| &state.steps);
    if is_cancelled(incident, run) && matches!(outcome, Outcome::Unknown { .. }) {
        for (step_idx, step) in known.iter().enumerate() {
            if matches!(step, StepState::InFlight(intent) if intent.effect == EffectClass::Opaque) {
                let reason = INTERRUPTED.to_owned();
                kinds.push(EventKind::StepEnded {
                    run,
                    step_idx,
                    phase: StepPhase::Do,
                    outcome: StepOutcome::Unknown { reason },
                });
            }
        }
    }
    kinds.push(EventKind::RunEnded { run, outcome });
    kinds
}

/// How a run ends that a person stopped; `None` if nobody did.
pub(crate) fn cancelled(incident: &Incident, run: RunId) -> Option<Outcome> {
    let state = incident.run(run).filter(|_| is_cancelled(incident, run))?;
    // A step that nobody can tell about goes to people first, whoever stopped the run.
    let unknown = state.steps.iter().enumerate().find_map(|(step_idx, step)| {
        let reason = match step {
            StepState::Ended {
                outcome: StepOutcome::Unknown { reason },
                ..
            } => reason.as_str(),
            StepState::InFlight(intent) if intent.effect == EffectClass::Opaque => INTERRUPTED,
            _ => return None,
        };
        Some((step_idx, reason))
    });
    if let Some((step_idx, reason)) = unknown {
        let reason = format!("{reason} (the run was {})", state.stopped_by()?);
        return Some(Outcome::Unknown { step_idx, reason });
    }
    let Some(left) = state.steps.iter().position(|step| !step.is_settled()) else {
        // It is taken back all the same.
        return Some(Outcome::Completed);
    };
    // The step at which it ends: the one that was under way, or the first that did not begin.
    let under_way = state
        .steps
        .iter()
        .position(|step| matches!(step, StepState::InFlight(_)));
    let report = ErrorReport::message(ErrorKind::Cancelled, state.stopped_by()?);
    Some(Outcome::Failed {
        step_idx: under_way.unwrap_or(left),
        report,
    })
}
