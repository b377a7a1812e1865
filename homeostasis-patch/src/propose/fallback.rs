//! Whether a value that stands in for a missing one gets past a condition that refuses.

use super::constant::{compared, is_truthy};
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
            return truth.or_else(|| is_truthy(site.language, value));
        }
        let now = truth.or_else(|| is_truthy(site.language, value));
        match parent.kind().as_ref() {
            "parenthesized_expression" => {}
            "not_operator" => truth = Some(!now?),
            "unary_expression" if site.text_of(&parent).starts_with('!') => {
                truth = Some(!now?);
            }
            "boolean_operator" => truth = Some(now?),
            "binary_expression" | "comparison_operator" => {
                let text = site.text_of(&parent);
                let at = below.range();
                let before = text.get(..at.start - parent.range().start)?;
                let after = text.get(at.end - parent.range().start..)?;
                let operator = if before.is_empty() { after } else { before };
                truth = match operator.trim() {
                    it if it.starts_with("&&") || it.starts_with("||") => Some(now?),
                    it if it.ends_with("&&") || it.ends_with("||") => Some(now?),
                    _ if truth.is_some() => return None,
                    _ => Some(compared(site.language, value, before.trim(), after.trim())?),
                };
            }
            _ => return None,
        }
        below = parent;
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
            ("x.a in (10, 20)", "0", false),
            ("x.a in (0, 20)", "0", true),
            ("x.a in (0.0, 20)", "0", true),
            ("x.a in (10, y)", "0", false),
            ("x.a in ('a,0', 'b')", "0", false),
            ("x.a in ('administrator')", "'admin'", false),
            ("x.a not in [10, 20]", "0", true),
            ("x.a not in [10, y]", "0", false),
            ("x.a not in {0: 1}", "0", false),
            ("x.a != 0.0", "0", false),
            ("x.a == 0.0", "0", true),
            ("x.a != False", "0", false),
            ("x.a == False", "0", true),
            ("x.a is not 0.0", "0", false),
            ("x.a != y", "None", false),
            ("1 < x.a < 3", "0", false),
            ("x.a", "list()", false),
            ("not x.a", "list()", true),
            ("not x.a", "frozenset()", true),
            ("x.a", "fallback", false),
            ("not x.a", "fallback", false),
            ("x.a", "1", true),
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
