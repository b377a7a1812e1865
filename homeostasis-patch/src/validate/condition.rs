//! Conditions as formulas: what they say, however they are written.
//!
//! Negations are moved inward (De Morgan), comparisons are written one way round, and two formulas
//! are compared by trying every outcome of their comparisons.

use std::collections::BTreeMap;

use super::token::{Kind, Token, joined};

/// Deeper parentheses are read as one atom.
const MAX_DEPTH: usize = 24;

/// Longer conditions are read as one atom.
const MAX_TOKENS: usize = 300;

/// Formulas over more comparisons are not compared by their outcomes.
const MAX_VARIABLES: usize = 8;

/// How two values stand, or whether something holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Relation {
    Less,
    LessOrEqual,
    Equal,
    Unequal,
    /// Of the left side alone; the right is empty.
    Holds,
    Fails,
}

/// One comparison.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Atom {
    pub(super) left: String,
    pub(super) relation: Relation,
    pub(super) right: String,
}

/// What a condition says.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Formula {
    All(Vec<Formula>),
    Any(Vec<Formula>),
    Atom(Atom),
}

impl Formula {
    pub(super) fn of(tokens: &[Token<'_>]) -> Self {
        if tokens.len() > MAX_TOKENS {
            return Self::Atom(Atom::holds(joined(tokens)));
        }
        parsed(tokens, 0)
    }

    /// Its opposite.
    pub(super) fn negated(&self) -> Self {
        match self {
            Self::All(parts) => Self::Any(parts.iter().map(Self::negated).collect()),
            Self::Any(parts) => Self::All(parts.iter().map(Self::negated).collect()),
            Self::Atom(atom) => Self::Atom(atom.negated()),
        }
    }

    /// With every `<` as `<=`.
    pub(super) fn lenient(&self) -> Self {
        let all = |parts: &[Self]| {
            let mut parts: Vec<Self> = parts.iter().map(Self::lenient).collect();
            parts.sort();
            parts
        };
        match self {
            Self::All(parts) => Self::All(all(parts)),
            Self::Any(parts) => Self::Any(all(parts)),
            Self::Atom(atom) => {
                let mut atom = atom.clone();
                if atom.relation == Relation::Less {
                    atom.relation = Relation::LessOrEqual;
                }
                Self::Atom(atom)
            }
        }
    }

    pub(super) fn is_true(&self) -> bool {
        matches!(self, Self::All(parts) if parts.is_empty())
    }

    /// Its comparisons.
    pub(super) fn atoms(&self) -> Vec<&Atom> {
        let mut found = Vec::new();
        let mut rest = vec![self];
        while let Some(formula) = rest.pop() {
            match formula {
                Self::All(parts) | Self::Any(parts) => rest.extend(parts),
                Self::Atom(atom) => found.push(atom),
            }
        }
        found.reverse();
        found
    }

    /// A part of it is the same for all values: a literal, or literals that are compared.
    pub(super) fn has_constant(&self) -> bool {
        let mut rest = vec![self];
        while let Some(formula) = rest.pop() {
            match formula {
                Self::All(parts) | Self::Any(parts) => {
                    if parts.is_empty() {
                        return true;
                    }
                    rest.extend(parts);
                }
                Self::Atom(atom) => {
                    let is_same = atom.left == atom.right
                        && matches!(
                            atom.relation,
                            Relation::Equal | Relation::LessOrEqual | Relation::Less
                        );
                    let alone = matches!(atom.relation, Relation::Holds | Relation::Fails);
                    let both = is_literal(&atom.left) && (alone || is_literal(&atom.right));
                    if is_same || both {
                        return true;
                    }
                }
            }
        }
        false
    }

    /// Whether `other` holds wherever `self` does; `None` if that cannot be told.
    pub(super) fn implies(&self, other: &Self) -> Option<bool> {
        let mut variables: BTreeMap<(String, String), usize> = BTreeMap::new();
        for atom in self.atoms().into_iter().chain(other.atoms()) {
            let next = variables.len();
            variables.entry(atom.pair()).or_insert(next);
        }
        if variables.len() > MAX_VARIABLES {
            return None;
        }
        // Each pair of values is less, equal or greater: digits of a number in base three.
        let n_cases = 3_usize.checked_pow(u32::try_from(variables.len()).ok()?)?;
        Some((0..n_cases).all(|case| {
            let value = |atom: &Atom| {
                let idx = variables.get(&atom.pair()).copied().unwrap_or(0);
                let digit = case / 3_usize.pow(u32::try_from(idx).unwrap_or(0)) % 3;
                atom.holds_at(digit)
            };
            !self.value(&value) || other.value(&value)
        }))
    }

    fn value(&self, of: &impl Fn(&Atom) -> bool) -> bool {
        match self {
            Self::All(parts) => parts.iter().all(|part| part.value(of)),
            Self::Any(parts) => parts.iter().any(|part| part.value(of)),
            Self::Atom(atom) => of(atom),
        }
    }
}

impl Atom {
    fn holds(left: String) -> Self {
        Self {
            left,
            relation: Relation::Holds,
            right: String::new(),
        }
    }

