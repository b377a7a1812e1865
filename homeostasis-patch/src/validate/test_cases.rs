//! Tests: that they are there, and that they run.

use super::RefusalReason::{RemovedTest, SkippedTest, SuppressedLint};
use super::fact::{Fact, Sense};
use super::names::Names;
use super::references::{Reference, is_script};
use super::token::{FlatTree, Token, joined};
use crate::Language;

/// Of each test that it is there, and what keeps tests from running.
pub(super) fn facts(tree: &FlatTree<'_>, names: &Names, references: &[Reference]) -> Vec<Fact> {
    let mut found = Vec::new();
    for reference in references {
        let path = names.resolved(&reference.path);
        let next = tree.tokens.get(reference.tokens.1);
        let is_test =
            is_script(tree.language) && matches!(path.as_str(), "it" | "test" | "describe");
        if is_test && next.is_some_and(|t| t.is("(")) {
            let sense = Sense::Required(RemovedTest);
            found.push(Fact::new(sense, "test", reference.line, &reference.path));
        }
        let switches = matches!(
            reference.path.as_str(),
            "__test__" | "pytestmark" | "collect_ignore"
        );
        if tree.language == Language::Python && switches && next.is_some_and(|t| t.is("=")) {
            let sense = Sense::Forbidden(SkippedTest);
            found.push(Fact::new(
                sense,
                &reference.path,
                reference.line,
                &reference.path,
            ));
        }
    }
    for idx in 0..tree.nodes.len() {
        definition(tree, idx, &mut found);
    }
    found
}

fn definition(tree: &FlatTree<'_>, idx: usize, found: &mut Vec<Fact>) {
    let node = &tree.nodes[idx];
    let tokens = tree.tokens_of(node);
    let named = |at: usize| tokens.get(at).map_or("", |t| t.text);
    let is_test = match (tree.language, node.kind) {
        (Language::Rust, "attribute_item" | "inner_attribute_item") => {
            attribute(tokens, node.line, found);
            return;
        }
        (Language::Python, "function_definition") => {
            tokens.iter().take(3).any(|t| t.text.starts_with("test_"))
        }
        (Language::Go, "function_declaration") => {
            named(1).starts_with("Test") || named(1).starts_with("Fuzz")
        }
        (Language::Java, "marker_annotation" | "annotation") => {
            matches!(named(1), "Test" | "ParameterizedTest" | "RepeatedTest")
        }
        _ => false,
    };
    if is_test {
        let text = joined(&tokens[..tokens.len().min(3)]);
        found.push(Fact::new(
            Sense::Required(RemovedTest),
            "test",
            node.line,
            &text,
        ));
    }
}

/// An attribute of Rust about tests or lints.
fn attribute(tokens: &[Token<'_>], line: usize, found: &mut Vec<Fact>) {
    let tokens = &tokens[..tokens.len().min(200)];
    let words: Vec<_> = tokens
        .iter()
        .filter(|t| t.is_word())
        .map(|t| t.text)
        .collect();
    let text = joined(tokens);
    let mut push = |sense, key: &str| found.push(Fact::new(sense, key, line, &text));
    match words.first().copied().unwrap_or_default() {
        "test" | "rstest" | "test_case" | "proptest" => {
            push(Sense::Required(RemovedTest), "test");
        }
        _ if words.last() == Some(&"test") && tokens.iter().any(|t| t.is("::")) => {
            push(Sense::Required(RemovedTest), "test");
        }
        "ignore" => push(Sense::Forbidden(SkippedTest), "ignore"),
        "allow" | "expect" => push(Sense::Forbidden(SuppressedLint), &text),
        "cfg_attr" if words.contains(&"ignore") => {
            push(Sense::Forbidden(SkippedTest), "ignore");
            push(Sense::Forbidden(SuppressedLint), &text);
        }
        "cfg_attr" if words.iter().any(|w| matches!(*w, "allow" | "expect")) => {
            push(Sense::Forbidden(SuppressedLint), &text);
        }
        "deny" | "forbid" | "must_use" => push(Sense::Required(SuppressedLint), &text),
        "cfg" if never_holds(&text) => push(Sense::Forbidden(SkippedTest), "cfg"),
        _ => {}
    }
}

/// `any()`, `not(all())`, `not(test)`, `FALSE`: no test is built so.
fn never_holds(text: &str) -> bool {
    [
        "any ( )",
        "not ( all ( ) )",
        "not ( test )",
        "FALSE",
        "( false )",
    ]
    .iter()
    .any(|part| text.contains(part))
}
