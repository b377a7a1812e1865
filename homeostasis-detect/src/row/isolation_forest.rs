//! Isolation forest: what is easily separated from the rest is anomalous.

use homeostasis_core::stage::{DetectError, RowDetector, RowScore, Rows};
use homeostasis_core::{ConfigError, Rng, Timestamp, Violations};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::calibration::{self, Calibration};
use super::isolation_tree::{self as tree, MAX_VALUE, N_LEAVES, N_NODES, Sample, Trees};
use crate::{check, state};

/// The widest row; a node has one byte for its feature.
const MAX_WIDTH: usize = 256;
const MIN_ROWS: usize = 16;
/// How many rows the limit is taken from at most.
const N_CALIBRATED: usize = 3200;
/// What the bulk of a feature leaves out at each end; the next one if nothing varies in it.
const TAILS: [f64; 3] = [0.1, 0.01, 0.001];
/// How many times its width beyond the bulk values are still told apart.
const REACH: f64 = 1000.0;
/// How many trees and rows are done in one piece of learning.
const TREES_PER_PIECE: usize = 64;

/// How an [`IsolationForest`] grows and when it alarms.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IsolationForestConfig {
    /// How many trees; default 100, range 1 to 1000. More make scores steadier and slower.
    pub n_trees: usize,
    /// How many rows each tree is grown from; default 256, range 2 to 256. More hide anomalies among each other.
    pub n_samples: usize,
    /// The share of the learned rows beyond the limit; default 0.01, range `0 < contamination < 0.5`.
    pub contamination: f64,
    /// Where chance comes from; default 0. The same seed and rows give the same forest.
    pub seed: u64,
}

impl Default for IsolationForestConfig {
    fn default() -> Self {
        Self {
            n_trees: 100,
            n_samples: N_LEAVES,
            contamination: 0.01,
            seed: 0,
        }
    }
}

/// Judges a row by how few random cuts separate it from the rows that were learned.
///
/// For many features without a known shape; it sees odd combinations only where they leave the crowd.
///
/// Each tree cuts a sample of rows at a random feature and a random threshold, again and again; with `h` the
/// depth at which a row ends up, plus the expected depth `c(n)` of a search tree among the `n` rows it ends up
/// with, the anomaly is `s = 2^(-mean(h) / c(n_samples))`: near 1 is an anomaly, 0.5 and below is not.
/// The limit is the value of `s` that the share `contamination` of the learned rows exceeds.
///
/// *Missing and odd values:* NaN and infinities count as the median of the sample; a value beyond all that
/// were learned counts as the outermost one, and so does one further than 1000 times the range of the middle 80 % of
/// them from it; values closer than 2^-24 of what is left of the range are equal;
/// features that did not vary are not looked at.
/// *Memory:* 1.6 kB for each tree; *time:* some 0.5 µs a row with 100 trees, whatever the width (1 to 256).
/// Nothing is learned from single rows, so late and repeated ones are scored like others.
///
/// Source: F. T. Liu, K. M. Ting, Z.-H. Zhou, *Isolation Forest*, ICDM 2008, algorithms 1 to 3 and equations 1 and
/// 2, with their default sizes. Deviations: the harmonic number is exact; a feature that does not vary in a
/// branch is drawn again.
///
/// # Examples
/// ```
/// use homeostasis::core::stage::{RowDetector, Rows};
/// use homeostasis::core::{Rng, Timestamp};
/// use homeostasis::detect::{IsolationForest, IsolationForestConfig};
///
/// let mut rng = Rng::from_seed(1);
/// let mut bell = || (0..4).map(|_| rng.unit()).sum::<f64>();
/// let past: Vec<f64> = (0..1200).map(|_| bell()).collect();
/// let mut forest = IsolationForest::new(IsolationForestConfig::default())?;
/// forest.fit(Rows::new(&past, 2)?)?;
/// let now = Timestamp::from_secs(600);
/// assert!(forest.update(now, &[2.1, 1.9])?.score.get() < 0.5);
/// assert!(forest.update(now, &[0.1, 3.9])?.score.get() > 0.5);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct IsolationForest {
    config: IsolationForestConfig,
    state: State,
    training: Option<Training>,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    model: Option<Model>,
    /// The last row, as words.
    last: Vec<u32>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Model {
    features: Vec<Feature>,
    nodes: Vec<u32>,
    leaves: Vec<u16>,
    /// `c(n)` of the sample of a tree.
    usual_path: f64,
    calibration: Calibration,
}

