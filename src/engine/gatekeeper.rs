//! The gatekeeper: gathers the facts, asks core's gate, takes the lease, makes the answer durable.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use homeostasis_core::policy::{
    BreakerPhase, BreakerState, Clearance, FileUse, Gate, GateDecision, GateFacts, GateRecord,
    Limit, LimitScope, LimitUse, PatchUse, PeerHealth, Permit, Purpose, TenantUse, Testimony,
};
use homeostasis_core::port::{
    AccessRequest, AuditError, Ballot, Commit, CoordinateError, Lease, Permission, StoreError,
    Tally, TenantPolicy, Version, tenant_key,
};
use homeostasis_core::record::{EventKind, Fingerprint, Plan};
use homeostasis_core::stage::Remediator;
use homeostasis_core::{
    Digest, ErrorReport, Flags, Incident, Mode, Observations as _, Ratio, RunId, Target, Timestamp,
};
use serde_json::{Value, json};

use crate::engine::calls;
use crate::engine::journal::{IncidentJournal, JournalError, describe};
use crate::engine::lease::HeldLease;
use crate::engine::shared::Shared;

/// The day over which loops without progress are counted.
const PROGRESS_WINDOW: Duration = Duration::from_secs(24 * 3600);

/// An incident whose like was not opened for so long is new.
pub(crate) const NEW_KIND_WINDOW: Duration = Duration::from_secs(30 * 24 * 3600);

/// The window of a tenant's quota.
const HOUR: Duration = Duration::from_secs(3600);

/// Under which name the audit log knows what the healer does by itself.
const HEALER: &str = "homeostasis";

/// Another incident may write a breaker in between: how often it is read again.
const SETTLE_ATTEMPTS: usize = 5;

/// How soon a lease that somebody else holds is asked for again.
const LEASE_RETRY: Duration = Duration::from_secs(1);

/// The document that every admission changes, and none has changed since its gate was asked.
const ADMISSIONS: &str = "admissions";

/// How often the gate is asked again before the plan waits: others were admitted each time.
const ADMISSION_ATTEMPTS: u32 = 16;

/// What came of asking about a new run.
#[derive(Debug)]
pub(crate) enum Admission {
    /// The effects may begin.
    Granted(Permit, HeldLease),
    /// They may not; the journal knows why.
    Withheld,
}

/// What came of asking about an open run.
#[derive(Debug)]
pub(crate) enum Readmission {
    /// It may go on.
    Granted(Permit, HeldLease),
    /// The gate says no; the lease that was held is given back.
    Refused(GateRecord, Option<HeldLease>),
    /// Somebody else holds the target, or it could not be audited.
    NoLease(String),
}

/// Asks about a new run of `plan`. Granting appends the answer and the opened run in one commit
/// with every counter the run hits.
///
/// The leases come first, and what decides is asked under them. No lock is held meanwhile: of two
/// plans that are asked about at once, in one process or in two, only one commit finds the document
/// [`ADMISSIONS`] as it was when its gate was asked; the other asks again. `is_due` says of the
/// incident as it is under the leases whether it is still to be acted on.
pub(crate) async fn admit(
    shared: &Arc<Shared>,
    journal: &IncidentJournal,
    incident: &Incident,
    plan: &Plan,
    is_due: impl Fn(&Incident) -> bool,
) -> Result<Admission, JournalError> {
    let gated = |record| EventKind::Gated {
        plan: plan.id,
        record,
    };
    // A plan that may not run takes no lease from one that may.
    let (record, clearance, _) = ask(shared, incident, plan, Purpose::Execute).await;
    if clearance.is_none() {
        withhold(shared, journal, plan, record).await?;
        return Ok(Admission::Withheld);
    }
    let run = shared.new_run_id();
    let lease = match HeldLease::take(shared, plan, run).await {
        Ok(lease) => lease,
        Err(error) => {
            tracing::debug!(%error, "no lease yet");
            let soonest = shared.now() + LEASE_RETRY;
            let until = match error {
                CoordinateError::Held { until, .. } => until.max(soonest),
                _ => soonest,
            };
            journal.append(vec![gated(record.deferred(until))]).await?;
            return Ok(Admission::Withheld);
        }
    };
    match admit_under(shared, journal, plan, run, &lease, is_due).await {
        Ok(Some(permit)) => Ok(Admission::Granted(permit, lease)),
        withheld => {
            lease.release(shared).await;
            withheld.map(|_| Admission::Withheld)
        }
    }
}

