use super::*;
use crate::Side;
use homeostasis_core::Rng;
use homeostasis_core::record::Direction;
use proptest::prelude::*;
use std::time::Duration;

fn detector() -> OnlineDetector {
    OnlineDetector::new(OnlineConfig::default()).unwrap()
}

fn at(secs: i64) -> Timestamp {
    Timestamp::from_secs(secs)
}

/// A detector that has seen `n` minutes of noise of ±1 around 10.
fn trained(n: i64) -> OnlineDetector {
    let (mut model, mut rng) = (detector(), Rng::from_seed(7));
    for minute in 0..n {
        model.judge(at(60 * minute), Some(9.0 + 2.0 * rng.unit()));
    }
    model
}

/// A day of a shop that is busy from 9 to 17 o'clock, in five minutes.
fn busy(step: i64, rng: &mut Rng) -> f64 {
    let open = (108..204).contains(&(step % 288));
    (if open { 80.0 } else { 20.0 }) + 3.0 * rng.unit()
}

#[test]
fn every_field_out_of_range_is_named() {
    let error = OnlineDetector::new(OnlineConfig {
        sensitivity: 0.0,
        dead_samples: 1_000_001,
        resolution: f64::NAN,
        ..OnlineConfig::default()
    })
    .unwrap_err();
    assert_eq!(error.violations().len(), 3);
    assert_eq!(
        error.violations()[0].to_string(),
        "online.sensitivity = 0, expected 0.01 to 100"
    );
}

#[test]
fn what_comes_again_is_known_and_still_a_deviation() {
    let mut model = trained(1000);
    let first = model.judge(at(60_000), Some(40.0));
    assert!(first.alert >= 1.0 && first.deviation >= 1.0, "{first:?}");
    assert_eq!(first.direction, Direction::High);
    for minute in 1001..1500 {
        model.judge(at(60 * minute), Some(9.5));
    }
    let again = model.judge(at(90_000), Some(40.0));
    assert!(again.novelty < 1.0 && again.deviation >= 1.0, "{again:?}");
}

#[test]
fn the_samples_after_a_spike_do_not_deviate() {
    let mut model = trained(3000);
    let spike = model.update(at(180_000), Some(40.0));
    assert!(spike.score.get() > 0.5 && spike.direction == Direction::High);
    for minute in 3001..3010 {
        let after = model.judge(at(60 * minute), Some(9.5 + (minute % 2) as f64));
        assert!(after.deviation < 1.0, "{minute} {after:?}");
        assert!(after.strength >= after.present);
        let sentence = model.explain().unwrap_or_default();
        assert!(!sentence.contains("from its level"), "{sentence}");
    }
}

#[test]
fn an_outlier_leaves_the_windows_without_an_anomaly() {
    for spike in [40.0, -20.0] {
        let mut model = trained(3000);
        assert!(model.update(at(180_000), Some(spike)).score.get() > 0.5);
        let (mut rng, mut n_echoes) = (Rng::from_seed(9), 0);
        for minute in 3001..3200 {
            let after = model.judge(at(60 * minute), Some(9.0 + 2.0 * rng.unit()));
            n_echoes += u32::from(after.novelty >= 1.0);
            assert!(
                after.present < 1.0,
                "{minute} {after:?}: {:?}",
                model.explain()
            );
            assert_eq!(model.explain(), None);
        }
        // Otherwise nothing is tested here.
        assert!(n_echoes > 0);
    }
}

/// How often a day the default alerting raises an alarm in minutes of `value`, from sample `from` on.
fn alarms_a_day(from: i64, mut value: impl FnMut(i64, &mut Rng) -> f64) -> f64 {
    let alerting = crate::Alerting::new(crate::AlertingConfig::default()).unwrap();
    let (n, series) = (12_000, 4_u32);
    let mut raised = 0_u32;
    for seed in 0..series {
        let (mut model, mut rng) = (detector(), Rng::from_seed(u64::from(seed)));
        let mut state = crate::AlertState::default();
        for i in 0..n {
            let score = model.update(at(60 * i), Some(value(i, &mut rng))).score;
            let told = alerting.step(&mut state, at(60 * i), score);
            let is_raised = matches!(told, crate::Transition::Raised { .. });
            raised += u32::from(is_raised && i >= from);
        }
    }
    f64::from(raised) / f64::from(series) / ((n - from) as f64 / 1440.0)
}

