//! A configuration that is wrong says everything that is wrong, with its place, and starts nothing.

use std::time::Duration;

use homeostasis::core::port::Retention;
use homeostasis::core::record::{RiskLevel, Severity};
use homeostasis::core::{ConfigError, Mode};
use homeostasis::{Config, ConfigSource};

#[allow(clippy::unwrap_used, reason = "a helper of a test fails the test")]
fn violations(text: &str) -> Vec<String> {
    let error: ConfigError = ConfigSource::new(text)
        .named("homeostasis.yaml")
        .read()
        .unwrap_err();
    error.violations().iter().map(ToString::to_string).collect()
}

#[test]
fn every_violation_is_named_at_once_with_path_line_and_range() {
    let found = violations(
        "\
mode: fast
engine:
  tick: 0s
  sample_queue: 99999999
  tock: 1s
policy:
  breaker:
    window: 0
    failure_ratio: 1.5
  limits:
    - max: 3
      window: 500ms
    - window: 1h
services:
  gateway:
    depends_on: [orders]
    instances: 0
conditions:
  - name: errors
    condition: error_ratio >
",
    );
    let expected = [
        "homeostasis.yaml:1:7: mode = \"fast\"",
        "homeostasis.yaml:3:9: engine.tick = \"0s\", expected 1ms to 60s",
        "homeostasis.yaml:4:17: engine.sample_queue = 99999999, expected 1 to 16777216",
        "homeostasis.yaml:5:3: engine.tock = unknown field",
        "homeostasis.yaml:9:20: policy.breaker.failure_ratio = 1.5",
        "homeostasis.yaml:13:7: policy.limits[1].max is missing",
        "homeostasis.yaml:17:16: services.gateway.instances = 0",
        "homeostasis.yaml:20:16: conditions[0].condition = \"error_ratio >\"",
    ];
    for (line, start) in found.iter().zip(expected) {
        assert!(
            line.starts_with(start),
            "{line}\nexpected {start}\nall: {found:#?}"
        );
    }
    assert_eq!(found.len(), expected.len(), "{found:#?}");
}

#[test]
fn ranges_and_references_are_checked_where_types_are_right() {
    let found = violations(
        "\
services:
  gateway: { depends_on: [ordres] }
  orders: {}
policy: { permit_ttl: 0s, limits: [{ max: 1, window: 1ms }] }
",
    );
    assert_eq!(found.len(), 3, "{found:#?}");
    assert!(
        found[0].starts_with("homeostasis.yaml:2:26: services.gateway.depends_on"),
        "{found:#?}"
    );
}

#[test]
fn bounds_and_retention_are_checked_with_their_place() {
    let found = violations(
        "\
store:
  retention: { max_age: 1s, max_bytes: 3 parsecs, max_incident: 4 }
engine:
  label_values: { instance: 3 }
  flood: { burst: 2000000, interval: 1ms }
  model_interval: 1ms
  model_bytes: 17GiB
",
    );
    let expected = [
        "homeostasis.yaml:2:40: store.retention.max_bytes = \"3 parsecs\", expected a size",
        "homeostasis.yaml:2:51: store.retention.max_incident = unknown field",
        "homeostasis.yaml:4:29: engine.label_values.instance = 3",
        "homeostasis.yaml:5:19: engine.flood.burst = 2000000, expected 0 to 1000000",
        "homeostasis.yaml:5:38: engine.flood.interval = \"1ms\", expected 10ms to 600s",
        "homeostasis.yaml:6:19: engine.model_interval = \"1ms\", expected 1s to",
        "homeostasis.yaml:7:16: engine.model_bytes = \"17GiB\", expected 0 to 16 GiB",
    ];
    let mut found = found;
    found.sort();
    for (line, start) in found.iter().zip(expected) {
        assert!(
            line.starts_with(start),
            "{line}\nexpected {start}\nall: {found:#?}"
        );
    }
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    let found = violations("store: { retention: { max_age: 59m } }");
    assert_eq!(found.len(), 1);
    assert!(
        found[0].starts_with("homeostasis.yaml:1:32: store.retention.max_age = \"59m\""),
        "{found:?}"
    );
}

