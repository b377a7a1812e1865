//! Calls to what fails or is slow are refused, and tried again later.

mod config;
#[cfg(test)]
mod model_tests;
mod state;
mod window;

use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use homeostasis_core::{Clock, ConfigError, Timestamp, Violations};

pub use config::{CircuitBreakerConfig, SlidingWindow, SlowCalls};
pub use state::CircuitPhase;

use super::observer::ResilienceEvent;
use super::part::{Part, observed};
use super::rejection::Rejection;
use state::{Outcome, State};

/// A circuit breaker: closed, open, half open.
///
/// *Closed*, calls pass and their outcomes are counted; it opens when one of the triggers of its
/// [`CircuitBreakerConfig`] fires. *Open*, calls are refused until the cool-down is over. *Half open*,
/// as many calls as `trial_calls` pass: when all of them succeed it closes and begins to count anew;
/// when one fails or is slow it opens again, for twice as long up to `max_cool_down`. When no
/// further trial may begin, and the last one began a cool-down ago, those that hang count as a failure.
///
/// What began before it last changed says nothing about the callee now and is not counted.
/// Each operation is O(1) under a short lock, but for the window by time, which looks at 16 buckets.
///
/// This is for calls of a host. What bounds the healing of one target, and outlives the process, is
/// [`BreakerPolicy`](homeostasis_core::policy::BreakerPolicy).
///
/// # Examples
/// ```
/// use std::sync::Arc;
/// use homeostasis::core::{ManualClock, Timestamp};
/// use homeostasis::remediate::resilience::{CircuitBreaker, CircuitBreakerConfig, CircuitPhase};
///
/// let clock = Arc::new(ManualClock::new(Timestamp::EPOCH));
/// let config = CircuitBreakerConfig { consecutive_failures: 2, ..CircuitBreakerConfig::default() };
/// let breaker = CircuitBreaker::new("prices", config, clock)?;
/// for _ in 0..2 {
///     breaker.admit().unwrap().failed();
/// }
/// assert!(breaker.admit().is_err());
/// breaker.reset();
/// assert_eq!(breaker.phase(), CircuitPhase::Closed);
/// # Ok::<(), homeostasis::core::ConfigError>(())
/// ```
#[derive(Debug)]
pub struct CircuitBreaker {
    part: Part,
    config: CircuitBreakerConfig,
    state: Mutex<State>,
}

/// A change to tell of, once the lock is given back.
type Changed = Option<(CircuitPhase, CircuitPhase)>;

impl CircuitBreaker {
    /// A closed breaker.
    ///
    /// # Errors
    /// The name is empty or the configuration cannot be; see [`CircuitBreakerConfig`].
    pub fn new(
        name: &str,
        config: CircuitBreakerConfig,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, ConfigError> {
        let mut wrong = Violations::new();
        let part = Part::new(name, clock, &mut wrong);
        config.validate(&mut wrong);
        let state = Mutex::new(State::new(&config));
        wrong.into_result(Self {
            part,
            config,
            state,
        })
    }

    observed!();

    /// Lets one call pass. Whoever is let pass says how it ended.
    ///
    /// # Errors
    /// [`Rejection::CircuitOpen`].
    pub fn admit(&self) -> Result<CircuitPass<'_>, Rejection> {
        let now = self.part.now();
        let (admitted, changed) = self.change(|state| state.admit(now, &self.config));
        // Before anybody is told: an observer that panics drops the pass, which frees the trial.
        let admitted = admitted.map(|epoch| CircuitPass {
            breaker: self,
            epoch,
            since: now,
            said: false,
        });
        self.tell(changed);
        match admitted {
            Ok(pass) => Ok(pass),
            Err(retry_after) => {
                let rejection = Rejection::CircuitOpen {
                    name: Arc::clone(&self.part.name),
                    retry_after,
                };
                self.part.tell(&ResilienceEvent::Rejected(&rejection));
                Err(rejection)
            }
        }
    }

