//! Admission: a slot, the gate, people, and waiting for a better time.

use std::collections::BTreeSet;
use std::sync::Arc;

use homeostasis_core::cycle::Phase;
use homeostasis_core::policy::is_own_author;
use homeostasis_core::port::{ApprovalDecision, ApprovalRequest};
use homeostasis_core::record::EventKind;
use homeostasis_core::{ErrorKind, ErrorReport, Incident, Timestamp};
use serde_json::json;

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
            Err(error) => {
                // Others need not wait for a store that fails this one.
                self.slot = None;
                return Err(error);
            }
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
        let decided = |granted, by: &str, reason: &str, given_at| EventKind::ApprovalDecided {
            plan: plan.id,
            plan_hash,
            granted,
            by: by.to_owned(),
            roles: BTreeSet::new(),
            reason: reason.to_owned(),
            given_at,
        };
        let subject = format!("{} {plan_hash}", incident.id);
        let mut told = BTreeSet::new();
        loop {
            let now = self.shared.now();
            if now >= expires {
                let (by, reason) = ("homeostasis", "nobody decided in time");
                self.noted(by, "approve", &subject, reason).await;
                let kind = decided(false, by, reason, None);
                return self.journal.append(vec![kind]).await.map(drop);
            }
            let reading = Arc::clone(&self.shared.approvals);
            let limit = self.shared.settings.stage_deadline;
            let answers = self
                .call(limit, async move { Ok(reading.decisions(plan_hash).await) })
                .await
                .unwrap_or_default();
            let ttl = self.shared.policy.approval_ttl;
            let is_new = |answer: &ApprovalDecision| {
                let given = incident.approvals.iter();
                let mut same = given.filter(|it| it.plan_hash == plan_hash && it.by == answer.by);
                // One that counts is not renewed: nobody is asked again and again.
                same.all(|it| it.given_at < answer.at && !it.counts(now, ttl))
            };
            let objection = |answer: &ApprovalDecision| {
                if self.shared.redacted(&answer.by) != answer.by {
                    Some("the name looks like a secret and would be journaled as another")
                } else if is_own_author(plan, &answer.by) {
                    Some("they wrote the plan: somebody else must approve it")
                } else {
                    None
                }
            };
            if let Some(answer) =
                next_decision(&answers, |it| is_new(it) && objection(it).is_none())
            {
                let action = if answer.granted { "approve" } else { "deny" };
                let detail = json!({"reason": answer.reason, "via": "approvals"});
                let audited = self
                    .shared
                    .audit(&answer.by, action, &subject, true, detail);
                match audited.await {
                    Err(error) if answer.granted => {
                        // What cannot be audited is not done; it is tried again.
                        tracing::error!(%error, "a consent could not be audited");
                        if !self.shared.pause(POLL).await || self.has_moved_on(incident).await? {
                            return Ok(());
                        }
                        continue;
                    }
                    Err(error) => tracing::error!(%error, "a refusal could not be audited"),
                    Ok(()) => {}
                }
                let (by, reason, at) = (&answer.by, &answer.reason, Some(answer.at));
                let kind = decided(answer.granted, by, reason, at);
                return self.journal.append(vec![kind]).await.map(drop);
            }
            for answer in &answers {
                let Some(objection) = objection(answer) else {
                    continue;
                };
                if told.insert(answer.by.clone()) {
                    let message = format!("a consent does not count: {objection}");
                    let report = ErrorReport::message(ErrorKind::Permanent, message);
                    self.shared.blame("approvals", "decisions", &report);
                    self.noted(&answer.by, "approve", &subject, objection).await;
                }
            }
            if !self.shared.pause(POLL).await || self.has_moved_on(incident).await? {
                return Ok(());
            }
        }
    }

    /// Audits what does not count.
    async fn noted(&self, by: &str, action: &str, subject: &str, reason: &str) {
        let detail = json!({"reason": reason, "via": "approvals"});
        let audited = self.shared.audit(by, action, subject, false, detail);
        if let Err(error) = audited.await {
            tracing::error!(by, subject, reason, %error, "this could not be audited");
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

/// The decision to journal next: a refusal, which outweighs every consent, or a consent that is new
/// and counts.
fn next_decision(
    answers: &[ApprovalDecision],
    counts: impl Fn(&ApprovalDecision) -> bool,
) -> Option<&ApprovalDecision> {
    let refusal = answers.iter().find(|answer| !answer.granted);
    refusal.or_else(|| answers.iter().find(|answer| counts(answer)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_outweighs_every_consent_and_a_consent_must_count() {
        let answer = |granted, by: &str| ApprovalDecision {
            granted,
            by: by.to_owned(),
            reason: String::new(),
            at: Timestamp::from_secs(5),
        };
        let next = |answers: &[ApprovalDecision]| {
            let counts = |answer: &ApprovalDecision| answer.by != "ann";
            next_decision(answers, counts).map(|answer| answer.by.clone())
        };
        let (ann, bob) = (answer(true, "ann"), answer(true, "bob"));
        assert_eq!(next(std::slice::from_ref(&ann)), None);
        assert_eq!(next(&[ann.clone(), bob.clone()]).as_deref(), Some("bob"));
        let refusal = answer(false, "ann");
        assert_eq!(next(&[bob, refusal]).as_deref(), Some("ann"));
    }
}