/// Journals why a plan does not run now. One that does not run at all leaves a record for the
/// auditors, too; one that waits is asked about again.
async fn withhold(
    shared: &Shared,
    journal: &IncidentJournal,
    plan: &Plan,
    record: GateRecord,
) -> Result<(), JournalError> {
    let is_no = matches!(
        record.decision,
        GateDecision::Refused | GateDecision::Escalated
    );
    if is_no {
        audit_refusal(shared, plan, Purpose::Execute, &record.reason()).await;
    }
    let plan = plan.id;
    let gated = vec![EventKind::Gated { plan, record }];
    journal.append(gated).await.map(drop)
}

/// Asks under `lease`, again if somebody else was admitted in between; `None` if it may not run.
async fn admit_under(
    shared: &Arc<Shared>,
    journal: &IncidentJournal,
    plan: &Plan,
    run: RunId,
    lease: &HeldLease,
    is_due: impl Fn(&Incident) -> bool,
) -> Result<Option<Permit>, JournalError> {
    let first = lease.first();
    for attempt in 1.. {
        let incident = journal.incident().await;
        if !is_due(&incident) {
            break;
        }
        let known = shared.journal.store.document(ADMISSIONS).await?;
        let known = known.map_or(Version::NONE, |document| document.version);
        let (record, clearance, switches) = ask(shared, &incident, plan, Purpose::Execute).await;
        let Some(clearance) = clearance else {
            withhold(shared, journal, plan, record).await?;
            break;
        };
        let later = shared.now() + LEASE_RETRY;
        if attempt > ADMISSION_ATTEMPTS {
            withhold(shared, journal, plan, record.deferred(later)).await?;
            break;
        }
        // What cannot be audited is not done.
        if attempt == 1
            && let Err(error) = audit_grant(shared, plan, Purpose::Execute, run).await
        {
            return Err(JournalError::Store(StoreError::Io {
                what: "auditing a run".to_owned(),
                source: Box::new(error),
            }));
        }
        if Switches::of(shared) != switches {
            // Somebody threw one while the audit log was waited for.
            let reason = "mode, flags or the kill switch changed meanwhile";
            audit_refusal(shared, plan, Purpose::Execute, reason).await;
            withhold(shared, journal, plan, record.deferred(later)).await?;
            break;
        }
        match open(
            shared,
            journal,
            &incident,
            plan,
            (run, first, record),
            known,
        )
        .await
        {
            Ok(()) => return Ok(Some(clearance.with_lease(run, first.clone()))),
            Err(JournalError::Store(StoreError::Conflict { what, .. })) if what == ADMISSIONS => {}
            Err(error) => {
                // The record says that it was granted: it did not begin.
                audit_refusal(shared, plan, Purpose::Execute, &describe(&error)).await;
                return Err(error);
            }
        }
    }
    Ok(None)
}

/// The answer, the opened run and every counter it hits in one commit, if nobody was admitted since
/// the admissions were `known`.
async fn open(
    shared: &Shared,
    journal: &IncidentJournal,
    incident: &Incident,
    plan: &Plan,
    (run, lease, record): (RunId, &Lease, GateRecord),
    known: Version,
) -> Result<(), JournalError> {
    let gated = EventKind::Gated {
        plan: plan.id,
        record,
    };
    let opened = EventKind::RunOpened {
        run,
        plan: plan.id,
        plan_hash: plan.hash(),
        token: lease.token,
    };
    let mut counters = Limit::counters(plan).to_vec();
    counters.push(counter(shared, LimitScope::Tenant, plan));
    for patch in &plan.patches {
        counters.push(PatchUse::COUNTER.to_owned());
        counters.push(PatchUse::counter(patch));
    }
    counters.push(progress_counter(incident, plan));
    let now = shared.now();
    let committed = journal.append_with(vec![gated, opened], |commit| {
        let hit = |commit: Commit, key| commit.hit(key, now);
        let commit = counters.into_iter().fold(commit, hit);
        let commit = commit.put(ADMISSIONS, known, json!({ "last": run }));
        commit.fenced(Some(lease.fence()))
    });
    committed.await.map(drop)
}

