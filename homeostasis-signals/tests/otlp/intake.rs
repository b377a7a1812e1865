//! An intake on a real socket, and what arrived in it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::routing::get;
use homeostasis::core::signal::{LogRecord, Signal, SignalSink, SpanRecord, VecSink};
use homeostasis::core::{ManualClock, Timestamp};
use homeostasis::signals::{OtlpIntake, OtlpIntakeConfig, OtlpStats};
use tokio::runtime::Runtime;

/// The intake beside a route of the host, served by axum.
pub(crate) struct Mounted {
    pub(crate) runtime: Runtime,
    pub(crate) base: String,
    intake: OtlpIntake,
    sink: Arc<VecSink>,
}

/// The values of each series, in the order of their arrival.
pub(crate) type Values = BTreeMap<String, Vec<f64>>;

impl Mounted {
    /// The intake below `prefix`: empty, or a path that begins with a slash.
    #[expect(
        clippy::disallowed_methods,
        reason = "the server of a test is not the engine's; SDKs read the wall clock"
    )]
    pub(crate) fn new(prefix: &str) -> Self {
        let sink = Arc::new(VecSink::default());
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let clock = Arc::new(ManualClock::new(Timestamp::EPOCH + since));
        let config = OtlpIntakeConfig {
            keep_attributes: vec!["http.route".to_owned()],
            ..OtlpIntakeConfig::default()
        };
        let intake = OtlpIntake::new(config, Arc::clone(&sink) as _, clock).unwrap();
        let router = Router::new().route("/healthz", get(|| async { "ok" }));
        let router = match prefix {
            "" => router.fallback_service(intake.clone()),
            prefix => router.nest_service(prefix, intake.clone()),
        };
        let runtime = Runtime::new().unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = runtime
            .block_on(tokio::net::TcpListener::bind(address))
            .unwrap();
        let base = format!("http://{}{prefix}", listener.local_addr().unwrap());
        runtime.spawn(async move { axum::serve(listener, router).await });
        Self {
            runtime,
            base,
            intake,
            sink,
        }
    }

    pub(crate) fn stats(&self) -> OtlpStats {
        self.intake.stats()
    }

    /// What arrived: log records, spans and the values of series.
    pub(crate) fn take(&self) -> (Vec<LogRecord>, Vec<SpanRecord>, Values) {
        let (mut logs, mut spans, mut values) = (Vec::new(), Vec::new(), Values::new());
        for signal in self.sink.take() {
            match signal {
                Signal::Log(log) => logs.push(log),
                Signal::Span(span) => spans.push(span),
                Signal::Sample(sample) => {
                    let key = self.sink.catalog().key(sample.series).unwrap();
                    values
                        .entry(key.to_string())
                        .or_default()
                        .push(sample.value);
                }
                other => panic!("{other:?}"),
            }
        }
        (logs, spans, values)
    }
}

/// Whether two rates are the same but for the rounding of a division.
pub(crate) fn close(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-9 * b.abs()
}
