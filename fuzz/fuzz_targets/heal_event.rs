//! Events of the journal.
#![no_main]

use homeostasis::core::record::HealEvent;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let text = homeostasis_fuzz::text(data, homeostasis_fuzz::HEAL_EVENT);
    let _ = HealEvent::from_json(&text);
});
