//! The latest values of the surroundings, for records of errors.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use homeostasis_core::{Context, Target, Timestamp};

use crate::measurement::Measurement;
use crate::probe::{Missed, Probe, Reading};

/// How many values there is room for.
const CAPACITY: usize = 64;
/// Older values say nothing about an error.
const MAX_AGE: Duration = Duration::from_secs(60);

/// The latest values of the surroundings: memory, processor, disk, descriptors, connections.
///
/// Probes of the own process and host keep it up to date ([`Environment::following`]), the host may
/// add its own figures ([`Environment::set`]), and
/// [`TracingLayer::environment`](super::TracingLayer::environment) and
/// [`PanicHook::environment`](super::PanicHook::environment) attach a
/// [snapshot](Environment::snapshot) to every error they record.
///
/// Clones share the values. There is room for 64 names, which stay once they are used; further ones
/// are refused. Neither writing nor reading takes a lock, so that a panic hook can read it wherever
/// the panic happened. A value older than 60 s is left out.
///
/// # Examples
/// ```
/// use homeostasis::core::Timestamp;
/// use homeostasis::signals::Environment;
///
/// let environment = Environment::new();
/// let now = Timestamp::from_secs(1_000);
/// environment.set("pool_connections", now, 17.0);
/// assert_eq!(environment.snapshot(now)["pool_connections"], 17.0);
/// ```
#[derive(Debug, Clone)]
pub struct Environment {
    slots: Arc<[Slot]>,
}

/// One value. Value and time are written one after the other: a reader in between sees a fresh
/// value as older than it is, or the other way round, by one interval; that does no harm.
#[derive(Debug)]
struct Slot {
    name: OnceLock<Box<str>>,
    value: AtomicU64,
    at_nanos: AtomicI64,
}

impl Default for Environment {
    fn default() -> Self {
        Self::new()
    }
}

impl Environment {
    /// An environment of which nothing is known yet.
    pub fn new() -> Self {
        let slot = || Slot {
            name: OnceLock::new(),
            value: AtomicU64::new(0),
            // Before every time: too old to be given.
            at_nanos: AtomicI64::new(i64::MIN),
        };
        Self {
            slots: std::iter::repeat_with(slot).take(CAPACITY).collect(),
        }
    }

    /// Sets a value, as measured at `at`; gives whether there was room for its name.
    ///
    /// NaN says that the value is not known. Takes time linear in the number of names.
    pub fn set(&self, name: &str, at: Timestamp, value: f64) -> bool {
        let slot = self
            .slots
            .iter()
            .find(|slot| **slot.name.get_or_init(|| name.into()) == *name);
        if let Some(slot) = slot {
            slot.value.store(value.to_bits(), Ordering::Relaxed);
            slot.at_nanos.store(at.as_nanos(), Ordering::Relaxed);
        }
        slot.is_some()
    }

    /// The values by name, without those older than 60 s at `now`.
    pub fn snapshot(&self, now: Timestamp) -> BTreeMap<String, f64> {
        self.slots
            .iter()
            .map_while(|slot| Some((slot.name.get()?, slot)))
            .filter_map(|(name, slot)| {
                let at = Timestamp::from_nanos(slot.at_nanos.load(Ordering::Relaxed));
                let value = f64::from_bits(slot.value.load(Ordering::Relaxed));
                let known = !value.is_nan() && now.since(at) <= MAX_AGE;
                known.then(|| (name.to_string(), value))
            })
            .collect()
    }

    /// A probe that answers as `probe` does, and leaves the values it measured here, under the
    /// names of their metrics; of several series of one metric the largest.
    ///
    /// Follow the probes of the own process and host: the environment knows no targets.
    pub fn following<P: Probe>(&self, probe: P) -> impl Probe + use<P> {
        Followed {
            probe,
            environment: self.clone(),
        }
    }

    fn take_in(&self, measurements: &[Measurement]) {
        let mut largest = BTreeMap::new();
        for measurement in measurements {
            largest
                .entry(&*measurement.key.metric)
                .and_modify(|(at, value)| {
                    *at = measurement.at;
                    *value = measurement.value.max(*value);
                })
                .or_insert((measurement.at, measurement.value));
        }
        for (name, (at, value)) in largest {
            // Without room the value still is in its series.
            self.set(name, at, value);
        }
    }
}

#[derive(Debug)]
struct Followed<P> {
    probe: P,
    environment: Environment,
}

#[async_trait]
impl<P: Probe> Probe for Followed<P> {
    fn name(&self) -> &str {
        self.probe.name()
    }

    async fn probe(&self, cx: &Context) -> Reading {
        let reading = self.probe.probe(cx).await;
        self.environment.take_in(&reading.measurements);
        reading
    }

    fn target(&self) -> Option<&Target> {
        self.probe.target()
    }

    fn interval(&self) -> Duration {
        self.probe.interval()
    }

    fn timeout(&self) -> Duration {
        self.probe.timeout()
    }

    fn reports_health(&self) -> bool {
        self.probe.reports_health()
    }

    fn missed(&self, at: Timestamp, why: &Missed) -> Reading {
        self.probe.missed(at, why)
    }
}

#[cfg(test)]
mod tests {
    use homeostasis_core::ManualClock;

    use super::*;
    use crate::probe::FnProbe;

    #[test]
    fn values_are_kept_by_name_until_they_are_old_and_names_are_bounded() {
        let environment = Environment::new();
        let at = Timestamp::from_secs(5);
        for n in 0..100 {
            assert_eq!(
                environment.set(&format!("v{n:02}"), at, f64::from(n)),
                n < 64
            );
        }
        assert!(environment.set("v07", at + Duration::from_secs(50), 70.0));
        assert!(environment.set("v08", at, f64::NAN));
        let soon = environment.clone().snapshot(at + Duration::from_secs(60));
        assert_eq!((soon.len(), soon["v07"], soon["v63"]), (63, 70.0, 63.0));
        let later = environment.snapshot(at + Duration::from_secs(61));
        assert_eq!(later, BTreeMap::from([("v07".to_owned(), 70.0)]));
    }

    #[test]
    fn writers_that_race_for_names_lose_none() {
        let environment = Environment::new();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for n in 0..32 {
                        assert!(environment.set(&format!("v{n}"), Timestamp::EPOCH, f64::from(n)));
                    }
                });
            }
        });
        let seen = environment.snapshot(Timestamp::EPOCH);
        assert_eq!(seen.len(), 32);
        assert!((0..32).all(|n| seen[&format!("v{n}")] == f64::from(n)));
    }

    #[tokio::test]
    async fn a_followed_probe_answers_as_before_and_leaves_its_values() {
        let target = Target::service("orders").unwrap();
        let of = target.clone();
        let disk = move |mount: &str, at, ratio| {
            Measurement::of(&of, "disk_usage_ratio", at, ratio).with("mount", mount)
        };
        let probe = FnProbe::new("disks", target, move |cx| {
            let reading = Reading::default()
                .measured(disk("/", cx.now(), 0.9))
                .measured(disk("/var", cx.now(), 0.4));
            std::future::ready(reading)
        });
        let cx = Context::new(Arc::new(ManualClock::new(Timestamp::from_secs(7))), 1);
        let environment = Environment::new();
        let plain = probe.probe(&cx).await;
        let followed = environment.following(probe);
        assert_eq!(followed.probe(&cx).await, plain);
        assert_eq!(environment.snapshot(cx.now())["disk_usage_ratio"], 0.9);
    }
}
