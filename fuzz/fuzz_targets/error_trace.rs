//! Stack traces: joined without losing a line, read without a panic, with a steady fingerprint.
#![no_main]

use std::sync::LazyLock;

use homeostasis::core::Timestamp;
use homeostasis::core::port::Enricher;
use homeostasis::core::signal::{Level, LogRecord};
use homeostasis::signals::{
    ErrorNormalizer, ErrorNormalizerConfig, TraceJoiner, TraceJoinerConfig, error_fingerprint,
};
use libfuzzer_sys::fuzz_target;

static NORMALIZER: LazyLock<ErrorNormalizer> =
    LazyLock::new(|| ErrorNormalizer::new(&ErrorNormalizerConfig::default()).unwrap());

fuzz_target!(|data: &[u8]| {
    let text = homeostasis_fuzz::text(data, homeostasis_fuzz::ERROR_TRACE);
    let mut joiner = TraceJoiner::new(TraceJoinerConfig::default()).unwrap();
    let mut joined = Vec::new();
    for line in text.lines() {
        joined.extend(joiner.push(line, Timestamp::EPOCH));
    }
    joined.extend(joiner.flush());
    let again: Vec<&str> = joined
        .iter()
        .flat_map(|record| record.text.split('\n'))
        .collect();
    assert_eq!(
        again,
        text.lines().collect::<Vec<_>>(),
        "no line is lost or moved"
    );
    for record in joined {
        let mut log = LogRecord::new(Timestamp::EPOCH, Level::Error, record.text);
        NORMALIZER.enrich(&mut log);
        let once = log.clone();
        NORMALIZER.enrich(&mut log);
        assert_eq!(log, once, "enriching twice changes nothing");
    }
    if let Some(error) = NORMALIZER.parse(&text) {
        assert_eq!(error.fingerprint, error_fingerprint(&error));
        let mut moved = error.clone();
        for frame in &mut moved.frames {
            frame.line = frame.line.wrapping_add(17);
        }
        assert_eq!(error.fingerprint, error_fingerprint(&moved), "lines drift");
    }
});
