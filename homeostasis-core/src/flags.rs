//! Switches: feature flags, the mode of operation, the kill switch.

use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

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
/// It is checked before every step is dispatched, inside the run log that each step must pass. A
/// host's signal handler may engage it: that is one store to an atomic.
///
/// ```
/// use homeostasis::core::KillSwitch;
/// let switch = KillSwitch::default();
/// let held_elsewhere = switch.clone();
/// switch.engage();
/// assert!(held_elsewhere.is_engaged());
/// ```
#[derive(Debug, Clone, Default)]
pub struct KillSwitch(Arc<SwitchState>);

#[derive(Debug, Default)]
struct SwitchState {
    engaged: AtomicBool,
    /// Who is asked too: a list that only grows, so that it is read without a lock.
    asked: OnceLock<Box<Asked>>,
}

struct Asked {
    ask: Box<dyn Fn() -> bool + Send + Sync>,
    next: OnceLock<Box<Asked>>,
}

impl fmt::Debug for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Asked")
    }
}

impl KillSwitch {
    /// From now on no step starts.
    pub fn engage(&self) {
        self.0.engaged.store(true, Ordering::SeqCst);
    }

    /// Steps may start again, unless somebody who is [asked](Self::ask_too) says stop.
    pub fn release(&self) {
        self.0.engaged.store(false, Ordering::SeqCst);
    }

    /// From now on it is also engaged while `ask` says so; who is asked once is asked for ever.
    ///
    /// `ask` is called before every step, by every clone: it must answer at once. A panic is a yes.
    ///
    /// ```
    /// use homeostasis::core::KillSwitch;
    /// use std::sync::Arc;
    /// use std::sync::atomic::{AtomicBool, Ordering};
    /// let fire = Arc::new(AtomicBool::new(false));
    /// let switch = KillSwitch::default();
    /// let alarm = Arc::clone(&fire);
    /// switch.ask_too(move || alarm.load(Ordering::Relaxed));
    /// assert!(!switch.is_engaged());
    /// fire.store(true, Ordering::Relaxed);
    /// assert!(switch.is_engaged());
    /// ```
    pub fn ask_too(&self, ask: impl Fn() -> bool + Send + Sync + 'static) {
        let mut asked = Box::new(Asked {
            ask: Box::new(ask),
            next: OnceLock::new(),
        });
        let mut place = &self.0.asked;
        while let Err(taken) = place.set(asked) {
            asked = taken;
            let Some(present) = place.get() else { return };
            place = &present.next;
        }
    }

    /// Whether steps are stopped.
    pub fn is_engaged(&self) -> bool {
        if self.0.engaged.load(Ordering::SeqCst) {
            return true;
        }
        let mut place = &self.0.asked;
        while let Some(asked) = place.get() {
            if catch_unwind(AssertUnwindSafe(|| (asked.ask)())).unwrap_or(true) {
                return true;
            }
            place = &asked.next;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_is_asked_can_stop_it_and_release_does_not_overrule_them() {
        let (first, second) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicBool::new(false)),
        );
        let switch = KillSwitch::default();
        for alarm in [&first, &second] {
            let alarm = Arc::clone(alarm);
            switch.clone().ask_too(move || alarm.load(Ordering::SeqCst));
        }
        for alarm in [&first, &second] {
            assert!(!switch.is_engaged());
            alarm.store(true, Ordering::SeqCst);
            switch.release();
            assert!(switch.is_engaged());
            alarm.store(false, Ordering::SeqCst);
        }
        switch.ask_too(|| panic!("the disk is gone"));
        assert!(switch.is_engaged());
    }
}
