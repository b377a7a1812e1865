//! How fast the intake reads what others write: OTLP requests and pages of metrics.
//!
//! Every figure is bytes of input per second on one thread, from the bytes to the signals; the sink
//! throws them away. The baseline beside OTLP is what `prost` and the official messages need to
//! read the same bytes, and make no signals of them.

use std::fmt::Write as _;
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use homeostasis::core::signal::{SeriesCatalog, SeriesId, Signal, SignalSink};
use homeostasis::core::{ManualClock, Timestamp};
use homeostasis::signals::{
    OtlpEncoding, OtlpIntake, OtlpIntakeConfig, OtlpKind, parse_exposition,
};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point;
use opentelemetry_proto::tonic::metrics::v1::{
    Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum,
};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;

/// The size of a batch as SDKs send it.
const BATCH: u64 = 512;
const START: u64 = 1_700_000_000_000_000_000;

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

fn value(value: Value) -> AnyValue {
    AnyValue { value: Some(value) }
}

/// Eight attributes as a web service has them.
fn attributes(n: u64) -> Vec<KeyValue> {
    let text = |text: &str| Value::StringValue(text.to_owned());
    [
        ("http.request.method", text("GET")),
        ("http.route", text("/carts/{id}/items")),
        ("http.response.status_code", Value::IntValue(200)),
        ("server.address", text("orders.shop.example")),
        (
            "user_agent.original",
            text("Mozilla/5.0 (X11; Linux x86_64)"),
        ),
        ("enduser.id", text(&format!("user-{n}"))),
        ("retry", Value::BoolValue(false)),
        ("cart.value", Value::DoubleValue(12.5)),
    ]
    .into_iter()
    .map(|(key, of)| KeyValue {
        key: key.to_owned(),
        value: Some(value(of)),
        ..KeyValue::default()
    })
    .collect()
}

fn logs() -> ExportLogsServiceRequest {
    let record = |n| LogRecord {
        time_unix_nano: START + n,
        severity_number: 9,
        body: Some(value(Value::StringValue(format!(
            "cart {n} has 3 items for 12.50"
        )))),
        attributes: attributes(n),
        trace_id: vec![7; 16],
        span_id: vec![7; 8],
        ..LogRecord::default()
    };
    let scope_logs = vec![ScopeLogs {
        log_records: (0..BATCH).map(record).collect(),
        ..ScopeLogs::default()
    }];
    let resource_logs = vec![ResourceLogs {
        scope_logs,
        ..ResourceLogs::default()
    }];
    ExportLogsServiceRequest { resource_logs }
}

fn traces() -> ExportTraceServiceRequest {
    let span = |n: u64| Span {
        trace_id: vec![7; 16],
        span_id: (n + 1).to_be_bytes().to_vec(),
        parent_span_id: n.to_be_bytes().to_vec(),
        name: "GET /carts/{id}/items".to_owned(),
        kind: 2,
        start_time_unix_nano: START,
        end_time_unix_nano: START + n,
        attributes: attributes(n),
        ..Span::default()
    };
    let scope_spans = vec![ScopeSpans {
        spans: (0..BATCH).map(span).collect(),
        ..ScopeSpans::default()
    }];
    let resource_spans = vec![ResourceSpans {
        scope_spans,
        ..ResourceSpans::default()
    }];
    ExportTraceServiceRequest { resource_spans }
}

fn metrics() -> ExportMetricsServiceRequest {
    let point = |n: u64| NumberDataPoint {
        attributes: attributes(n),
        start_time_unix_nano: START,
        time_unix_nano: START + 1_000_000_000,
        value: Some(number_data_point::Value::AsInt(3)),
        ..NumberDataPoint::default()
    };
    let metric = |m: u64| Metric {
        name: format!("requests.{m}"),
        data: Some(Data::Sum(Sum {
            data_points: (0..BATCH / 16).map(point).collect(),
            aggregation_temporality: 2,
            is_monotonic: true,
        })),
        ..Metric::default()
    };
    let scope_metrics = vec![ScopeMetrics {
        metrics: (0..16).map(metric).collect(),
        ..ScopeMetrics::default()
    }];
    let resource_metrics = vec![ResourceMetrics {
        scope_metrics,
        ..ResourceMetrics::default()
    }];
    ExportMetricsServiceRequest { resource_metrics }
}

