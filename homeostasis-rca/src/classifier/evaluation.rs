//! How good answers are.

use std::collections::BTreeMap;

use homeostasis_core::record::Category;
use serde::{Deserialize, Serialize};

/// How answers on errors of known category turned out.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Evaluation {
    /// How many errors there were.
    pub rows: usize,
    /// The share whose likeliest category is right, 0 to 1; no answer is wrong.
    pub accuracy: f64,
    /// The mean over the categories of their F1 (the harmonic mean of precision and recall).
    pub macro_f1: f64,
    /// By category, in their order.
    pub categories: Vec<CategoryScore>,
    /// By how sure the answer was, the least sure first; bins that nothing fell into are left out.
    pub reliability: Vec<ReliabilityBin>,
}

/// One category in an [`Evaluation`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct CategoryScore {
    /// Which.
    pub category: Category,
    /// How many errors are of it.
    pub rows: usize,
    /// Twice the right ones over all that are of it and all that are said to be.
    pub f1: f64,
    /// What its errors were said to be, and how often: one row of the confusion matrix.
    pub said: BTreeMap<Category, usize>,
}

/// Answers about equally sure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ReliabilityBin {
    /// Answers at least this sure, and less than a tenth surer.
    pub from: f64,
    /// How many.
    pub answers: usize,
    /// How sure they were, on average.
    pub confidence: f64,
    /// The share that is right.
    pub precision: f64,
}

impl Evaluation {
    /// Of `answers`: the truth, and what was said with how much confidence.
    pub fn of(answers: &[(Category, Option<(Category, f64)>)]) -> Self {
        let share = |n: f64, of: usize| if of == 0 { 0.0 } else { n / of as f64 };
        let is_right = |(truth, said): &&(Category, Option<(Category, f64)>)| {
            said.is_some_and(|(said, _)| said == *truth)
        };
        let mut confusion: BTreeMap<Category, BTreeMap<Category, usize>> = BTreeMap::new();
        let mut n_said: BTreeMap<Category, usize> = BTreeMap::new();
        let mut n_true: BTreeMap<Category, usize> = BTreeMap::new();
        let mut bins: BTreeMap<u8, Vec<(f64, bool)>> = BTreeMap::new();
        for (truth, said) in answers {
            *n_true.entry(*truth).or_default() += 1;
            confusion.entry(*truth).or_default();
            let Some((said, confidence)) = said else {
                continue;
            };
            confusion.entry(*said).or_default();
            *confusion
                .entry(*truth)
                .or_default()
                .entry(*said)
                .or_default() += 1;
            *n_said.entry(*said).or_default() += 1;
            let bin = (0..10_u8)
                .rev()
                .find(|bin| *confidence >= f64::from(*bin) / 10.0);
            bins.entry(bin.unwrap_or(0))
                .or_default()
                .push((*confidence, said == truth));
        }
        let categories: Vec<CategoryScore> = confusion
            .into_iter()
            .map(|(category, said)| {
                let n = |counts: &BTreeMap<Category, usize>| {
                    counts.get(&category).copied().unwrap_or(0)
                };
                let rows = n(&n_true);
                let f1 = share(2.0 * n(&said) as f64, rows + n(&n_said));
                CategoryScore {
                    category,
                    rows,
                    f1,
                    said,
                }
            })
            .collect();
        let reliability = bins.into_iter().map(|(bin, answers)| {
            let n = answers.len();
            let sure: f64 = answers.iter().map(|(confidence, _)| confidence).sum();
            let right = answers.iter().filter(|(_, right)| *right).count();
            ReliabilityBin {
                from: f64::from(bin) / 10.0,
                answers: n,
                confidence: share(sure, n),
                precision: share(right as f64, n),
            }
        });
        Self {
            rows: answers.len(),
            accuracy: share(
                answers.iter().filter(is_right).count() as f64,
                answers.len(),
            ),
            macro_f1: share(categories.iter().map(|c| c.f1).sum(), categories.len()),
            reliability: reliability.collect(),
            categories,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Category::{Network, Security};

    #[test]
    fn no_answer_is_wrong_and_every_category_counts_alike() {
        let found = Evaluation::of(&[
            (Network, Some((Network, 0.95))),
            (Network, Some((Security, 0.55))),
            (Security, Some((Security, 0.92))),
            (Security, None),
        ]);
        assert_eq!((found.rows, found.accuracy), (4, 0.5));
        let f1: Vec<f64> = found.categories.iter().map(|c| c.f1).collect();
        assert_eq!(f1, [2.0 / 3.0, 0.5]);
        assert_eq!(found.macro_f1, f1.iter().sum::<f64>() / 2.0);
        let bins: Vec<_> = found
            .reliability
            .iter()
            .map(|b| (b.from, b.answers, b.precision))
            .collect();
        assert_eq!(bins, [(0.5, 1, 0.0), (0.9, 2, 1.0)]);
        assert_eq!(
            found.categories[0].said,
            BTreeMap::from([(Network, 1), (Security, 1)])
        );
    }

    #[test]
    fn of_nothing_nothing_is_right() {
        assert_eq!(Evaluation::of(&[]), Evaluation::default());
    }
}
