//! Diagnosis: all analyzers at once, added up; again and again while evidence grows.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use homeostasis_core::Incident;
use homeostasis_core::record::{Diagnosis, EventKind};

use super::Heal;
use crate::engine::analysis::{Fault, Panel};
use crate::engine::evidence::{DiagnosisKey, Frozen, LeftOut, Look};
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
            let wait = settings.settle.max(LEAST_PATIENCE);
            // What the last look sees decides: it is never spared.
            let is_last = self.shared.now() + wait > opened_at + settings.patience;
            let (diagnosis, mut kinds) = self.analyze(&incident, is_last).await;
            let asked_for = incident
                .anomalies
                .iter()
                .any(|anomaly| anomaly.playbook_hint.is_some() || anomaly.needs_people);
            at = self.shared.now() + wait;
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
    ///
    /// Where nothing is new since a look at the same incident a moment ago, its diagnosis holds,
    /// except for the last look.
    async fn analyze(
        &self,
        incident: &Arc<Incident>,
        is_last: bool,
    ) -> (Diagnosis, Vec<EventKind>) {
        let shared = &self.shared;
        let settings = &shared.settings;
        let (look, key) = match self.look(incident, is_last) {
            Ok(found) => found,
            Err(diagnosis) => {
                shared.vitals.analyzed(true, LeftOut::default());
                return (diagnosis, Vec::new());
            }
        };
        shared.vitals.analyzed(false, look.left_out);
        let panel = Panel {
            analyzers: &shared.stages.analyzers,
            fuser: &shared.stages.fuser,
            tasks: &shared.tasks,
            clock: shared.clock(),
            limit: settings.stage_deadline,
        };
        let cx = shared
            .context(Some(incident), settings.stage_deadline)
            .with_flags(look.flags.clone())
            .observing(Arc::clone(&look.frozen) as Arc<_>);
        let (diagnosis, faults) = panel.analyze(&cx, incident, &look).await;
        if let Some(key) = key.filter(|_| faults.is_empty()) {
            shared.cache_diagnosis(key, &diagnosis);
        }
        shared
            .kept_evidence()
            .keep(incident.id, look, settings.evidence_bytes);
        let blamed = |(stage, plugin, report): Fault| self.blamed(stage, &plugin, report);
        (diagnosis, faults.into_iter().map(blamed).collect())
    }

    /// What there is to see of `incident` now, within the budget, and by what its diagnosis is
    /// known; the diagnosis itself if it is known already and may be reused.
    fn look(
        &self,
        incident: &Incident,
        is_last: bool,
    ) -> Result<(Look, Option<DiagnosisKey>), Diagnosis> {
        let shared = &self.shared;
        let settings = &shared.settings;
        let (from, to) = (incident.since - settings.lookback, shared.now());
        let besides = shared.board().trouble_before(incident, &shared.topology);
        let affected: BTreeSet<String> = incident
            .targets()
            .iter()
            .map(|target| target.service_name().to_owned())
            .collect();
        let related = shared
            .topology
            .services()
            .map(|(name, _)| name)
            .filter(|name| {
                affected
                    .iter()
                    .any(|ill| shared.topology.related(name, ill))
            })
            .map(str::to_owned);
        let in_question = related.chain(affected.iter().cloned()).collect();
        let from = from.min(to);
        let flags = shared.flags();
        let mut key = None;
        let (frozen, left_out, complete_since) = Frozen::of(
            &shared.window,
            (from, to),
            &in_question,
            settings.evidence_bytes,
            |seen| {
                if settings.diagnosis_cache > 0 {
                    key = Some(DiagnosisKey::of(incident, (from, &besides, &flags), seen));
                }
                let known = key.as_ref().filter(|_| !is_last);
                known.and_then(|key| shared.cached_diagnosis(key))
            },
        )?;
        let look = Look {
            from,
            to,
            besides: besides.into(),
            n_events: incident.n_events,
            flags,
            frozen: Arc::new(frozen),
            left_out,
            complete_since,
        };
        Ok((look, key))
    }
}
