//! Assignments: what is given another value, and which.

use std::collections::BTreeMap;

use super::in_place;
use super::token::{FlatTree, Token, joined};

/// Of what is assigned so many tokens are read.
pub(super) const MAX_VALUE: usize = 64;

/// One value given to one name, attribute or entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Assignment {
    /// Index of the first token.
    pub(super) at: usize,
    /// 1-based.
    pub(super) line: usize,
    /// Index of the node of the function around it.
    pub(super) function: Option<usize>,
    /// The name, attribute or entry, as tokens with a space between any two.
    pub(super) target: String,
    pub(super) value: String,
    /// `+=` and its like: the value stands beside the old one.
    pub(super) is_update: bool,
}

impl Assignment {
    /// The value is made of the old one.
    pub(super) fn is_of_itself(&self) -> bool {
        self.is_update || mentions(&self.value, &self.target)
    }

    /// The old value in another spelling: `x = x.strip()`, `x = str(x)`.
    pub(super) fn only_normalizes(&self) -> bool {
        let rest = |prefix: &str, suffix: &str| {
            let value = self.value.strip_prefix(prefix)?.strip_prefix(' ')?;
            value.strip_suffix(suffix)
        };
        let by_method = rest(&self.target, " ( )").and_then(|text| text.strip_prefix(". "));
        let is_known = by_method.is_some_and(|method| {
            matches!(
                method,
                "strip"
                    | "lower"
                    | "upper"
                    | "casefold"
                    | "decode"
                    | "encode"
                    | "trim"
                    | "toLowerCase"
                    | "toUpperCase"
                    | "toString"
                    | "to_lowercase"
                    | "to_uppercase"
                    | "to_string"
                    | "to_owned"
                    | "clone"
            )
        });
        let is_cast = ["str", "int", "float", "String", "Number", "list", "tuple"]
            .iter()
            .any(|cast| self.value == format!("{cast} ( {} )", self.target));
        !self.is_update && (is_known || is_cast)
    }
}

/// Whether a text of tokens holds another one, not as the member of something else.
pub(super) fn mentions(text: &str, part: &str) -> bool {
    if part.is_empty() {
        return false;
    }
    text.match_indices(part).any(|(at, _)| {
        let (before, after) = (&text[..at], &text[at + part.len()..]);
        (before.is_empty() || before.ends_with(' '))
            && !before.ends_with(". ")
            && (after.is_empty() || after.starts_with(' '))
    })
}

/// The assignments of a text, in order, with an index by target.
#[derive(Debug, Default)]
pub(super) struct Assignments {
    pub(super) all: Vec<Assignment>,
    by_target: BTreeMap<(Option<usize>, String), Vec<usize>>,
}

impl Assignments {
    pub(super) fn of(tree: &FlatTree<'_>) -> Self {
        let mut all = Vec::new();
        for (idx, node) in tree.nodes.iter().enumerate() {
            let is_update = matches!(
                node.kind,
                "augmented_assignment"
                    | "augmented_assignment_expression"
                    | "compound_assignment_expr"
            );
            let assigns = is_update
                || matches!(
                    node.kind,
                    "assignment"
                        | "named_expression"
                        | "assignment_expression"
                        | "assignment_statement"
                        | "short_var_declaration"
                        | "var_spec"
                        | "let_declaration"
                        | "variable_declarator"
                );
            if assigns {
                read(tree, idx, is_update, &mut all);
            } else if matches!(node.kind, "call" | "call_expression") {
                in_place::read(tree, idx, &mut all);
            }
        }
        all.sort_by_key(|one: &Assignment| one.at);
        let mut by_target: BTreeMap<_, Vec<usize>> = BTreeMap::new();
        for (idx, one) in all.iter().enumerate() {
            let key = (one.function, one.target.clone());
            by_target.entry(key).or_default().push(idx);
        }
        Self { all, by_target }
    }

    /// Those of a target in a function before a token.
    pub(super) fn before(
        &self,
        function: Option<usize>,
        target: &str,
        at: usize,
    ) -> impl Iterator<Item = &Assignment> {
        let known = self.by_target.get(&(function, target.to_owned()));
        let known = known.map(Vec::as_slice).unwrap_or_default();
        let n = known.partition_point(|idx| self.all[*idx].at < at);
        known[..n].iter().map(|idx| &self.all[*idx])
    }
}

/// One node: `a = x`, `a.b = x`, `a[k] = x`, `a, b = x, y`, `{a, b} = x`.
fn read(tree: &FlatTree<'_>, idx: usize, is_update: bool, found: &mut Vec<Assignment>) {
    let node = &tree.nodes[idx];
    let tokens = tree.tokens_of(node);
    let tokens = &tokens[..tokens.len().min(4 * MAX_VALUE)];
    let is_sign = |token: &Token<'_>| match token.text {
        "=" | ":=" => true,
        "==" | "!=" | "<=" | ">=" | "=>" => false,
        sign => {
            sign.len() > 1 && sign.ends_with('=') && !token.is_word() && token.value().is_none()
        }
    };
    let Some(sign) = outside(tokens, is_sign) else {
        return;
    };
    let (left, right) = (&tokens[..sign], &tokens[sign + 1..]);
    let is_update = is_update || !matches!(tokens[sign].text, "=" | ":=");
    let right = match right.split_last() {
        Some((last, rest)) if last.is(";") => rest,
        _ => right,
    };
    let skipped = left
        .iter()
        .take_while(|t| matches!(t.text, "let" | "mut" | "var" | "const" | "*"))
        .count();
    let left = unbracketed(&left[skipped..]);
    let targets = parts(left);
    let values = parts(unbracketed(right));
    let is_pairwise = targets.len() > 1 && values.len() == targets.len();
    for (n, target) in targets.iter().enumerate() {
        // Without its type; of `{ role: mine }` the name that is bound.
        let end = outside(target, |t| t.is(":")).unwrap_or(target.len());
        let target = &target[..end];
        let Some(first) = target.first() else {
            continue;
        };
        let value = if is_pairwise { values[n] } else { right };
        let at = node.tokens.0;
        found.push(Assignment {
            at,
            line: first.line,
            function: tree.function_of(at),
            target: plain(joined(target)),
            value: joined(&value[..value.len().min(MAX_VALUE)]),
            is_update,
        });
    }
}

