//! The times that logs write, and their levels.

use homeostasis_core::Timestamp;
use homeostasis_core::signal::Level;
use jiff::civil::DateTime;
use jiff::fmt::strtime::BrokenDownTime;
use jiff::tz::Offset;
use serde_json::Value;

const DAY_NANOS: i64 = 86_400_000_000_000;

/// Reads times in one format, or in any usual one.
#[derive(Debug, Clone)]
pub(super) struct TimeReader {
    format: Option<String>,
    /// Of times that do not name one.
    offset: Offset,
}

impl Default for TimeReader {
    fn default() -> Self {
        Self::usual(Offset::UTC)
    }
}

impl TimeReader {
    /// Reads every spelling that logs usually have.
    pub(super) fn usual(offset: Offset) -> Self {
        Self {
            format: None,
            offset,
        }
    }

    /// Reads one format, written as for `strptime`.
    ///
    /// # Errors
    /// Why no instant can be read with it.
    pub(super) fn of_format(format: &str, offset: Offset) -> Result<Self, String> {
        // What the format writes it must read: that finds directives that are unknown, or that
        // only write, before the first line does.
        let sample = Timestamp::from_secs(951_827_696);
        let zoned = jiff::Timestamp::from_second(951_827_696)
            .map(|at| at.to_zoned(offset.to_time_zone()))
            .map_err(|error| error.to_string())?;
        let written = BrokenDownTime::from(&zoned)
            .to_string(format)
            .map_err(|error| error.to_string())?;
        let reader = Self {
            format: Some(format.to_owned()),
            offset,
        };
        let parsed = BrokenDownTime::parse(format, &written).map_err(|error| error.to_string())?;
        match complete(parsed, sample, offset) {
            Some(_) => Ok(reader),
            None => Err("it names neither a time of day nor a date nor seconds".to_owned()),
        }
    }

    /// The instant of `text`; `now` says the year or the day where the text does not.
    pub(super) fn read(&self, text: &str, now: Timestamp) -> Option<Timestamp> {
        let text = text.trim();
        match &self.format {
            Some(format) => complete(BrokenDownTime::parse(format, text).ok()?, now, self.offset),
            None => self.read_usual(text, now),
        }
    }

    /// As [`TimeReader::read`], of a value in JSON: numbers count from the epoch.
    pub(super) fn read_value(&self, value: &Value, now: Timestamp) -> Option<Timestamp> {
        match value {
            Value::String(text) => self.read(text, now),
            Value::Number(number) => epoch(number.as_i64(), number.as_f64()?),
            _ => None,
        }
    }

    fn read_usual(&self, text: &str, now: Timestamp) -> Option<Timestamp> {
        let bytes = text.as_bytes();
        let is = |at: usize, byte: u8| bytes.get(at) == Some(&byte);
        let first = *bytes.first()?;
        if first.is_ascii_digit() && is(4, b'-') {
            if let Ok(at) = text.parse() {
                return Some(at);
            }
            let (text, offset) = self.split_offset(text);
            let at: DateTime = text.parse().ok()?;
            return instant(at, offset);
        }
        if first.is_ascii_digit()
            && bytes
                .iter()
                .all(|byte| byte.is_ascii_digit() || *byte == b'.')
        {
            return epoch(text.parse().ok(), text.parse().ok()?);
        }
        let format = if !first.is_ascii_digit() {
            // `Wed Oct 11 14:32:52.1 2000`, `Wed, 11 Oct 2000 14:32:52 +0000`, `Oct 11 14:32:52`.
            match bytes.get(3)? {
                b',' => "%a, %d %b %Y %H:%M:%S %z",
                _ if text.bytes().filter(|byte| *byte == b' ').count() >= 4 => {
                    "%a %b %e %H:%M:%S%.f %Y"
                }
                _ => "%b %e %H:%M:%S%.f",
            }
        } else if is(4, b'/') {
            "%Y/%m/%d %H:%M:%S%.f"
        } else if is(2, b'/') {
            "%d/%b/%Y:%H:%M:%S %z"
        } else if is(2, b':') {
            "%H:%M:%S%.f"
        } else {
            return None;
        };
        let pointed;
        let text = if text.contains(',') && !format.contains(',') {
            pointed = text.replace(',', ".");
            &pointed
        } else {
            text
        };
        complete(BrokenDownTime::parse(format, text).ok()?, now, self.offset)
    }

