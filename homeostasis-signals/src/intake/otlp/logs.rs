//! Log records.

use homeostasis_core::Timestamp;
use homeostasis_core::signal::{Level, LogRecord, Signal};

use super::any_value::{cut, hex};
use super::config::OtlpIntakeConfig;
use super::message::{self, LogsRequest};
use super::origin::{Origin, OtlpOutcome, text_within, time};

/// Gives the records of a request to `emit`.
pub(super) fn take(
    request: LogsRequest,
    config: &OtlpIntakeConfig,
    now: Timestamp,
    mut emit: impl FnMut(Signal),
) -> OtlpOutcome {
    let mut outcome = OtlpOutcome::default();
    let mut room = config.max_decoded;
    for resource in request.resources {
        let mut origin = Origin::new(resource.resource, config);
        let n_kept = origin.kept.len();
        for scope in resource.scopes {
            origin.enter(scope.scope, n_kept, config);
            for record in scope.records {
                let read = if outcome.n_accepted < config.max_items {
                    origin
                        .charge(1, &mut room, config)
                        .and_then(|()| log(record, &origin, config, now, &mut outcome))
                } else {
                    Err(format!("more than {} log records", config.max_items))
                };
                outcome.add(read.map(|record| emit(Signal::Log(record))));
            }
        }
    }
    outcome
}

fn log(
    record: message::LogRecord,
    origin: &Origin,
    config: &OtlpIntakeConfig,
    now: Timestamp,
    outcome: &mut OtlpOutcome,
) -> Result<LogRecord, String> {
    let observed = time(record.observed_time, "observedTimeUnixNano")?;
    let at = time(record.time, "timeUnixNano")?
        .or(observed)
        .unwrap_or(now);
    let mut fields = origin.fields(record.attributes, config, outcome)?;
    let error = origin.error(&fields);
    let mut message = text_within(record.body, "body", config)?;
    if message.is_empty() {
        message = match &error {
            Some(error) if record.event_name.is_empty() => error.message.clone(),
            _ => cut(record.event_name.clone(), config.max_text),
        };
    }
    if !record.event_name.is_empty() {
        fields.insert("event.name", cut(record.event_name, config.max_text));
    }
    if let Some(span) = hex(&record.span_id, 8) {
        fields.insert("span_id", span);
    }
    let level = level(record.severity_number, &record.severity_text);
    let mut log = LogRecord::new(at, level, message);
    log.target.clone_from(&origin.target);
    log.component = origin.component.clone().into();
    log.fields = fields;
    log.correlation = hex(&record.trace_id, 16);
    log.error = error;
    Ok(log)
}

