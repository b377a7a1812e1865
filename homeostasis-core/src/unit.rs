//! Numbers that cannot be wrong: ranges are checked when they are made.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A number outside the range of its type.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error("{what} = {value}, expected {expected}")]
pub struct RangeError {
    what: &'static str,
    value: f64,
    expected: &'static str,
}

macro_rules! unit_interval {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        ///
        /// Always finite and in `0..=1`.
        #[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
        #[serde(transparent)]
        pub struct $name(f64);

        impl $name {
            /// Nothing.
            pub const ZERO: Self = Self(0.0);
            /// All.
            pub const ONE: Self = Self(1.0);

            /// Checks that `value` is in `0..=1`; NaN is refused.
            pub fn new(value: f64) -> Result<Self, RangeError> {
                if (0.0..=1.0).contains(&value) {
                    Ok(Self(value))
                } else {
                    Err(RangeError { what: $what, value, expected: "0..=1" })
                }
            }

            /// The nearest value in range; NaN becomes 0.
            pub fn saturating(value: f64) -> Self {
                if value.is_nan() { Self(0.0) } else { Self(value.clamp(0.0, 1.0)) }
            }

            /// The number.
            pub fn get(self) -> f64 {
                self.0
            }

            /// One minus this.
            #[must_use]
            pub fn complement(self) -> Self {
                Self(1.0 - self.0)
            }
        }

        impl TryFrom<f64> for $name {
            type Error = RangeError;

            fn try_from(value: f64) -> Result<Self, Self::Error> {
                Self::new(value)
            }
        }

        impl From<$name> for f64 {
            fn from(value: $name) -> f64 {
                value.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:.1} %", self.0 * 100.0)
            }
        }

        impl Eq for $name {}

        impl PartialOrd for $name {
            fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
                Some(self.cmp(other))
            }
        }

        impl Ord for $name {
            fn cmp(&self, other: &Self) -> std::cmp::Ordering {
                self.0.total_cmp(&other.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Self::new(f64::deserialize(deserializer)?).map_err(serde::de::Error::custom)
            }
        }
    };
}

unit_interval!(
    /// A share of a whole: an error ratio, a pass rate.
    Ratio,
    "ratio"
);
unit_interval!(
    /// How sure one is, as a calibrated probability.
    Confidence,
    "confidence"
);
unit_interval!(
    /// How anomalous something is; 0 is normal.
    Score,
    "score"
);

impl Ratio {
    /// `part` of `whole`; zero if there is no whole.
    ///
    /// ```
    /// use homeostasis::core::Ratio;
    /// assert_eq!(Ratio::of(1, 4).get(), 0.25);
    /// assert_eq!(Ratio::of(1, 0), Ratio::ZERO);
    /// ```
    pub fn of(part: u64, whole: u64) -> Self {
        if whole == 0 {
            Self::ZERO
        } else {
            Self::saturating(part as f64 / whole as f64)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn nothing_outside_the_interval_can_be_made(value in proptest::num::f64::ANY) {
            let made = Ratio::new(value);
            prop_assert_eq!(made.is_ok(), (0.0..=1.0).contains(&value));
            let near = Ratio::saturating(value).get();
            prop_assert!((0.0..=1.0).contains(&near));
        }
    }

    #[test]
    fn serde_checks_too() {
        assert!(serde_json::from_str::<Confidence>("1.5").is_err());
        assert_eq!(serde_json::to_string(&Confidence::ONE).unwrap(), "1.0");
    }
}
