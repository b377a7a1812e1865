//! Gaussian mixture: what none of several usual states makes likely is anomalous.

use homeostasis_core::stage::{DetectError, RowDetector, RowScore, Rows};
use homeostasis_core::{ConfigError, Timestamp, Violations};
use linfa::DatasetBase;
use linfa::traits::Fit as _;
use linfa_clustering::GaussianMixtureModel;
use ndarray::Array2;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::calibration::{self, Calibration};
use super::scaler::Scaler;
use crate::{check, state};

const MAX_WIDTH: usize = 64;
const MIN_ROWS: usize = 64;
/// Of more rows this many are learned, evenly spaced.
const MAX_ROWS: usize = 2000;
/// Added to every variance, in variances of the feature: what is usual is never infinitely narrow.
const LEAST_VARIANCE: f64 = 1e-3;

/// How a [`GaussianMixture`] learns and when it alarms.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GaussianMixtureConfig {
    /// How many states there are; default 3, range 1 to 16.
    pub n_states: usize,
    /// How often the states are improved at most; default 100, range 1 to 1000.
    pub max_iterations: u64,
    /// The share of the learned rows beyond the limit; default 0.01, range `0 < contamination < 0.5`.
    pub contamination: f64,
    /// The least standard deviation of a feature, in its unit; default 1e-6, above 0.
    pub resolution: f64,
}

impl Default for GaussianMixtureConfig {
    fn default() -> Self {
        Self {
            n_states: 3,
            max_iterations: 100,
            contamination: 0.01,
            resolution: 1e-6,
        }
    }
}

/// Judges a row by its likelihood under several usual states (idle, busy, backup …), each a normal distribution.
///
/// For components that switch between states, where one center with one spread is wrong for all of them.
///
/// Features are centered, scaled by their standard deviation and clipped to ±20; the mixture is learned by the crate
/// `linfa-clustering` with full covariances, from a k-means start with a fixed seed, so that the same rows give the same states.
/// The statistic is minus the logarithm of the density; the limit is what the share `contamination` of the
/// learned rows exceeds. Contributions are the parts of the Mahalanobis distance from the likeliest state.
///
/// *Missing values:* NaN and infinities count as the mean. *Rows:* at least 64; of more than 2000, 2000 evenly spaced
/// ones are learned. Width 1 to 64. Nothing is learned from single rows, so late and repeated ones are
/// scored like others.
/// **Warning:** the states are learned in one piece, which takes up to some seconds for 64 features, and uses rayon's global
/// threads; a host that cannot wait calls [`fit`](RowDetector::fit) on a thread of its own.
///
/// Source: C. M. Bishop, *Pattern Recognition and Machine Learning*, 2006, section 9.2.
///
/// # Examples
/// ```
/// use homeostasis::core::stage::{RowDetector, Rows};
/// use homeostasis::core::Timestamp;
/// use homeostasis::detect::{GaussianMixture, GaussianMixtureConfig};
///
/// // Idle or busy, with some noise.
/// let past: Vec<f64> = (0..400)
///     .flat_map(|i| { let busy = f64::from(i / 20 % 2); [busy + 0.01 * f64::from(i % 7), 9.0 * busy + 0.1 * f64::from(i % 5)] })
///     .collect();
/// let config = GaussianMixtureConfig { n_states: 2, ..GaussianMixtureConfig::default() };
/// let mut mixture = GaussianMixture::new(config)?;
/// mixture.fit(Rows::new(&past, 2)?)?;
/// let now = Timestamp::from_secs(0);
/// assert!(mixture.update(now, &[1.03, 9.2])?.score.get() < 0.5);
/// assert!(mixture.update(now, &[0.5, 4.5])?.score.get() > 0.5);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct GaussianMixture {
    config: GaussianMixtureConfig,
    state: State,
    training: Option<Training>,
}

#[derive(Debug, Clone, PartialEq)]
struct Training {
    values: Vec<f64>,
    scaler: Scaler,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    model: Option<Model>,
    parts: Vec<f64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Model {
    scaler: Scaler,
    states: Vec<Normal>,
    calibration: Calibration,
}

/// A normal distribution with its share.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Normal {
    /// The logarithm of its share and of its density at the mean.
    log_height: f64,
    mean: Vec<f64>,
    /// The lower Cholesky factor of the covariance, row after row.
    factor: Vec<f64>,
}

