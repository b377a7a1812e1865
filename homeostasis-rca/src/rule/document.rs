//! Reading rules from documents, with everything that is wrong with them.

use homeostasis_core::condition::Condition;
use homeostasis_core::document::{
    Fields, Located, Node, Shape, Value, boolean, float, list, located, nested, non_empty_string,
    one_of,
};
use homeostasis_core::record::Category;
use homeostasis_core::{Confidence, Violation, Violations};

use super::{Blames, Criticality, ErrorText, Pattern, Patterns, Requirement, Rule};

pub(super) const CATEGORIES: [(&str, Category); 9] = [
    ("resource_exhaustion", Category::ResourceExhaustion),
    ("network", Category::Network),
    ("application_error", Category::ApplicationError),
    ("configuration", Category::Configuration),
    ("dependency_failure", Category::DependencyFailure),
    ("data_validation", Category::DataValidation),
    ("concurrency", Category::Concurrency),
    ("security", Category::Security),
    ("unknown", Category::Unknown),
];

pub(super) const CRITICALITIES: [(&str, Criticality); 4] = [
    ("low", Criticality::Low),
    ("medium", Criticality::Medium),
    ("high", Criticality::High),
    ("critical", Criticality::Critical),
];

pub(super) const BLAMES: [(&str, Blames); 2] =
    [("self", Blames::Itself), ("dependency", Blames::Dependency)];

/// A rule together with the place of its id.
pub(super) type Read = (Located<String>, Rule);

/// How much of a document is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trust {
    /// Everything: patterns are compiled and examples tried.
    Nothing,
    /// Examples were tried before, by a test; patterns are parsed, and compiled when they are used.
    Tested,
}

/// The document: a list of rules.
pub(super) fn rules(d: &mut Fields<'_>, trust: Trust) -> Option<Vec<Read>> {
    let rule = |d: &mut Fields<'_>| rule(d, trust);
    d.required("rules", list(nested(rule)).at_least(1))
}

fn rule(d: &mut Fields<'_>, trust: Trust) -> Option<Read> {
    let texts = || list(located(non_empty_string()));
    let names = || list(non_empty_string());
    let pattern = || PatternShape(trust);

    let id = d.required("id", located(Name));
    let title = d.required("title", non_empty_string());
    let one = d.optional("pattern", pattern());
    let several = d.default("patterns", list(pattern()), Vec::new());
    let kind = d.optional("kind", pattern());
    let message = d.optional("message", pattern());
    let frame = d.optional("frame", pattern());
    let template = d.optional("template", pattern());
    let root_cause_indicators = d.default("root_cause_indicators", list(pattern()), Vec::new());
    let requirements = list(RequirementShape(trust));
    let context_requirements = d.default("context_requirements", requirements, Vec::new());
    let category = d.required("category", one_of(&CATEGORIES));
    let cause = d.required("cause", Name);
    let blames = d.default("blames", one_of(&BLAMES), Blames::Itself);
    let criticality = d.default("criticality", one_of(&CRITICALITIES), Criticality::Medium);
    let confidence = d.required("confidence", float(0.5..=0.99));
    let fallback = d.default("fallback", boolean(), false);
    let languages = d.default("languages", names(), Vec::new());
    let only_in_languages = d.default("only_in_languages", boolean(), false);
    let applies_to = d.default("applies_to", names(), Vec::new());
    let services = d.default("services", names(), Vec::new());
    let examples = d.required("examples", texts().at_least(1));
    let counter_examples = d.default("counter_examples", texts(), Vec::new());
    let references = d.default("references", list(Url), Vec::new());
    let explanation = d.default("explanation", non_empty_string(), String::new());

    if only_in_languages == Some(true) && languages.as_ref().is_some_and(Vec::is_empty) {
        d.reject("only_in_languages", "`languages` beside it".to_owned());
        return None;
    }
    let one_of_these = ["pattern", "patterns", "kind", "message", "template"];
    if !one_of_these.iter().any(|name| d.has(name)) {
        let names = one_of_these.map(|name| format!("`{name}`")).join(", ");
        d.reject("pattern", format!("at least one of {names}"));
        return None;
    }
    let mut any = several?;
    any.extend(one?);
    let patterns = Patterns {
        any,
        kind: kind?,
        message: message?,
        frame: frame?,
        template: template?,
    };
    let (examples, counter_examples) = (examples?, counter_examples?);
    // Tried also when another field is wrong: everything is told at once.
    let wrong = match trust {
        Trust::Nothing => tried(&patterns, &examples, &counter_examples),
        Trust::Tested => Vec::new(),
    };
    let is_sound = wrong.is_empty();
    d.merge(wrong);
    let id = id?;
    let texts = |located: &[Located<String>]| located.iter().map(|text| (**text).clone()).collect();
    let rule = Rule {
        id: id.to_string(),
        title: title?,
        patterns,
        root_cause_indicators: root_cause_indicators?,
        context_requirements: context_requirements?,
        category: category?,
        cause: cause?,
        blames: blames?,
        criticality: criticality?,
        confidence: Confidence::saturating(confidence?),
        fallback: fallback?,
        languages: languages?,
        only_in_languages: only_in_languages?,
        applies_to: applies_to?,
        services: services?,
        examples: texts(&examples),
        counter_examples: texts(&counter_examples),
        references: references?,
        explanation: explanation?,
    };
    is_sound.then_some((id, rule))
}

