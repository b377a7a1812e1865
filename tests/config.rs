//! A configuration that is wrong says everything that is wrong, with its place, and starts nothing.

use std::time::Duration;

use homeostasis::core::policy::{CostBenefitPolicy, LimitScope, Requirement, Weekday};
use homeostasis::core::port::{Retention, Role};
use homeostasis::core::record::{RadiusLevel, RiskLevel, Severity};
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

/// Each of `found` begins with one of `expected`, in whatever order, and there is no other.
#[track_caller]
fn assert_are(found: &[String], expected: &[&str]) {
    for start in expected {
        assert!(
            found.iter().any(|line| line.starts_with(start)),
            "{start}\nall: {found:#?}"
        );
    }
    assert_eq!(found.len(), expected.len(), "{found:#?}");
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
fn windows_and_worth_are_checked_with_their_place() {
    let typed = violations(
        "\
policy:
  maintenance: { windows: [{ opens: \"24:00\", lasts: 1h }] }
  storm: { at_least: 0 }
",
    );
    let ranged = violations(
        "\
policy:
  maintenance: { windows: [{ opens: \"02:00\", lasts: 25h }] }
  cost_benefit: { low: 31d }
",
    );
    let alone = violations("policy: { maintenance: { only: [vacuum-orders] } }\n");
    let expected = [
        "homeostasis.yaml:2:37: policy.maintenance.windows[0].opens = \"24:00\", expected a time of day in UTC as HH:MM",
        "homeostasis.yaml:3:22: policy.storm.at_least = 0",
        "homeostasis.yaml:2:53: policy.maintenance.windows[0].lasts",
        "homeostasis.yaml:3:24: policy.cost_benefit.low",
        "homeostasis.yaml:1:24: policy.maintenance.windows = [], expected a window, since something waits for one",
    ];
    let found = [typed, ranged, alone].concat();
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (line, start) in found.iter().zip(expected) {
        assert!(line.starts_with(start), "{line}\nexpected {start}");
    }
    let off = Config::parse("policy: { cost_benefit: { enabled: false } }").unwrap();
    assert_eq!(off.policy.cost_benefit, None);
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
  evidence_bytes: 1KiB
  diagnosis_cache: 10001
  diagnosis_ttl: 11m
",
    );
    let expected = [
        "homeostasis.yaml:10:18: engine.diagnosis_ttl = \"11m\", expected 0ns to 600s",
        "homeostasis.yaml:2:40: store.retention.max_bytes = \"3 parsecs\", expected a size",
        "homeostasis.yaml:2:51: store.retention.max_incident = unknown field",
        "homeostasis.yaml:4:29: engine.label_values.instance = 3",
        "homeostasis.yaml:5:19: engine.flood.burst = 2000000, expected 0 to 1000000",
        "homeostasis.yaml:5:38: engine.flood.interval = \"1ms\", expected 10ms to 600s",
        "homeostasis.yaml:6:19: engine.model_interval = \"1ms\", expected 1s to",
        "homeostasis.yaml:7:16: engine.model_bytes = \"17GiB\", expected 0 to 16 GiB",
        "homeostasis.yaml:8:19: engine.evidence_bytes = \"1KiB\", expected 64 KiB to 16 GiB",
        "homeostasis.yaml:9:20: engine.diagnosis_cache = 10001, expected 0 to 10000",
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
  evidence_bytes: 4MiB
  diagnosis_cache: 5
  diagnosis_ttl: 3s
policy:
  pre_approved: [restart_process]
  max_risk: high
  max_radius: multiple_services
  limits: [{ scope: action_on_target, max: 5, window: 1h }]
  breaker: { consecutive_failures: 2, failure_ratio: 40%, window: 5, cool_down: 10m }
  safe_mode: { unknown_cause: false, new_kind: true, after_change: 10m }
  storm: { min_healthy: 75%, at_least: 5 }
  maintenance:
    windows: [{ days: [saturday, sunday], opens: \"02:30\", lasts: 2h }]
    only: [vacuum-orders]
  cost_benefit: { without_healing: 1h, critical: 8h }
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
    let diagnosis = (config.engine.diagnosis_cache, config.engine.diagnosis_ttl);
    assert_eq!(diagnosis, (5, Duration::from_secs(3)));
    assert_eq!(config.engine.evidence_bytes, 4 << 20);
    assert_eq!(config.topology.n_instances(), 4);
    assert!(!config.flags.is_on("heal.orders", true));
    assert_eq!(config.policy.limits[0].max, 5);
    assert!((config.policy.breaker.failure_ratio.get() - 0.4).abs() < 1e-12);
    let safe_mode = config.policy.safe_mode;
    assert!(safe_mode.new_kind && !safe_mode.unknown_cause);
    assert_eq!(safe_mode.after_change, 10 * minute);
    assert_eq!(config.policy.storm.at_least, 5);
    let window = &config.policy.maintenance.windows[0];
    assert_eq!(window.opens, 150 * minute);
    assert_eq!(window.days, [Weekday::Saturday, Weekday::Sunday].into());
    let worth = config.policy.cost_benefit.unwrap();
    assert_eq!(worth.without_healing, 60 * minute);
    assert_eq!(worth.high, CostBenefitPolicy::default().high);
    assert_eq!(config.playbooks.len() + config.rules.len(), 2);
}

#[test]
fn every_mistake_of_a_detector_is_named_with_its_place_and_range() {
    let found = violations(
        "\
engine: { tick: 0s }
detect:
  log_templates: { new_share: 1, history: 5, max_templates: 0 }
  log_errors:
    factor: 0.5
  operations:
    window: 1ms
    alerting: { clear: 90%, clear_samples: 0 }
    latency: { k: 0, quantiles: [] }
    failures: true
    calls: { limit: 1000, max_calls: 0 }
  watch_series:
    - { name: a, metrics: [m], sensitivity: 0, alerting: { max_gap: 0s } }
    - { name: b, metrics: [m] }
  time_to_breach:
    - { name: b, metrics: [disk], above: 90, horizon: 0s, confidence: 100% }
  forecasts:
    - { name: c, metrics: [m], warm_up: 3, limit: 0 }
  components:
    - { name: c, metrics: [m, n], min_rows: 5, alerting: { clear: 1 } }
",
    );
    let expected = [
        "homeostasis.yaml:1:17: engine.tick",
        "homeostasis.yaml:3:31: detect.log_templates.new_share = 1, expected above 0 and below 1",
        "homeostasis.yaml:3:43: detect.log_templates.history = 5, expected 10 to 100000 windows",
        "homeostasis.yaml:3:18: detect.log_templates.min_windows = 10, expected 1 to 5",
        "homeostasis.yaml:3:61: detect.log_templates.max_templates = 0",
        "homeostasis.yaml:5:13: detect.log_errors.factor = 0.5, expected 1 to 1000000",
        "homeostasis.yaml:7:13: detect.operations.window = \"1ms\", expected 1s to 1h",
        "homeostasis.yaml:8:24: detect.operations.alerting.clear = \"90%\"",
        "homeostasis.yaml:8:44: detect.operations.alerting.clear_samples = 0",
        "homeostasis.yaml:9:19: detect.operations.latency.k = 0",
        "homeostasis.yaml:9:33: detect.operations.latency.quantiles",
        "homeostasis.yaml:11:21: detect.operations.calls.limit = 1000",
        "homeostasis.yaml:11:38: detect.operations.calls.max_calls = 0",
        "homeostasis.yaml:13:45: detect.watch_series[0].sensitivity = 0, expected 0.01 to 100",
        "homeostasis.yaml:13:69: detect.watch_series[0].alerting.max_gap = \"0s\"",
        "homeostasis.yaml:16:15: detect.time_to_breach[0].name = \"b\", expected a name that no other",
        "homeostasis.yaml:16:55: detect.time_to_breach[0].horizon = \"0s\"",
        "homeostasis.yaml:16:71: detect.time_to_breach[0].confidence = \"100%\"",
        "homeostasis.yaml:18:41: detect.forecasts[0].warm_up = 3, expected 40 to 1024 steps",
        "homeostasis.yaml:18:51: detect.forecasts[0].limit = 0, expected 0.1 to 1000",
        "homeostasis.yaml:20:15: detect.components[0].name = \"c\", expected a name that no other",
        "homeostasis.yaml:20:45: detect.components[0].min_rows = 5, expected 32 to 100000 rows",
        "homeostasis.yaml:20:67: detect.components[0].alerting.clear = 1",
    ];
    assert_are(&found, &expected);
}

#[test]
fn what_a_detector_cannot_mean_is_refused_beside_the_ranges_of_other_sections() {
    let found = violations(
        "\
engine: { tick: 0s }
detect:
  log_templates:
  log_errors: { from: loud, windows: 3 }
  operations: { window: 1m }
  forecasts: [{ name: f, metrics: [m], limit: 0 }]
  watch_series: [{ name: '', metrics: [] }]
  time_to_breach:
    - { name: a, metrics: [disk], above: 90, below: 10 }
    - { name: b, metrics: [disk], limit: 90 }
",
    );
    let expected = [
        "homeostasis.yaml:1:17: engine.tick",
        "homeostasis.yaml:3:3: detect.log_templates = null, expected true, false, or a mapping",
        "homeostasis.yaml:4:23: detect.log_errors.from = \"loud\", expected a level",
        "homeostasis.yaml:4:29: detect.log_errors.windows = unknown field",
        "homeostasis.yaml:5:15: detect.operations",
        "homeostasis.yaml:6:47: detect.forecasts[0].limit = 0, expected 0.1 to 1000",
        "homeostasis.yaml:7:26: detect.watch_series[0].name",
        "homeostasis.yaml:7:39: detect.watch_series[0].metrics",
        "homeostasis.yaml:9:53: detect.time_to_breach[0].below = 10, expected one limit",
        "homeostasis.yaml:10:7: detect.time_to_breach[1].above is missing, expected a limit",
        "homeostasis.yaml:10:35: detect.time_to_breach[1].limit = unknown field",
    ];
    assert_are(&found, &expected);
}

#[test]
fn every_field_of_a_detector_is_read_and_what_is_furnished_is_the_default() {
    use homeostasis::detect::{
        AlertingConfig, ForecasterConfig, LogErrorRateConfig, LogTemplatesConfig, OnlineConfig,
        OperationCallsConfig, OperationFailuresConfig, OperationLatencyConfig, PerOperationConfig,
        Side, TimeToBreachConfig,
    };
    use homeostasis::{ComponentWatch, DetectionConfig, RowModel, SeriesWatch};

    let read = |text: &str| Config::parse(text).unwrap().detection;
    assert_eq!(read("mode: auto"), DetectionConfig::default());
    assert_eq!(
        read("detect: { log_errors: false }"),
        DetectionConfig::default()
    );
    let furnished = read(
        "
detect:
  log_templates: true
  log_errors: {}
  operations: { latency: true, failures: {}, calls: true }
  watch_series: [{ name: a, metrics: [m] }]
  time_to_breach: [{ name: b, metrics: [m], below: 5 }]
  forecasts: [{ name: c, metrics: [m] }]
  components: [{ name: d, metrics: [m, n] }]
",
    );
    assert_eq!(furnished.log_templates, Some(LogTemplatesConfig::default()));
    assert_eq!(furnished.log_errors, Some(LogErrorRateConfig::default()));
    let operations = &furnished.operations;
    assert_eq!(operations.windows, PerOperationConfig::default());
    assert_eq!(operations.latency, Some(OperationLatencyConfig::default()));
    assert_eq!(
        operations.failures,
        Some(OperationFailuresConfig::default())
    );
    assert_eq!(operations.calls, Some(OperationCallsConfig::default()));
    let online = SeriesWatch::new("a", ["m"], OnlineConfig::default());
    assert_eq!(furnished.watch_series, [online]);
    let breach = SeriesWatch::new("b", ["m"], TimeToBreachConfig::below(5.0));
    assert_eq!(furnished.time_to_breach, [breach]);
    let forecast = SeriesWatch::new("c", ["m"], ForecasterConfig::default());
    assert_eq!(furnished.forecasts, [forecast]);
    assert_eq!(furnished.components, [ComponentWatch::new("d", ["m", "n"])]);

    let mut said = read(
        "
detect:
  operations: { failures: { limit: 12, min_failures: 4, history: 500, warm_up: 9 }, alerting: { sustain_samples: 1 } }
  time_to_breach:
    - name: disk
      metrics: [used, full]
      labels: { mount: / }
      above: 90
      horizon: 6h
      confidence: 80%
      history: 7d
      period: 1d
      alerting: { threshold: 0.6, clear: 0.3, sustain_samples: 3, sustain: 5m, clear_samples: 4, max_gap: 1h, refractory: 10m }
      max_series: 7
      default_target: shop/1
      severity: sev3
      playbook: free_disk
",
    );
    let failures = said.operations.failures.unwrap();
    assert_eq!(
        (failures.limit, failures.min_failures, failures.history),
        (12.0, 4, 500.0)
    );
    let alerting = said.operations.windows.alerting;
    let base = PerOperationConfig::default().alerting;
    assert_eq!(
        alerting,
        AlertingConfig {
            sustain_samples: 1,
            ..base
        }
    );
    let watch = said.time_to_breach.remove(0);
    assert_eq!(watch.labels["mount"], "/");
    assert_eq!(watch.metrics, ["used", "full"]);
    assert_eq!((watch.config.limit, watch.config.is_low), (90.0, false));
    assert_eq!(watch.config.period, Some(Duration::from_secs(86_400)));
    assert_eq!(watch.config.horizon, Duration::from_secs(6 * 3600));
    assert_eq!(watch.alerting.sustain, Duration::from_secs(300));
    assert_eq!((watch.alerting.clear.get(), watch.max_series), (0.3, 7));
    assert_eq!(watch.default_target.unwrap().to_string(), "shop/1");
    assert_eq!(watch.severity, Some(Severity::Sev3));
    assert_eq!(watch.playbook.as_deref(), Some("free_disk"));
    let forest =
        read("detect: { components: [{ name: a, metrics: [m], model: isolation_forest }] }");
    assert_eq!(forest.components[0].model, RowModel::IsolationForest);
    let side = read("detect: { watch_series: [{ name: a, metrics: [m], side: HIGH }] }");
    assert_eq!(side.watch_series[0].config.side, Side::High);
}

#[test]
fn every_field_of_a_detector_stands_on_the_page() {
    let page = include_str!("../docs/how-to/configure-detection.md");
    let series = "{ name: a, metrics: [m], above: 1, fi_eld: 1, alerting: { fi_eld: 1 } }";
    let found = violations(&format!(
        "
detect:
  fi_eld: 1
  log_templates: {{ fi_eld: 1 }}
  log_errors: {{ fi_eld: 1 }}
  operations: {{ latency: {{ fi_eld: 1 }}, failures: {{ fi_eld: 1 }}, calls: {{ fi_eld: 1 }}, fi_eld: 1 }}
  watch_series: [{series}]
  time_to_breach: [{series}]
  forecasts: [{series}]
  components: [{series}]
"
    ));
    let known = found
        .iter()
        .filter(|line| line.contains("fi_eld = unknown field"))
        .filter_map(|line| line.split_once("expected one of "));
    let fields: Vec<&str> = known
        .flat_map(|(_, names)| names.split(';').next().unwrap_or_default().split(", "))
        .collect();
    assert!(fields.len() > 100, "{} fields", fields.len());
    for field in fields {
        assert!(page.contains(field), "{field} is not on the page");
    }
}

/// The blocks of YAML of the guide, each a configuration by itself.
#[test]
fn the_guide_to_the_policy_is_a_configuration() {
    let guide = include_str!("../docs/how-to/set-the-policy.md");
    let blocks = guide.split("```yaml\n").skip(1);
    let texts: Vec<_> = blocks
        .map(|rest| rest.split("```").next().unwrap())
        .collect();
    assert_eq!(texts.len(), 3);
    let configs: Vec<_> = texts
        .iter()
        .map(|text| Config::parse(text).unwrap())
        .collect();
    let policy = &configs[0].policy;
    let cell = policy
        .matrix
        .ask(Severity::Sev3, RadiusLevel::SingleService);
    assert_eq!(cell, Requirement::Approvals(2));
    let rule = &policy.rules[0];
    assert_eq!(
        (rule.require, rule.severities.len()),
        (Requirement::People, 2)
    );
    assert!(policy.patches.is_critical("auth/keys.toml"));
    let asked: Vec<_> = policy.sign_off.roles(RadiusLevel::MultiRegion).collect();
    assert_eq!(asked, [&Role::named("team_lead")]);
    assert_eq!(policy.limits[2].scope, LimitScope::Service);
    let access = configs[1].access.as_ref().unwrap();
    assert_eq!(access.tokens.principals().next().unwrap().name, "ada");
    assert!(access.roles.knows(&Role::named("orders_team")));
    let file = configs[1].kill_switch_file.as_ref().unwrap();
    assert_eq!(file, std::path::Path::new("var/stop"));
}

#[test]
fn what_is_wrong_with_access_and_the_matrix_is_named_with_its_line_and_without_the_token() {
    let found = violations(
        "\
policy:
  matrix: { sev2: { single_service: maybe }, sev9: {} }
  rules: [{ name: freeze }]
access:
  roles: { admin: [{ may: [view] }] }
  healer: [medic]
  principals:
    - { name: ada, roles: [captain], tokens: [hunter2hunter2hunter2] }
    - { name: ada, roles: [viewer], tokens: [] }
",
    );
    let tells = |line: &String| line.contains("hunter2");
    assert!(!found.iter().any(tells), "{found:#?}");
    let expected = [
        "policy.matrix.sev2.single_service",
        "policy.matrix.sev9",
        "policy.rules[0].require",
        "access.principals[0].tokens[0]",
    ];
    for path in expected {
        assert!(
            found.iter().any(|line| line.contains(path)),
            "{path}: {found:#?}"
        );
    }
}

#[test]
fn picks_of_the_library_are_read_and_what_they_lack_is_named() {
    let found = violations("library: [{playbook: a, category: b}, {set: {}}, {playbok: a}]");
    let expected = "expected either `playbook` or `category`";
    assert_eq!(
        found.iter().filter(|line| line.contains(expected)).count(),
        3,
        "{found:#?}"
    );
    let config = Config::parse(
        "library:\n  - {playbook: service_restart, set: {service: shop, unit: 7}}\n  - {category: databases}\n",
    )
    .unwrap();
    assert_eq!(config.library[0].set["unit"], 7);
    assert_eq!(config.library[1].category.as_deref(), Some("databases"));
}
