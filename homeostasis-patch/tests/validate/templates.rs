//! What the shipped templates propose, the validator lets through.

use std::fmt::Write as _;

use homeostasis_core::record::RiskLevel;
use homeostasis_patch::PatchValidator;

const SHIPPED: &[(&str, &str)] = &[
    ("a.py", include_str!("../../templates/python.yaml")),
    ("a.rs", include_str!("../../templates/rust.yaml")),
    ("a.go", include_str!("../../templates/go.yaml")),
    ("A.java", include_str!("../../templates/java.yaml")),
    ("a.js", include_str!("../../templates/javascript.yaml")),
];

/// An example of a template: both texts, and whether the template says it is risky.
struct Example {
    id: String,
    path: &'static str,
    before: String,
    after: String,
    is_risky: bool,
}

/// The examples of the shipped documents, whose texts are double-quoted, one on a line.
fn examples() -> Vec<Example> {
    let mut found: Vec<Example> = Vec::new();
    for (path, document) in SHIPPED {
        let (mut id, mut is_risky, mut before) = (String::new(), false, None);
        for line in document.lines().map(str::trim) {
            let line = line.strip_prefix("- ").unwrap_or(line);
            let text =
                |line: &str| -> String { serde_json::from_str(line).expect("a quoted text") };
            if let Some(name) = line.strip_prefix("id: ") {
                (id, is_risky, before) = (name.to_owned(), false, None);
            } else if let Some(risk) = line.strip_prefix("risk: ") {
                is_risky = risk == "high";
            } else if let Some(quoted) = line.strip_prefix("before: ") {
                before = Some(text(quoted));
            } else if let Some(quoted) = line.strip_prefix("after: ") {
                let before = before.take().expect("a text before");
                let (id, after) = (id.clone(), text(quoted));
                found.push(Example {
                    id,
                    path,
                    before,
                    after,
                    is_risky,
                });
            }
        }
    }
    found
}

#[test]
fn what_the_shipped_templates_do_is_let_through() {
    let examples = examples();
    assert!(examples.len() >= 70, "{} examples", examples.len());
    let (mut refused, mut n_refused, mut risks) = (String::new(), 0, [0; 3]);
    for example in &examples {
        let path = example.path;
        let found = PatchValidator::default().validate(path, &example.before, &example.after);
        if !found.is_accepted() && !example.is_risky {
            n_refused += 1;
            let _ = writeln!(refused, "## {}\n{}\n{found}", example.id, example.after);
        }
        risks[match found.risk {
            RiskLevel::Low => 0,
            RiskLevel::Medium => 1,
            _ => 2,
        }] += 1;
    }
    let n = examples.len();
    println!("templates: {n_refused} refused of {n}; low, medium, high risk: {risks:?}");
    assert_eq!(n_refused, 0, "{refused}");
}
