//! How failures fall to two arms: the model both directions of a canary are judged with.

use homeostasis_core::record::ArmInterval;

use super::error_increase::log_beta;

/// Nodes and weights of Gauss-Hermite quadrature for a standard normal variable, 9 points
/// (`numpy.polynomial.hermite_e.hermegauss(9)`, weights divided by their sum). Symmetric: the
/// negative nodes are left out.
const NODES: [(f64, f64); 5] = [
    (0.0, 0.406_349_206_349_206_36),
    (1.023_255_663_789_132_5, 0.244_097_502_894_939_2),
    (2.076_847_978_677_83, 0.049_916_406_765_217_85),
    (3.205_429_002_856_47, 0.002_789_141_321_231_773),
    (4.512_745_863_399_783, 0.000_022_345_844_007_746_55),
];
/// Below this variance failures count as independent.
const NO_NOISE: f64 = 1e-7;

/// Requests and failures of both arms within one interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ArmPair {
    canary: (f64, f64),
    baseline: (f64, f64),
}

impl ArmPair {
    /// The counts of an interval; `None` if an arm had no requests. More failures than requests
    /// count as all.
    pub fn new(canary: &ArmInterval, baseline: &ArmInterval) -> Option<Self> {
        let counts = |arm: &ArmInterval| {
            let failed = arm.failed.min(arm.requests);
            (arm.requests as f64, failed as f64)
        };
        (canary.requests > 0 && baseline.requests > 0).then(|| Self {
            canary: counts(canary),
            baseline: counts(baseline),
        })
    }

    /// Failures of the canary.
    pub(crate) fn canary_failures(&self) -> f64 {
        self.canary.1
    }

    /// Failures of both arms.
    pub(crate) fn failures(&self) -> f64 {
        self.canary.1 + self.baseline.1
    }

    pub(crate) fn canary_requests(&self) -> f64 {
        self.canary.0
    }

    pub(crate) fn baseline_requests(&self) -> f64 {
        self.baseline.0
    }
}

/// The distribution of the canary's part of all failures of an interval, given how many there were
/// and how often the canary fails for one failure of the baseline.
///
/// Given their sum, two Poisson counts are binomial with a share that depends on the ratio of their
/// rates alone: what moves both arms cancels (J. Przyborowski and H. Wilenski, *Homogeneity of
/// results in testing samples from Poisson series*, Biometrika 31 (1940)). What moves each arm by
/// itself does not: here the logarithm of each arm's rate varies from interval to interval with the
/// variance `noise` (of the normal distribution), and the binomial becomes a beta-binomial with the
/// first two moments of that logistic-normal mixture, found by quadrature with 9 nodes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FailureSplit {
    mean: f64,
    /// `a + b` of the beta distribution; infinite for the binomial.
    precision: f64,
}

impl FailureSplit {
    /// The split if the canary fails `ratio` times as often; `noise` is the variance of the
    /// logarithm of one arm's rate. O(1).
    pub fn new(pair: &ArmPair, ratio: f64, noise: f64) -> Self {
        let odds = pair.canary.0 * ratio / pair.baseline.0;
        if noise < NO_NOISE {
            return Self {
                mean: odds / (1.0 + odds),
                precision: f64::INFINITY,
            };
        }
        // The difference of both arms varies twice as much.
        let deviation = libm::sqrt(2.0 * noise);
        let (mut mean, mut square) = (0.0, 0.0);
        for (at, weight) in NODES {
            let factor = libm::exp(at * deviation);
            let (up, down) = (odds * factor, odds / factor);
            let (up, down) = (up / (1.0 + up), down / (1.0 + down));
            let weight = if at > 0.0 { weight } else { weight / 2.0 };
            mean += weight * (up + down);
            square += weight * (up * up + down * down);
        }
        let spread = mean * (1.0 - mean);
        let variance = (square - mean * mean).max(spread * NO_NOISE);
        Self {
            mean,
            precision: (spread / variance - 1.0).max(1e-3),
        }
    }

    /// The expected share.
    pub fn mean(&self) -> f64 {
        self.mean
    }

    /// How much two failures of the same interval go together, 0 to 1.
    pub fn correlation(&self) -> f64 {
        1.0 / (1.0 + self.precision)
    }

    /// The log-likelihood of the canary's part, without the binomial coefficient.
    pub fn log_likelihood(&self, pair: &ArmPair) -> f64 {
        let (own, other) = (pair.canary.1, pair.baseline.1);
        if own + other == 0.0 {
            return 0.0;
        }
        let log = |count: f64, p: f64| {
            if count == 0.0 {
                0.0
            } else {
                count * libm::log(p)
            }
        };
        if self.precision.is_infinite() {
            return log(own, self.mean) + log(other, 1.0 - self.mean);
        }
        let (a, b) = (
            self.mean * self.precision,
            (1.0 - self.mean) * self.precision,
        );
        log_beta(own + a, other + b) - log_beta(a, b)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(canary: (u64, u64), baseline: (u64, u64)) -> ArmPair {
        ArmPair::new(
            &ArmInterval::new(canary.0, canary.1),
            &ArmInterval::new(baseline.0, baseline.1),
        )
        .unwrap()
    }

    #[derive(serde::Deserialize)]
    struct Row {
        requests: (u64, u64),
        failures: (u64, u64),
        ratio: f64,
        noise: f64,
        mean: f64,
        correlation: f64,
        log_likelihood: f64,
    }

    #[test]
    fn moments_and_likelihoods_agree_with_the_stored_reference() {
        let rows: Vec<Row> =
            serde_json::from_str(include_str!("../../testdata/failure_split.json")).unwrap();
        assert!(rows.len() >= 20);
        for row in rows {
            let pair = pair(
                (row.requests.0, row.failures.0),
                (row.requests.1, row.failures.1),
            );
            let split = FailureSplit::new(&pair, row.ratio, row.noise);
            assert!((split.mean() - row.mean).abs() < 2e-5, "{row:?}");
            assert!(
                (split.correlation() - row.correlation).abs() < 2e-4,
                "{split:?} {}, expected {}",
                split.correlation(),
                row.correlation
            );
            let found = split.log_likelihood(&pair);
            assert!(
                (found - row.log_likelihood).abs() < 3e-3 * (1.0 + row.log_likelihood.abs()),
                "{split:?}: {found}, expected {}",
                row.log_likelihood
            );
        }
    }

    impl std::fmt::Debug for Row {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write!(f, "{:?} {:?} x{}", self.requests, self.failures, self.ratio)
        }
    }

    #[test]
    fn without_noise_it_is_the_binomial() {
        let pair = pair((100, 3), (300, 2));
        let split = FailureSplit::new(&pair, 1.0, 0.0);
        assert!((split.mean() - 0.25).abs() < 1e-12);
        let by_hand = 3.0 * 0.25_f64.ln() + 2.0 * 0.75_f64.ln();
        assert!((split.log_likelihood(&pair) - by_hand).abs() < 1e-12);
        assert_eq!(split.correlation(), 0.0);
        let noisy = FailureSplit::new(&pair, 1.0, 1e-5).log_likelihood(&pair);
        assert!((noisy - by_hand).abs() < 1e-3, "{noisy}");
    }

    #[test]
    fn an_arm_without_requests_is_no_pair() {
        let some = ArmInterval::new(10, 0);
        assert_eq!(ArmPair::new(&some, &ArmInterval::default()), None);
        assert_eq!(ArmPair::new(&ArmInterval::default(), &some), None);
        let broken = ArmPair::new(&ArmInterval::new(5, 9), &some).unwrap();
        assert_eq!(broken.canary_failures(), 5.0);
    }
}