/// The examples it does not match and the counter-examples that it does.
fn tried(
    patterns: &Patterns,
    examples: &[Located<String>],
    counters: &[Located<String>],
) -> Vec<Violation> {
    let matches = |example: &str| {
        let text = ErrorText::of_text(example);
        text.lines().any(|line| patterns.matches(&text, line))
    };
    let missed = examples.iter().filter(|text| !matches(text));
    let missed = missed.map(|text| text.violation("a text that the rule matches"));
    let taken = counters.iter().filter(|text| matches(text));
    let taken = taken.map(|text| text.violation("a text that the rule does not match"));
    missed.chain(taken).collect()
}

/// A name of a-z, 0-9, _ and dots.
struct Name;

impl Shape for Name {
    type Output = String;

    fn read(&self, node: &Node, path: &str, violations: &mut Violations) -> Option<String> {
        let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_.".contains(c);
        let name = node
            .as_str()
            .filter(|name| !name.is_empty() && name.chars().all(is_name));
        if name.is_none() {
            violations.push(node.violation(path, self.expected()));
        }
        name.map(str::to_owned)
    }

    fn expected(&self) -> String {
        "a name of a-z, 0-9, _ and .".to_owned()
    }
}

/// An address of the web.
struct Url;

impl Shape for Url {
    type Output = String;

    fn read(&self, node: &Node, path: &str, violations: &mut Violations) -> Option<String> {
        let is_url =
            |text: &&str| text.starts_with("https://") && !text.contains(char::is_whitespace);
        let url = node.as_str().filter(is_url);
        if url.is_none() {
            violations.push(node.violation(path, self.expected()));
        }
        url.map(str::to_owned)
    }

    fn expected(&self) -> String {
        "an address that begins with https://".to_owned()
    }
}

/// A regular expression.
#[derive(Clone, Copy)]
struct PatternShape(Trust);

impl Shape for PatternShape {
    type Output = Pattern;

    fn read(&self, node: &Node, path: &str, violations: &mut Violations) -> Option<Pattern> {
        let read = match node.as_str() {
            None => Err(self.expected()),
            Some(text) => Pattern::parse(text)
                .and_then(|pattern| match self.0 {
                    Trust::Nothing => pattern.check().map(|()| pattern),
                    Trust::Tested => Ok(pattern),
                })
                .map_err(|problem| format!("{} ({problem})", self.expected())),
        };
        read.map_err(|expected| violations.push(node.violation(path, expected)))
            .ok()
    }

    fn expected(&self) -> String {
        "a regular expression".to_owned()
    }
}

/// A condition, or a field and what it looks like.
struct RequirementShape(Trust);

impl Shape for RequirementShape {
    type Output = Requirement;

    fn read(&self, node: &Node, path: &str, violations: &mut Violations) -> Option<Requirement> {
        if matches!(node.value(), Value::Mapping(_)) {
            let field = |d: &mut Fields<'_>| {
                let name = d.required("field", non_empty_string());
                let matches = d.required("matches", PatternShape(self.0));
                Some(Requirement::Field {
                    name: name?,
                    matches: matches?,
                })
            };
            return nested(field).read(node, path, violations);
        }
        let read = match node.as_str().map(Condition::parse) {
            None => Err(self.expected()),
            Some(Ok(condition)) => Ok(Requirement::Condition(condition)),
            Some(Err(error)) => {
                let message = error.to_string();
                let message = message.lines().next().unwrap_or_default();
                Err(format!("a condition ({message})"))
            }
        };
        read.map_err(|expected| violations.push(node.violation(path, expected)))
            .ok()
    }

    fn expected(&self) -> String {
        "a condition, or a mapping of `field` and `matches`".to_owned()
    }
}
