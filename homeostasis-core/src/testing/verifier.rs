//! What every verifier must keep.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use crate::context::Context;
use crate::cycle::Incident;
use crate::record::{Plan, Verdict, VerdictKind};
use crate::stage::{Verifier, VerifyRequest};
use crate::time::{Clock, ManualClock};

/// Asks for a verdict on `plan` where nothing at all was observed: it must be *uncertain*, come by
/// itself, and be the same when asked again.
///
/// A verifier may also fail with an error; what it may not do is to take silence for success or
/// failure, or to wait for anything but the context's clock.
///
/// # Panics
/// With a sentence, at the first promise that is broken.
pub async fn conformance<V: Verifier>(verifier: &V, incident: &Incident, plan: &Plan) {
    assert!(!verifier.name().is_empty(), "a verifier has a name");
    assert_eq!(verifier.name(), verifier.name(), "a name is stable");
    let first = verdict_on_silence(verifier, incident, plan).await;
    let second = verdict_on_silence(verifier, incident, plan).await;
    assert_eq!(
        first,
        second,
        "{} says something else when asked again",
        verifier.name()
    );
    let Some(verdict) = first else { return };
    assert_eq!(
        verdict.kind,
        VerdictKind::Uncertain,
        "{} took silence for an answer: {verdict}",
        verifier.name()
    );
    assert!(!verdict.reason.trim().is_empty(), "a verdict says why");
}

/// The verdict, or `None` if the verifier gives an error.
async fn verdict_on_silence<V: Verifier>(
    verifier: &V,
    incident: &Incident,
    plan: &Plan,
) -> Option<Verdict> {
    let clock = ManualClock::new(incident.updated_at);
    let spec = &plan.verification;
    let limit = spec.wait + spec.watch + spec.interval + Duration::from_secs(60);
    let cx = Context::new(Arc::new(clock.clone()), 7).within(limit);
    let request = VerifyRequest::new(incident, plan, incident.opened_at, incident.updated_at);
    let verdict = on_clock(&clock, verifier.verify(&cx, request)).await;
    assert!(
        clock.now() <= incident.updated_at + limit,
        "{} did not end in time",
        verifier.name()
    );
    verdict.ok()
}

/// Runs a future that waits for nothing but `clock`, whose time moves when there is nothing to do.
async fn on_clock<T>(clock: &ManualClock, future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    poll_fn(|cx| {
        loop {
            if let Poll::Ready(output) = future.as_mut().poll(cx) {
                return Poll::Ready(output);
            }
            let next = clock.next_wake();
            let next = next.expect("a verifier waits for nothing but the context's clock");
            clock.advance(next.since(clock.now()));
        }
    })
    .await
}
