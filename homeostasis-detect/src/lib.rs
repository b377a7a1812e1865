#![doc = include_str!("../README.md")]

mod check;
mod condition;
mod duration_text;
mod forecast;
mod health;
mod online;
mod pattern;
mod prose;
mod recent;
mod scale;
mod series;
mod side;
mod stat;
mod state;

pub use condition::{SustainedCondition, SustainedConditionConfig};
pub use forecast::{
    Arima, ArimaOrders, Breach, ForecastModel, Forecaster, ForecasterConfig, Growth, Prediction,
    Season, Smoothing, SmoothingShape, SmoothingWeights, TimeToBreach, TimeToBreachConfig,
};
pub use health::{
    HealthAction, HealthDetector, HealthDetectorConfig, HealthJudgement, HealthMatrix,
    HealthMatrixConfig, HealthStateDetector, HealthStateDetectorConfig, HealthTally,
    HealthTransitions, TierTally,
};
pub use online::{OnlineConfig, OnlineDetector, OnlineJudgement, Statistic};
pub use pattern::{RateOfChange, RateOfChangeConfig, Trend, TrendConfig};
pub use series::{
    AlertState, Alerting, AlertingConfig, PerSeries, Selector, SeriesCounts, Transition,
};
pub use side::{Amount, Side};
pub use stat::{Ewma, EwmaConfig, MovingAverage, MovingAverageConfig};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn public_types_cross_threads() {
        fn check<T: Send + Sync + 'static>() {}
        fn can_move<T: Send + 'static>() {}
        check::<(Ewma, MovingAverage, RateOfChange, Trend)>();
        check::<(
            EwmaConfig,
            MovingAverageConfig,
            RateOfChangeConfig,
            TrendConfig,
        )>();
        check::<(OnlineConfig, OnlineDetector, OnlineJudgement)>();
        check::<(Alerting, AlertingConfig, AlertState, Selector)>();
        check::<(SustainedCondition, SustainedConditionConfig)>();
        check::<(HealthDetector, HealthDetectorConfig)>();
        check::<(HealthStateDetector, HealthStateDetectorConfig)>();
        check::<(HealthMatrix, HealthTally, HealthTransitions)>();
        check::<(Forecaster, ForecasterConfig, ForecastModel, Prediction)>();
        check::<(TimeToBreach, TimeToBreachConfig, Breach, Arima, Smoothing)>();
        can_move::<PerSeries<Box<dyn homeostasis_core::stage::SeriesDetector>>>();
    }
}
