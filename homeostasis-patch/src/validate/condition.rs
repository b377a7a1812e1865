//! Conditions as formulas: what they say, however they are written.
//!
//! Negations are moved inward (De Morgan), comparisons are written one way round, and two formulas
//! are compared by trying every outcome of their comparisons.

use std::collections::{BTreeMap, BTreeSet};

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
    /// `===`, where `==` converts its sides first.
    Identical,
    Distinct,
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
                            Relation::Equal
                                | Relation::Identical
                                | Relation::LessOrEqual
                                | Relation::Less
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
        // Each pair of values is less, equal or greater: digits of a number in base three; and only
        // where both kinds of equality are asked, equal by conversion.
        let base = if mixes_equalities(self, other) {
            4
        } else {
            3_usize
        };
        let n_cases = base.checked_pow(u32::try_from(variables.len()).ok()?)?;
        Some((0..n_cases).all(|case| {
            let digit = |idx: usize| case / base.pow(u32::try_from(idx).unwrap_or(0)) % base;
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
                    && (0..4).all(|digit| !one.holds_at(digit) || two.holds_at(digit))
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
    pub(super) fn holds(left: String) -> Self {
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
            Relation::Identical => Relation::Distinct,
            Relation::Distinct => Relation::Identical,
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

    /// At 0 the first of the pair is less, at 1 equal, at 2 greater, at 3 equal only
    /// once converted; of one side alone 0 is false.
    fn holds_at(&self, digit: usize) -> bool {
        let in_order = self.left <= self.right;
        match self.relation {
            Relation::Holds => digit != 0,
            Relation::Fails => digit == 0,
            Relation::Equal => matches!(digit, 1 | 3),
            Relation::Unequal => !matches!(digit, 1 | 3),
            Relation::Identical => digit == 1,
            Relation::Distinct => digit != 1,
            Relation::Less => digit == if in_order { 0 } else { 2 },
            Relation::LessOrEqual => digit != if in_order { 2 } else { 0 },
        }
    }
}

/// The same two values are compared with `==` here and with `===` there.
fn mixes_equalities(one: &Formula, two: &Formula) -> bool {
    let (mut loose, mut strict) = (BTreeSet::new(), BTreeSet::new());
    for atom in one.atoms().into_iter().chain(two.atoms()) {
        match atom.relation {
            Relation::Equal | Relation::Unequal => loose.insert(atom.sides()),
            Relation::Identical | Relation::Distinct => strict.insert(atom.sides()),
            _ => continue,
        };
    }
    !loose.is_disjoint(&strict)
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
            !matches!(compared, 1 | 3) || !is_true
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

/// `a or b or c` if any of them is enough, `a and b and c` else.
pub(super) fn joined_formulas(parts: impl Iterator<Item = Formula>, is_any: bool) -> Formula {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Language;
    use crate::syntax::Syntax;
    use crate::validate::token::FlatTree;

    fn formula(text: &str) -> Formula {
        formula_of(Language::Python, text)
    }

    fn formula_of(language: Language, text: &str) -> Formula {
        let text = format!("x = ({text})\n");
        let syntax = Syntax::parse(language, &text);
        let tree = FlatTree::new(&syntax, &text);
        Formula::of(&tree.tokens[2..], language)
    }

    #[test]
    fn equality_by_conversion_is_the_weaker_one() {
        for (a, b, forth, back) in [
            ("a === b", "a == b", true, false),
            ("a === b", "b === a", true, true),
            ("a != b", "a !== b", true, false),
            ("!(a === b)", "a !== b", true, true),
            ("a === b && c", "a == b && c", true, false),
            ("a === b || a == b", "a == b", true, true),
            ("a == null", "!a", true, false),
            ("typeof a === 'string'", "typeof a == 'string'", true, true),
        ] {
            let of = |text| formula_of(Language::JavaScript, text);
            let (a_formula, b_formula) = (of(a), of(b));
            assert_eq!(a_formula.implies(&b_formula), Some(forth), "{a} => {b}");
            assert_eq!(b_formula.implies(&a_formula), Some(back), "{b} => {a}");
        }
        let many = |sign: &str| {
            let parts = (0..9).map(|n| format!("a{n} {sign} b{n}"));
            formula_of(
                Language::TypeScript,
                &parts.collect::<Vec<_>>().join(" && "),
            )
        };
        let (strict, loose) = (many("==="), many("=="));
        assert_eq!(strict.implies(&loose), Some(true));
        assert_ne!(loose.implies(&strict), Some(true));
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