    /// Takes a separate zone off the end: ` +0200`, ` UTC`.
    fn split_offset<'a>(&self, text: &'a str) -> (&'a str, Offset) {
        let Some((rest, zone)) = text.rsplit_once(' ') else {
            return (text, self.offset);
        };
        parse_offset(zone).map_or((text, self.offset), |offset| (rest, offset))
    }
}

/// An offset from UTC such as `+02:00`, `-0530`, `Z` or `UTC`.
pub(super) fn parse_offset(text: &str) -> Option<Offset> {
    if matches!(text, "Z" | "UTC" | "GMT") {
        return Some(Offset::UTC);
    }
    let format = if text.contains(':') { "%:z" } else { "%z" };
    BrokenDownTime::parse(format, text).ok()?.offset()
}

/// Fills in what the text did not say: the year, or the day, that is nearest before `now`.
fn complete(mut parsed: BrokenDownTime, now: Timestamp, offset: Offset) -> Option<Timestamp> {
    if let Some(at) = parsed.timestamp() {
        return from_jiff(at);
    }
    let offset = parsed.offset().unwrap_or(offset);
    if parsed.year().is_some() {
        return instant(
            parsed.to_datetime().ok().or_else(|| midnight(&parsed))?,
            offset,
        );
    }
    let today = offset.to_datetime(jiff::Timestamp::from_nanosecond(now.as_nanos().into()).ok()?);
    let has_day = parsed.month().is_some() || parsed.day_of_year().is_some();
    if has_day {
        // Nobody logs the future; a day of it is left to clocks that disagree. A leap day may be
        // some years back.
        let latest = now.as_nanos().saturating_add(DAY_NANOS);
        return (0..9).find_map(|back| {
            parsed.set_year(Some(today.year() - back)).ok()?;
            let at = instant(
                parsed.to_datetime().ok().or_else(|| midnight(&parsed))?,
                offset,
            )?;
            (at.as_nanos() <= latest).then_some(at)
        });
    }
    let time = parsed.to_time().ok()?;
    parsed.hour()?;
    let at = instant(today.date().to_datetime(time), offset)?;
    let ahead = at.as_nanos().saturating_sub(now.as_nanos());
    Some(match ahead {
        _ if ahead > DAY_NANOS / 2 => Timestamp::from_nanos(at.as_nanos() - DAY_NANOS),
        _ if ahead < -DAY_NANOS / 2 => Timestamp::from_nanos(at.as_nanos() + DAY_NANOS),
        _ => at,
    })
}

fn midnight(parsed: &BrokenDownTime) -> Option<DateTime> {
    match parsed.hour() {
        None => parsed.to_date().ok().map(DateTime::from),
        Some(_) => None,
    }
}

fn instant(at: DateTime, offset: Offset) -> Option<Timestamp> {
    from_jiff(offset.to_timestamp(at).ok()?)
}

fn from_jiff(at: jiff::Timestamp) -> Option<Timestamp> {
    i64::try_from(at.as_nanosecond())
        .ok()
        .map(Timestamp::from_nanos)
}

/// A number since the epoch, in the unit that makes it a plausible time.
fn epoch(whole: Option<i64>, number: f64) -> Option<Timestamp> {
    if !number.is_finite() || number <= 0.0 {
        return None;
    }
    // The year 5138 in seconds is 1973 in milliseconds: plausible times do not overlap.
    let nanos_per_unit: i64 = match number {
        n if n < 1e11 => 1_000_000_000,
        n if n < 1e14 => 1_000_000,
        n if n < 1e17 => 1_000,
        _ => 1,
    };
    if let Some(whole) = whole {
        return whole.checked_mul(nanos_per_unit).map(Timestamp::from_nanos);
    }
    let seconds = number * nanos_per_unit as f64 / 1e9;
    std::time::Duration::try_from_secs_f64(seconds)
        .ok()
        .and_then(|since| i64::try_from(since.as_nanos()).ok())
        .map(Timestamp::from_nanos)
}

/// The level of a text: a word, or a number in steps of ten from 10 = trace to 60 = fatal.
pub(super) fn level(text: &str) -> Option<Level> {
    let text = text.trim();
    text.parse()
        .ok()
        .or_else(|| text.parse().ok().map(numbered_level))
}

/// As [`level`], of a value in JSON.
pub(super) fn level_of_value(value: &Value) -> Option<Level> {
    match value {
        Value::String(text) => level(text),
        other => other.as_u64().map(numbered_level),
    }
}

