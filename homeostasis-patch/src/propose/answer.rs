//! Rust: which answer a part of a condition must give where it cannot be asked.

use super::branch::{speaks_of_permission, speaks_of_refusal};
use super::grammar::{function_of, is_function};
use super::permission::decides_permission;
use super::refusal::{Decision, End};
use super::site::Site;
use crate::syntax::SyntaxNode;

/// The answer that a part of a condition must give where it cannot be asked, so that nothing passes
/// that was not checked; `None` if that is not known, or if the words of the part say otherwise.
pub(crate) fn answer(
    site: &Site<'_>,
    node: &SyntaxNode<'_>,
    part: &SyntaxNode<'_>,
) -> Option<bool> {
    let (asked, is_negated) = asked_of(site, node, part);
    let by_place = answer_of_place(site, part, is_negated)?;
    // Of what is bad yes, of what is permitted no.
    let by_words = if speaks_of_refusal(&asked) {
        Some(!is_negated)
    } else if speaks_of_permission(&asked) {
        Some(is_negated)
    } else {
        None
    };
    by_words
        .is_none_or(|answer| answer == by_place)
        .then_some(by_place)
}

/// What is asked of a node within a part of a condition, by name, and whether its answer is turned
/// around.
fn asked_of(site: &Site<'_>, node: &SyntaxNode<'_>, part: &SyntaxNode<'_>) -> (String, bool) {
    let (mut name, mut is_negated) = (String::new(), false);
    let mut below = node.clone();
    while below.range() != part.range() {
        let Some(parent) = below.parent() else {
            break;
        };
        below = parent;
        let text = site.text_of(&below);
        if below.kind() == "call_expression" {
            let function = below.field("function");
            let text = function.map_or("", |function| site.text_of(&function));
            let last = text.rsplit(['.', ':']).next().unwrap_or_default();
            name = format!("{last} {name}");
            is_negated = false;
        } else if below.kind() == "unary_expression" && text.starts_with('!') {
            is_negated = !is_negated;
        }
    }
    (name.trim().to_owned(), is_negated)
}

/// The answer that the place of a part asks for.
fn answer_of_place(site: &Site<'_>, part: &SyntaxNode<'_>, is_negated: bool) -> Option<bool> {
    let is_strict = function_of(part).is_some_and(|f| decides_permission(site, &f));
    let mut answer_is_turned = false;
    let mut below = part.clone();
    let no_of = |name: &str| speaks_of_refusal(name);
    let wanted = loop {
        let parent = below.parent()?;
        let is_field = |name: &str| {
            let field = parent.field(name);
            field.is_some_and(|field| field.range() == below.range())
        };
        match parent.kind().as_ref() {
            "parenthesized_expression" | "return_expression" => {}
            "unary_expression" if site.text_of(&parent).starts_with('!') => {
                answer_is_turned = !answer_is_turned;
            }
            "binary_expression" if matches!(operator(&parent).as_str(), "&&" | "||") => {}
            "if_expression" | "while_expression" | "match_pattern" if is_field("condition") => {
                let is_negated = is_negated != answer_is_turned;
                break answer_of(&Decision::of(site, &parent)?, is_negated, is_strict)?;
            }
            // `Ok(a && b)`, and what fails with the answer.
            "arguments" => {
                let call = parent.parent()?;
                let function = call.field("function")?;
                match site.text_of(&function) {
                    "Ok" | "Some" => {}
                    "ensure" | "ensure!" => break false,
                    _ => return None,
                }
                below = call;
                continue;
            }
            "let_declaration" => {
                let name = parent.field("pattern")?;
                break no_of(site.text_of(&name));
            }
            "assignment_expression" if is_field("right") => {
                let name = parent.field("left")?;
                break no_of(site.text_of(&name));
            }
            "field_initializer" => {
                let name = parent.field("field").or_else(|| parent.field("name"))?;
                break no_of(site.text_of(&name));
            }
            "closure_expression" => break false,
            "block" | "match_arm" | "expression_statement" => {
                let function = parent.ancestors().find(is_function)?;
                let name = function.field("name");
                break name.is_some_and(|name| no_of(site.text_of(&name)));
            }
            _ => return None,
        }
        below = parent;
    };
    Some(wanted != answer_is_turned)
}

/// The answer of a whole condition that lets nothing pass.
fn answer_of(decision: &Decision<'_>, is_negated: bool, is_strict: bool) -> Option<bool> {
    if let Some(refuses) = decision.refuses_when() {
        return Some(refuses);
    }
    match (decision.holds, decision.fails) {
        (End::Unclear, _) | (_, Some(End::Unclear)) => None,
        (End::Refuses | End::Gives, None | Some(End::Refuses)) => Some(false),
        // `while !is_space(v[i])` ends where there is nothing more.
        _ if decision.is_loop => (!is_strict).then_some(false),
        // `if !is_good(…) { g() } else { h() }`: either may be what was to be kept from.
        _ => (!is_negated && !is_strict).then_some(false),
    }
}

/// The operator of a binary expression; empty for what has none.
pub(crate) fn operator(node: &SyntaxNode<'_>) -> String {
    node.field("operator")
        .map_or(String::new(), |operator| operator.text().into_owned())
}
