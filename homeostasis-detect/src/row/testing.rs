//! What every kernel of rows must do, in one place.

use std::fmt::Debug;

use homeostasis_core::stage::{RowDetector, RowScore, Rows};
use homeostasis_core::testing::hostile_state;
use homeostasis_core::{Rng, Timestamp};

pub(super) const WIDTH: usize = 6;

/// Rows between -3 and 3 in which neighbors move together, from a seed.
pub(super) fn noise(n_rows: usize, width: usize, seed: u64) -> Vec<f64> {
    let mut rng = Rng::from_seed(seed);
    (0..n_rows)
        .flat_map(|_| {
            let mut shared = 0.0;
            let mut next = || {
                shared = 0.5 * shared + rng.unit() - 0.5;
                2.0 * shared + 0.2 * (rng.unit() - 0.5)
            };
            (0..width).map(|_| next()).collect::<Vec<_>>()
        })
        .collect()
}

pub(super) fn at(secs: usize) -> Timestamp {
    Timestamp::from_secs(i64::try_from(secs).unwrap())
}

/// Checks the contract of [`RowDetector`] on the kernels that `make` gives.
pub(super) fn check<K: RowDetector + Clone + PartialEq + Debug>(make: impl Fn() -> K) {
    let past = noise(400, WIDTH, 11);
    let past = Rows::new(&past, WIDTH).unwrap();
    let fitted = || {
        let mut kernel = make();
        kernel.fit(past).unwrap();
        kernel
    };
    unfitted_says_nothing(&mut make());
    what_cannot_be_learned_is_refused(&make, &fitted);
    learning_is_repeatable_and_in_pieces(&make, past);
    missing_values_do_not_count(&fitted());
    late_rows_teach_nothing(&fitted());
    a_stored_state_goes_on_to_the_bit(&make, &fitted);
    a_hostile_state_is_refused_or_goes_on(&make, &fitted);
    further_is_not_less(&fitted());
}

fn unfitted_says_nothing(kernel: &mut impl RowDetector) {
    assert_eq!(
        kernel.update(at(0), &[1.0; WIDTH]).unwrap(),
        RowScore::default()
    );
    assert_eq!(kernel.contributions(), Vec::<f64>::new());
    assert!(!kernel.learn().unwrap(), "nothing was begun");
}

fn what_cannot_be_learned_is_refused<K: RowDetector + Clone + PartialEq + Debug>(
    make: &impl Fn() -> K,
    fitted: &impl Fn() -> K,
) {
    let few = [1.0; 2 * WIDTH];
    let nothing = vec![f64::NAN; 400 * WIDTH];
    let wide = vec![1.0; 400 * 2000];
    for (values, width) in [(&few[..], WIDTH), (&nothing, WIDTH), (&wide, 2000)] {
        let mut kernel = fitted();
        let error = kernel.fit(Rows::new(values, width).unwrap()).unwrap_err();
        assert!(error.to_string().contains("rows"), "{error}");
        assert_eq!(kernel, fitted(), "the model that was there stays");
    }
    let mut kernel = fitted();
    let error = kernel
        .update(at(0), &[0.0; WIDTH + 1])
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("7 values") && error.contains("expected 6"),
        "{error}"
    );
    let mut constant = make();
    constant
        .fit(Rows::new(&vec![3.0; 400 * WIDTH], WIDTH).unwrap())
        .unwrap();
    let usual = constant.update(at(0), &[3.0; WIDTH]).unwrap();
    assert!(usual.score.get() < 0.5, "{usual:?}");
    let mut huge = make();
    let values: Vec<f64> = (0..400 * WIDTH)
        .map(|i| if i % 5 == 0 { f64::MAX } else { -1e300 })
        .collect();
    huge.fit(Rows::new(&values, WIDTH).unwrap()).unwrap();
    for value in [f64::MAX, f64::MIN, 0.0] {
        let score = huge.update(at(0), &[value; WIDTH]).unwrap();
        assert!(
            score.surprise.is_finite() && score.surprise >= 0.0,
            "{score:?}"
        );
    }
    assert!(
        huge.contributions()
            .iter()
            .all(|part| part.is_finite() && *part >= 0.0)
    );
}

fn learning_is_repeatable_and_in_pieces<K: RowDetector + Clone + PartialEq + Debug>(
    make: &impl Fn() -> K,
    past: Rows<'_>,
) {
    let mut whole = make();
    whole.fit(past).unwrap();
    let mut pieces = make();
    pieces.begin(past).unwrap();
    while pieces.learn().unwrap() {
        assert_eq!(
            pieces.update(at(0), past.get(0)).unwrap(),
            RowScore::default()
        );
    }
    assert_eq!(whole, pieces);
    // The last model serves while the next one is learned, and goes on as if nothing were.
    let other = noise(300, WIDTH, 12);
    let (mut busy, mut idle) = (whole.clone(), whole.clone());
    busy.begin(Rows::new(&other, WIDTH).unwrap()).unwrap();
    for (time, row) in past.iter().take(5).enumerate() {
        assert_eq!(
            busy.update(at(time), row).unwrap(),
            idle.update(at(time), row).unwrap()
        );
    }
    busy.begin(past).unwrap();
    while busy.learn().unwrap() {}
    assert_eq!(busy, whole);
}

