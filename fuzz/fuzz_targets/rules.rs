//! Rules of root-cause analysis.
#![no_main]

use homeostasis::rca::RuleSet;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let text = homeostasis_fuzz::text(data, homeostasis_fuzz::DOCUMENT);
    let _ = RuleSet::parse("rules.yaml", &text);
});
