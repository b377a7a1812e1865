//! The committed JSON Schema is the generated one, and what we write is what it describes.
#![cfg(feature = "schema")]
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests too")]

use std::time::Duration;

use homeostasis_core::signal::{
    CauseRelation, Change, ChangeKind, ErrorEvent, Frame, HealthReport, HealthState, HealthTier,
    Level, LogRecord, Sample, SeriesCatalog, SeriesKey, Signal, SpanRecord, SpanStatus, WireSignal,
    signal_schema,
};
use homeostasis_core::{Target, Timestamp};
use jsonschema::Validator;
use proptest::prelude::*;
use serde_json::{Value, json};

const COMMITTED: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../docs/schema/signal.schema.json"
);

/// To write the file anew: run this test with `UPDATE_SCHEMA=1`, then read the difference.
#[test]
fn the_committed_schema_is_the_generated_one() {
    let generated = format!("{:#}\n", signal_schema());
    if std::env::var_os("UPDATE_SCHEMA").is_some() {
        std::fs::write(COMMITTED, &generated).unwrap();
    }
    let committed = std::fs::read_to_string(COMMITTED).unwrap();
    assert!(
        committed == generated,
        "docs/schema/signal.schema.json is not what the types say; UPDATE_SCHEMA=1 writes it anew"
    );
}

fn validator() -> Validator {
    jsonschema::options()
        .should_validate_formats(true)
        .build(&signal_schema())
        .unwrap()
}

fn time() -> impl Strategy<Value = Timestamp> {
    any::<i64>().prop_map(Timestamp::from_nanos)
}

fn target() -> impl Strategy<Value = Target> {
    prop_oneof!["[a-zü][a-z0-9. -]{0,9}[a-z]", "[a-z]{1,9}/[0-9]{1,3}"]
        .prop_map(|text| text.parse().unwrap())
}

fn fields() -> impl Strategy<Value = Vec<(String, String)>> {
    prop::collection::vec(("[a-z.]{0,8}", "\\PC{0,12}"), 0..4)
}

fn duration() -> impl Strategy<Value = Duration> {
    (any::<u64>(), 0_u32..1_000_000_000).prop_map(|(secs, nanos)| Duration::new(secs, nanos))
}

fn pick<T: Copy + std::fmt::Debug + 'static>(all: &'static [T]) -> impl Strategy<Value = T> {
    prop::sample::select(all)
}

fn error() -> impl Strategy<Value = ErrorEvent> {
    use CauseRelation::*;
    let frame = ("\\PC{0,8}", "[a-z/.]{0,8}", any::<(u32, u32, bool)>());
    let leaf = (
        "[a-z]{0,6}",
        "\\PC{0,10}",
        "\\PC{0,10}",
        prop::collection::vec(frame, 0..3),
        prop::collection::btree_map("[a-z]{1,6}", -1e9..1e9, 0..2),
    )
        .prop_map(|(language, kind, message, frames, environment)| {
            let mut error = ErrorEvent::new(language, kind, message);
            error.environment = environment;
            error.fingerprint.clone_from(&error.kind);
            error.frames = frames
                .into_iter()
                .map(|(function, file, (line, column, in_project))| Frame {
                    function,
                    file,
                    line,
                    column,
                    in_project,
                })
                .collect();
            error
        });
    leaf.prop_recursive(2, 4, 2, |inner| {
        let relation = pick(&[CausedBy, During, Suppressed, Member]);
        (inner.clone(), relation, inner)
            .prop_map(|(error, relation, cause)| error.because(relation, cause))
    })
}

fn log() -> impl Strategy<Value = Signal> {
    use Level::*;
    let level = pick(&[Trace, Debug, Info, Warn, Error, Fatal]);
    let target = prop::option::of(target());
    let error = prop::option::of(error());
    let rest = (prop::option::of("\\PC{0,8}"), "[a-z:]{0,8}", 1_u32..);
    (time(), level, "\\PC{0,20}", target, fields(), error, rest).prop_map(
        |(at, level, message, target, fields, error, (correlation, component, weight))| {
            let mut record = LogRecord::new(at, level, message);
            record.target = target;
            record.fields.extend(fields);
            record.error = error.map(Box::new);
            record.correlation = correlation;
            record.component = component.into();
            record.weight = weight;
            Signal::Log(record)
        },
    )
}

fn span() -> impl Strategy<Value = Signal> {
    let status = pick(&[SpanStatus::Ok, SpanStatus::Error]);
    let target = prop::option::of(target());
    let trace = prop::option::of("[0-9a-f]{32}");
    let ids = any::<(u64, u64)>();
    (
        time(),
        duration(),
        "\\PC{0,9}",
        target,
        trace,
        ids,
        status,
        fields(),
    )
        .prop_map(
            |(at, duration, operation, target, trace, (span, parent), status, fields)| {
                let mut record = SpanRecord::new(at, duration, operation);
                record.target = target;
                record.trace = trace;
                (record.span, record.parent) = (span, parent);
                record.status = status;
                record.fields.extend(fields);
                Signal::Span(record)
            },
        )
}

