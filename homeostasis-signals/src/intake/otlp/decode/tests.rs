//! Compared with the official messages, which `prost` and `serde` write by code that is not ours.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1 as common;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::logs::v1 as logs;
use opentelemetry_proto::tonic::metrics::v1 as metrics;
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point;
use opentelemetry_proto::tonic::metrics::v1::summary_data_point::ValueAtQuantile;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1 as trace;
use proptest::collection::vec;
use proptest::prelude::*;
use prost::Message as _;

use super::*;
use crate::intake::otlp::any_value::AnyValue;

const ROOM: usize = 1 << 24;

fn protobuf(kind: OtlpKind, bytes: &[u8]) -> Result<OtlpRequest, OtlpError> {
    OtlpRequest::decode(kind, OtlpEncoding::Protobuf, bytes, ROOM)
}

fn json(kind: OtlpKind, text: &str) -> Result<OtlpRequest, OtlpError> {
    OtlpRequest::decode(kind, OtlpEncoding::Json, text.as_bytes(), ROOM)
}

fn value() -> impl Strategy<Value = common::AnyValue> {
    let plain = prop_oneof![
        "\\PC{0,8}".prop_map(Value::StringValue),
        any::<bool>().prop_map(Value::BoolValue),
        any::<i64>().prop_map(Value::IntValue),
        proptest::num::f64::NORMAL.prop_map(Value::DoubleValue),
        vec(any::<u8>(), 0..5).prop_map(Value::BytesValue),
    ]
    .boxed();
    let any = |value| common::AnyValue { value: Some(value) };
    plain.prop_map(any).prop_recursive(3, 12, 3, move |inner| {
        prop_oneof![
            vec(inner.clone(), 0..3)
                .prop_map(move |values| any(Value::ArrayValue(common::ArrayValue { values }))),
            vec(("[a-z]{0,3}", inner), 0..3).prop_map(move |entries| {
                let values = entries.into_iter().map(entry).collect();
                any(Value::KvlistValue(common::KeyValueList { values }))
            }),
        ]
    })
}

fn entry((key, value): (String, common::AnyValue)) -> common::KeyValue {
    common::KeyValue {
        key,
        value: Some(value),
        ..Default::default()
    }
}

fn attributes() -> impl Strategy<Value = Vec<common::KeyValue>> {
    vec(("[a-z.]{1,6}", value()).prop_map(entry), 0..4)
}

fn resource() -> impl Strategy<Value = Option<Resource>> {
    attributes().prop_map(|attributes| {
        Some(Resource {
            attributes,
            dropped_attributes_count: 3,
            ..Default::default()
        })
    })
}

fn scope() -> impl Strategy<Value = Option<common::InstrumentationScope>> {
    ("[a-z]{0,4}", attributes()).prop_map(|(name, attributes)| {
        Some(common::InstrumentationScope {
            version: format!("{name}1"),
            name,
            attributes,
            dropped_attributes_count: 1,
        })
    })
}

prop_compose! {
    fn log()(
        (time, observed) in any::<(u64, u64)>(),
        severity in 0_i32..25,
        texts in ("\\PC{0,4}", "[a-z]{0,4}"),
        body in proptest::option::of(value()),
        attributes in attributes(),
        (trace_id, span_id) in any::<([u8; 16], [u8; 8])>(),
    ) -> logs::LogRecord {
        logs::LogRecord {
            time_unix_nano: time,
            observed_time_unix_nano: observed,
            severity_number: severity,
            severity_text: texts.0,
            body,
            attributes,
            dropped_attributes_count: 7,
            flags: 1,
            trace_id: trace_id.to_vec(),
            span_id: span_id.to_vec(),
            event_name: texts.1,
        }
    }
}