fn numbered_level(number: u64) -> Level {
    match number {
        0..=10 => Level::Trace,
        11..=20 => Level::Debug,
        21..=30 => Level::Info,
        31..=40 => Level::Warn,
        41..=50 => Level::Error,
        _ => Level::Fatal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn the_usual_spellings_are_read_without_a_format() {
        let now = at("2026-03-01T12:00:00Z");
        let reader = TimeReader::default();
        for (text, expected) in [
            ("2026-01-02T15:04:05Z", "2026-01-02T15:04:05Z"),
            ("2026-01-02T15:04:05.123+02:00", "2026-01-02T13:04:05.123Z"),
            ("2026-01-02T15:04:05+0200", "2026-01-02T13:04:05Z"),
            ("2026-01-02 15:04:05,123", "2026-01-02T15:04:05.123Z"),
            ("2026-01-02 15:04:05.5 +0100", "2026-01-02T14:04:05.5Z"),
            ("2026-01-02 15:04:05 UTC", "2026-01-02T15:04:05Z"),
            ("2026/01/02 15:04:05", "2026-01-02T15:04:05Z"),
            ("2026/01/02 15:04:05.000123", "2026-01-02T15:04:05.000123Z"),
            ("02/Jan/2026:15:04:05 -0700", "2026-01-02T22:04:05Z"),
            (
                "Wed Feb 11 14:32:52.123456 2026",
                "2026-02-11T14:32:52.123456Z",
            ),
            ("Wed, 11 Feb 2026 14:32:52 +0000", "2026-02-11T14:32:52Z"),
            ("Feb  7 01:02:03", "2026-02-07T01:02:03Z"),
            ("Dec 31 23:59:59", "2025-12-31T23:59:59Z"),
            ("Feb 29 01:02:03", "2024-02-29T01:02:03Z"),
            ("11:59:58,250", "2026-03-01T11:59:58.250Z"),
            ("1520879607", "2018-03-12T18:33:27Z"),
            ("1520879607789", "2018-03-12T18:33:27.789Z"),
            ("1520879607.5", "2018-03-12T18:33:27.5Z"),
        ] {
            assert_eq!(reader.read(text, now), Some(at(expected)), "{text}");
        }
        for text in [
            "",
            "yesterday",
            "x",
            "2026-13-02 1:1",
            "12",
            "99:99:99",
            "-",
        ] {
            let read = reader.read(text, now);
            assert!(read.is_none_or(|_| text == "12"), "{text}: {read:?}");
        }
    }

    #[test]
    fn a_time_of_day_is_the_one_nearest_to_now() {
        let reader = TimeReader::default();
        let read = |text, now| reader.read(text, at(now)).unwrap();
        assert_eq!(
            read("23:59:59", "2026-03-01T00:00:01Z"),
            at("2026-02-28T23:59:59Z")
        );
        assert_eq!(
            read("00:00:01", "2026-02-28T23:59:59Z"),
            at("2026-03-01T00:00:01Z")
        );
    }

    #[test]
    fn a_format_is_tried_before_it_is_used_and_an_offset_fills_in() {
        let offset = parse_offset("+02:00").unwrap();
        let reader = TimeReader::of_format("%d.%m.%Y %H:%M:%S", offset).unwrap();
        assert_eq!(
            reader.read("02.01.2026 15:04:05", Timestamp::EPOCH),
            Some(at("2026-01-02T13:04:05Z"))
        );
        assert_eq!(reader.read("2026-01-02", Timestamp::EPOCH), None);
        for wrong in ["%Y-%Ö", "%", "day", "%c"] {
            assert!(TimeReader::of_format(wrong, offset).is_err(), "{wrong}");
        }
        for right in [
            "%s",
            "%Y-%m-%dT%H:%M:%S%.f%:z",
            "%H:%M:%S",
            "%b %e %H:%M:%S",
        ] {
            TimeReader::of_format(right, offset).unwrap();
        }
        assert_eq!(parse_offset("two"), None);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,40}|[0-9:/ ,.+TZJanMon-]{0,40}", now in any::<i64>()) {
            let _ = TimeReader::default().read(&text, Timestamp::from_nanos(now));
        }

        #[test]
        fn any_number_is_a_time_or_none(number in any::<f64>(), whole in any::<Option<i64>>()) {
            let _ = epoch(whole, number);
        }
    }
}
