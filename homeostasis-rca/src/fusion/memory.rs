//! What earlier incidents left behind: how a deviation looks that was nobody's fault.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::activity::Activity;
use super::family::Family;

/// One earlier incident.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PastIncident {
    /// What was logged and traced then, its slices pooled.
    pub activity: Activity,
    /// The second best value of each family: what an innocent service can look like.
    pub runner_up: BTreeMap<Family, f64>,
    /// What logs and call structure said of each service.
    pub behavior: BTreeMap<String, f64>,
    /// Whose fault it was, as far as that is known: how these behaved is no habit, or a fault that
    /// recurs would teach to overlook it.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub culprits: BTreeSet<String>,
}

impl PastIncident {
    /// Keeps the [largest](Memory::MAX_COUNTS) of what was counted, without examples of lines, of
    /// the time lost on an edge its median, and nothing that has a name of more than
    /// [`MAX_NAME`](Memory::MAX_NAME) bytes or a number that is not finite.
    pub(super) fn trim(&mut self) {
        self.activity.habits(Memory::MAX_COUNTS, Memory::MAX_NAME);
        self.runner_up.retain(|_, value| value.is_finite());
        let is_kept = |name: &String| name.len() <= Memory::MAX_NAME;
        self.behavior
            .retain(|name, value| is_kept(name) && value.is_finite());
        self.culprits.retain(is_kept);
        while self.behavior.len() > Memory::MAX_COUNTS {
            self.behavior.pop_last();
        }
    }
}

/// The last incidents, oldest first.
///
/// It makes a family of evidence slower to accuse where its values are often high: services whose
/// logs vary anyway, or systems in which every incident moves every processor. A clone shares the
/// incidents.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Memory {
    #[serde(with = "shared")]
    incidents: VecDeque<Arc<PastIncident>>,
}

/// Incidents as a list of what they are.
mod shared {
    use std::collections::VecDeque;
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serializer};

    use super::PastIncident;

    pub(super) fn serialize<S: Serializer>(
        incidents: &VecDeque<Arc<PastIncident>>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.collect_seq(incidents.iter().map(|incident| &**incident))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<VecDeque<Arc<PastIncident>>, D::Error> {
        let read = Vec::<PastIncident>::deserialize(from)?;
        Ok(read.into_iter().map(Arc::new).collect())
    }
}

impl Memory {
    /// So many incidents are remembered.
    pub const CAPACITY: usize = 20;

    /// Of what was counted in one incident so many entries of each kind are remembered.
    pub const MAX_COUNTS: usize = 500;

    /// What has a longer name is not remembered, in bytes.
    pub const MAX_NAME: usize = 256;

    /// Remembers an incident and forgets the oldest one too many; of each kind of count the
    /// [largest](Self::MAX_COUNTS) are kept, of names those of at most
    /// [`MAX_NAME`](Self::MAX_NAME) bytes, and no examples.
    pub fn remember(&mut self, mut incident: PastIncident) {
        incident.trim();
        self.incidents.push_back(Arc::new(incident));
        while self.incidents.len() > Self::CAPACITY {
            self.incidents.pop_front();
        }
    }

    /// The incidents, oldest first.
    pub fn incidents(&self) -> impl DoubleEndedIterator<Item = &PastIncident> + ExactSizeIterator {
        self.incidents.iter().map(|incident| &**incident)
    }

    /// The runner-ups of `family` in the last incidents.
    pub(super) fn runner_ups(&self, family: Family) -> Vec<f64> {
        self.incidents()
            .filter_map(|incident| incident.runner_up.get(&family).copied())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fusion::activity::{EdgeGaps, LogCount};
    use homeostasis_core::signal::Level;

    fn line(kind: String) -> LogCount {
        LogCount {
            service: "orders".to_owned(),
            operation: Some("GET".to_owned()),
            kind,
            sample: "x".repeat(200),
            level: Level::Info,
            lines: 1,
            spans: 1,
        }
    }

    #[test]
    fn a_full_memory_of_a_large_system_stays_small_and_reads_back() {
        let mut memory = Memory::default();
        for _ in 0..=Memory::CAPACITY {
            let mut past = PastIncident::default();
            let long = "y".repeat(1 << 16);
            past.activity.templates = (0..5_000).map(|n| line(n.to_string())).collect();
            past.activity.places = (0..5_000).map(|n| line(format!("{long}{n}"))).collect();
            past.activity.failed = (0..5_000).map(|n| (format!("s{n}"), 1)).collect();
            past.activity.edges = (0..5_000)
                .map(|n| EdgeGaps {
                    caller: format!("s{n}"),
                    callee: "orders".to_owned(),
                    n: 64,
                    gaps: (0..64).map(|it| f64::from(it) + 0.25).collect(),
                })
                .collect();
            past.behavior = (0..5_000).map(|n| (format!("s{n}"), 1.0)).collect();
            past.behavior.insert("odd".to_owned(), f64::INFINITY);
            past.runner_up.insert(Family::Network, f64::NAN);
            past.runner_up.insert(Family::Order, 2.0);
            memory.remember(past);
        }
        let stored = serde_json::to_string(&memory).unwrap();
        assert!(stored.len() < 8 << 20, "{} bytes", stored.len());
        let read: Memory = serde_json::from_str(&stored).unwrap();
        assert_eq!(read, memory);
        let first = read.incidents().next().unwrap();
        assert_eq!(first.runner_up, [(Family::Order, 2.0)].into());
        assert_eq!(first.activity.edges[0].gaps, [31.75]);
    }
}