prop_compose! {
    fn logs_request()(
        resource in resource(),
        scope in scope(),
        log_records in vec(log(), 0..4),
    ) -> ExportLogsServiceRequest {
        ExportLogsServiceRequest {
            resource_logs: vec![logs::ResourceLogs {
                resource,
                scope_logs: vec![logs::ScopeLogs {
                    scope,
                    log_records,
                    schema_url: "https://example.com".to_owned(),
                }],
                schema_url: String::new(),
            }],
        }
    }
}

prop_compose! {
    fn span()(
        (trace_id, span_id, parent) in any::<([u8; 16], [u8; 8], [u8; 8])>(),
        name in "\\PC{0,6}",
        (kind, code) in (0_i32..6, 0_i32..3),
        (start, end, time) in any::<(u64, u64, u64)>(),
        (attributes, of_event, of_link) in (attributes(), attributes(), attributes()),
    ) -> trace::Span {
        trace::Span {
            trace_id: trace_id.to_vec(),
            span_id: span_id.to_vec(),
            parent_span_id: parent.to_vec(),
            trace_state: "a=b".to_owned(),
            flags: 257,
            kind,
            start_time_unix_nano: start,
            end_time_unix_nano: end,
            attributes,
            events: vec![trace::span::Event {
                time_unix_nano: time,
                name: name.clone(),
                attributes: of_event,
                dropped_attributes_count: 2,
            }],
            links: vec![trace::span::Link {
                trace_id: trace_id.to_vec(),
                attributes: of_link,
                ..Default::default()
            }],
            status: Some(trace::Status { message: name.clone(), code }),
            name,
            dropped_events_count: 4,
            ..Default::default()
        }
    }
}

prop_compose! {
    fn traces_request()(
        resource in resource(),
        scope in scope(),
        spans in vec(span(), 0..4),
    ) -> ExportTraceServiceRequest {
        ExportTraceServiceRequest {
            resource_spans: vec![trace::ResourceSpans {
                resource,
                scope_spans: vec![trace::ScopeSpans { scope, spans, schema_url: String::new() }],
                schema_url: String::new(),
            }],
        }
    }
}

prop_compose! {
    fn numbers()(
        attributes in attributes(),
        (start, time, flags) in any::<(u64, u64, u32)>(),
        value in prop_oneof![
            // The official messages write infinities as `null`.
            (proptest::num::f64::NORMAL | proptest::num::f64::SUBNORMAL)
                .prop_map(number_data_point::Value::AsDouble),
            any::<i64>().prop_map(number_data_point::Value::AsInt),
        ],
    ) -> metrics::NumberDataPoint {
        metrics::NumberDataPoint {
            attributes,
            start_time_unix_nano: start,
            time_unix_nano: time,
            exemplars: vec![metrics::Exemplar { time_unix_nano: 5, ..Default::default() }],
            flags,
            value: Some(value),
        }
    }
}

