//! Templates as a document says them, each proven by its own examples.

use std::collections::BTreeMap;

use homeostasis_core::document::{
    Fields, Located, boolean, float, list, located, map_of, nested, non_empty_string, one_of,
    string,
};
use homeostasis_core::record::{RecoveryStrategy, RiskLevel};
use homeostasis_core::signal::ErrorEvent;
use regex::Regex;

use super::proposer::parses_as_well;
use super::site::Site;
use super::template::{REPLACES, REQUIREMENTS, Recovery, Replaces, Template, compile};
use crate::Language;
use crate::config_remedy::RISKS;

const RECOVERIES: [(&str, RecoveryStrategy); 5] = [
    ("correct", RecoveryStrategy::Correct),
    ("propagate", RecoveryStrategy::Propagate),
    ("return", RecoveryStrategy::Return),
    ("skip", RecoveryStrategy::Skip),
    ("substitute", RecoveryStrategy::Substitute),
];

const LANGUAGES: [(&str, Language); 7] = [
    ("rust", Language::Rust),
    ("python", Language::Python),
    ("javascript", Language::JavaScript),
    ("typescript", Language::TypeScript),
    ("tsx", Language::Tsx),
    ("go", Language::Go),
    ("java", Language::Java),
];

struct Example {
    error: ErrorEvent,
    before: String,
    at: String,
    after: Option<String>,
}

