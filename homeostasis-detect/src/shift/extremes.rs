//! States of which a number is as large as numbers are.

use std::fmt::Debug;

use homeostasis_core::stage::SeriesDetector;
use homeostasis_core::{Rng, Timestamp};
use serde_json::{Value, json};

use super::{Adwin, BayesianChangePoint, Cusum, EDetector, LevelShift, PageHinkley};

/// Every count in `state`, as the way to it.
fn counts(state: &Value, way: &str, found: &mut Vec<String>) {
    match state {
        Value::Number(number) if number.is_u64() => found.push(way.to_owned()),
        Value::Array(items) => {
            for (idx, item) in items.iter().enumerate() {
                counts(item, &format!("{way}/{idx}"), found);
            }
        }
        Value::Object(fields) => {
            for (name, item) in fields {
                counts(item, &format!("{way}/{name}"), found);
            }
        }
        _ => {}
    }
}

/// How many of the states with an extreme count are taken; each is refused, or goes on without a panic.
fn taken<K: SeriesDetector + Clone + Debug>(fresh: &K) -> usize {
    let (mut kernel, mut rng) = (fresh.clone(), Rng::from_seed(4));
    for second in 0..203 {
        kernel.update(Timestamp::from_secs(second), Some(rng.unit()));
    }
    let state = kernel.save().unwrap();
    let mut ways = Vec::new();
    counts(&state, "", &mut ways);
    assert!(!ways.is_empty(), "{kernel:?} counts nothing");
    let mut n_taken = 0;
    for way in ways {
        for extreme in [u64::MAX, u64::from(u32::MAX)] {
            let mut hostile = state.clone();
            *hostile.pointer_mut(&way).unwrap() = json!(extreme);
            let mut kernel = fresh.clone();
            if kernel.load(&hostile).is_err() {
                continue;
            }
            n_taken += 1;
            for second in 203..240 {
                kernel.update(Timestamp::from_secs(second), Some(rng.unit()));
                kernel.update(Timestamp::from_secs(second), None);
                kernel.explain();
            }
        }
    }
    n_taken
}

#[test]
fn a_count_as_large_as_counts_are_is_refused_or_counts_no_further() {
    let n_taken = [
        taken(&Adwin::new(super::AdwinConfig::default()).unwrap()),
        taken(&BayesianChangePoint::new(super::BayesianChangePointConfig::default()).unwrap()),
        taken(&PageHinkley::new(super::PageHinkleyConfig::default()).unwrap()),
    ];
    assert!(n_taken.iter().all(|n| *n > 0), "{n_taken:?}");
    taken(&Cusum::new(super::CusumConfig::default()).unwrap());
    taken(&EDetector::new(super::EDetectorConfig::default()).unwrap());
    taken(&LevelShift::new(super::LevelShiftConfig::default()).unwrap());
}
