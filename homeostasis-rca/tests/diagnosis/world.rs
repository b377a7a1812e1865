//! A shop with measured services: gateway calls catalog and orders; billing stands apart.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use homeostasis_core::record::{Anomaly, Diagnosis, Direction, Finding, Subject};
use homeostasis_core::signal::{
    Change, ChangeKind, HealthReport, HealthState, Level, LogRecord, SeriesKey, SpanRecord,
};
use homeostasis_core::stage::{Analyzer, Evidence, Fuser};
use homeostasis_core::testing::RecordedObservations;
use homeostasis_core::testing::analyzer::{incident_of, topology_of};
use homeostasis_core::{Context, ManualClock, Rng, Target, Timestamp, Topology};
use homeostasis_rca::{
    ChangeAnalyzer, DownAnalyzer, EnvironmentAnalyzer, FusionAnalyzer, LogOddsFuser, RuleAnalyzer,
    SaturationAnalyzer, TopologyWalk, TrendAnalyzer,
};

/// The fault begins here; everything before is calm.
pub(crate) const ONSET: f64 = 300.0;
/// The present.
pub(crate) const NOW: f64 = 335.0;

pub(crate) fn at(secs: f64) -> Timestamp {
    Timestamp::EPOCH + Duration::from_secs_f64(secs)
}

pub(crate) fn target(text: &str) -> Target {
    text.parse().expect("a valid target")
}

/// Compiled once: that takes longer than a diagnosis.
fn rules() -> &'static RuleAnalyzer {
    static RULES: OnceLock<RuleAnalyzer> = OnceLock::new();
    RULES.get_or_init(|| RuleAnalyzer::furnished().expect("sound rules"))
}

