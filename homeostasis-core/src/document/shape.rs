//! What a single value should look like: text, a number in a range, a duration, one of several names.

use std::fmt::{self, Debug, Display};
use std::marker::PhantomData;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use super::duration::{format_duration, parse_duration};
use super::node::{Node, Value};
use super::suggestion::nearest;
use crate::violation::{ConfigError, Violations};

/// How to read a [`Node`] into a value of the caller.
///
/// A shape never stops at the first problem: it pushes every violation it finds and gives `None` when there is no value.
pub trait Shape {
    /// What is read.
    type Output;

    /// Reads `node`, which stands at `path`; pushes at least one violation when it gives `None`.
    fn read(&self, node: &Node, path: &str, violations: &mut Violations) -> Option<Self::Output>;

    /// What is expected, in words, such as `an integer between 1 and 10`.
    fn expected(&self) -> String;
}

impl<S: Shape + ?Sized> Shape for &S {
    type Output = S::Output;

    fn read(&self, node: &Node, path: &str, violations: &mut Violations) -> Option<S::Output> {
        (**self).read(node, path, violations)
    }

    fn expected(&self) -> String {
        (**self).expected()
    }
}

/// Reads a whole document.
///
/// # Errors
/// Everything that is wrong with it, in the order of the document.
pub fn decode<S: Shape>(node: &Node, shape: S) -> Result<S::Output, ConfigError> {
    decode_at(node, "", &shape)
}

pub(super) fn decode_at<S: Shape>(
    node: &Node,
    path: &str,
    shape: &S,
) -> Result<S::Output, ConfigError> {
    let mut violations = Violations::new();
    let value = shape.read(node, path, &mut violations);
    match (violations.into_error(), value) {
        (Some(error), _) => Err(error),
        (None, Some(value)) => Ok(value),
        // A shape of the caller gave up without saying why.
        (None, None) => Err(node.violation(path, shape.expected()).into()),
    }
}

/// Pushes that `node` is not what was expected.
pub(super) fn refuse<T>(
    node: &Node,
    path: &str,
    expected: String,
    violations: &mut Violations,
) -> Option<T> {
    violations.push(node.violation(path, expected));
    None
}

/// See [`string`] and [`non_empty_string`].
#[derive(Debug, Clone, Copy)]
pub struct Text {
    may_be_empty: bool,
}

/// Any string; numbers and booleans must be in quotes.
pub fn string() -> Text {
    Text { may_be_empty: true }
}

/// A string with something other than white space in it.
pub fn non_empty_string() -> Text {
    Text {
        may_be_empty: false,
    }
}

impl Shape for Text {
    type Output = String;

    fn read(&self, node: &Node, path: &str, violations: &mut Violations) -> Option<String> {
        match node.value() {
            Value::String(text) if self.may_be_empty || !text.trim().is_empty() => {
                Some(text.clone())
            }
            Value::Int(_) | Value::Float(_) | Value::Bool(_) => refuse(
                node,
                path,
                format!("{} (put it in quotes)", self.expected()),
                violations,
            ),
            _ => refuse(node, path, self.expected(), violations),
        }
    }

    fn expected(&self) -> String {
        if self.may_be_empty {
            "a string"
        } else {
            "a non-empty string"
        }
        .to_owned()
    }
}

/// See [`boolean`].
#[derive(Debug, Clone, Copy)]
pub struct Boolean;

/// `true` or `false`; `yes` and `no` are strings in YAML 1.2 and refused.
pub fn boolean() -> Boolean {
    Boolean
}

impl Shape for Boolean {
    type Output = bool;

    fn read(&self, node: &Node, path: &str, violations: &mut Violations) -> Option<bool> {
        match node.value() {
            Value::Bool(value) => Some(*value),
            _ => refuse(node, path, self.expected(), violations),
        }
    }

    fn expected(&self) -> String {
        "true or false".to_owned()
    }
}

/// See [`integer`].
#[derive(Debug, Clone)]
pub struct Integer<T> {
    range: RangeInclusive<T>,
}

/// An integer in `range`, both ends included.
pub fn integer<T>(range: RangeInclusive<T>) -> Integer<T>
where
    T: TryFrom<i128> + PartialOrd + Display,
{
    Integer { range }
}

