//! How a body leaves its function, and with what.

use super::branch::{MAX_PART, Range, is_arm, parts};
use super::dead_code::is_condition_holder;
use super::guard::Consequence;
use super::token::{FlatTree, Token, defers, is_function};
use super::words::name_words;
use crate::Language;

/// So many branches within branches are followed.
const MAX_DEPTH: usize = 8;

/// How the tokens of `range`, the body of the node `idx`, leave the function on every path. What is
/// left only under a further condition is not left.
pub(super) fn way_out(tree: &FlatTree<'_>, idx: usize, range: Range, depth: usize) -> Consequence {
    let end = range.1.min(range.0 + MAX_PART).min(tree.tokens.len());
    let body = tree.tokens.get(range.0..end).unwrap_or_default();
    // The way out stands at the end, behind whatever else is done.
    let way = body.iter().rposition(|t| {
        t.is_word()
            && matches!(
                t.text,
                "return" | "raise" | "throw" | "continue" | "break" | "panic" | "bail" | "abort"
            )
    });
    let Some(way) = way else {
        return Consequence::Body;
    };
    let at = range.0 + way;
    let above = tree.around(at).take(2 * MAX_PART);
    let inner = above
        .take_while(|node| *node != idx && tree.nodes[*node].tokens.0 >= range.0)
        .filter(|node| nests(tree.nodes[*node].kind))
        .last();
    if let Some(inner) = inner {
        // Another condition decides, unless both its ways lead out.
        let kind = tree.nodes[inner].kind;
        let parts = (is_condition_holder(kind) && depth < MAX_DEPTH).then(|| parts(tree, inner));
        let Some(parts) = parts.flatten() else {
            return Consequence::Body;
        };
        if !(parts.otherwise.0..parts.otherwise.1).contains(&at) {
            return Consequence::Body;
        }
        let one = way_out(tree, inner, parts.body, depth + 1);
        let other = way_out(tree, inner, parts.otherwise, depth + 1);
        return match (one, other) {
            (Consequence::Error, Consequence::Error) => Consequence::Error,
            (Consequence::Body, _) | (_, Consequence::Body) => Consequence::Body,
            _ => Consequence::Leave,
        };
    }
    if is_error(tree.language, &body[way..]) {
        Consequence::Error
    } else {
        Consequence::Leave
    }
}

fn is_error(language: Language, way: &[Token<'_>]) -> bool {
    match way.first().map_or("", |t| t.text) {
        "raise" | "throw" | "panic" | "bail" | "abort" => true,
        "return" => match language {
            Language::Rust => way.get(1).is_some_and(|t| t.is("Err")),
            Language::Go => way
                .iter()
                .any(|t| t.text.starts_with("err") || t.text.starts_with("Err") || t.is("Errorf")),
            _ => false,
        },
        _ => false,
    }
}

/// What stands in such a node is not done each time.
fn nests(kind: &str) -> bool {
    is_condition_holder(kind)
        || is_function(kind)
        || is_arm(kind)
        || matches!(kind, "except_clause" | "catch_clause")
        || defers(kind)
        || ["for_", "while_", "enhanced_for"]
            .iter()
            .any(|start| kind.starts_with(start))
}

/// `return doc.body`, not `return None` or `return redirect(…)`
pub(super) fn yields_value(body: &[Token<'_>]) -> bool {
    let Some(at) = body.iter().take(MAX_PART).position(|t| t.is("return")) else {
        return false;
    };
    let mut words = body[at + 1..]
        .iter()
        .take(MAX_PART)
        .take_while(|t| !t.is(";") && !t.is("}"))
        .filter(|t| t.is_word())
        .peekable();
    words.peek().is_some()
        && words.all(|t| {
            let is_empty = matches!(
                t.text,
                "None"
                    | "null"
                    | "nil"
                    | "undefined"
                    | "False"
                    | "false"
                    | "Err"
                    | "Default"
                    | "default"
                    | "Vec"
                    | "String"
            );
            let refuses = speaks_of(t, &["err", "empty", "response"]);
            !is_empty && !refuses
        })
}

/// It returns what something gives.
pub(super) fn answers_call(body: &[Token<'_>]) -> bool {
    let at = body.iter().take(MAX_PART).position(|t| t.is("return"));
    at.is_some_and(|at| {
        let mut value = body[at..].iter().take(MAX_PART);
        answers_success(body)
            || value.clone().any(|t| t.is("(")) && !value.any(|t| speaks_of(t, &["401", "403"]))
    })
}

/// It answers that something is not permitted.
pub(super) fn forbids(body: &[Token<'_>]) -> bool {
    let mut tokens = body.iter().take(MAX_PART);
    tokens.any(|t| {
        let is_status = matches!(t.text, "401" | "403");
        is_status
            || name_words(t.text).iter().any(|word| {
                matches!(
                    word.as_str(),
                    "forbidden" | "unauthorized" | "unauthenticated"
                )
            })
    })
}

/// It speaks of a refusal.
pub(super) fn speaks_of_refusal(body: &[Token<'_>]) -> bool {
    let mut tokens = body.iter().take(MAX_PART);
    tokens.any(|t| speaks_of(t, &["401", "403", "denied", "refused"]))
}

/// Whether a name has a word that refuses, or one of `more`.
fn speaks_of(token: &Token<'_>, more: &[&str]) -> bool {
    let refusals = [
        "forbidden",
        "denied",
        "unauthorized",
        "redirect",
        "abort",
        "error",
    ];
    name_words(token.text)
        .iter()
        .any(|word| refusals.contains(&word.as_str()) || more.contains(&word.as_str()))
}

/// `return True`, `return Ok(())`, `return next()`
pub(super) fn answers_success(body: &[Token<'_>]) -> bool {
    let Some(at) = body.iter().take(MAX_PART).position(|t| t.is("return")) else {
        return false;
    };
    let value: Vec<_> = body[at + 1..]
        .iter()
        .take(MAX_PART)
        .take_while(|t| !t.is(";") && !t.is("}"))
        .collect();
    match value.first() {
        Some(first) => {
            matches!(first.text, "True" | "true")
                || first.text == "Ok" && !value.iter().any(|t| t.is("false") || t.is("None"))
                || first.text == "next"
        }
        None => false,
    }
}