/// How a value becomes 24 bits: 0 at `low`, all ones at the highest.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Feature {
    low: f64,
    per_unit: f64,
    median: u32,
}

impl Feature {
    fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.filter(|value| value.is_finite()).collect();
        let least = values.iter().copied().fold(f64::INFINITY, f64::min);
        let greatest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        // A few wild values would take all bits for themselves.
        let mut bulk = |tail| {
            let low = calibration::quantile(&mut values, tail);
            (low, calibration::quantile(&mut values, 1.0 - tail))
        };
        let bulks = TAILS.map(&mut bulk);
        let (low, high) = bulks.into_iter().find(|(low, high)| low < high).map_or(
            (least, greatest),
            |(low, high)| {
                let reach = REACH * (high - low);
                (least.max(low - reach), greatest.min(high + reach))
            },
        );
        // A range beyond the largest number is as good as none.
        let per_unit = f64::from(MAX_VALUE) / (high - low);
        let varies = per_unit.is_finite() && per_unit > 0.0;
        let mut feature = Self {
            low: if low.is_finite() { low } else { 0.0 },
            per_unit: if varies { per_unit } else { 0.0 },
            median: 0,
        };
        feature.median = feature.value(calibration::quantile(&mut values, 0.5));
        feature
    }

    fn value(self, value: f64) -> u32 {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "`as` saturates at both ends of u32, which is what is wanted"
        )]
        let units = ((value - self.low) * self.per_unit) as u32;
        if value.is_finite() {
            units.min(MAX_VALUE)
        } else {
            self.median
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
struct Training {
    /// The rows of the first tree, then those of the second, and so on.
    pool: Vec<f64>,
    width: usize,
    rows_per_tree: usize,
    features: Vec<Feature>,
    values: Vec<u32>,
    nodes: Vec<u32>,
    leaves: Vec<u16>,
}

impl IsolationForest {
    /// A forest that has learned nothing yet.
    ///
    /// # Errors
    /// Every field of `config` outside its range, below `isolation_forest`.
    pub fn new(config: IsolationForestConfig) -> Result<Self, ConfigError> {
        let mut found = Violations::new();
        check::that(
            &mut found,
            (1..=1000).contains(&config.n_trees),
            "isolation_forest.n_trees",
            config.n_trees,
            "1 to 1000 trees",
        );
        check::that(
            &mut found,
            (2..=N_LEAVES).contains(&config.n_samples),
            "isolation_forest.n_samples",
            config.n_samples,
            "2 to 256 rows",
        );
        let path = "isolation_forest.contamination";
        calibration::check_share(&mut found, path, config.contamination);
        found.into_result(Self {
            config,
            state: State::default(),
            training: None,
        })
    }

    /// The configuration.
    pub fn config(&self) -> &IsolationForestConfig {
        &self.config
    }

    /// The anomaly `s` of every row, `0..=1`, as the paper defines it, and nothing learned; some two
    /// million rows a second. Empty before the first fit.
    ///
    /// # Errors
    /// If the rows are not as wide as those it was fitted on.
    pub fn isolation(&self, rows: Rows<'_>) -> Result<Vec<f64>, DetectError> {
        let Some(model) = &self.state.model else {
            return Ok(Vec::new());
        };
        super::check_width(rows.width(), model.features.len())?;
        Ok(model.isolation(rows))
    }
}

/// Calls a function that is generic in the number of lanes with the least that holds a row of `width`.
macro_rules! with_lanes {
    ($width:expr, $call:ident ( $($argument:expr),* )) => {
        match $width {
            0..=8 => $call::<8>($($argument),*),
            9..=16 => $call::<16>($($argument),*),
            17..=32 => $call::<32>($($argument),*),
            33..=64 => $call::<64>($($argument),*),
            65..=128 => $call::<128>($($argument),*),
            _ => $call::<MAX_WIDTH>($($argument),*),
        }
    };
}

impl Model {
    fn trees(&self) -> Trees<'_> {
        Trees::new(&self.nodes, &self.leaves)
    }

    fn anomaly(&self, path: f64) -> f64 {
        (-path / self.usual_path).exp2()
    }

    fn isolation(&self, rows: Rows<'_>) -> Vec<f64> {
        let mut found = vec![0.0; rows.len()];
        with_lanes!(
            rows.width(),
            paths_of(self.trees(), &self.features, rows, &mut found)
        );
        for path in &mut found {
            *path = self.anomaly(*path);
        }
        found
    }

    fn isolation_of(&self, words: &[u32]) -> f64 {
        self.anomaly(with_lanes!(words.len(), path_of(self.trees(), words)))
    }
}

