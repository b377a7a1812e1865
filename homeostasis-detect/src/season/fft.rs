//! The fast Fourier transform of a power of two.

use std::f64::consts::TAU;

/// The discrete Fourier transform of `re + i·im`, in place; the length is a power of two.
///
/// Source: J. W. Cooley and J. W. Tukey, *An algorithm for the machine calculation of complex Fourier series*,
/// Mathematics of Computation 19 (1965), radix 2, decimation in time.
pub(super) fn transform(re: &mut [f64], im: &mut [f64]) {
    let n = re.len();
    debug_assert!(n.is_power_of_two() && im.len() == n);
    let mut reversed = 0;
    for idx in 1..n {
        let mut bit = n >> 1;
        while reversed & bit != 0 {
            reversed ^= bit;
            bit >>= 1;
        }
        reversed |= bit;
        if idx < reversed {
            re.swap(idx, reversed);
            im.swap(idx, reversed);
        }
    }
    let turns: Vec<(f64, f64)> = (0..n / 2)
        .map(|idx| (TAU * idx as f64 / n as f64).sin_cos())
        .collect();
    let mut half = 1;
    while half < n {
        let stride = n / (2 * half);
        for start in (0..n).step_by(2 * half) {
            for idx in 0..half {
                let (sin, cos) = turns[idx * stride];
                let (top, low) = (start + idx, start + idx + half);
                let (x, y) = (re[low] * cos + im[low] * sin, im[low] * cos - re[low] * sin);
                (re[low], im[low]) = (re[top] - x, im[top] - y);
                re[top] += x;
                im[top] += y;
            }
        }
        half *= 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_is_the_sum_of_its_definition(values in prop::collection::vec(-9.0_f64..9.0, 32)) {
            for n in [1, 2, 8, 32] {
                let (mut re, mut im) = (values[..n].to_vec(), vec![0.0; n]);
                transform(&mut re, &mut im);
                for k in 0..n {
                    let (mut x, mut y) = (0.0, 0.0);
                    for (idx, value) in values[..n].iter().enumerate() {
                        let (sin, cos) = (TAU * (k * idx) as f64 / n as f64).sin_cos();
                        x += value * cos;
                        y -= value * sin;
                    }
                    prop_assert!((re[k] - x).abs() < 1e-9 && (im[k] - y).abs() < 1e-9);
                }
            }
        }
    }
}
