//! The gatekeeper: gathers the facts, asks core's gate, takes the lease, makes the answer durable.

mod breaker;
mod facts;
mod last_runs;
mod outside;
mod way;

use std::sync::Arc;
use std::time::Duration;

use homeostasis_core::policy::{
    Clearance, Gate, GateDecision, GateFacts, GateRecord, Limit, LimitScope, PatchUse, Permit,
    Purpose, TenantUse,
};
use homeostasis_core::port::{AuditError, Commit, CoordinateError, Lease, StoreError, Version};
use homeostasis_core::record::{EventKind, Plan};
use homeostasis_core::{Flags, Incident, Mode, RunId};
use serde_json::json;

use self::breaker::SeenBreaker;
pub(crate) use self::breaker::{open_until, reset_breaker, settle};
use self::facts::{Facts, counter, is_cause_known, last_change, peers, progress_counter};
pub(crate) use self::facts::{NEW_KIND_WINDOW, seen_counter};
use self::last_runs::LastRuns;
use self::outside::Outside;
use crate::engine::journal::{IncidentJournal, JournalError, describe};
use crate::engine::lease::HeldLease;
use crate::engine::shared::Shared;

/// Under which name the audit log knows what the healer does by itself.
const HEALER: &str = "homeostasis";

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
    /// Another run was opened on the target since: going on would act on its work.
    Overtaken(String),
}

/// Asks about a new run of `plan`. Granting appends the answer and the opened run in one commit
/// with every counter the run hits.
///
/// The leases come first, and what decides is asked under them. No lock is held meanwhile: of two
/// plans that are asked about at once, in one process or in two, only one commit finds the document
/// [`ADMISSIONS`] as it was when its gate was asked; the other asks again, and so does one whose breaker
/// heard of another attempt meanwhile. `is_due` says of the
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
            if let CoordinateError::Held { holder, .. } = &error {
                way::make(shared, incident, plan, holder).await;
            }
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
        let breaker = SeenBreaker::read(shared, plan).await?;
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
            (known, breaker),
        )
        .await
        {
            Ok(()) => return Ok(Some(clearance.with_lease(run, first.clone()))),
            Err(JournalError::Store(StoreError::Conflict { what, .. }))
                if what == ADMISSIONS
                    || LastRuns::is_theirs(&what)
                    || SeenBreaker::is_theirs(&what, plan) => {}
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
/// the admissions were `known`, and no attempt of the plan's action ended since its `breaker` was seen.
async fn open(
    shared: &Shared,
    journal: &IncidentJournal,
    incident: &Incident,
    plan: &Plan,
    (run, lease, record): (RunId, &Lease, GateRecord),
    (known, breaker): (Version, Option<SeenBreaker>),
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
    let last_runs = LastRuns::read(shared, plan).await?;
    let now = shared.now();
    let committed = journal.append_with(vec![gated, opened], |commit| {
        let hit = |commit: Commit, key| commit.hit(key, now);
        let commit = counters.into_iter().fold(commit, hit);
        let commit = commit.put(ADMISSIONS, known, json!({ "last": run }));
        let commit = last_runs.note(run, plan, commit);
        let commit = breaker
            .into_iter()
            .fold(commit, |commit, it| it.still(commit));
        commit.fenced(Some(lease.fence()))
    });
    committed.await.map(drop)
}

/// Asks about a run that is open already: to go on with it, or to take it back. Under the lease
/// that is held nothing changes; a new one is made known to the journal first, if nobody acted on
/// the targets while there was none.
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
        // What is left is only for people to decide if somebody else acted in between.
        let is_left = incident
            .run(run)
            .is_some_and(|state| state.unsettled(plan, purpose.phase()).is_some());
        let overtaken = match LastRuns::read(shared, plan).await {
            Ok(last_runs) => last_runs.objection(run, plan).filter(|_| is_left),
            Err(error) => {
                lease.release(shared).await;
                return Err(error.into());
            }
        };
        if let Some(reason) = overtaken {
            lease.release(shared).await;
            return Ok(Readmission::Overtaken(reason));
        }
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
/// opened, counted or kept: the clearance, if there is one, ends here. No vote is called for.
pub(crate) async fn rehearse(shared: &Arc<Shared>, incident: &Incident, plan: &Plan) -> GateRecord {
    let outside = Outside::ask_without_poll(shared, incident, plan, Purpose::Execute).await;
    let (record, _, _) = ask_with(shared, incident, plan, Purpose::Execute, outside).await;
    // It counts as no heal of the tenant.
    shared.slots.disclaim(incident.id);
    record
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
    ask_with(shared, incident, plan, purpose, outside).await
}

/// The same with what those said who are asked beside the store.
async fn ask_with(
    shared: &Arc<Shared>,
    incident: &Incident,
    plan: &Plan,
    purpose: Purpose,
    outside: Outside,
) -> (GateRecord, Option<Clearance>, Switches) {
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
