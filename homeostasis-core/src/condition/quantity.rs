//! Values with units.

use std::fmt;

use super::unit::Unit;

/// A value without its unit.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Scalar {
    /// A number; NaN is an unknown value.
    Number(f64),
    /// True or false.
    Bool(bool),
    /// Text.
    Text(String),
}

/// The value of a variable and its unit.
///
/// # Examples
/// ```
/// use homeostasis::core::condition::{Quantity, Unit};
///
/// let free = Quantity::number(3.5).in_unit(Unit::Gigabyte);
/// assert_eq!(free.to_string(), "3.5GB");
/// assert_eq!(Quantity::from("degraded").to_string(), "\"degraded\"");
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Quantity {
    /// The value.
    pub value: Scalar,
    /// Its unit; [`Unit::Unspecified`] leaves it to the name of the variable.
    pub unit: Unit,
}

impl Quantity {
    /// A number whose unit the name of its variable tells.
    pub fn number(value: f64) -> Self {
        Self {
            value: Scalar::Number(value),
            unit: Unit::Unspecified,
        }
    }

    /// The same value in `unit`; the number is not converted.
    #[must_use]
    pub fn in_unit(mut self, unit: Unit) -> Self {
        self.unit = unit;
        self
    }
}

impl From<f64> for Quantity {
    fn from(value: f64) -> Self {
        Self::number(value)
    }
}

impl From<bool> for Quantity {
    fn from(value: bool) -> Self {
        Self {
            value: Scalar::Bool(value),
            unit: Unit::Unspecified,
        }
    }
}

impl From<String> for Quantity {
    fn from(value: String) -> Self {
        Self {
            value: Scalar::Text(value),
            unit: Unit::Unspecified,
        }
    }
}

impl From<&str> for Quantity {
    fn from(value: &str) -> Self {
        value.to_owned().into()
    }
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(value) => write_number(*value, f),
            Self::Bool(value) => value.fmt(f),
            Self::Text(text) => write_text(text, f),
        }
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.value, self.unit.symbol())
    }
}

/// Writes a number in its shortest form that reads back the same.
fn write_number(value: f64, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let size = value.abs();
    if value == 0.0 || (1e-5..1e15).contains(&size) || !value.is_finite() {
        write!(f, "{value}")
    } else {
        write!(f, "{value:e}")
    }
}

pub(super) fn write_text(text: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    use fmt::Write;
    f.write_char('"')?;
    for c in text.chars() {
        match c {
            '"' => f.write_str("\\\"")?,
            '\\' => f.write_str("\\\\")?,
            '\n' => f.write_str("\\n")?,
            '\t' => f.write_str("\\t")?,
            c => f.write_char(c)?,
        }
    }
    f.write_char('"')
}
