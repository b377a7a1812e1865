//! An e-detector over ranks: a change of level with a bound on false alarms that assumes no distribution.

use std::time::Duration;

use homeostasis_core::record::Expectation;
use homeostasis_core::stage::{DetectError, KernelScore, SeriesDetector};
use homeostasis_core::{ConfigError, Timestamp, Violations};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::hold::Hold;
use crate::side::{Side, direction};
use crate::window::{self, SortedWindow};
use crate::{check, scale, state};

/// The bets: small ones win slowly on small shifts, large ones quickly on large shifts.
const BETS: [f64; N_BETS] = [0.25, 0.5, 0.9];
const N_BETS: usize = 3;
/// How quickly the present level is learned, for the explanation.
const LEVEL_WEIGHT: f64 = 0.2;

/// How often an [`EDetector`] may be wrong, and what it compares with.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EDetectorConfig {
    /// How many samples pass on average at least until a false alarm; default 100 000, range 100 to 1e12.
    pub false_alarm_every: f64,
    /// With how many of the last samples a sample is compared; default 1000, range 8 to 10 000.
    pub window: usize,
    /// How many there must be before bets begin; default 30, range 4 to `window`.
    pub warm_up: usize,
    /// For how many samples after it was found a change keeps its score; default 10, range 0 to 1 000 000.
    pub hold: u32,
    /// After a gap longer than this everything is learned anew; default 1 day, above 0.
    #[serde(with = "crate::duration_text")]
    pub forget_after: Duration,
    /// Which changes count; default both.
    pub side: Side,
}

impl Default for EDetectorConfig {
    fn default() -> Self {
        Self {
            false_alarm_every: 100_000.0,
            window: 1000,
            warm_up: 30,
            hold: 10,
            forget_after: Duration::from_secs(86_400),
            side: Side::Both,
        }
    }
}

/// A change of level, by bets on ranks: however the samples are distributed, false alarms are rarer than stated.
///
/// For series of which nothing is known beforehand: no scale, no shape, no outliers matter, because it looks at ranks.
/// Each sample has a rank among those before it; with `u` from 0 to 1 for its middle rank, a bet of `λ` on *higher* pays
/// `1 + λ · (2u - 1)`. As long as all orders of the samples are equally probable, no bet gains on average, and the
/// Shiryaev-Roberts sum `M ← (M + 1) · pay` grows by 1 a sample on average, so that the mean of all sums reaches
/// `false_alarm_every` after that many samples on average or later. After a shift it grows exponentially.
/// It then starts over with the new level, and the change keeps its score for `hold` samples.
///
/// The bound is exact while there are fewer than `window` samples since the last change, and near afterwards. It holds for
/// independent samples; a wave or a slow drift is a change of level to it.
/// The score is 0.5 where the mean of the sums is `false_alarm_every`; for a share of `r` of its logarithm it is that of `r`
/// limits. The surprise is the logarithm of the mean of the sums.
/// *Missing, late and huge values:* NaN and infinities are missing; what is not later than the last sample is given the
/// present score and not learned; beyond ±1e150 values count as ±1e150. Equal values share their rank: a constant has none.
/// O(log `window`) comparisons and one move within the window per sample; 16 bytes of memory per sample of the window.
///
/// Sources: J. Shin, A. Ramdas and A. Rinaldo, *E-detectors: a nonparametric framework for sequential change detection*,
/// New England Journal of Statistics in Data Science 2 (2023); V. Vovk, I. Nouretdinov and A. Gammerman, *Testing
/// exchangeability on-line*, ICML 2003 (bets on ranks).
///
/// # Examples
/// ```
/// use homeostasis::core::stage::SeriesDetector;
/// use homeostasis::core::{Rng, Timestamp};
/// use homeostasis::detect::{EDetector, EDetectorConfig};
///
/// let (mut detector, mut rng) = (EDetector::new(EDetectorConfig::default())?, Rng::from_seed(1));
/// let mut found = None;
/// for second in 0..800 {
///     // Heavy tails: one over a uniform number has no mean. From 500 on it is up by half.
///     let shift = if second < 500 { 1.0 } else { 1.5 };
///     let judged = detector.update(Timestamp::from_secs(second), Some(shift / rng.unit()));
///     if judged.score.get() > 0.5 {
///         found = found.or(Some(second));
///     }
/// }
/// assert!(found.is_some_and(|second| second > 500));
/// # Ok::<(), homeostasis::core::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct EDetector {
    config: EDetectorConfig,
    state: State,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    window: SortedWindow,
    /// The sums of the bets on higher and on lower values.
    high: [f64; N_BETS],
    low: [f64; N_BETS],
    /// Where the last samples lie.
    level: f64,
    hold: Hold,
    last: Option<Timestamp>,
}

