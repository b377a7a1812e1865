//! Reads one line of a log as a log record or a change, in any of the known formats.

use homeostasis_core::signal::{Level, LogRecord, SeriesCatalog, Signal};
use homeostasis_core::{ConfigError, Target, Timestamp, Violation, Violations};
use jiff::tz::Offset;
use serde::{Deserialize, Serialize};

use super::line_pattern::{LinePattern, PatternConfig};
use super::line_time::{TimeReader, parse_offset};
use super::pattern_preset::PatternPreset;
use super::{json_line, line_object, logfmt, plain_line};

/// How the lines of a log are written.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LineFormat {
    /// Line by line: what begins with `{` is JSON; what begins with `name=` and names a level or a
    /// message is logfmt; of everything else the whole line is the message, with the time it
    /// begins with and the level that stands near its beginning, if there are any.
    #[default]
    Auto,
    /// JSON objects, one a line.
    Json,
    /// `level=warn msg="no route" retry`: see [`LogLines`].
    Logfmt,
    /// Text: the line is the message, and the time is that of reading.
    Plain,
    /// A format that many programs share: `format: { preset: access_log }`.
    Preset(PatternPreset),
    /// A format of one's own: `format: { pattern: { regex: '…' } }`.
    Pattern(PatternConfig),
}

/// How lines become signals.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogLinesConfig {
    /// How they are written; default [`LineFormat::Auto`].
    pub format: LineFormat,
    /// Whose log it is, for lines that do not name a `service`; default none.
    pub target: Option<Target>,
    /// The level of lines that do not name one; default `info`.
    pub default_level: Level,
    /// Whether a line that is not of the format becomes a record with the line as message
    /// (default true) or is only counted. Under `auto` every line that is neither JSON nor logfmt
    /// is such a line.
    pub keep_plain_lines: bool,
    /// The zone of times that do not name one, such as `+02:00` or `Z`; default UTC.
    pub utc_offset: Option<String>,
}

impl Default for LogLinesConfig {
    fn default() -> Self {
        Self {
            format: LineFormat::Auto,
            target: None,
            default_level: Level::Info,
            keep_plain_lines: true,
            utc_offset: None,
        }
    }
}

/// Reads lines of logs.
///
/// In JSON and logfmt alike:
/// - Time: `ts`, `time`, `timestamp` or `@timestamp`, as RFC 3339 or another usual spelling
///   (`2026-01-02 15:04:05,123`, `2026/01/02 15:04:05`, `02/Jan/2026:15:04:05 +0000`,
///   `Jan  2 15:04:05`, `15:04:05.123`), or as a number of seconds, milliseconds, microseconds or
///   nanoseconds, told apart by its size; otherwise the time of reading. A year or day that is not
///   written is the one that fits the time of reading.
/// - Level: `level`, `severity`, `lvl` or `log.level`, as text or as a number in steps of ten from
///   10 = trace to 60 = fatal.
/// - Message: `msg`, `message`, `event` or `summary`. Component: `component`, `logger`, `module`
///   or `target`. Target: `service` and `instance`. Correlation: `request_id`, `correlation_id` or
///   `trace_id`.
/// - An object `fields` is read as if its content stood in the line itself (as
///   `tracing-subscriber` writes it). Everything else becomes a field: text as it is, all else as
///   JSON; at most 128 fields. Of a name that comes twice the last value counts.
/// - A line with `kind` `deploy`, `flag`, `config`, `migration` or `scale` whose target is known
///   is a [`Change`](homeostasis_core::signal::Change); its summary is `summary`, or the message,
///   or `v1 -> v2` from `previous` and `version`. The target may then also stand as `service` or
///   `service/instance` in `target`.
///
/// In logfmt a value is quoted, with the escapes of JSON, or ends at white space, and a name alone
/// is `true`. For patterns see [`PatternConfig`].
///
/// # Examples
/// ```
/// use homeostasis::core::signal::{Level, Signal};
/// use homeostasis::core::Timestamp;
/// use homeostasis::signals::LogLines;
///
/// let lines = LogLines::default();
/// let read = |line: &str| lines.read(line, Timestamp::EPOCH).unwrap();
/// for line in [
///     r#"{"ts":"2026-11-22T01:00:00Z","level":"error","msg":"no route","code":502}"#,
///     r#"ts=2026-11-22T01:00:00Z level=error msg="no route" code=502"#,
/// ] {
///     let Signal::Log(log) = read(line) else { panic!() };
///     assert_eq!((log.level, log.message.as_str()), (Level::Error, "no route"));
///     assert_eq!(log.fields["code"], "502");
/// }
/// let change = read(r#"{"kind":"deploy","service":"shop","previous":"v1","version":"v2"}"#);
/// assert!(matches!(change, Signal::Change(change) if change.summary == "v1 -> v2"));
/// ```
#[derive(Debug, Clone, Default)]
pub struct LogLines {
    config: LogLinesConfig,
    times: TimeReader,
    pattern: Option<LinePattern>,
}