/// Asks about a run that is open already: to go on with it, or to take it back. Under the lease
/// that is held nothing changes; a new one is made known to the journal first.
pub(crate) async fn readmit(
    shared: &Arc<Shared>,
    journal: &IncidentJournal,
    incident: &Incident,
    plan: &Plan,
    run: RunId,
    purpose: Purpose,
    held: Option<HeldLease>,
) -> Result<Readmission, JournalError> {
    let (record, clearance, _) = ask(shared, incident, plan, purpose).await;
    let Some(clearance) = clearance else {
        return Ok(Readmission::Refused(record, held));
    };
    let lease = if let Some(lease) = held {
        lease
    } else {
        let lease = match HeldLease::take(shared, plan, run).await {
            Ok(lease) => lease,
            Err(error) => return Ok(Readmission::NoLease(describe(&error))),
        };
        let first = lease.first().clone();
        let resumed = EventKind::RunResumed {
            run,
            token: first.token,
        };
        let fence = |commit: Commit| commit.fenced(Some(first.fence()));
        if let Err(error) = journal.append_with(vec![resumed], fence).await {
            lease.release(shared).await;
            return Err(error);
        }
        lease
    };
    if let Err(error) = audit_grant(shared, plan, purpose, run).await {
        if purpose != Purpose::Undo {
            lease.release(shared).await;
            return Ok(Readmission::NoLease(describe(&error)));
        }
        // What was done may be taken back all the same.
        tracing::error!(%run, %error, "an undo could not be audited");
    }
    let first = lease.first().clone();
    Ok(Readmission::Granted(
        clearance.with_lease(run, first),
        lease,
    ))
}

/// What the gate would answer about a new run of `plan`, from the facts of this moment. Nothing is
/// opened, counted or kept: the clearance, if there is one, ends here.
pub(crate) async fn rehearse(shared: &Arc<Shared>, incident: &Incident, plan: &Plan) -> GateRecord {
    let (record, _, _) = ask(shared, incident, plan, Purpose::Execute).await;
    // It counts as no heal of the tenant.
    shared.slots.disclaim(incident.id);
    record
}

/// Until when the plan's breaker is open; `None` if it is not, or cannot be read: the gate says so.
pub(crate) async fn open_until(shared: &Shared, plan: &Plan) -> Option<Timestamp> {
    let (_, breaker) = read_breaker(shared, plan).await.ok()?;
    match breaker.phase(shared.now(), &shared.policy.breaker) {
        BreakerPhase::Open { until } => Some(until),
        BreakerPhase::Closed | BreakerPhase::HalfOpen => None,
    }
}

/// What people may throw while others are waited for.
#[derive(Debug, PartialEq)]
struct Switches {
    mode: Mode,
    flags: Flags,
    kill_switch: bool,
}

impl Switches {
    fn of(shared: &Shared) -> Self {
        Self {
            mode: shared.mode(),
            flags: shared.flags(),
            kill_switch: shared.controls.kill_switch.is_engaged(),
        }
    }
}

