//! The gatekeeper: gathers the facts, asks core's gate, takes the lease, makes the answer durable.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use homeostasis_core::policy::{
    BreakerState, Clearance, Gate, GateFacts, GateRecord, Limit, LimitScope, LimitUse, PeerHealth,
    Permit, Purpose,
};
use homeostasis_core::port::{Commit, CoordinateError, StoreError, Version};
use homeostasis_core::record::{EventKind, Fingerprint, Plan};
use homeostasis_core::{Digest, Incident, Observations as _, Ratio, RunId, Target, Timestamp};
use serde_json::json;

use crate::engine::journal::{IncidentJournal, JournalError, describe};
use crate::engine::lease::HeldLease;
use crate::engine::shared::Shared;

/// The day over which loops without progress are counted.
const PROGRESS_WINDOW: Duration = Duration::from_secs(24 * 3600);

/// An incident whose like was not opened for so long is new.
pub(crate) const NEW_KIND_WINDOW: Duration = Duration::from_secs(30 * 24 * 3600);

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
    /// Somebody else holds the target.
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
    let (record, clearance) = ask(shared, incident, plan, Purpose::Execute).await;
    if clearance.is_none() {
        journal.append(vec![gated(record)]).await?;
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

/// Asks under `lease`, again if somebody else was admitted in between; `None` if it may not run.
async fn admit_under(
    shared: &Arc<Shared>,
    journal: &IncidentJournal,
    plan: &Plan,
    run: RunId,
    lease: &HeldLease,
    is_due: impl Fn(&Incident) -> bool,
) -> Result<Option<Permit>, JournalError> {
    let gated = |record| EventKind::Gated {
        plan: plan.id,
        record,
    };
    let first = lease.first();
    for attempt in 1.. {
        let incident = journal.incident().await;
        if !is_due(&incident) {
            return Ok(None);
        }
        let known = shared.journal.store.document(ADMISSIONS).await?;
        let known = known.map_or(Version::NONE, |document| document.version);
        let (record, clearance) = ask(shared, &incident, plan, Purpose::Execute).await;
        let Some(clearance) = clearance else {
            journal.append(vec![gated(record)]).await?;
            return Ok(None);
        };
        if attempt > ADMISSION_ATTEMPTS {
            let later = record.deferred(shared.now() + LEASE_RETRY);
            journal.append(vec![gated(later)]).await?;
            return Ok(None);
        }
        let opened = EventKind::RunOpened {
            run,
            plan: plan.id,
            plan_hash: plan.hash(),
            token: first.token,
        };
        let now = shared.now();
        let progress = progress_counter(&incident, plan);
        let committed = journal
            .append_with(vec![gated(record), opened], |commit| {
                let commit = Limit::counters(plan)
                    .into_iter()
                    .fold(commit, |commit, key| commit.hit(key, now));
                let commit = commit.put(ADMISSIONS, known, json!({ "last": run }));
                commit.hit(progress, now).fenced(Some(first.fence()))
            })
            .await;
        match committed {
            Ok(_) => return Ok(Some(clearance.with_lease(run, first.clone()))),
            Err(JournalError::Store(StoreError::Conflict { what, .. })) if what == ADMISSIONS => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
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
    let (record, clearance) = ask(shared, incident, plan, purpose).await;
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
    let first = lease.first().clone();
    Ok(Readmission::Granted(
        clearance.with_lease(run, first),
        lease,
    ))
}

async fn ask(
    shared: &Shared,
    incident: &Incident,
    plan: &Plan,
    purpose: Purpose,
) -> (GateRecord, Option<Clearance>) {
    let now = shared.now();
    let facts = Facts::gather(shared, incident, plan, now).await;
    let (mode, flags) = (shared.mode(), shared.flags());
    let critical = shared
        .topology
        .service(plan.target.service_name())
        .is_none_or(|service| service.critical);
    Gate::ask(
        plan,
        &GateFacts {
            now,
            purpose,
            kill_switch: shared.controls.kill_switch.is_engaged(),
            mode: &mode,
            flags: &flags,
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
    )
}

/// What the store says. What could not be read is absent, and absence is the worst case.
#[derive(Debug, Default)]
struct Facts {
    breaker: Option<BreakerState>,
    limits: Option<Vec<LimitUse>>,
    last_run: Option<Timestamp>,
    same_action_runs: u64,
    seen_before: Option<u64>,
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
                .hits(&Limit::counter(limit.scope, plan), now - limit.window)
                .await?;
            limits.push(LimitUse {
                limit: *limit,
                used,
            });
        }
        let progress = progress_counter(incident, plan);
        let seen = seen_counter(incident.fingerprint());
        Ok(Self {
            breaker: Some(breaker),
            limits: Some(limits),
            last_run: store
                .last_hit(&Limit::counter(LimitScope::Target, plan))
                .await?,
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
    let key = breaker_key(plan);
    let Some(document) = shared.journal.store.document(&key).await? else {
        return Ok((Version::NONE, BreakerState::default()));
    };
    let state = serde_json::from_value(document.value).map_err(|source| StoreError::Corrupt {
        path: key,
        place: document.version.to_string(),
        source: Some(Box::new(source)),
    })?;
    Ok((document.version, state))
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
    const ATTEMPTS: usize = 5;
    for _ in 1..ATTEMPTS {
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
    let value = serde_json::to_value(&breaker).map_err(|source| StoreError::Invalid {
        reason: format!(
            "breaker {}: {source}",
            Digest::of(&plan.action_key()).short()
        ),
    })?;
    let write = |commit: Commit| commit.put(breaker_key(plan), version, value);
    journal.append_with(kinds, write).await
}
