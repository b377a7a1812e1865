//! The committed JSON Schema of rule files is the generated one, and says what the loader takes.
#![cfg(feature = "schema")]
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests too")]

use homeostasis_core::document::Parser;
use homeostasis_rca::{RuleSet, rule_schema};
use serde_json::{Value, json};

const COMMITTED: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../docs/schema/rules.schema.json"
);

/// To write the file anew: run this test with `UPDATE_SCHEMA=1`, then read the difference.
#[test]
fn the_committed_schema_is_the_generated_one() {
    let generated = format!("{:#}\n", rule_schema());
    if std::env::var_os("UPDATE_SCHEMA").is_some() {
        std::fs::write(COMMITTED, &generated).unwrap();
    }
    let committed = std::fs::read_to_string(COMMITTED).unwrap();
    assert!(
        committed == generated,
        "docs/schema/rules.schema.json is not what the types say; UPDATE_SCHEMA=1 writes it anew"
    );
}

#[test]
fn every_shipped_file_fits_the_schema() {
    let validator = jsonschema::validator_for(&rule_schema()).unwrap();
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/rules");
    let mut n_files = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path
            .extension()
            .is_some_and(|extension| extension == "yaml")
        {
            let text = std::fs::read_to_string(&path).unwrap();
            let value = Parser::new().parse(&text).unwrap().to_json();
            let wrong: Vec<String> = validator
                .iter_errors(&value)
                .map(|e| e.to_string())
                .collect();
            assert!(wrong.is_empty(), "{}: {wrong:#?}", path.display());
            n_files += 1;
        }
    }
    assert!(n_files > 0);
}

/// The names that the loader lists when it meets one it does not know.
fn known_to_the_loader(document: &str) -> Vec<String> {
    let error = RuleSet::parse("r.yaml", document).unwrap_err().to_string();
    let line = error
        .lines()
        .find(|line| line.contains("unknown field"))
        .unwrap();
    let names = line.split('`').skip(1).step_by(2).map(str::to_owned);
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

fn in_the_schema(definition: &Value) -> Vec<String> {
    let properties = definition["properties"].as_object().unwrap();
    let mut names: Vec<String> = properties.keys().cloned().collect();
    names.sort();
    names
}

#[test]
fn loader_and_schema_know_the_same_fields_and_require_the_same() {
    let schema = rule_schema();
    let rule = &schema["$defs"]["Rule"];
    assert_eq!(
        known_to_the_loader("rules:\n- {x9: 1}"),
        in_the_schema(rule)
    );
    assert_eq!(
        known_to_the_loader("rules:\n- context_requirements: [{x9: 1}]").len(),
        { in_the_schema(&schema["$defs"]["Field"]).len() }
    );

    let sound = json!({"id": "a", "title": "x", "pattern": "boom", "category": "network",
        "cause": "x", "confidence": 0.6, "examples": ["boom"]});
    let validator = jsonschema::validator_for(&schema).unwrap();
    let accepts = |rule: &Value| {
        let document = json!({"rules": [rule]});
        let loads = RuleSet::parse("r.json", &document.to_string()).is_ok();
        assert_eq!(validator.is_valid(&document), loads, "{document}");
        loads
    };
    assert!(accepts(&sound));
    for name in sound.as_object().unwrap().keys() {
        let mut without = sound.clone();
        without.as_object_mut().unwrap().remove(name);
        assert!(!accepts(&without), "{name}");
    }
    for (name, value) in [
        ("id", json!("A")),
        ("title", json!("")),
        ("category", json!("netwrk")),
        ("blames", json!("itself")),
        ("criticality", json!("severe")),
        ("confidence", json!(0.999)),
        ("examples", json!([])),
        ("references", json!(["http://x"])),
        ("context_requirements", json!([{"field": "a"}])),
        ("fallback", json!("yes")),
    ] {
        let mut wrong = sound.clone();
        wrong[name] = value;
        assert!(!accepts(&wrong), "{wrong}");
    }
}