/// The templates of a document, each for each of its languages.
pub(crate) fn templates(d: &mut Fields<'_>) -> Option<Vec<Vec<Template>>> {
    let languages = d.required("languages", list(one_of(&LANGUAGES)).at_least(1));
    let languages = languages?;
    let template = nested(|d: &mut Fields<'_>| template(d, &languages));
    d.required("templates", list(template).at_least(1))
}

/// Reads one template, for each of the languages, and runs its examples.
fn template(d: &mut Fields<'_>, languages: &[Language]) -> Option<Vec<Template>> {
    let words = || list(non_empty_string());
    let id = d.required("id", non_empty_string());
    let docs = d.required("docs", non_empty_string());
    let kinds = d.default("kinds", words(), Vec::new());
    let message = d.optional("message", located(non_empty_string()));
    let refusal = d.optional("refuses", non_empty_string());
    let patterns = d.default("match", list(located(non_empty_string())), Vec::new());
    let within = d.optional("within", located(non_empty_string()));
    let constraints = d.default(
        "where",
        map_of(located(non_empty_string())),
        BTreeMap::new(),
    );
    let not = d.default("not", map_of(located(non_empty_string())), BTreeMap::new());
    let requires = d.default("requires", list(one_of(&REQUIREMENTS)), Vec::new());
    let replaces = d.default("replaces", one_of(&REPLACES), Replaces::Expression);
    let fix = d.default("fix", string(), String::new());
    let otherwise = d.optional("otherwise", non_empty_string());
    let recovery = d.optional("recovery", located(one_of(&RECOVERIES)));
    let imports = d.default("imports", words(), Vec::new());
    let behaviour = d.default("behaviour", string(), String::new());
    let parameters = d.default("parameters", map_of(string()), BTreeMap::new());
    let risk = d.default("risk", one_of(&RISKS), RiskLevel::Medium);
    let confidence = d.default("confidence", float(0.0..=1.0), 0.5);
    let threshold = d.default("threshold", float(0.0..=1.0), 0.1);
    let requires_review = d.default("requires_review", boolean(), false);
    let examples = d.required(
        "examples",
        list(located(nested(|d| example(d, true)))).at_least(1),
    );
    let counter = d.default(
        "counter_examples",
        list(located(nested(|d| example(d, false)))),
        Vec::new(),
    );
    let refusal = refusal?;
    let message = match message? {
        Some(text) => regex(d, &text).map(Some),
        None => Some(None),
    };
    let constraints = regexes(d, constraints?);
    let not = regexes(d, not?);
    let within = match within? {
        None => Some(None),
        Some(text) => text.split_once('.').map_or_else(
            || {
                d.merge([text.violation("KIND.FIELD")]);
                None
            },
            |(kind, field)| Some(Some((kind.to_owned(), field.to_owned()))),
        ),
    };
    let (patterns, fix, behaviour) = (patterns?, fix?, behaviour?);
    let (examples, counter) = (examples?, counter?);
    let mut first = Template {
        id: id?,
        language: *languages.first()?,
        docs: docs?,
        kinds: kinds?,
        message: message?,
        patterns: Vec::new(),
        within: within?,
        constraints: constraints?,
        not: not?,
        requires: requires?,
        replaces: replaces?,
        fix,
        otherwise: otherwise?,
        recovery: Recovery::ByExit,
        imports: imports?,
        behaviour,
        parameters: parameters?,
        risk: risk?,
        confidence: confidence?,
        threshold: threshold?,
        requires_review: requires_review?,
        refusal,
    };
    if first.refusal.is_none() {
        check_complete(d, &first, &patterns, &counter);
        first.recovery = recovery_of(d, &first, recovery?)?;
    }
    let proofs: Vec<_> = examples.iter().chain(&counter).collect();
    languages
        .iter()
        .map(|&language| proven(d, &first, language, &patterns, &proofs))
        .collect()
}

/// Names what a template lacks that does not refuse.
fn check_complete(
    d: &mut Fields<'_>,
    template: &Template,
    patterns: &[Located<String>],
    counter: &[Located<Example>],
) {
    if patterns.is_empty() {
        d.reject("match", "at least one pattern");
    }
    if template.fix.trim().is_empty() {
        d.reject("fix", "the new text");
    }
    if template.behaviour.trim().is_empty() {
        d.reject("behaviour", "what changes for which inputs, in words");
    }
    if counter.is_empty() {
        d.reject(
            "counter_examples",
            "at least one: where it must not be applied",
        );
    }
}

/// How a program goes on after the fix; `None` if it is not said, or said twice.
fn recovery_of(
    d: &mut Fields<'_>,
    template: &Template,
    said: Option<Located<RecoveryStrategy>>,
) -> Option<Recovery> {
    let shown = match template.otherwise.as_deref() {
        _ if template.leaves() => Some(Recovery::ByExit),
        _ if template.hands_on() => Some(Recovery::By(RecoveryStrategy::Propagate)),
        Some("$MATCH") => Some(Recovery::By(RecoveryStrategy::Correct)),
        Some(_) => Some(Recovery::By(RecoveryStrategy::Substitute)),
        None => None,
    };
    match (shown, said) {
        (None, Some(said)) => Some(Recovery::By(*said)),
        (Some(shown), None) => Some(shown),
        (Some(_), Some(said)) => {
            d.merge([said.violation("nothing: the fix, or `otherwise`, says it")]);
            None
        }
        (None, None) => {
            d.reject("recovery", "how the program goes on where it failed before");
            None
        }
    }
}

/// The template for a language, with its patterns compiled, if its examples come out.
fn proven(
    d: &mut Fields<'_>,
    template: &Template,
    language: Language,
    patterns: &[Located<String>],
    examples: &[&Located<Example>],
) -> Option<Template> {
    let mut template = Template {
        language,
        ..template.clone()
    };
    for pattern in patterns {
        match compile(language, pattern) {
            Ok(pattern) => template.patterns.push(pattern),
            Err(error) => {
                let expected = format!("a pattern of {language}: {error}");
                d.merge([pattern.violation(expected)]);
                return None;
            }
        }
    }
    for example in examples {
        if let Err(said) = run(&template, example, examples[0]) {
            d.merge([example.violation(format!("{} ({language}): {said}", template.id))]);
            return None;
        }
    }
    Some(template)
}

fn example(d: &mut Fields<'_>, is_good: bool) -> Option<Example> {
    let error = d.default("error", string(), String::new());
    let before = d.required("before", non_empty_string());
    let at = d.required("at", non_empty_string());
    let after = if is_good {
        d.optional("after", string())
    } else {
        Some(None)
    };
    let error = error?;
    let (kind, message) = error.split_once(": ").unwrap_or((&error, ""));
    Some(Example {
        error: ErrorEvent::new("", kind, message),
        before: before?,
        at: at?,
        after: after?,
    })
}

fn regex(d: &mut Fields<'_>, text: &Located<String>) -> Option<Regex> {
    match Regex::new(text) {
        Ok(regex) => Some(regex),
        Err(error) => {
            d.merge([text.violation(format!("a regular expression: {error}"))]);
            None
        }
    }
}

fn regexes(
    d: &mut Fields<'_>,
    texts: BTreeMap<String, Located<String>>,
) -> Option<BTreeMap<String, Regex>> {
    let mut read = BTreeMap::new();
    for (name, text) in texts {
        read.insert(name, regex(d, &text)?);
    }
    Some(read)
}

/// Runs an example; says what came out if it is not what was expected.
fn run(template: &Template, example: &Example, first: &Example) -> Result<(), String> {
    let error = if example.error.kind.is_empty() {
        &first.error
    } else {
        &example.error
    };
    let Some(at) = example.before.find(&example.at) else {
        return Err(format!("`before` with {:?} in it", example.at));
    };
    if template.refusal.is_some() {
        return match template.treats(error) {
            Some(_) => Ok(()),
            None => Err("an error of the template's kinds".to_owned()),
        };
    }
    let line = example.before[..at].matches('\n').count() + 1;
    let start = example.before[..at].rfind('\n').map_or(0, |end| end + 1);
    let column = example.before[start..at].chars().count() + 1;
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let site = Site::new(
        template.language,
        &example.before,
        error,
        number(line),
        number(column),
    )
    .ok_or_else(|| "`at` on a line of `before`".to_owned())?;
    let mut results = Vec::new();
    for draft in template.drafts(&site).made {
        if let Some(new) = draft.apply(&example.before) {
            if draft.behaviour.contains('$') {
                return Err(format!(
                    "metavariables that are bound, got {:?}",
                    draft.behaviour
                ));
            }
            if parses_as_well(template.language, &example.before, &new) {
                results.push(new);
            }
        }
    }
    match &example.after {
        None if results.is_empty() => Ok(()),
        None => Err(format!("nothing to come out, got {results:?}")),
        Some(after) if results.iter().any(|new| new.trim_end() == after.trim_end()) => Ok(()),
        Some(after) => Err(format!("{after:?} to come out, got {results:?}")),
    }
}
