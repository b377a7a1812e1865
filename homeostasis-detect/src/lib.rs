#![doc = include_str!("../README.md")]

mod check;
mod condition;
mod duration_text;
mod health;
mod pattern;
mod prose;
mod recent;
mod row;
mod scale;
mod series;
mod side;
mod stat;
mod state;

pub use condition::{SustainedCondition, SustainedConditionConfig};
pub use health::{
    HealthAction, HealthDetector, HealthDetectorConfig, HealthJudgement, HealthMatrix,
    HealthMatrixConfig, HealthStateDetector, HealthStateDetectorConfig, HealthTally,
    HealthTransitions, TierTally,
};
pub use pattern::{RateOfChange, RateOfChangeConfig, Trend, TrendConfig};
pub use row::{
    Autoencoder, AutoencoderConfig, ComponentCounts, IsolationForest, IsolationForestConfig,
    PcaResidual, PcaResidualConfig, PerComponent, PerComponentConfig,
};
#[cfg(feature = "ml")]
pub use row::{GaussianMixture, GaussianMixtureConfig, density_groups};
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
        check::<(Alerting, AlertingConfig, AlertState, Selector)>();
        check::<(SustainedCondition, SustainedConditionConfig)>();
        check::<(HealthDetector, HealthDetectorConfig)>();
        check::<(HealthStateDetector, HealthStateDetectorConfig)>();
        check::<(HealthMatrix, HealthTally, HealthTransitions)>();
        check::<(IsolationForest, PcaResidual, Autoencoder)>();
        can_move::<PerComponent<Box<dyn homeostasis_core::stage::RowDetector>>>();
        can_move::<PerSeries<Box<dyn homeostasis_core::stage::SeriesDetector>>>();
    }
}
