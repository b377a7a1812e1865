//! Spans and their events.

use homeostasis_core::Timestamp;
use homeostasis_core::signal::{Level, LogRecord, Signal, SpanRecord, SpanStatus};

use super::any_value::{cut, hex};
use super::config::OtlpIntakeConfig;
use super::message::{Span, SpanEvent, TracesRequest};
use super::origin::{Origin, OtlpOutcome, time};

/// The status code `STATUS_CODE_ERROR`.
const STATUS_ERROR: i32 = 2;

/// Gives the spans of a request, and their events as log records, to `emit`.
pub(super) fn take(
    request: TracesRequest,
    config: &OtlpIntakeConfig,
    now: Timestamp,
    mut emit: impl FnMut(Signal),
) -> OtlpOutcome {
    let mut outcome = OtlpOutcome::default();
    let mut room = config.max_items;
    let mut bytes = config.max_decoded;
    for resource in request.resources {
        let mut origin = Origin::new(resource.resource, config);
        let n_kept = origin.kept.len();
        for scope in resource.scopes {
            origin.enter(scope.scope, n_kept, config);
            for span in scope.spans {
                let needed = 1 + span.events.len();
                let read = if needed <= room {
                    origin
                        .charge(needed, &mut bytes, config)
                        .and_then(|()| read(span, &origin, config, now, &mut outcome))
                } else {
                    Err(format!("more than {} spans and events", config.max_items))
                };
                outcome.add(read.map(|signals| {
                    room -= needed;
                    signals.into_iter().for_each(&mut emit);
                }));
            }
        }
    }
    outcome
}

/// A span and its events.
fn read(
    span: Span,
    origin: &Origin,
    config: &OtlpIntakeConfig,
    now: Timestamp,
    outcome: &mut OtlpOutcome,
) -> Result<Vec<Signal>, String> {
    let trace = hex(&span.trace_id, 16).ok_or_else(|| {
        format!(
            "traceId of {} bytes, expected 16, not all 0",
            span.trace_id.len()
        )
    })?;
    let id = id(&span.span_id).filter(|id| *id != 0).ok_or_else(|| {
        format!(
            "spanId of {} bytes, expected 8, not all 0",
            span.span_id.len()
        )
    })?;
    let parent = match span.parent_span_id.len() {
        0 => 0,
        n => self::id(&span.parent_span_id)
            .ok_or_else(|| format!("parentSpanId of {n} bytes, expected none or 8"))?,
    };
    let end = time(span.end_time, "endTimeUnixNano")?.unwrap_or(now);
    let start = time(span.start_time, "startTimeUnixNano")?.unwrap_or(end);
    let mut record = SpanRecord::new(start, end.since(start), cut(span.name, config.max_text));
    record.target.clone_from(&origin.target);
    record.span = id;
    record.parent = parent;
    if span.status.code == STATUS_ERROR {
        record.status = SpanStatus::Error;
    }
    record.fields = origin.fields(span.attributes, config, outcome)?;
    let kind = match span.kind {
        1 => "internal",
        2 => "server",
        3 => "client",
        4 => "producer",
        5 => "consumer",
        _ => "",
    };
    let status = cut(span.status.message, config.max_text);
    for (name, value) in [
        ("span.kind", kind),
        ("status.message", &status),
        ("otel.scope.name", &origin.component),
    ] {
        if !value.is_empty() {
            record.fields.insert(name, value);
        }
    }
    let mut signals = Vec::with_capacity(1 + span.events.len());
    for event in span.events {
        let mut log = log(event, origin, config, end, outcome)?;
        log.fields.insert("span_id", format!("{id:016x}"));
        log.correlation = Some(trace.clone());
        signals.push(Signal::Log(log));
    }
    record.trace = Some(trace);
    signals.push(Signal::Span(record));
    Ok(signals)
}

/// An event as log record: an exception is an error, all else information.
fn log(
    event: SpanEvent,
    origin: &Origin,
    config: &OtlpIntakeConfig,
    end: Timestamp,
    outcome: &mut OtlpOutcome,
) -> Result<LogRecord, String> {
    let at = time(event.time, "timeUnixNano of an event")?.unwrap_or(end);
    let fields = origin.fields(event.attributes, config, outcome)?;
    let error = origin.error(&fields);
    let (level, message) = match &error {
        Some(error) if error.message.is_empty() => (Level::Error, error.kind.clone()),
        Some(error) => (Level::Error, error.message.clone()),
        None => (Level::Info, cut(event.name.clone(), config.max_text)),
    };
    let mut log = LogRecord::new(at, level, message);
    log.fields = fields;
    log.fields
        .insert("event.name", cut(event.name, config.max_text));
    log.target.clone_from(&origin.target);
    log.component = origin.component.clone().into();
    log.error = error;
    Ok(log)
}

