//! How many series usually begin to deviate, and how surprising more of them are.

use std::collections::VecDeque;
use std::time::Duration;

use homeostasis_core::Timestamp;
use serde::{Deserialize, Serialize};

/// The least windows the rate is an average of.
const MIN_WINDOWS: f64 = 100.0;
/// Onsets that wait to count.
const MAX_RECENT: usize = 4096;
/// Surprises are told up to this, in nats.
pub(super) const MOST_SURPRISE: f64 = 700.0;

/// How many onsets a window usually has: an exponentially weighted mean.
///
/// Onsets count when they are two windows old, so that a burst does not explain itself.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct OnsetRate {
    window: Duration,
    history: Duration,
    state: StoredRate,
}

/// As it is stored.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StoredRate {
    onsets: f64,
    windows: f64,
    until: Option<Timestamp>,
    /// Those that do not count yet.
    recent: VecDeque<Timestamp>,
}

impl OnsetRate {
    pub(super) fn new(window: Duration, history: Duration) -> Self {
        Self {
            window,
            history,
            state: StoredRate::default(),
        }
    }

    /// Time passes until `at`.
    pub(super) fn advance(&mut self, at: Timestamp) {
        let state = &mut self.state;
        let until = *state.until.get_or_insert(at);
        if at <= until {
            return;
        }
        let passed = at.since(until).as_secs_f64();
        let kept = (-passed / self.history.as_secs_f64()).exp();
        state.windows = state.windows * kept + passed / self.window.as_secs_f64();
        state.onsets *= kept;
        state.until = Some(at);
        let is_old = |onset: &Timestamp| at.since(*onset) > 2 * self.window;
        while state.recent.front().is_some_and(is_old) {
            state.recent.pop_front();
            state.onsets += 1.0;
        }
    }

    /// A series begins to deviate.
    pub(super) fn onset(&mut self, at: Timestamp) {
        self.state.recent.push_back(at);
        if self.state.recent.len() > MAX_RECENT {
            self.state.recent.pop_front();
            self.state.onsets += 1.0;
        }
    }

    pub(super) fn per_window(&self) -> f64 {
        self.state.onsets / self.state.windows.max(MIN_WINDOWS)
    }

    pub(super) fn save(&self) -> StoredRate {
        self.state.clone()
    }

    pub(super) fn load(&mut self, stored: StoredRate) {
        self.state = stored;
    }
}

/// `-ln P(X >= k)` of the Poisson distribution, in nats, at most 700.
pub(super) fn poisson_surprise(rate: f64, k: usize) -> f64 {
    if k as f64 <= rate {
        // At least about a half.
        return 0.0;
    }
    let k = k as f64;
    let ln_first = -rate + k * rate.ln() - libm::lgamma(k + 1.0);
    let (mut sum, mut term, mut at) = (1.0_f64, 1.0, k);
    while term > 1e-12 * sum {
        at += 1.0;
        term *= rate / at;
        sum += term;
    }
    (-(ln_first + sum.ln())).clamp(0.0, MOST_SURPRISE)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sums with sixty decimal digits (Python's `decimal`).
    const EXACT: [(f64, usize, f64); 5] = [
        (0.05, 2, 0.001_209_104_274_250_290_4),
        (0.05, 6, 2.079_137_636_923_379_6e-11),
        (1.5, 9, 2.773_581_924_686_274_3e-05),
        (20.0, 45, 1.060_263_129_940_271_6e-06),
        (3.0, 4, 0.352_768_111_217_768_74),
    ];

    #[test]
    fn the_poisson_tail_agrees_with_exact_sums() {
        for (rate, k, tail) in EXACT {
            let told = (-poisson_surprise(rate, k)).exp();
            assert!(
                (told / tail - 1.0).abs() < 1e-9,
                "{rate} {k}: {told}, expected {tail}"
            );
        }
        assert_eq!(poisson_surprise(5.0, 3), 0.0);
        assert_eq!(poisson_surprise(0.05, 5000), MOST_SURPRISE);
    }

    #[test]
    fn the_rate_is_a_mean_over_its_history_and_a_burst_counts_later() {
        let (window, history) = (Duration::from_secs(60), Duration::from_secs(86_400));
        let mut rate = OnsetRate::new(window, history);
        for minute in 0..3000 {
            let at = Timestamp::from_secs(60 * minute);
            rate.advance(at);
            if minute % 2 == 0 {
                rate.onset(at);
            }
        }
        assert!(
            (rate.per_window() - 0.5).abs() < 0.01,
            "{}",
            rate.per_window()
        );
        let burst = Timestamp::from_secs(60 * 3000);
        (0..50).for_each(|_| rate.onset(burst));
        rate.advance(burst);
        assert!(rate.per_window() < 0.51);
        rate.advance(burst + 3 * window);
        assert!(rate.per_window() > 0.52);
    }
}
