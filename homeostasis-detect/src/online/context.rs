//! What values are usual at a place of the period.

use serde::{Deserialize, Serialize};

use super::channel::{NATS, RELAX};
use super::deviation::SIGMA;
use super::period::PeriodFinder;
use super::rarity::{LARGEST, Rarity};

/// The places of a period that are kept apart.
const PLACES: usize = 96;
/// How many places early or late is still in time.
const EARLY_OR_LATE: usize = 2;
/// A place is judged after it was seen in this many cycles.
const CYCLES: u32 = 3;
/// How many cycles it takes to forget what was seen once.
const MEMORY: f64 = 10.0;
/// At this many standard deviations beyond the band a value counts fully.
const UNUSUAL: f64 = 5.0;
/// What context counts beside a statistic: chosen on made-up series with a period (suite `context`), where
/// it finds four fifths of what comes at the wrong time instead of two fifths, for 6 % more false alerts.
const WEIGHT: f64 = 0.5;
/// The part of a period over which values are averaged before they are compared.
const SMOOTH: i64 = 48;

/// The values seen at one place of the period.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Place {
    low: f64,
    high: f64,
    mean: f64,
    /// In how many cycles it was seen before the last one.
    cycles: u32,
    /// The last cycle, and what was seen in it: it counts when the next begins, so that what is wrong
    /// now is not usual a moment later.
    last: i64,
    seen: (f64, f64),
    /// The sum and the number of what was seen in the last cycle.
    sum: f64,
    n: u32,
}

/// What context says of a value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Verdict {
    /// The band of usual values at this place.
    pub(super) band: (f64, f64),
    gap: f64,
    /// The distance from the band in ranges of the series, weighed by its rarity.
    pub(super) evidence: f64,
}

/// The band of usual values for every place of the period found.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Context {
    finder: PeriodFinder,
    places: Vec<Place>,
    /// The rarity of distances from the band; `None` before a period is found.
    rarity: Option<Rarity>,
    /// Learned since the period was found.
    n: u64,
    /// The mean of the series, the mean distance from it, and that from the mean of the place.
    mean: f64,
    total: f64,
    residual: f64,
}

impl Place {
    /// What was seen in the last cycle becomes usual.
    fn close(&mut self) {
        let mean = self.sum / f64::from(self.n);
        if self.cycles == 0 {
            (self.low, self.high) = self.seen;
        }
        self.cycles = self.cycles.saturating_add(1);
        self.mean += (1.0 / f64::from(self.cycles)).max(1.0 / MEMORY) * (mean - self.mean);
        self.low += ((self.mean - self.low) / MEMORY).max(0.0);
        self.high -= ((self.high - self.mean) / MEMORY).max(0.0);
        (self.low, self.high) = (self.low.min(self.seen.0), self.high.max(self.seen.1));
        (self.sum, self.n) = (0.0, 0);
    }
}

impl Context {
    /// The usual interval between samples, once it is known.
    pub(super) fn interval(&self) -> Option<i64> {
        self.finder.interval()
    }

    /// Over how many samples to average before asking.
    pub(super) fn smoothing(&self) -> usize {
        let (Some(period), Some(interval)) = (self.finder.period(), self.finder.interval()) else {
            return 1;
        };
        usize::try_from((period / interval / SMOOTH).clamp(1, 12)).unwrap_or(1)
    }

    /// What is usual at `at`, and how far `y` is from it; `range` is that of the series.
    pub(super) fn look(&self, at: i64, y: f64, range: f64) -> Option<Verdict> {
        let (rarity, (here, _)) = (self.rarity.as_ref()?, self.place(at)?);
        let n = self.places.len();
        let reach = EARLY_OR_LATE.min(n / 12);
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for i in here + n - reach..=here + n + reach {
            let place = &self.places[i % n];
            if place.cycles < CYCLES {
                return None;
            }
            low = low.min(place.low);
            high = high.max(place.high);
        }
        let out = (low - y).max(y - high).max(0.0);
        let gap = (out / range).min(LARGEST);
        let z = out / (SIGMA * self.residual).max(f64::MIN_POSITIVE);
        let trust = self.skill() * (z / UNUSUAL).min(1.0);
        Some(Verdict {
            band: (low, high),
            gap,
            evidence: WEIGHT * trust * gap * rarity.excess(gap) / NATS,
        })
    }

