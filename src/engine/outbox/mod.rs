//! The outbox: what is to be told is durable with the event that is the reason for it, and is sent
//! at least once.
//!
//! A message is a document beside the journal, written in the commit of its event and deleted once
//! its channel took it. Each channel has a queue and a task of its own, so that a dead one delays no
//! other. After a crash the documents are read again; what was sent but not deleted is sent again
//! under the same key.

mod queue;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use homeostasis_core::policy::escalation_messages;
use homeostasis_core::port::{
    Commit, Notification, NotificationKind, Notifier, Redactor, Store, StoreError, Version,
};
use homeostasis_core::record::{EventKind, HealEvent};
use homeostasis_core::{ErrorKind, ErrorReport, Incident};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::engine::calls;
use crate::engine::journal::describe;
use crate::engine::shared::Shared;
use queue::{Entry, MAX_AGE, MAX_WAITING, Next, Queue};

pub use queue::ChannelHealth;

/// Where the documents are.
const PREFIX: &str = "outbox/";

/// The channel of [`Builder::notifier`](crate::Builder::notifier).
pub(crate) const NOTIFIER: &str = "notifier";

/// How soon it is tried again to delete what was told.
const DELETE_RETRY: Duration = Duration::from_secs(5);

/// A message and its channel, as stored.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Letter {
    channel: String,
    notification: Notification,
    #[serde(skip)]
    document: String,
}

/// All channels.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    channels: BTreeMap<String, Channel>,
}

#[derive(Debug)]
struct Channel {
    notifier: Arc<dyn Notifier>,
    takes: Vec<NotificationKind>,
    state: Mutex<State>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct State {
    queue: Queue,
    /// Keys of messages that were queued although the store could not keep them.
    untold: BTreeSet<String>,
    /// Documents of what was told, to be deleted.
    done: BTreeSet<String>,
}

impl Channel {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Outbox {
    pub(crate) fn new(channels: BTreeMap<String, Arc<dyn Notifier>>) -> Self {
        use NotificationKind::{Acknowledged, Call, Digest, Resolved};
        let channels = channels.into_iter().map(|(name, notifier)| {
            let kinds = [Call, Acknowledged, Resolved, Digest].into_iter();
            let takes = kinds.filter(|kind| notifier.takes(*kind)).collect();
            let (state, wake) = (Mutex::default(), Notify::new());
            let channel = Channel {
                notifier,
                takes,
                state,
                wake,
            };
            (name, channel)
        });
        Self {
            channels: channels.collect(),
        }
    }

    /// Whether there is a channel of this name.
    pub(crate) fn has(&self, channel: &str) -> bool {
        self.channels.contains_key(channel)
    }

    /// What `event` asks to tell, as far as there are channels that take it.
    pub(crate) fn letters(
        &self,
        event: &HealEvent,
        after: &Incident,
        redactor: &dyn Redactor,
    ) -> Vec<Letter> {
        let mut letters = Vec::new();
        for (channel, notification) in escalation_messages(event, after, redactor) {
            let known = self.channels.get(&channel);
            if known.is_none() {
                tracing::warn!(channel, incident = %after.id, "the channel is gone, nobody is told");
            }
            if known.is_some_and(|it| it.takes.contains(&notification.kind)) {
                let document = format!("{PREFIX}{}/{:08}/{channel}", event.incident, event.seq);
                letters.push(Letter {
                    channel,
                    notification,
                    document,
                });
            }
        }
        letters
    }

    /// Queues what became durable.
    pub(crate) fn queue(&self, letters: Vec<Letter>) {
        for letter in letters {
            let Some(channel) = self.channels.get(&letter.channel) else {
                continue;
            };
            let mut state = channel.state();
            if state.untold.remove(&letter.notification.key) {
                // It was queued before it could be written: it waits still, or is told already.
                let key = &letter.notification.key;
                let told = state.queue.adopt(key, letter.document);
                state.done.extend(told);
            } else {
                let entry = Entry::new(Some(letter.document), letter.notification);
                push(&mut state, &letter.channel, entry);
            }
            drop(state);
            channel.wake.notify_one();
        }
    }

