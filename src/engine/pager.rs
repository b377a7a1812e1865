//! The pager: asks the rules of escalation what is due for each open incident, again and again.
//!
//! It remembers nothing: what is due follows from the incident and the clock, and what was called is
//! in the journal, so that a chain goes on after a crash where it was.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use homeostasis_core::policy::TriggerCondition;
use homeostasis_core::record::EventKind;
use homeostasis_core::{Incident, IncidentId};

use crate::engine::gatekeeper::seen_counter;
use crate::engine::journal::describe;
use crate::engine::shared::Shared;

/// How often it is looked what is due.
const POLL: Duration = Duration::from_secs(1);

/// Over which time the like of an incident is counted.
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Calls who is due until the engine shuts down.
pub(crate) async fn run(shared: Arc<Shared>) {
    let triggers = shared.escalation.triggers.values();
    let mut asked = triggers.map(|it| &it.when);
    let asks = asked.any(|it| matches!(it, TriggerCondition::Recurred(_)));
    let mut recurred = BTreeMap::new();
    while shared.pause(POLL).await {
        let open: Vec<_> = shared.journals().values().map(Arc::clone).collect();
        recurred.retain(|id, _| shared.journals().contains_key(id));
        for journal in open {
            let incident = journal.incident().await;
            let n = if asks {
                count(&shared, &incident, &mut recurred).await
            } else {
                0
            };
            let now = shared.now();
            if shared.escalation.due(&incident, n, now).is_empty() {
                continue;
            }
            // It may have changed since; what is due is asked again where it cannot.
            let due = |incident: &Incident| shared.escalation.due(incident, n, now);
            if let Err(error) = journal.call(due).await {
                shared.vitals.store_error();
                tracing::error!(incident = %journal.id(), error = describe(&error), "an escalation is not noted");
            }
        }
    }
}

/// How many incidents of its kind were opened within a day; asked once for each.
async fn count(shared: &Shared, incident: &Incident, known: &mut BTreeMap<IncidentId, u64>) -> u64 {
    if let Some(n) = known.get(&incident.id) {
        return *n;
    }
    let counter = seen_counter(incident.fingerprint());
    let since = incident.opened_at - DAY;
    match shared.journal.store.hits(&counter, since).await {
        Ok(n) => {
            known.insert(incident.id, n);
            n
        }
        // What cannot be counted now is counted at the next look.
        Err(_) => 0,
    }
}

/// Those whom the playbooks that were tried name, as one more call beside the chain: names of
/// channels are channels, all others are people for the channels of the chain.
pub(crate) fn named_by_plans(
    shared: &Shared,
    incident: &Incident,
    reason: &str,
    chain: &[EventKind],
) -> Option<EventKind> {
    if incident.escalation.is_notified(0, 0) {
        return None;
    }
    let tried = incident
        .runs
        .iter()
        .filter_map(|run| incident.plan(run.plan));
    let mut names: Vec<&String> = tried.flat_map(|plan| &plan.notify).collect();
    names.sort();
    names.dedup();
    if names.is_empty() {
        return None;
    }
    let is_channel = |name: &&String| shared.journal.outbox.has(name);
    let (channels, people): (Vec<&String>, Vec<&String>) = names.into_iter().partition(is_channel);
    let mut channels: Vec<_> = channels.into_iter().cloned().collect();
    if !people.is_empty() {
        let called = chain.iter().filter_map(|kind| match kind {
            EventKind::Notified { channels, .. } => Some(channels),
            _ => None,
        });
        channels.extend(called.flatten().cloned());
        channels.extend(incident.escalation.channels.iter().cloned());
        if channels.is_empty() {
            // Nobody was called yet, out of hours: people who are named are called all the same.
            let policy = shared.escalation.policy_for(incident);
            let first = policy.and_then(|policy| policy.levels.first());
            channels.extend(first.into_iter().flat_map(|it| it.channels.iter().cloned()));
        }
        channels.sort();
        channels.dedup();
    }
    if channels.is_empty() {
        return None;
    }
    Some(EventKind::Notified {
        level: 0,
        round: 0,
        channels,
        to: people.into_iter().cloned().collect(),
        reason: reason.to_owned(),
    })
}