fn paths_of<const LANES: usize>(
    trees: Trees<'_>,
    features: &[Feature],
    rows: Rows<'_>,
    out: &mut [f64],
) {
    let mut block = tree::Block::<LANES>::new();
    let blocks = rows.values().chunks(tree::N_ROWS * rows.width());
    for (rows, out) in blocks.zip(out.chunks_mut(tree::N_ROWS)) {
        for (at, row) in rows.chunks_exact(features.len()).enumerate() {
            for ((feature, scale), value) in features.iter().enumerate().zip(row) {
                block.set(at, feature, tree::word(scale.value(*value)));
            }
        }
        trees.paths(&block, out);
    }
}

fn path_of<const LANES: usize>(trees: Trees<'_>, words: &[u32]) -> f64 {
    let mut row = [0; LANES];
    row[..words.len()].copy_from_slice(words);
    trees.path(&row)
}

impl Training {
    fn new(rows: Rows<'_>, config: &IsolationForestConfig) -> Self {
        let mut rng = Rng::from_seed(config.seed);
        let rows_per_tree = rows.len().min(config.n_samples);
        let mut order: Vec<usize> = (0..rows.len()).collect();
        let mut pool = Vec::with_capacity(config.n_trees * rows_per_tree * rows.width());
        for _ in 0..config.n_trees {
            for at in 0..rows_per_tree {
                let left = (order.len() - at) as u64;
                let drawn = usize::try_from(rng.below(left)).unwrap_or(0);
                order.swap(at, at + drawn);
                pool.extend_from_slice(rows.get(order[at]));
            }
        }
        Self {
            pool,
            width: rows.width(),
            rows_per_tree,
            features: Vec::new(),
            values: Vec::new(),
            nodes: Vec::new(),
            leaves: Vec::new(),
        }
    }

