//! The shape of the section `detect`, field by field.

use homeostasis_core::Target;
use homeostasis_core::document::{
    self, Fields, Node, Shape, Value, any_duration, boolean, float, integer, list, map_of, nested,
    non_empty_string, one_of, parsed, ratio, string,
};
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

const A_LEVEL: &str = "a level: trace, debug, info, warn, error or fatal";
const A_TARGET: &str = "a service, or a service and an instance: shop, shop/1";

/// The section `detect`.
pub(in crate::config) fn detection(d: &mut Fields<'_>) -> Option<DetectionConfig> {
    let log_templates = switch(
        d,
        "log_templates",
        log_templates,
        LogTemplatesConfig::default,
    );
    let log_errors = switch(d, "log_errors", log_errors, LogErrorRateConfig::default);
    let operations = d.default("operations", nested(operations), OperationWatch::default());
    let watch_series = d.default("watch_series", list(nested(watch_series)), Vec::new());
    let time_to_breach = d.default("time_to_breach", list(nested(time_to_breach)), Vec::new());
    let forecasts = d.default("forecasts", list(nested(forecast)), Vec::new());
    let components = d.default("components", list(nested(component)), Vec::new());
    Some(DetectionConfig {
        log_templates: log_templates?,
        log_errors: log_errors?,
        operations: operations?,
        watch_series: watch_series?,
        time_to_breach: time_to_breach?,
        forecasts: forecasts?,
        components: components?,
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
    let new = d.default("new", boolean(), base.new);
    let new_from = d.default("new_from", parsed::<Level>(A_LEVEL), base.new_from);
    let learning = d.default("learning", any_duration(), base.learning);
    let new_share = d.default("new_share", ratio(0.0..=1.0), base.new_share);
    let vanished = d.default("vanished", boolean(), base.vanished);
    let bursting = d.default("bursting", boolean(), base.bursting);
    let window = d.default("window", any_duration(), base.window);
    let history = d.default("history", integer(0..=u32::MAX), base.history);
    let min_windows = d.default("min_windows", integer(0..=u32::MAX), base.min_windows);
    let min_count = d.default("min_count", integer(0..=u32::MAX), base.min_count);
    let factor = d.default("factor", number(), base.factor);
    let surprise = d.default("surprise", number(), base.surprise);
    let lasting = d.default("lasting", any_duration(), base.lasting);
    let forget_after = d.default("forget_after", any_duration(), base.forget_after);
    let max_templates = d.default("max_templates", integer(0..=usize::MAX), base.max_templates);
    let default_target = d.optional("default_target", parsed::<Target>(A_TARGET));
    let severity_hint = d.optional("severity", one_of(SEVERITIES));
    let playbook_hint = d.optional("playbook", non_empty_string());
    Some(LogTemplatesConfig {
        new: new?,
        new_from: new_from?,
        learning: learning?,
        new_share: new_share?,
        vanished: vanished?,
        bursting: bursting?,
        window: window?,
        history: history?,
        min_windows: min_windows?,
        min_count: min_count?,
        factor: factor?,
        surprise: surprise?,
        reraise: base.reraise,
        lasting: lasting?,
        forget_after: forget_after?,
        max_templates: max_templates?,
        default_target: default_target?,
        severity_hint: severity_hint?,
        playbook_hint: playbook_hint?,
    })
}

fn log_errors(d: &mut Fields<'_>) -> Option<LogErrorRateConfig> {
    let base = LogErrorRateConfig::default();
    let from = d.default("from", parsed::<Level>(A_LEVEL), base.from);
    let window = d.default("window", any_duration(), base.window);
    let history = d.default("history", integer(0..=u32::MAX), base.history);
    let min_windows = d.default("min_windows", integer(0..=u32::MAX), base.min_windows);
    let min_count = d.default("min_count", integer(0..=u32::MAX), base.min_count);
    let factor = d.default("factor", number(), base.factor);
    let surprise = d.default("surprise", number(), base.surprise);
    let max_components = d.default(
        "max_components",
        integer(0..=usize::MAX),
        base.max_components,
    );
    let default_target = d.optional("default_target", parsed::<Target>(A_TARGET));
    let severity_hint = d.optional("severity", one_of(SEVERITIES));
    let playbook_hint = d.optional("playbook", non_empty_string());
    Some(LogErrorRateConfig {
        from: from?,
        window: window?,
        history: history?,
        min_windows: min_windows?,
        min_count: min_count?,
        factor: factor?,
        surprise: surprise?,
        reraise: base.reraise,
        max_components: max_components?,
        default_target: default_target?,
        severity_hint: severity_hint?,
        playbook_hint: playbook_hint?,
    })
}

fn operations(d: &mut Fields<'_>) -> Option<OperationWatch> {
    let base = PerOperationConfig::default();
    let latency = switch(d, "latency", latency, OperationLatencyConfig::default);
    let failures = switch(d, "failures", failures, OperationFailuresConfig::default);
    let calls = switch(d, "calls", calls, OperationCallsConfig::default);
    let window = d.default("window", any_duration(), base.window);
    let min_spans = d.default("min_spans", integer(0..=u32::MAX), base.min_spans);
    let max_windows = d.default("max_windows", integer(0..=u32::MAX), base.max_windows);
    let max_operations = d.default(
        "max_operations",
        integer(0..=usize::MAX),
        base.max_operations,
    );
    let default_target = d.optional("default_target", parsed::<Target>(A_TARGET));
    let alerting = alerting(d, base.alerting);
    let severity_hint = d.optional("severity", one_of(SEVERITIES));
    let playbook_hint = d.optional("playbook", non_empty_string());
    let watch = OperationWatch {
        latency: latency?,
        failures: failures?,
        calls: calls?,
        windows: PerOperationConfig {
            window: window?,
            min_spans: min_spans?,
            max_windows: max_windows?,
            max_operations: max_operations?,
            default_target: default_target?,
            alerting: alerting?,
            severity_hint: severity_hint?,
            playbook_hint: playbook_hint?,
        },
    };
    if watch.latency.is_none() && watch.failures.is_none() && watch.calls.is_none() {
        d.reject_all("at least one of `latency`, `failures`, `calls` turned on");
        return None;
    }
    Some(watch)
}

fn latency(d: &mut Fields<'_>) -> Option<OperationLatencyConfig> {
    let base = OperationLatencyConfig::default();
    let quantiles = base
        .quantiles
        .iter()
        .map(|quantile| quantile.get())
        .collect();
    let quantiles = d.default("quantiles", list(ratio(0.0..=1.0)), quantiles);
    let k = d.default("k", number(), base.k);
    let min_increase = d.default("min_increase", ratio(0.0..=f64::MAX), base.min_increase);
    let memory = d.default("memory", integer(0..=u32::MAX), base.memory);
    let warm_up = d.default("warm_up", integer(0..=u32::MAX), base.warm_up);
    let side = d.default("side", one_of(SIDES), base.side);
    Some(OperationLatencyConfig {
        quantiles: quantiles?.into_iter().map(Ratio::saturating).collect(),
        k: k?,
        min_increase: min_increase?,
        memory: memory?,
        warm_up: warm_up?,
        side: side?,
    })
}

fn failures(d: &mut Fields<'_>) -> Option<OperationFailuresConfig> {
    let base = OperationFailuresConfig::default();
    let limit = d.default("limit", number(), base.limit);
    let min_failures = d.default("min_failures", integer(0..=u32::MAX), base.min_failures);
    let history = d.default("history", number(), base.history);
    let warm_up = d.default("warm_up", integer(0..=u32::MAX), base.warm_up);
    Some(OperationFailuresConfig {
        limit: limit?,
        min_failures: min_failures?,
        history: history?,
        warm_up: warm_up?,
    })
}

fn calls(d: &mut Fields<'_>) -> Option<OperationCallsConfig> {
    let base = OperationCallsConfig::default();
    let warm_up = d.default("warm_up", integer(0..=u32::MAX), base.warm_up);
    let history = d.default("history", number(), base.history);
    let new_for = d.default("new_for", integer(0..=u32::MAX), base.new_for);
    let min_share = d.default("min_share", ratio(0.0..=1.0), base.min_share);
    let limit = d.default("limit", number(), base.limit);
    let min_increase = d.default("min_increase", ratio(0.0..=f64::MAX), base.min_increase);
    let max_calls = d.default("max_calls", integer(0..=usize::MAX), base.max_calls);
    Some(OperationCallsConfig {
        warm_up: warm_up?,
        history: history?,
        new_for: new_for?,
        min_share: min_share?,
        limit: limit?,
        min_increase: min_increase?,
        max_calls: max_calls?,
    })
}

/// What all watches of series have in common, around a kernel's own fields.
fn series<C>(
    d: &mut Fields<'_>,
    config: fn(&mut Fields<'_>) -> Option<C>,
) -> Option<SeriesWatch<C>> {
    let name = d.required("name", non_empty_string());
    let metrics = d.required("metrics", list(non_empty_string()).at_least(1));
    let labels = d.default(
        "labels",
        map_of(string()),
        std::collections::BTreeMap::new(),
    );
    let config = config(d);
    let alerting = alerting(d, AlertingConfig::default());
    let max_series = d.default("max_series", integer(1..=10_000_000), 10_000);
    let default_target = d.optional("default_target", parsed::<Target>(A_TARGET));
    let severity = d.optional("severity", one_of(SEVERITIES));
    let playbook = d.optional("playbook", non_empty_string());
    Some(SeriesWatch {
        name: name?,
        metrics: metrics?,
        labels: labels?,
        config: config?,
        alerting: alerting?,
        max_series: max_series?,
        default_target: default_target?,
        severity: severity?,
        playbook: playbook?,
    })
}

fn watch_series(d: &mut Fields<'_>) -> Option<SeriesWatch<OnlineConfig>> {
    series(d, |d| {
        let base = OnlineConfig::default();
        let sensitivity = d.default("sensitivity", number(), base.sensitivity);
        let resolution = d.default("resolution", number(), base.resolution);
        let side = d.default("side", one_of(SIDES), base.side);
        Some(OnlineConfig {
            sensitivity: sensitivity?,
            resolution: resolution?,
            side: side?,
            // Dead times are those of alerts; here alerting decides.
            ..base
        })
    })
}

fn time_to_breach(d: &mut Fields<'_>) -> Option<SeriesWatch<TimeToBreachConfig>> {
    series(d, |d| {
        let above = d.optional("above", number());
        let below = d.optional("below", number());
        let base = TimeToBreachConfig::above(0.0);
        let horizon = d.default("horizon", any_duration(), base.horizon);
        let confidence = d.default("confidence", ratio(0.0..=1.0), base.confidence.get());
        let history = d.default("history", any_duration(), base.history);
        let period = d.optional("period", any_duration());
        let limit = match (above?, below?) {
            (Some(limit), None) => TimeToBreachConfig::above(limit),
            (None, Some(limit)) => TimeToBreachConfig::below(limit),
            (Some(_), Some(_)) => {
                d.reject("below", "one limit: `above` or `below`");
                return None;
            }
            (None, None) => {
                d.reject("above", "a limit: `above` or `below`");
                return None;
            }
        };
        Some(TimeToBreachConfig {
            horizon: horizon?,
            confidence: Ratio::saturating(confidence?),
            history: history?,
            period: period?,
            ..limit
        })
    })
}

fn forecast(d: &mut Fields<'_>) -> Option<SeriesWatch<ForecasterConfig>> {
    series(d, |d| {
        let base = ForecasterConfig::default();
        let step = d.optional("step", any_duration());
        let period = d.optional("period", any_duration());
        let history = d.default("history", integer(0..=usize::MAX), base.history);
        let horizon = d.default("horizon", integer(0..=usize::MAX), base.horizon);
        let warm_up = d.default("warm_up", integer(0..=usize::MAX), base.warm_up);
        let refit_every = d.default("refit_every", integer(0..=usize::MAX), base.refit_every);
        let limit = d.default("limit", number(), base.limit);
        let resolution = d.default("resolution", number(), base.resolution);
        let side = d.default("side", one_of(SIDES), base.side);
        Some(ForecasterConfig {
            step: step?,
            period: period?,
            history: history?,
            horizon: horizon?,
            warm_up: warm_up?,
            refit_every: refit_every?,
            limit: limit?,
            resolution: resolution?,
            side: side?,
        })
    })
}

pub(super) fn alerting(d: &mut Fields<'_>, base: AlertingConfig) -> Option<AlertingConfig> {
    let read = |d: &mut Fields<'_>| {
        let threshold = d.default("threshold", ratio(0.0..=1.0), base.threshold.get());
        let clear = d.default("clear", ratio(0.0..=1.0), base.clear.get());
        let sustain_samples = d.default(
            "sustain_samples",
            integer(0..=u32::MAX),
            base.sustain_samples,
        );
        let sustain = d.default("sustain", any_duration(), base.sustain);
        let clear_samples = d.default("clear_samples", integer(0..=u32::MAX), base.clear_samples);
        let max_gap = d.default("max_gap", any_duration(), base.max_gap);
        let refractory = d.default("refractory", any_duration(), base.refractory);
        Some(AlertingConfig {
            threshold: Score::saturating(threshold?),
            clear: Score::saturating(clear?),
            sustain_samples: sustain_samples?,
            sustain: sustain?,
            clear_samples: clear_samples?,
            max_gap: max_gap?,
            refractory: refractory?,
            reraise: base.reraise,
        })
    };
    d.default("alerting", nested(read), base)
}

/// A number whose range the detector checks.
fn number() -> impl Shape<Output = f64> {
    float(f64::MIN..=f64::MAX)
}
