//! What people command: each command asks the access control and leaves a record.

use std::sync::Arc;
use std::time::Duration;

use homeostasis_core::cycle::Phase;
use homeostasis_core::policy::{BreakerState, is_own_author};
use homeostasis_core::port::{
    AccessRequest, ApprovalRequest, AuditError, AuditRecord, NotAuthenticated, NotAuthorized,
    Permission, Principal, StoreError,
};
use homeostasis_core::record::{EventKind, HandOver, HandOverAnswer, Plan};
use homeostasis_core::{
    Digest, ErrorKind, ErrorReport, Flags, Incident, IncidentId, Mode, RunId, Secret, Target,
    Timestamp,
};
use serde_json::{Value, json};

use crate::engine::calls;
use crate::engine::commanded::Command;
use crate::engine::gatekeeper;
use crate::engine::guard::call as call_guarded;
use crate::engine::hand_over;
use crate::engine::shared::Shared;
use crate::engine::{EngineError, Homeostasis};

/// How long a stop waits for the access control.
const IN_DOUBT: Duration = Duration::from_millis(50);

/// Why a command was not carried out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommandError {
    /// Nobody known has the token.
    #[error(transparent)]
    NotAuthenticated(#[from] NotAuthenticated),
    /// They may not do this.
    #[error(transparent)]
    NotAuthorized(#[from] NotAuthorized),
    /// It is not possible, and why.
    #[error("refused: {reason}")]
    Refused {
        /// Why.
        reason: String,
    },
    /// It could not be audited, so it was not done.
    #[error("not done, since it could not be audited")]
    Audit(#[from] AuditError),
    /// The engine could not do it.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

impl CommandError {
    /// What may be done next.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NotAuthenticated(_) | Self::NotAuthorized(_) => ErrorKind::Denied,
            Self::Refused { .. } => ErrorKind::Conflict,
            Self::Audit(error) => error.kind(),
            Self::Engine(EngineError::Store(error)) => error.kind(),
            Self::Engine(_) => ErrorKind::Permanent,
        }
    }
}

/// A healer in the hands of one person. Each command is asked of the access control, and each grant
/// and refusal goes to the audit log before anything happens; what stops happens first and is
/// audited then, so that it works with a dead store.
#[derive(Debug, Clone)]
pub struct Operator {
    shared: Arc<Shared>,
    principal: Arc<Principal>,
}

impl Homeostasis {
    /// Who shows this token takes the controls.
    ///
    /// Attempts of strangers are audited, at most 60 in a minute, so that nobody fills the disk with
    /// them; the next record says how many were not.
    ///
    /// # Errors
    /// If nobody known has it.
    pub async fn operator(&self, token: &Secret) -> Result<Operator, CommandError> {
        let guard = &self.shared.guard;
        let asked = async { Ok(guard.authenticator.authenticate(token).await) };
        let limit = self.shared.settings.stage_deadline;
        let answer = call_guarded(&**self.shared.clock(), limit, asked).await;
        let answer = answer.unwrap_or_else(|report| {
            Err(NotAuthenticated {
                reason: format!("nobody can tell whose token it is: {report}"),
            })
        });
        match answer {
            Ok(principal) => Ok(self.operator_as(principal)),
            Err(error) => {
                if let Some(unseen) = guard.strangers.note(self.shared.now()) {
                    let detail = json!({"reason": error.reason, "attempts_not_audited": unseen});
                    let refused =
                        self.shared
                            .audit("unknown", "authenticate", "healer", false, detail);
                    if let Err(error) = refused.await {
                        tracing::error!(%error, "a stranger could not be audited");
                    }
                }
                Err(error.into())
            }
        }
    }

    /// Somebody whose identity the host has proven takes the controls.
    pub fn operator_as(&self, principal: Principal) -> Operator {
        Operator {
            shared: Arc::clone(&self.shared),
            principal: Arc::new(principal),
        }
    }

    /// From now on this signal of the operating system, such as 12 (`SIGUSR2` on Linux), engages the
    /// kill switch until somebody releases it. No handler is installed unless a host asks for it here.
    ///
    /// # Errors
    /// If the system does not let this signal be handled.
    #[cfg(all(unix, feature = "stop-signal"))]
    #[cfg_attr(docsrs, doc(cfg(all(unix, feature = "stop-signal"))))]
    pub fn stop_on_signal(&self, signal: i32) -> std::io::Result<()> {
        use tokio::signal::unix::{SignalKind, signal as handler};
        let mut received = handler(SignalKind::from_raw(signal))?;
        let switch = self.kill_switch();
        self.spawn(async move {
            while received.recv().await.is_some() {
                switch.engage();
            }
        });
        Ok(())
    }

    /// The audit log.
    pub fn audit(&self) -> Arc<dyn homeostasis_core::port::AuditSink> {
        Arc::clone(&self.shared.guard.audit)
    }
}

impl Operator {
    /// Who commands.
    pub fn principal(&self) -> &Principal {
        &self.principal
    }

    #[cfg(feature = "remediate")]
    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Agrees to the plan with this hash, which must be the one that waits for approval.
    ///
    /// # Errors
    /// If they may not approve for every service of the plan, no plan of the incident waits, the plan
    /// that waits is another one, its time is over, they wrote it, or have agreed already.
    pub async fn approve(
        &self,
        id: IncidentId,
        plan_hash: Digest,
        reason: &str,
    ) -> Result<(), CommandError> {
        self.decide(id, plan_hash, true, reason).await
    }

    /// Refuses the plan with this hash; another one is tried, or people are called.
    ///
    /// # Errors
    /// As for [`approve`](Self::approve); an author may refuse, and so may who has agreed.
    pub async fn deny(
        &self,
        id: IncidentId,
        plan_hash: Digest,
        reason: &str,
    ) -> Result<(), CommandError> {
        self.decide(id, plan_hash, false, reason).await
    }

    async fn decide(
        &self,
        id: IncidentId,
        plan_hash: Digest,
        granted: bool,
        reason: &str,
    ) -> Result<(), CommandError> {
        let action = if granted { "approve" } else { "deny" };
        let subject = format!("{id} {plan_hash}");
        let Some(journal) = self.shared.journal_of(id) else {
            self.may(Permission::Approve, action, &subject, &[]).await?;
            return self
                .refuse(action, &subject, "the incident is not open".to_owned())
                .await;
        };
        let incident = journal.incident().await;
        let services = services_of(&incident);
        self.may(Permission::Approve, action, &subject, &services)
            .await?;
        let name = self.principal.name.as_str();
        let now = self.shared.now();
        let waiting = match waiting(&incident, plan_hash, now) {
            Ok(plan) => plan,
            Err(reason) => return self.refuse(action, &subject, reason).await,
        };
        if self.shared.redacted(name) != name {
            let reason =
                "the name looks like a secret and would be journaled as another".to_owned();
            return self.refuse(action, &subject, reason).await;
        }
        if granted && is_own_author(waiting, name) {
            let reason = format!("{name} wrote the plan: somebody else must approve it");
            return self.refuse(action, &subject, reason).await;
        }
        let ttl = self.shared.policy.approval_ttl;
        let counts = |given: &&homeostasis_core::policy::Approval| {
            given.plan_hash == plan_hash && given.by == name && now - given.at < ttl
        };
        if granted && incident.approvals.iter().any(|given| counts(&given)) {
            let reason = format!("{name} has approved it already: somebody else must");
            return self.refuse(action, &subject, reason).await;
        }
        let detail = json!({"reason": reason});
        self.grant(action, &subject, detail).await?;
        let kind = EventKind::ApprovalDecided {
            plan: waiting.id,
            plan_hash,
            granted,
            by: name.to_owned(),
            roles: self.principal.roles.clone(),
            reason: reason.to_owned(),
            given_at: None,
        };
        match journal.append(vec![kind]).await {
            Ok(_) => Ok(()),
            Err(error) => {
                let reason = crate::engine::describe(&error);
                self.refuse(action, &subject, reason).await
            }
        }
    }

    /// The plans that wait for approval, of the incidents they may see.
    ///
    /// # Errors
    /// Never by itself; what they may not see is left out.
    pub async fn waiting(&self) -> Result<Vec<ApprovalRequest>, CommandError> {
        let journals: Vec<_> = self.shared.journals().values().map(Arc::clone).collect();
        let mut found = Vec::new();
        for journal in journals {
            let incident = journal.incident().await;
            let Phase::AwaitingApproval { plan_idx, expires } = incident.phase else {
                continue;
            };
            let plan = &incident.plans[plan_idx];
            if self
                .asked(Permission::View, &services_of(&incident))
                .await
                .is_ok()
            {
                let summary = self
                    .shared
                    .redacted(&format!("{}\n{plan}", incident.severity));
                let id = incident.id;
                found.push(ApprovalRequest::new(
                    id,
                    plan.id,
                    plan.hash(),
                    summary,
                    expires,
                ));
            }
        }
        Ok(found)
    }

    /// An incident.
    ///
    /// # Errors
    /// If they may not see it, or it is unknown.
    pub async fn incident(&self, id: IncidentId) -> Result<Incident, CommandError> {
        let incident = crate::engine::incident_of(&self.shared, id).await?;
        self.may(
            Permission::View,
            "view",
            &id.to_string(),
            &services_of(&incident),
        )
        .await?;
        Ok(incident)
    }

    /// Closes an incident.
    ///
    /// # Errors
    /// If they may not, it is unknown or closed, or effects are in flight.
    pub async fn close_incident(&self, id: IncidentId, note: &str) -> Result<(), CommandError> {
        let (action, subject) = ("close_incident", id.to_string());
        let services = self.services(id).await;
        self.may(Permission::Respond, action, &subject, &services)
            .await?;
        self.grant(action, &subject, json!({"note": note})).await?;
        let by = self.principal.name.clone();
        let closed = crate::engine::close(&self.shared, id, by, note.to_owned()).await;
        self.told(action, &subject, closed).await
    }

    /// What was granted and then refused by the incident itself is audited as refused.
    async fn told(
        &self,
        action: &str,
        subject: &str,
        done: Result<(), EngineError>,
    ) -> Result<(), CommandError> {
        if let Err(error) = &done {
            let detail = json!({"reason": error.to_string()});
            self.noted(action, subject, false, detail).await;
        }
        Ok(done?)
    }

    /// Takes an incident on: levels of its escalation that wait for that are not called any more.
    ///
    /// It is shown on the [incident](Incident::escalation) and told through the channels that want to
    /// know.
    ///
    /// # Errors
    /// If they may not, the incident is unknown or closed, or somebody took it on before.
    pub async fn acknowledge(&self, id: IncidentId, note: &str) -> Result<(), CommandError> {
        let (action, subject) = ("acknowledge", id.to_string());
        let services = self.services(id).await;
        self.may(Permission::Respond, action, &subject, &services)
            .await?;
        self.grant(action, &subject, json!({"note": note})).await?;
        let by = self.principal.name.clone();
        let taken = crate::engine::acknowledge(&self.shared, id, by, note.to_owned()).await;
        self.told(action, &subject, taken).await
    }

    /// The steps that wait for a person, of the incidents they may see.
    pub async fn hand_overs(&self) -> Vec<HandOver> {
        let journals: Vec<_> = self.shared.journals().values().map(Arc::clone).collect();
        let mut waiting = Vec::new();
        for journal in journals {
            let incident = journal.incident().await;
            let asked = incident.hand_over();
            let services = services_of(&incident);
            if asked.is_some() && self.asked(Permission::View, &services).await.is_ok() {
                waiting.extend(asked);
            }
        }
        waiting
    }

    /// Answers about a step that was handed over, as [`Homeostasis::answer_hand_over`] does.
    ///
    /// # Errors
    /// If they may not approve for every service of the incident, or the question does not wait.
    pub async fn answer_hand_over(
        &self,
        asked: &HandOver,
        answer: HandOverAnswer,
        reason: &str,
    ) -> Result<(), CommandError> {
        let action = "answer_hand_over";
        let subject = format!(
            "{} {} step {}",
            asked.incident,
            asked.run,
            asked.step_idx + 1
        );
        let services = self.services(asked.incident).await;
        self.may(Permission::Approve, action, &subject, &services)
            .await?;
        let detail = json!({"answer": answer.to_string(), "reason": reason});
        self.grant(action, &subject, detail).await?;
        let by = self.principal.name.as_str();
        let taken = hand_over::answer(&self.shared, asked, answer, (by, reason)).await;
        self.told(action, &subject, taken).await
    }

    /// Stops a run, as [`Homeostasis::cancel_run`] does.
    ///
    /// # Errors
    /// If they may not stop every service of the incident, or the run does not run.
    pub async fn cancel_run(
        &self,
        id: IncidentId,
        run: RunId,
        reason: &str,
    ) -> Result<(), CommandError> {
        let (action, subject) = ("cancel_run", format!("{id} {run}"));
        let services = self.services(id).await;
        self.may(Permission::Stop, action, &subject, &services)
            .await?;
        self.grant(action, &subject, json!({"reason": reason}))
            .await?;
        let by = self.principal.name.as_str();
        let cancelled = hand_over::cancel(&self.shared, id, run, (by, reason)).await;
        self.told(action, &subject, cancelled).await
    }

    /// The services of an open incident.
    async fn services(&self, id: IncidentId) -> Vec<String> {
        match self.shared.journal_of(id) {
            Some(journal) => services_of(&*journal.incident().await),
            None => Vec::new(),
        }
    }

    /// Pauses healing until then; afterwards it goes on as before. It survives a restart if the store
    /// could write it down; the audit log says whether it could.
    ///
    /// # Errors
    /// If they may not stop it, that time is over, or a pause that lasts as long is there: who may
    /// stop the healer prolongs a pause and does not shorten it.
    pub async fn pause(&self, why: &str, until: Timestamp) -> Result<(), CommandError> {
        self.may(Permission::Stop, "pause", "healer", &[]).await?;
        if until <= self.shared.now() {
            let reason = format!("{until} is over");
            return self.refuse("pause", "healer", reason).await;
        }
        let by = self.principal.name.clone();
        if let Err(present) = self.shared.begin_pause(by, why.to_owned(), until) {
            let reason = format!("it is paused until {present}: `resume` ends that");
            return self.refuse("pause", "healer", reason).await;
        }
        let survives = self.kept(Command::Mode).await;
        let detail = json!({"why": why, "until": until, "survives_restart": survives});
        self.noted("pause", "healer", true, detail).await;
        Ok(())
    }

    /// Ends a pause: healing goes on as before it.
    ///
    /// # Errors
    /// If they may not configure it, or it could not be written down: then it holds until a restart.
    pub async fn resume(&self, why: &str) -> Result<(), CommandError> {
        self.may(Permission::Configure, "resume", "healer", &[])
            .await?;
        self.grant("resume", "healer", json!({"why": why})).await?;
        self.shared.end_pause();
        self.shared.keep(Command::Mode).await.map_err(store_failed)
    }

    /// Changes how far the healer may go by itself. It survives a restart; if the configuration says
    /// something else since, the stricter of both holds.
    ///
    /// # Errors
    /// If they may not configure it, or it could not be written down: then it holds until a restart.
    pub async fn set_mode(&self, mode: Mode) -> Result<(), CommandError> {
        self.may(Permission::Configure, "set_mode", "healer", &[])
            .await?;
        let detail = json!({"mode": mode, "before": self.shared.mode()});
        self.grant("set_mode", "healer", detail).await?;
        self.shared.set_mode(mode);
        self.shared.keep(Command::Mode).await.map_err(store_failed)
    }

    /// Replaces the feature flags. **It does not survive a restart**: then the configuration's hold.
    ///
    /// # Errors
    /// If they may not configure it.
    pub async fn set_flags(&self, flags: Flags) -> Result<(), CommandError> {
        self.may(Permission::Configure, "set_flags", "healer", &[])
            .await?;
        let said: serde_json::Map<_, _> = flags
            .iter()
            .map(|(flag, on)| (flag.to_owned(), Value::from(on)))
            .collect();
        self.grant("set_flags", "healer", Value::Object(said))
            .await?;
        self.shared.set_flags(flags);
        Ok(())
    }

    /// Engages the kill switch: no further step begins. It does not wait for the store. It survives
    /// a restart if the store could write it down; the audit log says whether it could.
    ///
    /// An access control that gives no answer within 50 ms does not hold it up: in doubt everything
    /// stops, and the audit log says so.
    ///
    /// # Errors
    /// If they may not stop it.
    pub async fn engage_kill_switch(&self, why: &str) -> Result<(), CommandError> {
        let action = "engage_kill_switch";
        let asked = self.asked_within(IN_DOUBT, Permission::Stop, &[]);
        let doubt = match call_guarded(&**self.shared.clock(), IN_DOUBT, asked).await {
            Ok(Ok(())) => None,
            Ok(Err(refusal)) => {
                let detail = json!({"reason": refusal.to_string()});
                self.noted(action, "healer", false, detail).await;
                return Err(refusal.into());
            }
            Err(report) => Some(report.to_string()),
        };
        self.shared.controls.kill_switch.engage();
        let survives = self.kept(Command::KillSwitch(true)).await;
        let detail = json!({"why": why, "unanswered": doubt, "survives_restart": survives});
        self.noted(action, "healer", true, detail).await;
        Ok(())
    }

    /// Releases the kill switch; a file that stops the healer stops it all the same.
    ///
    /// # Errors
    /// If they may not configure it, or it could not be written down: then it holds until a restart.
    pub async fn release_kill_switch(&self, why: &str) -> Result<(), CommandError> {
        let action = "release_kill_switch";
        self.may(Permission::Configure, action, "healer", &[])
            .await?;
        self.grant(action, "healer", json!({"why": why})).await?;
        self.shared.controls.kill_switch.release();
        let kept = self.shared.keep(Command::KillSwitch(false)).await;
        kept.map_err(store_failed)
    }

    /// Closes the breaker of a playbook or of `remediator.action`, and forgets its failures: what a
    /// person does who has looked into them. Returns what it knew.
    ///
    /// # Errors
    /// If they may not, or nothing is known of such an action.
    pub async fn reset_breaker(
        &self,
        action_key: &str,
        why: &str,
    ) -> Result<BreakerState, CommandError> {
        let action = "reset_breaker";
        self.may(Permission::Execute, action, action_key, &[])
            .await?;
        self.grant(action, action_key, json!({"why": why})).await?;
        match gatekeeper::reset_breaker(&self.shared, action_key).await {
            Ok(Some(before)) => Ok(before),
            Ok(None) => {
                let reason = format!("nothing was done yet that is called {action_key:?}");
                self.refuse(action, action_key, reason).await
            }
            Err(error) => {
                let reason = crate::engine::describe(&error);
                self.noted(action, action_key, false, json!({"reason": reason}))
                    .await;
                Err(EngineError::Store(error).into())
            }
        }
    }

    /// Records of the audit log from place `from`, at most `limit`.
    ///
    /// # Errors
    /// If they may not read it, or it cannot be read.
    pub async fn audit_records(
        &self,
        from: u64,
        limit: usize,
    ) -> Result<Vec<AuditRecord>, CommandError> {
        self.may(Permission::Audit, "read_audit", "audit", &[])
            .await?;
        Ok(self.shared.guard.audit.records(from, limit).await?)
    }

    /// Asks the access control about every one of `services`, or about all if there is none named.
    async fn asked(
        &self,
        permission: Permission,
        services: &[String],
    ) -> Result<(), NotAuthorized> {
        let limit = self.shared.settings.stage_deadline;
        let answer = self.asked_within(limit, permission, services).await;
        answer.unwrap_or_else(|report| {
            Err(NotAuthorized {
                principal: self.principal.name.clone(),
                permission,
                tenant: self.shared.tenant.clone(),
                reason: format!("the access control gave no answer: {report}"),
            })
        })
    }

    async fn asked_within(
        &self,
        limit: Duration,
        permission: Permission,
        services: &[String],
    ) -> Result<Result<(), NotAuthorized>, ErrorReport> {
        let (shared, principal) = (Arc::clone(&self.shared), Arc::clone(&self.principal));
        let services = services.to_vec();
        calls::call(&self.shared.tasks, self.shared.clock(), limit, async move {
            let authorizer = &shared.guard.authorizer;
            let request = AccessRequest::new(&principal, permission, &shared.tenant)
                .within(&shared.environment);
            if services.is_empty() {
                return Ok(authorizer.authorize(request).await);
            }
            for service in &services {
                if let Err(refusal) = authorizer.authorize(request.about(service)).await {
                    return Ok(Err(refusal));
                }
            }
            Ok(Ok(()))
        })
        .await
    }

    /// Whether what stopped it could be written down.
    async fn kept(&self, command: Command) -> bool {
        let kept = self.shared.keep(command).await;
        if let Err(error) = &kept {
            tracing::error!(%error, ?command, "it holds, but not beyond a restart");
        }
        kept.is_ok()
    }

    /// The same, with a record of the refusal.
    pub(super) async fn may(
        &self,
        permission: Permission,
        action: &str,
        subject: &str,
        services: &[String],
    ) -> Result<(), CommandError> {
        let Err(refusal) = self.asked(permission, services).await else {
            return Ok(());
        };
        let detail = json!({"reason": refusal.to_string()});
        self.noted(action, subject, false, detail).await;
        Err(refusal.into())
    }

    /// What is not audited is not done.
    pub(super) async fn grant(
        &self,
        action: &str,
        subject: &str,
        detail: Value,
    ) -> Result<(), AuditError> {
        let name = &self.principal.name;
        self.shared.audit(name, action, subject, true, detail).await
    }

    /// Audits what is so in any case.
    async fn noted(&self, action: &str, subject: &str, allowed: bool, detail: Value) {
        let name = &self.principal.name;
        let audited = self.shared.audit(name, action, subject, allowed, detail);
        if let Err(error) = audited.await {
            tracing::error!(action, subject, by = name, allowed, %error, "this could not be audited");
        }
    }

    pub(super) async fn refuse<T>(
        &self,
        action: &str,
        subject: &str,
        reason: String,
    ) -> Result<T, CommandError> {
        self.noted(action, subject, false, json!({"reason": reason}))
            .await;
        Err(CommandError::Refused { reason })
    }
}

fn store_failed(error: StoreError) -> CommandError {
    EngineError::Store(error).into()
}

/// The plan of `incident` that waits for approval, if it is the one with this hash.
fn waiting(incident: &Incident, plan_hash: Digest, now: Timestamp) -> Result<&Plan, String> {
    let Phase::AwaitingApproval { plan_idx, expires } = incident.phase else {
        let used = incident
            .approvals
            .iter()
            .any(|given| given.plan_hash == plan_hash && given.is_consumed);
        return Err(if used {
            "the approval was used: a run was opened with it".to_owned()
        } else {
            "no plan of the incident waits for approval".to_owned()
        });
    };
    let plan = &incident.plans[plan_idx];
    let present = plan.hash();
    if present != plan_hash {
        return Err(format!(
            "the plan that waits is {}, not {}: look at it and decide anew",
            present.short(),
            plan_hash.short()
        ));
    }
    if now >= expires {
        return Err(format!("the time to decide was over at {expires}"));
    }
    Ok(plan)
}

/// The services an incident is about, with those that its plans reach.
fn services_of(incident: &Incident) -> Vec<String> {
    let found = incident.anomalies.iter().map(|anomaly| &anomaly.target);
    let plans = incident.plans.iter();
    let reached = plans.flat_map(|plan| {
        let steps = plan.steps.iter().map(|step| &step.target);
        steps.chain([&plan.target])
    });
    let names = found.chain(reached).map(Target::service_name);
    let names: std::collections::BTreeSet<_> = names.collect();
    names.into_iter().map(str::to_owned).collect()
}