async fn ask(
    shared: &Arc<Shared>,
    incident: &Incident,
    plan: &Plan,
    purpose: Purpose,
) -> (GateRecord, Option<Clearance>, Switches) {
    let outside = Outside::ask(shared, incident, plan, purpose).await;
    let facts = Facts::gather(shared, incident, plan, shared.now()).await;
    // Only now: nobody is waited for any more.
    let (now, switches) = (shared.now(), Switches::of(shared));
    let mode = switches.mode.clone();
    let mode = match outside
        .tenant
        .as_ref()
        .and_then(|tenant| tenant.mode.as_ref())
    {
        Some(own) => stricter(mode, own),
        None => mode,
    };
    let quota = outside.tenant.as_ref();
    let outside_quota = quota.map(|policy| u64::from(policy.max_concurrent_heals));
    let tenant_use = outside.tenant.zip(facts.runs_last_hour);
    let heals = match &outside_quota {
        Some(quota) if purpose == Purpose::Execute => *quota,
        _ => u64::MAX,
    };
    let heals = shared.slots.claim(incident.id, heals);
    let tenant_use = tenant_use.map(|(policy, runs_last_hour)| TenantUse {
        policy,
        heals,
        runs_last_hour,
    });
    let diagnosis = incident.diagnosis.as_ref();
    let critical = shared
        .topology
        .service(plan.target.service_name())
        .is_none_or(|service| service.critical);
    let (record, clearance) = Gate::ask(
        plan,
        &GateFacts {
            now,
            purpose,
            kill_switch: switches.kill_switch,
            mode: &mode,
            flags: &switches.flags,
            environment: &shared.environment,
            tenant: &shared.tenant,
            category: diagnosis
                .and_then(|diagnosis| diagnosis.root_cause())
                .map(|cause| cause.category),
            authorization: outside.authorization,
            tenant_use,
            preconditions: outside.preconditions,
            patch_use: facts.patch_use,
            tally: outside.tally,
            policy: &shared.policy,
            needs_people: incident.needs_people(),
            severity: incident.severity,
            incident_radius: incident.radius,
            is_cause_known: is_cause_known(incident),
            seen_before: facts.seen_before,
            last_change: last_change(shared, incident, plan),
            n_services: shared.topology.n_services() as u64,
            peers: peers(shared, plan, now),
            critical_service: critical,
            breaker: facts.breaker.as_ref(),
            limits: facts.limits,
            last_run: facts.last_run,
            same_action_runs: facts.same_action_runs,
            approvals: &incident.approvals,
        },
    );
    (record, clearance, switches)
}

/// What the store says. What could not be read is absent, and absence is the worst case.
#[derive(Debug, Default)]
struct Facts {
    breaker: Option<BreakerState>,
    limits: Option<Vec<LimitUse>>,
    last_run: Option<Timestamp>,
    same_action_runs: u64,
    seen_before: Option<u64>,
    runs_last_hour: Option<u64>,
    patch_use: Option<PatchUse>,
}

/// What those say who are asked beside the store.
#[derive(Debug)]
struct Outside {
    authorization: Testimony,
    tenant: Option<TenantPolicy>,
    preconditions: Testimony,
    tally: Option<Tally>,
}

impl Outside {
    async fn ask(shared: &Arc<Shared>, incident: &Incident, plan: &Plan, purpose: Purpose) -> Self {
        if purpose == Purpose::Undo {
            // What was done may be taken back, whatever anybody says: nobody is waited for.
            return Self {
                authorization: Testimony::Yes,
                tenant: None,
                preconditions: Testimony::Yes,
                tally: None,
            };
        }
        let is_new = purpose == Purpose::Execute;
        Self {
            authorization: authorization(shared, plan).await,
            tenant: tenant_policy(shared).await,
            preconditions: if is_new {
                preconditions(shared, incident, plan).await
            } else {
                Testimony::Yes
            },
            tally: if is_new && plan.risk() >= shared.policy.quorum.from_risk {
                tally(shared, plan).await
            } else {
                None
            },
        }
    }
}

/// Calls somebody outside of the engine, within the deadline of a stage; failures are blamed.
async fn consult<T: Send + 'static>(
    shared: &Arc<Shared>,
    (stage, plugin): (&str, &str),
    call: impl Future<Output = Result<T, ErrorReport>> + Send + 'static,
) -> Result<T, ErrorReport> {
    let limit = shared.settings.stage_deadline;
    let answer = calls::call(&shared.tasks, shared.clock(), limit, call).await;
    if let Err(report) = &answer {
        shared.blame(stage, plugin, report);
    }
    answer
}

/// Whether the healer may execute on every service the plan names.
async fn authorization(shared: &Arc<Shared>, plan: &Plan) -> Testimony {
    let steps = plan.steps.iter().map(|step| &step.target);
    let services = steps.chain([&plan.target]).map(Target::service_name);
    let services: BTreeSet<String> = services.map(str::to_owned).collect();
    let asked = Arc::clone(shared);
    let answer = consult(shared, ("authorizer", "authorize"), async move {
        let guard = &asked.guard;
        let request = AccessRequest::new(&guard.healer, Permission::Execute, &asked.tenant)
            .within(&asked.environment);
        for service in &services {
            if let Err(refusal) = guard.authorizer.authorize(request.about(service)).await {
                return Ok(Some(refusal.to_string()));
            }
        }
        Ok(None)
    });
    testimony(answer.await)
}

