//! The circuit breaker of a remedy: after enough failures it is not tried again.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;
use crate::unit::Ratio;

/// When a breaker opens and closes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BreakerPolicy {
    /// This many failures in a row open it; 0 turns this trigger off. Default 3.
    pub consecutive_failures: u32,
    /// More than this share of failures among the last `window` attempts opens it. Default 0.5.
    pub failure_ratio: Ratio,
    /// How many attempts that share is taken over; it needs all of them. Default 10, at most 1000.
    pub window: usize,
    /// After this long one attempt is let through again. Default 1 h.
    pub cool_down: Duration,
}

impl Default for BreakerPolicy {
    fn default() -> Self {
        Self {
            consecutive_failures: 3,
            failure_ratio: Ratio::saturating(0.5),
            window: 10,
            cool_down: Duration::from_secs(3600),
        }
    }
}

/// What a breaker says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BreakerPhase {
    /// Attempts pass.
    Closed,
    /// Attempts are refused until then.
    Open {
        /// When one attempt is let through.
        until: Timestamp,
    },
    /// One attempt is let through; its outcome closes or re-opens it.
    HalfOpen,
}

/// What is remembered of the attempts; stored as a document.
///
/// ```
/// use homeostasis::core::policy::{BreakerPhase, BreakerPolicy, BreakerState};
/// use homeostasis::core::Timestamp;
/// let policy = BreakerPolicy::default();
/// let mut breaker = BreakerState::default();
/// for _ in 0..3 {
///     breaker.record(false, Timestamp::EPOCH, &policy);
/// }
/// assert!(matches!(breaker.phase(Timestamp::EPOCH, &policy), BreakerPhase::Open { .. }));
/// ```
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct BreakerState {
    /// The last outcomes, oldest first.
    recent: VecDeque<bool>,
    /// Failures since the last success.
    consecutive_failures: u32,
    /// When it opened, if it did.
    opened_at: Option<Timestamp>,
}

impl BreakerState {
    /// What it says at `now`.
    pub fn phase(&self, now: Timestamp, policy: &BreakerPolicy) -> BreakerPhase {
        match self.opened_at {
            None => BreakerPhase::Closed,
            Some(at) if now < at + policy.cool_down => BreakerPhase::Open {
                until: at + policy.cool_down,
            },
            Some(_) => BreakerPhase::HalfOpen,
        }
    }

    /// Remembers how an attempt ended at `now`.
    ///
    /// A success after the cool-down closes it; a failure then opens it anew.
    pub fn record(&mut self, success: bool, now: Timestamp, policy: &BreakerPolicy) {
        let half_open = self.phase(now, policy) == BreakerPhase::HalfOpen;
        self.recent.push_back(success);
        while self.recent.len() > policy.window.clamp(1, 1000) {
            self.recent.pop_front();
        }
        self.consecutive_failures = if success {
            0
        } else {
            self.consecutive_failures.saturating_add(1)
        };
        if half_open && success {
            *self = Self::default();
        } else if (half_open || self.opened_at.is_none())
            && !success
            && (half_open || self.should_open(policy))
        {
            self.opened_at = Some(now);
        }
    }

    /// Closes it and forgets: what a person does who has looked into it.
    pub fn reset(&mut self) {
        *self = Self::default();
    }

    /// How many of the remembered attempts succeeded, and how many there were.
    pub fn outcomes(&self) -> (u64, u64) {
        let successes = self.recent.iter().filter(|success| **success).count();
        (successes as u64, self.recent.len() as u64)
    }

    /// Failures since the last success.
    pub fn consecutive_failures(&self) -> u32 {
        self.consecutive_failures
    }

    fn should_open(&self, policy: &BreakerPolicy) -> bool {
        let streak = policy.consecutive_failures > 0
            && self.consecutive_failures >= policy.consecutive_failures;
        let failures = self.recent.iter().filter(|success| !**success).count();
        let full = self.recent.len() >= policy.window.max(1);
        streak
            || (full && Ratio::of(failures as u64, self.recent.len() as u64) > policy.failure_ratio)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn play(outcomes: &[bool]) -> BreakerState {
        let mut breaker = BreakerState::default();
        for outcome in outcomes {
            breaker.record(*outcome, Timestamp::EPOCH, &BreakerPolicy::default());
        }
        breaker
    }

    fn phase_after(breaker: &BreakerState, hours: u64) -> BreakerPhase {
        breaker.phase(
            Timestamp::EPOCH + Duration::from_secs(hours * 3600),
            &BreakerPolicy::default(),
        )
    }

    #[test]
    fn three_failures_in_a_row_open_it_two_do_not() {
        assert_eq!(
            phase_after(&play(&[false, false, true, false, false]), 0),
            BreakerPhase::Closed
        );
        assert!(matches!(
            phase_after(&play(&[false; 3]), 0),
            BreakerPhase::Open { .. }
        ));
    }

    #[test]
    fn more_than_half_of_the_last_ten_opens_it_half_does_not() {
        let half = [
            false, true, false, true, false, true, false, true, true, false,
        ];
        assert_eq!(phase_after(&play(&half), 0), BreakerPhase::Closed);
        let more = [
            false, true, false, false, true, false, true, false, true, false,
        ];
        assert!(matches!(
            phase_after(&play(&more), 0),
            BreakerPhase::Open { .. }
        ));
    }

    #[test]
    fn a_breaker_stored_by_an_older_version_can_be_read() {
        let stored = r#"{"consecutive_failures": 2}"#;
        let breaker: BreakerState = serde_json::from_str(stored).unwrap();
        assert_eq!(breaker.consecutive_failures(), 2);
        assert_eq!(phase_after(&breaker, 0), BreakerPhase::Closed);
    }

    #[test]
    fn after_the_cool_down_one_attempt_decides() {
        let mut breaker = play(&[false; 3]);
        assert_eq!(phase_after(&breaker, 1), BreakerPhase::HalfOpen);
        let later = Timestamp::EPOCH + Duration::from_secs(3600);
        let mut again = breaker.clone();
        again.record(false, later, &BreakerPolicy::default());
        assert!(matches!(
            again.phase(later, &BreakerPolicy::default()),
            BreakerPhase::Open { .. }
        ));
        breaker.record(true, later, &BreakerPolicy::default());
        assert_eq!(
            breaker.phase(later, &BreakerPolicy::default()),
            BreakerPhase::Closed
        );
    }
}
