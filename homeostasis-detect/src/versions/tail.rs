//! A threshold from the tail of what was seen: the quantile that is exceeded once in many samples.

use std::collections::VecDeque;

use homeostasis_core::{ConfigError, Violations};
use serde::{Deserialize, Serialize};

use crate::check;

/// The share of samples above the base of the tail.
const TAIL: f64 = 0.02;
/// Fewer excesses say nothing of a tail.
const MIN_PEAKS: usize = 10;
/// If so many times more or fewer samples than the share exceed the base, another base is sought.
const DRIFT: f64 = 3.0;
/// Or if nothing exceeds it for so many times the usual time; by chance that happens once in e^25 times.
const SILENCE: f64 = 25.0;
/// The lightest and the heaviest tail: the uniform distribution, and one without a variance.
const SHAPES: (f64, f64) = (-1.0, 0.5);

/// How a [`TailThreshold`] learns.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TailThresholdConfig {
    /// The share of samples that may exceed the threshold; default 1e-4, range 1e-9 to 0.01.
    pub risk: f64,
    /// How many samples are learned before there is a threshold; default 1000, range 500 to 100 000.
    pub calibration: u32,
    /// How many excesses are remembered; default 200, range 20 to 10 000.
    pub max_peaks: usize,
    /// The threshold is never below this, in nats if it is of surprises; default 1, 0 or more.
    pub min: f64,
    /// Nor above this; default 100, above `min`.
    pub max: f64,
}

impl Default for TailThresholdConfig {
    fn default() -> Self {
        Self {
            risk: 1e-4,
            calibration: 1000,
            max_peaks: 200,
            min: 1.0,
            max: 100.0,
        }
    }
}

/// The quantile of rare values of a stream, by the tail of its distribution, in bounded memory.
///
/// From `calibration` values the base `t` of the tail is the quantile that 2 % exceed.
/// The excesses over `t` follow a generalized Pareto distribution of shape `g` and scale `s`, whatever the distribution
/// of the values (Pickands-Balkema-de Haan); with a rate `r` of excesses the threshold is
/// `t + s/g ((risk / r)^-g - 1)`, and `t - s ln(risk / r)` for `g = 0`.
/// `g` and `s` are fitted by probability-weighted moments to the last `max_peaks` excesses, each time there is a new one;
/// `g` is kept within -1, the uniform distribution, and 0.5, where these moments are sure.
/// What exceeds the threshold is an anomaly, and is learned as if it was the threshold.
/// When the share of excesses departs from 2 % by a factor of 3, or there is none for long, the stream has changed: a
/// new base is calibrated while the old threshold goes on.
/// O(1) per value, O(p log p) per excess for p of them; no threshold before the calibration is over.
///
/// Sources: A. Siffer et al., *Anomaly Detection in Streams with Extreme Value Theory*, KDD 2017, algorithm 1 (our
/// deviations: moments in place of Grimshaw's likelihood, a bounded memory of excesses, calibration anew);
/// J. R. M. Hosking and J. R. Wallis, *Parameter and quantile estimation for the generalized Pareto distribution*,
/// Technometrics 29 (1987), section 3.
///
/// # Examples
/// ```
/// use homeostasis::core::Rng;
/// use homeostasis::detect::{TailThreshold, TailThresholdConfig};
///
/// let mut tail = TailThreshold::new(TailThresholdConfig { risk: 1e-3, ..Default::default() })?;
/// let mut rng = Rng::from_seed(1);
/// for _ in 0..20_000 {
///     tail.learn(-(1.0 - rng.unit()).ln()); // exponential: 1e-3 is exceeded by 6.9
/// }
/// let threshold = tail.threshold().unwrap();
/// assert!((6.0..8.0).contains(&threshold), "{threshold}");
/// # Ok::<(), homeostasis::core::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct TailThreshold {
    config: TailThresholdConfig,
    state: State,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    /// Values of the calibration that goes on, if one does.
    calibration: Vec<f64>,
    is_calibrating: bool,
    fit: Option<Fit>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fit {
    base: f64,
    threshold: f64,
    /// Values learned since the base was found.
    n: u64,
    /// Excesses, and at which value each came.
    peaks: VecDeque<(u64, f64)>,
}

impl TailThreshold {
    /// A threshold that has learned nothing yet.
    ///
    /// # Errors
    /// Every field of `config` outside its range, below `tail_threshold`.
    pub fn new(config: TailThresholdConfig) -> Result<Self, ConfigError> {
        let mut found = Violations::new();
        let risk = config.risk;
        check::that(
            &mut found,
            (1e-9..=0.01).contains(&risk),
            "tail_threshold.risk",
            risk,
            "1e-9 to 0.01",
        );
        let n = config.calibration;
        let holds = (500..=100_000).contains(&n);
        check::that(
            &mut found,
            holds,
            "tail_threshold.calibration",
            n,
            "500 to 100000 samples",
        );
        let n = config.max_peaks;
        let holds = (20..=10_000).contains(&n);
        check::that(
            &mut found,
            holds,
            "tail_threshold.max_peaks",
            n,
            "20 to 10000 excesses",
        );
        let (min, max) = (config.min, config.max);
        let holds = min.is_finite() && min >= 0.0;
        check::that(
            &mut found,
            holds,
            "tail_threshold.min",
            min,
            "a finite number of 0 or more",
        );
        let holds = max.is_finite() && max > min;
        check::that(
            &mut found,
            holds,
            "tail_threshold.max",
            max,
            "a finite number above min",
        );
        found.into_result(Self {
            config,
            state: State {
                is_calibrating: true,
                ..State::default()
            },
        })
    }