fn otlp(c: &mut Criterion) {
    let clock = Arc::new(ManualClock::new(Timestamp::from_secs(1_700_000_002)));
    let intake = OtlpIntake::new(
        OtlpIntakeConfig::default(),
        Arc::new(Null::default()),
        clock,
    );
    let intake = intake.expect("the defaults are good");
    let (logs, metrics, traces) = (logs(), metrics(), traces());
    let json = |json: serde_json::Result<Vec<u8>>| json.expect("messages are JSON");
    let requests = [
        (
            OtlpKind::Logs,
            logs.encode_to_vec(),
            json(serde_json::to_vec(&logs)),
        ),
        (
            OtlpKind::Metrics,
            metrics.encode_to_vec(),
            json(serde_json::to_vec(&metrics)),
        ),
        (
            OtlpKind::Traces,
            traces.encode_to_vec(),
            json(serde_json::to_vec(&traces)),
        ),
    ];
    let mut group = c.benchmark_group("otlp");
    for (kind, binary, text) in &requests {
        for (name, encoding, bytes) in [
            ("protobuf", OtlpEncoding::Protobuf, binary),
            ("json", OtlpEncoding::Json, text),
        ] {
            group.throughput(Throughput::Bytes(bytes.len() as u64));
            group.bench_with_input(BenchmarkId::new(name, kind), bytes, |b, bytes| {
                b.iter(|| {
                    intake
                        .ingest(*kind, encoding, bytes)
                        .expect("a good request")
                });
            });
        }
    }
    let (_, bytes, _) = &requests[0];
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    group.bench_with_input(
        BenchmarkId::new("prost alone", "logs"),
        bytes,
        |b, bytes| {
            b.iter(|| ExportLogsServiceRequest::decode(bytes.as_slice()).expect("a good request"));
        },
    );
    group.finish();
}

/// A page as `node_exporter` writes it on a machine of 64 processors: counters by processor and
/// mode, and gauges by device.
fn page() -> String {
    let mut page = String::new();
    let mut family = |name: &str, kind: &str, labels: &[String]| {
        let _ = writeln!(
            page,
            "# HELP {name} What the kernel counts.\n# TYPE {name} {kind}"
        );
        for (n, labels) in labels.iter().enumerate() {
            let _ = writeln!(page, "{name}{{{labels}}} {}.25e+06", n + 1);
        }
    };
    let modes = [
        "idle", "iowait", "irq", "nice", "softirq", "steal", "system", "user",
    ];
    let processors: Vec<String> = (0..64)
        .flat_map(|cpu| modes.map(|mode| format!("cpu=\"{cpu}\",mode=\"{mode}\"")))
        .collect();
    family("node_cpu_seconds_total", "counter", &processors);
    let devices: Vec<String> = (0..12)
        .map(|n| format!("device=\"/dev/nvme{n}n1\",fstype=\"ext4\",mountpoint=\"/data/{n}\""))
        .collect();
    for name in ["avail", "files", "free", "size"] {
        family(&format!("node_filesystem_{name}_bytes"), "gauge", &devices);
    }
    for n in 0..60 {
        family(
            &format!("node_netstat_counter_{n}"),
            "untyped",
            &[String::new()],
        );
    }
    page
}

fn exposition(c: &mut Criterion) {
    let page = page();
    assert_eq!(parse_exposition(&page).problems, []);
    let mut group = c.benchmark_group("exposition");
    group.throughput(Throughput::Bytes(page.len() as u64));
    group.bench_function("node page", |b| b.iter(|| parse_exposition(&page)));
    group.finish();
}

criterion_group!(benches, otlp, exposition);
criterion_main!(benches);
