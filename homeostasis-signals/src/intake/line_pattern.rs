//! Reads lines of text by a regular expression with named groups.

use homeostasis_core::signal::{Level, LogRecord};
use homeostasis_core::{Target, Timestamp, Violation, Violations};
use jiff::tz::Offset;
use regex::{Captures, Regex};
use serde::{Deserialize, Serialize};

use super::line_object::meaning;
use super::line_time::{TimeReader, level};
use super::log_line::LogLinesConfig;

/// The groups that have a meaning; every other one becomes a field.
const KNOWN: [(&str, Role); 9] = [
    ("time", Role::Time),
    ("level", Role::Level),
    ("priority", Role::Priority),
    ("status", Role::Status),
    ("message", Role::Message),
    ("component", Role::Component),
    ("correlation", Role::Correlation),
    ("service", Role::Service),
    ("instance", Role::Instance),
];

/// A format as a regular expression with named groups.
///
/// | group | becomes |
/// |---|---|
/// | `message` | the message; it must be there |
/// | `time` | the time, read by `time_format`, or else in any of the usual spellings |
/// | `level` | the level, by name or number |
/// | `priority` | the level, from the number that syslog puts in front (`facility * 8 + severity`) |
/// | `status` | a field, and without another level: `error` from 500, `warn` from 400 |
/// | `component`, `correlation` | the same of the record |
/// | `service`, `instance` | the target |
/// | any other | a field of that name |
///
/// The groups of a regular expression have different names; where an alternative needs a second
/// group for the same thing, `_2` to `_9` behind the known name says so: `component_2`.
/// A group that takes no part in the match, or matches nothing, says nothing. The expression is
/// searched for in the line: write `^` and `$` where they are meant. Matching is linear in the
/// length of the line ([`regex`](https://docs.rs/regex)).
///
/// # Examples
/// ```
/// use homeostasis::core::Timestamp;
/// use homeostasis::core::signal::{Level, Signal};
/// use homeostasis::signals::{LineFormat, LogLines, LogLinesConfig, PatternConfig};
///
/// let pattern = PatternConfig {
///     time_format: Some("%d.%m.%Y %H:%M:%S".to_owned()),
///     ..PatternConfig::new(r"^(?<time>\S+ \S+) (?<level>\w+) order=(?<order>\d+) (?<message>.*)")
/// };
/// let config = LogLinesConfig { format: LineFormat::Pattern(pattern), ..LogLinesConfig::default() };
/// let lines = LogLines::new(config)?;
/// let read = lines.read("22.11.2026 01:00:00 WARN order=7 no price", Timestamp::EPOCH);
/// let Some(Signal::Log(log)) = read else { panic!() };
/// assert_eq!((log.level, &*log.message, &*log.fields["order"]), (Level::Warn, "no price", "7"));
/// assert_eq!(log.at.to_string(), "2026-11-22T01:00:00Z");
/// # Ok::<(), homeostasis::core::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PatternConfig {
    /// The expression, as the crate `regex` has it.
    pub regex: String,
    /// How `time` is written, as for `strptime`: `%Y-%m-%d %H:%M:%S%.f`; default any usual
    /// spelling. A format without a year or a date takes those that fit the time of reading, one
    /// without a zone the configured one.
    #[serde(default)]
    pub time_format: Option<String>,
}

impl PatternConfig {
    /// A pattern whose times are in a usual spelling.
    pub fn new(regex: impl Into<String>) -> Self {
        Self {
            regex: regex.into(),
            time_format: None,
        }
    }
}

/// What a group is for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Role {
    Time,
    Level,
    Priority,
    Status,
    Message,
    Component,
    Correlation,
    Service,
    Instance,
    Field(String),
}

/// A checked pattern.
#[derive(Debug, Clone)]
pub(super) struct LinePattern {
    regex: Regex,
    /// Index and role of each named group.
    groups: Vec<(usize, Role)>,
    times: TimeReader,
}