/// The data of a metric of each kind.
fn data() -> impl Strategy<Value = Data> {
    let counts = || vec(any::<u64>(), 0..5);
    let finite = proptest::num::f64::NORMAL;
    prop_oneof![
        vec(numbers(), 0..3).prop_map(|data_points| Data::Gauge(metrics::Gauge { data_points })),
        (vec(numbers(), 0..3), 0_i32..3, any::<bool>()).prop_map(|(points, kind, monotonic)| {
            Data::Sum(metrics::Sum {
                data_points: points,
                aggregation_temporality: kind,
                is_monotonic: monotonic,
            })
        }),
        (
            attributes(),
            counts(),
            vec(finite, 0..4),
            any::<[u64; 3]>(),
            0_i32..3
        )
            .prop_map(
                |(attributes, bucket_counts, explicit_bounds, [start, time, count], kind)| {
                    Data::Histogram(metrics::Histogram {
                        data_points: vec![metrics::HistogramDataPoint {
                            attributes,
                            start_time_unix_nano: start,
                            time_unix_nano: time,
                            count,
                            sum: Some(1.5),
                            bucket_counts,
                            explicit_bounds,
                            flags: 1,
                            min: Some(0.5),
                            ..Default::default()
                        }],
                        aggregation_temporality: kind,
                    })
                }
            ),
        (
            attributes(),
            counts(),
            counts(),
            any::<[i32; 3]>(),
            any::<[u64; 3]>()
        )
            .prop_map(
                |(attributes, positive, negative, [scale, a, b], [time, count, zero_count])| {
                    let buckets = |offset, bucket_counts| {
                        Some(Buckets {
                            offset,
                            bucket_counts,
                        })
                    };
                    Data::ExponentialHistogram(metrics::ExponentialHistogram {
                        data_points: vec![metrics::ExponentialHistogramDataPoint {
                            attributes,
                            start_time_unix_nano: time / 2,
                            time_unix_nano: time,
                            count,
                            scale,
                            zero_count,
                            positive: buckets(a, positive),
                            negative: buckets(b, negative),
                            zero_threshold: 0.25,
                            ..Default::default()
                        }],
                        aggregation_temporality: 2,
                    })
                }
            ),
        (attributes(), any::<[u64; 2]>(), vec((finite, finite), 0..3)).prop_map(
            |(attributes, [time, count], quantiles)| {
                let quantile_values = quantiles
                    .into_iter()
                    .map(|(quantile, value)| ValueAtQuantile { quantile, value })
                    .collect();
                Data::Summary(metrics::Summary {
                    data_points: vec![metrics::SummaryDataPoint {
                        attributes,
                        start_time_unix_nano: time / 2,
                        time_unix_nano: time,
                        count,
                        sum: 2.5,
                        quantile_values,
                        flags: 1,
                    }],
                })
            }
        ),
    ]
}

prop_compose! {
    fn metrics_request()(
        resource in resource(),
        scope in scope(),
        data in vec(("[a-z.]{1,6}", data()), 0..4),
    ) -> ExportMetricsServiceRequest {
        let metric = |(name, data): (String, Data)| metrics::Metric {
            unit: format!("{name}s"),
            name,
            description: "text".to_owned(),
            data: Some(data),
            ..Default::default()
        };
        ExportMetricsServiceRequest {
            resource_metrics: vec![metrics::ResourceMetrics {
                resource,
                scope_metrics: vec![metrics::ScopeMetrics {
                    scope,
                    metrics: data.into_iter().map(metric).collect(),
                    schema_url: String::new(),
                }],
                schema_url: String::new(),
            }],
        }
    }
}

