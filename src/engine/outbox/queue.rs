//! The queue of one channel: what is sent next, alone or in a digest, and when. Without I/O.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use homeostasis_core::port::{Notification, NotificationKind};
use homeostasis_core::record::Severity;
use homeostasis_core::{ErrorKind, ErrorReport, IncidentId, Rng, Timestamp};

/// Calls to one channel within [`WINDOW`]; what is beyond becomes a digest.
pub(super) const MAX_CALLS: usize = 5;

/// Over which calls are counted.
pub(super) const WINDOW: Duration = Duration::from_secs(60);

/// What was not delivered for so long is given up: nobody acts on the news of yesterday.
pub(super) const MAX_AGE: Duration = Duration::from_secs(24 * 3600);

/// Messages that may wait for one channel; the mildest, oldest one makes room, acknowledgments
/// before calls and calls before the news that it is over.
pub(super) const MAX_WAITING: usize = 10_000;

/// Attempts at what is refused for good, at least.
const MAX_REFUSALS: u32 = 3;

/// How long what is refused for good is tried if the channel takes nothing else either: then it may
/// be the channel that is wrong (a route during a deployment) and not the message.
const REFUSED: Duration = Duration::from_secs(3600);

/// Failures in a row after which the channel rests.
const MAX_FAILURES: u32 = 5;

/// The first wait after a failure; it doubles, with full jitter above the half.
const BACKOFF: Duration = Duration::from_secs(1);
const MAX_BACKOFF: Duration = Duration::from_secs(300);

/// How many messages one digest tells.
const MAX_LINES: usize = 50;

/// One message that waits.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    /// What it is told apart by, in this queue.
    id: u64,
    /// Its document; none as long as the store could not keep it.
    pub(super) document: Option<String>,
    pub(super) notification: Notification,
    pub(super) attempts: u32,
    not_before: Timestamp,
    refused_since: Option<Timestamp>,
}

impl Entry {
    pub(super) fn new(document: Option<String>, notification: Notification) -> Self {
        let not_before = notification.at;
        Self {
            id: 0,
            document,
            notification,
            attempts: 0,
            not_before,
            refused_since: None,
        }
    }

    fn is_call(&self) -> bool {
        self.notification.kind == NotificationKind::Call
    }

    fn is_gravest(&self) -> bool {
        self.notification.severity == Severity::Sev0
    }
}

/// What to do next.
#[derive(Debug, PartialEq)]
pub(super) enum Next {
    /// Nothing waits.
    Idle,
    /// Nothing before then.
    Wait(Timestamp),
    /// Send this message; it stands for these entries.
    Send(Box<Notification>, Vec<u64>),
    /// These are too old.
    GiveUp(Vec<Entry>),
}

/// How a channel does.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize)]
#[non_exhaustive]
pub struct ChannelHealth {
    /// Messages that wait.
    pub waiting: usize,
    /// Since when the oldest of them does.
    pub oldest: Option<Timestamp>,
    /// Messages delivered in this life; each of a digest counts.
    pub delivered: u64,
    /// Attempts that failed in this life.
    pub failed: u64,
    /// Messages given up in this life: refused for good, too old, or too many.
    pub given_up: u64,
    /// Calls dropped in this life since their incident was over, or somebody had acknowledged it,
    /// before the channel took them.
    pub moot: u64,
    /// Until when the channel is left alone after failures in a row.
    pub resting_until: Option<Timestamp>,
    /// The last failure.
    pub last_error: Option<ErrorReport>,
}

/// The messages of one channel.
#[derive(Debug, Default)]
pub(super) struct Queue {
    entries: VecDeque<Entry>,
    /// When calls were sent within the window.
    sent: VecDeque<Timestamp>,
    failures: u32,
    /// When the channel took something last.
    taken_at: Option<Timestamp>,
    last_id: u64,
    health: ChannelHealth,
}

impl Queue {
    /// Adds a message; what had to make room is given back.
    pub(super) fn push(&mut self, entry: Entry) -> Option<Entry> {
        self.last_id += 1;
        let id = self.last_id;
        self.entries.push_back(Entry { id, ..entry });
        if self.entries.len() <= MAX_WAITING {
            return None;
        }
        let all = self.entries.iter().enumerate();
        // Of the mildest the oldest: the last maximum is wanted first, so ages are turned around.
        let (idx, _) = all.max_by_key(|(idx, it)| {
            let lightness = match it.notification.kind {
                NotificationKind::Acknowledged => 2,
                // Without it an alert of the other side stays open for ever.
                NotificationKind::Resolved => 0,
                _ => 1,
            };
            let severity = it.notification.severity;
            (severity, lightness, std::cmp::Reverse(*idx))
        })?;
        self.health.given_up += 1;
        self.entries.remove(idx)
    }

