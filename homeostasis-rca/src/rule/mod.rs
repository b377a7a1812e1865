//! Rules: what the text of an error says about the cause, as data.

mod analyzer;
mod anchor;
mod denial;
mod document;
mod error_text;
mod lint;
mod literal;
mod neutral;
mod pattern;
mod patterns;
mod prefilter;
mod requirement;
#[cfg(feature = "schema")]
mod schema;
mod set;
mod shipped;

use std::fmt;

use homeostasis_core::record::Category;
use homeostasis_core::{Confidence, Target};
use serde::Serialize;

pub use analyzer::RuleAnalyzer;
#[cfg(feature = "classifier")]
pub(crate) use analyzer::{growth, named_callee, reference};
pub use error_text::{ErrorLine, ErrorText};
pub use lint::{LintFinding, LintKind};
pub use pattern::Pattern;
pub use patterns::Patterns;
pub use requirement::Requirement;
#[cfg(feature = "schema")]
pub use schema::rule_schema;
pub use set::{RuleMatch, RuleSet};

/// How bad it is if a rule is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Blames {
    /// Whoever wrote the line.
    #[serde(rename = "self")]
    Itself,
    /// Something it calls: a callee that the line names, if the topology knows one.
    Dependency,
}

/// One rule, checked.
///
/// Its JSON has the fields of a rule file, those that are empty left out.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Rule {
    /// Its name, unique in a set.
    pub id: String,
    /// One sentence for people.
    pub title: String,
    /// What a text must look like.
    #[serde(flatten)]
    pub patterns: Patterns,
    /// Other lines of the same target that make it surer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub root_cause_indicators: Vec<Pattern>,
    /// What must hold of the record and its surroundings; unknown halves the weight, false drops it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub context_requirements: Vec<Requirement>,
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
    /// Whether any other rule that matches comes before it, however specific it is.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub fallback: bool,
    /// Languages it is for; empty for all. A record that tells no language is not held against it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub languages: Vec<String>,
    /// Whether a record that tells no language is held against it: for rules whose words are those of
    /// prose, which other languages and systems write too.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub only_in_languages: bool,
    /// Systems it is for; empty for all. A record that names no system is not held against it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub applies_to: Vec<String>,
    /// Services it is for; empty for all. A record of nobody is held against it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<String>,
    /// Texts that it matches; tried when it was loaded.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub examples: Vec<String>,
    /// Texts that it does not match; tried when it was loaded.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub counter_examples: Vec<String>,
    /// Where the message is documented.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub references: Vec<String>,
    /// More for people: what usually lies behind it, what to look at. May be empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub explanation: String,
}

impl Rule {
    /// How narrow its scope is: rules for certain services come before those with requirements,
    /// those before the rest; a language or a system counts as much as ten letters of its literals.
    pub fn scope_specificity(&self) -> u32 {
        let at_most = |n: usize, limit: u32| u32::try_from(n).unwrap_or(limit).min(limit);
        u32::from(!self.services.is_empty()) * 100_000
            + at_most(self.context_requirements.len(), 9) * 10_000
            + u32::from(!self.languages.is_empty()) * 10
            + u32::from(!self.applies_to.is_empty()) * 10
    }

    /// Whether it is meant for `text`: for its language, its system and its writer.
    pub fn is_for(&self, text: &ErrorText) -> bool {
        let named = |names: &[String], name: &str| {
            names.iter().any(|known| known.eq_ignore_ascii_case(name))
        };
        let language = text.language();
        let systems = text.systems();
        let service = text.target().map(Target::service_name);
        (self.services.is_empty() || service.is_some_and(|name| named(&self.services, name)))
            && (self.languages.is_empty()
                || (language.is_empty() && !self.only_in_languages)
                || named(&self.languages, language))
            && (self.applies_to.is_empty()
                || systems.is_empty()
                || systems.iter().any(|name| named(&self.applies_to, name)))
    }

    /// Log odds of its confidence: what one sure match says, in nats.
    pub fn nats(&self) -> f64 {
        let confidence = self.confidence.get();
        (confidence / (1.0 - confidence)).ln()
    }
}