    /// Queues what the store could not keep: people are called all the same, once.
    pub(crate) fn queue_unkept(&self, letters: Vec<Letter>) {
        for letter in letters {
            let Some(channel) = self.channels.get(&letter.channel) else {
                continue;
            };
            let mut state = channel.state();
            if state.untold.insert(letter.notification.key.clone()) {
                // Its document is not there, and its name may become another's.
                let entry = Entry::new(None, letter.notification);
                push(&mut state, &letter.channel, entry);
            }
            drop(state);
            channel.wake.notify_one();
        }
    }

    /// Takes up what an earlier life did not tell.
    ///
    /// # Errors
    /// If the store cannot say what that is.
    pub(crate) async fn restore(&self, shared: &Shared) -> Result<(), StoreError> {
        let (store, now) = (&shared.journal.store, shared.now());
        let (mut orphans, mut old) = (BTreeMap::<String, usize>::new(), BTreeSet::new());
        for (document, kept) in store.documents(PREFIX, usize::MAX).await? {
            match serde_json::from_value::<Letter>(kept.value) {
                Ok(letter) if self.has(&letter.channel) => {
                    self.queue(vec![Letter { document, ..letter }]);
                }
                Ok(letter) => {
                    *orphans.entry(letter.channel).or_default() += 1;
                    if now.since(letter.notification.at) > MAX_AGE {
                        old.insert(document);
                    }
                }
                Err(error) => {
                    let mut report = ErrorReport::new(ErrorKind::Permanent, &error);
                    report.message = format!("{document} is no message: {}", report.message);
                    shared.blame("notifier", "outbox", &report);
                }
            }
        }
        for (channel, n) in orphans {
            let what = format!("the channel is gone; {n} messages wait for it, each for 24 h");
            let report = ErrorReport::message(ErrorKind::Permanent, what);
            shared.blame("notifier", &channel, &report);
        }
        // What cannot be deleted now is found by the next life.
        let _ = delete_all(&**store, old).await;
        Ok(())
    }

    /// Starts the task of each channel.
    pub(crate) fn start(shared: &Arc<Shared>) {
        for name in shared.journal.outbox.channels.keys() {
            shared.tasks.spawn(run(Arc::clone(shared), name.clone()));
        }
    }

