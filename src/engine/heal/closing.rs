//! Closing: calling people, and telling recovery from silence.

use std::sync::Arc;

use homeostasis_core::record::{EventKind, Resolution};
use homeostasis_core::{Incident, Observations, Timestamp};

use super::calls::join;
use super::{Heal, POLL};
use crate::engine::journal::JournalError;
use crate::engine::pager;

impl Heal {
    /// Hands the incident to people: the reason and the first calls are one commit.
    pub(super) async fn escalate(&self, reason: String) -> Result<(), JournalError> {
        let now = self.shared.now();
        let called = self.journal.call(|incident| {
            let chain = self.shared.escalation.hand_over(incident, &reason, now);
            let named = pager::named_by_plans(&self.shared, incident, &reason, &chain);
            let escalated = EventKind::Escalated {
                reason: reason.clone(),
            };
            [escalated].into_iter().chain(chain).chain(named).collect()
        });
        called.await
    }

    /// Analyzers may learn from an incident that is over.
    pub(super) async fn tell_analyzers(&self, incident: &Arc<Incident>) {
        let limit = self.shared.settings.stage_deadline;
        let mut calls = Vec::new();
        for analyzer in &self.shared.stages.analyzers {
            let (learner, subject) = (Arc::clone(analyzer), Arc::clone(incident));
            let told = self.call(limit, async move {
                learner.closed(&subject);
                Ok(())
            });
            calls.push((analyzer.name().to_owned(), Box::pin(told)));
        }
        for (name, told) in join(calls).await {
            if let Err(report) = told {
                self.shared.blame("analyzer", &name, &report);
            }
        }
    }

    pub(super) async fn watch_recovery(
        &mut self,
        incident: &Arc<Incident>,
    ) -> Result<(), JournalError> {
        loop {
            if !self.shared.pause(POLL).await
                || self.journal.incident().await.phase != incident.phase
                || self.close_if_calm(incident).await?
            {
                return Ok(());
            }
        }
    }

    /// Whether the trouble was seen so lately that acting on it makes sense, or somebody ordered it.
    pub(super) fn is_pressing(&self, incident: &Incident) -> bool {
        if incident.is_ordered() {
            return true;
        }
        let seen = self
            .shared
            .board()
            .last_seen(incident.id)
            .unwrap_or(incident.updated_at);
        // A check that is asked seldom is seen seldom: once more than it is due must pass.
        let seldom = self.shared.board().slowest_failing(incident.id) * 2;
        self.shared.now().since(seen) < self.shared.settings.quiet.max(seldom)
    }

    /// Closes the incident as recovered if that is proven, and says whether it did.
    ///
    /// Silence alone proves nothing: for the whole quiet time this process must have watched, each
    /// target must have been heard of lately, each check that failed must have said that it does not
    /// any more, and no detector may be skipped.
    pub(super) async fn close_if_calm(&self, incident: &Incident) -> Result<bool, JournalError> {
        let (now, quiet) = (self.shared.now(), self.shared.settings.quiet);
        let watched = self
            .shared
            .board()
            .watched_since(incident.id)
            .unwrap_or(now);
        let calm = !self.is_pressing(incident)
            && now.since(watched) >= quiet
            && incident
                .targets()
                .iter()
                .all(|target| self.is_heard(target, now))
            && self.shared.board().are_checks_good(incident.id, now)
            && !self.shared.vitals.skips_any();
        if !calm {
            return Ok(false);
        }
        let kind = EventKind::Closed {
            resolution: Resolution::Recovered,
        };
        self.journal.append(vec![kind]).await?;
        Ok(true)
    }

    /// Whether anything was measured or said of `target` within the last half of the quiet time.
    fn is_heard(&self, target: &homeostasis_core::Target, now: Timestamp) -> bool {
        let (window, from) = (&self.shared.window, now - self.shared.settings.quiet / 2);
        !window.series_of(target, from, now).is_empty()
            || !window.health(Some(target), from, now).is_empty()
            || !window.logs(Some(target), from, now).is_empty()
            || !window.spans(Some(target), from, now).is_empty()
    }
}
