//! The OpenTelemetry SDK of Python.

use homeostasis::core::signal::{Level, SpanStatus};
use homeostasis::core::{Timestamp, signal::LogRecord};
use serde_json::Value;

use crate::intake::{Mounted, Values, close};
use crate::python;

/// Runs the exporting program against an intake; gives what it says that it exported.
fn exported(intake: &Mounted) -> Option<Value> {
    let module = "opentelemetry.exporter.otlp.proto.http";
    let mut program = python::script(module, include_str!("python_sdk.py"))?;
    let output = program.arg(&intake.base).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    assert!(!errors.contains("Failed to export"), "{errors}");
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

#[test]
fn values_of_the_python_sdk_arrive_equal() {
    let intake = Mounted::new("");
    let Some(told) = exported(&intake) else {
        return;
    };
    let stats = intake.stats();
    assert_eq!((stats.n_rejected, stats.n_refused), (0, 0));
    let (logs, spans, values) = intake.take();
    check_logs(&logs);
    for name in ["GET /cart", "SELECT"] {
        let span = spans.iter().find(|span| span.operation == name).unwrap();
        let told = &told["spans"][name];
        assert_eq!(span.trace.as_deref(), told["trace"].as_str());
        assert_eq!(Some(span.span), told["span"].as_u64());
        assert_eq!(Some(span.parent), told["parent"].as_u64());
        let [start, end] =
            ["start", "end"].map(|name| Timestamp::from_nanos(told[name].as_i64().unwrap()));
        assert_eq!((span.at, span.at + span.duration), (start, end));
        assert_eq!(span.target.as_ref().unwrap().to_string(), "shop/py-1");
        let failed = name == "SELECT";
        let expected = if failed {
            SpanStatus::Error
        } else {
            SpanStatus::Ok
        };
        assert_eq!(span.status, expected);
        assert_eq!(
            span.fields.get("status.message"),
            failed.then_some("no rows")
        );
        let kind = if failed { "client" } else { "server" };
        assert_eq!(span.fields["span.kind"], kind);
    }
    assert_eq!(spans.len(), 2);
    let root = spans.iter().find(|span| span.parent == 0).unwrap();
    assert_eq!(root.fields["http.response.status_code"], "500");
    check_events(&logs, root.trace.as_deref());
    check_metrics(&told["cumulative"], &values, "py-c");
    check_metrics(&told["delta"], &values, "py-d");
}

fn check_logs(logs: &[LogRecord]) {
    let log = logs.iter().find(|log| log.component == "checkout").unwrap();
    assert_eq!(log.at, Timestamp::from_nanos(1_700_000_000_123_456_789));
    assert_eq!(log.level, Level::Warn);
    assert_eq!(log.target.as_ref().unwrap().to_string(), "shop/py-1");
    assert_eq!(log.message, r#"{"text":"größer – 数","list":[1,2.5,true]}"#);
    let fields: Vec<(&str, &str)> = log.fields.iter().collect();
    let expected = [
        ("array", r#"["a","b"]"#),
        ("big", "4611686018427387904"),
        ("bool", "true"),
        ("bytes", "AP8="),
        ("empty", ""),
        ("float", "2.0"),
        ("int", "-7"),
        ("text", "ünï \"q\" \n数"),
    ];
    assert_eq!(fields, expected);
    let log = logs.iter().find(|log| log.component == "pay").unwrap();
    assert_eq!(
        (log.level, log.message.as_str()),
        (Level::Error, "cannot pay")
    );
    let error = log.error.as_ref().unwrap();
    assert_eq!(error.language, "python");
    assert_eq!(error.kind, "ValueError");
    assert_eq!(error.message, "no such card: 数");
    let stack = &log.fields["exception.stacktrace"];
    assert!(
        stack.starts_with("Traceback (most recent call last):"),
        "{stack}"
    );
}

fn check_events(logs: &[LogRecord], trace: Option<&str>) {
    let events: Vec<&LogRecord> = logs.iter().filter(|log| log.component == "web").collect();
    let [exception, retry] = events[..] else {
        panic!("{events:?}");
    };
    assert_eq!(exception.level, Level::Error);
    assert_eq!(exception.error.as_ref().unwrap().kind, "KeyError");
    assert_eq!(exception.correlation.as_deref(), trace);
    assert_eq!(
        (retry.level, retry.message.as_str()),
        (Level::Info, "retry")
    );
    assert_eq!(retry.fields["attempt"], "2");
}

/// The points of `metric` in one export, as the SDK saw them.
fn points<'a>(export: &'a Value, metric: &str) -> &'a [Value] {
    export["resource_metrics"][0]["scope_metrics"][0]["metrics"]
        .as_array()
        .unwrap()
        .iter()
        .find(|told| told["name"] == metric)
        .and_then(|told| told["data"]["data_points"].as_array())
        .unwrap()
}

fn number(point: &Value, name: &str) -> f64 {
    point[name].as_f64().unwrap()
}

fn check_metrics(exports: &Value, values: &Values, instance: &str) {
    let delta = instance == "py-d";
    let of = |metric: &str, labels: &str| {
        let key = format!("{metric}{{{labels}instance=\"{instance}\",service=\"shop\"}}");
        values
            .get(&key)
            .unwrap_or_else(|| panic!("{key} in {values:?}"))
    };
    let told = exports.as_array().unwrap();
    // Rates: by what the SDK says of its values and times, added up over the users.
    let rate = |turn: usize| -> f64 {
        let growth = |index: usize| {
            let now = &points(&told[turn], "http.requests")[index];
            let before = &points(&told[turn.max(1) - 1], "http.requests")[index];
            let (from, value) = if delta {
                (now["start_time_unix_nano"].as_i64(), number(now, "value"))
            } else {
                let grown = number(now, "value") - number(before, "value");
                (before["time_unix_nano"].as_i64(), grown)
            };
            let nanos = now["time_unix_nano"].as_i64().unwrap() - from.unwrap();
            value / (nanos as f64 / 1e9)
        };
        growth(0) + growth(1)
    };
    let rates = of("http_requests_rate", "http_route=\"/cart\",");
    let expected: Vec<f64> = if delta {
        vec![rate(0), rate(1)]
    } else {
        vec![rate(1)]
    };
    assert_eq!(rates.len(), expected.len());
    for (is, told) in rates.iter().zip(expected) {
        assert!(close(*is, told), "{is} for {told}");
    }
    assert_eq!(of("connections_open", ""), &[2.0, 4.0]);
    assert_eq!(of("queue_depth", ""), &[2.5, 2.5]);
    // A hundred times 0.3 in the bucket from 0.1 to 0.5.
    let n = if delta { 2 } else { 1 };
    let within = |q: f64| 0.1 + (0.5 - 0.1) * q;
    for (word, q) in [("p50", 0.5), ("p95", 0.95), ("p99", 0.99)] {
        let metric = format!("http_server_duration_{word}_seconds");
        let is = of(&metric, "");
        assert_eq!(is.len(), n);
        assert!(is.iter().all(|is| close(*is, within(q))), "{is:?}");
    }
    // In the second turn 1 to 100. The SDK merges buckets as their range grows; it says how far.
    let point = &points(&told[1], "order.size")[0];
    let scale = i32::try_from(point["scale"].as_i64().unwrap()).unwrap();
    assert!(scale >= 3, "{scale}");
    let base = f64::from(-scale).exp2().exp2();
    for (word, exact) in [("p50", 50.0), ("p95", 95.0), ("p99", 99.0)] {
        let is = of(&format!("order_size_{word}_bytes"), "");
        assert_eq!(is.len(), n);
        let ratio = is[n - 1] / exact;
        assert!((1.0 / base..=base).contains(&ratio), "{is:?} for {exact}");
    }
}
