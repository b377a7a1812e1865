//! ADWIN: a window that grows while nothing changes and forgets what was before a change.

use homeostasis_core::record::Expectation;
use homeostasis_core::stage::{DetectError, KernelScore, SeriesDetector};
use homeostasis_core::{ConfigError, Timestamp, Violations};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::hold::Hold;
use super::moments::Moments;
use crate::side::direction;
use crate::{check, scale, state};

/// How many buckets of one size there may be.
const PER_ROW: usize = 5;
/// How many sizes; the largest bucket has 2^20 samples.
const N_ROWS: usize = 21;
/// How many samples either part of a cut must have.
const MIN_PART: u64 = 5;

/// When an [`Adwin`] calls two parts of its window different.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdwinConfig {
    /// How probable a false cut may be at each check; default 0.002, range `0 < delta < 1`.
    pub delta: f64,
    /// After how many samples the window is checked; default 8, range 1 to 1 000 000.
    pub check_every: u32,
    /// The range of the values if it is known, such as 1 for a ratio; default that of the window. Above 0, at most 1e150.
    pub range: Option<f64>,
    /// For how many samples after it was found a change keeps its score; default 10, range 0 to 1 000 000.
    pub hold: u32,
    /// The least range assumed, in the unit of the series; default 1e-6, above 0.
    pub resolution: f64,
}

impl Default for AdwinConfig {
    fn default() -> Self {
        Self {
            delta: 0.002,
            check_every: 8,
            range: None,
            hold: 10,
            resolution: 1e-6,
        }
    }
}

/// ADWIN, the adaptive window: it keeps as many samples as have one mean, and says when the older ones no longer do.
///
/// For drift without a scale in time: it finds a large shift after some samples and a tiny one after thousands, with
/// a bound on false alarms that assumes no distribution.
/// The window is an exponential histogram: at most five buckets each of 1, 2, 4, ... samples, with their means,
/// sums of squares and extremes, so that some million samples take about a hundred buckets.
/// Each border between buckets that leaves five samples on either side is a possible cut. With `n0` and `n1` samples
/// there, `1/m = 1/n0 + 1/n1`, variance `v` and range `R` of the window, and `x = ln(2 · ln(n) / delta)`, the means differ
/// if they are more than `√(2 · v · x / m) + 2 · R · x / (3 · m)` apart, a Bernstein bound.
/// Everything before the border that shows most is then forgotten, and the change keeps its score for `hold` samples.
///
/// The surprise is the `x` at which the bound would just be reached, less `ln 2`: nats of a bound on the tail
/// probability. For a surprise of `s` limits the score is that of a deviation of `√s`, 0.5 at the bound; between checks
/// it is 0.
/// *Missing, late and huge values:* NaN and infinities are missing; what is not later than the last sample is not
/// learned; beyond ±1e150 values count as ±1e150. It counts samples, not time: a gap is nothing.
/// O(log n) time per check and after a million samples without a cut, O(1) amortized otherwise; at most 126 buckets of 40 bytes.
///
/// Source: A. Bifet and R. Gavaldà, *Learning from time-changing data with adaptive windowing*, SIAM International
/// Conference on Data Mining 2007 (ADWIN2). Its bound is for values from 0 to 1; here the second term is scaled by the
/// range, and all that is older than the border goes at once.
///
/// # Examples
/// ```
/// use homeostasis::core::stage::SeriesDetector;
/// use homeostasis::core::{Rng, Timestamp};
/// use homeostasis::detect::{Adwin, AdwinConfig};
///
/// let (mut adwin, mut rng) = (Adwin::new(AdwinConfig::default())?, Rng::from_seed(1));
/// let mut found = None;
/// for second in 0..2000 {
///     let level = if second < 1000 { 0.2 } else { 0.3 };
///     let judged = adwin.update(Timestamp::from_secs(second), Some(level + rng.unit()));
///     if judged.score.get() > 0.5 {
///         found = found.or(Some(second));
///     }
/// }
/// assert!(found.is_some_and(|second| second > 1000 && second < 1300));
/// assert!(adwin.len() < 1200);
/// # Ok::<(), homeostasis::core::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Adwin {
    config: AdwinConfig,
    state: State,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    /// Buckets of 1, 2, 4, ... samples, the oldest first in each row.
    rows: Vec<Vec<Bucket>>,
    /// All of them together, kept up sample by sample; merged anew at each check. `None` if that is to be done.
    whole: Option<Bucket>,
    hold: Hold,
    since_check: u32,
    last: Option<Timestamp>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Bucket {
    moments: Moments,
    least: f64,
    most: f64,
}

