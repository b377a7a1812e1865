//! One write inside a transaction: every check first, then every change.

use homeostasis_core::port::{ClosedIncident, Commit, FencingToken, StoreError, Version};
use homeostasis_core::record::{EventKind, HealEvent};
use homeostasis_core::{IncidentId, Timestamp};
use redb::ReadableTable;
use serde::Serialize;

use crate::failure::Failure;
use crate::table::Tables;

/// The most bytes one event or document may take as JSON: 64 MiB.
const MAX_RECORD_BYTES: usize = 64 << 20;

/// Checks `commit`, then writes it. A refusal has written nothing.
pub(crate) fn commit(tables: &mut Tables<'_>, commit: &Commit) -> Result<Version, Failure> {
    if let Some(reason) = commit.violation() {
        return Err(StoreError::Invalid { reason }.into());
    }
    let events = commit
        .events
        .iter()
        .map(encode_event)
        .collect::<Result<Vec<_>, _>>()?;
    let documents = commit
        .documents
        .iter()
        .map(|(key, _, value)| {
            value
                .as_ref()
                .map(|value| encode(&format!("document {key:?}"), value))
                .transpose()
        })
        .collect::<Result<Vec<_>, _>>()?;
    check_incident(tables, commit)?;
    check_fence(tables, commit)?;
    check_documents(tables, commit)?;

    for (event, json) in commit.events.iter().zip(&events) {
        let (at, incident) = (event.at.as_nanos(), event.incident.as_u128());
        tables
            .events
            .insert((incident, event.seq), (at, json.as_slice()))?;
        tables.times.insert((at, incident, event.seq), ())?;
    }
    let version = Version(commit.expected.0 + commit.events.len() as u64);
    if let Some(last) = commit.events.last() {
        let closed = matches!(last.kind, EventKind::Closed { .. });
        let incident = last.incident.as_u128();
        let head = (version.0, last.at.as_nanos(), closed);
        tables.heads.insert(incident, head)?;
        let known = tables.sizes.get(incident)?.map(|size| size.value());
        let bytes = match known {
            Some(before) => before + events.iter().map(|json| json.len() as u64).sum::<u64>(),
            None => measure(&tables.events, incident)?,
        };
        tables.sizes.insert(incident, bytes)?;
        if closed {
            tables.open.remove(incident)?;
        } else {
            tables.open.insert(incident, ())?;
        }
    }
    for (key, at) in &commit.hits {
        hit(tables, key, at.as_nanos())?;
    }
    for ((key, expected, _), json) in commit.documents.iter().zip(&documents) {
        match json {
            Some(json) => {
                let document = (expected.0 + 1, json.as_slice());
                tables.documents.insert(key.as_str(), document)?;
            }
            None => {
                tables.documents.remove(key.as_str())?;
            }
        }
    }
    Ok(version)
}

/// The next token of `resource`.
pub(crate) fn next_token(tables: &mut Tables<'_>, resource: &str) -> Result<FencingToken, Failure> {
    let token = newest_token(tables, resource)?.next();
    tables.tokens.insert(resource, token.get())?;
    Ok(token)
}

/// Forgets hits before `before`; returns how many.
pub(crate) fn prune_hits(tables: &mut Tables<'_>, before: Timestamp) -> Result<u64, Failure> {
    let before = before.as_nanos();
    let mut n_forgotten = 0;
    tables.hits.retain(|(_, at, _), ()| {
        let is_kept = at >= before;
        n_forgotten += u64::from(!is_kept);
        is_kept
    })?;
    Ok(n_forgotten)
}

/// Forgets those of `incidents` that are closed and at their version; returns how many.
pub(crate) fn forget(
    tables: &mut Tables<'_>,
    incidents: &[(IncidentId, Version)],
) -> Result<u64, Failure> {
    let mut n_forgotten = 0;
    for (incident, version) in incidents {
        let incident = incident.as_u128();
        let head = tables.heads.get(incident)?.map(|head| head.value());
        if !head.is_some_and(|(n_events, _, closed)| closed && n_events == version.0) {
            continue;
        }
        for seq in 0..version.0 {
            let event = tables.events.remove((incident, seq))?;
            if let Some(at) = event.map(|event| event.value().0) {
                tables.times.remove((at, incident, seq))?;
            }
        }
        tables.heads.remove(incident)?;
        tables.sizes.remove(incident)?;
        n_forgotten += 1;
    }
    Ok(n_forgotten)
}

