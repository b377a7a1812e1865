use super::*;
use homeostasis_core::Rng;

fn at(minute: i64) -> Timestamp {
    Timestamp::from_secs(60 * minute)
}

/// A watch after `n` minutes of `level(minute)` with noise of ±`noise`.
fn watched(
    config: TimeToBreachConfig,
    n: i64,
    noise: f64,
    level: impl Fn(f64) -> f64,
) -> TimeToBreach {
    let (mut watch, mut rng) = (TimeToBreach::new(config).unwrap(), Rng::from_seed(12));
    for minute in 0..n {
        let value = level(minute as f64) + noise * (2.0 * rng.unit() - 1.0);
        watch.update(at(minute), Some(value));
    }
    watch
}

fn hours_left(watch: &TimeToBreach, now: i64) -> f64 {
    watch
        .breach()
        .expect("a breach")
        .expected
        .since(at(now))
        .as_secs_f64()
        / 3600.0
}

#[test]
fn a_disk_that_fills_alarms_hours_before_and_says_when() {
    // 60 % at first, 2 % an hour: 90 % after 15 hours.
    let disk = |minute: f64| 60.0 + minute / 30.0;
    let config = TimeToBreachConfig {
        horizon: Duration::from_secs(6 * 3600),
        ..TimeToBreachConfig::above(90.0)
    };
    let mut watch = watched(config, 480, 0.3, disk);
    assert!(
        watch.update(at(480), Some(disk(480.0))).score.get() < 0.5,
        "7 hours are left"
    );
    let mut watch = watched(config, 720, 0.3, disk);
    let judged = watch.update(at(720), Some(disk(720.0)));
    assert!(judged.score.get() > 0.5, "{judged:?}");
    assert_eq!(judged.direction, Direction::High);
    assert!((hours_left(&watch, 720) - 3.0).abs() < 0.3);
    let text = watch.explain().unwrap();
    assert!(
        text.starts_with("reaches 90 in about 2h5") || text.starts_with("reaches 90 in about 3h"),
        "{text}"
    );
    assert!(
        text.ends_with("99 % confident that it does within 6h)"),
        "{text}"
    );
}

#[test]
fn a_restart_sets_the_leak_back_and_its_slope_goes_on() {
    let leak = |minute: f64| 300.0 + 0.5 * minute - if minute >= 700.0 { 200.0 } else { 0.0 };
    let watch = watched(TimeToBreachConfig::above(1000.0), 1000, 5.0, leak);
    // 600 at 1000 minutes: 400 are left, 800 minutes.
    assert!(
        (hours_left(&watch, 1000) - 800.0 / 60.0).abs() < 1.5,
        "{:?}",
        watch.breach()
    );
    assert!((watch.breach().unwrap().slope_per_hour - 30.0).abs() < 2.0);
}

#[test]
fn a_cure_ends_the_alarm_within_minutes() {
    // 14 hours of a leak, an hour before the limit a restart: the next fit by the clock is hours away.
    let config = TimeToBreachConfig::above(1000.0);
    let leak = |minute: f64| 150.0 + minute;
    let (mut watch, mut rng) = (watched(config, 800, 5.0, leak), Rng::from_seed(3));
    assert!(watch.update(at(800), Some(950.0)).score.get() > 0.5);
    for minute in 801..980 {
        let judged = watch.update(at(minute), Some(150.0 + 5.0 * (2.0 * rng.unit() - 1.0)));
        assert!(
            !(804..=812).contains(&minute) || judged.score.get() < 0.5,
            "{minute}: {judged:?}, {:?}",
            watch.explain()
        );
    }
}

#[test]
fn the_nearer_the_breach_the_younger_is_the_line() {
    let config = TimeToBreachConfig::above(1000.0);
    let mut watch = watched(config, 800, 5.0, |minute| 150.0 + minute);
    // 40 minutes are left.
    for minute in 801..=810_i32 {
        watch.update(at(i64::from(minute)), Some(150.0 + f64::from(minute)));
    }
    let age = at(810).since(watch.state.fitted.unwrap());
    assert!(age <= Duration::from_secs(30 * 60), "{age:?}");
    assert!(
        (0.4..0.9).contains(&hours_left(&watch, 810)),
        "{:?}",
        watch.breach()
    );
}

#[test]
fn noise_steps_and_daily_waves_below_the_limit_say_nothing() {
    for (name, level) in [
        ("noise", (|_| 50.0) as fn(f64) -> f64),
        ("a step", |minute| if minute < 2000.0 { 50.0 } else { 70.0 }),
        ("days", |minute| {
            50.0 + 30.0 * (minute / 1440.0 * std::f64::consts::TAU).sin()
        }),
        ("a saw", |minute| 40.0 + minute % 360.0 / 9.0),
    ] {
        let config = TimeToBreachConfig::above(100.0);
        let (mut watch, mut rng) = (TimeToBreach::new(config).unwrap(), Rng::from_seed(1));
        for minute in 0..6 * 1440 {
            let value = level(f64::from(minute)) + 4.0 * rng.unit();
            let judged = watch.update(at(i64::from(minute)), Some(value));
            // What has been seen for less than two days may still be a leak.
            assert!(
                minute < 2 * 1440 + 720 || judged.score.get() < 0.5,
                "{name} at {minute}: {:?}",
                watch.explain()
            );
        }
    }
}

