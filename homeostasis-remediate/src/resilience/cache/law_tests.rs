//! The law of a cache: what was made invalid never comes back, from memory or any level, whatever
//! was under way, failed, was slow or was dropped.

use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::{Poll, Waker};

use async_trait::async_trait;
use homeostasis_core::{ManualClock, Ratio, Rng};
use proptest::prelude::*;

use super::*;

/// A level that takes its time, and fails when it is told to: now before it did what was asked, now
/// after.
#[derive(Debug)]
pub(super) struct Shaky {
    name: &'static str,
    shared: bool,
    slow: AtomicBool,
    fails: AtomicBool,
    n_calls: AtomicU32,
    ledger: Ledger,
    entries: Mutex<HashMap<String, StoredEntry>>,
}

impl Shaky {
    pub(super) fn new(name: &'static str, shared: bool) -> Arc<Self> {
        Arc::new(Self {
            name,
            shared,
            slow: AtomicBool::new(false),
            fails: AtomicBool::new(false),
            n_calls: AtomicU32::new(0),
            ledger: Ledger::default(),
            entries: Mutex::default(),
        })
    }

    pub(super) fn fails(&self, fails: bool) {
        self.fails.store(fails, Ordering::SeqCst);
    }

    /// From now on each call needs some polls, which nothing wakes.
    pub(super) fn slow(&self) {
        self.slow.store(true, Ordering::SeqCst);
    }

    pub(super) fn n_calls(&self) -> u32 {
        self.n_calls.load(Ordering::SeqCst)
    }

    async fn call<T>(&self, work: impl FnOnce() -> T) -> Result<T, BoxError> {
        let slow = self.slow.load(Ordering::SeqCst);
        let number = self.n_calls.fetch_add(1, Ordering::SeqCst);
        pause(u32::from(slow)).await;
        let fails = self.fails.load(Ordering::SeqCst);
        if fails && number.is_multiple_of(2) {
            return Err("it fails".into());
        }
        let done = work();
        pause(u32::from(slow)).await;
        if fails {
            Err("it fails".into())
        } else {
            Ok(done)
        }
    }
}

#[async_trait]
impl CacheLevel for Shaky {
    fn name(&self) -> &str {
        self.name
    }

    fn is_shared(&self) -> bool {
        self.shared
    }

    async fn read(&self, key: &CacheKey) -> Result<LevelReading, BoxError> {
        self.call(|| LevelReading {
            entry: self.entries.lock().unwrap().get(key.name()).cloned(),
            lease: Lease(vec![self.ledger.now().0.to_string()]),
        })
        .await
    }

    async fn write(
        &self,
        key: &CacheKey,
        entry: &StoredEntry,
        lease: &Lease,
    ) -> Result<(), BoxError> {
        let began = Moment(lease.0[0].parse().unwrap());
        self.call(|| {
            if self.ledger.lives(key, entry.version, began) {
                let mut entries = self.entries.lock().unwrap();
                entries.insert(key.name().to_owned(), entry.clone());
            }
        })
        .await
    }

    async fn invalidate(&self, what: &Invalidation) -> Result<(), BoxError> {
        self.call(|| {
            self.ledger.mark(what);
            self.entries
                .lock()
                .unwrap()
                .retain(|name, entry| match what {
                    Invalidation::All => false,
                    Invalidation::Key(key) => name != key,
                    Invalidation::Tag(tag) => !entry.tags.contains(tag),
                    Invalidation::OlderThan(version) => entry.version >= *version,
                });
        })
        .await
    }
}

