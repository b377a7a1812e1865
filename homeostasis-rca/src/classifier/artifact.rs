//! A model as a file.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use homeostasis_core::record::Category;
use homeostasis_core::{ConfigError, Digest, Violation, Violations};
use serde::{Deserialize, Serialize};

use super::evaluation::Evaluation;
use super::features;
use super::model::ErrorClassifier;

/// Changes with the form of the file.
const FORMAT: u32 = 1;

/// More features than this no model has: a file that says so is refused.
const MAX_FEATURES: usize = 200_000;

/// Weights beyond this would make every answer sure.
const MAX_WEIGHT: f64 = 1_000.0;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Artifact {
    format: u32,
    features: u32,
    classes: Vec<Category>,
    threshold: f64,
    temperature: f64,
    training: Digest,
    evaluation: Evaluation,
    intercepts: Vec<f64>,
    /// By feature, one of each class.
    weights: BTreeMap<String, Vec<f64>>,
}

impl ErrorClassifier {
    /// The model that comes with the crate, trained from `tests/corpus`. It is read when it is first
    /// asked for.
    ///
    /// # Errors
    /// Never in a released version: a test loads it.
    pub fn shipped() -> Result<Self, ConfigError> {
        static SHIPPED: OnceLock<Result<ErrorClassifier, ConfigError>> = OnceLock::new();
        let read = || Self::read("shipped.json", include_str!("shipped.json"));
        SHIPPED.get_or_init(read).clone()
    }

    /// The model of a file that [`ErrorClassifier::to_json`] wrote; `name` is shown in errors.
    ///
    /// # Errors
    /// Text that is no such file; another version of the form or of the features; no class or one
    /// twice; weights or intercepts that are not one for each class, not finite or beyond ±1,000;
    /// a temperature outside of 0.01 to 100; a threshold outside of 0 to 1. All are named at once.
    pub fn read(name: &str, json: &str) -> Result<Self, ConfigError> {
        let expected = "a classifier written by this version";
        let artifact: Artifact = serde_json::from_str(json)
            .map_err(|error| ConfigError::single(name, error, expected))?;
        let mut violations = Violations::new();
        let mut wrong = |path: String, value: String, expected: String| {
            violations.push(Violation::new(format!("{name}: {path}"), value, expected));
        };
        let Artifact {
            format,
            features,
            classes,
            ..
        } = &artifact;
        if *format != FORMAT {
            wrong("format".to_owned(), format.to_string(), FORMAT.to_string());
        }
        if *features != features::VERSION {
            wrong(
                "features".to_owned(),
                features.to_string(),
                features::VERSION.to_string(),
            );
        }
        let n_classes = classes.len();
        if n_classes < 2 || classes.iter().collect::<BTreeSet<_>>().len() < n_classes {
            wrong(
                "classes".to_owned(),
                format!("{classes:?}"),
                "two or more, each once".to_owned(),
            );
        }
        let in_range = |value: f64, from: f64, to: f64| (from..=to).contains(&value);
        if !in_range(artifact.temperature, 0.01, 100.0) {
            wrong(
                "temperature".to_owned(),
                artifact.temperature.to_string(),
                "0.01 to 100".to_owned(),
            );
        }
        if !in_range(artifact.threshold, 0.0, 1.0) {
            wrong(
                "threshold".to_owned(),
                artifact.threshold.to_string(),
                "0 to 1".to_owned(),
            );
        }
        if artifact.weights.len() > MAX_FEATURES {
            let n = artifact.weights.len().to_string();
            wrong(
                "weights".to_owned(),
                n,
                format!("at most {MAX_FEATURES} features"),
            );
        }
        let rows = artifact
            .weights
            .iter()
            .map(|(name, row)| (format!("weights.{name}"), row));
        for (path, row) in rows.chain([("intercepts".to_owned(), &artifact.intercepts)]) {
            if row.len() != n_classes {
                let n = format!("{} numbers", row.len());
                wrong(path, n, format!("{n_classes}, one for each class"));
            } else if let Some(bad) = row.iter().find(|w| !in_range(**w, -MAX_WEIGHT, MAX_WEIGHT)) {
                wrong(
                    path,
                    bad.to_string(),
                    format!("-{MAX_WEIGHT} to {MAX_WEIGHT}"),
                );
            }
        }
        violations.into_result(())?;
        let mut vocabulary = features::Vocabulary::default();
        let mut weights = Vec::with_capacity(artifact.weights.len() * n_classes);
        for (place, (feature, row)) in artifact.weights.into_iter().enumerate() {
            vocabulary.insert(feature, place);
            weights.extend(row);
        }
        Ok(Self {
            classes: artifact.classes,
            intercepts: artifact.intercepts,
            vocabulary,
            weights,
            temperature: artifact.temperature,
            threshold: artifact.threshold,
            training: artifact.training,
            evaluation: artifact.evaluation,
        })
    }