impl Bucket {
    fn with(self, other: Self) -> Self {
        Self {
            moments: self.moments.with(other.moments),
            least: self.least.min(other.least),
            most: self.most.max(other.most),
        }
    }
}

/// The border at which two parts differ most.
#[derive(Debug, Clone, Copy)]
struct Cut {
    /// The root of the nats at the bound, by the root of the nats allowed.
    ratio: f64,
    surprise: f64,
    /// How many buckets are older.
    n_older: usize,
    means: (f64, f64),
}

impl State {
    /// All buckets, oldest first.
    fn buckets(&self) -> impl DoubleEndedIterator<Item = Bucket> {
        self.rows.iter().rev().flatten().copied()
    }

    fn whole(&self) -> Option<Bucket> {
        self.whole.or_else(|| self.merged())
    }

    fn merged(&self) -> Option<Bucket> {
        self.buckets().reduce(Bucket::with)
    }

    fn push(&mut self, value: f64) {
        let mut moments = Moments::default();
        moments.add(value);
        let one = Bucket {
            moments,
            least: value,
            most: value,
        };
        self.whole = Some(self.whole().map_or(one, |whole| whole.with(one)));
        let mut up = Some(one);
        for row in 0..N_ROWS {
            let Some(bucket) = up.take() else { return };
            if self.rows.len() <= row {
                self.rows.push(Vec::with_capacity(PER_ROW + 1));
            }
            let row = &mut self.rows[row];
            row.push(bucket);
            if row.len() > PER_ROW {
                let (first, second) = (row.remove(0), row.remove(0));
                up = Some(first.with(second));
            }
        }
        // What does not fit the largest size is forgotten: it is older than a million samples.
        if up.is_some() {
            self.whole = None;
        }
    }

    fn forget(&mut self, n_older: usize) {
        self.whole = None;
        let mut left = n_older;
        while left > 0 {
            let Some(row) = self.rows.last_mut() else {
                return;
            };
            let gone = left.min(row.len());
            row.drain(..gone);
            left -= gone;
            if row.is_empty() {
                self.rows.pop();
            }
        }
    }
}

impl Adwin {
    /// An empty window.
    ///
    /// # Errors
    /// Every field of `config` outside its range, below `adwin`.
    pub fn new(config: AdwinConfig) -> Result<Self, ConfigError> {
        let mut found = Violations::new();
        let holds = config.delta > 0.0 && config.delta < 1.0;
        check::that(
            &mut found,
            holds,
            "adwin.delta",
            config.delta,
            "0 < delta < 1",
        );
        check::that(
            &mut found,
            (1..=1_000_000).contains(&config.check_every),
            "adwin.check_every",
            config.check_every,
            "1 to 1000000 samples",
        );
        if let Some(range) = config.range {
            let holds = range > 0.0 && range <= 1e150;
            check::that(
                &mut found,
                holds,
                "adwin.range",
                range,
                "a number above 0 and at most 1e150",
            );
        }
        check::that(
            &mut found,
            config.hold <= 1_000_000,
            "adwin.hold",
            config.hold,
            "0 to 1000000 samples",
        );
        check::positive(&mut found, "adwin.resolution", config.resolution);
        found.into_result(Self {
            config,
            state: State::default(),
        })
    }

    /// The configuration.
    pub fn config(&self) -> &AdwinConfig {
        &self.config
    }

    /// How many samples the window holds.
    pub fn len(&self) -> u64 {
        self.state.buckets().map(|bucket| bucket.moments.n).sum()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.state.rows.is_empty()
    }

    /// The mean of the window; `None` while it is empty.
    pub fn mean(&self) -> Option<f64> {
        self.state.whole().map(|whole| whole.moments.mean)
    }

