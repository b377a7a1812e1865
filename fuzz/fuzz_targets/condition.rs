//! Conditions.
#![no_main]

use homeostasis::core::condition::Condition;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let text = homeostasis_fuzz::text(data, homeostasis_fuzz::CONDITION);
    if let Ok(condition) = Condition::parse(&text) {
        let written = condition.to_string();
        let again = Condition::parse(&written).expect("what was written is read");
        assert_eq!(again.to_string(), written);
    }
});
