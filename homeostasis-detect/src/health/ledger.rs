//! A bounded number of checks that are followed.

use std::collections::BTreeMap;
use std::time::Duration;

use homeostasis_core::signal::HealthReport;
use homeostasis_core::{Target, Timestamp};

/// Checks silent for this long give way.
const IDLE_AFTER: Duration = Duration::from_secs(3600);

/// What is known of a check.
pub(super) trait Followed {
    /// When it reported last.
    fn last(&self) -> Timestamp;
}

/// The checks that are followed. When there are as many as may be, one silent for an hour gives
/// way; if there is none, a new one is refused and counted.
#[derive(Debug, Clone)]
pub(super) struct Ledger<C> {
    checks: BTreeMap<(Target, String), C>,
    max: usize,
    /// Before this time no check gives way.
    full_until: Option<Timestamp>,
    n_refused: u64,
}

impl<C: Followed> Ledger<C> {
    pub(super) fn new(max: usize) -> Self {
        Self {
            checks: BTreeMap::new(),
            max,
            full_until: None,
            n_refused: 0,
        }
    }

    pub(super) fn n_refused(&self) -> u64 {
        self.n_refused
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Target, &str, &C)> {
        let checks = self.checks.iter();
        checks.map(|((target, check), known)| (target, check.as_str(), known))
    }

    /// All that is known, to be changed.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut C> {
        self.checks.values_mut()
    }

    /// The checks of `target`, by name. O(log n) to the first.
    pub(super) fn of<'a>(&'a self, target: &'a Target) -> impl Iterator<Item = &'a C> {
        let all = self.checks.range((target.clone(), String::new())..);
        all.take_while(move |((of, _), _)| of == target)
            .map(|(_, known)| known)
    }

    /// As [`of`](Self::of), to be changed.
    pub(super) fn of_mut<'a>(&'a mut self, target: &'a Target) -> impl Iterator<Item = &'a mut C> {
        let all = self.checks.range_mut((target.clone(), String::new())..);
        all.take_while(move |((of, _), _)| of == target)
            .map(|(_, known)| known)
    }

    /// Takes the next report of a check: `first` if it is the first one, else `next`. Gives nothing
    /// if there is no room, or the report is not later than the last one.
    pub(super) fn take<T>(
        &mut self,
        report: &HealthReport,
        first: impl FnOnce() -> C,
        next: impl FnOnce(&mut C, bool) -> T,
    ) -> Option<T> {
        let key = (report.target.clone(), report.check.clone());
        if !self.checks.contains_key(&key) && !self.make_room(report.at) {
            self.n_refused = self.n_refused.saturating_add(1);
            return None;
        }
        let mut is_new = false;
        let known = self.checks.entry(key).or_insert_with(|| {
            is_new = true;
            first()
        });
        (is_new || report.at > known.last()).then(|| next(known, is_new))
    }

    /// Puts stored checks in the place of those that are there.
    pub(super) fn restore(&mut self, checks: impl IntoIterator<Item = (Target, String, C)>) {
        let checks = checks.into_iter();
        self.checks = checks
            .map(|(target, check, known)| ((target, check), known))
            .collect();
        self.full_until = None;
    }

    fn make_room(&mut self, at: Timestamp) -> bool {
        if self.checks.len() < self.max {
            return true;
        }
        if self.full_until.is_some_and(|until| at < until) {
            return false;
        }
        self.checks
            .retain(|_, known| at.since(known.last()) < IDLE_AFTER);
        let oldest = self.checks.values().map(C::last).min();
        self.full_until = oldest.map(|oldest| oldest + IDLE_AFTER);
        self.checks.len() < self.max
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.checks.len()
    }
}
