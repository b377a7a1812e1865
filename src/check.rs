//! What must hold before anything starts: all violations at once.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::time::Duration;

use homeostasis_core::policy::Policy;
use homeostasis_core::port::Retention;
use homeostasis_core::{ConfigError, Topology, Violation, Violations};

use crate::builder::Builder;
use crate::engine::EngineSettings;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
const MAX_MODEL_BYTES: u64 = 16 << 30;
const MAX_EVIDENCE_BYTES: u64 = 16 << 30;

/// Checks settings, policy and the names of the plug-ins.
pub(crate) fn check(builder: &Builder) -> Result<(), ConfigError> {
    let mut violations = Violations::new();
    settings(&builder.settings, &mut violations);
    policy(&builder.policy, &mut violations);
    look_back(&builder.settings, &builder.policy, &mut violations);
    retention(&builder.keeping.retention, &mut violations);
    names(builder, &mut violations);
    kill_switch_files(builder, &mut violations);
    builder.escalation.check(&mut violations);
    let channels: Vec<_> = builder.channels.keys().map(String::as_str).collect();
    builder
        .escalation
        .unknown_channels(&channels, &mut violations);
    unique(
        &mut violations,
        "detectors",
        builder.detectors.iter().map(|plugin| plugin.name()),
    );
    unique(
        &mut violations,
        "analyzers",
        builder.analyzers.iter().map(|plugin| plugin.name()),
    );
    unique(
        &mut violations,
        "remediators",
        builder.remediators.iter().map(|plugin| plugin.name()),
    );
    unique(
        &mut violations,
        "verifiers",
        builder.verifiers.iter().map(|plugin| plugin.name()),
    );
    violations.into_result(())
}

/// What the policy names must be somewhere: a maintenance window or a rule for a playbook that nobody
/// has guards nothing. Where a remediator cannot tell what it has, nothing is known.
fn names(builder: &Builder, violations: &mut Violations) {
    let remediators = builder.remediators.iter();
    let known: Option<Vec<_>> = remediators.map(|it| it.known_names()).collect();
    let Some(known) = known.filter(|known| !known.is_empty()) else {
        return;
    };
    let known: BTreeSet<_> = known.into_iter().flatten().collect();
    let policy = &builder.policy;
    let only = policy.maintenance.only.iter();
    let only = only.map(|name| ("policy.maintenance.only".to_owned(), name));
    let rules = policy.rules.iter().enumerate().flat_map(|(idx, rule)| {
        let path = format!("policy.rules[{idx}].actions");
        rule.actions.iter().map(move |name| (path.clone(), name))
    });
    for (path, name) in only.chain(rules) {
        if !known.contains(name) {
            let expected = "a playbook or an action that is loaded";
            violations.push(Violation::new(path, name.as_str(), expected));
        }
    }
}

/// A folder that is not there is a slip of the pen: nobody could stop anything.
fn kill_switch_files(builder: &Builder, violations: &mut Violations) {
    for path in &builder.kill_switch_files {
        let folder = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        if !folder.is_none_or(std::path::Path::is_dir) {
            let expected = "a path in a folder that is there";
            let path = path.display().to_string();
            violations.push(Violation::new("kill_switch_file", path, expected));
        }
    }
}

pub(crate) fn settings(settings: &EngineSettings, violations: &mut Violations) {
    bounds(settings, violations);
    let durations = [
        ("tick", settings.tick, MS..=MINUTE),
        ("window", settings.window, SECOND..=8 * DAY),
        ("settle", settings.settle, Duration::ZERO..=10 * MINUTE),
        ("patience", settings.patience, Duration::ZERO..=HOUR),
        (
            "correlation_window",
            settings.correlation_window,
            Duration::ZERO..=DAY,
        ),
        ("aftershock", settings.aftershock, Duration::ZERO..=HOUR),
        ("lookback", settings.lookback, SECOND..=7 * DAY),
        ("quiet", settings.quiet, SECOND..=7 * DAY),
        (
            "diagnosis_ttl",
            settings.diagnosis_ttl,
            Duration::ZERO..=10 * MINUTE,
        ),
        (
            "flood.interval",
            settings.flood.interval,
            10 * MS..=10 * MINUTE,
        ),
        ("detect_deadline", settings.detect_deadline, MS..=MINUTE),
        ("stage_deadline", settings.stage_deadline, MS..=HOUR),
        ("lease_ttl", settings.lease_ttl, SECOND..=HOUR),
        ("model_interval", settings.model_interval, SECOND..=DAY),
        (
            "shutdown_grace",
            settings.shutdown_grace,
            Duration::ZERO..=HOUR,
        ),
    ];
    for (name, value, range) in durations {
        within(violations, "engine", name, value, &range);
    }
    let counts = [
        ("sample_queue", settings.sample_queue, 1..=16_777_216),
        ("record_queue", settings.record_queue, 1..=1_048_576),
        ("max_series", settings.max_series, 1..=10_000_000),
        (
            "max_series_per_metric",
            settings.max_series_per_metric,
            1..=10_000_000,
        ),
        ("flood.keys", settings.flood.keys, 1..=1_048_576),
        ("diagnosis_cache", settings.diagnosis_cache, 0..=10_000),
        ("window_points", settings.window_points, 2..=100_000),
        ("window_records", settings.window_records, 1..=10_000_000),
        (
            "max_open_incidents",
            settings.max_open_incidents,
            1..=10_000,
        ),
        (
            "max_concurrent_heals",
            settings.max_concurrent_heals,
            1..=1_000,
        ),
        ("max_anomalies", settings.max_anomalies, 1..=100_000),
    ];
    for (name, value, range) in counts {
        if !range.contains(&value) {
            let expected = format!("{} to {}", range.start(), range.end());
            violations.push(Violation::new(
                format!("engine.{name}"),
                value.to_string(),
                expected,
            ));
        }
    }
}

