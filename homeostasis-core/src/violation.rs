//! What is wrong with a configuration, a playbook or a rule file: the place, the value and what was expected.
//!
//! A person who mends a file wants to see everything that is wrong with it at once.
//! So checks do not stop at the first problem: they push each [`Violation`] into [`Violations`] and turn the
//! collection into a [`ConfigError`] at the end.

use std::error::Error;
use std::fmt;

/// The longest value kept in a [`Violation`], in characters.
const MAX_VALUE_CHARS: usize = 80;

/// One thing that is wrong: where it stands, what is written there and what was expected.
///
/// # Examples
/// ```
/// use homeostasis::core::Violation;
///
/// let violation = Violation::new("remediation_steps[1].timeout", "\"5x\"", "a duration such as 300ms, 30s, 5m")
///     .in_source("playbooks/disk.yaml")
///     .at(12, 14);
/// assert_eq!(
///     violation.to_string(),
///     "playbooks/disk.yaml:12:14: remediation_steps[1].timeout = \"5x\", \
///      expected a duration such as 300ms, 30s, 5m",
/// );
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Violation {
    /// The file the value stands in, where there is one.
    pub source: Option<String>,
    /// The way to the value, such as `playbook.remediation_steps[2].timeout`; empty for the whole document.
    pub path: String,
    /// The line of the value, counted from 1, where it is known.
    pub line: Option<u32>,
    /// The column of the value, counted from 1 in characters, where it is known.
    pub column: Option<u32>,
    /// The value as written, cut to 80 characters; empty where there is no value at all.
    pub value: String,
    /// What was expected instead, such as `0 < alpha <= 1`.
    pub expected: String,
}

impl Violation {
    /// A violation without a known place in a file.
    ///
    /// `value` is cut to 80 characters, the last of which is then an ellipsis; control characters are escaped so that
    /// the message stays on one line.
    /// An empty `value` says that nothing is there: the message then reads *is missing*.
    pub fn new(
        path: impl Into<String>,
        value: impl fmt::Display,
        expected: impl Into<String>,
    ) -> Self {
        Self {
            source: None,
            path: path.into(),
            line: None,
            column: None,
            value: on_one_line(&value.to_string()),
            expected: expected.into(),
        }
    }

    /// The same violation in the file `source`.
    #[must_use]
    pub fn in_source(mut self, source: impl Into<String>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The same violation at `line` and `column`, both counted from 1.
    #[must_use]
    pub fn at(mut self, line: u32, column: u32) -> Self {
        self.line = Some(line);
        self.column = Some(column);
        self
    }

    /// The same violation with its path below `prefix`: `alpha` under `detect.ewma` is `detect.ewma.alpha`.
    #[must_use]
    pub fn under(mut self, prefix: &str) -> Self {
        if self.path.is_empty() {
            prefix.clone_into(&mut self.path);
        } else if !prefix.is_empty() {
            let dot = if self.path.starts_with('[') { "" } else { "." };
            self.path = format!("{prefix}{dot}{}", self.path);
        }
        self
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(source) = &self.source {
            write!(f, "{source}:")?;
        } else if self.line.is_some() {
            f.write_str("line ")?;
        }
        if let Some(line) = self.line {
            write!(f, "{line}:")?;
            if let Some(column) = self.column {
                write!(f, "{column}:")?;
            }
        }
        if self.source.is_some() || self.line.is_some() {
            f.write_str(" ")?;
        }
        let path = if self.path.is_empty() {
            "document"
        } else {
            &self.path
        };
        if self.value.is_empty() {
            write!(f, "{path} is missing, expected {}", self.expected)
        } else {
            write!(f, "{path} = {}, expected {}", self.value, self.expected)
        }
    }
}

/// Cuts `value` to its limit and escapes control characters.
fn on_one_line(value: &str) -> String {
    let mut line = String::with_capacity(value.len().min(MAX_VALUE_CHARS * 4));
    let mut n_chars = 0;
    for c in value.chars() {
        let width = if c.is_control() {
            c.escape_default().count()
        } else {
            1
        };
        if n_chars + width > MAX_VALUE_CHARS {
            while n_chars >= MAX_VALUE_CHARS {
                line.pop();
                n_chars -= 1;
            }
            line.push('…');
            break;
        }
        n_chars += width;
        if c.is_control() {
            line.extend(c.escape_default());
        } else {
            line.push(c);
        }
    }
    line
}

/// A configuration that cannot be used, with everything that is wrong with it.
///
/// It holds at least one [`Violation`], sorted by source, line and column; those without a line keep their order and
/// come first.
/// `Display` prints one violation per line.
///
/// # Examples
/// ```
/// use homeostasis::core::ConfigError;
///
/// let error = ConfigError::single("detect.ewma.alpha", 1.7, "0 < alpha <= 1");
/// assert_eq!(error.to_string(), "detect.ewma.alpha = 1.7, expected 0 < alpha <= 1");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConfigError {
    violations: Vec<Violation>,
}

