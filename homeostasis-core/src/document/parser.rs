//! From text to a tree: YAML 1.2, or JSON with comments.

use std::fmt;
use std::sync::Arc;

use saphyr_parser::{Event, Marker, ScalarStyle, Tag};

use super::builder::{Builder, Fatal, Typing};
use super::interpolation::Lookup;
use super::json;
use super::node::{Node, Span};
use super::scalar::resolve_plain;
use crate::violation::ConfigError;

/// The language of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Format {
    /// YAML 1.2 with the core schema.
    #[default]
    Yaml,
    /// JSON (RFC 8259); `//` and `/* */` comments are allowed.
    Json,
}

impl Format {
    /// The format a file name tells: `.json` and `.jsonc` are JSON, everything else is YAML.
    pub fn of_file_name(name: &str) -> Self {
        match name.rsplit_once('.') {
            Some((_, suffix))
                if suffix.eq_ignore_ascii_case("json") || suffix.eq_ignore_ascii_case("jsonc") =>
            {
                Self::Json
            }
            _ => Self::Yaml,
        }
    }
}

/// How large a document may grow, aliases and variables expanded.
///
/// The limits stop documents that are small on disk and huge in memory ("billion laughs").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Limits {
    /// The most values and keys; default 20 000.
    pub max_nodes: usize,
    /// The deepest nesting; default 64, and never more than 128.
    pub max_depth: usize,
    /// The most bytes of text; default 4 MiB.
    pub max_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_nodes: 20_000,
            max_depth: 64,
            max_bytes: 4 << 20,
        }
    }
}

/// Reads a document into a tree of [`Node`]s.
///
/// Plain scalars follow the YAML 1.2 core schema, so that `yes` and `no` are strings; quoted scalars always are.
/// Keys are strings as they are written.
/// Anchors and aliases work within the [`Limits`]; merge keys (`<<`), tags other than those of the core schema and
/// streams of several documents are refused.
///
/// With [`variables`](Parser::variables), `${NAME}` and `${NAME:-default}` in scalar values are filled in and `$${`
/// stands for a literal `${`.
/// The default also replaces a variable that is set but empty, as in a shell.
/// An unquoted scalar gets its type after filling in: with `PORT=8080`, `port: ${PORT}` is an integer and
/// `port: "${PORT}"` a string.
/// Values of variables never appear in errors.
///
/// # Examples
/// ```
/// use homeostasis::core::document::Parser;
///
/// let lookup = |name: &str| (name == "REGION").then(|| "eu-1".to_owned());
/// let node = Parser::new()
///     .source("service.yaml")
///     .variables(&lookup)
///     .parse("region: ${REGION}\nreplicas: ${REPLICAS:-3}")?;
/// assert_eq!(node.to_json(), serde_json::json!({"region": "eu-1", "replicas": 3}));
/// # Ok::<(), homeostasis::core::ConfigError>(())
/// ```
#[derive(Clone, Copy, Default)]
pub struct Parser<'a> {
    source: Option<&'a str>,
    format: Option<Format>,
    limits: Limits,
    lookup: Option<&'a Lookup<'a>>,
}

impl fmt::Debug for Parser<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parser")
            .field("source", &self.source)
            .field("format", &self.format)
            .field("limits", &self.limits)
            .field("variables", &self.lookup.is_some())
            .finish()
    }
}

impl<'a> Parser<'a> {
    /// A parser for YAML from no named file, with the default limits and without variables.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same parser for a file of this name, which errors will show; its suffix tells the format unless
    /// [`format`](Parser::format) does.
    #[must_use]
    pub fn source(mut self, name: &'a str) -> Self {
        self.source = Some(name);
        self
    }

    /// The same parser for this format.
    #[must_use]
    pub fn format(mut self, format: Format) -> Self {
        self.format = Some(format);
        self
    }