impl EDetector {
    /// A detector that has seen nothing.
    ///
    /// # Errors
    /// Every field of `config` outside its range, below `e_detector`.
    pub fn new(config: EDetectorConfig) -> Result<Self, ConfigError> {
        let mut found = Violations::new();
        let holds = (100.0..=1e12).contains(&config.false_alarm_every);
        check::that(
            &mut found,
            holds,
            "e_detector.false_alarm_every",
            config.false_alarm_every,
            "100 to 1e12 samples",
        );
        let sizes = (config.window, config.warm_up);
        window::check(&mut found, "e_detector", sizes, config.forget_after);
        check::that(
            &mut found,
            config.hold <= 1_000_000,
            "e_detector.hold",
            config.hold,
            "0 to 1000000 samples",
        );
        found.into_result(Self {
            config,
            state: State::default(),
        })
    }

    /// The configuration.
    pub fn config(&self) -> &EDetectorConfig {
        &self.config
    }

    /// The mean of the sums of the sides that count.
    fn evidence(&self, high: &[f64], low: &[f64]) -> f64 {
        let mean = |sums: &[f64]| sums.iter().sum::<f64>() / N_BETS as f64;
        match self.config.side {
            Side::Both => f64::midpoint(mean(high), mean(low)),
            Side::High => mean(high),
            Side::Low => mean(low),
        }
    }

    fn learn(&mut self, at: Timestamp, value: f64) {
        let config = self.config;
        let n = self.state.window.len();
        let state = &mut self.state;
        state.last = Some(at);
        // An outlier does not tell where the new level is.
        let [low, high] = [1, 19].map(|part| state.window.quantile(part, 20));
        let near = value.clamp(low - 2.0 * (high - low), high + 2.0 * (high - low));
        state.level = if n <= config.warm_up {
            state.window.quantile(1, 2)
        } else {
            state.level + LEVEL_WEIGHT * (near - state.level)
        };
        if n >= config.warm_up {
            let edge = state.window.rank(value);
            for (bet, (high, low)) in BETS.iter().zip(state.high.iter_mut().zip(&mut state.low)) {
                *high = (*high + 1.0) * (1.0 + bet * edge);
                *low = (*low + 1.0) * (1.0 - bet * edge);
            }
        }
        state.window.push(value, config.window);
        let evidence = self.evidence(&self.state.high, &self.state.low);
        if evidence > config.false_alarm_every {
            let levels = (self.state.window.quantile(1, 2), self.state.level);
            let ratio = evidence.ln() / config.false_alarm_every.ln();
            self.state = State {
                hold: Hold::begin(config.hold.saturating_add(1), ratio, evidence.ln(), levels),
                level: value,
                last: Some(at),
                ..State::default()
            };
            self.state.window.push(value, config.window);
        }
    }
}

