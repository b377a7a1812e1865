//! Lines that no miner can group, for how much memory they take.

use std::fmt::Write as _;

use homeostasis::core::Rng;
use homeostasis::signals::TemplateMiner;
use serde_json::{Value, json};

use super::now;

/// So many different words.
const WORDS: u64 = 200_000;

/// Reads `n` lines of 1 to 14 words, each of them any of many: nearly every line is a template of
/// its own.
pub(super) fn run(n: u64) -> Value {
    let began = now();
    let mut templates = 0;
    let memory = allocation_counter::measure(|| {
        let mut miner = TemplateMiner::default();
        let mut rng = Rng::from_seed(1);
        let mut line = String::new();
        for _ in 0..n {
            line.clear();
            for _ in 0..=rng.below(14) {
                // Letters alone, because what has a digit is a variable.
                let word = rng.below(WORDS).to_string();
                let letters = word.bytes().map(|digit| char::from(digit - b'0' + b'g'));
                let _ = write!(line, "{} ", letters.collect::<String>());
            }
            miner.mine(&line);
        }
        templates = miner.stats().n_templates;
    });
    json!({
        "lines": n,
        "templates": templates,
        "peak_bytes": memory.bytes_max,
        "lines_per_second": n as f64 / began.elapsed().as_secs_f64(),
    })
}
