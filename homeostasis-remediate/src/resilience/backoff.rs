//! How long to wait between attempts.

use std::time::Duration;

use homeostasis_core::document::duration_text;
use homeostasis_core::{Rng, Violation, Violations};
use serde::{Deserialize, Serialize};

use super::part::lasting;

/// How waits are spread, so that callers that failed together do not come again together.
///
/// Source: M. Brooker, *Exponential Backoff And Jitter*, AWS Architecture Blog, 2015.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Jitter {
    /// Uniform between zero and the exponential limit: the least work for the callee. The default.
    #[default]
    Full,
    /// Uniform between `initial` and three times the wait before: never shorter than `initial`.
    Decorrelated,
    /// The exponential limit itself. **Warning:** callers stay together.
    None,
}

/// Waits that grow exponentially.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Backoff {
    /// The limit of the first wait; it doubles with each. Default 100 ms.
    #[serde(with = "duration_text")]
    pub initial: Duration,
    /// No wait is longer. Default 10 s; at least `initial`.
    #[serde(with = "duration_text")]
    pub max: Duration,
    /// How waits are spread. Default full.
    pub jitter: Jitter,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            initial: Duration::from_millis(100),
            max: Duration::from_secs(10),
            jitter: Jitter::Full,
        }
    }
}

impl Backoff {
    pub(super) fn validate(&self, wrong: &mut Violations) {
        lasting(wrong, "backoff.initial", self.initial);
        if self.max < self.initial {
            let found = format!("{:?}", self.max);
            wrong.push(Violation::new(
                "backoff.max",
                found,
                "at least backoff.initial",
            ));
        }
    }

    /// The wait after failed attempt `attempt` (from 1), when the wait before was `previous`.
    ///
    /// At most `max`; of jitter `Decorrelated` at least `initial`.
    pub fn wait(&self, attempt: u32, previous: Duration, rng: &mut Rng) -> Duration {
        let doublings = attempt.saturating_sub(1).min(31);
        let limit = self.initial.saturating_mul(1 << doublings).min(self.max);
        match self.jitter {
            Jitter::None => limit,
            Jitter::Full => rng.jitter(limit),
            Jitter::Decorrelated => {
                let above = previous.max(self.initial).saturating_mul(3).min(self.max);
                self.initial + rng.jitter(above.saturating_sub(self.initial))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use homeostasis_core::Rng;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn waits_stay_within_their_bounds(
            seed: u64,
            initial_ms in 1_u64..1_000,
            factor in 1_u64..100,
            jitter in prop_oneof![Just(Jitter::Full), Just(Jitter::Decorrelated), Just(Jitter::None)],
        ) {
            let initial = Duration::from_millis(initial_ms);
            let backoff = Backoff { initial, max: Duration::from_millis(initial_ms * factor), jitter };
            let mut rng = Rng::from_seed(seed);
            let mut previous = Duration::ZERO;
            for attempt in 1..70 {
                let wait = backoff.wait(attempt, previous, &mut rng);
                let limit = initial.saturating_mul(1 << (attempt - 1).min(31)).min(backoff.max);
                prop_assert!(wait <= backoff.max);
                match jitter {
                    Jitter::Full => prop_assert!(wait <= limit),
                    Jitter::Decorrelated => {
                        prop_assert!(wait >= initial && wait <= previous.max(initial) * 3);
                    }
                    Jitter::None => prop_assert_eq!(wait, limit),
                }
                previous = wait;
            }
        }
    }
}
