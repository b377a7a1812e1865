//! The parsed condition.

use std::collections::HashSet;
use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::error::{ConditionError, EvalError};
use super::quantity::Quantity;
use super::scope::{Scope, Variable};
use super::truth::Truth;
use super::unit::Unit;
use super::{evaluate, parse};

/// A condition over named values with units; see the module for its language.
///
/// `Display` gives a canonical text that parses to an equal condition; serde writes and reads that text.
/// Equality is that of meaning as written: white space, redundant parentheses around single terms, spelling of units and
/// case of keywords do not count.
#[derive(Debug, Clone)]
pub struct Condition {
    pub(super) text: String,
    pub(super) root: Expr,
}

impl Condition {
    /// The longest condition, in bytes.
    pub const MAX_LENGTH: usize = 4096;
    /// The deepest nesting of parentheses, `not` and signs.
    pub const MAX_DEPTH: usize = 32;

    /// Parses `text` and checks its units as far as the names of its variables tell them.
    ///
    /// # Errors
    /// - The text does not follow the grammar, or is longer or deeper than allowed.
    /// - A value stands where a condition is needed, or the reverse.
    /// - Units do not fit.
    pub fn parse(text: &str) -> Result<Self, ConditionError> {
        let condition = Self {
            root: parse::parse(text)?,
            text: text.to_owned(),
        };
        let n_bytes = condition.to_string().len();
        if n_bytes > Self::MAX_LENGTH {
            return Err(parse::too_long(text, n_bytes));
        }
        condition.check_units(|_| Unit::Unspecified)?;
        Ok(condition)
    }

    /// Checks that units fit, where `unit_of` gives the units of variables.
    ///
    /// [`Unit::Unspecified`] leaves a unit to the variable's name, and what that does not tell fits everything.
    ///
    /// # Errors
    /// The first two values whose units do not convert into each other; the error points at the second.
    pub fn check_units(&self, unit_of: impl Fn(&Variable) -> Unit) -> Result<(), ConditionError> {
        evaluate::check_units(self, &unit_of)
    }

    /// The variables of the condition, each once, in the order of first use.
    pub fn variables(&self) -> impl Iterator<Item = &Variable> {
        let mut all = Vec::new();
        self.root.collect_variables(&mut all);
        let mut seen = HashSet::new();
        all.retain(|variable| seen.insert(*variable));
        all.into_iter()
    }

    /// Whether it asks anywhere for more or less, and not only for what is equal, different or one of a list. O(length).
    pub fn asks_for_order(&self) -> bool {
        self.root.asks_for_order()
    }

    /// Whether the condition holds for the values of `scope`.
    ///
    /// Every part is evaluated, so that an error does not depend on the other values.
    /// Takes time linear in the length of the condition, and one lookup for each use of a variable.
    ///
    /// # Errors
    /// - A value is of the wrong kind, such as text where a number is needed.
    /// - Units do not convert into each other, or a unit that is needed is not known.
    pub fn evaluate(&self, scope: &dyn Scope) -> Result<Truth, EvalError> {
        evaluate::condition(&self.root, scope)
    }
}

impl PartialEq for Condition {
    fn eq(&self, other: &Self) -> bool {
        self.root == other.root
    }
}

impl FromStr for Condition {
    type Err = ConditionError;

    fn from_str(text: &str) -> Result<Self, ConditionError> {
        Self::parse(text)
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.root.fmt(f)
    }
}

