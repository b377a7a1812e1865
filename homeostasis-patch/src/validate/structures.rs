//! What protects a program: checks, tests, permissions, warnings, logs.

use std::fmt::Write as _;

use super::RefusalReason::{
    RemovedAuthorization, RemovedCheck, RemovedTest, SilencedLog, SkippedTest, SuppressedLint,
};
use super::condition::Formula;
use super::fact::{Fact, Sense};
use super::identity::is_authorization;
use super::names::Names;
use super::references::{Reference, is_script};
use super::token::{FlatTree, Kind, Token, joined};
use super::validation::Flag;
use crate::Language;

pub(super) fn facts(tree: &FlatTree<'_>, names: &Names, references: &[Reference]) -> Vec<Fact> {
    let mut found = Vec::new();
    for reference in references {
        let path = names.resolved(&reference.path);
        let last = path.rsplit('.').next().unwrap_or_default();
        let end = reference.tokens.1;
        let is_call = tree.tokens.get(end).is_some_and(|t| t.is("("));
        let line = reference.line;
        let mut require = |reason, key: &str| {
            found.push(Fact::new(
                Sense::Required(reason),
                key,
                line,
                &reference.path,
            ));
        };
        if is_call && is_check(tree.language, &path, last) {
            require(RemovedCheck, last);
        }
        if is_call && is_test_call(tree.language, &path) {
            require(RemovedTest, "test");
        }
        let is_macro =
            tree.language == Language::Rust && tree.tokens.get(end).is_some_and(|t| t.is("!"));
        if (is_call || is_macro) && is_error_log(&path, last, is_macro) {
            require(SilencedLog, "error log");
        }
        if is_call && matches!(last, "setLevel" | "set_level" | "basicConfig") {
            let argument = joined(tree.first_argument(end));
            if argument.contains("CRITICAL") || argument.contains("OFF") || argument.contains("Off")
            {
                found.push(Fact::new(
                    Sense::Forbidden(SilencedLog),
                    argument.clone(),
                    line,
                    &argument,
                ));
            }
        }
    }
    for idx in 0..tree.nodes.len() {
        node_facts(tree, idx, &mut found);
    }
    errors(tree, &mut found);
    found
}