impl<T: TryFrom<i128> + PartialOrd + Display> Shape for Integer<T> {
    type Output = T;

    fn read(&self, node: &Node, path: &str, violations: &mut Violations) -> Option<T> {
        let read = match node.value() {
            Value::Int(value) => T::try_from(*value)
                .ok()
                .filter(|value| self.range.contains(value)),
            _ => None,
        };
        match read {
            Some(value) => Some(value),
            None => refuse(node, path, self.expected(), violations),
        }
    }

    fn expected(&self) -> String {
        format!(
            "an integer between {} and {}",
            self.range.start(),
            self.range.end()
        )
    }
}

/// See [`float`].
#[derive(Debug, Clone)]
pub struct Float {
    range: RangeInclusive<f64>,
}

/// A finite number in `range`, both ends included; integers count.
pub fn float(range: RangeInclusive<f64>) -> Float {
    Float { range }
}

impl Shape for Float {
    type Output = f64;

    fn read(&self, node: &Node, path: &str, violations: &mut Violations) -> Option<f64> {
        let value = match node.value() {
            Value::Int(value) => *value as f64,
            Value::Float(value) => *value,
            _ => f64::NAN,
        };
        if value.is_finite() && self.range.contains(&value) {
            Some(value)
        } else {
            refuse(node, path, self.expected(), violations)
        }
    }

    fn expected(&self) -> String {
        let (start, end) = (self.range.start(), self.range.end());
        match (*start <= f64::MIN, *end >= f64::MAX) {
            (true, true) => "a number".to_owned(),
            (false, true) => format!("a number of at least {start}"),
            (true, false) => format!("a number of at most {end}"),
            (false, false) => format!("a number between {start} and {end}"),
        }
    }
}

/// See [`ratio`].
#[derive(Debug, Clone)]
pub struct RatioShape {
    range: RangeInclusive<f64>,
}

/// A ratio in `range`, both ends included, written as a percentage (`5%`) or as a number (`0.05`); both read as 0.05.
pub fn ratio(range: RangeInclusive<f64>) -> RatioShape {
    RatioShape { range }
}

impl Shape for RatioShape {
    type Output = f64;

    fn read(&self, node: &Node, path: &str, violations: &mut Violations) -> Option<f64> {
        let value = match node.value() {
            Value::Int(value) => Some(*value as f64),
            Value::Float(value) => Some(*value),
            Value::String(text) => text
                .trim()
                .strip_suffix('%')
                .map(str::trim_end)
                .filter(|number| number.ends_with(|c: char| c.is_ascii_digit()))
                // Shifting the decimal point rounds once; dividing by 100 would round twice.
                .and_then(|number| format!("{number}e-2").parse().ok()),
            _ => None,
        };
        match value.filter(|value| value.is_finite() && self.range.contains(value)) {
            Some(value) => Some(value),
            None => refuse(node, path, self.expected(), violations),
        }
    }

    fn expected(&self) -> String {
        format!(
            "a ratio such as 5% or 0.05, between {} and {}",
            self.range.start(),
            self.range.end()
        )
    }
}

/// See [`duration`] and [`any_duration`].
#[derive(Debug, Clone)]
pub struct DurationShape {
    range: RangeInclusive<Duration>,
}

/// A duration in `range`, both ends included, as [`parse_duration`] reads it: `300ms`, `30s`, `1h30m`, `7_days`.
pub fn duration(range: RangeInclusive<Duration>) -> DurationShape {
    DurationShape { range }
}

/// A duration of any length.
pub fn any_duration() -> DurationShape {
    DurationShape {
        range: Duration::ZERO..=Duration::MAX,
    }
}

impl Shape for DurationShape {
    type Output = Duration;

    fn read(&self, node: &Node, path: &str, violations: &mut Violations) -> Option<Duration> {
        let read = match node.value() {
            Value::String(text) => parse_duration(text),
            Value::Int(0) => Some(Duration::ZERO),
            _ => None,
        };
        match read.filter(|value| self.range.contains(value)) {
            Some(value) => Some(value),
            None => refuse(node, path, self.expected(), violations),
        }
    }

