//! What capture costs the host per event, beside the tools a host would otherwise use.
//!
//! Every figure is nanoseconds per operation on one thread; the sink throws records away, as do the
//! writer and the recorder of the peers, so that only the capture itself is measured.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use axum::http::{Request, Response};
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use homeostasis::core::signal::{SeriesCatalog, SeriesId, Signal, SignalSink};
use homeostasis::core::{ManualClock, Target, Timestamp};
use homeostasis::signals::{DiagnosticContext, MetricsRecorder, RequestLayer, TracingLayer};
use metrics::{NoopRecorder, Recorder};
use tower_layer::Layer;
use tower_service::Service;
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
            let payment = DiagnosticContext::new("process_payment").with("order_id", 7);
            group.bench_function(format!("event in a context of 2 fields/{name}"), |b| {
                payment.scope(|| b.iter(|| tracing::info!("request served")));
            });
            group.bench_function(format!("span/{name}"), |b| {
                b.iter(|| tracing::info_span!("query", table = "orders").in_scope(|| ()));
            });
            group.finish();
        });
    }
}

/// What a handle of the `metrics` facade costs, alone and with a recorder behind ours.
fn metrics(c: &mut Criterion) {
    let ours = || MetricsRecorder::new(Target::service("orders").expect("a name"));
    let recorders: [(&str, Box<dyn Recorder + Sync>); 3] = [
        ("no-op", Box::new(NoopRecorder)),
        ("homeostasis", Box::new(ours())),
        (
            "homeostasis before no-op",
            Box::new(ours().before(NoopRecorder)),
        ),
    ];
    for (name, recorder) in recorders {
        metrics::with_local_recorder(&*recorder, || {
            let mut group = c.benchmark_group("metrics");
            let (hits, latency) = (metrics::counter!("hits"), metrics::histogram!("seconds"));
            group.bench_function(format!("counter/{name}"), |b| b.iter(|| hits.increment(1)));
            group.bench_function(format!("histogram/{name}"), |b| {
                b.iter(|| latency.record(std::hint::black_box(0.012)));
            });
            group.bench_function(format!("counter by macro/{name}"), |b| {
                b.iter(|| metrics::counter!("hits", "kind" => "gift").increment(1));
            });
            group.finish();
        });
    }
}

/// Answers at once.
#[derive(Debug, Clone, Copy)]
struct AtOnce;

impl Service<Request<()>> for AtOnce {
    type Response = Response<()>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Response<()>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<()>) -> Self::Future {
        drop(request);
        std::future::ready(Ok(Response::new(())))
    }
}

/// What the request layer adds to a service that answers at once.
fn requests(c: &mut Criterion) {
    let clock = Arc::new(ManualClock::new(Timestamp::EPOCH));
    let layer = RequestLayer::new(Target::service("orders").expect("a name"), clock);
    let mut counted = layer.layer(AtOnce);
    let mut group = c.benchmark_group("request");
    let path = || Request::get("/orders/4711").body(()).expect("a request");
    let mut cx = Context::from_waker(Waker::noop());
    group.bench_function("bare", |b| {
        b.iter_batched(
            path,
            |request| pin!(AtOnce.call(request)).poll(&mut cx),
            BatchSize::SmallInput,
        );
    });
    group.bench_function("homeostasis", |b| {
        b.iter_batched(
            path,
            |request| pin!(counted.call(request)).poll(&mut cx),
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

criterion_group!(benches, tracing, metrics, requests);
criterion_main!(benches);
