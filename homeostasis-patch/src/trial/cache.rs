//! Outcomes of tests that ran before on the very same content.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use homeostasis_core::Digest;

use super::report::TestOutcome;

/// How many outcomes are kept; the oldest goes first.
const KEPT: usize = 1024;

#[derive(Debug, Default)]
pub(super) struct Cache(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    outcomes: BTreeMap<Digest, TestOutcome>,
    order: VecDeque<Digest>,
}

impl Cache {
    pub(super) fn get(&self, key: &Digest) -> Option<TestOutcome> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut outcome = kept.outcomes.get(key)?.clone();
        outcome.cached = true;
        Some(outcome)
    }

    pub(super) fn put(&self, key: Digest, outcome: TestOutcome) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.outcomes.insert(key, outcome).is_none() {
            kept.order.push_back(key);
        }
        if kept.order.len() > KEPT
            && let Some(oldest) = kept.order.pop_front()
        {
            kept.outcomes.remove(&oldest);
        }
    }
}
