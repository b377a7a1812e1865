//! What is known of one incident, in one shape whatever it came from; saved, it can be replayed.

use std::collections::{BTreeMap, BTreeSet};

use homeostasis_core::Timestamp;
use serde::{Deserialize, Serialize};

use super::activity::Activity;
use super::memory::Memory;

/// What a series measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SeriesKind {
    /// Processor time or its share.
    Cpu,
    /// Memory in use.
    Memory,
    /// Disks: space or work.
    Disk,
    /// Sockets, bytes and packets.
    Network,
    /// How long answers take.
    Latency,
    /// Errors, failures, or availability.
    Errors,
    /// How much is asked.
    Traffic,
    /// Anything else.
    Other,
}

impl SeriesKind {
    /// What the usual names of metrics mean; [`Other`](Self::Other) for any other name.
    ///
    /// ```
    /// use homeostasis::rca::SeriesKind;
    /// assert_eq!(SeriesKind::of_metric("CpuUsageRate(%)"), SeriesKind::Cpu);
    /// assert_eq!(SeriesKind::of_metric("http_server_duration_p99_ms"), SeriesKind::Latency);
    /// assert_eq!(SeriesKind::of_metric("answer"), SeriesKind::Other);
    /// ```
    pub fn of_metric(name: &str) -> Self {
        let name = name.to_ascii_lowercase();
        let has = |parts: &[&str]| parts.iter().any(|part| name.contains(part));
        if has(&[
            "error",
            "fail",
            "5xx",
            "availability",
            "success",
            "throttle",
        ]) {
            Self::Errors
        } else if has(&["latency", "duration", "response_time", "_p99", "_p90"]) {
            Self::Latency
        } else if has(&["cpu"]) {
            Self::Cpu
        } else if has(&["mem", "heap", "rss"]) {
            Self::Memory
        } else if has(&["disk", "diskio", "filesystem"]) {
            Self::Disk
        } else if has(&["socket", "network", "packet", "receive", "transmit"]) {
            Self::Network
        } else if has(&["request", "workload", "load", "rps", "throughput"]) {
            Self::Traffic
        } else {
            Self::Other
        }
    }

    /// Whether this is a resource that runs out: the cause rather than the symptom.
    pub fn is_resource(self) -> bool {
        matches!(self, Self::Cpu | Self::Memory | Self::Disk)
    }
}

/// In which direction a series gets worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Worse {
    /// More is worse.
    #[default]
    Up,
    /// Less is worse, as of availability.
    Down,
    /// Nobody knows.
    Either,
}

/// One series of one service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvidenceSeries {
    /// Whose it is; of a call, the caller's.
    pub service: String,
    /// Whom is called, if it measures time lost between a caller and this callee.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub callee: Option<String>,
    /// What it is called.
    pub metric: String,
    /// What it measures.
    pub kind: SeriesKind,
    /// Which direction is bad.
    #[serde(default)]
    pub worse: Worse,
    /// Values while nothing was wrong, oldest first and evenly spaced.
    pub calm: Vec<f64>,
    /// From shortly before the onset to the present, oldest first.
    pub points: Vec<(Timestamp, f64)>,
}

/// Which measurement of whom raised the alarm.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Alarm {
    /// Whose.
    pub service: String,
    /// Of which metric.
    pub metric: String,
    /// When.
    pub at: Timestamp,
}

/// Something people or machines changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvidenceChange {
    /// Under which name it is known: a commit, a flag.
    pub id: String,
    /// When it took effect.
    pub at: Timestamp,
    /// Where.
    pub service: String,
    /// What was changed, for people.
    pub summary: String,
    /// Files it touches, if known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<String>,
    /// The change itself as lines that begin with `+` or `-`, if known.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub diff: String,
}

/// Everything an analysis by [`EvidenceFusion`](super::EvidenceFusion) looks at.
///
/// It says nothing about where its parts came from, and the same bundle always gives the same
/// answer. Families of evidence whose part is empty are silent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvidenceBundle {
    /// The version of this layout: [`SCHEMA`](Self::SCHEMA).
    pub schema_version: u32,
    /// When it is thought to have begun.
    pub onset: Timestamp,
    /// The present.
    pub until: Timestamp,
    /// What was noticed first, if anything in particular.
    #[serde(default)]
    pub alarm: Option<Alarm>,
    /// What was measured.
    #[serde(default)]
    pub series: Vec<EvidenceSeries>,
    /// Who calls whom, as declared; empty if unknown. The walk along calls
    /// ([`Propagation`](super::Family::Propagation)) follows those of a service that declares any,
    /// and of the others those that [`slices`](Self::slices) and [`calm`](Self::calm) show twice or
    /// more; elsewhere both count.
    #[serde(default)]
    pub calls: BTreeMap<String, BTreeSet<String>>,
    /// Services known only from what their callers measure.
    #[serde(default)]
    pub inferred: BTreeSet<String>,
    /// What was logged and traced since the onset, in stretches of about a minute, oldest first.
    #[serde(default)]
    pub slices: Vec<Activity>,
    /// The same of stretches in which nothing was wrong.
    #[serde(default)]
    pub calm: Vec<Activity>,
    /// What was changed, oldest first.
    #[serde(default)]
    pub changes: Vec<EvidenceChange>,
    /// What earlier incidents left behind.
    #[serde(default)]
    pub memory: Memory,
}

impl EvidenceBundle {
    /// The version this library writes and reads.
    pub const SCHEMA: u32 = 1;

    /// A bundle without evidence.
    pub fn new(onset: Timestamp, until: Timestamp) -> Self {
        Self {
            schema_version: Self::SCHEMA,
            onset,
            until,
            alarm: None,
            series: Vec::new(),
            calls: BTreeMap::new(),
            inferred: BTreeSet::new(),
            slices: Vec::new(),
            calm: Vec::new(),
            changes: Vec::new(),
            memory: Memory::default(),
        }
    }

    /// Reads a bundle that was saved as JSON.
    ///
    /// # Errors
    /// Names the place in `json` that does not fit, or the version if it is another one.
    pub fn from_json(json: &str) -> Result<Self, serde_json::Error> {
        use serde::de::Error as _;
        let bundle: Self = serde_json::from_str(json)?;
        if bundle.schema_version == Self::SCHEMA {
            Ok(bundle)
        } else {
            Err(serde_json::Error::custom(format!(
                "schema_version = {}, expected {}",
                bundle.schema_version,
                Self::SCHEMA
            )))
        }
    }

    /// The bundle as JSON.
    ///
    /// # Errors
    /// Only if memory runs out; numbers that JSON cannot say become `null` and do not read back,
    /// so that loaders leave them out.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self)
    }
}
