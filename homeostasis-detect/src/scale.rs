//! How deviations become scores and nats, the same for every kernel.
//!
//! # Score
//! A deviation of `r` times its limit scores `r² / (1 + r²)`: 0 for none, 0.5 exactly at the limit,
//! 0.9 at three times the limit, and never more than 1.
//! So one threshold of 0.5 means *beyond the limit of the kernel* for every kernel.
//!
//! # Surprise
//! For a deviation of `z` standard deviations it is `ln(1 + z²)`, minus the logarithm of Cantelli's
//! bound on the tail probability.
//! The bound holds for every distribution with that mean and variance, so a heavy tail does not make the
//! number a lie; under a normal distribution the true surprise is larger.
//! It grows without limit where the score saturates.
//!
//! Source: F. P. Cantelli, *Sui confini della probabilità*, Atti del Congresso Internazionale dei
//! Matematici, Bologna 1928, volume 6, pages 47-59.

use homeostasis_core::Score;

/// The largest magnitude a kernel computes with; its square is still a finite number.
const LARGEST: f64 = 1e150;

/// Numbers closer than this share of the level are the same number to every kernel: telemetry passes
/// through decimal text and sums of floats, which leave noise of this order.
const RELATIVE_RESOLUTION: f64 = 1e-9;

/// The value as a kernel sees it: NaN and infinities are missing, and what lies beyond ±1e150 counts
/// as ±1e150, so that arithmetic stays finite.
#[inline]
pub(crate) fn usable(value: Option<f64>) -> Option<f64> {
    value
        .filter(|value| value.is_finite())
        .map(|value| value.clamp(-LARGEST, LARGEST))
}

/// Whether it is its own [`usable`] value.
#[inline]
pub(crate) fn is_usual(value: f64) -> bool {
    value.abs() <= LARGEST
}

/// The score of a deviation of `r` times its limit; the sign does not matter, NaN scores 0.
#[inline]
pub(crate) fn score(r: f64) -> Score {
    let square = r * r;
    if square.is_infinite() {
        Score::ONE
    } else {
        Score::saturating(square / (1.0 + square))
    }
}

/// The surprise of a deviation of `z` standard deviations, in nats; finite, 0 for NaN.
pub(crate) fn surprise(z: f64) -> f64 {
    let z = z.abs();
    if z < LARGEST {
        (1.0 + z * z).ln()
    } else if z.is_nan() {
        0.0
    } else {
        // The square may be infinite; the step down that rounding could make is taken out.
        (2.0 * z.min(f64::MAX).ln()).max((LARGEST * LARGEST).ln())
    }
}

/// The least deviation that means anything for a series of this level.
#[inline]
pub(crate) fn floor(level: f64, resolution: f64) -> f64 {
    resolution.max(RELATIVE_RESOLUTION * level.abs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_limit_scores_one_half_and_has_the_surprise_of_its_bound() {
        assert_eq!(score(1.0).get(), 0.5);
        assert_eq!(score(-3.0).get(), 0.9);
        assert!((surprise(3.0) - 10.0_f64.ln()).abs() < 1e-12);
        assert_eq!((score(0.0), surprise(0.0)), (Score::ZERO, 0.0));
        assert_eq!((score(f64::NAN), surprise(f64::NAN)), (Score::ZERO, 0.0));
    }

    proptest! {
        #[test]
        fn more_deviation_never_scores_less(a in proptest::num::f64::ANY, b in proptest::num::f64::ANY) {
            prop_assume!(!a.is_nan() && !b.is_nan());
            let (small, large) = if a.abs() <= b.abs() { (a, b) } else { (b, a) };
            prop_assert!(score(small) <= score(large));
            prop_assert!(surprise(small) <= surprise(large));
            prop_assert!(surprise(large).is_finite() && surprise(small) >= 0.0);
        }
    }
}
