//! Redaction of signals, in place.
//!
//! Every structure is taken apart field by field, so that a new field does not compile until
//! somebody decided about it. Names of services and of plug-ins, times and numbers stay.

use std::borrow::Cow;

use crate::port::Redactor;
use crate::signal::{
    Change, ErrorCause, ErrorEvent, Fields, Frame, HealthReport, Labels, LogRecord, SeriesKey,
    Signal, SpanRecord,
};

/// Redacts a text in place; costs nothing if it holds no secret.
pub(crate) fn redact_text(text: &mut String, redactor: &dyn Redactor) {
    if let Cow::Owned(redacted) = redactor.text(text) {
        *text = redacted;
    }
}

fn redact_name(name: &mut Cow<'static, str>, redactor: &dyn Redactor) {
    // What stands in the program is no secret.
    if let Cow::Owned(text) = name {
        redact_text(text, redactor);
    }
}

impl Signal {
    /// Takes the secrets out of its texts. Redacting twice changes nothing.
    ///
    /// A sample holds none: its series is redacted when it is interned.
    pub fn redact(&mut self, redactor: &dyn Redactor) {
        match self {
            Self::Sample(_) => {}
            Self::Log(record) => record.redact(redactor),
            Self::Span(span) => span.redact(redactor),
            Self::Change(change) => change.redact(redactor),
            Self::Health(report) => report.redact(redactor),
        }
    }
}

impl LogRecord {
    /// Takes the secrets out of its texts, fields and error.
    pub fn redact(&mut self, redactor: &dyn Redactor) {
        let Self {
            at: _,
            level: _,
            target: _,
            component,
            message,
            fields,
            correlation,
            error,
            template,
            weight: _,
        } = self;
        redact_name(component, redactor);
        redact_text(message, redactor);
        fields.redact(redactor);
        if let Some(correlation) = correlation {
            redact_text(correlation, redactor);
        }
        if let Some(error) = error {
            error.redact(redactor);
        }
        if let Some(template) = template {
            template.redact(redactor);
        }
    }
}

impl SpanRecord {
    /// Takes the secrets out of its operation and fields.
    pub fn redact(&mut self, redactor: &dyn Redactor) {
        let Self {
            at: _,
            duration: _,
            operation,
            target: _,
            trace,
            span: _,
            parent: _,
            status: _,
            fields,
        } = self;
        redact_name(operation, redactor);
        if let Some(trace) = trace {
            redact_text(trace, redactor);
        }
        fields.redact(redactor);
    }
}

impl Change {
    /// Takes the secrets out of its summary and fields.
    pub fn redact(&mut self, redactor: &dyn Redactor) {
        let Self {
            at: _,
            kind: _,
            target: _,
            summary,
            fields,
        } = self;
        redact_text(summary, redactor);
        fields.redact(redactor);
    }
}

impl HealthReport {
    /// Takes the secrets out of its detail.
    pub fn redact(&mut self, redactor: &dyn Redactor) {
        let Self {
            at: _,
            target: _,
            check,
            state: _,
            latency: _,
            detail,
            tier: _,
            attempts: _,
            interval: _,
        } = self;
        redact_text(check, redactor);
        redact_text(detail, redactor);
    }
}

impl ErrorEvent {
    /// Takes the secrets out of its message, its frames and everything that led to it.
    pub fn redact(&mut self, redactor: &dyn Redactor) {
        // Without recursion: how deep the chain goes is said by a text from outside.
        let mut left = vec![self];
        while let Some(error) = left.pop() {
            let Self {
                language,
                kind,
                message,
                frames,
                causes,
                fingerprint,
                environment: _,
            } = error;
            for text in [language, kind, message, fingerprint] {
                redact_text(text, redactor);
            }
            for Frame {
                function,
                file,
                line: _,
                column: _,
                in_project: _,
            } in frames
            {
                redact_text(function, redactor);
                redact_text(file, redactor);
            }
            left.extend(
                causes
                    .iter_mut()
                    .map(|ErrorCause { relation: _, error }| error),
            );
        }
    }
}