    /// The same parser with these limits.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// The same parser with variables filled in from `lookup`, which gives `None` for one that is not set.
    #[must_use]
    pub fn variables(mut self, lookup: &'a (dyn Fn(&str) -> Option<String> + 'a)) -> Self {
        self.lookup = Some(lookup);
        self
    }

    /// Reads `text`.
    ///
    /// An empty document is `null`.
    /// Takes time linear in the size of the document with its aliases expanded.
    ///
    /// # Errors
    /// - The text is not well-formed; reading stops there.
    /// - The document exceeds a limit, an alias stands inside its own anchor, a key is not a scalar, or a second document
    ///   follows; reading stops there.
    /// - A key is given twice, a merge key or an unknown tag is used, a variable is missing or badly written; all of
    ///   these are reported together.
    pub fn parse(&self, text: &str) -> Result<Node, ConfigError> {
        let source: Option<Arc<str>> = self.source.map(Into::into);
        let limits = Limits {
            max_depth: self.limits.max_depth.min(128),
            ..self.limits
        };
        let mut builder = Builder::new(source, limits, self.lookup);
        let format = self
            .format
            .unwrap_or_else(|| self.source.map_or(Format::Yaml, Format::of_file_name));
        let read = if text.len() > limits.max_bytes {
            let expected = format!("at most {} bytes", limits.max_bytes);
            Err(builder.violation(
                Span { line: 1, column: 1 },
                format_args!("{} bytes", text.len()),
                expected,
            ))
        } else {
            match format {
                Format::Yaml => read_yaml(text, &mut builder),
                Format::Json => json::read(text, &mut builder),
            }
        };
        if let Err(fatal) = read {
            builder.report(fatal);
        }
        let start = builder.violation(Span { line: 1, column: 1 }, "", "a document");
        let (root, mut violations) = builder.finish_document();
        if root.is_none() && violations.is_empty() {
            violations.push(start);
        }
        match (violations.into_error(), root) {
            (Some(error), _) => Err(error),
            (None, Some(root)) => Ok(root),
            (None, None) => Err(ConfigError::single("", "", "a document")),
        }
    }
}

fn span(mark: Marker) -> Span {
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    Span {
        line: number(mark.line().max(1)),
        column: number(mark.col().saturating_add(1)),
    }
}

fn read_yaml(text: &str, builder: &mut Builder<'_>) -> Result<(), Fatal> {
    let mut parser = saphyr_parser::Parser::new_from_str(text);
    let mut n_documents = 0;
    while let Some(event) = parser.next_event() {
        let (event, range) = event.map_err(|error| {
            builder.violation(
                span(*error.marker()),
                "malformed text",
                format!("well-formed YAML ({})", error.info()),
            )
        })?;
        let at = span(range.start);
        match event {
            Event::Nothing | Event::StreamStart | Event::DocumentEnd => {}
            Event::StreamEnd => break,
            Event::DocumentStart(_) => {
                n_documents += 1;
                if n_documents > 1 {
                    return Err(builder.violation(
                        at,
                        "a second document",
                        "one document in each file",
                    ));
                }
            }
            Event::Alias(_) | Event::SequenceStart(..) | Event::MappingStart(..)
                if builder.expects_key() =>
            {
                return Err(builder.violation(at, "a key that is no scalar", "a string as key"));
            }
            Event::Alias(anchor) => builder.alias(anchor, at)?,
            Event::SequenceStart(anchor, tag) => {
                check_tag(tag.as_deref(), "seq", at, builder);
                builder.open_sequence(at, anchor)?;
            }
            Event::MappingStart(anchor, tag) => {
                check_tag(tag.as_deref(), "map", at, builder);
                builder.open_mapping(at, anchor)?;
            }
            Event::SequenceEnd | Event::MappingEnd => builder.close(),
            Event::Scalar(text, style, _, tag) if builder.expects_key() => {
                check_tag(tag.as_deref(), "str", at, builder);
                if style == ScalarStyle::Plain && text == "<<" {
                    let expected = "no merge key, which YAML 1.2 does not have; give each field, or lay an overlay over the document";
                    builder.report(builder.violation(at, "`<<`", expected));
                }
                builder.key(text.into_owned(), at)?;
            }
            Event::Scalar(text, style, anchor, tag) => {
                let is_absent = style == ScalarStyle::Plain && text.is_empty();
                // A value that is not there is reported at its key, not at whatever follows.
                let at = builder.key_span().filter(|_| is_absent).unwrap_or(at);
                let typing = scalar_typing(&text, style, tag.as_deref(), at, builder);
                builder.scalar(&text, typing, at, anchor)?;
            }
        }
    }
    if n_documents == 0 {
        builder.scalar("", Typing::Plain, Span { line: 1, column: 1 }, 0)?;
    }
    Ok(())
}

fn check_tag(tag: Option<&Tag>, allowed: &str, at: Span, builder: &mut Builder<'_>) {
    if let Some(tag) = tag
        && !(tag.is_yaml_core_schema() && tag.suffix == allowed)
    {
        refuse_tag(tag, at, builder);
    }
}

fn refuse_tag(tag: &Tag, at: Span, builder: &mut Builder<'_>) {
    let violation = builder.violation(
        at,
        format_args!("tag {tag}"),
        "no tag, or one of the core schema that fits the value (!!str, !!int, !!float, !!bool, !!null, !!seq, !!map)",
    );
    builder.report(violation);
}

