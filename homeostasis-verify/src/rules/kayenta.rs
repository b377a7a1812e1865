//! The judge of Kayenta: Mann-Whitney on the points of each metric, a score over all of them.

/// The 99 % quantile of the standard normal distribution: both sides of a 98 % interval.
const Z: f64 = 2.326_347_874_040_841;
/// How far the interval must keep from 0, as a part of the estimated shift.
const TOLERANCE: f64 = 0.25;

/// Which way of a metric is bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Up: errors, latency.
    Increase,
    /// Down: throughput.
    Decrease,
    /// Both.
    Either,
}

/// What becomes of points that are NaN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NanStrategy {
    /// They are left out.
    Remove,
    /// They are 0: no error was reported.
    Zero,
}

/// How a metric was classified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KayentaClass {
    /// No difference that counts.
    Pass,
    /// The canary is higher.
    High,
    /// The canary is lower.
    Low,
    /// An arm has no points.
    NoData,
}

/// One metric of Kayenta's judge.
///
/// Points of both arms, one per interval, are compared by the 98 % confidence interval of the shift
/// that belongs to the Mann-Whitney test, with the Hodges-Lehmann estimate of the shift: *high* if
/// the interval lies above a quarter of the estimate and the ratio of the means is at least
/// `allowed_increase`; *low* the other way round. Equal points pass.
///
/// Sources: M. Hollander, D. Wolfe and E. Chicken, *Nonparametric Statistical Methods*, 3rd ed.
/// 2014, sections 4.1 to 4.3 (test, estimate, interval, correction for ties); what Kayenta does with
/// them is from its public source. Deviation: the roots are found exactly, among the sorted
/// differences, and not by iteration; ties between the arms count at their point only.
///
/// O(n m log(n m)) for `n` and `m` points.
///
/// ```
/// use homeostasis::verify::rules::{Direction, KayentaClass, KayentaMetric};
/// let metric = KayentaMetric::new(Direction::Increase);
/// // Rare errors are not seen: half of the canary's intervals had some, none of the baseline's.
/// let class = metric.classify(&[0.0, 1.0, 2.0, 1.0, 0.0, 0.0], &[0.0; 6]);
/// assert_eq!(class, KayentaClass::Pass);
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct KayentaMetric {
    /// Which way is bad.
    pub direction: Direction,
    /// What becomes of NaN.
    pub nan: NanStrategy,
    /// Whether far points are left out first (fences of 3 interquartile ranges, but never inside of
    /// the 1st and the 99th percentile); off by default.
    pub remove_outliers: bool,
    /// The least ratio of the means that is high; 1 by default.
    pub allowed_increase: f64,
    /// The largest ratio of the means that is low; 1 by default.
    pub allowed_decrease: f64,
    /// Whether the canary fails if this metric does not pass.
    pub critical: bool,
}

impl KayentaMetric {
    /// A metric with the defaults.
    pub fn new(direction: Direction) -> Self {
        Self {
            direction,
            nan: NanStrategy::Remove,
            remove_outliers: false,
            allowed_increase: 1.0,
            allowed_decrease: 1.0,
            critical: false,
        }
    }

    /// Compares the points of the canary with those of the baseline.
    pub fn classify(&self, canary: &[f64], baseline: &[f64]) -> KayentaClass {
        let (canary, baseline) = (self.clean(canary), self.clean(baseline));
        if canary.is_empty() || baseline.is_empty() {
            return KayentaClass::NoData;
        }
        if canary == baseline {
            return KayentaClass::Pass;
        }
        let Some(shift) = Shift::between(&canary, &baseline) else {
            return KayentaClass::Pass;
        };
        let mean = |points: &[f64]| points.iter().sum::<f64>() / points.len() as f64;
        let ratio = match (mean(&canary), mean(&baseline)) {
            (canary, 0.0) if canary > 0.0 => f64::INFINITY,
            (canary, baseline) => canary / baseline,
        };
        let bound = TOLERANCE * shift.estimate.abs();
        let looks = |direction| self.direction == direction || self.direction == Direction::Either;
        if looks(Direction::Increase) && shift.low > bound && ratio >= self.allowed_increase {
            KayentaClass::High
        } else if looks(Direction::Decrease)
            && shift.high < -bound
            && ratio <= self.allowed_decrease
        {
            KayentaClass::Low
        } else {
            KayentaClass::Pass
        }
    }

    /// Sorted numbers without NaN and, if asked for, without outliers.
    fn clean(&self, points: &[f64]) -> Vec<f64> {
        let mut clean: Vec<f64> = match self.nan {
            NanStrategy::Remove => points.iter().copied().filter(|x| !x.is_nan()).collect(),
            NanStrategy::Zero => points
                .iter()
                .map(|x| if x.is_nan() { 0.0 } else { *x })
                .collect(),
        };
        clean.sort_by(f64::total_cmp);
        if self.remove_outliers && !clean.is_empty() {
            let (low, high) = (percentile(&clean, 0.25), percentile(&clean, 0.75));
            let reach = 3.0 * (high - low);
            let low = (low - reach).min(percentile(&clean, 0.01));
            let high = (high + reach).max(percentile(&clean, 0.99));
            clean.retain(|x| (low..=high).contains(x));
        }
        clean
    }
}

