//! Conditions that always turn out the same, and statements that no path reaches.

use super::RefusalReason::{RemovedAuthorization, RemovedCheck};
use super::condition::Formula;
use super::fact::{Fact, Sense};
use super::identity::is_authorization;
use super::token::{FlatTree, Token, joined};
use crate::Language;

/// What switches off a check without taking it away.
pub(super) fn facts(tree: &FlatTree<'_>) -> Vec<Fact> {
    let mut found = Vec::new();
    for (idx, node) in tree.nodes.iter().enumerate() {
        if matches!(node.kind, "block" | "statement_block") {
            if let Some(at) = unreachable(tree, idx) {
                let text = joined(tree.tokens_of(&tree.nodes[at]));
                let line = tree.nodes[at].line;
                let sense = Sense::Forbidden(RemovedCheck);
                found.push(Fact::new(sense, "unreachable", line, &text));
            }
        } else if is_condition_holder(node.kind) {
            let header = header(tree, idx);
            if let Some(constant) = constant_part(header, tree.language) {
                let is_identity = |t: &Token<'_>| t.is_word() && is_authorization(t.text);
                let reason = if header.iter().any(is_identity) {
                    RemovedAuthorization
                } else {
                    RemovedCheck
                };
                found.push(Fact::new(
                    Sense::Forbidden(reason),
                    format!("constant {constant}"),
                    node.line,
                    &joined(header),
                ));
            }
        }
    }
    found
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
fn constant_part(header: &[Token<'_>], language: Language) -> Option<String> {
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
    // Only of statements: of the other holders the header holds more than the condition.
    let is_statement = header.first().is_some_and(|t| t.is("if") || t.is("elif"));
    if is_statement && !header.iter().any(|t| t.is("let") || t.is(";")) {
        let end = header.len() - usize::from(header.last().is_some_and(|t| t.is(":")));
        if end > 1 && header.len() < 300 && Formula::of(&header[1..end], language).has_constant() {
            return Some(joined(&header[1..end]));
        }
    }
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
