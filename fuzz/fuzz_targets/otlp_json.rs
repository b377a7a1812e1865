//! Requests of OpenTelemetry exporters, in JSON.
#![no_main]

use homeostasis::signals::OtlpEncoding;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let text = homeostasis_fuzz::text(data, homeostasis_fuzz::OTLP_JSON);
    let data = text.as_bytes();
    homeostasis_fuzz::ingest(OtlpEncoding::Json, data);
});
