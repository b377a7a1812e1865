//! Which resources were short when errors happened, and which were not.

mod judged;

use std::collections::BTreeMap;
use std::sync::Arc;

use homeostasis_core::record::{Category, Finding, Role};
use homeostasis_core::signal::{Level, LogRecord, SeriesKey};
use homeostasis_core::stage::{AnalyzeError, Analyzer, Evidence};
use homeostasis_core::{Context, SeriesWindow, Target, Timestamp, async_trait};

use self::judged::Judged;
use crate::gauge::{Gauge, Look};
use crate::scope::{Scope, number};

/// Errors of one target that are looked at, the first of its trouble.
const MAX_ERRORS: usize = 256;

/// What an idle resource takes: readings miss one exhaustion in four.
const AGAINST: f64 = -1.386_294_361_119_890_6;

/// Compares resources at the moment of each error with their limits and with their own calm.
///
/// Looked at are memory, processor, throttling, load, disks, file descriptors, pools of connections
/// and of threads: series of the service and its instances, and the environment noted with an error
/// ([`ErrorEvent::environment`](homeostasis_core::signal::ErrorEvent::environment)). A metric says
/// how full a resource is by its name: `..._ratio` (1 is full), `..._percent` (100), or a stock with
/// a limit beside it (`process_open_fds` and `process_max_fds`, `..._memory_bytes` and
/// `..._memory_limit_bytes`, `host_load1` and `host_cpu_count`). A processor counts in cores where
/// its metric does.
///
/// All findings are *context*: they make the running out of that resource (`memory_leak`,
/// `cpu_saturation`, `disk_full`, `descriptor_leak`, `connection_pool_exhausted`,
/// `connection_leak`, `thread_pool_exhausted`) more or less likely, and name none themselves.
///
/// Each cause of a service gets at most one finding, so that many idle instances do not outvote the
/// one that is full.
///
/// - Short from 90 % on (disks 95 %, throttling 25 %, load two per processor). The clearest gauge
///   counts the logarithm of how much more often it was short at an error than in the calm before,
///   each share with a prior of 5 % worth two readings, at most 1.5 nats: what was always that full
///   says nothing. Without any reading of the calm it counts ln 2 at most.
/// - Idle below 50 % (disks 80 %, load 0.7 per processor, throttling 5 %): if nothing is short and
///   every gauge of the service was idle in every reading since the minute before the onset, and each
///   writer of errors has one that is known at an error and since the onset, -ln 4 nats, since a
///   sampled gauge misses peaks. Throttling and the gauges of a whole machine (`host_...`,
///   `node_...`, `system_...` of memory and processor) are not enough for that: a process may have a
///   smaller limit of its own.
/// - In between, unknown, older than a minute at the error, not a number or impossible in its unit:
///   silence.
///
/// Without an error in the logs the readings since the onset take the place of the errors'. At most
/// 256 errors of a writer are looked at, the first ones of the trouble, and the last 256 of its calm.
/// O(errors · series · log points).
#[derive(Debug, Clone, Copy, Default)]
pub struct EnvironmentAnalyzer;

impl EnvironmentAnalyzer {
    const NAME: &str = "environment";

