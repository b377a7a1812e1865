//! What a series costs in memory: measured at the allocator, and as the detector says it.

#![expect(clippy::unwrap_used, reason = "the helpers of a test fail with it")]

use std::sync::Arc;

use homeostasis::core::signal::{Sample, SeriesCatalog, SeriesKey, SignalBatch};
use homeostasis::core::stage::{Detector, SeriesDetector};
use homeostasis::core::{Context, ManualClock, Timestamp};
use homeostasis::detect::{
    Ewma, EwmaConfig, MovingAverage, MovingAverageConfig, PerSeries, Selector, Trend, TrendConfig,
};

const N_SERIES: usize = 2000;

/// Bytes per series as allocated and as told, after 500 samples of each.
fn cost<K: SeriesDetector + Clone + 'static>(kernel: &K) -> (f64, f64) {
    let catalog = SeriesCatalog::new(N_SERIES + 1);
    let key = |i: usize| SeriesKey::new("process_cpu_ratio").with("service", format!("s{i}"));
    let series: Vec<_> = (0..N_SERIES).map(|i| catalog.intern(&key(i))).collect();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let kernel = kernel.clone();
    let mut watch = PerSeries::new("watch", Selector::all(), move |_| kernel.clone()).unwrap();
    let allocated = allocation_counter::measure(|| {
        for secs in 0..500 {
            let at = Timestamp::from_secs(secs * 10);
            let samples: Vec<_> = series
                .iter()
                .map(|series| Sample {
                    series: *series,
                    at,
                    value: 1.0,
                })
                .collect();
            let cx = Context::new(Arc::new(ManualClock::new(at)), 1);
            let batch = SignalBatch::empty(&catalog).with_samples(&samples);
            runtime.block_on(watch.detect(&cx, batch)).unwrap();
        }
    });
    assert_eq!(watch.n_series(), N_SERIES);
    let each = N_SERIES as f64;
    (
        allocated.bytes_current as f64 / each,
        watch.state_bytes() as f64 / each,
    )
}

#[test]
fn a_series_costs_what_is_said_and_no_more_than_two_kilobytes_beside_its_window() {
    let ewma = cost(&Ewma::new(EwmaConfig::default()).unwrap());
    let average = cost(&MovingAverage::new(MovingAverageConfig::default()).unwrap());
    let trend = cost(&Trend::new(TrendConfig::default()).unwrap());
    for (name, (allocated, told), most) in [
        ("ewma", ewma, 2048.0),
        ("moving average of 100", average, 3072.0),
        ("trend", trend, 4096.0),
    ] {
        eprintln!("{name}: {allocated:.0} bytes per series allocated, {told:.0} told");
        assert!(allocated <= most, "{name}: {allocated}");
        // Names are shared with the catalog and were there before; slots are allocated ahead.
        assert!(
            told > 0.6 * allocated && told < 1.4 * allocated,
            "{name}: {told} for {allocated}"
        );
    }
}
