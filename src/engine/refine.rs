//! Refinement: what is done once to every record between the intake and everything else.
//!
//! It runs on the engine's task, never on the host's threads.

use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use homeostasis_core::port::Redactor;
use homeostasis_core::{ErrorKind, ErrorReport};

use crate::engine::guard::panic_message;
use crate::engine::intake::Batch;
use crate::engine::shared::Shared;

/// Enriches the log records, and takes the secrets out of everything.
///
/// Records are redacted before they are enriched too: an enricher that cuts or takes apart a text
/// parts a secret from the name that tells it.
pub(crate) fn refine(shared: &Shared, batch: &mut Batch) {
    let redactor = &*shared.journal.redactor;
    if !shared.enrichers.is_empty() {
        batch.logs.iter_mut().for_each(|log| log.redact(redactor));
    }
    for (i, enricher) in shared.enrichers.iter().enumerate() {
        let panics = batch.logs.iter_mut().filter_map(|record| {
            // One it panics at goes on as it is.
            catch_unwind(AssertUnwindSafe(|| enricher.enrich(record))).err()
        });
        if let Some(panic) = panics.last() {
            let message = format!("panicked: {}", panic_message(panic.as_ref()));
            let report = ErrorReport::message(ErrorKind::Permanent, message);
            shared.blame("enricher", &format!("enrichers[{i}]"), &report);
        }
    }
    batch.logs.iter_mut().for_each(|log| log.redact(redactor));
    batch
        .spans
        .iter_mut()
        .for_each(|span| span.redact(redactor));
    batch
        .changes
        .iter_mut()
        .for_each(|change| change.redact(redactor));
    batch
        .health
        .iter_mut()
        .for_each(|report| report.redact(redactor));
}

/// What a text becomes whose redaction panicked: nothing of it is known to be no secret.
const UNREADABLE: &str = "[redacted:unreadable]";

/// A redactor whose panics hide the text instead of ending the engine.
#[derive(Debug)]
pub(crate) struct GuardedRedactor(pub(crate) Arc<dyn Redactor>);

impl Redactor for GuardedRedactor {
    fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        guarded(|| self.0.text(text))
    }

    fn field<'a>(&self, name: &str, value: &'a str) -> Cow<'a, str> {
        guarded(|| self.0.field(name, value))
    }
}

fn guarded<'a>(redact: impl FnOnce() -> Cow<'a, str>) -> Cow<'a, str> {
    catch_unwind(AssertUnwindSafe(redact)).unwrap_or_else(|_| {
        // Not the message: it may hold the text.
        tracing::error!("the redactor panicked; a text is hidden as a whole");
        Cow::Owned(UNREADABLE.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Panics;

    impl Redactor for Panics {
        fn text<'a>(&self, _: &'a str) -> Cow<'a, str> {
            panic!("a defect of the redactor")
        }

        fn field<'a>(&self, _: &str, _: &'a str) -> Cow<'a, str> {
            panic!("a defect of the redactor")
        }
    }

    #[test]
    fn a_text_whose_redaction_panics_is_hidden() {
        let guarded = GuardedRedactor(Arc::new(Panics));
        assert_eq!(guarded.text("hunter2"), UNREADABLE);
        assert_eq!(guarded.field("note", "hunter2"), UNREADABLE);
    }
}
