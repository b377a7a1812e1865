//! Maintenance windows: what may wait, waits for a time when it harms nobody.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::record::Plan;
use crate::time::Timestamp;

/// A day of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Weekday {
    /// Monday.
    Monday,
    /// Tuesday.
    Tuesday,
    /// Wednesday.
    Wednesday,
    /// Thursday.
    Thursday,
    /// Friday.
    Friday,
    /// Saturday.
    Saturday,
    /// Sunday.
    Sunday,
}

impl Weekday {
    /// All, from Monday.
    pub const ALL: [Self; 7] = [
        Self::Monday,
        Self::Tuesday,
        Self::Wednesday,
        Self::Thursday,
        Self::Friday,
        Self::Saturday,
        Self::Sunday,
    ];

    /// That of the day so many days after 1970-01-01, which was a Thursday.
    fn of_day(days: i64) -> Self {
        usize::try_from((days + 3).rem_euclid(7)).map_or(Self::Monday, |idx| Self::ALL[idx])
    }
}

/// A stretch of time that comes again every week, in UTC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MaintenanceWindow {
    /// On which days it opens; none is every day.
    #[serde(default)]
    pub days: BTreeSet<Weekday>,
    /// How long after midnight it opens, less than 24 h.
    pub opens: Duration,
    /// How long it stays open; more than nothing, at most 24 h. It may last past midnight.
    pub lasts: Duration,
}

const DAY_SECS: i64 = 24 * 3600;
const DAY: Duration = Duration::from_secs(24 * 3600);

impl MaintenanceWindow {
    /// When it opens on the day so many days after 1970-01-01.
    fn opening(&self, days: i64) -> Option<Timestamp> {
        let is_on = self.days.is_empty() || self.days.contains(&Weekday::of_day(days));
        is_on.then(|| Timestamp::from_secs(days.saturating_mul(DAY_SECS)) + self.opens)
    }

    /// What is wrong with it, as field, value and what was expected.
    pub fn violation(&self) -> Option<(&'static str, Duration, &'static str)> {
        if self.opens >= DAY {
            Some(("opens", self.opens, "less than 24h"))
        } else if self.lasts.is_zero() || self.lasts > DAY {
            Some(("lasts", self.lasts, "more than 0s, at most 24h"))
        } else {
            None
        }
    }
}

/// What waits for which windows. The default is that nothing does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MaintenancePolicy {
    /// When there is maintenance.
    pub windows: Vec<MaintenanceWindow>,
    /// Playbooks and actions that are only run then. A plan waits if any of its steps does.
    pub only: BTreeSet<String>,
    /// A plan waits at most this long for a window; if none opens in time it is refused, so that another one is tried or
    /// people are called. An incident that waits takes up what else goes wrong in its service meanwhile. Default 1 h.
    pub max_wait: Duration,
}

impl Default for MaintenancePolicy {
    fn default() -> Self {
        Self {
            windows: Vec::new(),
            only: BTreeSet::new(),
            max_wait: Duration::from_secs(3600),
        }
    }
}

impl MaintenancePolicy {
    /// What of `plan` waits for a window: its playbook or one of its actions, by name or as `remediator.action`.
    pub fn waits<'a>(&self, plan: &'a Plan) -> Option<&'a str> {
        let book = plan.playbook.iter().map(|book| book.id.as_str());
        let listed = |name: &str| self.only.contains(name);
        let mut actions = plan.steps.iter().map(|step| step.action.as_str());
        book.into_iter().find(|id| listed(id)).or_else(|| {
            actions
                .find(|action| listed(action) || listed(&format!("{}.{action}", plan.remediator)))
        })
    }

    /// Until when a window is open at `now`, if one is; of several the longest.
    pub fn open_until(&self, now: Timestamp) -> Option<Timestamp> {
        let today = day_of(now);
        let openings = |window: &MaintenanceWindow| {
            [today - 1, today].map(|day| window.opening(day).map(|at| (at, at + window.lasts)))
        };
        let stretches = self.windows.iter().flat_map(openings).flatten();
        stretches
            .filter(|(from, to)| *from <= now && now < *to)
            .map(|(_, to)| to)
            .max()
    }

    /// When the next window opens after `now`, if there is any.
    pub fn next_opening(&self, now: Timestamp) -> Option<Timestamp> {
        let today = day_of(now);
        let openings = |window: &MaintenanceWindow| {
            (today..=today + 7)
                .filter_map(|day| window.opening(day))
                .find(|at| *at > now)
        };
        self.windows.iter().filter_map(openings).min()
    }
}

fn day_of(now: Timestamp) -> i64 {
    now.as_millis().div_euclid(DAY_SECS * 1000)
}

impl fmt::Display for MaintenanceWindow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let minutes = self.opens.as_secs() / 60;
        write!(
            f,
            "{:02}:{:02} UTC for {:?}",
            minutes / 60,
            minutes % 60,
            self.lasts
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    const HOUR: Duration = Duration::from_secs(3600);

    fn policy(days: &[Weekday], opens: u32, lasts: u32) -> MaintenancePolicy {
        let window = MaintenanceWindow {
            days: days.iter().copied().collect(),
            opens: HOUR * opens,
            lasts: HOUR * lasts,
        };
        MaintenancePolicy {
            windows: vec![window],
            ..MaintenancePolicy::default()
        }
    }

    #[test]
    fn days_have_their_names() {
        // 2026-11-22 is a Sunday.
        let day = |text| Weekday::of_day(day_of(at(text)));
        assert_eq!(day("2026-11-22T00:00:00Z"), Weekday::Sunday);
        assert_eq!(day("2026-11-23T23:59:59Z"), Weekday::Monday);
        assert_eq!(day("1969-12-31T23:59:59Z"), Weekday::Wednesday);
    }

    #[test]
    fn a_window_opens_on_its_days_and_may_last_past_midnight() {
        let nightly = policy(&[Weekday::Saturday], 22, 6);
        let (before, inside) = (at("2026-11-21T21:00:00Z"), at("2026-11-22T03:59:59Z"));
        assert_eq!(nightly.open_until(before), None);
        assert_eq!(
            nightly.next_opening(before),
            Some(at("2026-11-21T22:00:00Z"))
        );
        let end = at("2026-11-22T04:00:00Z");
        assert_eq!(nightly.open_until(inside), Some(end));
        assert_eq!(nightly.open_until(end), None);
        assert_eq!(nightly.next_opening(end), Some(at("2026-11-28T22:00:00Z")));
        assert_eq!(MaintenancePolicy::default().next_opening(end), None);
    }

    proptest! {
        #[test]
        fn the_next_opening_is_open_and_nothing_opens_before(secs in -1_000_000_000_i64..4_000_000_000, opens in 0_u32..24, lasts in 1_u32..=24, day in 0_usize..7) {
            let weekly = policy(&[Weekday::ALL[day]], opens, lasts);
            let now = Timestamp::from_secs(secs);
            let next = weekly.next_opening(now).unwrap();
            prop_assert!(next > now && next - now <= 7 * DAY);
            prop_assert_eq!(weekly.open_until(next), Some(next + HOUR * lasts));
            if let Some(until) = weekly.open_until(now) {
                prop_assert!(until > now && until - now <= HOUR * lasts);
            } else if next - now > HOUR {
                prop_assert_eq!(weekly.open_until(next - HOUR), None);
            }
        }
    }
}
