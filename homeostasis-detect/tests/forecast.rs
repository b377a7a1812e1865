//! Forecasts against values of statsmodels: `testdata/forecast.py` says how they were made.

use std::collections::BTreeMap;

use homeostasis::detect::{Arima, Growth, Season, Smoothing, SmoothingShape, SmoothingWeights};
use serde::Deserialize;

#[derive(Deserialize)]
struct Reference {
    series: BTreeMap<String, Vec<f64>>,
    smoothing: Vec<SmoothingCase>,
    arima: Vec<ArimaCase>,
    fitted_arima: Vec<FittedArima>,
}

#[derive(Deserialize)]
struct SmoothingCase {
    series: String,
    growth: Growth,
    season: Season,
    period: usize,
    weights: [f64; 4],
    first_level: f64,
    first_slope: f64,
    first_season: Vec<f64>,
    /// Nothing where theirs has a quirk.
    forecast: Vec<Option<f64>>,
    /// In variances one step ahead; empty where there is no formula.
    variances: Vec<f64>,
    fitted_squared_errors: f64,
}

#[derive(Deserialize)]
struct ArimaCase {
    series: String,
    ar: Vec<f64>,
    d: usize,
    ma: Vec<f64>,
    mean: f64,
    variance: f64,
    forecast: Vec<f64>,
    variances: Vec<f64>,
}

#[derive(Deserialize)]
struct FittedArima {
    series: String,
    orders: [usize; 3],
    variance: f64,
}

fn reference() -> Reference {
    serde_json::from_str(include_str!("../testdata/forecast.json")).expect("the reference reads")
}

fn close(what: &str, found: f64, expected: f64, tolerance: f64) {
    let scale = expected.abs().max(1.0);
    assert!(
        (found - expected).abs() <= tolerance * scale,
        "{what}: {found}, expected {expected}"
    );
}

#[test]
fn smoothing_with_given_weights_agrees_with_statsmodels() {
    let reference = reference();
    assert_eq!(reference.smoothing.len(), 8);
    for case in &reference.smoothing {
        let shape = SmoothingShape {
            growth: case.growth,
            season: case.season,
            period: case.period,
        };
        let [level, slope, season, damping] = case.weights;
        let weights = SmoothingWeights {
            level,
            slope,
            season,
            damping,
        };
        let first_season = case.first_season.clone();
        let mut model = Smoothing::new(
            shape,
            weights,
            case.first_level,
            case.first_slope,
            first_season,
        )
        .expect("a sound model")
        .with_variance(1.0);
        for value in &reference.series[&case.series] {
            model.step(*value);
        }
        let ahead = model.forecast(case.forecast.len());
        for ((mean, _), expected) in ahead.iter().zip(&case.forecast) {
            let Some(expected) = expected else { continue };
            close(&shape.to_string(), *mean, *expected, 1e-9);
        }
        for ((_, variance), expected) in ahead.iter().zip(&case.variances) {
            close(&shape.to_string(), *variance, *expected, 1e-9);
        }
    }
}

#[test]
fn fitted_smoothing_is_as_close_as_that_of_statsmodels() {
    let reference = reference();
    for case in &reference.smoothing {
        let shape = SmoothingShape {
            growth: case.growth,
            season: case.season,
            period: case.period,
        };
        let values = &reference.series[&case.series];
        let model = Smoothing::fit(shape, values).expect("enough values");
        let n_weights = 1
            + usize::from(case.growth != Growth::None)
            + usize::from(case.growth == Growth::Damped)
            + usize::from(case.season != Season::None);
        let squared_errors = model.variance() * (values.len() - n_weights) as f64;
        assert!(
            squared_errors <= 1.05 * case.fitted_squared_errors,
            "{shape} of {}: {squared_errors}, statsmodels has {}",
            case.series,
            case.fitted_squared_errors
        );
    }
}

#[test]
fn arima_with_given_coefficients_agrees_with_statsmodels() {
    let reference = reference();
    assert_eq!(reference.arima.len(), 4);
    for case in &reference.arima {
        let mut model = Arima::new(
            case.ar.clone(),
            case.d,
            case.ma.clone(),
            case.mean,
            case.variance,
        )
        .expect("a sound model");
        for value in &reference.series[&case.series] {
            model.step(*value);
        }
        for (i, (mean, variance)) in model.forecast(case.forecast.len()).into_iter().enumerate() {
            let what = format!("{model} of {}, {} ahead", case.series, i + 1);
            // Theirs begins with the stationary distribution and ours with the first errors as they are.
            close(&what, mean, case.forecast[i], 1e-6);
            close(&what, variance, case.variances[i], 1e-6);
        }
    }
}

#[test]
fn fitted_arima_is_as_close_as_the_most_likely_one() {
    let reference = reference();
    for case in &reference.fitted_arima {
        let model = Arima::fit(None, &reference.series[&case.series]).expect("enough values");
        assert_eq!(
            model.orders().d,
            case.orders[1],
            "{model} of {}",
            case.series
        );
        let ratio = model.variance() / case.variance;
        assert!(
            (0.9..=1.1).contains(&ratio),
            "{model} of {}: {ratio}",
            case.series
        );
    }
}
