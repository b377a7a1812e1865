//! Of which kinds the records of a window are.

use std::collections::BTreeSet;

use homeostasis_core::signal::LogRecord;
use serde::{Deserialize, Serialize};

/// Kinds that are counted at once; as many as an anomaly names.
const MOST: usize = 8;
/// Of a template so many characters are told.
const TOLD: usize = 160;

/// The kinds of messages that came most in one window.
///
/// Eight counters: a kind without one takes over the smallest with its count, so that what came more often than an
/// eighth of the time has one, and counts are too large rather than too small.
/// Source: A. Metwally, D. Agrawal, A. El Abbadi, *Efficient computation of frequent and top-k elements in data
/// streams*, ICDT 2005 (Space-Saving).
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Leading {
    window: i64,
    kinds: Vec<Kind>,
    /// Records without a template.
    n_without: u64,
}

/// A kind of messages, and no more of it than is told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kind {
    id: u64,
    text: String,
    n: u64,
}

fn told(text: &str) -> &str {
    match text.char_indices().nth(TOLD) {
        Some((end, _)) => &text[..end],
        None => text,
    }
}

impl Leading {
    /// Which window it is of.
    pub(super) fn window(&self) -> i64 {
        self.window
    }

    /// Counts a record of this window; those of another are forgotten.
    pub(super) fn add(&mut self, record: &LogRecord, window: i64) {
        if self.window != window {
            *self = Self {
                window,
                ..Self::default()
            };
        }
        let weight = u64::from(record.weight);
        let Some(template) = &record.template else {
            self.n_without = self.n_without.saturating_add(weight);
            return;
        };
        let (id, text) = (template.id(), told(template.text()));
        let known = self.kinds.iter().position(|kind| kind.id == id);
        let place = known.or_else(|| {
            let smallest = |i: &usize| self.kinds[*i].n;
            (self.kinds.len() >= MOST).then(|| (0..MOST).min_by_key(smallest))?
        });
        if let Some(kind) = place.and_then(|place| self.kinds.get_mut(place)) {
            (kind.id, kind.n) = (id, kind.n.saturating_add(weight));
            // Its text may have become more general.
            if kind.text != text {
                text.clone_into(&mut kind.text);
            }
        } else {
            self.kinds.push(Kind {
                id,
                text: text.to_owned(),
                n: weight,
            });
        }
    }

    /// Each kind in words with the number of its records.
    pub(super) fn weights(&self) -> Vec<(String, f64)> {
        let kinds = self.kinds.iter();
        let kinds = kinds.map(|kind| (format!("logs {:?}", kind.text), kind.n as f64));
        let without = (
            "messages without a template".to_owned(),
            self.n_without as f64,
        );
        kinds.chain([without]).filter(|(_, n)| *n > 0.0).collect()
    }

    /// Whether it can have come from counting.
    pub(super) fn is_sound(&self) -> bool {
        let is_told = |kind: &Kind| told(&kind.text).len() == kind.text.len();
        let ids: BTreeSet<u64> = self.kinds.iter().map(|kind| kind.id).collect();
        self.kinds.len() <= MOST && ids.len() == self.kinds.len() && self.kinds.iter().all(is_told)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use homeostasis_core::Timestamp;
    use homeostasis_core::signal::{Level, LogTemplate};

    fn record(id: u64, weight: u32) -> LogRecord {
        let mut record = LogRecord::new(Timestamp::EPOCH, Level::Error, "x");
        record.template = (id > 0).then(|| LogTemplate::new(id, format!("kind {id} <*>")));
        record.weight = weight;
        record
    }

    #[test]
    fn the_most_frequent_kinds_are_kept_among_any_number_of_others() {
        let mut leading = Leading::default();
        for i in 0..1000 {
            leading.add(&record(1, 2), 7);
            leading.add(&record(10 + i, 1), 7);
            if i % 2 == 0 {
                leading.add(&record(2, 1), 7);
            }
        }
        let mut weights = leading.weights();
        weights.sort_by(|a, b| b.1.total_cmp(&a.1));
        assert_eq!(weights[0], ("logs \"kind 1 <*>\"".to_owned(), 2000.0));
        assert!(
            weights
                .iter()
                .any(|(name, n)| name.contains("kind 2") && *n >= 500.0)
        );
        let sum: f64 = weights.iter().map(|(_, n)| n).sum();
        assert_eq!((weights.len(), sum), (MOST, 3500.0));
        assert!(leading.is_sound());
    }

    #[test]
    fn no_more_of_a_text_is_kept_than_is_told_and_other_states_are_unsound() {
        let mut leading = Leading::default();
        let mut long = record(1, 1);
        long.template = Some(LogTemplate::new(1, "\u{e4}".repeat(8000)));
        leading.add(&long, 7);
        leading.add(&record(2, 1), 7);
        assert_eq!(leading.kinds[0].text, "\u{e4}".repeat(TOLD));
        assert!(leading.is_sound());
        let mut twice = leading.clone();
        twice.kinds[1].id = 1;
        assert!(!twice.is_sound());
        leading.kinds[1].text = "x".repeat(TOLD + 1);
        assert!(!leading.is_sound());
    }

    #[test]
    fn another_window_begins_anew_and_records_without_a_template_are_told_as_such() {
        let mut leading = Leading::default();
        leading.add(&record(1, 5), 7);
        leading.add(&record(2, 1), 8);
        leading.add(&record(0, 3), 8);
        assert_eq!(
            leading.weights(),
            [
                ("logs \"kind 2 <*>\"".to_owned(), 1.0),
                ("messages without a template".to_owned(), 3.0)
            ]
        );
    }
}
