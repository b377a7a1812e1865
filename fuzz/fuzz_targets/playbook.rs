//! Playbooks.
#![no_main]

use homeostasis::remediate::action::ActionRegistry;
use homeostasis::remediate::playbook::{CheckRegistry, Playbook};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let text = homeostasis_fuzz::text(data, homeostasis_fuzz::DOCUMENT);
    let (actions, checks) = (ActionRegistry::default(), CheckRegistry::default());
    let _ = Playbook::parse("playbook.yaml", &text, &actions, &checks);
});
