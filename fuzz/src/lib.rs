//! Texts for the fuzz targets: half of them bytes as they come, half put together from the words of
//! the language that is parsed, so that the fuzzer starts behind the first "this is none of ours".

mod words;

use std::fmt::Write as _;
use std::sync::Arc;

use arbitrary::Unstructured;
use homeostasis::core::signal::VecSink;
use homeostasis::core::{ManualClock, Timestamp};
use homeostasis::signals::{OtlpEncoding, OtlpIntake, OtlpIntakeConfig, OtlpKind};

pub use words::*;

/// A text made from `data`: raw for an even first byte, from `words` for an odd one.
///
/// Of a text from words every byte chooses what comes next: mostly a word, sometimes a number, a
/// piece of the raw bytes, a repetition of what was there before, or a cut in the middle of it.
pub fn text(data: &[u8], words: &[&str]) -> String {
    let Some((first, rest)) = data.split_first() else {
        return String::new();
    };
    if first % 2 == 0 || words.is_empty() {
        return String::from_utf8_lossy(rest).into_owned();
    }
    let mut u = Unstructured::new(rest);
    let mut text = String::new();
    while !u.is_empty() && text.len() < 1 << 16 {
        match u.arbitrary::<u8>().unwrap_or(0) {
            0..=15 => {
                let number: i64 = u.arbitrary().unwrap_or(0);
                let _ = write!(text, "{number}");
            }
            16..=23 => {
                let number: f64 = u.arbitrary().unwrap_or(0.0);
                let _ = write!(text, "{number}");
            }
            24..=39 => {
                let n = usize::from(u.arbitrary::<u8>().unwrap_or(0) % 16);
                let bytes = u.bytes(n.min(u.len())).unwrap_or(&[]);
                text.push_str(&String::from_utf8_lossy(bytes));
            }
            40..=43 => {
                let from = u.choose_index(text.len().max(1)).unwrap_or(0);
                let from = text.floor_char_boundary(from);
                text.extend_from_within_checked(from);
            }
            44..=47 => {
                let at = u.choose_index(text.len().max(1)).unwrap_or(0);
                text.truncate(text.floor_char_boundary(at));
            }
            _ => text.push_str(u.choose(words).copied().unwrap_or("")),
        }
    }
    text
}

trait ExtendFromWithin {
    fn extend_from_within_checked(&mut self, from: usize);
}

impl ExtendFromWithin for String {
    /// Repeats what stands from `from` on, at most 4 KiB of it.
    fn extend_from_within_checked(&mut self, from: usize) {
        let to = self.floor_char_boundary(self.len().min(from + 4096));
        let again = self.get(from..to).unwrap_or("").to_owned();
        self.push_str(&again);
    }
}

/// Hands a request to an intake, as if it had come over HTTP.
pub fn ingest(encoding: OtlpEncoding, bytes: &[u8]) {
    let clock = Arc::new(ManualClock::new(Timestamp::from_secs(1_800_000_000)));
    let sink = Arc::new(VecSink::default());
    let intake = OtlpIntake::new(OtlpIntakeConfig::default(), sink, clock).unwrap();
    for kind in [OtlpKind::Logs, OtlpKind::Metrics, OtlpKind::Traces] {
        let _ = intake.ingest(kind, encoding, bytes);
    }
}
