//! Operations that call others than they used to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use homeostasis_core::record::{Direction, Expectation};
use homeostasis_core::signal::SpanRecord;
use homeostasis_core::stage::{DetectError, SeriesDetector};
use homeostasis_core::{ConfigError, Timestamp, Violations};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::kernel::{OperationFinding, OperationKernel, OperationScore};
use crate::recent::Recent;
use crate::side::Side;
use crate::stat::{Ewma, EwmaConfig};
use crate::{check, prose, scale, state};

/// What an abnormal window weighs in the history, compared with others.
const ABNORMAL_WEIGHT: f64 = 0.1;
/// Surprises are told up to this, in nats.
const MOST_SURPRISE: f64 = 700.0;
/// A call seen in fewer executions than this share is forgotten.
const FORGOTTEN: f64 = 1e-4;

/// When an [`OperationCalls`] calls a window abnormal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OperationCallsConfig {
    /// How many executions are learned before a call can be new or missing; default 100, range 2 to 1 000 000.
    pub warm_up: u32,
    /// What the history weighs at most, in executions; default 5000, range 100 to 1e9.
    pub history: f64,
    /// For how many windows a new call is news; default 20, at least 1.
    pub new_for: u32,
    /// A call made by a smaller share of executions is not missed, nor are its repetitions counted; default 0.2,
    /// range 0.01 to 1.
    pub min_share: f64,
    /// The limit of surprise of a missing call in nats; default 11.5, one window in 100 000; range 1 to 100.
    pub limit: f64,
    /// An increase of calls per execution by less than this share is never abnormal; default 1, which is twice as many;
    /// range 0.1 to 100.
    pub min_increase: f64,
    /// How many different calls are followed for each operation; default 64, at least 1.
    pub max_calls: usize,
}

impl Default for OperationCallsConfig {
    fn default() -> Self {
        Self {
            warm_up: 100,
            history: 5000.0,
            new_for: 20,
            min_share: 0.2,
            limit: 11.5,
            min_increase: 1.0,
            max_calls: 64,
        }
    }
}

/// Judges whom an operation calls, and how often, by its own past.
///
/// Needs spans with `trace`, `span` and `parent`; a call is named by its service and operation.
/// - *New:* a call never seen in `N` executions has, by Laplace's rule of succession, at most the probability
///   `1 / (N + 1)` of being made by the next one; the surprise is `ln(N + 1)`, and the score 0.5 at `warm_up`
///   executions. It needs two executions that make it, and is news for `new_for` windows.
/// - *Missing:* a call made by the share `p` of executions and by none of the `n` of the window has the surprise
///   `-n ln(1 - p)`; the score is 0.5 at `limit`. One made by less than `min_share` is not missed.
/// - *Repeated:* the calls per execution are judged by an [`Ewma`] of their logarithm with `k = 4` and at least
///   `min_increase`, as a loop over single queries shows it.
///
/// The score is that of the call that deviates most.
/// At most `max_calls` are followed; when there are more, the rest is counted and not judged.
/// O(log c) per call for c calls, O(c) per window.
///
/// Source of the rule: P. S. Laplace, *Essai philosophique sur les probabilités*, 1814; E. T. Jaynes, *Probability Theory*,
/// 2003, chapter 18.
///
/// # Examples
/// ```
/// use homeostasis::core::{Timestamp, signal::SpanRecord};
/// use homeostasis::detect::{OperationCalls, OperationCallsConfig, OperationKernel};
/// use std::time::Duration;
///
/// let mut calls = OperationCalls::new(OperationCallsConfig::default())?;
/// let checkout = SpanRecord::new(Timestamp::EPOCH, Duration::from_millis(5), "POST /checkout");
/// let mut window = |second: i64, made: &[&str]| {
///     let made: Vec<_> = made.iter().map(|call| (*call).into()).collect();
///     for _ in 0..50 {
///         calls.take(&checkout, &made);
///     }
///     calls.close(Timestamp::from_secs(second)).score.get()
/// };
/// for minute in 0..20 {
///     assert!(window(60 * minute, &["stock reserve", "payment charge"]) < 0.5);
/// }
/// assert!(window(60 * 20, &["stock reserve"]) > 0.5);
/// # Ok::<(), homeostasis::core::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct OperationCalls {
    config: OperationCallsConfig,
    repetition: Ewma,
    /// The open window: executions, and for each call the executions that made it and how often.
    n_executions: u64,
    made: BTreeMap<Arc<str>, (u64, u64)>,
    /// What was learned, in weighed executions.
    executions: f64,
    calls: BTreeMap<Arc<str>, Call>,
    n_refused: u64,
    recent: Recent,
    worst: Option<Deviation>,
    weights: Vec<(String, f64)>,
}