    fn expected(&self) -> String {
        let example = "a duration such as 300ms, 30s, 5m";
        let (start, end) = (*self.range.start(), *self.range.end());
        match (start.is_zero(), end == Duration::MAX) {
            (true, true) => example.to_owned(),
            (false, true) => format!("{example}, of at least {}", format_duration(start)),
            _ => format!(
                "{example}, between {} and {}",
                format_duration(start),
                format_duration(end)
            ),
        }
    }
}

/// See [`one_of`].
#[derive(Debug, Clone, Copy)]
pub struct OneOf<'a, T> {
    choices: &'a [(&'a str, T)],
}

/// One of the named `choices`, without regard to case.
pub fn one_of<'a, T: Clone>(choices: &'a [(&'a str, T)]) -> OneOf<'a, T> {
    OneOf { choices }
}

impl<T: Clone> Shape for OneOf<'_, T> {
    type Output = T;

    fn read(&self, node: &Node, path: &str, violations: &mut Violations) -> Option<T> {
        let Some(text) = node.as_str() else {
            return refuse(node, path, self.expected(), violations);
        };
        let choice = self
            .choices
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(text));
        if let Some((_, value)) = choice {
            return Some(value.clone());
        }
        let written = node.written();
        let suggestion = nearest(
            written.trim_matches('"'),
            self.choices.iter().map(|(name, _)| *name),
        );
        let expected = with_suggestion(self.expected(), suggestion);
        refuse(node, path, expected, violations)
    }

    fn expected(&self) -> String {
        format!(
            "one of {}",
            names(self.choices.iter().map(|(name, _)| *name))
        )
    }
}

pub(super) fn names<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names
        .map(|name| format!("`{name}`"))
        .collect::<Vec<_>>()
        .join(", ")
}

pub(super) fn with_suggestion(expected: String, suggestion: Option<&str>) -> String {
    match suggestion {
        Some(name) => format!("{expected}; did you mean `{name}`?"),
        None => expected,
    }
}

/// See [`parsed`].
pub struct Parsed<T> {
    expected: &'static str,
    target: PhantomData<fn() -> T>,
}

impl<T> Debug for Parsed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parsed")
            .field("expected", &self.expected)
            .finish()
    }
}