    /// How far the period explains the series: 0 up to half of its spread, 1 from four fifths on.
    fn skill(&self) -> f64 {
        let share = 1.0 - self.residual / self.total.max(f64::MIN_POSITIVE);
        ((share - 0.5) / 0.3).clamp(0.0, 1.0)
    }

    /// The period, if it explains anything.
    pub(super) fn period(&self) -> Option<i64> {
        self.finder.period().filter(|_| self.skill() > 0.0)
    }

    /// Learns the value `x` and its smoothed value `y`, of which [`Context::look`] said `seen`.
    pub(super) fn learn(&mut self, at: i64, x: f64, y: f64, seen: Option<Verdict>) {
        if self.finder.learn(at, x) {
            self.begin();
        }
        if let (Some(rarity), Some(seen)) = (&mut self.rarity, seen) {
            rarity.learn(seen.gap);
        }
        self.see(at, y);
    }

    /// Places for the period just found, filled with the past.
    fn begin(&mut self) {
        let (Some(period), Some(interval)) = (self.finder.period(), self.finder.interval()) else {
            return;
        };
        let n = usize::try_from(period / interval).map_or(PLACES, |n| n.clamp(1, PLACES));
        self.places = vec![Place::default(); n];
        self.rarity = Some(Rarity::new());
        (self.n, self.mean, self.total, self.residual) = (0, 0.0, 0.0, 0.0);
        let history: Vec<_> = self.finder.history().collect();
        for (at, mean) in history {
            self.see(at, mean);
        }
    }

    fn see(&mut self, at: i64, y: f64) {
        let Some((i, cycle)) = self.place(at) else {
            return;
        };
        let place = &mut self.places[i];
        if place.n > 0 && place.last != cycle {
            place.close();
        }
        if place.cycles > 0 {
            self.n = self.n.saturating_add(1);
            let weight = (1.0 / self.n as f64).max(1.0 / RELAX);
            self.mean += weight * (y - self.mean);
            self.total += weight * ((y - self.mean).abs() - self.total);
            self.residual += weight * ((y - place.mean).abs() - self.residual);
        }
        if place.n == 0 {
            (place.last, place.seen) = (cycle, (y, y));
        }
        place.seen = (place.seen.0.min(y), place.seen.1.max(y));
        place.sum += y;
        place.n = place.n.saturating_add(1);
    }

    /// The place of a time in the period, and its cycle.
    fn place(&self, at: i64) -> Option<(usize, i64)> {
        let (period, n) = (self.finder.period()?, self.places.len());
        let place =
            i128::from(at.rem_euclid(period)) * i128::try_from(n).ok()? / i128::from(period);
        let place = usize::try_from(place).ok()?;
        (place < n).then(|| (place, at.div_euclid(period)))
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.finder.heap_bytes()
            + self.places.capacity() * size_of::<Place>()
            + self.rarity.as_ref().map_or(0, Rarity::heap_bytes)
    }

    pub(super) fn is_sound(&self) -> bool {
        let finite = |place: &Place| {
            let numbers = [
                place.low,
                place.high,
                place.mean,
                place.sum,
                place.seen.0,
                place.seen.1,
            ];
            numbers.iter().all(|x| x.is_finite())
        };
        self.finder.is_sound()
            && self.places.len() <= PLACES
            && self.places.iter().all(finite)
            && self.rarity.as_ref().is_none_or(Rarity::is_sound)
            && self.rarity.is_some() == self.finder.period().is_some()
            && self.places.is_empty() == self.rarity.is_none()
            && self.total >= 0.0
            && self.residual >= 0.0
    }
}
