//! When novelty is told: once, and again only if it grows or after a rest.

use std::time::Duration;

use homeostasis_core::Timestamp;
use serde::{Deserialize, Serialize};

/// Novelty this many times that of the last alert is told at once.
const WORSE: f64 = 10.0;

/// The last alert.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Last {
    at: Timestamp,
    novelty: f64,
    /// The samples since.
    n: u32,
}

/// After an alert there is silence for a number of samples and for a time, whichever is longer.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Alerts {
    last: Option<Last>,
}

impl Alerts {
    /// What is told of `novelty` (in units of its limit) at `at`: itself, or 0 while there is silence.
    /// An alert is what is at least 1.
    pub(super) fn step(
        &mut self,
        at: Timestamp,
        novelty: f64,
        samples: u32,
        time: Duration,
    ) -> f64 {
        if let Some(last) = &mut self.last {
            last.n = last.n.saturating_add(1);
            let rests = last.n < samples || at.since(last.at) < time;
            if rests && novelty <= WORSE * last.novelty {
                return 0.0;
            }
        }
        if novelty >= 1.0 {
            let n = 0;
            self.last = Some(Last { at, novelty, n });
        }
        novelty
    }

    pub(super) fn is_sound(&self) -> bool {
        self.last.is_none_or(|last| last.novelty >= 1.0)
    }
}