/// Both encodings give the same, and what `some` picks is in it.
fn alike(kind: OtlpKind, binary: &[u8], text: &str) -> OtlpRequest {
    let read = protobuf(kind, binary).unwrap();
    assert_eq!(json(kind, text).unwrap(), read, "{text}");
    read
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn logs_of_the_official_messages_read_alike_in_both_encodings(request in logs_request()) {
        let text = serde_json::to_string(&request).unwrap();
        let read = alike(OtlpKind::Logs, &request.encode_to_vec(), &text);
        let Request::Logs(read) = read.0 else { unreachable!() };
        let (theirs, ours) = (&request.resource_logs[0], &read.resources[0]);
        for (theirs, ours) in theirs.scope_logs[0].log_records.iter().zip(&ours.scopes[0].records) {
            prop_assert_eq!(theirs.time_unix_nano, ours.time);
            prop_assert_eq!(theirs.observed_time_unix_nano, ours.observed_time);
            prop_assert_eq!(theirs.severity_number, ours.severity_number);
            prop_assert_eq!(&theirs.event_name, &ours.event_name);
            prop_assert_eq!(&theirs.span_id, &ours.span_id);
            prop_assert_eq!(theirs.attributes.len(), ours.attributes.len());
        }
    }

    #[test]
    fn traces_of_the_official_messages_read_alike_in_both_encodings(request in traces_request()) {
        let text = serde_json::to_string(&request).unwrap();
        let read = alike(OtlpKind::Traces, &request.encode_to_vec(), &text);
        let Request::Traces(read) = read.0 else { unreachable!() };
        let (theirs, ours) = (&request.resource_spans[0], &read.resources[0]);
        for (theirs, ours) in theirs.scope_spans[0].spans.iter().zip(&ours.scopes[0].spans) {
            prop_assert_eq!(&theirs.trace_id, &ours.trace_id);
            prop_assert_eq!(&theirs.parent_span_id, &ours.parent_span_id);
            prop_assert_eq!((theirs.start_time_unix_nano, theirs.end_time_unix_nano),
                (ours.start_time, ours.end_time));
            prop_assert_eq!(theirs.kind, ours.kind);
            prop_assert_eq!(theirs.status.as_ref().unwrap().code, ours.status.code);
            prop_assert_eq!(theirs.events[0].time_unix_nano, ours.events[0].time);
        }
    }

    #[test]
    fn metrics_of_the_official_messages_read_alike_in_both_encodings(request in metrics_request()) {
        let text = serde_json::to_string(&request).unwrap();
        alike(OtlpKind::Metrics, &request.encode_to_vec(), &text);
    }

    #[test]
    fn a_request_that_is_cut_off_is_malformed(request in traces_request(), at in 0.0_f64..1.0) {
        let bytes = request.encode_to_vec();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within bytes")]
        let at = 1 + (at * (bytes.len() - 1) as f64) as usize;
        prop_assert_eq!(protobuf(OtlpKind::Traces, &bytes[..at]).is_ok(), at == bytes.len());
        let text = serde_json::to_vec(&request).unwrap();
        let cut = OtlpRequest::decode(
            OtlpKind::Traces, OtlpEncoding::Json, &text[..text.len() - 1], ROOM);
        prop_assert!(cut.is_err());
    }

    #[test]
    fn no_bytes_make_it_panic(
        noise in vec(any::<u8>(), 0..64),
        request in metrics_request(),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
    ) {
        let mut binary = request.encode_to_vec();
        let mut text = serde_json::to_vec(&request).unwrap();
        for (at, byte) in changes {
            let (in_binary, in_text) = (at.index(binary.len()), at.index(text.len()));
            binary[in_binary] = byte;
            text[in_text] = byte;
        }
        for kind in [OtlpKind::Logs, OtlpKind::Metrics, OtlpKind::Traces] {
            for (encoding, bytes) in [
                (OtlpEncoding::Protobuf, &noise), (OtlpEncoding::Json, &noise),
                (OtlpEncoding::Protobuf, &binary), (OtlpEncoding::Json, &text),
            ] {
                if let Err(error) = OtlpRequest::decode(kind, encoding, bytes, ROOM) {
                    prop_assert!(error.to_string().contains("expected")
                        || encoding == OtlpEncoding::Json, "{}", error);
                }
            }
        }
    }
}

/// The attributes of the only log record.
fn attributes_of(request: OtlpRequest) -> Vec<(String, AnyValue)> {
    let Request::Logs(mut request) = request.0 else {
        unreachable!()
    };
    let record = request
        .resources
        .remove(0)
        .scopes
        .remove(0)
        .records
        .remove(0);
    let pairs = record
        .attributes
        .into_iter()
        .map(|entry| (entry.key, entry.value));
    pairs.collect()
}

#[test]
fn json_is_read_by_the_rules_of_otlp() {
    let text = r#"{"resourceLogs":[{"resource":null,"future":[{"a":1}],"scopeLogs":[{"logRecords":[{
        "timeUnixNano":"1","severityNumber":9,"traceId":"5B8EFFF798038103D269B633813FC60C",
        "attributes":[{"key":"a","value":{"intValue":"-9223372036854775808"}},
            {"key":"b","value":{"doubleValue":"NaN"}},{"key":"c","value":{"doubleValue":1}},
            {"key":"d","value":{"bytesValue":"_-8="}},{"key":"e","value":null},{"key":"f"}]}]}]}]}"#;
    let read = attributes_of(json(OtlpKind::Logs, text).unwrap());
    assert_eq!(read[0].1, AnyValue::Int(i64::MIN));
    assert!(matches!(read[1].1, AnyValue::Double(number) if number.is_nan()));
    assert_eq!(read[2].1, AnyValue::Double(1.0));
    assert_eq!(read[3].1, AnyValue::Bytes(vec![0xff, 0xef]));
    assert_eq!(
        (&read[4].1, &read[5].1),
        (&AnyValue::Empty, &AnyValue::Empty)
    );
}

