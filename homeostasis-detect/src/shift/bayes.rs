//! Bayesian online change points: how probable it is that the series changed lately.

use std::time::Duration;

use homeostasis_core::document::format_duration;
use homeostasis_core::record::Expectation;
use homeostasis_core::stage::{DetectError, KernelScore, SeriesDetector};
use homeostasis_core::{ConfigError, Score, Timestamp, Violations};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::student::{ln_density, ln_density_of_two};
use crate::side::direction;
use crate::stat::SIGMA_PER_MAD;
use crate::window::SortedWindow;
use crate::{check, prose, scale, state};

/// The prior of a segment, in standard deviations of the warm-up: so many samples' worth of a mean at its median,
/// and one of a variance of 1.
const KAPPA: f64 = 0.05;
const ALPHA: f64 = 1.0;
const BETA: f64 = 1.0;
/// The share of samples that are outliers and belong to no segment, and how wide they lie, in standard deviations.
const OUTLIERS: f64 = 0.01;
const OUTLIER_WIDTH: f64 = 10.0;
/// Run lengths less probable than this by the best one are dropped, in nats.
const NEGLIGIBLE: f64 = 40.0;
/// Beyond so many standard deviations all is equally far.
const FARTHEST: f64 = 1e60;
/// The most nats that are told.
const MOST: f64 = 700.0;

/// What a [`BayesianChangePoint`] believes beforehand.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BayesianChangePointConfig {
    /// How many samples a segment is expected to last; default 1000, range 10 to 1e9.
    pub expected_run: f64,
    /// A change is news for so many samples; default 10, range 2 to 1000.
    pub recent: u32,
    /// From how many samples scale and first segment are learned; default 50, range `2 · recent` to 10 000.
    pub warm_up: usize,
    /// How many run lengths are followed, the most probable ones; default 64, range 8 to 1000.
    pub max_runs: usize,
    /// The least standard deviation assumed, in the unit of the series; default 1e-6, above 0.
    pub resolution: f64,
    /// After a gap longer than this everything is learned anew; default 1 day, above 0.
    #[serde(with = "crate::duration_text")]
    pub forget_after: Duration,
}

impl Default for BayesianChangePointConfig {
    fn default() -> Self {
        Self {
            expected_run: 1000.0,
            recent: 10,
            warm_up: 50,
            max_runs: 64,
            resolution: 1e-6,
            forget_after: Duration::from_secs(86_400),
        }
    }
}

/// Bayesian online change-point detection: the probability that mean or variance changed within the last
/// `recent` samples.
///
/// For changes of any kind whose probability is wanted: the score *is* the probability, so it is 0.5 where a change
/// is as probable as none. Mean and variance of each segment are unknown (a normal-gamma prior), so predictions are
/// Student's t; it follows the most probable `max_runs` lengths of the present segment.
/// One sample in a hundred is taken for an outlier of no segment: it explains a lone spike, and the segments learn a
/// sample only by the share that is not.
///
/// The unit is the median and the median deviation of the first `warm_up` samples.
/// The surprise is `-ln` of the probability that nothing changed lately, at most 700.
/// *Missing, late and huge values:* NaN and infinities are missing; what is not later than the last sample is given the
/// present probability and not learned; beyond ±1e150 values count as ±1e150.
/// O(`max_runs`) time per sample, 48 bytes of memory per run length.
///
/// Sources: R. P. Adams and D. J. C. `MacKay`, *Bayesian online changepoint detection*, arXiv:0710.3742 (2007);
/// P. Fearnhead and Z. Liu, *On-line inference for multiple changepoint problems*, Journal of the Royal Statistical
/// Society B 69 (2007) (pruning of run lengths). The mixture with outliers is ours.
///
/// # Examples
/// ```
/// use homeostasis::core::stage::SeriesDetector;
/// use homeostasis::core::{Rng, Timestamp};
/// use homeostasis::detect::{BayesianChangePoint, BayesianChangePointConfig};
///
/// let mut model = BayesianChangePoint::new(BayesianChangePointConfig::default())?;
/// let (mut rng, mut found) = (Rng::from_seed(1), Vec::new());
/// for second in 0..500 {
///     // The same mean, from 300 on with ten times the spread.
///     let spread = if second < 300 { 1.0 } else { 10.0 };
///     let value = 20.0 + spread * (rng.unit() + rng.unit() + rng.unit() - 1.5);
///     if model.update(Timestamp::from_secs(second), Some(value)).score.get() > 0.5 {
///         found.push(second);
///     }
/// }
/// assert!(300 <= found[0] && found[0] < 310, "{found:?}");
/// # Ok::<(), homeostasis::core::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct BayesianChangePoint {
    config: BayesianChangePointConfig,
    state: State,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    /// The first samples, until scale and runs are known.
    first: Vec<f64>,
    middle: f64,
    scale: f64,
    /// The shortest first.
    runs: Vec<Run>,
    last: Option<Timestamp>,
}

