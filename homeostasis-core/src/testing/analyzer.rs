//! The conformance suite of analyzers, and an incident to try them on.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::context::Context;
use crate::cycle::{Incident, transition};
use crate::id::{IncidentId, NodeId, TenantId};
use crate::observe::Observations;
use crate::record::{
    Anomaly, BlastRadius, Direction, EventKind, Finding, HealEvent, Role, SCHEMA_VERSION, Severity,
    Subject,
};
use crate::signal::{
    Change, ChangeKind, ErrorEvent, HealthReport, HealthState, Level, LogRecord, SeriesKey,
};
use crate::stage::{Analyzer, Evidence};
use crate::target::{ServiceFacts, Target, Topology};
use crate::testing::RecordedObservations;
use crate::time::{ManualClock, Timestamp};

/// An incident with these anomalies, opened and joined through the healing cycle.
///
/// It happens when the latest anomaly was found and began when the earliest began; its severity and
/// radius are of no account.
///
/// # Panics
/// Without an anomaly.
pub fn incident_of(anomalies: &[Anomaly]) -> Incident {
    let mut state = None;
    for (seq, anomaly) in (0_u64..).zip(anomalies) {
        let anomaly = Box::new(anomaly.clone());
        let at = anomaly.at;
        let (severity, radius) = (Severity::Sev2, BlastRadius::UNKNOWN);
        let kind = if seq == 0 {
            EventKind::Opened {
                tenant: TenantId::default(),
                anomaly,
                severity,
                radius,
                score: None,
            }
        } else {
            EventKind::AnomalyJoined {
                anomaly,
                severity,
                radius,
                score: None,
            }
        };
        let event = HealEvent {
            schema_version: SCHEMA_VERSION,
            incident: IncidentId::from_u128(1),
            seq,
            at,
            node: NodeId::default(),
            kind,
        };
        let (incident, _) = transition(state, &event).expect("openings and joins are legal");
        state = Some(incident);
    }
    state.expect("an incident needs at least one anomaly")
}

/// Services and whom they call, each with one instance.
///
/// Services that are only called need no entry of their own.
pub fn topology_of(calls: &[(&str, &[&str])]) -> Topology {
    let mut topology = Topology::default();
    for callee in calls.iter().flat_map(|(_, callees)| *callees) {
        topology.insert(*callee, ServiceFacts::default());
    }
    for (caller, callees) in calls {
        let depends_on: BTreeSet<String> = callees.iter().map(|c| (*c).to_owned()).collect();
        let facts = ServiceFacts {
            depends_on,
            ..ServiceFacts::default()
        };
        topology.insert(*caller, facts);
    }
    topology
}

/// What every analyzer must keep, tried on worlds that are rich, empty, damaged and shuffled:
///
/// - its name is stable and not empty, and its findings carry it;
/// - no finding breaks [`Finding::violation`], and none claims an onset or a proof after the present;
/// - the same evidence gives the same findings;
/// - the order in which signals arrived and anomalies joined does not matter;
/// - nothing observed gives no finding of role cause (the incident's one anomaly is a bare condition);
/// - NaN and infinite values neither panic nor break a finding, and a reversed or empty stretch is
///   no error.
///
/// One line runs it: `conformance(&MyAnalyzer::default()).await`. It returns what was found in the
/// rich world, so that a test can see that there was something to judge.
///
/// # Panics
/// If the analyzer does not conform, with what it did.
pub async fn conformance(analyzer: &dyn Analyzer) -> Vec<Finding> {
    let name = analyzer.name().to_owned();
    assert!(!name.trim().is_empty(), "an analyzer without a name");
    let rich = Trial::new();
    let first = rich.findings(analyzer).await;
    check(&name, &first, &rich);
    assert_eq!(name, analyzer.name(), "the name changed");
    assert_eq!(
        in_order(&first),
        in_order(&rich.findings(analyzer).await),
        "{name}: the same evidence gave other findings"
    );
    let shuffled = Trial {
        reversed: true,
        ..Trial::new()
    };
    assert_eq!(
        in_order(&first),
        in_order(&shuffled.findings(analyzer).await),
        "{name}: the order of the input shows in the findings"
    );
    for poison in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MAX] {
        for every in [1, 3] {
            let damaged = Trial {
                poison: Some((poison, every)),
                ..Trial::new()
            };
            check(&name, &damaged.findings(analyzer).await, &damaged);
        }
    }
    let empty = Trial {
        empty: true,
        ..Trial::new()
    };
    let found = empty.findings(analyzer).await;
    check(&name, &found, &empty);
    assert!(
        found.iter().all(|finding| finding.role != Role::Cause),
        "{name}: a cause without any evidence: {found:?}"
    );
    for (from, to) in [(600, 0), (600, 600), (0, 10)] {
        let odd = Trial {
            stretch: (at(from), at(to)),
            ..Trial::new()
        };
        for finding in odd.findings(analyzer).await {
            assert_eq!(finding.violation(), None, "{name}: {finding:?}");
        }
    }
    first
}

