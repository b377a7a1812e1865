//! The outcomes that ratios are taken over.

use std::collections::VecDeque;

use homeostasis_core::Timestamp;

use super::config::SlidingWindow;
use super::state::Outcome;

/// Into how many steps a window by time is divided.
const BUCKETS: i64 = 16;

/// How many there were, and of what kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Counts {
    pub(super) calls: u64,
    pub(super) failed: u64,
    pub(super) slow: u64,
}

impl Counts {
    fn add(&mut self, outcome: Outcome) {
        self.calls += 1;
        self.failed += u64::from(outcome.failed);
        self.slow += u64::from(outcome.slow);
    }
}

#[derive(Debug)]
pub(super) enum Window {
    Calls {
        limit: usize,
        kept: VecDeque<Outcome>,
        counts: Counts,
    },
    Time {
        width_ns: i64,
        /// By step, the oldest first; steps without a call are not there.
        buckets: VecDeque<(i64, Counts)>,
    },
}

impl Window {
    pub(super) fn new(config: &SlidingWindow) -> Self {
        match config {
            SlidingWindow::Calls { calls } => Self::Calls {
                limit: usize::try_from(*calls).unwrap_or(usize::MAX),
                kept: VecDeque::new(),
                counts: Counts::default(),
            },
            SlidingWindow::Time { length } => Self::Time {
                width_ns: i64::try_from(length.as_nanos() / 16)
                    .unwrap_or(i64::MAX)
                    .max(1),
                buckets: VecDeque::new(),
            },
        }
    }

    /// Adds an outcome of `now`; gives the counts with it.
    pub(super) fn record(&mut self, outcome: Outcome, now: Timestamp) -> Counts {
        match self {
            Self::Calls {
                limit,
                kept,
                counts,
            } => {
                if kept.len() >= *limit
                    && let Some(old) = kept.pop_front()
                {
                    counts.calls -= 1;
                    counts.failed -= u64::from(old.failed);
                    counts.slow -= u64::from(old.slow);
                }
                kept.push_back(outcome);
                counts.add(outcome);
                *counts
            }
            Self::Time { width_ns, buckets } => {
                let step = now.as_nanos().div_euclid(*width_ns);
                // Those of a future that is not any more, after a clock went back, leave as well.
                buckets.retain(|(at, _)| *at <= step && *at > step.saturating_sub(BUCKETS));
                match buckets.back_mut() {
                    Some((at, counts)) if *at == step => counts.add(outcome),
                    _ => {
                        let mut counts = Counts::default();
                        counts.add(outcome);
                        buckets.push_back((step, counts));
                    }
                }
                buckets
                    .iter()
                    .fold(Counts::default(), |sum, (_, counts)| Counts {
                        calls: sum.calls + counts.calls,
                        failed: sum.failed + counts.failed,
                        slow: sum.slow + counts.slow,
                    })
            }
        }
    }
}
