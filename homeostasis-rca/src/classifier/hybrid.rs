//! Rules and classifier together.

use homeostasis_core::record::Category;
use homeostasis_core::{ConfigError, Violation, Violations};
use serde::{Deserialize, Serialize};

use super::model::{ErrorClassifier, Prediction};
use crate::rule::{ErrorText, RuleMatch, RuleSet};

/// How much rules and classifier count.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct HybridConfig {
    /// What the rule counts, the classifier the rest; 0 to 1, default 0.7.
    pub rule_weight: f64,
    /// The category of a rule at least this sure stands, whatever the classifier says; 0 to 1,
    /// default 0.8.
    pub rule_stands: f64,
    /// Without a rule, an answer of the classifier counts as sure only from here on; 0 to 1,
    /// default 0.9.
    pub classifier_sure: f64,
    /// Without a rule, less likely answers of the classifier are not given; 0 to 1, default 0.7.
    pub classifier_answers: f64,
}

impl Default for HybridConfig {
    fn default() -> Self {
        Self {
            rule_weight: 0.7,
            rule_stands: 0.8,
            classifier_sure: 0.9,
            classifier_answers: 0.7,
        }
    }
}

/// An answer of the classifier alone that is not sure enough is told as less sure than this.
const NOT_SURE: f64 = 0.79;

/// Rules and a classifier that vote on the category of an error.
///
/// The best rule gives its category its confidence, and what is left of it to the others, as the
/// classifier shares it out. That counts 0.7 and the classifier 0.3. So a sure rule that the
/// classifier contradicts keeps its category and loses confidence, and a rule that only knows that
/// something panicked gives way to a classifier that knows what.
///
/// ```
/// use homeostasis::rca::{ErrorText, HybridClassifier};
///
/// let hybrid = HybridClassifier::shipped()?;
/// let text = ErrorText::of_text("ConnectionRefusedError: [Errno 111] Connection refused");
/// let found = hybrid.answer(&text).unwrap();
/// assert_eq!(found.category.to_string(), "network");
/// assert!(found.confidence > 0.8);
/// # Ok::<(), homeostasis::core::ConfigError>(())
/// ```
#[derive(Debug, Clone)]
pub struct HybridClassifier {
    rules: RuleSet,
    classifier: ErrorClassifier,
    config: HybridConfig,
}

/// What rules and classifier say together.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct HybridAnswer<'r, 't> {
    /// The category.
    pub category: Category,
    /// How sure that is, 0 to 1.
    pub confidence: f64,
    /// The rule of first priority, if one matches; its category may be another.
    pub rule: Option<RuleMatch<'r, 't>>,
    /// What the classifier says, if it knows anything of the error.
    pub prediction: Option<Prediction>,
}

impl HybridClassifier {
    /// The rules and the classifier that come with the crate.
    ///
    /// # Errors
    /// Never in a released version.
    pub fn shipped() -> Result<Self, ConfigError> {
        Self::new(
            RuleSet::shipped()?,
            ErrorClassifier::shipped()?,
            HybridConfig::default(),
        )
    }

    /// These rules and this classifier.
    ///
    /// # Errors
    /// Every number of `config` outside of 0 to 1.
    pub fn new(
        rules: RuleSet,
        classifier: ErrorClassifier,
        config: HybridConfig,
    ) -> Result<Self, ConfigError> {
        let mut violations = Violations::new();
        for (name, value) in [
            ("rule_weight", config.rule_weight),
            ("rule_stands", config.rule_stands),
            ("classifier_sure", config.classifier_sure),
            ("classifier_answers", config.classifier_answers),
        ] {
            if !(0.0..=1.0).contains(&value) {
                violations.push(Violation::new(name, value, "0 to 1"));
            }
        }
        violations.into_result(Self {
            rules,
            classifier,
            config,
        })
    }

    /// Its rules.
    pub fn rules(&self) -> &RuleSet {
        &self.rules
    }