/// Not ready for so many polls.
async fn pause(polls: u32) {
    for _ in 0..polls {
        let mut polled = false;
        poll_fn(|_| {
            let ready = std::mem::replace(&mut polled, true);
            if ready {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    }
}

#[derive(Debug, Clone)]
enum Op {
    /// Somebody asks for this key: with how many pauses it loads, whether it fails, whether anew.
    Ask(usize, u32, bool, bool),
    /// What this key stands for changes, and that is told this way.
    Change(usize, u8),
    /// One that is under way goes on, or is dropped.
    Step(usize),
    Drop(usize),
    Fail(usize, bool),
    Wait(u64),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (0_usize..3, 0_u32..4, any::<bool>(), prop::bool::weighted(0.2))
            .prop_map(|(key, pauses, fails, anew)| Op::Ask(key, pauses, fails, anew)),
        3 => (0_usize..3, 0_u8..4).prop_map(|(key, how)| Op::Change(key, how)),
        24 => any::<usize>().prop_map(Op::Step),
        2 => any::<usize>().prop_map(Op::Drop),
        2 => (0_usize..2, prop::bool::weighted(0.3)).prop_map(|(level, fails)| Op::Fail(level, fails)),
        2 => prop_oneof![Just(10_u64), Just(300), Just(1_200), Just(6_000)].prop_map(Op::Wait),
    ]
}

/// Somebody who asks (for which key, and at least which state is right), or a change that is told.
type Task<'a> = (
    Option<(usize, u32)>,
    Pin<Box<dyn Future<Output = Option<u32>> + 'a>>,
);

/// Lets one task go on; checks its answer. Whether it ended.
fn step(tasks: &mut Vec<Task<'_>>, which: usize) -> Result<(), TestCaseError> {
    let mut cx = std::task::Context::from_waker(Waker::noop());
    let which = which % tasks.len();
    let (asks, future) = &mut tasks[which];
    if let Poll::Ready(answer) = future.as_mut().poll(&mut cx) {
        if let (Some((key, least)), Some(state)) = (asks, answer) {
            prop_assert!(
                state >= *least,
                "key {key}: {state} came back after {least}"
            );
        }
        drop(tasks.swap_remove(which));
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]
    #[test]
    fn what_was_made_invalid_never_comes_back(
        ops in prop::collection::vec(op(), 1..150),
        shared: bool,
        slow: bool,
    ) {
        let clock = ManualClock::new(Timestamp::from_secs(1_000));
        let config = CacheConfig {
            ttl: Duration::from_secs(5),
            ttl_jitter: Ratio::saturating(0.2),
            stale_while_revalidate: Duration::from_secs(5),
            stale_if_error: Duration::from_secs(60),
            memory_ttl: Duration::from_secs(1),
            level_cool_down: Duration::from_secs(1),
            max_entries: 2,
            ..CacheConfig::default()
        };
        let levels = [Shaky::new("one", shared), Shaky::new("two", false)];
        levels[0].slow.store(slow, Ordering::SeqCst);
        levels[1].slow.store(true, Ordering::SeqCst);
        let cache = Cache::<u32>::new("c", config, Arc::new(clock.clone()), Rng::from_seed(1)).unwrap();
        let cache = cache.with_level(Arc::clone(&levels[0]) as _).unwrap();
        let cache = &cache.with_level(Arc::clone(&levels[1]) as _).unwrap();
        // The state of what each key stands for, its state when it was last told, and the version.
        let states: [AtomicU32; 3] = Default::default();
        let states = &states;
        let mut told = [0_u32; 3];
        let mut version = 0_u32;
        let key = |key: usize, version: u32| {
            CacheKey::new(key.to_string()).tagged([format!("t{key}")]).at_least(version)
        };
        let mut tasks: Vec<Task<'_>> = Vec::new();
        for op in ops {
            match op {
                Op::Ask(which, pauses, fails, anew) => {
                    let key = key(which, version);
                    let ask = async move {
                        let load = || async {
                            let state = states[which].load(Ordering::SeqCst);
                            pause(pauses).await;
                            if fails { Err("down".into()) } else { Ok(Some(state)) }
                        };
                        let answer = if anew {
                            cache.refresh(&key, load).await
                        } else {
                            cache.get_or_load(&key, load).await
                        };
                        answer.ok().and_then(|answer| answer.value.as_deref().copied())
                    };
                    tasks.push((Some((which, told[which])), Box::pin(ask)));
                }
                Op::Change(which, how) => {
                    states[which].fetch_add(1, Ordering::SeqCst);
                    let what = match how {
                        0 => Invalidation::Key(which.to_string()),
                        1 => Invalidation::Tag(format!("t{which}")),
                        2 => {
                            version += 1;
                            Invalidation::OlderThan(version)
                        }
                        _ => Invalidation::All,
                    };
                    let everything = how >= 2;
                    tasks.push((None, Box::pin(async move {
                        cache.invalidate(&what).await;
                        None
                    })));
                    let last = tasks.len() - 1;
                    step(&mut tasks, last)?;
                    for (key, told) in told.iter_mut().enumerate() {
                        if everything || key == which {
                            *told = states[key].load(Ordering::SeqCst);
                        }
                    }
                }
                Op::Step(which) if !tasks.is_empty() => step(&mut tasks, which)?,
                Op::Drop(which) if !tasks.is_empty() => {
                    let which = which % tasks.len();
                    drop(tasks.swap_remove(which));
                }
                Op::Step(_) | Op::Drop(_) => {}
                Op::Fail(level, fails) => levels[level].fails(fails),
                Op::Wait(ms) => clock.advance(Duration::from_millis(ms)),
            }
        }
        for level in &levels {
            level.fails(false);
        }
        while !tasks.is_empty() {
            for which in (0..tasks.len()).rev() {
                step(&mut tasks, which)?;
            }
            clock.advance(Duration::from_millis(100));
        }
        prop_assert_eq!(cache.flights.len(), 0);
    }
}
