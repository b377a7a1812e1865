//! The formats that many programs share, as named patterns.

use serde::{Deserialize, Serialize};

use super::line_pattern::PatternConfig;

/// A format that many programs share.
///
/// Each is a pattern like one's own: [`PatternPreset::pattern`] gives it, to be printed or changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum PatternPreset {
    /// Requests as nginx (`combined`) and Apache (`combined` and `common`) write them. The message
    /// is the request line; fields are `client`, `user`, `method`, `path`, `status`, `bytes`,
    /// `referrer` and `user_agent`. Also called `nginx_access` and `apache_combined`.
    #[serde(alias = "nginx_access", alias = "apache_combined")]
    AccessLog,
    /// The error log of nginx; fields `pid`, `tid` and `connection`.
    NginxError,
    /// The error log of Apache 2.4; the component is the module.
    ApacheError,
    /// RFC 3164, as sent and as written into files; the component is the tag.
    Syslog3164,
    /// RFC 5424; the component is the application.
    Syslog5424,
    /// Logback (Java) as it writes without configuration, with or without a date; the component is
    /// the logger.
    Logback,
    /// Spring Boot, 2 and 3.
    SpringBoot,
    /// Python's `logging`: as `basicConfig` writes (`WARNING:root:text`), and the usual
    /// `asctime - name - levelname - message`, also without name.
    PythonLogging,
    /// Go's `log` with its flags for date, time, microseconds and file.
    GoLog,
}

