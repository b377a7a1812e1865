use super::*;
use homeostasis_core::Rng;

fn noisy(n: u32, level: impl Fn(f64) -> f64) -> Vec<f64> {
    let mut rng = Rng::from_seed(7);
    (0..n)
        .map(|t| level(f64::from(t)) + 2.0 * rng.unit() - 1.0)
        .collect()
}

#[test]
fn a_leak_that_began_later_keeps_its_slope_through_a_restart() {
    let values = noisy(240, |t| {
        100.0 + 0.5 * (t - 80.0).max(0.0) - if t >= 170.0 { 30.0 } else { 0.0 }
    });
    let drift = Drift::fit(&values, None).unwrap();
    assert!((drift.slope - 0.5).abs() < 0.03, "{drift:?}");
    let (mean, variance) = drift.at(100.0);
    let truth = 100.0 + 0.5 * (239.0 - 80.0 + 100.0) - 30.0;
    assert!(
        (mean - truth).abs() < 5.0 && (mean - truth).abs() < 3.0 * variance.sqrt(),
        "{mean}"
    );
}

#[test]
fn a_wave_is_no_drift_and_returns() {
    let wave = |t: f64| 50.0 + 20.0 * (t / 24.0 * std::f64::consts::TAU).sin();
    let drift = Drift::fit(&noisy(240, wave), None).unwrap();
    assert!(drift.slope.abs() < 0.02, "{drift:?}");
    for ahead in [1.0, 6.0, 18.0, 30.0] {
        let (mean, _) = drift.at(ahead);
        assert!((mean - wave(239.0 + ahead)).abs() < 3.0, "{ahead}: {mean}");
    }
}

#[test]
fn a_constant_has_no_variance_and_too_little_or_too_large_has_no_line() {
    let drift = Drift::fit(&[5.0; 40], None).unwrap();
    assert!((drift.level - 5.0).abs() < 1e-9 && drift.slope.abs() < 1e-9);
    assert!(drift.at(1e6).1 < 1e-9);
    assert!(Drift::fit(&[5.0; 23], None).is_none());
    assert!(Drift::fit(&[f64::NAN; 40], None).is_none());
    let huge: Vec<f64> = (0..40)
        .map(|t| if t % 2 == 0 { 1e200 } else { -1e200 })
        .collect();
    assert!(Drift::fit(&huge, None).is_none());
}
