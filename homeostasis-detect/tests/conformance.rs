//! Every detector of this crate keeps the contract of detectors.

use std::time::Duration;

use homeostasis::core::condition::Condition;
use homeostasis::core::record::Direction;
use homeostasis::core::record::Expectation;
use homeostasis::core::stage::{KernelScore, SeriesDetector};
use homeostasis::core::testing::detector::Suite;
use homeostasis::core::{Score, Timestamp};
use homeostasis::detect::*;

/// Of a kernel that finds something in what is shown.
fn suite<K: SeriesDetector + Clone + 'static>(kernel: K) -> Suite<impl Fn() -> PerSeries<K>> {
    watch(Selector::all(), kernel)
        .finds_something()
        .explains()
        .raises_anew()
}

fn at_once() -> Alerting {
    let config = AlertingConfig {
        sustain_samples: 1,
        reraise: Some(Duration::from_secs(120)),
        ..AlertingConfig::default()
    };
    Alerting::new(config).expect("a configuration in range")
}

fn watch<K: SeriesDetector + Clone + 'static>(
    series: Selector,
    kernel: K,
) -> Suite<impl Fn() -> PerSeries<K>> {
    Suite::new(move || {
        let kernel = kernel.clone();
        PerSeries::new("watch", series.clone(), move |_| kernel.clone())
            .expect("a configuration in range")
            .with_alerting(at_once())
    })
}

#[test]
fn rows_of_components() {
    Suite::new(|| {
        let kernel = PcaResidual::new(PcaResidualConfig::default()).expect("in range");
        let config = PerComponentConfig {
            step: Duration::from_secs(15),
            min_rows: 100,
            retrain: Duration::from_secs(1200),
            ..PerComponentConfig::default()
        };
        let features = [Selector::all()];
        PerComponent::new("rows", features, config, move |_| kernel.clone())
            .expect("in range")
            .with_alerting(at_once())
    })
    .finds_something()
    .explains()
    .run();
}

/// One test for each kernel at its defaults: together they are what takes longest here, and they run at once.
macro_rules! kernels {
    ($($name:ident: $kernel:ident($config:ident),)+) => {$(
        #[test]
        fn $name() {
            suite($kernel::new($config::default()).unwrap()).run();
        }
    )+};
}

kernels! {
    adwin: Adwin(AdwinConfig),
    bayesian_change_point: BayesianChangePoint(BayesianChangePointConfig),
    cusum: Cusum(CusumConfig),
    e_detector: EDetector(EDetectorConfig),
    ewma: Ewma(EwmaConfig),
    forecaster: Forecaster(ForecasterConfig),
    iqr: Iqr(IqrConfig),
    level_shift: LevelShift(LevelShiftConfig),
    mad: Mad(MadConfig),
    moving_average: MovingAverage(MovingAverageConfig),
    page_hinkley: PageHinkley(PageHinkleyConfig),
}

#[test]
fn a_boxed_kernel() {
    Suite::new(|| {
        let make = |_: &_| -> Box<dyn SeriesDetector> {
            Box::new(Ewma::new(EwmaConfig::default()).unwrap())
        };
        PerSeries::new("boxed", Selector::all(), make)
            .unwrap()
            .with_alerting(at_once())
    })
    .finds_something()
    .explains()
    .run();
}

#[test]
fn adaptive_threshold() {
    let ewma = Ewma::new(EwmaConfig::default()).unwrap();
    suite(AdaptiveThreshold::new(ewma, TailThresholdConfig::default()).unwrap()).run();
}

// What is shown lasts for hours, not weeks, and nothing goes back and forth in it; how these two explain is tested
// beside them.

#[test]
fn flapping() {
    let kernel = Flapping::new(FlappingConfig::default()).unwrap();
    watch(Selector::all(), kernel).explains().run();
}

// One metric for the two whose state is large: each of some hundred hostile snapshots is that of every series. What the
// kernels alone make of hostile states is asked in `kernels.rs`.

#[test]
fn seasonality() {
    let kernel = Seasonality::new(SeasonalityConfig::default()).unwrap();
    watch(Selector::metric("error_ratio"), kernel)
        .explains()
        .run();
}

