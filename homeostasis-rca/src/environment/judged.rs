//! One resource as one series tells it, at errors and in the calm.

use std::time::Duration;

use homeostasis_core::record::Proof;
use homeostasis_core::{Target, Timestamp};

use crate::gauge::{Gauge, Look};
use crate::scope::Scope;

/// An older reading says nothing about an error.
const MAX_AGE: Duration = Duration::from_secs(60);

/// How often a resource is as full as that without harm, and how many readings that is worth.
const PRIOR_SHARE: f64 = 0.05;
const PRIOR_READINGS: f64 = 2.0;

/// The most that a short resource adds, in nats.
const MAX_FOR: f64 = 1.5;

/// The same where there is no reading of the calm: ln 2.
const MAX_FOR_WITHOUT_CALM: f64 = std::f64::consts::LN_2;

/// One gauge at the errors, in its calm, and since.
pub(super) struct Judged<'g> {
    pub(super) owner: &'g Target,
    pub(super) gauge: &'g Gauge,
    pub(super) is_noted: bool,
    /// The fullest at an error.
    pub(super) worst: Option<Look>,
    /// The fullest since the minute before the onset, if it was looked at since the onset.
    pub(super) peak: Option<Look>,
    /// The first that was short.
    pub(super) first: Option<Timestamp>,
    /// How often it was short at an error, and how often that is known.
    pub(super) ill: (usize, usize),
    /// The same of the calm.
    pub(super) calm: (usize, usize),
}

/// The fullest, the first of several.
fn fullest<'a>(looks: impl Iterator<Item = &'a Look>) -> Option<Look> {
    let fuller = |best: &'a Look, look: &'a Look| if look.level > best.level { look } else { best };
    looks.reduce(fuller).copied()
}

impl<'g> Judged<'g> {
    pub(super) fn of(
        scope: &Scope<'_>,
        (owner, gauge, is_noted): (&'g Target, &'g Gauge, bool),
        moments: &[Timestamp],
    ) -> Self {
        let high = gauge.factor.high();
        let count = |looks: &[&Look]| {
            let short = looks.iter().filter(|look| look.level >= high).count();
            (short, looks.len())
        };
        let calm: Vec<&Look> = gauge.looks.iter().filter(|l| l.at < scope.split).collect();
        let since: Vec<&Look> = gauge.looks.iter().filter(|l| l.at >= scope.split).collect();
        let at_errors: Vec<&Look> = if moments.is_empty() {
            since.clone()
        } else {
            let at = |moment: &Timestamp| gauge.at(*moment, MAX_AGE);
            moments.iter().filter_map(at).collect()
        };
        let near = gauge
            .looks
            .iter()
            .filter(|look| look.at >= scope.split - MAX_AGE);
        Self {
            owner,
            gauge,
            is_noted,
            worst: fullest(at_errors.iter().copied()),
            peak: since
                .iter()
                .any(|look| look.at >= scope.onset)
                .then(|| fullest(near))
                .flatten(),
            first: since
                .iter()
                .find(|look| look.level >= high)
                .map(|look| look.at),
            ill: count(&at_errors),
            calm: count(&calm),
        }
    }

    /// How much more often it was short at errors than in its calm, in nats.
    pub(super) fn nats(&self) -> f64 {
        if self.ill.0 == 0 {
            return 0.0;
        }
        let share = |(short, all): (usize, usize)| {
            (short as f64 + PRIOR_SHARE * PRIOR_READINGS) / (all as f64 + PRIOR_READINGS)
        };
        // Without any calm nobody knows whether it was always that full.
        let most = if self.calm.1 == 0 {
            MAX_FOR_WITHOUT_CALM
        } else {
            MAX_FOR
        };
        (share(self.ill) / share(self.calm)).ln().clamp(0.0, most)
    }

    /// Whether nobody saw it anything but idle.
    pub(super) fn is_idle(&self) -> bool {
        let levels = self.worst.iter().chain(&self.peak);
        levels.fold(0.0, |most, look| look.level.max(most)) < self.gauge.factor.idle()
    }

    /// Whether it was seen at an error and since, so that it may speak for calm.
    pub(super) fn is_seen(&self) -> bool {
        self.worst.is_some() && self.peak.is_some()
    }

    pub(super) fn proof(&self, look: &Look) -> Proof {
        let kind = if self.is_noted {
            "environment"
        } else {
            "series"
        };
        Proof {
            kind: kind.to_owned(),
            reference: self.gauge.key.to_string(),
            at: Some(look.at),
            statement: self.gauge.statement(look),
        }
    }
}
