//! Every kernel of this crate keeps the contract of kernels: one line each.

use std::time::Duration;

use homeostasis::core::Timestamp;
use homeostasis::core::stage::SeriesDetector;
use homeostasis::core::testing::kernel::{KernelSample, Suite};
use homeostasis::detect::*;
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
        ..ProptestConfig::with_cases(64)
    };
    proptest!(config, |(samples in samples(), cut in 0_usize..120)| {
        suite.holds_for(&samples, cut);
    });
}

/// One line per kernel: its name, a configuration, and what the suite is told of it.
macro_rules! kernels {
    ($($name:ident: $make:expr $(, $told:ident ( $($argument:expr),* ))* ;)*) => {$(
        mod $name {
            use super::*;

            fn suite() -> Suite<impl Fn() -> Box<dyn SeriesDetector>> {
                Suite::new(|| -> Box<dyn SeriesDetector> { Box::new($make.unwrap()) }).finds_something()
                    $(.$told($($argument),*))*
            }

            #[test]
            fn keeps_the_contract() {
                suite().run();
            }

            #[test]
            fn goes_on_to_the_bit_whatever_the_samples_and_wherever_it_is_stored() {
                any_samples(&suite());
            }
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
    trend: Trend::new(TrendConfig { window: Duration::from_secs(3600), ..TrendConfig::default() });
    forecaster: Forecaster::new(ForecasterConfig { history: 256, ..ForecasterConfig::default() });
    forecaster_of_one_side: Forecaster::new(ForecasterConfig { history: 64, side: Side::High, ..ForecasterConfig::default() });
    time_to_breach: TimeToBreach::new(TimeToBreachConfig::above(160.0)), constants(&[0.0, 5.0, -3.3, 5e-324, 1e-310, -1e300]);
    time_to_breach_downwards: TimeToBreach::new(TimeToBreachConfig::below(40.0)), constants(&[50.0, 1e3, 1e300]);
}
