use std::collections::HashMap;
use std::future::Future;
use std::task::Poll;

use homeostasis_core::ManualClock;
use proptest::prelude::*;

use super::super::testing::{advancing, begin};
use super::keyed::Keys;
use super::*;

fn limiter(limit: &RateLimit) -> (RateLimiter, ManualClock) {
    let clock = ManualClock::new(Timestamp::from_secs(50));
    let limiter = RateLimiter::new("l", limit, Arc::new(clock.clone())).unwrap();
    (limiter, clock)
}

proptest! {
    #[test]
    fn no_stretch_of_time_has_more_calls_than_the_limit_and_waiting_as_told_is_enough(
        calls in 1_u32..50,
        burst in 1_u32..8,
        steps in proptest::collection::vec((0_u64..120, 1_u32..4), 1..120),
    ) {
        let limit = RateLimit::per_second(calls).with_burst(burst);
        let (limiter, clock) = limiter(&limit);
        let mut passed: Vec<(Timestamp, u32)> = Vec::new();
        for (wait, n) in steps {
            clock.advance(Duration::from_millis(wait));
            match limiter.try_acquire(n) {
                Ok(()) => passed.push((clock.now(), n)),
                Err(refused) => match refused.retry_after() {
                    None => prop_assert!(n > burst),
                    Some(wait) => {
                        clock.advance(wait.saturating_sub(Duration::from_nanos(1)));
                        prop_assert!(limiter.try_acquire(n).is_err());
                        clock.advance(Duration::from_nanos(1));
                        prop_assert!(limiter.try_acquire(n).is_ok());
                        passed.push((clock.now(), n));
                    }
                },
            }
        }
        for (first, &(from, _)) in passed.iter().enumerate() {
            let mut sum = 0;
            for &(at, n) in &passed[first..] {
                sum += n;
                let most = f64::from(burst) + f64::from(calls) * at.since(from).as_secs_f64();
                prop_assert!(f64::from(sum) <= most + 1e-6, "{sum} within {:?}", at.since(from));
            }
        }
    }
}

#[tokio::test]
async fn who_waits_is_served_in_turn_and_a_dropped_future_counts_nothing() {
    let (limiter, clock) = limiter(&RateLimit::per_second(1));
    let long = Duration::from_secs(10);
    limiter.try_acquire(1).unwrap();
    let mut gone = Box::pin(limiter.acquire(1, long));
    let mut first = Box::pin(limiter.acquire(1, long));
    let mut second = Box::pin(limiter.acquire(1, long));
    for waits in [&mut gone, &mut first, &mut second] {
        begin(waits).await;
    }
    drop(gone);
    assert!(advancing(&clock, first).await.is_ok());
    assert_eq!(clock.now(), Timestamp::from_secs(51));
    assert!(advancing(&clock, second).await.is_ok());
    assert_eq!(clock.now(), Timestamp::from_secs(52));
}

#[tokio::test]
async fn what_cannot_begin_in_time_is_refused_at_once() {
    let (limiter, clock) = limiter(&RateLimit::per_second(1));
    limiter.try_acquire(1).unwrap();
    let refused = limiter
        .acquire(1, Duration::from_millis(999))
        .await
        .unwrap_err();
    assert_eq!(refused.retry_after(), Some(Duration::from_secs(1)));
    let never = limiter
        .acquire(2, Duration::from_secs(99))
        .await
        .unwrap_err();
    assert_eq!(never.retry_after(), None);
    assert_eq!(clock.now(), Timestamp::from_secs(50));
}

