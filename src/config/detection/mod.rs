//! The section `detect`: which detectors watch, and how.

mod components;
mod decode;

use std::collections::BTreeSet;
use std::time::Duration;

use homeostasis_core::record::Severity;
use homeostasis_core::signal::Labels;
use homeostasis_core::stage::{Detector, SeriesDetector};
use homeostasis_core::{ConfigError, Target, Violation, Violations};
use homeostasis_detect::{
    Alerting, AlertingConfig, Forecaster, ForecasterConfig, LogErrorRate, LogErrorRateConfig,
    LogTemplates, LogTemplatesConfig, OnlineConfig, OnlineDetector, OperationCalls,
    OperationCallsConfig, OperationFailures, OperationFailuresConfig, OperationKernel,
    OperationLatency, OperationLatencyConfig, PerOperation, PerOperationConfig, PerSeries,
    Selector, TimeToBreach, TimeToBreachConfig,
};

pub use components::{ComponentWatch, RowModel};
pub(super) use decode::{detection, readable};

/// More threads than this bring nothing to one detector.
const MOST_SHARDS: usize = 8;

/// Which detectors a configuration turns on: the section `detect`.
///
/// All are off until they are named; `true` turns one on as it is furnished, a mapping says how.
/// What lasts is raised again as often as the engine needs it.
///
/// ```
/// use homeostasis::Config;
/// let config = Config::parse(r"
/// detect:
///   log_templates: { new_from: error }
///   log_errors: true
///   operations: { latency: true, failures: { min_failures: 10 } }
///   watch_series:
///     - { name: latency, metrics: [http_request_seconds], labels: { service: shop } }
///   time_to_breach:
///     - { name: disk_will_fill, metrics: [disk_used_percent], above: 90, severity: sev3 }
/// ")?;
/// assert_eq!(config.detection.time_to_breach[0].config.limit, 90.0);
///
/// let wrong = Config::parse("detect: { log_errors: { factor: 0 }, log_template: true }").unwrap_err();
/// assert_eq!(wrong.violations()[0].to_string(),
///     "line 1:33: detect.log_errors.factor = 0, expected 1 to 1000000");
/// assert!(wrong.to_string().contains("did you mean `log_templates`?"));
/// # Ok::<(), homeostasis::core::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct DetectionConfig {
    /// New, vanished and bursting kinds of log messages; the detector is called `log_templates`.
    pub log_templates: Option<LogTemplatesConfig>,
    /// More errors of a component than usual; the detector is called `log_errors`.
    pub log_errors: Option<LogErrorRateConfig>,
    /// What is watched in traces.
    pub operations: OperationWatch,
    /// Series watched with the furnished detector, which needs no threshold.
    pub watch_series: Vec<SeriesWatch<OnlineConfig>>,
    /// Limits that shall not be reached.
    pub time_to_breach: Vec<SeriesWatch<TimeToBreachConfig>>,
    /// Series compared with what was forecast.
    pub forecasts: Vec<SeriesWatch<ForecasterConfig>>,
    /// Components judged by several series together.
    pub components: Vec<ComponentWatch>,
}

/// What is watched in the spans of operations.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct OperationWatch {
    /// How time is cut and when it alarms, for all three.
    pub windows: PerOperationConfig,
    /// Slow operations; the detector is called `operation_latency`.
    pub latency: Option<OperationLatencyConfig>,
    /// Failing operations; the detector is called `operation_failures`.
    pub failures: Option<OperationFailuresConfig>,
    /// New, missing and repeated calls; the detector is called `operation_calls`.
    pub calls: Option<OperationCallsConfig>,
}

/// Series that a detector watches one by one.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct SeriesWatch<C> {
    /// The name of the detector: unique.
    pub name: String,
    /// Series of any of these metrics.
    pub metrics: Vec<String>,
    /// And with all these labels.
    pub labels: Labels,
    /// How each of them is judged.
    pub config: C,
    /// When scores are an alarm. `reraise` is what the engine needs.
    pub alerting: AlertingConfig,
    /// How many series are watched at most; default 10 000.
    pub max_series: usize,
    /// Whose series that name no service are; default nobody's: they are ignored.
    pub default_target: Option<Target>,
    /// How bad it is at least.
    pub severity: Option<Severity>,
    /// The playbook that asks for it.
    pub playbook: Option<String>,
}

