//! Requests of OpenTelemetry exporters, in Protocol Buffers.
#![no_main]

use homeostasis::signals::OtlpEncoding;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    homeostasis_fuzz::ingest(OtlpEncoding::Protobuf, data);
});
