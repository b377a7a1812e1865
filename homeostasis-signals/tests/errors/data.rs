//! Collected errors of others: JSON lines with `id`, `language`, `text` and `exception`.

use std::fs;

use homeostasis::signals::ErrorNormalizer;
use serde_json::Value;

/// `HOMEOSTASIS_ERRORS_DATA` names the file; it is not part of this repository.
#[test]
fn collected_errors_have_the_right_kind() {
    let Ok(path) = std::env::var("HOMEOSTASIS_ERRORS_DATA") else {
        // Never required: the file is not ours to ship.
        eprintln!(
            "SKIPPED collected_errors_have_the_right_kind: HOMEOSTASIS_ERRORS_DATA is not set"
        );
        return;
    };
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let normalizer = ErrorNormalizer::default();
    let (mut n, mut wrong) = (0_u32, Vec::new());
    for line in text.lines() {
        let row: Value = serde_json::from_str(line).unwrap();
        let of = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
        let found = normalizer.parse(&of("text"));
        // What is no exception with a type is written `kind: message` there.
        let right = found.as_ref().is_some_and(|error| {
            let first = error.message.lines().next().unwrap_or_default();
            let said = format!("{}: {first}", error.kind);
            error.language == of("language") && [&error.kind, &said].contains(&&of("exception"))
        });
        n += 1;
        if !right {
            wrong.push(format!(
                "{}: {:?}, expected {}",
                of("id"),
                found,
                of("exception")
            ));
        }
    }
    let share = 1.0 - f64::from(u32::try_from(wrong.len()).unwrap()) / f64::from(n.max(1));
    eprintln!("{n} errors, {share:.4} right; wrong: {wrong:#?}");
    assert!(n > 0 && share >= 0.98);
}
