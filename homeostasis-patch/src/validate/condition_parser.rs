//! From the tokens of a condition to the formula it is.

use super::condition::{Atom, Formula, Relation, joined_formulas};
use super::token::{Kind, Token, joined};
use crate::Language;

/// Deeper parentheses are read as one atom.
const MAX_DEPTH: usize = 24;

/// Longer conditions are read as one atom.
const MAX_TOKENS: usize = 300;

/// A choice by a condition of more atoms is read as one atom: the condition stands in both ways, so that
/// choices within each other would double it each time.
const MAX_CHOSEN_BY: usize = 8;

impl Formula {
    /// What a condition asks.
    pub(super) fn of(tokens: &[Token<'_>], language: Language) -> Self {
        if tokens.len() > MAX_TOKENS {
            return Self::Atom(Atom::holds(joined(tokens)));
        }
        parsed(tokens, language, 0)
    }

    /// What a value says that is handed on: several values are no condition.
    pub(super) fn of_value(tokens: &[Token<'_>], language: Language) -> Self {
        if !has_sequences(language) && split(unwrapped(tokens), &[","]).len() > 1 {
            return Self::Atom(Atom::holds(joined(tokens)));
        }
        Self::of(tokens, language)
    }
}

/// Of `a, b` the last part is the value.
fn has_sequences(language: Language) -> bool {
    matches!(
        language,
        Language::JavaScript | Language::TypeScript | Language::Tsx
    )
}
/// The condition of a conditional expression, and what it gives if that holds, and if not.
fn chosen<'a, 't>(
    tokens: &'a [Token<'t>],
    language: Language,
) -> Option<(&'a [Token<'t>], &'a [Token<'t>], &'a [Token<'t>])> {
    if language == Language::Python {
        let sign = outside(tokens, "if")?;
        let other = sign + outside(&tokens[sign..], "else")?;
        let is_whole = sign > 0 && !tokens[0].is("lambda");
        return is_whole.then(|| {
            (
                &tokens[sign + 1..other],
                &tokens[..sign],
                &tokens[other + 1..],
            )
        });
    }
    if !has_sequences(language) && language != Language::Java {
        return None;
    }
    let sign = outside(tokens, "?")?;
    let mut n_open = 0_usize;
    let mut depth = 0_usize;
    for (idx, token) in tokens.iter().enumerate().skip(sign) {
        if is_open(token) {
            depth += 1;
        } else if is_close(token) {
            depth = depth.saturating_sub(1);
        } else if depth == 0 && token.is("?") {
            n_open += 1;
        } else if depth == 0 && token.is(":") {
            n_open -= 1;
            if n_open == 0 {
                return Some((&tokens[..sign], &tokens[sign + 1..idx], &tokens[idx + 1..]));
            }
        }
    }
    None
}

/// Where a word stands outside of brackets.
fn outside(tokens: &[Token<'_>], text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    tokens.iter().position(|token| {
        if is_open(token) {
            depth += 1;
        } else if is_close(token) {
            depth = depth.saturating_sub(1);
        }
        depth == 0 && token.is(text)
    })
}

