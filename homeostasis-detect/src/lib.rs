#![doc = include_str!("../README.md")]

mod check;
mod composite;
mod condition;
mod correlation;
mod duration_text;
mod forecast;
mod hash;
mod health;
mod log;
mod members;
mod online;
mod parts;
mod pattern;
mod prose;
mod recent;
mod row;
mod scale;
mod season;
mod series;
mod shift;
mod side;
mod stat;
mod state;
mod trace;
mod versions;
mod window;

pub use composite::{
    Composite, CompositeConfig, CompositeKernel, CompositeLevel, CompositePart, CompositeScore,
    CompositeWeights, CompositeWeightsConfig, DetectorFamily,
};
pub use condition::{SustainedCondition, SustainedConditionConfig};
pub use correlation::{
    CorrelatedFailures, CorrelatedFailuresConfig, LaggedCorrelation, dbscan,
    lagged_rank_correlation,
};
pub use forecast::{
    Arima, ArimaOrders, Breach, ForecastModel, Forecaster, ForecasterConfig, Growth, Prediction,
    Season, Smoothing, SmoothingShape, SmoothingWeights, TimeToBreach, TimeToBreachConfig,
};
pub use health::{
    HealthAction, HealthDetector, HealthDetectorConfig, HealthJudgement, HealthMatrix,
    HealthMatrixConfig, HealthStateDetector, HealthStateDetectorConfig, HealthTally,
    HealthTransitions, TierTally,
};
pub use log::{LogErrorRate, LogErrorRateConfig, LogTemplates, LogTemplatesConfig};
pub use online::{OnlineConfig, OnlineDetector, OnlineJudgement, Statistic};
pub use pattern::{Discord, RateOfChange, RateOfChangeConfig, Trend, TrendConfig, discords};
pub use row::{
    Autoencoder, AutoencoderConfig, ComponentCounts, IsolationForest, IsolationForestConfig,
    PcaResidual, PcaResidualConfig, PerComponent, PerComponentConfig,
};
#[cfg(feature = "ml")]
pub use row::{GaussianMixture, GaussianMixtureConfig, density_groups};
pub use season::{
    Period, PeriodFinder, PeriodFinderConfig, Seasonality, SeasonalityConfig, find_periods,
};
pub use series::{
    AlertState, Alerting, AlertingConfig, PerSeries, Selector, SeriesCounts, Transition,
};
pub use shift::{
    Adwin, AdwinConfig, BayesianChangePoint, BayesianChangePointConfig, Cusum, CusumConfig,
    EDetector, EDetectorConfig, Flapping, FlappingConfig, LevelShift, LevelShiftConfig,
    PageHinkley, PageHinkleyConfig,
};
pub use side::{Amount, Side};
pub use stat::{
    Ewma, EwmaConfig, Iqr, IqrConfig, Mad, MadConfig, MovingAverage, MovingAverageConfig,
};
pub use trace::{
    OperationCalls, OperationCallsConfig, OperationCounts, OperationFailures,
    OperationFailuresConfig, OperationFinding, OperationKernel, OperationLatency,
    OperationLatencyConfig, OperationScore, PerOperation, PerOperationConfig, QuantileSketch,
};
pub use versions::{
    AdaptiveThreshold, Feedback, ModelEvent, ModelEventKind, ModelStatus, ModelVersion,
    ModelVersions, ModelVersionsConfig, ModelVersionsHandle, OffPeak, PromotionRule,
    RetrainSchedule, ShadowComparison, TailThreshold, TailThresholdConfig,
};

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
        check::<(Iqr, IqrConfig, Mad, MadConfig, Cusum, CusumConfig)>();
        check::<(PageHinkley, PageHinkleyConfig, Adwin, AdwinConfig)>();
        check::<(BayesianChangePoint, BayesianChangePointConfig)>();
        check::<(Seasonality, SeasonalityConfig, Period, PeriodFinder)>();
        check::<(PeriodFinderConfig, Discord)>();
        check::<(EDetector, EDetectorConfig)>();
        check::<(LevelShift, LevelShiftConfig, Flapping, FlappingConfig)>();
        check::<(OnlineConfig, OnlineDetector, OnlineJudgement)>();
        check::<(Alerting, AlertingConfig, AlertState, Selector)>();
        check::<(SustainedCondition, SustainedConditionConfig)>();
        check::<(HealthDetector, HealthDetectorConfig)>();
        check::<(HealthStateDetector, HealthStateDetectorConfig)>();
        check::<(LogTemplates, LogTemplatesConfig)>();
        check::<(LogErrorRate, LogErrorRateConfig)>();
        check::<(HealthMatrix, HealthTally, HealthTransitions)>();
        check::<(OperationLatency, OperationFailures, OperationCalls)>();
        can_move::<(Composite, CompositeKernel, CorrelatedFailures)>();
        can_move::<ModelVersions<PerSeries<AdaptiveThreshold<Ewma>>>>();
        check::<(ModelVersionsHandle, ModelStatus, ModelVersionsConfig)>();
        can_move::<PerSeries<Box<dyn homeostasis_core::stage::SeriesDetector>>>();
        check::<(IsolationForest, PcaResidual, Autoencoder)>();
        can_move::<PerComponent<Box<dyn homeostasis_core::stage::RowDetector>>>();
        check::<(Forecaster, ForecasterConfig, ForecastModel, Prediction)>();
        check::<(TimeToBreach, TimeToBreachConfig, Breach, Arima, Smoothing)>();
    }
}
