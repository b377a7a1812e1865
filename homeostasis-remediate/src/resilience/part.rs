//! What every part of the kit has: a name, a clock, somebody who watches.

use std::sync::Arc;

use homeostasis_core::{Clock, Timestamp, Violation, Violations};

use super::observer::{ResilienceEvent, ResilienceObserver};

#[derive(Debug, Clone)]
pub(super) struct Part {
    pub(super) name: Arc<str>,
    pub(super) clock: Arc<dyn Clock>,
    observer: Option<Arc<dyn ResilienceObserver>>,
}

impl Part {
    /// A part that nobody watches yet; an empty name is pushed to `wrong`.
    pub(super) fn new(name: &str, clock: Arc<dyn Clock>, wrong: &mut Violations) -> Self {
        if name.is_empty() {
            wrong.push(Violation::new("name", "\"\"", "a name"));
        }
        Self {
            name: Arc::from(name),
            clock,
            observer: None,
        }
    }

    pub(super) fn watched_by(&mut self, observer: Arc<dyn ResilienceObserver>) {
        self.observer = Some(observer);
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Tells the observer; never under a lock.
    pub(super) fn tell(&self, event: &ResilienceEvent<'_>) {
        if let Some(observer) = &self.observer {
            observer.observe(&self.name, event);
        }
    }
}

/// Pushes a violation if `duration` is zero.
pub(super) fn lasting(wrong: &mut Violations, path: &str, duration: std::time::Duration) {
    if duration.is_zero() {
        wrong.push(Violation::new(path, "0s", "longer than 0s"));
    }
}

/// Pushes a violation if `count` is not within `range`.
pub(super) fn within(
    wrong: &mut Violations,
    path: &str,
    count: u32,
    range: std::ops::RangeInclusive<u32>,
) {
    if !range.contains(&count) {
        let expected = format!("{} to {}", range.start(), range.end());
        wrong.push(Violation::new(path, count, expected));
    }
}

/// The `observed_by` of a part.
macro_rules! observed {
    () => {
        /// The same, watched by `observer`.
        pub fn observed_by(
            mut self,
            observer: std::sync::Arc<dyn $crate::resilience::ResilienceObserver>,
        ) -> Self {
            self.part.watched_by(observer);
            self
        }

        /// What it is called.
        pub fn name(&self) -> &str {
            &self.part.name
        }
    };
}
pub(super) use observed;