impl<C> SeriesWatch<C> {
    /// A watch over `metrics`, furnished otherwise.
    pub fn new<S: Into<String>>(
        name: impl Into<String>,
        metrics: impl IntoIterator<Item = S>,
        config: C,
    ) -> Self {
        Self {
            name: name.into(),
            metrics: metrics.into_iter().map(Into::into).collect(),
            labels: Labels::default(),
            config,
            alerting: AlertingConfig::default(),
            max_series: 10_000,
            default_target: None,
            severity: None,
            playbook: None,
        }
    }

    fn selector(&self) -> Selector {
        let labels = self.labels.iter();
        labels.fold(
            Selector::metrics(&self.metrics),
            |selector, (name, value)| selector.with_label(name, value),
        )
    }

    /// The detector, where `own` is what the kernel's configuration calls itself.
    fn detector<K: SeriesDetector + Clone + 'static>(
        &self,
        make: impl Fn(C) -> Result<K, ConfigError>,
        own: &str,
        reraise: Duration,
    ) -> Result<Box<dyn Detector>, Violations>
    where
        C: Clone,
    {
        let mut found = Violations::new();
        let kernel = make(self.config.clone()).map_err(|error| renamed(error, own, ""));
        let kernel = found.absorb(kernel);
        let alerting = found.absorb(Alerting::new(AlertingConfig {
            reraise: Some(reraise),
            ..self.alerting
        }));
        let (Some(kernel), Some(alerting)) = (kernel, alerting) else {
            return Err(found);
        };
        let selector = self.selector();
        let made = PerSeries::new(&*self.name, selector, move |_| kernel.clone());
        let made = made.map_err(|error| renamed(error, "per_series", ""));
        let Some(mut made) = found.absorb(made) else {
            return Err(found);
        };
        made = made
            .with_alerting(alerting)
            .with_max_series(self.max_series)
            .with_shards(n_shards());
        if let Some(target) = &self.default_target {
            made = made.with_default_target(target.clone());
        }
        if let Some(severity) = self.severity {
            made = made.with_severity(severity);
        }
        if let Some(playbook) = &self.playbook {
            made = made.with_playbook(playbook);
        }
        Ok(Box::new(made))
    }
}

/// On how many threads one detector's series are judged.
pub(crate) fn n_shards() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    cores.min(MOST_SHARDS)
}

/// The violations of a part that calls itself `own`, under the name it has here.
fn renamed(error: ConfigError, own: &str, path: &str) -> ConfigError {
    let mut found = Violations::new();
    for violation in error.violations() {
        let mut renamed = violation.clone();
        if let Some(rest) = violation.path.strip_prefix(own) {
            rest.trim_start_matches('.').clone_into(&mut renamed.path);
        }
        found.push(renamed.under(path));
    }
    found.into_error().unwrap_or(error)
}

impl DetectionConfig {
    /// The detectors, and what is wrong with those that cannot be made, below `detect`.
    pub(crate) fn detectors(
        &self,
        reraise: Duration,
        violations: &mut Violations,
    ) -> Vec<Box<dyn Detector>> {
        let mut made: Vec<Box<dyn Detector>> = Vec::new();
        let mut found = Violations::new();
        if let Some(config) = &self.log_templates {
            let config = LogTemplatesConfig {
                reraise: Some(reraise),
                ..config.clone()
            };
            let detector = found.absorb(LogTemplates::new("log_templates", config));
            made.extend(detector.map(|it| Box::new(it) as Box<dyn Detector>));
        }
        if let Some(config) = &self.log_errors {
            let config = LogErrorRateConfig {
                reraise: Some(reraise),
                ..config.clone()
            };
            let detector = LogErrorRate::new("log_errors", config)
                .map_err(|error| renamed(error, "log_error_rate", "log_errors"));
            let detector = found.absorb(detector);
            made.extend(detector.map(|it| Box::new(it) as Box<dyn Detector>));
        }
        self.operations.detectors(reraise, &mut found, &mut made);
        per_series(
            (&self.watch_series, "watch_series", "online"),
            OnlineDetector::new,
            reraise,
            (&mut found, &mut made),
        );
        per_series(
            (&self.time_to_breach, "time_to_breach", "time_to_breach"),
            TimeToBreach::new,
            reraise,
            (&mut found, &mut made),
        );
        per_series(
            (&self.forecasts, "forecasts", "forecaster"),
            Forecaster::new,
            reraise,
            (&mut found, &mut made),
        );
        for (i, watch) in self.components.iter().enumerate() {
            let detector = watch.detector(reraise);
            let place = format!("components[{i}]");
            made.extend(found.absorb(detector.map_err(|error| error.under(&place))));
        }
        self.names_differ(&mut found);
        for violation in &found {
            let violation = violation.clone().under("detect");
            // What several detectors share is said once.
            if violations.iter().all(|other| *other != violation) {
                violations.push(violation);
            }
        }
        made
    }

