//! What a condition decides: whether something is refused where it holds, or where it does not.
//!
//! A change of a condition must not let pass what was never checked, so it is asked what the
//! branches come to, by their last statements and the words they use.

use super::branch::speaks_of_refusal;
use super::grammar::{function_of, is_function, return_type};
use super::site::Site;
use crate::Language;
use crate::syntax::SyntaxNode;

/// What a branch comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// It leaves with an error, an absence or a no, or notes that something is wrong.
    Refuses,
    /// It leaves with, or is, a value that is none of these.
    Gives,
    /// It goes on.
    Works,
    /// Part of it refuses, or it ends a loop.
    Unclear,
}

/// A condition with what follows it.
#[derive(Clone)]
pub(crate) struct Decision<'a> {
    owner: SyntaxNode<'a>,
    pub(crate) holds: End,
    /// `None` where there is no other branch.
    pub(crate) fails: Option<End>,
    /// The condition is asked again after its branch.
    pub(crate) is_loop: bool,
}

impl<'a> Decision<'a> {
    /// The decision whose condition a node is a part of, in the same expression.
    pub(crate) fn around(site: &Site<'_>, node: &SyntaxNode<'a>) -> Option<Self> {
        let mut below = node.clone();
        loop {
            let parent = below.parent()?;
            if is_field(&parent, "condition", &below)
                && let Some(decision) = Self::of(site, &parent)
            {
                return Some(decision);
            }
            let kind = parent.kind();
            let is_end = is_function(&parent)
                || kind.contains("block")
                || kind.ends_with("_statement")
                || kind.ends_with("_declaration");
            if is_end {
                return None;
            }
            below = parent;
        }
    }

    /// The decision of a node that has a condition.
    pub(crate) fn of(site: &Site<'_>, owner: &SyntaxNode<'a>) -> Option<Self> {
        let kind = owner.kind();
        let is_loop = matches!(kind.as_ref(), "while_expression" | "while_statement");
        let (then, other) = match kind.as_ref() {
            "if_statement" | "if_expression" | "elif_clause" => {
                (owner.field("consequence")?, alternative(owner))
            }
            "while_expression" | "while_statement" => (owner.field("body")?, None),
            // The guard of an arm.
            "match_pattern" => (owner.parent()?.field("value")?, None),
            _ => return None,
        };
        let holds = match end_of(site, &then) {
            // The next round asks the same.
            End::Refuses if is_loop && own_exit(site, &then).is_none() => End::Works,
            end => end,
        };
        let fails = other.map(|other| end_of(site, &other));
        Some(Self {
            owner: owner.clone(),
            holds,
            fails,
            is_loop,
        })
    }

    /// Which answer of the condition refuses, if one does and the other does not.
    pub(crate) fn refuses_when(&self) -> Option<bool> {
        let fails = self.fails == Some(End::Refuses);
        match self.holds {
            End::Refuses => (!fails).then_some(true),
            _ => fails.then_some(false),
        }
    }

    /// The statement with which the refusing branch leaves, if it can stand elsewhere: on one line,
    /// without what it was given in the branch, and without `node`.
    pub(crate) fn exit(&self, site: &Site<'_>, node: &SyntaxNode<'_>) -> Option<String> {
        let branch = if self.refuses_when()? {
            self.owner
                .field("consequence")
                .or_else(|| self.owner.field("body"))?
        } else {
            alternative(&self.owner)?
        };
        let exit = own_exit(site, &branch)?;
        let text = site.text_of(&exit);
        let is_used = |name: &str| {
            exit.dfs()
                .any(|part| part.kind() == "identifier" && site.text_of(&part) == name)
        };
        let is_bound_there = branch.dfs().any(|part| {
            let named = part.field("left").or_else(|| part.field("pattern"));
            let named = named.or_else(|| part.field("name"));
            named.is_some_and(|named| is_used(site.text_of(&named)))
        });
        let stands_alone =
            !text.contains('\n') && !text.contains(site.text_of(node)) && !is_bound_there;
        let is_tail = !exit.kind().contains("return") && is_value(site.language, &exit);
        let text = if is_tail {
            format!("return {text}")
        } else {
            text.to_owned()
        };
        stands_alone.then(|| text.trim_end_matches(';').to_owned())
    }
}