    fn negated(&self) -> Self {
        let relation = match self.relation {
            Relation::Less => Relation::LessOrEqual,
            Relation::LessOrEqual => Relation::Less,
            Relation::Equal => Relation::Unequal,
            Relation::Unequal => Relation::Equal,
            Relation::Holds => Relation::Fails,
            Relation::Fails => Relation::Holds,
        };
        let swaps = matches!(self.relation, Relation::Less | Relation::LessOrEqual);
        let (left, right) = if swaps {
            (self.right.clone(), self.left.clone())
        } else {
            (self.left.clone(), self.right.clone())
        };
        Self {
            left,
            relation,
            right,
        }
    }

    /// The two sides in one order.
    fn pair(&self) -> (String, String) {
        if self.left <= self.right {
            (self.left.clone(), self.right.clone())
        } else {
            (self.right.clone(), self.left.clone())
        }
    }

    /// At 0 the first of the pair is less, at 1 equal, at 2 greater; of one side alone 0 is false.
    fn holds_at(&self, digit: usize) -> bool {
        let in_order = self.left <= self.right;
        match self.relation {
            Relation::Holds => digit != 0,
            Relation::Fails => digit == 0,
            Relation::Equal => digit == 1,
            Relation::Unequal => digit != 1,
            Relation::Less => digit == if in_order { 0 } else { 2 },
            Relation::LessOrEqual => digit != if in_order { 2 } else { 0 },
        }
    }
}

pub(super) fn is_literal(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '"' | '\'' | '`'))
        && !text.contains(' ')
        || matches!(
            text,
            "True" | "False" | "true" | "false" | "None" | "null" | "nil" | "undefined"
        )
}

fn parsed(tokens: &[Token<'_>], depth: usize) -> Formula {
    let tokens = unwrapped(tokens);
    if depth < MAX_DEPTH {
        // Of a sequence the last part counts.
        if let [_, .., last] = split(tokens, &[","]).as_slice() {
            return parsed(last, depth + 1);
        }
        for (joins, is_any) in [(&["or", "||"], true), (&["and", "&&"], false)] {
            let parts = split(tokens, joins);
            if parts.len() > 1 {
                let mut formulas: Vec<Formula> = Vec::new();
                for part in parts {
                    match (parsed(part, depth + 1), is_any) {
                        (Formula::Any(inner), true) | (Formula::All(inner), false)
                            if !inner.is_empty() =>
                        {
                            formulas.extend(inner);
                        }
                        (formula, _) => formulas.push(formula),
                    }
                }
                formulas.sort();
                formulas.dedup();
                return if is_any {
                    Formula::Any(formulas)
                } else {
                    Formula::All(formulas)
                };
            }
        }
        let negates = tokens.first().is_some_and(|t| t.is("not") || t.is("!"));
        // `! a == b` is left to the comparison; a negation covers the rest otherwise.
        if negates && (tokens[0].is("not") || comparison(&tokens[1..]).is_none()) {
            return parsed(&tokens[1..], depth + 1).negated();
        }
    }
    atom(tokens)
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
            "in" => (format!("{left} in {right}"), Relation::Holds, String::new()),
            _ => (format!("{left} in {right}"), Relation::Fails, String::new()),
        };
        let sorts = matches!(relation, Relation::Equal | Relation::Unequal) && left > right;
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
                "is" | "==" | "===" => Some("=="),
                "is not" | "!=" | "!==" => Some("!="),
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
    use super::*;
    use crate::Language;
    use crate::syntax::Syntax;
    use crate::validate::token::FlatTree;

    fn formula(text: &str) -> Formula {
        let text = format!("x = ({text})\n");
        let syntax = Syntax::parse(Language::Python, &text);
        let tree = FlatTree::new(&syntax, &text);
        Formula::of(&tree.tokens[2..])
    }

    #[test]
    fn formulas_are_compared_by_what_they_say() {
        for (a, b, forth, back) in [
            ("not (a and b)", "not a or not b", true, true),
            ("a > b", "b < a", true, true),
            ("not a > b", "a <= b", true, true),
            ("a > b", "a >= b", true, false),
            ("a", "a or b", true, false),
            ("a and b", "a or b", true, false),
            ("a == 1", "1 == a", true, true),
            ("x is None", "x is not None", false, false),
            ("k not in d", "not (k in d)", true, true),
            ("a", "b", false, false),
        ] {
            let (a_formula, b_formula) = (formula(a), formula(b));
            assert_eq!(a_formula.implies(&b_formula), Some(forth), "{a} => {b}");
            assert_eq!(b_formula.implies(&a_formula), Some(back), "{b} => {a}");
        }
    }

    #[test]
    fn constants_are_seen_in_any_part() {
        for text in ["True", "a and (not True)", "a or 1 == 1", "x == x"] {
            assert!(formula(text).has_constant(), "{text}");
        }
        for text in ["a == 1", "a is None", "x != x", "len(xs) == 0"] {
            assert!(!formula(text).has_constant(), "{text}");
        }
    }
}
