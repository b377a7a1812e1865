//! Steps: which intent or outcome may follow what the journal knows of a step.

use crate::cycle::{IllegalTransition, Incident, Phase};
use crate::record::{EventKind, HealEvent, StepOutcome, StepPhase, StepState};

impl Incident {
    pub(super) fn step(&mut self, event: &HealEvent) -> Result<(), IllegalTransition> {
        let undoing = matches!(self.phase, Phase::Undoing { .. });
        let (Phase::Running { run: open } | Phase::Undoing { run: open }) = &self.phase else {
            return Err(self.illegal(event, "no run is open"));
        };
        let open = *open;
        let (run, phase, step_idx) = match &event.kind {
            EventKind::StepIntended { run, intent } => (*run, intent.phase, intent.step_idx),
            EventKind::StepEnded {
                run,
                step_idx,
                phase,
                ..
            } => (*run, *phase, *step_idx),
            _ => return Err(self.illegal(event, "it is no step")),
        };
        if run != open || undoing != (phase == StepPhase::Undo) {
            return Err(self.illegal(event, "another run or phase is open"));
        }
        let Some(state) = self.run(run) else {
            return Err(self.illegal(event, "no run is open"));
        };
        let Some(plan) = self.plan(state.plan) else {
            return Err(self.illegal(event, "the run has no plan"));
        };
        let Some(known) = state.phase(phase).get(step_idx).cloned() else {
            return Err(self.illegal(event, "the plan has no such step"));
        };
        let next = match (&event.kind, known) {
            (EventKind::StepIntended { intent, .. }, _) => {
                if let Some(objection) = state.objection(plan, intent) {
                    return Err(self.illegal(event, &objection));
                }
                StepState::InFlight(intent.clone())
            }
            (EventKind::StepEnded { outcome, .. }, StepState::InFlight(intent)) => {
                StepState::Ended {
                    intent: Some(intent),
                    outcome: outcome.clone(),
                }
            }
            (
                EventKind::StepEnded {
                    outcome: outcome @ StepOutcome::Skipped { .. },
                    ..
                },
                StepState::NotStarted,
            ) => StepState::Ended {
                intent: None,
                outcome: outcome.clone(),
            },
            _ => return Err(self.illegal(event, "an outcome without an intent")),
        };
        if let Some(state) = self.run_mut(run) {
            if let StepState::InFlight(intent) = &next {
                state.note_begun(intent);
            }
            if let Some(slot) = state.phase_mut(phase).get_mut(step_idx) {
                *slot = next;
            }
        }
        Ok(())
    }
}
