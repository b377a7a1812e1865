//! Did the remedy make it worse? Watched continuously, without paying for each look.

use std::collections::BTreeMap;
use std::time::Duration;

use homeostasis_core::signal::{HealthReport, SeriesKey};
use homeostasis_core::{Observations, SeriesWindow, Target, Timestamp};

use crate::config::WatchConfig;
use crate::criterion::Look;
use crate::stats::{Counts, ErrorIncrease, HigherMedian, dispersion_index, log_mean_exp};

/// Series beyond this many are not tested: each one more makes the others slower to decide.
const MAX_STREAMS: usize = 16;
/// Failures that vary more than this between intervals come in bursts; counts prove nothing then.
const MAX_DISPERSION: f64 = 2.0;
/// A rate speaks for at most this long.
const MAX_STEP: Duration = Duration::from_secs(60);

/// Watches whether things are clearly worse after a remedy than they were *in trouble*.
///
/// Three kinds of signal are watched: health reports (share that is not up), `error_ratio` (as
/// counts if the request rate is known and failures do not come in bursts, and as signs), and
/// latencies (`probe_latency_seconds`, `…_p95_seconds`; as signs). Latencies must be worse than in
/// trouble *and* worse than before it, because a broken service often answers fast.
/// What is seen within the warm-up after the remedy is left out.
///
/// Each signal has an e-process ([`stats`](crate::stats)); their mean is one too, and it may be
/// looked at as often as one likes. Half of `alpha` is spent on the confidence limits of medians,
/// half on the mean reaching `2 / alpha`.
///
/// *Weakness:* before and after of one host have no control. A change of the environment at the
/// moment of the remedy looks like its effect, and signals that depend strongly on their own past
/// decide faster than they should; margin and warm-up soften both.
#[derive(Debug, Clone)]
pub struct HarmWatch {
    streams: Vec<Stream>,
    /// What the logarithm of the mean must reach.
    limit: f64,
}

/// What is known of harm at one look.
#[derive(Debug, Clone, PartialEq)]
pub struct HarmReading {
    /// The natural logarithm of the combined e-process; 0 says nothing either way.
    pub log_e: f64,
    /// What it must reach.
    pub limit: f64,
    /// The signal that speaks loudest, with its numbers; `None` if nothing can be watched.
    pub loudest: Option<String>,
}

impl HarmReading {
    /// Whether things are clearly worse.
    pub fn is_worse(&self) -> bool {
        self.log_e >= self.limit
    }
}

#[derive(Debug, Clone)]
struct Stream {
    words: String,
    source: Source,
    /// Everything up to here is counted.
    seen: Timestamp,
    errors: Option<Errors>,
    signs: Option<HigherMedian>,
}

#[derive(Debug, Clone)]
enum Source {
    Health(Target),
    Errors { ratio: SeriesKey, rate: SeriesKey },
    Latency(SeriesKey),
}

#[derive(Debug, Clone)]
struct Errors {
    test: ErrorIncrease,
    /// Requests and failures after; rates give fractions of them.
    requests: f64,
    failures: f64,
}

impl HarmWatch {
    /// Learns how `targets` were from the start of the trouble until the remedy `started`.
    ///
    /// `config` must be [checked](WatchConfig::check). What was seen before
    /// `look.ended + warm_up` is not counted as after.
    pub fn new(
        look: &Look<'_>,
        started: Timestamp,
        targets: &[Target],
        warm_up: Duration,
        config: &WatchConfig,
    ) -> Self {
        let past = Past {
            observations: look.observations,
            since: look.since,
            started: started - Duration::from_nanos(1),
            config,
        };
        let from = look.ended + warm_up;
        let mut sources = Vec::new();
        for target in outermost(targets) {
            sources.push(Source::Health(target.clone()));
            let keys = past.keys(&target);
            sources.extend(keys.iter().filter_map(|key| past.source(key)));
        }
        sources.truncate(MAX_STREAMS);
        let n_signs = sources
            .iter()
            .filter(|source| !matches!(source, Source::Health(_)))
            .count();
        let risk = config.alpha / 2.0 / n_signs.max(1) as f64;
        Self {
            streams: sources
                .into_iter()
                .filter_map(|source| past.stream(source, from, risk))
                .collect(),
            limit: libm::log(2.0 / config.alpha),
        }
    }

    /// How many signals are watched.
    pub fn n_signals(&self) -> usize {
        self.streams.len()
    }

