//! A linear model over the features of an error.

use homeostasis_core::Digest;
use homeostasis_core::record::Category;

use super::evaluation::Evaluation;
use super::features;
use crate::rule::ErrorText;

/// Multinomial logistic regression over kinds, words and frames of an error: how likely each
/// category is.
///
/// Of a text the features that the model knows are looked up, each counts once and all of them
/// together as a vector of length one. A temperature, fitted on answers to errors that were held
/// back, makes probabilities honest. One answer costs one pass over the text.
///
/// ```
/// use homeostasis::rca::{ErrorClassifier, ErrorText};
///
/// let classifier = ErrorClassifier::shipped()?;
/// let text = ErrorText::of_text("ConnectionRefusedError: [Errno 111] Connection refused");
/// let found = classifier.predict(&text).unwrap();
/// assert_eq!(found.category().to_string(), "network");
/// # Ok::<(), homeostasis::core::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct ErrorClassifier {
    pub(super) classes: Vec<Category>,
    pub(super) intercepts: Vec<f64>,
    /// Of each feature its place among the weights.
    pub(super) vocabulary: features::Vocabulary,
    /// By feature, then by class.
    pub(super) weights: Vec<f64>,
    pub(super) temperature: f64,
    pub(super) threshold: f64,
    pub(super) training: Digest,
    pub(super) evaluation: Evaluation,
}

/// How likely each category is.
#[derive(Debug, Clone, PartialEq)]
pub struct Prediction {
    /// The likeliest first; they add up to 1.
    probabilities: Vec<(Category, f64)>,
}

impl Prediction {
    /// The likeliest category.
    pub fn category(&self) -> Category {
        self.probabilities
            .first()
            .map_or(Category::Unknown, |(category, _)| *category)
    }

    /// How likely that is, 0 to 1.
    pub fn confidence(&self) -> f64 {
        self.probabilities
            .first()
            .map_or(0.0, |(_, probability)| *probability)
    }

    /// How likely `category` is; 0 for one the model does not know.
    pub fn probability(&self, category: Category) -> f64 {
        let found = self
            .probabilities
            .iter()
            .find(|(known, _)| *known == category);
        found.map_or(0.0, |(_, probability)| *probability)
    }

    /// All categories, the likeliest first.
    pub fn probabilities(&self) -> &[(Category, f64)] {
        &self.probabilities
    }
}

impl ErrorClassifier {
    /// How likely each category is; nothing if the model knows no feature of `text`.
    pub fn predict(&self, text: &ErrorText) -> Option<Prediction> {
        let known = self.known(text);
        let logits = self.logits(&known)?;
        let highest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let exps: Vec<f64> = logits
            .iter()
            .map(|logit| ((logit - highest) / self.temperature).exp())
            .collect();
        let sum: f64 = exps.iter().sum();
        let of_class = |(class, exp): (&Category, f64)| (*class, exp / sum);
        let mut probabilities: Vec<_> = self.classes.iter().zip(exps).map(of_class).collect();
        probabilities.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        Some(Prediction { probabilities })
    }

    /// The likeliest category, unless it is less likely than the [threshold](Self::threshold).
    pub fn answer(&self, text: &ErrorText) -> Option<(Category, f64)> {
        let found = self.predict(text)?;
        (found.confidence() >= self.threshold).then(|| (found.category(), found.confidence()))
    }

    /// The features of `text` that speak for `category`, the strongest first, at most `limit`, with
    /// what each adds to its logit.
    pub fn explain(
        &self,
        text: &ErrorText,
        category: Category,
        limit: usize,
    ) -> Vec<(String, f64)> {
        let Some(class) = self.classes.iter().position(|known| *known == category) else {
            return Vec::new();
        };
        let known = self.known(text);
        let scale = scale(known.len());
        let mut found: Vec<(String, f64)> = Vec::new();
        features::visit(text, &mut |name| {
            let Some(place) = self.vocabulary.get(name) else {
                return;
            };
            let weight = self.weights.get(place * self.classes.len() + class);
            let weight = weight.copied().unwrap_or_default() * scale;
            if weight > 0.0 && !found.iter().any(|(known, _)| known == name) {
                found.push((name.to_owned(), weight));
            }
        });
        found.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        found.truncate(limit);
        found
    }

    /// The categories it tells apart.
    pub fn classes(&self) -> &[Category] {
        &self.classes
    }

    /// How many features it knows.
    pub fn n_features(&self) -> usize {
        self.vocabulary.len()
    }

    /// Answers less likely than this are not given.
    pub fn threshold(&self) -> f64 {
        self.threshold
    }

    /// The digest of what it was trained from.
    pub fn training(&self) -> Digest {
        self.training
    }

    /// How it did on errors that were held back from training.
    pub fn evaluation(&self) -> &Evaluation {
        &self.evaluation
    }

    /// Before the temperature; nothing without a known feature.
    pub(super) fn logits(&self, known: &[usize]) -> Option<Vec<f64>> {
        if known.is_empty() {
            return None;
        }
        let n_classes = self.classes.len();
        let mut sums = vec![0.0; n_classes];
        for place in known {
            let weights = self.weights.iter().skip(place * n_classes);
            for (sum, weight) in sums.iter_mut().zip(weights) {
                *sum += weight;
            }
        }
        let scale = scale(known.len());
        let with_intercept = |(sum, intercept): (f64, &f64)| sum * scale + intercept;
        Some(
            sums.into_iter()
                .zip(&self.intercepts)
                .map(with_intercept)
                .collect(),
        )
    }

    /// The places of the features of `text` that it knows, each once.
    pub(super) fn known(&self, text: &ErrorText) -> Vec<usize> {
        let mut known = Vec::with_capacity(64);
        features::visit(text, &mut |name| known.extend(self.vocabulary.get(name)));
        known.sort_unstable();
        known.dedup();
        known
    }
}

/// What each of `n` features counts, so that together they are a vector of length one.
pub(super) fn scale(n: usize) -> f64 {
    1.0 / (n.max(1) as f64).sqrt()
}
