//! The shape of a configuration, field by field.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use homeostasis_core::condition::{Condition, Unit};
use homeostasis_core::document::{
    Fields, Node, Parsed, any_duration, boolean, integer, list, map_of, nested, non_empty_string,
    one_of, parsed, raw,
};
use homeostasis_core::policy::{EscalationRules, Policy};
use homeostasis_core::port::Retention;
use homeostasis_core::record::Severity;
use homeostasis_core::{
    ConfigError, Flags, Mode, NodeId, ServiceFacts, Topology, Violation, Violations,
};

#[cfg(feature = "signals")]
use homeostasis_signals::{RedactionConfig, RedactionPattern, SecretRedactor};

use super::escalation::escalation_fields;
use super::policy::policy_fields;
use crate::check;
use crate::config::{ConditionRule, Config, LibraryPick};
use crate::engine::{EngineSettings, FloodSettings};

const MODES: &[(&str, Mode)] = &[
    ("observe", Mode::Observe),
    ("approve", Mode::Approve),
    ("auto", Mode::Auto),
];

pub(super) const SEVERITIES: &[(&str, Severity)] = &[
    ("sev0", Severity::Sev0),
    ("sev1", Severity::Sev1),
    ("sev2", Severity::Sev2),
    ("sev3", Severity::Sev3),
];

/// Reads the tree: types first, then the ranges that the builder checks too.
pub(super) fn decode(tree: &Node) -> Result<Config, ConfigError> {
    let mut violations = Violations::new();
    let decoded = homeostasis_core::document::decode(tree, nested(config));
    let Some(config) = violations.absorb(decoded) else {
        return Err(with_ranges(tree, violations));
    };
    let mut ranges = Violations::new();
    check::settings(&config.engine, &mut ranges);
    check::policy(&config.policy, &mut ranges);
    config.escalation.check(&mut ranges);
    check::look_back(&config.engine, &config.policy, &mut ranges);
    check::retention(&config.retention, &mut ranges);
    check::topology(&config.topology, &mut ranges);
    #[cfg(feature = "detect")]
    detectors(&config.detection, &mut ranges);
    #[cfg(feature = "signals")]
    ranges.absorb(SecretRedactor::new(config.redaction.clone()));
    violations.merge(ranges.iter().map(|violation| placed(tree, violation)));
    violations.into_result(config)
}

/// A tree whose types are wrong somewhere still has its other sections checked for ranges.
fn with_ranges(tree: &Node, mut violations: Violations) -> ConfigError {
    let section = |name: &str| tree.as_mapping().and_then(|mapping| mapping.get(name));
    let mut ranges = Violations::new();
    if let Some(engine) = section("engine")
        && let Some(settings) = lenient(engine, engine_settings)
    {
        check::settings(&settings, &mut ranges);
    }
    if let Some(policy) = section("policy")
        && let Some(policy) = lenient(policy, policy_fields)
    {
        check::policy(&policy, &mut ranges);
    }
    if let Some(escalation) = section("escalation")
        && let Some(rules) = lenient(escalation, escalation_fields)
    {
        rules.check(&mut ranges);
    }
    if let Some(store) = section("store").and_then(Node::as_mapping)
        && let Some(kept) = store
            .get("retention")
            .and_then(|node| lenient(node, retention))
    {
        check::retention(&kept, &mut ranges);
    }
    #[cfg(feature = "detect")]
    if let Some(detect) = section("detect") {
        detectors(&super::detection::readable(detect), &mut ranges);
    }
    violations.merge(ranges.iter().map(|violation| placed(tree, violation)));
    match violations.into_result(()) {
        Err(error) => error,
        Ok(()) => ConfigError::single("", "", "a configuration"),
    }
}

/// Whether the detectors can be made is known by making them.
#[cfg(feature = "detect")]
fn detectors(detection: &super::DetectionConfig, ranges: &mut Violations) {
    detection.detectors(
        crate::furnished::reraise(&EngineSettings::default()),
        ranges,
    );
}

/// What a section says where it can be read, ignoring what cannot.
fn lenient<T>(node: &Node, read: fn(&mut Fields<'_>) -> Option<T>) -> Option<T> {
    let without_unknown = |fields: &mut Fields<'_>| {
        fields.ignore_rest();
        read(fields)
    };
    homeostasis_core::document::decode(node, nested(without_unknown)).ok()
}

