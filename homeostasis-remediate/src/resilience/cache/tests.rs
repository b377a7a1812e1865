//! What a cache does by itself; the laws over all levels are in `law_tests`.

use std::sync::atomic::{AtomicU32, Ordering};

use homeostasis_core::{ManualClock, Ratio};

use super::super::testing::{Log, begin};
use super::law_tests::Shaky;
use super::*;

const SECOND: Duration = Duration::from_secs(1);

struct World {
    cache: Cache<u32>,
    clock: ManualClock,
    loads: AtomicU32,
    log: Arc<Log>,
}

/// Ten seconds fresh, without jitter.
fn config() -> CacheConfig {
    CacheConfig {
        ttl: SECOND * 10,
        ttl_jitter: Ratio::saturating(0.0),
        negative_ttl: SECOND * 2,
        ..CacheConfig::default()
    }
}

fn world(config: CacheConfig, levels: &[&Arc<Shaky>]) -> World {
    let clock = ManualClock::new(Timestamp::from_secs(100));
    let log = Arc::new(Log::default());
    let cache = Cache::new("c", config, Arc::new(clock.clone()), Rng::from_seed(1)).unwrap();
    let cache = levels.iter().fold(cache, |cache, level| {
        cache.with_level(Arc::clone(level) as _).unwrap()
    });
    World {
        cache: cache.observed_by(Arc::clone(&log) as _),
        clock,
        loads: AtomicU32::new(0),
        log,
    }
}

impl World {
    /// Loads the number of the load, and counts it.
    async fn ask(&self, key: &CacheKey) -> Cached<u32> {
        let load = || async { Ok(Some(self.loads.fetch_add(1, Ordering::SeqCst) + 1)) };
        self.cache.get_or_load(key, load).await.unwrap()
    }

    async fn fail(&self, key: &CacheKey) -> Result<Cached<u32>, LoadFailed> {
        self.cache
            .get_or_load(key, || async { Err("down".into()) })
            .await
    }
}

fn value(answer: &Cached<u32>) -> u32 {
    *answer.value.as_deref().unwrap()
}

#[tokio::test]
async fn an_answer_is_loaded_once_in_its_time() {
    let world = world(config(), &[]);
    let key = CacheKey::new("k");
    assert_eq!(world.ask(&key).await.source, CacheSource::Loaded);
    world.clock.advance(SECOND * 9);
    let again = world.ask(&key).await;
    assert_eq!(
        (value(&again), again.age, again.stale),
        (1, SECOND * 9, false)
    );
    world.clock.advance(SECOND);
    assert_eq!(value(&world.ask(&key).await), 2);
    let tagged = key.clone().tagged(["t"]);
    assert_eq!(
        value(&world.ask(&tagged).await),
        3,
        "other tags, another answer"
    );
    let newer = tagged.at_least(2);
    assert_eq!(
        value(&world.ask(&newer).await),
        4,
        "an older version does not do"
    );
    assert_eq!(value(&world.ask(&newer).await), 4);
}

#[tokio::test]
async fn that_there_is_no_answer_is_remembered_for_a_while() {
    let world = world(config(), &[]);
    let key = CacheKey::new("k");
    let none = world
        .cache
        .get_or_load(&key, || async { Ok(None) })
        .await
        .unwrap();
    assert_eq!(none.value, None);
    let held = world
        .cache
        .get_or_load(&key, || async { panic!("loaded") })
        .await;
    assert_eq!(held.unwrap().value, None);
    world.clock.advance(SECOND * 2);
    assert_eq!(value(&world.ask(&key).await), 1);
    // What was there before is not the answer any more, though nothing is remembered.
    let world = self::world(
        CacheConfig {
            negative_ttl: Duration::ZERO,
            ..config()
        },
        &[],
    );
    world.ask(&key).await;
    let none = world
        .cache
        .refresh(&key, || async { Ok(None) })
        .await
        .unwrap();
    assert_eq!(none.value, None);
    assert!(world.cache.get(&key).await.is_none());
}

#[tokio::test]
async fn many_who_ask_at_once_cause_one_load_and_one_who_leaves_is_replaced() {
    let world = world(config(), &[]);
    let key = CacheKey::new("k");
    let forever = || std::future::pending::<Result<Option<u32>, BoxError>>();
    let mut leader = Box::pin(world.cache.get_or_load(&key, forever));
    begin(&mut leader).await;
    let mut others: Vec<_> = (0..50).map(|_| Box::pin(world.ask(&key))).collect();
    for other in &mut others {
        begin(other).await;
    }
    assert_eq!(world.loads.load(Ordering::SeqCst), 0);
    drop(leader);
    for other in others {
        assert_eq!(value(&other.await), 1);
    }
    assert_eq!(world.cache.flights.len(), 0);
}

