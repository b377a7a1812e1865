//! Reads the fields of a `tracing` event or span.

use std::error::Error;
use std::fmt;

use homeostasis_core::signal;
use tracing::Metadata;
use tracing::field::{Field, Visit};

use super::bounded::{cut, text_of};

/// The fields that tie records of one request together, in order of preference.
const CORRELATION: [&str; 3] = ["request_id", "correlation_id", "trace_id"];

/// What was read from one event or span.
#[derive(Debug, Default)]
pub(super) struct Fields {
    /// The field `message`.
    pub(super) message: Option<String>,
    /// All others.
    pub(super) named: signal::Fields,
    /// Whether a field `error` says that something failed.
    pub(super) failed: bool,
    /// The chain of the last error value, outermost first.
    pub(super) error: Option<String>,
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
        let mut chain = text_of(format_args!("{value}"));
        let mut source = value.source();
        // A chain that bites its own tail must not hold the host.
        for _ in 0..16 {
            let Some(cause) = source else { break };
            chain.push_str(": ");
            chain.push_str(&text_of(format_args!("{cause}")));
            source = cause.source();
        }
        let chain = cut(&chain);
        self.failed = true;
        self.error = Some(chain.clone());
        self.keep(field, chain);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.keep(field, text_of(format_args!("{value:?}")));
    }
}
