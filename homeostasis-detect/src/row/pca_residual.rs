//! Residuals of principal components, and sudden change: the relation between features breaks.

use std::collections::VecDeque;
use std::time::Duration;

use homeostasis_core::stage::{DetectError, RowDetector, RowScore, Rows};
use homeostasis_core::{ConfigError, Timestamp, Violations};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::calibration::{self, Calibration};
use super::pca_training::Training;
use super::scaler::{CLIP, Scaler};
use crate::{check, state};

/// Jacobi rotations of wider rows take too long for a piece of learning.
const MAX_WIDTH: usize = 128;
const MIN_ROWS: usize = 32;
/// The least standard deviation of a residual or a change, in standard deviations of the feature:
/// what is explained better than that is explained well enough.
pub(super) const FLOOR: f64 = 0.02;

/// How often missing values are set to what the components say; it comes closer each time.
pub(super) const N_COMPLETIONS: usize = 20;

/// How a [`PcaResidual`] judges and when it alarms.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PcaResidualConfig {
    /// The share of the variance the components keep; default 0.99, range `0 < variance < 1`.
    pub variance: f64,
    /// How many rows before it a row is compared with for sudden change; default 3, range 1 to 60.
    pub change_rows: usize,
    /// The weight of a new row in the smoothed statistic; default 0.25, range `0 < smoothing <= 1`.
    /// At 1 nothing is smoothed.
    pub smoothing: f64,
    /// The share of the learned rows beyond the limit; default 0.001, range `0 < contamination < 0.5`.
    pub contamination: f64,
    /// The least standard deviation of a feature, in its unit; default 1e-6, above 0.
    /// A feature that never moved is odd as soon as it moves by some of these.
    pub resolution: f64,
    /// Rows further apart than this are not compared for sudden change; default 30m, above 0.
    #[serde(with = "crate::duration_text")]
    pub max_gap: Duration,
}

impl Default for PcaResidualConfig {
    fn default() -> Self {
        Self {
            variance: 0.99,
            change_rows: 3,
            smoothing: 0.25,
            contamination: 0.001,
            resolution: 1e-6,
            max_gap: Duration::from_secs(1800),
        }
    }
}

/// Judges a row by two things: whether its features still belong together, and whether several change at once.
///
/// For the metrics of one component. It explains by the features that changed.
///
/// *Relation:* features are centered, scaled by their standard deviation and clipped to ±20; the principal
/// components that keep `variance` are taken off; what is left of each feature, in standard
/// deviations of what was left while learning, is squared and added up.
/// *Change:* the distance of each scaled feature from its mean over the last `change_rows` rows, in standard deviations
/// of that distance while learning, is squared and added up.
/// Both sums are exponentially smoothed, divided by their 99 % quantile while learning, and added.
/// The limit is what the share `contamination` of the learned rows exceeds. Contributions are the smoothed squares of the change: they name the features that left
/// their way first, while a residual spreads over all that used to go with them.
///
/// *Missing values:* NaN and infinities count as what the components say of them by the others, and add nothing;
/// beyond ±1e150 values count as ±1e150. *Late rows* are scored and not learned.
/// *Cost:* O(width · components) time and `8 · width · (components + change_rows + 8)` bytes; a window of `n`
/// rows is copied while it is learned. Width 1 to 128, at least 32 rows.
///
/// Sources: J. E. Jackson, G. S. Mudholkar, *Control procedures for residuals associated with principal
/// component analysis*, Technometrics 21 (1979) (the squared residual); H. H. Yue, S. J. Qin, *Reconstruction-based
/// fault identification using a combined index*, Ind. Eng. Chem. Res. 40 (2001), section 4 (statistics
/// divided by their limits and added). Deviations: residuals are scaled feature by feature, the
/// second statistic is of change, not of level, and limits are quantiles.
///
/// # Examples
/// ```
/// use homeostasis::core::stage::{RowDetector, Rows};
/// use homeostasis::core::Timestamp;
/// use homeostasis::detect::{PcaResidual, PcaResidualConfig};
///
/// let past: Vec<f64> = (0..600)
///     .flat_map(|i| { let x = (f64::from(i) * 0.1).sin(); [x, -x + 0.01 * f64::from(i % 7), 2.0 * x] })
///     .collect();
/// let mut kernel = PcaResidual::new(PcaResidualConfig::default())?;
/// kernel.fit(Rows::new(&past, 3)?)?;
/// assert!(kernel.update(Timestamp::from_secs(0), &[0.5, -0.47, 1.0])?.score.get() < 0.5);
/// // Every value is usual, but they do not belong together.
/// assert!(kernel.update(Timestamp::from_secs(10), &[0.5, 0.5, 1.0])?.score.get() > 0.5);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct PcaResidual {
    config: PcaResidualConfig,
    state: State,
    training: Option<Training>,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    model: Option<Model>,
    track: Track,
    /// The smoothed squares behind both statistics.
    relation: f64,
    change: f64,
    parts: Vec<f64>,
    /// The same squares after the last row that was scored, which may have been late.
    shown: Vec<f64>,
    last: Option<Timestamp>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Model {
    pub(super) basis: Basis,
    pub(super) residual_deviation: Vec<f64>,
    pub(super) change_deviation: Vec<f64>,
    pub(super) relation_unit: f64,
    pub(super) change_unit: f64,
    pub(super) calibration: Calibration,
}

