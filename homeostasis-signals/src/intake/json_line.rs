//! Reads one line of a JSON log as a log record or a change.

use homeostasis_core::signal::{
    Change, ChangeKind, Fields, Level, LogRecord, SeriesCatalog, Signal, WireSignal,
};
use homeostasis_core::{Target, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The most fields that are kept of one line.
const MAX_FIELDS: usize = 128;

const TIME: [&str; 4] = ["ts", "time", "timestamp", "@timestamp"];
const LEVEL: [&str; 4] = ["level", "severity", "lvl", "log.level"];
const MESSAGE: [&str; 4] = ["msg", "message", "event", "summary"];
const COMPONENT: [&str; 4] = ["component", "logger", "module", "target"];
const CORRELATION: [&str; 3] = ["request_id", "correlation_id", "trace_id"];

/// How lines become signals.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct JsonLinesConfig {
    /// Whose log it is, for lines that do not name a `service`; default none.
    pub target: Option<Target>,
    /// The level of lines that do not name one; default `info`.
    pub default_level: Level,
    /// Whether a line that is not a JSON object becomes a record with the line as message
    /// (default true) or is only counted.
    pub keep_plain_lines: bool,
}

impl Default for JsonLinesConfig {
    fn default() -> Self {
        Self {
            target: None,
            default_level: Level::Info,
            keep_plain_lines: true,
        }
    }
}

/// Reads lines of JSON logs.
///
/// - Time: `ts`, `time`, `timestamp` or `@timestamp`, as RFC 3339 text or as a number of seconds,
///   milliseconds, microseconds or nanoseconds, told apart by its size; otherwise the time of
///   reading.
/// - Level: `level`, `severity` or `lvl`, as text or as a number in steps of ten from 10 = trace
///   to 60 = fatal.
/// - Message: `msg`, `message`, `event` or `summary`. Component: `component`, `logger`, `module`
///   or `target`. Target: `service` and `instance`. Correlation: `request_id`, `correlation_id` or
///   `trace_id`.
/// - An object `fields` is read as if its content stood in the line itself (as
///   `tracing-subscriber` writes it). Everything else becomes a field: text as it is, all else as
///   JSON; at most 128 fields.
/// - A line with `kind` `deploy`, `flag`, `config`, `migration` or `scale` whose target is known
///   is a [`Change`]; its summary is `summary`, or the message, or `v1 -> v2` from `previous` and
///   `version`. The target may then also stand as `service` or `service/instance` in `target`.
///
/// - A line that is a [`WireSignal`] to the letter is read as that, see
///   [`read_with`](Self::read_with).
///
/// # Examples
/// ```
/// use homeostasis::core::signal::Signal;
/// use homeostasis::core::Timestamp;
/// use homeostasis::signals::JsonLines;
///
/// let lines = JsonLines::default();
/// let read = |line: &str| lines.read(line, Timestamp::EPOCH).unwrap();
/// let Signal::Log(log) = read(r#"{"ts":"2026-11-22T01:00:00Z","level":"error","msg":"no route","code":502}"#) else { panic!() };
/// assert_eq!((log.message.as_str(), log.fields["code"].as_str()), ("no route", "502"));
/// let change = read(r#"{"kind":"deploy","service":"shop","previous":"v1","version":"v2"}"#);
/// assert!(matches!(change, Signal::Change(change) if change.summary == "v1 -> v2"));
/// ```
#[derive(Debug, Clone, Default)]
pub struct JsonLines {
    config: JsonLinesConfig,
}

impl JsonLines {
    /// A reader.
    pub fn new(config: JsonLinesConfig) -> Self {
        Self { config }
    }

    /// The signal of one line that was read at `now`; `None` for a blank line, or for one that is
    /// not a JSON object if such lines are not kept.
    pub fn read(&self, line: &str, now: Timestamp) -> Option<Signal> {
        self.read_object(line, now, |object| self.object(object, now))
    }

    /// The same, but a line that is a [`WireSignal`] (it has a `kind` and a time `at`, and nothing it
    /// needs is missing) is that signal; series of samples are interned in `catalog`.
    pub fn read_with(&self, line: &str, now: Timestamp, catalog: &SeriesCatalog) -> Option<Signal> {
        self.read_object(line, now, |object| match wire(&object) {
            Some(signal) => signal.into_signal(catalog),
            None => self.object(object, now),
        })
    }

    fn read_object(
        &self,
        line: &str,
        now: Timestamp,
        read: impl FnOnce(Map<String, Value>) -> Signal,
    ) -> Option<Signal> {
        let line = line.trim();
        if line.is_empty() {
            return None;
        }
        match parse_object(line) {
            Some(object) => Some(read(object)),
            None => self.plain(line, now).map(Signal::Log),
        }
    }

    /// A line as message, for what is not JSON.
    pub(super) fn plain(&self, line: &str, now: Timestamp) -> Option<LogRecord> {
        self.config.keep_plain_lines.then(|| {
            let mut record = LogRecord::new(now, self.config.default_level, line);
            record.target.clone_from(&self.config.target);
            record
        })
    }

