//! Training a model from errors whose category is known.

use std::collections::{BTreeMap, BTreeSet};

use homeostasis_core::Digest;
use homeostasis_core::record::Category;
use linfa::DatasetBase;
use linfa::traits::Fit as _;
use linfa_logistic::MultiLogisticRegression;
use ndarray::{Array1, Array2};

use super::evaluation::Evaluation;
use super::features;
use super::labeled::LabeledError;
use super::model::{ErrorClassifier, scale};

/// Why nothing could be learned.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// Too little to learn from.
    #[error(
        "{rows} errors of {categories} categories, expected at least 10 of 2 that share features"
    )]
    TooLittle {
        /// How many errors there were.
        rows: usize,
        /// Of how many categories.
        categories: usize,
    },
    /// The regression did not come to an end.
    #[error("the regression failed: {0}")]
    Regression(String),
}

/// Learns an [`ErrorClassifier`].
///
/// Multinomial logistic regression with a ridge, fitted by L-BFGS
/// ([linfa-logistic](https://docs.rs/linfa-logistic)), without chance: the same errors in the same
/// order give the same model, up to the rounding of the machine's linear algebra, and weights are
/// kept to four digits. Costs errors × features × categories for each of at most 100 steps, and as
/// much again for each fold.
#[derive(Debug, Clone)]
pub struct ClassifierTrainer {
    ridge: f64,
    min_count: usize,
    folds: usize,
    threshold: f64,
}

impl Default for ClassifierTrainer {
    fn default() -> Self {
        Self {
            ridge: 0.1,
            min_count: 2,
            folds: 10,
            threshold: 0.7,
        }
    }
}

impl ClassifierTrainer {
    /// A trainer: ridge 0.1, features seen at least twice, ten folds, answers from 0.7 on.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same with so many folds of cross-validation (default 10); fewer than 2 are none: the
    /// model has temperature 1 and no evaluation.
    pub fn folds(mut self, folds: usize) -> Self {
        self.folds = folds;
        self
    }

    /// Learns from `rows`; the evaluation and the temperature come from cross-validation.
    ///
    /// # Errors
    /// Fewer than ten errors, or of one category only, or with no feature in common; a regression
    /// that fails.
    pub fn train(&self, rows: &[LabeledError]) -> Result<ErrorClassifier, TrainError> {
        let mut model = self.fit(&rows.iter().collect::<Vec<_>>())?;
        if self.folds >= 2 {
            // Every n-th error of a category is held back together.
            let mut n_seen: BTreeMap<Category, usize> = BTreeMap::new();
            let folds = rows.iter().map(|row| {
                let n = n_seen.entry(row.category).or_default();
                *n += 1;
                *n % self.folds
            });
            let folds: Vec<usize> = folds.collect();
            let held_back = self.held_back(rows, &folds)?;
            model.temperature = temperature(&held_back);
            model.evaluation = evaluation(&held_back, model.temperature);
        }
        Ok(model)
    }

    /// How a model does on families of errors of which it has seen none.
    ///
    /// # Errors
    /// As [`train`](Self::train).
    pub fn evaluate_by_family(&self, rows: &[LabeledError]) -> Result<Evaluation, TrainError> {
        let families: BTreeSet<&str> = rows.iter().map(|row| &row.family[..]).collect();
        let place = |row: &LabeledError| families.iter().position(|known| *known == row.family);
        let n_folds = self.folds.max(2);
        let folds = rows.iter().map(|row| place(row).unwrap_or(0) % n_folds);
        let held_back = self.held_back(rows, &folds.collect::<Vec<_>>())?;
        Ok(evaluation(&held_back, temperature(&held_back)))
    }

    /// Of each row its truth and the logits of a model that has not seen its fold.
    fn held_back(
        &self,
        rows: &[LabeledError],
        folds: &[usize],
    ) -> Result<Vec<HeldBack>, TrainError> {
        let mut found = Vec::new();
        for fold in folds.iter().collect::<BTreeSet<_>>() {
            let rows_of = |own: bool| {
                let numbered = rows.iter().zip(folds);
                numbered
                    .filter(move |(_, of)| (*of == fold) == own)
                    .map(|(row, _)| row)
            };
            let model = self.fit(&rows_of(false).collect::<Vec<_>>())?;
            found.extend(rows_of(true).map(|row| HeldBack {
                truth: row.category,
                classes: model.classes.clone(),
                logits: model.logits(&model.known(&row.text)),
            }));
        }
        Ok(found)
    }