/// Notes the sizes of incidents an earlier version wrote, if they are still as they were measured.
pub(crate) fn note_sizes(
    tables: &mut Tables<'_>,
    measured: &[ClosedIncident],
) -> Result<(), Failure> {
    for one in measured {
        let incident = one.id.as_u128();
        let head = tables.heads.get(incident)?.map(|head| head.value().0);
        if head == Some(one.version.0) {
            tables.sizes.insert(incident, one.bytes)?;
        }
    }
    Ok(())
}

/// How many bytes the events of `incident` take, by looking at each.
pub(crate) fn measure(
    events: &impl ReadableTable<(u128, u64), (i64, &'static [u8])>,
    incident: u128,
) -> Result<u64, Failure> {
    let mut bytes = 0;
    for entry in events.range((incident, 0)..=(incident, u64::MAX))? {
        bytes += entry?.1.value().1.len() as u64;
    }
    Ok(bytes)
}

fn check_incident(tables: &Tables<'_>, commit: &Commit) -> Result<(), Failure> {
    let Some(first) = commit.events.first() else {
        return Ok(());
    };
    let head = tables.heads.get(first.incident.as_u128())?;
    let found = Version(head.map_or(0, |head| head.value().0));
    expect(|| first.incident.to_string(), commit.expected, found)
}

fn check_fence(tables: &Tables<'_>, commit: &Commit) -> Result<(), Failure> {
    let Some(fence) = &commit.fence else {
        return Ok(());
    };
    let newest = newest_token(tables, &fence.resource)?;
    if newest == fence.token {
        return Ok(());
    }
    Err(Failure::Refused(StoreError::Fenced {
        resource: fence.resource.clone(),
        held: fence.token,
        newest,
    }))
}

fn check_documents(tables: &Tables<'_>, commit: &Commit) -> Result<(), Failure> {
    for (key, expected, _) in &commit.documents {
        let document = tables.documents.get(key.as_str())?;
        let found = Version(document.map_or(0, |document| document.value().0));
        expect(|| key.clone(), *expected, found)?;
    }
    Ok(())
}

fn expect(what: impl Fn() -> String, expected: Version, found: Version) -> Result<(), Failure> {
    if expected == found {
        return Ok(());
    }
    Err(Failure::Refused(StoreError::Conflict {
        what: what(),
        expected,
        found,
    }))
}

fn newest_token(tables: &Tables<'_>, resource: &str) -> Result<FencingToken, Failure> {
    let token = tables.tokens.get(resource)?;
    Ok(token.map_or(FencingToken::default(), |token| {
        FencingToken::new(token.value())
    }))
}

fn hit(tables: &mut Tables<'_>, key: &str, at: i64) -> Result<(), Failure> {
    let last = tables
        .hits
        .range((key, at, 0)..=(key, at, u64::MAX))?
        .next_back()
        .transpose()?
        .map(|(key, _)| key.value().2);
    let n = last.map_or(0, |n| n + 1);
    tables.hits.insert((key, at, n), ())?;
    Ok(())
}

/// The JSON of `event`, proven to read back: a journal must not take what it cannot give.
pub(crate) fn encode_event(event: &HealEvent) -> Result<Vec<u8>, StoreError> {
    let what = event_name(event.incident, event.seq);
    let json = encode(&what, event)?;
    match serde_json::from_slice::<HealEvent>(&json) {
        Ok(_) => Ok(json),
        Err(error) => Err(StoreError::Invalid {
            reason: format!("{what} would not read back (is a number in it not finite?): {error}"),
        }),
    }
}

fn encode(what: &str, value: &impl Serialize) -> Result<Vec<u8>, StoreError> {
    let refuse = |detail: String| StoreError::Invalid {
        reason: format!("{what} {detail}"),
    };
    let json =
        serde_json::to_vec(value).map_err(|error| refuse(format!("is not JSON: {error}")))?;
    if json.len() > MAX_RECORD_BYTES {
        return Err(refuse(format!(
            "takes {} bytes, expected at most {MAX_RECORD_BYTES}",
            json.len()
        )));
    }
    Ok(json)
}

/// How an event is named in errors.
pub(crate) fn event_name(incident: IncidentId, seq: u64) -> String {
    format!("event {seq} of {incident}")
}