    fn examine(scope: &Scope<'_>, service: &str, findings: &mut Vec<Finding>) {
        let Ok(whole) = Target::service(service) else {
            return;
        };
        let mut errors = scope
            .observations()
            .logs(Some(&whole), scope.from, scope.to);
        errors.retain(|record| {
            scope.covers_line(record.at) && (record.error.is_some() || record.level >= Level::Error)
        });
        errors.sort_by_key(|record| record.at);
        let writer = |record: &LogRecord| record.target.clone().unwrap_or_else(|| whole.clone());
        // Of each writer the last ones of the calm and the first ones of the trouble.
        let mut moments: BTreeMap<Target, Vec<Timestamp>> = BTreeMap::new();
        let mut known: Vec<&LogRecord> = Vec::new();
        let (calm, ill) = errors.split_at(errors.partition_point(|r| r.at < scope.split));
        let mut n_calm: BTreeMap<Target, usize> = BTreeMap::new();
        for record in calm.iter().rev() {
            let n = n_calm.entry(writer(record)).or_default();
            *n += 1;
            if *n <= MAX_ERRORS {
                known.push(record);
            }
        }
        for record in ill {
            let moments = moments.entry(writer(record)).or_default();
            if moments.len() < MAX_ERRORS {
                moments.push(record.at);
                known.push(record);
            }
        }
        let mut owners: BTreeMap<Target, Vec<SeriesWindow>> = BTreeMap::new();
        for window in scope.series_of(service) {
            if let Some(owner) = window.key.target() {
                owners.entry(owner).or_default().push(window);
            }
        }
        // What is noted with an error is of that very moment: it stands beside the series.
        let measured = owners
            .iter()
            .map(|(owner, windows)| (owner, windows, false));
        let noted = noted(&whole, &known);
        let noted = noted.iter().map(|(owner, windows)| (owner, windows, true));
        let gauges: Vec<(&Target, Gauge, bool)> = measured
            .chain(noted)
            .flat_map(|(owner, windows, is_noted)| {
                let gauges = Gauge::among(windows).into_iter();
                gauges.map(move |gauge| (owner, gauge, is_noted))
            })
            .collect();
        let mut by_cause: BTreeMap<&str, Vec<Judged<'_>>> = BTreeMap::new();
        for (owner, gauge, is_noted) in &gauges {
            let mut at: Vec<Timestamp> = moments
                .iter()
                .filter(|(writer, _)| overlap(owner, writer))
                .flat_map(|(_, moments)| moments.iter().copied())
                .collect();
            at.sort_unstable();
            at.truncate(MAX_ERRORS);
            for cause in gauge.factor.causes() {
                let judged = Judged::of(scope, (*owner, gauge, *is_noted), &at);
                by_cause.entry(cause).or_default().push(judged);
            }
        }
        let writers: Vec<&Target> = moments.keys().collect();
        for (cause, mut judged) in by_cause {
            silence_what_a_series_knows_better(&mut judged);
            findings.extend(short(cause, &judged).or_else(|| idle(cause, &judged, &writers)));
        }
    }
}

/// Whether one is the other or a part of it.
fn overlap(one: &Target, other: &Target) -> bool {
    one.contains(other) || other.contains(one)
}

/// What was noted with the errors, as series of their writers.
fn noted(whole: &Target, errors: &[&LogRecord]) -> BTreeMap<Target, Vec<SeriesWindow>> {
    let mut points: BTreeMap<(&Target, &str), Vec<(Timestamp, f64)>> = BTreeMap::new();
    for record in errors {
        let owner = record.target.as_ref().unwrap_or(whole);
        for (metric, value) in record.error.iter().flat_map(|error| &error.environment) {
            let points = points.entry((owner, metric)).or_default();
            points.push((record.at, *value));
        }
    }
    let mut owners: BTreeMap<Target, Vec<SeriesWindow>> = BTreeMap::new();
    for ((owner, metric), mut points) in points {
        points.sort_by(|a, b| a.0.cmp(&b.0).then_with(|| a.1.total_cmp(&b.1)));
        let mut key = SeriesKey::new(metric).with("service", owner.service_name());
        if let Some(instance) = owner.instance_name() {
            key = key.with("instance", instance);
        }
        let window = SeriesWindow {
            key: Arc::new(key),
            points,
        };
        owners.entry(owner.clone()).or_default().push(window);
    }
    owners
}

/// A reading noted with an error has no calm where nothing failed in it; where the same is measured
/// as a series, the series knows.
fn silence_what_a_series_knows_better(judged: &mut Vec<Judged<'_>>) {
    let known: Vec<(Target, String)> = judged
        .iter()
        .filter(|judged| !judged.is_noted && judged.calm.1 > 0)
        .map(|judged| (judged.owner.clone(), judged.gauge.key.metric.clone()))
        .collect();
    judged.retain(|judged| {
        let is_known = |(owner, metric): &(Target, String)| {
            *metric == judged.gauge.key.metric && overlap(owner, judged.owner)
        };
        !(judged.is_noted && judged.calm.1 == 0 && known.iter().any(is_known))
    });
}

