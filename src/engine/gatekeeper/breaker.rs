//! The breakers of actions: one document each, written with the end of every attempt.

use std::sync::Arc;

use homeostasis_core::policy::{BreakerPhase, BreakerState, PatchUse};
use homeostasis_core::port::{Commit, StoreError, Version};
use homeostasis_core::record::{EventKind, Plan};
use homeostasis_core::{Digest, Incident, Timestamp};
use serde_json::Value;

use crate::engine::journal::{IncidentJournal, JournalError};
use crate::engine::shared::Shared;

/// Another incident may write a breaker in between: how often it is read again.
const SETTLE_ATTEMPTS: usize = 5;

/// Until when the plan's breaker is open; `None` if it is not, or cannot be read: the gate says so.
pub(crate) async fn open_until(shared: &Shared, plan: &Plan) -> Option<Timestamp> {
    let (_, breaker) = read_breaker(shared, plan).await.ok()?;
    match breaker.phase(shared.now(), &shared.policy.breaker) {
        BreakerPhase::Open { until } => Some(until),
        BreakerPhase::Closed | BreakerPhase::HalfOpen => None,
    }
}

fn breaker_key(plan: &Plan) -> String {
    format!("breaker/{}", plan.action_key())
}

pub(super) async fn read_breaker(
    shared: &Shared,
    plan: &Plan,
) -> Result<(Version, BreakerState), StoreError> {
    if plan.ordered_by.is_some() {
        // No remedy that fails: each is another version, and a person said so.
        return Ok((Version::NONE, BreakerState::default()));
    }
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

/// The breaker of a plan as the gate is told of it, so that no run begins that knew less.
#[derive(Debug)]
pub(super) struct SeenBreaker {
    key: String,
    version: Version,
    value: Value,
}

impl SeenBreaker {
    /// `None` if nothing ended yet.
    pub(super) async fn read(shared: &Shared, plan: &Plan) -> Result<Option<Self>, StoreError> {
        if plan.ordered_by.is_some() {
            return Ok(None);
        }
        let key = breaker_key(plan);
        let known = shared.journal.store.document(&key).await?;
        Ok(known.map(|document| Self {
            key,
            version: document.version,
            value: document.value,
        }))
    }

    /// Whether a commit failed because an attempt ended in between.
    pub(super) fn is_theirs(conflict: &str, plan: &Plan) -> bool {
        conflict == breaker_key(plan)
    }

    /// `commit`, if no attempt ended since.
    pub(super) fn still(self, commit: Commit) -> Commit {
        commit.put(self.key, self.version, self.value)
    }
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
/// Another incident may write the breaker in between; then it is read again. What a person ordered
/// has no breaker.
pub(crate) async fn settle(
    shared: &Shared,
    journal: &IncidentJournal,
    plan: &Plan,
    success: bool,
    kinds: Vec<EventKind>,
) -> Result<Arc<Incident>, JournalError> {
    if plan.ordered_by.is_some() {
        return journal.append(kinds).await;
    }
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