    /// Makes `call` if it may be made; every error counts as a failure.
    ///
    /// # Errors
    /// Those of the call, or [`Rejection::CircuitOpen`]; the call is then not polled.
    ///
    /// # Cancel safety
    /// Dropping it counts as no outcome and frees its trial.
    pub async fn call<T, E: From<Rejection>>(
        &self,
        call: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        self.call_if(call, |_| true).await
    }

    /// The same; an error counts only if `is_failure` says so, such as not for a wrong request.
    /// What does not count is as if the call had not been made.
    ///
    /// # Errors
    /// Those of [`call`](Self::call).
    pub async fn call_if<T, E: From<Rejection>>(
        &self,
        call: impl Future<Output = Result<T, E>>,
        is_failure: impl FnOnce(&E) -> bool,
    ) -> Result<T, E> {
        let pass = self.admit()?;
        let result = call.await;
        match &result {
            Ok(_) => pass.succeeded(),
            Err(error) if is_failure(error) => pass.failed(),
            Err(_) => drop(pass),
        }
        result
    }

    /// What it is now. An open breaker whose cool-down is over is open until somebody calls.
    pub fn phase(&self) -> CircuitPhase {
        self.lock().phase()
    }

    /// Closes it and forgets: what a person or the action `reset_breaker` does. Calls that are under
    /// way are not counted.
    pub fn reset(&self) {
        let ((), changed) = self.change(|state| state.reset(&self.config));
        self.tell(changed);
    }

    /// Opens it until [`reset`](Self::reset) is called.
    pub fn force_open(&self) {
        let ((), changed) = self.change(State::force_open);
        self.tell(changed);
    }

    fn settle(&self, epoch: u64, since: Timestamp, outcome: Option<bool>) {
        let now = self.part.now();
        let outcome = outcome.map(|failed| {
            let slow = self.config.slow_calls.as_ref();
            let slow = slow.is_some_and(|slow| now.since(since) >= slow.after);
            Outcome { failed, slow }
        });
        let ((), changed) = self.change(|state| state.settle(epoch, outcome, now, &self.config));
        self.tell(changed);
    }

    /// Changes the state under the lock; what changed is to be told after.
    fn change<T>(&self, by: impl FnOnce(&mut State) -> T) -> (T, Changed) {
        let mut state = self.lock();
        let from = state.phase();
        let answer = by(&mut state);
        let to = state.phase();
        (answer, (from != to).then_some((from, to)))
    }

    fn tell(&self, changed: Changed) {
        if let Some((from, to)) = changed {
            self.part.tell(&ResilienceEvent::Circuit { from, to });
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One call that a breaker let pass; it waits to hear how the call ended.
///
/// Dropped without a word, as by a future that is dropped, it counts as no outcome and frees its trial.
#[must_use = "dropping it says that the call did not happen"]
pub struct CircuitPass<'a> {
    breaker: &'a CircuitBreaker,
    epoch: u64,
    since: Timestamp,
    said: bool,
}

impl CircuitPass<'_> {
    /// The call succeeded; it was slow if it took as long as the configuration says.
    pub fn succeeded(self) {
        self.say(Some(false));
    }

    /// The call failed.
    pub fn failed(self) {
        self.say(Some(true));
    }

    /// How long the call takes so far.
    pub fn elapsed(&self) -> Duration {
        self.breaker.part.now().since(self.since)
    }

    fn say(mut self, failed: Option<bool>) {
        self.said = true;
        self.breaker.settle(self.epoch, self.since, failed);
    }
}

impl Drop for CircuitPass<'_> {
    fn drop(&mut self) {
        if !self.said {
            self.breaker.settle(self.epoch, self.since, None);
        }
    }
}