/// The gauge that says most clearly that its resource was short, whoever of the service it is of.
fn short(cause: &'static str, judged: &[Judged<'_>]) -> Option<Finding> {
    let speaking = judged.iter().filter(|judged| judged.nats() > 0.0);
    let best = speaking.reduce(|best, next| {
        if next.nats() > best.nats() {
            next
        } else {
            best
        }
    })?;
    let ((at_errors, known), (in_calm, calm)) = (best.ill, best.calm);
    let told = format!(
        "{} of {} was short at {at_errors} of {known} moments of trouble and at {in_calm} of \
         {calm} before it",
        best.gauge.factor.name(),
        best.owner
    );
    let mut made = finding(cause, best, &best.worst?, best.nats(), &told);
    made.onset = best.first;
    Some(made)
}

/// One word against `cause`, if all that was seen of the service was idle, and somebody saw each of
/// the `writers` of errors.
fn idle(cause: &'static str, judged: &[Judged<'_>], writers: &[&Target]) -> Option<Finding> {
    if !judged.iter().all(Judged::is_idle) {
        return None;
    }
    let clears = |judged: &&Judged<'_>| judged.is_seen() && judged.gauge.can_clear();
    let is_cleared = |writer: &&&Target| {
        let mut clear = judged.iter().filter(clears);
        clear.any(|judged| overlap(judged.owner, writer))
    };
    if writers.iter().filter(is_cleared).count() < writers.len() {
        return None;
    }
    let level = |judged: &Judged<'_>| judged.peak.map_or(0.0, |look| look.level);
    let fullest = judged.iter().filter(clears).reduce(|best, next| {
        if level(next) > level(best) {
            next
        } else {
            best
        }
    })?;
    let told = format!(
        "{} of {} was never more than {} % used around the trouble",
        fullest.gauge.factor.name(),
        fullest.owner,
        number(level(fullest) * 100.0)
    );
    Some(finding(cause, fullest, &fullest.peak?, AGAINST, &told))
}

fn finding(
    cause: &'static str,
    judged: &Judged<'_>,
    look: &Look,
    nats: f64,
    told: &str,
) -> Finding {
    let proof = judged.proof(look);
    let said = format!("{told}: {}", proof.statement);
    Finding::new(
        EnvironmentAnalyzer::NAME,
        judged.owner.clone(),
        cause,
        Category::ResourceExhaustion,
        Role::Context,
        nats,
    )
    .proven_by(proof)
    .saying(said)
}

#[async_trait]
impl Analyzer for EnvironmentAnalyzer {
    fn name(&self) -> &str {
        Self::NAME
    }

