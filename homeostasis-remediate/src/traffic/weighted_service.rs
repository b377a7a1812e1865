//! A `tower` service that shares its requests among others.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use homeostasis_core::port::{MemoryRouter, OnItsWay, RouteFollower, TrafficError, Weights};
use homeostasis_core::{Clock, Rng, Timestamp, timeout};
use pin_project_lite::pin_project;
use tokio::runtime::Handle;
use tower_service::Service;

use super::slot_meter::{End, SlotMeter};

/// Shares requests among services, one for each slot, by the weights of a [`MemoryRouter`].
///
/// Each request goes to a slot drawn by weight from the seeded generator (what a test of significance
/// assumes), or to that of its key ([`sticky_by`](Self::sticky_by)). A change is in force for every request
/// that is called afterwards; while nothing changes, following costs one atomic load. A request stays with
/// its slot: one that was drained finishes what it has, and
/// [`in_flight`](homeostasis_core::port::TrafficRouter::in_flight) of the router is zero when it has.
///
/// *Readiness:* it is always ready, because only the request tells where it goes, and a slot that has no
/// room must not hold up the others. A request waits for its own slot in its own future, on a clone of the
/// slot's service that is called as soon as it is ready. Limits and load shedding belong into the slots; a
/// slot that fails to become ready fails the request.
///
/// *Copies:* with [`copying`](Self::copying), the mirror of the router gets its share of the requests that
/// can be copied; nobody waits for the answers, and they are counted and dropped.
///
/// *Cost:* one clone of the slot's service, two readings of the clock and a few atomic operations; while the
/// router has a mirror, a clone of its name as well.
///
/// ```
/// use std::sync::Arc;
/// use homeostasis::core::port::{MemoryRouter, TrafficRouter, Weights};
/// # use homeostasis::core::{ManualClock, Timestamp};
/// use homeostasis::remediate::traffic::WeightedService;
/// # #[derive(Clone)] struct Version(&'static str);
/// # impl tower_service::Service<u32> for Version {
/// #     type Response = String; type Error = std::io::Error;
/// #     type Future = std::future::Ready<Result<String, std::io::Error>>;
/// #     fn poll_ready(&mut self, _: &mut std::task::Context<'_>)
/// #         -> std::task::Poll<Result<(), std::io::Error>> { std::task::Poll::Ready(Ok(())) }
/// #     fn call(&mut self, n: u32) -> Self::Future { std::future::ready(Ok(format!("{n} by {}", self.0))) }
/// # }
/// # let clock = Arc::new(ManualClock::new(Timestamp::EPOCH));
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// use tower_service::Service;
///
/// let router = Arc::new(MemoryRouter::default());
/// let slots = [("stable", Version("v1")), ("canary", Version("v2"))];
/// let begin_with = Weights::new([("stable", 1)])?;
/// let mut service = WeightedService::new(&router, "orders", slots, &begin_with, clock, 7)?;
/// assert_eq!(service.call(1).await?, "1 by v1");
/// router.set_weights("orders", &Weights::new([("canary", 1)])?).await?;
/// assert_eq!(service.call(2).await?, "2 by v2");
/// assert_eq!(service.meter().take()["canary"].arm.requests, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct WeightedService<S: Service<R>, R> {
    follower: RouteFollower,
    slots: BTreeMap<String, S>,
    shared: Arc<Shared>,
    rules: Rules<S, R>,
}

/// What clones have in common.
#[derive(Debug)]
struct Shared {
    clock: Arc<dyn Clock>,
    meter: SlotMeter,
    chance: Rng,
    n_drawn: AtomicU64,
}

/// What the host says about its requests and answers.
struct Rules<S: Service<R>, R> {
    key: Option<Arc<KeyOf<R>>>,
    fails: Option<Arc<Fails<S::Response>>>,
    copies: Option<Arc<SendCopy<S, R>>>,
}

type KeyOf<R> = dyn Fn(&R) -> Option<Vec<u8>> + Send + Sync;
type Fails<T> = dyn Fn(&T) -> bool + Send + Sync;
/// Sends a copy of the request with what counts it, unless it cannot be copied.
type SendCopy<S, R> = dyn Fn(&R, &S, Open<<S as Service<R>>::Response>) + Send + Sync;

/// How much is spent on copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CopyLimits {
    /// How many may be on their way; default 64. One more is left out, and counted.
    pub at_most: usize,
    /// How long one may take before it is given up as failed; default 30 s.
    pub within: Duration,
}

impl Default for CopyLimits {
    fn default() -> Self {
        Self {
            at_most: 64,
            within: Duration::from_secs(30),
        }
    }
}

