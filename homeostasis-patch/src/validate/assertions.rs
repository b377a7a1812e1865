//! Assertions: that they are there, as strict as before, and about something.

use std::fmt::Write as _;

use super::RefusalReason::RemovedCheck;
use super::condition::{Formula, is_literal};
use super::fact::{Fact, Sense};
use super::names::Names;
use super::references::Reference;
use super::token::{FlatTree, Kind, Token, joined};
use super::validation::Flag;
use crate::Language;

/// Of each assertion: that it is there, what it looks like without its names, and whether it can
/// fail.
pub(super) fn facts(tree: &FlatTree<'_>, names: &Names, references: &[Reference]) -> Vec<Fact> {
    let mut found = Vec::new();
    for reference in references {
        let path = names.resolved(&reference.path);
        let last = path.rsplit('.').next().unwrap_or_default();
        let end = reference.tokens.1;
        if !tree.tokens.get(end).is_some_and(|t| t.is("(")) {
            continue;
        }
        let line = reference.line;
        if is_check(tree.language, &path, last) {
            let sense = Sense::Required(RemovedCheck);
            found.push(Fact::new(sense, last, line, &reference.path));
            let condition = arguments(tree, end, if compares(last) { 2 } else { 1 });
            if is_tautology(condition, last, tree.language) {
                let text = format!("{}({}", reference.path, joined(condition));
                found.push(Fact::new(
                    Sense::Forbidden(RemovedCheck),
                    "tautology",
                    line,
                    &text,
                ));
            }
            let text = format!("{last}({}", joined(condition));
            found.push(Fact::new(
                Sense::Kept(Flag::ChangedCheck),
                text.clone(),
                line,
                &text,
            ));
        }
        if is_sanitizer(&path, last) {
            let sense = Sense::Required(RemovedCheck);
            found.push(Fact::new(
                sense,
                format!("clean {last}"),
                line,
                &reference.path,
            ));
        }
    }
    for idx in 0..tree.nodes.len() {
        statement(tree, idx, &mut found);
    }
    found
}

/// What makes text from outside harmless.
fn is_sanitizer(path: &str, last: &str) -> bool {
    matches!(
        last,
        "escape"
            | "sanitize"
            | "escape_html"
            | "escapeHtml"
            | "HTMLEscapeString"
            | "EscapeString"
            | "sanitizeHtml"
            | "secure_filename"
            | "encodeURIComponent"
            | "QueryEscape"
            | "PathEscape"
            | "full_clean"
            | "canonicalize"
            | "realpath"
            | "escapeHtml4"
            | "encodeForHTML"
    ) || matches!(
        path,
        "shlex.quote" | "bleach.clean" | "DOMPurify.sanitize" | "urllib.parse.quote"
    )
}

fn compares(last: &str) -> bool {
    let lower = last.to_ascii_lowercase();
    [
        "equal", "_eq", "_ne", "same", "greater", "less", "assertis", "in",
    ]
    .iter()
    .any(|part| lower.contains(part))
}

/// It cannot fail: the same on both sides, or nothing but literals.
fn is_tautology(condition: &[Token<'_>], last: &str, language: Language) -> bool {
    if condition.is_empty() || condition.len() > 300 {
        return false;
    }
    let first = first_of(condition);
    let second = condition.get(first.len() + 1..).unwrap_or_default();
    if second.is_empty() {
        let text = joined(first);
        let is_message = matches!(
            last,
            "Fatal" | "Fatalf" | "Error" | "Errorf" | "Fail" | "FailNow" | "fail"
        );
        return !is_message
            && !last.starts_with("to")
            && (is_literal(&text) || Formula::of(first, language).has_constant());
    }
    let (left, right) = (joined(first), joined(second));
    let differs = last.to_ascii_lowercase().contains("not") || last.ends_with("_ne");
    !differs && left == right || is_constant(first) && is_constant(second)
}

/// Literals, and nothing else.
fn is_constant(tokens: &[Token<'_>]) -> bool {
    tokens.iter().all(|t| match &t.kind {
        Kind::Word => is_literal(t.text),
        Kind::Template => false,
        _ => true,
    })
}

fn first_of<'a, 't>(tokens: &'a [Token<'t>]) -> &'a [Token<'t>] {
    until_separator(tokens, ",")
}

