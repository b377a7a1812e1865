//! How often a series must be differenced until its level stands still.

/// The statistic of Kwiatkowski, Phillips, Schmidt and Shin for a level that stands still: the larger, the less.
///
/// The long-run variance uses Bartlett's weights over `12 (n/100)^(1/4)` lags, at most `n - 1`.
/// 0 for a constant and for fewer than 3 values.
/// O(n) per lag.
/// Source: D. Kwiatkowski et al., *Testing the null hypothesis of stationarity against the alternative of a unit
/// root*, Journal of Econometrics 54 (1992), equations 11 and 13.
pub(super) fn kpss(values: &[f64]) -> f64 {
    let n = values.len();
    if n < 3 {
        return 0.0;
    }
    let size = n as f64;
    let mean = values.iter().sum::<f64>() / size;
    let (mut walk, mut sum) = (0.0, 0.0);
    for value in values {
        walk += value - mean;
        sum += walk * walk;
    }
    let long_run = long_run_variance(values);
    if long_run > 0.0 {
        sum / (size * size * long_run)
    } else {
        0.0
    }
}

/// The variance of √n times the mean, which is larger than that of the values when they are persistent.
pub(super) fn long_run_variance(values: &[f64]) -> f64 {
    let n = values.len();
    let size = n as f64;
    let mean = values.iter().sum::<f64>() / size;
    let mut n_lags = 0;
    while n_lags + 1 < n && (n_lags + 1) as f64 <= 12.0 * (size / 100.0).powf(0.25) {
        n_lags += 1;
    }
    let mut long_run = values.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / size;
    for lag in 1..=n_lags {
        let pairs = values.iter().zip(&values[lag..]);
        let product = pairs.map(|(a, b)| (a - mean) * (b - mean)).sum::<f64>() / size;
        long_run += 2.0 * (1.0 - lag as f64 / (n_lags as f64 + 1.0)) * product;
    }
    long_run.max(0.0)
}

/// The statistic above which five in a hundred series lie whose level stands still (their table 1).
const CRITICAL: f64 = 0.463;

/// How often `values` must be differenced, 0 or 1.
pub(super) fn order(values: &[f64]) -> usize {
    usize::from(kpss(values) > CRITICAL)
}

#[cfg(test)]
mod tests {
    use super::*;
    use homeostasis_core::Rng;

    #[test]
    fn noise_stands_still_and_its_sum_does_not() {
        let mut rng = Rng::from_seed(9);
        let noise: Vec<f64> = (0..400).map(|_| rng.unit() - 0.5).collect();
        let walk: Vec<f64> = noise
            .iter()
            .scan(0.0, |sum, step| {
                *sum += step;
                Some(*sum)
            })
            .collect();
        assert_eq!((order(&noise), order(&walk)), (0, 1));
        assert_eq!((kpss(&[3.0; 50]), kpss(&[1.0, 2.0])), (0.0, 0.0));
    }

    #[test]
    fn the_statistic_is_that_of_statsmodels() {
        let text = include_str!("../../testdata/forecast.json");
        let reference: serde_json::Value = serde_json::from_str(text).unwrap();
        for (name, expected) in reference["kpss"].as_object().unwrap() {
            let values = reference["series"][name].as_array().unwrap();
            let values: Vec<f64> = values.iter().map(|value| value.as_f64().unwrap()).collect();
            assert!(
                (kpss(&values) - expected.as_f64().unwrap()).abs() < 1e-9,
                "{name}"
            );
        }
    }
}
