//! Rust: a condition that asks for what is not there gets the answer that lets nothing pass.
//!
//! Where the place that panicked is part of a condition, the question that failed is put in front of
//! the part that asks, so that the condition keeps its meaning for all else:
//! `n > 0 && f(&s[..n])` becomes `n > 0 && s.get(..n).is_some() && f(&s[..n])`, and where the branch
//! refuses, `!f(&s[..n])` becomes `s.get(..n).is_none() || !f(&s[..n])`.

use homeostasis_core::record::{RecoveryStrategy, RiskLevel};

use super::answer::{answer, operator};
use super::draft::Draft;
use super::repeatable::is_repeatable;
use super::site::Site;
use crate::syntax::SyntaxNode;

/// Candidates for the smallest part of a condition that holds what panicked; none where it is not
/// known which answer lets nothing pass.
pub(super) fn drafts(site: &Site<'_>) -> Vec<Draft> {
    let root = site.root();
    let mut asked: Vec<(f64, SyntaxNode<'_>, Question)> = root
        .dfs()
        .filter_map(|node| {
            let fit = site.fit(&node);
            let question = (fit > 0.0).then(|| question(site, &node)).flatten()?;
            Some((fit, node, question))
        })
        .collect();
    asked
        .sort_by(|(a, x, _), (b, y, _)| b.total_cmp(a).then(x.range().len().cmp(&y.range().len())));
    let Some((fit, node, question)) = asked.first() else {
        return Vec::new();
    };
    let Some((part, joined)) = part_of_condition(node) else {
        return Vec::new();
    };
    // It is asked, and then done.
    if !is_repeatable(site.language, node) {
        return Vec::new();
    }
    let Some(answer) = answer(site, node, &part) else {
        return Vec::new();
    };
    let text = site.text_of(&part);
    let (new, asks, outcome) = if answer {
        (
            format!("{} || {text}", question.fails),
            &question.fails,
            "this part of the condition holds, as where it refuses",
        )
    } else {
        let holds_or = part.kind() == "binary_expression" && operator(&part) == "||";
        let text = if holds_or {
            format!("({text})")
        } else {
            text.to_owned()
        };
        (
            format!("{} && {text}", question.holds),
            &question.fails,
            "this part of the condition does not hold",
        )
    };
    // `a && b || c` reads otherwise than it was meant, or is refused by the compiler's lints.
    let is_torn = joined.is_some_and(|joined| joined == if answer { "&&" } else { "||" });
    let new = if is_torn { format!("({new})") } else { new };
    vec![Draft {
        template: "rust/condition-guard".to_owned(),
        edits: vec![(part.range(), new)],
        imports: Vec::new(),
        explanation: "a condition that asks for what is not there lets nothing pass".to_owned(),
        behaviour: format!(
            "where `{asks}`, which panicked, {outcome}; no input that worked before behaves otherwise"
        ),
        // No value is invented: the condition answers as where it refuses.
        recovery: RecoveryStrategy::Correct,
        confidence: 0.9 * fit,
        risk: RiskLevel::Medium,
        requires_review: false,
    }]
}

/// What can be asked instead of panicking, both ways.
struct Question {
    holds: String,
    fails: String,
}

impl Question {
    fn new(holds: String, fails: String) -> Self {
        Self { holds, fails }
    }
}

/// What must hold so that a node does not panic as the error says.
fn question(site: &Site<'_>, node: &SyntaxNode<'_>) -> Option<Question> {
    let said = site.error.message.as_str();
    match node.kind().as_ref() {
        "index_expression" => {
            let mut parts = node.children().filter(SyntaxNode::is_named);
            let (value, index) = (parts.next()?, parts.next()?);
            let (value, place) = (site.text_of(&value), site.text_of(&index));
            let is_range = index.kind() == "range_expression";
            let is_slice = ["range", "char boundary", "out of bounds of", "slic"]
                .iter()
                .any(|part| said.contains(part));
            if is_range && is_slice {
                let found = format!("{value}.get({place})");
                Some(Question::new(
                    format!("{found}.is_some()"),
                    format!("{found}.is_none()"),
                ))
            } else if !is_range && said.starts_with("index out of bounds") {
                let place = closed(&index, place);
                Some(Question::new(
                    format!("{place} < {value}.len()"),
                    format!("{place} >= {value}.len()"),
                ))
            } else {
                None
            }
        }
        "binary_expression" => {
            let (left, right) = (node.field("left")?, node.field("right")?);
            let by_zero =
                said.contains("attempt to divide by zero") || said.contains("divisor of zero");
            match operator(node).as_str() {
                "/" | "%" if by_zero => {
                    let right = closed(&right, site.text_of(&right));
                    Some(Question::new(
                        format!("{right} != 0"),
                        format!("{right} == 0"),
                    ))
                }
                // A literal without a type has no methods; signed numbers may be less than zero.
                "-" if said.starts_with("attempt to subtract with overflow")
                    && left.kind() != "integer_literal" =>
                {
                    let left = closed(&left, site.text_of(&left));
                    let found = format!("{left}.checked_sub({})", site.text_of(&right));
                    Some(Question::new(
                        format!("{found}.is_some()"),
                        format!("{found}.is_none()"),
                    ))
                }
                _ => None,
            }
        }
        "call_expression" => {
            let text = site.text_of(node);
            let value = text.strip_suffix(".unwrap()")?;
            if said.starts_with("called `Option::unwrap()`") {
                Some(Question::new(
                    format!("{value}.is_some()"),
                    format!("{value}.is_none()"),
                ))
            } else if said.starts_with("called `Result::unwrap()`") {
                Some(Question::new(
                    format!("{value}.is_ok()"),
                    format!("{value}.is_err()"),
                ))
            } else {
                None
            }
        }
        _ => None,
    }
}

/// In parentheses what a comparison would tear apart, and casts, whose `<` would open a type.
fn closed(node: &SyntaxNode<'_>, text: &str) -> String {
    let is_loose = matches!(
        node.kind().as_ref(),
        "type_cast_expression" | "binary_expression" | "unary_expression" | "closure_expression"
    );
    if is_loose {
        format!("({text})")
    } else {
        text.to_owned()
    }
}

/// The part of a condition that a node belongs to, and the `&&` or `||` that it is an operand of.
fn part_of_condition<'a>(node: &SyntaxNode<'a>) -> Option<(SyntaxNode<'a>, Option<&'static str>)> {
    let mut below = node.clone();
    loop {
        let parent = below.parent()?;
        let is_field = |name: &str| {
            let field = parent.field(name);
            field.is_some_and(|field| field.range() == below.range())
        };
        match parent.kind().as_ref() {
            "binary_expression" => match operator(&parent).as_str() {
                "&&" => return Some((below, Some("&&"))),
                "||" => return Some((below, Some("||"))),
                _ => {}
            },
            "if_expression" | "while_expression" if is_field("condition") => {
                return Some((below, None));
            }
            "match_pattern" if is_field("condition") => return Some((below, None)),
            "let_condition" | "let_chain" | "block" | "closure_expression" | "match_arm"
            | "macro_invocation" | "function_item" => return None,
            _ => {}
        }
        below = parent;
    }
}

