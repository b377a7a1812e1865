//! Admission: a slot, the gate, people, and waiting for a better time.

use std::sync::Arc;

use homeostasis_core::cycle::Phase;
use homeostasis_core::port::{ApprovalDecision, ApprovalRequest};
use homeostasis_core::record::EventKind;
use homeostasis_core::{ErrorKind, ErrorReport, Incident, Timestamp};

use super::{Heal, POLL};
use crate::engine::gatekeeper::{self, Admission};
use crate::engine::journal::JournalError;

impl Heal {
    /// Takes a slot, sees whether the trouble is still there, and asks the gate.
    pub(super) async fn ask_gate(&mut self, plan_idx: usize) -> Result<(), JournalError> {
        if let Some(lease) = self.lease.take() {
            // That of an earlier plan of this incident.
            lease.release(&self.shared).await;
        }
        if !self.take_slot().await {
            return Ok(());
        }
        // What happened while it waited counts: severity, reach, a person who closed it.
        let incident = self.journal.incident().await;
        if incident.phase != (Phase::Gating { plan_idx }) {
            return Ok(());
        }
        if !self.is_pressing(&incident) {
            // Nobody acts on trouble that nobody sees: it is seen again, or it is over.
            self.slot = None;
            if self.close_if_calm(&incident).await? {
                return Ok(());
            }
            self.shared.pause(POLL).await;
            return Ok(());
        }
        let plan = &incident.plans[plan_idx];
        // The leases may let it wait: what happened meanwhile counts as well.
        let is_due = |now: &Incident| now.phase == incident.phase && self.is_pressing(now);
        let admitted =
            gatekeeper::admit(&self.shared, &self.journal, &incident, plan, is_due).await;
        match admitted {
            Ok(Admission::Granted(permit, lease)) => {
                self.lease = Some(lease);
                self.permit = Some(permit);
                self.reentries = 0;
            }
            Ok(Admission::Withheld) => self.slot = None,
            // Its answer came too late: people were asked for, or one closed it.
            Err(_) if self.journal.incident().await.phase != incident.phase => self.slot = None,
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Waits for a slot; the place in the queue follows the severity. False if the incident moved on
    /// or the engine shuts down.
    pub(super) async fn take_slot(&mut self) -> bool {
        let slots = self.shared.slots.clone();
        let asked = self.journal.incident().await;
        while self.slot.is_none() {
            let incident = self.journal.incident().await;
            if incident.phase != asked.phase {
                return false;
            }
            let acquire = slots.acquire(incident.severity, incident.opened_at, incident.id);
            tokio::select! {
                biased;
                slot = acquire => self.slot = Some(slot),
                goes_on = self.shared.pause(POLL) => if !goes_on {
                    return false;
                },
            }
        }
        true
    }

    pub(super) async fn await_approval(
        &mut self,
        incident: &Arc<Incident>,
        plan_idx: usize,
        expires: Timestamp,
    ) -> Result<(), JournalError> {
        let plan = &incident.plans[plan_idx];
        let plan_hash = plan.hash();
        let cause = incident
            .diagnosis
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default();
        let summary = format!("{}: {cause}\n{plan}", incident.severity);
        let summary = self.shared.redacted(&summary);
        let request = ApprovalRequest::new(incident.id, plan.id, plan_hash, summary, expires);
        let asking = Arc::clone(&self.shared.approvals);
        let asked = self
            .call(self.shared.settings.stage_deadline, async move {
                asking.request(request).await;
                Ok(())
            })
            .await;
        if let Err(report) = asked {
            self.shared.blame("approvals", "request", &report);
        }
        let decided = |granted, by: &str, reason: &str| EventKind::ApprovalDecided {
            plan: plan.id,
            plan_hash,
            granted,
            by: by.to_owned(),
            reason: reason.to_owned(),
        };
        let mut told = false;
        loop {
            if self.shared.now() >= expires {
                let kind = decided(false, "homeostasis", "nobody decided in time");
                return self.journal.append(vec![kind]).await.map(drop);
            }
            let reading = Arc::clone(&self.shared.approvals);
            let limit = self.shared.settings.stage_deadline;
            let answers = self
                .call(limit, async move { Ok(reading.decisions(plan_hash).await) })
                .await
                .unwrap_or_default();
            let known = |by: &str| {
                let same = |given: &homeostasis_core::policy::Approval| {
                    given.plan_hash == plan_hash && given.by == by
                };
                incident.approvals.iter().any(same)
            };
            let journaled = |by: &str| self.shared.redacted(by);
            if let Some(answer) = next_decision(&answers, known, journaled) {
                let kind = decided(answer.granted, &answer.by, &answer.reason);
                return self.journal.append(vec![kind]).await.map(drop);
            }
            if !told
                && answers
                    .iter()
                    .any(|answer| journaled(&answer.by) != answer.by)
            {
                told = true;
                let message =
                    "a consent does not count: the name of who gave it looks like a secret";
                let report = ErrorReport::message(ErrorKind::Permanent, message.to_owned());
                self.shared.blame("approvals", "decisions", &report);
            }
            if !self.shared.pause(POLL).await || self.has_moved_on(incident).await? {
                return Ok(());
            }
        }
    }

    pub(super) async fn wake_at(
        &mut self,
        incident: &Arc<Incident>,
        plan_idx: usize,
        until: Timestamp,
    ) -> Result<(), JournalError> {
        while self.shared.now() < until {
            let nap = until.since(self.shared.now()).min(POLL);
            if !self.shared.pause(nap).await || self.has_moved_on(incident).await? {
                return Ok(());
            }
        }
        let plan = incident.plans[plan_idx].id;
        self.journal
            .append(vec![EventKind::Woken { plan }])
            .await
            .map(drop)
    }

    /// Whether somebody closed the incident, or it is over by itself and was closed just now.
    async fn has_moved_on(&self, incident: &Incident) -> Result<bool, JournalError> {
        Ok(self.journal.incident().await.phase != incident.phase
            || self.close_if_calm(incident).await?)
    }
}

/// The decision to journal next: a refusal, which outweighs every consent, or a consent of somebody
/// new. People are told apart by their names in the journal, so a consent does not count whose name
/// is journaled as another.
fn next_decision(
    answers: &[ApprovalDecision],
    known: impl Fn(&str) -> bool,
    journaled: impl Fn(&str) -> String,
) -> Option<&ApprovalDecision> {
    let refusal = answers.iter().find(|answer| !answer.granted);
    let is_new = |by: &str| !known(by) && journaled(by) == by;
    refusal.or_else(|| answers.iter().find(|answer| is_new(&answer.by)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(granted: bool, by: &str) -> ApprovalDecision {
        ApprovalDecision {
            granted,
            by: by.to_owned(),
            reason: String::new(),
        }
    }

    #[test]
    fn a_consent_counts_once_and_not_if_its_name_is_journaled_as_another() {
        let redacted = |by: &str| by.replace("hunter2", "[redacted:password]");
        let known = |by: &str| by == "ann";
        let next = |answers: &[ApprovalDecision]| {
            next_decision(answers, known, redacted).map(|answer| answer.by.clone())
        };
        let (ann, bob) = (answer(true, "ann"), answer(true, "bob"));
        let secret = answer(true, "carl:hunter2");
        assert_eq!(next(&[ann.clone(), secret.clone()]), None);
        assert_eq!(next(&[ann.clone(), secret, bob]).as_deref(), Some("bob"));
        let refusal = answer(false, "carl:hunter2");
        assert_eq!(next(&[ann, refusal]).as_deref(), Some("carl:hunter2"));
    }
}
