//! Documents in YAML and JSON.
#![no_main]

use homeostasis::core::document::Parser;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let text = homeostasis_fuzz::text(data, homeostasis_fuzz::DOCUMENT);
    for source in ["x.yaml", "x.json"] {
        let lookup = |name: &str| (name.len() < 3).then(|| name.to_owned());
        let _ = Parser::new().source(source).variables(&lookup).parse(&text);
    }
});