impl Normal {
    fn new(share: f64, mean: Vec<f64>, covariance: &[f64]) -> Option<Self> {
        let factor = cholesky(covariance, mean.len())?;
        let diagonal = factor.iter().step_by(mean.len() + 1);
        let log_volume: f64 = diagonal.map(|value| value.ln()).sum();
        let log_turn = 0.5 * mean.len() as f64 * std::f64::consts::TAU.ln();
        Some(Self {
            log_height: share.max(f64::MIN_POSITIVE).ln() - log_volume - log_turn,
            mean,
            factor,
        })
    }

    /// The distance from the mean in the coordinates in which the covariance is one.
    fn whitened(&self, row: &[f64]) -> Vec<f64> {
        let width = self.mean.len();
        let mut white: Vec<f64> = Vec::with_capacity(width);
        for (at, factors) in self.factor.chunks_exact(width).enumerate() {
            let known: f64 = factors.iter().zip(&white).map(|(a, b)| a * b).sum();
            white.push((row[at] - self.mean[at] - known) / factors[at]);
        }
        white
    }

    fn log_density(&self, row: &[f64]) -> f64 {
        let square: f64 = self.whitened(row).iter().map(|value| value * value).sum();
        self.log_height - 0.5 * square
    }

    /// The part of each feature in the squared Mahalanobis distance.
    fn parts(&self, row: &[f64]) -> Vec<f64> {
        let width = self.mean.len();
        let mut back = self.whitened(row);
        for at in (0..width).rev() {
            back[at] /= self.factor[at * width + at];
            for before in 0..at {
                back[before] -= self.factor[at * width + before] * back[at];
            }
        }
        let off = row.iter().zip(&self.mean).map(|(value, mean)| value - mean);
        off.zip(back)
            .map(|(off, back)| (off * back).max(0.0))
            .collect()
    }
}

/// The lower factor of a positive definite matrix.
fn cholesky(matrix: &[f64], n: usize) -> Option<Vec<f64>> {
    let mut factor = vec![0.0; n * n];
    for i in 0..n {
        for j in 0..=i {
            let done: f64 = (0..j).map(|k| factor[i * n + k] * factor[j * n + k]).sum();
            let left = matrix[i * n + j] - done;
            factor[i * n + j] = if i == j {
                left.sqrt()
            } else {
                left / factor[j * n + j]
            };
            if !factor[i * n + j].is_finite() || (i == j && left <= 0.0) {
                return None;
            }
        }
    }
    Some(factor)
}

impl GaussianMixture {
    /// A mixture that has learned nothing yet.
    ///
    /// # Errors
    /// Every field of `config` outside its range, below `gaussian_mixture`.
    pub fn new(config: GaussianMixtureConfig) -> Result<Self, ConfigError> {
        let mut found = Violations::new();
        let holds = (1..=16).contains(&config.n_states);
        check::that(
            &mut found,
            holds,
            "gaussian_mixture.n_states",
            config.n_states,
            "1 to 16 states",
        );
        let holds = (1..=1000).contains(&config.max_iterations);
        let path = "gaussian_mixture.max_iterations";
        check::that(&mut found, holds, path, config.max_iterations, "1 to 1000");
        let path = "gaussian_mixture.contamination";
        calibration::check_share(&mut found, path, config.contamination);
        check::positive(&mut found, "gaussian_mixture.resolution", config.resolution);
        found.into_result(Self {
            config,
            state: State::default(),
            training: None,
        })
    }

    /// The configuration.
    pub fn config(&self) -> &GaussianMixtureConfig {
        &self.config
    }
}

fn scaled(scaler: &Scaler, row: &[f64]) -> Vec<f64> {
    scaler
        .scaled(row)
        .map(|value| value.unwrap_or(0.0))
        .collect()
}

