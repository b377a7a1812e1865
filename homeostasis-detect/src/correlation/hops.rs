//! How far services are from each other in the topology.

use std::collections::{BTreeMap, BTreeSet};

use homeostasis_core::Topology;

/// Which services are near each other in a topology.
pub(super) struct Hops<'a> {
    neighbors: BTreeMap<&'a str, BTreeSet<&'a str>>,
    max: u32,
}

impl<'a> Hops<'a> {
    pub(super) fn of(topology: &'a Topology, max: u32) -> Self {
        let mut neighbors: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (service, facts) in topology.services() {
            for other in &facts.depends_on {
                neighbors.entry(service).or_default().insert(other);
                neighbors.entry(other).or_default().insert(service);
            }
        }
        Self { neighbors, max }
    }

    pub(super) fn are_near(&self, a: &str, b: &str) -> bool {
        let mut reached = BTreeSet::from([a]);
        for _ in 0..self.max {
            if reached.contains(b) {
                return true;
            }
            let next = reached
                .iter()
                .filter_map(|service| self.neighbors.get(service));
            let next: Vec<&str> = next.flatten().copied().collect();
            reached.extend(next);
        }
        reached.contains(b)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use homeostasis_core::ServiceFacts;

    #[test]
    fn calls_count_in_both_directions_and_up_to_the_bound() {
        let mut topology = Topology::default();
        for (service, calls) in [("a", "b"), ("b", "c"), ("c", "d"), ("x", "c")] {
            let depends_on = BTreeSet::from([calls.to_owned()]);
            topology.insert(
                service,
                ServiceFacts {
                    depends_on,
                    ..ServiceFacts::default()
                },
            );
        }
        let near = |max, a, b| Hops::of(&topology, max).are_near(a, b);
        assert!(near(0, "a", "a") && near(0, "unknown", "unknown"));
        assert!(!near(1, "a", "c") && near(2, "a", "c") && near(2, "c", "a"));
        // Siblings: two services that call the same one.
        assert!(near(2, "b", "x") && !near(2, "a", "d"));
        assert!(!near(16, "a", "unknown"));
    }
}
