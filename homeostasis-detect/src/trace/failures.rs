//! Operations that fail more often than they used to.

use std::sync::Arc;

use homeostasis_core::record::{Direction, Expectation};
use homeostasis_core::signal::{SpanRecord, SpanStatus};
use homeostasis_core::stage::DetectError;
use homeostasis_core::{ConfigError, Ratio, Timestamp, Violations};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::kernel::{OperationFinding, OperationKernel, OperationScore};
use crate::recent::Recent;
use crate::{check, prose, scale, state};

/// One window weighs at most this share of the history, so that the history is at least so many windows.
const MAX_WINDOW_SHARE: f64 = 0.01;
/// What an abnormal window weighs in the history, compared with others.
const ABNORMAL_WEIGHT: f64 = 0.1;
/// Surprises are told up to this, in nats.
const MOST_SURPRISE: f64 = 700.0;

/// When an [`OperationFailures`] calls a window abnormal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OperationFailuresConfig {
    /// The limit of surprise in nats; default 11.5, one window in 100 000; range 1 to 100.
    pub limit: f64,
    /// Fewer failures in a window are never abnormal; default 3, at least 1.
    pub min_failures: u32,
    /// What the history weighs at most, in spans; default 2000, range 100 to 1e9.
    /// The smaller, the more may the rate vary from window to window.
    pub history: f64,
    /// How many spans are learned before the first window is judged; default 100, at least 1.
    pub warm_up: u32,
}

impl Default for OperationFailuresConfig {
    fn default() -> Self {
        Self {
            limit: 11.5,
            min_failures: 3,
            history: 2000.0,
            warm_up: 100,
        }
    }
}

/// Judges how many spans of a window failed, by the failure rate of the past of the operation.
///
/// With `a` failures of `b` spans in the history, the failures of `n` spans follow a beta-binomial distribution with
/// parameters `a + 1/2` and `b - a + 1/2` (the posterior prediction under Jeffreys' prior): with little history, or few
/// spans, only much is surprising.
/// The surprise of `k` failures is `-ln P(K >= k)`; the score is 0.5 at `limit`.
/// The history weighs no more than `history` spans, however many there were, because rates vary by more than chance
/// allows; each window weighs at most 1 % of that, and an abnormal one a tenth.
/// A window with fewer than `min_failures` failures is normal.
/// O(1) per span; per window at most O(n), mostly a few dozen terms.
///
/// Source: A. Gelman et al., *Bayesian Data Analysis*, third edition, 2013, sections 2.4 and 2.8, and page 583 for the
/// distribution.
///
/// # Examples
/// ```
/// use homeostasis::core::{Timestamp, signal::{SpanRecord, SpanStatus}};
/// use homeostasis::detect::{OperationFailures, OperationFailuresConfig, OperationKernel};
/// use std::time::Duration;
///
/// let mut failures = OperationFailures::new(OperationFailuresConfig::default())?;
/// let mut window = |second: i64, n_failed: u32| {
///     let at = Timestamp::from_secs(second);
///     for idx in 0..100 {
///         let mut span = SpanRecord::new(at, Duration::from_millis(5), "GET /orders");
///         if idx < n_failed {
///             span.status = SpanStatus::Error;
///         }
///         failures.take(&span, &[]);
///     }
///     failures.close(at).score.get()
/// };
/// for minute in 0..20 {
///     assert!(window(60 * minute, 1) < 0.5);
/// }
/// assert!(window(60 * 20, 20) > 0.5);
/// # Ok::<(), homeostasis::core::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct OperationFailures {
    config: OperationFailuresConfig,
    state: State,
    /// The last window, and what was known before it.
    closed: Option<Closed>,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    n_spans: u64,
    n_failed: u64,
    history: History,
    recent: Recent,
}

/// What was learned, in weighed spans.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct History {
    failed: f64,
    spans: f64,
    /// Spans learned, not weighed.
    n_learned: u64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Closed {
    n_spans: u64,
    n_failed: u64,
    before: History,
}

impl OperationFailures {
    /// A model that has learned nothing yet.
    ///
    /// # Errors
    /// Every field of `config` outside its range, below `operation_failures`.
    pub fn new(config: OperationFailuresConfig) -> Result<Self, ConfigError> {
        let mut found = Violations::new();
        for (name, value, low, high) in [
            ("limit", config.limit, 1.0, 100.0),
            ("history", config.history, 100.0, 1e9),
        ] {
            let (path, range) = (format!("operation_failures.{name}"), low..=high);
            let expected = format!("{low} to {high}");
            check::that(&mut found, range.contains(&value), &path, value, &expected);
        }
        for (name, n) in [
            ("min_failures", config.min_failures),
            ("warm_up", config.warm_up),
        ] {
            let path = format!("operation_failures.{name}");
            check::that(&mut found, n > 0, &path, n, "at least 1");
        }
        found.into_result(Self {
            config,
            state: State::default(),
            closed: None,
        })
    }

