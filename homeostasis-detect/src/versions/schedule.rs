//! When models are trained anew.

use std::time::Duration;

use homeostasis_core::document::format_duration;
use homeostasis_core::{Timestamp, Violations};
use serde::{Deserialize, Serialize};

use crate::check;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// The hours of a day in which little happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OffPeak {
    /// When they begin after midnight; default 2h, below 24h.
    #[serde(with = "crate::duration_text")]
    pub from: Duration,
    /// When they end; default 5h, below 24h. Before `from` it is the next day, equal to `from` it is always off-peak.
    #[serde(with = "crate::duration_text")]
    pub to: Duration,
    /// How many minutes the clock on the wall is ahead of UTC; default 0, range -840 to 840.
    /// Time zones with summer time are an hour off for half of the year: choose hours that bear it.
    pub utc_offset_minutes: i32,
}

impl Default for OffPeak {
    fn default() -> Self {
        Self {
            from: Duration::from_secs(2 * 3600),
            to: Duration::from_secs(5 * 3600),
            utc_offset_minutes: 0,
        }
    }
}

impl OffPeak {
    /// Whether `at` is within these hours.
    ///
    /// ```
    /// use homeostasis::detect::OffPeak;
    /// let night = OffPeak::default();
    /// assert!(night.contains("2026-11-22T03:30:00Z".parse()?));
    /// assert!(!night.contains("2026-11-22T05:00:00Z".parse()?));
    /// # Ok::<(), homeostasis::core::TimestampError>(())
    /// ```
    pub fn contains(&self, at: Timestamp) -> bool {
        let day = 24 * 3600 * 1_000_000_000_i64;
        let offset = i64::from(self.utc_offset_minutes) * 60 * 1_000_000_000;
        let time = at.as_nanos().saturating_add(offset).rem_euclid(day);
        let nanos = |duration: Duration| i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
        let (from, to) = (nanos(self.from), nanos(self.to));
        match from.cmp(&to) {
            std::cmp::Ordering::Less => (from..to).contains(&time),
            std::cmp::Ordering::Equal => true,
            std::cmp::Ordering::Greater => time >= from || time < to,
        }
    }

    fn check(&self, found: &mut Violations, path: &str) {
        for (name, hour) in [("from", self.from), ("to", self.to)] {
            let (path, text) = (format!("{path}.{name}"), format_duration(hour));
            check::that(found, hour < DAY, &path, text, "a time of day below 24h");
        }
        let minutes = self.utc_offset_minutes;
        let (path, holds) = (
            format!("{path}.utc_offset_minutes"),
            (-840..=840).contains(&minutes),
        );
        check::that(found, holds, &path, minutes, "-840 to 840 minutes");
    }
}

/// How often a candidate is trained, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetrainSchedule {
    /// The time between two trainings; default 1d, above 0.
    #[serde(with = "crate::duration_text")]
    pub every: Duration,
    /// It begins within these hours only.
    pub off_peak: OffPeak,
}

impl Default for RetrainSchedule {
    fn default() -> Self {
        Self {
            every: DAY,
            off_peak: OffPeak::default(),
        }
    }
}

impl RetrainSchedule {
    /// Whether it is time at `now`, if the last training was at `last`.
    pub fn is_due(&self, last: Timestamp, now: Timestamp) -> bool {
        now.since(last) >= self.every && self.off_peak.contains(now)
    }

    pub(super) fn check(&self, found: &mut Violations, path: &str) {
        check::lasting(found, &format!("{path}.every"), self.every);
        self.off_peak.check(found, &format!("{path}.off_peak"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn hours_may_span_midnight_and_lie_in_another_zone() {
        let hours = |from: u64, to: u64, utc_offset_minutes| OffPeak {
            from: Duration::from_secs(from * 3600),
            to: Duration::from_secs(to * 3600),
            utc_offset_minutes,
        };
        for (hours, time, expected) in [
            (hours(22, 4, 0), "2026-03-01T23:00:00Z", true),
            (hours(22, 4, 0), "2026-03-01T03:59:59Z", true),
            (hours(22, 4, 0), "2026-03-01T04:00:00Z", false),
            (hours(22, 4, 0), "2026-03-01T12:00:00Z", false),
            (hours(2, 5, 330), "2026-03-01T21:00:00Z", true),
            (hours(2, 5, -300), "2026-03-01T03:00:00Z", false),
            (hours(2, 5, -300), "2026-03-01T08:00:00Z", true),
            (hours(7, 7, 0), "2026-03-01T12:00:00Z", true),
            // Before the epoch too.
            (hours(2, 5, 0), "1960-03-01T03:00:00Z", true),
        ] {
            assert_eq!(hours.contains(at(time)), expected, "{hours:?} {time}");
        }
    }

    #[test]
    fn what_is_due_waits_for_the_quiet_hours() {
        let daily = RetrainSchedule::default();
        let last = at("2026-03-01T02:30:00Z");
        assert!(!daily.is_due(last, at("2026-03-02T02:29:59Z")));
        assert!(daily.is_due(last, at("2026-03-02T02:30:00Z")));
        assert!(!daily.is_due(last, at("2026-03-02T12:00:00Z")));
        assert!(daily.is_due(last, at("2026-03-05T02:00:00Z")));
    }
}
