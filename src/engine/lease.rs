//! Held leases: renewed for as long as they are held, and their loss is a signal.

use std::sync::Arc;
use std::time::Duration;

use homeostasis_core::port::{CoordinateError, Lease};
use homeostasis_core::record::Plan;
use homeostasis_core::{Cancellation, ErrorKind, RunId, timeout};

use crate::engine::shared::Shared;
use crate::engine::tasks::AbortOnDrop;

/// The leases of one run: on the service of its target, which fences its writes, and on every other
/// service its steps name.
#[derive(Debug)]
pub(crate) struct HeldLease {
    first: Lease,
    others: Vec<Lease>,
    lost: Cancellation,
    _keeper: AbortOnDrop,
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
                    for lease in &leases {
                        shared.coordinator.release(lease).await;
                    }
                    return Err(error);
                }
            }
        }
        let lost = Cancellation::default();
        let keeper = keep(Arc::clone(shared), leases.clone(), lost.clone());
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

    /// Gives them back.
    pub(crate) async fn release(self, shared: &Shared) {
        for lease in std::iter::once(&self.first).chain(&self.others) {
            shared.coordinator.release(lease).await;
        }
    }
}

/// One heal per service: plans on its instances exclude each other.
fn resource(service: &str) -> String {
    format!("heal/{service}")
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
async fn keep(shared: Arc<Shared>, mut leases: Vec<Lease>, lost: Cancellation) {
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
    }
}
