//! Leases with fencing tokens: at most one heal per target.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::error::ErrorKind;
use crate::port::{Fence, Store, StoreError};
use crate::time::{Clock, Timestamp};

/// Grows with every lease on a resource; a write with an older one is refused.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct FencingToken(u64);

impl FencingToken {
    /// The token with this number.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The one after this.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for FencingToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// The right to act on a resource for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lease {
    /// What it is on.
    pub resource: String,
    /// Its token.
    pub token: FencingToken,
    /// When it ends unless it is renewed.
    pub expires: Timestamp,
}

impl Lease {
    /// A lease.
    pub fn new(resource: impl Into<String>, token: FencingToken, expires: Timestamp) -> Self {
        Self {
            resource: resource.into(),
            token,
            expires,
        }
    }

    /// What the journal checks at each write.
    pub fn fence(&self) -> Fence {
        Fence {
            resource: self.resource.clone(),
            token: self.token,
        }
    }
}

/// Why there is no lease.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CoordinateError {
    /// Somebody else holds it.
    #[error("{resource:?} is held by {holder} until {until}")]
    Held {
        /// What.
        resource: String,
        /// By whom.
        holder: String,
        /// Until when.
        until: Timestamp,
    },
    /// It was lost: expired, or taken over.
    #[error("lease {token} on {resource:?} is lost")]
    Lost {
        /// What.
        resource: String,
        /// The token that no longer counts.
        token: FencingToken,
    },
    /// The token could not be made durable.
    #[error("no token for {resource:?}")]
    Store {
        /// What.
        resource: String,
        /// The cause.
        #[source]
        source: StoreError,
    },
}

impl CoordinateError {
    /// What may be done next.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Held { .. } => ErrorKind::Transient,
            Self::Lost { .. } => ErrorKind::Conflict,
            Self::Store { source, .. } => source.kind(),
        }
    }
}

/// Who may act on what.
#[async_trait]
pub trait Coordinator: fmt::Debug + Send + Sync {
    /// Takes the lease on `resource` for `ttl`; an expired lease of another holder is taken over.
    async fn acquire(
        &self,
        resource: &str,
        holder: &str,
        ttl: Duration,
    ) -> Result<Lease, CoordinateError>;

    /// Extends `lease` to `ttl` from now.
    async fn renew(&self, lease: &Lease, ttl: Duration) -> Result<Lease, CoordinateError>;

    /// Gives `lease` back; giving back a lost lease does nothing.
    async fn release(&self, lease: &Lease);
}

const _: fn(&dyn Coordinator) = |_| {};

/// Leases among the tasks of one process; tokens come from the store, so they grow across restarts.
#[derive(Debug)]
pub struct LocalCoordinator {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    held: Mutex<HashMap<String, (String, Lease)>>,
}

impl LocalCoordinator {
    /// A coordinator whose tokens are kept by `store`.
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Self {
        Self {
            store,
            clock,
            held: Mutex::default(),
        }
    }

    fn held(&self) -> std::sync::MutexGuard<'_, HashMap<String, (String, Lease)>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Holds the resource for `holder` while its token is drawn, so that nobody else draws one.
    fn reserve(&self, resource: &str, holder: &str, ttl: Duration) -> Result<(), CoordinateError> {
        let now = self.clock.now();
        let mut held = self.held();
        if let Some((other, lease)) = held.get(resource).filter(|(_, lease)| lease.expires > now) {
            return Err(CoordinateError::Held {
                resource: resource.to_owned(),
                holder: other.clone(),
                until: lease.expires,
            });
        }
        let reserved = Lease::new(resource, FencingToken::default(), now + ttl);
        held.insert(resource.to_owned(), (holder.to_owned(), reserved));
        Ok(())
    }
}

#[async_trait]
impl Coordinator for LocalCoordinator {
    async fn acquire(
        &self,
        resource: &str,
        holder: &str,
        ttl: Duration,
    ) -> Result<Lease, CoordinateError> {
        self.reserve(resource, holder, ttl)?;
        match self.store.next_token(resource).await {
            Ok(token) => {
                let lease = Lease::new(resource, token, self.clock.now() + ttl);
                self.held()
                    .insert(resource.to_owned(), (holder.to_owned(), lease.clone()));
                Ok(lease)
            }
            Err(source) => {
                self.held().remove(resource);
                Err(CoordinateError::Store {
                    resource: resource.to_owned(),
                    source,
                })
            }
        }
    }

    async fn renew(&self, lease: &Lease, ttl: Duration) -> Result<Lease, CoordinateError> {
        let now = self.clock.now();
        match self.held().get_mut(&lease.resource) {
            Some((_, held)) if held.token == lease.token && held.expires > now => {
                held.expires = now + ttl;
                Ok(held.clone())
            }
            _ => Err(CoordinateError::Lost {
                resource: lease.resource.clone(),
                token: lease.token,
            }),
        }
    }

    async fn release(&self, lease: &Lease) {
        let mut held = self.held();
        if held
            .get(&lease.resource)
            .is_some_and(|(_, present)| present.token == lease.token)
        {
            held.remove(&lease.resource);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::port::{Commit, MemoryStore};
    use crate::time::ManualClock;

    #[tokio::test]
    async fn a_second_holder_waits_for_the_expiry_and_the_first_is_then_fenced() {
        let clock = ManualClock::new(Timestamp::EPOCH);
        let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
        let coordinator = LocalCoordinator::new(Arc::clone(&store), Arc::new(clock.clone()));
        let ttl = Duration::from_secs(10);
        let first = coordinator.acquire("orders", "a", ttl).await.unwrap();
        assert!(matches!(
            coordinator.acquire("orders", "b", ttl).await,
            Err(CoordinateError::Held { .. })
        ));
        clock.advance(ttl);
        let second = coordinator.acquire("orders", "b", ttl).await.unwrap();
        assert!(second.token > first.token);
        assert!(matches!(
            coordinator.renew(&first, ttl).await,
            Err(CoordinateError::Lost { .. })
        ));
        let zombie = store
            .commit(Commit::default().fenced(Some(first.fence())))
            .await;
        assert!(matches!(zombie, Err(StoreError::Fenced { .. })));
        store
            .commit(Commit::default().fenced(Some(second.fence())))
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn it_keeps_what_every_coordinator_must_keep() {
        let clock = ManualClock::new(Timestamp::EPOCH);
        let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
        let coordinator = LocalCoordinator::new(store, Arc::new(clock.clone()));
        crate::testing::coordinator::conformance(&coordinator, |by| clock.advance(by)).await;
    }
}
