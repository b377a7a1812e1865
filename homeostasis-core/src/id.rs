//! Identifiers: 128 bits, sortable by the time they were made, made from an injected clock and rng.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::rng::Rng;
use crate::time::Timestamp;

/// Text that is not an identifier of the expected kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("identifier {text:?}, expected {prefix}- and 32 hexadecimal digits")]
pub struct IdError {
    text: String,
    prefix: &'static str,
}

fn parse(text: &str, prefix: &'static str) -> Result<u128, IdError> {
    text.strip_prefix(prefix)
        .and_then(|rest| rest.strip_prefix('-'))
        .filter(|hex| hex.len() == 32 && hex.bytes().all(|b| b.is_ascii_hexdigit()))
        .and_then(|hex| u128::from_str_radix(hex, 16).ok())
        .ok_or_else(|| IdError {
            text: text.to_owned(),
            prefix,
        })
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        ///
        /// The upper 48 bits are the milliseconds since the epoch, the rest is chance.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(u128);

        impl $name {
            /// A new identifier, made at `at`.
            pub fn new(at: Timestamp, rng: &mut Rng) -> Self {
                let millis = u128::from(at.as_millis().unsigned_abs()) << 80;
                let chance = (u128::from(rng.next_u64()) << 64 | u128::from(rng.next_u64())) >> 48;
                Self(millis | chance)
            }

            /// When it was made, to the millisecond.
            pub fn made_at(self) -> Timestamp {
                // 48 bits always fit.
                Timestamp::from_millis(i64::try_from(self.0 >> 80).unwrap_or(i64::MAX))
            }

            /// The raw bits.
            pub fn as_u128(self) -> u128 {
                self.0
            }

            /// The identifier with these raw bits.
            pub const fn from_u128(bits: u128) -> Self {
                Self(bits)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "-{:032x}"), self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                parse(text, $prefix).map(Self)
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

id!(
    /// One incident, from the first anomaly to its close.
    IncidentId,
    "inc"
);
id!(
    /// One plan that was proposed for an incident.
    PlanId,
    "plan"
);
id!(
    /// One execution of a plan.
    RunId,
    "run"
);

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        ///
        /// 1 to 128 characters, no control characters and no surrounding white space.
        /// Clones share the text.
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(std::sync::Arc<str>);

        impl $name {
            /// Checks the name.
            pub fn new(name: impl Into<String>) -> Result<Self, $crate::id::NameError> {
                let name = name.into();
                let good = !name.is_empty()
                    && name.chars().count() <= 128
                    && name.trim() == name
                    && !name.chars().any(char::is_control);
                if good { Ok(Self(name.into())) } else { Err($crate::id::NameError::of($what, name)) }
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::id::NameError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::new(text)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Self::new(<String as serde::Deserialize>::deserialize(deserializer)?).map_err(serde::de::Error::custom)
            }
        }
    };
}

pub(crate) use name;

/// A name that is empty, too long, padded or holds control characters.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {name:?}, expected 1 to 128 characters, not padded, no control characters")]
pub struct NameError {
    what: &'static str,
    name: String,
}

impl NameError {
    pub(crate) fn of(what: &'static str, name: String) -> Self {
        Self { what, name }
    }
}

name!(
    /// Whose data and limits these are.
    TenantId,
    "tenant"
);
name!(
    /// One running copy of the healer.
    NodeId,
    "node"
);

impl Default for TenantId {
    fn default() -> Self {
        Self("default".into())
    }
}

impl Default for NodeId {
    fn default() -> Self {
        Self("local".into())
    }
}

/// The key by which a target recognizes a step it has already done: `run/step`.
///
/// It does not name the attempt: a retry carries the same key.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct IdempotencyKey(String);

impl IdempotencyKey {
    /// The key of step `step_idx` of `run`.
    pub fn new(run: RunId, step_idx: usize) -> Self {
        Self(format!("{run}/{step_idx}"))
    }

    /// The key of undoing step `step_idx` of `run`.
    pub fn undo(run: RunId, step_idx: usize) -> Self {
        Self(format!("{run}/{step_idx}/undo"))
    }

    /// The key of part `part_idx` of what this is the key of: `run/step/part`.
    #[must_use]
    pub fn part(&self, part_idx: usize) -> Self {
        Self(format!("{self}/{part_idx}"))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_by_time_and_read_back() {
        let mut rng = Rng::from_seed(1);
        let early = IncidentId::new(Timestamp::from_millis(1_000), &mut rng);
        let late = IncidentId::new(Timestamp::from_millis(1_001), &mut rng);
        assert_eq!(late.made_at(), Timestamp::from_millis(1_001));
        assert!(early < late);
        assert_eq!(early.to_string().parse::<IncidentId>().unwrap(), early);
        assert!(early.to_string().parse::<RunId>().is_err());
    }

    #[test]
    fn names_that_mislead_are_refused_also_by_serde() {
        assert!(TenantId::new("").is_err());
        assert!(TenantId::new(" a").is_err());
        assert!(serde_json::from_str::<TenantId>("\"a\\nb\"").is_err());
        let acme = TenantId::new("acme").unwrap();
        assert_eq!(acme.as_str(), "acme");
        let text = serde_json::to_string(&acme).unwrap();
        assert_eq!(text, "\"acme\"");
        assert_eq!(serde_json::from_str::<TenantId>(&text).unwrap(), acme);
        assert!(std::ptr::eq(acme.clone().as_str(), acme.as_str()));
    }
}
