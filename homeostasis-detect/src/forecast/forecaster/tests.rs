use super::*;
use homeostasis_core::Rng;
use homeostasis_core::record::Direction;

fn at(step: i64) -> Timestamp {
    Timestamp::from_secs(300 * step)
}

fn day(step: i64, rng: &mut Rng) -> f64 {
    let phase = (step % 48) as f64 / 48.0;
    100.0 + 50.0 * (phase * std::f64::consts::TAU).sin() + 4.0 * rng.unit()
}

fn trained(n: i64) -> (Forecaster, Rng) {
    let mut rng = Rng::from_seed(4);
    let mut model = Forecaster::new(ForecasterConfig::default()).unwrap();
    for step in 0..n {
        model.update(at(step), Some(day(step, &mut rng)));
    }
    (model, rng)
}

#[test]
fn the_right_value_at_the_wrong_time_is_an_anomaly() {
    let (mut model, mut rng) = trained(600);
    let normal = (600..700).filter(|step| {
        let judged = model.update(at(*step), Some(day(*step, &mut rng)));
        judged.score.get() > 0.5
    });
    assert!(normal.count() <= 1);
    let wrong = model.update(at(700), Some(day(724, &mut rng)));
    assert!(wrong.score.get() > 0.9, "{wrong:?}");
    assert_eq!(
        wrong.direction,
        if day(724, &mut rng) > day(700, &mut rng) {
            Direction::High
        } else {
            Direction::Low
        }
    );
}

#[test]
fn the_forecast_carries_the_times_of_its_steps() {
    let (model, mut rng) = trained(600);
    let ahead = model.forecast(60);
    assert_eq!(ahead[0].0, at(599));
    for (i, (when, predicted)) in ahead.iter().enumerate() {
        let step = 599 + i64::try_from(i).unwrap();
        assert_eq!(*when, at(step));
        assert!(
            (predicted.mean - day(step, &mut rng)).abs() < 12.0,
            "{step}: {predicted:?}"
        );
    }
}

#[test]
fn five_of_a_hundred_lie_outside_the_interval_however_the_noise_grows() {
    let config = ForecasterConfig {
        limit: 1.0,
        refit_every: 100_000,
        ..ForecasterConfig::default()
    };
    let (mut model, mut rng) = (Forecaster::new(config).unwrap(), Rng::from_seed(8));
    let outside = (0..4000_i64).filter(|step| {
        let noise = if *step < 200 { 1.0 } else { 5.0 };
        let judged = model.update(at(*step), Some(noise * (rng.unit() + rng.unit())));
        *step >= 1000 && judged.score.get() > 0.5
    });
    let outside = outside.count();
    assert!((90..=210).contains(&outside), "{outside} of 3000");
}

#[test]
fn a_gap_is_stepped_over_and_a_long_one_begins_anew() {
    let (mut model, mut rng) = trained(600);
    let judged = model.update(at(624), Some(day(624, &mut rng)));
    assert!(judged.score.get() < 0.5, "{judged:?}");
    model.update(at(624 + 5000), Some(1.0));
    assert!(model.model().is_none());
}

#[test]
fn late_and_missing_samples_change_nothing() {
    let (mut model, _) = trained(300);
    let before = model.clone();
    assert!(model.update(at(290), Some(5000.0)).score.get() > 0.5);
    for missing in [None, Some(f64::NAN), Some(f64::INFINITY)] {
        assert_eq!(model.update(at(400), missing).score.get(), 0.0);
    }
    assert_eq!(model, before);
}

#[test]
fn a_stored_state_goes_on_to_the_bit_and_one_that_cannot_be_is_refused() {
    let (mut model, mut rng) = trained(450);
    let text = model.save().unwrap().to_string();
    let mut restored = Forecaster::new(ForecasterConfig::default()).unwrap();
    restored
        .load(&serde_json::from_str(&text).unwrap())
        .unwrap();
    for step in 450..800 {
        let value = Some(day(step, &mut rng));
        assert_eq!(
            model.update(at(step), value),
            restored.update(at(step), value)
        );
    }
    let before = model.clone();
    let mut wrong = model.save().unwrap();
    wrong["grid"]["step_nanos"] = serde_json::json!(0);
    assert!(model.load(&wrong).is_err());
    assert_eq!(model, before);
}