/// Of sorted points, between the two nearest ones.
fn percentile(sorted: &[f64], p: f64) -> f64 {
    let at = p * (sorted.len() - 1) as f64;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 0 and the number of points"
    )]
    let below = at.floor() as usize;
    let above = (below + 1).min(sorted.len() - 1);
    sorted[below] + (at - at.floor()) * (sorted[above] - sorted[below])
}

/// How much higher the first arm is.
#[derive(Debug, Clone, Copy)]
struct Shift {
    low: f64,
    high: f64,
    estimate: f64,
}

impl Shift {
    /// `None` if all points are equal. Both are sorted.
    fn between(canary: &[f64], baseline: &[f64]) -> Option<Self> {
        let pairs = canary.len() as f64 * baseline.len() as f64;
        let all = (canary.len() + baseline.len()) as f64;
        let ties = ties(canary) + ties(baseline);
        let variance = pairs / 12.0 * ((all + 1.0) - ties / (all * (all - 1.0)));
        if variance.is_nan() || variance <= 0.0 {
            return None;
        }
        let deviation = libm::sqrt(variance);
        let mut differences: Vec<f64> = canary
            .iter()
            .flat_map(|high| baseline.iter().map(move |low| high - low))
            .collect();
        differences.sort_by(f64::total_cmp);
        // The statistic, with so many differences below the shift that is tried.
        let z = |n_below: usize| {
            let off = pairs / 2.0 - n_below as f64;
            let correction = if off == 0.0 { 0.0 } else { 0.5 * off.signum() };
            (off - correction) / deviation
        };
        // It falls with them, so where it comes down to `quantile` is found by halving.
        let root = |quantile: f64| {
            let (mut from, mut to) = (1, differences.len());
            while from < to {
                let middle = usize::midpoint(from, to);
                if z(middle) <= quantile {
                    to = middle;
                } else {
                    from = middle + 1;
                }
            }
            let here = differences[to - 1];
            // Flat at the quantile itself: the middle of that stretch.
            if z(to) == quantile {
                let mut end = to;
                while end < differences.len() && z(end) == quantile {
                    end += 1;
                }
                return f64::midpoint(here, differences[end.min(differences.len()) - 1]);
            }
            here
        };
        Some(Self {
            low: root(Z),
            high: root(-Z),
            estimate: root(0.0),
        })
    }
}

/// The sum of `t^3 - t` over groups of equal points.
fn ties(sorted: &[f64]) -> f64 {
    sorted
        .chunk_by(|a, b| a == b)
        .map(|group| {
            let t = group.len() as f64;
            t * t * t - t
        })
        .sum()
}

/// A group of metrics and what share of the score it has.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupScore {
    /// Its weight; those of all groups should add up to 100.
    pub weight: f64,
    /// Its metrics and whether each is critical.
    pub classes: Vec<(KayentaClass, bool)>,
}