fn id(bytes: &[u8]) -> Option<u64> {
    bytes.try_into().ok().map(u64::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intake::otlp::decode::{OtlpEncoding, OtlpKind, OtlpRequest, Request};

    fn read(max_items: usize, spans: &str) -> (Vec<Signal>, OtlpOutcome) {
        let json = format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{spans}]}}]}}]}}"#);
        let json = json.as_bytes();
        let read =
            OtlpRequest::decode(OtlpKind::Traces, OtlpEncoding::Json, json, 1 << 20).unwrap();
        let Request::Traces(request) = read.0 else {
            unreachable!()
        };
        let config = OtlpIntakeConfig {
            max_items,
            ..OtlpIntakeConfig::default()
        };
        let mut signals = Vec::new();
        let now = Timestamp::from_secs(7);
        let outcome = take(request, &config, now, |signal| signals.push(signal));
        (signals, outcome)
    }

    fn span(more: &str) -> String {
        let (trace, id) = ("0af7651916cd43dd8448eb211c80319c", "00f067aa0ba902b7");
        format!(r#"{{"traceId":"{trace}","spanId":"{id}"{more}}}"#)
    }

    #[test]
    fn a_span_without_times_is_an_instant_now_and_one_without_ids_is_refused() {
        let bad = r#"{"traceId":"00000000000000000000000000000000","spanId":"00f067aa0ba902b7"}"#;
        let (signals, outcome) = read(10, &format!("{},{bad}", span("")));
        let [Signal::Span(record)] = &signals[..] else {
            panic!("{signals:?}");
        };
        assert_eq!(
            (record.at, record.duration.is_zero()),
            (Timestamp::from_secs(7), true)
        );
        assert_eq!(record.span, 0x00f0_67aa_0ba9_02b7);
        assert_eq!((outcome.n_accepted, outcome.n_rejected), (1, 1));
        assert_eq!(
            outcome.message,
            "traceId of 16 bytes, expected 16, not all 0"
        );
        let bad = span(r#","parentSpanId":"00ff""#);
        let message = read(10, &bad).1.message;
        assert_eq!(message, "parentSpanId of 2 bytes, expected none or 8");
    }

    #[test]
    fn events_become_log_records_and_count_as_items() {
        let exception = r#"{"name":"exception","timeUnixNano":"3","attributes":[
            {"key":"exception.type","value":{"stringValue":"E"}}]}"#;
        let with = span(&format!(r#","events":[{exception},{{"name":"retry"}}]"#));
        let (signals, _) = read(3, &with);
        let [Signal::Log(error), Signal::Log(retry), Signal::Span(record)] = &signals[..] else {
            panic!("{signals:?}");
        };
        assert_eq!((error.level, error.message.as_str()), (Level::Error, "E"));
        assert_eq!(error.at, Timestamp::from_nanos(3));
        assert_eq!(
            (retry.level, retry.message.as_str()),
            (Level::Info, "retry")
        );
        assert_eq!([&error.correlation, &retry.correlation], [&record.trace; 2]);
        assert_eq!(error.fields["span_id"], "00f067aa0ba902b7");
        let (signals, outcome) = read(2, &with);
        assert_eq!((signals.len(), outcome.n_rejected), (0, 1));
        assert_eq!(outcome.message, "more than 2 spans and events");
    }

    #[test]
    fn what_a_span_and_its_events_share_counts_for_each_of_them() {
        let events = format!(r#","events":[{}{{}}]"#, "{},".repeat(9));
        let json = format!(
            r#"{{"resourceSpans":[{{"scopeSpans":[{{"scope":{{"name":"{}"}},"spans":[{},{}]}}]}}]}}"#,
            "s".repeat(70_000),
            span(&events),
            span(""),
        );
        let json = json.as_bytes();
        let read = OtlpRequest::decode(OtlpKind::Traces, OtlpEncoding::Json, json, 1 << 20);
        let Request::Traces(request) = read.unwrap().0 else {
            unreachable!()
        };
        // Ten events and a span need 11 names of 259 bytes.
        let config = OtlpIntakeConfig {
            max_decoded: 11 * 259 - 1,
            ..OtlpIntakeConfig::default()
        };
        let mut signals = Vec::new();
        let outcome = take(request, &config, Timestamp::EPOCH, |s| signals.push(s));
        assert_eq!((outcome.n_accepted, outcome.n_rejected), (1, 1));
        let [Signal::Span(record)] = &signals[..] else {
            panic!("{signals:?}");
        };
        assert_eq!(record.fields["otel.scope.name"].len(), 256 + "…".len());
        assert!(outcome.message.contains("max_decoded = 2848"));
    }
}
