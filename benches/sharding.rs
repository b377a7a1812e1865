//! How many samples a second a detector of thousands of series judges, by its number of shards.
//!
//! Every batch holds one sample of each of 10 000 series, as a scrape brings them; the figure is samples per second
//! through routing, kernel, alerting and picture, from the batch to the anomalies. One shard is the baseline.

use std::sync::Arc;
use std::time::Duration;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use homeostasis::core::signal::{Sample, SeriesCatalog, SeriesId, SeriesKey, SignalBatch};
use homeostasis::core::stage::Detector;
use homeostasis::core::{Context, ManualClock, Rng, Timestamp};
use homeostasis::detect::{Ewma, EwmaConfig, PerSeries, Selector};

const N_SERIES: u64 = 10_000;

fn detector(n_shards: usize) -> PerSeries<Ewma> {
    let ewma = Ewma::new(EwmaConfig::default()).expect("a configuration in range");
    PerSeries::new("cpu", Selector::all(), move |_| ewma.clone())
        .expect("a name")
        .with_shards(n_shards)
}

/// One sample of each series.
fn scrape(series: &[SeriesId], secs: i64, rng: &mut Rng) -> Vec<Sample> {
    let at = Timestamp::from_secs(secs);
    let sample = |series: &SeriesId| Sample {
        series: *series,
        at,
        value: 0.2 + 0.02 * rng.unit(),
    };
    series.iter().map(sample).collect()
}

fn sharding(c: &mut Criterion) {
    let limit = usize::try_from(N_SERIES).expect("a small number") + 1;
    let catalog = SeriesCatalog::new(limit);
    let key = |service: u64| SeriesKey::new("cpu").with("service", service.to_string());
    let series: Vec<SeriesId> = (0..N_SERIES).map(|i| catalog.intern(&key(i))).collect();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    let mut group = c.benchmark_group("sharding");
    group.throughput(Throughput::Elements(N_SERIES));
    group.measurement_time(Duration::from_secs(4));
    for n_shards in [1, 2] {
        let mut watch = detector(n_shards);
        let (mut rng, mut secs) = (Rng::from_seed(1), 0);
        let mut detect = |samples: Vec<Sample>| {
            let cx = Context::new(Arc::new(ManualClock::new(samples[0].at)), 1);
            let batch = SignalBatch::empty(&catalog).with_samples(&samples);
            runtime
                .block_on(watch.detect(&cx, batch))
                .expect("no failure")
        };
        group.bench_function(BenchmarkId::new("shards", n_shards), |b| {
            let setup = || {
                secs += 10;
                scrape(&series, secs, &mut rng)
            };
            b.iter_batched(setup, &mut detect, BatchSize::LargeInput);
        });
        assert_eq!(watch.n_series(), series.len());
    }
    group.finish();
}

criterion_group!(benches, sharding);
criterion_main!(benches);
