//! Signals as JSON: one form for all of them, without a catalog.

use serde::{Deserialize, Serialize};

use crate::signal::{
    Change, ChangeKind, Fields, HealthReport, Labels, LogRecord, Sample, SeriesCatalog, SeriesKey,
    Signal, SpanRecord,
};
use crate::target::Target;
use crate::time::Timestamp;

/// A signal as it is written and read as JSON.
///
/// `kind` says what it is: `sample`, `log`, `span`, `health`, or the kind of a change: `deploy`,
/// `flag`, `config`, `migration`, `scale`. A sample has its metric and labels in place of a handle,
/// so that it means the same everywhere. The feature `schema` describes it as JSON Schema.
///
/// ```
/// use homeostasis::core::signal::{SeriesCatalog, Signal, WireSignal};
/// let catalog = SeriesCatalog::default();
/// let line = r#"{"kind":"sample","metric":"up","labels":{"service":"shop"},"at":"2026-11-22T01:00:00Z","value":1.0}"#;
/// let signal = serde_json::from_str::<WireSignal>(line)?.into_signal(&catalog);
/// let Signal::Sample(sample) = &signal else { panic!() };
/// assert_eq!(catalog.key(sample.series).unwrap().to_string(), r#"up{service="shop"}"#);
/// let back = WireSignal::of(&signal, &catalog).unwrap();
/// assert_eq!(serde_json::to_string(&back)?, line);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum WireSignal {
    /// A measurement.
    Sample(WireSample),
    /// A log record.
    Log(LogRecord),
    /// A finished span.
    Span(SpanRecord),
    /// A probe's finding.
    Health(HealthReport),
    /// A new version runs.
    Deploy(WireChange),
    /// A feature flag moved.
    Flag(WireChange),
    /// Configuration changed.
    Config(WireChange),
    /// A schema or data migration ran.
    Migration(WireChange),
    /// An instance was added, removed, started or stopped.
    Scale(WireChange),
}

/// One measurement with the name of its series.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WireSample {
    /// What is measured, with its unit as suffix.
    pub metric: String,
    /// Of whom, and which part of it.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
    /// When.
    pub at: Timestamp,
    /// How much: a number, or `"NaN"` ("measured, no value"), `"+Inf"`, `"-Inf"`.
    #[serde(with = "number")]
    #[cfg_attr(feature = "schema", schemars(with = "number::Wire"))]
    pub value: f64,
}

/// One change; its kind is that of the signal.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WireChange {
    /// When it took effect.
    pub at: Timestamp,
    /// What was changed.
    pub target: Target,
    /// One line for people: `v1 -> v2`.
    pub summary: String,
    /// Details: `version`, `previous`, `commit`, `by` …
    #[serde(default, skip_serializing_if = "Fields::is_empty")]
    pub fields: Fields,
}

impl WireSignal {
    /// What `signal` is written as; `None` for a sample whose series `catalog` does not know.
    pub fn of(signal: &Signal, catalog: &SeriesCatalog) -> Option<Self> {
        Some(match signal {
            Signal::Sample(sample) => {
                let key = catalog.key(sample.series)?;
                Self::Sample(WireSample {
                    metric: key.metric.clone(),
                    labels: key.labels.clone(),
                    at: sample.at,
                    value: sample.value,
                })
            }
            Signal::Log(record) => Self::Log(record.clone()),
            Signal::Span(span) => Self::Span(span.clone()),
            Signal::Health(report) => Self::Health(report.clone()),
            Signal::Change(change) => {
                let body = WireChange {
                    at: change.at,
                    target: change.target.clone(),
                    summary: change.summary.clone(),
                    fields: change.fields.clone(),
                };
                match change.kind {
                    ChangeKind::Deploy => Self::Deploy(body),
                    ChangeKind::Flag => Self::Flag(body),
                    ChangeKind::Config => Self::Config(body),
                    ChangeKind::Migration => Self::Migration(body),
                    ChangeKind::Scale => Self::Scale(body),
                }
            }
        })
    }

    /// The signal; a sample's series is interned in `catalog`.
    pub fn into_signal(self, catalog: &SeriesCatalog) -> Signal {
        let change = |kind, body: WireChange| {
            let mut change = Change::new(body.at, kind, body.target, body.summary);
            change.fields = body.fields;
            Signal::Change(change)
        };
        match self {
            Self::Sample(sample) => {
                let key = SeriesKey {
                    metric: sample.metric,
                    labels: sample.labels,
                };
                Signal::Sample(Sample {
                    series: catalog.intern(&key),
                    at: sample.at,
                    value: sample.value,
                })
            }
            Self::Log(record) => Signal::Log(record),
            Self::Span(span) => Signal::Span(span),
            Self::Health(report) => Signal::Health(report),
            Self::Deploy(body) => change(ChangeKind::Deploy, body),
            Self::Flag(body) => change(ChangeKind::Flag, body),
            Self::Config(body) => change(ChangeKind::Config, body),
            Self::Migration(body) => change(ChangeKind::Migration, body),
            Self::Scale(body) => change(ChangeKind::Scale, body),
        }
    }
}

/// The JSON Schema (draft 2020-12) of [`WireSignal`] and all it holds.
///
/// The one of this version is `docs/schema/signal.schema.json` in the repository.
#[cfg(feature = "schema")]
#[cfg_attr(docsrs, doc(cfg(feature = "schema")))]
pub fn signal_schema() -> serde_json::Value {
    schemars::schema_for!(WireSignal).to_value()
}

/// Numbers that JSON cannot hold, as words.
mod number {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    #[serde(untagged)]
    #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
    pub(super) enum Wire {
        Number(f64),
        Word(Word),
    }

    #[derive(Serialize, Deserialize)]
    #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
    pub(super) enum Word {
        NaN,
        #[serde(rename = "+Inf")]
        Infinite,
        #[serde(rename = "-Inf")]
        NegativeInfinite,
    }

    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "serde hands out references"
    )]
    pub(super) fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        let wire = match *value {
            value if value.is_finite() => Wire::Number(value),
            value if value.is_nan() => Wire::Word(Word::NaN),
            value if value > 0.0 => Wire::Word(Word::Infinite),
            _ => Wire::Word(Word::NegativeInfinite),
        };
        wire.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
        let wire = Wire::deserialize(deserializer).map_err(|_| {
            D::Error::custom(r#"value, expected a number, "NaN", "+Inf" or "-Inf""#)
        })?;
        Ok(match wire {
            Wire::Number(value) => value,
            Wire::Word(Word::NaN) => f64::NAN,
            Wire::Word(Word::Infinite) => f64::INFINITY,
            Wire::Word(Word::NegativeInfinite) => f64::NEG_INFINITY,
        })
    }
}
