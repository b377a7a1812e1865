//! Before and after: how far a series has risen since the incident began, in units of its own calm.

use std::cmp::Ordering;
use std::sync::Arc;

use homeostasis_core::record::Proof;
use homeostasis_core::signal::SeriesKey;
use homeostasis_core::{SeriesWindow, Target, Timestamp};

use crate::meaning::Meaning;
use crate::scope::{Scope, reading};
use crate::stats::{Level, quantile, scan, sorted};

/// Fewer points of calm than this say nothing about what is normal.
const MIN_BASELINE: usize = 8;

/// A rise must exceed what the calm shows by itself by this factor.
const MIN_STRENGTH: f64 = 1.5;

/// A rise of one series.
#[derive(Debug, Clone)]
pub(crate) struct Shift {
    pub(crate) key: Arc<SeriesKey>,
    pub(crate) target: Target,
    pub(crate) meaning: Meaning,
    /// The median before.
    pub(crate) before: f64,
    /// The mean of the highest run after.
    pub(crate) after: f64,
    /// How many times larger than anything the calm shows by itself; more than [`MIN_STRENGTH`].
    pub(crate) strength: f64,
    pub(crate) onset: Timestamp,
}

impl Shift {
    /// The rise of `window` after `split` against what it was before; `None` if it did not rise or
    /// there is too little to say.
    ///
    /// The statistic is the largest mean deviation over two or more points in a row, divided by
    /// 1.25 times the upper quartile of the same statistic over stretches of the same length in the
    /// past (at least 1): every series is judged against its own restlessness. A quartile and not
    /// the 95th percentile, because the past may hold earlier incidents and nobody says where;
    /// 1.25 makes up for it where it holds none.
    pub(crate) fn of(window: &SeriesWindow, split: Timestamp) -> Option<Self> {
        let meaning = Meaning::of(&window.key.metric)?;
        let target = window.key.target()?;
        let finite = window.points.iter().filter(|(_, v)| v.is_finite());
        let (before, after): (Vec<_>, Vec<_>) = finite.copied().partition(|(at, _)| *at < split);
        let floor = meaning.floor(&window.key.metric);
        let level = Level::of(before.iter().map(|(_, v)| *v), MIN_BASELINE, floor)?;
        let z = |points: &[(Timestamp, f64)]| -> Vec<f64> {
            points.iter().map(|(_, v)| level.z(*v)).collect()
        };
        let after_z = z(&after);
        let (highest, start) = scan(&after_z)?;
        let length = after.len().clamp(2, (before.len() / 4).max(2));
        let calm = sorted(
            z(&before)
                .chunks_exact(length)
                .filter_map(scan)
                .map(|(highest, _)| highest),
        );
        let null = 1.25 * quantile(&calm, 0.75).unwrap_or(1.0);
        let null = null.max(1.0);
        let strength = highest / null;
        if !strength.is_finite() || strength <= MIN_STRENGTH {
            return None;
        }
        // It began where the deviation first became a third of what it grew to and stayed for two
        // points: the climb belongs to the illness, a blip before it does not.
        let begun = highest / 3.0;
        let idx = (0..=start)
            .find(|idx| after_z[*idx..].iter().take(2).all(|z| *z >= begun))
            .unwrap_or(start);
        Some(Self {
            key: Arc::clone(&window.key),
            target,
            meaning,
            before: level.median,
            after: level.median + highest * level.scale,
            strength,
            onset: after[idx].0,
        })
    }

    /// What the rise says for the illness it speaks of, in nats: twice the logarithm of its
    /// strength, at most 5, so that no single series ever settles the matter; of a latency less, the
    /// fewer milliseconds it rose by.
    pub(crate) fn nats(&self) -> f64 {
        (2.0 * self.strength.ln() * self.meaning.weight()).clamp(0.0, 5.0) * self.matter()
    }

    /// How much anybody notices of it, 0 to 1: a latency that rose by 25 ms counts half.
    fn matter(&self) -> f64 {
        if self.meaning != Meaning::Latency {
            return 1.0;
        }
        let rise = (self.after - self.before).max(0.0);
        rise / (rise + 0.025)
    }

    pub(crate) fn statement(&self) -> String {
        format!(
            "{} rose from {} to {}",
            self.key.metric,
            reading(&self.key, self.before),
            reading(&self.key, self.after)
        )
    }

    pub(crate) fn proof(&self) -> Proof {
        Proof {
            kind: "series".to_owned(),
            reference: self.key.to_string(),
            at: Some(self.onset),
            statement: self.statement(),
        }
    }

    /// Strongest first; ties by name, so that the order never depends on the input's.
    pub(crate) fn by_strength(a: &Self, b: &Self) -> Ordering {
        b.nats()
            .total_cmp(&a.nats())
            .then_with(|| b.strength.total_cmp(&a.strength))
            .then_with(|| a.key.cmp(&b.key))
    }
}

/// All rises of `service` since the incident began, strongest first.
pub(crate) fn shifts_of(scope: &Scope<'_>, service: &str) -> Vec<Shift> {
    let mut shifts: Vec<_> = scope
        .series_of(service)
        .iter()
        .filter_map(|window| Shift::of(window, scope.split))
        .collect();
    shifts.sort_by(Shift::by_strength);
    shifts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(values: impl Fn(i64) -> f64) -> SeriesWindow {
        SeriesWindow {
            key: Arc::new(SeriesKey::new("probe_latency_seconds").with("service", "orders")),
            points: (0..120)
                .map(|i| (Timestamp::from_secs(i), values(i)))
                .collect(),
        }
    }

    fn noise(i: i64) -> f64 {
        f64::from(u8::try_from((i * 37) % 11).unwrap()) / 1000.0
    }

    #[test]
    fn a_rise_is_found_with_its_onset_and_levels() {
        let risen = window(|i| 0.02 + noise(i) + if i >= 100 { 0.5 } else { 0.0 });
        let shift = Shift::of(&risen, Timestamp::from_secs(90)).unwrap();
        assert_eq!(shift.onset, Timestamp::from_secs(100));
        assert!((0.02..0.03).contains(&shift.before) && shift.after > 0.5);
        assert!(shift.nats() > 3.0, "{shift:?}");
    }

    #[test]
    fn neither_noise_nor_a_fall_nor_one_spike_is_a_rise() {
        let split = Timestamp::from_secs(90);
        assert!(Shift::of(&window(|i| 0.02 + noise(i)), split).is_none());
        assert!(
            Shift::of(
                &window(|i| if i > 95 { 0.0 } else { 0.5 + noise(i) }),
                split
            )
            .is_none()
        );
        let bursts = window(|i| if i % 15 == 0 { 0.9 } else { 0.02 + noise(i) });
        assert!(Shift::of(&bursts, split).is_none());
    }

    #[test]
    fn without_calm_there_is_no_answer() {
        assert!(Shift::of(&window(|_| f64::NAN), Timestamp::from_secs(90)).is_none());
        assert!(Shift::of(&window(noise), Timestamp::from_secs(3)).is_none());
        assert!(Shift::of(&window(noise), Timestamp::from_secs(500)).is_none());
    }
}