#[derive(Debug, Clone, PartialEq)]
struct Call {
    /// Weighed executions since it was seen first, and those that made it.
    executions: f64,
    made_by: f64,
    /// While it is news: the executions before it, and the windows since.
    news: Option<(f64, u32)>,
    repetition: Ewma,
}

#[derive(Debug, Clone, PartialEq)]
struct Deviation {
    /// How many times its limit.
    ratio: f64,
    surprise: f64,
    direction: Direction,
    call: Arc<str>,
    text: String,
    observed: f64,
    expected: Expectation,
}

impl OperationCalls {
    /// A model that has learned nothing yet.
    ///
    /// # Errors
    /// Every field of `config` outside its range, below `operation_calls`.
    pub fn new(config: OperationCallsConfig) -> Result<Self, ConfigError> {
        let mut found = Violations::new();
        for (name, value, low, high) in [
            ("warm_up", f64::from(config.warm_up), 2.0, 1e6),
            ("history", config.history, 100.0, 1e9),
            ("min_share", config.min_share, 0.01, 1.0),
            ("limit", config.limit, 1.0, 100.0),
            ("min_increase", config.min_increase, 0.1, 100.0),
        ] {
            let path = format!("operation_calls.{name}");
            let expected = format!("{low} to {high}");
            let holds = (low..=high).contains(&value);
            check::that(&mut found, holds, &path, value, &expected);
        }
        let new_for = config.new_for;
        let path = "operation_calls.new_for";
        check::that(&mut found, new_for > 0, path, new_for, "at least 1 window");
        let max_calls = config.max_calls;
        let path = "operation_calls.max_calls";
        check::that(
            &mut found,
            max_calls > 0,
            path,
            max_calls,
            "at least 1 call",
        );
        if let Some(error) = found.into_error() {
            return Err(error);
        }
        let k = 4.0;
        let repetition = Ewma::new(EwmaConfig {
            alpha: 0.05,
            deviation_alpha: 0.05,
            k,
            warm_up: 10,
            resolution: config.min_increase.ln_1p() / k,
            side: Side::High,
        })?;
        Ok(Self {
            config,
            repetition,
            n_executions: 0,
            made: BTreeMap::new(),
            executions: 0.0,
            calls: BTreeMap::new(),
            n_refused: 0,
            recent: Recent::default(),
            worst: None,
            weights: Vec::new(),
        })
    }

    /// The configuration.
    pub fn config(&self) -> &OperationCallsConfig {
        &self.config
    }

    /// The calls it knows.
    pub fn known(&self) -> impl Iterator<Item = &str> {
        self.calls.keys().map(|call| &**call)
    }

    /// How often a call was left out because too many different ones were there.
    pub fn n_refused(&self) -> u64 {
        self.n_refused
    }

    fn count(&mut self, call: &Arc<str>, n_executions: u64) {
        if let Some((made_by, n)) = self.made.get_mut(call) {
            *made_by = made_by.saturating_add(n_executions);
            *n = n.saturating_add(1);
        } else if self.made.len() < self.config.max_calls {
            self.made.insert(Arc::clone(call), (n_executions, 1));
        } else {
            self.n_refused = self.n_refused.saturating_add(1);
        }
    }

