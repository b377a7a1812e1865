//! A clock that runs faster than the wall, so that the engine's pauses of a second take 20 ms.

use std::time::Duration;

use homeostasis::SystemClock;
use homeostasis::core::{BoxFuture, Clock, Timestamp};

/// How much faster.
pub(crate) const SPEED: u32 = 50;

/// The wall clock, sped up from `base` on. All lives of one drill share the base, so that their
/// times can be compared.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FastClock {
    pub(crate) base: Timestamp,
}

impl Clock for FastClock {
    fn now(&self) -> Timestamp {
        self.base + SystemClock.now().since(self.base).saturating_mul(SPEED)
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        SystemClock.sleep(duration / SPEED)
    }
}