impl PatternPreset {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::AccessLog,
        Self::NginxError,
        Self::ApacheError,
        Self::Syslog3164,
        Self::Syslog5424,
        Self::Logback,
        Self::SpringBoot,
        Self::PythonLogging,
        Self::GoLog,
    ];

    /// The pattern behind the name.
    pub fn pattern(self) -> PatternConfig {
        PatternConfig::new(match self {
            Self::AccessLog => concat!(
                r#"^(?<client>\S+) \S+ (?<user>\S+) \[(?<time>[^\]]+)\] "#,
                r#""(?<message>(?:(?<method>[A-Z]+) (?<path>\S+))?[^"]*)" (?<status>\d{3}) (?<bytes>\d+|-)"#,
                r#"(?: "(?<referrer>[^"]*)" "(?<user_agent>[^"]*)")?"#,
            ),
            Self::NginxError => concat!(
                r"^(?<time>\d{4}/\d\d/\d\d \d\d:\d\d:\d\d) \[(?<level>\w+)\] ",
                r"(?<pid>\d+)#(?<tid>\d+): (?:\*(?<connection>\d+) )?(?<message>.*)$",
            ),
            Self::ApacheError => concat!(
                r"^\[(?<time>[A-Z][a-z]{2} [A-Z][a-z]{2} [^\]]+)\] \[(?:(?<component>\w+):)?(?<level>[a-z]+)\d?\] ",
                r"(?:\[pid (?<pid>\d+)(?::tid (?<tid>\d+))?\] )?(?:\[client (?<client>[^\]]+)\] )?(?<message>.*)$",
            ),
            Self::Syslog3164 => concat!(
                r"^(?:<(?<priority>\d{1,3})>)?(?<time>[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d) ",
                r"(?<host>\S+) (?:(?<component>[^\s:\[]+)(?:\[(?<pid>\d+)\])?: ?)?(?<message>.*)$",
            ),
            Self::Syslog5424 => concat!(
                r"^<(?<priority>\d{1,3})>\d{1,2} (?<time>\S+) (?<host>\S+) (?<component>\S+) (?<pid>\S+) ",
                r#"(?<message_id>\S+) (?<data>-|(?:\[(?:[^\]\\"]|"(?:[^"\\]|\\.)*"|\\.)*\])+)(?: \x{FEFF}?(?<message>.*))?$"#,
            ),
            Self::Logback => concat!(
                r"^(?<time>(?:\d{4}-\d\d-\d\d[ T])?\d\d:\d\d:\d\d[.,]\d{3}) \[(?<thread>[^\]]*)\] ",
                r"(?<level>[A-Z]+)\s+(?<component>\S+) --? ?(?<message>.*)$",
            ),
            Self::SpringBoot => concat!(
                r"^(?<time>\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d[.,]\d{3}(?:Z|[+-]\d\d:\d\d)?)\s+(?<level>[A-Z]+) ",
                r"(?<pid>\d+) --- (?:\[(?<application>[^\]]*)\] )?\[\s*(?<thread>[^\]]*)\] (?<component>\S+)\s*: (?<message>.*)$",
            ),
            Self::PythonLogging => concat!(
                r"^(?:(?<time>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:,\d{3})?)(?: - |:| )(?:(?<component>[\w.]+)(?: - |:))?",
                r"|)(?<level>DEBUG|INFO|WARNING|ERROR|CRITICAL)(?::(?<component_2>[\w.]+):| - |: ?| )(?<message>.*)$",
            ),
            Self::GoLog => concat!(
                r"^(?<time>\d{4}/\d\d/\d\d \d\d:\d\d:\d\d(?:\.\d+)?) ",
                r"(?:(?<file>[^\s:]+\.go):(?<line>\d+): )?(?<message>.*)$",
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use homeostasis_core::Timestamp;
    use homeostasis_core::signal::{Level, LogRecord, Signal};

    use super::PatternPreset as P;
    use super::*;
    use crate::intake::{LineFormat, LogLines, LogLinesConfig};

    fn log(preset: PatternPreset, line: &str) -> LogRecord {
        let lines = LogLines::new(LogLinesConfig {
            format: LineFormat::Preset(preset),
            keep_plain_lines: false,
            ..LogLinesConfig::default()
        })
        .unwrap();
        let now: Timestamp = "2026-03-01T12:00:00Z".parse().unwrap();
        match lines.read(line, now) {
            Some(Signal::Log(log)) => log,
            other => panic!("{line}: {other:?}"),
        }
    }

    /// Preset, line; time, level, component, message.
    type Case = (
        PatternPreset,
        &'static str,
        &'static str,
        Level,
        &'static str,
        &'static str,
    );

    const CASES: [Case; 17] = [
        (
            P::AccessLog,
            r#"203.0.113.9 - - [02/Jan/2026:15:04:05 +0100] "GET /cart?x=1 HTTP/1.1" 502 157 "-" "curl/8.5""#,
            "2026-01-02T14:04:05Z",
            Level::Error,
            "",
            "GET /cart?x=1 HTTP/1.1",
        ),
        (
            P::AccessLog,
            r#"::1 - ann [02/Jan/2026:15:04:05 +0000] "\x16\x03" 400 -"#,
            "2026-01-02T15:04:05Z",
            Level::Warn,
            "",
            r"\x16\x03",
        ),
        (
            P::NginxError,
            "2026/01/02 15:04:05 [crit] 31#32: *77 connect() failed, client: 203.0.113.9",
            "2026-01-02T15:04:05Z",
            Level::Fatal,
            "",
            "connect() failed, client: 203.0.113.9",
        ),
        (
            P::ApacheError,
            "[Fri Jan 02 15:04:05.123456 2026] [proxy:error] [pid 31:tid 140] [client 203.0.113.9:4] AH00957: no",
            "2026-01-02T15:04:05.123456Z",
            Level::Error,
            "proxy",
            "AH00957: no",
        ),
        (
            P::Syslog3164,
            "<11>Jan  2 15:04:05 web1 shop[77]: out of stock",
            "2026-01-02T15:04:05Z",
            Level::Error,
            "shop",
            "out of stock",
        ),
        (
            P::Syslog3164,
            "Dec 31 15:04:05 web1 kernel: oom",
            "2025-12-31T15:04:05Z",
            Level::Info,
            "kernel",
            "oom",
        ),
        (
            P::Syslog5424,
            r#"<165>1 2026-01-02T15:04:05.003Z web1 shop 77 ID47 [a@1 b="c]\"" d="e"][f@1] no price"#,
            "2026-01-02T15:04:05.003Z",
            Level::Info,
            "shop",
            "no price",
        ),
        (
            P::Syslog5424,
            "<34>1 2026-01-02T15:04:05Z web1 su - - - failed",
            "2026-01-02T15:04:05Z",
            Level::Fatal,
            "su",
            "failed",
        ),
        (
            P::Logback,
            "11:04:05.123 [main] WARN  shop.Orders -- no price",
            "2026-03-01T11:04:05.123Z",
            Level::Warn,
            "shop.Orders",
            "no price",
        ),
        (
            P::Logback,
            "2026-01-02 15:04:05,123 [http-1] ERROR shop.Orders - no price",
            "2026-01-02T15:04:05.123Z",
            Level::Error,
            "shop.Orders",
            "no price",
        ),
        (
            P::SpringBoot,
            "2026-01-02T15:04:05.123+01:00  INFO 77 --- [shop] [           main] o.s.b.Tomcat                  : started",
            "2026-01-02T14:04:05.123Z",
            Level::Info,
            "o.s.b.Tomcat",
            "started",
        ),
        (
            P::SpringBoot,
            "2026-01-02 15:04:05.123 ERROR 77 --- [nio-1] shop.Orders : no",
            "2026-01-02T15:04:05.123Z",
            Level::Error,
            "shop.Orders",
            "no",
        ),
        (
            P::PythonLogging,
            "WARNING:shop.orders:no: price",
            "2026-03-01T12:00:00Z",
            Level::Warn,
            "shop.orders",
            "no: price",
        ),
        (
            P::PythonLogging,
            "2026-01-02 15:04:05,123 - shop.orders - CRITICAL - no price",
            "2026-01-02T15:04:05.123Z",
            Level::Fatal,
            "shop.orders",
            "no price",
        ),
        (
            P::PythonLogging,
            "2026-01-02 15:04:05,123 ERROR no price",
            "2026-01-02T15:04:05.123Z",
            Level::Error,
            "",
            "no price",
        ),
        (
            P::GoLog,
            "2026/01/02 15:04:05.000123 orders.go:42: no price",
            "2026-01-02T15:04:05.000123Z",
            Level::Info,
            "",
            "no price",
        ),
        (
            P::GoLog,
            "2026/01/02 15:04:05 no price",
            "2026-01-02T15:04:05Z",
            Level::Info,
            "",
            "no price",
        ),
    ];

    #[test]
    fn every_preset_reads_lines_of_its_program() {
        for (preset, line, at, level, component, message) in CASES {
            let read = log(preset, line);
            assert_eq!(
                (
                    read.at.to_string().as_str(),
                    read.level,
                    &*read.component,
                    &*read.message
                ),
                (at, level, component, message),
                "{line}"
            );
        }
    }

    #[test]
    fn fields_are_named_and_absent_ones_left_out() {
        let read = log(
            PatternPreset::AccessLog,
            r#"203.0.113.9 - - [02/Jan/2026:15:04:05 +0100] "GET /cart HTTP/1.1" 200 157 "-" "curl/8.5""#,
        );
        let fields: Vec<_> = read.fields.iter().collect();
        assert_eq!(
            fields,
            [
                ("bytes", "157"),
                ("client", "203.0.113.9"),
                ("method", "GET"),
                ("path", "/cart"),
                ("status", "200"),
                ("user_agent", "curl/8.5"),
            ]
        );
        let read = log(PatternPreset::GoLog, "2026/01/02 15:04:05 a.go:4: x");
        assert_eq!(
            (&*read.fields["file"], &*read.fields["line"]),
            ("a.go", "4")
        );
    }

    #[test]
    fn names_are_written_and_read_alike() {
        for preset in PatternPreset::ALL {
            let text = serde_json::to_string(&preset).unwrap();
            assert_eq!(
                serde_json::from_str::<PatternPreset>(&text).unwrap(),
                preset
            );
        }
    }
}
