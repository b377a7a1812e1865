//! Reading rules from documents, with everything that is wrong with them.

use homeostasis_core::condition::Condition;
use homeostasis_core::document::{
    Fields, Located, float, list, located, nested, non_empty_string, one_of,
};
use homeostasis_core::record::Category;
use homeostasis_core::{Confidence, Violation};
use regex::{Regex, RegexBuilder};

use super::line::lines_of;
use super::{Blames, Criticality, Rule};

const CATEGORIES: [(&str, Category); 8] = [
    ("resource_exhaustion", Category::ResourceExhaustion),
    ("network", Category::Network),
    ("application_error", Category::ApplicationError),
    ("configuration", Category::Configuration),
    ("dependency_failure", Category::DependencyFailure),
    ("data_validation", Category::DataValidation),
    ("concurrency", Category::Concurrency),
    ("security", Category::Security),
];

const CRITICALITIES: [(&str, Criticality); 4] = [
    ("low", Criticality::Low),
    ("medium", Criticality::Medium),
    ("high", Criticality::High),
    ("critical", Criticality::Critical),
];

const BLAMES: [(&str, Blames); 2] = [("self", Blames::Itself), ("dependency", Blames::Dependency)];

/// A compiled pattern may not become larger than this, in bytes.
const MAX_PATTERN_SIZE: usize = 1 << 20;

/// A rule together with the place of its id.
pub(super) type Read = (Located<String>, Rule);

/// The document: a list of rules.
pub(super) fn rules(d: &mut Fields<'_>) -> Option<Vec<Read>> {
    d.required("rules", list(nested(rule)).at_least(1))
}

fn rule(d: &mut Fields<'_>) -> Option<Read> {
    let id = d.required("id", located(non_empty_string()));
    let pattern = d.required("pattern", located(non_empty_string()));
    let texts = || list(located(non_empty_string()));
    let indicators = d.default("root_cause_indicators", texts(), Vec::new());
    let requirements = d.default("context_requirements", texts(), Vec::new());
    let category = d.required("category", one_of(&CATEGORIES));
    let cause = d.required("cause", located(non_empty_string()));
    let blames = d.default("blames", one_of(&BLAMES), Blames::Itself);
    let criticality = d.default("criticality", one_of(&CRITICALITIES), Criticality::Medium);
    let confidence = d.required("confidence", float(0.5..=0.99));
    let languages = d.default("languages", list(non_empty_string()), Vec::new());
    let applies_to = d.default("applies_to", list(non_empty_string()), Vec::new());
    let examples = d.required("examples", texts().at_least(1));
    let counter_examples = d.default("counter_examples", texts(), Vec::new());
    let explanation = d.required("explanation", non_empty_string());

    let mut wrong: Vec<Violation> = Vec::new();
    for name in [&id, &cause].into_iter().flatten() {
        let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_.".contains(c);
        if !name.chars().all(is_name) {
            wrong.push(name.violation("a name of a-z, 0-9, _ and ."));
        }
    }
    let pattern = pattern.and_then(|text| compiled(&text, &mut wrong));
    let indicators = indicators.map(|texts| all(&texts, &mut wrong, compiled));
    let requirements = requirements.map(|texts| all(&texts, &mut wrong, condition));
    if let Some(pattern) = &pattern {
        let matches = |example: &str| lines_of(example).any(|line| pattern.is_match(line));
        for example in examples.iter().flatten().filter(|text| !matches(text)) {
            wrong.push(example.violation("a text with a line that the pattern matches"));
        }
        for counter in counter_examples.iter().flatten() {
            if matches(counter) {
                wrong.push(counter.violation("a text with no line that the pattern matches"));
            }
        }
    }
    let is_sound = wrong.is_empty();
    d.merge(wrong);
    let id = id?;
    let rule = Rule {
        id: id.to_string(),
        pattern: pattern?,
        root_cause_indicators: indicators?,
        context_requirements: requirements?,
        category: category?,
        cause: cause?.into_inner(),
        blames: blames?,
        criticality: criticality?,
        confidence: Confidence::saturating(confidence?),
        languages: languages?,
        applies_to: applies_to?,
        explanation: explanation?,
    };
    examples.and(counter_examples)?;
    is_sound.then_some((id, rule))
}

fn all<T>(
    texts: &[Located<String>],
    wrong: &mut Vec<Violation>,
    read: fn(&Located<String>, &mut Vec<Violation>) -> Option<T>,
) -> Vec<T> {
    texts.iter().filter_map(|text| read(text, wrong)).collect()
}

fn compiled(text: &Located<String>, wrong: &mut Vec<Violation>) -> Option<Regex> {
    match RegexBuilder::new(text).size_limit(MAX_PATTERN_SIZE).build() {
        Ok(pattern) if pattern.is_match("") => {
            wrong.push(text.violation("a regular expression that does not match the empty line"));
            None
        }
        Ok(pattern) => Some(pattern),
        Err(error) => {
            let problem = problem(&error);
            wrong.push(text.violation(format!("a regular expression ({problem})")));
            None
        }
    }
}

/// What is wrong with a pattern and where in it, on one line.
///
/// The parser shows the place as a caret under the pattern, both indented alike; this counts the
/// characters before it.
fn problem(error: &regex::Error) -> String {
    let text = error.to_string();
    let mut lines: Vec<&str> = text.lines().collect();
    let Some(message) = lines.pop() else {
        return text;
    };
    let message = message.trim_start_matches("error: ");
    let caret = lines.iter().enumerate().find_map(|(idx, line)| {
        let is_marker = line.contains('^') && line.chars().all(|c| c == ' ' || c == '^');
        let indent = lines.get(idx.checked_sub(1)?)?;
        let indent = indent.len() - indent.trim_start().len();
        is_marker
            .then(|| line.find('^'))??
            .checked_sub(indent.min(4))
    });
    match caret {
        Some(before) => format!("character {}: {message}", before + 1),
        None => message.to_owned(),
    }
}

fn condition(text: &Located<String>, wrong: &mut Vec<Violation>) -> Option<Condition> {
    match Condition::parse(text) {
        Ok(condition) => Some(condition),
        Err(error) => {
            let message = error.to_string();
            let message = message.lines().next().unwrap_or_default();
            wrong.push(text.violation(format!("a condition ({message})")));
            None
        }
    }
}