    /// The configuration.
    pub fn config(&self) -> &TailThresholdConfig {
        &self.config
    }

    /// The threshold; nothing while the first calibration goes on.
    pub fn threshold(&self) -> Option<f64> {
        self.state.fit.as_ref().map(|fit| fit.threshold)
    }

    /// Learns a value; NaN and infinities are ignored.
    pub fn learn(&mut self, value: f64) {
        if !value.is_finite() {
            return;
        }
        let (config, state) = (&self.config, &mut self.state);
        if let Some(fit) = &mut state.fit {
            fit.learn(config, value);
            if !state.is_calibrating && fit.has_drifted(config) {
                state.is_calibrating = true;
            }
        }
        if state.is_calibrating {
            state.calibration.push(value);
            if state.calibration.len() >= usize::try_from(config.calibration).unwrap_or(usize::MAX)
            {
                state.fit = Some(Fit::calibrated(
                    config,
                    std::mem::take(&mut state.calibration),
                ));
                state.is_calibrating = false;
            }
        }
    }

    /// The bytes it holds on the heap.
    pub(crate) fn heap_bytes(&self) -> usize {
        let peaks = self
            .state
            .fit
            .as_ref()
            .map_or(0, |fit| fit.peaks.capacity());
        self.state.calibration.capacity() * size_of::<f64>() + peaks * size_of::<(u64, f64)>()
    }

    pub(crate) fn save(&self) -> Option<serde_json::Value> {
        crate::state::save(&self.state)
    }

    pub(crate) fn load(
        &mut self,
        value: &serde_json::Value,
    ) -> Result<(), homeostasis_core::stage::DetectError> {
        const WHAT: &str = "state of tail_threshold";
        let state: State = crate::state::load(WHAT, value)?;
        let n_peaks = state.fit.as_ref().map_or(0, |fit| fit.peaks.len());
        let fits = n_peaks <= self.config.max_peaks
            && state.calibration.len() as u64 <= u64::from(self.config.calibration);
        crate::state::require(fits, WHAT, "no more than what is configured")?;
        self.state = state;
        Ok(())
    }
}

impl Fit {
    fn calibrated(config: &TailThresholdConfig, mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let n = values.len();
        let n_above = (0..n).take_while(|i| (*i as f64) < TAIL * n as f64).count();
        let base = values[n - 1 - n_above.min(n - 1)];
        // Spread over the time of the calibration, as if they had come evenly.
        let above: Vec<f64> = values.into_iter().filter(|value| *value > base).collect();
        let step = (n / above.len().max(1)) as u64;
        let mut fit = Self {
            base,
            threshold: config.max,
            n: n as u64,
            peaks: (1..)
                .zip(above)
                .map(|(i, value)| (i * step, value - base))
                .collect(),
        };
        while fit.peaks.len() > config.max_peaks {
            fit.peaks.pop_front();
        }
        fit.refit(config);
        fit
    }

    fn learn(&mut self, config: &TailThresholdConfig, value: f64) {
        self.n = self.n.saturating_add(1);
        if value <= self.base {
            return;
        }
        // An anomaly counts as the threshold: it does not raise it, and the tail is not cut off either.
        let value = value.min(self.threshold.max(self.base));
        if self.peaks.len() >= config.max_peaks {
            self.peaks.pop_front();
        }
        self.peaks.push_back((self.n, value - self.base));
        self.refit(config);
    }

    /// How many values there were for each excess that is remembered.
    fn rate(&self) -> f64 {
        let Some((first, _)) = self.peaks.front() else {
            return 0.0;
        };
        let span = (self.n + 1).saturating_sub(*first).max(1);
        (self.peaks.len() as f64 / span as f64).min(1.0)
    }

    fn has_drifted(&self, config: &TailThresholdConfig) -> bool {
        // All values may be equal: then nothing exceeds anything, and nothing has changed.
        let Some((last, _)) = self.peaks.back() else {
            return false;
        };
        let enough = u64::from(config.calibration).saturating_mul(2);
        let (rate, silence) = (self.rate(), (self.n - last.min(&self.n)) as f64);
        let usual = TAIL / DRIFT..=TAIL * DRIFT;
        self.n >= enough && (!usual.contains(&rate) || silence > SILENCE / TAIL)
    }

