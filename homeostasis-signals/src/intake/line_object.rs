//! Turns the named values of a line, whatever its format, into a log record or a change.

use homeostasis_core::signal::{Change, ChangeKind, Fields, LogRecord, Signal};
use homeostasis_core::{Target, Timestamp};
use serde_json::{Map, Value};

use super::line_time::{TimeReader, level_of_value};
use super::log_line::LogLinesConfig;

/// The most fields that are kept of one line.
const MAX_FIELDS: usize = 128;

const TIME: [&str; 4] = ["ts", "time", "timestamp", "@timestamp"];
const LEVEL: [&str; 4] = ["level", "severity", "lvl", "log.level"];
const MESSAGE: [&str; 4] = ["msg", "message", "event", "summary"];
const COMPONENT: [&str; 4] = ["component", "logger", "module", "target"];
const CORRELATION: [&str; 3] = ["request_id", "correlation_id", "trace_id"];

/// Which known thing a name that a logger would use for it stands for.
pub(super) fn meaning(name: &str) -> Option<&'static str> {
    [
        ("time", &TIME[..]),
        ("level", &LEVEL),
        ("message", &MESSAGE),
        ("component", &COMPONENT),
        ("correlation", &CORRELATION),
    ]
    .into_iter()
    .find(|(_, spellings)| spellings.contains(&name))
    .map(|(meaning, _)| meaning)
}

/// The signal of a line's named values.
pub(super) fn signal(
    mut object: Map<String, Value>,
    now: Timestamp,
    times: &TimeReader,
    config: &LogLinesConfig,
) -> Signal {
    if let Some(Value::Object(inner)) = object.get_mut("fields").map(Value::take) {
        object.remove("fields");
        for (name, value) in inner {
            object.entry(name).or_insert(value);
        }
    }
    let at = take(&mut object, &TIME, |value| times.read_value(value, now)).unwrap_or(now);
    if let Some(change) = change(&object, at, config) {
        return Signal::Change(change);
    }
    let level = take(&mut object, &LEVEL, level_of_value).unwrap_or(config.default_level);
    let message = take(&mut object, &MESSAGE, |value| Some(text(value))).unwrap_or_default();
    let mut record = LogRecord::new(at, level, message);
    record.component = take(&mut object, &COMPONENT, |value| Some(text(value)))
        .unwrap_or_default()
        .into();
    record.target = target(&object, config);
    record.correlation = CORRELATION
        .iter()
        .find_map(|name| object.get(*name))
        .map(text)
        .filter(|id| !id.is_empty());
    if record.target.is_some() && config.target != record.target {
        object.remove("service");
        object.remove("instance");
    }
    record.fields = fields(object);
    Signal::Log(record)
}

fn change(object: &Map<String, Value>, at: Timestamp, config: &LogLinesConfig) -> Option<Change> {
    let kind = match object.get("kind")?.as_str()? {
        "deploy" => ChangeKind::Deploy,
        "flag" => ChangeKind::Flag,
        "config" => ChangeKind::Config,
        "migration" => ChangeKind::Migration,
        "scale" => ChangeKind::Scale,
        _ => return None,
    };
    let named = || object.get("target")?.as_str()?.parse().ok();
    let target = match object.get("service") {
        Some(_) => target(object, config)?,
        None => named().or_else(|| config.target.clone())?,
    };
    let of = |name: &str| object.get(name).map(text).filter(|text| !text.is_empty());
    let summary = of("summary")
        .or_else(|| of("msg"))
        .or_else(|| of("message"))
        .or_else(|| Some(format!("{} -> {}", of("previous")?, of("version")?)))
        .unwrap_or_else(|| format!("{kind:?}").to_lowercase());
    let mut change = Change::new(at, kind, target, summary);
    change.fields = fields(object.clone());
    for known in ["kind", "service", "instance", "target", "summary"] {
        change.fields.remove(known);
    }
    Some(change)
}

/// The target a line names, or the one of the log.
fn target(object: &Map<String, Value>, config: &LogLinesConfig) -> Option<Target> {
    let named = || {
        let service = object.get("service")?.as_str()?;
        match object.get("instance") {
            None | Some(Value::Null) => Target::service(service).ok(),
            Some(instance) => Target::instance(service, text(instance)).ok(),
        }
    };
    named().or_else(|| config.target.clone())
}

/// Takes the first of `names` that `read` understands out of the object.
fn take<T>(
    object: &mut Map<String, Value>,
    names: &[&str],
    read: impl Fn(&Value) -> Option<T>,
) -> Option<T> {
    names.iter().find_map(|name| {
        let value = read(object.get(*name)?)?;
        object.remove(*name);
        Some(value)
    })
}

fn fields(object: Map<String, Value>) -> Fields {
    object
        .into_iter()
        .filter(|(_, value)| !value.is_null())
        .take(MAX_FIELDS)
        .map(|(name, value)| match value {
            Value::String(text) => (name, text),
            other => (name, other.to_string()),
        })
        .collect()
}

fn text(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}
