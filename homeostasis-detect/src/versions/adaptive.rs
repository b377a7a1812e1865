//! A kernel whose limit is the tail of its own past.

use homeostasis_core::stage::{DetectError, KernelScore, SeriesDetector};
use homeostasis_core::{ConfigError, Ratio, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::tail::{TailThreshold, TailThresholdConfig};
use crate::{scale, state};

/// Gives a kernel a limit that adapts to its series: the surprise that only the share `risk` of samples exceeds.
///
/// The same deviation is common in one series and rare in another; this learns from the surprises of the kernel which
/// are rare ([`TailThreshold`]), within the bounds of the configuration.
/// The score is 0.5 at the threshold; until it is calibrated, scores are those of the kernel.
/// Late and repeated samples are scored and not learned, missing values neither.
/// The kernel's surprise must keep its order above its own limit, as those of this crate do.
/// Adds about 11 KB per series with the defaults.
///
/// # Examples
/// ```
/// use homeostasis::core::{Rng, Timestamp, stage::SeriesDetector};
/// use homeostasis::detect::{AdaptiveThreshold, Ewma, EwmaConfig, TailThresholdConfig};
///
/// let ewma = Ewma::new(EwmaConfig::default())?;
/// let mut adaptive = AdaptiveThreshold::new(ewma, TailThresholdConfig::default())?;
/// let mut rng = Rng::from_seed(1);
/// for second in 0..5000 {
///     // Spikes are normal here: one sample in 50 is ten times as high.
///     let value = if rng.below(50) == 0 { 10.0 } else { 1.0 } + rng.unit();
///     adaptive.update(Timestamp::from_secs(second), Some(value));
/// }
/// assert!(adaptive.update(Timestamp::from_secs(5000), Some(10.5)).score.get() < 0.5);
/// assert!(adaptive.update(Timestamp::from_secs(5001), Some(1e6)).score.get() > 0.5);
/// # Ok::<(), homeostasis::core::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct AdaptiveThreshold<K> {
    kernel: K,
    tail: TailThreshold,
    last: Option<Timestamp>,
}

impl<K: SeriesDetector> AdaptiveThreshold<K> {
    /// The kernel with a limit that has to be learned.
    ///
    /// # Errors
    /// Every field of `config` outside its range.
    pub fn new(kernel: K, config: TailThresholdConfig) -> Result<Self, ConfigError> {
        Ok(Self {
            kernel,
            tail: TailThreshold::new(config)?,
            last: None,
        })
    }

    /// The surprise at which the score is 0.5, in nats; nothing until it is calibrated.
    pub fn threshold(&self) -> Option<f64> {
        self.tail.threshold()
    }
}

impl<K: SeriesDetector> SeriesDetector for AdaptiveThreshold<K> {
    fn update(&mut self, at: Timestamp, value: Option<f64>) -> KernelScore {
        let mut judged = self.kernel.update(at, value);
        if scale::usable(value).is_none() {
            return judged;
        }
        if let Some(threshold) = self.tail.threshold() {
            judged.score = scale::score(judged.surprise / threshold);
        }
        if self.last.is_none_or(|last| at > last) {
            self.last = Some(at);
            self.tail.learn(judged.surprise);
        }
        judged
    }

    fn explain(&self) -> Option<String> {
        self.kernel.explain()
    }

    fn contributions(&self) -> Vec<(String, f64)> {
        self.kernel.contributions()
    }

    fn heap_bytes(&self) -> usize {
        self.kernel.heap_bytes() + self.tail.heap_bytes()
    }

    fn stagger(&mut self, place: Ratio) {
        self.kernel.stagger(place);
    }

    fn save(&self) -> Option<Value> {
        state::save(&Stored {
            kernel: self.kernel.save()?,
            tail: self.tail.save()?,
            last: self.last,
        })
    }

    fn load(&mut self, value: &Value) -> Result<(), DetectError> {
        let stored: Stored = state::load("state of adaptive_threshold", value)?;
        let mut tail = self.tail.clone();
        tail.load(&stored.tail)?;
        // Last, because it may fail and then keeps what it has.
        self.kernel.load(&stored.kernel)?;
        (self.tail, self.last) = (tail, stored.last);
        Ok(())
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    kernel: Value,
    tail: Value,
    last: Option<Timestamp>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Ewma, EwmaConfig};
    use homeostasis_core::Rng;

    fn adaptive() -> AdaptiveThreshold<Ewma> {
        let ewma = Ewma::new(EwmaConfig::default()).unwrap();
        AdaptiveThreshold::new(ewma, TailThresholdConfig::default()).unwrap()
    }

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    /// Heavy noise: the ratio of two uniform numbers.
    fn noise(rng: &mut Rng) -> f64 {
        rng.unit() / (0.01 + rng.unit())
    }

    #[test]
    fn a_heavy_tail_alarms_by_its_risk_and_not_by_that_of_a_normal_distribution() {
        let (mut adaptive, mut rng) = (adaptive(), Rng::from_seed(31));
        let mut plain = Ewma::new(EwmaConfig::default()).unwrap();
        let (mut n_adaptive, mut n_plain) = (0, 0);
        for secs in 0..30_000 {
            let value = Some(noise(&mut rng));
            let judged = adaptive.update(at(secs), value);
            let by_kernel = plain.update(at(secs), value);
            if secs >= 5000 {
                n_adaptive += u32::from(judged.score.get() > 0.5);
                n_plain += u32::from(by_kernel.score.get() > 0.5);
            }
        }
        assert!(
            n_plain > 200 && n_adaptive < 20,
            "{n_plain} without, {n_adaptive} with"
        );
        assert!(adaptive.update(at(30_000), Some(1e9)).score.get() > 0.5);
    }

    #[test]
    fn what_is_missing_or_late_is_not_learned_and_a_stored_state_goes_on_to_the_bit() {
        let (mut adaptive, mut rng) = (adaptive(), Rng::from_seed(32));
        for secs in 0..3000 {
            adaptive.update(at(secs), Some(noise(&mut rng)));
        }
        let before = adaptive.clone();
        adaptive.update(at(2999), Some(3.0));
        adaptive.update(at(3000), Some(f64::NAN));
        assert_eq!(adaptive.tail, before.tail);
        let mut restored = self::adaptive();
        let text = serde_json::to_string(&adaptive.save().unwrap()).unwrap();
        restored
            .load(&serde_json::from_str(&text).unwrap())
            .unwrap();
        for secs in 3001..6000 {
            let value = Some(noise(&mut rng));
            assert_eq!(
                restored.update(at(secs), value),
                adaptive.update(at(secs), value)
            );
        }
        assert!(restored.load(&Value::Null).is_err());
    }
}
