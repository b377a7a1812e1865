//! What every stage is given: identity, time, chance, deadline, cancellation, and what was seen.

use std::collections::BTreeMap;
use std::fmt;
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;

use crate::flags::Flags;
use crate::id::{IncidentId, TenantId};
use crate::observe::{NoObservations, Observations};
use crate::rng::Rng;
use crate::target::Topology;
use crate::time::{Clock, Timestamp};

/// A request to stop, seen by everyone who holds a clone.
///
/// ```
/// use homeostasis::core::Cancellation;
/// let cancellation = Cancellation::default();
/// let seen = cancellation.clone();
/// cancellation.cancel();
/// assert!(seen.is_cancelled());
/// ```
#[derive(Debug, Clone, Default)]
pub struct Cancellation {
    shared: Arc<CancelState>,
}

#[derive(Debug, Default)]
struct CancelState {
    cancelled: AtomicBool,
    waiting: Mutex<Waiting>,
}

/// One entry for each future that waits now; it leaves with the future.
#[derive(Debug, Default)]
struct Waiting {
    wakers: BTreeMap<u64, Waker>,
    next: u64,
}

impl CancelState {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Cancellation {
    /// Asks everyone to stop; repeating it changes nothing.
    pub fn cancel(&self) {
        self.shared.cancelled.store(true, Ordering::SeqCst);
        // Taken out first: a waker may drop a future that waits here.
        let wakers = std::mem::take(&mut self.shared.waiting().wakers);
        wakers.into_values().for_each(Waker::wake);
    }

    /// Whether somebody asked to stop.
    pub fn is_cancelled(&self) -> bool {
        self.shared.cancelled.load(Ordering::SeqCst)
    }

    /// Completes once somebody asked to stop. Cancel-safe: a dropped future leaves nothing behind.
    pub async fn cancelled(&self) {
        let mut waiter = Waiter {
            shared: &self.shared,
            entry: None,
        };
        poll_fn(|cx| waiter.poll(cx.waker())).await;
    }
}

/// A future's place among those who wait.
struct Waiter<'a> {
    shared: &'a CancelState,
    entry: Option<u64>,
}

impl Waiter<'_> {
    fn poll(&mut self, waker: &Waker) -> Poll<()> {
        let mut waiting = self.shared.waiting();
        // Asked under the lock: whoever cancels takes the wakers after the flag is set.
        if self.shared.cancelled.load(Ordering::SeqCst) {
            return Poll::Ready(());
        }
        let entry = *self.entry.get_or_insert(waiting.next);
        waiting.next = waiting.next.max(entry + 1);
        let replaced = waiting.wakers.insert(entry, waker.clone());
        drop(waiting);
        // A waker may run code of its own when it is dropped, so not under the lock.
        drop(replaced);
        Poll::Pending
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        if let Some(entry) = self.entry {
            let left = self.shared.waiting().wakers.remove(&entry);
            drop(left);
        }
    }
}

/// What a stage may know and use while it works on one thing.
///
/// Cheap to clone. New capabilities become new accessors, not new parameters.
#[derive(Clone)]
pub struct Context {
    tenant: TenantId,
    principal: Arc<str>,
    incident: Option<IncidentId>,
    deadline: Option<Timestamp>,
    cancellation: Cancellation,
    clock: Arc<dyn Clock>,
    seed: Rng,
    flags: Flags,
    observations: Arc<dyn Observations>,
    topology: Arc<Topology>,
}

impl Context {
    /// A context with `clock` and chance from `seed`; everything else at its default.
    pub fn new(clock: Arc<dyn Clock>, seed: u64) -> Self {
        Self {
            tenant: TenantId::default(),
            principal: Arc::from("homeostasis"),
            incident: None,
            deadline: None,
            cancellation: Cancellation::default(),
            clock,
            seed: Rng::from_seed(seed),
            flags: Flags::default(),
            observations: Arc::new(NoObservations),
            topology: Arc::default(),
        }
    }

    /// The same for another incident; its chance differs from every other incident's.
    pub fn for_incident(mut self, incident: IncidentId) -> Self {
        let bits = incident.as_u128();
        let fold = u64::try_from((bits >> 64) ^ (bits & u128::from(u64::MAX))).unwrap_or_default();
        self.seed = self.seed.fork(fold);
        self.incident = Some(incident);
        self
    }

    /// The same for another tenant.
    pub fn for_tenant(mut self, tenant: TenantId) -> Self {
        self.tenant = tenant;
        self
    }

    /// The same on behalf of `principal`.
    pub fn as_principal(mut self, principal: impl Into<Arc<str>>) -> Self {
        self.principal = principal.into();
        self
    }