impl SeriesDetector for EDetector {
    fn update(&mut self, at: Timestamp, value: Option<f64>) -> KernelScore {
        let usable = scale::usable(value);
        let (config, last) = (self.config, self.state.last);
        if usable.is_some() && last.is_some_and(|last| at.since(last) > config.forget_after) {
            self.state = State::default();
        }
        let (window, side) = (&self.state.window, config.side);
        let is_warm = window.len() >= config.warm_up;
        let expected = Expectation::Between {
            low: (is_warm && side.counts_low()).then(|| window.quantile(1, 20)),
            high: (is_warm && side.counts_high()).then(|| window.quantile(19, 20)),
        };
        let Some(value) = usable else {
            return KernelScore::normal(expected);
        };
        let is_new = last.is_none_or(|last| at > last);
        if is_new {
            self.learn(at, value);
        }
        let evidence = self.evidence(&self.state.high, &self.state.low);
        let nats = evidence.max(1.0).ln();
        let [high, low] = [self.state.high, self.state.low].map(|sums| sums.iter().sum::<f64>());
        let own = (nats / config.false_alarm_every.ln(), nats, high - low);
        let hold = &mut self.state.hold;
        let kept = if is_new { hold.step() } else { hold.peek() };
        let (ratio, surprise, shift) = kept.filter(|kept| kept.0 > own.0).unwrap_or(own);
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
        self.state.window.heap_bytes()
    }

    fn save(&self) -> Option<Value> {
        state::save(&self.state)
    }

    fn load(&mut self, value: &Value) -> Result<(), DetectError> {
        let loaded: State = state::load("state of e_detector", value)?;
        let mut sums = loaded.high.iter().chain(&loaded.low);
        state::require(
            loaded.window.fits(self.config.window) && sums.all(|sum| *sum >= 0.0),
            "state of e_detector",
            &format!(
                "at most {} samples, as the window holds, and sums of 0 or more",
                self.config.window
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

    fn detector(false_alarm_every: f64) -> EDetector {
        EDetector::new(EDetectorConfig {
            false_alarm_every,
            hold: 0,
            window: 10_000,
            ..EDetectorConfig::default()
        })
        .unwrap()
    }

    #[test]
    fn false_alarms_are_rarer_than_stated_whatever_the_distribution() {
        let mut rng = Rng::from_seed(9);
        let shapes: [fn(f64) -> f64; 3] = [|u| u, |u| 1.0 / u, |u| if u < 0.7 { 0.0 } else { u }];
        for shape in shapes {
            let mut model = detector(1000.0);
            let n_alarms = (0..50_000)
                .filter(|second| {
                    let judged = model.update(at(*second), Some(shape(rng.unit())));
                    judged.score.get() > 0.5
                })
                .count();
            // At most 50 on average; warm-ups leave room.
            assert!(n_alarms <= 50, "{n_alarms}");
        }
    }

    #[test]
    fn no_bet_gains_on_average_over_all_orders() {
        // Every place a sample can have among four others, ties included.
        for others in [[1.0, 2.0, 3.0, 4.0], [1.0, 1.0, 1.0, 4.0]] {
            let mut all = others.to_vec();
            all.push(2.5);
            let total: f64 = (0..5)
                .map(|last| {
                    let mut window = SortedWindow::default();
                    for (idx, value) in all.iter().enumerate() {
                        if idx != last {
                            window.push(*value, 8);
                        }
                    }
                    window.rank(all[last])
                })
                .sum();
            assert!(total.abs() < 1e-12, "{total}");
        }
    }

    #[test]
    fn shifts_are_found_and_told_once() {
        let mut model = EDetector::new(EDetectorConfig::default()).unwrap();
        let mut rng = Rng::from_seed(2);
        let mut found = Vec::new();
        for second in 0..1000 {
            let level = if second < 500 { 0.0 } else { -2.0 };
            let outlier = if second % 50 == 7 { 1e9 } else { 0.0 };
            let judged = model.update(at(second), Some(level + rng.unit() + outlier));
            if judged.score.get() > 0.5 {
                assert_eq!(judged.direction, homeostasis_core::record::Direction::Low);
                found.push(second);
            }
        }
        assert!((501..540).contains(&found[0]), "{found:?}");
        assert_eq!(found.len(), 11);
    }

    #[test]
    fn every_field_out_of_range_is_named() {
        let error = EDetector::new(EDetectorConfig {
            false_alarm_every: f64::NAN,
            window: 1,
            warm_up: 1,
            hold: u32::MAX,
            forget_after: Duration::ZERO,
            side: Side::Both,
        })
        .unwrap_err();
        assert_eq!(error.violations().len(), 5);
    }
}
