//! The OpenTelemetry SDK of Rust, in both encodings.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use homeostasis::core::Timestamp;
use homeostasis::core::signal::{Level, SpanStatus};
use opentelemetry::logs::{AnyValue, LogRecord as _, Logger as _, LoggerProvider as _, Severity};
use opentelemetry::metrics::MeterProvider as _;
use opentelemetry::trace::{
    Span as _, SpanKind, Status, TraceContextExt as _, Tracer as _, TracerProvider as _,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::{
    Compression, LogExporter, MetricExporter, Protocol, SpanExporter, WithExportConfig as _,
    WithHttpConfig as _,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::logs::SdkLoggerProvider;
use opentelemetry_sdk::metrics::data::{
    AggregatedMetrics, MetricData, ResourceMetrics, ScopeMetrics, SumDataPoint,
};
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::metrics::{
    Aggregation, Instrument, PeriodicReader, SdkMeterProvider, Stream, Temporality,
};
use opentelemetry_sdk::trace::SdkTracerProvider;
use tokio::runtime::Handle;

use crate::intake::{Mounted, close};

fn resource() -> Resource {
    Resource::builder()
        .with_service_name("gateway")
        .with_attribute(KeyValue::new("service.instance.id", "rs-1"))
        .build()
}

/// Logs, metrics and spans in one encoding, plain and compressed.
fn export_and_compare(prefix: &str, protocol: Protocol) {
    let intake = Mounted::new(prefix);
    logs(&intake, protocol);
    spans(&intake, protocol);
    metrics(&intake, protocol);
    let stats = intake.stats();
    assert_eq!((stats.n_rejected, stats.n_refused), (0, 0));
}

#[test]
fn values_of_the_rust_sdk_arrive_equal_in_protobuf() {
    export_and_compare("", Protocol::HttpBinary);
}

#[test]
fn values_of_the_rust_sdk_arrive_equal_in_json() {
    export_and_compare("/otlp", Protocol::HttpJson);
}

fn logs(intake: &Mounted, protocol: Protocol) {
    // The client of the exporter needs the reactor of the runtime around it.
    let _runtime = intake.runtime.enter();
    let exporter = LogExporter::builder()
        .with_http()
        .with_protocol(protocol)
        .with_compression(Compression::Gzip)
        .with_endpoint(format!("{}/v1/logs", intake.base))
        .build()
        .unwrap();
    let provider = SdkLoggerProvider::builder()
        .with_resource(resource())
        .with_simple_exporter(exporter)
        .build();
    let logger = provider.logger("edge");
    let at = UNIX_EPOCH + Duration::from_nanos(1_700_000_000_000_000_001);
    let mut record = logger.create_log_record();
    record.set_timestamp(at);
    record.set_severity_number(Severity::Fatal2);
    record.set_body(AnyValue::from("größer – 数"));
    record.add_attribute("int", i64::MIN);
    record.add_attribute("float", 0.1);
    record.add_attribute("bool", false);
    record.add_attribute("bytes", AnyValue::Bytes(Box::new(vec![0, 255])));
    record.add_attribute(
        "list",
        AnyValue::ListAny(Box::new(vec!["a".into(), 1.into()])),
    );
    record.add_attribute("exception.type", "io::Error");
    record.add_attribute("exception.message", "refused");
    logger.emit(record);
    let (logs, ..) = intake.take();
    let [log] = &logs[..] else {
        panic!("{logs:?}");
    };
    assert_eq!(log.at, Timestamp::from_nanos(1_700_000_000_000_000_001));
    assert_eq!(
        (log.level, log.message.as_str()),
        (Level::Fatal, "größer – 数")
    );
    assert_eq!(log.component, "edge");
    assert_eq!(log.target.as_ref().unwrap().to_string(), "gateway/rs-1");
    for (name, value) in [
        ("int", "-9223372036854775808"),
        ("float", "0.1"),
        ("bool", "false"),
        ("bytes", "AP8="),
        ("list", r#"["a",1]"#),
    ] {
        assert_eq!(log.fields[name], value);
    }
    let error = log.error.as_ref().unwrap();
    assert_eq!(
        (
            error.language.as_str(),
            error.kind.as_str(),
            error.message.as_str()
        ),
        ("rust", "io::Error", "refused")
    );
}

fn spans(intake: &Mounted, protocol: Protocol) {
    let _runtime = intake.runtime.enter();
    let exporter = SpanExporter::builder()
        .with_http()
        .with_protocol(protocol)
        .with_endpoint(format!("{}/v1/traces", intake.base))
        .build()
        .unwrap();
    let provider = SdkTracerProvider::builder()
        .with_resource(resource())
        .with_simple_exporter(exporter)
        .build();
    let tracer = provider.tracer("edge");
    let nanos = |n: u64| UNIX_EPOCH + Duration::from_nanos(1_700_000_000_000_000_000 + n);
    let root = tracer
        .span_builder("GET /")
        .with_kind(SpanKind::Server)
        .with_start_time(nanos(0))
        .start(&tracer);
    let context = Context::new().with_span(root);
    let mut child = tracer
        .span_builder("connect")
        .with_kind(SpanKind::Client)
        .with_start_time(nanos(10))
        .start_with_context(&tracer, &context);
    child.set_status(Status::error("refused"));
    child.set_attribute(KeyValue::new("peer", "orders"));
    let child_id = u64::from_be_bytes(child.span_context().span_id().to_bytes());
    child.end_with_timestamp(nanos(35));
    let root = context.span();
    let root_id = u64::from_be_bytes(root.span_context().span_id().to_bytes());
    let trace = root.span_context().trace_id().to_string();
    root.end_with_timestamp(nanos(100));
    let (_, spans, _) = intake.take();
    let [child, root] = &spans[..] else {
        panic!("{spans:?}");
    };
    assert_eq!((child.span, child.parent), (child_id, root_id));
    assert_eq!((root.span, root.parent), (root_id, 0));
    assert_eq!(
        [&child.trace, &root.trace],
        [&Some(trace.clone()), &Some(trace)]
    );
    assert_eq!(child.at, Timestamp::from_nanos(1_700_000_000_000_000_010));
    assert_eq!(child.duration, Duration::from_nanos(25));
    assert_eq!(
        (child.status, root.status),
        (SpanStatus::Error, SpanStatus::Ok)
    );
    assert_eq!(child.fields["status.message"], "refused");
    assert_eq!(child.fields["peer"], "orders");
    assert_eq!(root.fields["span.kind"], "server");
}

/// What an export said of the counter: value and time, in the order of the exports.
type Seen = Arc<Mutex<Vec<(f64, SystemTime)>>>;

/// Exports from the thread of the SDK, within the runtime, and remembers the counter.
struct Recording {
    exporter: MetricExporter,
    runtime: Handle,
    seen: Seen,
}

impl PushMetricExporter for Recording {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        for metric in metrics.scope_metrics().flat_map(ScopeMetrics::metrics) {
            if let AggregatedMetrics::U64(MetricData::Sum(sum)) = metric.data() {
                let value: u64 = sum.data_points().map(SumDataPoint::value).sum();
                self.seen.lock().unwrap().push((value as f64, sum.time()));
            }
        }
        let mut export = pin!(self.exporter.export(metrics));
        poll_fn(|cx| {
            let _runtime = self.runtime.enter();
            export.as_mut().poll(cx)
        })
        .await
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn temporality(&self) -> Temporality {
        Temporality::Cumulative
    }
}

fn aggregation(instrument: &Instrument) -> Option<Stream> {
    let aggregation = match instrument.name() {
        "latency" => Aggregation::ExplicitBucketHistogram {
            boundaries: vec![10.0, 50.0],
            record_min_max: true,
        },
        "size" => Aggregation::Base2ExponentialHistogram {
            max_size: 160,
            max_scale: 20,
            record_min_max: true,
        },
        _ => return None,
    };
    Stream::builder().with_aggregation(aggregation).build().ok()
}

fn metrics(intake: &Mounted, protocol: Protocol) {
    let exporter = MetricExporter::builder()
        .with_http()
        .with_protocol(protocol)
        .with_endpoint(format!("{}/v1/metrics", intake.base))
        .build()
        .unwrap();
    let seen = Seen::default();
    let recording = Recording {
        exporter,
        runtime: intake.runtime.handle().clone(),
        seen: Arc::clone(&seen),
    };
    let reader = PeriodicReader::builder(recording)
        .with_interval(Duration::from_secs(3600))
        .build();
    let provider = SdkMeterProvider::builder()
        .with_resource(resource())
        .with_reader(reader)
        .with_view(aggregation)
        .build();
    let meter = provider.meter("edge");
    let requests = meter.u64_counter("requests").build();
    let depth = meter.i64_gauge("depth").build();
    let open = meter.f64_up_down_counter("open").build();
    let latency = meter.f64_histogram("latency").with_unit("ms").build();
    let size = meter.f64_histogram("size").build();
    for turn in 1..=2_u32 {
        for route in ["/a", "/b"] {
            requests.add(u64::from(7 * turn), &[KeyValue::new("http.status", route)]);
        }
        depth.record(-3 * i64::from(turn), &[]);
        open.add(1.5, &[]);
        for n in 1..=100 {
            latency.record(20.0, &[]);
            size.record(f64::from(n * turn), &[]);
        }
        provider.force_flush().unwrap();
    }
    let (.., values) = intake.take();
    let of = |metric: &str| &values[&format!("{metric}{{instance=\"rs-1\",service=\"gateway\"}}")];
    {
        let seen = seen.lock().unwrap();
        let [(before, from), (after, to)] = seen[..] else {
            panic!("{seen:?}");
        };
        let seconds = to.duration_since(from).unwrap().as_secs_f64();
        let [rate] = of("requests_rate")[..] else {
            panic!("{values:?}");
        };
        assert_eq!(after - before, 28.0);
        assert!(close(rate, 28.0 / seconds), "{rate} in {seconds} s");
    }
    assert_eq!(of("depth"), &[-3.0, -6.0]);
    assert_eq!(of("open"), &[1.5, 3.0]);
    assert_eq!(of("latency_p50_milliseconds"), &[30.0]);
    assert_eq!(of("latency_p95_milliseconds"), &[48.0]);
    // 2, 4, … 200: with 160 buckets for a factor of 200 each grows by at most 4.5 %.
    let [p95] = of("size_p95")[..] else {
        panic!("{values:?}");
    };
    assert!((p95 / 190.0 - 1.0).abs() < 0.045, "{p95}");
    provider.shutdown().unwrap();
}
