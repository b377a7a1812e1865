//! How signals reach a detector: in batches, by kind.

use crate::signal::{Change, HealthReport, LogRecord, Sample, SeriesCatalog, SpanRecord};

/// Any one signal.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Signal {
    /// A measurement.
    Sample(Sample),
    /// A log record.
    Log(LogRecord),
    /// A finished span.
    Span(SpanRecord),
    /// A change of the system.
    Change(Change),
    /// A probe's finding.
    Health(HealthReport),
}

/// Which kinds of signal a stage wants to see.
///
/// ```
/// use homeostasis::core::signal::Interest;
/// let interest = Interest::samples().and(Interest::health());
/// assert!(interest.wants_samples() && !interest.wants_logs());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interest(u8);

impl Interest {
    const SAMPLES: u8 = 1;
    const LOGS: u8 = 2;
    const SPANS: u8 = 4;
    const CHANGES: u8 = 8;
    const HEALTH: u8 = 16;

    /// Everything.
    pub const fn all() -> Self {
        Self(31)
    }

    /// Only samples.
    pub const fn samples() -> Self {
        Self(Self::SAMPLES)
    }

    /// Only log records.
    pub const fn logs() -> Self {
        Self(Self::LOGS)
    }

    /// Only spans.
    pub const fn spans() -> Self {
        Self(Self::SPANS)
    }

    /// Only changes.
    pub const fn changes() -> Self {
        Self(Self::CHANGES)
    }

    /// Only health reports.
    pub const fn health() -> Self {
        Self(Self::HEALTH)
    }

    /// Both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether samples are wanted.
    pub const fn wants_samples(self) -> bool {
        self.0 & Self::SAMPLES != 0
    }

    /// Whether log records are wanted.
    pub const fn wants_logs(self) -> bool {
        self.0 & Self::LOGS != 0
    }

    /// Whether spans are wanted.
    pub const fn wants_spans(self) -> bool {
        self.0 & Self::SPANS != 0
    }

    /// Whether changes are wanted.
    pub const fn wants_changes(self) -> bool {
        self.0 & Self::CHANGES != 0
    }

    /// Whether health reports are wanted.
    pub const fn wants_health(self) -> bool {
        self.0 & Self::HEALTH != 0
    }
}

/// What arrived since the last call, oldest first within each kind.
///
/// Samples of one series may be late or repeated; each detector says what it does with them.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct SignalBatch<'a> {
    /// The names behind the samples.
    pub catalog: &'a SeriesCatalog,
    /// Measurements.
    pub samples: &'a [Sample],
    /// Log records.
    pub logs: &'a [LogRecord],
    /// Spans.
    pub spans: &'a [SpanRecord],
    /// Changes.
    pub changes: &'a [Change],
    /// Health reports.
    pub health: &'a [HealthReport],
}

impl<'a> SignalBatch<'a> {
    /// A batch that holds nothing yet.
    pub fn empty(catalog: &'a SeriesCatalog) -> Self {
        Self {
            catalog,
            samples: &[],
            logs: &[],
            spans: &[],
            changes: &[],
            health: &[],
        }
    }

    /// The same with these samples.
    pub fn with_samples(mut self, samples: &'a [Sample]) -> Self {
        self.samples = samples;
        self
    }

    /// The same with these log records.
    pub fn with_logs(mut self, logs: &'a [LogRecord]) -> Self {
        self.logs = logs;
        self
    }

    /// The same with these spans.
    pub fn with_spans(mut self, spans: &'a [SpanRecord]) -> Self {
        self.spans = spans;
        self
    }

    /// The same with these changes.
    pub fn with_changes(mut self, changes: &'a [Change]) -> Self {
        self.changes = changes;
        self
    }

    /// The same with these health reports.
    pub fn with_health(mut self, health: &'a [HealthReport]) -> Self {
        self.health = health;
        self
    }

    /// What of it `interest` covers.
    pub fn filtered(self, interest: Interest) -> Self {
        Self {
            catalog: self.catalog,
            samples: if interest.wants_samples() {
                self.samples
            } else {
                &[]
            },
            logs: if interest.wants_logs() {
                self.logs
            } else {
                &[]
            },
            spans: if interest.wants_spans() {
                self.spans
            } else {
                &[]
            },
            changes: if interest.wants_changes() {
                self.changes
            } else {
                &[]
            },
            health: if interest.wants_health() {
                self.health
            } else {
                &[]
            },
        }
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.samples.is_empty()
            && self.logs.is_empty()
            && self.spans.is_empty()
            && self.changes.is_empty()
            && self.health.is_empty()
    }
}
