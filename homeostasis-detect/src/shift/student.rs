//! Densities of Student's t, for predictions from few samples.

/// The logarithm of `factor` times the density of Student's t with `2 · a` degrees of freedom, `a >= 1/2`, at `z` of its
/// scales; error below 1e-12.
///
/// Source of the gamma functions: NIST Digital Library of Mathematical Functions, 5.11.13 (the series of their ratio at
/// large `a`) and 5.5.1 (the way there).
pub(super) fn ln_density(a: f64, z: f64, factor: f64) -> f64 {
    let freedom = 2.0 * a;
    // Γ(a + 1/2) / Γ(a) is this product times √shifted times the exponential of the series.
    let (mut shifted, mut product) = (a, factor);
    while shifted < 16.0 {
        product *= shifted / (shifted + 0.5);
        shifted += 1.0;
    }
    let x = 1.0 / (shifted * shifted);
    let series = -1.0 / 8.0 + x * (1.0 / 192.0 + x * (-1.0 / 640.0 + x * (17.0 / 14336.0)));
    let rest = product * (shifted / (freedom * std::f64::consts::PI)).sqrt();
    rest.ln() + series / shifted - (a + 0.5) * (z * z / freedom).ln_1p()
}

/// The same for two degrees of freedom.
pub(super) fn ln_density_of_two(z: f64, factor: f64) -> f64 {
    let square = 2.0 + z * z;
    (factor / (square * square.sqrt())).ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn densities_agree_with_tables() {
        // Closed forms of one, two and four degrees of freedom.
        for (freedom, z, ln) in [
            (1.0, 0.0, -std::f64::consts::PI.ln()),
            (2.0, 1.0, (1.0 / 3.0_f64.powf(1.5)).ln()),
            (4.0, 0.0, 0.375_f64.ln()),
        ] {
            let found: f64 = ln_density(freedom / 2.0, z, 1.0);
            assert!(
                (found - ln).abs() < 1e-12,
                "{freedom} {z}: {found}, expected {ln}"
            );
        }
        for z in [0.0, 0.5, 3.0, 1e4] {
            assert!((ln_density(1.0, z, 3.0) - ln_density_of_two(z, 3.0)).abs() < 1e-11);
        }
        // Towards the normal density.
        let normal = -0.5 * (2.0 * std::f64::consts::PI).ln() - 2.0;
        assert!((ln_density(1e9, 2.0, 1.0) - normal).abs() < 1e-6);
    }
}