    /// The message of `key`, which waits without one, gets a document; given back if none waits.
    pub(super) fn adopt(&mut self, key: &str, document: String) -> Option<String> {
        let waits = |it: &&mut Entry| it.document.is_none() && it.notification.key == key;
        match self.entries.iter_mut().find(waits) {
            Some(entry) => {
                entry.document = Some(document);
                None
            }
            None => Some(document),
        }
    }

    /// The incidents of those of `ids` that are calls.
    pub(super) fn called(&self, ids: &[u64]) -> BTreeSet<IncidentId> {
        let calls = self.entries.iter().filter(|it| it.is_call());
        let sent = calls.filter(|it| ids.contains(&it.id));
        sent.map(|it| it.notification.incident).collect()
    }

    /// Takes out the calls about `incident`, which is over.
    pub(super) fn drop_calls(&mut self, incident: IncidentId) -> Vec<Entry> {
        let is_moot = |it: &Entry| it.is_call() && it.notification.incident == incident;
        let moot = self.take(is_moot);
        self.health.moot += moot.len() as u64;
        moot
    }

    /// Incidents and keys of those of `ids` that are calls nobody tried to send yet.
    pub(super) fn untried(&self, ids: &[u64]) -> Vec<(IncidentId, String)> {
        let calls = self.entries.iter().filter(|it| it.is_call());
        let untried = calls.filter(|it| it.attempts == 0 && ids.contains(&it.id));
        untried
            .map(|it| (it.notification.incident, it.notification.key.clone()))
            .collect()
    }

    /// Whether the call of this key waits, and nobody tried to send it yet.
    pub(super) fn is_untried(&self, key: &str) -> bool {
        let mut entries = self.entries.iter();
        entries.any(|it| it.is_call() && it.attempts == 0 && it.notification.key == key)
    }

    /// Takes out the call of this key, which somebody made needless.
    pub(super) fn drop_call(&mut self, key: &str) -> Vec<Entry> {
        let moot = self.take(|it| it.is_call() && it.notification.key == key);
        self.health.moot += moot.len() as u64;
        moot
    }

    fn take(&mut self, is_taken: impl Fn(&Entry) -> bool) -> Vec<Entry> {
        let all = std::mem::take(&mut self.entries).into_iter();
        let (taken, kept): (VecDeque<_>, _) = all.partition(is_taken);
        self.entries = kept;
        taken.into()
    }

    pub(super) fn health(&self) -> ChannelHealth {
        ChannelHealth {
            waiting: self.entries.len(),
            oldest: self.entries.iter().map(|it| it.notification.at).min(),
            ..self.health.clone()
        }
    }

    /// What to do at `now`; `digests` is whether several calls may become one.
    pub(super) fn next(&mut self, now: Timestamp, digests: bool) -> Next {
        let is_old = |entry: &Entry| now.since(entry.notification.at) > MAX_AGE;
        if self.entries.iter().any(is_old) {
            let old = self.take(is_old);
            self.health.given_up += old.len() as u64;
            return Next::GiveUp(old);
        }
        if let Some(until) = self.health.resting_until.filter(|until| *until > now) {
            return Next::Wait(until);
        }
        while self.sent.front().is_some_and(|at| now.since(*at) >= WINDOW) {
            self.sent.pop_front();
        }
        let ready = self.ready(now);
        if ready.is_empty() {
            let soonest = self
                .entries
                .iter()
                .map(|it| it.not_before)
                .filter(|at| *at > now)
                .min();
            return soonest.map_or(Next::Idle, Next::Wait);
        }
        // The gravest and what is no call wait for nobody.
        let calls = ready.iter().filter(|it| it.is_call());
        let calls: Vec<&Entry> = calls.copied().collect();
        let gravest: Vec<&Entry> = calls.iter().copied().filter(|it| it.is_gravest()).collect();
        let room = MAX_CALLS.saturating_sub(self.sent.len());
        let other = ready.iter().copied().find(|it| !it.is_call());
        if !digests {
            return single(gravest.first().copied().unwrap_or(ready[0]));
        }
        if gravest.len() > MAX_CALLS {
            digest(&gravest)
        } else if let Some(entry) = gravest.first().copied().or(other) {
            single(entry)
        } else if calls.len() <= room {
            single(calls[0])
        } else if room > 0 {
            digest(&calls)
        } else {
            Next::Wait(self.sent.front().map_or(now, |at| *at + WINDOW))
        }
    }

