//! One load at a time for each key: the others wait for its answer.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::key::CacheKey;
use super::ledger::{Ledger, Moment};

/// The loads that are under way.
#[derive(Debug)]
pub(super) struct Flights<T> {
    under_way: Mutex<HashMap<CacheKey, Flight<T>>>,
    next: AtomicU64,
}

#[derive(Debug)]
struct Flight<T> {
    number: u64,
    began: Moment,
    anew: bool,
    outcome: watch::Receiver<Option<T>>,
}

/// What one is on a flight.
pub(super) enum Boarding<'a, T> {
    /// Who loads.
    Leader(Leader<'a, T>),
    /// Who waits for the one who loads.
    Passenger(watch::Receiver<Option<T>>),
}

/// Who loads. Dropped before it landed, one of the others leads anew.
pub(super) struct Leader<'a, T> {
    flights: &'a Flights<T>,
    key: CacheKey,
    number: u64,
    outcome: watch::Sender<Option<T>>,
    pub(super) began: Moment,
}

impl<T> Flights<T> {
    pub(super) fn new() -> Self {
        Self {
            under_way: Mutex::new(HashMap::new()),
            next: AtomicU64::new(0),
        }
    }

    /// Joins the flight for `key`, unless it began before something made its answer invalid, or might
    /// answer with what is remembered though this is to be made anew.
    pub(super) fn board(&self, key: &CacheKey, anew: bool, ledger: &Ledger) -> Boarding<'_, T> {
        let mut under_way = self.lock();
        if let Some(flight) = under_way.get(key)
            && (flight.anew || !anew)
            && ledger.is_current(key, flight.began)
        {
            return Boarding::Passenger(flight.outcome.clone());
        }
        let (outcome, receiver) = watch::channel(None);
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let began = ledger.now();
        let flight = Flight {
            number,
            began,
            anew,
            outcome: receiver,
        };
        under_way.insert(key.clone(), flight);
        Boarding::Leader(Leader {
            flights: self,
            key: key.clone(),
            number,
            outcome,
            began,
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<CacheKey, Flight<T>>> {
        self.under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }
}

impl<T> Leader<'_, T> {
    /// Tells those who wait.
    pub(super) fn land(self, outcome: T) {
        self.outcome.send_replace(Some(outcome));
    }
}

impl<T> Drop for Leader<'_, T> {
    fn drop(&mut self) {
        let mut under_way = self.flights.lock();
        // A later flight may have taken its place.
        if under_way
            .get(&self.key)
            .is_some_and(|flight| flight.number == self.number)
        {
            under_way.remove(&self.key);
        }
    }
}

/// The outcome of the flight; `None` if its leader was dropped.
pub(super) async fn outcome<T: Clone>(mut flight: watch::Receiver<Option<T>>) -> Option<T> {
    let landed = flight.wait_for(Option::is_some).await.ok()?;
    landed.clone()
}
