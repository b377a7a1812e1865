//! Held leases: renewed for as long as they are held, and their loss is a signal.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::task::Poll;
use std::time::Duration;

use homeostasis_core::port::{CoordinateError, Lease};
use homeostasis_core::record::Plan;
use homeostasis_core::{Cancellation, Clock, ErrorKind, ErrorReport, RunId, Timestamp, timeout};

use crate::engine::shared::Shared;
use crate::engine::tasks::AbortOnDrop;

/// The leases of one run: on the service of its target, which fences its writes, and on every other
/// service its steps name.
#[derive(Debug)]
pub(crate) struct HeldLease {
    first: Lease,
    others: Vec<Lease>,
    lost: Cancellation,
    held_until: HeldUntil,
    _keeper: AbortOnDrop,
}

/// When the first of some leases runs out unless it is renewed; shared with whoever renews them.
#[derive(Debug, Clone)]
pub(crate) struct HeldUntil(Arc<AtomicI64>);

impl HeldUntil {
    fn of(leases: &[Lease]) -> Self {
        let until = Self(Arc::new(AtomicI64::new(i64::MAX)));
        until.note(leases);
        until
    }

    fn note(&self, leases: &[Lease]) {
        if let Some(first) = leases.iter().map(|lease| lease.expires).min() {
            self.0.store(first.as_nanos(), Ordering::Release);
        }
    }

    /// Goes on with `effects` only while the leases hold.
    ///
    /// A process that was stopped, or starved, may wake when another one has taken over long ago,
    /// and before the renewal has told it so: it does nothing more. What it was in the middle of
    /// counts as interrupted.
    pub(crate) async fn while_held<T>(
        self,
        clock: Arc<dyn Clock>,
        effects: impl Future<Output = Result<T, ErrorReport>>,
    ) -> Result<T, ErrorReport> {
        let mut effects = pin!(effects);
        poll_fn(|task| {
            let until = Timestamp::from_nanos(self.0.load(Ordering::Acquire));
            if clock.now() >= until {
                let late = format!("the lease on the target ran out at {until}");
                return Poll::Ready(Err(ErrorReport::message(ErrorKind::Conflict, late)));
            }
            effects.as_mut().poll(task)
        })
        .await
    }
}

impl HeldLease {
    /// Takes all leases that `plan` needs, or none.
    ///
    /// They are taken in the order of their names, so that two plans never wait for each other.
    pub(crate) async fn take(
        shared: &Arc<Shared>,
        plan: &Plan,
        run: RunId,
    ) -> Result<Self, CoordinateError> {
        let own = resource(plan.target.service_name());
        let mut names: Vec<_> = plan
            .steps
            .iter()
            .map(|step| resource(step.target.service_name()))
            .collect();
        names.push(own.clone());
        names.sort();
        names.dedup();
        let mut leases: Vec<Lease> = Vec::new();
        for name in names {
            match acquire(shared, &name, run).await {
                Ok(lease) => leases.push(lease),
                Err(error) => {
                    give_back(shared, &leases).await;
                    return Err(error);
                }
            }
        }
        let lost = Cancellation::default();
        let held_until = HeldUntil::of(&leases);
        let keeper = keep(
            Arc::clone(shared),
            leases.clone(),
            lost.clone(),
            held_until.clone(),
        );
        let keeper = AbortOnDrop(shared.tasks.spawn(keeper));
        let first_idx = leases
            .iter()
            .position(|lease| lease.resource == own)
            .unwrap_or_default();
        let first = leases.remove(first_idx);
        Ok(Self {
            first,
            others: leases,
            lost,
            held_until,
            _keeper: keeper,
        })
    }

    /// The lease that fences the run's writes.
    pub(crate) fn first(&self) -> &Lease {
        &self.first
    }

    /// Whether one of them is gone.
    pub(crate) fn is_lost(&self) -> bool {
        self.lost.is_cancelled()
    }

    /// What is cancelled when one of them is gone.
    pub(crate) fn lost(&self) -> Cancellation {
        self.lost.clone()
    }

    /// What effects go on by.
    pub(crate) fn held_until(&self) -> HeldUntil {
        self.held_until.clone()
    }

    /// Gives them back.
    pub(crate) async fn release(self, shared: &Shared) {
        let mut leases = self.others;
        leases.push(self.first);
        give_back(shared, &leases).await;
    }
}