    /// The cut at which the parts differ most; `None` if there is no place for one.
    fn cut(&self) -> Option<Cut> {
        let whole = self.state.merged()?;
        let n = whole.moments.n as f64;
        let range = self.config.range.unwrap_or(whole.most - whole.least);
        let range = range.max(scale::floor(whole.moments.mean, self.config.resolution));
        let allowed = (2.0 * n.ln() / self.config.delta).ln();
        // The newer part of each border, from the newest on.
        let newer: Vec<Moments> = self
            .state
            .buckets()
            .rev()
            .scan(Moments::default(), |sum, bucket| {
                *sum = bucket.moments.with(*sum);
                Some(*sum)
            })
            .collect();
        let mut older = Moments::default();
        let mut best: Option<Cut> = None;
        for (idx, bucket) in self.state.buckets().enumerate() {
            older = older.with(bucket.moments);
            let n_newer = newer.len() - idx - 1;
            let Some(newer) = n_newer.checked_sub(1).and_then(|idx| newer.get(idx)) else {
                break;
            };
            if older.n < MIN_PART || newer.n < MIN_PART {
                continue;
            }
            let m = 1.0 / (1.0 / older.n as f64 + 1.0 / newer.n as f64);
            let apart = (newer.mean - older.mean).abs();
            // √x of the x at which √(a·x) + b·x is that far.
            let (a, b) = (2.0 * whole.moments.variance() / m, 2.0 * range / (3.0 * m));
            let root = 2.0 * apart / (a.sqrt() + (a + 4.0 * b * apart).sqrt());
            let ratio = root / allowed.sqrt();
            if best.is_none_or(|best| ratio > best.ratio) {
                best = Some(Cut {
                    ratio,
                    surprise: (root * root - std::f64::consts::LN_2).max(0.0),
                    n_older: idx + 1,
                    means: (older.mean, newer.mean),
                });
            }
        }
        best
    }

    fn learn(&mut self, at: Timestamp, value: f64) -> Option<Cut> {
        self.state.last = Some(at);
        self.state.push(value);
        self.state.since_check = self.state.since_check.saturating_add(1);
        if self.state.since_check < self.config.check_every {
            return None;
        }
        self.state.since_check = 0;
        self.state.whole = self.state.merged();
        let first = self.cut()?;
        let mut cut = Some(first);
        while let Some(found) = cut.filter(|cut| cut.ratio > 1.0) {
            self.state.forget(found.n_older);
            cut = self.cut();
        }
        self.state.whole = self.state.merged();
        if first.ratio > 1.0 {
            let Cut {
                ratio,
                surprise,
                means,
                ..
            } = first;
            self.state.hold = Hold::begin(self.config.hold, ratio, surprise, means);
        }
        Some(first)
    }
}

impl SeriesDetector for Adwin {
    fn update(&mut self, at: Timestamp, value: Option<f64>) -> KernelScore {
        let bounds = self
            .state
            .whole()
            .filter(|whole| whole.moments.n >= 2 * MIN_PART);
        let bounds = bounds.map(|whole| {
            let width = 3.0 * whole.moments.sigma(self.config.resolution);
            (whole.moments.mean - width, whole.moments.mean + width)
        });
        let expected = Expectation::Between {
            low: bounds.map(|bounds| bounds.0),
            high: bounds.map(|bounds| bounds.1),
        };
        let Some(value) = scale::usable(value) else {
            return KernelScore::normal(expected);
        };
        let is_new = self.state.last.is_none_or(|last| at > last);
        let (kept, cut) = if is_new {
            (self.state.hold.step(), self.learn(at, value))
        } else {
            (self.state.hold.peek(), None)
        };
        let own = cut.map(|cut| (cut.ratio, cut.surprise, cut.means.1 - cut.means.0));
        let larger = [own, kept]
            .into_iter()
            .flatten()
            .reduce(|own, kept| if kept.0 > own.0 { kept } else { own });
        let (ratio, surprise, shift) = larger.unwrap_or_default();
        KernelScore {
            score: scale::score(ratio),
            surprise,
            direction: direction(shift),
            expected,
        }
    }

    fn explain(&self) -> Option<String> {
        let hold = &self.state.hold;
        hold.peek().map(|_| hold.explain())
    }

    fn heap_bytes(&self) -> usize {
        let rows = &self.state.rows;
        let buckets: usize = rows.iter().map(Vec::capacity).sum();
        rows.capacity() * size_of::<Vec<Bucket>>() + buckets * size_of::<Bucket>()
    }

    fn save(&self) -> Option<Value> {
        state::save(&self.state)
    }

