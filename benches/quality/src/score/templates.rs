//! Grouping of log lines: accuracy and its F1 over groups.
//!
//! *Grouping accuracy* is the share of lines whose group is, as a set of lines, exactly one of the
//! true groups (Zhu and others, *Tools and benchmarks for automated log parsing*, ICSE-SEIP 2019).
//! *F1 of grouping accuracy* counts groups in place of lines (Jiang and others, *A large-scale
//! evaluation for log parsing techniques*, ISSTA 2024).

use std::collections::HashMap;
use std::hash::Hash;

/// How well groups were found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct TemplateScore {
    pub(crate) accuracy: f64,
    pub(crate) f1: f64,
    pub(crate) n_found: usize,
    pub(crate) n_true: usize,
}

/// Compares the groups of the lines with the true ones; both have one entry for each line.
pub(crate) fn score<T: Eq + Hash, F: Eq + Hash>(truth: &[T], found: &[F]) -> TemplateScore {
    let n_lines = truth.len().min(found.len());
    let (truth, n_true) = numbered(truth);
    let (found, n_found) = numbered(found);
    let (true_sizes, found_sizes) = (sizes(&truth, n_true), sizes(&found, n_found));
    // A group is right if all its lines have the truth of the first, and all of that are in it.
    let mut truth_of = vec![None; n_found];
    let mut is_pure = vec![true; n_found];
    for (found, truth) in found.iter().zip(&truth) {
        let first = truth_of[*found].get_or_insert(*truth);
        is_pure[*found] &= first == truth;
    }
    let right: Vec<usize> = (0..n_found)
        .filter(|group| {
            let truth = truth_of[*group];
            is_pure[*group] && truth.is_some_and(|truth| true_sizes[truth] == found_sizes[*group])
        })
        .collect();
    let n_right_lines: usize = right.iter().map(|group| found_sizes[*group]).sum();
    let share = |of: usize| right.len() as f64 / of.max(1) as f64;
    let (precision, recall) = (share(n_found), share(n_true));
    TemplateScore {
        accuracy: n_right_lines as f64 / n_lines.max(1) as f64,
        f1: 2.0 * precision * recall / (precision + recall).max(f64::MIN_POSITIVE),
        n_found,
        n_true,
    }
}

/// The number of each entry's group, in the order in which they come, and how many there are.
fn numbered<T: Eq + Hash>(all: &[T]) -> (Vec<usize>, usize) {
    let mut numbers = HashMap::new();
    let numbered = all
        .iter()
        .map(|one| {
            let next = numbers.len();
            *numbers.entry(one).or_insert(next)
        })
        .collect();
    (numbered, numbers.len())
}

fn sizes(groups: &[usize], n: usize) -> Vec<usize> {
    let mut sizes = vec![0; n];
    for group in groups {
        sizes[*group] += 1;
    }
    sizes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The expected numbers are those of an independent implementation of both measures in Python.
    #[test]
    fn both_measures_agree_with_another_implementation() {
        let truth: Vec<usize> = (0..500).map(|i| (i * i + 3 * i) % 17).collect();
        let found: Vec<usize> = truth
            .iter()
            .enumerate()
            .map(|(i, truth)| match truth {
                1 | 4 | 7 | 10 | 13 | 16 => 100 * (i % 2) + truth,
                5 => 7,
                other => *other,
            })
            .collect();
        let first = score(&truth, &found);
        assert_eq!((first.n_found, first.n_true), (12, 9));
        let truth: Vec<usize> = (0..999).map(|i| i % 40).collect();
        let found: Vec<usize> = (0..999)
            .map(|i| if i % 40 < 30 { i * 7 % 40 } else { i % 2 })
            .collect();
        let second = score(&truth, &found);
        for (score, accuracy, f1) in [(first, 0.646, 4.0 / 7.0), (second, 0.700_700_7, 0.8)] {
            assert!((score.accuracy - accuracy).abs() < 1e-6, "{score:?}");
            assert!((score.f1 - f1).abs() < 1e-6, "{score:?}");
        }
    }

    #[test]
    fn names_do_not_count_and_nothing_is_no_error() {
        let perfect = score(&["a", "b", "a"], &[9, 4, 9]);
        assert_eq!((perfect.accuracy, perfect.f1), (1.0, 1.0));
        let none = score::<u8, u8>(&[], &[]);
        assert_eq!((none.accuracy, none.f1), (0.0, 0.0));
    }
}
