use std::future::{pending, ready};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::task::Waker;

use homeostasis_core::port::{Mirror, TrafficRouter};
use homeostasis_core::signal::{Signal, SignalSink, VecSink};
use homeostasis_core::{BoxFuture, ManualClock, Ratio, Target};

use super::*;
use crate::traffic::SlotInterval;

type Answer = BoxFuture<'static, Result<u32, &'static str>>;

/// A slot made of a closure; it may have no room.
#[derive(Clone)]
struct Slot {
    answer: Arc<dyn Fn(u32) -> Answer + Send + Sync>,
    room: Arc<Mutex<Room>>,
    was_ready: bool,
}

#[derive(Default)]
struct Room {
    is_full: bool,
    waiting: Vec<Waker>,
}

impl Slot {
    fn new(answer: impl Fn(u32) -> Answer + Send + Sync + 'static) -> Self {
        Self {
            answer: Arc::new(answer),
            room: Arc::default(),
            was_ready: false,
        }
    }

    fn says(number: u32) -> Self {
        Self::new(move |_| Box::pin(ready(Ok(number))))
    }

    fn set_full(&self, is_full: bool) {
        let mut room = self.room.lock().unwrap();
        room.is_full = is_full;
        room.waiting.drain(..).for_each(Waker::wake);
    }
}

impl Service<u32> for Slot {
    type Response = u32;
    type Error = &'static str;
    type Future = Answer;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), &'static str>> {
        let mut room = self.room.lock().unwrap();
        if room.is_full {
            room.waiting.push(cx.waker().clone());
            return Poll::Pending;
        }
        self.was_ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: u32) -> Answer {
        // The contract of tower: each call was preceded by readiness of this very clone.
        assert!(
            std::mem::take(&mut self.was_ready),
            "called before it was ready"
        );
        (self.answer)(request)
    }
}

fn weights(stable: u32, canary: u32) -> Weights {
    Weights::new([("stable", stable), ("canary", canary)]).unwrap()
}

type Routed = WeightedService<Slot, u32>;

fn service(stable: &Slot, canary: &Slot) -> (ManualClock, Arc<MemoryRouter>, Routed) {
    let clock = ManualClock::new(Timestamp::from_secs(100));
    let router = Arc::new(MemoryRouter::default());
    let slots = [("stable", stable.clone()), ("canary", canary.clone())];
    let shared = Arc::new(clock.clone());
    let service = WeightedService::new(&router, "orders", slots, &weights(1, 0), shared, 7);
    (clock, router, service.unwrap())
}

/// Requests, failed, cancelled, copies left out.
fn counts(interval: &SlotInterval) -> [u64; 4] {
    let arm = &interval.arm;
    [
        arm.requests,
        arm.failed,
        interval.cancelled,
        interval.copies_left_out,
    ]
}

#[tokio::test]
async fn shares_are_those_of_the_router_and_each_change_is_followed_at_once() {
    let (_, router, mut routed) = service(&Slot::says(0), &Slot::says(1));
    let mut early_clone = routed.clone();
    for canary in [0, 1, 10, 50, 100, 10, 0] {
        router
            .set_weights("orders", &weights(100 - canary, canary))
            .await
            .unwrap();
        let mut n_canary = 0;
        for n in 0..5000 {
            let clone = if n % 2 == 0 {
                &mut routed
            } else {
                &mut early_clone
            };
            n_canary += clone.call(n).await.unwrap();
        }
        // Four standard deviations of the widest binomial are 141.
        assert!(
            n_canary.abs_diff(50 * canary) < 141,
            "{n_canary} for {canary} %"
        );
        if canary == 0 || canary == 100 {
            assert_eq!(n_canary, 50 * canary);
        }
    }
    let taken = routed.meter().take();
    let total = taken["stable"].arm.requests + taken["canary"].arm.requests;
    assert_eq!(total, 35_000);
    assert_eq!(
        early_clone.meter().take()["stable"],
        SlotInterval::default()
    );
}

