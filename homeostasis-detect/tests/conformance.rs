//! Every detector of this crate keeps the contract of detectors.

use std::time::Duration;

use homeostasis::core::condition::Condition;
use homeostasis::core::record::Direction;
use homeostasis::core::record::Expectation;
use homeostasis::core::stage::{KernelScore, SeriesDetector};
use homeostasis::core::testing::detector::Suite;
use homeostasis::core::{Score, Timestamp};
use homeostasis::detect::{
    Alerting, AlertingConfig, Amount, Ewma, EwmaConfig, Forecaster, ForecasterConfig,
    HealthDetector, HealthDetectorConfig, HealthStateDetector, HealthStateDetectorConfig,
    MovingAverage, MovingAverageConfig, PerSeries, RateOfChange, RateOfChangeConfig, Selector,
    Side, SustainedCondition, SustainedConditionConfig, TimeToBreach, TimeToBreachConfig, Trend,
    TrendConfig,
};

fn suite<K: SeriesDetector + Clone + 'static>(kernel: K) -> Suite<impl Fn() -> PerSeries<K>> {
    Suite::new(move || {
        let kernel = kernel.clone();
        let alerting = AlertingConfig {
            sustain_samples: 1,
            reraise: Some(Duration::from_secs(120)),
            ..AlertingConfig::default()
        };
        PerSeries::new("watch", Selector::all(), move |_| kernel.clone())
            .expect("a configuration in range")
            .with_alerting(Alerting::new(alerting).expect("a configuration in range"))
    })
    .finds_something()
}

#[test]
fn ewma() {
    suite(Ewma::new(EwmaConfig::default()).unwrap()).run();
}

#[test]
fn moving_average() {
    suite(MovingAverage::new(MovingAverageConfig::default()).unwrap()).run();
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
fn forecaster() {
    suite(Forecaster::new(ForecasterConfig::default()).unwrap()).run();
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
