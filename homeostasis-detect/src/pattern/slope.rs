//! A robust line through points: Theil-Sen slope, Kendall's tau, and the noise around the line.

/// What a line through points says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Line {
    /// The median slope of all pairs, per unit of `x`.
    pub(super) slope: f64,
    /// The median of `y - slope · x`.
    pub(super) intercept: f64,
    /// Kendall's tau-a: +1 when every later point is higher, -1 when every later point is lower.
    pub(super) tau: f64,
    /// The median absolute distance from the line, as the standard deviation of a normal distribution.
    pub(super) noise: f64,
}

impl Line {
    /// The line through `points`, whose `x` rise strictly; `None` for fewer than two.
    ///
    /// Takes O(n²) time for `n` points.
    ///
    /// Sources: P. K. Sen, *Estimates of the regression coefficient based on Kendall's tau*, Journal of the
    /// American Statistical Association 63 (1968); M. G. Kendall, *A new measure of rank correlation*,
    /// Biometrika 30 (1938).
    pub(super) fn through(points: &[(f64, f64)]) -> Option<Self> {
        let mut slopes = Vec::with_capacity(points.len() * points.len().saturating_sub(1) / 2);
        let mut order = 0.0;
        for (idx, later) in points.iter().enumerate() {
            for earlier in &points[..idx] {
                let rise = later.1 - earlier.1;
                slopes.push(rise / (later.0 - earlier.0));
                if rise != 0.0 {
                    order += rise.signum();
                }
            }
        }
        let tau = order / slopes.len() as f64;
        let slope = median(&mut slopes)?;
        let mut rests: Vec<f64> = points.iter().map(|(x, y)| y - slope * x).collect();
        let intercept = median(&mut rests)?;
        let mut distances: Vec<f64> = rests.iter().map(|rest| (rest - intercept).abs()).collect();
        Some(Self {
            slope,
            intercept,
            tau,
            noise: 1.482_602_218_505_602 * median(&mut distances)?,
        })
    }

    /// The height of the line at `x`.
    pub(super) fn at(&self, x: f64) -> f64 {
        self.intercept + self.slope * x
    }
}

/// The median; `None` of nothing. Reorders `values`.
fn median(values: &mut [f64]) -> Option<f64> {
    if values.is_empty() {
        return None;
    }
    let middle = values.len() / 2;
    let is_even = values.len().is_multiple_of(2);
    let (below, upper, _) = values.select_nth_unstable_by(middle, f64::total_cmp);
    let upper = *upper;
    if is_even {
        let lower = below.iter().copied().max_by(f64::total_cmp)?;
        Some(lower / 2.0 + upper / 2.0)
    } else {
        Some(upper)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_of_odd_and_even_numbers() {
        assert_eq!(median(&mut []), None);
        assert_eq!(median(&mut [3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&mut [4.0, 1.0, 3.0, 2.0]), Some(2.5));
    }

    #[test]
    fn a_straight_line_with_an_outlier_keeps_its_slope() {
        let mut points: Vec<(f64, f64)> = (0..20)
            .map(|x| (f64::from(x), 3.0 + 2.0 * f64::from(x)))
            .collect();
        points[7].1 = 1e6;
        let line = Line::through(&points).unwrap();
        assert_eq!((line.slope, line.intercept, line.noise), (2.0, 3.0, 0.0));
        assert!(line.tau > 0.8);
        assert_eq!(line.at(10.0), 23.0);
    }

    #[test]
    fn one_step_has_a_tau_of_at_most_about_one_half() {
        let points: Vec<(f64, f64)> = (0..30)
            .map(|x| (f64::from(x), if x < 15 { 1.0 } else { 2.0 }))
            .collect();
        let line = Line::through(&points).unwrap();
        assert!(line.tau > 0.5 && line.tau < 0.55, "{}", line.tau);
    }
}
