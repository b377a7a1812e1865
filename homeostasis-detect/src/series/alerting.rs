//! Alerting: when scores become an alarm, and when the alarm is over.

use std::time::Duration;

use homeostasis_core::document::format_duration;
use homeostasis_core::{ConfigError, Score, Timestamp, Violations};
use serde::{Deserialize, Serialize};

use crate::check;

/// More of the usual intervals than this are a gap, if they are longer than `max_gap`.
const USUAL_INTERVALS: u64 = 3;

/// When scores become an alarm.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AlertingConfig {
    /// A score above this is abnormal; default 0.5, the limit of every kernel of this crate.
    /// At 1 nothing alarms.
    pub threshold: Score,
    /// A score of at most this is calm; default 0.4, at most `threshold`. What lies between is neither.
    pub clear: Score,
    /// How many abnormal samples in a row an alarm needs; default 2, range 1 to 1 000 000.
    pub sustain_samples: u32,
    /// For how long the scores must have been abnormal; default 0s. Both this and `sustain_samples` must hold.
    #[serde(with = "crate::duration_text")]
    pub sustain: Duration,
    /// How many calm samples in a row end an alarm; default 3, range 1 to 1 000 000.
    pub clear_samples: u32,
    /// Samples further apart than this, and than three of the usual intervals of the series, are not in a row: an alarm
    /// that was coming is forgotten, and one that was on is over; default 10m, above 0.
    #[serde(with = "crate::duration_text")]
    pub max_gap: Duration,
    /// For how long after the end of an alarm none is raised; default 1m. What is abnormal then and stays
    /// so alarms afterwards.
    #[serde(with = "crate::duration_text")]
    pub refractory: Duration,
    /// After how long an alarm that lasts is raised again; default never. Above 0.
    #[serde(with = "crate::duration_text::option")]
    pub reraise: Option<Duration>,
}

impl Default for AlertingConfig {
    fn default() -> Self {
        Self {
            threshold: Score::saturating(0.5),
            clear: Score::saturating(0.4),
            sustain_samples: 2,
            sustain: Duration::ZERO,
            clear_samples: 3,
            max_gap: Duration::from_secs(600),
            refractory: Duration::from_secs(60),
            reraise: None,
        }
    }
}

/// Turns the scores of one series into alarms: one for each episode.
///
/// A pure state machine; the same scores at the same times give the same transitions.
/// An alarm is raised when scores were above `threshold` for `sustain_samples` and for `sustain`, without a
/// sample at or below it in between.
/// It is over when `clear_samples` in a row were at or below `clear`; samples between `clear` and
/// `threshold` neither begin nor end anything.
/// A gap (`max_gap`) says nothing of what was in it: what is abnormal after it is another episode, and alarms anew.
/// The usual interval of the series is learned, so that one sampled each hour has no gap between any two samples.
/// Samples that are not later than the last one change nothing.
///
/// ```
/// use homeostasis::core::{Score, Timestamp};
/// use homeostasis::detect::{AlertState, Alerting, AlertingConfig, Transition};
///
/// let alerting = Alerting::new(AlertingConfig::default())?;
/// let mut state = AlertState::default();
/// let mut seen = |secs, score| alerting.step(&mut state, Timestamp::from_secs(secs), Score::saturating(score));
/// assert_eq!(seen(0, 0.9), Transition::None);
/// assert_eq!(seen(10, 0.9), Transition::Raised { since: Timestamp::from_secs(0) });
/// assert_eq!(seen(20, 0.9), Transition::None);
/// # Ok::<(), homeostasis::core::ConfigError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Alerting {
    config: AlertingConfig,
}

/// Where one series stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AlertState {
    phase: Phase,
    last: Option<Timestamp>,
    /// When the last alarm ended.
    ended: Option<Timestamp>,
    /// The usual interval, in nanoseconds; nothing before the second sample.
    usual: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Phase {
    #[default]
    Calm,
    /// Abnormal, and not long enough yet.
    Pending { since: Timestamp, n: u32 },
    /// In an alarm that was raised (again) at `raised`; the last `n_calm` samples were calm.
    Alarming {
        since: Timestamp,
        raised: Timestamp,
        n_calm: u32,
    },
}

