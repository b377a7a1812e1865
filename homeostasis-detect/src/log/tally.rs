//! Counting in windows, and when a count is too much.

use std::time::Duration;

use homeostasis_core::Timestamp;
use homeostasis_core::document::format_duration;
use homeostasis_core::record::Anomaly;
use homeostasis_core::stage::DetectError;
use serde::{Deserialize, Serialize};

use super::rate::Rate;
use crate::recent::Recent;
use crate::state;

/// When a count is too much.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Bar {
    pub(super) window: Duration,
    /// How many windows are remembered.
    pub(super) history: u32,
    /// So many windows must have been seen before anything is judged.
    pub(super) min_windows: u32,
    /// Fewer are never too many.
    pub(super) min_count: u32,
    /// So many times what is expected, at least.
    pub(super) factor: f64,
    /// So surprising, at least, in nats.
    pub(super) surprise: f64,
    pub(super) reraise: Option<Duration>,
}

impl Bar {
    /// The number of the window in which `at` lies.
    pub(super) fn window_of(&self, at: Timestamp) -> i64 {
        let length = i64::try_from(self.window.as_nanos()).unwrap_or(i64::MAX);
        at.as_nanos().div_euclid(length.max(1))
    }

    /// Refuses what was counted in windows of another length.
    pub(super) fn require(&self, window: Duration) -> Result<(), DetectError> {
        state::require(
            window == self.window,
            &format!("counts in windows of {}", format_duration(window)),
            &format!(
                "windows of {}, as window says",
                format_duration(self.window)
            ),
        )
    }

    /// When the window with this number begins.
    pub(super) fn begin_of(&self, window: i64) -> Timestamp {
        let length = i64::try_from(self.window.as_nanos()).unwrap_or(i64::MAX);
        Timestamp::from_nanos(window.saturating_mul(length))
    }
}

/// One count, its past, and whether it is too much now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Tally {
    window: i64,
    count: u64,
    pub(super) rate: Rate,
    /// In which window an episode of too much began.
    burst: Option<i64>,
    raised: Option<Timestamp>,
    recent: Recent,
}

/// Too much.
#[derive(Debug, Clone)]
pub(super) struct Burst {
    pub(super) since: Timestamp,
    pub(super) count: f64,
    pub(super) mean: f64,
    /// From here on it is too much.
    pub(super) limit: f64,
    pub(super) surprise: f64,
}

impl Tally {
    /// Of something that was not seen in the `n_silent` windows before this one.
    pub(super) fn new(window: i64, n_silent: u64, bar: &Bar) -> Self {
        let mut rate = Rate::default();
        rate.learn_silence(n_silent, bar.history);
        Self {
            window,
            count: 0,
            rate,
            burst: None,
            raised: None,
            recent: Recent::default(),
        }
    }

    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// What is too much is told again.
    pub(super) fn forget_alarm(&mut self) {
        self.raised = None;
    }

    /// The clock was set back: what was counted later than `window` is left out.
    pub(super) fn rewind(&mut self, window: i64) {
        if self.window > window {
            (self.window, self.count) = (window, 0);
            (self.burst, self.raised) = (None, None);
            self.recent = Recent::default();
        }
    }

    /// Learns the windows before `window`; at least `least` were expected in the last one.
    pub(super) fn advance(&mut self, window: i64, bar: &Bar, least: f64) {
        if window <= self.window {
            return;
        }
        let mut count = self.count as f64;
        if self.burst.is_some() {
            // What is too much is learnt as the most that is not.
            let limit = self.rate.limit(bar.surprise, least);
            if count < limit {
                (self.burst, self.raised) = (None, None);
            }
            count = count.min(limit);
        }
        self.recent.push(
            bar.begin_of(self.window.saturating_add(1)),
            self.count as f64,
        );
        self.rate.learn(count, bar.history);
        let n_silent = u64::try_from(window.saturating_sub(self.window) - 1).unwrap_or(0);
        self.rate.learn_silence(n_silent, bar.history);
        if n_silent > 0 {
            (self.burst, self.raised) = (None, None);
        }
        (self.window, self.count) = (window, 0);
    }

    /// Counts records at `at`; tells if they are too many, now or still.
    pub(super) fn add(
        &mut self,
        at: Timestamp,
        weight: u32,
        bar: &Bar,
        least: f64,
    ) -> Option<Burst> {
        self.count = self.count.saturating_add(u64::from(weight));
        let (count, mean) = (self.count as f64, self.rate.mean().max(least));
        let is_due = match (self.raised, bar.reraise) {
            (None, _) => true,
            (Some(raised), Some(interval)) => at.since(raised) >= interval,
            (Some(_), None) => false,
        };
        if !is_due
            || self.rate.n_windows() < f64::from(bar.min_windows)
            || self.count < u64::from(bar.min_count)
            || count < bar.factor * mean
        {
            return None;
        }
        let surprise = self.rate.surprise(count, least);
        if surprise < bar.surprise {
            return None;
        }
        let began = *self.burst.get_or_insert(self.window);
        self.raised = Some(at);
        Some(Burst {
            since: bar.begin_of(began).min(at),
            count,
            mean,
            limit: self.rate.limit(bar.surprise, least),
            surprise,
        })
    }

    /// What another has counted that turns out to be the same.
    pub(super) fn join(&mut self, other: &Self) {
        if other.window == self.window {
            self.count = self.count.saturating_add(other.count);
        }
        self.rate.join(other.rate);
    }

    /// Counts of the last windows, this one included.
    pub(super) fn picture(&self, at: Timestamp) -> Vec<(Timestamp, f64)> {
        let mut points = self.recent.to_vec();
        points.push((at, self.count as f64));
        let n = points.len().saturating_sub(Anomaly::MAX_POINTS);
        points.split_off(n)
    }
}
