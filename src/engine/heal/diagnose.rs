//! Diagnosis: all analyzers at once, added up; again and again while evidence grows.

use std::sync::Arc;
use std::time::Duration;

use homeostasis_core::record::{Diagnosis, EventKind, Finding};
use homeostasis_core::stage::Evidence;
use homeostasis_core::{ErrorKind, ErrorReport, Incident};

use super::Heal;
use super::calls::{check, join};
use crate::engine::journal::JournalError;

/// Two looks at the evidence are at least this far apart.
const LEAST_PATIENCE: Duration = Duration::from_millis(500);

impl Heal {
    /// Diagnoses until a cause is named or the patience is over: evidence grows while it waits.
    pub(super) async fn diagnose(&mut self) -> Result<(), JournalError> {
        let settings = &self.shared.settings;
        let opened_at = self.journal.incident().await.opened_at;
        let mut at = opened_at + settings.settle;
        loop {
            if !self.shared.pause(at.since(self.shared.now())).await {
                return Ok(());
            }
            // What joined meanwhile belongs to the evidence.
            let incident = self.journal.incident().await;
            if incident.is_closed() {
                return Ok(());
            }
            let (diagnosis, mut kinds) = self.analyze(&incident).await;
            let asked_for = incident
                .anomalies
                .iter()
                .any(|anomaly| anomaly.playbook_hint.is_some() || anomaly.needs_people);
            at = self.shared.now() + settings.settle.max(LEAST_PATIENCE);
            let patient = at <= opened_at + settings.patience;
            if diagnosis.root_cause().is_some() || asked_for || !patient {
                kinds.push(EventKind::Diagnosed { diagnosis });
                return self.journal.append(kinds).await.map(drop);
            }
            self.note_new_blames(&incident, kinds).await?;
        }
    }

    /// Names culprits in the incident that it does not name yet.
    async fn note_new_blames(
        &self,
        incident: &Incident,
        mut kinds: Vec<EventKind>,
    ) -> Result<(), JournalError> {
        kinds.retain(|kind| match kind {
            EventKind::Blamed { stage, plugin, .. } => {
                !incident.blamed.contains(&(stage.clone(), plugin.clone()))
            }
            _ => true,
        });
        if kinds.is_empty() {
            Ok(())
        } else {
            self.journal.append(kinds).await.map(drop)
        }
    }

    /// One look of all analyzers, added up; and who misbehaved.
    async fn analyze(&self, incident: &Arc<Incident>) -> (Diagnosis, Vec<EventKind>) {
        let limit = self.shared.settings.stage_deadline;
        let (from, to) = (
            incident.since - self.shared.settings.lookback,
            self.shared.now(),
        );
        let others: Arc<[_]> = self
            .shared
            .board()
            .trouble_before(incident, &self.shared.topology)
            .into();
        let mut kinds = Vec::new();
        let mut findings: Vec<Finding> = Vec::new();
        let mut calls = Vec::new();
        for analyzer in &self.shared.stages.analyzers {
            let (name, analyzer) = (analyzer.name().to_owned(), Arc::clone(analyzer));
            let cx = self.shared.context(Some(incident), limit);
            let (subject, others) = (Arc::clone(incident), Arc::clone(&others));
            calls.push((
                name,
                Box::pin(self.call(limit, async move {
                    let evidence = Evidence::new(&subject, from, to).besides(&others);
                    analyzer
                        .analyze(&cx, &evidence)
                        .await
                        .map_err(|error| error.report())
                })),
            ));
        }
        for (name, answer) in join(calls).await {
            match answer.and_then(|found| check(found, Finding::violation)) {
                Ok(found) => findings.extend(found),
                Err(report) => kinds.push(self.blamed("analyzer", &name, report)),
            }
        }
        let fuser = Arc::clone(&self.shared.stages.fuser);
        let cx = self.shared.context(Some(incident), limit);
        let subject = Arc::clone(incident);
        let added_up = self
            .call(limit, async move {
                Ok(fuser.fuse(
                    &cx,
                    &Evidence::new(&subject, from, to).besides(&others),
                    findings,
                ))
            })
            .await;
        let added_up = added_up.and_then(|diagnosis| match diagnosis.violation() {
            None => Ok(diagnosis),
            Some(broken) => {
                let message = format!("broke its post-condition: {broken}");
                Err(ErrorReport::message(ErrorKind::Permanent, message))
            }
        });
        let diagnosis = match added_up {
            Ok(diagnosis) => diagnosis,
            Err(report) => {
                let reason = format!("the fuser gave no diagnosis: {report}");
                kinds.push(self.blamed("fuser", "fuser", report));
                Diagnosis::abstain(reason)
            }
        };
        (diagnosis, kinds)
    }
}