impl LinePattern {
    /// The pattern, or `None` with what is wrong with it.
    pub(super) fn new(
        config: &PatternConfig,
        offset: Offset,
        place: &str,
        wrong: &mut Violations,
    ) -> Option<Self> {
        let before = wrong.len();
        let at = |name: &str| format!("{place}.{name}");
        let mut times = TimeReader::usual(offset);
        if let Some(format) = &config.time_format {
            match TimeReader::of_format(format, offset) {
                Ok(reader) => times = reader,
                Err(why) => wrong.push(Violation::new(
                    at("time_format"),
                    format!("{format:?}"),
                    format!("a format for strptime such as %Y-%m-%d %H:%M:%S%.f: {why}"),
                )),
            }
        }
        let regex = match Regex::new(&config.regex) {
            Ok(regex) => regex,
            Err(error) => {
                wrong.push(Violation::new(
                    at("regex"),
                    format!("{:?}", config.regex),
                    format!("a regular expression: {error}"),
                ));
                return None;
            }
        };
        let mut groups = Vec::new();
        for (index, name) in regex.capture_names().enumerate() {
            let Some(name) = name else { continue };
            let name = name
                .strip_suffix(|c: char| ('2'..='9').contains(&c))
                .and_then(|name| name.strip_suffix('_'))
                .filter(|name| KNOWN.iter().any(|(known, _)| known == name))
                .unwrap_or(name);
            let known = KNOWN.iter().find(|(known, _)| *known == name);
            if let Some(known) = likely_meant(name).filter(|_| known.is_none()) {
                wrong.push(Violation::new(
                    at("regex"),
                    format!("(?<{name}>"),
                    format!("(?<{known}>, or a name for a field that is not so near to it"),
                ));
            }
            let role = known.map_or_else(|| Role::Field(name.to_owned()), |(_, role)| role.clone());
            groups.push((index, role));
        }
        let has = |role: &Role| groups.iter().any(|(_, found)| found == role);
        if !has(&Role::Message) {
            wrong.push(Violation::new(
                at("regex"),
                format!("{:?}", config.regex),
                "a group (?<message>...)",
            ));
        }
        if has(&Role::Instance) && !has(&Role::Service) {
            wrong.push(Violation::new(
                at("regex"),
                "(?<instance>",
                "a group (?<service>...) with it",
            ));
        }
        if config.time_format.is_some() && !has(&Role::Time) {
            wrong.push(Violation::new(
                at("time_format"),
                format!("{:?}", config.time_format.as_deref().unwrap_or_default()),
                "none without a group (?<time>...) in the regex",
            ));
        }
        (wrong.len() == before).then_some(Self {
            regex,
            groups,
            times,
        })
    }

    /// The record of a line; `None` if the line is not of this pattern.
    pub(super) fn read(
        &self,
        line: &str,
        now: Timestamp,
        config: &LogLinesConfig,
    ) -> Option<LogRecord> {
        let captures = self.regex.captures(line)?;
        let mut record = LogRecord::new(now, config.default_level, "");
        let (mut loud, mut by_number, mut service, mut instance) = (None, None, None, None);
        for (role, text) in self.said(&captures) {
            match role {
                Role::Time => record.at = self.times.read(text, now).unwrap_or(now),
                Role::Level => loud = level(text),
                Role::Priority => by_number = text.parse().ok().map(syslog_level),
                Role::Status => {
                    record.fields.insert("status", text);
                    by_number = text.parse().ok().and_then(status_level).or(by_number);
                }
                Role::Message => text.clone_into(&mut record.message),
                Role::Component => record.component = text.to_owned().into(),
                Role::Correlation => record.correlation = Some(text.to_owned()),
                Role::Service => service = Some(text),
                Role::Instance => instance = Some(text),
                Role::Field(name) => drop(record.fields.insert(name.clone(), text)),
            }
        }
        record.level = loud.or(by_number).unwrap_or(record.level);
        record.target = match (service, instance) {
            (Some(service), Some(instance)) => Target::instance(service, instance).ok(),
            (Some(service), None) => Target::service(service).ok(),
            _ => None,
        }
        .or_else(|| config.target.clone());
        Some(record)
    }

    /// The groups that matched something.
    fn said<'a>(&'a self, captures: &'a Captures<'_>) -> impl Iterator<Item = (&'a Role, &'a str)> {
        self.groups.iter().filter_map(|(index, role)| {
            let text = captures.get(*index)?.as_str();
            let is_said = !text.is_empty() && (text != "-" || *role == Role::Message);
            is_said.then_some((role, text))
        })
    }
}

/// The known name that a group most likely should have: another logger's word for it, or one edit
/// away.
fn likely_meant(name: &str) -> Option<&'static str> {
    let lower = name.to_ascii_lowercase();
    meaning(&lower).or_else(|| {
        KNOWN
            .iter()
            .map(|(known, _)| *known)
            .find(|known| is_one_edit_away(lower.as_bytes(), known.as_bytes()))
    })
}