impl<S: Service<R> + Clone, R> WeightedService<S, R> {
    /// A service for `service` of `router`, of these slots, with weights that are in force unless others
    /// were set before. Chance comes from `seed`.
    ///
    /// # Errors
    /// What [`MemoryRouter::serve`] refuses.
    pub fn new<N: Into<String>>(
        router: &Arc<MemoryRouter>,
        service: &str,
        slots: impl IntoIterator<Item = (N, S)>,
        initial: &Weights,
        clock: Arc<dyn Clock>,
        seed: u64,
    ) -> Result<Self, TrafficError> {
        let slots = slots
            .into_iter()
            .map(|(slot, service)| (slot.into(), service));
        let slots: BTreeMap<String, S> = slots.collect();
        let shared = Shared {
            clock,
            meter: SlotMeter::new(slots.keys()),
            chance: Rng::from_seed(seed),
            n_drawn: AtomicU64::new(0),
        };
        Ok(Self {
            follower: router.serve(service, slots.keys(), initial)?,
            slots,
            shared: Arc::new(shared),
            rules: Rules {
                key: None,
                fails: None,
                copies: None,
            },
        })
    }

    /// The same where requests with a key (a user, a session) go to the slot of that key
    /// ([`Weights::of_key`]); those without one are drawn.
    #[must_use]
    pub fn sticky_by(
        mut self,
        key: impl Fn(&R) -> Option<Vec<u8>> + Send + Sync + 'static,
    ) -> Self {
        self.rules.key = Some(Arc::new(key));
        self
    }

    /// The same where such answers count as failures, besides errors and panics: a status of 500 or more.
    #[must_use]
    pub fn failing_when(
        mut self,
        fails: impl Fn(&S::Response) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.rules.fails = Some(Arc::new(fails));
        self
    }

    /// The same where the mirror of the router gets copies, made by `copy` and sent on `runtime`; `None`
    /// for requests that must not be sent twice, such as those that change something.
    #[must_use]
    pub fn copying(
        mut self,
        runtime: Handle,
        limits: CopyLimits,
        copy: impl Fn(&R) -> Option<R> + Send + Sync + 'static,
    ) -> Self
    where
        S: Send + 'static,
        S::Future: Send,
        S::Response: Send + 'static,
        S::Error: Send,
        R: Send + 'static,
    {
        let on_their_way = Arc::new(());
        self.rules.copies = Some(Arc::new(
            move |request: &R, service: &S, mut open: Open<_>| {
                open.end = End::LeftOut;
                // One of these is ours.
                if Arc::strong_count(&on_their_way) > limits.at_most {
                    return;
                }
                let Some(request) = copy(request) else {
                    open.slot = None;
                    return;
                };
                open.end = End::Cancelled;
                let (service, clock) = (service.clone(), Arc::clone(&open.shared.clock));
                let one_more = Arc::clone(&on_their_way);
                let answer = RoutedFuture::new(service, request, open);
                runtime.spawn(async move {
                    let mut answer = Box::pin(answer);
                    if timeout(&*clock, limits.within, answer.as_mut())
                        .await
                        .is_err()
                    {
                        answer.as_mut().fail();
                    }
                    drop(one_more);
                });
            },
        ));
        self
    }

    /// What counts its answers.
    pub fn meter(&self) -> SlotMeter {
        self.shared.meter.clone()
    }

    /// A slot for this request, which is on its way to it from now on.
    fn begin(&mut self, request: &R) -> Option<OnItsWay> {
        let key = self.rules.key.as_ref().and_then(|key| key(request));
        let point = self.shared.draw();
        self.follower.begin(|weights| match &key {
            Some(key) => weights.of_key(key),
            None => weights.at(point),
        })
    }

    fn open(&self, slot: Option<OnItsWay>) -> Open<S::Response> {
        Open {
            slot,
            fails: self.rules.fails.clone(),
            began: self.shared.clock.now(),
            shared: Arc::clone(&self.shared),
            end: End::Cancelled,
            in_inner: false,
        }
    }

    /// Sends a copy to the mirror if it is its turn, and not where the request goes anyway.
    fn copy(&mut self, request: &R, to: &str) {
        let Some(send) = self.rules.copies.clone() else {
            return;
        };
        let Some(mirror) = self.follower.route().and_then(|route| route.mirror.clone()) else {
            return;
        };
        let chance = (self.shared.draw() >> 11) as f64 / (1_u64 << 53) as f64;
        let service = self.slots.get(&mirror.slot);
        if let Some(service) = service.filter(|_| mirror.slot != to && chance < mirror.share.get())
        {
            let open = self.open(self.follower.begin_at(&mirror.slot));
            send(request, service, open);
        }
    }
}