    fn object(&self, mut object: Map<String, Value>, now: Timestamp) -> Signal {
        if let Some(Value::Object(inner)) = object.get_mut("fields").map(Value::take) {
            object.remove("fields");
            for (name, value) in inner {
                object.entry(name).or_insert(value);
            }
        }
        let at = take(&mut object, &TIME, time).unwrap_or(now);
        if let Some(change) = self.change(&object, at) {
            return Signal::Change(change);
        }
        let level = take(&mut object, &LEVEL, level).unwrap_or(self.config.default_level);
        let message = take(&mut object, &MESSAGE, |value| Some(text(value))).unwrap_or_default();
        let mut record = LogRecord::new(at, level, message);
        record.component = take(&mut object, &COMPONENT, |value| Some(text(value)))
            .unwrap_or_default()
            .into();
        record.target = self.target(&object);
        record.correlation = CORRELATION
            .iter()
            .find_map(|name| object.get(*name))
            .map(text)
            .filter(|id| !id.is_empty());
        if record.target.is_some() && self.config.target != record.target {
            object.remove("service");
            object.remove("instance");
        }
        record.fields = fields(&object);
        Signal::Log(record)
    }

    fn change(&self, object: &Map<String, Value>, at: Timestamp) -> Option<Change> {
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
            Some(_) => self.target(object)?,
            None => named().or_else(|| self.config.target.clone())?,
        };
        let of = |name: &str| object.get(name).map(text).filter(|text| !text.is_empty());
        let summary = of("summary")
            .or_else(|| of("msg"))
            .or_else(|| of("message"))
            .or_else(|| Some(format!("{} -> {}", of("previous")?, of("version")?)))
            .unwrap_or_else(|| format!("{kind:?}").to_lowercase());
        let mut change = Change::new(at, kind, target, summary);
        change.fields = fields(object);
        for known in ["kind", "service", "instance", "target", "summary"] {
            change.fields.remove(known);
        }
        Some(change)
    }

    /// The target a line names, or the one of the log.
    fn target(&self, object: &Map<String, Value>) -> Option<Target> {
        let named = || {
            let service = object.get("service")?.as_str()?;
            match object.get("instance") {
                None | Some(Value::Null) => Target::service(service).ok(),
                Some(instance) => Target::instance(service, text(instance)).ok(),
            }
        };
        named().or_else(|| self.config.target.clone())
    }
}

fn parse_object(line: &str) -> Option<Map<String, Value>> {
    // Saves the parser the work on lines of text.
    if !line.starts_with('{') {
        return None;
    }
    serde_json::from_str(line).ok()
}

