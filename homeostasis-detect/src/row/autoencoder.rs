//! Autoencoder: what a narrow network cannot give back is anomalous.

use homeostasis_core::stage::{DetectError, RowDetector, RowScore, Rows};
use homeostasis_core::{ConfigError, Rng, Timestamp, Violations};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::calibration::{self, Calibration};
use super::network::{Adam, Network};
use super::scaler::Scaler;
use crate::{check, state};

/// The hidden layers.
const LAYERS: [usize; 5] = [64, 32, 16, 32, 64];
const MAX_WIDTH: usize = 256;
const MIN_ROWS: usize = 32;
/// Of more rows this many are drawn.
const MAX_ROWS: usize = 20_000;
const BATCH: usize = 32;
/// About how many multiplications a piece of learning may take.
const PIECE: usize = 1 << 23;

/// How an [`Autoencoder`] learns and when it alarms.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AutoencoderConfig {
    /// How often every row is learned; default 20, range 1 to 1000.
    pub epochs: u32,
    /// The step of Adam; default 0.001, range `0 < learning_rate <= 0.1`.
    pub learning_rate: f32,
    /// The share of the learned rows beyond the limit; default 0.05, range `0 < contamination < 0.5`.
    pub contamination: f64,
    /// The least standard deviation of a feature, in its unit; default 1e-6, above 0.
    pub resolution: f64,
    /// Where chance comes from; default 0. The same seed and rows give the same network.
    pub seed: u64,
}

impl Default for AutoencoderConfig {
    fn default() -> Self {
        Self {
            epochs: 20,
            learning_rate: 1e-3,
            contamination: 0.05,
            resolution: 1e-6,
            seed: 0,
        }
    }
}

/// Judges a row by how badly a network gives it back that had to pass usual rows through 16 numbers.
///
/// For many features whose relations are bent; where they are straight a [`PcaResidual`](crate::PcaResidual)
/// sees the same for a thousandth of the cost.
///
/// Features are centered, scaled by their standard deviation and clipped to ±20. Five hidden layers of 64, 32, 16, 32
/// and 64 rectified units learn to give them back: least squares, Adam, 32 rows a step, in an order drawn
/// anew for every epoch. The statistic is the mean squared error of a row; the limit is what the share
/// `contamination` of the learned rows exceeds. Contributions are the squared errors.
///
/// *Missing values:* NaN and infinities go in as the mean and are left out of the error.
/// *Rows:* at least 32; of more than 20 000, 20 000 are drawn and learned. Width 1 to 256. Nothing is learned from
/// single rows, so late and repeated ones are scored like others. *Cost:* `128 · width + 5120` multiplications
/// a row, three times that to learn one once; four bytes for each of as many weights.
///
/// Source: G. E. Hinton, R. R. Salakhutdinov, *Reducing the dimensionality of data with neural networks*,
/// Science 313 (2006); error as anomaly: M. Sakurada, T. Yairi, *Anomaly detection using autoencoders with
/// nonlinear dimensionality reduction*, MLSDA 2014.
///
/// # Examples
/// ```
/// use homeostasis::core::stage::{RowDetector, Rows};
/// use homeostasis::core::Timestamp;
/// use homeostasis::detect::{Autoencoder, AutoencoderConfig};
///
/// let past: Vec<f64> = (0..400)
///     .flat_map(|i| { let x = (f64::from(i) * 0.1).sin(); [x, x * x, -x] })
///     .collect();
/// let mut network = Autoencoder::new(AutoencoderConfig::default())?;
/// network.fit(Rows::new(&past, 3)?)?;
/// let usual = network.update(Timestamp::from_secs(0), &[0.6, 0.36, -0.6])?;
/// let odd = network.update(Timestamp::from_secs(1), &[0.6, 0.36, 3.0])?;
/// assert!(odd.surprise > usual.surprise && odd.score.get() > 0.5);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Autoencoder {
    config: AutoencoderConfig,
    state: State,
    training: Option<Training>,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    model: Option<Model>,
    /// The squared errors of the last row.
    errors: Vec<f64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Model {
    scaler: Scaler,
    network: Network,
    calibration: Calibration,
}