    /// What deviates in the window of `n` executions.
    fn judge(&mut self, at: Timestamp, n: f64) -> Vec<Deviation> {
        let (config, is_warm) = (
            &self.config,
            self.executions >= f64::from(self.config.warm_up),
        );
        let mut found = Vec::new();
        for (name, (made_by, _)) in &self.made {
            let before = match self.calls.get(name) {
                None if is_warm && *made_by >= 2 => self.executions,
                Some(Call {
                    news: Some((before, _)),
                    ..
                }) => *before,
                _ => continue,
            };
            let surprise = before.ln_1p();
            found.push(Deviation {
                ratio: surprise / f64::from(config.warm_up).ln_1p(),
                surprise,
                direction: Direction::Other,
                call: Arc::clone(name),
                text: format!(
                    "calls {name}, which it did not in about {} executions before",
                    prose::number(before.round())
                ),
                observed: *made_by as f64 / n,
                expected: Expectation::Words(format!("no call of {name}")),
            });
        }
        for (name, call) in &mut self.calls {
            let (made_by, n_calls) = self.made.get(name).copied().unwrap_or_default();
            // Of one more execution that did not make it: never certain.
            let share = call.made_by / (call.executions + 1.0);
            if share < config.min_share || !is_warm {
                continue;
            }
            if n_calls == 0 {
                let surprise = (-n * f64::ln(1.0 - share)).min(MOST_SURPRISE);
                found.push(Deviation {
                    ratio: surprise / config.limit,
                    surprise,
                    direction: Direction::Low,
                    call: Arc::clone(name),
                    text: format!(
                        "does not call {name} any more: 0 of {n} executions, expected {} %",
                        prose::number(100.0 * share)
                    ),
                    observed: 0.0,
                    expected: Expectation::Between {
                        low: Some(share),
                        high: None,
                    },
                });
                continue;
            }
            let each = n_calls as f64 / made_by.max(1) as f64;
            let judged = call.repetition.update(at, Some(each.ln()));
            let expected = match judged.expected {
                Expectation::Between { low, high } => Expectation::Between {
                    low: low.map(f64::exp),
                    high: high.map(f64::exp),
                },
                other => other,
            };
            let score = judged.score.get();
            found.push(Deviation {
                // The inverse of the score; finite, because a score of 1 takes a deviation of 1e8.
                ratio: (score / (1.0 - score)).sqrt().min(1e8),
                surprise: judged.surprise,
                direction: judged.direction,
                call: Arc::clone(name),
                text: format!(
                    "calls {name} {} times in each of {made_by} executions, expected {}",
                    prose::number(each),
                    prose::expectation(&expected)
                ),
                observed: each,
                expected,
            });
        }
        found
    }

    fn learn(&mut self, n: f64, is_abnormal: bool) {
        // As elsewhere one window weighs little, and an abnormal one less.
        let weight = (0.02 * self.config.history / n).min(1.0);
        let scale = |executions: f64| (self.config.history / executions).min(1.0);
        for (name, (made_by, _)) in &self.made {
            if self.calls.contains_key(name) || *made_by < 2 {
                continue;
            }
            if self.calls.len() >= self.config.max_calls {
                self.n_refused = self.n_refused.saturating_add(1);
                continue;
            }
            let is_news = self.executions >= f64::from(self.config.warm_up);
            let call = Call {
                executions: 0.0,
                made_by: 0.0,
                news: is_news.then_some((self.executions, 0)),
                repetition: self.repetition.clone(),
            };
            self.calls.insert(Arc::clone(name), call);
        }
        for (name, call) in &mut self.calls {
            let (made_by, _) = self.made.get(name).copied().unwrap_or_default();
            let weight = if is_abnormal && call.news.is_none() {
                ABNORMAL_WEIGHT * weight
            } else {
                weight
            };
            call.executions += weight * n;
            call.made_by += weight * (made_by as f64).min(n);
            let scale = scale(call.executions);
            call.executions *= scale;
            call.made_by *= scale;
            if let Some((_, n_windows)) = &mut call.news {
                *n_windows += 1;
                if *n_windows >= self.config.new_for {
                    call.news = None;
                }
            }
        }
        self.calls
            .retain(|_, call| call.made_by > FORGOTTEN * call.executions);
        self.executions += weight * n;
        self.executions *= scale(self.executions);
    }
}

impl OperationKernel for OperationCalls {
    fn wants_calls(&self) -> bool {
        true
    }

    fn take(&mut self, _: &SpanRecord, calls: &[Arc<str>]) {
        self.n_executions = self.n_executions.saturating_add(1);
        let mut seen = BTreeSet::new();
        for call in calls {
            let is_first = seen.insert(call);
            self.count(call, u64::from(is_first));
        }
    }