    /// The next piece; the model when it is done.
    fn step(&mut self, config: &IsolationForestConfig) -> Option<Model> {
        let rows = Rows::new(&self.pool, self.width).ok()?;
        if self.features.is_empty() {
            let feature = |at| Feature::of(rows.column(at));
            self.features = (0..self.width).map(feature).collect();
            let features = self.features.iter().cycle();
            let values = self.pool.iter().zip(features);
            self.values = values
                .map(|(value, feature)| feature.value(*value))
                .collect();
        }
        let size = self.rows_per_tree * self.width;
        let n_grown = self.leaves.len() / N_LEAVES;
        if n_grown < config.n_trees {
            let samples = self.values.chunks_exact(size).enumerate();
            for (index, values) in samples.skip(n_grown).take(TREES_PER_PIECE) {
                let sample = Sample {
                    values,
                    width: self.width,
                };
                let mut rng = Rng::from_seed(config.seed).fork(index as u64 + 1);
                tree::grow(sample, &mut rng, &mut self.nodes, &mut self.leaves);
            }
            return None;
        }
        let mut model = Model {
            features: std::mem::take(&mut self.features),
            nodes: std::mem::take(&mut self.nodes),
            leaves: std::mem::take(&mut self.leaves),
            usual_path: tree::expected_path(self.rows_per_tree),
            calibration: Calibration::of(&mut [], config.contamination),
        };
        let n_values = self.pool.len().min(N_CALIBRATED * self.width);
        let rows = Rows::new(&self.pool[..n_values], self.width).ok()?;
        let mut found = model.isolation(rows);
        model.calibration = Calibration::of(&mut found, config.contamination);
        Some(model)
    }
}

impl RowDetector for IsolationForest {
    /// Rows are drawn here, `n_trees · n_samples` of them; the others are not kept.
    fn begin(&mut self, rows: Rows<'_>) -> Result<(), DetectError> {
        super::check_rows(rows, MIN_ROWS, MAX_WIDTH)?;
        self.training = Some(Training::new(rows, &self.config));
        Ok(())
    }

    fn learn(&mut self) -> Result<bool, DetectError> {
        let Some(training) = &mut self.training else {
            return Ok(false);
        };
        let Some(model) = training.step(&self.config) else {
            return Ok(true);
        };
        self.training = None;
        self.state = State {
            model: Some(model),
            last: Vec::new(),
        };
        Ok(false)
    }

    fn update(&mut self, _: Timestamp, row: &[f64]) -> Result<RowScore, DetectError> {
        let State { model, last } = &mut self.state;
        let Some(model) = model else {
            return Ok(RowScore::default());
        };
        super::check_width(row.len(), model.features.len())?;
        if row.iter().all(|value| !value.is_finite()) {
            return Ok(RowScore::default());
        }
        last.clear();
        let values = row.iter().zip(&model.features);
        last.extend(values.map(|(value, feature)| tree::word(feature.value(*value))));
        Ok(model.calibration.judge(model.isolation_of(last)))
    }

    /// How much less anomalous the row would be with the median in place of the feature.
    fn contributions(&self) -> Vec<f64> {
        let State {
            model: Some(model),
            last,
        } = &self.state
        else {
            return Vec::new();
        };
        let mut words = last.clone();
        let found = model.isolation_of(&words);
        let without = last.iter().zip(&model.features).enumerate();
        without
            .map(|(at, (word, feature))| {
                words[at] = tree::word(feature.median);
                let otherwise = model.isolation_of(&words);
                words[at] = *word;
                (found - otherwise).max(0.0)
            })
            .collect()
    }

    fn save(&self) -> Option<Value> {
        state::save(&self.state)
    }

