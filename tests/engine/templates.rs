//! Templates of log messages, from the record to the incident.

use std::sync::{Arc, Mutex};

use homeostasis::core::record::{Anomaly, EventKind, Subject};
use homeostasis::core::signal::{Interest, Level, LogRecord, SignalBatch};
use homeostasis::core::stage::{DetectError, Detector};
use homeostasis::core::{Context, Target, async_trait};
use homeostasis::detect::{LogTemplates, LogTemplatesConfig};
use homeostasis::{Homeostasis, SimulatedClock};

use crate::world::{START, is, pass, until};

/// Keeps what detectors are shown.
#[derive(Debug)]
struct Keeps(Arc<Mutex<Vec<LogRecord>>>);

#[async_trait]
impl Detector for Keeps {
    fn name(&self) -> &str {
        "keeps"
    }

    fn interest(&self) -> Interest {
        Interest::logs()
    }

    async fn detect(
        &mut self,
        _: &Context,
        batch: SignalBatch<'_>,
    ) -> Result<Vec<Anomaly>, DetectError> {
        self.0.lock().unwrap().extend_from_slice(batch.logs);
        Ok(Vec::new())
    }
}

#[tokio::test(start_paused = true)]
async fn a_burst_of_one_kind_of_message_opens_an_incident_by_its_template() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let templates = LogTemplates::new("log_templates", LogTemplatesConfig::default()).unwrap();
    let healer = Homeostasis::builder()
        .clock(Arc::new(SimulatedClock::starting_at(START)))
        .detector(Keeps(Arc::clone(&seen)))
        .detector(templates)
        .start()
        .await
        .unwrap();
    let mut events = healer.subscribe();
    let recorder = healer.recorder();
    let log = |order: usize| {
        let message = format!("order {order} rejected, token=s3cr3tT0ken{order}x9Qz4 of no use");
        let record = LogRecord::new(recorder.now(), Level::Warn, message);
        recorder.log(record.of(Target::service("shop").unwrap()));
    };
    for order in 0..120 {
        log(order);
        pass(&healer, 10).await;
    }
    (200..300).for_each(log);
    let opened = until(&healer, &mut events, is("opened")).await;
    let EventKind::Opened { anomaly, .. } = &opened.kind else {
        panic!("{opened:?}");
    };
    assert_eq!(anomaly.detector, "log_templates");
    let Subject::Template { id, text } = &anomaly.subject else {
        panic!("{anomaly:?}");
    };
    assert!(text.starts_with("order <*> rejected, token="), "{text}");
    assert!(
        anomaly.explanation.contains("expected fewer than"),
        "{anomaly}"
    );
    // What analyzers and verifiers read is enriched as well, and nothing is worked out again.
    let shop = Target::service("shop").unwrap();
    let remembered = healer
        .observations()
        .logs(Some(&shop), START, recorder.now());
    assert!(remembered.len() >= 120);
    let of_remembered = remembered.iter().map(|record| record.template.as_ref());
    assert!(of_remembered.flatten().all(|template| template.id() == *id));
    assert!(remembered.iter().all(|record| record.template.is_some()));
    healer.shutdown().await;

    let seen = seen.lock().unwrap();
    let ids: Vec<u64> = seen
        .iter()
        .map(|record| record.template.as_ref().unwrap().id())
        .collect();
    assert!(
        ids.len() >= 120 && ids.iter().all(|seen| seen == id),
        "{ids:?}"
    );
    assert!(!format!("{seen:?}").contains("s3cr3tT0ken"));
    let first = seen[0].template.as_ref().unwrap();
    assert_eq!(first.variables(&seen[0].message).next(), Some("0"));
}