#[test]
fn a_malformed_request_is_told_with_the_place_and_what_was_expected() {
    // A request with resource logs, scope logs, a record, and in it a severity that is text.
    let bytes = [0x0a, 7, 0x12, 5, 0x12, 3, 0x12, 1, b'x'];
    assert_eq!(
        protobuf(OtlpKind::Logs, &bytes).unwrap_err().to_string(),
        "request.resourceLogs.scopeLogs.logRecords.severityNumber: expected a number"
    );
    let told = |text: &str| json(OtlpKind::Logs, text).unwrap_err().to_string();
    let log = |record: &str| {
        format!(r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{record}]}}]}}]}}"#)
    };
    for (text, expected) in [
        (
            "[]",
            "line 1 column 2: invalid type: sequence, expected an object",
        ),
        (
            &log(r#"{"traceId":"zz"}"#),
            "line 1 column 62: \"zz\", expected an id in hexadecimal digits",
        ),
        (
            &log(r#"{"timeUnixNano":-1}"#),
            "line 1 column 64: -1, expected a number (u64)",
        ),
        ("{}{}", "line 1 column 3: trailing characters"),
    ] {
        assert_eq!(told(text), expected);
    }
}

#[test]
fn small_messages_cannot_take_much_memory_nor_depth() {
    // Two bytes for each span, and three in JSON.
    let n = 100_000_u32;
    let spans: Vec<u8> = (0..n).flat_map(|_| [0x12, 0]).collect();
    let mut scope = vec![0x12];
    scope.extend(prost_length(spans.len()));
    scope.extend(spans);
    let mut request = vec![0x0a];
    request.extend(prost_length(scope.len()));
    request.extend(scope);
    let json = format!(
        r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{}{{}}]}}]}}]}}"#,
        "{},".repeat(100_000)
    );
    for (encoding, bytes) in [
        (OtlpEncoding::Protobuf, request.as_slice()),
        (OtlpEncoding::Json, json.as_bytes()),
    ] {
        let error = OtlpRequest::decode(OtlpKind::Traces, encoding, bytes, 1 << 20).unwrap_err();
        let expected = "the request, once it is read, is above the limit max_decoded = 1048576";
        assert_eq!(error.to_string(), expected);
        assert!(OtlpRequest::decode(OtlpKind::Traces, encoding, bytes, 1 << 26).is_ok());
    }
    let mut value = Vec::new();
    for _ in 0..1000 {
        // An array with one value in it.
        let mut outer = vec![0x0a];
        outer.extend(prost_length(value.len()));
        outer.extend(&value);
        value = vec![0x2a];
        value.extend(prost_length(outer.len()));
        value.extend(outer);
    }
    let mut attribute = vec![0x12];
    attribute.extend(prost_length(value.len()));
    attribute.extend(value);
    for _ in 0..3 {
        let mut outer = vec![0x0a];
        outer.extend(prost_length(attribute.len()));
        outer.extend(attribute);
        attribute = outer;
    }
    let error = protobuf(OtlpKind::Logs, &attribute).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("expected at most 64 messages within each other")
    );
    let deep = format!(
        r#"{{"resourceLogs":[{{"resource":{{"attributes":[{{"value":{}"#,
        r#"{"arrayValue":{"values":["#.repeat(60)
    );
    assert!(matches!(
        self::json(OtlpKind::Logs, &deep),
        Err(OtlpError::Malformed { .. })
    ));
}

fn prost_length(n: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    prost::encode_length_delimiter(n, &mut bytes).unwrap();
    bytes
}
