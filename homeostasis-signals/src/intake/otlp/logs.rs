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
    for resource in request.resources {
        let mut origin = Origin::new(resource.resource, config);
        let n_kept = origin.kept.len();
        for scope in resource.scopes {
            origin.enter(scope.scope, n_kept, config);
            for record in scope.records {
                let read = if outcome.n_accepted < config.max_items {
                    log(record, &origin, config, now, &mut outcome)
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
