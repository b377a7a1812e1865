//! How bad it is, and how far it reaches.

use std::fmt;

use serde::{Deserialize, Serialize};

/// `Sev0` is the worst. Ordered so that `Sev0 < Sev1`: sort ascending for urgency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Complete outage or loss of data.
    Sev0,
    /// Major function impaired.
    Sev1,
    /// Partial function impaired.
    Sev2,
    /// Minor.
    Sev3,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sev0 => "SEV0",
            Self::Sev1 => "SEV1",
            Self::Sev2 => "SEV2",
            Self::Sev3 => "SEV3",
        })
    }
}

/// How far something reaches, smallest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RadiusLevel {
    /// One container, process or machine.
    SingleInstance,
    /// All instances of one service.
    SingleService,
    /// Several services.
    MultipleServices,
    /// A cluster or data center.
    ClusterWide,
    /// Several regions.
    MultiRegion,
}

impl RadiusLevel {
    /// What is assumed when nobody knows: the largest.
    pub const UNKNOWN: Self = Self::MultiRegion;
}

impl fmt::Display for RadiusLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SingleInstance => "single instance",
            Self::SingleService => "single service",
            Self::MultipleServices => "multiple services",
            Self::ClusterWide => "cluster wide",
            Self::MultiRegion => "multi region",
        })
    }
}

/// The reach of an incident or a plan, with the numbers it was judged by.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct BlastRadius {
    /// The level.
    pub level: RadiusLevel,
    /// How many instances.
    pub instances: u64,
    /// How many services.
    pub services: u64,
    /// 0 to 100.
    pub risk_score: f64,
}

impl BlastRadius {
    /// What is assumed when nobody knows: the worst.
    pub const UNKNOWN: Self = Self {
        level: RadiusLevel::UNKNOWN,
        instances: 0,
        services: 0,
        risk_score: 100.0,
    };
}

impl fmt::Display for BlastRadius {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (risk {:.0}/100)", self.level, self.risk_score)
    }
}
