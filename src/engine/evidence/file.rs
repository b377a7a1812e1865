//! The evidence on an incident as a file: what an analysis saw, to be looked at again elsewhere.

use std::sync::Arc;

use homeostasis_core::cycle::replay;
use homeostasis_core::record::HealEvent;
use homeostasis_core::signal::{Change, HealthReport, Labels, LogRecord, SeriesKey, SpanRecord};
use homeostasis_core::{Incident, SeriesWindow, TenantId, Timestamp, Topology};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::budget::LeftOut;
use super::frozen::Frozen;

/// The form of the file.
const FORMAT: u32 = 1;

/// Why a text is no evidence.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EvidenceError {
    /// It is not JSON of this form; the message names line and column.
    #[error("evidence: {0}")]
    Form(#[from] serde_json::Error),
    /// It cannot be true.
    #[error("evidence: {place} = {value}, expected {expected}")]
    Content {
        /// Where.
        place: String,
        /// What stands there.
        value: String,
        /// What was expected.
        expected: String,
    },
}

/// All that one analysis of an incident rested on, made by
/// [`Homeostasis::evidence`](crate::Homeostasis::evidence).
///
/// Saved with [`to_json`](Self::to_json) and read back, [`Builder::diagnose`](crate::Builder::diagnose)
/// comes to the same diagnosis, to the bit, with the same analyzers, rules and settings: nothing else
/// enters an analysis. Its signals are those of one analysis and so within its memory budget; as text
/// they take up to some times as much, and the incident's story and the topology come on top. It is
/// without secrets, as all signals are since they came in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IncidentEvidence {
    pub(crate) format: u32,
    /// The version that wrote it, for people.
    pub(crate) made_by: String,
    pub(crate) tenant: TenantId,
    pub(crate) seed: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) flags: Vec<(String, bool)>,
    pub(crate) topology: Topology,
    /// The story of the incident until it was looked at.
    pub(crate) events: Vec<HealEvent>,
    pub(crate) from: Timestamp,
    pub(crate) to: Timestamp,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) besides: Vec<(Timestamp, Timestamp)>,
    #[serde(default)]
    pub(crate) left_out: LeftOut,
    /// From when on no line and no span was left out; absent if none was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) complete_since: Option<Timestamp>,
    #[serde(default)]
    series: Vec<Series>,
    #[serde(default)]
    logs: Vec<LogRecord>,
    #[serde(default)]
    spans: Vec<SpanRecord>,
    #[serde(default)]
    changes: Vec<Change>,
    #[serde(default)]
    health: Vec<HealthReport>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Series {
    metric: String,
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    labels: Labels,
    /// Nanoseconds since 1970, and the value.
    points: Vec<(i64, Value)>,
}

/// A number, or the word for one that JSON does not know.
#[derive(Debug, Clone, Copy)]
struct Value(f64);

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0 || (self.0.is_nan() && other.0.is_nan())
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.is_finite() {
            serializer.serialize_f64(self.0)
        } else {
            serializer.collect_str(&self.0)
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Number(f64),
            Word(String),
        }
        match Written::deserialize(deserializer)? {
            Written::Number(value) => Ok(Self(value)),
            Written::Word(word) => match word.as_str() {
                "NaN" => Ok(Self(f64::NAN)),
                "inf" => Ok(Self(f64::INFINITY)),
                "-inf" => Ok(Self(f64::NEG_INFINITY)),
                _ => {
                    let given = de::Unexpected::Str(&word);
                    Err(de::Error::invalid_value(
                        given,
                        &"a number, NaN, inf or -inf",
                    ))
                }
            },
        }
    }
}

