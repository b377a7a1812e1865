//! Configuration files of the host.
#![no_main]

use homeostasis::Config;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let text = homeostasis_fuzz::text(data, homeostasis_fuzz::DOCUMENT);
    let _ = Config::parse(&text);
});
