//! Conditions as formulas: what they say, however they are written.
//!
//! Negations are moved inward (De Morgan), comparisons are written one way round, and two formulas
//! are compared by trying every outcome of their comparisons.

use std::collections::BTreeMap;

use super::token::{Kind, Token, joined};
use crate::Language;

/// Deeper parentheses are read as one atom.
const MAX_DEPTH: usize = 24;

/// Longer conditions are read as one atom.
const MAX_TOKENS: usize = 300;

/// Formulas over more comparisons are not compared by their outcomes.
const MAX_VARIABLES: usize = 8;

/// Their form is compared in so many steps at most.
const MAX_STEPS: usize = 10_000;

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

    /// Something that holds, by its name.
    pub(super) fn named(name: &str) -> Self {
        Self::Atom(Atom::holds(name.to_owned()))
    }

    /// All of some formulas, written as `a and b and c` is.
    pub(super) fn all(parts: impl Iterator<Item = Self>) -> Self {
        joined_formulas(parts, false)
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
        if self == other {
            return Some(true);
        }
        let mut variables: BTreeMap<(String, String), usize> = BTreeMap::new();
        for atom in self.atoms().into_iter().chain(other.atoms()) {
            let next = variables.len();
            variables.entry(atom.sides()).or_insert(next);
        }
        if variables.len() > MAX_VARIABLES {
            let mut n_steps = 0;
            return self.implies_by_shape(other, &mut n_steps).then_some(true);
        }
        let links = links(&variables);
        // Each pair of values is less, equal or greater: digits of a number in base three.
        let n_cases = 3_usize.checked_pow(u32::try_from(variables.len()).ok()?)?;
        Some((0..n_cases).all(|case| {
            let digit = |idx: usize| case / 3_usize.pow(u32::try_from(idx).unwrap_or(0)) % 3;
            if links.iter().any(|link| !link.is_possible(digit)) {
                return true;
            }
            let value = |atom: &Atom| {
                let idx = variables.get(&atom.sides()).copied().unwrap_or(0);
                atom.holds_at(digit(idx))
            };
            !self.value(&value) || other.value(&value)
        }))
    }

    /// What can be told by the form alone: a part that was added to a list or taken from it.
    fn implies_by_shape(&self, other: &Self, n_steps: &mut usize) -> bool {
        *n_steps += 1;
        if *n_steps > MAX_STEPS {
            return false;
        }
        if self == other {
            return true;
        }
        match (self, other) {
            (Self::Any(parts), _) => parts.iter().all(|p| p.implies_by_shape(other, n_steps)),
            (_, Self::All(parts)) => parts.iter().all(|p| self.implies_by_shape(p, n_steps)),
            (Self::All(parts), Self::Any(others)) => {
                parts.iter().any(|p| p.implies_by_shape(other, n_steps))
                    || others.iter().any(|p| self.implies_by_shape(p, n_steps))
            }
            (Self::All(parts), Self::Atom(_)) => {
                parts.iter().any(|p| p.implies_by_shape(other, n_steps))
            }
            (Self::Atom(_), Self::Any(parts)) => {
                parts.iter().any(|p| self.implies_by_shape(p, n_steps))
            }
            (Self::Atom(one), Self::Atom(two)) => {
                (one.sides() == two.sides())
                    && (0..3).all(|digit| !one.holds_at(digit) || two.holds_at(digit))
            }
        }
    }

    /// With every side of its comparisons written another way.
    pub(super) fn rewritten(&self, write: &impl Fn(&str) -> String) -> Self {
        match self {
            Self::All(parts) => Self::All(parts.iter().map(|p| p.rewritten(write)).collect()),
            Self::Any(parts) => Self::Any(parts.iter().map(|p| p.rewritten(write)).collect()),
            Self::Atom(atom) => {
                let (mut left, mut right) = (write(&atom.left), write(&atom.right));
                let has_order = matches!(atom.relation, Relation::Less | Relation::LessOrEqual);
                let is_alone = matches!(atom.relation, Relation::Holds | Relation::Fails);
                if !has_order && !is_alone && left > right {
                    std::mem::swap(&mut left, &mut right);
                }
                let relation = atom.relation;
                Self::Atom(Atom {
                    left,
                    relation,
                    right,
                })
            }
        }
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
    pub(super) fn sides(&self) -> (String, String) {
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

/// Two comparisons of which not every pair of outcomes is possible.
#[derive(Debug)]
struct Link {
    compared: usize,
    truth: usize,
    is_length: bool,
}

impl Link {
    fn is_possible(&self, digit: impl Fn(usize) -> usize) -> bool {
        let (compared, is_true) = (digit(self.compared), digit(self.truth) != 0);
        if self.is_length {
            // No length is less than nothing, and what is empty does not hold.
            compared != 0 && is_true == (compared == 2)
        } else {
            // What is not there does not hold.
            compared != 1 || !is_true
        }
    }
}

/// `x is None` with `x`, `len(x) > 0` with `x`.
fn links(variables: &BTreeMap<(String, String), usize>) -> Vec<Link> {
    let mut found = Vec::new();
    for ((left, right), compared) in variables {
        let truth_of = |name: &str| variables.get(&(String::new(), name.to_owned())).copied();
        let is_none = |text: &str| matches!(text, "None" | "null" | "nil" | "undefined");
        let value = match (is_none(left), is_none(right)) {
            (true, false) => Some(right),
            (false, true) => Some(left),
            _ => None,
        };
        let length = (left == "0")
            .then(|| right.strip_prefix("len ( ")?.strip_suffix(" )"))
            .flatten();
        if let Some(truth) = value.and_then(|name| truth_of(name)) {
            let (compared, is_length) = (*compared, false);
            found.push(Link {
                compared,
                truth,
                is_length,
            });
        }
        if let Some(truth) = length.and_then(truth_of) {
            let (compared, is_length) = (*compared, true);
            found.push(Link {
                compared,
                truth,
                is_length,
            });
        }
    }
    found
}

/// Of `a, b` the last part is the value.
fn has_sequences(language: Language) -> bool {
    matches!(
        language,
        Language::JavaScript | Language::TypeScript | Language::Tsx
    )
}

/// `a or b or c` if any of them is enough, `a and b and c` else.
fn joined_formulas(parts: impl Iterator<Item = Formula>, is_any: bool) -> Formula {
    let mut formulas: Vec<Formula> = Vec::new();
    for part in parts {
        match (part, is_any) {
            (Formula::Any(inner), true) | (Formula::All(inner), false) if !inner.is_empty() => {
                formulas.extend(inner);
            }
            (formula, _) => formulas.push(formula),
        }
    }
    formulas.sort();
    formulas.dedup();
    if formulas.len() == 1
        && let Some(only) = formulas.pop()
    {
        return only;
    }
    if is_any {
        Formula::Any(formulas)
    } else {
        Formula::All(formulas)
    }
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
    use crate::syntax::Syntax;
    use crate::validate::token::FlatTree;

    fn formula(text: &str) -> Formula {
        let text = format!("x = ({text})\n");
        let syntax = Syntax::parse(Language::Python, &text);
        let tree = FlatTree::new(&syntax, &text);
        Formula::of(&tree.tokens[2..], Language::Python)
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
            ("0 < a < b", "a < b and 0 < a", true, true),
            ("0 < a < b", "0 < a <= b", true, false),
            ("a if c else b", "(c and a) or (not c and b)", true, true),
            ("x", "x is not None", true, false),
            ("len(x) == 0", "not x", true, true),
            ("x is not None and len(x) > 0", "len(x) > 0", true, false),
        ] {
            let (a_formula, b_formula) = (formula(a), formula(b));
            assert_eq!(a_formula.implies(&b_formula), Some(forth), "{a} => {b}");
            assert_eq!(b_formula.implies(&a_formula), Some(back), "{b} => {a}");
        }
    }

    #[test]
    fn constants_are_seen_in_any_part() {
        for text in [
            "(a, b)",
            "a and (b, c)",
            "True",
            "a and (not True)",
            "a or 1 == 1",
            "x == x",
        ] {
            assert!(formula(text).has_constant(), "{text}");
        }
        for text in ["a == 1", "a is None", "x != x", "len(xs) == 0"] {
            assert!(!formula(text).has_constant(), "{text}");
        }
    }
}
