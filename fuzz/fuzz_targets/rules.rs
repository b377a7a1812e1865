//! Rules of root-cause analysis: documents, and single patterns on texts.
#![no_main]

use homeostasis::rca::{ErrorText, RuleSet};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let document = homeostasis_fuzz::text(data, homeostasis_fuzz::DOCUMENT);
    let _ = RuleSet::parse("rules.yaml", &document);

    let text = homeostasis_fuzz::text(data, homeostasis_fuzz::RULE);
    let (pattern, text) = text.split_once('\n').unwrap_or((&text, ""));
    let text = ErrorText::of_text(text);
    assert!(text.lines().all(|line| line.text().len() <= 2_000));
    for line in text.lines() {
        assert!(line.text().contains(line.kind()) && line.text().ends_with(line.message()));
    }
    // The text is its own example: either no line matches, which is a mistake, or one is found.
    let quoted = |text: &str| format!("'{}'", text.replace('\'', "''"));
    for line in text.lines().take(1) {
        let rule = format!(
            "rules:\n- id: a\n  title: x\n  pattern: {}\n  category: network\n  cause: x\n  \
             confidence: 0.8\n  examples: [{}]\n",
            quoted(pattern),
            quoted(line.text())
        );
        if let Ok(rules) = RuleSet::parse("rules.yaml", &rule) {
            let example = &rules.rules()[0].examples[0];
            let found = ErrorText::of_text(example);
            assert!(rules.best(&found).is_some(), "{pattern:?} is lost in {example:?}");
            let _ = rules.lint();
        }
    }
});