#[expect(clippy::too_many_lines, reason = "one arm for each construct")]
fn node_facts(tree: &FlatTree<'_>, idx: usize, found: &mut Vec<Fact>) {
    let node = &tree.nodes[idx];
    let tokens = tree.tokens_of(node);
    let line = node.line;
    let mut push = |sense, key: String, text: &str| found.push(Fact::new(sense, key, line, text));
    let required = Sense::Required;
    match (tree.language, node.kind) {
        (Language::Rust, "macro_invocation") => {
            let name = tokens
                .iter()
                .take_while(|t| !t.is("!"))
                .last()
                .map_or("", |t| t.text);
            if name.starts_with("assert") || name.starts_with("debug_assert") || name == "ensure" {
                let n_arguments = if name.ends_with("_eq") || name.ends_with("_ne") {
                    2
                } else {
                    1
                };
                let open = node.tokens.0 + tokens.iter().position(|t| t.is("!")).unwrap_or(0) + 1;
                let condition = arguments(tree, open, n_arguments);
                let name = name.strip_prefix("debug_").unwrap_or(name);
                push(
                    required(RemovedCheck),
                    format!("{name} {}", shape(condition)),
                    &joined(tokens),
                );
                push(
                    Sense::Kept(Flag::ChangedCheck),
                    joined(condition),
                    &joined(tokens),
                );
            }
        }
        (Language::Rust, "attribute_item" | "inner_attribute_item") => {
            let words: Vec<_> = tokens
                .iter()
                .filter(|t| t.is_word())
                .map(|t| t.text)
                .collect();
            match words.first().copied().unwrap_or_default() {
                "test" | "rstest" | "test_case" | "proptest" => {
                    push(required(RemovedTest), "test".to_owned(), &joined(tokens));
                }
                _ if words.last() == Some(&"test") && tokens.iter().any(|t| t.is("::")) => {
                    push(required(RemovedTest), "test".to_owned(), &joined(tokens));
                }
                "ignore" => push(
                    Sense::Forbidden(SkippedTest),
                    "ignore".to_owned(),
                    &joined(tokens),
                ),
                "allow" | "expect" => push(
                    Sense::Forbidden(SuppressedLint),
                    joined(tokens),
                    &joined(tokens),
                ),
                "cfg_attr"
                    if words
                        .iter()
                        .any(|w| matches!(*w, "allow" | "expect" | "ignore")) =>
                {
                    push(
                        Sense::Forbidden(SuppressedLint),
                        joined(tokens),
                        &joined(tokens),
                    );
                }
                "deny" | "forbid" | "must_use" => {
                    push(required(SuppressedLint), joined(tokens), &joined(tokens));
                }
                "cfg" if words == ["cfg", "any"] => {
                    push(
                        Sense::Forbidden(SkippedTest),
                        "cfg".to_owned(),
                        &joined(tokens),
                    );
                }
                _ => {}
            }
        }
        (Language::Python | Language::Java, "assert_statement") => {
            let condition = tokens[1.min(tokens.len())..]
                .split(|t| t.is(";"))
                .next()
                .unwrap_or_default();
            let condition = until_separator(
                condition,
                if tree.language == Language::Java {
                    ":"
                } else {
                    ","
                },
            );
            push(
                required(RemovedCheck),
                format!("assert {}", shape(condition)),
                &joined(tokens),
            );
            push(
                Sense::Kept(Flag::ChangedCheck),
                joined(condition),
                &joined(tokens),
            );
        }
        (Language::Python, "function_definition")
            if tokens.iter().take(3).any(|t| t.text.starts_with("test_")) =>
        {
            push(
                required(RemovedTest),
                "test".to_owned(),
                &joined(&tokens[..tokens.len().min(3)]),
            );
        }
        (Language::Go, "function_declaration")
            if tokens
                .get(1)
                .is_some_and(|t| t.text.starts_with("Test") || t.text.starts_with("Fuzz")) =>
        {
            push(required(RemovedTest), "test".to_owned(), tokens[1].text);
        }
        (Language::Java, "marker_annotation" | "annotation")
            if tokens.get(1).is_some_and(|t| {
                matches!(t.text, "Test" | "ParameterizedTest" | "RepeatedTest")
            }) =>
        {
            push(required(RemovedTest), "test".to_owned(), &joined(tokens));
        }
        (_, "block" | "statement_block") => {
            if let Some(at) = unreachable(tree, idx) {
                let text = joined(tree.tokens_of(&tree.nodes[at]));
                let line = tree.nodes[at].line;
                let sense = Sense::Forbidden(RemovedCheck);
                found.push(Fact::new(sense, "unreachable", line, &text));
            }
        }
        _ if is_condition_holder(node.kind) => {
            let header = header(tree, idx);
            if let Some(constant) = constant_part(header) {
                let guards_identity = header
                    .iter()
                    .any(|t| t.is_word() && is_authorization(t.text));
                let reason = if guards_identity {
                    RemovedAuthorization
                } else {
                    RemovedCheck
                };
                push(
                    Sense::Forbidden(reason),
                    format!("constant {constant}"),
                    &joined(header),
                );
            }
        }
        _ => {}
    }
}

/// The first statement of a block that no path reaches.
fn unreachable(tree: &FlatTree<'_>, block: usize) -> Option<usize> {
    let mut has_left = false;
    for child in tree.children(block) {
        let node = &tree.nodes[child];
        if has_left
            && !node.kind.contains("function")
            && !node.kind.contains("label")
            && !node.kind.ends_with("_item")
        {
            return Some(child);
        }
        let first = tree.tokens_of(node).first().map_or("", |t| t.text);
        let is_statement = node.kind.ends_with("_statement") || node.kind == "expression_statement";
        has_left |=
            is_statement && matches!(first, "return" | "raise" | "throw" | "break" | "continue");
    }
    None
}

pub(super) fn is_condition_holder(kind: &str) -> bool {
    matches!(
        kind,
        "if_expression"
            | "if_statement"
            | "elif_clause"
            | "conditional_expression"
            | "ternary_expression"
    )
}

/// The tokens of a statement before its body.
pub(super) fn header<'a, 't>(tree: &'a FlatTree<'t>, idx: usize) -> &'a [Token<'t>] {
    let node = &tree.nodes[idx];
    let bodies = ["block", "statement_block", "consequence"];
    let end = tree
        .children(idx)
        .find(|child| bodies.contains(&tree.nodes[*child].kind))
        .map_or(node.tokens.1, |child| tree.nodes[child].tokens.0);
    // Conditions may be nested deeply.
    let end = end.clamp(node.tokens.0, node.tokens.0 + 2000);
    &tree.tokens[node.tokens.0..end]
}

