//! Sets of templates: those that are built in, and those that hosts add.

use homeostasis_core::document::{Parser, decode, nested};
use homeostasis_core::{ConfigError, Violation, Violations};

use super::template::Template;
use super::template_document::templates;
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
/// - `recovery`: how the program goes on where it failed before, as of
///   [`RecoveryStrategy`](homeostasis_core::record::RecoveryStrategy): `correct`,
///   `propagate`, `return`, `skip`, `substitute`. It is not given where the fix says it: by `$EXIT` (and
///   then the program is warned of in its own log, if the file has one, unless the caller is told), by
///   `otherwise`, by Rust's `?`.
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
        let mut violations = Violations::new();
        for (idx, of_languages) in decode(&node, nested(templates))?.into_iter().enumerate() {
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
    recovery: substitute
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
        assert!(said.starts_with("own.yaml:11:"), "{said}");
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
            (
                "    recovery: substitute\n",
                "",
                "how the program goes on where it failed before",
            ),
            ("fix: $X / $BY", "fix: $EXIT", "nothing: the fix"),
            ("recovery: substitute", "recovery: hope", "correct"),
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
