//! Families of evidence, and what one family says of every service.

use std::collections::BTreeMap;
use std::fmt;

use homeostasis_core::record::Proof;
use serde::{Deserialize, Serialize};

/// Kinds of evidence that are unlikely to be wrong for the same reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Family {
    /// Processors, memory, disks.
    Resource,
    /// Time lost between caller and callee.
    Network,
    /// What services log and whom they call.
    Behavior,
    /// The alarmed measurement along the calls.
    Propagation,
    /// Other measurements.
    Symptom,
    /// Errors in logs and failed spans.
    Failure,
    /// Who fell ill first.
    Order,
    /// Who was noticed first.
    Alarm,
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Resource => "resource",
            Self::Network => "network",
            Self::Behavior => "behavior",
            Self::Propagation => "propagation",
            Self::Symptom => "symptom",
            Self::Failure => "failure",
            Self::Order => "order",
            Self::Alarm => "alarm",
        })
    }
}

/// How sharply evidence begins to count where it passes its null level.
const SHARPNESS: f64 = 3.0;

/// What a statistic says, in nats: `ln(1 + (value / null)^3) / 3`. Far above the null level that is
/// the logarithm of how far, far below it is nothing, and between it decides between services that
/// no evidence tells apart.
fn nats(value: f64, null: f64) -> f64 {
    let times = value.max(0.0) / null.max(f64::MIN_POSITIVE);
    if times > 1e6 {
        times.ln()
    } else {
        times.powf(SHARPNESS).ln_1p() / SHARPNESS
    }
}

/// What a family says of one service.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Reading {
    /// Its statistic; zero or more.
    pub(super) value: f64,
    /// How much more likely that is if the service is the cause, in nats.
    pub(super) nats: f64,
    /// What it rests on.
    pub(super) proofs: Vec<Proof>,
}

/// What a family says of every service it knows.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Scores {
    pub(super) family: Family,
    /// What innocent services look like, if that is known.
    pub(super) null: f64,
    pub(super) readings: BTreeMap<String, Reading>,
}

impl Scores {
    /// Values weighed against the level that innocent services reach.
    pub(super) fn against(
        family: Family,
        null: f64,
        values: BTreeMap<String, (f64, Vec<Proof>)>,
    ) -> Self {
        let reading = |(service, (value, proofs))| {
            let reading = Reading {
                value,
                nats: nats(value, null),
                proofs,
            };
            (service, reading)
        };
        Self {
            family,
            null,
            readings: values.into_iter().map(reading).collect(),
        }
    }

    /// Values for which no null level is known: the best one is worth `most` nats, others their
    /// share of that.
    pub(super) fn relative(
        family: Family,
        most: f64,
        values: BTreeMap<String, (f64, Vec<Proof>)>,
    ) -> Self {
        let best = values.values().map(|(value, _)| *value).fold(0.0, f64::max);
        let reading = |(service, (value, proofs)): (String, (f64, Vec<Proof>))| {
            let reading = Reading {
                value,
                nats: if best > 0.0 { most * value / best } else { 0.0 },
                proofs,
            };
            (service, reading)
        };
        Self {
            family,
            null: 0.0,
            readings: values.into_iter().map(reading).collect(),
        }
    }

    /// The second best value: what an innocent service looks like in this incident.
    pub(super) fn runner_up(values: impl IntoIterator<Item = f64>) -> Option<f64> {
        let (mut best, mut second) = (f64::NEG_INFINITY, f64::NEG_INFINITY);
        for value in values {
            if value > best {
                (best, second) = (value, best);
            } else if value > second {
                second = value;
            }
        }
        second.is_finite().then_some(second)
    }
}
