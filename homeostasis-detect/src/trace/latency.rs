//! Operations that take longer than they used to.

use std::sync::Arc;

use homeostasis_core::record::Expectation;
use homeostasis_core::signal::SpanRecord;
use homeostasis_core::stage::{DetectError, KernelScore, SeriesDetector};
use homeostasis_core::{ConfigError, Ratio, Timestamp, Violations};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::kernel::{OperationFinding, OperationKernel, OperationScore};
use super::sketch::QuantileSketch;
use crate::recent::Recent;
use crate::side::Side;
use crate::stat::{Ewma, EwmaConfig};
use crate::{check, prose, state};

/// The relative accuracy of the quantiles.
const ACCURACY: f64 = 0.01;
/// What is faster counts as this, in seconds: clocks do not tell it from nothing.
const FASTEST: f64 = 1e-6;

/// Which quantiles an [`OperationLatency`] compares, and with what.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OperationLatencyConfig {
    /// The quantiles compared; default 0.5, 0.95 and 0.99; 1 to 8 of them, each above 0 and at most 1.
    pub quantiles: Vec<Ratio>,
    /// The limit in standard deviations between windows; default 4, range `0 < k <= 1e6`.
    pub k: f64,
    /// An increase by less than this share is never abnormal; default 0.2, which is 20 %; range 0.01 to 100.
    pub min_increase: f64,
    /// About how many windows the comparison remembers; default 100, range 2 to 100 000.
    pub memory: u32,
    /// How many windows are learned before the first is judged; default 10, range 2 to 1 000 000.
    pub warm_up: u32,
    /// Which changes count; default only slower ones.
    pub side: Side,
}

impl Default for OperationLatencyConfig {
    fn default() -> Self {
        Self {
            quantiles: [0.5, 0.95, 0.99].map(Ratio::saturating).to_vec(),
            k: 4.0,
            min_increase: 0.2,
            memory: 100,
            warm_up: 10,
            side: Side::High,
        }
    }
}

/// Judges how long an operation takes by quantiles of each window against those of its own past windows.
///
/// Each quantile of the window comes from a [`QuantileSketch`] of 1 % accuracy.
/// Its logarithm is judged by an [`Ewma`] of weight `2 / (memory + 1)`: latencies vary by factors, and what counts is how
/// much this quantile of this operation varies from window to window, which depends on its traffic.
/// The limit is `k` deviations, but at least an increase by `min_increase`.
/// The score is that of the quantile that deviates most; a deviation is learned clipped, so that an incident of minutes
/// does not become normal.
/// A daily pattern is not known to it: where nights are fast, mornings are judged by the windows before them.
/// What takes less than a microsecond counts as a microsecond.
/// O(1) per span, O(1024) per window; about 16 KB per operation.
///
/// # Examples
/// ```
/// use homeostasis::core::{Timestamp, signal::SpanRecord};
/// use homeostasis::detect::{OperationKernel, OperationLatency, OperationLatencyConfig};
/// use std::time::Duration;
///
/// let mut latency = OperationLatency::new(OperationLatencyConfig::default())?;
/// let mut window = |second: i64, millis: u64| {
///     let at = Timestamp::from_secs(second);
///     for extra in 0..100 {
///         let span = SpanRecord::new(at, Duration::from_micros(1000 * millis + 10 * extra), "GET /orders");
///         latency.take(&span, &[]);
///     }
///     latency.close(at).score.get()
/// };
/// for minute in 0..20 {
///     assert!(window(60 * minute, 20) < 0.5);
/// }
/// assert!(window(60 * 20, 80) > 0.9);
/// # Ok::<(), homeostasis::core::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct OperationLatency {
    config: OperationLatencyConfig,
    /// The open window.
    sketch: QuantileSketch,
    tracks: Vec<Track>,
    n_spans: u64,
    /// In the last window.
    n_seen: u64,
}

/// One quantile through time.
#[derive(Debug, Clone, PartialEq)]
struct Track {
    quantile: Ratio,
    model: Ewma,
    recent: Recent,
    /// The last window, in seconds.
    seen: f64,
    judged: KernelScore,
}

