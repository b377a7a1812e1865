//! What a cache does between its steps, and to those who wait.

use std::collections::HashMap;
use std::sync::Weak;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::{Poll, Waker};

use homeostasis_core::{BoxFuture, ManualClock, Ratio};
use serde::Deserialize;

use super::super::testing::{Log, begin};
use super::law_tests::Shaky;
use super::*;

const SECOND: Duration = Duration::from_secs(1);
const AT: Timestamp = Timestamp::from_secs(1_000);

fn config() -> CacheConfig {
    CacheConfig {
        ttl: SECOND * 10,
        ttl_jitter: Ratio::saturating(0.0),
        memory_ttl: SECOND,
        stale_if_error: SECOND * 60,
        ..CacheConfig::default()
    }
}

fn cache<V: Serialize + DeserializeOwned + Send + Sync + 'static>(
    config: CacheConfig,
    clock: impl Clock + 'static,
    level: Option<&Arc<Shaky>>,
) -> (Cache<V>, Arc<Log>) {
    let log = Arc::new(Log::default());
    let mut cache = Cache::new("c", config, Arc::new(clock), Rng::from_seed(1)).unwrap();
    if let Some(level) = level {
        cache = cache.with_level(Arc::clone(level) as _).unwrap();
    }
    (cache.observed_by(Arc::clone(&log) as _), log)
}

fn key(name: &str) -> Invalidation {
    Invalidation::Key(name.to_owned())
}

fn gives<V>(value: V) -> std::future::Ready<Result<Option<V>, BoxError>> {
    std::future::ready(Ok(Some(value)))
}

fn forever() -> impl Future<Output = Result<Option<u32>, BoxError>> {
    std::future::pending()
}

fn poll<T>(future: &mut (impl Future<Output = T> + Unpin)) -> Poll<T> {
    std::pin::Pin::new(future).poll(&mut std::task::Context::from_waker(Waker::noop()))
}

fn value<V: Copy>(answer: &Cached<V>) -> V {
    **answer.value.as_ref().unwrap()
}

#[tokio::test]
async fn who_asks_for_what_is_not_there_costs_nobody_anything() {
    let level = Shaky::new("shared", true);
    let config = CacheConfig {
        negative_ttl: Duration::ZERO,
        ..config()
    };
    let (cache, _) = cache::<u32>(config, ManualClock::new(AT), Some(&level));
    let kept = CacheKey::new("kept");
    cache.get_or_load(&kept, || gives(1)).await.unwrap();
    let calls = level.n_calls();
    for i in 0..20 {
        let missing = CacheKey::new(format!("missing{i}"));
        let none = cache.get_or_load(&missing, || async { Ok(None) }).await;
        assert_eq!(none.unwrap().value, None);
    }
    assert_eq!(level.n_calls() - calls, 20, "one reading each");
    cache.refresh(&kept, || async { Ok(None) }).await.unwrap();
    assert!(cache.get(&kept).await.is_none(), "what was there is not");
}

#[tokio::test]
async fn many_invalidations_leave_alone_what_they_are_not_about_and_cost_little() {
    let (cache, _) = cache::<u32>(
        CacheConfig {
            max_entries: 100_000,
            ..config()
        },
        ManualClock::new(AT),
        None,
    );
    for i in 0..50_000 {
        let tagged = CacheKey::new(i.to_string()).tagged([format!("t{i}")]);
        cache.get_or_load(&tagged, || gives(i)).await.unwrap();
    }
    let clock = crate::action::laws::RealClock;
    let began = clock.now();
    for i in 10_000..30_000 {
        assert_eq!(cache.invalidate(&key(&i.to_string())).await.n_in_memory, 1);
        let tag = Invalidation::Tag(format!("t{}", i + 20_000));
        assert_eq!(cache.invalidate(&tag).await.n_in_memory, 1);
    }
    let took = clock.now().since(began);
    assert!(
        took < SECOND * 10,
        "{took:?} for a look at each entry each time"
    );
    assert_eq!(cache.size().0, 10_000);
    let kept = CacheKey::new("7").tagged(["t7"]);
    assert_eq!(cache.get(&kept).await.unwrap().source, CacheSource::Memory);
    assert_eq!(
        cache.invalidate(&Invalidation::All).await.n_in_memory,
        10_000
    );
    assert_eq!(cache.size(), (0, 0));
}

#[tokio::test]
async fn an_answer_that_cannot_be_stored_is_given_and_told_of() {
    type Odd = HashMap<(u8, u8), u8>;
    let (cache, log) = cache::<Odd>(config(), ManualClock::new(AT), None);
    let load = || gives(Odd::from([((1, 2), 3)]));
    let answer = cache.get_or_load(&CacheKey::new("k"), load).await.unwrap();
    assert_eq!(answer.value.unwrap()[&(1, 2)], 3);
    assert!(
        log.has("level: \"memory\", during: \"encoding\""),
        "{log:?}"
    );
}