fn scalar_typing(
    text: &str,
    style: ScalarStyle,
    tag: Option<&Tag>,
    at: Span,
    builder: &mut Builder<'_>,
) -> Typing {
    use super::node::Value;
    let by_style = if style == ScalarStyle::Plain {
        Typing::Plain
    } else {
        Typing::Text
    };
    let Some(tag) = tag else { return by_style };
    if tag.handle.is_empty() && tag.suffix == "!" {
        return Typing::Text;
    }
    let looks = resolve_plain(text);
    match (tag.is_yaml_core_schema(), tag.suffix.as_str(), looks) {
        (true, "str", _) => Typing::Text,
        (true, "int", Value::Int(_))
        | (true, "float", Value::Float(_))
        | (true, "bool", Value::Bool(_))
        | (true, "null", Value::Null) => Typing::Plain,
        _ => {
            refuse_tag(tag, at, builder);
            by_style
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn json(text: &str) -> serde_json::Value {
        Parser::new().parse(text).unwrap().to_json()
    }

    fn error(text: &str) -> String {
        Parser::new()
            .source("f.yaml")
            .parse(text)
            .unwrap_err()
            .to_string()
    }

    fn place(node: &Node, pointer: &str) -> (u32, u32) {
        let span = node.pointer(pointer).unwrap().span();
        (span.line, span.column)
    }

    #[test]
    fn yes_and_no_are_strings_and_quotes_make_strings() {
        assert_eq!(
            json("a: no\nb: true\nc: '1'\nd: 1\ne: \"x\\ty\"\nf: |\n  two\n  lines\ng:\n"),
            json!({"a": "no", "b": true, "c": "1", "d": 1, "e": "x\ty", "f": "two\nlines\n", "g": null})
        );
    }

    #[test]
    fn every_value_knows_its_place() {
        let node = Parser::new()
            .parse("# head\nplaybook:\n  name: übung\n  steps:\n    - run: [a,  b]\n    -   run:\n        wait: 5\n")
            .unwrap();
        assert_eq!(place(&node, ""), (2, 1));
        assert_eq!(place(&node, "/playbook"), (3, 3));
        assert_eq!(place(&node, "/playbook/name"), (3, 9));
        assert_eq!(place(&node, "/playbook/steps/0/run/1"), (5, 17));
        assert_eq!(place(&node, "/playbook/steps/1/run"), (6, 9));
    }

    #[test]
    fn an_empty_document_is_null() {
        for text in ["", "  \n", "# only a comment\n", "---\n", "---\n...\n"] {
            assert_eq!(json(text), json!(null), "{text:?}");
        }
    }

    #[test]
    fn a_second_document_is_refused() {
        assert_eq!(
            error("a: 1\n---\nb: 2\n"),
            "f.yaml:2:1: document = a second document, expected one document in each file"
        );
    }

    #[test]
    fn malformed_text_is_named_with_its_place() {
        let message = error("a: 1\nb: [1, 2\nc: 3\n");
        assert!(message.starts_with("f.yaml:3:"), "{message}");
        assert!(
            message.contains("malformed text, expected well-formed YAML ("),
            "{message}"
        );
    }

    #[test]
    fn duplicate_keys_name_both_lines_and_are_all_reported() {
        assert_eq!(
            error("a: 1\nb:\n  c: 1\n  d: 2\n  c: 3\na: 2\n"),
            "f.yaml:5:3: b.c = duplicate key, expected each key once; it is first given on line 3 and again on line 5\n\
             f.yaml:6:1: a = duplicate key, expected each key once; it is first given on line 1 and again on line 6"
        );
    }

    #[test]
    fn aliases_repeat_their_anchor() {
        assert_eq!(
            json("base: &b {x: [1]}\nuse: *b\nlist: [&s text, *s]\n"),
            json!({"base": {"x": [1]}, "use": {"x": [1]}, "list": ["text", "text"]})
        );
    }

    #[test]
    fn an_alias_inside_its_own_anchor_is_refused() {
        assert!(
            error("a: &x [1, *x]\n").contains("f.yaml:1:11: a[1] = alias"),
            "{}",
            error("a: &x [1, *x]\n")
        );
    }

    #[test]
    fn a_billion_laughs_are_refused() {
        let mut text = "a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n".to_owned();
        for level in 1..12 {
            let below = format!("*a{}", level - 1);
            let items = vec![below; 9].join(", ");
            text = format!("{text}a{level}: &a{level} [{items}]\n");
        }
        let message = error(&text);
        assert!(message.contains("too many values"), "{message}");
        let long = format!(
            "a: &a {}\nb: [{}]\n",
            "x".repeat(100_000),
            vec!["*a"; 100].join(", ")
        );
        assert!(error(&long).contains("too much text"));
    }

    #[test]
    fn nesting_beyond_the_limit_is_refused() {
        let nested = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert!(Parser::new().parse(&nested(64)).is_ok());
        assert!(error(&nested(65)).contains("f.yaml:1:65: "));
        assert!(error(&nested(65)).contains("nesting too deep, expected at most 64 levels"));
        assert!(
            Parser::new()
                .format(Format::Json)
                .parse(&nested(100_000))
                .is_err()
        );
        let anchored = format!(
            "a: &a {}\nb: {}*a{}\n",
            nested(40),
            "[".repeat(40),
            "]".repeat(40)
        );
        assert!(error(&anchored).contains("nesting too deep"));
    }

    #[test]
    fn a_text_beyond_the_limit_is_refused() {
        let limits = Limits {
            max_bytes: 10,
            ..Limits::default()
        };
        let error = Parser::new()
            .limits(limits)
            .parse("a: 123456789")
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "line 1:1: document = 12 bytes, expected at most 10 bytes"
        );
    }

    #[test]
    fn complex_keys_merge_keys_and_tags_are_refused() {
        assert!(error("? [a]\n: 1\n").contains("expected a string as key"));
        assert!(
            error("a: &a {x: 1}\nb:\n  <<: *a\n")
                .starts_with("f.yaml:3:3: b = `<<`, expected no merge key")
        );
        assert!(
            error("a: !secret x\n").starts_with("f.yaml:1:4: a = tag !secret, expected no tag")
        );
        assert!(error("a: !!int x\n").contains("f.yaml:1:4: a = tag"));
        assert_eq!(
            json("a: !!str 5\nb: !!int 5\nc: ! 5\nd: !!map {}"),
            json!({"a": "5", "b": 5, "c": "5", "d": {}})
        );
    }

    #[test]
    fn variables_are_filled_in_and_typed_when_unquoted() {
        let lookup = |name: &str| match name {
            "PORT" => Some("8080".to_owned()),
            "HOST" => Some("db: [1]".to_owned()),
            _ => None,
        };
        let node = Parser::new()
            .variables(&lookup)
            .parse("a: ${PORT}\nb: \"${PORT}\"\nc: ${HOST}\nd: $${PORT}\ne: ${NO:-5m}\n")
            .unwrap();
        assert_eq!(
            node.to_json(),
            json!({"a": 8080, "b": "8080", "c": "db: [1]", "d": "${PORT}", "e": "5m"})
        );
        assert_eq!(node.pointer("/a").unwrap().written(), "${PORT}");
        assert_eq!(json("a: ${PORT}"), json!({"a": "${PORT}"}));
    }

    #[test]
    fn every_missing_variable_is_reported_without_values() {
        let lookup = |name: &str| (name == "PASSWORD").then(|| "hunter2".to_owned());
        let error = Parser::new()
            .variables(&lookup)
            .parse("a: ${PASSWORD}${X}\nb:\n  - ${Y}\n")
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "line 1:4: a = \"${PASSWORD}${X}\", expected the variable `X` to be set, or a default as in `${X:-default}`\n\
             line 3:5: b[0] = \"${Y}\", expected the variable `Y` to be set, or a default as in `${Y:-default}`"
        );
    }

    #[test]
    fn the_suffix_tells_the_format() {
        assert_eq!(Format::of_file_name("a/b.JSON"), Format::Json);
        assert_eq!(Format::of_file_name("b.yaml"), Format::Yaml);
        assert!(Parser::new().source("x.json").parse("a: 1").is_err());
        assert!(
            Parser::new()
                .source("x.json")
                .parse("{\"a\": 1 /* c */}")
                .is_ok()
        );
    }

    fn any_json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(json!(null)),
            any::<bool>().prop_map(|v| json!(v)),
            any::<i64>().prop_map(|v| json!(v)),
            any::<u64>().prop_map(|v| json!(v)),
            any::<f64>()
                .prop_filter("finite", |v| v.is_finite())
                .prop_map(|v| json!(v)),
            any::<String>().prop_map(|v| json!(v)),
        ];
        leaf.prop_recursive(5, 60, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(serde_json::Value::from),
                prop::collection::hash_map(".*", inner, 0..6)
                    .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn json_round_trips(value in any_json()) {
            for text in [value.to_string(), serde_json::to_string_pretty(&value).unwrap()] {
                let node = Parser::new().format(Format::Json).parse(&text).unwrap();
                prop_assert_eq!(node.to_json(), value.clone());
            }
        }

        #[test]
        fn no_input_panics(text in any::<String>()) {
            let lookup = |name: &str| name.len().is_multiple_of(2).then(|| name.to_owned());
            for format in [Format::Yaml, Format::Json] {
                let _ = Parser::new().format(format).variables(&lookup).parse(&text);
            }
        }

        #[test]
        fn no_text_of_syntax_panics(text in "[-?:,\\[\\]{}#&*!|>'\"%@`$ \\n\\t\\\\/a1.~<é]{0,60}") {
            let lookup = |_: &str| None;
            for format in [Format::Yaml, Format::Json] {
                let _ = Parser::new().format(format).variables(&lookup).parse(&text);
            }
        }
    }
}
