//! Blast radius: how far a set of targets reaches in a topology.

use std::collections::BTreeSet;

use crate::record::{BlastRadius, RadiusLevel};
use crate::target::{Target, Topology};
use crate::unit::Ratio;

/// What a topology cannot know: clusters, regions, users, money. `None` means unknown.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Reach {
    /// How many clusters; `None` is one, as the topology is one cluster's.
    pub clusters: Option<u64>,
    /// How many regions; `None` is one.
    pub regions: Option<u64>,
    /// Which share of the users.
    pub users: Option<Ratio>,
    /// Which share of an hour's revenue.
    pub revenue: Option<Ratio>,
}

/// The reach of `targets`: level and risk score, 0 to 100.
///
/// A service counts with all its instances unless single instances are named. The level follows
/// the numbers: more than one region, more than one cluster or more than five services, more than
/// one service, more than one instance, one instance. The score adds up to 30 points for users, 25 for
/// services, 20 for instances and 25 for revenue; what is unknown counts as its services' share,
/// the best estimate there is. No target, or a target the topology does not know, is the worst
/// case.
///
/// Source: the project's source document on self-healing systems, section 7.2.
///
/// ```
/// use homeostasis::core::policy::{Reach, blast_radius};
/// use homeostasis::core::record::RadiusLevel;
/// use homeostasis::core::{ServiceFacts, Target, Topology};
/// let mut topology = Topology::default();
/// topology.insert("orders", ServiceFacts { instances: 3, ..ServiceFacts::default() });
/// let radius = blast_radius(&[Target::instance("orders", "0")?], &topology, Reach::default());
/// assert_eq!(radius.level, RadiusLevel::SingleInstance);
/// # Ok::<(), homeostasis::core::NameError>(())
/// ```
pub fn blast_radius(targets: &[Target], topology: &Topology, reach: Reach) -> BlastRadius {
    let services: BTreeSet<&str> = targets.iter().map(Target::service_name).collect();
    if services.is_empty()
        || services
            .iter()
            .any(|service| topology.service(service).is_none())
    {
        return BlastRadius::UNKNOWN;
    }
    let instances: u64 = services
        .iter()
        .map(|service| instances_of(service, targets, topology))
        .sum();
    let n_services = services.len() as u64;
    let level = if reach.regions.unwrap_or(1) > 1 {
        RadiusLevel::MultiRegion
    } else if reach.clusters.unwrap_or(1) > 1 || n_services > 5 {
        RadiusLevel::ClusterWide
    } else if n_services > 1 {
        RadiusLevel::MultipleServices
    } else if instances > 1 {
        RadiusLevel::SingleService
    } else {
        RadiusLevel::SingleInstance
    };
    let share = Ratio::of(n_services, topology.n_services() as u64);
    let instance_share = Ratio::of(instances, topology.n_instances());
    let risk_score = reach.users.unwrap_or(share).get() * 30.0
        + share.get() * 25.0
        + instance_share.get() * 20.0
        + reach.revenue.unwrap_or(share).get() * 25.0;
    BlastRadius {
        level,
        instances,
        services: n_services,
        risk_score,
    }
}

fn instances_of(service: &str, targets: &[Target], topology: &Topology) -> u64 {
    let whole = targets
        .iter()
        .any(|target| target.service_name() == service && target.instance_name().is_none());
    if whole {
        topology
            .service(service)
            .map_or(1, |facts| u64::from(facts.instances))
    } else {
        let named: BTreeSet<_> = targets
            .iter()
            .filter(|target| target.service_name() == service)
            .map(Target::instance_name)
            .collect();
        named.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::ServiceFacts;

    fn topology(n: usize) -> Topology {
        let mut topology = Topology::default();
        for i in 0..n {
            topology.insert(
                format!("s{i}"),
                ServiceFacts {
                    instances: 2,
                    ..ServiceFacts::default()
                },
            );
        }
        topology
    }

    fn services(n: usize) -> Vec<Target> {
        (0..n)
            .map(|i| Target::service(format!("s{i}")).unwrap())
            .collect()
    }

    #[test]
    fn the_level_follows_the_numbers() {
        let level = |n, reach| blast_radius(&services(n), &topology(10), reach).level;
        assert_eq!(level(1, Reach::default()), RadiusLevel::SingleService);
        assert_eq!(level(2, Reach::default()), RadiusLevel::MultipleServices);
        assert_eq!(level(6, Reach::default()), RadiusLevel::ClusterWide);
        assert_eq!(
            level(
                1,
                Reach {
                    regions: Some(2),
                    ..Reach::default()
                }
            ),
            RadiusLevel::MultiRegion
        );
    }

    #[test]
    fn the_score_is_100_when_everything_is_hit() {
        let all = blast_radius(&services(4), &topology(4), Reach::default());
        assert!((all.risk_score - 100.0).abs() < 1e-9);
        let quarter = blast_radius(&services(1), &topology(4), Reach::default());
        assert!((quarter.risk_score - 25.0).abs() < 1e-9);
    }

    #[test]
    fn what_nobody_knows_is_the_worst_case() {
        assert_eq!(
            blast_radius(&[], &topology(1), Reach::default()),
            BlastRadius::UNKNOWN
        );
        let stranger = [Target::service("stranger").unwrap()];
        assert_eq!(
            blast_radius(&stranger, &topology(1), Reach::default()),
            BlastRadius::UNKNOWN
        );
    }
}