#[test]
fn online() {
    let kernel = OnlineDetector::new(OnlineConfig::default()).unwrap();
    watch(Selector::metric("error_ratio"), kernel)
        .finds_something()
        .explains()
        .raises_anew()
        .run();
}

#[test]
fn rate_of_change() {
    for (limit, side) in [
        (Amount::Relative(0.3), Side::Both),
        (Amount::Absolute(5.0), Side::Low),
    ] {
        let config = RateOfChangeConfig {
            limit,
            side,
            max_samples: 3,
            ..RateOfChangeConfig::default()
        };
        suite(RateOfChange::new(config).unwrap()).run();
    }
}

#[test]
fn trend() {
    let config = TrendConfig {
        side: Side::Both,
        limit: Some(1e9),
        ..TrendConfig::default()
    };
    suite(Trend::new(config).unwrap()).run();
}

#[test]
fn time_to_breach() {
    // One metric: each series costs some hundred fits.
    Suite::new(|| {
        let kernel = TimeToBreach::new(TimeToBreachConfig::above(120.0)).unwrap();
        PerSeries::new("watch", Selector::metric("disk_usage_percent"), move |_| {
            kernel.clone()
        })
        .unwrap()
    })
    .finds_something()
    .run();
}

#[test]
fn few_places_for_many_series() {
    let kernel = Ewma::new(EwmaConfig::default()).unwrap();
    Suite::new(move || {
        let kernel = kernel.clone();
        PerSeries::new("watch", Selector::all(), move |_| kernel.clone())
            .unwrap()
            .with_max_series(5)
            .with_idle_after(Duration::from_secs(30))
    })
    .run();
}

#[test]
fn sustained_conditions() {
    for (condition, hold) in [
        ("disk_usage_percent > 85", 300),
        ("process_cpu_ratio > 0.5 and error_ratio > 10%", 60),
        (
            "error_ratio{service=\"orders\"} > 5% or up{service=\"database\"} < 0",
            0,
        ),
        ("not (process_resident_memory_bytes <= 1GB)", 120),
    ] {
        Suite::new(|| {
            let condition = Condition::parse(condition).unwrap();
            let config = SustainedConditionConfig {
                reraise: Some(Duration::from_secs(600)),
                ..SustainedConditionConfig::new(condition, Duration::from_secs(hold))
            };
            SustainedCondition::new("condition", config).unwrap()
        })
        .finds_something()
        .explains()
        .raises_anew()
        .run();
    }
}

#[test]
fn health() {
    Suite::new(|| {
        let config = HealthDetectorConfig {
            hold: Some(Duration::from_secs(20)),
            reraise: Some(Duration::from_secs(60)),
            ..HealthDetectorConfig::default()
        };
        HealthDetector::new("health", config).unwrap()
    })
    .finds_something()
    .explains()
    .raises_anew()
    .run();
}

#[test]
fn health_state() {
    Suite::new(|| {
        let config = HealthStateDetectorConfig {
            reraise: Some(Duration::from_secs(60)),
            ..HealthStateDetectorConfig::default()
        };
        HealthStateDetector::new("health", config).unwrap()
    })
    .finds_something()
    .explains()
    .raises_anew()
    .run();
}

#[test]
fn a_composite_of_kernels() {
    Suite::new(|| {
        let make = |_: &_| {
            let ewma = Ewma::new(EwmaConfig::default()).unwrap();
            let rate = RateOfChange::new(RateOfChangeConfig::default()).unwrap();
            CompositeKernel::new(CompositeWeights::default())
                .with("ewma", DetectorFamily::Statistical, ewma)
                .with("rate", DetectorFamily::Pattern, rate)
                .checked()
                .unwrap()
        };
        PerSeries::new("watch", Selector::all(), make)
            .unwrap()
            .with_alerting(at_once())
    })
    .finds_something()
    .explains()
    .run();
}

