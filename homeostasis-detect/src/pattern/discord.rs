//! Discords: the stretches of a recorded series that are least like any other stretch.

use homeostasis_core::{ConfigError, Violation, Violations};

use crate::check;

/// Windows whose deviation is below this share of the largest value are flat.
const FLAT: f64 = 1e-9;
/// The most values that are looked at: some ten seconds of work.
const MOST: usize = 200_000;

/// A stretch that is unlike all others.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Discord {
    /// Where it begins.
    pub start: usize,
    /// Where the stretch begins that is most like it.
    pub nearest: usize,
    /// The Euclidean distance of both when each has mean 0 and deviation 1, from 0 to `√(4 · length)`.
    pub distance: f64,
}

/// The `count` stretches of `length` values that are farthest from their nearest neighbours, the farthest first.
///
/// For shapes: a missing beat, a backup that ran at another pace, where every single value is usual. It looks at a
/// recorded series as a whole; it is for post-mortems and for the choice of windows, not for a stream.
/// Level and size of a stretch do not matter, only its form. Stretches that overlap are no neighbours, and no two of
/// the discords overlap. A flat stretch is at 0 from a flat one, and at `√length` from any other.
/// Fewer than `count` are given where the series is too short.
///
/// O(n²) time, O(n) memory: each pair of stretches costs two multiplications and additions on its diagonal.
///
/// # Errors
/// If `length` is below 4 or above half of the values, if there are more than 200 000 values, or if one of them is not
/// a finite number (fill gaps first); each below `discords`.
///
/// Sources: E. Keogh, J. Lin and A. Fu, *HOT SAX: efficiently finding the most unusual time series subsequence*, ICDM
/// 2005 (discords); Z. Zimmerman et al., *Matrix profile XIV: scaling time series motif discovery with GPUs*, 2019
/// (covariances along diagonals).
///
/// # Examples
/// ```
/// use homeostasis::detect::discords;
///
/// // A beat of 20 samples, one of which is upside down.
/// let beat = |i: u32| if i % 20 < 5 { f64::from(i % 20) } else { 0.0 };
/// let values: Vec<f64> = (0..400).map(|i| if (200..220).contains(&i) { -beat(i) } else { beat(i) }).collect();
/// let found = discords(&values, 20, 1)?;
/// assert!((181..220).contains(&found[0].start));
/// # Ok::<(), homeostasis::core::ConfigError>(())
/// ```
pub fn discords(values: &[f64], length: usize, count: usize) -> Result<Vec<Discord>, ConfigError> {
    let mut found = Violations::new();
    let half = values.len() / 2;
    check::that(
        &mut found,
        length >= 4 && length <= half,
        "discords.length",
        length,
        &format!("4 to {half}, half of the values"),
    );
    check::that(
        &mut found,
        values.len() <= MOST,
        "discords.values",
        values.len(),
        "at most 200000 values",
    );
    if let Some(idx) = values.iter().position(|value| !value.is_finite()) {
        let path = format!("discords.values[{idx}]");
        found.push(Violation::new(path, values[idx], "a finite number"));
    }
    found.into_result(())?;
    let profile = Profile::new(values, length);
    let mut ranked: Vec<Discord> = profile.nearest();
    ranked.sort_by(|a, b| {
        b.distance
            .total_cmp(&a.distance)
            .then(a.start.cmp(&b.start))
    });
    let mut top: Vec<Discord> = Vec::new();
    for discord in ranked {
        if top.len() >= count {
            break;
        }
        if top
            .iter()
            .all(|other| other.start.abs_diff(discord.start) >= length)
        {
            top.push(discord);
        }
    }
    Ok(top)
}

/// What is known of each stretch by itself.
struct Profile {
    values: Vec<f64>,
    length: usize,
    means: Vec<f64>,
    /// One by the root of the sum of squared distances from the mean; 0 if it is flat.
    inverse: Vec<f64>,
    /// One half if it is flat: two of them correlate fully, one with any other by half.
    flat: Vec<f64>,
}

impl Profile {
    fn new(values: &[f64], length: usize) -> Self {
        let largest = values.iter().map(|value| value.abs()).fold(0.0, f64::max);
        let unit = largest.max(f64::MIN_POSITIVE);
        let values: Vec<f64> = values.iter().map(|value| value / unit).collect();
        let means: Vec<f64> = values
            .windows(length)
            .map(|window| window.iter().sum::<f64>() / length as f64)
            .collect();
        let least = FLAT * FLAT * length as f64;
        let squares: Vec<f64> = values
            .windows(length)
            .zip(&means)
            .map(|(window, mean)| window.iter().map(|value| (value - mean).powi(2)).sum())
            .collect();
        let inverse = squares
            .iter()
            .map(|sum: &f64| if *sum > least { 1.0 / sum.sqrt() } else { 0.0 });
        let flat = squares
            .iter()
            .map(|sum| if *sum > least { 0.0 } else { 0.5 });
        Self {
            length,
            inverse: inverse.collect(),
            flat: flat.collect(),
            values,
            means,
        }
    }