impl OperationLatency {
    /// A model that has learned nothing yet.
    ///
    /// # Errors
    /// Every field of `config` outside its range, below `operation_latency`.
    pub fn new(config: OperationLatencyConfig) -> Result<Self, ConfigError> {
        let mut found = Violations::new();
        let n = config.quantiles.len();
        check::that(
            &mut found,
            (1..=8).contains(&n),
            "operation_latency.quantiles",
            format!("{n} quantiles"),
            "1 to 8 quantiles",
        );
        for quantile in &config.quantiles {
            check::that(
                &mut found,
                *quantile > Ratio::ZERO,
                "operation_latency.quantiles",
                quantile.get(),
                "0 < quantile <= 1",
            );
        }
        check::that(
            &mut found,
            (0.01..=100.0).contains(&config.min_increase),
            "operation_latency.min_increase",
            config.min_increase,
            "0.01 to 100",
        );
        check::that(
            &mut found,
            (2..=100_000).contains(&config.memory),
            "operation_latency.memory",
            config.memory,
            "2 to 100000 windows",
        );
        let holds = config.k > 0.0 && config.k <= 1e6;
        let path = "operation_latency.k";
        check::that(&mut found, holds, path, config.k, "0 < k <= 1e6");
        check::that(
            &mut found,
            (2..=1_000_000).contains(&config.warm_up),
            "operation_latency.warm_up",
            config.warm_up,
            "2 to 1000000 windows",
        );
        if let Some(error) = found.into_error() {
            return Err(error);
        }
        let alpha = 2.0 / (f64::from(config.memory) + 1.0);
        let model = Ewma::new(EwmaConfig {
            alpha,
            deviation_alpha: alpha,
            k: config.k,
            warm_up: config.warm_up,
            // The least deviation, so that `k` of them are the least increase.
            resolution: config.min_increase.ln_1p() / config.k,
            side: config.side,
        })?;
        let track = |quantile: &Ratio| Track {
            quantile: *quantile,
            model: model.clone(),
            recent: Recent::default(),
            seen: 0.0,
            judged: unjudged(),
        };
        Ok(Self {
            sketch: QuantileSketch::new(Ratio::saturating(ACCURACY))?,
            tracks: config.quantiles.iter().map(track).collect(),
            n_spans: 0,
            n_seen: 0,
            config,
        })
    }

    /// The configuration.
    pub fn config(&self) -> &OperationLatencyConfig {
        &self.config
    }

    /// The quantile that deviated most in the last window.
    fn worst(&self) -> Option<&Track> {
        let by_score = |a: &&Track, b: &&Track| a.judged.score.cmp(&b.judged.score);
        // Of equal ones the first.
        self.tracks.iter().rev().max_by(by_score)
    }
}

fn unjudged() -> KernelScore {
    KernelScore::normal(Expectation::Words("spans".to_owned()))
}

impl OperationKernel for OperationLatency {
    fn take(&mut self, span: &SpanRecord, _: &[Arc<str>]) {
        self.sketch.add(span.duration.as_secs_f64());
        self.n_spans = self.n_spans.saturating_add(1);
    }

    fn close(&mut self, at: Timestamp) -> OperationScore {
        for track in &mut self.tracks {
            let Some(seconds) = self.sketch.quantile(track.quantile) else {
                // A window without spans says nothing.
                (track.seen, track.judged) = (0.0, unjudged());
                continue;
            };
            track.seen = seconds;
            track.recent.push(at, seconds);
            track.judged = track.model.update(at, Some(seconds.max(FASTEST).ln()));
        }
        self.sketch.clear();
        self.n_seen = std::mem::take(&mut self.n_spans);
        self.worst()
            .map_or(OperationScore::NORMAL, |worst| OperationScore {
                score: worst.judged.score,
                surprise: worst.judged.surprise,
                direction: worst.judged.direction,
            })
    }

    fn explain(&self) -> OperationFinding {
        let Some(worst) = self.worst() else {
            return OperationFinding {
                text: "was not seen".to_owned(),
                observed: None,
                expected: Expectation::Words("spans".to_owned()),
                weights: Vec::new(),
                series: Vec::new(),
            };
        };
        let expected = match &worst.judged.expected {
            Expectation::Between { low, high } => Expectation::Between {
                low: low.map(f64::exp),
                high: high.map(f64::exp),
            },
            other => other.clone(),
        };
        let name = |track: &Track| format!("p{}", prose::number(100.0 * track.quantile.get()));
        let weights = self.tracks.iter();
        OperationFinding {
            text: format!(
                "takes {} s at {} over {} spans, expected {} s",
                prose::number(worst.seen),
                name(worst),
                self.n_seen,
                prose::expectation(&expected)
            ),
            observed: Some(worst.seen),
            expected,
            weights: weights
                .map(|track| (name(track), track.judged.surprise))
                .collect(),
            series: worst.recent.to_vec(),
        }
    }

    fn save(&self) -> Option<Value> {
        let saved =
            |track: &Track| Some((track.quantile, track.model.save()?, track.recent.clone()));
        state::save(&Stored {
            n_spans: self.n_spans,
            sketch: self.sketch.clone(),
            tracks: self.tracks.iter().map(saved).collect::<Option<_>>()?,
        })
    }

