//! The header `Retry-After`.

use std::time::Duration;

use homeostasis_core::Timestamp;
use homeostasis_core::port::HttpResponse;

/// How long the receiver asks to wait, in either form of RFC 9110 section 10.2.3: seconds, or a
/// date, which is judged by `now`. What is neither says nothing.
pub(super) fn retry_after(response: &HttpResponse, now: Timestamp) -> Option<Duration> {
    let (_, value) = response
        .headers
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case("retry-after"))?;
    let value = value.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::DateTimeParser::new()
        .relaxed_weekday(true)
        .parse_timestamp(value)
        .ok()?;
    Some(Timestamp::from_millis(date.as_millisecond()).since(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_and_dates_are_read_and_nothing_else() {
        let now = Timestamp::from_secs(784_111_777);
        let of = |value: &str| {
            let headers = vec![("retry-after".to_owned(), value.to_owned())];
            retry_after(&HttpResponse::new(429, headers, Vec::new()), now)
        };
        assert_eq!(of(" 120 "), Some(Duration::from_secs(120)));
        let date = "Sun, 06 Nov 1994 08:50:37 GMT";
        assert_eq!(of(date), Some(Duration::from_secs(60)));
        let past = "Sun, 06 Nov 1994 08:49:36 GMT";
        assert_eq!(of(past), Some(Duration::ZERO));
        for nothing in ["", "-1", "1.5", "soon", "99999999999999999999"] {
            assert_eq!(of(nothing), None, "{nothing:?}");
        }
        let none = HttpResponse::new(429, Vec::new(), Vec::new());
        assert_eq!(retry_after(&none, now), None);
    }
}
