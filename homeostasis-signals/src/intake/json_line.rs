//! Reads one line of a JSON log.

use homeostasis_core::signal::WireSignal;
use serde::Deserialize;
use serde_json::{Map, Value};

/// The object a line holds; `None` if it holds anything else.
pub(super) fn parse(line: &str) -> Option<Map<String, Value>> {
    let line = line.trim_start();
    // Saves the parser the work on lines of text.
    if !line.starts_with('{') {
        return None;
    }
    serde_json::from_str(line).ok()
}

/// The signal that `line` is to the letter. Other programs' logs have kinds too, but hardly an `at`
/// with all the rest.
pub(super) fn wire(line: &str) -> Option<WireSignal> {
    let object = parse(line)?;
    if !object.contains_key("kind") || !object.contains_key("at") {
        return None;
    }
    WireSignal::deserialize(object).ok()
}

#[cfg(test)]
mod tests {
    use homeostasis_core::Timestamp;
    use homeostasis_core::signal::{ChangeKind, Level, LogRecord, SeriesCatalog, Signal};
    use proptest::prelude::*;

    use crate::intake::{LogLines, LogLinesConfig};

    fn log(line: &str) -> LogRecord {
        match LogLines::default().read(line, Timestamp::from_secs(5)) {
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
        let strict = LogLines::new(LogLinesConfig {
            keep_plain_lines: false,
            ..LogLinesConfig::default()
        })
        .unwrap();
        assert_eq!(strict.read("plain text", Timestamp::EPOCH), None);
        assert_eq!(LogLines::default().read("  \t", Timestamp::EPOCH), None);
    }

    #[test]
    fn a_change_needs_a_known_kind_and_a_target() {
        let lines = LogLines::default();
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
        let lines = LogLines::default();
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
            let _ = LogLines::default().read(&line, Timestamp::EPOCH);
        }
    }
}