#[test]
fn a_limit_below_is_watched_downwards_and_one_reached_is_a_breach() {
    let mut watch = watched(TimeToBreachConfig::below(10.0), 600, 0.2, |minute| {
        100.0 - minute / 10.0
    });
    assert!(
        (hours_left(&watch, 600) - 5.0).abs() < 0.5,
        "{:?}",
        watch.breach()
    );
    let judged = watch.update(at(601), Some(9.0));
    assert_eq!(
        (judged.direction, watch.probability()),
        (Direction::Low, Ratio::ONE)
    );
    assert_eq!(watch.explain().unwrap(), "has reached 10");
}

#[test]
fn late_and_missing_samples_change_nothing() {
    let mut watch = watched(TimeToBreachConfig::above(90.0), 300, 1.0, |_| 50.0);
    let before = watch.clone();
    watch.update(at(200), Some(95.0));
    for missing in [None, Some(f64::NAN), Some(f64::NEG_INFINITY)] {
        assert_eq!(watch.update(at(400), missing).score.get(), 0.0);
    }
    assert_eq!(watch, before);
}

#[test]
fn a_stored_state_goes_on_to_the_bit_and_one_that_cannot_be_is_refused() {
    let config = TimeToBreachConfig::above(90.0);
    let mut watch = watched(config, 500, 1.0, |minute| 20.0 + minute / 20.0);
    let text = watch.save().unwrap().to_string();
    let mut restored = TimeToBreach::new(config).unwrap();
    restored
        .load(&serde_json::from_str(&text).unwrap())
        .unwrap();
    assert_eq!(watch, restored);
    for minute in 500..700_i32 {
        let value = Some(20.0 + f64::from(minute) / 20.0);
        let minute = i64::from(minute);
        assert_eq!(
            watch.update(at(minute), value),
            restored.update(at(minute), value)
        );
    }
    let before = watch.clone();
    let mut wrong = watch.save().unwrap();
    wrong["timeline"]["parts"][0]["idx"] = serde_json::json!(i64::MAX);
    assert!(watch.load(&wrong).is_err());
    assert_eq!(watch, before);
}

#[test]
fn every_field_out_of_range_is_named_and_the_defaults_are_those_of_the_document() {
    let error = TimeToBreach::new(TimeToBreachConfig {
        limit: f64::NAN,
        is_low: false,
        horizon: Duration::ZERO,
        confidence: Ratio::ONE,
        history: Duration::ZERO,
        period: Some(Duration::ZERO),
    })
    .unwrap_err();
    assert_eq!(error.violations().len(), 5);
    let read: TimeToBreachConfig = serde_json::from_str(r#"{"limit": 90.0}"#).unwrap();
    assert_eq!(read, TimeToBreachConfig::above(90.0));
    assert!(
        serde_json::from_str::<TimeToBreachConfig>(r#"{"limit": 90.0, "hoizon": "1d"}"#).is_err()
    );
}

/// How many of 16 disks that began together are fitted with the same sample at most, after the first 100 minutes; an event
/// shakes all of them after 180.
fn most_fits_in_a_tick(place: impl Fn(usize) -> Ratio) -> usize {
    let config = TimeToBreachConfig::above(90.0);
    let mut disks: Vec<TimeToBreach> = (0..16)
        .map(|disk| {
            let mut watch = TimeToBreach::new(config).unwrap();
            watch.stagger(place(disk));
            watch
        })
        .collect();
    let mut most = 0;
    for minute in 0..230 {
        let event = if minute >= 180 { 25.0 } else { 0.0 };
        let value = 30.0 + f64::from(minute) / 60.0 + f64::from(minute % 7) / 10.0 + event;
        let now = at(i64::from(minute));
        let mut n_fits = 0;
        for disk in &mut disks {
            disk.update(now, Some(value));
            n_fits += usize::from(disk.state.fitted == Some(now) && disk.state.line.is_some());
        }
        if minute >= 100 {
            most = most.max(n_fits);
        }
    }
    assert!(disks.iter().all(|disk| disk.state.line.is_some()));
    most
}

/// The story of a regression: all disks of a fleet began with the first scrape and were fitted in the same tick ever
/// after, milliseconds each.
#[test]
fn series_that_began_together_and_were_shaken_together_are_not_fitted_together() {
    let spread = most_fits_in_a_tick(|disk| crate::hash::share(&format!("disk{disk}")));
    let together = most_fits_in_a_tick(|_| Ratio::ZERO);
    assert!(
        spread <= 8 && together == 16,
        "{spread} and {together} of 16"
    );
}