    fn load(&mut self, value: &Value) -> Result<(), DetectError> {
        const WHAT: &str = "state of operation_latency";
        let stored: Stored = state::load(WHAT, value)?;
        let is_same = stored.tracks.len() == self.tracks.len()
            && stored
                .tracks
                .iter()
                .zip(&self.tracks)
                .all(|(a, b)| a.0 == b.quantile);
        state::require(is_same, WHAT, "the same quantiles as configured")?;
        let is_sound = stored.sketch.is_sound();
        state::require(is_sound, WHAT, "a sketch within its bounds")?;
        let mut tracks = self.tracks.clone();
        for (track, (_, model, recent)) in tracks.iter_mut().zip(stored.tracks) {
            track.model.load(&model)?;
            track.recent = recent;
        }
        (self.tracks, self.sketch, self.n_spans) = (tracks, stored.sketch, stored.n_spans);
        Ok(())
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    n_spans: u64,
    sketch: QuantileSketch,
    tracks: Vec<(Ratio, Value, Recent)>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use homeostasis_core::Rng;
    use homeostasis_core::record::Direction;
    use std::time::Duration;

    /// A window of `n` log-uniform latencies around `millis`.
    fn window(
        model: &mut OperationLatency,
        second: i64,
        millis: f64,
        n: u64,
        rng: &mut Rng,
    ) -> OperationScore {
        let at = Timestamp::from_secs(second);
        for _ in 0..n {
            let millis = millis * 4_f64.powf(rng.unit() - 0.5);
            let span = SpanRecord::new(at, Duration::from_secs_f64(millis / 1000.0), "op");
            model.take(&span, &[]);
        }
        model.close(at)
    }

    fn model() -> OperationLatency {
        OperationLatency::new(OperationLatencyConfig::default()).unwrap()
    }

    #[test]
    fn noise_is_normal_and_a_slow_tail_is_found_by_its_quantile() {
        let (mut model, mut rng) = (model(), Rng::from_seed(2));
        let mut n_abnormal = 0;
        for minute in 0..2000 {
            let judged = window(&mut model, 60 * minute, 20.0, 200, &mut rng);
            n_abnormal += u32::from(judged.score.get() > 0.5);
        }
        assert!(n_abnormal <= 2, "{n_abnormal} of 2000 windows of noise");
        // One request in 30 waits for a time limit: the median stays what it was.
        let at = Timestamp::from_secs(60 * 2000);
        for i in 0..200 {
            let millis = if i % 30 == 0 { 2000 } else { 20 };
            model.take(
                &SpanRecord::new(at, Duration::from_millis(millis), "op"),
                &[],
            );
        }
        let judged = model.close(at);
        assert!(
            judged.score.get() > 0.9 && judged.direction == Direction::High,
            "{judged:?}"
        );
        let finding = model.explain();
        assert!(
            finding.text.starts_with("takes 2.0") || finding.text.starts_with("takes 1.9"),
            "{}",
            finding.text
        );
        assert!(
            finding
                .text
                .contains(" at p99 over 200 spans, expected at most 0.0"),
            "{}",
            finding.text
        );
        let weight = |name: &str| {
            let found = finding
                .weights
                .iter()
                .find(|(quantile, _)| quantile == name);
            found.unwrap().1
        };
        assert!(weight("p99") > 2.0 * weight("p50"), "{:?}", finding.weights);
    }

    #[test]
    fn an_incident_of_ten_minutes_does_not_become_normal() {
        let (mut model, mut rng) = (model(), Rng::from_seed(3));
        for minute in 0..100 {
            window(&mut model, 30 * minute, 20.0, 100, &mut rng);
        }
        for minute in 100..120 {
            let judged = window(&mut model, 30 * minute, 200.0, 100, &mut rng);
            assert!(judged.score.get() > 0.5, "window {minute}: {judged:?}");
        }
        let judged = window(&mut model, 30 * 120, 20.0, 100, &mut rng);
        assert!(judged.score.get() < 0.5, "{judged:?}");
    }

    #[test]
    fn every_field_out_of_range_is_named() {
        let error = OperationLatency::new(OperationLatencyConfig {
            quantiles: vec![Ratio::ZERO; 9],
            k: f64::NAN,
            min_increase: 0.0,
            memory: 1,
            warm_up: 0,
            side: Side::Both,
        })
        .unwrap_err()
        .to_string();
        for field in [
            "quantiles = 9 quantiles",
            "quantiles = 0",
            "k = NaN",
            "min_increase = 0",
            "memory = 1",
            "warm_up = 0",
        ] {
            assert!(
                error.contains(&format!("operation_latency.{field}")),
                "{error}"
            );
        }
    }

    #[test]
    fn a_state_of_other_quantiles_is_refused() {
        let saved = model().save().unwrap();
        let config = OperationLatencyConfig {
            quantiles: vec![Ratio::saturating(0.9)],
            ..OperationLatencyConfig::default()
        };
        let mut other = OperationLatency::new(config).unwrap();
        assert!(other.load(&saved).is_err());
        assert!(model().load(&saved).is_ok());
    }
}