    /// Counts what is new and says what is known.
    pub fn look(&mut self, observations: &dyn Observations, now: Timestamp) -> HarmReading {
        for stream in &mut self.streams {
            stream.catch_up(observations, now);
        }
        let logs: Vec<f64> = self.streams.iter().map(Stream::log_e).collect();
        let loudest = self
            .streams
            .iter()
            .zip(&logs)
            .max_by(|(_, a), (_, b)| a.total_cmp(b))
            .map(|(stream, _)| stream.describe());
        HarmReading {
            log_e: if logs.is_empty() {
                0.0
            } else {
                log_mean_exp(&logs)
            },
            limit: self.limit,
            loudest,
        }
    }
}

/// `targets` without those that are parts of others or repeated.
fn outermost(targets: &[Target]) -> Vec<Target> {
    let mut all = targets.to_vec();
    all.sort();
    all.dedup();
    let is_part = |target: &Target| {
        all.iter()
            .any(|other| other != target && other.contains(target))
    };
    all.iter()
        .filter(|target| !is_part(target))
        .cloned()
        .collect()
}

/// The stretch in trouble, and the one before.
struct Past<'a> {
    observations: &'a dyn Observations,
    since: Timestamp,
    started: Timestamp,
    config: &'a WatchConfig,
}

impl Past<'_> {
    fn keys(&self, target: &Target) -> Vec<SeriesKey> {
        let mut keys: Vec<_> = self
            .observations
            .series_of(target, self.since, self.started)
            .into_iter()
            .map(|window| (*window.key).clone())
            .collect();
        keys.sort();
        keys
    }

    fn source(&self, key: &SeriesKey) -> Option<Source> {
        if key.metric == "error_ratio" {
            return Some(Source::Errors {
                ratio: key.clone(),
                rate: SeriesKey {
                    metric: self.config.requests_metric.clone(),
                    labels: key.labels.clone(),
                },
            });
        }
        (key.metric == "probe_latency_seconds" || key.metric.ends_with("_p95_seconds"))
            .then(|| Source::Latency(key.clone()))
    }

    fn stream(&self, source: Source, from: Timestamp, risk: f64) -> Option<Stream> {
        let (since, started) = (self.since, self.started);
        let ratio = self.config.harm_ratio;
        let signs = |key: &SeriesKey, stretch: (Timestamp, Timestamp)| {
            let before: Vec<f64> = values(self.observations, key, stretch)
                .into_iter()
                .map(|(_, value)| value)
                .collect();
            let absolute = self.config.tolerance.of(&key.metric);
            HigherMedian::new(&before, ratio, absolute, risk)
        };
        let (words, errors, signs) = match &source {
            Source::Health(target) => {
                let reports = self.observations.health(Some(target), since, started);
                let counts: Vec<_> = reports.iter().map(count).collect();
                let block = counts.len().div_ceil(12).max(2);
                let blocks: Vec<_> = counts.chunks(block).map(sum).collect();
                let errors = Errors::new(sum(&counts), &blocks, ratio);
                (format!("health checks of {target}"), errors, None)
            }
            Source::Errors { ratio: key, rate } => {
                let intervals = requests(self.observations, (key, rate), (since, started));
                let blocks: Vec<_> = intervals.iter().map(|i| i.counts()).collect();
                let total = intervals
                    .iter()
                    .fold(Interval::default(), |a, b| a.plus(*b));
                let errors = Errors::new(total.counts(), &blocks, ratio);
                (key.to_string(), errors, signs(key, (since, started)))
            }
            Source::Latency(key) => {
                let earlier = (
                    since - self.config.baseline,
                    since - Duration::from_nanos(1),
                );
                let normal = signs(key, earlier)?;
                let trouble = signs(key, (since, started))?;
                (key.to_string(), None, Some(trouble.and_above(&normal)))
            }
        };
        (errors.is_some() || signs.is_some()).then_some(Stream {
            words,
            source,
            seen: from,
            errors,
            signs,
        })
    }
}

impl Errors {
    fn new(before: Counts, blocks: &[Counts], ratio: f64) -> Option<Self> {
        if before.trials() == 0 {
            return None;
        }
        let all_alike = before.failures == 0 || before.successes == 0;
        let one_by_one = dispersion_index(blocks).is_some_and(|index| index <= MAX_DISPERSION);
        (all_alike || one_by_one).then(|| Self {
            test: ErrorIncrease::new(before, ratio),
            requests: 0.0,
            failures: 0.0,
        })
    }

    fn observe(&mut self, interval: Interval) {
        self.requests += interval.requests;
        self.failures += interval.failures;
    }

    fn after(&self) -> ErrorIncrease {
        let mut test = self.test;
        test.observe(
            Interval {
                requests: self.requests,
                failures: self.failures,
            }
            .counts(),
        );
        test
    }
}

