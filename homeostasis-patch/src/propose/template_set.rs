//! Sets of templates: those that are built in, and those that hosts add.

use std::collections::BTreeMap;

use homeostasis_core::document::{
    Fields, Located, Parser, boolean, decode, float, list, located, map_of, nested,
    non_empty_string, one_of, string,
};
use homeostasis_core::record::RiskLevel;
use homeostasis_core::signal::ErrorEvent;
use homeostasis_core::{ConfigError, Violation, Violations};
use regex::Regex;

use super::proposer::parses_as_well;
use super::site::Site;
use super::template::{REPLACES, REQUIREMENTS, Replaces, Template, compile};
use crate::Language;

/// The files that are built in.
const BUILT_IN: [(&str, &str); 5] = [
    ("rust.yaml", include_str!("../../templates/rust.yaml")),
    ("python.yaml", include_str!("../../templates/python.yaml")),
    (
        "javascript.yaml",
        include_str!("../../templates/javascript.yaml"),
    ),
    ("go.yaml", include_str!("../../templates/go.yaml")),
    ("java.yaml", include_str!("../../templates/java.yaml")),
];

const RISKS: [(&str, RiskLevel); 4] = [
    ("low", RiskLevel::Low),
    ("medium", RiskLevel::Medium),
    ("high", RiskLevel::High),
    ("critical", RiskLevel::Critical),
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

/// Templates of code changes, each proven by its own examples when it is read.
///
/// A document (YAML) holds `languages` and a list `templates`. Of a template:
///
/// - `id`, unique; `docs`, why it helps.
/// - `kinds`, the last names of error kinds, and `message`, a regular expression (default: any).
///   A named capture must agree with the metavariable of its name, where that is a literal or a
///   field, and can be used in the fix.
/// - `match`: patterns of [ast-grep](https://ast-grep.github.io); where a pattern is no program
///   alone, `KIND :: CONTEXT`, the node of that kind in a context. `within: KIND.FIELD`: the match
///   must be that field.
/// - `where` and `not`: regular expressions for the texts of metavariables, `MATCH` being the whole.
/// - `requires`: `returns_result`, `returns_option`, `in_loop`, `in_function`.
/// - `replaces`: `expression` (default) or `statement`; `fix`: the new text, with the metavariables,
///   `$STATEMENT` (the statement as it stands), `$EXIT` (a way out: one candidate each), `$FAIL`
///   (the error value of the function), `$VALUE` (a value that fits there, Python only).
///   It is indented by four spaces; the file's own way is taken over.
/// - `otherwise`: what a fix that is an expression comes to where it failed before (`0`, `$VALUE`),
///   or `$MATCH` if it is right there, too. In a condition that refuses, such a fix is proposed only
///   if that is known and the condition still refuses.
/// - `imports`, `parameters` (texts for metavariables, see [`TemplateSet::with_parameter`]).
/// - `behaviour`: what changes for which inputs, with metavariables and `$LEAVES` for `$EXIT`.
/// - `risk` (default `medium`), `confidence` (0 to 1), `threshold` (default 0.1: drafts of less
///   are dropped), `requires_review` (default false).
/// - `examples`: at least one, each with `error` (`KIND: MESSAGE`), `before`, `at` (the text where
///   it was raised) and `after`; `counter_examples`: at least one, without `after`: nothing comes
///   out. Or `refuses`, a reason, instead of all from `match` on but examples.
#[derive(Debug, Clone, Default)]
pub struct TemplateSet {
    templates: Vec<Template>,
}

impl TemplateSet {
    /// Without any template.
    pub fn empty() -> Self {
        Self::default()
    }

    /// The templates that come with the library.
    ///
    /// # Errors
    /// None that are not a mistake of the library; its tests read them all.
    pub fn built_in() -> Result<Self, ConfigError> {
        let mut set = Self::empty();
        for (source, text) in BUILT_IN {
            set = set.with_document(source, text)?;
        }
        Ok(set)
    }

    /// The same with the templates of a document.
    ///
    /// # Errors
    /// Everything that is wrong with it, with line and column: unknown fields, patterns that do not
    /// parse, metavariables that are not bound, an id that is known already, an example that does
    /// not come out (with what came out).
    pub fn with_document(mut self, source: &str, text: &str) -> Result<Self, ConfigError> {
        let node = Parser::new().source(source).parse(text)?;
        let known: Vec<String> = self.templates.iter().map(|t| t.id.clone()).collect();
        let read = |d: &mut Fields<'_>| {
            let languages = d.required("languages", list(one_of(&LANGUAGES)).at_least(1));
            let languages = languages?;
            let template = nested(|d: &mut Fields<'_>| template(d, &languages));
            d.required("templates", list(template).at_least(1))
        };
        let mut violations = Violations::new();
        for (idx, of_languages) in decode(&node, nested(read))?.into_iter().enumerate() {
            let is_known = |id: &str| known.iter().any(|k| k == id);
            if of_languages
                .first()
                .is_some_and(|first| is_known(&first.id) || self.template(&first.id).is_some())
            {
                let id = of_languages.first().map_or("", |first| &first.id);
                let path = format!("templates[{idx}].id");
                violations
                    .push(Violation::new(path, id, "an id that is not taken").in_source(source));
                continue;
            }
            self.templates.extend(of_languages);
        }
        violations.into_result(self)
    }

    /// The same with another text for a parameter of a template.
    ///
    /// # Errors
    /// There is no such template, or it has no such parameter.
    pub fn with_parameter(mut self, id: &str, name: &str, text: &str) -> Result<Self, ConfigError> {
        let mut n_set = 0;
        for template in self.templates.iter_mut().filter(|t| t.id == id) {
            if let Some(value) = template.parameters.get_mut(name) {
                text.clone_into(value);
                n_set += 1;
            }
        }
        let mut violations = Violations::new();
        if n_set == 0 {
            let expected = "a parameter of a template of the set";
            violations.push(Violation::new(format!("{id}.{name}"), text, expected));
        }
        violations.into_result(self)
    }

    /// The ids, in the order of reading.
    pub fn ids(&self) -> Vec<&str> {
        let mut ids: Vec<&str> = self.templates.iter().map(|t| t.id.as_str()).collect();
        ids.dedup();
        ids
    }

    pub(crate) fn of(&self, language: Language) -> impl Iterator<Item = &Template> {
        self.templates
            .iter()
            .filter(move |template| template.language == language)
    }

    fn template(&self, id: &str) -> Option<&Template> {
        self.templates.iter().find(|template| template.id == id)
    }
}

struct Example {
    error: ErrorEvent,
    before: String,
    at: String,
    after: Option<String>,
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
    if refusal.is_none() {
        if patterns.is_empty() {
            d.reject("match", "at least one pattern");
        }
        if fix.trim().is_empty() {
            d.reject("fix", "the new text");
        }
        if behaviour.trim().is_empty() {
            d.reject("behaviour", "what changes for which inputs, in words");
        }
        if counter.is_empty() {
            d.reject(
                "counter_examples",
                "at least one: where it must not be applied",
            );
        }
    }
    let first = Template {
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
        imports: imports?,
        behaviour,
        parameters: parameters?,
        risk: risk?,
        confidence: confidence?,
        threshold: threshold?,
        requires_review: requires_review?,
        refusal,
    };
    let proofs: Vec<_> = examples.iter().chain(&counter).collect();
    languages
        .iter()
        .map(|&language| proven(d, &first, language, &patterns, &proofs))
        .collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_template_does_what_its_examples_say() {
        let read = |(source, text)| TemplateSet::empty().with_document(source, text).err();
        let wrong: Vec<_> = BUILT_IN.into_iter().filter_map(read).collect();
        let said: Vec<_> = wrong.iter().map(ToString::to_string).collect();
        assert!(said.is_empty(), "{}", said.join("\n"));
        let set = TemplateSet::built_in().unwrap();
        for id in [
            "python/get-with-default",
            "rust/unwrap-none-let-else",
            "go/nil-guard",
        ] {
            assert!(set.ids().contains(&id), "{id}");
        }
    }

    const OWN: &str = "\
languages: [python]
templates:
  - id: own/half
    docs: halves
    kinds: [KeyError]
    match: [half($X)]
    fix: $X / $BY
    parameters: {BY: '2'}
    behaviour: it is half
    examples: [{error: 'KeyError: 1', before: y = half(4), at: half, after: y = 4 / 2}]
    counter_examples: [{before: y = third(4), at: third}]
";

    #[test]
    fn an_example_that_does_not_come_out_is_told_with_what_did() {
        let wrong = OWN.replace("after: y = 4 / 2", "after: y = 4 / 3");
        let error = TemplateSet::empty()
            .with_document("own.yaml", &wrong)
            .unwrap_err();
        let said = error.to_string();
        assert!(said.starts_with("own.yaml:10:"), "{said}");
        assert!(
            said.contains("own/half (Python): \"y = 4 / 3\" to come out, got [\"y = 4 / 2\"]"),
            "{said}"
        );
        let harmless = OWN.replace(
            "before: y = third(4), at: third",
            "before: y = half(3), at: half",
        );
        let error = TemplateSet::empty()
            .with_document("own.yaml", &harmless)
            .unwrap_err();
        assert!(error.to_string().contains("nothing to come out"), "{error}");
    }

    #[test]
    fn mistakes_are_told_with_their_place() {
        for (from, to, said) in [
            (
                "match: [half($X)]",
                "match: ['def (:']",
                "a pattern of Python",
            ),
            ("kinds: [KeyError]", "message: '('", "a regular expression"),
            ("docs: halves", "dogs: halves", "docs"),
            ("examples: [", "examples: [] #", "list of at least 1"),
        ] {
            let text = OWN.replacen(from, to, 1);
            let error = TemplateSet::empty()
                .with_document("own.yaml", &text)
                .unwrap_err();
            assert!(error.to_string().contains(said), "{to}: {error}");
        }
        let set = TemplateSet::empty().with_document("own.yaml", OWN).unwrap();
        let twice = set.clone().with_document("again.yaml", OWN).unwrap_err();
        assert!(
            twice.to_string().contains("an id that is not taken"),
            "{twice}"
        );
        assert!(set.clone().with_parameter("own/half", "BY", "3").is_ok());
        assert!(set.with_parameter("own/half", "OF", "3").is_err());
    }
}
