//! The heal of one incident: runs the effects its state asks for, one after another.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use homeostasis_core::cycle::Effect;
use homeostasis_core::policy::{Permit, Purpose};
use homeostasis_core::port::{ApprovalRequest, Lease, Notification};
use homeostasis_core::record::{
    Diagnosis, EventKind, Finding, Outcome, Plan, Resolution, Verdict, VerdictKind,
};
use homeostasis_core::stage::{Evidence, PlanRequest, RunLog, VerifyRequest};
use homeostasis_core::{ErrorKind, ErrorReport, Incident, RunId, Timestamp};

use crate::engine::gatekeeper::{self, Admission};
use crate::engine::guard;
use crate::engine::journal::{IncidentJournal, JournalError, describe};
use crate::engine::shared::Shared;
use crate::engine::slots::Slot;
use crate::engine::tasks::AbortOnDrop;

/// How often a remediator that gave no outcome is asked to go on before people are.
const MAX_REENTRIES: u32 = 2;

/// How soon the journal is tried again after it failed.
const JOURNAL_RETRY: Duration = Duration::from_secs(1);

/// How often people's answers and the return of symptoms are looked at.
const POLL: Duration = Duration::from_secs(1);

/// Two looks at the evidence are at least this far apart.
const LEAST_PATIENCE: Duration = Duration::from_millis(500);

/// At most this many plans are kept for one incident.
const MAX_PLANS: usize = 16;

/// One incident being healed.
#[derive(Debug)]
pub(crate) struct Heal {
    shared: Arc<Shared>,
    journal: Arc<IncidentJournal>,
    slot: Option<Slot>,
    permit: Option<Permit>,
    lease: Option<Lease>,
    reentries: u32,
}

impl Heal {
    pub(crate) fn new(shared: Arc<Shared>, journal: Arc<IncidentJournal>) -> Self {
        Self {
            shared,
            journal,
            slot: None,
            permit: None,
            lease: None,
            reentries: 0,
        }
    }

    /// Goes on until the incident is closed or the engine shuts down.
    pub(crate) async fn run(mut self) {
        loop {
            let incident = self.journal.incident().await;
            self.shared.board().note(&incident, self.shared.now());
            if !matches!(incident.effects().first(), Some(Effect::AskGate { .. }))
                && !incident.is_in_flight()
            {
                self.rest().await;
            }
            let Some(effect) = incident.effects().into_iter().next() else {
                return;
            };
            if self.shared.cancellation.is_cancelled() {
                return;
            }
            if let Err(error) = self.perform(&incident, effect).await {
                self.shared.vitals.store_error();
                tracing::error!(incident = %incident.id, error = describe(&error), "the journal refused");
                if !self.shared.pause(JOURNAL_RETRY).await {
                    return;
                }
            }
        }
    }

    /// Gives back what only an active heal holds.
    async fn rest(&mut self) {
        self.slot = None;
        self.permit = None;
        if let Some(lease) = self.lease.take() {
            self.shared.coordinator.release(&lease).await;
        }
    }

    async fn perform(
        &mut self,
        incident: &Arc<Incident>,
        effect: Effect,
    ) -> Result<(), JournalError> {
        match effect {
            Effect::Diagnose => self.diagnose().await,
            Effect::Plan => self.plan(incident).await,
            Effect::AskGate { plan_idx } => self.ask_gate(incident, plan_idx).await,
            Effect::AwaitApproval { plan_idx, expires } => {
                self.await_approval(incident, plan_idx, expires).await
            }
            Effect::WakeAt { plan_idx, until } => self.wake_at(incident, plan_idx, until).await,
            Effect::Execute { run } => self.execute(incident, run).await,
            Effect::Verify { run } => self.verify(incident, run).await,
            Effect::Undo { run } => self.undo(incident, run).await,
            Effect::Escalate { reason } => self.escalate(incident, reason).await,
            Effect::WatchRecovery => self.watch_recovery(incident).await,
            Effect::Close { resolution } => self
                .journal
                .append(vec![EventKind::Closed { resolution }])
                .await
                .map(drop),
            other => {
                let reason = format!("this engine does not know the effect {other:?}");
                self.escalate(incident, reason).await
            }
        }
    }