#[test]
fn what_recurs_is_usual_however_most_samples_are() {
    let event = |rng: &mut Rng, p: f64| if rng.unit() < p { 1.0 } else { 0.0 };
    let bell = |rng: &mut Rng| (0..12).map(|_| rng.unit()).sum::<f64>() - 6.0;
    let few = |rng: &mut Rng| (0..10).map(|_| event(rng, 0.01)).sum();
    for (what, rate) in [
        ("about Poisson(0.1)", alarms_a_day(500, |_, rng| few(rng))),
        (
            "one in a hundred",
            alarms_a_day(500, |_, rng| event(rng, 0.01)),
        ),
        ("one in fifty", alarms_a_day(500, |_, rng| event(rng, 0.02))),
        ("lognormal", alarms_a_day(500, |_, rng| bell(rng).exp())),
        (
            "constant, then jitter",
            alarms_a_day(2000, |i, rng| if i < 1440 { 0.0 } else { event(rng, 0.3) }),
        ),
    ] {
        assert!(rate < 1.0, "{what}: {rate} a day");
    }
}

#[test]
fn an_outlier_or_an_episode_does_not_hide_the_next() {
    let (mut model, mut rng) = (trained(1000), Rng::from_seed(9));
    for minute in 1000..1300 {
        let value = if minute < 1100 {
            1e6
        } else {
            9.0 + 2.0 * rng.unit()
        };
        model.judge(at(60 * minute), Some(value));
    }
    let judged = model.judge(at(60 * 1300), Some(40.0));
    assert!(judged.deviation >= 1.0, "{judged:?}");
}

#[test]
fn a_value_at_the_wrong_time_is_found_once_the_period_is_known() {
    let (mut model, mut rng) = (detector(), Rng::from_seed(3));
    let mut first_of = |model: &mut OnlineDetector, steps: std::ops::Range<i64>, idle: bool| {
        let mut found = None;
        for step in steps {
            let value = if idle {
                20.0 + 3.0 * rng.unit()
            } else {
                busy(step, &mut rng)
            };
            let judged = model.judge(at(300 * step), Some(value));
            if judged.alert >= 1.0 && found.is_none() {
                found = Some((step, judged, model.explain().unwrap_or_default()));
            }
        }
        found
    };
    first_of(&mut model, 0..288 * 8, false);
    assert_eq!(model.period(), Some(Duration::from_secs(86_400)));
    let opening = 288 * 8 + 108;
    assert_eq!(first_of(&mut model, 288 * 8..opening, false), None);
    let (step, judged, sentence) = first_of(&mut model, opening..opening + 40, true).unwrap();
    assert!(step < opening + 24, "{step}");
    assert_eq!(judged.top, Some(Statistic::Context));
    assert!(
        sentence.contains("at the wrong time of its period of 1d"),
        "{sentence}"
    );
}

#[test]
fn the_dead_time_lasts_for_its_samples_and_for_its_time() {
    let config = OnlineConfig {
        dead_samples: 10,
        dead_time: Duration::from_secs(1200),
        ..OnlineConfig::default()
    };
    let mut model = trained(1000);
    model.config = config;
    assert!(model.judge(at(60_000), Some(40.0)).alert >= 1.0);
    for minute in 1001..1020 {
        let judged = model.judge(
            at(60 * minute),
            Some(60.0 + f64::from(i16::try_from(minute).unwrap())),
        );
        assert_eq!(judged.alert, 0.0, "{minute} {judged:?}");
    }
    assert!(model.judge(at(60 * 1020), Some(5000.0)).alert >= 1.0);
}

