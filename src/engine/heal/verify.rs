//! Verification: every verifier's verdict, joined.

use std::sync::Arc;
use std::time::Duration;

use homeostasis_core::cycle::Phase;
use homeostasis_core::record::{CheckOutcome, EventKind, Verdict, VerdictKind};
use homeostasis_core::stage::VerifyRequest;
use homeostasis_core::{Incident, RunId};

use super::{Heal, plan_of};
use crate::engine::calls::join;
use crate::engine::gatekeeper;
use crate::engine::journal::JournalError;

impl Heal {
    pub(super) async fn verify(
        &mut self,
        incident: &Arc<Incident>,
        run: RunId,
    ) -> Result<(), JournalError> {
        let Some((plan, state)) = plan_of(incident, run).zip(incident.run(run)) else {
            let verdict = Verdict::new(
                VerdictKind::Uncertain,
                self.shared.now(),
                format!("{run} has no plan"),
            );
            return self
                .journal
                .append(vec![EventKind::Verified { run, verdict }])
                .await
                .map(drop);
        };
        if let Some(by) = &plan.ordered_by {
            let reason = format!("ordered by {by}, and every step of it is confirmed");
            let verdict = Verdict::new(VerdictKind::Success, self.shared.now(), reason);
            let kinds = vec![EventKind::Verified { run, verdict }];
            return gatekeeper::settle(&self.shared, &self.journal, plan, true, kinds)
                .await
                .map(drop);
        }
        let (started, ended) = (state.opened_at, state.ended_at.unwrap_or(state.opened_at));
        let spec = &plan.verification;
        let limit = [spec.interval, self.shared.settings.stage_deadline]
            .into_iter()
            .fold(spec.longest(), Duration::saturating_add);
        // Over all restarts: as long again as one watch without them takes.
        let extensions = match &incident.phase {
            Phase::Verifying { extensions, .. } => *extensions,
            _ => 0,
        };
        let until = ended + limit.saturating_mul(2 * (1 + extensions));
        let healed: Arc<[_]> = self.shared.board().healed(incident).into();
        let mut kinds = Vec::new();
        let mut verdicts = Vec::new();
        let mut calls = Vec::new();
        for verifier in &self.shared.stages.verifiers {
            let (name, verifier) = (verifier.name().to_owned(), Arc::clone(verifier));
            let cx = self.shared.context(Some(incident), limit);
            let (subject, plan) = (Arc::clone(incident), plan.clone());
            let healed = Arc::clone(&healed);
            calls.push((
                name,
                Box::pin(self.call(limit, async move {
                    let request = VerifyRequest::new(&subject, &plan, started, ended)
                        .healed_before(&healed)
                        .due(until);
                    verifier
                        .verify(&cx, request)
                        .await
                        .map_err(|error| error.report())
                })),
            ));
        }
        let answers = tokio::select! {
            biased;
            () = self.shared.cancellation.cancelled() => return Ok(()),
            answers = join(calls) => answers,
        };
        for (name, answer) in answers {
            match answer {
                Ok(verdict) => verdicts.push(verdict),
                Err(report) => kinds.push(self.blamed("verifier", &name, report)),
            }
        }
        let verdict = Verdict::join(verdicts, self.shared.now());
        let success = match verdict.kind {
            VerdictKind::Success => Some(true),
            VerdictKind::Failed => Some(false),
            // Where everything holds nothing speaks against the remedy, and nothing for it.
            VerdictKind::Partial => is_any_failed(&verdict).then_some(false),
            VerdictKind::Uncertain => None,
        };
        kinds.push(EventKind::Verified { run, verdict });
        match success {
            Some(success) => gatekeeper::settle(&self.shared, &self.journal, plan, success, kinds)
                .await
                .map(drop),
            None => self.journal.append(kinds).await.map(drop),
        }
    }
}

fn is_any_failed(verdict: &Verdict) -> bool {
    let mut checks = verdict.checks.iter();
    checks.any(|check| check.outcome == CheckOutcome::Failed)
}