fn level(number: i32, text: &str) -> Level {
    match number {
        1..=4 => Level::Trace,
        5..=8 => Level::Debug,
        9..=12 => Level::Info,
        13..=16 => Level::Warn,
        17..=20 => Level::Error,
        21..=24 => Level::Fatal,
        _ => text.parse().unwrap_or(Level::Info),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intake::otlp::decode::{OtlpEncoding, OtlpKind, OtlpRequest, Request};

    fn read(config: &OtlpIntakeConfig, json: &str) -> (Vec<LogRecord>, OtlpOutcome) {
        let json = json.as_bytes();
        let read = OtlpRequest::decode(OtlpKind::Logs, OtlpEncoding::Json, json, 1 << 20).unwrap();
        let Request::Logs(request) = read.0 else {
            unreachable!()
        };
        let mut logs = Vec::new();
        let outcome = take(request, config, Timestamp::from_secs(7), |signal| {
            if let Signal::Log(log) = signal {
                logs.push(log);
            }
        });
        (logs, outcome)
    }

    fn one(config: &OtlpIntakeConfig, record: &str) -> LogRecord {
        let json = format!(
            r#"{{"resourceLogs":[{{"resource":{{"attributes":[
                {{"key":"service.name","value":{{"stringValue":"unknown_service:/bin/x"}}}},
                {{"key":"zone","value":{{"stringValue":"b"}}}},
                {{"key":"telemetry.sdk.language","value":{{"stringValue":"nodejs"}}}}]}},
            "scopeLogs":[{{"scope":{{"name":"s"}},"logRecords":[{record}]}}]}}]}}"#
        );
        let (mut logs, outcome) = read(config, &json);
        assert_eq!((logs.len(), outcome.n_accepted), (1, 1), "{outcome:?}");
        logs.remove(0)
    }

    #[test]
    fn what_a_record_lacks_is_taken_from_what_it_has() {
        let config = OtlpIntakeConfig {
            keep_attributes: vec!["zone".to_owned()],
            ..OtlpIntakeConfig::default()
        };
        let log = one(
            &config,
            r#"{"observedTimeUnixNano":"5","severityText":"ERR"}"#,
        );
        assert_eq!(
            (log.at, log.level),
            (Timestamp::from_nanos(5), Level::Error)
        );
        assert_eq!(log.target.unwrap().to_string(), "unknown_service:_bin_x");
        let fields: Vec<(&str, &str)> = log.fields.iter().collect();
        assert_eq!((log.correlation, fields), (None, vec![("zone", "b")]));
        let error = r#"{"severityNumber":24,"spanId":"000000000000000a",
            "traceId":"000000000000000000000000000000ff","attributes":[
            {"key":"exception.type","value":{"stringValue":"TypeError"}},
            {"key":"exception.message","value":{"stringValue":"x is undefined"}}]}"#;
        let log = one(&config, error);
        assert_eq!((log.at, log.level), (Timestamp::from_secs(7), Level::Fatal));
        assert_eq!(log.message, "x is undefined");
        assert_eq!(log.error.unwrap().language, "javascript");
        assert_eq!(log.fields["span_id"], "000000000000000a");
        assert_eq!(log.correlation.unwrap(), format!("{:032x}", 255));
        let log = one(&config, r#"{"eventName":"cart.emptied"}"#);
        assert_eq!(
            (log.level, log.message.as_str()),
            (Level::Info, "cart.emptied")
        );
    }

    #[test]
    fn what_items_share_is_cut_and_counts_for_each_of_them() {
        let config = OtlpIntakeConfig {
            keep_attributes: vec!["zone".to_owned()],
            max_decoded: 5000,
            ..OtlpIntakeConfig::default()
        };
        let text = |n: usize| "x".repeat(n);
        let attribute = |key, n| {
            format!(
                r#"{{"key":"{key}","value":{{"stringValue":"{}"}}}}"#,
                text(n)
            )
        };
        let json = format!(
            r#"{{"resourceLogs":[{{"resource":{{"attributes":[{},{}]}},"scopeLogs":[
                {{"scope":{{"name":"{}"}},"logRecords":[{{}}]}},
                {{"scope":{{"name":"s"}},"logRecords":[{}{{}}]}}]}}]}}"#,
            attribute("zone", 1000),
            attribute("telemetry.sdk.language", 700),
            text(70_000),
            "{},".repeat(9),
        );
        let (logs, outcome) = read(&config, &json);
        assert_eq!(logs[0].component.len(), 256 + "…".len());
        let copied = |log: &LogRecord| log.component.len() + log.fields["zone"].len();
        assert!(logs.iter().map(copied).sum::<usize>() <= 5000);
        // 1004 + 128 + 259 bytes of the first, then 1004 + 128 + 1 each.
        assert_eq!((outcome.n_accepted, outcome.n_rejected), (4, 7));
        let told = "copies of resource and scope are above the limit max_decoded = 5000";
        assert_eq!(outcome.message, told);
    }

    #[test]
    fn limits_refuse_records_drop_attributes_and_cut_text() {
        let config = OtlpIntakeConfig {
            max_items: 1,
            max_attributes: 1,
            max_value_depth: 0,
            max_text: 3,
            ..OtlpIntakeConfig::default()
        };
        let log = one(
            &config,
            r#"{"body":{"stringValue":"abcdef"},"attributes":[
                {"key":"a","value":{"intValue":1}},{"key":"b","value":{"intValue":2}}]}"#,
        );
        assert_eq!((log.message.as_str(), log.fields.len()), ("abc…", 1));
        let (logs, outcome) = read(
            &config,
            r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[
                {"body":{"arrayValue":{}}},{"timeUnixNano":"18446744073709551615"},{},{}]}]}]}"#,
        );
        assert_eq!(
            (logs.len(), outcome.n_accepted, outcome.n_rejected),
            (1, 1, 3)
        );
        assert_eq!(outcome.message, "body is nested, expected at most 0 levels");
    }
}