#[derive(Debug)]
pub(crate) struct World {
    observations: RecordedObservations,
    anomalies: Vec<Anomaly>,
    topology: Topology,
    besides: Vec<(Timestamp, Timestamp)>,
    rng: Rng,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            observations: RecordedObservations::new(),
            anomalies: Vec::new(),
            topology: topology_of(&[("gateway", &["catalog", "orders"][..]), ("billing", &[])]),
            besides: Vec::new(),
            rng: Rng::from_seed(seed),
        }
    }

    /// A series every two seconds with 10 % of noise.
    pub(crate) fn series(mut self, metric: &str, who: &str, value: impl Fn(f64) -> f64) -> Self {
        let who = target(who);
        let mut key = SeriesKey::new(metric).with("service", who.service_name());
        if let Some(instance) = who.instance_name() {
            key = key.with("instance", instance);
        }
        let rng = &mut self.rng;
        self.observations =
            self.observations
                .with_sampled(key, at(0.0), at(NOW), Duration::from_secs(2), |at| {
                    value(at.as_secs_f64()) * (0.95 + 0.1 * rng.unit())
                });
        self
    }

    /// A series of zeros and ones, without noise.
    pub(crate) fn flag(mut self, metric: &str, who: &str, value: impl Fn(f64) -> bool) -> Self {
        let key = SeriesKey::new(metric).with("service", who);
        self.observations =
            self.observations
                .with_sampled(key, at(0.0), at(NOW), Duration::from_secs(2), |at| {
                    f64::from(u8::from(value(at.as_secs_f64())))
                });
        self
    }

    pub(crate) fn p95(self, who: &str, seconds: impl Fn(f64) -> f64) -> Self {
        self.series("http_request_duration_p95_seconds", who, seconds)
    }

    pub(crate) fn errors(self, who: &str, ratio: impl Fn(f64) -> f64) -> Self {
        self.series("error_ratio", who, ratio)
    }

    pub(crate) fn memory(self, who: &str, mib: impl Fn(f64) -> f64) -> Self {
        self.series("process_resident_memory_bytes", who, |t| {
            mib(t) * 1_048_576.0
        })
    }

    /// All three services as they are when all is well.
    pub(crate) fn calm(self, but: &[&str]) -> Self {
        ["gateway", "catalog", "orders", "billing"]
            .into_iter()
            .filter(|service| !but.contains(service))
            .fold(self, |world, service| {
                world
                    .p95(service, |_| 0.02)
                    .errors(service, |_| 0.001)
                    .memory(service, |_| 60.0)
                    .flag("process_up", service, |_| true)
                    .flag("up", service, |_| true)
            })
    }

    pub(crate) fn log(mut self, secs: f64, who: &str, message: &str) -> Self {
        let record = LogRecord::new(at(secs), Level::Error, message).of(target(who));
        self.observations = self.observations.with_log(record);
        self
    }

    pub(crate) fn health(mut self, secs: f64, who: &str, state: HealthState, detail: &str) -> Self {
        let report = HealthReport::new(at(secs), target(who), "http", state).saying(detail);
        self.observations = self.observations.with_health(report);
        self
    }

    pub(crate) fn change(mut self, secs: f64, kind: ChangeKind, who: &str) -> Self {
        let change = Change::new(at(secs), kind, target(who), "v1 -> v2");
        self.observations = self.observations.with_change(change);
        self
    }

    /// An anomaly the detectors found ten seconds after it began.
    pub(crate) fn anomaly(mut self, since: f64, who: &str, metric: &str) -> Self {
        let subject = Subject::Series(SeriesKey::new(metric).with("service", who));
        let mut anomaly = Anomaly::new("test", target(who), subject, at(since + 10.0))
            .saying(format!("{metric} is abnormal"));
        anomaly.since = at(since);
        anomaly.direction = Direction::High;
        anomaly.surprise = 8.0;
        self.anomalies.push(anomaly);
        self
    }

    /// Another incident was seen to begin, and closed.
    pub(crate) fn besides(mut self, since: f64, closed: f64) -> Self {
        self.besides.push((at(since), at(closed)));
        self
    }

    pub(crate) fn in_topology(mut self, calls: &[(&str, &[&str])]) -> Self {
        self.topology = topology_of(calls);
        self
    }

    /// A request every ten seconds, seen in spans of the caller and of the callee.
    pub(crate) fn traced(mut self, caller: &str, callee: &str) -> Self {
        for trace in 0..30_u32 {
            for (id, parent, who) in [(1, 0, caller), (2, 1, callee)] {
                let began = at(10.0 * f64::from(trace));
                let mut span = SpanRecord::new(began, Duration::from_millis(20), "GET /");
                span.trace = Some(format!("{caller}-{callee}-{trace}"));
                (span.span, span.parent) = (id, parent);
                self.observations = self.observations.with_span(span.of(target(who)));
            }
        }
        self
    }

    pub(crate) async fn findings(&self) -> (Context, Vec<Finding>) {
        let cx = Context::new(Arc::new(ManualClock::new(at(NOW))), 1)
            .observing(Arc::new(self.observations.clone()))
            .in_topology(Arc::new(self.topology.clone()));
        let incident = incident_of(&self.anomalies);
        let evidence = Evidence::new(&incident, at(0.0), at(NOW)).besides(&self.besides);
        let analyzers: [Arc<dyn Analyzer>; 8] = [
            Arc::new(rules().clone()),
            Arc::new(DownAnalyzer),
            Arc::new(SaturationAnalyzer),
            Arc::new(TrendAnalyzer),
            Arc::new(ChangeAnalyzer::default()),
            Arc::new(EnvironmentAnalyzer),
            Arc::new(TopologyWalk),
            Arc::new(FusionAnalyzer::default()),
        ];
        let mut findings = Vec::new();
        for analyzer in analyzers {
            let found = analyzer.analyze(&cx, &evidence).await;
            findings.extend(found.expect("analyzers of this crate do not fail"));
        }
        (cx, findings)
    }

    pub(crate) async fn diagnose(&self) -> Diagnosis {
        let (cx, findings) = self.findings().await;
        let incident = incident_of(&self.anomalies);
        let evidence = Evidence::new(&incident, at(0.0), at(NOW)).besides(&self.besides);
        LogOddsFuser::default().fuse(&cx, &evidence, findings)
    }
}