async fn tenant_policy(shared: &Arc<Shared>) -> Option<TenantPolicy> {
    let asked = Arc::clone(shared);
    let answer = consult(shared, ("tenants", "policy"), async move {
        let policy = asked.guard.tenants.policy(&asked.tenant).await;
        policy.map_err(|error| error.report())
    });
    answer.await.ok().flatten()
}

/// Whether the remediator that made the plan still stands by it.
async fn preconditions(shared: &Arc<Shared>, incident: &Incident, plan: &Plan) -> Testimony {
    let made_by = |remediator: &&Arc<dyn Remediator>| remediator.name() == plan.remediator;
    let Some(remediator) = shared.stages.remediators.iter().find(made_by) else {
        return Testimony::Unknown(format!("there is no remediator {:?}", plan.remediator));
    };
    let (remediator, plan) = (Arc::clone(remediator), plan.clone());
    let name = plan.remediator.clone();
    let cx = shared.context(Some(incident), shared.settings.stage_deadline);
    let answer = consult(shared, ("remediator", &name), async move {
        let objection = remediator.objection(&cx, &plan).await;
        objection.map_err(|error| error.report())
    });
    testimony(answer.await)
}

async fn tally(shared: &Arc<Shared>, plan: &Plan) -> Option<Tally> {
    let asked = Arc::clone(shared);
    let ballot = Ballot {
        incident: plan.incident,
        plan_hash: plan.hash(),
        summary: shared.redacted(&plan.to_string()),
    };
    let answer = consult(shared, ("electorate", "poll"), async move {
        let tally = asked.guard.electorate.poll(&ballot).await;
        tally.map_err(|error| error.report())
    });
    answer.await.ok()
}

fn testimony(answer: Result<Option<String>, ErrorReport>) -> Testimony {
    match answer {
        Ok(None) => Testimony::Yes,
        Ok(Some(objection)) => Testimony::No(objection),
        Err(report) => Testimony::Unknown(report.to_string()),
    }
}

/// Of the healer's mode and its tenant's the one that lets it do less.
pub(crate) fn stricter(mode: Mode, own: &Mode) -> Mode {
    let freedom = |mode: &Mode| match mode {
        Mode::Observe => 0,
        Mode::Paused { .. } => 1,
        Mode::Approve => 2,
        Mode::Auto => 3,
    };
    if freedom(own) < freedom(&mode) {
        own.clone()
    } else {
        mode
    }
}

/// The counter of a limit; that of a tenant is told apart from those of others.
fn counter(shared: &Shared, scope: LimitScope, plan: &Plan) -> String {
    let key = Limit::counter(scope, plan);
    match scope {
        LimitScope::Tenant => tenant_key(&shared.tenant, &key),
        _ => key,
    }
}

/// What the audit log says of a plan.
fn subject(plan: &Plan) -> String {
    format!("{} {}", plan.incident, plan.action_key())
}

async fn audit_grant(
    shared: &Shared,
    plan: &Plan,
    purpose: Purpose,
    run: RunId,
) -> Result<(), AuditError> {
    let detail = json!({"plan_hash": plan.hash(), "run": run, "target": plan.target});
    let (action, about) = (purpose.to_string(), subject(plan));
    shared.audit(HEALER, &action, &about, true, detail).await
}

/// Notes in the audit log that the healer does not do it, and why.
pub(crate) async fn audit_refusal(shared: &Shared, plan: &Plan, purpose: Purpose, reason: &str) {
    let detail = json!({"plan_hash": plan.hash(), "reason": reason});
    let (action, about) = (purpose.to_string(), subject(plan));
    let audited = shared.audit(HEALER, &action, &about, false, detail);
    if let Err(error) = audited.await {
        tracing::error!(%error, "a refusal of the gate could not be audited");
    }
}

