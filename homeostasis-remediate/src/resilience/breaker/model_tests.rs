//! A breaker against a model that keeps everything that ever happened and counts it anew each time.

use std::sync::Arc;
use std::time::Duration;

use homeostasis_core::{Clock, ManualClock, Ratio, Timestamp};
use proptest::prelude::*;

use super::{
    CircuitBreaker, CircuitBreakerConfig, CircuitPass, CircuitPhase, SlidingWindow, SlowCalls,
};

#[derive(Debug, Clone)]
enum Op {
    Wait(u64),
    Call,
    /// The call under way with this number (modulo how many there are) ends: success, failure, dropped.
    End(usize, Option<bool>),
    Reset,
    Force,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (1_u64..700).prop_map(Op::Wait),
        8 => Just(Op::Call),
        8 => (any::<usize>(), prop_oneof![
            4 => Just(Some(false)), 4 => Just(Some(true)), 1 => Just(None)
        ]).prop_map(|(which, how)| Op::End(which, how)),
        1 => prop_oneof![3 => Just(Op::Reset), 1 => Just(Op::Force)],
    ]
}

fn config() -> impl Strategy<Value = CircuitBreakerConfig> {
    let window = prop_oneof![
        (1_u32..12).prop_map(|calls| SlidingWindow::Calls { calls }),
        (160_u64..3_000).prop_map(|ms| SlidingWindow::Time {
            length: Duration::from_millis(ms)
        }),
    ];
    let ratio = (1_u32..10).prop_map(|tenths| Ratio::saturating(f64::from(tenths) / 10.0));
    let slow =
        proptest::option::of(
            (100_u64..900, ratio.clone()).prop_map(|(ms, ratio)| SlowCalls {
                after: Duration::from_millis(ms),
                ratio,
            }),
        );
    (
        1_u32..5,
        proptest::option::of(ratio),
        slow,
        window,
        1_u32..6,
        1_u32..4,
    )
        .prop_map(
            |(consecutive_failures, failure_ratio, slow_calls, window, min_calls, trial_calls)| {
                let min_calls = match window {
                    SlidingWindow::Calls { calls } => min_calls.min(calls),
                    SlidingWindow::Time { .. } => min_calls,
                };
                CircuitBreakerConfig {
                    consecutive_failures,
                    failure_ratio,
                    slow_calls,
                    window,
                    min_calls,
                    cool_down: Duration::from_millis(500),
                    max_cool_down: Duration::from_millis(1_200),
                    trial_calls,
                }
            },
        )
}

/// Everything since the last change, in order.
#[derive(Debug, Default)]
struct Model {
    mode: Mode,
    changes: usize,
    /// When, failed, slow.
    ended: Vec<(Timestamp, bool, bool)>,
    trials: usize,
    last_trial: Timestamp,
    reopened: u32,
}

#[derive(Debug, Default, Clone, Copy, PartialEq)]
enum Mode {
    #[default]
    Closed,
    Open(Timestamp),
    Half,
    Forced,
}

impl Model {
    fn turn(&mut self, mode: Mode) {
        let reopened = if mode == Mode::Closed {
            0
        } else {
            self.reopened
        };
        *self = Self {
            mode,
            changes: self.changes + 1,
            reopened,
            ..Self::default()
        };
    }

    fn reopen(&mut self, now: Timestamp, config: &CircuitBreakerConfig) {
        self.reopened += 1;
        let wait = (config.cool_down * 2_u32.pow(self.reopened.min(8))).min(config.max_cool_down);
        self.turn(Mode::Open(now + wait));
    }

    fn call(&mut self, now: Timestamp, config: &CircuitBreakerConfig) -> bool {
        if matches!(self.mode, Mode::Open(until) if now >= until) {
            self.turn(Mode::Half);
        }
        let current =
            (config.cool_down * 2_u32.pow(self.reopened.min(8))).min(config.max_cool_down);
        match self.mode {
            Mode::Closed => true,
            Mode::Open(_) | Mode::Forced => false,
            Mode::Half if self.trials + self.ended.len() < config.trial_calls as usize => {
                self.trials += 1;
                self.last_trial = now;
                true
            }
            Mode::Half => {
                if now.since(self.last_trial) >= current {
                    self.reopen(now, config);
                }
                false
            }
        }
    }