#[test]
fn a_composite_of_detectors() {
    Suite::new(|| {
        let alerting = || {
            Alerting::new(AlertingConfig {
                threshold: Score::saturating(0.2),
                clear: Score::saturating(0.1),
                sustain_samples: 1,
                reraise: Some(Duration::from_secs(30)),
                ..AlertingConfig::default()
            })
            .unwrap()
        };
        let ewma = Ewma::new(EwmaConfig::default()).unwrap();
        let ewma = PerSeries::new("ewma", Selector::all(), move |_| ewma.clone()).unwrap();
        let rate = RateOfChange::new(RateOfChangeConfig::default()).unwrap();
        let rate = PerSeries::new("rate", Selector::all(), move |_| rate.clone()).unwrap();
        Composite::new("composite", CompositeConfig::default())
            .unwrap()
            .with(DetectorFamily::Statistical, ewma.with_alerting(alerting()))
            .with(DetectorFamily::Pattern, rate.with_alerting(alerting()))
    })
    .finds_something()
    .explains()
    .run();
}

#[test]
fn log_templates() {
    // Of three services, so that one finds no place.
    for max_templates in [2, 10_000] {
        Suite::new(|| {
            let config = LogTemplatesConfig {
                // Bursts of ten are nothing new in what is shown.
                surprise: 5.0,
                max_templates,
                ..LogTemplatesConfig::default()
            };
            LogTemplates::new("log_templates", config).unwrap()
        })
        .finds_something()
        .explains()
        .raises_anew()
        .run();
    }
}

#[test]
fn log_error_rate() {
    Suite::new(|| {
        let config = LogErrorRateConfig {
            surprise: 5.0,
            ..LogErrorRateConfig::default()
        };
        LogErrorRate::new("log_errors", config).unwrap()
    })
    .finds_something()
    .explains()
    .raises_anew()
    .run();
}

/// A kernel of a third party: it knows core only, keeps no state, and breaks the range of surprise.
#[derive(Debug, Clone)]
struct Negative;

impl SeriesDetector for Negative {
    fn update(&mut self, _: Timestamp, value: Option<f64>) -> KernelScore {
        let expected = Expectation::Words("0 or more".to_owned());
        match value {
            Some(value) if value < 0.0 => KernelScore {
                score: Score::ONE,
                surprise: f64::INFINITY,
                direction: Direction::Low,
                expected,
            },
            _ => KernelScore::normal(expected),
        }
    }
}

#[test]
fn a_kernel_of_a_third_party() {
    suite(Negative).run();
}

#[test]
fn correlated_failures() {
    Suite::new(|| {
        let config = CorrelatedFailuresConfig {
            window: Duration::from_secs(600),
            min_correlation: 0.1,
            min_series: 2,
            limit: 1.0,
            ..CorrelatedFailuresConfig::default()
        };
        let ewma = Ewma::new(EwmaConfig::default()).unwrap();
        let ewma = PerSeries::new("ewma", Selector::all(), move |_| ewma.clone()).unwrap();
        CorrelatedFailures::new("together", config)
            .unwrap()
            .with(ewma)
    })
    // Samples that arrive together with an anomaly are known to it.
    .depends_on_batches()
    .finds_something()
    .explains()
    .run();
}

#[test]
fn versions_of_a_model_and_adaptive_thresholds() {
    Suite::new(|| {
        let rule = PromotionRule {
            train_for: Duration::from_secs(600),
            evaluate_for: Duration::from_secs(1200),
            ..PromotionRule::default()
        };
        let retrain = RetrainSchedule {
            every: Duration::from_secs(1800),
            off_peak: OffPeak {
                from: Duration::ZERO,
                to: Duration::ZERO,
                utc_offset_minutes: 0,
            },
        };
        let config = ModelVersionsConfig {
            rule,
            retrain: Some(retrain),
            ..ModelVersionsConfig::default()
        };
        ModelVersions::new(config, || {
            let make = |_: &_| {
                let ewma = Ewma::new(EwmaConfig::default()).unwrap();
                AdaptiveThreshold::new(ewma, TailThresholdConfig::default()).unwrap()
            };
            PerSeries::new("watch", Selector::all(), make).unwrap()
        })
        .unwrap()
    })
    // Models are trained and promoted between batches.
    .depends_on_batches()
    .finds_something()
    .explains()
    .run();
}