#[derive(Debug, Clone, PartialEq)]
struct Training {
    values: Vec<f64>,
    scaler: Scaler,
    adam: Adam,
    rng_seed: u64,
    epoch: u32,
    order: Vec<usize>,
    /// Rows of this epoch that were learned; then rows whose error is known.
    n_done: usize,
    errors: Vec<f64>,
}

impl Autoencoder {
    /// A network that has learned nothing yet.
    ///
    /// # Errors
    /// Every field of `config` outside its range, below `autoencoder`.
    pub fn new(config: AutoencoderConfig) -> Result<Self, ConfigError> {
        let mut found = Violations::new();
        let holds = (1..=1000).contains(&config.epochs);
        check::that(
            &mut found,
            holds,
            "autoencoder.epochs",
            config.epochs,
            "1 to 1000 epochs",
        );
        let rate = config.learning_rate;
        let holds = rate > 0.0 && rate <= 0.1;
        check::that(
            &mut found,
            holds,
            "autoencoder.learning_rate",
            rate,
            "0 < learning_rate <= 0.1",
        );
        calibration::check_share(
            &mut found,
            "autoencoder.contamination",
            config.contamination,
        );
        check::positive(&mut found, "autoencoder.resolution", config.resolution);
        found.into_result(Self {
            config,
            state: State::default(),
            training: None,
        })
    }

    /// The configuration.
    pub fn config(&self) -> &AutoencoderConfig {
        &self.config
    }
}

fn sizes(width: usize) -> Vec<usize> {
    [&[width], &LAYERS[..], &[width]].concat()
}

/// A row as the network takes it; missing values are means.
fn inputs(scaler: &Scaler, row: &[f64]) -> Vec<f32> {
    #[expect(clippy::cast_possible_truncation, reason = "clipped to ±20, rounded")]
    let input = |value: Option<f64>| value.unwrap_or(0.0) as f32;
    scaler.scaled(row).map(input).collect()
}

/// The squared error of each feature, 0 where it is missing.
fn errors(network: &Network, scaler: &Scaler, row: &[f64]) -> Vec<f64> {
    let inputs = inputs(scaler, row);
    let mut outputs = Vec::new();
    network.forward(&inputs, &mut outputs);
    let given = outputs.last().map_or(&[][..], Vec::as_slice);
    let error = |((given, wanted), value): ((&f32, &f32), &f64)| {
        if value.is_finite() {
            f64::from(given - wanted).powi(2)
        } else {
            0.0
        }
    };
    given.iter().zip(&inputs).zip(row).map(error).collect()
}

/// The mean over the features that are there.
fn mean(errors: &[f64], row: &[f64]) -> f64 {
    let n_known = row.iter().filter(|value| value.is_finite()).count();
    errors.iter().sum::<f64>() / n_known.max(1) as f64
}

impl Training {
    fn new(rows: Rows<'_>, config: &AutoencoderConfig) -> Self {
        let mut rng = Rng::from_seed(config.seed);
        let mut drawn: Vec<usize> = (0..rows.len()).collect();
        if drawn.len() > MAX_ROWS {
            shuffle(&mut drawn, &mut rng);
            drawn.truncate(MAX_ROWS);
        }
        let mut scaler = Scaler::new(rows.width());
        rows.iter().for_each(|row| scaler.learn(row));
        scaler.finish(config.resolution);
        let network = Network::new(&sizes(rows.width()), &mut rng);
        Self {
            values: drawn
                .iter()
                .flat_map(|row| rows.get(*row))
                .copied()
                .collect(),
            scaler,
            adam: Adam::new(network, config.learning_rate),
            rng_seed: rng.next_u64(),
            epoch: 0,
            order: (0..drawn.len()).collect(),
            n_done: 0,
            errors: Vec::new(),
        }
    }