#[test]
fn what_is_ten_times_newer_is_told_in_the_dead_time() {
    let mut model = trained(1000);
    let first = model.judge(at(60_000), Some(13.0));
    assert!(first.alert >= 1.0, "{first:?}");
    let worse = model.judge(at(60_060), Some(500.0));
    assert!(worse.alert > 10.0 * first.alert, "{worse:?}");
}

#[test]
fn no_window_reaches_over_a_gap() {
    let mut model = trained(1000);
    let before = model.clone();
    model.judge(at(60 * 1000 + 60 * 73), Some(10.0));
    assert_eq!(model.windows.samples(), [10.0]);
    let mut near = before;
    near.judge(at(60 * 1000 + 60 * 70), Some(10.0));
    assert!(near.windows.samples().len() > 70);
}

#[test]
fn a_night_without_samples_is_no_news() {
    let bell = |rng: &mut Rng| 50.0 + (0..12).map(|_| rng.unit()).sum::<f64>() - 6.0;
    let mut n_told = 0;
    for seed in 0..10 {
        let (mut model, mut rng) = (detector(), Rng::from_seed(seed));
        for minute in 0..2000 {
            model.judge(at(60 * minute), Some(bell(&mut rng)));
        }
        let judged = (2480..2580).map(|minute| model.judge(at(60 * minute), Some(bell(&mut rng))));
        n_told += usize::from(judged.filter(|judged| judged.alert >= 1.0).count() > 0);
    }
    assert!(n_told <= 1, "{n_told} of 10");
}

#[test]
fn late_and_missing_samples_are_not_learned() {
    let mut model = trained(400);
    let before = model.save();
    let late = model.judge(at(10), Some(100.0));
    assert!(late.strength >= 1.0 && late.alert == 0.0, "{late:?}");
    for value in [None, Some(f64::NAN), Some(f64::INFINITY)] {
        assert_eq!(model.judge(at(60 * 400), value).strength, 0.0);
    }
    assert_eq!(model.save(), before);
}

#[test]
fn sides_are_kept_apart() {
    for (side, high, low) in [(Side::High, true, false), (Side::Low, false, true)] {
        for (value, told) in [(40.0, high), (-20.0, low)] {
            let mut model = trained(1000);
            model.config.side = side;
            let judged = model.judge(at(60_000), Some(value));
            assert_eq!(judged.strength >= 1.0, told, "{side:?} {value} {judged:?}");
            assert_eq!(judged.alert >= 1.0, told);
        }
    }
}

#[test]
fn noise_below_the_resolution_is_nothing() {
    let mut model = detector();
    model.config.resolution = 0.5;
    for minute in 0..2000 {
        let noise = if minute % 97 == 3 && minute > 500 {
            0.01
        } else {
            0.0
        };
        let judged = model.judge(at(60 * minute), Some(5.0 + noise));
        assert!(judged.strength < 0.5, "{minute} {judged:?}");
    }
    assert!(model.judge(at(60 * 2000), Some(50.0)).alert >= 1.0);
}

#[test]
fn a_lasting_shift_becomes_normal() {
    let (mut model, mut rng) = (trained(2000), Rng::from_seed(5));
    let mut last = 0.0;
    for minute in 2000..7000 {
        let judged = model.judge(at(60 * minute), Some(999.0 + 2.0 * rng.unit()));
        if minute == 2000 {
            assert!(judged.alert >= 1.0);
        }
        last = judged.strength;
    }
    assert!(last < 1.0, "{last}");
}

#[test]
fn every_reason_is_a_sentence() {
    let mut model = trained(1000);
    assert_eq!(model.explain(), None);
    model.judge(at(60_000), Some(40.0));
    let sentence = model.explain().unwrap();
    assert!(sentence.starts_with("has a"), "{sentence}");
    assert!(sentence.contains("the highest before was 1"), "{sentence}");
    assert!(
        sentence.ends_with("since 1970-01-01T16:40:00Z"),
        "{sentence}"
    );
    for minute in 1001..1300 {
        model.judge(at(60 * minute), Some(10.0));
    }
    model.judge(at(60 * 1300), Some(40.0));
    let sentence = model.explain().unwrap();
    assert!(
        sentence.contains("standard deviations from its level"),
        "{sentence}"
    );
}