#[tokio::test]
async fn a_key_stays_with_its_slot_and_what_has_none_is_drawn() {
    let (_, router, routed) = service(&Slot::says(0), &Slot::says(1));
    let mut routed =
        routed.sticky_by(|user: &u32| (*user < 1000).then(|| user.to_be_bytes().to_vec()));
    router
        .set_weights("orders", &weights(50, 50))
        .await
        .unwrap();
    let mut of_users = Vec::new();
    for user in 0..1000 {
        let first = routed.call(user).await.unwrap();
        assert_eq!(routed.clone().call(user).await.unwrap(), first);
        of_users.push(first);
    }
    let n_canary: u32 = of_users.iter().sum();
    assert!(n_canary.abs_diff(500) < 64, "{n_canary}");
    let mut drawn = 0;
    for _ in 0..1000 {
        drawn += routed.call(5000).await.unwrap();
    }
    assert!(drawn.abs_diff(500) < 64, "{drawn}");
    router
        .set_weights("orders", &weights(25, 75))
        .await
        .unwrap();
    for (user, first) in (0..).zip(of_users) {
        let now = routed.call(user).await.unwrap();
        assert!(now >= first, "{user} left the slot that grew");
    }
}

#[tokio::test]
async fn a_slot_without_room_holds_up_its_own_requests_only() {
    let (stable, canary) = (Slot::says(0), Slot::says(1));
    let (_, router, mut routed) = service(&stable, &canary);
    canary.set_full(true);
    router.set_weights("orders", &weights(0, 1)).await.unwrap();
    let mut waits = by_hand(routed.call(1));
    assert!(waits.poll().is_pending());
    router.set_weights("orders", &weights(1, 0)).await.unwrap();
    assert!(matches!(
        routed.poll_ready(&mut Context::from_waker(Waker::noop())),
        Poll::Ready(Ok(()))
    ));
    assert_eq!(routed.call(2).await, Ok(0));
    // It was drained with one request, which is finished there and told until then.
    assert_eq!(router.in_flight("orders", "canary").await.unwrap(), Some(1));
    assert!(waits.poll().is_pending());
    canary.set_full(false);
    assert_eq!(waits.poll(), Poll::Ready(Ok(1)));
    assert_eq!(router.in_flight("orders", "canary").await.unwrap(), Some(0));
}

/// A future that is polled by hand.
struct ByHand<F>(Pin<Box<F>>);

fn by_hand<F: Future>(future: F) -> ByHand<F> {
    ByHand(Box::pin(future))
}

impl<F: Future> ByHand<F> {
    fn poll(&mut self) -> Poll<F::Output> {
        self.0
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
    }
}

#[tokio::test]
async fn failures_panics_and_what_was_given_up_are_told_apart_and_timed() {
    let stable = Slot::new(|request| -> Answer {
        match request {
            0 => Box::pin(ready(Err("refused"))),
            1 => Box::pin(pending()),
            2 => Box::pin(async { panic!("a bug") }),
            status => Box::pin(ready(Ok(status))),
        }
    });
    let (clock, _, routed) = service(&stable, &Slot::says(1));
    let mut routed = routed.failing_when(|status| *status >= 500);
    assert_eq!(routed.call(0).await, Err("refused"));
    assert_eq!(routed.call(200).await, Ok(200));
    assert_eq!(routed.call(503).await, Ok(503));
    let mut slow = by_hand(routed.call(1));
    assert!(slow.poll().is_pending());
    clock.advance(Duration::from_millis(80));
    drop(slow);
    let mut panics = by_hand(routed.call(2));
    catch_unwind(AssertUnwindSafe(|| panics.poll())).unwrap_err();
    drop(panics);
    let late = by_hand(routed.call(200));
    clock.advance(Duration::from_millis(40));
    let mut late = late;
    assert!(late.poll().is_ready());
    let sink = VecSink::default();
    let target = Target::service("orders").unwrap();
    let taken = routed
        .meter()
        .record(&target, Timestamp::from_secs(110), &sink);
    assert_eq!(counts(&taken["stable"]), [5, 3, 1, 0]);
    assert_eq!(counts(&taken["canary"]), [0; 4]);
    let slowest = taken["stable"].arm.latencies.quantile(1.0).unwrap();
    assert!(
        slowest.abs_diff(Duration::from_millis(40)) < Duration::from_millis(3),
        "{slowest:?}"
    );
    let signals = sink.take();
    let series = signals.iter().filter_map(|signal| match signal {
        Signal::Sample(sample) => {
            let key = sink.catalog().key(sample.series)?;
            Some((key.to_string(), sample.value))
        }
        _ => None,
    });
    let series: BTreeMap<_, _> = series.collect();
    let of = |metric: &str| series.get(&format!("{metric}{{service=\"orders\",slot=\"stable\"}}"));
    assert_eq!(of("slot_requests"), Some(&5.0), "{series:?}");
    assert_eq!(of("slot_error_ratio"), Some(&0.6));
    assert_eq!(series.len(), 9, "{series:?}");
}

