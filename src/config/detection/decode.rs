//! The shape of the section `detect`, field by field.

use std::collections::BTreeMap;

use homeostasis_core::Target;
use homeostasis_core::document::{
    self, Fields, Node, Shape, Value, any_duration, boolean, float, integer, list, map_of, nested,
    non_empty_string, one_of, parsed, ratio, string,
};
use homeostasis_core::record::Severity;
use homeostasis_core::signal::Level;
use homeostasis_core::{Ratio, Score, Violations};
use homeostasis_detect::{
    AlertingConfig, ForecasterConfig, LogErrorRateConfig, LogTemplatesConfig, OnlineConfig,
    OperationCallsConfig, OperationFailuresConfig, OperationLatencyConfig, PerOperationConfig,
    Side, TimeToBreachConfig,
};

use super::components::component;
use super::{DetectionConfig, OperationWatch, SeriesWatch};
use crate::config::decode::SEVERITIES;

const SIDES: &[(&str, Side)] = &[
    ("both", Side::Both),
    ("high", Side::High),
    ("low", Side::Low),
];

/// The config of these fields, every one of which is read before the first that is wrong ends it: all that is wrong is
/// told at once. Nothing is named in two places that could differ.
macro_rules! read {
    ($config:ident { $($field:ident: $value:expr),+ $(, ..$base:expr)? $(,)? }) => {{
        $(let $field = $value;)+
        Some($config { $($field: $field?,)+ $(..$base)? })
    }};
}
pub(super) use read;

/// The section `detect`.
pub(in crate::config) fn detection(d: &mut Fields<'_>) -> Option<DetectionConfig> {
    read!(DetectionConfig {
        log_templates: switch(
            d,
            "log_templates",
            log_templates,
            LogTemplatesConfig::default
        ),
        log_errors: switch(d, "log_errors", log_errors, LogErrorRateConfig::default),
        operations: d.default("operations", nested(operations), OperationWatch::default()),
        watch_series: d.default("watch_series", list(nested(watch_series)), Vec::new()),
        time_to_breach: d.default("time_to_breach", list(nested(time_to_breach)), Vec::new()),
        forecasts: d.default("forecasts", list(nested(forecast)), Vec::new()),
        components: d.default("components", list(nested(component)), Vec::new()),
    })
}

/// The parts of the section that can be read, where others cannot.
pub(in crate::config) fn readable(section: &Node) -> DetectionConfig {
    fn part<S: Shape>(section: &Node, name: &str, shape: S) -> Option<S::Output> {
        document::decode(section.as_mapping()?.get(name)?, shape).ok()
    }
    let templates = Switch(log_templates, LogTemplatesConfig::default);
    let errors = Switch(log_errors, LogErrorRateConfig::default);
    let series = list(nested(watch_series));
    let breaches = list(nested(time_to_breach));
    DetectionConfig {
        log_templates: part(section, "log_templates", templates).flatten(),
        log_errors: part(section, "log_errors", errors).flatten(),
        operations: part(section, "operations", nested(operations)).unwrap_or_default(),
        watch_series: part(section, "watch_series", series).unwrap_or_default(),
        time_to_breach: part(section, "time_to_breach", breaches).unwrap_or_default(),
        forecasts: part(section, "forecasts", list(nested(forecast))).unwrap_or_default(),
        components: part(section, "components", list(nested(component))).unwrap_or_default(),
    }
}

/// `true` for what is furnished, `false` or nothing for off, or a mapping that says how.
struct Switch<F, D>(F, D);

impl<T, F, D> Shape for Switch<F, D>
where
    F: Fn(&mut Fields<'_>) -> Option<T>,
    D: Fn() -> T,
{
    type Output = Option<T>;

    fn read(&self, node: &Node, path: &str, violations: &mut Violations) -> Option<Option<T>> {
        match node.value() {
            Value::Bool(is_on) => Some(is_on.then(&self.1)),
            Value::Mapping(_) => nested(&self.0).read(node, path, violations).map(Some),
            _ => {
                violations.push(node.violation(path, self.expected()));
                None
            }
        }
    }

    fn expected(&self) -> String {
        "true, false, or a mapping of its fields".to_owned()
    }
}

#[expect(
    clippy::option_option,
    reason = "as in `Fields::optional`, the outer one is for what was wrong"
)]
fn switch<'a, T>(
    d: &mut Fields<'a>,
    name: &'a str,
    read: fn(&mut Fields<'_>) -> Option<T>,
    furnished: fn() -> T,
) -> Option<Option<T>> {
    let is_blank = |node: &Node| matches!(node.value(), Value::Null);
    if d.peek(name).is_some_and(is_blank) {
        // A name with nothing behind it may mean on or off.
        d.ignore(name);
        d.reject(name, Switch(read, furnished).expected());
        return None;
    }
    d.default(name, Switch(read, furnished), None)
}