/// One hypothesis: the present segment has `n` samples. In standard deviations of the warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Run {
    n: u64,
    /// The logarithm of its probability.
    ln: f64,
    kappa: f64,
    mean: f64,
    beta: f64,
}

impl Run {
    const NEW: Self = Self {
        n: 0,
        ln: 0.0,
        kappa: KAPPA,
        mean: 0.0,
        beta: BETA,
    };

    fn alpha(&self) -> f64 {
        ALPHA + 0.5 * (self.kappa - KAPPA)
    }

    /// The standard deviation of the next sample, in the sense of the scale of its t.
    fn width(&self) -> f64 {
        (self.beta * (self.kappa + 1.0) / (self.alpha() * self.kappa)).sqrt()
    }

    /// The logarithm of the density of `z`, and the probability that it is no outlier.
    fn predict(&self, z: f64) -> (f64, f64) {
        let (width, off) = (self.width(), z - self.mean);
        let wide = OUTLIER_WIDTH * width.max(1.0);
        let inlier = ln_density(self.alpha(), off / width, (1.0 - OUTLIERS) / width);
        let outlier = ln_density_of_two(off / wide, OUTLIERS / wide);
        let both = ln_sum(inlier, outlier);
        (both, (inlier - both).exp())
    }

    fn learn(&mut self, z: f64, weight: f64) {
        let delta = z - self.mean;
        let kappa = self.kappa + weight;
        self.beta += 0.5 * weight * self.kappa / kappa * delta * delta;
        self.mean += weight / kappa * delta;
        self.kappa = kappa;
        self.n = self.n.saturating_add(1);
    }
}

/// `ln(eᵃ + eᵇ)`.
fn ln_sum(a: f64, b: f64) -> f64 {
    a.max(b) + (-(a - b).abs()).exp().ln_1p()
}

/// The logarithm of the sum of the probabilities.
fn ln_total<'a>(runs: impl Iterator<Item = &'a Run> + Clone) -> f64 {
    let best = runs
        .clone()
        .map(|run| run.ln)
        .fold(f64::NEG_INFINITY, f64::max);
    if best == f64::NEG_INFINITY {
        return best;
    }
    best + runs.map(|run| (run.ln - best).exp()).sum::<f64>().ln()
}

impl State {
    /// In standard deviations of the warm-up; not so far that a density is 0.
    fn units(&self, value: f64) -> f64 {
        ((value - self.middle) / self.scale).clamp(-FARTHEST, FARTHEST)
    }

    /// Takes the first samples as the unit and as the first segment.
    fn begin(&mut self, resolution: f64) {
        let mut window = SortedWindow::default();
        for value in &self.first {
            window.push(*value, self.first.len());
        }
        self.middle = window.quantile(1, 2);
        let spread = SIGMA_PER_MAD * window.median_distance(self.middle);
        self.scale = spread.max(scale::floor(self.middle, resolution));
        let mut run = Run::NEW;
        for value in std::mem::take(&mut self.first) {
            let z = self.units(value);
            let (_, weight) = run.predict(z);
            run.learn(z, weight);
        }
        self.runs.push(run);
    }

    fn learn(&mut self, value: f64, config: &BayesianChangePointConfig) {
        let z = self.units(value);
        let hazard = 1.0 / config.expected_run;
        for run in &mut self.runs {
            let (ln, weight) = run.predict(z);
            run.ln += (-hazard).ln_1p() + ln;
            run.learn(z, weight);
        }
        let mut new = Run::NEW;
        let (ln, weight) = new.predict(z);
        new.ln = hazard.ln() + ln;
        new.learn(z, weight);
        self.runs.insert(0, new);

        let total = ln_total(self.runs.iter());
        let best = self
            .runs
            .iter()
            .map(|run| run.ln)
            .fold(f64::NEG_INFINITY, f64::max);
        self.runs.retain(|run| run.ln >= best - NEGLIGIBLE);
        if self.runs.len() > config.max_runs {
            let least = self
                .runs
                .iter()
                .enumerate()
                .min_by(|a, b| a.1.ln.total_cmp(&b.1.ln));
            if let Some((idx, _)) = least {
                self.runs.remove(idx);
            }
        }
        for run in &mut self.runs {
            run.ln -= total;
        }
    }