/// `true ||`, `if false`, `and False`: the part of a condition that decides it alone.
fn constant_part(header: &[Token<'_>]) -> Option<String> {
    let is_constant = |t: &Token<'_>| {
        matches!(
            t.text,
            "true" | "false" | "True" | "False" | "0" | "1" | "None" | "null"
        )
    };
    let joins = |t: &Token<'_>| matches!(t.text, "||" | "&&" | "or" | "and");
    let condition: Vec<_> = header
        .iter()
        .filter(|t| {
            !matches!(
                t.text,
                "if" | "elif" | "else" | "(" | ")" | ":" | "not" | "!"
            )
        })
        .collect();
    if let [only] = condition.as_slice() {
        return is_constant(only).then(|| only.text.to_owned());
    }
    for pair in condition.windows(2) {
        if joins(pair[0]) && is_constant(pair[1]) {
            return Some(format!("{} {}", pair[0].text, pair[1].text));
        }
    }
    let first_decides = condition.len() > 1 && is_constant(condition[0]) && joins(condition[1]);
    first_decides.then(|| format!("{} {}", condition[0].text, condition[1].text))
}

/// The errors a text gives: fewer of them means that a guard no longer guards.
fn errors(tree: &FlatTree<'_>, found: &mut Vec<Fact>) {
    for (idx, token) in tree.tokens.iter().enumerate().filter(|(_, t)| t.is_word()) {
        let called = tree.tokens.get(idx + 1).is_some_and(|t| t.is("("));
        let is_macro = tree.tokens.get(idx + 1).is_some_and(|t| t.is("!"));
        let is_error = match tree.language {
            Language::Rust => match token.text {
                "Err" if called => {
                    // Not a pattern.
                    let after = tree.tokens.get(tree.closing(idx + 1) + 1);
                    !after.is_some_and(|t| t.is("=>") || t.is("=") || t.is("|") || t.is("if"))
                }
                "ok_or" | "ok_or_else" => called,
                "bail" | "ensure" | "panic" | "unreachable" => is_macro,
                _ => false,
            },
            Language::Python => token.text == "raise",
            Language::Go => token.text == "panic" && called || is_go_error(tree, idx),
            _ => {
                token.text == "throw"
                    || token.text == "orElseThrow"
                    || token.text == "reject" && called
            }
        };
        if is_error {
            found.push(Fact::new(
                Sense::Required(RemovedCheck),
                "error",
                token.line,
                &line_from(tree, idx),
            ));
        }
    }
}

/// `return …, err`, `fmt.Errorf(`, `errors.New(`
fn is_go_error(tree: &FlatTree<'_>, idx: usize) -> bool {
    if tree.tokens[idx].text != "return" {
        return false;
    }
    let rest = tree.tokens[idx + 1..]
        .iter()
        .take_while(|t| t.line == tree.tokens[idx].line);
    rest.filter(|t| t.is_word()).any(|t| {
        t.text.starts_with("err")
            || t.text.starts_with("Err")
            || matches!(t.text, "Errorf" | "Wrap" | "Wrapf")
    })
}

fn line_from(tree: &FlatTree<'_>, idx: usize) -> String {
    let line = tree.tokens[idx].line;
    let rest: Vec<_> = tree.tokens[idx..]
        .iter()
        .take(24)
        .take_while(|t| t.line == line)
        .cloned()
        .collect();
    joined(&rest)
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
        }
    }
}

fn is_test_call(language: Language, path: &str) -> bool {
    is_script(language) && matches!(path, "it" | "test" | "describe")
}

fn is_error_log(path: &str, last: &str, is_macro: bool) -> bool {
    let is_level = matches!(
        last.to_ascii_lowercase().as_str(),
        "error"
            | "errorf"
            | "errorw"
            | "errorln"
            | "exception"
            | "critical"
            | "fatal"
            | "fatalf"
            | "severe"
            | "capture_exception"
            | "captureexception"
            | "errorcontext"
    );
    if is_macro {
        return last == "error" || last == "eprintln";
    }
    let receiver = path
        .rsplit_once('.')
        .map_or("", |(receiver, _)| receiver)
        .to_ascii_lowercase();
    let is_log = ["log", "console", "sentry", "tracing", "slog"]
        .iter()
        .any(|part| receiver.contains(part));
    is_level && is_log
}