    /// The nearest neighbour of each stretch that has one.
    fn nearest(&self) -> Vec<Discord> {
        let (length, n) = (self.length, self.means.len());
        let mut best = vec![(f64::NEG_INFINITY, 0); n];
        // How the covariance changes by one step along a diagonal.
        let step = |idx: usize| {
            let (old, new) = (self.values[idx - 1], self.values[idx + length - 1]);
            let half = 0.5 * (new - old);
            (half, new - self.means[idx] + old - self.means[idx - 1])
        };
        let steps: Vec<(f64, f64)> = (0..n)
            .map(|idx| if idx == 0 { (0.0, 0.0) } else { step(idx) })
            .collect();
        for lag in length..n {
            let mut covariance: f64 = (0..length)
                .map(|idx| {
                    (self.values[idx] - self.means[0]) * (self.values[idx + lag] - self.means[lag])
                })
                .sum();
            for idx in 0..n - lag {
                let other = idx + lag;
                let ((df, dg), (ef, eg)) = (steps[idx], steps[other]);
                if idx > 0 {
                    covariance += df * eg + ef * dg;
                }
                let correlation = covariance * self.inverse[idx] * self.inverse[other]
                    + self.flat[idx]
                    + self.flat[other];
                if correlation > best[idx].0 {
                    best[idx] = (correlation, other);
                }
                if correlation > best[other].0 {
                    best[other] = (correlation, idx);
                }
            }
        }
        let found = best
            .into_iter()
            .enumerate()
            .filter(|(_, best)| best.0.is_finite());
        found
            .map(|(start, (correlation, nearest))| Discord {
                start,
                nearest,
                distance: (2.0 * length as f64 * (1.0 - correlation).max(0.0)).sqrt(),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use homeostasis_core::Rng;
    use proptest::prelude::*;

    /// The distance from its definition.
    fn distance(a: &[f64], b: &[f64]) -> f64 {
        let normal = |part: &[f64]| {
            let n = part.len() as f64;
            let mean = part.iter().sum::<f64>() / n;
            let sigma = (part.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n).sqrt();
            let is_flat = sigma < 1e-9;
            let values: Vec<f64> = part
                .iter()
                .map(|x| if is_flat { 0.0 } else { (x - mean) / sigma })
                .collect();
            values
        };
        let pairs = normal(a).into_iter().zip(normal(b));
        pairs.map(|(x, y)| (x - y).powi(2)).sum::<f64>().sqrt()
    }

    proptest! {
        #[test]
        fn distances_are_those_of_the_definition(
            mut values in prop::collection::vec(-5.0_f64..5.0, 30..90),
            length in 4_usize..15,
            flat in 0_usize..60,
        ) {
            let n = values.len();
            let from = flat.min(n);
            values[from..(from + 20).min(n)].fill(2.5);
            let windows: Vec<&[f64]> = values.windows(length).collect();
            let mut expected: Vec<f64> = Vec::new();
            for (idx, window) in windows.iter().enumerate() {
                let others = windows.iter().enumerate();
                let far = others.filter(|(other, _)| idx.abs_diff(*other) >= length);
                let nearest = far.map(|(_, other)| distance(window, other)).fold(f64::INFINITY, f64::min);
                expected.extend(Some(nearest).filter(|nearest| nearest.is_finite()));
            }
            let found: Vec<f64> = Profile::new(&values, length).nearest().iter().map(|d| d.distance).collect();
            prop_assert_eq!(found.len(), expected.len());
            for (found, expected) in found.iter().zip(&expected) {
                prop_assert!((found - expected).abs() < 1e-5, "{} {}", found, expected);
            }
        }
    }

    #[test]
    fn planted_discords_are_found_in_noise_and_do_not_overlap() {
        let mut rng = Rng::from_seed(3);
        let mut values: Vec<f64> = (0..3000)
            .map(|idx| (std::f64::consts::TAU * f64::from(idx) / 50.0).sin() + 0.1 * rng.unit())
            .collect();
        // A double pace, and a pause.
        for (idx, value) in values.iter_mut().enumerate().skip(1000).take(50) {
            *value = (std::f64::consts::TAU * idx as f64 / 25.0).sin();
        }
        values[2000..2030].fill(0.3);
        let found = discords(&values, 50, 2).unwrap();
        let mut starts: Vec<usize> = found.iter().map(|discord| discord.start).collect();
        starts.sort_unstable();
        assert!((950..1050).contains(&starts[0]), "{found:?}");
        assert!((1950..2030).contains(&starts[1]), "{found:?}");
    }

    #[test]
    fn what_cannot_be_looked_at_is_named() {
        let error = discords(&[1.0, f64::NAN, 2.0, 3.0], 3, 1).unwrap_err();
        let texts: Vec<String> = error.violations().iter().map(ToString::to_string).collect();
        assert_eq!(
            texts[0],
            "discords.length = 3, expected 4 to 2, half of the values"
        );
        assert!(
            texts[1].starts_with("discords.values[1] = NaN"),
            "{texts:?}"
        );
        let huge: Vec<f64> = (0..64_i32)
            .map(|i| if i % 9 == 0 { 1e300 } else { -1e300 })
            .collect();
        assert!(
            discords(&huge, 8, 3)
                .unwrap()
                .iter()
                .all(|d| d.distance.is_finite())
        );
        assert_eq!(discords(&[5.0; 40], 8, 1).unwrap()[0].distance, 0.0);
    }
}
