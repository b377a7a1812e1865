//! What flows in: samples, log records, spans, changes, health reports.
//!
//! One schema for all sources; a [`SignalBatch`] is how detectors see them.
//! Samples are cheap and numerous, so their names are interned once in a [`SeriesCatalog`] and a
//! [`Sample`] is three words; everything else is a rare record that owns its text.

mod batch;
mod change;
mod error_event;
mod fields;
mod health;
mod log;
mod redact;
mod series;
mod sink;
mod span;
mod template;
mod wire;

pub use batch::{Interest, Signal, SignalBatch};
pub use change::{Change, ChangeKind};
pub use error_event::{CauseRelation, ErrorCause, ErrorEvent, Frame};
pub use fields::Fields;
pub use health::{HealthReport, HealthState, HealthTier, TierPlan};
pub use log::{Level, LogRecord};
pub(crate) use redact::redact_text;
pub use series::{Labels, Sample, SeriesCatalog, SeriesId, SeriesKey, SeriesLimits};
pub use sink::{SignalSink, VecSink};
pub use span::{SpanRecord, SpanStatus};
pub use template::LogTemplate;
#[cfg(feature = "schema")]
#[cfg_attr(docsrs, doc(cfg(feature = "schema")))]
pub use wire::signal_schema;
pub use wire::{WireChange, WireSample, WireSignal};
