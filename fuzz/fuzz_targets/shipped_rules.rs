//! Texts of errors against the rules that come with the library.
#![no_main]

use std::sync::LazyLock;

use homeostasis::rca::{ErrorText, RuleSet};
use libfuzzer_sys::fuzz_target;

static RULES: LazyLock<RuleSet> = LazyLock::new(|| RuleSet::shipped().expect("sound rules"));

fuzz_target!(|data: &[u8]| {
    let text = homeostasis_fuzz::text(data, homeostasis_fuzz::ERROR_TRACE);
    let text = ErrorText::of_text(&text);
    if let Some(found) = RULES.best(&text) {
        // What matches is a line of the text, and what its groups hold stands in the text.
        assert!(text.lines().any(|line| line.text() == found.line));
        for value in found.captures().values() {
            let holds = |line: &homeostasis::rca::ErrorLine| line.text().contains(value.as_str());
            assert!(text.lines().any(holds) || text.frames().iter().any(|f| f.contains(value.as_str())));
        }
    }
});
