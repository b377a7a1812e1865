//! What is wrong with a condition, with its place.

use std::error::Error;
use std::fmt;
use std::ops::Range;

/// A condition that does not parse, or whose units do not fit.
///
/// The first line of `Display` says what was found and expected; the condition and a line of carets follow.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConditionError {
    /// The condition as written.
    pub text: String,
    /// The bytes of `text` at fault; on character boundaries, and empty at the end of the text.
    pub span: Range<usize>,
    /// What stands there.
    pub found: String,
    /// What was expected instead.
    pub expected: String,
}

impl fmt::Display for ConditionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "found {}, expected {}", self.found, self.expected)?;
        show(&self.text, &self.span, f)
    }
}

impl Error for ConditionError {}

/// Shows up to 60 characters around `span` with carets below it.
fn show(text: &str, span: &Range<usize>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let before: Vec<char> = text.get(..span.start).unwrap_or_default().chars().collect();
    let inside = text.get(span.clone()).unwrap_or_default().chars().count();
    let skipped = before.len().saturating_sub(60);
    let shown = text
        .chars()
        .skip(skipped)
        .take(120)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect::<String>();
    let margin = " ".repeat(before.len() - skipped);
    let carets = "^".repeat(inside.clamp(1, 60));
    write!(f, "\n  {}\n  {margin}{carets}", shown.trim_end())
}

/// A condition that cannot be evaluated because the values of its scope do not fit it.
///
/// Missing values are no error: they make the condition unknown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EvalError {
    /// A value is of the wrong kind, such as text where a number is needed.
    #[error("`{place}` is {found}, expected {expected}")]
    WrongKind {
        /// The part of the condition at fault.
        place: String,
        /// The kind it has.
        found: &'static str,
        /// The kind it should have.
        expected: &'static str,
    },
    /// Two values have units that do not convert into each other.
    #[error("`{place}` has the unit {found}, expected one that converts to {expected}")]
    IncompatibleUnits {
        /// The part of the condition at fault.
        place: String,
        /// Its unit.
        found: String,
        /// The unit of the other operand.
        expected: String,
    },
    /// The unit of a value is needed and neither the scope nor the variable's name tells it.
    #[error("`{place}` has no known unit, expected one that converts to {expected}")]
    UnknownUnit {
        /// The part of the condition at fault.
        place: String,
        /// The unit of the other operand.
        expected: String,
    },
}