fn log_templates(d: &mut Fields<'_>) -> Option<LogTemplatesConfig> {
    let base = LogTemplatesConfig::default();
    read!(LogTemplatesConfig {
        new: d.default("new", boolean(), base.new),
        new_from: d.default("new_from", level(), base.new_from),
        learning: d.default("learning", any_duration(), base.learning),
        new_share: d.default("new_share", ratio(0.0..=1.0), base.new_share),
        vanished: d.default("vanished", boolean(), base.vanished),
        bursting: d.default("bursting", boolean(), base.bursting),
        window: d.default("window", any_duration(), base.window),
        history: d.default("history", count(), base.history),
        min_windows: d.default("min_windows", count(), base.min_windows),
        min_count: d.default("min_count", count(), base.min_count),
        factor: d.default("factor", number(), base.factor),
        surprise: d.default("surprise", number(), base.surprise),
        lasting: d.default("lasting", any_duration(), base.lasting),
        forget_after: d.default("forget_after", any_duration(), base.forget_after),
        max_templates: d.default("max_templates", size(), base.max_templates),
        default_target: d.optional("default_target", target()),
        severity_hint: d.optional("severity", severity()),
        playbook_hint: d.optional("playbook", non_empty_string()),
        ..base
    })
}

fn log_errors(d: &mut Fields<'_>) -> Option<LogErrorRateConfig> {
    let base = LogErrorRateConfig::default();
    read!(LogErrorRateConfig {
        from: d.default("from", level(), base.from),
        window: d.default("window", any_duration(), base.window),
        history: d.default("history", count(), base.history),
        min_windows: d.default("min_windows", count(), base.min_windows),
        min_count: d.default("min_count", count(), base.min_count),
        factor: d.default("factor", number(), base.factor),
        surprise: d.default("surprise", number(), base.surprise),
        max_components: d.default("max_components", size(), base.max_components),
        default_target: d.optional("default_target", target()),
        severity_hint: d.optional("severity", severity()),
        playbook_hint: d.optional("playbook", non_empty_string()),
        ..base
    })
}

fn operations(d: &mut Fields<'_>) -> Option<OperationWatch> {
    let watch = read!(OperationWatch {
        latency: switch(d, "latency", latency, OperationLatencyConfig::default),
        failures: switch(d, "failures", failures, OperationFailuresConfig::default),
        calls: switch(d, "calls", calls, OperationCallsConfig::default),
        windows: windows(d),
    })?;
    if watch.latency.is_none() && watch.failures.is_none() && watch.calls.is_none() {
        d.reject_all("at least one of `latency`, `failures`, `calls` turned on");
        return None;
    }
    Some(watch)
}

fn windows(d: &mut Fields<'_>) -> Option<PerOperationConfig> {
    let base = PerOperationConfig::default();
    read!(PerOperationConfig {
        window: d.default("window", any_duration(), base.window),
        min_spans: d.default("min_spans", count(), base.min_spans),
        max_windows: d.default("max_windows", count(), base.max_windows),
        max_operations: d.default("max_operations", size(), base.max_operations),
        default_target: d.optional("default_target", target()),
        alerting: alerting(d, base.alerting),
        severity_hint: d.optional("severity", severity()),
        playbook_hint: d.optional("playbook", non_empty_string()),
    })
}

fn latency(d: &mut Fields<'_>) -> Option<OperationLatencyConfig> {
    let base = OperationLatencyConfig::default();
    let furnished = base.quantiles.iter().map(|quantile| quantile.get());
    read!(OperationLatencyConfig {
        quantiles: d
            .default("quantiles", list(ratio(0.0..=1.0)), furnished.collect())
            .map(|quantiles| quantiles.into_iter().map(Ratio::saturating).collect()),
        k: d.default("k", number(), base.k),
        min_increase: d.default("min_increase", ratio(0.0..=f64::MAX), base.min_increase),
        memory: d.default("memory", count(), base.memory),
        warm_up: d.default("warm_up", count(), base.warm_up),
        side: d.default("side", one_of(SIDES), base.side),
    })
}

fn failures(d: &mut Fields<'_>) -> Option<OperationFailuresConfig> {
    let base = OperationFailuresConfig::default();
    read!(OperationFailuresConfig {
        limit: d.default("limit", number(), base.limit),
        min_failures: d.default("min_failures", count(), base.min_failures),
        history: d.default("history", number(), base.history),
        warm_up: d.default("warm_up", count(), base.warm_up),
    })
}

fn calls(d: &mut Fields<'_>) -> Option<OperationCallsConfig> {
    let base = OperationCallsConfig::default();
    read!(OperationCallsConfig {
        warm_up: d.default("warm_up", count(), base.warm_up),
        history: d.default("history", number(), base.history),
        new_for: d.default("new_for", count(), base.new_for),
        min_share: d.default("min_share", ratio(0.0..=1.0), base.min_share),
        limit: d.default("limit", number(), base.limit),
        min_increase: d.default("min_increase", ratio(0.0..=f64::MAX), base.min_increase),
        max_calls: d.default("max_calls", size(), base.max_calls),
    })
}