impl ConfigError {
    /// An error with one violation that has no place in a file.
    pub fn single(
        path: impl Into<String>,
        value: impl fmt::Display,
        expected: impl Into<String>,
    ) -> Self {
        Violation::new(path, value, expected).into()
    }

    /// Everything that is wrong, in the order of the file; never empty.
    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }

    /// The same error with every path below `prefix`.
    #[must_use]
    pub fn under(mut self, prefix: &str) -> Self {
        self.violations = self
            .violations
            .into_iter()
            .map(|v| v.under(prefix))
            .collect();
        self
    }
}

impl From<Violation> for ConfigError {
    fn from(violation: Violation) -> Self {
        Self {
            violations: vec![violation],
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (idx, violation) in self.violations.iter().enumerate() {
            if idx > 0 {
                f.write_str("\n")?;
            }
            violation.fmt(f)?;
        }
        Ok(())
    }
}

impl Error for ConfigError {}

impl IntoIterator for ConfigError {
    type Item = Violation;
    type IntoIter = std::vec::IntoIter<Violation>;

    fn into_iter(self) -> Self::IntoIter {
        self.violations.into_iter()
    }
}

/// Collects violations while a configuration is checked.
///
/// # Examples
/// ```
/// use homeostasis::core::{ConfigError, Violation, Violations};
///
/// fn check(alpha: f64, window: u32) -> Result<(f64, u32), ConfigError> {
///     let mut violations = Violations::new();
///     if !(alpha > 0.0 && alpha <= 1.0) {
///         violations.push(Violation::new("alpha", alpha, "0 < alpha <= 1"));
///     }
///     if window == 0 {
///         violations.push(Violation::new("window", window, "at least 1 sample"));
///     }
///     violations.into_result((alpha, window))
/// }
/// assert!(check(0.3, 10).is_ok());
/// assert_eq!(check(1.7, 0).unwrap_err().violations().len(), 2);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Violations {
    found: Vec<Violation>,
}

impl Violations {
    /// Nothing found yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one violation.
    pub fn push(&mut self, violation: Violation) {
        self.found.push(violation);
    }

    /// Adds all of `other`: another collection or a [`ConfigError`] of a nested check.
    pub fn merge(&mut self, other: impl IntoIterator<Item = Violation>) {
        self.found.extend(other);
    }

    /// Keeps the value of a nested check, or its violations.
    pub fn absorb<T>(&mut self, checked: Result<T, ConfigError>) -> Option<T> {
        match checked {
            Ok(value) => Some(value),
            Err(error) => {
                self.merge(error);
                None
            }
        }
    }

    /// Whether nothing was found.
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// How many violations were found.
    pub fn len(&self) -> usize {
        self.found.len()
    }

    /// What was found so far, in the order of finding.
    pub fn iter(&self) -> std::slice::Iter<'_, Violation> {
        self.found.iter()
    }

    /// The error that holds everything found; `None` when nothing was.
    pub fn into_error(mut self) -> Option<ConfigError> {
        self.found
            .sort_by(|a, b| (&a.source, a.line, a.column).cmp(&(&b.source, b.line, b.column)));
        (!self.found.is_empty()).then_some(ConfigError {
            violations: self.found,
        })
    }

    /// `value` when nothing was found.
    ///
    /// # Errors
    /// Everything that was found.
    pub fn into_result<T>(self, value: T) -> Result<T, ConfigError> {
        self.into_error().map_or(Ok(value), Err)
    }
}