impl Stream {
    fn catch_up(&mut self, observations: &dyn Observations, now: Timestamp) {
        let next = self.seen + Duration::from_nanos(1);
        if next > now {
            return;
        }
        match &self.source {
            Source::Health(target) => {
                let reports = observations.health(Some(target), next, now);
                for report in &reports {
                    let failures = if report.is_up() { 0.0 } else { 1.0 };
                    if let Some(errors) = &mut self.errors {
                        errors.observe(Interval {
                            requests: 1.0,
                            failures,
                        });
                    }
                    self.seen = self.seen.max(report.at);
                }
            }
            Source::Errors { ratio, rate } => {
                // The step of the first interval begins at the last point seen.
                let intervals = requests(observations, (ratio, rate), (self.seen, now));
                if let Some(errors) = &mut self.errors {
                    for interval in &intervals {
                        errors.observe(*interval);
                    }
                }
                self.seen = self.seen.max(observe(
                    self.signs.as_mut(),
                    &values(observations, ratio, (next, now)),
                ));
            }
            Source::Latency(key) => {
                let points = values(observations, key, (next, now));
                self.seen = self.seen.max(observe(self.signs.as_mut(), &points));
            }
        }
    }

    fn log_e(&self) -> f64 {
        let errors = self.errors.as_ref().map(|errors| errors.after().log_e());
        let signs = self.signs.as_ref().map(HigherMedian::log_e);
        log_mean_exp(&errors.into_iter().chain(signs).collect::<Vec<_>>())
    }

    fn describe(&self) -> String {
        let mut parts = Vec::new();
        if let Some(errors) = &self.errors {
            let test = errors.after();
            parts.push(format!(
                "{} of {} failed after, {} of {} in trouble",
                test.after().failures,
                test.after().trials(),
                test.before().failures,
                test.before().trials()
            ));
        }
        if let Some(signs) = &self.signs {
            parts.push(format!(
                "{} of {} values above {:.4}",
                signs.n_above(),
                signs.n(),
                signs.threshold()
            ));
        }
        format!("{}: {}", self.words, parts.join(", "))
    }
}

/// Requests between two samples.
#[derive(Debug, Clone, Copy, Default)]
struct Interval {
    requests: f64,
    failures: f64,
}

impl Interval {
    fn plus(self, other: Self) -> Self {
        Self {
            requests: self.requests + other.requests,
            failures: self.failures + other.failures,
        }
    }

    fn counts(self) -> Counts {
        let requests = whole(self.requests);
        let failures = whole(self.failures).min(requests);
        Counts::new(failures, requests - failures)
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped to a range that u64 holds exactly; NaN becomes 0"
)]
fn whole(value: f64) -> u64 {
    value.round().clamp(0.0, 1e15) as u64
}

fn count(report: &HealthReport) -> Counts {
    if report.is_up() {
        Counts::new(0, 1)
    } else {
        Counts::new(1, 0)
    }
}

fn sum(counts: &[Counts]) -> Counts {
    counts
        .iter()
        .fold(Counts::default(), |sum, counts| sum.plus(*counts))
}

fn values(
    observations: &dyn Observations,
    key: &SeriesKey,
    (from, to): (Timestamp, Timestamp),
) -> Vec<(Timestamp, f64)> {
    observations
        .series(&key.metric, &key.labels, from, to)
        .into_iter()
        .filter(|window| *window.key == *key)
        .flat_map(|window: SeriesWindow| window.points)
        .filter(|(_, value)| !value.is_nan())
        .collect()
}

/// Adds the points and returns the time of the last one.
fn observe(signs: Option<&mut HigherMedian>, points: &[(Timestamp, f64)]) -> Timestamp {
    if let Some(signs) = signs {
        for (_, value) in points {
            signs.observe(*value);
        }
    }
    points
        .last()
        .map_or(Timestamp::from_nanos(i64::MIN), |(at, _)| *at)
}