    /// The configuration.
    pub fn config(&self) -> &OperationFailuresConfig {
        &self.config
    }

    /// The failure rate learned; `None` before the first window.
    pub fn rate(&self) -> Option<Ratio> {
        let history = self.state.history;
        (history.spans > 0.0).then(|| Ratio::saturating(history.failed / history.spans))
    }

    fn surprise(&self, history: History, n: u64, k: u64) -> f64 {
        let is_warm = history.n_learned >= u64::from(self.config.warm_up);
        if !is_warm || k < u64::from(self.config.min_failures) {
            return 0.0;
        }
        tail_surprise(
            history.failed + 0.5,
            history.spans - history.failed + 0.5,
            n,
            k,
        )
    }

    /// How many failures of `n` would have been normal.
    fn most_expected(&self, history: History, n: u64) -> u64 {
        // The surprise grows with the failures.
        let (mut normal, mut abnormal) = (0, n);
        while abnormal > normal + 1 {
            let middle = normal + (abnormal - normal) / 2;
            if self.surprise(history, n, middle) > self.config.limit {
                abnormal = middle;
            } else {
                normal = middle;
            }
        }
        normal
    }
}

/// `-ln P(K >= k)` of the beta-binomial distribution of `n` trials, in nats, at most 700.
fn tail_surprise(alpha: f64, beta: f64, n: u64, k: u64) -> f64 {
    if k == 0 {
        return 0.0;
    }
    let ln_beta = |a: f64, b: f64| libm::lgamma(a) + libm::lgamma(b) - libm::lgamma(a + b);
    let (n, k) = (n as f64, k as f64);
    let ln_choose = -ln_beta(n - k + 1.0, k + 1.0) - (n + 1.0).ln();
    let ln_first = ln_choose + ln_beta(k + alpha, n - k + beta) - ln_beta(alpha, beta);
    // The sum of the terms from k on, relative to the first: they fall off beyond the mode.
    let mode = n * alpha / (alpha + beta);
    if k <= mode {
        // At least about a half: not worth the sum.
        return 0.0;
    }
    let (mut sum, mut term, mut at) = (1.0, 1.0, k);
    while at < n && term > 1e-12 * sum {
        term *= (n - at) / (at + 1.0) * (at + alpha) / (n - at - 1.0 + beta);
        sum += term;
        at += 1.0;
    }
    (-(ln_first + f64::ln(sum))).clamp(0.0, MOST_SURPRISE)
}

impl OperationKernel for OperationFailures {
    fn take(&mut self, span: &SpanRecord, _: &[Arc<str>]) {
        let failed = u64::from(span.status == SpanStatus::Error);
        self.state.n_spans = self.state.n_spans.saturating_add(1);
        self.state.n_failed = self.state.n_failed.saturating_add(failed);
    }

    fn close(&mut self, at: Timestamp) -> OperationScore {
        let n = std::mem::take(&mut self.state.n_spans);
        let k = std::mem::take(&mut self.state.n_failed);
        if n == 0 {
            self.closed = None;
            return OperationScore::NORMAL;
        }
        let before = self.state.history;
        self.closed = Some(Closed {
            n_spans: n,
            n_failed: k,
            before,
        });
        let surprise = self.surprise(before, n, k);
        let (spans, failed) = (n as f64, k as f64);
        self.state.recent.push(at, failed / spans);
        let is_abnormal = surprise > self.config.limit;
        let weight = (MAX_WINDOW_SHARE * self.config.history / spans).min(1.0)
            * if is_abnormal { ABNORMAL_WEIGHT } else { 1.0 };
        let history = &mut self.state.history;
        history.failed += weight * failed;
        history.spans += weight * spans;
        history.n_learned = history.n_learned.saturating_add(n);
        let excess = history.spans / self.config.history;
        if excess > 1.0 {
            history.failed /= excess;
            history.spans /= excess;
        }
        OperationScore {
            score: scale::score(surprise / self.config.limit),
            surprise,
            direction: if surprise > 0.0 {
                Direction::High
            } else {
                Direction::Other
            },
        }
    }

    fn explain(&self) -> OperationFinding {
        let (text, observed, expected) = match self.closed {
            None => (
                "was not seen".to_owned(),
                None,
                Expectation::Words("spans".to_owned()),
            ),
            Some(Closed {
                n_spans,
                n_failed,
                before,
            }) => {
                let most = self.most_expected(before, n_spans);
                let share = |k: u64| k as f64 / n_spans as f64;
                let text = format!(
                    "fails {n_failed} of {n_spans} times ({} %), expected at most {most}",
                    prose::number(100.0 * share(n_failed))
                );
                let expected = Expectation::Between {
                    low: None,
                    high: Some(share(most)),
                };
                (text, Some(share(n_failed)), expected)
            }
        };
        OperationFinding {
            text,
            observed,
            expected,
            weights: vec![("failure rate".to_owned(), 1.0)],
            series: self.state.recent.to_vec(),
        }
    }

