//! How fast kernels are, in samples a second on one thread: in batches, and sample by sample with everything a
//! detector is told (score, surprise, direction, what was expected).
//!
//! The baseline is the loop one writes first: an exponentially weighted mean and deviation and one comparison, without
//! a score, gaps, clipping or missing values. `peers/kernels.py` times numpy, pandas and river on the same series.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use homeostasis::core::stage::SeriesDetector;
use homeostasis::core::{Rng, Score, Timestamp};
use homeostasis::detect::{
    Adwin, AdwinConfig, BayesianChangePoint, BayesianChangePointConfig, Cusum, CusumConfig, Ewma,
    EwmaConfig, Flapping, FlappingConfig, Iqr, IqrConfig, LevelShift, LevelShiftConfig, Mad,
    MadConfig, MovingAverage, MovingAverageConfig, PageHinkley, PageHinkleyConfig, Seasonality,
    SeasonalityConfig, discords, find_periods,
};

/// Samples of a series.
const SAMPLES: u32 = 100_000;

/// A minute each: noise around a daily wave, and an outlier now and then.
fn series() -> Vec<(Timestamp, f64)> {
    let mut rng = Rng::from_seed(7);
    let mut sample = |minute: u32| {
        let noise = (0..12).map(|_| rng.unit()).sum::<f64>() - 6.0;
        let wave = (std::f64::consts::TAU * f64::from(minute) / 1440.0).sin();
        let outlier = if minute.is_multiple_of(997) {
            40.0
        } else {
            0.0
        };
        let at = Timestamp::from_secs(60 * i64::from(minute));
        (at, 100.0 + 3.0 * wave + noise + outlier)
    };
    (0..SAMPLES).map(&mut sample).collect()
}

fn bare_loop(samples: &[(Timestamp, f64)]) -> usize {
    let (mut mean, mut deviation, mut found) = (samples[0].1, 1.0, 0);
    for (_, value) in samples {
        let delta = value - mean;
        if delta.abs() > 3.0 * deviation {
            found += 1;
        }
        mean += 0.3 * delta;
        deviation += 0.05 * (delta.abs() - deviation);
    }
    found
}

fn compare(c: &mut Criterion, name: &str, kernel: &(impl SeriesDetector + Clone), n: usize) {
    let samples = &series()[..n];
    let mut group = c.benchmark_group("kernels");
    group.sample_size(20);
    group.throughput(Throughput::Elements(samples.len() as u64));
    group.bench_function(BenchmarkId::new(name, "batch"), |b| {
        let mut scores = Vec::with_capacity(samples.len());
        b.iter(|| {
            let mut kernel = kernel.clone();
            scores.clear();
            kernel.update_batch(samples, &mut scores);
            scores.iter().max().copied()
        });
    });
    group.bench_function(BenchmarkId::new(name, "one by one"), |b| {
        b.iter(|| {
            let mut kernel = kernel.clone();
            let judged = samples
                .iter()
                .map(|(at, value)| kernel.update(*at, Some(*value)));
            judged.fold((Score::ZERO, 0.0), |(score, nats), judged| {
                (score.max(judged.score), judged.surprise.max(nats))
            })
        });
    });
    group.finish();
}

fn kernels(c: &mut Criterion) {
    let all = SAMPLES as usize;
    let samples = series();
    let mut group = c.benchmark_group("kernels");
    group.throughput(Throughput::Elements(samples.len() as u64));
    group.bench_function("a bare loop", |b| b.iter(|| bare_loop(&samples)));
    group.finish();

    let valid = "a configuration in range";
    compare(
        c,
        "Ewma",
        &Ewma::new(EwmaConfig::default()).expect(valid),
        all,
    );
    let average = MovingAverage::new(MovingAverageConfig::default());
    compare(c, "MovingAverage", &average.expect(valid), all);
    compare(c, "Iqr", &Iqr::new(IqrConfig::default()).expect(valid), all);
    compare(c, "Mad", &Mad::new(MadConfig::default()).expect(valid), all);
    compare(
        c,
        "Cusum",
        &Cusum::new(CusumConfig::default()).expect(valid),
        all,
    );
    let test = PageHinkley::new(PageHinkleyConfig::default());
    compare(c, "PageHinkley", &test.expect(valid), all);
    compare(
        c,
        "Adwin",
        &Adwin::new(AdwinConfig::default()).expect(valid),
        all / 4,
    );
    let model = BayesianChangePoint::new(BayesianChangePointConfig::default());
    compare(c, "BayesianChangePoint", &model.expect(valid), all / 20);
    let shift = LevelShift::new(LevelShiftConfig::default());
    compare(c, "LevelShift", &shift.expect(valid), all);
    let flapping = FlappingConfig {
        level: 100.0,
        ..FlappingConfig::default()
    };
    compare(c, "Flapping", &Flapping::new(flapping).expect(valid), all);
    let season = Seasonality::new(SeasonalityConfig::default());
    compare(c, "Seasonality", &season.expect(valid), all);
}

fn batches(c: &mut Criterion) {
    let values: Vec<f64> = series().into_iter().map(|(_, value)| value).collect();
    let mut group = c.benchmark_group("whole series");
    group.sample_size(10);
    for n in [2048, 8192] {
        group.throughput(Throughput::Elements(n as u64));
        group.bench_function(BenchmarkId::new("find_periods", n), |b| {
            b.iter(|| find_periods(&values[..n]));
        });
        group.bench_function(BenchmarkId::new("discords", n), |b| {
            b.iter(|| discords(&values[..n], 100, 3));
        });
    }
    group.finish();
}

criterion_group!(benches, kernels, batches);
criterion_main!(benches);
