//! What a breaker remembers, and how it changes; pure.

use std::time::Duration;

use homeostasis_core::{Ratio, Timestamp};

use super::config::CircuitBreakerConfig;
use super::window::{Counts, Window};

/// What a breaker is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CircuitPhase {
    /// Calls pass.
    Closed,
    /// Calls are refused until then.
    Open {
        /// When trials begin.
        until: Timestamp,
    },
    /// Trials decide.
    HalfOpen,
    /// Calls are refused until somebody resets it.
    ForcedOpen,
}

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) failed: bool,
    pub(super) slow: bool,
}

#[derive(Debug)]
pub(super) struct State {
    phase: Phase,
    /// Counts changes, so that what began before the last one is known.
    epoch: u64,
    /// Of the next opening.
    cool_down: Duration,
}

#[derive(Debug)]
enum Phase {
    Closed {
        window: Window,
        streak: u32,
    },
    Open {
        until: Timestamp,
    },
    HalfOpen {
        /// When the last trial began.
        last: Timestamp,
        under_way: u32,
        succeeded: u32,
    },
    ForcedOpen,
}

impl State {
    pub(super) fn new(config: &CircuitBreakerConfig) -> Self {
        Self {
            phase: Self::closed(config),
            epoch: 0,
            cool_down: config.cool_down,
        }
    }

    pub(super) fn phase(&self) -> CircuitPhase {
        match self.phase {
            Phase::Closed { .. } => CircuitPhase::Closed,
            Phase::Open { until } => CircuitPhase::Open { until },
            Phase::HalfOpen { .. } => CircuitPhase::HalfOpen,
            Phase::ForcedOpen => CircuitPhase::ForcedOpen,
        }
    }

    /// The epoch of a call that may pass, or after how long one may.
    pub(super) fn admit(
        &mut self,
        now: Timestamp,
        config: &CircuitBreakerConfig,
    ) -> Result<u64, Option<Duration>> {
        if let Phase::Open { until } = self.phase
            && now >= until
        {
            self.become_(Phase::HalfOpen {
                last: now,
                under_way: 0,
                succeeded: 0,
            });
        }
        match &mut self.phase {
            Phase::Closed { .. } => Ok(self.epoch),
            Phase::Open { until } => Err(Some(until.since(now))),
            Phase::ForcedOpen => Err(None),
            Phase::HalfOpen {
                last,
                under_way,
                succeeded,
            } => {
                if *under_way + *succeeded < config.trial_calls {
                    *under_way += 1;
                    *last = now;
                    Ok(self.epoch)
                } else if now.since(*last) >= self.cool_down {
                    self.open(now, config);
                    match self.phase {
                        Phase::Open { until } => Err(Some(until.since(now))),
                        _ => Err(None),
                    }
                } else {
                    Err(None)
                }
            }
        }
    }

    /// A call of `epoch` ended at `now`; `None` if it does not count.
    pub(super) fn settle(
        &mut self,
        epoch: u64,
        outcome: Option<Outcome>,
        now: Timestamp,
        config: &CircuitBreakerConfig,
    ) {
        if epoch != self.epoch {
            return;
        }
        match &mut self.phase {
            Phase::Closed { window, streak } => {
                let Some(outcome) = outcome else { return };
                *streak = if outcome.failed {
                    streak.saturating_add(1)
                } else {
                    0
                };
                let counts = window.record(outcome, now);
                let streak = *streak;
                if fires(streak, counts, config) {
                    self.cool_down = config.cool_down;
                    self.become_(Phase::Open {
                        until: now + config.cool_down,
                    });
                }
            }
            Phase::HalfOpen {
                under_way,
                succeeded,
                ..
            } => {
                *under_way = under_way.saturating_sub(1);
                match outcome {
                    None => {}
                    Some(outcome) if outcome.failed || outcome.slow => self.open(now, config),
                    Some(_) => {
                        *succeeded += 1;
                        if *succeeded >= config.trial_calls {
                            self.reset(config);
                        }
                    }
                }
            }
            // No call of their epoch is under way.
            Phase::Open { .. } | Phase::ForcedOpen => {}
        }
    }

    pub(super) fn reset(&mut self, config: &CircuitBreakerConfig) {
        self.cool_down = config.cool_down;
        self.become_(Self::closed(config));
    }

    pub(super) fn force_open(&mut self) {
        self.become_(Phase::ForcedOpen);
    }

    /// Opens it after trials that failed, for twice as long as before.
    fn open(&mut self, now: Timestamp, config: &CircuitBreakerConfig) {
        self.cool_down = self.cool_down.saturating_mul(2).min(config.max_cool_down);
        self.become_(Phase::Open {
            until: now + self.cool_down,
        });
    }

    fn become_(&mut self, phase: Phase) {
        self.phase = phase;
        self.epoch += 1;
    }

    fn closed(config: &CircuitBreakerConfig) -> Phase {
        Phase::Closed {
            window: Window::new(&config.window),
            streak: 0,
        }
    }
}

/// Whether one of the triggers fires.
fn fires(streak: u32, counts: Counts, config: &CircuitBreakerConfig) -> bool {
    let reaches = |part, ratio: Ratio| {
        counts.calls >= u64::from(config.min_calls) && Ratio::of(part, counts.calls) >= ratio
    };
    let slow = config.slow_calls.as_ref().map(|slow| slow.ratio);
    (config.consecutive_failures > 0 && streak >= config.consecutive_failures)
        || config
            .failure_ratio
            .is_some_and(|ratio| reaches(counts.failed, ratio))
        || slow.is_some_and(|ratio| reaches(counts.slow, ratio))
}