#[test]
fn a_state_of_another_step_than_the_configured_one_is_refused() {
    let state = trained(100).0.save().unwrap();
    let load = |step| {
        let config = ForecasterConfig {
            step,
            ..ForecasterConfig::default()
        };
        Forecaster::new(config).unwrap().load(&state)
    };
    let error = load(Some(Duration::from_secs(60))).unwrap_err();
    assert_eq!(
        error.to_string(),
        "a forecaster of steps of 5m: expected steps of 1m, as step says"
    );
    load(Some(Duration::from_secs(300))).unwrap();
    load(None).unwrap();
}

#[test]
fn every_field_out_of_range_is_named() {
    let error = Forecaster::new(ForecasterConfig {
        step: Some(Duration::ZERO),
        period: Some(Duration::ZERO),
        history: 10,
        horizon: 0,
        warm_up: 39,
        refit_every: 0,
        limit: f64::NAN,
        resolution: 0.0,
        side: Side::Both,
    })
    .unwrap_err();
    // A period of 0s is two steps of 0s.
    assert_eq!(error.violations().len(), 7);
}

#[test]
fn an_interval_beside_the_mean_leaves_room_to_the_other_side() {
    assert_eq!(sides(5.0, 3.0, 9.0), (2.0, 4.0));
    assert_eq!(sides(5.0, 6.0, 10.0), (2.0, 5.0));
    assert_eq!(sides(5.0, 1.0, 3.0), (4.0, 1.0));
    assert_eq!(sides(5.0, 5.0, 5.0), (0.0, 0.0));
}

#[test]
fn a_stored_state_that_cannot_be_is_refused() {
    let (model, _) = trained(600);
    let whole = model.save().unwrap();
    let kind = whole["model"]["core"]
        .as_object()
        .unwrap()
        .keys()
        .next()
        .unwrap()
        .clone();
    let set = |path: &[&str], value: Value| {
        let mut broken = whole.clone();
        let mut at = &mut broken;
        for name in path {
            at = &mut at[*name];
        }
        *at = value;
        broken
    };
    let huge = serde_json::json!(1e308);
    let far = serde_json::json!(u64::MAX);
    for broken in [
        set(&["n_missing"], far.clone()),
        set(&["stretch"], huge.clone()),
        set(&["model", "core", kind.as_str(), "place"], far),
        set(&["model", "core", kind.as_str(), "variance"], huge),
    ] {
        let mut other = Forecaster::new(ForecasterConfig::default()).unwrap();
        assert!(other.load(&broken).is_err());
    }
    let mut other = Forecaster::new(ForecasterConfig::default()).unwrap();
    other.load(&whole).unwrap();
}

#[test]
fn series_that_began_together_are_not_fitted_together() {
    let second_fit = |seed: u64| {
        let mut rng = Rng::from_seed(seed);
        let config = ForecasterConfig {
            refit_every: 32,
            ..ForecasterConfig::default()
        };
        let mut model = Forecaster::new(config).unwrap();
        let (mut since, mut n_fits) = (0, 0);
        for step in 0..200 {
            model.update(at(step), Some(rng.unit()));
            let fitted = model.state.since_fit <= since && model.state.model.is_some();
            n_fits += u32::from(fitted && step > 70);
            if n_fits == 1 {
                return step;
            }
            since = model.state.since_fit;
        }
        200
    };
    let steps: std::collections::BTreeSet<i64> = (0..8).map(second_fit).collect();
    assert!(steps.len() >= 4, "{steps:?}");
}

#[test]
fn equal_series_that_began_together_have_their_first_and_second_fits_apart() {
    let fits = |place: f64| {
        let config = ForecasterConfig {
            refit_every: 32,
            ..ForecasterConfig::default()
        };
        let (mut model, mut rng) = (Forecaster::new(config).unwrap(), Rng::from_seed(5));
        model.stagger(Ratio::saturating(place));
        let mut fits = Vec::new();
        for step in 0..160 {
            let before = (model.state.model.is_some(), model.state.since_fit);
            model.update(at(step), Some(rng.unit()));
            let after = (model.state.model.is_some(), model.state.since_fit);
            if after.0 && (!before.0 || after.1 < before.1) {
                fits.push(step);
            }
        }
        fits
    };
    let all: Vec<Vec<i64>> = [0.0, 0.3, 0.6, 0.9].map(fits).into();
    for nth in 0..2 {
        let steps: std::collections::BTreeSet<i64> = all.iter().map(|fits| fits[nth]).collect();
        assert!(steps.len() >= 3, "{all:?}");
    }
    assert!(all.iter().all(|fits| fits[0] <= 64 + 32 + 1), "{all:?}");
}
