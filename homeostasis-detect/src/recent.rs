//! The last points of a series, for the picture of an anomaly.

use std::collections::VecDeque;

use homeostasis_core::Timestamp;
use homeostasis_core::record::Anomaly;
use serde::{Deserialize, Serialize};

/// At most [`Anomaly::MAX_POINTS`] finite points, in the order of their arrival.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Recent {
    points: VecDeque<(Timestamp, f64)>,
}

impl Recent {
    pub(crate) fn push(&mut self, at: Timestamp, value: f64) {
        if self.points.len() >= Anomaly::MAX_POINTS {
            self.points.pop_front();
        }
        self.points.push_back((at, value));
    }

    pub(crate) fn to_vec(&self) -> Vec<(Timestamp, f64)> {
        let skipped = self.points.len().saturating_sub(Anomaly::MAX_POINTS);
        self.points.iter().skip(skipped).copied().collect()
    }
}