async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_mirror_gets_its_share_of_what_can_be_copied_and_nobody_waits_for_it() {
    let got = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&got);
    let canary = Slot::new(move |request| {
        seen.lock().unwrap().push(request);
        Box::pin(ready(Err("a bad version")))
    });
    let (_, router, routed) = service(&Slot::says(0), &canary);
    let limits = CopyLimits {
        at_most: usize::MAX,
        ..CopyLimits::default()
    };
    let is_read = |request: &u32| request.is_multiple_of(2).then_some(*request);
    let mut routed = routed.copying(Handle::current(), limits, is_read);
    for n in 0..100 {
        assert_eq!(routed.call(n).await, Ok(0));
    }
    settle().await;
    assert_eq!(
        got.lock().unwrap().len(),
        0,
        "without a mirror nothing is copied"
    );
    let mirror = |share| Mirror {
        slot: "canary".to_owned(),
        share: Ratio::saturating(share),
    };
    router
        .set_mirror("orders", Some(&mirror(0.25)))
        .await
        .unwrap();
    for n in 0..4000 {
        assert_eq!(routed.call(n).await, Ok(0));
    }
    settle().await;
    let copied = std::mem::take(&mut *got.lock().unwrap());
    assert!(copied.iter().all(|request| request % 2 == 0));
    // A quarter of the half: four standard deviations of 2000 at 1/4 are 78.
    assert!(copied.len().abs_diff(500) < 78, "{}", copied.len());
    let taken = routed.meter().take();
    let n_copied = copied.len() as u64;
    assert_eq!(counts(&taken["canary"]), [n_copied, n_copied, 0, 0]);
    assert_eq!(counts(&taken["stable"]), [4100, 0, 0, 0]);
    // What goes there anyway is not sent twice.
    router
        .set_mirror("orders", Some(&mirror(1.0)))
        .await
        .unwrap();
    router.set_weights("orders", &weights(0, 1)).await.unwrap();
    assert_eq!(routed.call(2).await, Err("a bad version"));
    settle().await;
    assert_eq!(*got.lock().unwrap(), [2]);
}

#[tokio::test]
async fn copies_that_hang_are_bounded_in_number_and_time() {
    let canary = Slot::new(|_| Box::pin(pending()));
    let (clock, router, routed) = service(&Slot::says(0), &canary);
    let limits = CopyLimits {
        at_most: 3,
        within: Duration::from_secs(5),
    };
    let mut routed = routed.copying(Handle::current(), limits, |request| Some(*request));
    let mirror = Mirror {
        slot: "canary".to_owned(),
        share: Ratio::ONE,
    };
    router.set_mirror("orders", Some(&mirror)).await.unwrap();
    for n in 0..5 {
        assert_eq!(routed.call(n).await, Ok(0));
    }
    settle().await;
    assert_eq!(router.in_flight("orders", "canary").await.unwrap(), Some(3));
    assert_eq!(counts(&routed.meter().take()["canary"]), [0, 0, 0, 2]);
    clock.advance(Duration::from_secs(6));
    settle().await;
    assert_eq!(router.in_flight("orders", "canary").await.unwrap(), Some(0));
    assert_eq!(counts(&routed.meter().take()["canary"]), [3, 3, 0, 0]);
}

#[test]
fn what_leads_nowhere_is_refused() {
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(Timestamp::EPOCH));
    let router = Arc::new(MemoryRouter::default());
    let new = |slots: Vec<(&str, Slot)>, weights: &Weights| {
        WeightedService::<_, u32>::new(&router, "orders", slots, weights, Arc::clone(&clock), 1)
    };
    let error = new(vec![("stable", Slot::says(0))], &weights(9, 1)).unwrap_err();
    assert!(
        error
            .to_string()
            .contains(r#""canary", expected one of ["stable"]"#),
        "{error}"
    );
    assert!(new(Vec::new(), &weights(1, 0)).is_err());
    let service = new(vec![("stable", Slot::says(0))], &weights(1, 0)).unwrap();
    let error = new(vec![("stable", Slot::says(0))], &weights(1, 0)).unwrap_err();
    assert!(error.to_string().contains("nobody follows"), "{error}");
    drop(service);
    new(vec![("stable", Slot::says(0))], &weights(1, 0)).unwrap();
}