    async fn analyze(
        &self,
        cx: &Context,
        evidence: &Evidence<'_>,
    ) -> Result<Vec<Finding>, AnalyzeError> {
        let scope = Scope::new(cx, evidence);
        let mut findings = Vec::new();
        for service in &scope.services {
            Self::examine(&scope, service, &mut findings);
        }
        Ok(findings)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use homeostasis_core::ManualClock;
    use homeostasis_core::record::{Anomaly, Subject};
    use homeostasis_core::signal::ErrorEvent;
    use homeostasis_core::testing::RecordedObservations;
    use homeostasis_core::testing::analyzer::incident_of;

    use super::*;

    const ONSET: i64 = 300;
    const NOW: i64 = 360;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    fn key(metric: &str) -> SeriesKey {
        SeriesKey::new(metric)
            .with("service", "orders")
            .with("instance", "0")
    }

    /// A reading every five seconds.
    fn with(
        world: RecordedObservations,
        metric: &str,
        calm: f64,
        ill: f64,
    ) -> RecordedObservations {
        let step = Duration::from_secs(5);
        world.with_sampled(key(metric), at(0), at(NOW), step, |now| {
            if now < at(ONSET - 10) { calm } else { ill }
        })
    }

    fn error(secs: i64, environment: &[(&str, f64)]) -> LogRecord {
        let mut error = ErrorEvent::new("java", "java.lang.OutOfMemoryError", "Java heap space");
        error.environment = environment
            .iter()
            .map(|(name, value)| ((*name).to_owned(), *value))
            .collect();
        let mut record =
            LogRecord::new(at(secs), Level::Error, "failed").of("orders/0".parse().unwrap());
        record.error = Some(Box::new(error));
        record
    }

    async fn findings(world: RecordedObservations) -> Vec<Finding> {
        let cx = Context::new(Arc::new(ManualClock::new(at(NOW))), 1).observing(Arc::new(world));
        let subject = Subject::Condition("works == 0".to_owned());
        let mut anomaly = Anomaly::new("d", "orders".parse().unwrap(), subject, at(ONSET + 10));
        anomaly.since = at(ONSET);
        let incident = incident_of(&[anomaly.saying("it does not work")]);
        let evidence = Evidence::new(&incident, at(0), at(NOW));
        EnvironmentAnalyzer.analyze(&cx, &evidence).await.unwrap()
    }

    fn told(findings: &[Finding]) -> Vec<(&str, f64)> {
        findings
            .iter()
            .map(|finding| {
                (
                    &*finding.cause,
                    (finding.log_likelihood_ratio * 10.0).round() / 10.0,
                )
            })
            .collect()
    }

    #[tokio::test]
    async fn memory_at_its_limit_speaks_for_a_leak_with_value_limit_and_time() {
        let world = with(
            RecordedObservations::new(),
            "process_resident_memory_bytes",
            400e6,
            970e6,
        );
        let world = with(world, "process_memory_limit_bytes", 1e9, 1e9).with_log(error(312, &[]));
        let found = findings(world).await;
        assert_eq!(told(&found), [("memory_leak", 1.5)]);
        assert_eq!(found[0].role, Role::Context);
        assert_eq!(found[0].target.to_string(), "orders/0");
        assert_eq!(found[0].onset, Some(at(290)));
        let proof = &found[0].proofs[0];
        assert_eq!(proof.at, Some(at(310)));
        assert_eq!(
            proof.statement,
            "process_resident_memory_bytes is 925 MiB of 954 MiB (97.00 %)"
        );
        assert_eq!(
            found[0].explanation,
            "memory of orders/0 was short at 1 of 1 moments of trouble and at 0 of 57 before it: \
             process_resident_memory_bytes is 925 MiB of 954 MiB (97.00 %)"
        );
    }

    #[tokio::test]
    async fn an_idle_resource_speaks_against_and_a_peak_between_two_errors_silences_it() {
        let idle = with(RecordedObservations::new(), "pool_used_ratio", 0.1, 0.2);
        let idle = idle.with_log(error(312, &[]));
        let found = findings(idle.clone()).await;
        let both = [
            ("connection_leak", -1.4),
            ("connection_pool_exhausted", -1.4),
        ];
        assert_eq!(told(&found), both);
        assert!(
            found[0]
                .explanation
                .contains("never more than 20.00 % used")
        );
        // The gauge happened to see it: not idle, though not at the error.
        let peak = idle.with_point(key("pool_used_ratio"), at(331), 0.7);
        assert_eq!(told(&findings(peak).await), []);
    }

    fn of_instance(
        world: RecordedObservations,
        instance: &str,
        calm: f64,
        ill: f64,
    ) -> RecordedObservations {
        let key = SeriesKey::new("memory_used_ratio")
            .with("service", "orders")
            .with("instance", instance);
        world.with_sampled(key, at(0), at(NOW), Duration::from_secs(5), |now| {
            if now < at(ONSET - 10) { calm } else { ill }
        })
    }

    #[tokio::test]
    async fn idle_siblings_do_not_outvote_the_instance_that_is_full() {
        let mut world = of_instance(RecordedObservations::new(), "0", 0.4, 0.97);
        for sibling in 1..9 {
            world = of_instance(world, &sibling.to_string(), 0.4, 0.4);
        }
        let world = world.with_log(error(312, &[]));
        let found = findings(world.clone()).await;
        assert_eq!(told(&found), [("memory_leak", 1.5)]);
        assert_eq!(found[0].target.to_string(), "orders/0");
        // The same reading, noted with the error too, is no second sign.
        let twice = world.with_log(error(314, &[("memory_used_ratio", 0.97)]));
        assert_eq!(told(&findings(twice).await), [("memory_leak", 1.5)]);
        // All of them idle is one word against, and none if nobody knows the one that fails.
        let idle = of_instance(RecordedObservations::new(), "1", 0.4, 0.4);
        let unknown = idle.clone().with_log(error(312, &[]));
        assert_eq!(told(&findings(unknown).await), []);
        let known = of_instance(idle, "0", 0.4, 0.4).with_log(error(312, &[]));
        assert_eq!(told(&findings(known).await), [("memory_leak", -1.4)]);
    }

    #[tokio::test]
    async fn a_throttled_container_on_an_idle_machine_is_short() {
        let world = with(RecordedObservations::new(), "host_cpu_ratio", 0.1, 0.1);
        let world = with(world, "host_load1", 0.4, 0.4);
        let world = with(world, "host_cpu_count", 4.0, 4.0);
        let idle = with(world.clone(), "process_cpu_ratio", 0.1, 0.1).with_log(error(312, &[]));
        let found = findings(idle).await;
        assert_eq!(told(&found), [("cpu_saturation", -1.4)]);
        let world = with(world, "container_cpu_throttled_ratio", 0.1, 0.6);
        let found = findings(world.with_log(error(312, &[]))).await;
        assert_eq!(told(&found), [("cpu_saturation", 1.5)]);
    }

    #[tokio::test]
    async fn an_idle_machine_says_nothing_of_a_process_with_its_own_limit() {
        let name = "host_memory_used_ratio";
        let world = with(RecordedObservations::new(), name, 0.3, 0.3);
        let world = world.with_log(error(312, &[(name, 0.3)]));
        assert_eq!(told(&findings(world.clone()).await), []);
        let own = with(world, "heap_used_bytes", 100.0, 120.0);
        let own = with(own, "heap_max_bytes", 1000.0, 1000.0);
        assert_eq!(told(&findings(own).await), [("memory_leak", -1.4)]);
        // A full machine is short for all that runs on it.
        let full = with(RecordedObservations::new(), name, 0.3, 0.98);
        let full = full.with_log(error(312, &[]));
        assert_eq!(told(&findings(full).await), [("memory_leak", 1.5)]);
    }

    #[tokio::test]
    async fn what_was_always_full_says_nothing() {
        let world = with(RecordedObservations::new(), "disk_used_ratio", 0.97, 0.97);
        assert_eq!(told(&findings(world.with_log(error(312, &[]))).await), []);
    }

    #[tokio::test]
    async fn what_is_noted_with_an_error_counts_without_any_series() {
        let noted = [("heap_used_bytes", 980.0), ("heap_max_bytes", 1000.0)];
        let world = RecordedObservations::new()
            .with_log(error(312, &noted))
            .with_log(error(313, &noted));
        let found = findings(world).await;
        // Whether it was always so nobody knows.
        assert_eq!(told(&found), [("memory_leak", 0.7)]);
        assert_eq!(found[0].proofs[0].kind, "environment");
        let calm = with(RecordedObservations::new(), "heap_used_bytes", 980.0, 980.0);
        let always = with(calm, "heap_max_bytes", 1000.0, 1000.0).with_log(error(312, &noted));
        assert_eq!(told(&findings(always).await), []);
        let before = RecordedObservations::new().with_log(error(200, &noted));
        assert_eq!(told(&findings(before).await), []);
    }

    #[tokio::test]
    async fn without_errors_the_readings_since_the_onset_take_their_place() {
        let world = with(RecordedObservations::new(), "host_load1", 1.0, 12.0);
        let world = with(world, "host_cpu_count", 4.0, 4.0);
        assert_eq!(told(&findings(world).await), [("cpu_saturation", 1.5)]);
    }

    #[tokio::test]
    async fn nothing_stale_or_of_the_wrong_unit_says_anything() {
        let stale = RecordedObservations::new()
            .with_series(key("disk_used_ratio"), [(at(200), 0.99)])
            .with_log(error(312, &[]));
        let percent = with(RecordedObservations::new(), "memory_used_ratio", 40.0, 97.0);
        let nan = with(
            RecordedObservations::new(),
            "memory_used_ratio",
            0.4,
            f64::NAN,
        );
        for world in [
            RecordedObservations::new(),
            stale,
            percent.with_log(error(312, &[("memory_used_ratio", f64::INFINITY)])),
            nan.with_log(error(312, &[("memory_used_percent", -1.0)])),
        ] {
            assert_eq!(told(&findings(world).await), []);
        }
    }

    #[tokio::test]
    async fn thousands_of_errors_are_looked_at_up_to_a_bound() {
        let mut world = with(RecordedObservations::new(), "memory_used_ratio", 0.4, 0.95);
        let errors = (0..2_000).map(|n| {
            let mut record = error(ONSET + n % 50, &[]);
            record.message = format!("failed {n}");
            record
        });
        for record in errors {
            world = world.with_log(record);
        }
        let found = findings(world).await;
        assert!(found[0].explanation.contains("at 256 of 256 moments"));
    }
}