    /// How they count.
    pub fn config(&self) -> HybridConfig {
        self.config
    }

    /// Its classifier.
    pub fn classifier(&self) -> &ErrorClassifier {
        &self.classifier
    }

    /// The category of `text`; nothing if no rule matches and the classifier is not sure enough.
    pub fn answer<'r, 't>(&'r self, text: &'t ErrorText) -> Option<HybridAnswer<'r, 't>> {
        let rule = self.rules.best(text);
        let prediction = self.classifier.predict(text);
        let (category, confidence) = match (&rule, &prediction) {
            (Some(found), Some(prediction)) => self.vote(found, prediction),
            (Some(found), None) => (found.rule.category, found.rule.confidence.get()),
            (None, Some(prediction)) => self.alone(prediction)?,
            (None, None) => return None,
        };
        Some(HybridAnswer {
            category,
            confidence,
            rule,
            prediction,
        })
    }

    fn vote(&self, found: &RuleMatch<'_, '_>, prediction: &Prediction) -> (Category, f64) {
        let (said, sure) = (found.rule.category, found.rule.confidence.get());
        let weight = self.config.rule_weight;
        let others = (1.0 - prediction.probability(said)).max(f64::MIN_POSITIVE);
        let score = |category: Category| {
            let likely = prediction.probability(category);
            let by_rule = if category == said {
                sure
            } else {
                (1.0 - sure) * likely / others
            };
            weight * by_rule + (1.0 - weight) * likely
        };
        if sure >= self.config.rule_stands && !found.rule.fallback {
            return (said, score(said));
        }
        let all = prediction
            .probabilities()
            .iter()
            .map(|(category, _)| *category)
            .chain([said]);
        let scored = all.map(|category| (category, score(category)));
        scored
            .max_by(|a, b| a.1.total_cmp(&b.1))
            .unwrap_or((said, sure))
    }

    fn alone(&self, prediction: &Prediction) -> Option<(Category, f64)> {
        let likely = prediction.confidence();
        let confidence = if likely >= self.config.classifier_sure {
            likely
        } else {
            likely.min(NOT_SURE)
        };
        (likely >= self.config.classifier_answers).then(|| (prediction.category(), confidence))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hybrid(config: HybridConfig) -> Result<HybridClassifier, ConfigError> {
        HybridClassifier::new(RuleSet::shipped()?, ErrorClassifier::shipped()?, config)
    }

    #[test]
    fn a_sure_rule_keeps_its_category_and_pays_for_contradiction() {
        let hybrid = hybrid(HybridConfig::default()).unwrap();
        let text = ErrorText::of_text("ConnectionRefusedError: [Errno 111] Connection refused")
            .in_language("python");
        let found = hybrid.answer(&text).unwrap();
        let rule = found.rule.unwrap().rule;
        let likely = found.prediction.unwrap().probability(rule.category);
        assert_eq!(found.category, rule.category);
        assert!((found.confidence - (0.7 * rule.confidence.get() + 0.3 * likely)).abs() < 1e-12);
    }

    #[test]
    fn a_rule_of_little_say_gives_way() {
        let hybrid = hybrid(HybridConfig::default()).unwrap();
        let text = "thread 'main' panicked at src/main.rs:1:2:\nno route to host, connection to peer refused";
        let text = ErrorText::of_text(text).in_language("rust");
        let found = hybrid.answer(&text).unwrap();
        assert_eq!(found.category, Category::Network);
    }

    #[test]
    fn of_what_nobody_knows_nothing_is_said() {
        let hybrid = hybrid(HybridConfig::default()).unwrap();
        assert!(hybrid.answer(&ErrorText::of_text("zzz qqq")).is_none());
    }

    #[test]
    fn numbers_out_of_range_are_named() {
        let config = HybridConfig {
            rule_weight: f64::NAN,
            classifier_sure: 1.5,
            ..HybridConfig::default()
        };
        let error = hybrid(config).unwrap_err();
        assert_eq!(error.violations().len(), 2, "{error}");
    }
}