/// The score of a canary, 0 to 100: the weighted sum of the share of metrics of each group that
/// pass.
///
/// It is 0 if a critical metric does not pass or at least half of all metrics have no data. Metrics
/// without data count in no group, and a group without any other counts as 100: that is how it is.
pub fn kayenta_score(groups: &[GroupScore]) -> f64 {
    let all: Vec<_> = groups.iter().flat_map(|group| &group.classes).collect();
    let n_empty = all
        .iter()
        .filter(|(class, _)| *class == KayentaClass::NoData)
        .count();
    let critical = all
        .iter()
        .any(|(class, critical)| *critical && *class != KayentaClass::Pass);
    if critical || (!all.is_empty() && n_empty * 2 >= all.len()) {
        return 0.0;
    }
    let weights: f64 = groups.iter().map(|group| group.weight).sum();
    let score = |group: &GroupScore| {
        let n = |class| group.classes.iter().filter(|(c, _)| *c == class).count() as f64;
        let passed = n(KayentaClass::Pass);
        let judged = passed + n(KayentaClass::High) + n(KayentaClass::Low);
        if judged == 0.0 {
            100.0
        } else {
            100.0 * passed / judged
        }
    };
    let sum: f64 = groups.iter().map(|group| group.weight * score(group)).sum();
    if weights > 0.0 { sum / weights } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use KayentaClass::{High, Low, NoData, Pass};

    fn class(canary: &[f64], baseline: &[f64]) -> KayentaClass {
        KayentaMetric::new(Direction::Either).classify(canary, baseline)
    }

    #[test]
    fn the_published_complaints_come_out_as_published() {
        // spinnaker/spinnaker issue 6278: seven of ten points at 100 pass, eight are high.
        let points = |n_high: usize| -> Vec<f64> {
            (0..10)
                .map(|i| if i < n_high { 100.0 } else { 1.0 })
                .collect()
        };
        assert_eq!(class(&points(7), &[1.0; 10]), Pass);
        assert_eq!(class(&points(8), &[1.0; 10]), High);
        // spinnaker/kayenta issue 426: rare errors pass.
        assert_eq!(class(&[0.0, 1.0, 2.0, 1.0, 0.0, 0.0], &[0.0; 6]), Pass);
        // spinnaker/kayenta issue 780, case 1: a change of the spread passes.
        let wide = [
            1.0, 100.0, 4.0, 101.0, 5.0, 102.0, 6.0, 103.0, 7.0, 104.0, 8.0, 105.0, 9.0, 106.0,
            17.0,
        ];
        let narrow = [
            10.0, 10.1, 10.2, 10.3, 10.4, 10.5, 10.6, 17.0, 17.1, 17.2, 17.3, 17.4, 17.5, 17.6,
            17.7,
        ];
        assert_eq!(class(&narrow, &wide), Pass);
    }

    #[test]
    fn the_published_shift_is_found() {
        // The numbers of issue 6278: interval 0.00007 to 99, estimate 98.9999.
        let mut canary = [100.0; 10];
        canary[..3].fill(1.0);
        let shift = Shift::between(&canary, &[1.0; 10]).unwrap();
        assert!(shift.low.abs() < 1e-3, "{shift:?}");
        assert!((shift.high - 99.0).abs() < 1e-3, "{shift:?}");
        assert!((shift.estimate - 99.0).abs() < 1e-3, "{shift:?}");
    }

    #[test]
    fn the_interval_agrees_with_the_stored_reference() {
        #[derive(Debug, serde::Deserialize)]
        struct Row {
            canary: Vec<f64>,
            baseline: Vec<f64>,
            low: f64,
            high: f64,
            estimate: f64,
        }
        let rows: Vec<Row> =
            serde_json::from_str(include_str!("../../testdata/mann_whitney.json")).unwrap();
        assert!(rows.len() >= 20);
        for row in rows {
            let sorted = |points: &[f64]| {
                let mut points = points.to_vec();
                points.sort_by(f64::total_cmp);
                points
            };
            let shift = Shift::between(&sorted(&row.canary), &sorted(&row.baseline)).unwrap();
            for (found, expected) in [
                (shift.low, row.low),
                (shift.high, row.high),
                (shift.estimate, row.estimate),
            ] {
                assert!(
                    (found - expected).abs() < 2e-3,
                    "{found}, expected {expected}: {row:?}"
                );
            }
        }
    }

    #[test]
    fn directions_and_missing_points_count() {
        let (low, high) = (
            [1.0, 2.0, 3.0, 2.5, 1.5, 2.2],
            [11.0, 12.0, 13.0, 12.5, 11.5, 12.2],
        );
        assert_eq!(class(&high, &low), High);
        assert_eq!(class(&low, &high), Low);
        let up = KayentaMetric::new(Direction::Increase);
        assert_eq!(up.classify(&low, &high), Pass);
        let generous = KayentaMetric {
            allowed_increase: 10.0,
            ..up
        };
        assert_eq!(generous.classify(&high, &low), Pass);
        assert_eq!(class(&[], &low), NoData);
        assert_eq!(class(&[f64::NAN; 6], &low), NoData);
        let zero = KayentaMetric {
            nan: NanStrategy::Zero,
            ..up
        };
        assert_eq!(zero.classify(&high, &[f64::NAN; 6]), High);
        assert_eq!(class(&[3.0; 5], &[3.0; 7]), Pass);
    }

    #[test]
    fn outliers_are_left_out_only_if_asked_for() {
        let metric = KayentaMetric {
            remove_outliers: true,
            ..KayentaMetric::new(Direction::Either)
        };
        let mut points: Vec<f64> = (0..200).map(|i| f64::from(i % 7)).collect();
        points.push(1e6);
        assert_eq!(metric.clean(&points).len(), 200);
        assert_eq!(
            KayentaMetric::new(Direction::Either).clean(&points).len(),
            201
        );
    }

    #[test]
    fn the_score_is_a_weighted_share_and_missing_data_end_it() {
        let group = |weight, classes: &[KayentaClass]| GroupScore {
            weight,
            classes: classes.iter().map(|class| (*class, false)).collect(),
        };
        let score = kayenta_score(&[group(75.0, &[Pass, High]), group(25.0, &[Pass])]);
        assert!((score - 62.5).abs() < 1e-9);
        let with_gap = kayenta_score(&[group(50.0, &[Pass, High, Pass]), group(50.0, &[NoData])]);
        assert!(
            (with_gap - (50.0 * 200.0 / 3.0 + 5000.0) / 100.0).abs() < 1e-9,
            "{with_gap}"
        );
        assert_eq!(kayenta_score(&[group(100.0, &[Pass, NoData])]), 0.0);
        let critical = GroupScore {
            weight: 100.0,
            classes: vec![(Pass, false), (High, true)],
        };
        assert_eq!(kayenta_score(&[critical]), 0.0);
        assert_eq!(kayenta_score(&[]), 0.0);
    }
}