    fn take_late_call(&mut self, call: &Arc<str>) {
        // Whether its execution made it before is not known any more: most make a call once.
        self.count(call, 1);
    }

    fn close(&mut self, at: Timestamp) -> OperationScore {
        if self.n_executions == 0 {
            (self.worst, self.weights) = (None, Vec::new());
            return OperationScore::NORMAL;
        }
        let n = std::mem::take(&mut self.n_executions) as f64;
        let found = self.judge(at, n);
        let is_abnormal = found.iter().any(|deviation| deviation.ratio > 1.0);
        self.learn(n, is_abnormal);
        let n_calls: u64 = self.made.values().map(|(_, n)| n).sum();
        self.made.clear();
        self.recent.push(at, n_calls as f64 / n);
        let share = |deviation: &Deviation| (deviation.call.to_string(), deviation.ratio);
        self.weights = found.iter().map(share).collect();
        let by_ratio = |a: &Deviation, b: &Deviation| a.ratio.total_cmp(&b.ratio);
        self.worst = found.into_iter().max_by(by_ratio);
        self.worst
            .as_ref()
            .map_or(OperationScore::NORMAL, |worst| OperationScore {
                score: scale::score(worst.ratio),
                surprise: worst.surprise,
                direction: worst.direction,
            })
    }

    fn explain(&self) -> OperationFinding {
        let (text, observed, expected) = match &self.worst {
            Some(worst) => (
                worst.text.clone(),
                Some(worst.observed),
                worst.expected.clone(),
            ),
            None => (
                "calls nobody".to_owned(),
                None,
                Expectation::Words("calls".to_owned()),
            ),
        };
        OperationFinding {
            text,
            observed,
            expected,
            weights: self.weights.clone(),
            series: self.recent.to_vec(),
        }
    }

    fn save(&self) -> Option<Value> {
        let call = |(name, call): (&Arc<str>, &Call)| {
            let parts = (
                call.executions,
                call.made_by,
                call.news,
                call.repetition.save()?,
            );
            Some((name.to_string(), parts))
        };
        let made = self.made.iter();
        state::save(&Stored {
            n_executions: self.n_executions,
            made: made
                .map(|(name, counts)| (name.to_string(), *counts))
                .collect(),
            executions: self.executions,
            calls: self.calls.iter().map(call).collect::<Option<_>>()?,
            n_refused: self.n_refused,
            recent: self.recent.clone(),
        })
    }

    fn load(&mut self, value: &Value) -> Result<(), DetectError> {
        const WHAT: &str = "state of operation_calls";
        let stored: Stored = state::load(WHAT, value)?;
        let n = stored.calls.len().max(stored.made.len());
        let expected = format!("at most {} calls", self.config.max_calls);
        state::require(n <= self.config.max_calls, WHAT, &expected)?;
        let mut calls = BTreeMap::new();
        for (name, (executions, made_by, news, saved)) in stored.calls {
            let holds = made_by >= 0.0 && executions >= made_by;
            state::require(holds, WHAT, "no more calls than executions")?;
            let mut repetition = self.repetition.clone();
            repetition.load(&saved)?;
            let call = Call {
                executions,
                made_by,
                news,
                repetition,
            };
            calls.insert(Arc::from(name), call);
        }
        let made = stored.made.into_iter();
        self.made = made
            .map(|(name, counts)| (Arc::from(name), counts))
            .collect();
        (self.calls, self.n_executions) = (calls, stored.n_executions);
        (self.executions, self.n_refused) = (stored.executions, stored.n_refused);
        self.recent = stored.recent;
        (self.worst, self.weights) = (None, Vec::new());
        Ok(())
    }
}

/// Weighed executions since it was seen, those that made it, since when it is news, and its repetition.
type StoredCall = (f64, f64, Option<(f64, u32)>, Value);

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    n_executions: u64,
    made: BTreeMap<String, (u64, u64)>,
    executions: f64,
    calls: BTreeMap<String, StoredCall>,
    n_refused: u64,
    recent: Recent,
}

#[cfg(test)]
mod tests;