    pub(crate) fn health(&self) -> BTreeMap<String, ChannelHealth> {
        let channels = self.channels.iter();
        channels
            .map(|(name, channel)| (name.clone(), channel.state().queue.health()))
            .collect()
    }
}

/// The same commit, which keeps the letters too.
pub(crate) fn keeping(commit: Commit, letters: &[Letter]) -> Commit {
    letters.iter().fold(commit, |commit, letter| {
        let kept = serde_json::json!(letter);
        commit.put(&letter.document, Version::NONE, kept)
    })
}

fn push(state: &mut State, channel: &str, entry: Entry) {
    if let Some(gone) = state.queue.push(entry) {
        let title = gone.notification.title;
        tracing::error!(channel, title, "too many messages wait: one is not told");
        state.done.extend(gone.document);
    }
}

/// Tells what waits for one channel until the engine shuts down.
async fn run(shared: Arc<Shared>, name: String) {
    let outbox = Arc::clone(&shared.journal.outbox);
    let Some(channel) = outbox.channels.get(&name) else {
        return;
    };
    let digests = channel.takes.contains(&NotificationKind::Digest);
    let mut rng = shared.context(None, Duration::ZERO).rng(
        homeostasis_core::Digest::of(&name).as_bytes()[..8]
            .iter()
            .fold(0, |seed, byte| seed << 8 | u64::from(*byte)),
    );
    while !shared.cancellation.is_cancelled() {
        clear(&shared, channel).await;
        let now = shared.now();
        let next = {
            let mut state = channel.state();
            match state.queue.next(now, digests) {
                // What could not be deleted is tried again.
                Next::Idle if !state.done.is_empty() => Next::Wait(now + DELETE_RETRY),
                next => next,
            }
        };
        match next {
            Next::Send(_, ids) if drop_spared(&shared, channel, &ids).await => {}
            Next::Send(_, ids) if drop_moot(&shared, &name, channel, &ids).await => {}
            Next::Send(message, ids) => {
                send(&shared, &name, channel, *message, ids, &mut rng).await;
            }
            Next::GiveUp(old) => give_up(&shared, &name, channel, old, "it is too old").await,
            Next::Idle => {
                tokio::select! {
                    biased;
                    () = shared.cancellation.cancelled() => {}
                    () = channel.wake.notified() => {}
                }
            }
            Next::Wait(until) => {
                let mut sleep = shared.clock().sleep(until.since(now));
                tokio::select! {
                    biased;
                    () = shared.cancellation.cancelled() => {}
                    () = &mut sleep => {}
                    () = channel.wake.notified() => {}
                }
            }
        }
    }
    // What was told just now is not told again by the next life.
    clear(&shared, channel).await;
}

/// Drops, from all channels, those of these calls that are of a level which no channel has begun to
/// call and which is spared, since somebody acknowledged the incident meanwhile; says whether there
/// were any. A level that some have heard of is called to the end.
async fn drop_spared(shared: &Shared, channel: &Channel, ids: &[u64]) -> bool {
    let untried = channel.state().queue.untried(ids);
    let mut is_any = false;
    for (id, key) in untried {
        let (Some(journal), Some((level, round))) = (shared.journal_of(id), level_of(&key)) else {
            continue;
        };
        let incident = journal.incident().await;
        let Some(names) = shared.escalation.spared(&incident, level, round) else {
            continue;
        };
        let all = &shared.journal.outbox.channels;
        let called = || {
            let known = names.iter().filter_map(|name| all.get(name));
            known.filter(|it| it.takes.contains(&NotificationKind::Call))
        };
        if !called().all(|it| it.state().queue.is_untried(&key)) {
            continue;
        }
        tracing::info!(incident = %id, level, round, "somebody took it on, nobody else is called");
        for channel in called() {
            let mut state = channel.state();
            let dropped = state.queue.drop_call(&key);
            is_any |= !dropped.is_empty();
            state.untold.remove(&key);
            let documents = dropped.into_iter().filter_map(|entry| entry.document);
            state.done.extend(documents);
            drop(state);
            channel.wake.notify_one();
        }
    }
    is_any
}

/// Level and round of a call of the chain, by its key (`…/level2.0`).
fn level_of(key: &str) -> Option<(u32, u32)> {
    let (_, what) = key.rsplit_once('/')?;
    let (level, round) = what.strip_prefix("level")?.split_once('.')?;
    Some((level.parse().ok()?, round.parse().ok()?))
}

/// Drops those of these calls whose incident is over, if the channel would not hear that it is; says
/// whether there were any.
async fn drop_moot(shared: &Shared, name: &str, channel: &Channel, ids: &[u64]) -> bool {
    if channel.takes.contains(&NotificationKind::Resolved) {
        return false;
    }
    let called = channel.state().queue.called(ids);
    let mut is_any = false;
    for incident in called {
        // What is open here has a journal. If the store does not say, people are called.
        if shared.journal_of(incident).is_some() {
            continue;
        }
        let events = shared
            .journal
            .store
            .read(incident)
            .await
            .unwrap_or_default();
        let is_closed = |it: &HealEvent| matches!(it.kind, EventKind::Closed { .. });
        if !events.iter().any(is_closed) {
            continue;
        }
        let mut state = channel.state();
        for entry in state.queue.drop_calls(incident) {
            let title = entry.notification.title;
            tracing::info!(channel = name, %incident, title, "it is over, nobody is called");
            state.done.extend(entry.document);
            is_any = true;
        }
    }
    is_any
}

async fn send(
    shared: &Shared,
    name: &str,
    channel: &Channel,
    message: Notification,
    ids: Vec<u64>,
    rng: &mut homeostasis_core::Rng,
) {
    let notifier = Arc::clone(&channel.notifier);
    let incident = message.incident;
    let call = async move {
        let sent = notifier.notify(&message).await;
        sent.map_err(|error| error.report())
    };
    let limit = shared.settings.stage_deadline;
    let sent = calls::call(&shared.tasks, shared.clock(), limit, call).await;
    let now = shared.now();
    let Err(mut report) = sent else {
        let mut state = channel.state();
        let told = state.queue.delivered(&ids, now);
        let documents = told.into_iter().filter_map(|it| it.document);
        state.done.extend(documents);
        return;
    };
    if shared.cancellation.is_cancelled() {
        return;
    }
    report.redact(&*shared.journal.redactor);
    let is_first = channel.state().queue.attempts(ids[0]) == 0;
    if is_first {
        blame(shared, name, incident, &report).await;
    }
    let failed = channel.state().queue.failed(&ids, &report, now, rng);
    give_up(shared, name, channel, failed, &report.message).await;
}

async fn give_up(shared: &Shared, name: &str, channel: &Channel, entries: Vec<Entry>, why: &str) {
    for entry in entries {
        let what = format!("gave up on {:?}: {why}", entry.notification.title);
        let report = ErrorReport::message(ErrorKind::Permanent, what);
        blame(shared, name, entry.notification.incident, &report).await;
        channel.state().done.extend(entry.document);
    }
}

/// The incident knows who could not be told, as long as it is open.
async fn blame(
    shared: &Shared,
    name: &str,
    incident: homeostasis_core::IncidentId,
    report: &ErrorReport,
) {
    shared.blame("notifier", name, report);
    let Some(journal) = shared.journal_of(incident) else {
        return;
    };
    let blamed = EventKind::Blamed {
        stage: "notifier".to_owned(),
        plugin: name.to_owned(),
        report: report.clone(),
    };
    if let Err(error) = journal.append(vec![blamed]).await {
        tracing::debug!(error = describe(&error), "the failure is not noted");
    }
}

/// Deletes the documents of what is told. What cannot be deleted now is told again by the next
/// life if this one ends before.
async fn clear(shared: &Shared, channel: &Channel) {
    let done = std::mem::take(&mut channel.state().done);
    if done.is_empty() {
        return;
    }
    let mut kept = delete_all(&*shared.journal.store, done).await;
    if !kept.is_empty() {
        shared.vitals.store_error();
        let mut state = channel.state();
        kept.append(&mut state.done);
        // Beyond this they are told twice rather than remembered.
        while kept.len() > MAX_WAITING {
            kept.pop_last();
        }
        state.done = kept;
    }
}

/// Deletes the documents and gives back which could not be.
async fn delete_all(store: &dyn Store, documents: BTreeSet<String>) -> BTreeSet<String> {
    match delete(store, &documents).await {
        Ok(()) => return BTreeSet::new(),
        Err(StoreError::Io { .. }) => return documents,
        // One of them was never written, or is wrong in another way: it must not hold up the rest.
        Err(_) => {}
    }
    let mut kept = BTreeSet::new();
    for document in documents {
        match delete(store, [&document]).await {
            Ok(()) | Err(StoreError::Conflict { .. }) => {}
            Err(_) => drop(kept.insert(document)),
        }
    }
    kept
}

async fn delete(
    store: &dyn Store,
    documents: impl IntoIterator<Item = &String>,
) -> Result<(), StoreError> {
    let mut commit = Commit::default();
    let each = documents.into_iter();
    commit.documents = each.map(|it| (it.clone(), Version(1), None)).collect();
    if commit.documents.is_empty() {
        return Ok(());
    }
    store.commit(commit).await.map(drop)
}

#[cfg(test)]
mod tests;
