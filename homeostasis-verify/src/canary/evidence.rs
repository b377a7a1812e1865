//! What is remembered of each metric.

use homeostasis_core::record::{ArmInterval, CanaryEvidence, Latencies};
use serde::{Deserialize, Serialize};

use super::config::{CanaryConfig, LatencyRule};
use crate::stats::{
    ArmNoise, ArmPair, CountRatio, Counts, NoiseLimit, RareFailures, SignBet, drawn_rank_below,
    log_mean_exp, quantile_ranks, thinned_sign,
};

/// What harm the test for counts looks for, in multiples of what is allowed: each is best for its
/// own size, and the mean of the three is never much behind the best.
const WORSE: [f64; 3] = [1.5, 2.5, 6.0];
/// What a safe canary is taken for: as good as the baseline, or better.
const SAFE: [f64; 2] = [0.7, 1.0];
/// The weight of "failures are rare" beside "the ratio is below the margin".
const RARE_WEIGHT: f64 = 0.25;
/// The logarithm of a capital that is lost.
const RULED_OUT: f64 = -1e9;
/// Rates of intervals are taken to vary at least so much (the squared coefficient of variation) when
/// failures are to be called rare: they come in bursts.
const BURSTS: f64 = 1.0;

/// Evidence about failures.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Failures {
    noise: ArmNoise,
    /// Chosen by the noise at the first interval that is judged, and kept.
    chosen: Option<NoiseLimit>,
    harm: CountRatio,
    safe: CountRatio,
    harm_signs: SignBet,
    safe_signs: SignBet,
    rare: RareFailures,
    canary: (u64, u64),
    baseline: (u64, u64),
}

impl Failures {
    pub(super) fn new(config: &CanaryConfig) -> Self {
        let variance = config.noise * config.noise;
        Self {
            noise: ArmNoise::new(variance),
            chosen: None,
            harm: CountRatio::new(config.allowed, &WORSE.map(|worse| config.allowed * worse)),
            safe: CountRatio::new(config.margin, &SAFE.map(|safe| config.allowed * safe)),
            harm_signs: SignBet::default(),
            safe_signs: SignBet::default(),
            rare: RareFailures::new(config.negligible, libm::expm1(variance).max(BURSTS)),
            canary: (0, 0),
            baseline: (0, 0),
        }
    }

    pub(super) fn calibrate(&mut self, pair: &ArmPair) {
        if self.chosen.is_none() {
            self.noise.observe(pair);
        }
    }

    pub(super) fn observe(
        &mut self,
        canary: &ArmInterval,
        baseline: &ArmInterval,
        config: &CanaryConfig,
    ) {
        let Some(pair) = ArmPair::new(canary, baseline) else {
            return;
        };
        let chosen = *self.chosen.get_or_insert_with(|| self.noise.limit());
        match chosen {
            NoiseLimit::Assumed(noise) | NoiseLimit::Measured(noise) => {
                self.harm.observe(&pair, noise);
                self.safe.observe(&pair, noise);
            }
            NoiseLimit::Exceeded => {
                let (own, other) = (
                    canary.failed.min(canary.requests),
                    baseline.failed.min(baseline.requests),
                );
                // Both arms thinned to the same expectation at that ratio.
                let score = |ratio: f64| {
                    let expected = (pair.canary_requests() * ratio, pair.baseline_requests());
                    let least = expected.0.min(expected.1);
                    thinned_sign((own, least / expected.0), (other, least / expected.1))
                };
                if pair.failures() > 0.0 {
                    self.harm_signs.observe(score(config.allowed));
                    self.safe_signs.observe(-score(config.margin));
                }
            }
        }
        self.rare
            .observe(pair.canary_requests(), pair.canary_failures());
        let add = |sum: &mut (u64, u64), arm: &ArmInterval| {
            sum.0 = sum.0.saturating_add(arm.requests);
            sum.1 = sum.1.saturating_add(arm.failed.min(arm.requests));
        };
        add(&mut self.canary, canary);
        add(&mut self.baseline, baseline);
    }

    pub(super) fn harm(&self) -> f64 {
        match self.chosen {
            Some(NoiseLimit::Exceeded) => self.harm_signs.log_e(),
            _ => self.harm.log_e(),
        }
    }

    /// That failures are rare counts only if `rare` says so: failures that come in bursts look rare
    /// until the first one.
    pub(super) fn safe(&self, rare: bool) -> f64 {
        let ratio = match self.chosen {
            Some(NoiseLimit::Exceeded) => self.safe_signs.log_e(),
            _ => self.safe.log_e(),
        };
        let rare = if rare { self.rare.log_e() } else { RULED_OUT };
        weighed(ratio, rare, RARE_WEIGHT)
    }

    /// Whether both arms had requests in an interval that was judged.
    pub(super) fn has_data(&self) -> bool {
        self.chosen.is_some()
    }

    pub(super) fn shares(&self) -> Option<(f64, f64)> {
        let rate = |arm: (u64, u64)| Counts::new(arm.1, arm.0.saturating_sub(arm.1)).rate();
        Some((rate(self.canary)?, rate(self.baseline)?))
    }

    pub(super) fn requests(&self) -> (u64, u64) {
        (self.canary.0, self.baseline.0)
    }