impl Extend<Violation> for Violations {
    fn extend<I: IntoIterator<Item = Violation>>(&mut self, violations: I) {
        self.found.extend(violations);
    }
}

impl IntoIterator for Violations {
    type Item = Violation;
    type IntoIter = std::vec::IntoIter<Violation>;

    fn into_iter(self) -> Self::IntoIter {
        self.found.into_iter()
    }
}

impl<'a> IntoIterator for &'a Violations {
    type Item = &'a Violation;
    type IntoIter = std::slice::Iter<'a, Violation>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_violation_names_file_place_path_value_and_expectation() {
        let violation = Violation::new("a.b[1]", "\"5x\"", "a duration")
            .in_source("x.yaml")
            .at(12, 14);
        assert_eq!(
            violation.to_string(),
            "x.yaml:12:14: a.b[1] = \"5x\", expected a duration"
        );
    }

    #[test]
    fn a_violation_without_a_file_says_line() {
        let violation = Violation::new("a", 5, "a string").at(2, 3);
        assert_eq!(violation.to_string(), "line 2:3: a = 5, expected a string");
    }

    #[test]
    fn a_missing_value_reads_as_missing() {
        let violation = Violation::new("playbook.name", "", "a non-empty string");
        assert_eq!(
            violation.to_string(),
            "playbook.name is missing, expected a non-empty string"
        );
    }

    #[test]
    fn the_whole_document_has_a_name() {
        assert_eq!(
            Violation::new("", 5, "a mapping").to_string(),
            "document = 5, expected a mapping"
        );
    }

    #[test]
    fn a_long_value_is_cut_to_eighty_characters() {
        let violation = Violation::new("a", "é".repeat(81), "less");
        assert_eq!(violation.value.chars().count(), 80);
        assert!(violation.value.ends_with('…'));
        assert_eq!(
            Violation::new("a", "é".repeat(80), "less").value,
            "é".repeat(80)
        );
    }

    #[test]
    fn a_value_with_line_breaks_stays_on_one_line() {
        assert_eq!(
            Violation::new("a", "x\ny\u{1b}", "less").value,
            "x\\ny\\u{1b}"
        );
        let long = Violation::new("a", "\u{1b}".repeat(40), "less").value;
        assert!(long.chars().count() <= 80 && long.ends_with('…'), "{long}");
    }

    #[test]
    fn an_error_lists_its_violations_in_the_order_of_the_file() {
        let mut violations = Violations::new();
        violations.push(Violation::new("late", 1, "2").at(9, 1));
        violations.push(Violation::new("early", 1, "2").at(2, 8));
        violations.push(Violation::new("nowhere", 1, "2"));
        violations.push(Violation::new("earlier", 1, "2").at(2, 3));
        let error = violations.into_result(()).unwrap_err();
        let paths: Vec<_> = error.violations().iter().map(|v| v.path.as_str()).collect();
        assert_eq!(paths, ["nowhere", "earlier", "early", "late"]);
        assert_eq!(error.to_string().lines().count(), 4);
    }

    #[test]
    fn no_violation_gives_the_value() {
        assert_eq!(Violations::new().into_result(7), Ok(7));
        assert!(Violations::new().into_error().is_none());
    }

    #[test]
    fn a_nested_error_moves_under_its_parent() {
        let mut violations = Violations::new();
        let nested: Result<(), _> = Err(ConfigError::single("alpha", 2, "less").under("detect"));
        assert_eq!(violations.absorb(nested), None);
        violations.merge(ConfigError::single("[2]", 2, "less").under("steps"));
        violations.merge(ConfigError::single("", 2, "less").under("whole"));
        let paths: Vec<_> = violations.iter().map(|v| v.path.as_str()).collect();
        assert_eq!(paths, ["detect.alpha", "steps[2]", "whole"]);
    }

    #[test]
    fn errors_are_send_sync_and_static() {
        fn check<T: Send + Sync + 'static>() {}
        check::<ConfigError>();
        check::<Violations>();
    }
}
