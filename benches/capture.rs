//! What capture costs the host per event, beside the tools a host would otherwise use.
//!
//! Every figure is nanoseconds per operation on one thread; the sink throws records away, as do the
//! writer and the recorder of the peers, so that only the capture itself is measured.

use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use homeostasis::core::signal::{SeriesCatalog, SeriesId, Signal, SignalSink};
use homeostasis::core::{ManualClock, Timestamp};
use homeostasis::signals::TracingLayer;
use tracing::Dispatch;
use tracing_subscriber::prelude::*;

/// Drops what it gets.
#[derive(Debug, Default)]
struct Null(SeriesCatalog);

impl SignalSink for Null {
    fn sample(&self, series: SeriesId, at: Timestamp, value: f64) {
        std::hint::black_box((series, at, value));
    }

    fn signal(&self, signal: Signal) {
        drop(std::hint::black_box(signal));
    }

    fn catalog(&self) -> &SeriesCatalog {
        &self.0
    }
}

/// Whoever listens to `tracing`.
fn listeners() -> [(&'static str, Dispatch); 3] {
    let sink = Arc::new(Null::default());
    let clock = Arc::new(ManualClock::new(Timestamp::EPOCH));
    let ours = TracingLayer::new(sink, clock)
        .service("orders")
        .expect("a name");
    let fmt = tracing_subscriber::fmt::layer().with_writer(std::io::sink);
    [
        (
            "registry alone",
            Dispatch::new(tracing_subscriber::registry()),
        ),
        (
            "homeostasis",
            Dispatch::new(tracing_subscriber::registry().with(ours)),
        ),
        (
            "fmt",
            Dispatch::new(tracing_subscriber::registry().with(fmt)),
        ),
    ]
}

fn tracing(c: &mut Criterion) {
    for (name, dispatch) in listeners() {
        tracing::dispatcher::with_default(&dispatch, || {
            let mut group = c.benchmark_group("tracing");
            group.bench_function(format!("event/{name}"), |b| {
                b.iter(|| tracing::info!("request served"));
            });
            group.bench_function(format!("event with 3 fields/{name}"), |b| {
                b.iter(|| tracing::info!(order = 7, table = "orders", ok = true, "booked"));
            });
            let request = tracing::info_span!("request", request_id = "r-4711").entered();
            group.bench_function(format!("event in a correlated span/{name}"), |b| {
                b.iter(|| tracing::info!("request served"));
            });
            drop(request);
            group.bench_function(format!("span/{name}"), |b| {
                b.iter(|| tracing::info_span!("query", table = "orders").in_scope(|| ()));
            });
            group.finish();
        });
    }
}

criterion_group!(benches, tracing);
criterion_main!(benches);