impl LogLines {
    /// A reader.
    ///
    /// # Errors
    /// - `utc_offset` is not an offset.
    /// - A pattern is not a regular expression, has no group `message`, or has a group whose name
    ///   is nearly one of the known names; a time format cannot be read.
    pub fn new(config: LogLinesConfig) -> Result<Self, ConfigError> {
        let mut wrong = Violations::new();
        let offset = match &config.utc_offset {
            None => Offset::UTC,
            Some(text) => parse_offset(text).unwrap_or_else(|| {
                let expected = "an offset from UTC such as +02:00, -0530 or Z";
                wrong.push(Violation::new("utc_offset", format!("{text:?}"), expected));
                Offset::UTC
            }),
        };
        let pattern = match &config.format {
            LineFormat::Pattern(pattern) => {
                LinePattern::new(pattern, offset, "format.pattern", &mut wrong)
            }
            LineFormat::Preset(preset) => {
                LinePattern::new(&preset.pattern(), offset, "format.preset", &mut wrong)
            }
            _ => None,
        };
        wrong.into_result(Self {
            config,
            times: TimeReader::usual(offset),
            pattern,
        })
    }

    /// The signal of one line that was read at `now`; `None` for a blank line, or for one that is
    /// not of the format if such lines are not kept.
    ///
    /// Of a text of several lines the first says what it is, and the others are appended to the
    /// message. Takes time linear in the length of the line.
    pub fn read(&self, line: &str, now: Timestamp) -> Option<Signal> {
        self.parse(line, now).signal
    }

    /// The same, but a line of JSON that is a [`WireSignal`](homeostasis_core::signal::WireSignal) to the letter (it has a `kind` and a time
    /// `at`, and nothing it needs is missing) is that signal; series of samples are interned in
    /// `catalog`.
    pub fn read_with(&self, line: &str, now: Timestamp, catalog: &SeriesCatalog) -> Option<Signal> {
        let reads_json = matches!(self.config.format, LineFormat::Auto | LineFormat::Json);
        let wire = reads_json.then(|| json_line::wire(line)).flatten();
        match wire {
            Some(signal) => Some(signal.into_signal(catalog)),
            None => self.read(line, now),
        }
    }

    pub(super) fn parse(&self, text: &str, now: Timestamp) -> Parsed {
        let text = text.trim_end();
        let (first, rest) = text.split_once('\n').unwrap_or((text, ""));
        let first = first.trim_end();
        if text.trim_start().is_empty() {
            return Parsed {
                signal: None,
                is_of_format: true,
            };
        }
        let object = |object| line_object::signal(object, now, &self.times, &self.config);
        let of_format = match &self.config.format {
            LineFormat::Auto => json_line::parse(first)
                .or_else(|| logfmt::is_logfmt(first).then(|| logfmt::parse(first)))
                .map(object),
            LineFormat::Json => json_line::parse(first).map(object),
            LineFormat::Logfmt => {
                logfmt::begins_with_name(first).then(|| object(logfmt::parse(first)))
            }
            LineFormat::Plain => Some(Signal::Log(self.plain(text, now))),
            LineFormat::Preset(_) | LineFormat::Pattern(_) => self
                .pattern
                .as_ref()
                .and_then(|pattern| pattern.read(first, now, &self.config))
                .map(Signal::Log),
        };
        let is_of_format = of_format.is_some();
        let signal = match of_format {
            Some(Signal::Log(mut record)) if self.config.format != LineFormat::Plain => {
                if !rest.is_empty() {
                    record.message.push('\n');
                    record.message.push_str(rest);
                }
                Some(Signal::Log(record))
            }
            Some(signal) => Some(signal),
            None => self
                .config
                .keep_plain_lines
                .then(|| Signal::Log(self.plain(text, now))),
        };
        Parsed {
            signal,
            is_of_format,
        }
    }

    /// A line as message, for what has no structure.
    fn plain(&self, text: &str, now: Timestamp) -> LogRecord {
        let mut record = LogRecord::new(now, self.config.default_level, text);
        if self.config.format == LineFormat::Auto {
            let hints = plain_line::hints(text);
            if let Some(at) = hints.time.and_then(|time| self.times.read(time, now)) {
                record.at = at;
            }
            record.level = hints.level.unwrap_or(record.level);
        }
        record.target.clone_from(&self.config.target);
        record
    }

    /// Whether a line is a record by itself, so that nothing that follows belongs to it.
    pub(super) fn is_alone(&self, line: &str) -> bool {
        matches!(self.config.format, LineFormat::Auto | LineFormat::Json)
            && line.starts_with('{')
            && line.trim_end().ends_with('}')
    }
}