/// Whether a value, returned, says no: an error, an absence, `false`, a status of failure, or a word
/// for one of these.
pub(crate) fn is_no(language: Language, value: &str, declared: Option<&str>) -> bool {
    let value = value.trim();
    let bare = value.trim_start_matches('(');
    let first = bare.split([',', ')']).next().unwrap_or_default().trim();
    let is_word = matches!(
        first,
        "false" | "False" | "None" | "null" | "nil" | "undefined" | "-1"
    );
    let is_status = value
        .split(',')
        .any(|part| matches!(part.trim().parse::<u16>(), Ok(400..=599)));
    let begins = |parts: &[&str]| parts.iter().any(|part| value.starts_with(part));
    match language {
        Language::Rust => {
            is_word
                || is_status
                || begins(&[
                    "Err(",
                    "Ok(false",
                    "Ok(None",
                    "Some(false",
                    "Poll::Ready(Err",
                ])
                || !begins(&["Ok(", "Some("]) && speaks_of_refusal(value)
        }
        Language::Go if declared.is_some_and(|it| it.trim_end_matches(')').ends_with("error")) => {
            value.rsplit(',').next().map(str::trim) != Some("nil")
        }
        _ => is_word || is_status || value == "Optional.empty()" || speaks_of_refusal(value),
    }
}

fn alternative<'a>(owner: &SyntaxNode<'a>) -> Option<SyntaxNode<'a>> {
    if owner.kind() != "elif_clause" {
        return owner.field("alternative");
    }
    owner
        .next_all()
        .find(|next| matches!(next.kind().as_ref(), "elif_clause" | "else_clause"))
}

fn is_field(parent: &SyntaxNode<'_>, name: &str, node: &SyntaxNode<'_>) -> bool {
    parent
        .field(name)
        .is_some_and(|field| field.range() == node.range())
}

/// The statements of what holds some; the node itself if it holds none.
fn statements<'a>(node: &SyntaxNode<'a>) -> Vec<SyntaxNode<'a>> {
    let holds = matches!(
        node.kind().as_ref(),
        "block" | "statement_block" | "statement_list" | "else_clause" | "expression_statement"
    );
    if !holds {
        return vec![node.clone()];
    }
    let is_code = |node: &SyntaxNode<'_>| node.is_named() && !node.kind().contains("comment");
    let children: Vec<_> = node.children().filter(is_code).collect();
    match children.as_slice() {
        [only] => statements(only),
        _ => children,
    }
}

/// What a branch comes to.
fn end_of(site: &Site<'_>, branch: &SyntaxNode<'_>) -> End {
    let all = statements(branch);
    let Some(last) = all.last() else {
        return End::Works;
    };
    let end = end_of_last(site, &inner(last));
    let notes = |node: &SyntaxNode<'_>| {
        let node = inner(node);
        !is_value(site.language, &node) && notes_failure(site, &node) == Some(true)
    };
    if end == End::Works && all.iter().any(notes) {
        return End::Refuses;
    }
    end
}

/// What is in a statement that is an expression.
fn inner<'a>(node: &SyntaxNode<'a>) -> SyntaxNode<'a> {
    let is_wrapper = node.kind() == "expression_statement";
    let inside = is_wrapper.then(|| node.children().find(SyntaxNode::is_named));
    inside.flatten().unwrap_or_else(|| node.clone())
}

