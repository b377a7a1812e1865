//! When it began, if only the alarm is known.

use homeostasis_core::Timestamp;

use crate::stats::Level;

/// Each side of the split has at least so many points.
const MIN_SIDE: usize = 3;

/// Of a longer series only the end is looked at: it bounds the work.
const MAX_POINTS: usize = 2048;

/// Where the points before `alarm` split best into a calm and a disturbed stretch: the first point of
/// the second one. `points` are sorted by time.
///
/// The best split has the largest difference of means, in units of the scatter, weighted by the
/// lengths of both sides as in a two-sample test. `None` with fewer than 6 points before the alarm or
/// if nothing changed. O(n).
///
/// ```
/// use homeostasis::core::Timestamp;
/// use homeostasis::rca::onset_of;
/// let points: Vec<_> = (0..30)
///     .map(|i| (Timestamp::from_secs(60 * i), if i < 20 { 1.0 } else { 5.0 }))
///     .collect();
/// let alarm = Timestamp::from_secs(60 * 25);
/// assert_eq!(onset_of(&points, alarm), Some(Timestamp::from_secs(60 * 20)));
/// ```
pub fn onset_of(points: &[(Timestamp, f64)], alarm: Timestamp) -> Option<Timestamp> {
    let until = points.partition_point(|(at, _)| *at <= alarm);
    let from = until.saturating_sub(MAX_POINTS);
    let points = points[from..until]
        .iter()
        .filter(|(_, value)| value.is_finite());
    let points: Vec<_> = points.copied().collect();
    let level = Level::of(points.iter().map(|(_, value)| *value), 2 * MIN_SIDE, 0.0)?;
    // Beyond a hundred scales nothing gets more different, and no single point outweighs the rest.
    let z: Vec<f64> = points
        .iter()
        .map(|(_, v)| level.z(*v).clamp(-100.0, 100.0))
        .collect();
    let all: f64 = z.iter().sum();
    let n = z.len() as f64;
    let mut before = 0.0;
    let mut best: Option<(f64, usize)> = None;
    for (idx, value) in z.iter().enumerate() {
        if idx >= MIN_SIDE {
            let left = idx as f64;
            let apart = (all - before) / (n - left) - before / left;
            let weight = apart.abs() * (left * (n - left) / n).sqrt();
            if best.is_none_or(|(known, _)| weight > known) {
                best = Some((weight, idx));
            }
        }
        before += value;
    }
    let (weight, idx) = best?;
    (weight > 3.0).then(|| points[idx].0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(value: impl Fn(i64) -> f64) -> Vec<(Timestamp, f64)> {
        (0..40)
            .map(|i| (Timestamp::from_secs(i), value(i)))
            .collect()
    }

    #[test]
    fn a_fall_and_a_rise_are_dated_and_what_comes_after_the_alarm_is_not_seen() {
        let fall = points(|i| if i < 25 { 9.0 } else { 1.0 });
        assert_eq!(
            onset_of(&fall, Timestamp::from_secs(35)),
            Some(Timestamp::from_secs(25))
        );
        assert_eq!(onset_of(&fall, Timestamp::from_secs(20)), None);
    }

    #[test]
    fn a_level_has_no_onset_and_neither_has_nonsense() {
        let end = Timestamp::from_secs(100);
        assert_eq!(onset_of(&points(|_| 4.0), end), None);
        assert_eq!(onset_of(&points(|_| f64::NAN), end), None);
        assert_eq!(onset_of(&[], end), None);
    }
}
