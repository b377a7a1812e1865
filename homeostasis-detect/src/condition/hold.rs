//! How long something holds, when it may be unknown in between.

use std::time::Duration;

use homeostasis_core::Timestamp;
use homeostasis_core::condition::Truth;
use serde::{Deserialize, Serialize};

use crate::series::Transition;

/// When what holds becomes an alarm.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct HoldLimits {
    /// For how long it must hold.
    pub(super) hold: Duration,
    /// The longest time between two answers that counts as held when both are true.
    pub(super) max_step: Duration,
    /// For how long it may be unknown or unasked without being forgotten.
    pub(super) max_pause: Duration,
    /// After how long an alarm that lasts is raised again.
    pub(super) reraise: Option<Duration>,
}

/// How long something has held.
///
/// True begins an episode and lets its time run; false ends it; unknown neither begins nor ends it, but
/// its time does not run, and after `max_pause` without a true answer it is forgotten.
/// An answer that is earlier than the last one changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Hold {
    last: Option<Timestamp>,
    episode: Option<Episode>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Episode {
    since: Timestamp,
    last_true: Timestamp,
    held_nanos: u64,
    is_paused: bool,
    /// When the alarm was raised last.
    raised: Option<Timestamp>,
}

impl Hold {
    /// Takes the next answer.
    pub(super) fn step(&mut self, limits: &HoldLimits, at: Timestamp, truth: Truth) -> Transition {
        if self.last.is_some_and(|last| at < last) {
            return Transition::None;
        }
        self.last = Some(at);
        let is_forgotten = self
            .episode
            .is_some_and(|episode| at.since(episode.last_true) > limits.max_pause);
        match truth {
            Truth::False => self.end(),
            Truth::Unknown if is_forgotten => self.end(),
            Truth::Unknown => {
                if let Some(episode) = &mut self.episode {
                    episode.is_paused = true;
                }
                Transition::None
            }
            Truth::True => {
                if is_forgotten {
                    self.episode = None;
                }
                self.go_on(limits, at)
            }
        }
    }

    /// What holds long enough is raised again.
    pub(super) fn forget_alarm(&mut self) {
        if let Some(episode) = &mut self.episode {
            episode.raised = None;
        }
    }

    fn end(&mut self) -> Transition {
        match self.episode.take() {
            Some(Episode {
                since,
                raised: Some(_),
                ..
            }) => Transition::Cleared { since },
            _ => Transition::None,
        }
    }

    fn go_on(&mut self, limits: &HoldLimits, at: Timestamp) -> Transition {
        let episode = self.episode.get_or_insert(Episode {
            since: at,
            last_true: at,
            held_nanos: 0,
            is_paused: false,
            raised: None,
        });
        let step = at.since(episode.last_true);
        if !episode.is_paused && step <= limits.max_step {
            let nanos = u64::try_from(step.as_nanos()).unwrap_or(u64::MAX);
            episode.held_nanos = episode.held_nanos.saturating_add(nanos);
        }
        episode.is_paused = false;
        episode.last_true = at;
        let since = episode.since;
        match (episode.raised, limits.reraise) {
            (None, _) if Duration::from_nanos(episode.held_nanos) >= limits.hold => {
                episode.raised = Some(at);
                Transition::Raised { since }
            }
            (Some(raised), Some(interval)) if at.since(raised) >= interval => {
                episode.raised = Some(at);
                Transition::Reraised { since }
            }
            _ => Transition::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Truth::{False, True, Unknown};
    use proptest::prelude::*;

    const LIMITS: HoldLimits = HoldLimits {
        hold: Duration::from_secs(300),
        max_step: Duration::from_secs(120),
        max_pause: Duration::from_secs(600),
        reraise: None,
    };

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    fn run(limits: HoldLimits, answers: &[(i64, Truth)]) -> Vec<(i64, Transition)> {
        let mut hold = Hold::default();
        answers
            .iter()
            .map(|(secs, truth)| (*secs, hold.step(&limits, at(*secs), *truth)))
            .filter(|(_, step)| *step != Transition::None)
            .collect()
    }

    fn minutes(truths: &[Truth]) -> Vec<(i64, Truth)> {
        let at = |idx: usize| i64::try_from(idx).unwrap() * 60;
        truths
            .iter()
            .enumerate()
            .map(|(i, t)| (at(i), *t))
            .collect()
    }

    #[test]
    fn five_minutes_without_a_break_raise_one_alarm() {
        let since = at(0);
        assert_eq!(
            run(LIMITS, &minutes(&[True; 20])),
            [(300, Transition::Raised { since })]
        );
        let broken = [True, True, True, False, True, True, True, True, True];
        assert_eq!(run(LIMITS, &minutes(&broken)), []);
    }

    #[test]
    fn unknown_pauses_and_neither_starts_nor_clears() {
        let mut answers = vec![True, True, True, Unknown, Unknown, True, True, True];
        // Held for 2 minutes before the pause and for 2 after it.
        assert_eq!(run(LIMITS, &minutes(&answers)), []);
        answers.push(True);
        let raised = (480, Transition::Raised { since: at(0) });
        assert_eq!(run(LIMITS, &minutes(&answers)), [raised]);
        answers.extend([Unknown, Unknown, True]);
        assert_eq!(run(LIMITS, &minutes(&answers)), [raised]);
        assert_eq!(run(LIMITS, &minutes(&[Unknown; 30])), []);
    }

    #[test]
    fn after_too_long_a_pause_an_episode_is_forgotten() {
        let mut answers = vec![True; 6];
        answers.extend([Unknown; 12]);
        answers.extend([True; 6]);
        assert_eq!(
            run(LIMITS, &minutes(&answers)),
            [
                (300, Transition::Raised { since: at(0) }),
                (960, Transition::Cleared { since: at(0) }),
                (1380, Transition::Raised { since: at(1080) }),
            ]
        );
    }

    #[test]
    fn time_without_answers_counts_only_up_to_one_step() {
        assert_eq!(run(LIMITS, &[(0, True), (500, True)]), []);
        assert_eq!(
            run(LIMITS, &[(0, True), (100, True), (200, True), (300, True)]).len(),
            1
        );
    }

    #[test]
    fn an_alarm_that_lasts_is_raised_again() {
        let limits = HoldLimits {
            reraise: Some(Duration::from_secs(600)),
            ..LIMITS
        };
        let since = at(0);
        assert_eq!(
            run(limits, &minutes(&[True; 16])),
            [
                (300, Transition::Raised { since }),
                (900, Transition::Reraised { since }),
            ]
        );
    }

    proptest! {
        #[test]
        fn an_alarm_needs_the_time_and_an_episode_has_one(
            answers in prop::collection::vec((1_i64..200, 0_u8..4), 0..200)
        ) {
            let mut now = 0;
            let answers: Vec<(i64, Truth)> = answers
                .into_iter()
                .map(|(step, kind)| {
                    now += step;
                    (now, match kind { 0 => False, 1 => Unknown, _ => True })
                })
                .collect();
            let mut is_open = false;
            for (when, step) in run(LIMITS, &answers) {
                match step {
                    Transition::Raised { since } => {
                        prop_assert!(at(when).since(since) >= LIMITS.hold);
                        let is_broken = answers
                            .iter()
                            .any(|(t, truth)| at(*t) >= since && *t <= when && truth.is_false());
                        prop_assert!(!is_broken);
                        is_open = true;
                    }
                    Transition::Cleared { .. } => {
                        prop_assert!(is_open);
                        is_open = false;
                    }
                    _ => prop_assert!(false),
                }
            }
        }
    }
}