fn statement(tree: &FlatTree<'_>, idx: usize, found: &mut Vec<Fact>) {
    let node = &tree.nodes[idx];
    let tokens = tree.tokens_of(node);
    let (name, condition) = match (tree.language, node.kind) {
        (Language::Rust, "macro_invocation") => {
            let name = tokens
                .iter()
                .take_while(|t| !t.is("!"))
                .last()
                .map_or("", |t| t.text);
            if !name.starts_with("assert") && !name.starts_with("debug_assert") && name != "ensure"
            {
                return;
            }
            let n_arguments = if name.ends_with("_eq") || name.ends_with("_ne") {
                2
            } else {
                1
            };
            let open = node.tokens.0 + tokens.iter().position(|t| t.is("!")).unwrap_or(0) + 1;
            let name = name.strip_prefix("debug_").unwrap_or(name);
            (name, arguments(tree, open, n_arguments))
        }
        (Language::Python | Language::Java, "assert_statement") => {
            let condition = tokens[1.min(tokens.len())..]
                .split(|t| t.is(";"))
                .next()
                .unwrap_or_default();
            let separator = if tree.language == Language::Java {
                ":"
            } else {
                ","
            };
            ("assert", until_separator(condition, separator))
        }
        _ => return,
    };
    let mut push = |sense, key: String| {
        found.push(Fact::new(sense, key, node.line, &joined(tokens)));
    };
    push(
        Sense::Required(RemovedCheck),
        format!("{name} {}", shape(condition)),
    );
    if !tokens.first().is_some_and(|t| t.text.starts_with("debug_")) {
        push(Sense::Required(RemovedCheck), "in every build".to_owned());
    }
    push(Sense::Kept(Flag::ChangedCheck), joined(condition));
    if is_tautology(condition, name, tree.language) {
        push(Sense::Forbidden(RemovedCheck), "tautology".to_owned());
    }
}

/// The first `n` arguments after the bracket at `open`.
fn arguments<'a, 't>(tree: &'a FlatTree<'t>, open: usize, n: usize) -> &'a [Token<'t>] {
    let first = tree.first_argument(open);
    let mut end = open + 1 + first.len();
    for _ in 1..n {
        end += 1 + tree.first_argument(end).len();
    }
    let end = end.min(tree.tokens.len());
    &tree.tokens[(open + 1).min(end)..end]
}

fn until_separator<'a, 't>(tokens: &'a [Token<'t>], separator: &str) -> &'a [Token<'t>] {
    let mut depth = 0_i32;
    for (idx, token) in tokens.iter().enumerate() {
        match token.text {
            "(" | "[" | "{" if token.kind == Kind::Punctuation => depth += 1,
            ")" | "]" | "}" if token.kind == Kind::Punctuation => depth -= 1,
            text if depth == 0 && text == separator => return &tokens[..idx],
            _ => {}
        }
    }
    tokens
}

/// A condition without the choice of its names: a renaming keeps it, another comparison does not.
fn shape(condition: &[Token<'_>]) -> String {
    let mut known: Vec<&str> = Vec::new();
    let mut words = String::new();
    for token in condition {
        let fixed = matches!(
            token.text,
            "true"
                | "false"
                | "True"
                | "False"
                | "None"
                | "null"
                | "not"
                | "and"
                | "or"
                | "in"
                | "is"
                | "is_some"
                | "is_none"
                | "is_ok"
                | "is_err"
                | "is_empty"
                | "instanceof"
                | "any"
                | "all"
        );
        if token.is_word() && !fixed {
            let idx = known
                .iter()
                .position(|name| *name == token.text)
                .unwrap_or_else(|| {
                    known.push(token.text);
                    known.len() - 1
                });
            let _ = write!(words, "n{idx} ");
        } else {
            words.push_str(token.text);
            words.push(' ');
        }
    }
    words
}

/// What follows `expect(x)`.
fn is_matcher(last: &str) -> bool {
    last.starts_with("toBe")
        || last.starts_with("toHave")
        || last.starts_with("toMatch")
        || last.starts_with("toContain")
        || last.starts_with("toThrow")
        || matches!(last, "toEqual" | "toStrictEqual" | "toReturn")
}

fn is_check(language: Language, path: &str, last: &str) -> bool {
    let asserts = last.starts_with("assert") && last.len() > 6;
    match language {
        Language::Rust => false,
        Language::Python => asserts,
        Language::Go => {
            let tests = path.starts_with("t.") || path.starts_with("b.") || path.starts_with("tb.");
            tests
                && matches!(
                    last,
                    "Fatal" | "Fatalf" | "Error" | "Errorf" | "Fail" | "FailNow"
                )
                || path.starts_with("require.")
                || path.starts_with("assert.")
        }
        Language::Java => {
            asserts
                || path.contains("requireNonNull")
                || path.starts_with("Preconditions.")
                || path.starts_with("Validate.")
                || matches!(
                    last,
                    "checkNotNull" | "checkArgument" | "checkState" | "checkIndex"
                )
        }
        _ => {
            asserts
                || path == "expect"
                || path == "assert"
                || path.starts_with("assert.")
                || path == "console.assert"
                || path == "invariant"
                || path.starts_with("().") && is_matcher(last)
        }
    }
}