/// What rows are measured in.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Basis {
    pub(super) scaler: Scaler,
    /// Orthonormal rows.
    pub(super) components: Vec<f64>,
}

/// The rows before the next one, scaled.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Track {
    /// The last known values; the means before any.
    known: Vec<f64>,
    /// At most `change_rows` rows, oldest first.
    history: VecDeque<Vec<f64>>,
}

/// A row, scaled, with what is left of it and how far it is from those before it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Measured {
    pub(super) scaled: Vec<f64>,
    pub(super) residuals: Vec<f64>,
    pub(super) changes: Vec<f64>,
}

impl Basis {
    pub(super) fn width(&self) -> usize {
        self.scaler.width()
    }

    pub(super) fn scaled(&self, track: &Track, row: &[f64]) -> Vec<f64> {
        let known = track.known.iter().copied().chain(std::iter::repeat(0.0));
        let scaled = self.scaler.scaled(row).zip(known);
        let scaled = scaled.map(|(value, known)| value.unwrap_or(known));
        scaled.collect()
    }

    /// What the components leave of a scaled row.
    fn residuals(&self, scaled: &[f64]) -> Vec<f64> {
        let mut residuals = scaled.to_vec();
        for component in self.components.chunks_exact(self.width().max(1)) {
            let length: f64 = component.iter().zip(scaled).map(|(a, b)| a * b).sum();
            for (residual, part) in residuals.iter_mut().zip(component) {
                *residual -= length * part;
            }
        }
        residuals
    }

    pub(super) fn measure(&self, track: &Track, row: &[f64]) -> Measured {
        let mut scaled = self.scaled(track, row);
        let mut residuals = self.residuals(&scaled);
        let is_missing = |value: &f64| !value.is_finite();
        if row.iter().any(is_missing) {
            for _ in 0..N_COMPLETIONS {
                let values = scaled.iter_mut().zip(&residuals).zip(row);
                for ((value, residual), _) in values.filter(|(_, found)| is_missing(found)) {
                    *value = (*value - residual).clamp(-CLIP, CLIP);
                }
                residuals = self.residuals(&scaled);
            }
        }
        let mut changes = vec![0.0; scaled.len()];
        if !track.history.is_empty() {
            for before in &track.history {
                for (sum, value) in changes.iter_mut().zip(before) {
                    *sum += value;
                }
            }
            let n_rows = track.history.len() as f64;
            for (change, value) in changes.iter_mut().zip(&scaled) {
                *change = value - *change / n_rows;
            }
        }
        for (at, value) in row.iter().enumerate() {
            if !value.is_finite() {
                residuals[at] = 0.0;
                changes[at] = 0.0;
            }
        }
        Measured {
            scaled,
            residuals,
            changes,
        }
    }
}

impl Track {
    pub(super) fn push(&mut self, scaled: Vec<f64>, change_rows: usize) {
        self.known.clone_from(&scaled);
        while self.history.len() >= change_rows {
            self.history.pop_front();
        }
        self.history.push_back(scaled);
    }
}

/// Squares in the unit of their deviations, each at most that of the clip.
pub(super) fn squares<'a>(
    values: &'a [f64],
    deviations: &'a [f64],
) -> impl Iterator<Item = f64> + 'a {
    let values = values.iter().zip(deviations);
    values.map(|(value, deviation)| (value / deviation).clamp(-CLIP, CLIP).powi(2))
}

/// One step of exponential smoothing.
pub(super) fn smoothed(before: f64, now: f64, weight: f64) -> f64 {
    before + weight * (now - before)
}

