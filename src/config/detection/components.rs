//! Components judged by several series together.

use std::time::Duration;

use homeostasis_core::ConfigError;
use homeostasis_core::document::{
    Fields, any_duration, list, map_of, non_empty_string, one_of, string,
};
use homeostasis_core::record::Severity;
use homeostasis_core::signal::Labels;
use homeostasis_core::stage::{Detector, RowDetector};
use homeostasis_detect::{
    Alerting, AlertingConfig, Autoencoder, AutoencoderConfig, IsolationForest,
    IsolationForestConfig, PcaResidual, PcaResidualConfig, PerComponent, PerComponentConfig,
    Selector,
};

use super::decode::{alerting, count, read, severity, size};
use super::renamed;

const MODELS: &[(&str, RowModel)] = &[
    ("pca_residual", RowModel::PcaResidual),
    ("isolation_forest", RowModel::IsolationForest),
    ("autoencoder", RowModel::Autoencoder),
];

/// What judges the rows of components, each as it is furnished.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum RowModel {
    /// `PcaResidual`: series that no longer move together; the default.
    #[default]
    PcaResidual,
    /// `IsolationForest`: rows that stand alone.
    IsolationForest,
    /// `Autoencoder`: bent relations that break.
    Autoencoder,
}

/// Components whose series are judged together, row by row.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ComponentWatch {
    /// The name of the detector: unique.
    pub name: String,
    /// One feature of a row for each of these metrics.
    pub metrics: Vec<String>,
    /// Of series with all these labels.
    pub labels: Labels,
    /// What judges the rows.
    pub model: RowModel,
    /// How rows are made, and what is learnt when.
    pub rows: PerComponentConfig,
    /// When scores are an alarm. `reraise` is what the engine needs.
    pub alerting: AlertingConfig,
    /// How bad it is at least.
    pub severity: Option<Severity>,
}

impl ComponentWatch {
    /// A watch over `metrics`, furnished otherwise.
    pub fn new<S: Into<String>>(
        name: impl Into<String>,
        metrics: impl IntoIterator<Item = S>,
    ) -> Self {
        Self {
            name: name.into(),
            metrics: metrics.into_iter().map(Into::into).collect(),
            labels: Labels::default(),
            model: RowModel::default(),
            rows: PerComponentConfig::default(),
            alerting: AlertingConfig::default(),
            severity: None,
        }
    }

    pub(super) fn detector(&self, reraise: Duration) -> Result<Box<dyn Detector>, ConfigError> {
        match self.model {
            RowModel::PcaResidual => {
                self.judged_by(PcaResidual::new(PcaResidualConfig::default())?, reraise)
            }
            RowModel::IsolationForest => {
                let forest = IsolationForest::new(IsolationForestConfig::default())?;
                self.judged_by(forest, reraise)
            }
            RowModel::Autoencoder => {
                self.judged_by(Autoencoder::new(AutoencoderConfig::default())?, reraise)
            }
        }
    }

    fn judged_by<K: RowDetector + Clone + 'static>(
        &self,
        model: K,
        reraise: Duration,
    ) -> Result<Box<dyn Detector>, ConfigError> {
        let feature = |metric: &String| {
            let labels = self.labels.iter();
            labels.fold(Selector::metric(metric), |selector, (name, value)| {
                selector.with_label(name, value)
            })
        };
        let features = self.metrics.iter().map(feature);
        let alerting = Alerting::new(AlertingConfig {
            reraise: Some(reraise),
            ..self.alerting
        });
        let made = PerComponent::new(&*self.name, features, self.rows, move |_| model.clone())
            .map_err(|error| renamed(error, "per_component", ""));
        let mut found = homeostasis_core::Violations::new();
        let (alerting, made) = (found.absorb(alerting), found.absorb(made));
        let both = alerting.zip(made).map(|(alerting, made)| {
            let made = made.with_alerting(alerting);
            match self.severity {
                Some(severity) => made.with_severity(severity),
                None => made,
            }
        });
        match (both, found.into_error()) {
            (_, Some(error)) => Err(error),
            (Some(made), None) => Ok(Box::new(made)),
            (None, None) => Err(ConfigError::single("", "", "a component")),
        }
    }
}

pub(super) fn component(d: &mut Fields<'_>) -> Option<ComponentWatch> {
    read!(ComponentWatch {
        name: d.required("name", non_empty_string()),
        metrics: d.required("metrics", list(non_empty_string()).at_least(1).at_most(128)),
        labels: d.default("labels", map_of(string()), Labels::new()),
        model: d.default("model", one_of(MODELS), RowModel::default()),
        rows: rows(d),
        alerting: alerting(d, AlertingConfig::default()),
        severity: d.optional("severity", severity()),
    })
}

fn rows(d: &mut Fields<'_>) -> Option<PerComponentConfig> {
    let base = PerComponentConfig::default();
    read!(PerComponentConfig {
        step: d.default("step", any_duration(), base.step),
        carry: d.default("carry", count(), base.carry),
        window: d.default("window", any_duration(), base.window),
        retrain: d.default("retrain", any_duration(), base.retrain),
        min_rows: d.default("min_rows", size(), base.min_rows),
        pieces_per_row: d.default("pieces_per_row", count(), base.pieces_per_row),
        pieces_per_call: d.default("pieces_per_call", count(), base.pieces_per_call),
        max_components: d.default("max_components", size(), base.max_components),
        idle_after: d.default("idle_after", any_duration(), base.idle_after),
        max_ahead: d.default("max_ahead", any_duration(), base.max_ahead),
    })
}