/// What became of a line.
#[derive(Debug)]
pub(super) struct Parsed {
    pub(super) signal: Option<Signal>,
    pub(super) is_of_format: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(config: LogLinesConfig, line: &str) -> Option<Signal> {
        LogLines::new(config)
            .unwrap()
            .read(line, Timestamp::from_secs(5))
    }

    fn log(format: LineFormat, line: &str) -> LogRecord {
        let config = LogLinesConfig {
            format,
            ..LogLinesConfig::default()
        };
        match read(config, line) {
            Some(Signal::Log(log)) => log,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn logfmt_and_json_say_the_same() {
        let json = r#"{"ts":"2026-11-22T01:00:00Z","lvl":"warn","msg":"slow","logger":"db","service":"shop","instance":"1","trace_id":"t1","ms":"70"}"#;
        let logfmt = "ts=2026-11-22T01:00:00Z lvl=warn msg=slow logger=db service=shop instance=1 trace_id=t1 ms=70";
        let expected = log(LineFormat::Json, json);
        assert_eq!(log(LineFormat::Logfmt, logfmt), expected);
        assert_eq!(log(LineFormat::Auto, logfmt), expected);
        assert_eq!(log(LineFormat::Auto, json), expected);
        let numbered = log(LineFormat::Auto, "level=50 time=1520879607.5 msg=x");
        assert_eq!(numbered.level, Level::Error);
        assert_eq!(numbered.at.as_millis(), 1_520_879_607_500);
        let change = read(
            LogLinesConfig::default(),
            "level=info msg=deployed kind=deploy service=shop version=v2",
        );
        assert!(matches!(change, Some(Signal::Change(change)) if change.fields["version"] == "v2"));
    }

    #[test]
    fn without_configuration_text_has_its_time_and_level() {
        let record = log(
            LineFormat::Auto,
            "2026-01-02 15:04:05,123 ERROR [main] shop.Orders - cannot book",
        );
        assert_eq!(record.level, Level::Error);
        assert_eq!(record.at, "2026-01-02T15:04:05.123Z".parse().unwrap());
        assert!(record.message.starts_with("2026-01-02"));
        let record = log(LineFormat::Plain, "2026-01-02 15:04:05 ERROR x");
        assert_eq!(
            (record.level, record.at),
            (Level::Info, Timestamp::from_secs(5))
        );
    }

    #[test]
    fn more_lines_belong_to_the_message_of_the_first() {
        let trace = "\n  File \"a.py\", line 1\nKeyError: 'x'\n";
        let record = log(LineFormat::Auto, &format!("level=error msg=failed{trace}"));
        assert_eq!(
            record.message,
            "failed\n  File \"a.py\", line 1\nKeyError: 'x'"
        );
        let record = log(LineFormat::Plain, &format!("failed{trace}"));
        assert_eq!(record.message.lines().count(), 3);
    }

    #[test]
    fn what_is_not_of_the_format_is_kept_or_not() {
        for format in [
            LineFormat::Auto,
            LineFormat::Json,
            LineFormat::Logfmt,
            LineFormat::Preset(PatternPreset::AccessLog),
        ] {
            let record = log(format.clone(), "just text");
            assert_eq!(record.message, "just text");
            let strict = LogLinesConfig {
                format,
                keep_plain_lines: false,
                ..LogLinesConfig::default()
            };
            assert_eq!(read(strict, "just text"), None);
        }
        assert_eq!(read(LogLinesConfig::default(), " \t\r"), None);
    }

    #[test]
    fn a_wrong_configuration_is_named_all_at_once() {
        let config: LogLinesConfig = serde_json::from_str(
            r#"{"format": {"pattern": {"regex": "(?<mesage>.*)", "time_format": "%Ö"}}, "utc_offset": "noon"}"#,
        )
        .unwrap();
        let error = LogLines::new(config).unwrap_err();
        let places: Vec<_> = error
            .violations()
            .iter()
            .map(|violation| violation.path.as_str())
            .collect();
        assert_eq!(
            places,
            [
                "utc_offset",
                "format.pattern.time_format",
                "format.pattern.regex",
                "format.pattern.regex",
                "format.pattern.time_format"
            ],
            "{error}"
        );
        let preset: LineFormat = serde_json::from_str(r#"{"preset": "nginx_access"}"#).unwrap();
        assert_eq!(preset, LineFormat::Preset(PatternPreset::AccessLog));
        assert!(serde_json::from_str::<LogLinesConfig>(r#"{"form": "json"}"#).is_err());
    }

    #[test]
    fn times_without_a_zone_are_of_the_configured_one() {
        let config = LogLinesConfig {
            utc_offset: Some("+02:00".to_owned()),
            ..LogLinesConfig::default()
        };
        let Some(Signal::Log(log)) = read(config, "time=\"2026-01-02 15:04:05\" msg=x") else {
            panic!()
        };
        assert_eq!(log.at, "2026-01-02T13:04:05Z".parse().unwrap());
    }
}