/// The signal that `object` is to the letter. Other programs' logs have kinds too, but hardly an
/// `at` with all the rest.
fn wire(object: &Map<String, Value>) -> Option<WireSignal> {
    if !object.contains_key("kind") || !object.contains_key("at") {
        return None;
    }
    WireSignal::deserialize(object).ok()
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

fn fields(object: &Map<String, Value>) -> Fields {
    object
        .iter()
        .filter(|(_, value)| !value.is_null())
        .take(MAX_FIELDS)
        .map(|(name, value)| (name.clone(), text(value)))
        .collect()
}

fn text(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

fn time(value: &Value) -> Option<Timestamp> {
    if let Some(text) = value.as_str() {
        return text.parse().ok();
    }
    let number = value.as_f64().filter(|n| n.is_finite() && *n > 0.0)?;
    // The year 5138 in seconds is 1973 in milliseconds: plausible times do not overlap.
    let nanos_per_unit: i64 = match number {
        n if n < 1e11 => 1_000_000_000,
        n if n < 1e14 => 1_000_000,
        n if n < 1e17 => 1_000,
        _ => 1,
    };
    if let Some(whole) = value.as_i64() {
        return whole.checked_mul(nanos_per_unit).map(Timestamp::from_nanos);
    }
    let seconds = number * nanos_per_unit as f64 / 1e9;
    std::time::Duration::try_from_secs_f64(seconds)
        .ok()
        .and_then(|since| i64::try_from(since.as_nanos()).ok())
        .map(Timestamp::from_nanos)
}

fn level(value: &Value) -> Option<Level> {
    if let Some(text) = value.as_str() {
        return text.parse().ok();
    }
    Some(match value.as_u64()? {
        0..=10 => Level::Trace,
        11..=20 => Level::Debug,
        21..=30 => Level::Info,
        31..=40 => Level::Warn,
        41..=50 => Level::Error,
        _ => Level::Fatal,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn log(line: &str) -> LogRecord {
        match JsonLines::default().read(line, Timestamp::from_secs(5)) {
            Some(Signal::Log(log)) => log,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_usual_spellings_are_understood() {
        let read = log(
            r#"{"@timestamp":1520879607789,"severity":"WARNING","message":"slow","logger":"db","service":"shop","instance":0,"request_id":"r1","took":{"ms":7},"none":null}"#,
        );
        assert_eq!(read.at, Timestamp::from_millis(1_520_879_607_789));
        assert_eq!((read.level, read.message.as_str()), (Level::Warn, "slow"));
        assert_eq!(read.target.unwrap().to_string(), "shop/0");
        assert_eq!(read.component, "db");
        assert_eq!(read.correlation.as_deref(), Some("r1"));
        let fields: Vec<(&str, &str)> = read.fields.iter().collect();
        assert_eq!(fields, [("request_id", "r1"), ("took", r#"{"ms":7}"#)]);
    }

    #[test]
    fn the_format_of_tracing_subscriber_and_of_numbered_levels_are_understood() {
        let read = log(
            r#"{"timestamp":"2026-11-22T01:00:00.5Z","level":"ERROR","fields":{"message":"cannot book","order":7},"target":"shop::book"}"#,
        );
        assert_eq!(
            (read.level, read.message.as_str()),
            (Level::Error, "cannot book")
        );
        assert_eq!(
            (&*read.component, read.fields["order"].as_str()),
            ("shop::book", "7")
        );
        let read = log(r#"{"level":50,"time":1520879607.5,"msg":"numbered"}"#);
        assert_eq!(
            (read.level, read.at.as_millis()),
            (Level::Error, 1_520_879_607_500)
        );
    }

    #[test]
    fn what_is_not_an_object_is_the_message_and_has_the_time_of_reading() {
        for line in ["plain text", "[1,2]", "{\"half\":"] {
            let read = log(line);
            assert_eq!(
                (read.message.as_str(), read.at),
                (line, Timestamp::from_secs(5))
            );
        }
        let strict = JsonLines::new(JsonLinesConfig {
            keep_plain_lines: false,
            ..JsonLinesConfig::default()
        });
        assert_eq!(strict.read("plain text", Timestamp::EPOCH), None);
        assert_eq!(JsonLines::default().read("  \t", Timestamp::EPOCH), None);
    }

    #[test]
    fn a_change_needs_a_known_kind_and_a_target() {
        let lines = JsonLines::default();
        let deploy = r#"{"ts":"2026-11-22T01:00:00Z","level":"info","service":"gateway","msg":"deployed","kind":"deploy","version":"v2","previous":"v1"}"#;
        let Some(Signal::Change(change)) = lines.read(deploy, Timestamp::EPOCH) else {
            panic!("not a change");
        };
        assert_eq!(change.kind, ChangeKind::Deploy);
        assert_eq!(
            (change.target.service_name(), change.summary.as_str()),
            ("gateway", "deployed")
        );
        assert_eq!(change.fields["version"], "v2");
        assert_eq!(change.at, "2026-11-22T01:00:00Z".parse().unwrap());
        for other in [
            r#"{"kind":"deploy","msg":"of whom?"}"#,
            r#"{"kind":"spawn","service":"gateway"}"#,
        ] {
            assert!(matches!(
                lines.read(other, Timestamp::EPOCH),
                Some(Signal::Log(_))
            ));
        }
        let flag = r#"{"kind":"flag","target":"shop/1"}"#;
        assert!(matches!(
            lines.read(flag, Timestamp::EPOCH),
            Some(Signal::Change(change)) if change.target.to_string() == "shop/1" && change.summary == "flag"
        ));
    }

    #[test]
    fn wire_lines_are_signals_to_the_letter_and_other_lines_stay_what_they_were() {
        let lines = JsonLines::default();
        let catalog = SeriesCatalog::default();
        let read = |line: &str| lines.read_with(line, Timestamp::EPOCH, &catalog).unwrap();
        let sample = r#"{"kind":"sample","metric":"up","at":"2026-11-22T01:00:00Z","value":"NaN"}"#;
        let Signal::Sample(read_sample) = read(sample) else {
            panic!("no sample");
        };
        assert!(read_sample.value.is_nan());
        assert_eq!(catalog.key(read_sample.series).unwrap().metric, "up");
        let deploy = r#"{"kind":"deploy","at":"2026-11-22T01:00:00Z","target":"shop/1","summary":"v1 -> v2"}"#;
        assert!(
            matches!(read(deploy), Signal::Change(change) if change.at > Timestamp::EPOCH && change.summary == "v1 -> v2")
        );
        for other in [
            r#"{"kind":"sample","at":"2026-11-22T01:00:00Z","value":1}"#,
            r#"{"kind":"deploy","at":"port 4","service":"shop","version":"v2"}"#,
            r#"{"kind":"log","msg":"m","at":"door"}"#,
            r#"{"kind":7,"at":[]}"#,
        ] {
            assert_eq!(Some(read(other)), lines.read(other, Timestamp::EPOCH));
        }
    }

    proptest! {
        #[test]
        fn no_line_makes_it_panic(line in "\\PC*|\\{(\"(ts|level|msg|kind|fields|service)\"|:|,|-?[0-9]{1,25}|1e400|\"deploy\"|\\{|\\}|null)*\\}") {
            let _ = JsonLines::default().read(&line, Timestamp::EPOCH);
        }

        #[test]
        fn any_number_is_a_time_or_none(number in any::<f64>()) {
            let _ = time(&serde_json::json!(number));
        }
    }
}