#[cfg(test)]
mod tests {
    use homeostasis_core::signal::ErrorEvent;

    use super::*;
    use crate::Language;

    fn made(message: &str, condition: &str, at: &str) -> Option<String> {
        let text = format!("fn f(v: &[u8], s: &str, i: usize) {{\n    {condition}\n}}\n");
        let column = condition.find(at).unwrap() + 5;
        let error = ErrorEvent::new("rust", "panic", message);
        let column = u32::try_from(column).unwrap();
        let site = Site::new(Language::Rust, &text, &error, 2, column).unwrap();
        let drafts = drafts(&site);
        let new = drafts.first()?.apply(&text)?;
        Some(new.lines().nth(1)?.trim().to_owned())
    }

    const INDEX: &str = "index out of bounds: the len is 0 but the index is 0";
    const CHARACTER: &str = "end byte index 1 is not a char boundary";

    #[test]
    fn the_question_stands_in_front_of_the_part_that_asks() {
        let found = made(CHARACTER, "if i > 0 && is(&s[..i], 1) { g(); }", "s[..i]");
        let expected = "if i > 0 && s.get(..i).is_some() && is(&s[..i], 1) { g(); }";
        assert_eq!(found.as_deref(), Some(expected));
        let found = made(INDEX, "let a = i == v.len() || v[i] == b'x';", "v[i]");
        let expected = "let a = i == v.len() || (i < v.len() && v[i] == b'x');";
        assert_eq!(found.as_deref(), Some(expected));
        let found = made(INDEX, "while !is(v[i as usize]) { g(); }", "v[i");
        let expected = "while (i as usize) < v.len() && !is(v[i as usize]) { g(); }";
        assert_eq!(found.as_deref(), Some(expected));
    }