    fn load(&mut self, stored: &Value) -> Result<(), DetectError> {
        const WHAT: &str = "state of an isolation forest";
        let stored: State = state::load(WHAT, stored)?;
        if let Some(model) = &stored.model {
            let width = model.features.len();
            let n_trees = self.config.n_trees;
            let fits = (1..=MAX_WIDTH).contains(&width)
                && model.nodes.len() == n_trees * N_NODES
                && model.leaves.len() == n_trees * N_LEAVES
                && model.usual_path > 0.0
                && (stored.last.is_empty() || stored.last.len() == width);
            state::require(
                fits,
                WHAT,
                &format!("{n_trees} trees over 1 to {MAX_WIDTH} features"),
            )?;
        }
        self.state = stored;
        self.training = None;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::testing;
    use proptest::prelude::*;

    fn forest() -> IsolationForest {
        IsolationForest::new(IsolationForestConfig {
            n_trees: 25,
            ..IsolationForestConfig::default()
        })
        .unwrap()
    }

    #[test]
    fn it_keeps_the_contract_of_rows() {
        testing::check(forest);
    }

    #[test]
    fn a_row_outside_the_crowd_is_odder_and_the_feature_named() {
        let past = testing::noise(500, 5, 1);
        let mut forest = forest();
        forest.fit(Rows::new(&past, 5).unwrap()).unwrap();
        let usual = forest.update(Timestamp::EPOCH, &past[..5]).unwrap();
        let mut row = past[..5].to_vec();
        row[3] = 40.0;
        let odd = forest.update(Timestamp::EPOCH, &row).unwrap();
        assert!(odd.surprise > usual.surprise + 1.0, "{odd:?}, {usual:?}");
        let contributions = forest.contributions();
        let most = (0..5).max_by(|a, b| contributions[*a].total_cmp(&contributions[*b]));
        assert_eq!(most, Some(3), "{contributions:?}");
    }

    #[test]
    fn one_wild_value_in_the_past_blinds_no_feature() {
        let noise = testing::noise(1000, 1, 4);
        let mut past: Vec<f64> = noise.iter().map(|value| 1e9 + 1e7 * value).collect();
        for wild in [18_446_744_073_709_551_615.0, f64::MAX, f64::MIN] {
            past[500] = wild;
            let mut forest = forest();
            forest.fit(Rows::new(&past, 1).unwrap()).unwrap();
            let usual = forest.update(Timestamp::EPOCH, &[1e9]).unwrap();
            let odd = forest.update(Timestamp::EPOCH, &[8e9]).unwrap();
            assert!(odd.surprise > usual.surprise + 1.0, "{odd:?}, {usual:?}");
        }
    }

    #[test]
    fn about_the_named_share_of_learned_rows_is_beyond_the_limit() {
        let past = testing::noise(4000, 3, 2);
        let rows = Rows::new(&past, 3).unwrap();
        let config = IsolationForestConfig {
            contamination: 0.05,
            ..IsolationForestConfig::default()
        };
        let mut forest = IsolationForest::new(config).unwrap();
        forest.fit(rows).unwrap();
        let mut beyond = 0;
        for row in rows.iter() {
            beyond += u32::from(forest.update(Timestamp::EPOCH, row).unwrap().score.get() > 0.5);
        }
        assert!((140..=260).contains(&beyond), "{beyond} of 4000");
    }

    #[test]
    fn batches_say_the_same_as_single_rows() {
        for width in [1, 8, 9, 40, 70, 200] {
            let past = testing::noise(333, width, 3);
            let rows = Rows::new(&past, width).unwrap();
            let mut forest = forest();
            forest.fit(rows).unwrap();
            let batch = forest.isolation(rows).unwrap();
            let model = forest.state.model.clone().unwrap();
            for (row, batched) in rows.iter().zip(batch) {
                forest.update(Timestamp::EPOCH, row).unwrap();
                assert_eq!(model.isolation_of(&forest.state.last), batched);
            }
        }
    }

    #[test]
    fn every_field_out_of_range_is_named() {
        let error = IsolationForest::new(IsolationForestConfig {
            n_trees: 0,
            n_samples: 257,
            contamination: f64::NAN,
            seed: 0,
        })
        .unwrap_err();
        assert_eq!(error.violations().len(), 3, "{error}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn further_out_on_one_feature_is_never_less_anomalous(
            seed in any::<u64>(), near in 4.0_f64..50.0, more in 0.0_f64..50.0,
        ) {
            // Beyond the learned range every further value takes the same way through the trees.
            let past = testing::noise(300, 3, seed);
            let mut forest = forest();
            forest.fit(Rows::new(&past, 3).unwrap()).unwrap();
            let mut score = |value| forest.update(Timestamp::EPOCH, &[value, 0.0, 0.0]).unwrap().surprise;
            prop_assert!(score(near) <= score(near + more));
        }
    }
}