#[test]
fn memory_stays_within_its_bound() {
    let (mut model, mut rng) = (detector(), Rng::from_seed(11));
    for minute in 0..20_000 {
        // Heavy tails fill every memory.
        let value = 1.0 / (1e-6 + rng.unit());
        model.judge(
            at(60 * minute),
            Some(if minute % 2 == 0 { value } else { -value }),
        );
    }
    assert!(
        model.bytes() <= OnlineDetector::MOST_BYTES,
        "{}",
        model.bytes()
    );
}

#[test]
fn a_state_that_cannot_be_is_refused_and_the_present_one_kept() {
    let mut model = trained(300);
    let before = model.clone();
    let state = model.save().unwrap();
    let spoil = |path: &str, value: Value| {
        let mut state = state.clone();
        *state.pointer_mut(path).unwrap() = value;
        state
    };
    for wrong in [
        spoil("/samples", serde_json::json!(vec![0.0; 80])),
        spoil("/channels", serde_json::json!([])),
        spoil("/channels/3/low", serde_json::json!(1e9)),
        spoil("/channels/3/rarity/counts", serde_json::json!([1.0])),
        spoil("/channels/0/memory/values", serde_json::json!([])),
        spoil("/rest/deviation/felt", serde_json::json!(-1.0)),
        spoil("/rest/last", Value::Null),
        serde_json::json!({ "samples": [] }),
    ] {
        assert!(model.load(&wrong).is_err(), "{wrong}");
    }
    assert_eq!(model, before);
}

/// Steps in time and values of all kinds: mostly usual, some missing, late, far or huge.
fn samples() -> impl Strategy<Value = Vec<(i64, Option<f64>)>> {
    let value = prop_oneof![
        20 => (0.0..10.0).prop_map(Some),
        2 => (-1e6..1e6).prop_map(Some),
        1 => prop_oneof![Just(None), Just(Some(f64::NAN)), Just(Some(f64::MAX)), Just(Some(7.0))],
    ];
    let step = prop_oneof![20 => Just(60_i64), 1 => Just(0), 1 => -600..0_i64, 1 => 0..100_000_i64];
    prop::collection::vec((step, value), 150..500)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_restored_detector_goes_on_to_the_bit(samples in samples(), cut in 0.0..1.0_f64) {
        let mut model = detector();
        let (mut now, mut restored) = (0, None::<OnlineDetector>);
        for (i, (step, value)) in samples.iter().enumerate() {
            now += step;
            if restored.is_none() && i as f64 >= cut * samples.len() as f64 {
                let text = model.save().unwrap().to_string();
                let mut fresh = detector();
                fresh.load(&serde_json::from_str(&text).unwrap()).unwrap();
                restored = Some(fresh);
            }
            let judged = model.judge(at(now), *value);
            prop_assert!(judged.strength.is_finite() && judged.strength >= 0.0);
            if let Some(restored) = &mut restored {
                prop_assert_eq!(restored.judge(at(now), *value), judged);
                prop_assert_eq!(restored.explain(), model.explain());
            }
        }
        if let Some(restored) = restored {
            prop_assert_eq!(restored.save(), model.save());
        }
    }

    #[test]
    fn what_comes_later_changes_no_score(samples in samples(), end in 1_usize..150) {
        let run = |samples: &[(i64, Option<f64>)]| {
            let (mut model, mut now) = (detector(), 0);
            samples.iter().map(|(step, value)| {
                now += step;
                model.judge(at(now), *value)
            }).collect::<Vec<_>>()
        };
        prop_assert_eq!(&run(&samples)[..end], &run(&samples[..end])[..]);
    }

    #[test]
    fn farther_from_the_level_never_deviates_less(a in 12.0..1e9_f64, b in 12.0..1e9_f64) {
        let model = trained(300);
        let (near, far) = (a.min(b), a.max(b));
        let of = |value| model.clone().judge(at(60 * 300), Some(value));
        prop_assert!(of(near).deviation <= of(far).deviation);
        prop_assert!(of(near).strength <= of(far).strength);
    }
}