#[tokio::test]
async fn who_could_not_begin_behind_those_who_wait_is_refused_at_once_and_told_how_long() {
    let (limiter, clock) = limiter(&RateLimit::per_second(1));
    limiter.try_acquire(1).unwrap();
    let seconds = Duration::from_secs;
    let mut waiting: Vec<_> = (0..2)
        .map(|_| Box::pin(limiter.acquire(1, seconds(9))))
        .collect();
    for waits in &mut waiting {
        begin(waits).await;
    }
    for (n, limit, wait) in [(2, 99, None), (1, 2, Some(seconds(3)))] {
        let mut call = Box::pin(limiter.acquire(n, seconds(limit)));
        let answer = std::future::poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx))).await;
        let Poll::Ready(Err(refused)) = answer else {
            panic!("{n} calls were not refused at once");
        };
        assert_eq!(refused.retry_after(), wait);
    }
    let mut many: Vec<_> = (0..100)
        .map(|_| Box::pin(limiter.acquire(1, seconds(5))))
        .collect();
    let mut n_waiting = 0;
    for call in &mut many {
        let poll = std::future::poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx))).await;
        n_waiting += u32::from(poll.is_pending());
    }
    assert_eq!(n_waiting, 3, "the third to the fifth second");
    drop((waiting, many));
    assert!(
        advancing(&clock, limiter.acquire(1, seconds(1)))
            .await
            .is_ok()
    );
    assert_eq!(limiter.waiting.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn who_was_overtaken_is_told_how_long_it_would_have_waited() {
    let (limiter, clock) = limiter(&RateLimit::per_second(1));
    limiter.try_acquire(1).unwrap();
    let mut first = Box::pin(limiter.acquire(1, Duration::from_secs(9)));
    let mut second = Box::pin(limiter.acquire(1, Duration::from_secs(2)));
    begin(&mut first).await;
    begin(&mut second).await;
    clock.advance(Duration::from_secs(1));
    limiter.try_acquire(1).unwrap();
    clock.advance(Duration::from_millis(999));
    begin(&mut first).await;
    begin(&mut second).await;
    clock.advance(Duration::from_millis(1));
    let refused = second.await.unwrap_err();
    assert_eq!(refused.retry_after(), Some(Duration::from_secs(1)));
    drop(first);
}

#[test]
fn keys_are_forgotten_also_after_the_clock_went_back() {
    let gcra = RateLimit::per_second(1).checked(&mut Violations::new());
    let mut keys = Keys {
        full_at: HashMap::new(),
        shared: i64::MIN,
        next_look: i64::MIN,
    };
    let mut take = |key, at| {
        keys.take(&key, 1, Timestamp::from_secs(at), gcra, 2)
            .is_ok()
    };
    for key in 0..3 {
        assert!(take(key, 4_000), "the third of the shared bucket");
    }
    assert!(!take(3, 100), "all buckets are in use");
    assert!(take(4, 101) && take(5, 101), "full buckets make room");
    assert_eq!(keys.full_at.len(), 2);
}

#[test]
fn a_clock_that_goes_back_refuses_no_longer_than_a_bucket_takes_to_fill() {
    let gcra = RateLimit::per_second(1)
        .with_burst(3)
        .checked(&mut Violations::new());
    let before = gcra
        .take(i64::MIN, 3, Timestamp::from_secs(1_000_000))
        .unwrap();
    let refused = gcra.take(before, 1, Timestamp::from_secs(10));
    assert_eq!(refused, Err(Some(Duration::from_secs(1))));
}

#[test]
fn inventing_keys_gains_nothing_and_takes_nothing_from_others() {
    let clock = ManualClock::new(Timestamp::EPOCH);
    let limit = RateLimit::per_second(1);
    let limiter = KeyedRateLimiter::new("l", &limit, 3, Arc::new(clock.clone())).unwrap();
    for key in 0..3 {
        assert!(limiter.try_acquire(&key, 1).is_ok());
    }
    let passed = (3..1000)
        .filter(|key| limiter.try_acquire(key, 1).is_ok())
        .count();
    assert_eq!((passed, limiter.n_keys()), (1, 3));
    assert!(limiter.try_acquire(&0, 1).is_err(), "0 is not forgotten");
    clock.advance(Duration::from_secs(1));
    for key in 1000..1003 {
        assert!(
            limiter.try_acquire(&key, 1).is_ok(),
            "full buckets make room"
        );
    }
    assert_eq!(limiter.n_keys(), 3);
}

#[test]
fn limits_that_cannot_be_are_refused() {
    let clock = Arc::new(ManualClock::new(Timestamp::EPOCH));
    let limit = RateLimit {
        calls: 0,
        per: Duration::from_secs(1 << 40),
        burst: 0,
    };
    let error = KeyedRateLimiter::<u8>::new("", &limit, 0, clock).unwrap_err();
    assert_eq!(error.violations().len(), 5, "{error}");
    let limit = RateLimit {
        calls: 1,
        per: Duration::from_secs(30 * 86_400),
        burst: 1_000_000,
    };
    let clock = Arc::new(ManualClock::new(Timestamp::from_secs(1_800_000_000)));
    let error = RateLimiter::new("l", &limit, clock).unwrap_err();
    assert!(error.to_string().contains("at most 608"), "{error}");
    let limit: RateLimit = serde_json::from_str(r#"{"calls": 5, "per": "1m"}"#).unwrap();
    assert_eq!((limit.per.as_secs(), limit.burst), (60, 1));
}
