//! Kernels against values computed elsewhere: `testdata/reference.py` says how.

use homeostasis::core::Timestamp;
use homeostasis::core::record::Expectation;
use homeostasis::core::stage::SeriesDetector;
use homeostasis::detect::{
    Ewma, EwmaConfig, Iqr, IqrConfig, Mad, MadConfig, MovingAverage, MovingAverageConfig,
};

/// Middle and a sixth of the width of what is expected, and the surprise with which a value is judged.
type Judged = [f64; 3];

struct Row {
    at: Timestamp,
    value: f64,
    ewma: Option<Judged>,
    window: Option<Judged>,
    iqr: Option<Judged>,
    mad: Option<Judged>,
}

fn rows() -> Vec<Row> {
    let judged = |cells: &[&str]| -> Option<Judged> {
        let numbers: Vec<f64> = cells.iter().filter_map(|cell| cell.parse().ok()).collect();
        numbers.try_into().ok()
    };
    include_str!("../testdata/reference.csv")
        .lines()
        .skip(1)
        .map(|line| {
            let cells: Vec<&str> = line.split(',').collect();
            assert_eq!(cells.len(), 14, "{line}");
            Row {
                at: Timestamp::from_secs(cells[0].parse().expect("seconds")),
                value: cells[1].parse().expect("a value"),
                ewma: judged(&cells[2..5]),
                window: judged(&cells[5..8]),
                iqr: judged(&cells[8..11]),
                mad: judged(&cells[11..14]),
            }
        })
        .collect()
}

/// Compares what the kernel says of each row; `tolerance` is relative.
fn check(
    mut kernel: impl SeriesDetector,
    reference: impl Fn(&Row) -> Option<Judged>,
    tolerance: f64,
    is_symmetric: bool,
) {
    let mut n_compared = 0;
    for row in rows() {
        let judged = kernel.update(row.at, Some(row.value));
        let Expectation::Between { low, high } = judged.expected else {
            panic!("expected an interval");
        };
        let Some([mean, spread, surprise]) = reference(&row) else {
            assert_eq!(
                (low, high, judged.surprise),
                (None, None, 0.0),
                "{}",
                row.at
            );
            continue;
        };
        n_compared += 1;
        let (Some(low), Some(high)) = (low, high) else {
            panic!("expected both bounds at {}", row.at);
        };
        for (what, found, expected, size) in [
            ("mean", f64::midpoint(low, high), mean, mean.abs()),
            (
                "spread",
                (high - low) / 6.0,
                spread,
                spread.max(mean.abs() * 1e-6),
            ),
            ("surprise", judged.surprise, surprise, surprise.max(1e-3)),
        ] {
            assert!(
                (found - expected).abs() <= tolerance * size,
                "{what} at {}: {found}, expected {expected}",
                row.at
            );
        }
        let is_beyond = row.value < low || row.value > high;
        let score = judged.score.get();
        assert!(
            if is_beyond {
                score >= 0.5
            } else {
                score <= 0.5
            },
            "{}",
            row.at
        );
        if is_symmetric {
            let z = surprise.exp_m1().sqrt();
            let expected = (z / 3.0).powi(2) / (1.0 + (z / 3.0).powi(2));
            assert!((score - expected).abs() < 1e-6, "{}", row.at);
        }
    }
    assert!(n_compared > 350, "{n_compared}");
}

#[test]
fn ewma_agrees_with_fifty_digits() {
    let kernel = Ewma::new(EwmaConfig::default()).unwrap();
    check(kernel, |row| row.ewma, 1e-7, true);
}

#[test]
fn the_moving_average_agrees_with_exact_fractions() {
    let kernel = MovingAverage::new(MovingAverageConfig::default()).unwrap();
    check(kernel, |row| row.window, 1e-7, true);
}

#[test]
fn the_fences_agree_with_exact_fractions() {
    let kernel = Iqr::new(IqrConfig::default()).unwrap();
    check(kernel, |row| row.iqr, 1e-9, false);
}

#[test]
fn the_median_deviation_agrees_with_exact_fractions() {
    let kernel = Mad::new(MadConfig::default()).unwrap();
    check(kernel, |row| row.mad, 1e-9, true);
}