impl Model {
    /// Minus the logarithm of the density, by the sum of exponentials relative to the largest.
    fn statistic(&self, row: &[f64]) -> f64 {
        let logs: Vec<f64> = self
            .states
            .iter()
            .map(|state| state.log_density(row))
            .collect();
        let largest = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = logs.iter().map(|log| (log - largest).exp()).sum();
        -(largest + sum.ln())
    }

    fn likeliest(&self, row: &[f64]) -> Option<&Normal> {
        let density = |state: &&Normal| state.log_density(row);
        self.states
            .iter()
            .max_by(|a, b| density(a).total_cmp(&density(b)))
    }
}

impl Training {
    fn model(&self, config: &GaussianMixtureConfig) -> Result<Model, DetectError> {
        let width = self.scaler.width();
        let failed = |error: String| DetectError::invalid("rows of a Gaussian mixture", error);
        let rows = self.values.chunks_exact(width);
        let mut rows: Vec<Vec<f64>> = rows.map(|row| scaled(&self.scaler, row)).collect();
        let shape = (rows.len(), width);
        let values = Array2::from_shape_vec(shape, rows.concat());
        let values = values.map_err(|error| failed(error.to_string()))?;
        rows.sort_by(|a, b| {
            a.iter()
                .zip(b)
                .fold(std::cmp::Ordering::Equal, |so_far, (a, b)| {
                    so_far.then(a.total_cmp(b))
                })
        });
        rows.dedup();
        // More states than different rows cannot be told apart.
        let n_states = config.n_states.min(rows.len());
        let mixture = GaussianMixtureModel::params(n_states)
            .reg_covariance(LEAST_VARIANCE)
            .max_n_iterations(config.max_iterations)
            .fit(&DatasetBase::from(values.clone()))
            .map_err(|error| failed(error.to_string()))?;
        let parts = mixture.weights().iter().zip(mixture.means().outer_iter());
        let parts = parts.zip(mixture.covariances().outer_iter());
        let states = parts.map(|((share, mean), covariance)| {
            let covariance: Vec<f64> = covariance.iter().copied().collect();
            Normal::new(*share, mean.to_vec(), &covariance)
        });
        let states: Option<Vec<Normal>> = states.collect();
        let mut model = Model {
            scaler: self.scaler.clone(),
            states: states
                .ok_or_else(|| failed("a covariance is not positive definite".to_owned()))?,
            calibration: Calibration::of(&mut [], config.contamination),
        };
        let rows = values
            .outer_iter()
            .map(|row| model.statistic(&row.to_vec()));
        let mut found: Vec<f64> = rows.collect();
        model.calibration = Calibration::of(&mut found, config.contamination);
        Ok(model)
    }
}

impl RowDetector for GaussianMixture {
    fn begin(&mut self, rows: Rows<'_>) -> Result<(), DetectError> {
        super::check_rows(rows, MIN_ROWS, MAX_WIDTH)?;
        let mut scaler = Scaler::new(rows.width());
        rows.iter().for_each(|row| scaler.learn(row));
        scaler.finish(self.config.resolution);
        let n_kept = rows.len().min(MAX_ROWS);
        let kept = (0..n_kept).flat_map(|at| rows.get(at * rows.len() / n_kept));
        self.training = Some(Training {
            values: kept.copied().collect(),
            scaler,
        });
        Ok(())
    }

    fn learn(&mut self) -> Result<bool, DetectError> {
        if let Some(training) = self.training.take() {
            self.state = State {
                model: Some(training.model(&self.config)?),
                parts: Vec::new(),
            };
        }
        Ok(false)
    }

    fn update(&mut self, _: Timestamp, row: &[f64]) -> Result<RowScore, DetectError> {
        let Some(model) = &self.state.model else {
            return Ok(RowScore::default());
        };
        super::check_width(row.len(), model.scaler.width())?;
        if row.iter().all(|value| !value.is_finite()) {
            return Ok(RowScore::default());
        }
        let row = scaled(&model.scaler, row);
        let score = model.calibration.judge(model.statistic(&row));
        self.state.parts = model
            .likeliest(&row)
            .map_or_else(Vec::new, |state| state.parts(&row));
        Ok(score)
    }