impl PcaResidual {
    /// A kernel that has learned nothing yet.
    ///
    /// # Errors
    /// Every field of `config` outside its range, below `pca_residual`.
    pub fn new(config: PcaResidualConfig) -> Result<Self, ConfigError> {
        let mut found = Violations::new();
        let holds = config.variance > 0.0 && config.variance < 1.0;
        check::that(
            &mut found,
            holds,
            "pca_residual.variance",
            config.variance,
            "0 < variance < 1",
        );
        check::that(
            &mut found,
            (1..=60).contains(&config.change_rows),
            "pca_residual.change_rows",
            config.change_rows,
            "1 to 60 rows",
        );
        let holds = config.smoothing > 0.0 && config.smoothing <= 1.0;
        check::that(
            &mut found,
            holds,
            "pca_residual.smoothing",
            config.smoothing,
            "0 < smoothing <= 1",
        );
        calibration::check_share(
            &mut found,
            "pca_residual.contamination",
            config.contamination,
        );
        check::positive(&mut found, "pca_residual.resolution", config.resolution);
        check::lasting(&mut found, "pca_residual.max_gap", config.max_gap);
        found.into_result(Self {
            config,
            state: State::default(),
            training: None,
        })
    }

    /// The configuration.
    pub fn config(&self) -> &PcaResidualConfig {
        &self.config
    }

    /// How many components are kept; `None` before the first fit.
    pub fn n_components(&self) -> Option<usize> {
        let basis = &self.state.model.as_ref()?.basis;
        Some(basis.components.len() / basis.width().max(1))
    }
}

impl RowDetector for PcaResidual {
    fn begin(&mut self, rows: Rows<'_>) -> Result<(), DetectError> {
        super::check_rows(rows, MIN_ROWS, MAX_WIDTH)?;
        self.training = Some(Training::new(rows));
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
            parts: vec![0.0; model.basis.width()],
            model: Some(model),
            ..State::default()
        };
        Ok(false)
    }

    fn update(&mut self, at: Timestamp, row: &[f64]) -> Result<RowScore, DetectError> {
        let Some(model) = &self.state.model else {
            return Ok(RowScore::default());
        };
        super::check_width(row.len(), model.basis.width())?;
        if row.iter().all(|value| !value.is_finite()) {
            return Ok(RowScore::default());
        }
        let (config, state) = (&self.config, &self.state);
        let is_gap = state
            .last
            .is_some_and(|last| at.since(last) > config.max_gap);
        let fresh = Track {
            known: state.track.known.clone(),
            history: VecDeque::new(),
        };
        let track = if is_gap { &fresh } else { &state.track };
        let measured = model.basis.measure(track, row);
        let weight = config.smoothing;
        let squares_left = squares(&measured.residuals, &model.residual_deviation);
        let relation = smoothed(state.relation, squares_left.sum(), weight);
        let changes: Vec<f64> = squares(&measured.changes, &model.change_deviation).collect();
        let change = smoothed(state.change, changes.iter().sum(), weight);
        let parts = state.parts.iter().zip(changes);
        let parts: Vec<f64> = parts
            .map(|(before, now)| smoothed(*before, now, weight))
            .collect();
        let statistic = relation / model.relation_unit + change / model.change_unit;
        let score = model.calibration.judge(statistic);
        let is_late = state.last.is_some_and(|last| at <= last);
        let state = &mut self.state;
        if !is_late {
            if is_gap {
                state.track.history.clear();
            }
            state.track.push(measured.scaled, config.change_rows);
            (state.relation, state.change) = (relation, change);
            state.parts.clone_from(&parts);
            state.last = Some(at);
        }
        state.shown = parts;
        Ok(score)
    }

    fn contributions(&self) -> Vec<f64> {
        self.state.shown.clone()
    }

    fn save(&self) -> Option<Value> {
        state::save(&self.state)
    }

    fn load(&mut self, stored: &Value) -> Result<(), DetectError> {
        const WHAT: &str = "state of a PCA residual";
        let stored: State = state::load(WHAT, stored)?;
        if let Some(model) = &stored.model {
            let (basis, track) = (&model.basis, &stored.track);
            let width = basis.width();
            let is_wide = |values: &Vec<f64>| values.len() == width;
            let fits = (1..=MAX_WIDTH).contains(&width)
                && basis.components.len().is_multiple_of(width)
                && [
                    &model.residual_deviation,
                    &model.change_deviation,
                    &stored.parts,
                ]
                .into_iter()
                .all(is_wide)
                && [&track.known, &stored.shown]
                    .into_iter()
                    .all(|values| values.is_empty() || is_wide(values))
                && track.history.len() <= self.config.change_rows
                && track.history.iter().all(is_wide)
                && basis.scaler.is_sound()
                && model.relation_unit > 0.0
                && model.change_unit > 0.0;
            state::require(
                fits,
                WHAT,
                &format!(
                    "one model of 1 to {MAX_WIDTH} features and at most {} rows",
                    self.config.change_rows
                ),
            )?;
        }
        self.state = stored;
        self.training = None;
        Ok(())
    }
}