    /// Calls a plug-in on a task of its own, so that one that blocks its thread blocks no other.
    async fn call<T: Send + 'static>(
        &self,
        limit: Duration,
        plugin: impl Future<Output = Result<T, ErrorReport>> + Send + 'static,
    ) -> Result<T, ErrorReport> {
        let clock = Arc::clone(self.shared.clock());
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let task = self.shared.tasks.spawn(async move {
            // Nobody waits any more if the engine gave up on the call.
            let _ = sender.send(guard::call(&*clock, limit, plugin).await);
        });
        let _owned = AbortOnDrop(task);
        let answer = async {
            receiver.await.unwrap_or_else(|_| {
                Err(ErrorReport::message(
                    ErrorKind::Cancelled,
                    "the engine shut down",
                ))
            })
        };
        // The margin is for plug-ins that block: their own deadline cannot fire.
        guard::call(
            &**self.shared.clock(),
            limit + Duration::from_secs(1),
            answer,
        )
        .await
    }

    fn blamed(&self, stage: &str, plugin: &str, report: ErrorReport) -> EventKind {
        self.shared.blame(stage, plugin, &report);
        EventKind::Blamed {
            stage: stage.to_owned(),
            plugin: plugin.to_owned(),
            report,
        }
    }

    /// Diagnoses until a cause is named or the patience is over: evidence grows while it waits.
    async fn diagnose(&mut self) -> Result<(), JournalError> {
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
                .any(|anomaly| anomaly.playbook_hint.is_some());
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

    async fn plan(&mut self, incident: &Arc<Incident>) -> Result<(), JournalError> {
        let limit = self.shared.settings.stage_deadline;
        let mut kinds = Vec::new();
        let mut plans: Vec<Plan> = Vec::new();
        let mut calls = Vec::new();
        for remediator in &self.shared.stages.remediators {
            let (name, remediator) = (remediator.name().to_owned(), Arc::clone(remediator));
            let cx = self.shared.context(Some(incident), limit);
            let subject = Arc::clone(incident);
            calls.push((
                name,
                Box::pin(self.call(limit, async move {
                    let Some(diagnosis) = &subject.diagnosis else {
                        return Ok(Vec::new());
                    };
                    let request = PlanRequest::new(&subject, diagnosis);
                    remediator
                        .plan(&cx, request)
                        .await
                        .map_err(|error| error.report())
                })),
            ));
        }
        for (name, answer) in join(calls).await {
            let violation = |plan: &Plan| {
                plan.violation()
                    .or_else(|| {
                        (plan.incident != incident.id)
                            .then(|| "a plan for another incident".to_owned())
                    })
                    .or_else(|| {
                        (plan.remediator != name)
                            .then(|| format!("a plan in the name of {:?}", plan.remediator))
                    })
            };
            match answer.and_then(|made| check(made, violation)) {
                Ok(made) => {
                    for plan in made {
                        // The cycle tells plans apart by their ids and refuses two with one.
                        if plans.iter().any(|known| known.id == plan.id) {
                            let twice = format!("broke its post-condition: {} twice", plan.id);
                            let report = ErrorReport::message(ErrorKind::Permanent, twice);
                            kinds.push(self.blamed("remediator", &name, report));
                        } else {
                            plans.push(plan);
                        }
                    }
                }
                Err(report) => kinds.push(self.blamed("remediator", &name, report)),
            }
        }
        plans.sort_by(|a, b| {
            b.fitness
                .total_cmp(&a.fitness)
                .then_with(|| a.title.cmp(&b.title))
        });
        plans.truncate(MAX_PLANS);
        kinds.push(EventKind::Planned { plans });
        self.journal.append(kinds).await.map(drop)
    }

    async fn ask_gate(
        &mut self,
        incident: &Arc<Incident>,
        plan_idx: usize,
    ) -> Result<(), JournalError> {
        if self.slot.is_none() {
            let slots = self.shared.slots.clone();
            let acquire = slots.acquire(incident.severity, incident.opened_at, incident.id);
            tokio::select! {
                biased;
                () = self.shared.cancellation.cancelled() => return Ok(()),
                slot = acquire => self.slot = Some(slot),
            }
        }
        match gatekeeper::admit(
            &self.shared,
            &self.journal,
            incident,
            &incident.plans[plan_idx],
        )
        .await?
        {
            Admission::Granted(permit) => {
                self.lease = Some(permit.lease().clone());
                self.permit = Some(permit);
                self.reentries = 0;
            }
            Admission::Withheld => self.slot = None,
        }
        Ok(())
    }

    async fn await_approval(
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
        let decided = |granted, by: String, reason: String| EventKind::ApprovalDecided {
            plan: plan.id,
            plan_hash,
            granted,
            by,
            reason,
        };
        loop {
            if self.shared.now() >= expires {
                let kind = decided(
                    false,
                    "homeostasis".to_owned(),
                    "nobody decided in time".to_owned(),
                );
                return self.journal.append(vec![kind]).await.map(drop);
            }
            let reading = Arc::clone(&self.shared.approvals);
            let limit = self.shared.settings.stage_deadline;
            let answers = self
                .call(limit, async move { Ok(reading.decisions(plan_hash).await) })
                .await;
            let known = |by: &str| {
                incident
                    .approvals
                    .iter()
                    .any(|given| given.plan_hash == plan_hash && given.by == by)
            };
            let news = answers
                .unwrap_or_default()
                .into_iter()
                .find(|answer| !answer.granted || !known(&answer.by));
            if let Some(answer) = news {
                let kind = decided(answer.granted, answer.by, answer.reason);
                return self.journal.append(vec![kind]).await.map(drop);
            }
            if !self.shared.pause(POLL).await || self.journal.incident().await.is_closed() {
                return Ok(());
            }
        }
    }

    async fn wake_at(
        &mut self,
        incident: &Arc<Incident>,
        plan_idx: usize,
        until: Timestamp,
    ) -> Result<(), JournalError> {
        if !self.shared.pause(until.since(self.shared.now())).await {
            return Ok(());
        }
        self.journal
            .append(vec![EventKind::Woken {
                plan: incident.plans[plan_idx].id,
            }])
            .await
            .map(drop)
    }

    async fn execute(&mut self, incident: &Arc<Incident>, run: RunId) -> Result<(), JournalError> {
        let outcome = self.carry_out(incident, run, Purpose::Resume).await?;
        let Some(outcome) = outcome else {
            return Ok(());
        };
        let failed = matches!(outcome, Outcome::Failed { .. } | Outcome::Unknown { .. });
        let kinds = vec![EventKind::RunEnded { run, outcome }];
        match plan_of(incident, run).filter(|_| failed) {
            Some(plan) => gatekeeper::settle(&self.shared, &self.journal, plan, false, kinds)
                .await
                .map(drop),
            None => self.journal.append(kinds).await.map(drop),
        }
    }

    async fn undo(&mut self, incident: &Arc<Incident>, run: RunId) -> Result<(), JournalError> {
        // The permit to execute does not permit to take back.
        self.permit = None;
        let outcome = self.carry_out(incident, run, Purpose::Undo).await?;
        let Some(outcome) = outcome else {
            return Ok(());
        };
        self.journal
            .append(vec![EventKind::UndoEnded { run, outcome }])
            .await
            .map(drop)
    }

    /// Executes or undoes `run` under a permit. `None` means that the engine shuts down and the run
    /// stays open for the next start.
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
        if self.slot.is_none() {
            let slots = self.shared.slots.clone();
            self.slot = Some(
                slots
                    .acquire(incident.severity, incident.opened_at, incident.id)
                    .await,
            );
        }
        let permit = match self.permit.take() {
            Some(permit) => permit,
            None => match self.readmit(incident, plan, run, purpose).await? {
                Ok(permit) => permit,
                Err(reason) => return halted(reason),
            },
        };
        let remediator = self
            .shared
            .stages
            .remediators
            .iter()
            .find(|known| known.name() == plan.remediator);
        let Some(remediator) = remediator.map(Arc::clone) else {
            return halted(format!("no remediator is called {:?}", plan.remediator));
        };
        let incident = self.journal.incident().await;
        let Some(state) = incident.run(run).cloned() else {
            return halted(format!("{run} is unknown"));
        };
        let limit = self.shared.policy.permit_ttl;
        let cx = self.shared.context(Some(&incident), limit);
        let (shared, journal, plan) = (
            Arc::clone(&self.shared),
            Arc::clone(&self.journal),
            plan.clone(),
        );
        let clock = Arc::clone(self.shared.clock());
        let effects = self.call(limit, async move {
            let kill_switch = shared.controls.kill_switch.clone();
            let mut log = RunLog::new(&plan, state, &*journal, &*clock, kill_switch);
            let outcome = match purpose {
                Purpose::Undo => remediator.undo(&cx, permit, &mut log).await,
                _ => remediator.execute(&cx, permit, &mut log).await,
            };
            outcome.map_err(|error| error.report())
        });
        let answer = tokio::select! {
            answer = effects => answer,
            () = keep_lease(&self.shared, self.lease.clone()) => {
                Err(ErrorReport::message(ErrorKind::Conflict, "the lease on the target was lost"))
            }
        };
        match answer {
            Ok(outcome) => Ok(Some(outcome)),
            Err(_) if self.shared.cancellation.is_cancelled() => Ok(None),
            Err(report) => {
                self.reentries += 1;
                let reason = report.to_string();
                let blamed = self.blamed(
                    "remediator",
                    &plan_of(&incident, run)
                        .map(|plan| plan.remediator.clone())
                        .unwrap_or_default(),
                    report,
                );
                self.journal.append(vec![blamed]).await?;
                if self.reentries > MAX_REENTRIES {
                    halted(reason)
                } else {
                    Ok(None)
                }
            }
        }
    }

    /// A new permit for an open run; waits while the lease of a former life runs out.
    async fn readmit(
        &mut self,
        incident: &Arc<Incident>,
        plan: &Plan,
        run: RunId,
        purpose: Purpose,
    ) -> Result<Result<Permit, String>, JournalError> {
        if let Some(lease) = self.lease.take() {
            self.shared.coordinator.release(&lease).await;
        }
        let give_up = self.shared.now() + self.shared.settings.lease_ttl * 2;
        loop {
            match gatekeeper::readmit(&self.shared, &self.journal, incident, plan, run, purpose)
                .await?
            {
                Ok(permit) => {
                    self.lease = Some(permit.lease().clone());
                    return Ok(Ok(permit));
                }
                Err(reason) if self.shared.now() >= give_up => return Ok(Err(reason)),
                Err(reason) if self.shared.controls.kill_switch.is_engaged() => {
                    return Ok(Err(reason));
                }
                Err(_) => {
                    if !self.shared.pause(POLL).await {
                        return Ok(Err("the engine shut down".to_owned()));
                    }
                }
            }
        }
    }

    async fn verify(&mut self, incident: &Arc<Incident>, run: RunId) -> Result<(), JournalError> {
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
        let (started, ended) = (state.opened_at, state.ended_at.unwrap_or(state.opened_at));
        let spec = &plan.verification;
        let limit = spec.wait + spec.watch + spec.interval + self.shared.settings.stage_deadline;
        let mut kinds = Vec::new();
        let mut verdicts = Vec::new();
        let mut calls = Vec::new();
        for verifier in &self.shared.stages.verifiers {
            let (name, verifier) = (verifier.name().to_owned(), Arc::clone(verifier));
            let cx = self.shared.context(Some(incident), limit);
            let (subject, plan) = (Arc::clone(incident), plan.clone());
            calls.push((
                name,
                Box::pin(self.call(limit, async move {
                    let request = VerifyRequest::new(&subject, &plan, started, ended);
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
            VerdictKind::Failed | VerdictKind::Partial => Some(false),
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

    async fn escalate(
        &mut self,
        incident: &Arc<Incident>,
        reason: String,
    ) -> Result<(), JournalError> {
        let cause = incident
            .diagnosis
            .as_ref()
            .map_or_else(|| "not diagnosed".to_owned(), ToString::to_string);
        let title = format!(
            "{} {}: {reason}",
            incident.severity, incident.anomalies[0].target
        );
        let tried: Vec<_> = incident
            .plans
            .iter()
            .map(|plan| plan.title.as_str())
            .collect();
        let body = format!(
            "{}\n{cause}\nplans: {}",
            incident.anomalies[0],
            tried.join(", ")
        );
        let message = Notification::new(
            incident.id,
            incident.severity,
            self.shared.now(),
            title,
            body,
        );
        let notifier = Arc::clone(&self.shared.notifier);
        let limit = self.shared.settings.stage_deadline;
        let sent = self
            .call(limit, async move {
                notifier
                    .notify(&message)
                    .await
                    .map_err(|error| error.report())
            })
            .await;
        let mut kinds = Vec::new();
        if let Err(report) = sent {
            kinds.push(self.blamed("notifier", "notifier", report));
        }
        kinds.push(EventKind::Escalated { reason });
        self.journal.append(kinds).await.map(drop)
    }

    async fn watch_recovery(&mut self, incident: &Arc<Incident>) -> Result<(), JournalError> {
        loop {
            if !self.shared.pause(POLL).await || self.journal.incident().await.is_closed() {
                return Ok(());
            }
            let seen = self
                .shared
                .board()
                .last_seen(incident.id)
                .unwrap_or(incident.updated_at);
            if self.shared.now().since(seen) >= self.shared.settings.quiet {
                let kind = EventKind::Closed {
                    resolution: Resolution::Recovered,
                };
                return self.journal.append(vec![kind]).await.map(drop);
            }
        }
    }
}

fn plan_of(incident: &Incident, run: RunId) -> Option<&Plan> {
    incident
        .run(run)
        .and_then(|state| incident.plan(state.plan))
}

/// Renews the lease for as long as it is polled; returns when it is lost.
async fn keep_lease(shared: &Shared, lease: Option<Lease>) {
    let Some(mut lease) = lease else {
        return std::future::pending().await;
    };
    let ttl = shared.settings.lease_ttl;
    loop {
        shared.clock().sleep(ttl / 3).await;
        match shared.coordinator.renew(&lease, ttl).await {
            Ok(renewed) => lease = renewed,
            Err(error) => {
                tracing::error!(%error, "lease not renewed");
                return;
            }
        }
    }
}

/// Refuses an answer in which one item breaks its post-condition.
fn check<T>(
    items: Vec<T>,
    violation: impl Fn(&T) -> Option<String>,
) -> Result<Vec<T>, ErrorReport> {
    match items.iter().find_map(violation) {
        Some(broken) => Err(ErrorReport::message(
            ErrorKind::Permanent,
            format!("broke its post-condition: {broken}"),
        )),
        None => Ok(items),
    }
}

/// Polls all calls at once and gives their answers in the order of the calls.
async fn join<F: Future + Unpin>(calls: Vec<(String, F)>) -> Vec<(String, F::Output)> {
    let mut slots: Vec<_> = calls
        .into_iter()
        .map(|(name, call)| (name, call, None))
        .collect();
    std::future::poll_fn(|cx| {
        let mut pending = false;
        for (_, call, answer) in slots.iter_mut().filter(|(_, _, answer)| answer.is_none()) {
            match std::pin::Pin::new(call).poll(cx) {
                std::task::Poll::Ready(output) => *answer = Some(output),
                std::task::Poll::Pending => pending = true,
            }
        }
        if pending {
            std::task::Poll::Pending
        } else {
            std::task::Poll::Ready(())
        }
    })
    .await;
    slots
        .into_iter()
        .filter_map(|(name, _, answer)| Some((name, answer?)))
        .collect()
}