pub(crate) fn retention(retention: &Retention, violations: &mut Violations) {
    if let Some(age) = retention.max_age {
        let range = HOUR..=3650 * DAY;
        within(violations, "store.retention", "max_age", age, &range);
    }
}

/// Bounds that are no plain number.
fn bounds(settings: &EngineSettings, violations: &mut Violations) {
    if settings.flood.burst > 1_000_000 {
        let value = settings.flood.burst.to_string();
        violations.push(Violation::new("engine.flood.burst", value, "0 to 1000000"));
    }
    if settings.model_bytes > MAX_MODEL_BYTES {
        let value = settings.model_bytes.to_string();
        violations.push(Violation::new("engine.model_bytes", value, "0 to 16 GiB"));
    }
    if !(64 << 10..=MAX_EVIDENCE_BYTES).contains(&settings.evidence_bytes) {
        let value = settings.evidence_bytes.to_string();
        let expected = "64 KiB to 16 GiB";
        violations.push(Violation::new("engine.evidence_bytes", value, expected));
    }
    for label in ["service", "instance"] {
        if let Some(limit) = settings.label_values.get(label) {
            violations.push(Violation::new(
                format!("engine.label_values.{label}"),
                limit.to_string(),
                "another label: this one says whom a series is about",
            ));
        }
    }
}

pub(crate) fn policy(policy: &Policy, violations: &mut Violations) {
    let durations = [
        ("min_interval", policy.min_interval, Duration::ZERO..=DAY),
        ("approval_ttl", policy.approval_ttl, SECOND..=7 * DAY),
        ("permit_ttl", policy.permit_ttl, SECOND..=DAY),
        (
            "breaker.cool_down",
            policy.breaker.cool_down,
            SECOND..=7 * DAY,
        ),
        (
            "maintenance.max_wait",
            policy.maintenance.max_wait,
            Duration::ZERO..=8 * DAY,
        ),
    ];
    for (name, value, range) in durations {
        within(violations, "policy", name, value, &range);
    }
    let cool_down = policy.patches.cool_down;
    let range = Duration::ZERO..=30 * DAY;
    within(violations, "policy.patches", "cool_down", cool_down, &range);
    for path in policy.patches.misspelled() {
        let expected = "a path inside the project, plainly written: a/b.toml, or a/ for all below";
        let place = "policy.patches.critical_files";
        violations.push(Violation::new(place, path, expected));
    }
    if !(1..=1000).contains(&policy.breaker.window) {
        let value = policy.breaker.window.to_string();
        violations.push(Violation::new("policy.breaker.window", value, "1 to 1000"));
    }
    if let Some(worth) = &policy.cost_benefit {
        for (name, value) in [
            ("without_healing", worth.without_healing),
            ("low", worth.low),
            ("medium", worth.medium),
            ("high", worth.high),
            ("critical", worth.critical),
        ] {
            let range = Duration::ZERO..=30 * DAY;
            within(violations, "policy.cost_benefit", name, value, &range);
        }
    }
    for (i, window) in policy.maintenance.windows.iter().enumerate() {
        if let Some((field, value, expected)) = window.violation() {
            let path = format!("policy.maintenance.windows[{i}].{field}");
            violations.push(Violation::new(path, format!("{value:?}"), expected));
        }
    }
    if !policy.maintenance.only.is_empty() && policy.maintenance.windows.is_empty() {
        let expected = "a window, since something waits for one";
        violations.push(Violation::new("policy.maintenance.windows", "[]", expected));
    }
    for (i, limit) in policy.limits.iter().enumerate() {
        within(
            violations,
            &format!("policy.limits[{i}]"),
            "window",
            limit.window,
            &(SECOND..=30 * DAY),
        );
    }
}

/// Safe mode after a change cannot look further back than the engine does.
pub(crate) fn look_back(settings: &EngineSettings, policy: &Policy, violations: &mut Violations) {
    let (path, field) = ("policy.safe_mode", "after_change");
    let range = Duration::ZERO..=settings.window;
    within(
        violations,
        path,
        field,
        policy.safe_mode.after_change,
        &range,
    );
}

/// Whoever is depended on must be known: the blast radius is computed from it.
pub(crate) fn topology(topology: &Topology, violations: &mut Violations) {
    for (name, facts) in topology.services() {
        for callee in facts
            .depends_on
            .iter()
            .filter(|callee| topology.service(callee).is_none())
        {
            let path = format!("services.{name}.depends_on");
            violations.push(Violation::new(
                path,
                callee.as_str(),
                "services that are listed",
            ));
        }
    }
}

fn within(
    violations: &mut Violations,
    section: &str,
    name: &str,
    value: Duration,
    range: &RangeInclusive<Duration>,
) {
    if !range.contains(&value) {
        let expected = format!("{:?} to {:?}", range.start(), range.end());
        violations.push(Violation::new(
            format!("{section}.{name}"),
            format!("{value:?}"),
            expected,
        ));
    }
}

fn unique<'a>(violations: &mut Violations, stage: &str, names: impl Iterator<Item = &'a str>) {
    let mut seen = BTreeSet::new();
    for (i, name) in names.enumerate() {
        if name.is_empty() || !seen.insert(name.to_owned()) {
            let expected = "a name no other plug-in of this stage has";
            violations.push(Violation::new(format!("{stage}[{i}].name"), name, expected));
        }
    }
}