fn change() -> impl Strategy<Value = Signal> {
    use ChangeKind::*;
    let kind = pick(&[Deploy, Flag, Config, Migration, Scale]);
    (time(), kind, target(), "\\PC{0,12}", fields()).prop_map(
        |(at, kind, target, summary, fields)| {
            let mut change = Change::new(at, kind, target, summary);
            change.fields.extend(fields);
            Signal::Change(change)
        },
    )
}

fn health() -> impl Strategy<Value = Signal> {
    use HealthState::*;
    let state = pick(&[Healthy, Degraded, Unhealthy, Critical]);
    let tier = pick(&[
        HealthTier::Shallow,
        HealthTier::Deep,
        HealthTier::Comprehensive,
    ]);
    (
        time(),
        target(),
        "\\PC{0,9}",
        state,
        duration(),
        "\\PC{0,9}",
        tier,
    )
        .prop_map(|(at, target, check, state, latency, detail, tier)| {
            let report = HealthReport::new(at, target, check, state);
            Signal::Health(report.took(latency).saying(detail).in_tier(tier))
        })
}

fn sample() -> impl Strategy<Value = (SeriesKey, Timestamp, f64)> {
    let value = any::<f64>().prop_filter("NaN equals nothing", |value| !value.is_nan());
    ("[a-z_]{0,9}", fields(), time(), value).prop_map(|(metric, labels, at, value)| {
        let mut key = SeriesKey::new(metric);
        key.labels.extend(labels);
        (key, at, value)
    })
}

/// Writes `signal`, checks it against the schema, takes away each field that is required, and reads
/// it back.
fn there_and_back(signal: &Signal, catalog: &SeriesCatalog, schema: &Validator) {
    let wire = WireSignal::of(signal, catalog).unwrap();
    let json = serde_json::to_value(&wire).unwrap();
    let problems: Vec<_> = schema.iter_errors(&json).map(|e| e.to_string()).collect();
    assert!(problems.is_empty(), "{json}: {problems:?}");
    let read: WireSignal = serde_json::from_value(json.clone()).unwrap();
    assert_eq!(&read.into_signal(catalog), signal);
    for name in json.as_object().unwrap().keys() {
        let mut less = json.clone();
        less.as_object_mut().unwrap().remove(name);
        // What the schema asks for is what the reader cannot do without, and nothing else.
        let is_read = serde_json::from_value::<WireSignal>(less.clone()).is_ok();
        assert_eq!(schema.is_valid(&less), is_read, "{less} without {name}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn every_signal_is_what_the_schema_says(
        signals in prop::collection::vec(prop_oneof![log(), span(), change(), health()], 1..6),
        samples in prop::collection::vec(sample(), 1..4),
    ) {
        let (catalog, schema) = (SeriesCatalog::default(), validator());
        for signal in &signals {
            there_and_back(signal, &catalog, &schema);
        }
        for (key, at, value) in samples {
            let series = catalog.intern(&key);
            there_and_back(&Signal::Sample(Sample { series, at, value }), &catalog, &schema);
        }
    }
}

#[test]
fn what_is_no_signal_is_refused() {
    let schema = validator();
    let good =
        json!({"kind": "sample", "metric": "up", "at": "2026-11-22T01:00:00Z", "value": 1.5});
    assert!(schema.is_valid(&good));
    for (field, value) in [
        ("kind", json!("guess")),
        ("kind", json!("log")),
        ("kind", Value::Null),
        ("metric", json!(3)),
        ("labels", json!({"service": 3})),
        ("at", json!(3)),
        ("at", json!("yesterday")),
        ("value", json!("much")),
        ("value", json!("1.5")),
        ("value", Value::Null),
    ] {
        let mut wrong = good.clone();
        wrong[field] = value;
        assert!(!schema.is_valid(&wrong), "{wrong}");
        assert!(
            serde_json::from_value::<WireSignal>(wrong.clone()).is_err(),
            "{wrong}"
        );
    }
    for value in ["NaN", "+Inf", "-Inf"] {
        let mut unusual = good.clone();
        unusual["value"] = json!(value);
        assert!(schema.is_valid(&unusual), "{unusual}");
        let read: WireSignal = serde_json::from_value(unusual.clone()).unwrap();
        assert_eq!(serde_json::to_value(&read).unwrap(), unusual);
    }
    let mut targeted =
        json!({"kind": "deploy", "at": "2026-11-22T01:00:00Z", "target": "a/b", "summary": ""});
    assert!(schema.is_valid(&targeted));
    for target in ["", "/b", "a/", "a/b/c"] {
        targeted["target"] = json!(target);
        assert!(!schema.is_valid(&targeted), "{targeted}");
    }
}