    fn refit(&mut self, config: &TailThresholdConfig) {
        let n = self.peaks.len();
        let threshold = if n < MIN_PEAKS {
            // Nothing is known of the tail: what was seen, and as much again.
            let largest = self
                .peaks
                .iter()
                .map(|(_, excess)| *excess)
                .fold(0.0, f64::max);
            self.base + 2.0 * largest
        } else {
            let mut excesses: Vec<f64> = self.peaks.iter().map(|(_, excess)| *excess).collect();
            excesses.sort_by(f64::total_cmp);
            let (shape, scale) = pareto(&excesses);
            let ratio = config.risk / self.rate();
            // A rate below the risk: the base itself is rarer than what is sought.
            if ratio >= 1.0 {
                self.base
            } else if shape.abs() < 1e-6 {
                self.base - scale * ratio.ln()
            } else {
                self.base + scale / shape * (ratio.powf(-shape) - 1.0)
            }
        };
        self.threshold = threshold.clamp(config.min, config.max);
    }
}

/// Shape and scale of the generalized Pareto distribution with the probability-weighted moments of sorted excesses.
fn pareto(sorted: &[f64]) -> (f64, f64) {
    let n = sorted.len() as f64;
    let mean = sorted.iter().sum::<f64>() / n;
    // The mean of x (1 - F(x)), with F as in the source.
    let share = |i: usize| 1.0 - (i as f64 + 0.65) / n;
    let weighted = sorted
        .iter()
        .enumerate()
        .map(|(i, x)| share(i) * x)
        .sum::<f64>()
        / n;
    let apart = mean - 2.0 * weighted;
    if apart <= 0.0 || !apart.is_finite() {
        return (0.0, mean);
    }
    // Their k is minus our shape. With the shape held in its range the scale follows from the mean.
    let shape = (2.0 - mean / apart).clamp(SHAPES.0, SHAPES.1);
    (shape, mean * (1.0 - shape))
}

#[cfg(test)]
mod tests {
    use super::*;
    use homeostasis_core::Rng;

    fn tail(risk: f64) -> TailThreshold {
        TailThreshold::new(TailThresholdConfig {
            risk,
            min: 0.0,
            max: 1e6,
            ..TailThresholdConfig::default()
        })
        .unwrap()
    }

    /// How often `draw` exceeds the threshold after 50 000 draws, as a multiple of the risk.
    fn exceeded(risk: f64, mut draw: impl FnMut(&mut Rng) -> f64) -> f64 {
        let (mut tail, mut rng) = (tail(risk), Rng::from_seed(21));
        for _ in 0..50_000 {
            tail.learn(draw(&mut rng));
        }
        let mut n = 0_u32;
        for _ in 0..200_000 {
            let value = draw(&mut rng);
            n += u32::from(tail.threshold().is_some_and(|threshold| value > threshold));
            tail.learn(value);
        }
        f64::from(n) / 200_000.0 / risk
    }

    #[test]
    fn the_risk_holds_for_light_and_heavy_tails() {
        for (name, share) in [
            ("uniform", exceeded(1e-3, Rng::unit)),
            (
                "exponential",
                exceeded(1e-3, |rng| -(1.0 - rng.unit()).ln()),
            ),
            (
                "pareto of shape 1/3",
                exceeded(1e-3, |rng| (1.0 - rng.unit()).powf(-1.0 / 3.0)),
            ),
        ] {
            assert!(
                (0.3..3.0).contains(&share),
                "{name}: {share} times the risk"
            );
        }
    }

    #[test]
    fn a_stream_that_changes_is_calibrated_anew() {
        let (mut tail, mut rng) = (tail(1e-3), Rng::from_seed(22));
        for _ in 0..20_000 {
            tail.learn(rng.unit());
        }
        let before = tail.threshold().unwrap();
        assert!(before < 1.1, "{before}");
        for _ in 0..20_000 {
            tail.learn(0.3 * rng.unit());
        }
        let after = tail.threshold().unwrap();
        assert!(after < 0.35, "{before} then {after}");
    }

    #[test]
    fn constants_nan_and_bounds_are_borne() {
        let mut tail = TailThreshold::new(TailThresholdConfig::default()).unwrap();
        for _ in 0..5000 {
            tail.learn(0.0);
            tail.learn(f64::NAN);
            tail.learn(f64::INFINITY);
        }
        assert_eq!(tail.threshold(), Some(1.0), "the least there is");
        for _ in 0..5000 {
            tail.learn(f64::MAX);
        }
        assert!(tail.threshold().unwrap() <= 100.0);
        assert!(tail.heap_bytes() < 20_000);
    }

    /// The moments of the exact distribution: excesses at its quantiles.
    #[test]
    fn the_fit_finds_shape_and_scale() {
        for (shape, scale) in [(0.3_f64, 2.0), (-0.3, 1.0), (0.1, 5.0)] {
            let n = 20_000_u32;
            let quantile = |i: u32| {
                let p = (f64::from(i) + 0.5) / f64::from(n);
                scale / shape * ((1.0 - p).powf(-shape) - 1.0)
            };
            let (g, s) = pareto(&(0..n).map(quantile).collect::<Vec<_>>());
            assert!(
                (g - shape).abs() < 0.02 && (s / scale - 1.0).abs() < 0.03,
                "{shape} {scale}: {g} {s}"
            );
        }
    }
}
