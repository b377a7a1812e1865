//! The engine's own settings.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::engine::flood::FloodSettings;

/// How the engine works: rhythm, bounds, deadlines.
///
/// Every field has a default that fits a service of medium size; the builder refuses values out of
/// range with [`ConfigError`](homeostasis_core::ConfigError).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct EngineSettings {
    /// How often signals are looked at. Default 100 ms, 1 ms to 1 min.
    pub tick: Duration,
    /// Samples that may wait. Default 65 536, 1 to 16 777 216; 24 bytes each.
    pub sample_queue: usize,
    /// Log records and spans that may wait, and beside them as many health reports and changes.
    /// Default 8 192, 1 to 1 048 576.
    pub record_queue: usize,
    /// Different series that are told apart. Default 10 000, 1 to 10 000 000.
    pub max_series: usize,
    /// Different series of one metric that are told apart. Default 2 000, 1 to 10 000 000.
    pub max_series_per_metric: usize,
    /// Different values of a label that are told apart within one metric, by the label's name;
    /// further ones become `other`. Default none; not for `service` and `instance`, which say whom
    /// a series is about.
    pub label_values: BTreeMap<String, usize>,
    /// How floods of log records are sampled.
    pub flood: FloodSettings,
    /// How long signals are remembered. Default 15 min, 1 s to 8 d.
    pub window: Duration,
    /// Points remembered per series. Default 1 024, 2 to 100 000; 16 bytes each.
    pub window_points: usize,
    /// Records of each kind remembered. Default 10 000, 1 to 10 000 000.
    pub window_records: usize,
    /// How long an incident gathers related anomalies before it is diagnosed. Default 2 s, up to
    /// 10 min; 0 diagnoses at once.
    pub settle: Duration,
    /// How long a cause is sought before the diagnosis abstains; it is tried again every `settle`,
    /// because evidence grows. Default 30 s, up to 1 h; 0 tries once.
    pub patience: Duration,
    /// Anomalies of related services this close in time are one incident. Default 60 s, up to 1 d.
    pub correlation_window: Duration,
    /// Anomalies that began before an incident closed are its echo for this long. Default 15 s, up
    /// to 1 h.
    pub aftershock: Duration,
    /// How far before the trouble began a cause is sought. Default 10 min, 1 s to 7 d.
    pub lookback: Duration,
    /// How much evidence one analysis may hold, in bytes; what is beyond is left out, oldest and
    /// least relevant first, and the diagnosis says how much that was. As much again is kept of the
    /// last analyses for [`evidence`](crate::Homeostasis::evidence). Default 32 MiB, 64 KiB to
    /// 16 GiB.
    pub evidence_bytes: u64,
    /// Diagnoses remembered for looks at incidents at which nothing is new. Default 64, up to
    /// 10 000; 0 works each out again.
    pub diagnosis_cache: usize,
    /// How long a diagnosis is remembered. Default 10 s, up to 10 min.
    pub diagnosis_ttl: Duration,
    /// Symptoms that stay away this long close an incident nobody acted on. Default 5 min, 1 s to
    /// 7 d.
    pub quiet: Duration,
    /// Open incidents at once, without those that wait for people. Default 64, 1 to 10 000.
    pub max_open_incidents: usize,
    /// Heals at once. Default 2, 1 to 1 000.
    pub max_concurrent_heals: usize,
    /// Anomalies one detector may raise in one turn; more is a flood. Default 100, 1 to 100 000.
    pub max_anomalies: usize,
    /// How long a detector may take per turn. Default 1 s, 1 ms to 1 min.
    pub detect_deadline: Duration,
    /// How long an analyzer, planner or notifier may take. Default 30 s, 1 ms to 1 h.
    pub stage_deadline: Duration,
    /// How long a lease on a target lasts unless renewed. Default 30 s, 1 s to 1 h.
    pub lease_ttl: Duration,
    /// How often models are stored that have changed, up to a tenth later; at the end, too. Only in a
    /// store that was given. Default 5 min, 1 s to 1 d.
    pub model_interval: Duration,
    /// How large one model may be in the store, in bytes of JSON; what is beyond is left out and
    /// named; a watched series takes some 3 to 140 KB, as its kernel needs. 0 keeps no models.
    /// Default 64 MiB, up to 16 GiB.
    pub model_bytes: u64,
    /// How long shutting down waits for steps in flight. Default 10 s, up to 1 h.
    pub shutdown_grace: Duration,
}

impl Default for EngineSettings {
    fn default() -> Self {
        Self {
            tick: Duration::from_millis(100),
            sample_queue: 65_536,
            record_queue: 8_192,
            max_series: 10_000,
            max_series_per_metric: 2_000,
            label_values: BTreeMap::new(),
            flood: FloodSettings::default(),
            window: Duration::from_secs(15 * 60),
            window_points: 1_024,
            window_records: 10_000,
            settle: Duration::from_secs(2),
            patience: Duration::from_secs(30),
            correlation_window: Duration::from_secs(60),
            aftershock: Duration::from_secs(15),
            lookback: Duration::from_secs(10 * 60),
            evidence_bytes: 32 << 20,
            diagnosis_cache: 64,
            diagnosis_ttl: Duration::from_secs(10),
            quiet: Duration::from_secs(5 * 60),
            max_open_incidents: 64,
            max_concurrent_heals: 2,
            max_anomalies: 100,
            detect_deadline: Duration::from_secs(1),
            stage_deadline: Duration::from_secs(30),
            lease_ttl: Duration::from_secs(30),
            model_interval: Duration::from_secs(5 * 60),
            model_bytes: 64 << 20,
            shutdown_grace: Duration::from_secs(10),
        }
    }
}