/// Finds the place of a violation that was found in the decoded value: that of the field, or if
/// its value is a default, that of what it belongs to.
fn placed(tree: &Node, violation: &Violation) -> Violation {
    let parts: Vec<&str> = violation
        .path
        .split(['.', '[', ']'])
        .filter(|part| !part.is_empty())
        .collect();
    for n in (1..=parts.len()).rev() {
        let pointer = format!("/{}", parts[..n].join("/"));
        if let Some(node) = tree.pointer(&pointer) {
            let mut placed = node.violation(violation.path.clone(), violation.expected.clone());
            if n < parts.len() {
                placed.value.clone_from(&violation.value);
            }
            return placed;
        }
    }
    violation.clone()
}

fn config(d: &mut Fields<'_>) -> Option<Config> {
    let node = d.default(
        "node",
        parsed::<NodeId>("1 to 128 characters"),
        NodeId::default(),
    );
    let environment = d.default("environment", non_empty_string(), String::new());
    let mode = d.default("mode", one_of(MODES), Mode::default());
    let store = match d.peek("store").map(Node::as_mapping) {
        // A path alone is the short way to say it.
        Some(None) => d
            .optional("store", non_empty_string())
            .map(|path| (path, Retention::default(), None)),
        _ => d.default("store", nested(store), (None, Retention::default(), None)),
    };
    let engine = d.default("engine", nested(engine_settings), EngineSettings::default());
    let policy = d.default("policy", nested(policy_fields), Policy::default());
    let escalation = d.default(
        "escalation",
        nested(escalation_fields),
        EscalationRules::default(),
    );
    let flags = d.default("flags", map_of(boolean()), Vec::new().into_iter().collect());
    let access = d.optional("access", nested(super::access::access));
    let kill_switch_file = d.optional("kill_switch_file", non_empty_string());
    let services = d.default(
        "services",
        map_of(nested(service)),
        Vec::new().into_iter().collect(),
    );
    let conditions = d.default("conditions", list(nested(condition)), Vec::new());
    #[cfg(feature = "detect")]
    let detection = d.default(
        "detect",
        nested(super::detection::detection),
        super::DetectionConfig::default(),
    );
    let playbooks = d.default("playbooks", list(non_empty_string()), Vec::new());
    let library = d.default("library", list(nested(library_pick)), Vec::new());
    let rules = d.default("rules", list(non_empty_string()), Vec::new());
    #[cfg(feature = "signals")]
    let redaction = d.default("redaction", nested(redaction), RedactionConfig::default());
    d.optional("environments", map_of(raw()));
    let (store, retention, archive) = store?;
    let conditions = conditions?;
    let mut seen = BTreeSet::new();
    if let Some(twice) = conditions
        .iter()
        .find(|rule| !seen.insert(rule.name.as_str()))
    {
        d.reject(
            "conditions",
            format!("names that differ; {:?} stands twice", twice.name),
        );
    }
    let mut topology = Topology::default();
    for (name, facts) in services? {
        topology.insert(name, facts);
    }
    Some(Config {
        node: node?,
        environment: environment?,
        mode: mode?,
        store: store.map(PathBuf::from),
        retention,
        archive: archive.map(PathBuf::from),
        engine: engine?,
        policy: policy?,
        escalation: escalation?,
        flags: flags?.into_iter().collect::<Flags>(),
        access: access?,
        kill_switch_file: kill_switch_file?.map(PathBuf::from),
        topology,
        conditions,
        #[cfg(feature = "detect")]
        detection: detection?,
        playbooks: playbooks?.into_iter().map(PathBuf::from).collect(),
        library: library?,
        rules: rules?.into_iter().map(PathBuf::from).collect(),
        #[cfg(feature = "signals")]
        redaction: redaction?,
    })
}

fn library_pick(d: &mut Fields<'_>) -> Option<LibraryPick> {
    let playbook = d.optional("playbook", non_empty_string());
    let category = d.optional("category", non_empty_string());
    let called = d.optional("called", non_empty_string());
    let set = d.default("set", map_of(raw()), Vec::new().into_iter().collect());
    if d.has("playbook") == d.has("category") {
        d.reject_all("either `playbook` or `category`");
        return None;
    }
    Some(LibraryPick {
        playbook: playbook?,
        category: category?,
        called: called?,
        set: set?
            .into_iter()
            .map(|(name, value)| (name, value.to_json()))
            .collect(),
    })
}