impl Fields {
    /// Takes the secrets out of the values, by their names too, and out of names that are not the
    /// program's own.
    pub fn redact(&mut self, redactor: &dyn Redactor) {
        for (name, value) in self.iter_mut() {
            if let Cow::Owned(redacted) = redactor.field(name, value) {
                *value = redacted;
            }
        }
        self.rename(|name| match name {
            Cow::Owned(text) => match redactor.text(text) {
                Cow::Owned(redacted) => Some(redacted),
                Cow::Borrowed(_) => None,
            },
            Cow::Borrowed(_) => None,
        });
    }
}

impl SeriesKey {
    /// The same without secrets in its metric and labels; borrowed if there are none.
    pub fn redacted(&self, redactor: &dyn Redactor) -> Cow<'_, Self> {
        let metric = redactor.text(&self.metric);
        let labels: Vec<_> = self
            .labels
            .iter()
            .map(|(name, value)| (redactor.text(name), redactor.field(name, value)))
            .collect();
        let is_clean = |text: &Cow<'_, str>| matches!(text, Cow::Borrowed(_));
        if is_clean(&metric)
            && labels
                .iter()
                .all(|(name, value)| is_clean(name) && is_clean(value))
        {
            return Cow::Borrowed(self);
        }
        let labels = labels
            .into_iter()
            .map(|(name, value)| (name.into_owned(), value.into_owned()));
        Cow::Owned(Self {
            metric: metric.into_owned(),
            labels: labels.collect::<Labels>(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signal::{CauseRelation, ChangeKind, HealthState, Level, LogTemplate};
    use crate::target::Target;
    use crate::testing::MaskRedactor;
    use crate::time::Timestamp;
    use std::time::Duration;

    /// All that is kept of a signal, as text.
    fn text(signal: &mut Signal) -> String {
        signal.redact(&MaskRedactor("hunter2"));
        format!("{signal:?}")
    }

    #[test]
    fn no_text_of_a_signal_keeps_its_secret() {
        let (at, target) = (Timestamp::EPOCH, Target::service("orders").unwrap());
        let secret = || "hunter2 in it".to_owned();
        let mut log = LogRecord::new(at, Level::Error, secret())
            .of(target.clone())
            .with(secret(), secret());
        log.component = Cow::Owned(secret());
        log.correlation = Some(secret());
        let mut error = ErrorEvent::new("rust", secret(), secret());
        error.frames.push(Frame {
            function: secret(),
            file: secret(),
            ..Frame::default()
        });
        let cause = ErrorEvent::new("rust", "E", secret());
        log.error = Some(Box::new(error.because(CauseRelation::CausedBy, cause)));
        log.template = Some(LogTemplate::new(1, secret()));
        let mut span = SpanRecord::new(at, Duration::ZERO, secret());
        span.trace = Some(secret());
        span.fields.insert("url", secret());
        let change =
            Change::new(at, ChangeKind::Config, target.clone(), secret()).with("by", secret());
        let health = HealthReport::new(at, target, secret(), HealthState::Healthy).saying(secret());
        for signal in [
            Signal::Log(log),
            Signal::Span(span),
            Signal::Change(change),
            Signal::Health(health),
        ] {
            assert!(format!("{signal:?}").contains("hunter2"));
            let text = text(&mut signal.clone());
            assert!(!text.contains("hunter2"), "{text}");
            assert!(text.contains("[redacted:test] in it"), "{text}");
        }
    }

    #[test]
    fn a_chain_of_causes_may_be_deep() {
        let mut error = ErrorEvent::new("java", "E", "hunter2");
        for _ in 0..10_000 {
            error = ErrorEvent::new("java", "E", "m").because(CauseRelation::CausedBy, error);
        }
        error.redact(&MaskRedactor("hunter2"));
        assert_eq!(error.root().message, "[redacted:test]");
        // Dropping it is recursive: take it apart.
        while let Some(cause) = error.causes.pop() {
            error = cause.error;
        }
    }
}