    fn fit(&self, rows: &[&LabeledError]) -> Result<ErrorClassifier, TrainError> {
        let named: Vec<BTreeSet<String>> = rows
            .iter()
            .map(|row| {
                let mut names = BTreeSet::new();
                features::visit(&row.text, &mut |name| {
                    names.insert(name.to_owned());
                });
                names
            })
            .collect();
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for name in named.iter().flatten() {
            *counts.entry(name).or_default() += 1;
        }
        let kept = counts.iter().filter(|(_, n)| **n >= self.min_count);
        let vocabulary: features::Vocabulary = kept
            .enumerate()
            .map(|(place, (name, _))| ((*name).to_owned(), place))
            .collect();
        let classes: BTreeSet<Category> = rows.iter().map(|row| row.category).collect();
        let classes: Vec<Category> = classes.into_iter().collect();
        if rows.len() < 10 || classes.len() < 2 || vocabulary.is_empty() {
            let (rows, categories) = (rows.len(), classes.len());
            return Err(TrainError::TooLittle { rows, categories });
        }
        let mut matrix = Array2::<f64>::zeros((rows.len(), vocabulary.len()));
        for (mut row, names) in matrix.rows_mut().into_iter().zip(&named) {
            let known: Vec<usize> = names
                .iter()
                .filter_map(|name| vocabulary.get(name))
                .copied()
                .collect();
            for place in &known {
                row[*place] = scale(known.len());
            }
        }
        let class_of =
            |row: &&LabeledError| classes.iter().position(|class| *class == row.category);
        let targets: Array1<usize> = rows.iter().map(|row| class_of(row).unwrap_or(0)).collect();
        let fitted = MultiLogisticRegression::default()
            .alpha(self.ridge)
            .max_iterations(100)
            .gradient_tolerance(1e-3)
            .fit(&DatasetBase::new(matrix, targets))
            .map_err(|error| TrainError::Regression(error.to_string()))?;
        // By feature, then by class; linfa has classes in ascending order, as here.
        let weights: Vec<f64> = fitted
            .params()
            .rows()
            .into_iter()
            .flatten()
            .map(|w| rounded(*w))
            .collect();
        let intercepts: Vec<f64> = fitted.intercept().iter().map(|w| rounded(*w)).collect();
        if weights
            .iter()
            .chain(&intercepts)
            .any(|weight| !weight.is_finite())
        {
            return Err(TrainError::Regression("weights are not finite".to_owned()));
        }
        let seen: Vec<_> = rows
            .iter()
            .zip(&named)
            .map(|(row, names)| (row.category, names))
            .collect();
        Ok(ErrorClassifier {
            classes,
            intercepts,
            vocabulary,
            weights,
            temperature: 1.0,
            threshold: self.threshold,
            training: Digest::of(&seen),
            evaluation: Evaluation::default(),
        })
    }
}

/// An answer to an error that was held back.
struct HeldBack {
    truth: Category,
    classes: Vec<Category>,
    logits: Option<Vec<f64>>,
}

impl HeldBack {
    fn probabilities(&self, temperature: f64) -> Option<Vec<f64>> {
        let logits = self.logits.as_ref()?;
        let highest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let exps: Vec<f64> = logits
            .iter()
            .map(|l| ((l - highest) / temperature).exp())
            .collect();
        let sum: f64 = exps.iter().sum();
        Some(exps.into_iter().map(|exp| exp / sum).collect())
    }

    /// The logarithm of what the truth was given.
    fn log_probability(&self, temperature: f64) -> f64 {
        let class = self.classes.iter().position(|class| *class == self.truth);
        let given = self
            .probabilities(temperature)
            .zip(class)
            .and_then(|(p, class)| p.get(class).copied());
        given.unwrap_or(0.0).max(1e-6).ln()
    }
}

/// The temperature under which the truths are likeliest, of 0.2 to 5 in steps of a twentieth.
///
/// Guo et al., On Calibration of Modern Neural Networks, 2017.
fn temperature(held_back: &[HeldBack]) -> f64 {
    let likelihood = |t: f64| {
        held_back
            .iter()
            .map(|row| row.log_probability(t))
            .sum::<f64>()
    };
    let candidates = (4..=100_u8).map(|twentieths| f64::from(twentieths) / 20.0);
    let scored = candidates.map(|t| (t, likelihood(t)));
    let best = scored.max_by(|a, b| a.1.total_cmp(&b.1));
    best.map_or(1.0, |(t, _)| t)
}

fn evaluation(held_back: &[HeldBack], temperature: f64) -> Evaluation {
    let answers = held_back.iter().map(|row| {
        let said = row.probabilities(temperature).and_then(|probabilities| {
            let pairs = row.classes.iter().copied().zip(probabilities);
            pairs.max_by(|a, b| a.1.total_cmp(&b.1))
        });
        (row.truth, said)
    });
    Evaluation::of(&answers.collect::<Vec<_>>())
}

fn rounded(weight: f64) -> f64 {
    (weight * 10_000.0).round() / 10_000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::ErrorText;

    fn rows() -> Vec<LabeledError> {
        let network = [
            "connection refused by peer",
            "peer reset connection",
            "no route to peer",
        ];
        let security = [
            "token rejected for user",
            "user token expired",
            "signature of token wrong",
        ];
        let of = |texts: [&str; 3], category| {
            let rows = texts.map(|text| LabeledError::new(ErrorText::of_text(text), category));
            [rows.clone(), rows].concat()
        };
        [
            of(network, Category::Network),
            of(security, Category::Security),
        ]
        .concat()
    }

    #[test]
    fn what_was_learned_is_told_with_the_words_that_spoke() {
        let model = ClassifierTrainer::new().folds(6).train(&rows()).unwrap();
        let text = ErrorText::of_text("the peer closed the connection");
        let found = model.predict(&text).unwrap();
        assert_eq!(found.category(), Category::Network);
        let sum: f64 = found.probabilities().iter().map(|(_, p)| p).sum();
        assert!((sum - 1.0).abs() < 1e-9);
        let words: Vec<_> = model.explain(&text, Category::Network, 2);
        assert!(
            words.iter().any(|(name, _)| name == "word:peer"),
            "{words:?}"
        );
        assert_eq!(model.evaluation().rows, 12);
        assert_eq!(model.predict(&ErrorText::of_text("zzz")), None);
    }

    #[test]
    fn the_same_errors_give_the_same_file_and_others_another_digest() {
        let train = |rows: &[LabeledError]| ClassifierTrainer::new().folds(0).train(rows).unwrap();
        let once = train(&rows());
        assert_eq!(once.to_json(), train(&rows()).to_json());
        assert_eq!(ErrorClassifier::read("m", &once.to_json()).unwrap(), once);
        assert_ne!(once.training(), train(&rows()[1..]).training());
    }

    #[test]
    fn too_little_is_refused() {
        let error = ClassifierTrainer::new().train(&rows()[..6]).unwrap_err();
        assert!(
            error.to_string().starts_with("6 errors of 1 categories"),
            "{error}"
        );
    }
}