    /// What may be sent: of each incident the first message, since the news that it is over must
    /// not come before the news of it.
    fn ready(&self, now: Timestamp) -> Vec<&Entry> {
        let mut seen = BTreeSet::<IncidentId>::new();
        let mut waiting = BTreeSet::<IncidentId>::new();
        let mut ready = Vec::new();
        for entry in &self.entries {
            let id = entry.notification.incident;
            let is_late = entry.not_before <= now;
            // Several calls of one incident may go together into a digest, in their order.
            let follows = waiting.contains(&id) || (seen.contains(&id) && !entry.is_call());
            seen.insert(id);
            if is_late && !follows {
                ready.push(entry);
            } else {
                waiting.insert(id);
            }
        }
        ready
    }

    /// The message of these entries was taken; gives them back.
    pub(super) fn delivered(&mut self, ids: &[u64], now: Timestamp) -> Vec<Entry> {
        let gone: BTreeSet<u64> = ids.iter().copied().collect();
        let taken = self.take(|entry| gone.contains(&entry.id));
        if taken.iter().any(Entry::is_call) {
            self.sent.push_back(now);
        }
        self.health.delivered += ids.len() as u64;
        self.failures = 0;
        self.taken_at = Some(now);
        (self.health.resting_until, self.health.last_error) = (None, None);
        taken
    }

    /// The message of these entries was not taken. What will not pass is given back: refused
    /// several times although the channel takes others, or for [`REFUSED`]. The rest is tried again
    /// later, and a channel that fails again and again rests.
    pub(super) fn failed(
        &mut self,
        ids: &[u64],
        report: &ErrorReport,
        now: Timestamp,
        rng: &mut Rng,
    ) -> Vec<Entry> {
        let failed: BTreeSet<u64> = ids.iter().copied().collect();
        // A login that is denied is the channel's matter, and may be mended until it is too old.
        let is_refused = report.kind == ErrorKind::Permanent;
        let mut is_new = false;
        let mut given_up = Vec::new();
        let mut kept = VecDeque::with_capacity(self.entries.len());
        let wait = |attempts: u32, rng: &mut Rng| {
            let longest = BACKOFF.saturating_mul(1 << (attempts - 1).min(16));
            let longest = longest.min(MAX_BACKOFF);
            longest / 2 + rng.jitter(longest / 2)
        };
        for mut entry in std::mem::take(&mut self.entries) {
            if failed.contains(&entry.id) {
                is_new |= entry.attempts == 0;
                entry.attempts += 1;
                if is_refused {
                    let since = *entry.refused_since.get_or_insert(now);
                    let takes_others = self.taken_at.is_some_and(|at| at >= since);
                    let is_final = takes_others || now.since(since) >= REFUSED;
                    if is_final && entry.attempts >= MAX_REFUSALS {
                        given_up.push(entry);
                        continue;
                    }
                }
                entry.not_before = now + wait(entry.attempts, rng);
            }
            kept.push_back(entry);
        }
        self.entries = kept;
        self.health.failed += 1;
        self.health.given_up += given_up.len() as u64;
        self.health.last_error = Some(report.clone());
        // One message that is refused again and again says nothing about the channel.
        if !is_refused || is_new {
            self.failures += 1;
        }
        if self.failures >= MAX_FAILURES {
            let rest = wait(self.failures, rng);
            self.health.resting_until = Some(now + rest);
        }
        given_up
    }

    /// How often the message of the entry `id` was tried.
    pub(super) fn attempts(&self, id: u64) -> u32 {
        let found = self.entries.iter().find(|it| it.id == id);
        found.map_or(0, |entry| entry.attempts)
    }
}

fn single(entry: &Entry) -> Next {
    let notification = Box::new(entry.notification.clone());
    Next::Send(notification, vec![entry.id])
}

/// One message that tells the first [`MAX_LINES`] of `calls`, which are at least one.
fn digest(calls: &[&Entry]) -> Next {
    let calls = &calls[..calls.len().min(MAX_LINES)];
    if let [only] = calls {
        return single(only);
    }
    let all = || calls.iter().map(|it| &it.notification);
    let Some(worst) = all().min_by_key(|it| (it.severity, it.at)) else {
        return Next::Idle;
    };
    let n = calls.len();
    let line = |it: &Notification| format!("{} (incident {})", it.title, it.incident);
    let lines: Vec<_> = all().map(line).collect();
    let title = format!("{n} calls, the worst: {}", worst.title);
    let (id, severity) = (worst.incident, worst.severity);
    let mut message = Notification::new(id, severity, worst.at, title, lines.join("\n"));
    message.kind = NotificationKind::Digest;
    // Which calls are in it makes it what it is: a digest of others is another message.
    let keys: Vec<_> = all().map(|it| it.key.as_str()).collect();
    message.key = format!("digest/{}", homeostasis_core::Digest::of(&keys));
    let to: BTreeSet<_> = all().flat_map(|it| it.to.iter().cloned()).collect();
    message.to = to.into_iter().collect();
    let ids = calls.iter().map(|it| it.id).collect();
    Next::Send(Box::new(message), ids)
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