/// Whether the diagnosis names a cause, or a detector the playbook.
fn is_cause_known(incident: &Incident) -> bool {
    let diagnosis = incident.diagnosis.as_ref();
    diagnosis.is_some_and(|diagnosis| diagnosis.root_cause().is_some())
        || incident
            .anomalies
            .iter()
            .any(|it| it.playbook_hint.is_some())
}

/// When a service of the incident or the plan was changed last, as far as the window goes back; if the policy asks.
fn last_change(shared: &Shared, incident: &Incident, plan: &Plan) -> Option<Timestamp> {
    let after = shared.policy.safe_mode.after_change;
    if after.is_zero() {
        return None;
    }
    let services: BTreeSet<_> = incident
        .anomalies
        .iter()
        .map(|it| &it.target)
        .chain(plan.steps.iter().map(|step| &step.target))
        .chain([&plan.target])
        .map(Target::service_name)
        .collect();
    // A clock that is ahead hides no change.
    let changes = shared.window.changes(shared.now() - after, Timestamp::MAX);
    let of_them = changes
        .iter()
        .filter(|change| services.contains(change.target.service_name()));
    of_them.map(|change| change.at).max()
}

/// How the instances beside the plan's are: those of the service that would be worst off.
fn peers(shared: &Shared, plan: &Plan, now: Timestamp) -> Option<PeerHealth> {
    let mut taken: BTreeMap<&str, BTreeSet<Target>> = BTreeMap::new();
    for target in plan
        .steps
        .iter()
        .map(|step| &step.target)
        .chain([&plan.target])
    {
        if target.instance_name().is_some() {
            taken
                .entry(target.service_name())
                .or_default()
                .insert(target.clone());
        }
    }
    let left = taken.into_iter().map(|(service, mut missing)| {
        missing.extend(shared.board().ill_instances(service, now));
        let declared = shared
            .topology
            .service(service)
            .map_or(1, |facts| u64::from(facts.instances));
        let total = declared.max(missing.len() as u64);
        PeerHealth {
            healthy: total - missing.len() as u64,
            total,
        }
    });
    // Of services with one instance only, none is left in any case.
    left.min_by_key(|peers| {
        (
            peers.total < shared.policy.storm.at_least,
            Ratio::of(peers.healthy, peers.total),
        )
    })
}

impl Facts {
    async fn gather(shared: &Shared, incident: &Incident, plan: &Plan, now: Timestamp) -> Self {
        match Self::read(shared, incident, plan, now).await {
            Ok(facts) => facts,
            Err(error) => {
                shared.vitals.store_error();
                tracing::error!(
                    error = describe(&error),
                    "the gate's facts could not be read"
                );
                Self::default()
            }
        }
    }

    async fn read(
        shared: &Shared,
        incident: &Incident,
        plan: &Plan,
        now: Timestamp,
    ) -> Result<Self, StoreError> {
        let store = &shared.journal.store;
        let (_, breaker) = read_breaker(shared, plan).await?;
        let mut limits = Vec::new();
        for limit in &shared.policy.limits {
            let used = store
                .hits(&counter(shared, limit.scope, plan), now - limit.window)
                .await?;
            limits.push(LimitUse {
                limit: *limit,
                used,
            });
        }
        let progress = progress_counter(incident, plan);
        let of_tenant = counter(shared, LimitScope::Tenant, plan);
        let mut patch_use = PatchUse::default();
        if !plan.patches.is_empty() {
            let day_ago = now - PROGRESS_WINDOW;
            patch_use.today = store.hits(PatchUse::COUNTER, day_ago).await?;
            for patch in &plan.patches {
                patch_use.files.push(FileUse {
                    today: store.hits(&PatchUse::counter(patch), day_ago).await?,
                    failed_at: store.last_hit(&PatchUse::failures(patch)).await?,
                });
            }
        }
        let seen = seen_counter(incident.fingerprint());
        Ok(Self {
            breaker: Some(breaker),
            limits: Some(limits),
            last_run: store
                .last_hit(&Limit::counter(LimitScope::Target, plan))
                .await?,
            runs_last_hour: Some(store.hits(&of_tenant, now - HOUR).await?),
            patch_use: Some(patch_use),
            same_action_runs: store.hits(&progress, now - PROGRESS_WINDOW).await?,
            // Its own opening is among them.
            seen_before: Some(
                store
                    .hits(&seen, now - NEW_KIND_WINDOW)
                    .await?
                    .saturating_sub(1),
            ),
        })
    }
}

