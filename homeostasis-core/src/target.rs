//! Who it is about: services, their instances, and how they depend on each other.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::id::NameError;

/// A thing that can be ill and can be acted on: a service, or one instance of it.
///
/// Written `service` or `service/instance`.
///
/// ```
/// use homeostasis::core::Target;
/// let one: Target = "orders/0".parse()?;
/// assert!(Target::service("orders")?.contains(&one));
/// # Ok::<(), homeostasis::core::NameError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Target {
    service: ServiceName,
    instance: Option<ServiceName>,
}

crate::id::name!(
    /// The name of a service or of one of its instances.
    ServiceName,
    "service name"
);

impl Target {
    /// The whole service.
    pub fn service(name: impl Into<String>) -> Result<Self, NameError> {
        Ok(Self {
            service: part(name.into())?,
            instance: None,
        })
    }

    /// One instance of a service.
    pub fn instance(
        service: impl Into<String>,
        instance: impl Into<String>,
    ) -> Result<Self, NameError> {
        Ok(Self {
            service: part(service.into())?,
            instance: Some(part(instance.into())?),
        })
    }

    /// The name of the service.
    pub fn service_name(&self) -> &str {
        self.service.as_str()
    }

    /// The name of the instance, if this is one.
    pub fn instance_name(&self) -> Option<&str> {
        self.instance.as_ref().map(ServiceName::as_str)
    }

    /// Whether `other` is this or a part of it.
    pub fn contains(&self, other: &Self) -> bool {
        self.service == other.service
            && (self.instance.is_none() || self.instance == other.instance)
    }

    /// The service as a whole.
    #[must_use]
    pub fn to_service(&self) -> Self {
        Self {
            service: self.service.clone(),
            instance: None,
        }
    }
}

fn part(name: String) -> Result<ServiceName, NameError> {
    let checked = ServiceName::new(name)?;
    if checked.as_str().contains('/') {
        // The slash separates service and instance; the empty name carries the standard refusal.
        return ServiceName::new(format!("{checked}\u{0}"));
    }
    Ok(checked)
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.instance {
            None => write!(f, "{}", self.service),
            Some(instance) => write!(f, "{}/{instance}", self.service),
        }
    }
}

impl FromStr for Target {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('/') {
            None => Self::service(text),
            Some((service, instance)) => Self::instance(service, instance),
        }
    }
}

impl Serialize for Target {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Target {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// Who calls whom, and how much of everything there is.
///
/// Edges point from the caller to what it depends on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Topology {
    services: BTreeMap<String, ServiceFacts>,
}

/// What is known of one service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceFacts {
    /// How many instances are configured; at least 1.
    pub instances: u32,
    /// What it calls.
    pub depends_on: BTreeSet<String>,
    /// Whether an operator marked it critical: approvals are asked earlier.
    pub critical: bool,
}

impl Default for ServiceFacts {
    fn default() -> Self {
        Self {
            instances: 1,
            depends_on: BTreeSet::new(),
            critical: false,
        }
    }
}

impl Topology {
    /// Adds or replaces a service.
    pub fn insert(&mut self, service: impl Into<String>, facts: ServiceFacts) {
        let facts = ServiceFacts {
            instances: facts.instances.max(1),
            ..facts
        };
        self.services.insert(service.into(), facts);
    }

    /// What is known of `service`.
    pub fn service(&self, service: &str) -> Option<&ServiceFacts> {
        self.services.get(service)
    }

    /// All services by name.
    pub fn services(&self) -> impl Iterator<Item = (&str, &ServiceFacts)> {
        self.services
            .iter()
            .map(|(name, facts)| (name.as_str(), facts))
    }

    /// How many services are known.
    pub fn n_services(&self) -> usize {
        self.services.len()
    }

    /// How many instances are known in all.
    pub fn n_instances(&self) -> u64 {
        self.services
            .values()
            .map(|facts| u64::from(facts.instances))
            .sum()
    }

    /// Whether `service` depends on `other`, directly or through others. A service does not depend
    /// on itself unless a cycle says so. O(edges).
    pub fn depends_on(&self, service: &str, other: &str) -> bool {
        let mut seen = BTreeSet::new();
        let mut open = vec![service];
        while let Some(present) = open.pop() {
            for next in self
                .services
                .get(present)
                .into_iter()
                .flat_map(|facts| &facts.depends_on)
            {
                if next == other {
                    return true;
                }
                if seen.insert(next.as_str()) {
                    open.push(next);
                }
            }
        }
        false
    }

    /// Whether a failure of one can show in the other: the same, or one depends on the other.
    pub fn related(&self, a: &str, b: &str) -> bool {
        a == b || self.depends_on(a, b) || self.depends_on(b, a)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain() -> Topology {
        let mut topology = Topology::default();
        for (caller, callee) in [("gateway", "orders"), ("orders", "database")] {
            topology.insert(
                caller,
                ServiceFacts {
                    depends_on: BTreeSet::from([callee.to_owned()]),
                    ..ServiceFacts::default()
                },
            );
        }
        topology.insert("database", ServiceFacts::default());
        topology
    }

    #[test]
    fn dependence_is_transitive_and_directed() {
        let topology = chain();
        assert!(topology.depends_on("gateway", "database"));
        assert!(!topology.depends_on("database", "gateway"));
        assert!(topology.related("database", "gateway"));
    }

    #[test]
    fn a_cycle_ends() {
        let mut topology = chain();
        topology.insert(
            "database",
            ServiceFacts {
                depends_on: BTreeSet::from(["gateway".to_owned()]),
                ..ServiceFacts::default()
            },
        );
        assert!(topology.depends_on("gateway", "gateway"));
        assert!(!topology.depends_on("gateway", "unknown"));
    }

    #[test]
    fn targets_read_back_and_refuse_a_third_part() {
        for text in ["orders", "orders/0"] {
            assert_eq!(text.parse::<Target>().unwrap().to_string(), text);
        }
        assert!("a/b/c".parse::<Target>().is_err());
        assert!("".parse::<Target>().is_err());
    }
}
