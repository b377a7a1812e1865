//! Refinement: what is done once to every record between the intake and everything else.
//!
//! It runs on the engine's task, never on the host's threads.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use homeostasis_core::port::{Enricher, Redactor};
use homeostasis_core::signal::Fields;
use homeostasis_core::{ErrorKind, ErrorReport};

use crate::engine::guard::panic_message;
use crate::engine::intake::Batch;
use crate::engine::shared::Shared;

/// After about so many bytes the other tasks of the host's runtime get their turn: less than a
/// millisecond of work.
const SLICE_BYTES: usize = 64 << 10;

/// Enriches the log records, and takes the secrets out of everything.
///
/// Records are redacted before they are enriched too: an enricher that cuts or takes apart a text
/// parts a secret from the name that tells it.
pub(crate) async fn refine(shared: &Shared, batch: &mut Batch) {
    let panics = refine_with(&shared.enrichers, &*shared.journal.redactor, batch).await;
    for (i, message) in panics {
        let report = ErrorReport::message(ErrorKind::Permanent, message);
        shared.blame("enricher", &format!("enrichers[{i}]"), &report);
    }
}

/// The same; gives the last panic of each enricher that panicked.
async fn refine_with(
    enrichers: &[Arc<dyn Enricher>],
    redactor: &dyn Redactor,
    batch: &mut Batch,
) -> BTreeMap<usize, String> {
    let mut panics = BTreeMap::new();
    let mut slice = Slice::default();
    for log in &mut batch.logs {
        if !enrichers.is_empty() {
            log.redact(redactor);
        }
        for (i, enricher) in enrichers.iter().enumerate() {
            // One it panics at goes on as it is.
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| enricher.enrich(log))) {
                panics.insert(i, format!("panicked: {}", panic_message(panic.as_ref())));
            }
        }
        log.redact(redactor);
        // What led to an error is bounded, but long.
        let error = log.error.as_ref().map_or(0, |_| SLICE_BYTES / 16);
        slice
            .add(log.message.len() + error + size_of(&log.fields))
            .await;
    }
    for span in &mut batch.spans {
        span.redact(redactor);
        slice
            .add(span.operation.len() + size_of(&span.fields))
            .await;
    }
    for change in &mut batch.changes {
        change.redact(redactor);
        slice
            .add(change.summary.len() + size_of(&change.fields))
            .await;
    }
    for report in &mut batch.health {
        report.redact(redactor);
        slice.add(report.detail.len()).await;
    }
    panics
}

fn size_of(fields: &Fields) -> usize {
    fields.iter().map(|(_, value)| value.len()).sum()
}

/// How much was done since the others had their turn.
#[derive(Default)]
struct Slice(usize);

impl Slice {
    async fn add(&mut self, bytes: usize) {
        // A record costs something, however short.
        self.0 += bytes + 64;
        if self.0 >= SLICE_BYTES {
            self.0 = 0;
            tokio::task::yield_now().await;
        }
    }
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
    use homeostasis_core::Timestamp;
    use homeostasis_core::port::NoRedaction;
    use homeostasis_core::signal::{Level, LogRecord};

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

    /// Knows a password by the words before it, as those of real systems are known.
    #[derive(Debug)]
    struct ByName;

    impl Redactor for ByName {
        fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
            text.replace("password=hunter2", "password=[redacted:password]")
                .into()
        }

        fn field<'a>(&self, _: &str, value: &'a str) -> Cow<'a, str> {
            self.text(value)
        }
    }

    /// Cuts a message in two at the `=`, and adds a secret of its own.
    #[derive(Debug)]
    struct TakesApart;

    impl Enricher for TakesApart {
        fn enrich(&self, log: &mut LogRecord) {
            let (name, value) = log.message.split_once('=').unwrap();
            let (name, value) = (name.to_owned(), value.to_owned());
            log.fields.insert("rest", value);
            log.message = name;
            log.fields.insert("added", "password=hunter2");
        }
    }

    #[tokio::test]
    async fn what_an_enricher_takes_apart_or_adds_holds_no_secret() {
        let record = LogRecord::new(Timestamp::EPOCH, Level::Info, "login password=hunter2");
        let mut batch = Batch {
            logs: vec![record],
            ..Batch::default()
        };
        let enrichers: [Arc<dyn Enricher>; 1] = [Arc::new(TakesApart)];
        refine_with(&enrichers, &ByName, &mut batch).await;
        let told = format!("{:?}", batch.logs);
        // Redacted before it was parted from the name that tells it, and again afterwards.
        assert!(!told.contains("hunter2"), "{told}");
        assert_eq!(batch.logs[0].message, "login password");
        let field = |name| batch.logs[0].fields.get(name);
        assert_eq!(field("rest"), Some("[redacted:password]"));
        assert_eq!(field("added"), Some("password=[redacted:password]"));
    }

    #[tokio::test]
    async fn a_large_turn_lets_the_other_tasks_of_the_thread_run_in_between() {
        let record = LogRecord::new(Timestamp::EPOCH, Level::Info, "x".repeat(8 << 10));
        let mut batch = Batch {
            logs: vec![record; 800],
            ..Batch::default()
        };
        let mut n_turns = 0;
        let others = async {
            loop {
                n_turns += 1;
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            biased;
            _ = refine_with(&[], &NoRedaction, &mut batch) => {}
            () = others => {}
        }
        assert!(n_turns >= 80, "{n_turns}");
    }
}