impl IncidentEvidence {
    /// With these signals; everything but the signals is in `story`.
    pub(crate) fn new(story: Story, frozen: &Frozen) -> Self {
        let series = frozen.series.iter().map(|window| Series {
            metric: window.key.metric.clone(),
            labels: window.key.labels.clone(),
            points: window
                .points
                .iter()
                .map(|(at, value)| (at.as_nanos(), Value(*value)))
                .collect(),
        });
        Self {
            format: FORMAT,
            made_by: format!("homeostasis {}", env!("CARGO_PKG_VERSION")),
            tenant: story.tenant,
            seed: story.seed,
            flags: story.flags,
            topology: story.topology,
            events: story.events,
            from: story.from,
            to: story.to,
            besides: story.besides,
            left_out: story.left_out,
            complete_since: (story.complete_since > story.from).then_some(story.complete_since),
            series: series.collect(),
            logs: frozen.logs.clone(),
            spans: frozen.spans.clone(),
            changes: frozen.changes.clone(),
            health: frozen.health.clone(),
        }
    }

    /// Reads what [`to_json`](Self::to_json) wrote.
    ///
    /// # Errors
    /// If the text is no JSON of that form (with line and column), or its content cannot be: another
    /// format, a story that is no open incident, points out of order, a stretch the wrong way round.
    pub fn from_json(text: &str) -> Result<Self, EvidenceError> {
        let read: Self = serde_json::from_str(text)?;
        let wrong = |place: &str, value: String, expected: &str| EvidenceError::Content {
            place: place.to_owned(),
            value,
            expected: expected.to_owned(),
        };
        if read.format != FORMAT {
            return Err(wrong(
                "format",
                read.format.to_string(),
                &FORMAT.to_string(),
            ));
        }
        if read.from > read.to {
            return Err(wrong("from", read.from.to_string(), "nothing after `to`"));
        }
        for (idx, series) in read.series.iter().enumerate() {
            if let Some(pair) = series.points.windows(2).find(|pair| pair[0].0 > pair[1].0) {
                let place = format!("series[{idx}].points");
                let value = format!("{} before {}", pair[0].0, pair[1].0);
                return Err(wrong(&place, value, "points by time"));
            }
        }
        read.incident()?;
        Ok(read)
    }

    /// As JSON. Floats keep every bit.
    ///
    /// # Errors
    /// Never for evidence that the engine made; if it were changed into something JSON cannot hold.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self)
    }

    /// The incident as it was.
    ///
    /// # Errors
    /// If its events are no story of an incident that is open.
    pub fn incident(&self) -> Result<Incident, EvidenceError> {
        let wrong = |value: String| EvidenceError::Content {
            place: "events".to_owned(),
            value,
            expected: "the story of an open incident".to_owned(),
        };
        let incident = replay(&self.events).map_err(|error| wrong(error.to_string()))?;
        let incident = incident.ok_or_else(|| wrong("none".to_owned()))?;
        if incident.is_closed() {
            return Err(wrong(format!("{}, which is closed", incident.id)));
        }
        Ok(incident)
    }

    /// What was left out of it to stay within the memory budget.
    pub fn left_out(&self) -> LeftOut {
        self.left_out
    }

    /// The signals, to be looked at.
    pub(crate) fn frozen(&self) -> Frozen {
        let series = self.series.iter().map(|series| SeriesWindow {
            key: Arc::new(SeriesKey {
                metric: series.metric.clone(),
                labels: series.labels.clone(),
            }),
            points: series
                .points
                .iter()
                .map(|(at, value)| (Timestamp::from_nanos(*at), value.0))
                .collect(),
        });
        let mut frozen = Frozen {
            series: series.collect(),
            logs: self.logs.clone(),
            spans: self.spans.clone(),
            changes: self.changes.clone(),
            health: self.health.clone(),
        };
        frozen.in_order();
        frozen
    }
}

/// What evidence holds beside signals.
#[derive(Debug)]
pub(crate) struct Story {
    pub(crate) tenant: TenantId,
    pub(crate) seed: u64,
    pub(crate) flags: Vec<(String, bool)>,
    pub(crate) topology: Topology,
    pub(crate) events: Vec<HealEvent>,
    pub(crate) from: Timestamp,
    pub(crate) to: Timestamp,
    pub(crate) besides: Vec<(Timestamp, Timestamp)>,
    pub(crate) left_out: LeftOut,
    pub(crate) complete_since: Timestamp,
}