impl Serialize for Condition {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Condition {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// A part of a condition and its place in the text; equality ignores places.
#[derive(Debug, Clone)]
pub(super) struct Expr {
    pub(super) kind: Kind,
    pub(super) span: Range<usize>,
}

impl PartialEq for Expr {
    fn eq(&self, other: &Self) -> bool {
        self.kind == other.kind
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Kind {
    Or(Vec<Expr>),
    And(Vec<Expr>),
    Not(Box<Expr>),
    Compare(Box<Expr>, Comparison, Box<Expr>),
    In {
        value: Box<Expr>,
        is_negated: bool,
        items: Vec<Expr>,
    },
    /// A first term, and further ones with whether they are subtracted.
    Sum(Box<Expr>, Vec<(bool, Expr)>),
    /// A first factor, and further ones with whether they divide.
    Product(Box<Expr>, Vec<(bool, Expr)>),
    Negative(Box<Expr>),
    Literal(Quantity),
    Variable(Variable),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Equal,
    NotEqual,
}

impl Comparison {
    pub(super) const ALL: [Self; 6] = [
        Self::Less,
        Self::LessOrEqual,
        Self::Greater,
        Self::GreaterOrEqual,
        Self::Equal,
        Self::NotEqual,
    ];

    pub(super) fn symbol(self) -> &'static str {
        match self {
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
            Self::Equal => "==",
            Self::NotEqual => "!=",
        }
    }

    pub(super) fn is_order(self) -> bool {
        !matches!(self, Self::Equal | Self::NotEqual)
    }
}

impl Expr {
    /// How tightly the outermost operator binds.
    fn precedence(&self) -> u8 {
        match self.kind {
            Kind::Or(_) => 0,
            Kind::And(_) => 1,
            Kind::Not(_) => 2,
            Kind::Compare(..) | Kind::In { .. } => 3,
            Kind::Sum(..) => 4,
            Kind::Product(..) => 5,
            Kind::Negative(_) => 6,
            Kind::Literal(_) | Kind::Variable(_) => 7,
        }
    }

    /// Writes this part where an operator needs operands that bind at least as tightly as `least`.
    fn write(&self, least: u8, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.precedence() < least {
            write!(f, "({self})")
        } else {
            write!(f, "{self}")
        }
    }

    fn asks_for_order(&self) -> bool {
        match &self.kind {
            Kind::Or(parts) | Kind::And(parts) => parts.iter().any(Self::asks_for_order),
            Kind::Not(part) => part.asks_for_order(),
            Kind::Compare(_, comparison, _) => comparison.is_order(),
            _ => false,
        }
    }

    fn collect_variables<'a>(&'a self, found: &mut Vec<&'a Variable>) {
        match &self.kind {
            Kind::Or(parts) | Kind::And(parts) => {
                for part in parts {
                    part.collect_variables(found);
                }
            }
            Kind::Not(part) | Kind::Negative(part) | Kind::In { value: part, .. } => {
                part.collect_variables(found);
            }
            Kind::Compare(left, _, right) => {
                left.collect_variables(found);
                right.collect_variables(found);
            }
            Kind::Sum(first, rest) | Kind::Product(first, rest) => {
                first.collect_variables(found);
                for (_, part) in rest {
                    part.collect_variables(found);
                }
            }
            Kind::Literal(_) => {}
            Kind::Variable(variable) => found.push(variable),
        }
    }
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let own = self.precedence();
        let joined = |parts: &[Expr], word: &str, f: &mut fmt::Formatter<'_>| {
            parts.iter().enumerate().try_for_each(|(idx, part)| {
                f.write_str(if idx > 0 { word } else { "" })?;
                part.write(own + 1, f)
            })
        };
        match &self.kind {
            Kind::Or(parts) => joined(parts, " or ", f),
            Kind::And(parts) => joined(parts, " and ", f),
            Kind::Not(part) => {
                f.write_str("not ")?;
                part.write(own, f)
            }
            Kind::Compare(left, comparison, right) => {
                left.write(own + 1, f)?;
                write!(f, " {} ", comparison.symbol())?;
                right.write(own + 1, f)
            }
            Kind::In {
                value,
                is_negated,
                items,
            } => {
                value.write(own + 1, f)?;
                f.write_str(if *is_negated { " not in [" } else { " in [" })?;
                joined(items, ", ", f)?;
                f.write_str("]")
            }
            Kind::Sum(first, rest) => {
                first.write(own + 1, f)?;
                rest.iter().try_for_each(|(is_subtracted, part)| {
                    f.write_str(if *is_subtracted { " - " } else { " + " })?;
                    part.write(own + 1, f)
                })
            }
            Kind::Product(first, rest) => {
                first.write(own + 1, f)?;
                rest.iter().try_for_each(|(divides, part)| {
                    f.write_str(if *divides { " / " } else { " * " })?;
                    part.write(own + 1, f)
                })
            }
            Kind::Negative(part) => {
                f.write_str("-")?;
                part.write(own, f)
            }
            Kind::Literal(quantity) => quantity.fmt(f),
            Kind::Variable(variable) => variable.fmt(f),
        }
    }
}