#[cfg(feature = "signals")]
fn redaction(d: &mut Fields<'_>) -> Option<RedactionConfig> {
    let patterns = d.default("patterns", list(nested(redaction_pattern)), Vec::new());
    let names = d.default("names", list(non_empty_string()), Vec::new());
    let innocent_names = d.default("innocent_names", list(non_empty_string()), Vec::new());
    let allow = d.default("allow", list(non_empty_string()), Vec::new());
    let without = d.default("without", list(non_empty_string()), Vec::new());
    let mut config = RedactionConfig::default();
    config.patterns = patterns?;
    config.names = names?;
    config.innocent_names = innocent_names?;
    config.allow = allow?;
    config.without = without?;
    Some(config)
}

#[cfg(feature = "signals")]
fn redaction_pattern(d: &mut Fields<'_>) -> Option<RedactionPattern> {
    let name = d.required("name", non_empty_string());
    let regex = d.required("regex", non_empty_string());
    Some(RedactionPattern::new(name?, regex?))
}

type StoreSection = (Option<String>, Retention, Option<String>);

fn store(d: &mut Fields<'_>) -> Option<StoreSection> {
    let path = d.optional("path", non_empty_string());
    let retention = d.default("retention", nested(retention), Retention::default());
    let archive = d.optional("archive", non_empty_string());
    Some((path?, retention?, archive?))
}

fn retention(d: &mut Fields<'_>) -> Option<Retention> {
    let max_age = d.optional("max_age", any_duration());
    let max_bytes = d.optional("max_bytes", size());
    let max_incidents = d.optional("max_incidents", integer(0..=u64::MAX));
    Some(Retention {
        max_age: max_age?,
        max_bytes: max_bytes?.map(|bytes| bytes.0),
        max_incidents: max_incidents?,
    })
}

/// A number of bytes with its unit: `1GiB`, `500 MB`.
struct Bytes(u64);

fn size() -> Parsed<Bytes> {
    parsed("a size such as 512MiB or 1GB")
}

impl FromStr for Bytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let unit_at = text
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len());
        let (number, unit) = text.split_at(unit_at);
        let number: u64 = number
            .parse()
            .map_err(|_| format!("{number:?} is no whole number"))?;
        let unit = unit.trim();
        let factor = Unit::from_symbol(unit)
            .and_then(|unit| unit.convert(1.0, Unit::Byte))
            .filter(|factor| *factor >= 1.0)
            .ok_or_else(|| format!("{unit:?} is no unit of bytes"))?;
        // Factors are powers of 1000 and 1024 up to 2^40: exact.
        format!("{factor:.0}")
            .parse()
            .ok()
            .and_then(|factor: u64| number.checked_mul(factor))
            .map(Self)
            .ok_or_else(|| "it is beyond 2^64 bytes".to_owned())
    }
}

fn service(d: &mut Fields<'_>) -> Option<ServiceFacts> {
    let facts = ServiceFacts::default();
    let instances = d.default("instances", integer(1..=1_000_000), facts.instances);
    let depends_on = d.default("depends_on", list(non_empty_string()), Vec::new());
    let critical = d.default("critical", boolean(), facts.critical);
    Some(ServiceFacts {
        instances: instances?,
        depends_on: depends_on?.into_iter().collect(),
        critical: critical?,
    })
}

fn condition(d: &mut Fields<'_>) -> Option<ConditionRule> {
    let name = d.required("name", non_empty_string());
    let condition = d.required(
        "condition",
        parsed::<Condition>("a condition such as error_ratio > 5%"),
    );
    let duration = d.default("for", any_duration(), Duration::ZERO);
    let severity = d.optional("severity", one_of(SEVERITIES));
    Some(ConditionRule {
        name: name?,
        condition: condition?,
        duration: duration?,
        severity: severity?,
    })
}

