//! Calls that give a part of a value another value: `setattr(user, 'role', role)`, `user.update(role=role)`.

use super::assignment::{Assignment, MAX_VALUE, outside, parts};
use super::token::{FlatTree, Token, joined};

/// What the call `idx` assigns, if it does: under every spelling in which the part can be read. A part that is
/// not written there is the whole.
pub(super) fn read(tree: &FlatTree<'_>, idx: usize, found: &mut Vec<Assignment>) {
    let node = &tree.nodes[idx];
    let tokens = tree.tokens_of(node);
    let tokens = &tokens[..tokens.len().min(4 * MAX_VALUE)];
    let Some(open) = arguments_at(tokens) else {
        return;
    };
    let (callee, rest) = (&tokens[..open], &tokens[open + 1..]);
    let arguments = match rest.split_last() {
        Some((last, inner)) if last.is(")") => inner,
        _ => rest,
    };
    let arguments = parts(arguments);
    let words: Vec<&str> = callee.iter().map(|token| token.text).collect();
    let at = node.tokens.0;
    let mut assign = |whole: &[Token<'_>], part: Option<&str>, value: &[Token<'_>]| {
        let whole = joined(whole);
        let targets = match part {
            None => vec![whole],
            Some(part) => vec![
                format!("{whole} . {part}"),
                format!("{whole} [ '{part}' ]"),
                format!("{whole} [ \"{part}\" ]"),
                format!("{whole} . get ( '{part}' )"),
                format!("{whole} . get ( \"{part}\" )"),
            ],
        };
        for target in targets {
            found.push(Assignment {
                at,
                line: tokens.first().map_or(0, |token| token.line),
                function: tree.function_of(at),
                target,
                value: joined(&value[..value.len().min(MAX_VALUE)]),
                is_update: false,
            });
        }
    };
    match (&words[..], &arguments[..]) {
        (
            ["setattr"] | ["Reflect", ".", "set"] | ["object", ".", "__setattr__"],
            [whole, part, value],
        ) => {
            assign(whole, written(part), value);
        }
        (["Object", ".", "assign"], [whole, values @ ..]) => {
            for value in values {
                each_entry(value, |part, value| assign(whole, part, value));
            }
        }
        ([.., ".", "__setattr__"], [part, value]) => {
            assign(&callee[..open - 2], written(part), value);
        }
        ([_, .., ".", "update"], values) => {
            let whole = &callee[..open - 2];
            for value in values.iter().filter(|value| !value.is_empty()) {
                match outside(value, |t| t.is("=")) {
                    Some(1) => assign(whole, Some(value[0].text), &value[2..]),
                    _ => each_entry(value, |part, value| assign(whole, part, value)),
                }
            }
        }
        _ => {}
    }
}

/// Where the arguments of a call begin: at the bracket that its end closes; of a long one, at the first.
fn arguments_at(tokens: &[Token<'_>]) -> Option<usize> {
    let mut depth = 0_usize;
    let opening = tokens.iter().rposition(|token| {
        depth += usize::from(token.closes());
        let opens = token.opens() && depth > 0;
        depth -= usize::from(opens);
        opens && depth == 0
    });
    let is_whole = tokens.last().is_some_and(Token::closes);
    let first = || tokens.iter().position(|token| token.is("("));
    opening.filter(|_| is_whole).or_else(first)
}

/// The name in a literal text.
fn written<'a>(part: &'a [Token<'_>]) -> Option<&'a str> {
    let [only] = part else { return None };
    let text = only.value()?;
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    (!text.is_empty() && text.chars().all(is_name)).then_some(text)
}

/// The entries of `{ role: mine }`, each with its name if that is written; what is no such thing is one without.
fn each_entry(value: &[Token<'_>], mut tell: impl FnMut(Option<&str>, &[Token<'_>])) {
    let [first, inner @ .., last] = value else {
        tell(None, value);
        return;
    };
    if !(first.is("{") && last.is("}")) {
        tell(None, value);
        return;
    }
    for entry in parts(inner).into_iter().filter(|entry| !entry.is_empty()) {
        match outside(entry, |t| t.is(":")) {
            Some(1) => {
                let name =
                    written(&entry[..1]).or_else(|| entry[0].is_word().then_some(entry[0].text));
                tell(name, &entry[2..]);
            }
            _ => tell(None, entry),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::assignment::Assignments;
    use super::*;
    use crate::Language;
    use crate::syntax::Syntax;

    /// The first spelling of each part that is given a value, with the value.
    fn pairs(language: Language, text: &str) -> Vec<(String, String)> {
        let syntax = Syntax::parse(language, text);
        let tree = FlatTree::new(&syntax, text);
        let all = Assignments::of(&tree).all;
        let first = |one: &Assignment| !one.target.contains(['[', '(']);
        let all = all.into_iter().filter(first);
        all.map(|one| (one.target, one.value)).collect()
    }

    #[test]
    fn calls_that_assign_are_read_as_assignments() {
        for (language, text, expected) in [
            (
                Language::Python,
                "setattr(u, 'role', 'admin')\n",
                vec![("u . role", "'admin'")],
            ),
            (
                Language::Python,
                "setattr(u.a, n, v)\n",
                vec![("u . a", "v")],
            ),
            (
                Language::Python,
                "object.__setattr__(u, 'role', v)\n",
                vec![("u . role", "v")],
            ),
            (
                Language::Python,
                "u.__setattr__('role', v)\n",
                vec![("u . role", "v")],
            ),
            (
                Language::Python,
                "u.update(role='admin', age=f(1, 2))\n",
                vec![("u . role", "'admin'"), ("u . age", "f ( 1 , 2 )")],
            ),
            (
                Language::Python,
                "u.update({'role': v}, age=1)\n",
                vec![("u . role", "v"), ("u . age", "1")],
            ),
            (
                Language::Python,
                "u.update(others)\n",
                vec![("u", "others")],
            ),
            (
                Language::Python,
                "u.__dict__['role'] = v\n",
                vec![("u . role", "v")],
            ),
            (
                Language::Python,
                "vars(u)['role'] = v\n",
                vec![("u . role", "v")],
            ),
            (
                Language::Python,
                "update(u)\nset(u, 1)\nu.update()\n",
                vec![],
            ),
            (
                Language::JavaScript,
                "Object.assign(u, { role: 'admin', ...rest });",
                vec![("u . role", "'admin'"), ("u", "... rest")],
            ),
            (
                Language::JavaScript,
                "Reflect.set(u, 'role', v);",
                vec![("u . role", "v")],
            ),
        ] {
            let expected: Vec<_> = expected
                .into_iter()
                .map(|(a, b)| (a.to_owned(), b.to_owned()))
                .collect();
            assert_eq!(pairs(language, text), expected, "{text}");
        }
    }
}
