//! Transitions with hysteresis: worse at once, better only when it lasts.

use homeostasis_core::signal::HealthState;
use serde::{Deserialize, Serialize};

/// The state of a target over time.
///
/// A worse state counts at once. A better one counts after `n_better` judgements in a row that are
/// better than the present state; then the worst of them is the new state. A judgement without data
/// proves nothing: it changes no state and ends the row.
///
/// ```
/// use homeostasis::core::signal::HealthState::{Degraded, Healthy, Unhealthy};
/// use homeostasis::detect::HealthTransitions;
///
/// let mut state = HealthTransitions::default();
/// let judged = [Healthy, Unhealthy, Healthy, Unhealthy, Degraded, Healthy, Healthy, Healthy];
/// let seen: Vec<_> = judged.into_iter().filter_map(|now| state.step(Some(now), 2)).collect();
/// assert_eq!(seen, [Healthy, Unhealthy, Unhealthy, Unhealthy, Unhealthy, Degraded, Degraded, Healthy]);
/// assert_eq!(state.step(None, 2), Some(Healthy));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HealthTransitions {
    state: Option<HealthState>,
    /// The worst of the better judgements in a row.
    better: Option<HealthState>,
    n_better: u32,
}

impl HealthTransitions {
    /// The present state; `None` before anything was known.
    pub fn state(&self) -> Option<HealthState> {
        self.state
    }

    /// Takes the next judgement and gives the state after it. An `n_better` of 0 counts as 1.
    pub fn step(&mut self, judged: Option<HealthState>, n_better: u32) -> Option<HealthState> {
        let (Some(now), Some(state)) = (judged, self.state) else {
            (self.better, self.n_better) = (None, 0);
            self.state = self.state.or(judged);
            return self.state;
        };
        if now >= state {
            (self.better, self.n_better) = (None, 0);
            self.state = Some(now);
            return self.state;
        }
        let worst = self.better.map_or(now, |before| before.max(now));
        self.n_better = self.n_better.saturating_add(1);
        if self.n_better >= n_better {
            (self.better, self.n_better) = (None, 0);
            self.state = Some(worst);
        } else {
            self.better = Some(worst);
        }
        self.state
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use HealthState::{Critical, Degraded, Healthy, Unhealthy};

    fn walk(judged: &[Option<HealthState>], n_better: u32) -> Vec<Option<HealthState>> {
        let mut state = HealthTransitions::default();
        let step = |now: &Option<HealthState>| state.step(*now, n_better);
        judged.iter().map(step).collect()
    }

    #[test]
    fn worse_counts_at_once_and_better_only_in_a_row() {
        let judged = [Healthy, Critical, Healthy, Healthy, Degraded, Unhealthy].map(Some);
        let seen = [Healthy, Critical, Critical, Critical, Degraded, Unhealthy].map(Some);
        assert_eq!(walk(&judged, 3), seen);
        assert_eq!(walk(&judged, 1), judged);
        assert_eq!(walk(&judged, 0), judged);
    }

    #[test]
    fn no_data_is_no_recovery() {
        let judged = [None, Some(Unhealthy), Some(Healthy), None, Some(Healthy)];
        let bad = Some(Unhealthy);
        assert_eq!(walk(&judged, 2), [None, bad, bad, bad, bad]);
    }
}
