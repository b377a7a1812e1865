//! How fast an isolation forest is on 100 000 rows of six features, as peers are measured.

use std::error::Error;
use std::hint::black_box;

use homeostasis::core::stage::{RowDetector, Rows};
use homeostasis::core::{Rng, Timestamp};
use homeostasis::detect::{IsolationForest, IsolationForestConfig};
use serde_json::{Value, json};

use super::now;

const N_ROWS: usize = 100_000;
const WIDTH: usize = 6;
const N_ROUNDS: usize = 5;

/// Rows a second, fitted and scored at once and one by one: the median round on one thread.
pub(super) fn measure() -> Result<Value, Box<dyn Error>> {
    let mut rng = Rng::from_seed(6);
    let mut normal = || {
        let (radius, angle) = (1.0 - rng.unit(), rng.unit());
        (-2.0 * radius.ln()).sqrt() * (std::f64::consts::TAU * angle).cos()
    };
    let values: Vec<f64> = (0..N_ROWS * WIDTH).map(|_| normal()).collect();
    let rows = Rows::new(&values, WIDTH)?;
    let (mut at_once, mut one_by_one) = (Vec::new(), Vec::new());
    for _ in 0..N_ROUNDS {
        let began = now();
        let mut forest = IsolationForest::new(IsolationForestConfig::default())?;
        forest.fit(rows)?;
        black_box(forest.isolation(rows)?);
        at_once.push(N_ROWS as f64 / began.elapsed().as_secs_f64());
        let began = now();
        for row in rows.iter() {
            black_box(forest.update(Timestamp::EPOCH, row)?);
        }
        one_by_one.push(N_ROWS as f64 / began.elapsed().as_secs_f64());
    }
    Ok(json!({
        "fit_and_score_rows_per_second": median(&mut at_once),
        "row_by_row_rows_per_second": median(&mut one_by_one),
    }))
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