    /// The same with a deadline `limit` from now, or the present one if it is earlier.
    pub fn within(mut self, limit: Duration) -> Self {
        let deadline = self.clock.now() + limit;
        self.deadline = Some(
            self.deadline
                .map_or(deadline, |present| present.min(deadline)),
        );
        self
    }

    /// The same without a deadline.
    pub fn without_deadline(mut self) -> Self {
        self.deadline = None;
        self
    }

    /// The same with a cancellation of its own.
    pub fn cancelled_by(mut self, cancellation: Cancellation) -> Self {
        self.cancellation = cancellation;
        self
    }

    /// The same with these flags.
    pub fn with_flags(mut self, flags: Flags) -> Self {
        self.flags = flags;
        self
    }

    /// The same with these observations.
    pub fn observing(mut self, observations: Arc<dyn Observations>) -> Self {
        self.observations = observations;
        self
    }

    /// The same in this topology.
    pub fn in_topology(mut self, topology: Arc<Topology>) -> Self {
        self.topology = topology;
        self
    }

    /// Whose data and limits apply.
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// On whose behalf this happens.
    pub fn principal(&self) -> &str {
        &self.principal
    }

    /// Which incident this is about, if any.
    pub fn incident(&self) -> Option<IncidentId> {
        self.incident
    }

    /// What ties the records of this work together: the incident's id.
    pub fn correlation(&self) -> Option<String> {
        self.incident.map(|incident| incident.to_string())
    }

    /// When this must be done.
    pub fn deadline(&self) -> Option<Timestamp> {
        self.deadline
    }

    /// How long until the deadline; `None` if there is none.
    pub fn remaining(&self) -> Option<Duration> {
        self.deadline.map(|deadline| deadline.since(self.now()))
    }

    /// The request to stop.
    pub fn cancellation(&self) -> &Cancellation {
        &self.cancellation
    }

    /// The clock.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// The present.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// A generator for the use called `stream`: the same incident, seed and stream give the same
    /// sequence, so a replay draws what the original drew.
    pub fn rng(&self, stream: u64) -> Rng {
        self.seed.fork(stream)
    }

    /// Feature flags.
    pub fn flags(&self) -> &Flags {
        &self.flags
    }

    /// What was seen lately.
    pub fn observations(&self) -> &dyn Observations {
        &*self.observations
    }

    /// Who depends on whom.
    pub fn topology(&self) -> &Topology {
        &self.topology
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("tenant", &self.tenant)
            .field("principal", &self.principal)
            .field("incident", &self.incident)
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::ManualClock;

    fn context() -> Context {
        Context::new(Arc::new(ManualClock::new(Timestamp::EPOCH)), 9)
    }

    #[test]
    fn the_earlier_deadline_wins() {
        let cx = context()
            .within(Duration::from_secs(5))
            .within(Duration::from_secs(9));
        assert_eq!(cx.deadline(), Some(Timestamp::from_secs(5)));
        assert_eq!(cx.remaining(), Some(Duration::from_secs(5)));
    }

    #[test]
    fn chance_is_per_incident_and_replayable() {
        let a = context().for_incident(IncidentId::from_u128(1));
        let b = context().for_incident(IncidentId::from_u128(2));
        assert_eq!(a.rng(1).next_u64(), a.clone().rng(1).next_u64());
        assert_ne!(a.rng(1).next_u64(), b.rng(1).next_u64());
        assert_ne!(a.rng(1).next_u64(), a.rng(2).next_u64());
    }

    /// Each task that once waited left its waker behind until somebody cancelled.
    #[test]
    fn a_future_that_no_longer_waits_leaves_nothing_behind() {
        let cancellation = Cancellation::default();
        let n_waiting = || cancellation.shared.waiting().wakers.len();
        let mut task = std::task::Context::from_waker(Waker::noop());
        for _ in 0..3 {
            let mut first = std::pin::pin!(cancellation.cancelled());
            let mut second = std::pin::pin!(cancellation.cancelled());
            for _ in 0..2 {
                assert!(first.as_mut().poll(&mut task).is_pending());
                assert!(second.as_mut().poll(&mut task).is_pending());
            }
            assert_eq!(n_waiting(), 2);
        }
        assert_eq!(n_waiting(), 0);
        let mut last = std::pin::pin!(cancellation.cancelled());
        assert!(last.as_mut().poll(&mut task).is_pending());
        cancellation.cancel();
        assert_eq!(n_waiting(), 0);
        assert!(last.as_mut().poll(&mut task).is_ready());
    }

    #[tokio::test]
    async fn a_waiter_learns_of_the_cancellation() {
        let cancellation = Cancellation::default();
        let cancel_later = async {
            tokio::task::yield_now().await;
            cancellation.cancel();
        };
        tokio::join!(cancellation.cancelled(), cancel_later);
        assert!(cancellation.is_cancelled());
    }
}
