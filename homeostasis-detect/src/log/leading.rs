//! Of which kinds the records of a window are.

use homeostasis_core::signal::{LogRecord, LogTemplate};
use serde::{Deserialize, Serialize};

/// Kinds that are counted at once; as many as an anomaly names.
const MOST: usize = 8;

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
    kinds: Vec<(LogTemplate, u64)>,
    /// Records without a template.
    n_without: u64,
}

impl Leading {
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
        let known = self
            .kinds
            .iter()
            .position(|(kind, _)| kind.id() == template.id());
        let place = known.or_else(|| {
            let smallest = |i: &usize| self.kinds[*i].1;
            (self.kinds.len() >= MOST).then(|| (0..MOST).min_by_key(smallest))?
        });
        if let Some((kind, n)) = place.and_then(|place| self.kinds.get_mut(place)) {
            // Its text may have become more general.
            *kind = template.of_line([]);
            *n = n.saturating_add(weight);
        } else {
            self.kinds.push((template.of_line([]), weight));
        }
    }

    /// Each kind in words with the number of its records, at most `n_chars` of a text.
    pub(super) fn weights(&self, n_chars: usize) -> Vec<(String, f64)> {
        let name = |kind: &LogTemplate| {
            let text: String = kind.text().chars().take(n_chars).collect();
            format!("logs {text:?}")
        };
        let kinds = self.kinds.iter();
        let kinds = kinds.map(|(kind, n)| (name(kind), *n as f64));
        let without = (
            "messages without a template".to_owned(),
            self.n_without as f64,
        );
        kinds.chain([without]).filter(|(_, n)| *n > 0.0).collect()
    }

    /// Whether it can have come from counting.
    pub(super) fn is_sound(&self) -> bool {
        self.kinds.len() <= MOST
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use homeostasis_core::Timestamp;
    use homeostasis_core::signal::Level;

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
        let mut weights = leading.weights(100);
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
    fn another_window_begins_anew_and_records_without_a_template_are_told_as_such() {
        let mut leading = Leading::default();
        leading.add(&record(1, 5), 7);
        leading.add(&record(2, 1), 8);
        leading.add(&record(0, 3), 8);
        assert_eq!(
            leading.weights(6),
            [
                ("logs \"kind 2\"".to_owned(), 1.0),
                ("messages without a template".to_owned(), 3.0)
            ]
        );
    }
}
