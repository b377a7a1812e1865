//! The isolation forest on 100 000 rows of six features, on one thread: learned, scored at once, scored one by one.
//!
//! `benches/peers/multivariate.py` measures scikit-learn on the same shape.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use homeostasis::core::stage::{RowDetector, Rows};
use homeostasis::core::{Rng, Timestamp};
use homeostasis::detect::{IsolationForest, IsolationForestConfig, PcaResidual, PcaResidualConfig};

const N_ROWS: usize = 100_000;
const WIDTH: usize = 6;

fn values() -> Vec<f64> {
    let mut rng = Rng::from_seed(6);
    let mut bell = || (0..4).map(|_| rng.unit()).sum::<f64>() - 2.0;
    (0..N_ROWS * WIDTH).map(|_| bell()).collect()
}

fn forest(criterion: &mut Criterion) {
    let values = values();
    let rows = Rows::new(&values, WIDTH).expect("whole rows");
    let mut forest = IsolationForest::new(IsolationForestConfig::default()).expect("in range");
    let mut group = criterion.benchmark_group("isolation_forest");
    group
        .sample_size(10)
        .measurement_time(Duration::from_secs(5));
    group.bench_function("fit", |bench| {
        bench.iter(|| forest.fit(rows).expect("enough rows"));
    });
    group.throughput(Throughput::Elements(N_ROWS as u64));
    group.bench_function("at_once", |bench| {
        bench.iter(|| forest.isolation(black_box(rows)));
    });
    group.bench_function("one_by_one", |bench| {
        bench.iter(|| {
            for row in rows.iter() {
                black_box(forest.update(Timestamp::EPOCH, row).expect("as wide"));
            }
        });
    });
    group.finish();
}

fn residual(criterion: &mut Criterion) {
    let values = values();
    let rows = Rows::new(&values, WIDTH).expect("whole rows");
    let mut kernel = PcaResidual::new(PcaResidualConfig::default()).expect("in range");
    kernel.fit(rows).expect("enough rows");
    let mut group = criterion.benchmark_group("pca_residual");
    group
        .sample_size(10)
        .throughput(Throughput::Elements(N_ROWS as u64));
    let mut at = 0;
    group.bench_function("one_by_one", |bench| {
        bench.iter(|| {
            for row in rows.iter() {
                at += 1;
                black_box(
                    kernel
                        .update(Timestamp::from_secs(at), row)
                        .expect("as wide"),
                );
            }
        });
    });
    group.finish();
}

criterion_group!(benches, forest, residual);
criterion_main!(benches);