/// A clock in whose n-th reading something happens.
#[derive(Debug, Clone)]
struct Interrupted {
    clock: ManualClock,
    left: Arc<AtomicU32>,
    cache: Arc<Mutex<Weak<Cache<u32>>>>,
}

impl Clock for Interrupted {
    fn now(&self) -> Timestamp {
        if self.left.load(Ordering::SeqCst) > 0 && self.left.fetch_sub(1, Ordering::SeqCst) == 1 {
            let cache = self.cache.lock().unwrap().upgrade().unwrap();
            let what = key("k");
            let told = poll(&mut Box::pin(cache.invalidate(&what)));
            drop(told);
        }
        self.clock.now()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        self.clock.sleep(duration)
    }
}

#[tokio::test]
async fn what_is_made_invalid_between_a_look_into_memory_and_a_load_is_not_given_to_later_ones() {
    let mut n_invalidated = 0;
    for nth in 1..12 {
        let clock = Interrupted {
            clock: ManualClock::new(AT),
            left: Arc::default(),
            cache: Arc::default(),
        };
        let level = Shaky::new("shared", true);
        let (cache, _) = cache::<u32>(config(), clock.clone(), Some(&level));
        let cache = Arc::new(cache);
        *clock.cache.lock().unwrap() = Arc::downgrade(&cache);
        let key = CacheKey::new("k");
        cache.get_or_load(&key, || gives(1)).await.unwrap();
        level.fails(true);
        level.slow();
        clock.clock.advance(SECOND * 2);
        clock.left.store(nth, Ordering::SeqCst);
        let mut first = Box::pin(cache.get_or_load(&key, || gives(2)));
        assert!(poll(&mut first).is_pending());
        if clock.left.load(Ordering::SeqCst) > 0 {
            break;
        }
        n_invalidated += 1;
        let mut led = false;
        let mut later = Box::pin(cache.get_or_load(&key, || gives(2)));
        for _ in 0..20 {
            if let Poll::Ready(answer) = poll(&mut later) {
                assert_eq!(value(&answer.unwrap()), 2, "invalid at reading {nth}");
                break;
            }
            led = led || poll(&mut first).is_ready();
        }
    }
    assert!(n_invalidated > 3, "{n_invalidated}");
}

#[tokio::test]
async fn what_another_process_made_invalid_is_neither_served_meanwhile_nor_later() {
    let level = Shaky::new("shared", true);
    let clock = ManualClock::new(AT);
    let (ours, _) = cache::<u32>(config(), clock.clone(), Some(&level));
    let (theirs, _) = cache::<u32>(config(), clock.clone(), Some(&level));
    let k = CacheKey::new("k");
    ours.get_or_load(&k, || gives(1)).await.unwrap();
    theirs.invalidate(&key("k")).await;
    clock.advance(config().memory_ttl);
    let mut leads = Box::pin(ours.get_or_load(&k, forever));
    begin(&mut leads).await;
    let mut waits = Box::pin(ours.get_or_load(&k, forever));
    begin(&mut waits).await;
    drop((leads, waits));
    level.fails(true);
    let down = ours.get_or_load(&k, || async { Err("down".into()) }).await;
    assert!(down.is_err(), "{down:?}");
}

#[tokio::test]
async fn what_may_be_stale_is_served_meanwhile_for_as_long_as_that_is_allowed() {
    let level = Shaky::new("shared", true);
    let clock = ManualClock::new(AT);
    let config = CacheConfig {
        stale_while_revalidate: SECOND * 2,
        ..config()
    };
    let (cache, _) = cache::<u32>(config, clock.clone(), Some(&level));
    let (theirs, _) = self::cache::<u32>(self::config(), clock.clone(), Some(&level));
    let k = CacheKey::new("k");
    cache.get_or_load(&k, || gives(1)).await.unwrap();
    theirs.invalidate(&key("k")).await;
    level.slow();
    clock.advance(SECOND * 2);
    let mut leads = Box::pin(cache.get_or_load(&k, forever));
    begin(&mut leads).await;
    let meanwhile = cache.get_or_load(&k, forever).await.unwrap();
    assert_eq!(value(&meanwhile), 1);
    clock.advance(SECOND);
    begin(&mut Box::pin(cache.get_or_load(&k, forever))).await;
}

#[tokio::test]
async fn what_cannot_be_read_is_told_without_a_word_of_it() {
    let level = Shaky::new("shared", true);
    let (texts, _) = cache::<String>(config(), ManualClock::new(AT), Some(&level));
    let (numbers, log) = cache::<u32>(config(), ManualClock::new(AT), Some(&level));
    let k = CacheKey::new("k");
    let text = || gives("s3cret".to_owned());
    texts.get_or_load(&k, text).await.unwrap();
    numbers.get_or_load(&k, || gives(1)).await.unwrap();
    assert!(
        log.has("during: \"decoding\", error: \"Data error at line 1, column 8\""),
        "{log:?}"
    );
    assert!(!log.has("s3cret"), "{log:?}");
}

/// Looks, when it is dropped, whether memory is locked.
#[derive(Serialize, Deserialize)]
struct Asks {
    #[serde(skip)]
    cache: Weak<Cache<Asks>>,
    #[serde(skip)]
    was_locked: Arc<AtomicBool>,
}