impl fmt::Debug for CircuitPass<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CircuitPass")
            .field("breaker", &self.breaker.part.name)
            .field("since", &self.since)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use homeostasis_core::{ManualClock, Ratio};

    use super::super::testing::{Log, begin};
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn breaker(config: CircuitBreakerConfig) -> (CircuitBreaker, ManualClock, Arc<Log>) {
        let clock = ManualClock::new(Timestamp::from_secs(1));
        let log = Arc::new(Log::default());
        let breaker = CircuitBreaker::new("b", config, Arc::new(clock.clone())).unwrap();
        (breaker.observed_by(Arc::clone(&log) as _), clock, log)
    }

    fn config() -> CircuitBreakerConfig {
        CircuitBreakerConfig {
            consecutive_failures: 1,
            trial_calls: 2,
            cool_down: SECOND,
            max_cool_down: SECOND * 3,
            ..CircuitBreakerConfig::default()
        }
    }

    fn retry_after(refused: Result<CircuitPass<'_>, Rejection>) -> Option<Duration> {
        refused.unwrap_err().retry_after()
    }

    #[test]
    fn it_opens_tries_and_closes_and_tells_so() {
        let (breaker, clock, log) = breaker(config());
        breaker.admit().unwrap().failed();
        clock.advance(SECOND / 4);
        assert_eq!(retry_after(breaker.admit()), Some(SECOND * 3 / 4));
        clock.advance(SECOND * 3 / 4);
        let (one, two) = (breaker.admit().unwrap(), breaker.admit().unwrap());
        assert_eq!(breaker.phase(), CircuitPhase::HalfOpen);
        assert_eq!(retry_after(breaker.admit()), None, "no third trial");
        one.succeeded();
        two.succeeded();
        assert_eq!(breaker.phase(), CircuitPhase::Closed);
        let told = log.take();
        let changes = told.iter().filter(|line| line.contains("Circuit {"));
        assert_eq!(changes.count(), 3, "{told:?}");
    }

    #[test]
    fn each_failed_trial_waits_twice_as_long_up_to_a_limit() {
        let (breaker, clock, _) = breaker(config());
        breaker.admit().unwrap().failed();
        for wait in [1, 2, 3, 3] {
            let wait = SECOND * wait;
            assert_eq!(retry_after(breaker.admit()), Some(wait));
            clock.advance(wait);
            breaker.admit().unwrap().failed();
        }
        clock.advance(SECOND * 3);
        breaker.admit().unwrap().succeeded();
        breaker.admit().unwrap().succeeded();
        breaker.admit().unwrap().failed();
        assert_eq!(retry_after(breaker.admit()), Some(SECOND), "it begins anew");
    }

    #[tokio::test]
    async fn a_dropped_future_frees_its_trial_and_counts_as_nothing() {
        let (breaker, clock, _) = breaker(CircuitBreakerConfig {
            trial_calls: 1,
            ..config()
        });
        breaker.admit().unwrap().failed();
        clock.advance(SECOND);
        let forever = std::future::pending::<Result<(), Rejection>>();
        let mut trial = Box::pin(breaker.call(forever));
        begin(&mut trial).await;
        assert!(breaker.admit().is_err(), "its trial is taken");
        drop(trial);
        assert_eq!(breaker.phase(), CircuitPhase::HalfOpen);
        assert!(breaker.call(async { Ok::<_, Rejection>(()) }).await.is_ok());
        assert_eq!(breaker.phase(), CircuitPhase::Closed);
    }

    #[test]
    fn trials_that_hang_for_a_cool_down_open_it_again() {
        let (breaker, clock, _) = breaker(config());
        breaker.admit().unwrap().failed();
        clock.advance(SECOND);
        let hanging = [breaker.admit().unwrap(), breaker.admit().unwrap()];
        clock.advance(SECOND);
        assert_eq!(retry_after(breaker.admit()), Some(SECOND * 2));
        let [one, two] = hanging;
        one.succeeded();
        two.succeeded();
        assert!(matches!(breaker.phase(), CircuitPhase::Open { .. }), "late");
    }

    #[test]
    fn trials_that_come_seldom_and_succeed_close_it() {
        let (breaker, clock, _) = breaker(CircuitBreakerConfig {
            trial_calls: 3,
            ..config()
        });
        breaker.admit().unwrap().failed();
        clock.advance(SECOND);
        for _ in 0..2 {
            breaker.admit().unwrap().succeeded();
            clock.advance(SECOND * 9 / 10);
        }
        let third = breaker.admit().unwrap();
        clock.advance(SECOND / 10);
        assert_eq!(retry_after(breaker.admit()), None, "trials are under way");
        third.succeeded();
        assert_eq!(breaker.phase(), CircuitPhase::Closed);
    }

    #[test]
    fn slow_calls_open_it_though_they_succeed() {
        let (breaker, clock, _) = breaker(CircuitBreakerConfig {
            slow_calls: Some(SlowCalls {
                after: SECOND,
                ratio: Ratio::saturating(0.5),
            }),
            min_calls: 4,
            ..config()
        });
        for slow in [true, false, false, true] {
            assert_eq!(breaker.phase(), CircuitPhase::Closed);
            let pass = breaker.admit().unwrap();
            clock.advance(if slow { SECOND } else { SECOND / 2 });
            pass.succeeded();
        }
        assert!(matches!(breaker.phase(), CircuitPhase::Open { .. }));
    }

    #[tokio::test]
    async fn what_is_not_the_callees_fault_does_not_count() {
        let (breaker, ..) = breaker(config());
        let wrong = || async { Err::<(), _>(super::super::CallError::Failed("404")) };
        let _ = breaker.call_if(wrong(), |_| false).await;
        assert_eq!(breaker.phase(), CircuitPhase::Closed);
        let _ = breaker.call(wrong()).await;
        assert!(matches!(breaker.phase(), CircuitPhase::Open { .. }));
    }

    #[test]
    fn a_person_opens_and_closes_it_and_calls_under_way_do_not_matter() {
        let (breaker, clock, _) = breaker(config());
        let before = breaker.admit().unwrap();
        breaker.force_open();
        clock.advance(SECOND * 100);
        assert_eq!(retry_after(breaker.admit()), None);
        breaker.reset();
        before.failed();
        assert_eq!(breaker.phase(), CircuitPhase::Closed);
    }

    #[test]
    fn an_observer_that_panics_leaves_it_whole() {
        #[derive(Debug)]
        struct Panics;
        impl super::super::ResilienceObserver for Panics {
            fn observe(&self, _: &str, _: &ResilienceEvent<'_>) {
                panic!("of the observer");
            }
        }
        let (breaker, clock, _) = breaker(config());
        let breaker = breaker.observed_by(Arc::new(Panics));
        let failing = std::panic::AssertUnwindSafe(|| breaker.admit().unwrap().failed());
        assert!(std::panic::catch_unwind(failing).is_err());
        assert!(matches!(breaker.phase(), CircuitPhase::Open { .. }));
        clock.advance(SECOND);
        let trial = std::panic::AssertUnwindSafe(|| drop(breaker.admit()));
        assert!(std::panic::catch_unwind(trial).is_err());
        assert_eq!(breaker.phase(), CircuitPhase::HalfOpen);
        let trials: Vec<_> = (0..config().trial_calls)
            .map(|_| breaker.admit().unwrap())
            .collect();
        let refused = std::panic::AssertUnwindSafe(|| drop(breaker.admit()));
        assert!(std::panic::catch_unwind(refused).is_err());
        drop(trials);
    }

    #[test]
    fn a_breaker_that_cannot_open_or_close_is_refused() {
        let config = CircuitBreakerConfig {
            consecutive_failures: 0,
            failure_ratio: None,
            window: SlidingWindow::Calls { calls: 0 },
            trial_calls: 0,
            cool_down: Duration::ZERO,
            ..CircuitBreakerConfig::default()
        };
        let clock = Arc::new(ManualClock::new(Timestamp::EPOCH));
        let error = CircuitBreaker::new("", config, clock).unwrap_err();
        assert_eq!(error.violations().len(), 6, "{error}");
    }
}
