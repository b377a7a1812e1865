//! Rules: what a line of an error log says about the cause, as data.

mod analyzer;
mod document;
mod line;
mod set;

use std::fmt;

use homeostasis_core::condition::Condition;
use homeostasis_core::record::Category;
use homeostasis_core::{Confidence, Target};
use regex::Regex;

pub use analyzer::RuleAnalyzer;
pub use set::RuleSet;

/// How bad it is if a rule is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Criticality {
    /// Worth a note.
    Low,
    /// Something does not work.
    Medium,
    /// Users notice.
    High,
    /// The process or its data is lost.
    Critical,
}

impl fmt::Display for Criticality {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        })
    }
}

/// Who is ill if a rule is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Blames {
    /// Whoever wrote the line.
    Itself,
    /// Something it calls: a callee that the line names, if the topology knows one.
    Dependency,
}

/// One rule, checked.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Rule {
    /// Its name, unique in a set.
    pub id: String,
    /// What the error line looks like.
    pub pattern: Regex,
    /// Other lines of the same target that make it surer.
    pub root_cause_indicators: Vec<Regex>,
    /// What must hold of the target's metrics; unknown halves the weight, false drops the finding.
    pub context_requirements: Vec<Condition>,
    /// The family of the cause.
    pub category: Category,
    /// The cause, in the vocabulary of playbooks.
    pub cause: String,
    /// Who is ill.
    pub blames: Blames,
    /// How bad it is.
    pub criticality: Criticality,
    /// How often the cause is there when the line is: 0.5 to 0.99.
    pub confidence: Confidence,
    /// Languages it is for; empty for all. A record that tells no language is not held against it.
    pub languages: Vec<String>,
    /// Services it is for; empty for all.
    pub applies_to: Vec<String>,
    /// One sentence for people.
    pub explanation: String,
}

impl Rule {
    /// How narrow it is: rules for certain services come before those for certain languages, those
    /// with requirements, and those with long patterns.
    pub fn specificity(&self) -> u32 {
        let at_most = |n: usize, limit: u32| u32::try_from(n).unwrap_or(limit).min(limit);
        let literals = self
            .pattern
            .as_str()
            .chars()
            .filter(|c| c.is_alphanumeric());
        u32::from(!self.applies_to.is_empty()) * 100_000
            + u32::from(!self.languages.is_empty()) * 10_000
            + at_most(self.context_requirements.len(), 9) * 1_000
            + at_most(literals.count(), 999)
    }

    /// Whether it is meant for lines of `target` in `language`.
    pub fn is_for(&self, target: Option<&Target>, language: &str) -> bool {
        let service_fits = self.applies_to.is_empty()
            || target.is_some_and(|t| self.applies_to.iter().any(|s| s == t.service_name()));
        let language_fits = self.languages.is_empty()
            || language.is_empty()
            || self
                .languages
                .iter()
                .any(|l| l.eq_ignore_ascii_case(language));
        service_fits && language_fits
    }

    /// Log odds of its confidence: what one sure match says, in nats.
    pub fn nats(&self) -> f64 {
        let confidence = self.confidence.get();
        (confidence / (1.0 - confidence)).ln()
    }
}