/// Requests and failures between each two samples of the error ratio, where the rate is known.
fn requests(
    observations: &dyn Observations,
    (ratio, rate): (&SeriesKey, &SeriesKey),
    (from, to): (Timestamp, Timestamp),
) -> Vec<Interval> {
    let rates: BTreeMap<Timestamp, f64> = values(observations, rate, (from - MAX_STEP, to))
        .into_iter()
        .collect();
    values(observations, ratio, (from, to))
        .windows(2)
        .filter_map(|pair| {
            let (at, ratio) = pair[1];
            let step = at.since(pair[0].0).min(MAX_STEP);
            let (_, rate) = rates.range(at - MAX_STEP..=at).next_back()?;
            let requests = rate * step.as_secs_f64();
            let good = requests.is_finite() && requests > 0.0 && (0.0..=1.0).contains(&ratio);
            good.then_some(Interval {
                requests,
                failures: requests * ratio,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use homeostasis_core::Rng;
    use homeostasis_core::signal::HealthState;
    use homeostasis_core::testing::RecordedObservations;

    const fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    fn key(metric: &str) -> SeriesKey {
        SeriesKey::new(metric).with("service", "orders")
    }

    /// Normal until 1000, trouble until 1060, remedy ends at 1070. Looks every second until 1200.
    fn first_alarm(world: &RecordedObservations) -> Option<i64> {
        let targets = [
            "orders/0".parse().unwrap(),
            Target::service("orders").unwrap(),
        ];
        let look = Look::new(world, at(1000), at(1070), at(1070));
        let mut harm = HarmWatch::new(
            &look,
            at(1060),
            &targets,
            Duration::from_secs(5),
            &WatchConfig::default(),
        );
        (1071..1200).find(|now| harm.look(world, at(*now)).is_worse())
    }

    fn sampled(
        world: RecordedObservations,
        metric: &str,
        mut level: impl FnMut(i64) -> f64,
    ) -> RecordedObservations {
        let mut secs = 399;
        world.with_sampled(
            key(metric),
            at(400),
            at(1200),
            Duration::from_secs(1),
            |_| {
                secs += 1;
                level(secs)
            },
        )
    }

    #[test]
    fn errors_that_multiply_are_found_within_seconds_and_those_that_stay_are_not() {
        let world = |after: f64| {
            let world = sampled(RecordedObservations::new(), "http_requests_rate", |_| 50.0);
            sampled(world, "error_ratio", move |secs| match secs {
                ..1000 => 0.0,
                1000..=1060 => 0.1,
                _ => after,
            })
        };
        let found = first_alarm(&world(0.6)).unwrap();
        assert!((1076..1085).contains(&found), "{found}");
        assert_eq!(first_alarm(&world(0.1)), None);
        assert_eq!(first_alarm(&world(0.0)), None);
    }

    #[test]
    fn a_latency_above_trouble_and_normal_is_harm_and_one_above_fast_failures_is_not() {
        let world = |trouble: f64, after: f64| {
            sampled(
                RecordedObservations::new(),
                "http_request_duration_p95_seconds",
                move |secs| match secs {
                    ..1000 => 0.2,
                    1000..=1060 => trouble,
                    _ => after,
                },
            )
        };
        assert!(first_alarm(&world(0.8, 2.0)).is_some());
        assert_eq!(
            first_alarm(&world(0.8, 0.7)),
            None,
            "not healed is not worse"
        );
        assert_eq!(first_alarm(&world(0.001, 0.2)), None, "refusals were fast");
    }

    #[test]
    fn health_that_breaks_only_after_the_warm_up_counts() {
        let world = |sick: std::ops::Range<i64>| {
            (1000..1200).fold(RecordedObservations::new(), |world, secs| {
                let state = if sick.contains(&secs) {
                    HealthState::Unhealthy
                } else {
                    HealthState::Healthy
                };
                world.with_health(HealthReport::new(
                    at(secs),
                    Target::service("orders").unwrap(),
                    "http",
                    state,
                ))
            })
        };
        assert_eq!(first_alarm(&world(1061..1076)), None, "a cold start");
        let found = first_alarm(&world(1071..1200)).unwrap();
        assert!((1076..1085).contains(&found), "{found}");
    }

    #[test]
    fn looking_at_everything_every_second_keeps_the_false_alarms_below_alpha() {
        let alarms = (0..100_u64)
            .filter(|seed| {
                let mut rng = Rng::from_seed(*seed);
                let mut world =
                    sampled(RecordedObservations::new(), "http_requests_rate", |_| 20.0);
                let mut noise = rng.fork(1);
                world = sampled(world, "error_ratio", |_| {
                    let failed = (0..20).filter(|_| noise.unit() < 0.2).count();
                    failed as f64 / 20.0
                });
                world = sampled(world, "probe_latency_seconds", |_| {
                    0.1 - libm::log(1.0 - rng.unit())
                });
                first_alarm(&world).is_some()
            })
            .count();
        // At 1 % each the chance of more than 5 in 100 is 0.05 %.
        assert!(alarms <= 5, "{alarms} of 100");
    }

    #[test]
    fn nothing_to_watch_says_nothing() {
        let world = RecordedObservations::new();
        let look = Look::new(&world, at(0), at(10), at(10));
        let config = WatchConfig::default();
        let mut harm = HarmWatch::new(&look, at(5), &[], Duration::ZERO, &config);
        let reading = harm.look(&world, at(20));
        assert_eq!(
            (reading.log_e, reading.is_worse(), reading.loudest),
            (0.0, false, None)
        );
    }
}
