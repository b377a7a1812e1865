//! Reads the fields of a `tracing` event or span.

use std::error::Error;
use std::fmt;

use homeostasis_core::signal::{self, CauseRelation, ErrorEvent};
use tracing::Metadata;
use tracing::field::{Field, Visit};

use super::bounded::{cut, text_of};

/// The fields that tie records of one request together, in order of preference.
const CORRELATION: [&str; 3] = ["request_id", "correlation_id", "trace_id"];

/// How many sources of an error are followed.
const MAX_SOURCES: usize = 16;

/// What was read from one event or span.
#[derive(Debug, Default)]
pub(super) struct Fields {
    /// The field `message`.
    pub(super) message: Option<String>,
    /// All others.
    pub(super) named: signal::Fields,
    /// Whether a field `error` says that something failed.
    pub(super) failed: bool,
    /// The last error value, with its sources as causes.
    pub(super) error: Option<ErrorEvent>,
}

impl Fields {
    /// Nothing read, with room for the fields of `metadata`.
    pub(super) fn of(metadata: &Metadata<'_>) -> Self {
        // The message is kept apart.
        let n = metadata.fields().len().saturating_sub(1);
        Self {
            named: signal::Fields::with_capacity(n),
            ..Self::default()
        }
    }

    /// The correlation id among the fields.
    pub(super) fn correlation(&self) -> Option<&str> {
        if self.named.is_empty() {
            return None;
        }
        CORRELATION
            .iter()
            .find_map(|name| self.named.get(name))
            .filter(|id| !id.is_empty())
    }

    fn keep(&mut self, field: &Field, text: String) {
        if field.name() == "message" {
            self.message = Some(text);
        } else {
            self.failed |= field.name() == "error" && !text.is_empty();
            self.named.insert(field.name(), text);
        }
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.keep(field, cut(value));
    }

    // Numbers have a short text and a formatter that does not panic.
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.keep(field, value.to_string());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.keep(field, value.to_string());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        if field.name() == "error" {
            self.failed |= value;
            self.named.insert("error", value.to_string());
        } else {
            self.keep(field, value.to_string());
        }
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        // A chain that bites its own tail must not hold the host.
        let (mut texts, mut next) = (Vec::new(), Some(value));
        while let Some(error) = next.filter(|_| texts.len() <= MAX_SOURCES) {
            texts.push(text_of(format_args!("{error}")));
            next = error.source();
        }
        let chain = cut(&texts.join(": "));
        self.failed = true;
        self.error = texts.into_iter().rev().fold(None, |cause, text| {
            let error = ErrorEvent::new("rust", "error", text);
            Some(match cause {
                Some(cause) => error.because(CauseRelation::CausedBy, cause),
                None => error,
            })
        });
        self.keep(field, chain);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.keep(field, text_of(format_args!("{value:?}")));
    }
}