    /// The logarithms of the probabilities that the segment has at most `recent` samples, and that it has more.
    fn recent(&self, recent: u32) -> (f64, f64) {
        let is_recent = |run: &&Run| run.n <= u64::from(recent);
        let runs = self.runs.iter();
        (
            ln_total(runs.clone().filter(is_recent)),
            ln_total(runs.filter(|run| !is_recent(run))),
        )
    }

    fn likely(&self, which: impl Fn(&&Run) -> bool) -> Option<&Run> {
        self.runs
            .iter()
            .filter(which)
            .max_by(|a, b| a.ln.total_cmp(&b.ln))
    }
}

impl BayesianChangePoint {
    /// A model that has learned nothing yet.
    ///
    /// # Errors
    /// Every field of `config` outside its range, below `bayesian_change_point`.
    pub fn new(config: BayesianChangePointConfig) -> Result<Self, ConfigError> {
        let mut found = Violations::new();
        let path = |field: &str| format!("bayesian_change_point.{field}");
        let holds = (10.0..=1e9).contains(&config.expected_run);
        check::that(
            &mut found,
            holds,
            &path("expected_run"),
            config.expected_run,
            "10 to 1e9 samples",
        );
        let holds = (2..=1000).contains(&config.recent);
        check::that(
            &mut found,
            holds,
            &path("recent"),
            config.recent,
            "2 to 1000 samples",
        );
        let least = usize::try_from(config.recent)
            .unwrap_or(usize::MAX)
            .saturating_mul(2);
        check::that(
            &mut found,
            config.warm_up >= least && config.warm_up <= 10_000,
            &path("warm_up"),
            config.warm_up,
            &format!("{least} to 10000 samples, from twice `recent` on"),
        );
        check::that(
            &mut found,
            (8..=1000).contains(&config.max_runs),
            &path("max_runs"),
            config.max_runs,
            "8 to 1000 run lengths",
        );
        check::positive(&mut found, &path("resolution"), config.resolution);
        check::that(
            &mut found,
            !config.forget_after.is_zero(),
            &path("forget_after"),
            format_duration(config.forget_after),
            "a duration above 0s",
        );
        found.into_result(Self {
            config,
            state: State::default(),
        })
    }

    /// The configuration.
    pub fn config(&self) -> &BayesianChangePointConfig {
        &self.config
    }

    /// The most probable number of samples since the last change; `None` while it warms up.
    pub fn run_length(&self) -> Option<u64> {
        self.state.likely(|_| true).map(|run| run.n)
    }

    /// Where the most probable segment lies, and three of its standard deviations.
    fn segment(&self) -> Option<(f64, f64)> {
        let (run, state) = (self.state.likely(|_| true)?, &self.state);
        Some((
            state.middle + state.scale * run.mean,
            3.0 * state.scale * run.width(),
        ))
    }
}

impl SeriesDetector for BayesianChangePoint {
    fn update(&mut self, at: Timestamp, value: Option<f64>) -> KernelScore {
        let usable = scale::usable(value);
        let (config, last) = (self.config, self.state.last);
        if usable.is_some() && last.is_some_and(|last| at.since(last) > config.forget_after) {
            self.state = State::default();
        }
        let segment = self.segment();
        let expected = Expectation::Between {
            low: segment.map(|(level, width)| level - width),
            high: segment.map(|(level, width)| level + width),
        };
        let Some(value) = usable else {
            return KernelScore::normal(expected);
        };
        if last.is_none_or(|last| at > last) {
            self.state.last = Some(at);
            if self.state.runs.is_empty() {
                self.state.first.push(value);
                if self.state.first.len() >= config.warm_up {
                    self.state.begin(config.resolution);
                }
                return KernelScore::normal(expected);
            }
            self.state.learn(value, &config);
        }
        if self.state.runs.is_empty() {
            return KernelScore::normal(expected);
        }
        let (recent, older) = self.state.recent(config.recent);
        KernelScore {
            score: Score::saturating(recent.exp()),
            surprise: (-older).clamp(0.0, MOST),
            direction: direction(value - segment.map_or(value, |(level, _)| level)),
            expected,
        }
    }

    fn explain(&self) -> Option<String> {
        let state = &self.state;
        let (recent, _) = state.recent(self.config.recent);
        if recent.exp() <= 0.5 {
            return None;
        }
        let new = state.likely(|run| run.n <= u64::from(self.config.recent))?;
        Some(format!(
            "changed {} samples ago with a probability of {} %: its mean is now about {}",
            new.n,
            prose::number(100.0 * recent.exp().min(1.0)),
            prose::number(state.middle + state.scale * new.mean)
        ))
    }

