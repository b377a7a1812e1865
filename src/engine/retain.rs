//! Retention: what is too old or too much leaves the journal, for the archive if there is one.

use std::sync::Arc;
use std::time::Duration;

use homeostasis_core::Timestamp;
use homeostasis_core::port::{Archive, ClosedIncident, Retention, StoreError};

use crate::engine::guard;
use crate::engine::journal::describe;
use crate::engine::sense::HISTORY_WINDOW;
use crate::engine::shared::Shared;

/// How often it is looked for.
const INTERVAL: Duration = Duration::from_secs(3600);

/// No more incidents, and no more bytes unless one incident has them, are handled at once.
const MAX_BATCH: usize = 64;
const MAX_BATCH_BYTES: u64 = 8 << 20;

/// What is kept, and where the rest goes.
#[derive(Debug, Default)]
pub(crate) struct Keeping {
    pub(crate) retention: Retention,
    pub(crate) archive: Option<Arc<dyn Archive>>,
}

/// Removes what need not be kept, now and then, until the engine shuts down.
pub(crate) async fn run(shared: Arc<Shared>, keeping: Keeping) {
    while shared.pause(INTERVAL).await {
        if let Err(error) = pass(&shared, &keeping).await {
            shared.vitals.store_error();
            tracing::error!(error = describe(&error), "old incidents were not removed");
        }
    }
}

/// Batch by batch: read, archive, forget. Each is durable before the next begins, so that a crash
/// at any point leaves an incident in the journal, in the archive, or in both.
async fn pass(shared: &Shared, keeping: &Keeping) -> Result<(), StoreError> {
    let store = &shared.journal.store;
    let now = shared.now();
    store.prune_hits(hits_since(shared, keeping, now)).await?;
    let closed = store.closed_incidents().await?;
    let mut due = keeping.retention.due(&closed, now);
    while !due.is_empty() && !shared.cancellation.is_cancelled() {
        let (batch, rest) = due.split_at(batch_len(due));
        due = rest;
        if let Some(archive) = &keeping.archive {
            archive_batch(shared, &**archive, batch).await?;
        }
        let batch: Vec<_> = batch.iter().map(|one| (one.id, one.version)).collect();
        store.forget(&batch).await?;
    }
    Ok(())
}

async fn archive_batch(
    shared: &Shared,
    archive: &dyn Archive,
    batch: &[ClosedIncident],
) -> Result<(), StoreError> {
    let mut incidents = Vec::with_capacity(batch.len());
    for incident in batch {
        let events = shared.journal.store.read(incident.id).await?;
        // One that changed meanwhile is not forgotten either.
        if events.len() as u64 == incident.version.0 {
            incidents.push(events);
        }
    }
    let limit = shared.settings.stage_deadline;
    let call = async { Ok(archive.append(&incidents).await) };
    let appended = guard::call(&**shared.clock(), limit, call).await;
    appended.unwrap_or_else(|report| {
        shared.blame("archive", "archive", &report);
        Err(StoreError::Io {
            what: "archiving".to_owned(),
            source: report.to_string().into(),
        })
    })
}

/// Hits are kept as long as incidents, and as long as any limit may count them.
fn hits_since(shared: &Shared, keeping: &Keeping, now: Timestamp) -> Timestamp {
    let policy = &shared.policy;
    let longest = policy
        .limits
        .iter()
        .map(|limit| limit.window)
        .chain([
            policy.min_interval,
            policy.breaker.cool_down,
            HISTORY_WINDOW,
        ])
        .fold(keeping.retention.max_age, Duration::max);
    now - longest
}

/// How many from the front make one batch: at least one.
fn batch_len(due: &[ClosedIncident]) -> usize {
    let mut bytes = 0;
    let fitting = due.iter().take(MAX_BATCH).take_while(|incident| {
        bytes += incident.bytes;
        bytes <= MAX_BATCH_BYTES
    });
    fitting.count().max(1)
}
