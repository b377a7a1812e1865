//! Durations, times, targets and levels.
#![no_main]

use homeostasis::core::document::{format_duration, parse_duration};
use homeostasis::core::signal::Level;
use homeostasis::core::{Target, Timestamp};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let text = homeostasis_fuzz::text(data, homeostasis_fuzz::SCALARS);
    if let Some(duration) = parse_duration(&text) {
        assert_eq!(parse_duration(&format_duration(duration)), Some(duration));
    }
    if let Ok(at) = text.parse::<Timestamp>() {
        assert_eq!(at.to_string().parse::<Timestamp>().ok(), Some(at));
    }
    if let Ok(target) = text.parse::<Target>() {
        assert_eq!(target.to_string(), text);
    }
    let _ = text.parse::<Level>();
});
