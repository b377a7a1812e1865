//! Whether a value that stands in for a missing one gets past a condition that refuses.

use super::refusal::Decision;
use super::site::Site;
use crate::syntax::SyntaxNode;

/// Whether a node that becomes `value` leaves a condition with the answer that refuses. True where
/// no condition that refuses asks for the node, and false where it cannot be told.
pub(crate) fn is_refused_still(
    site: &Site<'_>,
    node: &SyntaxNode<'_>,
    value: Option<&str>,
) -> bool {
    let Some(refuses) = Decision::around(site, node).and_then(|it| it.refuses_when()) else {
        return true;
    };
    value.and_then(|value| answer(site, node, value)) == Some(refuses)
}

/// What a condition comes to where one of its parts has a value. Of `and` and `or` the other side
/// is taken to leave the answer to this one.
fn answer(site: &Site<'_>, node: &SyntaxNode<'_>, value: &str) -> Option<bool> {
    let mut truth = None;
    let mut below = node.clone();
    loop {
        let parent = below.parent()?;
        let is_whole = parent
            .field("condition")
            .is_some_and(|field| field.range() == below.range());
        if is_whole && Decision::of(site, &parent).is_some() {
            return truth.or_else(|| Some(is_truthy(value)));
        }
        let now = truth.unwrap_or_else(|| is_truthy(value));
        match parent.kind().as_ref() {
            "parenthesized_expression" => {}
            "not_operator" => truth = Some(!now),
            "unary_expression" if site.text_of(&parent).starts_with('!') => truth = Some(!now),
            "boolean_operator" => truth = Some(now),
            "binary_expression" | "comparison_operator" => {
                let text = site.text_of(&parent);
                let at = below.range();
                let before = text.get(..at.start - parent.range().start)?;
                let after = text.get(at.end - parent.range().start..)?;
                let operator = if before.is_empty() { after } else { before };
                truth = match operator.trim() {
                    it if it.starts_with("&&") || it.starts_with("||") => Some(now),
                    it if it.ends_with("&&") || it.ends_with("||") => Some(now),
                    _ if truth.is_some() => return None,
                    _ => Some(compared(value, before.trim(), after.trim())?),
                };
            }
            _ => return None,
        }
        below = parent;
    }
}

fn is_truthy(value: &str) -> bool {
    !matches!(
        value,
        "None"
            | "0"
            | "0.0"
            | "\"\""
            | "''"
            | "{}"
            | "[]"
            | "()"
            | "False"
            | "false"
            | "null"
            | "undefined"
    )
}

fn is_nothing(value: &str) -> bool {
    matches!(value, "None" | "null" | "undefined")
}

/// What a comparison of a value with what stands before or after it says.
fn compared(value: &str, before: &str, after: &str) -> Option<bool> {
    let operators = [
        "not in", "is not", "===", "!==", "==", "!=", "<=", ">=", "<", ">", "in", "is",
    ];
    let (operator, other, is_left) = if before.is_empty() {
        let operator = operators.iter().find(|it| after.starts_with(**it))?;
        (*operator, after.get(operator.len()..)?.trim(), true)
    } else {
        let operator = operators.iter().find(|it| before.ends_with(**it))?;
        let end = before.len() - operator.len();
        (*operator, before.get(..end)?.trim(), false)
    };
    let is_literal = other.starts_with(['"', '\'', '-'])
        || other.starts_with(|c: char| c.is_ascii_digit())
        || is_nothing(other)
        || matches!(other, "True" | "False" | "true" | "false");
    let is_same = is_nothing(value) && is_nothing(other)
        || other == value
        || other.replace('\'', "\"") == value;
    // A name may be the same.
    let equal = || (is_literal || is_nothing(value)).then_some(is_same);
    match operator {
        "==" | "is" | "===" => equal(),
        "!=" | "is not" | "!==" => equal().map(|it| !it),
        "in" | "not in" if is_left && other.starts_with(['(', '[', '{']) => {
            let is_in = other.contains(value);
            Some(is_in == (operator == "in"))
        }
        "<" | "<=" | ">" | ">=" => {
            let (a, b): (f64, f64) = (value.parse().ok()?, other.parse().ok()?);
            let (a, b) = if is_left { (a, b) } else { (b, a) };
            Some(match operator {
                "<" => a < b,
                "<=" => a <= b,
                ">" => a > b,
                _ => a >= b,
            })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use homeostasis_core::signal::ErrorEvent;

    use super::*;
    use crate::Language;

    fn is_refused(condition: &str, value: &str) -> bool {
        let text = format!("def f(x, y):\n    if {condition}:\n        raise Bad()\n    g()\n");
        let error = ErrorEvent::default();
        let site = Site::new(Language::Python, &text, &error, 2, 0).unwrap();
        let root = site.root();
        let node = root.dfs().find(|node| site.text_of(node) == "x.a").unwrap();
        is_refused_still(&site, &node, Some(value))
    }

    #[test]
    fn what_stands_in_must_not_pass_a_check() {
        for (condition, value, expected) in [
            ("x.a != 'admin'", "None", true),
            ("x.a == 'banned'", "None", false),
            ("'banned' == x.a", "None", false),
            ("not x.a", "None", true),
            ("x.a", "None", false),
            ("y and not x.a", "0", true),
            ("x.a < 1", "0", true),
            ("x.a > 18", "0", false),
            ("18 > x.a", "0", true),
            ("x.a not in ('admin', 'root')", "None", true),
            ("x.a in ('banned',)", "None", false),
            ("x.a is None", "None", true),
            ("x.a is not None", "None", false),
            ("is_bad(x.a)", "None", false),
            ("not is_good(x.a)", "None", false),
            ("x.a + 1 == 1", "0", false),
            ("x.a == y", "0", false),
        ] {
            assert_eq!(
                is_refused(condition, value),
                expected,
                "{condition} {value}"
            );
        }
    }

    #[test]
    fn what_no_check_asks_for_is_free() {
        let text = "def f(x):\n    y = x.a\n    if x.b:\n        g()\n";
        let error = ErrorEvent::default();
        let site = Site::new(Language::Python, text, &error, 2, 0).unwrap();
        let root = site.root();
        for at in ["x.a", "x.b"] {
            let node = root.dfs().find(|node| site.text_of(node) == at).unwrap();
            assert!(is_refused_still(&site, &node, None), "{at}");
        }
    }
}
