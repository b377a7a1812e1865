//! What earlier incidents left behind: how a deviation looks that was nobody's fault.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use super::activity::Activity;
use super::family::Family;

/// One earlier incident. Whether it was explained, and by what, is not known and not needed.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PastIncident {
    /// What was logged and traced then, its slices pooled.
    pub activity: Activity,
    /// The second best value of each family: what an innocent service can look like.
    pub runner_up: BTreeMap<Family, f64>,
    /// What logs and call structure said of each service.
    pub behavior: BTreeMap<String, f64>,
}

/// The last incidents, oldest first.
///
/// It makes a family of evidence slower to accuse where its values are often high: services whose
/// logs vary anyway, or systems in which every incident moves every processor.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Memory {
    incidents: VecDeque<PastIncident>,
}

impl Memory {
    /// So many incidents are remembered.
    pub const CAPACITY: usize = 20;

    /// Of what was counted in one incident so many entries of each kind are remembered.
    pub const MAX_COUNTS: usize = 2_000;

    /// Remembers an incident and forgets the oldest one too many; of each kind of count the
    /// [largest](Self::MAX_COUNTS) are kept.
    pub fn remember(&mut self, mut incident: PastIncident) {
        incident.activity.keep_largest(Self::MAX_COUNTS);
        self.incidents.push_back(incident);
        while self.incidents.len() > Self::CAPACITY {
            self.incidents.pop_front();
        }
    }

    /// The incidents, oldest first.
    pub fn incidents(&self) -> impl DoubleEndedIterator<Item = &PastIncident> + ExactSizeIterator {
        self.incidents.iter()
    }

    /// The runner-ups of `family` in the last incidents.
    pub(super) fn runner_ups(&self, family: Family) -> Vec<f64> {
        let all = self.incidents.iter();
        all.filter_map(|incident| incident.runner_up.get(&family).copied())
            .collect()
    }
}