    pub(super) fn evidence(&self, rare: bool) -> CanaryEvidence {
        let test = match self.chosen.unwrap_or_else(|| self.noise.limit()) {
            NoiseLimit::Assumed(noise) => {
                format!("counts, noise of {:.2} assumed", libm::sqrt(noise))
            }
            NoiseLimit::Measured(noise) => format!(
                "counts, noise up to {:.2} measured in {} intervals",
                libm::sqrt(noise),
                self.noise.n()
            ),
            NoiseLimit::Exceeded => format!(
                "signs: groups of the same version differ too much, seen in {} intervals",
                self.noise.n()
            ),
        };
        CanaryEvidence {
            metric: "failures".to_owned(),
            test,
            harm_log_e: self.harm(),
            safe_log_e: self.safe(rare),
            detail: format!(
                "{} of {} failed, baseline {} of {}",
                self.canary.1, self.canary.0, self.baseline.1, self.baseline.0
            ),
        }
    }
}

/// Evidence about latencies.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Slowness {
    rule: LatencyRule,
    harm: SignBet,
    safe: SignBet,
    canary: Latencies,
    baseline: Latencies,
}

impl Slowness {
    pub(super) fn new(rule: LatencyRule) -> Self {
        Self {
            rule,
            harm: SignBet::default(),
            safe: SignBet::default(),
            canary: Latencies::default(),
            baseline: Latencies::default(),
        }
    }

    pub(super) fn rule(&self) -> LatencyRule {
        self.rule
    }

    pub(super) fn observe(&mut self, canary: &ArmInterval, baseline: &ArmInterval) {
        let (own, other) = (&canary.latencies, &baseline.latencies);
        if own.count().min(other.count()) >= self.rule.min_requests {
            let score = |factor| slower(own, other, self.rule.quantile, factor);
            self.harm.observe(score(self.rule.allowed));
            self.safe.observe(-score(self.rule.margin));
            self.canary.merge(&canary.latencies);
            self.baseline.merge(&baseline.latencies);
        }
    }

    pub(super) fn harm(&self) -> f64 {
        self.harm.log_e()
    }

    pub(super) fn safe(&self) -> f64 {
        self.safe.log_e()
    }

    pub(super) fn n(&self) -> u64 {
        self.harm.n()
    }

    pub(super) fn evidence(&self, alpha: f64) -> CanaryEvidence {
        let between = |latencies: &Latencies| {
            let ranks = quantile_ranks(latencies.count(), self.rule.quantile, alpha);
            let (low, high) = ranks.unwrap_or_default();
            let limit = |rank: Option<u64>, open: &str| {
                rank.and_then(|rank| latencies.ranked(rank))
                    .map_or(open.to_owned(), |d| {
                        format!("{:.1} ms", d.as_secs_f64() * 1e3)
                    })
            };
            format!("{} to {}", limit(low, "0 ms"), limit(high, "any"))
        };
        CanaryEvidence {
            metric: format!("latency_p{}", self.rule.quantile * 100.0),
            test: "signs of the quantile, interval by interval".to_owned(),
            harm_log_e: self.harm(),
            safe_log_e: self.safe(),
            detail: format!(
                "{} in {} intervals, baseline {}",
                between(&self.canary),
                self.n(),
                between(&self.baseline)
            ),
        }
    }
}

/// How sure a quantile of the canary is more than `factor` times the baseline's: the probability of
/// more minus that of less, if the larger sample is thinned to the size of the smaller one. Between
/// -1 and 1; 0 without latencies.
fn slower(canary: &Latencies, baseline: &Latencies, quantile: f64, factor: f64) -> f64 {
    let is_smaller = canary.count() <= baseline.count();
    let (few, many) = if is_smaller {
        (canary, baseline)
    } else {
        (baseline, canary)
    };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 0 and a count"
    )]
    let rank = ((quantile * few.count() as f64).ceil() as u64).clamp(1, few.count().max(1));
    let Some(limit) = few.ranked(rank) else {
        return 0.0;
    };
    let (limit, scale) = if is_smaller {
        (limit.as_secs_f64(), factor)
    } else {
        (limit.as_secs_f64() * factor, 1.0)
    };
    // The probability that the quantile of the thinned one is among those that `is_low` holds for.
    let below = |is_low: &dyn Fn(f64) -> bool| {
        let (mut low, mut high) = (0, many.count());
        while low < high {
            let middle = low + (high - low).div_ceil(2);
            if many
                .ranked(middle)
                .is_some_and(|value| is_low(value.as_secs_f64() * scale))
            {
                low = middle;
            } else {
                high = middle - 1;
            }
        }
        drawn_rank_below(many.count(), low, few.count(), rank)
    };
    let many_less = below(&|value| value < limit);
    let many_more = 1.0 - below(&|value| value <= limit);
    if is_smaller {
        many_less - many_more
    } else {
        many_more - many_less
    }
}

/// The logarithm of the mean of two e-processes, the second one with this weight.
pub(super) fn weighed(first: f64, second: f64, weight: f64) -> f64 {
    let parts = [
        first + libm::log(2.0 * (1.0 - weight)),
        second + libm::log(2.0 * weight),
    ];
    log_mean_exp(&parts)
}
