//! What every coordinator must keep.

use std::time::Duration;

use crate::error::ErrorKind;
use crate::port::Coordinator;

/// Runs every case; `advance` moves the clock that the coordinator was made with.
///
/// # Panics
/// With a sentence, at the first promise that is broken.
///
/// ```
/// use std::sync::Arc;
/// use homeostasis::core::port::{LocalCoordinator, MemoryStore};
/// use homeostasis::core::{ManualClock, Timestamp, testing::coordinator};
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let clock = ManualClock::new(Timestamp::EPOCH);
/// let store = Arc::new(MemoryStore::default());
/// let local = LocalCoordinator::new(store, Arc::new(clock.clone()));
/// coordinator::conformance(&local, |by| clock.advance(by)).await;
/// # }
/// ```
pub async fn conformance<C: Coordinator>(coordinator: &C, advance: impl Fn(Duration)) {
    let ttl = Duration::from_secs(10);
    let take = |resource, holder| coordinator.acquire(resource, holder, ttl);

    let first = take("a", "one")
        .await
        .expect("a free resource can be leased");
    let refused = take("a", "two")
        .await
        .expect_err("a leased resource cannot be leased again");
    assert_eq!(
        refused.kind(),
        ErrorKind::Transient,
        "who waits may get it later"
    );
    take("b", "two")
        .await
        .expect("resources do not hinder each other");

    advance(ttl / 2);
    let renewed = coordinator
        .renew(&first, ttl)
        .await
        .expect("a lease that holds can be renewed");
    assert_eq!(renewed.token, first.token, "renewing keeps the token");
    assert!(
        renewed.expires > first.expires,
        "renewing extends the lease"
    );
    advance(ttl / 2);
    take("a", "two")
        .await
        .expect_err("a renewed lease holds longer");

    coordinator.release(&renewed).await;
    let second = take("a", "two")
        .await
        .expect("what was given back can be leased");
    assert!(second.token > first.token, "tokens grow");

    advance(ttl);
    let third = take("a", "three")
        .await
        .expect("an expired lease is taken over");
    assert!(
        third.token > second.token,
        "tokens grow when a lease is taken over"
    );
    let lost = coordinator
        .renew(&second, ttl)
        .await
        .expect_err("a lost lease cannot be renewed");
    assert_eq!(
        lost.kind(),
        ErrorKind::Conflict,
        "who lost a lease must stop"
    );
    coordinator.release(&second).await;
    take("a", "four")
        .await
        .expect_err("giving a lost lease back gives nothing back");
}
