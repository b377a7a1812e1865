//! Three-valued logic: true, false, and not known.

use std::fmt;
use std::ops::{BitAnd, BitOr, Not};

use serde::{Deserialize, Serialize};

/// The answer to a condition, in Kleene's strong three-valued logic (S. C. Kleene, *Introduction to Metamathematics*,
/// 1952, section 64).
///
/// `&`, `|` and `!` are its connectives: `Unknown` gives way only where the other operand decides alone.
///
/// # Examples
/// ```
/// use homeostasis::core::condition::Truth;
///
/// assert_eq!(Truth::Unknown & Truth::False, Truth::False);
/// assert_eq!(Truth::Unknown & Truth::True, Truth::Unknown);
/// assert_eq!(Truth::Unknown | Truth::True, Truth::True);
/// assert_eq!(!Truth::Unknown, Truth::Unknown);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Truth {
    /// It does not hold.
    False,
    /// The data to say so is missing.
    Unknown,
    /// It holds.
    True,
}

impl Truth {
    /// Whether it is known to hold.
    pub fn is_true(self) -> bool {
        self == Self::True
    }

    /// Whether it is known not to hold.
    pub fn is_false(self) -> bool {
        self == Self::False
    }

    /// Whether the data is missing.
    pub fn is_unknown(self) -> bool {
        self == Self::Unknown
    }
}

impl From<bool> for Truth {
    fn from(value: bool) -> Self {
        if value { Self::True } else { Self::False }
    }
}

impl From<Option<bool>> for Truth {
    fn from(value: Option<bool>) -> Self {
        value.map_or(Self::Unknown, Self::from)
    }
}

impl BitAnd for Truth {
    type Output = Self;

    fn bitand(self, other: Self) -> Self {
        self.min(other)
    }
}

impl BitOr for Truth {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        self.max(other)
    }
}

impl Not for Truth {
    type Output = Self;

    fn not(self) -> Self {
        match self {
            Self::False => Self::True,
            Self::Unknown => Self::Unknown,
            Self::True => Self::False,
        }
    }
}

impl fmt::Display for Truth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::False => "false",
            Self::Unknown => "unknown",
            Self::True => "true",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Truth::{self, False, True, Unknown};

    #[test]
    fn the_tables_are_those_of_kleene() {
        let and = [
            (False, False, False),
            (False, Unknown, False),
            (False, True, False),
            (Unknown, Unknown, Unknown),
            (Unknown, True, Unknown),
            (True, True, True),
        ];
        for (a, b, expected) in and {
            assert_eq!((a & b, b & a), (expected, expected), "{a} and {b}");
            assert_eq!(!(!a | !b), expected, "De Morgan for {a} and {b}");
        }
        assert_eq!([!False, !Unknown, !True], [True, Unknown, False]);
        assert_eq!(Truth::from(None), Unknown);
    }
}
