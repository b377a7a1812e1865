//! Retention: what is too old or too much leaves the journal, for the archive if there is one.

use std::sync::Arc;
use std::time::Duration;

use homeostasis_core::port::{Archive, ClosedIncident, Commit, Retention, StoreError, Version};
use homeostasis_core::{ErrorReport, Timestamp};

use crate::engine::gatekeeper::NEW_KIND_WINDOW;
use crate::engine::guard;
use crate::engine::journal::describe;
use crate::engine::sense::HISTORY_WINDOW;
use crate::engine::shared::Shared;

/// How often it is looked for.
const INTERVAL: Duration = Duration::from_secs(3600);

/// The first time comes this soon and at most twice as late: many processes live for minutes, and
/// those that start together should not all look at once.
const FIRST: Duration = Duration::from_secs(60);

/// A clock that is further ahead than this of where it was at the last pass is not believed …
const MAX_LEAP: Duration = Duration::from_secs(24 * 3600);

/// … and where it was is kept under this name.
const CLOCK: &str = "retention/clock";

/// How long incidents are kept by default where that loses nothing.
const SAFE_AGE: Duration = Duration::from_secs(30 * 24 * 3600);

/// No more incidents, and no more bytes unless one incident has them, are handled at once.
const MAX_BATCH: usize = 64;
const MAX_BATCH_BYTES: u64 = 8 << 20;

/// What is kept, and where the rest goes.
#[derive(Debug, Default)]
pub(crate) struct Keeping {
    pub(crate) retention: Retention,
    pub(crate) archive: Option<Arc<dyn Archive>>,
}

impl Keeping {
    /// The same with the limit of age that holds if none was said.
    pub(crate) fn for_store(mut self, is_durable: bool) -> Self {
        if self.archive.is_some() || !is_durable {
            self.retention.max_age.get_or_insert(SAFE_AGE);
        }
        self
    }
}

/// Removes what need not be kept, now and then, until the engine shuts down.
pub(crate) async fn run(shared: Arc<Shared>, keeping: Keeping) {
    let started = shared.now().as_nanos().unsigned_abs();
    let mut pause = FIRST + shared.context(None, FIRST).rng(started).jitter(FIRST);
    while shared.pause(pause).await {
        pause = INTERVAL;
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
    let closed = store.closed_incidents().await?;
    let mut retention = keeping.retention;
    if is_believed(shared, &closed, now).await? {
        store
            .prune_hits(hits_since(shared, &retention, now))
            .await?;
    } else {
        tracing::warn!(%now, "the clock is far ahead of where it was; nothing is too old until it has been there for a while");
        retention.max_age = None;
    }
    let mut due = retention.due(&closed, now);
    while !due.is_empty() && !shared.cancellation.is_cancelled() {
        let (batch, rest) = due.split_at(batch_len(due));
        due = rest;
        match remove(shared, keeping, batch).await {
            Err(error) if is_about_one(&error) => one_by_one(shared, keeping, batch).await?,
            removed => removed?,
        }
    }
    Ok(())
}

/// Whether the clock is about where it should be, by where the last pass saw it or else by the
/// newest incident. If it is not, it is followed by one leap each pass.
async fn is_believed(
    shared: &Shared,
    closed: &[ClosedIncident],
    now: Timestamp,
) -> Result<bool, StoreError> {
    let store = &shared.journal.store;
    let noted = match store.document(CLOCK).await {
        Ok(noted) => noted,
        Err(error) if is_about_one(&error) => {
            blame(shared, "the noted clock", &error);
            return Ok(false);
        }
        Err(error) => return Err(error),
    };
    let version = noted.as_ref().map_or(Version::NONE, |noted| noted.version);
    let last = noted.and_then(|noted| serde_json::from_value::<Timestamp>(noted.value).ok());
    let last = last.or_else(|| closed.last().map(|newest| newest.closed_at));
    let reachable = last.map_or(now, |last| last + MAX_LEAP);
    let seen = serde_json::json!(now.min(reachable));
    match store
        .commit(Commit::default().put(CLOCK, version, seen))
        .await
    {
        // Another process of this journal noted it meanwhile.
        Ok(_) | Err(StoreError::Conflict { .. }) => Ok(now <= reachable),
        Err(error) => Err(error),
    }
}

async fn remove(
    shared: &Shared,
    keeping: &Keeping,
    batch: &[ClosedIncident],
) -> Result<(), StoreError> {
    if let Some(archive) = &keeping.archive {
        archive_batch(shared, &**archive, batch).await?;
    }
    let batch: Vec<_> = batch.iter().map(|one| (one.id, one.version)).collect();
    shared.journal.store.forget(&batch).await?;
    Ok(())
}

/// What of a batch can be removed: what cannot stays, is named, and holds up nothing else.
async fn one_by_one(
    shared: &Shared,
    keeping: &Keeping,
    batch: &[ClosedIncident],
) -> Result<(), StoreError> {
    for one in batch {
        match remove(shared, keeping, std::slice::from_ref(one)).await {
            Err(error) if is_about_one(&error) => blame(shared, &one.id.to_string(), &error),
            removed => removed?,
        }
    }
    Ok(())
}

/// Whether an error says something of what was asked for, and not of the medium.
fn is_about_one(error: &StoreError) -> bool {
    !matches!(error, StoreError::Io { .. })
}

fn blame(shared: &Shared, what: &str, error: &StoreError) {
    let mut report = ErrorReport::new(error.kind(), error);
    report.message = format!("{what} stays: {}", report.message);
    shared.blame("retention", "retention", &report);
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
fn hits_since(shared: &Shared, retention: &Retention, now: Timestamp) -> Timestamp {
    let policy = &shared.policy;
    let longest = policy
        .limits
        .iter()
        .map(|limit| limit.window)
        .chain([
            policy.min_interval,
            policy.breaker.cool_down,
            policy.patches.cool_down,
            HISTORY_WINDOW,
        ])
        .chain(policy.safe_mode.new_kind.then_some(NEW_KIND_WINDOW))
        .fold(retention.max_age.unwrap_or(SAFE_AGE), Duration::max);
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