    fn load(&mut self, value: &Value) -> Result<(), DetectError> {
        let loaded: State = state::load("state of adwin", value)?;
        let fits = |(idx, row): (usize, &Vec<Bucket>)| {
            let n = 1_u64 << idx;
            row.len() <= PER_ROW
                && row.iter().all(|bucket| {
                    bucket.moments.n == n && bucket.moments.can_be() && bucket.least <= bucket.most
                })
        };
        state::require(
            loaded.rows.len() <= N_ROWS && loaded.rows.iter().enumerate().all(fits),
            "state of adwin",
            "at most 21 rows of at most 5 buckets of 1, 2, 4, ... samples",
        )?;
        let n_samples: u64 = loaded.buckets().map(|bucket| bucket.moments.n).sum();
        let is_sum = |whole: Bucket| {
            whole.moments.n == n_samples && whole.moments.can_be() && whole.least <= whole.most
        };
        state::require(
            loaded.whole.is_none_or(is_sum),
            "state of adwin",
            &format!("a whole of the {n_samples} samples of the buckets"),
        )?;
        self.state = loaded;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use homeostasis_core::Rng;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    #[test]
    fn the_window_grows_without_bound_in_samples_and_with_bound_in_buckets() {
        let mut adwin = Adwin::new(AdwinConfig::default()).unwrap();
        let mut rng = Rng::from_seed(3);
        for second in 0..50_000 {
            let judged = adwin.update(at(second), Some(rng.unit()));
            assert!(judged.score.get() <= 0.5, "{second}");
        }
        assert_eq!(adwin.len(), 50_000);
        assert!((adwin.mean().unwrap() - 0.5).abs() < 0.01);
        assert!(adwin.state.buckets().count() < 90);
    }

    #[test]
    fn the_whole_window_is_known_without_merging_its_buckets() {
        for check_every in [8, 1_000_000] {
            let mut adwin = Adwin::new(AdwinConfig {
                check_every,
                ..AdwinConfig::default()
            })
            .unwrap();
            let mut rng = Rng::from_seed(9);
            for second in 0..5000 {
                let level = if second < 3000 { 0.0 } else { 4.0 };
                adwin.update(at(second), Some(level + rng.unit()));
                let (kept, merged) = (adwin.state.whole.unwrap(), adwin.state.merged().unwrap());
                let parts = |whole: Bucket| (whole.moments.n, whole.least, whole.most);
                assert_eq!(parts(kept), parts(merged), "{second}");
                let (kept, merged) = (kept.moments, merged.moments);
                assert!((kept.mean - merged.mean).abs() < 1e-12);
                assert!((kept.squares - merged.squares).abs() < 1e-9 * merged.squares.max(1.0));
            }
        }
    }

    #[test]
    fn the_cut_is_that_of_the_definition() {
        let config = AdwinConfig {
            check_every: 1_000_000,
            ..AdwinConfig::default()
        };
        let mut adwin = Adwin::new(config).unwrap();
        let values: Vec<f64> = (0..120_i32)
            .map(|i| f64::from(i * 7 % 11) / 10.0 + if i < 64 { 0.0 } else { 2.0 })
            .collect();
        for (second, value) in (0..).zip(&values) {
            adwin.update(at(second), Some(*value));
        }
        let cut = adwin.cut().unwrap();
        // By its definition over the same borders, from the values themselves.
        let sizes: Vec<usize> = adwin
            .state
            .buckets()
            .map(|bucket| usize::try_from(bucket.moments.n).unwrap())
            .collect();
        let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
        let all = mean(&values);
        let variance = mean(&values.iter().map(|x| (x - all).powi(2)).collect::<Vec<_>>());
        let range = values.iter().copied().fold(f64::MIN, f64::max)
            - values.iter().copied().fold(f64::MAX, f64::min);
        let x = (2.0 * 120.0_f64.ln() / 0.002).ln();
        let (mut border, mut best) = (0, f64::MIN);
        for size in &sizes[..sizes.len() - 1] {
            border += size;
            if border < 5 || values.len() - border < 5 {
                continue;
            }
            let (older, newer) = values.split_at(border);
            let m = 1.0 / (1.0 / older.len() as f64 + 1.0 / newer.len() as f64);
            let bound = (2.0 / m * variance * x).sqrt() + 2.0 / (3.0 * m) * range * x;
            best = best.max((mean(newer) - mean(older)).abs() - bound);
        }
        assert_eq!(cut.ratio > 1.0, best > 0.0);
        assert!(best > 0.0, "{best}");
    }

    #[test]
    fn every_field_out_of_range_is_named() {
        let error = Adwin::new(AdwinConfig {
            delta: 1.0,
            check_every: 0,
            range: Some(f64::NAN),
            hold: u32::MAX,
            resolution: 0.0,
        })
        .unwrap_err();
        assert_eq!(error.violations().len(), 5);
    }
}