fn engine_settings(d: &mut Fields<'_>) -> Option<EngineSettings> {
    let base = EngineSettings::default();
    let tick = d.default("tick", any_duration(), base.tick);
    let sample_queue = d.default("sample_queue", integer(0..=usize::MAX), base.sample_queue);
    let record_queue = d.default("record_queue", integer(0..=usize::MAX), base.record_queue);
    let max_series = d.default("max_series", integer(0..=usize::MAX), base.max_series);
    let max_series_per_metric = d.default(
        "max_series_per_metric",
        integer(0..=usize::MAX),
        base.max_series_per_metric,
    );
    let label_values = d.default(
        "label_values",
        map_of(integer(0..=usize::MAX)),
        Vec::new().into_iter().collect(),
    );
    let flood = d.default("flood", nested(flood), base.flood);
    let window = d.default("window", any_duration(), base.window);
    let window_points = d.default("window_points", integer(0..=usize::MAX), base.window_points);
    let window_records = d.default(
        "window_records",
        integer(0..=usize::MAX),
        base.window_records,
    );
    let settle = d.default("settle", any_duration(), base.settle);
    let patience = d.default("patience", any_duration(), base.patience);
    let correlation_window = d.default(
        "correlation_window",
        any_duration(),
        base.correlation_window,
    );
    let aftershock = d.default("aftershock", any_duration(), base.aftershock);
    let lookback = d.default("lookback", any_duration(), base.lookback);
    let evidence_bytes = d.default("evidence_bytes", size(), Bytes(base.evidence_bytes));
    let diagnosis_cache = d.default(
        "diagnosis_cache",
        integer(0..=usize::MAX),
        base.diagnosis_cache,
    );
    let diagnosis_ttl = d.default("diagnosis_ttl", any_duration(), base.diagnosis_ttl);
    let quiet = d.default("quiet", any_duration(), base.quiet);
    let max_open_incidents = d.default(
        "max_open_incidents",
        integer(0..=usize::MAX),
        base.max_open_incidents,
    );
    let max_concurrent_heals = d.default(
        "max_concurrent_heals",
        integer(0..=usize::MAX),
        base.max_concurrent_heals,
    );
    let max_anomalies = d.default("max_anomalies", integer(0..=usize::MAX), base.max_anomalies);
    let detect_deadline = d.default("detect_deadline", any_duration(), base.detect_deadline);
    let stage_deadline = d.default("stage_deadline", any_duration(), base.stage_deadline);
    let lease_ttl = d.default("lease_ttl", any_duration(), base.lease_ttl);
    let model_interval = d.default("model_interval", any_duration(), base.model_interval);
    let model_bytes = d.default("model_bytes", size(), Bytes(base.model_bytes));
    let shutdown_grace = d.default("shutdown_grace", any_duration(), base.shutdown_grace);
    Some(EngineSettings {
        tick: tick?,
        sample_queue: sample_queue?,
        record_queue: record_queue?,
        max_series: max_series?,
        max_series_per_metric: max_series_per_metric?,
        label_values: label_values?.into_iter().collect(),
        flood: flood?,
        window: window?,
        window_points: window_points?,
        window_records: window_records?,
        settle: settle?,
        patience: patience?,
        correlation_window: correlation_window?,
        aftershock: aftershock?,
        lookback: lookback?,
        evidence_bytes: evidence_bytes?.0,
        diagnosis_cache: diagnosis_cache?,
        diagnosis_ttl: diagnosis_ttl?,
        quiet: quiet?,
        max_open_incidents: max_open_incidents?,
        max_concurrent_heals: max_concurrent_heals?,
        max_anomalies: max_anomalies?,
        detect_deadline: detect_deadline?,
        stage_deadline: stage_deadline?,
        lease_ttl: lease_ttl?,
        model_interval: model_interval?,
        model_bytes: model_bytes?.0,
        shutdown_grace: shutdown_grace?,
    })
}

fn flood(d: &mut Fields<'_>) -> Option<FloodSettings> {
    let base = FloodSettings::default();
    let burst = d.default("burst", integer(0..=u32::MAX), base.burst);
    let interval = d.default("interval", any_duration(), base.interval);
    let keys = d.default("keys", integer(0..=usize::MAX), base.keys);
    Some(FloodSettings {
        burst: burst?,
        interval: interval?,
        keys: keys?,
    })
}