    /// The model as a file: JSON, one feature a line, the same bytes for the same model.
    pub fn to_json(&self) -> String {
        let n_classes = self.classes.len();
        let row = |place: usize| self.weights.iter().skip(place * n_classes).take(n_classes);
        let weights = self.vocabulary.iter();
        let weights = weights.map(|(name, place)| (name.clone(), row(*place).copied().collect()));
        let artifact = Artifact {
            format: FORMAT,
            features: features::VERSION,
            classes: self.classes.clone(),
            threshold: self.threshold,
            temperature: self.temperature,
            training: self.training,
            evaluation: self.evaluation.clone(),
            intercepts: self.intercepts.clone(),
            weights: weights.collect(),
        };
        // A struct of numbers and texts: there is nothing in it that JSON cannot hold.
        let json = serde_json::to_string(&artifact).unwrap_or_default();
        json.replace("],\"", "],\n\"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_model_is_read_and_written_to_the_same_bytes() {
        let shipped = ErrorClassifier::shipped().unwrap();
        assert_eq!(shipped.to_json(), include_str!("shipped.json").trim_end());
        assert_eq!(shipped.classes().len(), 9);
        assert!(include_str!("shipped.json").len() < 1 << 20);
    }

    #[test]
    fn what_is_wrong_with_a_file_is_named_all_at_once() {
        let good = r#"{"format":1,"features":1,"classes":["network","security"],"threshold":0.7,"temperature":1.0,"training":"DIGEST","evaluation":{"rows":0,"accuracy":0.0,"macro_f1":0.0,"categories":[],"reliability":[]},"intercepts":[0.0,0.0],"weights":{"word:a":[1.0,-1.0]}}"#
            .replace("DIGEST", &Digest::of_bytes(b"").to_string());
        assert!(ErrorClassifier::read("m", &good).is_ok());
        let wrong = |from: &str, to: &str| {
            let changed = good.replace(from, to);
            assert_ne!(changed, good);
            ErrorClassifier::read("m.json", &changed)
                .unwrap_err()
                .to_string()
        };
        for (from, to, place) in [
            ("\"format\":1", "\"format\":2", "m.json: format = 2"),
            ("\"features\":1", "\"features\":0", "m.json: features = 0"),
            ("\"security\"]", "\"network\"]", "m.json: classes"),
            ("\"security\"]", "\"nets\"]", "unknown variant `nets`"),
            ("[1.0,-1.0]", "[1.0]", "m.json: weights.word:a = 1 numbers"),
            (
                "[1.0,-1.0]",
                "[1.0,-1e9]",
                "m.json: weights.word:a = -1000000000",
            ),
            ("[1.0,-1.0]", "[1.0,NaN]", "expected value"),
            ("[1.0,-1.0]", "[1.0,null]", "null"),
            (
                "[0.0,0.0]",
                "[0.0,0.0,0.0]",
                "m.json: intercepts = 3 numbers",
            ),
            (
                "\"temperature\":1.0",
                "\"temperature\":0.0",
                "m.json: temperature = 0",
            ),
            (
                "\"threshold\":0.7",
                "\"threshold\":7",
                "m.json: threshold = 7",
            ),
            ("\"rows\":0", "\"rows\":0,\"x\":1", "unknown field `x`"),
        ] {
            let error = wrong(from, to);
            assert!(error.contains(place), "{place} in {error}");
        }
        let both = good
            .replace("\"format\":1", "\"format\":9")
            .replace("0.7", "-1.0");
        let error = ErrorClassifier::read("m", &both).unwrap_err();
        assert_eq!(error.violations().len(), 2);
    }
}