    fn save(&self) -> Option<Value> {
        state::save(&self.state)
    }

    fn load(&mut self, value: &Value) -> Result<(), DetectError> {
        const WHAT: &str = "state of operation_failures";
        let state: State = state::load(WHAT, value)?;
        let History { failed, spans, .. } = state.history;
        let holds = failed >= 0.0 && spans >= failed && spans <= self.config.history * 1.001;
        state::require(holds, WHAT, "a history within the one configured")?;
        let holds = state.n_failed <= state.n_spans;
        state::require(holds, WHAT, "no more failures than spans")?;
        (self.state, self.closed) = (state, None);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use homeostasis_core::Rng;
    use proptest::prelude::*;
    use std::time::Duration;

    fn window(
        model: &mut OperationFailures,
        second: i64,
        n: u64,
        mut fails: impl FnMut(u64) -> bool,
    ) -> OperationScore {
        let at = Timestamp::from_secs(second);
        for idx in 0..n {
            let mut span = SpanRecord::new(at, Duration::from_millis(3), "op");
            if fails(idx) {
                span.status = SpanStatus::Error;
            }
            model.take(&span, &[]);
        }
        model.close(at)
    }

    fn model() -> OperationFailures {
        OperationFailures::new(OperationFailuresConfig::default()).unwrap()
    }

    const EXACT: [(f64, f64, u64, u64, f64); 6] = [
        (0.5, 100.5, 20, 3, 0.001_343_924_413_209_892_8),
        (2.5, 200.5, 50, 10, 9.608_514_024_802_362e-07),
        (20.5, 1980.5, 150, 12, 4.712_879_305_562_359_4e-07),
        (10.5, 40.5, 30, 20, 2.528_049_108_309_099_6e-05),
        (0.5, 0.5, 10, 9, 0.268_932_342_529_296_9),
        (1.5, 2000.5, 400, 7, 9.910_096_563_932_853e-06),
    ];

    /// Against sums of exact fractions (Python's `fractions`, alpha and beta as halves).
    #[test]
    fn the_tail_agrees_with_exact_fractions() {
        for (alpha, beta, n, k, tail) in EXACT {
            let told = (-tail_surprise(alpha, beta, n, k)).exp();
            assert!(
                (told / tail - 1.0).abs() < 1e-9,
                "{alpha} {beta} {n} {k}: {told}, expected {tail}"
            );
        }
    }

    #[test]
    fn noise_is_normal_and_a_rise_is_found_with_its_numbers() {
        let (mut model, mut rng) = (model(), Rng::from_seed(4));
        let mut n_abnormal = 0;
        for minute in 0..5000 {
            let judged = window(&mut model, 60 * minute, 150, |_| rng.unit() < 0.02);
            n_abnormal += u32::from(judged.score.get() > 0.5);
        }
        assert!(n_abnormal <= 1, "{n_abnormal} of 5000 windows of noise");
        let judged = window(&mut model, 60 * 5000, 150, |idx| idx % 5 == 0);
        assert!(
            judged.score.get() > 0.5 && judged.surprise > 11.5,
            "{judged:?}"
        );
        let finding = model.explain();
        assert!(
            finding
                .text
                .starts_with("fails 30 of 150 times (20 %), expected at most 1"),
            "{}",
            finding.text
        );
        assert_eq!(finding.observed, Some(0.2));
    }

    #[test]
    fn few_failures_and_the_first_spans_are_no_alarm() {
        let mut model = model();
        assert_eq!(window(&mut model, 0, 99, |_| true), OperationScore::NORMAL);
        let mut model = self::model();
        for minute in 0..100 {
            window(&mut model, minute * 60, 1000, |_| false);
        }
        assert_eq!(
            window(&mut model, 6000, 2, |_| true),
            OperationScore::NORMAL
        );
        assert!(window(&mut model, 6060, 5, |_| true).score.get() > 0.5);
    }

    #[test]
    fn a_failing_hour_is_abnormal_to_its_end() {
        let mut model = model();
        for minute in 0..200 {
            window(&mut model, minute * 30, 100, |idx| idx == 0);
        }
        for minute in 200..320 {
            let judged = window(&mut model, minute * 30, 100, |idx| idx < 40);
            assert!(judged.score.get() > 0.5, "window {minute}: {judged:?}");
        }
    }

    proptest! {
        #[test]
        fn more_failures_never_surprise_less(a in 0.5..50.0_f64, b in 0.5..5000.0_f64, n in 1_u64..3000, k in 0_u64..3000) {
            let k = k.min(n - 1);
            let (few, more) = (tail_surprise(a, b, n, k), tail_surprise(a, b, n, k + 1));
            prop_assert!(more >= few - 1e-9, "{few} {more}");
            prop_assert!((0.0..=MOST_SURPRISE).contains(&more));
        }
    }
}