/// One heal per service: plans on its instances exclude each other.
fn resource(service: &str) -> String {
    format!("heal/{service}")
}

/// Gives leases back; a coordinator that does not answer in time lets them run out.
async fn give_back(shared: &Shared, leases: &[Lease]) {
    let releasing = async {
        for lease in leases {
            shared.coordinator.release(lease).await;
        }
    };
    let limit = shared.settings.lease_ttl / 3;
    if timeout(&**shared.clock(), limit, releasing).await.is_err() {
        tracing::warn!("leases were not given back within {limit:?}: they run out");
    }
}

async fn acquire(shared: &Shared, resource: &str, run: RunId) -> Result<Lease, CoordinateError> {
    let ttl = shared.settings.lease_ttl;
    let holder = run.to_string();
    let acquiring = shared.coordinator.acquire(resource, &holder, ttl);
    timeout(&**shared.clock(), ttl, acquiring)
        .await
        .unwrap_or_else(|_| {
            let until = shared.now() + ttl;
            Err(CoordinateError::Held {
                resource: resource.to_owned(),
                holder: "a coordinator that does not answer".to_owned(),
                until,
            })
        })
}

/// Renews until one lease is lost: taken over, or not renewed before it expired.
async fn keep(
    shared: Arc<Shared>,
    mut leases: Vec<Lease>,
    lost: Cancellation,
    held_until: HeldUntil,
) {
    let ttl = shared.settings.lease_ttl;
    // A third of the time, so that two renewals may fail.
    let rhythm = (ttl / 3).max(Duration::from_millis(1));
    loop {
        shared.clock().sleep(rhythm).await;
        for lease in &mut leases {
            let renewing = shared.coordinator.renew(lease, ttl);
            match timeout(&**shared.clock(), rhythm, renewing).await {
                Ok(Ok(renewed)) => *lease = renewed,
                Ok(Err(error)) if error.kind() == ErrorKind::Conflict => {
                    tracing::error!(%error, "lease lost");
                    lost.cancel();
                    return;
                }
                Ok(Err(_)) | Err(_) if shared.now() + rhythm >= lease.expires => {
                    tracing::error!(resource = lease.resource, "lease not renewed in time");
                    lost.cancel();
                    return;
                }
                Ok(Err(_)) | Err(_) => {}
            }
        }
        held_until.note(&leases);
    }
}

#[cfg(test)]
mod tests {
    use homeostasis_core::ManualClock;
    use homeostasis_core::port::FencingToken;

    use super::*;

    #[tokio::test]
    async fn who_wakes_after_the_lease_ran_out_does_nothing_more() {
        let clock = ManualClock::new(Timestamp::EPOCH);
        let lease = |secs| Lease::new("heal/a", FencingToken::new(1), Timestamp::from_secs(secs));
        let held_until = HeldUntil::of(&[lease(30), lease(20)]);
        let done = Arc::new(AtomicI64::new(0));
        let work = |naps: u64| {
            let (clock, done) = (clock.clone(), Arc::clone(&done));
            async move {
                clock.sleep(Duration::from_secs(naps)).await;
                done.fetch_add(1, Ordering::SeqCst);
                Ok(())
            }
        };
        #[expect(clippy::disallowed_methods, reason = "a test without an engine")]
        let run = |naps| {
            let clock: Arc<dyn Clock> = Arc::new(clock.clone());
            tokio::spawn(held_until.clone().while_held(clock, work(naps)))
        };
        let in_time = run(19);
        tokio::task::yield_now().await;
        clock.advance(Duration::from_secs(19));
        in_time.await.unwrap().unwrap();
        let renewed = run(5);
        tokio::task::yield_now().await;
        held_until.note(&[lease(40), lease(30)]);
        clock.advance(Duration::from_secs(5));
        renewed.await.unwrap().unwrap();
        let late = run(5);
        tokio::task::yield_now().await;
        clock.advance(Duration::from_secs(6));
        let report = late.await.unwrap().unwrap_err();
        assert_eq!(report.kind, ErrorKind::Conflict);
        assert!(report.to_string().contains("ran out"), "{report}");
        assert_eq!(done.load(Ordering::SeqCst), 2);
    }
}
