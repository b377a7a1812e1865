//! The committed JSON Schema of playbooks is the generated one, and says what the reader takes.
#![cfg(feature = "schema")]
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests too")]

use homeostasis_core::condition::Truth;
use homeostasis_core::document::Parser;
use homeostasis_remediate::action::{ActionRegistry, ActionSpec, CallFunction, Param, ParamKind};
use homeostasis_remediate::playbook::{CheckRegistry, Playbook, playbook_schema};
use serde_json::{Value, json};

const COMMITTED: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../docs/schema/playbook.schema.json"
);

/// To write the file anew: run this test with `UPDATE_SCHEMA=1`, then read the difference.
#[test]
fn the_committed_schema_is_the_generated_one() {
    let generated = format!("{:#}\n", playbook_schema());
    if std::env::var_os("UPDATE_SCHEMA").is_some() {
        std::fs::write(COMMITTED, &generated).unwrap();
    }
    let committed = std::fs::read_to_string(COMMITTED).unwrap();
    assert!(
        committed == generated,
        "docs/schema/playbook.schema.json is not what the types say; UPDATE_SCHEMA=1 writes it anew"
    );
}

fn names() -> (ActionRegistry, CheckRegistry) {
    let mut actions = ActionRegistry::default();
    for name in [
        "act",
        "cleanup_temp_files",
        "rotate_logs",
        "package_manager_clean",
        "archive_to_s3",
        "restart",
    ] {
        let params = [
            "what",
            "paths",
            "age_threshold",
            "compress",
            "keep_last",
            "package_managers",
            "source",
            "process",
            "tag",
            "grace",
        ];
        let params = params.map(|name| Param::optional(name, ParamKind::Any, "anything"));
        let spec = ActionSpec::new("a test").with_params(params);
        let action = CallFunction::new(name, spec, |_| {
            Box::pin(std::future::ready(Ok(Value::Null)))
        });
        actions.register(action).unwrap();
    }
    let mut checks = CheckRegistry::default();
    for name in [
        "ready",
        "writable_filesystem",
        "no_active_backups",
        "sufficient_permissions",
    ] {
        checks.register_fn(name, |_, _| Truth::True).unwrap();
    }
    (actions, checks)
}

#[test]
fn the_files_of_the_tests_fit_the_schema_and_the_reader() {
    let validator = jsonschema::validator_for(&playbook_schema()).unwrap();
    let (actions, checks) = names();
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata");
    for file in [
        "source-document.yaml",
        "playbooks/disk-space-cleanup.yaml",
        "playbooks/restart-leaking-service.yaml",
    ] {
        let text = std::fs::read_to_string(format!("{folder}/{file}")).unwrap();
        Playbook::parse(file, &text, &actions, &checks).unwrap();
        let value = Parser::new().parse(&text).unwrap().to_json();
        let wrong: Vec<String> = validator
            .iter_errors(&value)
            .map(|error| error.to_string())
            .collect();
        assert!(wrong.is_empty(), "{file}: {wrong:#?}");
    }
}

/// Sets the value at a JSON pointer; `null` removes it.
fn with(document: &Value, pointer: &str, value: &Value) -> Value {
    let mut document = document.clone();
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let parent = document.pointer_mut(parent).unwrap();
    match parent {
        Value::Array(items) => items[name.parse::<usize>().unwrap()] = value.clone(),
        parent if value.is_null() => {
            parent.as_object_mut().unwrap().remove(name);
        }
        parent => parent[name] = value.clone(),
    }
    document
}