#[tokio::test]
async fn a_failed_load_is_told_to_all_who_wait_and_not_repeated_by_each() {
    let world = world(config(), &[]);
    let key = CacheKey::new("k");
    let (sender, receiver) = tokio::sync::oneshot::channel::<()>();
    let load = || async {
        let _ = receiver.await;
        Err("down".into())
    };
    let mut leader = Box::pin(world.cache.get_or_load(&key, load));
    begin(&mut leader).await;
    let mut other = Box::pin(world.ask(&key));
    begin(&mut other).await;
    drop(other);
    let mut waits = Box::pin(world.fail(&key));
    begin(&mut waits).await;
    sender.send(()).unwrap();
    let error = leader.await.unwrap_err();
    assert_eq!(error.to_string(), "loading `k` failed");
    assert!(Arc::ptr_eq(&error.source, &waits.await.unwrap_err().source));
}

#[tokio::test]
async fn a_stale_answer_is_served_while_one_loads_and_if_nobody_can() {
    let stale = CacheConfig {
        stale_while_revalidate: SECOND * 5,
        stale_if_error: SECOND * 20,
        ..config()
    };
    let world = world(stale, &[]);
    let key = CacheKey::new("k");
    world.ask(&key).await;
    world.clock.advance(SECOND * 12);
    let forever = || std::future::pending::<Result<Option<u32>, BoxError>>();
    let mut leader = Box::pin(world.cache.get_or_load(&key, forever));
    begin(&mut leader).await;
    let meanwhile = world.ask(&key).await;
    assert_eq!((value(&meanwhile), meanwhile.stale), (1, true));
    world.clock.advance(SECOND * 4);
    let mut waits = Box::pin(world.fail(&key));
    begin(&mut waits).await;
    drop(leader);
    let rescued = waits.await.unwrap();
    assert_eq!((value(&rescued), rescued.stale), (1, true));
    assert!(world.log.has("CacheHit { level: \"memory\", stale: true }"));
    world.clock.advance(SECOND * 14);
    assert!(world.fail(&key).await.is_err(), "too old to be of use");
}

#[tokio::test]
async fn what_was_made_invalid_is_not_served_if_the_load_fails() {
    let world = world(
        CacheConfig {
            stale_if_error: SECOND * 60,
            ..config()
        },
        &[],
    );
    let key = CacheKey::new("k");
    world.ask(&key).await;
    world.clock.advance(SECOND * 20);
    assert!(world.fail(&key).await.is_ok());
    let gone = world
        .cache
        .invalidate(&Invalidation::Key("k".to_owned()))
        .await;
    assert_eq!((gone.n_in_memory, gone.not_reached.len()), (1, 0));
    assert!(world.fail(&key).await.is_err());
}

#[tokio::test]
async fn times_are_shortened_at_random() {
    let jitter = CacheConfig {
        ttl_jitter: Ratio::saturating(0.5),
        ..config()
    };
    let world = world(jitter, &[]);
    let keys: Vec<_> = (0..200).map(|i| CacheKey::new(i.to_string())).collect();
    for key in &keys {
        world.ask(key).await;
    }
    let mut left = Vec::new();
    for _ in 0..10 {
        world.clock.advance(SECOND);
        let now = world.clock.now();
        let fresh = |key: &CacheKey| {
            let held = world.cache.held(key);
            held.is_some_and(|held| now < held.lifetime.fresh_until)
        };
        let n = keys.iter().filter(|key| fresh(key)).count();
        left.push(n);
    }
    assert_eq!((left[4], left[9]), (200, 0), "{left:?}");
    assert!((50..150).contains(&left[6]), "{left:?}");
}

#[tokio::test]
async fn a_shared_level_is_asked_again_and_has_the_last_word() {
    let (shared, own) = (Shaky::new("shared", true), Shaky::new("own", false));
    let world = world(config(), &[&own, &shared]);
    let key = CacheKey::new("k").tagged(["t"]);
    world.ask(&key).await;
    let other = self::world(config(), &[&shared]);
    assert_eq!(
        other.ask(&key).await.source,
        CacheSource::Level(Arc::from("shared"))
    );
    // Another process makes it invalid: ours learns of it when it asks again, and not from its disk.
    other
        .cache
        .invalidate(&Invalidation::Tag("t".to_owned()))
        .await;
    assert_eq!(value(&world.ask(&key).await), 1);
    world.clock.advance(config().memory_ttl);
    assert_eq!(value(&world.ask(&key).await), 2);
}

