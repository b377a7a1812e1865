//! What the gate is told of the incident, the window and the store.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use homeostasis_core::policy::{
    BreakerState, FileUse, Limit, LimitScope, LimitUse, PatchUse, PeerHealth,
};
use homeostasis_core::port::{StoreError, tenant_key};
use homeostasis_core::record::{Fingerprint, Plan};
use homeostasis_core::{Incident, Observations as _, Ratio, Target, Timestamp};

use super::breaker::read_breaker;
use crate::engine::journal::describe;
use crate::engine::shared::Shared;

/// The day over which loops without progress are counted.
const PROGRESS_WINDOW: Duration = Duration::from_secs(24 * 3600);

/// An incident whose like was not opened for so long is new.
pub(crate) const NEW_KIND_WINDOW: Duration = Duration::from_secs(30 * 24 * 3600);

/// The window of a tenant's quota.
const HOUR: Duration = Duration::from_secs(3600);

/// What the store says. What could not be read is absent, and absence is the worst case.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) breaker: Option<BreakerState>,
    pub(super) limits: Option<Vec<LimitUse>>,
    pub(super) last_run: Option<Timestamp>,
    pub(super) same_action_runs: u64,
    pub(super) seen_before: Option<u64>,
    pub(super) runs_last_hour: Option<u64>,
    pub(super) patch_use: Option<PatchUse>,
}

impl Facts {
    pub(super) async fn gather(
        shared: &Shared,
        incident: &Incident,
        plan: &Plan,
        now: Timestamp,
    ) -> Self {
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
            same_action_runs: if plan.ordered_by.is_some() {
                // Whoever orders the same again has made progress, or says why not.
                0
            } else {
                store.hits(&progress, now - PROGRESS_WINDOW).await?
            },
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

/// The counter of a limit; that of a tenant is told apart from those of others.
pub(super) fn counter(shared: &Shared, scope: LimitScope, plan: &Plan) -> String {
    let key = Limit::counter(scope, plan);
    match scope {
        LimitScope::Tenant => tenant_key(&shared.tenant, &key),
        _ => key,
    }
}

/// Counts the incidents that were opened for `fingerprint`.
pub(crate) fn seen_counter(fingerprint: Fingerprint) -> String {
    format!("seen/{fingerprint}")
}

pub(super) fn progress_counter(incident: &Incident, plan: &Plan) -> String {
    format!("progress/{}/{}", incident.fingerprint(), plan.action_key())
}

/// Whether the diagnosis names a cause, or a detector the playbook.
pub(super) fn is_cause_known(incident: &Incident) -> bool {
    let diagnosis = incident.diagnosis.as_ref();
    diagnosis.is_some_and(|diagnosis| diagnosis.root_cause().is_some())
        || incident
            .anomalies
            .iter()
            .any(|it| it.playbook_hint.is_some())
}

/// When a service of the incident or the plan was changed last, as far as the window goes back; if the policy asks.
pub(super) fn last_change(shared: &Shared, incident: &Incident, plan: &Plan) -> Option<Timestamp> {
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
pub(super) fn peers(shared: &Shared, plan: &Plan, now: Timestamp) -> Option<PeerHealth> {
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