    fn heap_bytes(&self) -> usize {
        self.state.first.capacity() * size_of::<f64>()
            + self.state.runs.capacity() * size_of::<Run>()
    }

    fn save(&self) -> Option<Value> {
        state::save(&self.state)
    }

    fn load(&mut self, value: &Value) -> Result<(), DetectError> {
        let loaded: State = state::load("state of bayesian_change_point", value)?;
        let can_be = |run: &Run| run.kappa >= KAPPA && run.beta >= BETA && run.ln <= 1e-6;
        state::require(
            loaded.runs.len() <= self.config.max_runs
                && loaded.first.len() < self.config.warm_up
                && (loaded.runs.is_empty() || loaded.scale > 0.0)
                && loaded.runs.iter().all(can_be),
            "state of bayesian_change_point",
            &format!(
                "at most {} run lengths with their probabilities",
                self.config.max_runs
            ),
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

    fn found(values: impl IntoIterator<Item = f64>) -> Vec<i64> {
        let mut model = BayesianChangePoint::new(BayesianChangePointConfig::default()).unwrap();
        (0..)
            .zip(values)
            .filter(|(second, value)| model.update(at(*second), Some(*value)).score.get() > 0.5)
            .map(|(second, _)| second)
            .collect()
    }

    fn noise(seed: u64) -> impl FnMut() -> f64 {
        let mut rng = Rng::from_seed(seed);
        move || (0..12).map(|_| rng.unit()).sum::<f64>() - 6.0
    }

    #[test]
    fn shifts_are_found_at_once_and_told_for_a_while_and_lone_spikes_are_not() {
        let mut next = noise(1);
        let values: Vec<f64> = (0..1000)
            .map(|i| {
                let trouble = match i {
                    200 | 350 => 40.0,
                    500.. => 5.0,
                    _ => 0.0,
                };
                50.0 + trouble + next()
            })
            .collect();
        let found = found(values);
        let first = found[0];
        assert!((500..504).contains(&first), "{found:?}");
        assert!(found.len() <= 10, "{found:?}");
    }

    #[test]
    fn steady_noise_has_no_changes() {
        let mut next = noise(7);
        let found = found((0..5000).map(|_| next()));
        assert!(found.len() < 25, "{found:?}");
    }

    #[test]
    fn the_posterior_is_that_of_all_run_lengths_by_brute_force() {
        // Every segmentation's last segment, with the product over run lengths written out as a table.
        let config = BayesianChangePointConfig {
            max_runs: 1000,
            expected_run: 20.0,
            ..BayesianChangePointConfig::default()
        };
        let mut model = BayesianChangePoint::new(config).unwrap();
        let mut next = noise(3);
        for second in 0..50 {
            model.update(at(second), Some(next()));
        }
        let (middle, scale) = (model.state.middle, model.state.scale);
        let mut table: Vec<(Run, f64)> = vec![(model.state.runs[0], 1.0)];
        for second in 50..80 {
            let value = next() + if second > 65 { 4.0 } else { 0.0 };
            model.update(at(second), Some(value));
            let z = (value - middle) / scale;
            let mut born = (Run::NEW, table.iter().map(|(_, p)| p / 20.0).sum::<f64>());
            for (run, p) in &mut table {
                let (ln, weight) = run.predict(z);
                *p *= 0.95 * ln.exp();
                run.learn(z, weight);
            }
            let (ln, weight) = born.0.predict(z);
            born.0.learn(z, weight);
            born.1 *= ln.exp();
            table.insert(0, born);
            let total: f64 = table.iter().map(|(_, p)| p).sum();
            for (_, p) in &mut table {
                *p /= total;
            }
        }
        let expected: f64 = table
            .iter()
            .filter(|(run, _)| run.n <= 10)
            .map(|(_, p)| p)
            .sum();
        let (recent, older) = model.state.recent(10);
        assert!(
            (recent.exp() - expected).abs() < 1e-9,
            "{} {expected}",
            recent.exp()
        );
        assert!((recent.exp() + older.exp() - 1.0).abs() < 1e-9);
    }

    #[test]
    fn every_field_out_of_range_is_named() {
        let error = BayesianChangePoint::new(BayesianChangePointConfig {
            expected_run: f64::NAN,
            recent: 1,
            warm_up: 1,
            max_runs: 1,
            resolution: 0.0,
            forget_after: Duration::ZERO,
        })
        .unwrap_err();
        assert_eq!(error.violations().len(), 6);
    }
}
