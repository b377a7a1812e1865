//! The errors a text gives: fewer of them means that a guard no longer guards.

use super::RefusalReason::RemovedCheck;
use super::fact::{Fact, Sense};
use super::token::{FlatTree, joined};
use crate::Language;

/// Of each error that is raised, thrown or returned: that it is there.
pub(super) fn facts(tree: &FlatTree<'_>) -> Vec<Fact> {
    let mut found = Vec::new();
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
    found
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