impl Shared {
    /// A number drawn evenly from all of 64 bits, whoever draws the others.
    fn draw(&self) -> u64 {
        let n = self.n_drawn.fetch_add(1, Ordering::Relaxed);
        self.chance.fork(n).next_u64()
    }
}

impl<S: Service<R> + Clone, R> Service<R> for WeightedService<S, R> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = RoutedFuture<S, R>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: R) -> RoutedFuture<S, R> {
        let slot = self.begin(&request);
        let name = slot.as_ref().map_or("", OnItsWay::slot);
        self.copy(&request, name);
        // Weights lead to served slots only, so there is one of that name.
        let service = self.slots.get(name).or(self.slots.values().next());
        let service = service.expect("at least one slot is served").clone();
        RoutedFuture::new(service, request, self.open(slot))
    }
}

pin_project! {
    #[project = StateProj]
    enum State<S, R>
    where
        S: Service<R>,
    {
        Waiting { service: S, request: Option<R> },
        Called { #[pin] answer: S::Future },
    }
}

pin_project! {
    /// The answer of the slot that a request went to.
    #[must_use = "futures do nothing unless polled"]
    pub struct RoutedFuture<S, R>
    where
        S: Service<R>,
    {
        #[pin]
        state: State<S, R>,
        open: Option<Open<S::Response>>,
    }
}

impl<S: Service<R>, R> RoutedFuture<S, R> {
    fn new(service: S, request: R, open: Open<S::Response>) -> Self {
        let request = Some(request);
        Self {
            state: State::Waiting { service, request },
            open: Some(open),
        }
    }

    /// It took too long.
    fn fail(self: Pin<&mut Self>) {
        if let Some(mut open) = self.project().open.take() {
            open.end = End::Failed;
        }
    }
}

impl<S: Service<R>, R> Future for RoutedFuture<S, R> {
    type Output = Result<S::Response, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Some(open) = this.open {
            open.in_inner = true;
        }
        let polled = this.state.poll(cx);
        if let Some(open) = this.open {
            open.in_inner = false;
        }
        if let Poll::Ready(answer) = &polled
            && let Some(mut open) = this.open.take()
        {
            let fails = |answer| open.fails.as_ref().is_some_and(|fails| fails(answer));
            let is_good = answer.as_ref().is_ok_and(|answer| !fails(answer));
            open.end = if is_good { End::Answered } else { End::Failed };
        }
        polled
    }
}

impl<S: Service<R>, R> State<S, R> {
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<S::Response, S::Error>> {
        loop {
            match self.as_mut().project() {
                StateProj::Waiting { service, request } => {
                    ready!(service.poll_ready(cx))?;
                    // Only a future that is polled after its end has none.
                    let Some(request) = request.take() else {
                        return Poll::Pending;
                    };
                    let answer = service.call(request);
                    self.set(Self::Called { answer });
                }
                StateProj::Called { answer } => return answer.poll(cx),
            }
        }
    }
}

/// A request on its way; counted when this is dropped, however that comes.
struct Open<T> {
    /// `None` if nothing is counted.
    slot: Option<OnItsWay>,
    fails: Option<Arc<Fails<T>>>,
    began: Timestamp,
    shared: Arc<Shared>,
    end: End,
    /// Set while the slot works: dropped in that state, it has panicked.
    in_inner: bool,
}

impl<T> Drop for Open<T> {
    fn drop(&mut self) {
        if self.in_inner {
            self.end = End::Failed;
        }
        if let Some(slot) = &self.slot {
            let took = self.shared.clock.now().since(self.began);
            self.shared.meter.add(slot.slot(), self.end, took);
        }
    }
}

impl<S: Service<R> + Clone, R> Clone for WeightedService<S, R> {
    fn clone(&self) -> Self {
        Self {
            follower: self.follower.clone(),
            slots: self.slots.clone(),
            shared: Arc::clone(&self.shared),
            rules: Rules {
                key: self.rules.key.clone(),
                fails: self.rules.fails.clone(),
                copies: self.rules.copies.clone(),
            },
        }
    }
}

impl<S: Service<R>, R> fmt::Debug for WeightedService<S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WeightedService")
            .field("slots", &self.slots.keys())
            .field("follower", &self.follower)
            .finish_non_exhaustive()
    }
}

impl<S: Service<R>, R> fmt::Debug for RoutedFuture<S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slot = self.open.as_ref().and_then(|open| open.slot.as_ref());
        f.debug_struct("RoutedFuture")
            .field("slot", &slot.map(OnItsWay::slot))
            .finish_non_exhaustive()
    }
}
