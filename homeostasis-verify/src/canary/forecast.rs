//! What a canary can tell, said before it starts.

use std::time::Duration;

use homeostasis_core::record::{CanaryAnswer, CanaryForecast, CanaryInterval, CanaryTraffic};
use homeostasis_core::stage::CanaryAnalysis;
use homeostasis_core::{Rng, Timestamp};

use super::config::CanaryConfig;
use super::judge::CanaryJudge;
use crate::stats::simulate::Arms;

/// Runs for each question; odd, so that there is a middle one.
const RUNS: usize = 51;
/// A run is cut into at most so many intervals.
const MOST_INTERVALS: u32 = 60;
/// Effects lie this factor apart, from 1.1 on; the largest is a hundredfold.
const GRID: f64 = 1.15;
const N_EFFECTS: u32 = 33;
const SEED: u64 = 7;

/// Runs the judge itself on made-up traffic with a fixed seed, so that it says what the judge will
/// do and the same question has the same answer. The traffic has no noise, while the judge allows
/// for what is configured; a calibrated judge is faster than said here. O(runs * intervals).
pub(super) fn forecast(config: &CanaryConfig, traffic: &CanaryTraffic) -> CanaryForecast {
    let world = World::new(config, traffic);
    let finds = |effect: f64| world.median(effect, CanaryAnswer::RollBack).is_some();
    let effect = |step: u32| 1.1 * libm::pow(GRID, f64::from(step));
    // The smallest step that is found: a larger effect is found more often.
    let (mut low, mut high) = (0, N_EFFECTS);
    while low < high {
        let middle = low + (high - low) / 2;
        if finds(effect(middle)) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    let minimum_effect = (low < N_EFFECTS).then(|| effect(low));
    let twice_found_after = world.median(2.0, CanaryAnswer::RollBack);
    let promoted_after = world.median(1.0, CanaryAnswer::Promote);
    let mut forecast = CanaryForecast {
        minimum_effect,
        twice_found_after,
        promoted_after,
        summary: String::new(),
    };
    forecast.summary = summary(config, traffic, &forecast);
    forecast
}

struct World<'a> {
    config: &'a CanaryConfig,
    traffic: &'a CanaryTraffic,
    step: Duration,
    n: u32,
}

impl<'a> World<'a> {
    fn new(config: &'a CanaryConfig, traffic: &'a CanaryTraffic) -> Self {
        let step = Duration::from_secs(60)
            .max(config.horizon / MOST_INTERVALS)
            .min(config.horizon);
        let n = (config.horizon.as_secs_f64() / step.as_secs_f64()).ceil();
        let n = (1..=MOST_INTERVALS).find(|k| f64::from(*k) >= n);
        Self {
            config,
            traffic,
            step,
            n: n.unwrap_or(MOST_INTERVALS),
        }
    }

    /// When half of all runs had `answer`; `None` if fewer did.
    fn median(&self, ratio: f64, answer: CanaryAnswer) -> Option<Duration> {
        let requests = self.traffic.requests_per_minute * self.step.as_secs_f64() / 60.0;
        let share = self.traffic.canary_share.get();
        if !(requests.is_finite() && requests > 0.0) {
            return None;
        }
        let arms = Arms {
            requests: (requests * share, requests * (1.0 - share)),
            base: self.traffic.failure_ratio.get(),
            ratio,
            noise: 0.0,
        };
        let mut rng = Rng::from_seed(SEED);
        let mut times: Vec<_> = (0..RUNS)
            .filter_map(|_| self.run(arms, &mut rng, answer))
            .collect();
        times.sort_unstable();
        times.get(RUNS / 2).copied()
    }

    fn run(&self, arms: Arms, rng: &mut Rng, answer: CanaryAnswer) -> Option<Duration> {
        let mut judge = CanaryJudge::checked(CanaryConfig {
            // Made-up traffic has no latencies.
            latency: None,
            ..self.config.clone()
        });
        for k in 1..=self.n {
            let (canary, baseline) = arms.draw(rng);
            judge.observe(&CanaryInterval {
                ended: Timestamp::EPOCH + self.step * k,
                length: self.step,
                canary: Some(canary),
                baseline: Some(baseline),
            });
            if judge.answer() != CanaryAnswer::Continue {
                return (judge.answer() == answer).then(|| self.step * k);
            }
        }
        None
    }
}

fn summary(config: &CanaryConfig, traffic: &CanaryTraffic, forecast: &CanaryForecast) -> String {
    let after = |time: Option<Duration>| {
        time.map_or_else(
            || format!("not within {:.0} min", config.horizon.as_secs_f64() / 60.0),
            |time| format!("after about {:.0} min", time.as_secs_f64() / 60.0),
        )
    };
    let smallest = forecast.minimum_effect.map_or_else(
        || "no change of the failures can be seen".to_owned(),
        |effect| format!("{effect:.1} times the failures are the least that is seen"),
    );
    format!(
        "with {:.0} requests per minute, {} of them to the canary, and {} failing: {smallest}; twice the failures are found {}; a good version is promoted {}",
        traffic.requests_per_minute,
        traffic.canary_share,
        traffic.failure_ratio,
        after(forecast.twice_found_after),
        after(forecast.promoted_after),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use homeostasis_core::Ratio;

    fn ask(requests_per_minute: f64, share: f64, failing: f64) -> CanaryForecast {
        let traffic = CanaryTraffic {
            requests_per_minute,
            canary_share: Ratio::new(share).unwrap(),
            failure_ratio: Ratio::new(failing).unwrap(),
        };
        forecast(&CanaryConfig::default(), &traffic)
    }

    #[test]
    fn more_traffic_shows_smaller_effects_earlier() {
        let (few, many) = (ask(600.0, 0.5, 0.005), ask(60_000.0, 0.5, 0.005));
        let (few_least, many_least) = (few.minimum_effect.unwrap(), many.minimum_effect.unwrap());
        assert!(many_least < few_least, "{few:?} {many:?}");
        assert!(
            many.twice_found_after.unwrap() <= Duration::from_secs(900),
            "{many:?}"
        );
        assert!(many.promoted_after.is_some(), "{many:?}");
        assert_eq!(few.promoted_after, None, "{few:?}");
        assert!(few.summary.contains("not within 30 min"), "{}", few.summary);
        assert_eq!(
            few,
            ask(600.0, 0.5, 0.005),
            "the same question, the same answer"
        );
    }

    #[test]
    fn without_traffic_nothing_is_promised_and_without_failures_rarity_is() {
        for nothing in [
            ask(0.0, 0.5, 0.01),
            ask(f64::NAN, 0.5, 0.01),
            ask(600.0, 0.0, 0.01),
        ] {
            assert_eq!(nothing.minimum_effect, None);
            assert_eq!(nothing.promoted_after, None);
            assert!(nothing.summary.contains("no change"), "{}", nothing.summary);
        }
        let clean = ask(6000.0, 0.5, 0.0);
        assert!(
            clean.promoted_after.unwrap() <= Duration::from_secs(600),
            "{clean:?}"
        );
    }
}
