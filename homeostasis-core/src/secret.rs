//! A text that must not be told.

use std::fmt;

use serde::{Deserialize, Deserializer};

/// What stands where a secret stood.
const HIDDEN: &str = "***";

/// A password, token or key: it can be read from a configuration and used, and shows itself nowhere.
///
/// `Debug` prints `***`. It cannot be serialized: leave such a field out with
/// `#[serde(skip_serializing)]`. The memory is not wiped when it is dropped.
///
/// ```
/// use homeostasis::core::Secret;
/// let password = Secret::new("hunter2");
/// assert_eq!(format!("{password:?}"), "***");
/// assert_eq!(password.expose(), "hunter2");
/// assert_eq!(password.hide_in("no such user: bob/hunter2"), "no such user: bob/***");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The secret `text`; it may be empty.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for whoever must be told.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// `text` with `***` wherever it repeats this secret: what others say may quote it.
    pub fn hide_in(&self, text: &str) -> String {
        if self.0.is_empty() {
            return text.to_owned();
        }
        text.replace(&self.0, HIDDEN)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

impl<T: Into<String>> From<T> for Secret {
    fn from(text: T) -> Self {
        Self::new(text)
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // A number in its place would be repeated by the error: "invalid type: integer `1234`".
        match serde_json::Value::deserialize(deserializer) {
            Ok(serde_json::Value::String(text)) => Ok(Self(text)),
            _ => Err(serde::de::Error::custom("a secret, expected a string")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_read_and_never_shown() {
        let secret: Secret = serde_json::from_str(r#""hunter2""#).unwrap();
        assert_eq!(secret, Secret::from("hunter2"));
        assert!(!format!("{:?}", Some(&secret)).contains("hunter2"));
        for wrong in ["24680", "[\"hunter2\"]", "true"] {
            let error = serde_json::from_str::<Secret>(wrong)
                .unwrap_err()
                .to_string();
            assert!(error.contains("expected a string"), "{error}");
            assert!(
                !error.contains("24680") && !error.contains("hunter2"),
                "{error}"
            );
        }
    }

    #[test]
    fn nothing_is_hidden_by_an_empty_secret() {
        assert_eq!(Secret::new("").hide_in("all is told"), "all is told");
    }
}