fn parsed(tokens: &[Token<'_>], language: Language, depth: usize) -> Formula {
    let tokens = unwrapped(tokens);
    if depth < MAX_DEPTH {
        if has_sequences(language) {
            if let [_, .., last] = split(tokens, &[","]).as_slice() {
                return parsed(last, language, depth + 1);
            }
        } else if language == Language::Python
            && outside(tokens, ",").is_some()
            && outside(tokens, "lambda").is_none()
        {
            // A tuple with anything in it holds.
            return Formula::All(Vec::new());
        }
        if let Some((condition, one, other)) = chosen(tokens, language) {
            let condition = parsed(condition, language, depth + 1);
            if condition.atoms().len() > MAX_CHOSEN_BY {
                return atom(tokens);
            }
            let (one, other) = (
                parsed(one, language, depth + 1),
                parsed(other, language, depth + 1),
            );
            let opposite = condition.negated();
            let ways = [[condition, one], [opposite, other]];
            let ways = ways.map(|way| joined_formulas(way.into_iter(), false));
            return joined_formulas(ways.into_iter(), true);
        }
        for (joins, is_any) in [(&["or", "||"], true), (&["and", "&&"], false)] {
            let parts = split(tokens, joins);
            if parts.len() > 1 {
                let parts = parts.iter().map(|part| parsed(part, language, depth + 1));
                return joined_formulas(parts, is_any);
            }
        }
        let negates = tokens.first().is_some_and(|t| t.is("not") || t.is("!"));
        // `! a == b` is left to the comparison; a negation covers the rest otherwise.
        if negates && (tokens[0].is("not") || comparison(&tokens[1..]).is_none()) {
            return parsed(&tokens[1..], language, depth + 1).negated();
        }
        if language == Language::Python
            && let Some(links) = chain(tokens)
        {
            let links = links.iter().map(|link| atom(link));
            return joined_formulas(links, false);
        }
    }
    atom(tokens)
}

/// `a < b <= c` as `a < b` and `b <= c`.
fn chain<'t>(tokens: &[Token<'t>]) -> Option<Vec<Vec<Token<'t>>>> {
    let mut signs = Vec::new();
    let mut start = 0;
    while let Some(at) = outside_any(&tokens[start..], &["<", "<=", ">", ">=", "==", "!="]) {
        signs.push(start + at);
        start += at + 1;
    }
    if signs.len() < 2 || outside_any(tokens, &["in", "is", "is not", "not in"]).is_some() {
        return None;
    }
    let bounds = signs.iter().enumerate().map(|(n, _)| {
        let from = n.checked_sub(1).map_or(0, |before| signs[before] + 1);
        let to = signs.get(n + 1).copied().unwrap_or(tokens.len());
        tokens[from..to].to_vec()
    });
    Some(bounds.collect())
}