/// Counts the incidents that were opened for `fingerprint`.
pub(crate) fn seen_counter(fingerprint: Fingerprint) -> String {
    format!("seen/{fingerprint}")
}

fn progress_counter(incident: &Incident, plan: &Plan) -> String {
    format!("progress/{}/{}", incident.fingerprint(), plan.action_key())
}

fn breaker_key(plan: &Plan) -> String {
    format!("breaker/{}", plan.action_key())
}

async fn read_breaker(shared: &Shared, plan: &Plan) -> Result<(Version, BreakerState), StoreError> {
    let known = known_breaker(shared, &breaker_key(plan)).await?;
    Ok(known.unwrap_or((Version::NONE, BreakerState::default())))
}

async fn known_breaker(
    shared: &Shared,
    key: &str,
) -> Result<Option<(Version, BreakerState)>, StoreError> {
    let Some(document) = shared.journal.store.document(key).await? else {
        return Ok(None);
    };
    let state = serde_json::from_value(document.value).map_err(|source| StoreError::Corrupt {
        path: key.to_owned(),
        place: document.version.to_string(),
        source: Some(Box::new(source)),
    })?;
    Ok(Some((document.version, state)))
}

/// Closes the breaker of an action and forgets its failures; `None` if nothing is known of it.
/// Returns what it knew.
pub(crate) async fn reset_breaker(
    shared: &Shared,
    action_key: &str,
) -> Result<Option<BreakerState>, StoreError> {
    let key = format!("breaker/{action_key}");
    let mut attempts = 0;
    loop {
        let Some((version, before)) = known_breaker(shared, &key).await? else {
            return Ok(None);
        };
        let mut breaker = before.clone();
        breaker.reset();
        let value = breaker_value(action_key, &breaker)?;
        let commit = Commit::default().put(key.clone(), version, value);
        match shared.journal.store.commit(commit).await {
            Ok(_) => return Ok(Some(before)),
            // A run that ended in between wrote it.
            Err(StoreError::Conflict { .. }) if attempts < SETTLE_ATTEMPTS => attempts += 1,
            Err(error) => return Err(error),
        }
    }
}

fn breaker_value(action_key: &str, breaker: &BreakerState) -> Result<Value, StoreError> {
    serde_json::to_value(breaker).map_err(|source| StoreError::Invalid {
        reason: format!("breaker {}: {source}", Digest::of(action_key).short()),
    })
}

/// Appends `kinds` and, in the same commit, notes in the plan's breaker how the attempt ended.
///
/// Another incident may write the breaker in between; then it is read again.
pub(crate) async fn settle(
    shared: &Shared,
    journal: &IncidentJournal,
    plan: &Plan,
    success: bool,
    kinds: Vec<EventKind>,
) -> Result<Arc<Incident>, JournalError> {
    for _ in 1..SETTLE_ATTEMPTS {
        match settle_once(shared, journal, plan, success, kinds.clone()).await {
            Err(JournalError::Store(StoreError::Conflict { what, .. }))
                if what == breaker_key(plan) => {}
            other => return other,
        }
    }
    settle_once(shared, journal, plan, success, kinds).await
}

async fn settle_once(
    shared: &Shared,
    journal: &IncidentJournal,
    plan: &Plan,
    success: bool,
    kinds: Vec<EventKind>,
) -> Result<Arc<Incident>, JournalError> {
    let (version, mut breaker) = read_breaker(shared, plan).await?;
    breaker.record(success, shared.now(), &shared.policy.breaker);
    let value = breaker_value(&plan.action_key(), &breaker)?;
    let now = shared.now();
    let write = |commit: Commit| {
        let failed = plan.patches.iter().filter(|_| !success);
        failed
            .map(PatchUse::failures)
            .fold(commit, |commit, key| commit.hit(key, now))
            .put(breaker_key(plan), version, value)
    };
    journal.append_with(kinds, write).await
}