    fn contributions(&self) -> Vec<f64> {
        self.state.parts.clone()
    }

    fn save(&self) -> Option<Value> {
        state::save(&self.state)
    }

    fn load(&mut self, stored: &Value) -> Result<(), DetectError> {
        const WHAT: &str = "state of a Gaussian mixture";
        let stored: State = state::load(WHAT, stored)?;
        if let Some(model) = &stored.model {
            let width = model.scaler.width();
            let is_sound = |state: &Normal| {
                state.mean.len() == width
                    && state.factor.len() == width * width
                    && state
                        .factor
                        .iter()
                        .step_by(width + 1)
                        .all(|value| *value > 0.0)
            };
            let fits = (1..=MAX_WIDTH).contains(&width)
                && model.scaler.is_sound()
                && (1..=self.config.n_states).contains(&model.states.len())
                && model.states.iter().all(is_sound)
                && (stored.parts.is_empty() || stored.parts.len() == width);
            let expected = format!(
                "1 to {} states of 1 to {MAX_WIDTH} features",
                self.config.n_states
            );
            state::require(fits, WHAT, &expected)?;
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

    fn mixture() -> GaussianMixture {
        GaussianMixture::new(GaussianMixtureConfig::default()).unwrap()
    }

    #[test]
    fn it_keeps_the_contract_of_rows() {
        testing::check(mixture);
    }

    #[test]
    fn between_two_states_is_odd_though_it_is_the_mean() {
        let noise = testing::noise(1000, 3, 31);
        let past: Vec<f64> = noise
            .chunks(3)
            .enumerate()
            .flat_map(|(at, row)| {
                let state = if at % 3 == 0 { 30.0 } else { 0.0 };
                [state + row[0], 2.0 * state + row[1], row[2]]
            })
            .collect();
        let config = GaussianMixtureConfig {
            n_states: 2,
            ..GaussianMixtureConfig::default()
        };
        let mut mixture = GaussianMixture::new(config).unwrap();
        mixture.fit(Rows::new(&past, 3).unwrap()).unwrap();
        let mut judge = |row: [f64; 3]| mixture.update(Timestamp::EPOCH, &row).unwrap().score.get();
        assert!(judge([0.0, 0.0, 0.0]) < 0.5 && judge([30.0, 60.0, 0.0]) < 0.5);
        assert!(judge([10.0, 20.0, 0.0]) > 0.5);
        assert!(judge([0.0, 60.0, 0.0]) > 0.5);
        let parts = mixture.contributions();
        assert!(parts[2] < parts[0].max(parts[1]), "{parts:?}");
    }

    #[test]
    fn one_state_is_a_normal_distribution() {
        // By hand: the density of a standard normal pair at (1, -1), and the factor of [[4, 2], [2, 5]].
        let normal = Normal::new(1.0, vec![0.0, 0.0], &[1.0, 0.0, 0.0, 1.0]).unwrap();
        let expected = -1.0 - std::f64::consts::TAU.ln();
        assert!((normal.log_density(&[1.0, -1.0]) - expected).abs() < 1e-12);
        assert_eq!(
            cholesky(&[4.0, 2.0, 2.0, 5.0], 2),
            Some(vec![2.0, 0.0, 1.0, 2.0])
        );
        assert_eq!(cholesky(&[1.0, 2.0, 2.0, 1.0], 2), None);
        let tilted = Normal::new(1.0, vec![1.0, 1.0], &[4.0, 2.0, 2.0, 5.0]).unwrap();
        let square: f64 = tilted
            .whitened(&[3.0, 0.0])
            .iter()
            .map(|value| value * value)
            .sum();
        assert!((tilted.parts(&[3.0, 0.0]).iter().sum::<f64>() - square).abs() < 1e-12);
    }

    #[test]
    fn every_field_out_of_range_is_named() {
        let error = GaussianMixture::new(GaussianMixtureConfig {
            n_states: 0,
            max_iterations: 0,
            contamination: 1.0,
            resolution: f64::INFINITY,
        })
        .unwrap_err();
        assert_eq!(error.violations().len(), 4, "{error}");
    }
}