#[test]
fn an_overlay_is_laid_over_and_must_exist() {
    let text = "
mode: observe
policy: { max_risk: low }
environments:
  production: { mode: auto, engine: { tick: 20ms } }
";
    let base = Config::parse(text).unwrap();
    assert_eq!(
        (base.mode, base.engine.tick),
        (Mode::Observe, Duration::from_millis(100))
    );
    let config = ConfigSource::new(text)
        .environment("production")
        .read()
        .unwrap();
    assert_eq!(
        (&config.mode, config.engine.tick),
        (&Mode::Auto, Duration::from_millis(20))
    );
    assert_eq!(config.policy.max_risk, RiskLevel::Low);
    assert_eq!(config.environment, "production");
    let error = ConfigSource::new(text)
        .environment("staging")
        .read()
        .unwrap_err();
    assert!(
        error.to_string().contains("environments.staging"),
        "{error}"
    );
}

#[test]
fn a_missing_variable_is_a_violation_and_a_default_is_none() {
    let text = "node: ${NODE}\nstore: ${DATA:-/tmp}/j.redb\n";
    let error = ConfigSource::new(text)
        .variables(|_| None)
        .read()
        .unwrap_err();
    assert!(error.to_string().contains("NODE"), "{error}");
    let config = ConfigSource::new(text)
        .variables(|name| (name == "NODE").then(|| "n1".to_owned()))
        .read();
    assert_eq!(config.unwrap().node.as_str(), "n1");
}

#[test]
fn everything_that_can_be_said_is_read() {
    let config = Config::parse(
        "
node: shop-1
mode: approve
store: { path: var/journal.redb, retention: { max_age: 90d, max_bytes: 2GiB, max_incidents: 500 }, archive: var/archive }
engine:
  settle: 1s
  max_concurrent_heals: 4
  max_series_per_metric: 300
  label_values: { path: 50 }
  flood: { burst: 10, interval: 2s, keys: 64 }
  model_interval: 1m
  model_bytes: 256MiB
policy:
  pre_approved: [restart_process]
  max_risk: high
  max_radius: multiple_services
  limits: [{ scope: action_on_target, max: 5, window: 1h }]
  breaker: { consecutive_failures: 2, failure_ratio: 40%, window: 5, cool_down: 10m }
flags: { heal: true, heal.orders: false }
services:
  gateway: { depends_on: [orders], critical: true }
  orders: { instances: 3 }
conditions:
  - { name: errors, condition: error_ratio > 5%, for: 10s, severity: sev1 }
playbooks: [playbooks]
rules: [rules.yaml]
",
    )
    .unwrap();
    assert_eq!(config.conditions[0].severity, Some(Severity::Sev1));
    let day = Duration::from_secs(24 * 3600);
    let kept = Retention {
        max_age: Some(90 * day),
        max_bytes: Some(2 << 30),
        max_incidents: Some(500),
    };
    assert_eq!(config.retention, kept);
    assert_eq!(config.store, Some("var/journal.redb".into()));
    assert_eq!(config.archive, Some("var/archive".into()));
    assert_eq!(config.engine.max_series_per_metric, 300);
    assert_eq!(config.engine.label_values["path"], 50);
    assert_eq!(
        (config.engine.flood.burst, config.engine.flood.keys),
        (10, 64)
    );
    let minute = Duration::from_secs(60);
    assert_eq!(config.engine.model_interval, minute);
    assert_eq!(config.engine.model_bytes, 256 << 20);
    assert_eq!(config.topology.n_instances(), 4);
    assert!(!config.flags.is_on("heal.orders", true));
    assert_eq!(config.policy.limits[0].max, 5);
    assert!((config.policy.breaker.failure_ratio.get() - 0.4).abs() < 1e-12);
    assert_eq!(config.playbooks.len() + config.rules.len(), 2);
}