    /// The next piece; the model when it is done.
    fn step(&mut self, config: &AutoencoderConfig) -> Option<Model> {
        let width = self.scaler.width();
        let rows = Rows::new(&self.values, width).ok()?;
        let n_rows = PIECE / (3 * (128 * width + 5120));
        if self.epoch < config.epochs {
            for _ in 0..n_rows.div_ceil(BATCH) {
                if self.n_done == 0 {
                    let mut rng = Rng::from_seed(self.rng_seed).fork(u64::from(self.epoch));
                    shuffle(&mut self.order, &mut rng);
                }
                let until = (self.n_done + BATCH).min(self.order.len());
                let batch = &self.order[self.n_done..until];
                let batch: Vec<_> = batch
                    .iter()
                    .map(|row| inputs(&self.scaler, rows.get(*row)))
                    .collect();
                self.adam.step(batch.iter().map(Vec::as_slice));
                self.n_done = until;
                if until == self.order.len() {
                    self.n_done = 0;
                    self.epoch += 1;
                    break;
                }
            }
            return None;
        }
        for row in rows.iter().skip(self.n_done).take(3 * n_rows) {
            let errors = errors(&self.adam.network, &self.scaler, row);
            self.errors.push(mean(&errors, row));
            self.n_done += 1;
        }
        (self.n_done == rows.len()).then(|| Model {
            scaler: self.scaler.clone(),
            network: self.adam.network.clone(),
            calibration: Calibration::of(&mut self.errors, config.contamination),
        })
    }
}

fn shuffle(order: &mut [usize], rng: &mut Rng) {
    for at in (1..order.len()).rev() {
        let other = usize::try_from(rng.below(at as u64 + 1)).unwrap_or(0);
        order.swap(at, other);
    }
}

impl RowDetector for Autoencoder {
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
            errors: Vec::new(),
        };
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
        let errors = errors(&model.network, &model.scaler, row);
        let score = model.calibration.judge(mean(&errors, row));
        self.state.errors = errors;
        Ok(score)
    }

    fn contributions(&self) -> Vec<f64> {
        self.state.errors.clone()
    }

    fn save(&self) -> Option<Value> {
        state::save(&self.state)
    }

    fn load(&mut self, stored: &Value) -> Result<(), DetectError> {
        const WHAT: &str = "state of an autoencoder";
        let stored: State = state::load(WHAT, stored)?;
        if let Some(model) = &stored.model {
            let width = model.scaler.width();
            let fits = (1..=MAX_WIDTH).contains(&width)
                && model.scaler.is_sound()
                && model.network.has(&sizes(width))
                && (stored.errors.is_empty() || stored.errors.len() == width);
            state::require(
                fits,
                WHAT,
                &format!("one network over 1 to {MAX_WIDTH} features"),
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

    fn network() -> Autoencoder {
        Autoencoder::new(AutoencoderConfig {
            epochs: 3,
            ..AutoencoderConfig::default()
        })
        .unwrap()
    }

    #[test]
    fn it_keeps_the_contract_of_rows() {
        testing::check(network);
    }

    #[test]
    fn a_bent_relation_that_breaks_is_found_and_its_features_named() {
        let mut rng = Rng::from_seed(8);
        let row = |_| {
            let x = 2.0 * rng.unit() - 1.0;
            [x, x * x, x.abs(), -x]
        };
        let past: Vec<f64> = (0..1500).flat_map(row).collect();
        let mut network = Autoencoder::new(AutoencoderConfig::default()).unwrap();
        network.fit(Rows::new(&past, 4).unwrap()).unwrap();
        let mut judge = |row: [f64; 4]| {
            (
                network.update(Timestamp::EPOCH, &row).unwrap(),
                network.contributions(),
            )
        };
        let (usual, _) = judge([0.5, 0.25, 0.5, -0.5]);
        // Every value is usual and no straight relation is broken.
        let (odd, _) = judge([0.0, 0.9, 0.0, 0.0]);
        assert!(
            usual.score.get() < 0.5 && odd.score.get() > 0.5,
            "{usual:?} {odd:?}"
        );
        let (_, parts) = judge([0.5, 0.25, 0.5, 3.0]);
        // The first and the last always were opposite.
        assert!(
            parts[0] + parts[3] > 5.0 * (parts[1] + parts[2]),
            "{parts:?}"
        );
    }

    #[test]
    fn every_field_out_of_range_is_named() {
        let error = Autoencoder::new(AutoencoderConfig {
            epochs: 0,
            learning_rate: f32::NAN,
            contamination: 0.0,
            resolution: -1.0,
            seed: 1,
        })
        .unwrap_err();
        assert_eq!(error.violations().len(), 4, "{error}");
    }
}
