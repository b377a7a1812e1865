//! Switches: feature flags, the mode of operation, the kill switch.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// Feature flags; a flag that is not set has the default its reader states.
///
/// Cheap to clone; a change is a new set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Flags(Arc<BTreeMap<String, bool>>);

impl Flags {
    /// Whether `flag` is on; `default` if it is not set.
    pub fn is_on(&self, flag: &str, default: bool) -> bool {
        self.0.get(flag).copied().unwrap_or(default)
    }

    /// All flags that are set.
    pub fn iter(&self) -> impl Iterator<Item = (&str, bool)> {
        self.0.iter().map(|(flag, on)| (flag.as_str(), *on))
    }
}

impl FromIterator<(String, bool)> for Flags {
    fn from_iter<I: IntoIterator<Item = (String, bool)>>(flags: I) -> Self {
        Self(Arc::new(flags.into_iter().collect()))
    }
}

/// How far the healer may go by itself.
///
/// The default is [`Mode::Observe`]: acting is something a host asks for.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Detect, diagnose and recommend; touch nothing.
    #[default]
    Observe,
    /// Every plan waits for a person.
    Approve,
    /// Act within the gate's policy.
    Auto,
    /// Somebody stopped it for a while.
    Paused {
        /// Who.
        by: String,
        /// Why.
        why: String,
        /// Until when.
        until: Timestamp,
    },
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Observe => f.write_str("observe"),
            Self::Approve => f.write_str("approve"),
            Self::Auto => f.write_str("auto"),
            Self::Paused { by, why, until } => write!(f, "paused by {by} until {until}: {why}"),
        }
    }
}

/// Stops every effect at once. It needs no store, no network and no lock.
///
/// It is checked before every step is dispatched, inside the run log that each step must pass.
///
/// ```
/// use homeostasis::core::KillSwitch;
/// let switch = KillSwitch::default();
/// let held_elsewhere = switch.clone();
/// switch.engage();
/// assert!(held_elsewhere.is_engaged());
/// ```
#[derive(Debug, Clone, Default)]
pub struct KillSwitch(Arc<AtomicBool>);

impl KillSwitch {
    /// From now on no step starts.
    pub fn engage(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Steps may start again.
    pub fn release(&self) {
        self.0.store(false, Ordering::SeqCst);
    }

    /// Whether steps are stopped.
    pub fn is_engaged(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}
