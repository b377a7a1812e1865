//! Lines of logs in every format.
#![no_main]

use std::sync::LazyLock;

use homeostasis::core::Timestamp;
use homeostasis::core::signal::{SeriesCatalog, Signal};
use homeostasis::signals::{LineFormat, LogLines, LogLinesConfig, PatternPreset};
use libfuzzer_sys::fuzz_target;

static READERS: LazyLock<Vec<LogLines>> = LazyLock::new(|| {
    let presets = PatternPreset::ALL.into_iter().map(LineFormat::Preset);
    [
        LineFormat::Auto,
        LineFormat::Json,
        LineFormat::Logfmt,
        LineFormat::Plain,
    ]
    .into_iter()
    .chain(presets)
    .map(|format| {
        LogLines::new(LogLinesConfig {
            format,
            ..LogLinesConfig::default()
        })
        .unwrap()
    })
    .collect()
});

fuzz_target!(|data: &[u8]| {
    let text = homeostasis_fuzz::text(data, homeostasis_fuzz::LOG_LINE);
    let catalog = SeriesCatalog::new(4);
    for reader in READERS.iter() {
        let now = Timestamp::from_secs(1_800_000_000);
        let read = reader.read(&text, now);
        assert_eq!(read.is_none(), text.trim().is_empty(), "no line is lost");
        assert!(!matches!(read, Some(Signal::Sample(_))));
        let _ = reader.read_with(&text, now, &catalog);
    }
});
