//! Durations as people write them: `250ms`, `30s`, `1h30m`, `7_days`.

use std::time::Duration;

const NANOS_PER_SECOND: u128 = 1_000_000_000;

/// The length of a unit in nanoseconds.
fn unit_nanos(unit: &str) -> Option<u128> {
    Some(match unit {
        "ns" | "nanosecond" | "nanoseconds" => 1,
        "us" | "µs" | "μs" | "microsecond" | "microseconds" => 1_000,
        "ms" | "millisecond" | "milliseconds" => 1_000_000,
        "s" | "sec" | "secs" | "second" | "seconds" => NANOS_PER_SECOND,
        "m" | "min" | "mins" | "minute" | "minutes" => 60 * NANOS_PER_SECOND,
        "h" | "hr" | "hrs" | "hour" | "hours" => 3_600 * NANOS_PER_SECOND,
        "d" | "day" | "days" => 86_400 * NANOS_PER_SECOND,
        "w" | "week" | "weeks" => 7 * 86_400 * NANOS_PER_SECOND,
        _ => return None,
    })
}

/// Reads a duration: one or more numbers with units, such as `250ms`, `1.5h`, `1h30m`, `7_days`, `1 hour`.
///
/// Units are `ns`, `us`, `ms`, `s`, `m` (minutes), `h`, `d`, `w` and their English names; a space or an underscore may
/// stand between number and unit.
/// Days have 24 hours.
/// `0` needs no unit; every other number does.
/// Gives `None` for anything else: a sign, an unknown unit, no number, or more than [`Duration`] holds.
/// A fraction below a nanosecond is cut off.
///
/// # Examples
/// ```
/// use std::time::Duration;
///
/// use homeostasis::core::document::parse_duration;
///
/// assert_eq!(parse_duration("250ms"), Some(Duration::from_millis(250)));
/// assert_eq!(parse_duration("1h30m"), Some(Duration::from_secs(5400)));
/// assert_eq!(parse_duration("7_days"), Some(Duration::from_secs(7 * 86_400)));
/// assert_eq!(parse_duration("5"), None);
/// assert_eq!(parse_duration("5x"), None);
/// ```
pub fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    if rest.is_empty() {
        return None;
    }
    let mut nanos: u128 = 0;
    while !rest.is_empty() {
        let (part, after) = part(rest)?;
        nanos = nanos.checked_add(part)?;
        rest = after.trim_start();
    }
    let seconds = u64::try_from(nanos / NANOS_PER_SECOND).ok()?;
    let below = u32::try_from(nanos % NANOS_PER_SECOND).ok()?;
    Some(Duration::new(seconds, below))
}

/// One number with its unit, in nanoseconds, and what follows.
fn part(text: &str) -> Option<(u128, &str)> {
    let n_digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (whole, mut rest) = text.split_at(n_digits);
    let mut fraction = "";
    if let Some(after) = rest.strip_prefix('.') {
        let n_digits = after
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(after.len());
        (fraction, rest) = after.split_at(n_digits);
        if fraction.is_empty() {
            return None;
        }
    }
    if whole.is_empty() {
        return None;
    }
    let rest = rest.strip_prefix([' ', '_']).unwrap_or(rest);
    let n_letters = rest
        .find(|c: char| !c.is_alphabetic())
        .unwrap_or(rest.len());
    let (unit, rest) = rest.split_at(n_letters);
    let unit = unit_nanos(unit)?;
    let mut nanos = whole.parse::<u128>().ok()?.checked_mul(unit)?;
    let mut scale = unit;
    for digit in fraction.bytes() {
        // Digits beyond the nanosecond have a weight of zero and are cut off together with their remainder.
        nanos = nanos.checked_add(u128::from(digit - b'0') * scale / 10)?;
        if scale % 10 != 0 {
            break;
        }
        scale /= 10;
    }
    Some((nanos, rest))
}

/// Writes a duration so that [`parse_duration`] reads the same back: `0s`, `250ms`, `1h30m`, `7d`.
///
/// # Examples
/// ```
/// use std::time::Duration;
///
/// use homeostasis::core::document::format_duration;
///
/// assert_eq!(format_duration(Duration::from_secs(5400)), "1h30m");
/// assert_eq!(format_duration(Duration::from_millis(1250)), "1s250ms");
/// ```
pub fn format_duration(duration: Duration) -> String {
    const UNITS: [(u128, &str); 7] = [
        (86_400 * NANOS_PER_SECOND, "d"),
        (3_600 * NANOS_PER_SECOND, "h"),
        (60 * NANOS_PER_SECOND, "m"),
        (NANOS_PER_SECOND, "s"),
        (1_000_000, "ms"),
        (1_000, "us"),
        (1, "ns"),
    ];
    let mut rest = duration.as_nanos();
    let mut text = String::new();
    for (nanos, unit) in UNITS {
        let count = rest / nanos;
        if count > 0 {
            text += &count.to_string();
            text += unit;
            rest %= nanos;
        }
    }
    if text.is_empty() {
        "0s".to_owned()
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_of_the_playbooks_are_read() {
        for (text, millis) in [
            ("250ms", 250),
            ("30s", 30_000),
            ("5m", 300_000),
            ("12m", 720_000),
            ("2h", 7_200_000),
            ("7d", 604_800_000),
            ("7_days", 604_800_000),
            ("1_hour", 3_600_000),
            ("30_minutes", 1_800_000),
            ("1 hour 30 min", 5_400_000),
            ("1.5s", 1_500),
            ("0.25 h", 900_000),
            ("0m", 0),
            ("0", 0),
            (" 2w ", 1_209_600_000),
        ] {
            assert_eq!(
                parse_duration(text),
                Some(Duration::from_millis(millis)),
                "{text}"
            );
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            " ",
            "5",
            "5x",
            "-5s",
            "+5s",
            "s",
            "5.s",
            ".5s",
            "5 5s",
            "1e3s",
            "5__days",
            "NaN",
            "5s;",
            "999999999999999999999999d",
            "340282366920938463463374607431768211456ns",
            "٣s",
        ] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    #[test]
    fn fractions_below_a_nanosecond_are_cut_off() {
        assert_eq!(
            parse_duration("1.9999999999s"),
            Some(Duration::new(1, 999_999_999))
        );
        assert_eq!(parse_duration("0.3333us"), Some(Duration::from_nanos(333)));
        assert_eq!(parse_duration("1.5m"), Some(Duration::from_secs(90)));
        assert_eq!(parse_duration("0.015d"), Some(Duration::from_secs(1296)));
    }

    proptest! {
        #[test]
        fn what_is_written_reads_the_same(seconds in any::<u64>(), nanos in 0..1_000_000_000_u32) {
            let duration = Duration::new(seconds, nanos);
            prop_assert_eq!(parse_duration(&format_duration(duration)), Some(duration));
        }

        #[test]
        fn no_text_panics(text in "\\PC*") {
            let _ = parse_duration(&text);
        }

        #[test]
        fn no_text_of_numbers_and_units_panics(text in "[0-9._ a-zµ]{0,40}") {
            let _ = parse_duration(&text);
        }
    }
}