#[test]
#[expect(clippy::too_many_lines, reason = "one table")]
fn schema_and_reader_take_and_refuse_the_same() {
    let validator = jsonschema::validator_for(&playbook_schema()).unwrap();
    let (actions, checks) = names();
    let sound = json!({
        "playbook_id": "a", "name": "A", "version": "1", "category": "infrastructure",
        "severity": "high",
        "trigger": {"condition": "x > 1", "duration": "5m"},
        "pre_conditions": [{"check": "ready"}, "y > 1", {"condition": "z > 1", "within": "10m"}],
        "remediation_steps": [
            {"step": 1, "action": "act", "what": [1], "timeout": "5s", "retry": {"attempts": 2}},
            {"step": 2, "parallel": [{"action": "act", "name": "b"}, {"action": "act"}]},
        ],
        "verification": {"check": "x < 1", "wait_time": "2m", "retry": 3, "health": "50%",
            "comparison": [{"metric": "m", "at_most": 1.2}]},
        "rollback": {"available": false, "reason": "no"},
        "escalation": {"on_failure": true, "notify": ["ann"], "create_incident": true},
        "safety": {"max_retries": 1, "require_approval": false, "blast_radius": "single_host"},
        "lint": {"allow": ["unbounded-target"]},
        "metadata": {"success_rate": 0.94},
    });
    let mut wrong = Vec::new();
    let mut check = |document: &Value, expected: bool| {
        let text = document.to_string();
        let read = Playbook::parse("p.json", &text, &actions, &checks);
        let fits = validator.is_valid(document);
        if (read.is_ok(), fits) != (expected, expected) {
            wrong.push(format!(
                "schema {fits}, reader {read:?}, expected {expected}: {document}"
            ));
        }
    };
    check(&sound, true);
    for (pointer, value) in [
        ("/category", Value::Null),
        ("/severity", json!("sev3")),
        ("/trigger", json!({"service": "orders/1"})),
        ("/trigger", json!({"cause": "x", "category": "network"})),
        ("/pre_conditions", json!([])),
        ("/verification", Value::Null),
        ("/verification/health", json!(0.5)),
        (
            "/verification",
            json!({"health_tiers": [{"tier": "deep", "window": "1m"}], "stability": "5m",
                "immediate": {"check": "up == 1"}}),
        ),
        (
            "/verification",
            json!({"scenarios": [{"name": "s", "steps": [
                {"name": "a", "url": "http://a/b?c=1", "json": {"/x": 1, "": null}},
                {"name": "b", "url": "http://a", "method": "POST", "body": [1], "status": [201],
                    "side_effects": true},
                {"name": "c", "function": "f", "args": {"a": 1}, "contains": "x"},
            ]}], "min_pass_rate": "50%"}),
        ),
        (
            "/verification/comparison/0/baseline",
            json!("same_time_last_week"),
        ),
        ("/rollback", json!({"available": true})),
        ("/metadata", Value::Null),
        ("/remediation_steps/0/target", json!("orders")),
        ("/remediation_steps/0/expected_recovery", json!("5-10%")),
    ] {
        check(&with(&sound, pointer, &value), true);
    }
    for (pointer, value) in [
        ("/playbook_id", Value::Null),
        ("/playbook_id", json!("../x")),
        ("/name", json!("")),
        ("/version", json!([1])),
        ("/severity", json!("severe")),
        ("/trigger", json!({})),
        ("/trigger/duration", json!("soon")),
        ("/trigger", json!({"cause": "x", "duration": "5m"})),
        ("/trigger/category", json!("netwrk")),
        ("/trigger/until", json!("5m")),
        ("/pre_conditions/0", json!({"chek": "ready"})),
        (
            "/pre_conditions/0",
            json!({"check": "ready", "within": "5m"}),
        ),
        ("/remediation_steps", json!([])),
        ("/remediation_steps/0/action", Value::Null),
        ("/remediation_steps/0/step", json!(0)),
        ("/remediation_steps/0/target", json!("${target}")),
        ("/remediation_steps/0/retry", json!({"attempts": 99})),
        ("/remediation_steps/0/retry", json!({"tries": 1})),
        ("/remediation_steps/1/parallel", json!([{"action": "act"}])),
        (
            "/remediation_steps/1/parallel/0",
            json!({"step": 1, "action": "act"}),
        ),
        ("/remediation_steps/1/timeout", json!("5s")),
        ("/verification", json!({"wait_time": "5s"})),
        ("/verification/watch", json!("5m")),
        ("/verification/min_pass_rate", json!("50%")),
        ("/verification/stability_interval", json!("10s")),
        ("/verification/immediate", json!({})),
        ("/verification/health_tiers", json!([{"tier": "flat"}])),
        (
            "/verification/scenarios",
            json!([{"name": "s", "steps": []}]),
        ),
        (
            "/verification/scenarios",
            json!([{"name": "s", "steps": [{"name": "a"}]}]),
        ),
        (
            "/verification/scenarios",
            json!([{"name": "s", "steps": [{"name": "a", "url": "http://a", "method": "PUT"}]}]),
        ),
        (
            "/verification/scenarios",
            json!([{"name": "s", "steps": [{"name": "a", "url": "a", "side_effects": true}]}]),
        ),
        (
            "/verification/scenarios",
            json!([{"name": "s", "steps": [{"name": "a", "function": "f", "status": [200]}]}]),
        ),
        ("/verification/comparison/0/baseline", json!("ever")),
        ("/verification/consecutive", json!(0)),
        ("/verification/comparison", json!([{"metric": "m"}])),
        (
            "/verification/comparison",
            json!([{"metric": "m", "at_most": 1, "at_least": 1}]),
        ),
        ("/rollback", json!({"available": false})),
        ("/rollback", json!({"reason": "no"})),
        ("/escalation/notify", json!("ann")),
        ("/safety/max_retries", json!(99)),
        ("/safety/blast_radius", json!("world")),
        ("/lint", json!({"allow": ["no-such-rule"]})),
        ("/lint", json!({"allow": []})),
        ("/metadata", json!([])),
        ("/steps", json!([])),
    ] {
        check(&with(&sound, pointer, &value), false);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The fields that may stand in the object at each pointer.
const FIELDS: &[(&str, &[&str])] = &[
    (
        "",
        &[
            "playbook_id",
            "name",
            "version",
            "category",
            "severity",
            "trigger",
            "pre_conditions",
            "remediation_steps",
            "verification",
            "rollback",
            "escalation",
            "safety",
            "lint",
            "metadata",
            "unknown",
        ],
    ),
    ("/trigger", TRIGGER),
    ("/pre_conditions/0", ASKED),
    ("/pre_conditions/2", ASKED),
    ("/remediation_steps/0", STEP),
    (
        "/remediation_steps/0/retry",
        &["attempts", "backoff", "max_backoff", "unknown"],
    ),
    (
        "/remediation_steps/1",
        &["step", "parallel", "name", "timeout"],
    ),
    ("/remediation_steps/1/parallel/0", STEP),
    (
        "/verification",
        &[
            "check",
            "wait_time",
            "retry",
            "interval",
            "watch",
            "consecutive",
            "window",
            "health",
            "comparison",
            "unknown",
        ],
    ),
    (
        "/verification/comparison/0",
        &[
            "metric", "at_most", "at_least", "window", "target", "unknown",
        ],
    ),
    ("/rollback", &["available", "reason", "unknown"]),
    (
        "/escalation",
        &["on_failure", "notify", "create_incident", "unknown"],
    ),
    (
        "/safety",
        &["max_retries", "require_approval", "blast_radius", "unknown"],
    ),
    ("/lint", &["allow", "unknown"]),
];
const TRIGGER: &[&str] = &[
    "condition",
    "duration",
    "cause",
    "category",
    "service",
    "unknown",
];
const ASKED: &[&str] = &["check", "condition", "within", "unknown"];
const STEP: &[&str] = &[
    "step",
    "name",
    "action",
    "target",
    "timeout",
    "retry",
    "expected_recovery",
    "parallel",
];

#[test]
fn nulls_and_blanks_are_taken_and_refused_alike() {
    let validator = jsonschema::validator_for(&playbook_schema()).unwrap();
    let (actions, checks) = names();
    let sound = json!({
        "playbook_id": "a", "name": "A", "version": "1",
        "trigger": {"condition": "x > 1", "duration": "5m"},
        "pre_conditions": [{"check": "ready"}, "y > 1", {"condition": "z > 1", "within": "10m"}],
        "remediation_steps": [
            {"action": "act", "retry": {"attempts": 2}},
            {"parallel": [{"action": "act"}, {"action": "act"}]},
        ],
        "verification": {"check": "x < 1", "retry": 3, "comparison": [{"metric": "m", "at_most": 1.2}]},
        "rollback": {"available": false, "reason": "no"},
        "escalation": {"notify": ["ann"]},
        "safety": {},
        "lint": {"allow": ["unbounded-target"]},
    });
    let mut bare = sound.clone();
    for name in [
        "pre_conditions",
        "verification",
        "rollback",
        "escalation",
        "safety",
        "lint",
    ] {
        bare[name] = Value::Null;
    }
    bare["trigger"] = json!({"cause": "x", "duration": null, "condition": null});
    let (mut wrong, mut n_taken, mut n_refused) = (Vec::new(), 0, 0);
    let mut compare = |document: &Value| {
        let read = Playbook::parse("p.json", &document.to_string(), &actions, &checks);
        let fits = validator.is_valid(document);
        if read.is_ok() != fits {
            wrong.push(format!("schema {fits}, reader {read:?}: {document}"));
        }
        if fits { n_taken += 1 } else { n_refused += 1 }
    };
    for document in [&sound, &bare] {
        compare(document);
        for (pointer, fields) in FIELDS {
            for field in *fields {
                for value in [
                    json!(null),
                    json!(""),
                    json!(" "),
                    json!("\t\n"),
                    json!([null]),
                ] {
                    let mut other = document.clone();
                    let Some(object) = other.pointer_mut(pointer).and_then(Value::as_object_mut)
                    else {
                        continue;
                    };
                    object.insert((*field).to_owned(), value);
                    compare(&other);
                }
            }
        }
    }
    for target in [
        "orders", " orders", "orders ", "a/b", "a/", "/b", "a/b/c", "a / b", "a\u{7}",
    ] {
        for pointer in [
            "/trigger/service",
            "/verification/comparison/0/target",
            "/remediation_steps/0/target",
        ] {
            let mut other = sound.clone();
            let (parent, field) = pointer.rsplit_once('/').unwrap();
            other.pointer_mut(parent).unwrap()[field] = target.into();
            compare(&other);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(n_taken > 80 && n_refused > 400, "{n_taken} {n_refused}");
}
