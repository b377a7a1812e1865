//! A bound on retries over all calls, so that they cannot turn a disturbance into an outage.

use std::sync::{Mutex, PoisonError};

use homeostasis_core::{ConfigError, Ratio, Timestamp, Violation, Violations};
use serde::{Deserialize, Serialize};

use super::part::within;

/// How many retries all callers together may make.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetryBudgetConfig {
    /// Retries per call. Default 0.2: calls that all fail become at most 1.2 times as many.
    pub ratio: Ratio,
    /// Retries per second in addition, for callers with few calls. Default 1; finite, 0 to 1000.
    pub per_second: f64,
    /// How many retries can be saved up; as many may come at once. Default 10; 1 to 100,000.
    pub capacity: u32,
}

impl Default for RetryBudgetConfig {
    fn default() -> Self {
        Self {
            ratio: Ratio::saturating(0.2),
            per_second: 1.0,
            capacity: 10,
        }
    }
}

/// Retries that calls have earned; shared by everyone who calls the same thing.
///
/// Over any stretch of time there are at most `capacity + ratio · calls + per_second · seconds`
/// retries. It begins full.
///
/// Source: the retry budget of Twitter's Finagle (*`RetryBudget`*), with a bucket that is capped in
/// place of one whose deposits expire.
#[derive(Debug)]
pub struct RetryBudget {
    config: RetryBudgetConfig,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    saved: f64,
    at: Option<Timestamp>,
}

impl RetryBudget {
    /// A full budget.
    ///
    /// # Errors
    /// A value is out of its range.
    pub fn new(config: RetryBudgetConfig) -> Result<Self, ConfigError> {
        let mut wrong = Violations::new();
        if !(0.0..=1000.0).contains(&config.per_second) {
            let found = config.per_second;
            wrong.push(Violation::new("per_second", found, "0 to 1000"));
        }
        within(&mut wrong, "capacity", config.capacity, 1..=100_000);
        let state = Mutex::new(State {
            saved: f64::from(config.capacity),
            at: None,
        });
        wrong.into_result(Self { config, state })
    }

    /// A call begins at `now`: it earns its part of a retry.
    pub fn earn(&self, now: Timestamp) {
        self.change(now, |saved| saved + self.config.ratio.get());
    }

    /// Takes one retry if there is one.
    pub fn spend(&self, now: Timestamp) -> bool {
        let mut spent = false;
        self.change(now, |saved| {
            spent = saved >= 1.0;
            if spent { saved - 1.0 } else { saved }
        });
        spent
    }

    fn change(&self, now: Timestamp, by: impl FnOnce(f64) -> f64) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let since = state.at.map_or(0.0, |at| now.since(at).as_secs_f64());
        // A clock that goes back earns nothing twice.
        state.at = state.at.max(Some(now));
        let capacity = f64::from(self.config.capacity);
        let refilled = (state.saved + since * self.config.per_second).min(capacity);
        state.saved = by(refilled).min(capacity);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_stretch_of_time_has_more_retries_than_were_earned(
            ratio in 0.0_f64..1.0,
            per_second in 0.0_f64..5.0,
            capacity in 1_u32..20,
            steps in proptest::collection::vec((0_u64..2_000, proptest::bool::ANY), 1..200),
        ) {
            let ratio = Ratio::saturating(ratio);
            let budget = RetryBudget::new(RetryBudgetConfig { ratio, per_second, capacity }).unwrap();
            let (mut now, mut log) = (Timestamp::EPOCH, Vec::new());
            for (wait, is_call) in steps {
                now = now + Duration::from_millis(wait);
                let retried = if is_call { budget.earn(now); false } else { budget.spend(now) };
                log.push((now, is_call, retried));
            }
            for (first, &(from, ..)) in log.iter().enumerate() {
                let (mut calls, mut retries) = (0.0, 0.0);
                for &(at, is_call, retried) in &log[first..] {
                    calls += f64::from(u8::from(is_call));
                    retries += f64::from(u8::from(retried));
                    let earned = ratio.get() * calls + per_second * at.since(from).as_secs_f64();
                    prop_assert!(retries <= f64::from(capacity) + earned + 1e-6);
                }
            }
        }
    }

    #[test]
    fn a_clock_that_jumps_back_and_forth_earns_once() {
        let budget = RetryBudget::new(RetryBudgetConfig {
            ratio: Ratio::saturating(0.0),
            per_second: 1.0,
            capacity: 2,
        })
        .unwrap();
        let at = Timestamp::from_secs;
        assert!(budget.spend(at(10)) && budget.spend(at(10)) && !budget.spend(at(10)));
        assert!(!budget.spend(at(5)));
        assert!(!budget.spend(at(10)));
        assert!(budget.spend(at(11)));
    }

    #[test]
    fn a_budget_that_cannot_be_is_refused() {
        let config = RetryBudgetConfig {
            per_second: f64::NAN,
            capacity: 0,
            ..RetryBudgetConfig::default()
        };
        assert_eq!(RetryBudget::new(config).unwrap_err().violations().len(), 2);
    }
}