fn end_of_last(site: &Site<'_>, last: &SyntaxNode<'_>) -> End {
    match last.kind().as_ref() {
        "raise_statement" | "throw_statement" | "continue_statement" | "continue_expression" => {
            End::Refuses
        }
        "break_statement" | "break_expression" => End::Unclear,
        "return_statement" | "return_expression" => {
            match last.children().find(SyntaxNode::is_named) {
                None => End::Refuses,
                Some(value) => end_of_value(site, &value),
            }
        }
        "if_statement" | "if_expression" | "elif_clause" => {
            let then = last.field("consequence");
            let then = then.map_or(End::Works, |then| end_of(site, &then));
            let other = alternative(last).map_or(End::Works, |other| end_of(site, &other));
            match (then, other) {
                (a, b) if a == b => a,
                (End::Refuses | End::Unclear, _) | (_, End::Refuses | End::Unclear) => End::Unclear,
                _ => End::Works,
            }
        }
        _ => match notes_failure(site, last) {
            Some(true) => End::Refuses,
            Some(false) => End::Unclear,
            None if is_value(site.language, last) => end_of_value(site, last),
            None => End::Works,
        },
    }
}

fn end_of_value(site: &Site<'_>, value: &SyntaxNode<'_>) -> End {
    let function = function_of(value);
    let declared = function
        .as_ref()
        .and_then(|function| return_type(site.language, function));
    let text = site.text_of(value);
    let name = function.and_then(|function| function.field("name"));
    // `is_revoked` refuses by a yes.
    let asks_for_bad = name.is_some_and(|name| speaks_of_refusal(site.text_of(&name)));
    let says_no = match text.to_ascii_lowercase().as_str() {
        "true" if asks_for_bad => true,
        "false" if asks_for_bad => false,
        _ => is_no(site.language, text, declared.as_deref()),
    };
    if says_no { End::Refuses } else { End::Gives }
}

/// Rust: whether a node is the value of the block that it ends.
fn is_value(language: Language, node: &SyntaxNode<'_>) -> bool {
    let kind = node.kind();
    let is_expression = !kind.ends_with("_statement")
        && !kind.ends_with("_declaration")
        && !kind.ends_with("_item")
        && !matches!(kind.as_ref(), "return_expression" | "continue_expression");
    let stands_at_end = node
        .parent()
        .is_some_and(|parent| matches!(parent.kind().as_ref(), "block" | "match_arm"));
    language == Language::Rust && is_expression && stands_at_end
}

/// Whether a statement ends the program or the thread, or notes that something is wrong; `Some(false)`
/// where that cannot be told.
fn notes_failure(site: &Site<'_>, node: &SyntaxNode<'_>) -> Option<bool> {
    let kind = node.kind();
    if kind.contains("assignment") {
        let (left, right) = (node.field("left")?, node.field("right")?);
        let (left, right) = (site.text_of(&left), site.text_of(&right));
        let is_nothing = matches!(
            right,
            "false" | "False" | "None" | "null" | "nil" | "undefined"
        );
        if speaks_of_refusal(left) {
            return (!is_nothing).then_some(true);
        }
        let says_well = |name: &str| {
            let words = ["ok", "valid", "allow", "accept", "pass", "trust", "success"];
            words.iter().any(|word| name.contains(word))
        };
        return is_nothing.then(|| says_well(&left.to_ascii_lowercase()));
    }
    let function = node
        .field("macro")
        .or_else(|| node.field("function"))
        .or_else(|| node.field("name"));
    let is_call = matches!(
        kind.as_ref(),
        "macro_invocation" | "call" | "call_expression" | "method_invocation" | "try_expression"
    );
    if !is_call {
        return None;
    }
    let text = site.text_of(node);
    let name = function.map_or("", |function| site.text_of(&function));
    // On the line of the error macros are read as functions.
    let name = name.trim_end_matches(['!', '_']);
    let last = name.rsplit(['.', ':']).next().unwrap_or_default();
    let stops = [
        "panic",
        "unreachable",
        "unimplemented",
        "todo",
        "bail",
        "exit",
        "Exit",
        "abort",
        "Fatal",
        "Fatalf",
    ];
    let is_error = text.starts_with("Err(") && kind == "try_expression";
    (is_error || stops.contains(&last) || !text.starts_with("Err(") && speaks_of_refusal(name))
        .then_some(true)
}