fn missing_values_do_not_count<K: RowDetector + Clone + PartialEq + Debug>(fitted: &K) {
    let mut kernel = fitted.clone();
    for missing in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let score = kernel.update(at(1), &[missing; WIDTH]).unwrap();
        assert_eq!(score, RowScore::default());
        assert_eq!(&kernel, fitted, "a row without values changes nothing");
    }
    let (mut one, mut other) = (fitted.clone(), fitted.clone());
    let mut row = [0.1; WIDTH];
    row[2] = f64::NAN;
    let score = one.update(at(1), &row).unwrap();
    assert!(score.score.get() < 0.5, "{score:?}");
    assert!(
        one.contributions()
            .iter()
            .all(|part| part.is_finite() && *part >= 0.0)
    );
    row[2] = f64::NEG_INFINITY;
    assert_eq!(other.update(at(1), &row).unwrap(), score);
}

fn late_rows_teach_nothing<K: RowDetector + Clone + PartialEq + Debug>(fitted: &K) {
    let mut kernel = fitted.clone();
    let rows = noise(20, WIDTH, 13);
    for (time, row) in rows.chunks(WIDTH).enumerate() {
        kernel.update(at(100 + time), row).unwrap();
    }
    let mut other = kernel.clone();
    for late in [119, 50, 0] {
        let first = kernel.update(at(late), &[9.0; WIDTH]).unwrap();
        assert_eq!(kernel.update(at(late), &[9.0; WIDTH]).unwrap(), first);
    }
    for (time, row) in rows.chunks(WIDTH).enumerate() {
        let now = at(200 + time);
        assert_eq!(
            kernel.update(now, row).unwrap(),
            other.update(now, row).unwrap()
        );
    }
}

fn a_stored_state_goes_on_to_the_bit<K: RowDetector + Clone + PartialEq + Debug>(
    make: &impl Fn() -> K,
    fitted: &impl Fn() -> K,
) {
    let mut kernel = fitted();
    let rows = noise(60, WIDTH, 14);
    for (time, row) in rows.chunks(WIDTH).enumerate() {
        let text = serde_json::to_string(&kernel.save().unwrap()).unwrap();
        let mut restored = make();
        restored
            .load(&serde_json::from_str(&text).unwrap())
            .unwrap();
        assert_eq!(restored, kernel);
        assert_eq!(restored.contributions(), kernel.contributions());
        let mut row = row.to_vec();
        row[time % WIDTH] *= 7.0;
        let score = kernel.update(at(time), &row).unwrap();
        assert_eq!(restored.update(at(time), &row).unwrap(), score);
    }
    let before = kernel.clone();
    for wrong in [
        serde_json::json!(7),
        serde_json::json!({ "model": 1 }),
        serde_json::Value::Null,
    ] {
        assert!(kernel.load(&wrong).is_err(), "{wrong}");
        assert_eq!(kernel, before, "what does not fit changes nothing");
    }
}

fn a_hostile_state_is_refused_or_goes_on<K: RowDetector>(
    make: &impl Fn() -> K,
    fitted: &impl Fn() -> K,
) {
    let (mut kernel, rows) = (fitted(), noise(60, WIDTH, 14));
    // In the middle of learning anew.
    kernel.begin(Rows::new(&rows, WIDTH).unwrap()).ok();
    kernel.learn().ok();
    hostile_state::survives(&kernel.save().unwrap(), |hostile| {
        let mut kernel = make();
        if kernel.load(hostile).is_err() {
            return;
        }
        for (time, row) in rows.chunks(WIDTH).enumerate() {
            // A state of other rows may refuse these.
            kernel.update(at(time), row).ok();
            kernel.contributions();
        }
        while kernel.learn().unwrap_or(false) {}
        kernel.save();
    });
}

fn further_is_not_less<K: RowDetector + Clone + PartialEq + Debug>(fitted: &K) {
    let mut last = RowScore::default();
    for distance in [0.0, 3.0, 10.0, 100.0, 1e6, 1e200] {
        let score = fitted.clone().update(at(1), &[distance; WIDTH]).unwrap();
        assert!(
            score.score >= last.score && score.surprise >= last.surprise,
            "{distance}: {score:?}"
        );
        last = score;
    }
    assert!(last.score.get() > 0.5, "{last:?}");
}
