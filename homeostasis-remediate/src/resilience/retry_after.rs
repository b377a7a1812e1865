//! The header `Retry-After`.

use std::time::Duration;

use homeostasis_core::Timestamp;

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// How long a server that answered `Retry-After: value` at `now` asks to wait.
///
/// Seconds, or a date in the form every server must send (IMF-fixdate); a date that passed is zero.
/// More seconds than fit are as many as fit. `None` if it is neither. Source: RFC 9110, sections 10.2.3 and 5.6.7.
///
/// ```
/// use std::time::Duration;
/// use homeostasis::core::Timestamp;
/// use homeostasis::remediate::resilience::retry_after;
/// let now: Timestamp = "1994-11-06T08:49:30Z".parse()?;
/// assert_eq!(retry_after("120", now), Some(Duration::from_secs(120)));
/// assert_eq!(retry_after("Sun, 06 Nov 1994 08:49:37 GMT", now), Some(Duration::from_secs(7)));
/// assert_eq!(retry_after("soon", now), None);
/// # Ok::<(), homeostasis::core::TimestampError>(())
/// ```
pub fn retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
    }
    let (_, date) = value.split_once(", ")?;
    let mut words = date.split(' ');
    let (day, month, year, time) = (words.next()?, words.next()?, words.next()?, words.next()?);
    if words.next() != Some("GMT") || words.next().is_some() {
        return None;
    }
    let month = MONTHS.iter().position(|name| *name == month)? + 1;
    let at: Timestamp = format!("{year}-{month:02}-{day}T{time}Z").parse().ok()?;
    Some(at.since(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_and_seconds_are_read_and_everything_else_is_not() {
        let now: Timestamp = "2026-11-22T10:00:00Z".parse().unwrap();
        for (value, seconds) in [
            (" 0 ", Some(0)),
            ("Sun, 22 Nov 2026 10:01:00 GMT", Some(60)),
            ("Sun, 22 Nov 2026 09:00:00 GMT", Some(0)),
            ("Sun, 22 Nov 2026 10:01:00 CET", None),
            ("Sun, 32 Nov 2026 10:01:00 GMT", None),
            ("Sun, 22 nov 2026 10:01:00 GMT", None),
            ("-1", None),
            ("1.5", None),
            ("99999999999999999999999", Some(u64::MAX)),
            ("", None),
        ] {
            let expected = seconds.map(Duration::from_secs);
            assert_eq!(retry_after(value, now), expected, "{value:?}");
        }
    }
}