/// The statement or value with which a branch leaves.
fn own_exit<'a>(site: &Site<'_>, branch: &SyntaxNode<'a>) -> Option<SyntaxNode<'a>> {
    let last = inner(statements(branch).last()?);
    let leaves = matches!(
        last.kind().as_ref(),
        "raise_statement" | "throw_statement" | "return_statement" | "return_expression"
    );
    let skips = matches!(
        last.kind().as_ref(),
        "continue_statement" | "continue_expression"
    );
    let is_error = is_value(site.language, &last) && site.text_of(&last).starts_with("Err(");
    let in_loop = branch
        .parent()
        .is_some_and(|parent| parent.kind().starts_with("while"));
    (leaves || is_error || skips && !in_loop).then_some(last)
}

#[cfg(test)]
mod tests {
    use homeostasis_core::signal::ErrorEvent;

    use super::*;

    fn refuses_when(language: Language, text: &str, at: &str) -> Option<bool> {
        let error = ErrorEvent::default();
        let site = Site::new(language, text, &error, 1, 0).unwrap();
        let root = site.root();
        let node = root.dfs().find(|node| site.text_of(node) == at).unwrap();
        Decision::around(&site, &node)?.refuses_when()
    }

    #[test]
    fn a_branch_that_leaves_with_a_no_refuses() {
        for (body, expected) in [
            ("if x.a { return Err(Bad); }", Some(true)),
            ("if !ok(x.a) { return; }", Some(true)),
            ("if b && !ok(x.a) { panic!(\"no\"); }", Some(true)),
            ("if ok(x.a) { g(); } else { return false; }", Some(false)),
            ("if x.a { g(); }", None),
            ("if x.a { return Ok(3); }", None),
            ("if x.a { errors.push(1); }", Some(true)),
            ("if x.a { allowed = false; }", Some(true)),
            ("if x.a { if b { return Err(Bad); } }", None),
            ("if x.a { Err(Bad) } else { Ok(1) }", Some(true)),
            ("if x.a { return None; } else { return None; }", None),
        ] {
            let text = format!("fn f() -> R {{\n    {body}\n}}\n");
            assert_eq!(
                refuses_when(Language::Rust, &text, "x.a"),
                expected,
                "{body}"
            );
        }
        for (body, expected) in [
            ("if x.a:\n        raise Bad()", Some(true)),
            ("if not x.a:\n        return 403", Some(true)),
            (
                "if x.a:\n        g()\n    else:\n        return None",
                Some(false),
            ),
            (
                "if b:\n        g()\n    elif x.a:\n        return 'denied'",
                Some(true),
            ),
            ("if x.a:\n        return 3", None),
            ("while x.a:\n        g()", None),
        ] {
            let text = format!("def f(b, x):\n    {body}\n");
            assert_eq!(
                refuses_when(Language::Python, &text, "x.a"),
                expected,
                "{body}"
            );
        }
        let js = "function f(x) {\n  if (x.a === 1) throw new Error('no');\n  return 1;\n}\n";
        assert_eq!(refuses_when(Language::JavaScript, js, "x.a"), Some(true));
        let go = "package p\n\nfunc f(x *X) (int, error) {\n\tif x.a == 1 {\n\t\treturn 0, errBad\n\t}\n\treturn 1, nil\n}\n";
        assert_eq!(refuses_when(Language::Go, go, "x.a"), Some(true));
        let go = go.replace("0, errBad", "0, nil");
        assert_eq!(refuses_when(Language::Go, &go, "x.a"), None);
        let java = "class A {\n  int f(X x) {\n    if (x.a == 1) {\n      throw new Bad();\n    }\n    return 1;\n  }\n}\n";
        assert_eq!(refuses_when(Language::Java, java, "x.a"), Some(true));
    }

    #[test]
    fn a_question_for_what_is_bad_refuses_by_a_yes() {
        let bad = "fn is_revoked() -> bool {\n    if x.a { return true; }\n    false\n}\n";
        assert_eq!(refuses_when(Language::Rust, bad, "x.a"), Some(true));
        let good = bad.replace("revoked", "known");
        assert_eq!(refuses_when(Language::Rust, &good, "x.a"), None);
    }
}
