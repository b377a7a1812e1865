//! Unified diffs.
#![no_main]

use homeostasis::patch::UnifiedDiff;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let text = homeostasis_fuzz::text(data, homeostasis_fuzz::DIFF);
    if let Ok(diff) = text.parse::<UnifiedDiff>() {
        let _ = diff.apply_to_tree(|_| Some("line\nline\n".to_owned()));
    }
});
