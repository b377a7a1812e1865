//! The knowledge base: what happened before, and what helped.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::error::stage_error;
use crate::id::IncidentId;
use crate::record::{Fingerprint, VerdictKind};
use crate::target::Target;
use crate::time::Timestamp;
use crate::unit::Ratio;

stage_error!(
    /// Why the knowledge base did not answer.
    KnowledgeError
);

/// One closed incident, as it is remembered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PastIncident {
    /// Which one.
    pub incident: IncidentId,
    /// What its first anomaly was.
    pub fingerprint: Fingerprint,
    /// Who was ill.
    pub target: Target,
    /// The root cause, if one was named.
    pub cause: Option<String>,
    /// What was tried, oldest first; empty if nothing was done.
    pub runs: Vec<PastRun>,
    /// When it was closed.
    pub closed_at: Timestamp,
}

/// One run of a closed incident.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PastRun {
    /// Its playbook, if its plan was made from one.
    pub playbook: Option<String>,
    /// The verdict on it.
    pub verdict: VerdictKind,
}

impl PastIncident {
    /// The verdicts on the runs of `playbook`, oldest first.
    pub fn verdicts(&self, playbook: &str) -> impl Iterator<Item = VerdictKind> {
        let runs = self.runs.iter();
        runs.filter(move |run| run.playbook.as_deref() == Some(playbook))
            .map(|run| run.verdict)
    }
}

/// How a playbook did against a cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Effectiveness {
    /// Runs with a verdict.
    pub runs: u64,
    /// Those whose verdict was [`VerdictKind::Success`]; uncertain and partial ones do not count.
    pub successes: u64,
}

impl Effectiveness {
    /// Successes per run; zero if there was none. Without a control this overstates a playbook:
    /// some incidents pass by themselves.
    pub fn success_ratio(&self) -> Ratio {
        Ratio::of(self.successes, self.runs)
    }
}

/// Remembers closed incidents. A projection of the journal: it can be rebuilt, and losing it changes
/// what is chosen first, never what is safe.
#[async_trait]
pub trait KnowledgeBase: fmt::Debug + Send + Sync {
    /// Remembers an incident; what was known of the same incident is replaced, so a replay counts
    /// nothing twice.
    async fn remember(&self, past: PastIncident) -> Result<(), KnowledgeError>;

    /// Incidents with the same fingerprint, then those with the same cause; the newest first in
    /// each, at most `limit`.
    async fn similar(
        &self,
        fingerprint: Fingerprint,
        cause: Option<&str>,
        limit: usize,
    ) -> Result<Vec<PastIncident>, KnowledgeError>;

    /// How `playbook` did against `cause`; zero runs if it is unknown.
    async fn effectiveness(
        &self,
        playbook: &str,
        cause: &str,
    ) -> Result<Effectiveness, KnowledgeError>;
}

const _: fn(&dyn KnowledgeBase) = |_| {};

/// The last incidents in memory; 4096 by default, the first remembered go first.
#[derive(Debug)]
pub struct MemoryKnowledge {
    capacity: usize,
    past: Mutex<VecDeque<PastIncident>>,
}

impl MemoryKnowledge {
    /// Keeps at most `capacity` incidents; at least 1.
    pub fn with_capacity(capacity: usize) -> Self {
        Self {
            capacity: capacity.max(1),
            past: Mutex::default(),
        }
    }

    fn past(&self) -> std::sync::MutexGuard<'_, VecDeque<PastIncident>> {
        self.past.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for MemoryKnowledge {
    fn default() -> Self {
        Self::with_capacity(4096)
    }
}

#[async_trait]
impl KnowledgeBase for MemoryKnowledge {
    async fn remember(&self, past: PastIncident) -> Result<(), KnowledgeError> {
        let mut all = self.past();
        all.retain(|known| known.incident != past.incident);
        if all.len() == self.capacity {
            all.pop_front();
        }
        all.push_back(past);
        Ok(())
    }

    async fn similar(
        &self,
        fingerprint: Fingerprint,
        cause: Option<&str>,
        limit: usize,
    ) -> Result<Vec<PastIncident>, KnowledgeError> {
        let mut found: Vec<_> = self
            .past()
            .iter()
            .filter(|past| {
                past.fingerprint == fingerprint
                    || (cause.is_some() && past.cause.as_deref() == cause)
            })
            .cloned()
            .collect();
        found.sort_by_key(|past| {
            let newest_first = std::cmp::Reverse((past.closed_at, past.incident));
            (past.fingerprint != fingerprint, newest_first)
        });
        found.truncate(limit);
        Ok(found)
    }

    async fn effectiveness(
        &self,
        playbook: &str,
        cause: &str,
    ) -> Result<Effectiveness, KnowledgeError> {
        let mut found = Effectiveness::default();
        let past = self.past();
        let of_it = past.iter().filter(|it| it.cause.as_deref() == Some(cause));
        for verdict in of_it.flat_map(|it| it.verdicts(playbook)) {
            found.runs += 1;
            found.successes += u64::from(verdict == VerdictKind::Success);
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests;