#[tokio::test]
async fn levels_that_fail_are_done_without_and_that_is_said() {
    let (shared, own) = (Shaky::new("shared", true), Shaky::new("own", false));
    let world = world(config(), &[&shared, &own]);
    let key = CacheKey::new("k");
    world.ask(&key).await;
    shared.fails(true);
    world.clock.advance(config().memory_ttl);
    let answer = world.ask(&key).await;
    assert_eq!((value(&answer), answer.degraded), (1, true));
    assert_eq!(world.cache.failing_levels(), ["shared"]);
    assert!(
        world
            .log
            .has("CacheLevelFailed { level: \"shared\", during: \"reading\"")
    );
    // Another process of the same host: its disk answers while the shared level is out of reach.
    let next = self::world(config(), &[&shared, &own]);
    let answer = next.ask(&key).await;
    assert_eq!(answer.source, CacheSource::Level(Arc::from("own")));
    assert!(answer.degraded);
    for i in 0..3 {
        world.ask(&CacheKey::new(format!("other{i}"))).await;
    }
    let calls = shared.n_calls();
    world.ask(&CacheKey::new("another")).await;
    assert_eq!(shared.n_calls(), calls, "it is left alone");
    shared.fails(false);
    world.clock.advance(config().level_cool_down);
    assert!(!world.ask(&CacheKey::new("third")).await.degraded);
}

#[tokio::test]
async fn a_level_that_could_not_be_told_is_not_used_before_it_was() {
    let shared = Shaky::new("shared", true);
    let world = world(
        CacheConfig {
            memory_ttl: SECOND,
            ..config()
        },
        &[&shared],
    );
    let key = CacheKey::new("k");
    world.ask(&key).await;
    shared.fails(true);
    let done = world
        .cache
        .invalidate(&Invalidation::Key("k".to_owned()))
        .await;
    assert_eq!(done.not_reached, ["shared"]);
    assert_eq!(value(&world.ask(&key).await), 2);
    shared.fails(false);
    // More than the level is ever told one by one.
    for i in 0..1500 {
        world.cache.shelves[0].announce(&Invalidation::Key(i.to_string()));
    }
    world.clock.advance(config().level_cool_down * 2);
    assert_eq!(
        value(&world.ask(&key).await),
        3,
        "the level has only the first"
    );
    assert!(world.cache.failing_levels().is_empty());
}

#[tokio::test]
async fn the_action_clear_cache_empties_every_level() {
    use crate::action::{Action, ActionCall, ClearCache, laws};
    let shared = Shaky::new("shared", true);
    let world = world(config(), &[&shared]);
    let key = CacheKey::new("k");
    world.ask(&key).await;
    let catalog = homeostasis_core::Target::service("catalog").unwrap();
    let cache = Arc::new(world.cache);
    let action = ClearCache::default().kit_cache(catalog, &cache).unwrap();
    let args = serde_json::json!({"cache": "c"});
    laws::repeat_and_undo(&action, &args, || cache.size()).await;
    assert!(cache.get(&key).await.is_none());
    shared.fails(true);
    let (target, id) = (
        homeostasis_core::Target::service("x").unwrap(),
        laws::key(0),
    );
    let call = ActionCall::new(&target, args.as_object().unwrap(), &id);
    let failed = action.perform(&laws::context(), &call).await;
    let error = std::error::Error::source(&failed.unwrap_err())
        .unwrap()
        .to_string();
    assert!(error.ends_with("told: shared"), "{error}");
}

#[test]
fn everything_that_is_wrong_is_told() {
    let config = CacheConfig {
        max_entries: 0,
        max_bytes: 0,
        ttl: Duration::ZERO,
        stale_if_error: Duration::MAX,
        level_timeout: Duration::ZERO,
        ..CacheConfig::default()
    };
    let clock = Arc::new(ManualClock::new(Timestamp::EPOCH));
    let error = Cache::<u32>::new("", config, clock, Rng::from_seed(1)).unwrap_err();
    assert_eq!(error.violations().len(), 6, "{error}");
}
