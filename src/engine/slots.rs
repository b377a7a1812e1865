//! Slots: how many heals run at once, the most severe first.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use homeostasis_core::record::Severity;
use homeostasis_core::{IncidentId, Timestamp};
use tokio::sync::oneshot;

/// The order of waiting: severity, then age.
type Rank = (Severity, Timestamp, IncidentId);

/// A bounded number of slots with a priority queue before them.
#[derive(Debug, Clone)]
pub(crate) struct Slots {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    free: usize,
    /// Those who hold a slot and count against what a tenant may do at once.
    claims: BTreeSet<IncidentId>,
    waiting: BTreeMap<Rank, oneshot::Sender<Slot>>,
}

/// One slot; it is free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    slots: Option<Slots>,
    id: IncidentId,
}

impl Slots {
    pub(crate) fn new(max: usize) -> Self {
        Self {
            state: Arc::new(Mutex::new(State {
                free: max.max(1),
                claims: BTreeSet::new(),
                waiting: BTreeMap::new(),
            })),
        }
    }

    /// Waits for a slot. Cancel-safe: a slot that was given to nobody goes to the next.
    pub(crate) async fn acquire(
        &self,
        severity: Severity,
        since: Timestamp,
        id: IncidentId,
    ) -> Slot {
        let waiting = {
            let mut state = self.lock();
            if state.free > 0 {
                state.free -= 1;
                return Slot {
                    slots: Some(self.clone()),
                    id,
                };
            }
            let (sender, receiver) = oneshot::channel();
            state.waiting.insert((severity, since, id), sender);
            receiver
        };
        match waiting.await {
            Ok(slot) => slot,
            // The same incident asked twice: the newer request replaced this one, which happens
            // only when this one's task is gone.
            Err(_) => std::future::pending().await,
        }
    }

    /// How many others count, and, if they are fewer than `max`, that this one does too until it
    /// gives back its slot: of several that ask at once the first goes on.
    pub(crate) fn claim(&self, id: IncidentId, max: u64) -> u64 {
        let mut state = self.lock();
        let others = state.claims.iter().filter(|other| **other != id).count() as u64;
        if others < max {
            state.claims.insert(id);
        }
        others
    }

    /// It does not count any more, as if its slot had been given back.
    pub(crate) fn disclaim(&self, id: IncidentId) {
        self.lock().claims.remove(&id);
    }

    /// How many wait.
    pub(crate) fn n_waiting(&self) -> usize {
        self.lock().waiting.len()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn give_back(&self) {
        loop {
            let next = {
                let mut state = self.lock();
                let Some(((_, _, id), sender)) = state.waiting.pop_first() else {
                    state.free += 1;
                    return;
                };
                (id, sender)
            };
            let (id, sender) = next;
            match sender.send(Slot {
                slots: Some(self.clone()),
                id,
            }) {
                Ok(()) => return,
                // Whoever waited is gone: disarm the slot and look for the next.
                Err(mut slot) => slot.slots = None,
            }
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(slots) = self.slots.take() {
            slots.lock().claims.remove(&self.id);
            slots.give_back();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn of_two_that_ask_at_once_the_first_goes_on_until_it_gives_back_its_slot() {
        let slots = Slots::new(2);
        let (at, id) = (Timestamp::EPOCH, IncidentId::from_u128);
        let first = slots.acquire(Severity::Sev3, at, id(1)).await;
        let _second = slots.acquire(Severity::Sev3, at, id(2)).await;
        assert_eq!((slots.claim(id(1), 1), slots.claim(id(2), 1)), (0, 1));
        assert_eq!(slots.claim(id(1), 1), 0, "it asks again");
        drop(first);
        assert_eq!(slots.claim(id(2), 1), 0);
    }

    #[tokio::test]
    async fn the_most_severe_goes_first_and_a_dropped_waiter_loses_nothing() {
        let slots = Slots::new(1);
        let at = Timestamp::EPOCH;
        let id = IncidentId::from_u128;
        let first = slots.acquire(Severity::Sev3, at, id(1)).await;
        let mild = slots.acquire(Severity::Sev3, at, id(2));
        let gone = slots.acquire(Severity::Sev0, at, id(3));
        let grave = slots.acquire(Severity::Sev1, at, id(4));
        tokio::pin!(mild, grave);
        {
            tokio::pin!(gone);
            for _ in 0..3 {
                tokio::select! {
                    biased;
                    _ = &mut gone => panic!("no slot is free"),
                    _ = &mut mild => panic!("no slot is free"),
                    _ = &mut grave => panic!("no slot is free"),
                    () = std::future::ready(()) => {}
                }
            }
            assert_eq!(slots.n_waiting(), 3);
        }
        drop(first);
        let second = tokio::select! {
            biased;
            _ = &mut mild => panic!("the grave one goes first"),
            slot = &mut grave => slot,
        };
        drop(second);
        let _third = mild.await;
    }
}