fn check(name: &str, findings: &[Finding], trial: &Trial) {
    for finding in findings {
        assert_eq!(finding.violation(), None, "{name}: {finding:?}");
        assert_eq!(finding.analyzer, name, "a finding under another name");
        let times = finding.proofs.iter().map(|proof| proof.at);
        for time in times.chain([finding.onset]).flatten() {
            assert!(
                time <= trial.stretch.1,
                "{name}: {time} is in the future: {finding:?}"
            );
        }
    }
}

fn in_order(findings: &[Finding]) -> Vec<String> {
    let mut texts: Vec<_> = findings.iter().map(|f| format!("{f:?}")).collect();
    texts.sort();
    texts
}

fn at(secs: i64) -> Timestamp {
    Timestamp::from_secs(secs)
}

fn target(text: &str) -> Target {
    text.parse().expect("a valid target")
}

/// A shop in which many things go wrong at second 500 of 600.
struct Trial {
    stretch: (Timestamp, Timestamp),
    reversed: bool,
    empty: bool,
    /// A value that replaces every n-th one.
    poison: Option<(f64, usize)>,
}

impl Trial {
    fn new() -> Self {
        Self {
            stretch: (at(0), at(600)),
            reversed: false,
            empty: false,
            poison: None,
        }
    }

    async fn findings(&self, analyzer: &dyn Analyzer) -> Vec<Finding> {
        let topology = topology_of(&[("gateway", &["catalog", "orders"]), ("orders", &["db"])]);
        let cx = Context::new(Arc::new(ManualClock::new(at(600))), 7)
            .observing(self.observations())
            .in_topology(Arc::new(topology));
        let mut anomalies = vec![
            Anomaly {
                since: at(500),
                ..Anomaly::new(
                    "trial",
                    target("gateway"),
                    Subject::Condition("checkout_works == 0".to_owned()),
                    at(520),
                )
            }
            .saying("checkout does not work"),
        ];
        if !self.empty {
            let series = |metric: &str, service: &str, since: i64| Anomaly {
                since: at(since),
                direction: Direction::High,
                surprise: 9.0,
                ..Anomaly::new(
                    "trial",
                    target(service),
                    Subject::Series(SeriesKey::new(metric).with("service", service)),
                    at(530),
                )
                .saying(format!("{metric} is too high"))
            };
            anomalies.push(series("probe_latency_seconds", "catalog", 510));
            anomalies.push(series("probe_latency_seconds", "orders", 505));
        }
        let mut incident = incident_of(&anomalies);
        if self.reversed {
            incident.anomalies.reverse();
        }
        let evidence = Evidence::new(&incident, self.stretch.0, self.stretch.1);
        match analyzer.analyze(&cx, &evidence).await {
            Ok(findings) => findings,
            Err(error) => panic!("{}: {error}", analyzer.name()),
        }
    }

    fn observations(&self) -> Arc<dyn Observations> {
        if self.empty {
            return Arc::new(RecordedObservations::new());
        }
        Arc::new(self.with_records(self.with_series(RecordedObservations::new())))
    }

    fn with_series(&self, mut world: RecordedObservations) -> RecordedObservations {
        let mut series = Vec::new();
        for (service, metric, calm, ill) in [
            ("gateway", "http_request_duration_p95_seconds", 0.02, 0.9),
            ("gateway", "error_ratio", 0.0, 0.4),
            ("gateway", "http_requests_in_flight", 2.0, 40.0),
            ("catalog", "http_request_duration_p95_seconds", 0.01, 0.8),
            ("catalog", "process_cpu_ratio", 0.1, 1.0),
            ("orders", "up", 1.0, 0.0),
            ("orders", "process_up", 1.0, 0.0),
            ("db", "disk_used_ratio", 0.5, 0.99),
            ("db", "process_open_fds", 40.0, 40.0),
        ] {
            let wobble = |i: i64| f64::from(u8::try_from(i * 7 % 5).unwrap_or(0)) / 100.0;
            let points: Vec<_> = (0..120)
                .map(|i| {
                    let value = if i < 100 { calm } else { ill };
                    (at(i * 5), value * (1.0 + wobble(i)))
                })
                .collect();
            series.push((SeriesKey::new(metric).with("service", service), points));
        }
        let leak = (0..120).map(|i| (at(i * 5), 5e7 + 1e6 * at(i).as_secs_f64()));
        series.push((
            SeriesKey::new("process_resident_memory_bytes")
                .with("service", "catalog")
                .with("instance", "0"),
            leak.collect(),
        ));
        for (key, points) in &mut series {
            if let Some((value, every)) = self.poison {
                let hit = points.iter_mut().step_by(every);
                hit.for_each(|point| point.1 = value);
            }
            if self.reversed {
                points.reverse();
            }
            world = world.with_series(key.clone(), points.iter().copied());
        }
        world
    }