/// What a sample changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transition {
    /// Nothing.
    None,
    /// An alarm begins.
    Raised {
        /// The first abnormal sample.
        since: Timestamp,
    },
    /// An alarm lasts, and `reraise` has passed.
    Reraised {
        /// The first abnormal sample.
        since: Timestamp,
    },
    /// An alarm is over. If the same sample, after a gap, raises the next one, only that is told.
    Cleared {
        /// The first abnormal sample.
        since: Timestamp,
    },
}

impl AlertState {
    /// Whether an alarm is on.
    pub fn is_alarming(&self) -> bool {
        matches!(self.phase, Phase::Alarming { .. })
    }

    /// Whether the next sample, so long after the last, is no longer in a row with it; learns the interval.
    fn is_gap(&mut self, interval: Duration, max_gap: Duration) -> bool {
        let nanos = u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX);
        let Some(usual) = self.usual else {
            self.usual = Some(nanos);
            return interval > max_gap;
        };
        // Within a factor of two, so that one long gap teaches little and a new rate is known after a few samples.
        self.usual = Some(nanos.clamp(usual / 2, usual.saturating_mul(2)).max(1));
        interval > max_gap && nanos > usual.saturating_mul(USUAL_INTERVALS)
    }
}

impl Alerting {
    /// The state machine of `config`.
    ///
    /// # Errors
    /// Every field of `config` outside its range, below `alerting`.
    pub fn new(config: AlertingConfig) -> Result<Self, ConfigError> {
        let mut found = Violations::new();
        check::that(
            &mut found,
            config.clear <= config.threshold,
            "alerting.clear",
            config.clear.get(),
            &format!("at most {}, the threshold", config.threshold.get()),
        );
        for (path, n) in [
            ("alerting.sustain_samples", config.sustain_samples),
            ("alerting.clear_samples", config.clear_samples),
        ] {
            let holds = (1..=1_000_000).contains(&n);
            check::that(&mut found, holds, path, n, "1 to 1000000 samples");
        }
        check::lasting(&mut found, "alerting.max_gap", config.max_gap);
        if let Some(reraise) = config.reraise {
            check::that(
                &mut found,
                !reraise.is_zero(),
                "alerting.reraise",
                format_duration(reraise),
                "a duration above 0s, or nothing",
            );
        }
        found.into_result(Self { config })
    }

    /// The configuration.
    pub fn config(&self) -> &AlertingConfig {
        &self.config
    }

    /// Takes the next score of the series.
    pub fn step(&self, state: &mut AlertState, at: Timestamp, score: Score) -> Transition {
        if state.last.is_some_and(|last| at <= last) {
            return Transition::None;
        }
        let last = state.last.replace(at);
        let is_gap = last.is_some_and(|last| state.is_gap(at.since(last), self.config.max_gap));
        let is_abnormal = score > self.config.threshold;
        match state.phase {
            Phase::Alarming { since, .. } if is_gap => {
                state.ended = last;
                state.phase = Phase::Calm;
                if is_abnormal
                    && let raised @ Transition::Raised { .. } = self.wait(state, at, at, 1)
                {
                    return raised;
                }
                Transition::Cleared { since }
            }
            Phase::Alarming {
                since,
                raised,
                n_calm,
            } => self.go_on(state, at, score, (since, raised, n_calm)),
            Phase::Pending { since, n } if is_abnormal && !is_gap => {
                self.wait(state, at, since, n.saturating_add(1))
            }
            Phase::Calm | Phase::Pending { .. } if is_abnormal => self.wait(state, at, at, 1),
            Phase::Calm | Phase::Pending { .. } => {
                state.phase = Phase::Calm;
                Transition::None
            }
        }
    }

    /// Abnormal since `since` in `n` samples, without an alarm so far.
    fn wait(&self, state: &mut AlertState, at: Timestamp, since: Timestamp, n: u32) -> Transition {
        let config = &self.config;
        let is_refractory = state
            .ended
            .is_some_and(|ended| at.since(ended) < config.refractory);
        if n < config.sustain_samples || at.since(since) < config.sustain || is_refractory {
            state.phase = Phase::Pending { since, n };
            return Transition::None;
        }
        state.phase = Phase::Alarming {
            since,
            raised: at,
            n_calm: 0,
        };
        Transition::Raised { since }
    }