/// A string that `T` parses, such as a condition; `expected` says in words what it is.
///
/// The violation holds the first line of the parser's message after `expected`.
/// A string with variables filled in is reported without that message, which could repeat their values.
pub fn parsed<T>(expected: &'static str) -> Parsed<T>
where
    T: FromStr,
    T::Err: Display,
{
    Parsed {
        expected,
        target: PhantomData,
    }
}

impl<T> Shape for Parsed<T>
where
    T: FromStr,
    T::Err: Display,
{
    type Output = T;

    fn read(&self, node: &Node, path: &str, violations: &mut Violations) -> Option<T> {
        let Some(text) = node.as_str() else {
            return refuse(node, path, self.expected(), violations);
        };
        match text.parse() {
            Ok(value) => Some(value),
            Err(error) => {
                let message = error.to_string();
                let is_filled_in = node
                    .written
                    .as_ref()
                    .is_some_and(|written| **written != *text);
                let expected = if is_filled_in {
                    self.expected()
                } else {
                    let message = message.lines().next().unwrap_or_default();
                    format!("{} ({message})", self.expected)
                };
                refuse(node, path, expected, violations)
            }
        }
    }

    fn expected(&self) -> String {
        self.expected.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::{Parser, list};

    fn read<S: Shape>(text: &str, shape: S) -> Result<S::Output, String> {
        let node = Parser::new().parse(text).unwrap();
        decode(&node, shape).map_err(|error| error.to_string())
    }

    fn refused<S: Shape>(text: &str, shape: S) -> String
    where
        S::Output: Debug,
    {
        read(text, shape).unwrap_err()
    }

    #[test]
    fn scalars_of_the_right_shape_are_read() {
        assert_eq!(read("abc", string()).unwrap(), "abc");
        assert_eq!(read("''", string()).unwrap(), "");
        assert!(read("true", boolean()).unwrap());
        assert_eq!(read("5", integer(0_u8..=5)).unwrap(), 5);
        assert_eq!(read("0x10", integer(0_usize..=100)).unwrap(), 16);
        assert_eq!(read("5", float(0.0..=5.0)).unwrap(), 5.0);
        assert_eq!(read("1e-3", float(0.0..=5.0)).unwrap(), 0.001);
        assert_eq!(read("5%", ratio(0.0..=1.0)).unwrap(), 0.05);
        assert_eq!(read("0.05", ratio(0.0..=1.0)).unwrap(), 0.05);
        assert_eq!(read("99.9 %", ratio(0.0..=1.0)).unwrap(), 0.999);
        assert_eq!(
            read("7_days", any_duration()).unwrap(),
            Duration::from_secs(604_800)
        );
        assert_eq!(read("0", any_duration()).unwrap(), Duration::ZERO);
        assert_eq!(
            read("SEV1", one_of(&[("sev0", 0), ("sev1", 1)])).unwrap(),
            1
        );
        assert_eq!(
            read("10.0.0.1", parsed::<std::net::Ipv4Addr>("an IPv4 address"))
                .unwrap()
                .octets()[3],
            1
        );
    }

    #[test]
    fn every_kind_of_scalar_error_names_value_and_expectation() {
        assert_eq!(
            refused("5", string()),
            "line 1:1: document = 5, expected a string (put it in quotes)"
        );
        assert_eq!(
            refused("' '", non_empty_string()),
            "line 1:1: document = \" \", expected a non-empty string"
        );
        assert_eq!(
            refused("yes", boolean()),
            "line 1:1: document = \"yes\", expected true or false"
        );
        assert_eq!(
            refused("300", integer(0_u8..=200)),
            "line 1:1: document = 300, expected an integer between 0 and 200"
        );
        assert_eq!(
            refused("-1", integer(0_u64..=9)),
            "line 1:1: document = -1, expected an integer between 0 and 9"
        );
        assert_eq!(
            refused("1.0", integer(0..=9)),
            "line 1:1: document = 1.0, expected an integer between 0 and 9"
        );
        assert_eq!(
            refused(".nan", float(0.0..=1.0)),
            "line 1:1: document = .nan, expected a number between 0 and 1"
        );
        assert_eq!(
            refused("-1", float(0.0..=f64::MAX)),
            "line 1:1: document = -1, expected a number of at least 0"
        );
        assert_eq!(
            refused("5", ratio(0.0..=1.0)),
            "line 1:1: document = 5, expected a ratio such as 5% or 0.05, between 0 and 1"
        );
        assert_eq!(
            refused("inf%", ratio(0.0..=1.0)),
            "line 1:1: document = \"inf%\", expected a ratio such as 5% or 0.05, between 0 and 1"
        );
        assert_eq!(
            refused("5", any_duration()),
            "line 1:1: document = 5, expected a duration such as 300ms, 30s, 5m"
        );
        assert_eq!(
            refused("1ms", duration(Duration::from_secs(1)..=Duration::MAX)),
            "line 1:1: document = \"1ms\", expected a duration such as 300ms, 30s, 5m, of at least 1s"
        );
        assert_eq!(
            refused("sve1", one_of(&[("sev0", 0), ("sev1", 1)])),
            "line 1:1: document = \"sve1\", expected one of `sev0`, `sev1`; did you mean `sev1`?"
        );
        assert_eq!(
            refused("x", parsed::<std::net::Ipv4Addr>("an IPv4 address")),
            "line 1:1: document = \"x\", expected an IPv4 address (invalid IPv4 address syntax)"
        );
    }

    #[test]
    fn values_of_variables_stay_out_of_errors() {
        let lookup = |_: &str| Some("hunter2".to_owned());
        let node = Parser::new().variables(&lookup).parse("${SECRET}").unwrap();
        for message in [
            decode(&node, integer(0..=1)).unwrap_err().to_string(),
            decode(&node, any_duration()).unwrap_err().to_string(),
            decode(&node, one_of(&[("hunter1x", ())]))
                .unwrap_err()
                .to_string(),
            decode(&node, list(string())).unwrap_err().to_string(),
            decode(&node, parsed::<f64>("a number"))
                .unwrap_err()
                .to_string(),
        ] {
            assert!(message.contains("${SECRET}"), "{message}");
            assert!(
                !message.contains("hunter2") && !message.contains("did you mean"),
                "{message}"
            );
        }
    }
}
