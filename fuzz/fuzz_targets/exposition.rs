//! Pages of metrics, and what a scraper makes of two of them.
#![no_main]

use homeostasis::core::Timestamp;
use homeostasis::signals::{Scraper, ScraperConfig, parse_exposition};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let text = homeostasis_fuzz::text(data, homeostasis_fuzz::EXPOSITION);
    let page = parse_exposition(&text);
    assert!(page.n_points() <= text.lines().count());
    let mut scraper = Scraper::new(ScraperConfig::default()).unwrap();
    let half = text.floor_char_boundary(text.len() / 2);
    for (at, page) in [(0, &text[..half]), (10, &text[half..]), (20, &text)] {
        for measurement in scraper.ingest(page, Timestamp::from_secs(at)).measurements {
            let metric = &measurement.key.metric;
            assert!(
                !metric.ends_with("_rate") || !(measurement.value < 0.0),
                "{measurement:?}"
            );
        }
    }
});