/// What all watches of series have in common, around a kernel's own fields.
fn series<C>(
    d: &mut Fields<'_>,
    config: fn(&mut Fields<'_>) -> Option<C>,
) -> Option<SeriesWatch<C>> {
    read!(SeriesWatch {
        name: d.required("name", non_empty_string()),
        metrics: d.required("metrics", list(non_empty_string()).at_least(1)),
        labels: d.default("labels", map_of(string()), BTreeMap::new()),
        config: config(d),
        alerting: alerting(d, AlertingConfig::default()),
        max_series: d.default("max_series", integer(1..=10_000_000), 10_000),
        default_target: d.optional("default_target", target()),
        severity: d.optional("severity", severity()),
        playbook: d.optional("playbook", non_empty_string()),
    })
}

fn watch_series(d: &mut Fields<'_>) -> Option<SeriesWatch<OnlineConfig>> {
    series(d, |d| {
        let base = OnlineConfig::default();
        read!(OnlineConfig {
            sensitivity: d.default("sensitivity", number(), base.sensitivity),
            resolution: d.default("resolution", number(), base.resolution),
            side: d.default("side", one_of(SIDES), base.side),
            // Dead times are those of alerts; here alerting decides.
            ..base
        })
    })
}

fn time_to_breach(d: &mut Fields<'_>) -> Option<SeriesWatch<TimeToBreachConfig>> {
    series(d, |d| {
        let (limit, base) = (breach(d), TimeToBreachConfig::above(0.0));
        read!(TimeToBreachConfig {
            horizon: d.default("horizon", any_duration(), base.horizon),
            confidence: d
                .default("confidence", ratio(0.0..=1.0), base.confidence.get())
                .map(Ratio::saturating),
            history: d.default("history", any_duration(), base.history),
            period: d.optional("period", any_duration()),
            ..limit?
        })
    })
}

fn breach(d: &mut Fields<'_>) -> Option<TimeToBreachConfig> {
    let (above, below) = (d.optional("above", number()), d.optional("below", number()));
    match (above?, below?) {
        (Some(limit), None) => return Some(TimeToBreachConfig::above(limit)),
        (None, Some(limit)) => return Some(TimeToBreachConfig::below(limit)),
        (Some(_), Some(_)) => d.reject("below", "one limit: `above` or `below`"),
        (None, None) => d.reject("above", "a limit: `above` or `below`"),
    }
    None
}

fn forecast(d: &mut Fields<'_>) -> Option<SeriesWatch<ForecasterConfig>> {
    series(d, |d| {
        let base = ForecasterConfig::default();
        read!(ForecasterConfig {
            step: d.optional("step", any_duration()),
            period: d.optional("period", any_duration()),
            history: d.default("history", size(), base.history),
            horizon: d.default("horizon", size(), base.horizon),
            warm_up: d.default("warm_up", size(), base.warm_up),
            refit_every: d.default("refit_every", size(), base.refit_every),
            limit: d.default("limit", number(), base.limit),
            resolution: d.default("resolution", number(), base.resolution),
            side: d.default("side", one_of(SIDES), base.side),
        })
    })
}

pub(super) fn alerting(d: &mut Fields<'_>, base: AlertingConfig) -> Option<AlertingConfig> {
    let score = || ratio(0.0..=1.0);
    let read = |d: &mut Fields<'_>| {
        read!(AlertingConfig {
            threshold: d
                .default("threshold", score(), base.threshold.get())
                .map(Score::saturating),
            clear: d
                .default("clear", score(), base.clear.get())
                .map(Score::saturating),
            sustain_samples: d.default("sustain_samples", count(), base.sustain_samples),
            sustain: d.default("sustain", any_duration(), base.sustain),
            clear_samples: d.default("clear_samples", count(), base.clear_samples),
            max_gap: d.default("max_gap", any_duration(), base.max_gap),
            refractory: d.default("refractory", any_duration(), base.refractory),
            ..base
        })
    };
    d.default("alerting", nested(read), base)
}

fn level() -> impl Shape<Output = Level> {
    parsed("a level: trace, debug, info, warn, error or fatal")
}

fn target() -> impl Shape<Output = Target> {
    parsed("a service, or a service and an instance: shop, shop/1")
}

pub(super) fn severity() -> impl Shape<Output = Severity> {
    one_of(SEVERITIES)
}

/// A number whose range the detector checks.
fn number() -> impl Shape<Output = f64> {
    float(f64::MIN..=f64::MAX)
}

/// As [`number`].
pub(super) fn count() -> impl Shape<Output = u32> {
    integer(0..=u32::MAX)
}

/// As [`number`].
pub(super) fn size() -> impl Shape<Output = usize> {
    integer(0..=usize::MAX)
}
