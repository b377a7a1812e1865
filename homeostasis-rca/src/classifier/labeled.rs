//! Errors whose category is known.

use homeostasis_core::record::Category;
use homeostasis_core::{ConfigError, Violation, Violations};
use serde::Deserialize;

use crate::rule::{ErrorText, RuleSet};

/// One error whose category somebody knows: what a classifier learns from and is measured with.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct LabeledError {
    /// Errors of one family are alike; a cross-validation never splits one. May be empty.
    pub family: String,
    /// The error.
    pub text: ErrorText,
    /// What it is.
    pub category: Category,
}

#[derive(Deserialize)]
struct Row {
    #[serde(default)]
    family: String,
    #[serde(default)]
    language: String,
    text: String,
    category: Category,
}

impl LabeledError {
    /// An error of `category`, of a family of its own kind only.
    pub fn new(text: ErrorText, category: Category) -> Self {
        Self {
            family: String::new(),
            text,
            category,
        }
    }

    /// The errors of JSON lines with the fields `text`, `category` and, if known, `language` and
    /// `family`; other fields do not matter, and empty lines are skipped. `name` is shown in errors.
    ///
    /// # Errors
    /// Every line that is no such object, with its number.
    pub fn read_lines(name: &str, lines: &str) -> Result<Vec<Self>, ConfigError> {
        let mut violations = Violations::new();
        let mut rows = Vec::new();
        for (number, line) in lines.lines().enumerate() {
            if line.trim().is_empty() {
                continue;
            }
            match serde_json::from_str::<Row>(line) {
                Ok(row) => rows.push(Self {
                    family: row.family,
                    text: ErrorText::of_text(&row.text).in_language(row.language),
                    category: row.category,
                }),
                Err(error) => violations.push(Violation::new(
                    format!("{name}:{}", number + 1),
                    error,
                    "an object with text and category",
                )),
            }
        }
        violations.into_result(rows)
    }

    /// The examples of rules, each of its rule's category; a rule is a family.
    pub fn of_rules(rules: &RuleSet) -> Vec<Self> {
        let of_rule = |rule: &crate::Rule| {
            let language = rule.languages.first().cloned().unwrap_or_default();
            let examples = rule.examples.iter().map(|example| Self {
                family: rule.id.clone(),
                text: ErrorText::of_text(example).in_language(language.clone()),
                category: rule.category,
            });
            examples.collect::<Vec<_>>()
        };
        rules.rules().iter().flat_map(of_rule).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_and_wrong_ones_named_by_number() {
        let good = "{\"text\":\"KeyError: 'a'\",\"category\":\"application_error\",\"note\":1}\n\n";
        let rows = LabeledError::read_lines("x.jsonl", good).unwrap();
        assert_eq!(
            (rows.len(), rows[0].category),
            (1, Category::ApplicationError)
        );
        let wrong = good.replace("application_error", "bug");
        let error = LabeledError::read_lines("x.jsonl", &(good.to_owned() + &wrong)).unwrap_err();
        assert!(error.to_string().contains("x.jsonl:3"), "{error}");
    }

    #[test]
    fn every_example_of_the_rules_is_a_row() {
        let rules = RuleSet::shipped().unwrap();
        let n: usize = rules.rules().iter().map(|rule| rule.examples.len()).sum();
        assert_eq!(LabeledError::of_rules(&rules).len(), n);
    }
}