    fn with_records(&self, mut world: RecordedObservations) -> RecordedObservations {
        let mut panicked = LogRecord::new(at(503), Level::Error, "request failed")
            .of(target("catalog"))
            .with("error", "no space left on device");
        panicked.error = Some(Box::new(ErrorEvent::new(
            "python",
            "KeyError",
            "'price'\nsecond line",
        )));
        let error = |secs, text: &str, service| {
            LogRecord::new(at(secs), Level::Error, text).of(target(service))
        };
        let logs = [
            error(
                501,
                "dial tcp orders:80: connect: connection refused",
                "gateway",
            ),
            error(501, "upstream catalog responded 503", "gateway"),
            error(
                501,
                "dial tcp orders:81: connect: connection refused",
                "gateway",
            ),
            error(502, "", "gateway"),
            error(90, "out of memory", "catalog/0"),
            LogRecord::new(at(504), Level::Info, "deadlock detected"),
            panicked,
        ];
        let health = |secs, service, state, detail: &str| {
            HealthReport::new(at(secs), target(service), "http", state)
                .took(Duration::from_millis(3))
                .saying(detail)
        };
        let reports = [
            health(480, "orders", HealthState::Healthy, ""),
            health(505, "orders", HealthState::Unhealthy, "connection refused"),
            health(510, "orders", HealthState::Unhealthy, "connection refused"),
            health(510, "catalog", HealthState::Degraded, "slow"),
            health(510, "catalog", HealthState::Healthy, ""),
            health(510, "db", HealthState::Critical, "no answer"),
        ];
        let changes = [
            Change::new(at(499), ChangeKind::Deploy, target("gateway"), "v1 -> v2"),
            Change::new(at(499), ChangeKind::Deploy, target("gateway"), "v2 -> v3"),
            Change::new(at(300), ChangeKind::Config, target("db"), "buffers"),
            Change::new(at(590), ChangeKind::Flag, target("catalog"), "new_ui on"),
        ];
        let order = |n: usize| -> Vec<usize> {
            if self.reversed {
                (0..n).rev().collect()
            } else {
                (0..n).collect()
            }
        };
        for idx in order(logs.len()) {
            world = world.with_log(logs[idx].clone());
        }
        for idx in order(reports.len()) {
            world = world.with_health(reports[idx].clone());
        }
        for idx in order(changes.len()) {
            world = world.with_change(changes[idx].clone());
        }
        world
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use async_trait::async_trait;

    use super::*;
    use crate::record::{Category, Proof};
    use crate::stage::AnalyzeError;

    /// An analyzer with one fault.
    #[derive(Debug)]
    struct Faulty(&'static str, AtomicU32);

    #[async_trait]
    impl Analyzer for Faulty {
        fn name(&self) -> &'static str {
            "faulty"
        }

        async fn analyze(
            &self,
            cx: &Context,
            evidence: &Evidence<'_>,
        ) -> Result<Vec<Finding>, AnalyzeError> {
            let calls = self.1.fetch_add(1, Ordering::Relaxed);
            let logs = cx.observations().logs(None, evidence.from, evidence.to);
            let proof = |at| Proof {
                kind: "log".to_owned(),
                reference: "log".to_owned(),
                at: Some(at),
                statement: logs
                    .first()
                    .map(|log| log.message.clone())
                    .unwrap_or_default(),
            };
            let found = |nats| {
                Finding::new(
                    self.name(),
                    target("gateway"),
                    "x",
                    Category::Network,
                    Role::Cause,
                    nats,
                )
            };
            Ok(match self.0 {
                "sound" if logs.is_empty() => vec![],
                "sound" | "baseless" => vec![found(1.0).proven_by(proof(evidence.to))],
                "unproven" if !logs.is_empty() => vec![found(1.0)],
                "moody" => vec![found(f64::from(calls)).proven_by(proof(evidence.to))],
                "prophet" => {
                    vec![found(1.0).proven_by(proof(evidence.to + Duration::from_secs(1)))]
                }
                "ordered" => evidence.incident.anomalies[..1]
                    .iter()
                    .map(|anomaly| {
                        found(1.0)
                            .proven_by(proof(anomaly.at))
                            .saying(&anomaly.explanation)
                    })
                    .collect(),
                _ => vec![],
            })
        }
    }

    #[tokio::test]
    async fn a_sound_analyzer_passes() {
        conformance(&Faulty("sound", AtomicU32::new(0))).await;
    }

    #[tokio::test]
    #[expect(
        clippy::disallowed_methods,
        reason = "a task is where a panic can be seen"
    )]
    async fn every_fault_is_found() {
        for fault in ["baseless", "unproven", "moody", "prophet", "ordered"] {
            let suite = tokio::spawn(async move {
                conformance(&Faulty(fault, AtomicU32::new(0))).await;
            });
            assert!(suite.await.unwrap_err().is_panic(), "{fault} passed");
        }
    }
}