    #[test]
    fn what_cannot_be_checked_is_refused() {
        let range = "range end index 16 out of range for slice of length 3";
        for (condition, at, expected) in [
            (
                "if !mac_ok(&s[..16]) { return Err(Bad); }",
                "s[..16]",
                Some("if s.get(..16).is_none() || !mac_ok(&s[..16]) { return Err(Bad); }"),
            ),
            (
                "if strict && !mac_ok(&s[..16]) { return false; }",
                "s[..16]",
                Some("if strict && (s.get(..16).is_none() || !mac_ok(&s[..16])) { return false; }"),
            ),
            (
                "if !(strict && mac_ok(&s[..16])) { return false; }",
                "s[..16]",
                Some("if !(strict && s.get(..16).is_some() && mac_ok(&s[..16])) { return false; }"),
            ),
            (
                "for t in all { if is_bad(&s[..16]) { continue; } take(t); }",
                "s[..16]",
                Some(
                    "for t in all { if s.get(..16).is_none() || is_bad(&s[..16]) { continue; } take(t); }",
                ),
            ),
            (
                "if mac_ok(&s[..16]) { take(s); } else { panic!(\"forged\"); }",
                "s[..16]",
                Some(
                    "if s.get(..16).is_some() && mac_ok(&s[..16]) { take(s); } else { panic!(\"forged\"); }",
                ),
            ),
            (
                "if is_admin(&s[..16]) { return Ok(true); }",
                "s[..16]",
                Some("if s.get(..16).is_some() && is_admin(&s[..16]) { return Ok(true); }"),
            ),
            // Not known, or the words and the branch disagree.
            ("if !mac_ok(&s[..16]) { count(1); }", "s[..16]", None),
            ("if is_revoked(&s[..16]) { note(s); }", "s[..16]", None),
            (
                "while !verified(&s[..16]) { ask_again(); }",
                "s[..16]",
                None,
            ),
            ("if known(&s[..16]) { break; }", "s[..16]", None),
            ("let bad = strict && g(a && is(&s[..16]));", "s[..16]", None),
            (
                "let is_invalid = strict && starts(&s[..16]);",
                "s[..16]",
                Some("let is_invalid = strict && (s.get(..16).is_none() || starts(&s[..16]));"),
            ),
        ] {
            assert_eq!(
                made(range, condition, at).as_deref(),
                expected,
                "{condition}"
            );
        }
    }

    #[test]
    fn signed_numbers_may_be_less_than_each_other() {
        let said = "attempt to subtract with overflow";
        let found = made(said, "if i - n > 3 { g(); }", "i - n");
        let expected = "if i.checked_sub(n).is_some() && i - n > 3 { g(); }";
        assert_eq!(found.as_deref(), Some(expected));
        assert_eq!(made(said, "if 1 - i > 3 { g(); }", "1 - i"), None);
    }

    #[test]
    fn what_is_no_condition_or_may_not_be_asked_twice_is_left() {
        assert_eq!(made(INDEX, "let a = v[i];", "v[i]"), None);
        assert_eq!(made(INDEX, "if v[next()] == 1 { g(); }", "v[n"), None);
        assert_eq!(
            made("assertion failed", "if v[i] == 1 { g(); }", "v[i]"),
            None
        );
        assert_eq!(made(INDEX, "if g(|x| v[x]) { g(); }", "v[x]"), None);
    }
}
