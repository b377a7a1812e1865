//! What was made invalid since when, counted in this process.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::key::{CacheKey, Invalidation};

/// How many marks are kept; beyond, the older half becomes one mark for all that is under way.
const MAX_MARKS: usize = 10_000;

/// A moment in the order of invalidations: what began at one is dead if what it is about was made
/// invalid later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment(pub(super) u64);

/// The marks of invalidations, for what is under way: what was stored before is taken away when the mark
/// is made. Memory is bounded; forgetting marks makes more of what is under way invalid, never less.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    marks: Mutex<Marks>,
}

#[derive(Debug, Default)]
struct Marks {
    now: u64,
    all: u64,
    oldest_version: u32,
    /// When that was told.
    version_told: u64,
    keys: HashMap<String, u64>,
    tags: HashMap<String, u64>,
}

impl Ledger {
    pub(super) fn now(&self) -> Moment {
        Moment(self.lock().now)
    }

    pub(super) fn mark(&self, what: &Invalidation) {
        let mut marks = self.lock();
        marks.now += 1;
        let now = marks.now;
        match what {
            Invalidation::All => marks.all = now,
            Invalidation::OlderThan(version) => {
                if *version > marks.oldest_version {
                    (marks.oldest_version, marks.version_told) = (*version, now);
                }
            }
            Invalidation::Key(name) => {
                marks.keys.insert(name.clone(), now);
            }
            Invalidation::Tag(tag) => {
                marks.tags.insert(tag.clone(), now);
            }
        }
        marks.bound();
    }

    /// Whether what was begun for `key` at `began` and has `version` may be answered.
    pub(super) fn lives(&self, key: &CacheKey, version: u32, began: Moment) -> bool {
        let marks = self.lock();
        version >= marks.oldest_version && marks.allow(key, began)
    }

    /// Whether nothing was told since `began` that is about `key`: also of a version that counts no
    /// more, those who ask share one load.
    pub(super) fn is_current(&self, key: &CacheKey, began: Moment) -> bool {
        let marks = self.lock();
        (key.version() >= marks.oldest_version || marks.version_told <= began.0)
            && marks.allow(key, began)
    }

    fn lock(&self) -> MutexGuard<'_, Marks> {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Marks {
    fn allow(&self, key: &CacheKey, began: Moment) -> bool {
        let before = |mark: Option<&u64>| mark.is_none_or(|mark| *mark <= began.0);
        self.all <= began.0
            && before(self.keys.get(key.name()))
            && key.tags().iter().all(|tag| before(self.tags.get(tag)))
    }

    fn bound(&mut self) {
        if self.keys.len() + self.tags.len() <= MAX_MARKS {
            return;
        }
        let mut all: Vec<u64> = self
            .keys
            .values()
            .chain(self.tags.values())
            .copied()
            .collect();
        let middle = all.len() / 2;
        let (_, middle, _) = all.select_nth_unstable(middle);
        let middle = *middle;
        self.keys.retain(|_, mark| *mark > middle);
        self.tags.retain(|_, mark| *mark > middle);
        self.all = self.all.max(middle);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forgetting_marks_makes_more_invalid_and_never_less() {
        let ledger = Ledger::default();
        let began = ledger.now();
        let n = MAX_MARKS + 1;
        let key = |i: usize| CacheKey::new(format!("k{i}")).tagged([format!("t{i}")]);
        for i in 0..n {
            ledger.mark(&Invalidation::Tag(format!("t{i}")));
        }
        assert!((0..n).all(|i| !ledger.lives(&key(i), 0, began)));
        assert!(ledger.lock().tags.len() <= MAX_MARKS);
        assert!(ledger.lives(&key(0), 0, ledger.now()));
    }
}