/// Whether one letter left out, put in, replaced or swapped with its neighbor makes `a` of `b`, or
/// they are equal.
fn is_one_edit_away(a: &[u8], b: &[u8]) -> bool {
    let same = a.iter().zip(b).take_while(|(x, y)| x == y).count();
    let (a, b) = (&a[same..], &b[same..]);
    let (after_a, after_b) = (a.get(1..), b.get(1..));
    let is_swap = a.len() >= 2 && b.len() >= 2 && (a[0], a[1]) == (b[1], b[0]) && a[2..] == b[2..];
    is_swap
        || a == b
        || after_a.is_some_and(|rest| rest == b)
        || after_b.is_some_and(|rest| rest == a)
        || (after_a.is_some() && after_a == after_b)
}

/// RFC 5424, section 6.2.1.
fn syslog_level(priority: u16) -> Level {
    match priority % 8 {
        0..=2 => Level::Fatal,
        3 => Level::Error,
        4 => Level::Warn,
        5 | 6 => Level::Info,
        _ => Level::Debug,
    }
}

fn status_level(status: u16) -> Option<Level> {
    match status {
        500..=599 => Some(Level::Error),
        400..=499 => Some(Level::Warn),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(regex: &str, time_format: Option<&str>) -> Vec<String> {
        let mut wrong = Violations::new();
        let config = PatternConfig {
            time_format: time_format.map(str::to_owned),
            ..PatternConfig::new(regex)
        };
        let made = LinePattern::new(&config, Offset::UTC, "p", &mut wrong);
        assert_eq!(made.is_none(), !wrong.is_empty());
        match wrong.into_result(()) {
            Ok(()) => Vec::new(),
            Err(error) => error.violations().iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn a_wrong_pattern_names_place_value_and_what_was_expected() {
        assert!(check("^(?<message>.*)$", None).is_empty());
        for (regex, time_format, expected) in [
            (
                "(",
                None,
                "p.regex = \"(\", expected a regular expression: ",
            ),
            (
                "(?<text>.*)",
                None,
                "p.regex = \"(?<text>.*)\", expected a group (?<message>...)",
            ),
            (
                "(?<message>.*)(?<msg>)",
                None,
                "p.regex = (?<msg>, expected (?<message>, or",
            ),
            (
                "(?<message>.*)(?<levle>)",
                None,
                "p.regex = (?<levle>, expected (?<level>, or",
            ),
            (
                "(?<message>.*)(?<Time>)",
                None,
                "p.regex = (?<Time>, expected (?<time>, or",
            ),
            (
                "(?<message>.*)(?<timestamp>)",
                None,
                "p.regex = (?<timestamp>, expected (?<time>, or",
            ),
            (
                "(?<message>.*)(?<instance>)",
                None,
                "p.regex = (?<instance>, expected a group (?<service>...)",
            ),
            (
                "(?<message>.*)",
                Some("%Y"),
                "p.time_format = \"%Y\", expected ",
            ),
            (
                "(?<message>.*)(?<time>)",
                Some("%K"),
                "p.time_format = \"%K\", expected a format for strptime",
            ),
        ] {
            let found = check(regex, time_format);
            assert!(
                found.iter().any(|found| found.starts_with(expected)),
                "{regex}: {found:?}"
            );
        }
        for regex in ["(?<timer>.)(?<message>.)", "(?<stats>.)(?<message>.)"] {
            assert_eq!(check(regex, None).len(), 1, "{regex}");
        }
        assert!(check("(?<user>.)(?<bytes>.)(?<message>.)", None).is_empty());
    }

    #[test]
    fn groups_that_say_nothing_leave_the_defaults() {
        let config =
            PatternConfig::new(r"^(?<level>\w*)\|(?<service>\S*)\|(?<message>.*)\|(?<x>.*)$");
        let pattern = LinePattern::new(&config, Offset::UTC, "p", &mut Violations::new()).unwrap();
        let config = LogLinesConfig {
            target: Some(Target::service("shop").unwrap()),
            ..LogLinesConfig::default()
        };
        let record = pattern
            .read("||m|-", Timestamp::from_secs(5), &config)
            .unwrap();
        let mut expected = LogRecord::new(Timestamp::from_secs(5), Level::Info, "m");
        expected.target.clone_from(&config.target);
        assert_eq!(record, expected);
        assert_eq!(pattern.read("other", Timestamp::EPOCH, &config), None);
    }
}
