//! Asks probes out of turn.

use std::sync::{Arc, OnceLock};

use homeostasis_core::signal::HealthTier;
use homeostasis_core::{Target, Topology};
use tokio::sync::Notify;

/// Asks the probes of a running schedule out of turn.
///
/// Asking is level-triggered: however often a probe is asked for while it cannot answer, it is
/// asked once more as soon as it may. It may 5 s after it was asked last, or in its next slot if
/// that comes first. Nothing is queued and nothing waits. Cheap to clone.
///
/// # Examples
/// ```
/// use std::sync::Arc;
/// use homeostasis::core::signal::{HealthTier, VecSink};
/// use homeostasis::core::Target;
/// use homeostasis::signals::ProbeSchedule;
///
/// let schedule = ProbeSchedule::new(Arc::new(VecSink::default()));
/// // Nothing runs yet, so nobody is asked.
/// assert_eq!(schedule.trigger().ask(&Target::service("shop")?, HealthTier::Deep), 0);
/// # Ok::<(), homeostasis::core::NameError>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct ProbeTrigger {
    /// Set once the schedule runs.
    bells: Arc<OnceLock<Vec<Bell>>>,
}

/// Wakes the task of one probe.
#[derive(Debug, Clone)]
pub(super) struct Bell {
    pub(super) target: Option<Target>,
    pub(super) tier: HealthTier,
    pub(super) rung: Arc<Notify>,
}

impl ProbeTrigger {
    /// Asks for the probes of `tier` that are about `target`, its service or its instances, and
    /// says how many those are. Probes without a target are about nobody. O(n) for n probes.
    pub fn ask(&self, target: &Target, tier: HealthTier) -> usize {
        let is_about = |bell: &&Bell| {
            let of = bell.target.as_ref();
            bell.tier == tier && of.is_some_and(|of| of.contains(target) || target.contains(of))
        };
        let bells = self.bells.get().into_iter().flatten();
        bells
            .filter(is_about)
            .inspect(|bell| bell.rung.notify_one())
            .count()
    }

    /// As [`ask`](Self::ask), and the same of every service that `target` depends on directly.
    pub fn ask_around(&self, target: &Target, tier: HealthTier, topology: &Topology) -> usize {
        let facts = topology.service(target.service_name());
        let needed = facts.into_iter().flat_map(|facts| &facts.depends_on);
        needed
            .filter_map(|name| Target::service(name).ok())
            .map(|needed| self.ask(&needed, tier))
            .sum::<usize>()
            + self.ask(target, tier)
    }

    /// Connects the trigger with what runs now.
    pub(super) fn connect(&self, bells: Vec<Bell>) {
        // A schedule is consumed by running it, so nobody was here before.
        let _ = self.bells.set(bells);
    }
}
