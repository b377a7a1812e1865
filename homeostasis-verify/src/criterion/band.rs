//! A series that must be back where it was expected.

use std::time::Duration;

use homeostasis_core::record::CheckOutcome;
use homeostasis_core::signal::SeriesKey;
use homeostasis_core::{Target, Timestamp};

use super::comparison::short;
use super::{Look, Reading};

#[derive(Debug, Clone)]
pub(super) struct Band {
    key: SeriesKey,
    low: f64,
    high: f64,
    looks: u32,
    freshness: Duration,
}

impl Band {
    pub(super) fn new(
        key: SeriesKey,
        (low, high): (Option<f64>, Option<f64>),
        looks: u32,
        freshness: Duration,
    ) -> Self {
        Self {
            key,
            low: low.unwrap_or(f64::NEG_INFINITY),
            high: high.unwrap_or(f64::INFINITY),
            looks,
            freshness,
        }
    }

    pub(super) fn target(&self) -> Option<Target> {
        self.key.target()
    }

    /// The same band for the same series of another instance.
    pub(super) fn about(&self, other: &Target) -> Option<Self> {
        let mut band = self.clone();
        let instance = band.key.labels.get_mut("instance")?;
        other.instance_name()?.clone_into(instance);
        Some(band)
    }

    pub(super) fn look(&self, look: &Look<'_>) -> Reading {
        let points: Vec<(Timestamp, f64)> = look
            .observations
            .series(
                &self.key.metric,
                &self.key.labels,
                look.ended + Duration::from_nanos(1),
                look.now,
            )
            .into_iter()
            .filter(|window| *window.key == self.key)
            .flat_map(|window| window.points)
            .filter(|(_, value)| !value.is_nan())
            .collect();
        let Some((newest, value)) = points
            .last()
            .copied()
            .filter(|(at, _)| look.now.since(*at) <= self.freshness)
        else {
            return Reading::new(
                CheckOutcome::NoData,
                format!("no value of {} after the remedy", self.key),
            )
            .settled_by(format!("samples of {}", self.key));
        };
        let inside = |value: f64| (self.low..=self.high).contains(&value);
        if !inside(value) {
            return Reading::new(
                CheckOutcome::Failed,
                format!("{} at {newest}, still outside", short(value)),
            );
        }
        let row = points.iter().rev().take_while(|(_, v)| inside(*v)).count() as u64;
        let needed = u64::from(self.looks);
        let detail = format!(
            "{} at {newest}, {} of {needed} values in a row inside",
            short(value),
            row.min(needed)
        );
        if row >= needed {
            Reading::new(CheckOutcome::Passed, detail)
        } else {
            Reading::new(CheckOutcome::Undecided, detail).settled_by(format!(
                "{} more samples of {}",
                needed - row,
                self.key
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use homeostasis_core::testing::RecordedObservations;

    const fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    fn look(points: &[(i64, f64)], now: i64) -> CheckOutcome {
        let key = SeriesKey::new("up").with("service", "orders");
        // A series with one label more is another series.
        let other = key.clone().with("instance", "9");
        let world = RecordedObservations::new()
            .with_series(
                key.clone(),
                points.iter().map(|(secs, value)| (at(*secs), *value)),
            )
            .with_point(other, at(now), 0.0);
        Band::new(key, (Some(1.0), None), 2, Duration::from_secs(60))
            .look(&Look::new(&world, at(0), at(100), at(now)))
            .outcome
    }

    #[test]
    fn only_fresh_values_after_the_remedy_count_and_they_must_stay_inside() {
        assert_eq!(look(&[(90, 1.0), (95, 1.0)], 110), CheckOutcome::NoData);
        assert_eq!(look(&[(101, 0.0)], 110), CheckOutcome::Failed);
        assert_eq!(
            look(&[(101, 0.0), (102, 1.0)], 110),
            CheckOutcome::Undecided
        );
        assert_eq!(
            look(&[(101, 1.0), (102, f64::NAN), (103, 1.0)], 110),
            CheckOutcome::Passed
        );
        assert_eq!(look(&[(101, 1.0), (102, 1.0)], 163), CheckOutcome::NoData);
    }
}