impl Drop for Asks {
    fn drop(&mut self) {
        if let Some(cache) = self.cache.upgrade() {
            let locked = cache.memory.try_lock().is_err();
            self.was_locked.fetch_or(locked, Ordering::SeqCst);
        }
    }
}

#[tokio::test]
async fn answers_are_dropped_outside_the_lock() {
    let small = CacheConfig {
        max_entries: 2,
        ..config()
    };
    let (cache, _) = cache::<Asks>(small, ManualClock::new(AT), None);
    let cache = Arc::new(cache);
    let was_locked = Arc::new(AtomicBool::new(false));
    let make = || {
        gives(Asks {
            cache: Arc::downgrade(&cache),
            was_locked: Arc::clone(&was_locked),
        })
    };
    let fill = async |from: usize| {
        for i in from..from + 4 {
            let k = CacheKey::new(i.to_string()).tagged(["t"]);
            cache.get_or_load(&k, make).await.unwrap();
        }
    };
    for (n, what) in [
        key("3"),
        Invalidation::Tag("t".to_owned()),
        Invalidation::All,
        Invalidation::OlderThan(1),
    ]
    .iter()
    .enumerate()
    {
        fill(n * 100).await;
        cache.invalidate(what).await;
        assert!(!was_locked.load(Ordering::SeqCst), "{what:?}");
    }
}

#[tokio::test]
async fn to_make_anew_does_not_wait_for_who_may_answer_with_what_is_remembered() {
    let (cache, _) = cache::<u32>(config(), ManualClock::new(AT), None);
    let k = CacheKey::new("k");
    let mut asks = Box::pin(cache.get_or_load(&k, forever));
    begin(&mut asks).await;
    let Poll::Ready(Ok(anew)) = poll(&mut Box::pin(cache.refresh(&k, || gives(2)))) else {
        panic!("it waits");
    };
    assert_eq!(value(&anew), 2);
    let mut first = Box::pin(cache.refresh(&k, forever));
    begin(&mut first).await;
    begin(&mut Box::pin(cache.refresh(&k, || gives(3)))).await;
}

#[tokio::test]
async fn who_waits_does_not_wait_for_the_levels_to_store_it() {
    let level = Shaky::new("shared", true);
    level.slow();
    let (cache, _) = cache::<u32>(config(), ManualClock::new(AT), Some(&level));
    let k = CacheKey::new("k");
    let loaded = AtomicBool::new(false);
    let load = || async {
        loaded.store(true, Ordering::SeqCst);
        Ok(Some(1))
    };
    let mut leads = Box::pin(cache.get_or_load(&k, load));
    begin(&mut leads).await;
    let mut waits = Box::pin(cache.get_or_load(&k, forever));
    begin(&mut waits).await;
    while !loaded.load(Ordering::SeqCst) {
        begin(&mut leads).await;
    }
    let Poll::Ready(Ok(answer)) = poll(&mut waits) else {
        panic!("it waits");
    };
    assert_eq!(value(&answer), 1);
}

#[tokio::test]
async fn also_of_a_version_that_counts_no_more_one_loads_for_all() {
    let (cache, _) = cache::<u32>(config(), ManualClock::new(AT), None);
    let old = CacheKey::new("k").at_least(3);
    cache.invalidate(&Invalidation::OlderThan(5)).await;
    let mut leads = Box::pin(cache.get_or_load(&old, forever));
    begin(&mut leads).await;
    begin(&mut Box::pin(cache.get_or_load(&old, || gives(1)))).await;
    cache.invalidate(&Invalidation::OlderThan(6)).await;
    let answer = poll(&mut Box::pin(cache.get_or_load(&old, || gives(2))));
    assert!(answer.is_ready(), "that load began before it was told");
}

#[tokio::test]
async fn what_a_clock_far_ahead_stored_is_not_fresh_for_as_long() {
    let level = Shaky::new("shared", true);
    let k = CacheKey::new("k");
    let store = async |ahead: Duration| {
        let clock = ManualClock::new(AT + ahead);
        let (theirs, _) = cache::<u32>(config(), clock, Some(&level));
        theirs.refresh(&k, || gives(1)).await.unwrap();
    };
    store(SECOND * 3600).await;
    let clock = ManualClock::new(AT);
    let (ours, _) = cache::<u32>(config(), clock.clone(), Some(&level));
    let answer = ours.get_or_load(&k, || gives(2)).await.unwrap();
    assert_eq!(answer.source, CacheSource::Loaded);
    store(SECOND * 5).await;
    clock.advance(SECOND);
    let answer = ours.get_or_load(&k, || gives(3)).await.unwrap();
    assert_eq!(answer.source, CacheSource::Level(Arc::from("shared")));
    level.fails(true);
    clock.advance(SECOND * 10);
    let answer = ours.get_or_load(&k, || gives(4)).await.unwrap();
    assert_eq!(answer.source, CacheSource::Loaded, "our time is over");
}
