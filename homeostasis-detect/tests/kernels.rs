//! Every kernel of this crate keeps the contract of kernels: one line each.

use std::time::Duration;

use homeostasis::core::Timestamp;
use homeostasis::core::stage::SeriesDetector;
use homeostasis::core::testing::kernel::{KernelSample, Suite};
use homeostasis::detect::{
    AdaptiveThreshold, Adwin, AdwinConfig, Amount, BayesianChangePoint, BayesianChangePointConfig,
    CompositeKernel, CompositeWeights, Cusum, CusumConfig, DetectorFamily, EDetector,
    EDetectorConfig, Ewma, EwmaConfig, Flapping, FlappingConfig, Forecaster, ForecasterConfig, Iqr,
    IqrConfig, LevelShift, LevelShiftConfig, Mad, MadConfig, MovingAverage, MovingAverageConfig,
    OnlineConfig, OnlineDetector, PageHinkley, PageHinkleyConfig, RateOfChange, RateOfChangeConfig,
    Seasonality, SeasonalityConfig, Side, TailThresholdConfig, TimeToBreach, TimeToBreachConfig,
    Trend, TrendConfig,
};
use proptest::prelude::*;

/// Values of every size, and times that mostly go forward.
fn samples() -> impl Strategy<Value = Vec<KernelSample>> {
    let value = prop_oneof![
        6 => (-20.0_f64..120.0).prop_map(Some),
        2 => Just(Some(100.0)),
        1 => any::<f64>().prop_map(Some),
        1 => Just(None),
    ];
    let step =
        prop_oneof![8 => 1_i64..90_000, 1 => -200_000_i64..=0, 1 => 90_000_i64..4_000_000_000];
    prop::collection::vec((step, value), 0..120).prop_map(|steps| {
        let mut millis = 1_700_000_000_000;
        let place = |(step, value)| {
            millis += step;
            (Timestamp::from_millis(millis), value)
        };
        steps.into_iter().map(place).collect()
    })
}

fn any_samples<K: SeriesDetector>(suite: &Suite<impl Fn() -> K>) {
    let config = ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(24)
    };
    proptest!(config, |(samples in samples(), cut in 0_usize..120)| {
        suite.holds_for(&samples, cut);
    });
}

/// One line per kernel: its name, a configuration, and what the suite is told of it.
///
/// Each keeps the contract, and goes on to the bit whatever the samples and wherever it is stored.
macro_rules! kernels {
    ($($name:ident: $make:expr $(, $told:ident ( $($argument:expr),* ))* ;)*) => {$(
        #[test]
        fn $name() {
            let make = || -> Box<dyn SeriesDetector> { Box::new($make.unwrap()) };
            let suite = Suite::new(make).finds_something()$(.$told($($argument),*))*;
            suite.run();
            any_samples(&suite);
        }
    )*};
}

kernels! {
    ewma: Ewma::new(EwmaConfig::default()), monotone();
    ewma_of_one_side: Ewma::new(EwmaConfig { side: Side::High, ..EwmaConfig::default() }), monotone();
    moving_average: MovingAverage::new(MovingAverageConfig::default()), monotone();
    moving_average_of_a_small_window: MovingAverage::new(MovingAverageConfig { window: 7, warm_up: 3, ..MovingAverageConfig::default() }), quiet(0.2);
    rate_of_change: RateOfChange::new(RateOfChangeConfig::default()), monotone();
    rate_of_change_in_units: RateOfChange::new(RateOfChangeConfig { limit: Amount::Absolute(8.0), max_samples: 5, ..RateOfChangeConfig::default() }), monotone();
    iqr: Iqr::new(IqrConfig::default()), monotone();
    iqr_of_a_small_window: Iqr::new(IqrConfig { window: 9, warm_up: 4, ..IqrConfig::default() }), quiet(0.2);
    mad: Mad::new(MadConfig::default()), monotone();
    mad_of_a_small_window: Mad::new(MadConfig { window: 8, warm_up: 5, side: Side::Low, ..MadConfig::default() }), quiet(0.2);
    cusum: Cusum::new(CusumConfig::default()), monotone(), state_within(400);
    cusum_around_a_target: Cusum::new(CusumConfig { target: Some(100.0), ..CusumConfig::default() }), constants(&[100.0]), monotone();
    page_hinkley: PageHinkley::new(PageHinkleyConfig::default()), state_within(600);
    adwin: Adwin::new(AdwinConfig::default()), state_within(16_000);
    bayesian_change_point: BayesianChangePoint::new(BayesianChangePointConfig::default()), state_within(10_000);
    e_detector: EDetector::new(EDetectorConfig::default());
    level_shift: LevelShift::new(LevelShiftConfig::default());
    flapping: Flapping::new(FlappingConfig::default()), state_within(1_000);
    seasonality: Seasonality::new(SeasonalityConfig::default()), step(Duration::from_secs(3600)), state_within(200_000), monotone();
    seasonality_by_weekday: Seasonality::new(SeasonalityConfig { min_samples: 10, utc_offset_minutes: -300, ..SeasonalityConfig::default() }), step(Duration::from_secs(1800)), state_within(200_000), monotone();
    trend: Trend::new(TrendConfig { window: Duration::from_secs(3600), ..TrendConfig::default() });
    forecaster: Forecaster::new(ForecasterConfig { history: 256, ..ForecasterConfig::default() });
    forecaster_of_one_side: Forecaster::new(ForecasterConfig { history: 64, side: Side::High, ..ForecasterConfig::default() });
    time_to_breach: TimeToBreach::new(TimeToBreachConfig::above(160.0)), constants(&[0.0, 5.0, -3.3, 5e-324, 1e-310, -1e300]);
    time_to_breach_downwards: TimeToBreach::new(TimeToBreachConfig::below(40.0)), constants(&[50.0, 1e3, 1e300]);
    online: OnlineDetector::new(OnlineConfig::default()), state_within(400_000);
    online_of_one_side: OnlineDetector::new(OnlineConfig { side: Side::Low, sensitivity: 2.0, dead_samples: 3, ..OnlineConfig::default() }), state_within(400_000), quiet(0.2);
    composite: CompositeKernel::new(CompositeWeights::default())
        .with("ewma", DetectorFamily::Statistical, Ewma::new(EwmaConfig::default()).expect("in range"))
        .with("average", DetectorFamily::Statistical, MovingAverage::new(MovingAverageConfig::default()).expect("in range"))
        .with("rate", DetectorFamily::Pattern, RateOfChange::new(RateOfChangeConfig::default()).expect("in range"))
        .checked(), monotone();
    adaptive_threshold: AdaptiveThreshold::new(Ewma::new(EwmaConfig::default()).expect("in range"), TailThresholdConfig::default()), monotone(), state_within(40_000);
    adaptive_threshold_of_heavy_use: AdaptiveThreshold::new(
        MovingAverage::new(MovingAverageConfig { window: 7, warm_up: 3, ..MovingAverageConfig::default() }).expect("in range"),
        TailThresholdConfig { calibration: 500, max_peaks: 20, risk: 0.01, ..TailThresholdConfig::default() }
    ), quiet(0.2);
}