    /// The playbooks that are asked for, each with its place.
    #[cfg(feature = "remediate")]
    pub(crate) fn playbooks(&self) -> Vec<(String, &str)> {
        fn asked<'a, C>(
            list: &'a [SeriesWatch<C>],
            section: &'a str,
        ) -> impl Iterator<Item = (String, Option<&'a String>)> {
            let place = move |(i, watch): (usize, &'a SeriesWatch<C>)| {
                (format!("{section}[{i}]"), watch.playbook.as_ref())
            };
            list.iter().enumerate().map(place)
        }
        let templates = self.log_templates.as_ref();
        let errors = self.log_errors.as_ref();
        let single = [
            ("log_templates", templates.map(|it| &it.playbook_hint)),
            ("log_errors", errors.map(|it| &it.playbook_hint)),
            ("operations", Some(&self.operations.windows.playbook_hint)),
        ];
        let single =
            single.map(|(section, hint)| (section.to_owned(), hint.and_then(Option::as_ref)));
        single
            .into_iter()
            .chain(asked(&self.watch_series, "watch_series"))
            .chain(asked(&self.time_to_breach, "time_to_breach"))
            .chain(asked(&self.forecasts, "forecasts"))
            .filter_map(|(section, hint)| {
                Some((format!("detect.{section}.playbook"), hint?.as_str()))
            })
            .collect()
    }

    fn names_differ(&self, found: &mut Violations) {
        fn named<'a, W>(
            list: &'a [W],
            section: &'a str,
            name: fn(&W) -> &str,
        ) -> impl Iterator<Item = (String, &'a str)> {
            let place = move |(i, watch)| (format!("{section}[{i}].name"), name(watch));
            list.iter().enumerate().map(place)
        }
        let all = named(&self.watch_series, "watch_series", |it| &it.name)
            .chain(named(&self.time_to_breach, "time_to_breach", |it| &it.name))
            .chain(named(&self.forecasts, "forecasts", |it| &it.name))
            .chain(named(&self.components, "components", |it| &it.name));
        let mut seen = BTreeSet::new();
        for (path, name) in all {
            if !seen.insert(name) {
                found.push(Violation::new(
                    path,
                    name,
                    "a name that no other detector has",
                ));
            }
        }
    }
}

impl OperationWatch {
    fn detectors(
        &self,
        reraise: Duration,
        found: &mut Violations,
        made: &mut Vec<Box<dyn Detector>>,
    ) {
        let mut windows = self.windows.clone();
        windows.alerting.reraise = Some(reraise);
        let all = [
            operation(
                (
                    "operation_latency",
                    "operations.latency",
                    self.latency.as_ref(),
                ),
                &windows,
                OperationLatency::new,
            ),
            operation(
                (
                    "operation_failures",
                    "operations.failures",
                    self.failures.as_ref(),
                ),
                &windows,
                OperationFailures::new,
            ),
            operation(
                ("operation_calls", "operations.calls", self.calls.as_ref()),
                &windows,
                OperationCalls::new,
            ),
        ];
        for detector in all {
            made.extend(found.absorb(detector).flatten());
        }
    }
}

/// The detector of one kernel, if that is turned on.
fn operation<C: Clone, K: OperationKernel + Clone + 'static>(
    (name, section, config): (&str, &str, Option<&C>),
    windows: &PerOperationConfig,
    make: impl Fn(C) -> Result<K, ConfigError>,
) -> Result<Option<Box<dyn Detector>>, ConfigError> {
    let Some(config) = config.cloned() else {
        return Ok(None);
    };
    let kernel = make(config).map_err(|error| renamed(error, name, section))?;
    let detector = PerOperation::new(name, windows.clone(), move || kernel.clone());
    Ok(Some(Box::new(detector.map_err(|error| {
        renamed(error, "per_operation", "operations")
    })?)))
}

/// The detectors of one list, where violations have the place in it.
fn per_series<C: Clone, K: SeriesDetector + Clone + 'static>(
    (list, section, own): (&[SeriesWatch<C>], &str, &str),
    make: impl Fn(C) -> Result<K, ConfigError>,
    reraise: Duration,
    (found, made): (&mut Violations, &mut Vec<Box<dyn Detector>>),
) {
    for (i, watch) in list.iter().enumerate() {
        match watch.detector(&make, own, reraise) {
            Ok(detector) => made.push(detector),
            Err(wrong) => {
                let place = format!("{section}[{i}]");
                found.merge(
                    wrong
                        .iter()
                        .map(|violation| violation.clone().under(&place)),
                );
            }
        }
    }
}