fn outside_any(tokens: &[Token<'_>], texts: &[&str]) -> Option<usize> {
    let found = texts.iter().filter_map(|text| outside(tokens, text));
    found.min()
}

fn atom(tokens: &[Token<'_>]) -> Formula {
    if let [only] = tokens {
        match only.text {
            "True" | "true" => return Formula::All(Vec::new()),
            "False" | "false" => return Formula::Any(Vec::new()),
            _ => {}
        }
    }
    if let Some((at, n, sign)) = comparison(tokens) {
        let (left, right) = (joined(&tokens[..at]), joined(&tokens[at + n..]));
        let (left, relation, right) = match sign {
            "<" => (left, Relation::Less, right),
            "<=" => (left, Relation::LessOrEqual, right),
            ">" => (right, Relation::Less, left),
            ">=" => (right, Relation::LessOrEqual, left),
            "==" => (left, Relation::Equal, right),
            "!=" => (left, Relation::Unequal, right),
            // A type is a text: there is nothing to convert.
            "===" if is_type(&left, &right) => (left, Relation::Equal, right),
            "!==" if is_type(&left, &right) => (left, Relation::Unequal, right),
            "===" => (left, Relation::Identical, right),
            "!==" => (left, Relation::Distinct, right),
            "in" => (format!("{left} in {right}"), Relation::Holds, String::new()),
            _ => (format!("{left} in {right}"), Relation::Fails, String::new()),
        };
        let is_equality = matches!(
            relation,
            Relation::Equal | Relation::Unequal | Relation::Identical | Relation::Distinct
        );
        let sorts = is_equality && left > right;
        let (left, right) = if sorts { (right, left) } else { (left, right) };
        return Formula::Atom(Atom {
            left,
            relation,
            right,
        });
    }
    let text = joined(tokens);
    for (end, relation, right) in [
        (" . is_some ( )", Relation::Unequal, "None"),
        (" . is_none ( )", Relation::Equal, "None"),
        (" . is_ok ( )", Relation::Holds, ""),
        (" . is_err ( )", Relation::Fails, ""),
    ] {
        if let Some(left) = text.strip_suffix(end) {
            let mut sides = [left.to_owned(), right.to_owned()];
            if !right.is_empty() {
                sides.sort();
            }
            let [left, right] = sides;
            return Formula::Atom(Atom {
                left,
                relation,
                right,
            });
        }
    }
    Formula::Atom(Atom::holds(text))
}

fn is_type(left: &str, right: &str) -> bool {
    left.starts_with("typeof ") || right.starts_with("typeof ")
}

/// The one comparison outside of brackets: where, how many tokens, and its sign.
fn comparison(tokens: &[Token<'_>]) -> Option<(usize, usize, &'static str)> {
    let mut found = None;
    let mut depth = 0_usize;
    let mut at = 0;
    while at < tokens.len() {
        let token = &tokens[at];
        let next = |text: &str| tokens.get(at + 1).is_some_and(|t| t.is(text));
        let mut n = 1;
        if is_open(token) {
            depth += 1;
        } else if is_close(token) {
            depth = depth.saturating_sub(1);
        } else if depth == 0 && !matches!(token.kind, Kind::Text(_) | Kind::Template) {
            let sign = match token.text {
                "<" => Some("<"),
                "<=" => Some("<="),
                ">" => Some(">"),
                ">=" => Some(">="),
                "is" if next("not") => {
                    n = 2;
                    Some("!=")
                }
                "is" | "==" => Some("=="),
                "is not" | "!=" => Some("!="),
                "===" => Some("==="),
                "!==" => Some("!=="),
                "not" if next("in") => {
                    n = 2;
                    Some("not in")
                }
                "not in" => Some("not in"),
                "in" => Some("in"),
                _ => None,
            };
            if let Some(sign) = sign {
                if found.is_some() || at == 0 {
                    // A chain of comparisons stays one.
                    return None;
                }
                found = Some((at, n, sign));
            }
        }
        at += n;
    }
    found.filter(|(at, n, _)| at + n < tokens.len())
}

fn is_open(token: &Token<'_>) -> bool {
    token.kind == Kind::Punctuation && matches!(token.text, "(" | "[" | "{")
}

fn is_close(token: &Token<'_>) -> bool {
    token.kind == Kind::Punctuation && matches!(token.text, ")" | "]" | "}")
}

/// Without parentheses around the whole.
fn unwrapped<'a, 't>(mut tokens: &'a [Token<'t>]) -> &'a [Token<'t>] {
    while tokens.len() > 2 && tokens[0].is("(") {
        let mut depth = 0_usize;
        let close = tokens.iter().position(|token| {
            if is_open(token) {
                depth += 1;
            } else if is_close(token) {
                depth = depth.saturating_sub(1);
                return depth == 0;
            }
            false
        });
        if close != Some(tokens.len() - 1) {
            break;
        }
        tokens = &tokens[1..tokens.len() - 1];
    }
    tokens
}

fn split<'a, 't>(tokens: &'a [Token<'t>], signs: &[&str]) -> Vec<&'a [Token<'t>]> {
    let mut parts = Vec::new();
    let (mut depth, mut start) = (0_usize, 0);
    for (idx, token) in tokens.iter().enumerate() {
        if is_open(token) {
            depth += 1;
        } else if is_close(token) {
            depth = depth.saturating_sub(1);
        } else if depth == 0 && signs.iter().any(|sign| token.is(sign)) && idx > start {
            parts.push(&tokens[start..idx]);
            start = idx + 1;
        }
    }
    if start < tokens.len() {
        parts.push(&tokens[start..]);
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::super::token::FlatTree;
    use super::*;
    use crate::syntax::Syntax;

    #[test]
    fn choices_by_choices_do_not_double_what_is_read() {
        for (language, open, close) in [
            (Language::Python, "(b if ", " else c)"),
            (Language::JavaScript, "(", " ? b : c)"),
        ] {
            let text = format!("{}a{}", open.repeat(40), close.repeat(40));
            let syntax = Syntax::parse(language, &text);
            let tree = FlatTree::new(&syntax, &text);
            let formula = Formula::of(&tree.tokens, language);
            assert!(formula.atoms().len() < 64, "{}", formula.atoms().len());
        }
    }
}