    fn end(
        &mut self,
        began: Timestamp,
        how: Option<bool>,
        now: Timestamp,
        config: &CircuitBreakerConfig,
    ) {
        let slow = config.slow_calls.as_ref();
        let is_slow = slow.is_some_and(|slow| now.since(began) >= slow.after);
        self.trials = self.trials.saturating_sub(1);
        let Some(failed) = how else { return };
        self.ended.push((now, failed, is_slow));
        if self.mode == Mode::Half {
            if failed || is_slow {
                self.reopen(now, config);
            } else if self.ended.len() == config.trial_calls as usize {
                self.turn(Mode::Closed);
            }
            return;
        }
        let streak = self
            .ended
            .iter()
            .rev()
            .take_while(|(_, failed, _)| *failed)
            .count();
        let in_window: Vec<_> = match config.window {
            SlidingWindow::Calls { calls } => {
                self.ended.iter().rev().take(calls as usize).collect()
            }
            SlidingWindow::Time { length } => {
                let width = i64::try_from(length.as_nanos()).unwrap() / 16;
                let step = |at: Timestamp| at.as_nanos() / width;
                self.ended
                    .iter()
                    .filter(|(at, ..)| step(now) - step(*at) < 16)
                    .collect()
            }
        };
        let share = |n: usize| n as f64 / in_window.len() as f64;
        let enough = in_window.len() >= config.min_calls as usize;
        let failures = share(in_window.iter().filter(|(_, failed, _)| *failed).count());
        let slows = share(in_window.iter().filter(|(.., slow)| *slow).count());
        if streak >= config.consecutive_failures as usize
            || (enough
                && config
                    .failure_ratio
                    .is_some_and(|ratio| failures >= ratio.get()))
            || (enough && slow.is_some_and(|slow| slows >= slow.ratio.get()))
        {
            self.turn(Mode::Open(now + config.cool_down));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]
    #[test]
    fn it_does_what_the_model_does(config in config(), ops in proptest::collection::vec(op(), 1..120)) {
        let clock = ManualClock::new(Timestamp::from_secs(1_000));
        let breaker = CircuitBreaker::new("b", config.clone(), Arc::new(clock.clone())).unwrap();
        let mut model = Model::default();
        let mut under_way: Vec<(CircuitPass<'_>, usize, Timestamp)> = Vec::new();
        for op in ops {
            let now = clock.now();
            match op {
                Op::Wait(ms) => clock.advance(Duration::from_millis(ms)),
                Op::Call => {
                    let pass = breaker.admit();
                    prop_assert_eq!(pass.is_ok(), model.call(now, &config));
                    under_way.extend(pass.ok().map(|pass| (pass, model.changes, now)));
                }
                Op::End(which, how) => {
                    if under_way.is_empty() {
                        continue;
                    }
                    let (pass, changes, began) = under_way.swap_remove(which % under_way.len());
                    match how {
                        Some(false) => pass.succeeded(),
                        Some(true) => pass.failed(),
                        None => drop(pass),
                    }
                    if changes == model.changes {
                        model.end(began, how, now, &config);
                    }
                }
                Op::Reset => {
                    breaker.reset();
                    model.turn(Mode::Closed);
                }
                Op::Force => {
                    breaker.force_open();
                    model.turn(Mode::Forced);
                }
            }
            let expected = match model.mode {
                Mode::Closed => CircuitPhase::Closed,
                Mode::Open(until) => CircuitPhase::Open { until },
                Mode::Half => CircuitPhase::HalfOpen,
                Mode::Forced => CircuitPhase::ForcedOpen,
            };
            prop_assert_eq!(breaker.phase(), expected);
        }
    }
}