/// A member of an object, however its table of members is named.
fn plain(target: String) -> String {
    let by_name = target.split_once(" . __dict__ [ ");
    let by_call = || target.strip_prefix("vars ( ")?.split_once(" ) [ ");
    let Some((owner, key)) = by_name.or_else(by_call) else {
        return target;
    };
    let name = key
        .strip_suffix(" ]")
        .map(|key| key.trim_matches(['"', '\'']));
    match name.filter(|name| !name.contains([' ', '"', '\''])) {
        Some(name) => format!("{owner} . {name}"),
        None => owner.to_owned(),
    }
}

/// The first token outside of all brackets that is one.
pub(super) fn outside(tokens: &[Token<'_>], is: impl Fn(&Token<'_>) -> bool) -> Option<usize> {
    let mut depth = 0_usize;
    tokens.iter().position(|token| {
        if token.opens() {
            depth += 1;
        } else if token.closes() {
            depth = depth.saturating_sub(1);
        }
        depth == 0 && is(token)
    })
}

/// `[a, b]` and `(a, b)` as `a, b`.
fn unbracketed<'a, 't>(tokens: &'a [Token<'t>]) -> &'a [Token<'t>] {
    match tokens {
        [first, inner @ .., last] if first.opens() && last.closes() => {
            // The first bracket closes at the end, not before.
            let mut depth = 0_usize;
            let close = tokens.iter().position(|token| {
                depth += usize::from(token.opens());
                depth -= usize::from(token.closes() && depth > 0);
                depth == 0
            });
            if close == Some(tokens.len() - 1) {
                inner
            } else {
                tokens
            }
        }
        _ => tokens,
    }
}

/// What commas part.
pub(super) fn parts<'a, 't>(tokens: &'a [Token<'t>]) -> Vec<&'a [Token<'t>]> {
    let mut rest = tokens;
    let mut found = Vec::new();
    while let Some(comma) = outside(rest, |t| t.is(",")) {
        found.push(&rest[..comma]);
        rest = &rest[comma + 1..];
    }
    found.push(rest);
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Language;
    use crate::syntax::Syntax;

    fn pairs(language: Language, text: &str) -> Vec<(String, String)> {
        let syntax = Syntax::parse(language, text);
        let tree = FlatTree::new(&syntax, text);
        let all = Assignments::of(&tree).all;
        all.into_iter().map(|one| (one.target, one.value)).collect()
    }

    #[test]
    fn every_form_of_assignment_is_read() {
        for (language, text, expected) in [
            (Language::Python, "a = 1\n", vec![("a", "1")]),
            (Language::Python, "a.b.c = d\n", vec![("a . b . c", "d")]),
            (Language::Python, "a['k'] = d\n", vec![("a [ 'k' ]", "d")]),
            (
                Language::Python,
                "a, b = b, a\n",
                vec![("a", "b"), ("b", "a")],
            ),
            (
                Language::Python,
                "a, b = f(1, 2)\n",
                vec![("a", "f ( 1 , 2 )"), ("b", "f ( 1 , 2 )")],
            ),
            (Language::Python, "a: int = 1\n", vec![("a", "1")]),
            (Language::Python, "a -= 1\n", vec![("a", "1")]),
            (Language::Python, "f(a=1)\n", vec![]),
            (
                Language::JavaScript,
                "[a, b] = [b, a];",
                vec![("a", "b"), ("b", "a")],
            ),
            (Language::JavaScript, "a.b = 1;", vec![("a . b", "1")]),
            (
                Language::Rust,
                "fn f() { let (a, b) = (b, a); }",
                vec![("a", "b"), ("b", "a")],
            ),
            (
                Language::Rust,
                "fn f() { let mut a: u8 = 1; }",
                vec![("a", "1")],
            ),
            (
                Language::Rust,
                "fn f() { *a = 1; a += 2; }",
                vec![("a", "1"), ("a", "2")],
            ),
            (
                Language::Go,
                "package a\nfunc f() { a, b := b, a }\n",
                vec![("a", "b"), ("b", "a")],
            ),
            (
                Language::Java,
                "class A { void f() { int a = 1; this.b = 2; } }",
                vec![("a", "1"), ("this . b", "2")],
            ),
        ] {
            let expected: Vec<_> = expected
                .into_iter()
                .map(|(a, b)| (a.to_owned(), b.to_owned()))
                .collect();
            assert_eq!(pairs(language, text), expected, "{text}");
        }
    }

    #[test]
    fn members_of_others_are_not_mentioned() {
        assert!(mentions("not user . role == 1", "user . role"));
        assert!(mentions("f ( user )", "user"));
        assert!(!mentions("page . user . role", "user"));
        assert!(!mentions("superuser . role", "user"));
    }
}
