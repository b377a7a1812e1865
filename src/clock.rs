//! The clocks of the facade: the system's, and tokio's as simulated time.

use std::time::{Duration, SystemTime};

use homeostasis_core::{BoxFuture, Clock, Timestamp};

/// The wall clock; waits on the tokio runtime of the caller.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        #[expect(
            clippy::disallowed_methods,
            reason = "this is the one place that reads the wall"
        )]
        let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        // A wall before 1970 is a broken wall; the epoch is the nearest instant that can be said.
        Timestamp::EPOCH + since_epoch.unwrap_or(Duration::ZERO)
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(duration))
    }
}

/// Tokio's clock, counted from a given instant.
///
/// On a runtime whose time is paused this is simulated time: it stands still while there is work
/// and jumps to the next timer when there is none, so that an hour of healing takes milliseconds
/// and is the same every time.
///
/// ```
/// use homeostasis::{SimulatedClock, core::{Clock, Timestamp}};
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// let clock = SimulatedClock::starting_at(Timestamp::from_secs(1_000));
/// assert!(clock.now() >= Timestamp::from_secs(1_000));
/// # });
/// ```
#[derive(Debug, Clone, Copy)]
pub struct SimulatedClock {
    start: Timestamp,
    origin: tokio::time::Instant,
}

impl SimulatedClock {
    /// A clock that says `start` now. Call it on the runtime it will be used on.
    pub fn starting_at(start: Timestamp) -> Self {
        Self {
            start,
            origin: tokio::time::Instant::now(),
        }
    }
}

impl Clock for SimulatedClock {
    fn now(&self) -> Timestamp {
        self.start + self.origin.elapsed()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(duration))
    }
}