    fn go_on(
        &self,
        state: &mut AlertState,
        at: Timestamp,
        score: Score,
        (since, mut raised, n_calm): (Timestamp, Timestamp, u32),
    ) -> Transition {
        let n_calm = if score <= self.config.clear {
            n_calm.saturating_add(1)
        } else {
            0
        };
        if n_calm >= self.config.clear_samples {
            state.phase = Phase::Calm;
            state.ended = Some(at);
            return Transition::Cleared { since };
        }
        let is_due = score > self.config.threshold
            && self
                .config
                .reraise
                .is_some_and(|interval| at.since(raised) >= interval);
        if is_due {
            raised = at;
        }
        state.phase = Phase::Alarming {
            since,
            raised,
            n_calm,
        };
        if is_due {
            Transition::Reraised { since }
        } else {
            Transition::None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    fn run(config: AlertingConfig, scores: &[(i64, f64)]) -> Vec<(i64, Transition)> {
        let alerting = Alerting::new(config).unwrap();
        let mut state = AlertState::default();
        scores
            .iter()
            .map(|(secs, score)| {
                let step = alerting.step(&mut state, at(*secs), Score::saturating(*score));
                (*secs, step)
            })
            .filter(|(_, step)| *step != Transition::None)
            .collect()
    }

    #[test]
    fn exactly_the_threshold_is_not_abnormal() {
        let scores: Vec<_> = (0..20).map(|i| (i, 0.5)).collect();
        assert_eq!(run(AlertingConfig::default(), &scores), []);
    }

    #[test]
    fn samples_between_clear_and_threshold_keep_an_alarm_and_start_none() {
        let config = AlertingConfig::default();
        let scores = [
            (0, 0.9),
            (1, 0.9),
            (2, 0.45),
            (3, 0.45),
            (4, 0.45),
            (5, 0.45),
        ];
        assert_eq!(run(config, &scores).len(), 1);
        let scores = [(0, 0.9), (1, 0.45), (2, 0.9), (3, 0.45)];
        assert_eq!(run(config, &scores), []);
    }

    #[test]
    fn a_gap_forgets_an_alarm_that_was_coming() {
        let scores = [(0, 0.9), (700, 0.9), (710, 0.9)];
        assert_eq!(
            run(AlertingConfig::default(), &scores),
            [(710, Transition::Raised { since: at(700) })]
        );
    }

    #[test]
    fn a_series_sampled_each_day_alarms_and_each_of_its_days_is_no_gap() {
        let day = 86_400;
        let abnormal = |days: &[i64]| -> Vec<_> { days.iter().map(|i| (i * day, 0.9)).collect() };
        let calm = [(0, 0.1), (day, 0.1)];
        let scores: Vec<_> = calm.into_iter().chain(abnormal(&[2, 3, 4, 5])).collect();
        let since = at(2 * day);
        assert_eq!(
            run(AlertingConfig::default(), &scores),
            [(3 * day, Transition::Raised { since })]
        );
        // Four days without a sample are one.
        let scores: Vec<_> = calm.into_iter().chain(abnormal(&[2, 6, 7])).collect();
        let since = at(6 * day);
        assert_eq!(
            run(AlertingConfig::default(), &scores),
            [(7 * day, Transition::Raised { since })]
        );
    }

    #[test]
    fn a_series_that_becomes_rarer_is_no_row_of_gaps_for_long() {
        let mut scores: Vec<_> = (0..100).map(|i| (i * 60, 0.1)).collect();
        scores.extend((1..20).map(|i| (6000 + i * 1800, 0.9)));
        let found = run(AlertingConfig::default(), &scores);
        assert_eq!(found.len(), 1);
        assert!(found[0].0 <= 6000 + 7 * 1800, "{found:?}");
    }

    #[test]
    fn an_alarm_from_before_a_silent_night_is_over_and_what_is_abnormal_next_morning_alarms_anew() {
        let scores = [(0, 0.9), (10, 0.9), (20, 0.9), (30_000, 0.9), (30_010, 0.9)];
        let (evening, morning) = (at(0), at(30_000));
        let told = [
            (10, Transition::Raised { since: evening }),
            (30_000, Transition::Cleared { since: evening }),
            (30_010, Transition::Raised { since: morning }),
        ];
        assert_eq!(run(AlertingConfig::default(), &scores), told);
        // Where one sample is enough, the alarm of the morning is told at once.
        let config = AlertingConfig {
            sustain_samples: 1,
            ..AlertingConfig::default()
        };
        let told = [
            (0, Transition::Raised { since: evening }),
            (30_000, Transition::Raised { since: morning }),
        ];
        assert_eq!(run(config, &scores), told);
        let calm = [(0, 0.9), (10, 0.9), (30_000, 0.1)];
        assert_eq!(run(AlertingConfig::default(), &calm).len(), 2);
    }

    #[test]
    fn an_alarm_that_lasts_is_raised_again_at_its_interval() {
        let config = AlertingConfig {
            reraise: Some(Duration::from_secs(60)),
            ..AlertingConfig::default()
        };
        let scores: Vec<_> = (0..13).map(|i| (i * 10, 0.9)).collect();
        let since = at(0);
        assert_eq!(
            run(config, &scores),
            [
                (10, Transition::Raised { since }),
                (70, Transition::Reraised { since }),
            ]
        );
    }

    #[test]
    fn after_an_alarm_there_is_rest_and_what_lasts_beyond_it_alarms_with_its_beginning() {
        let mut scores = vec![(0, 0.9), (1, 0.9), (2, 0.0), (3, 0.0), (4, 0.0)];
        scores.extend((5..80).map(|i| (i, 0.9)));
        assert_eq!(
            run(AlertingConfig::default(), &scores),
            [
                (1, Transition::Raised { since: at(0) }),
                (4, Transition::Cleared { since: at(0) }),
                (64, Transition::Raised { since: at(5) }),
            ]
        );
    }

    #[test]
    fn every_field_out_of_range_is_named() {
        let error = Alerting::new(AlertingConfig {
            clear: Score::ONE,
            sustain_samples: 0,
            clear_samples: 0,
            max_gap: Duration::ZERO,
            reraise: Some(Duration::ZERO),
            ..AlertingConfig::default()
        })
        .unwrap_err();
        assert_eq!(error.violations().len(), 5);
    }

    proptest! {
        #[test]
        fn an_episode_has_one_alarm_that_was_sustained_and_ends_by_calm(
            scores in prop::collection::vec((1_i64..30, 0.0_f64..1.0), 0..300),
            sustain_samples in 1_u32..5,
            sustain in 0_u64..60,
            clear_samples in 1_u32..5,
            refractory in 0_u64..90,
        ) {
            let config = AlertingConfig {
                sustain_samples,
                sustain: Duration::from_secs(sustain),
                clear_samples,
                refractory: Duration::from_secs(refractory),
                ..AlertingConfig::default()
            };
            let mut now = 0;
            let points: Vec<(i64, f64)> = scores
                .into_iter()
                .map(|(step, score)| { now += step; (now, score) })
                .collect();
            let mut open: Option<i64> = None;
            let mut ended: Option<i64> = None;
            for (when, step) in run(config, &points) {
                match step {
                    Transition::Raised { since } => {
                        prop_assert!(open.is_none(), "two alarms in one episode");
                        prop_assert!(at(when).since(since) >= config.sustain);
                        let run: Vec<_> = points
                            .iter()
                            .filter(|point| at(point.0) >= since && point.0 <= when)
                            .collect();
                        prop_assert!(run.len() >= sustain_samples as usize);
                        prop_assert!(run.iter().all(|point| point.1 > 0.5));
                        if let Some(ended) = ended {
                            prop_assert!(at(when).since(at(ended)) >= config.refractory);
                        }
                        open = Some(when);
                    }
                    Transition::Cleared { .. } => {
                        prop_assert!(open.take().is_some(), "an end without a beginning");
                        let calm = points
                            .iter()
                            .rev()
                            .filter(|point| point.0 <= when)
                            .take(clear_samples as usize);
                        prop_assert!(calm.into_iter().all(|point| point.1 <= 0.4));
                        ended = Some(when);
                    }
                    Transition::Reraised { .. } | Transition::None => prop_assert!(false),
                }
            }
        }
    }
}
