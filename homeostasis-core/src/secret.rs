//! A text that must not be told.

use std::fmt;

use serde::{Deserialize, Deserializer};

/// What stands where a secret stood.
const HIDDEN: &str = "***";

/// As many characters of the beginning of a secret are hidden, a shorter one only entirely.
const SHORTEST_PART: usize = 6;

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

    /// `text` with `***` wherever it repeats this secret: what others say may quote it, also
    /// escaped as Rust, JSON and most logs escape a text, or cut after at least 6 characters of it.
    ///
    /// What encodes or rearranges it is not recognized: where the other side is known to repeat
    /// what it was told, tell nothing of its words. *Cost:* O(text × secret) at worst.
    pub fn hide_in(&self, text: &str) -> String {
        let mut hidden = text.to_owned();
        // Twice escaped is the text of an error within the `Debug` form of another.
        let once = unquoted(format!("{:?}", self.0));
        let twice = unquoted(format!("{once:?}"));
        let json = unquoted(serde_json::Value::from(self.0.as_str()).to_string());
        for form in [&twice, &once, &json, &self.0] {
            hidden = hide(&hidden, form);
        }
        hidden
    }
}

/// The inside of a quoted text.
fn unquoted(mut quoted: String) -> String {
    quoted.pop();
    quoted.split_off(quoted.len().min(1))
}

/// `text` without `secret` and without what of its beginning is long enough to harm.
fn hide(text: &str, secret: &str) -> String {
    let least = secret
        .char_indices()
        .nth(SHORTEST_PART)
        .map_or(secret.len(), |(at, _)| at);
    let begins = &secret[..least];
    if begins.is_empty() {
        return text.to_owned();
    }
    let (mut hidden, mut rest) = (String::with_capacity(text.len()), text);
    while let Some((before, _)) = rest.split_once(begins) {
        hidden.push_str(before);
        hidden.push_str(HIDDEN);
        let repeated = rest[before.len()..]
            .chars()
            .zip(secret.chars())
            .take_while(|(said, own)| said == own)
            .map(|(said, _)| said.len_utf8())
            .sum::<usize>();
        rest = &rest[before.len() + repeated..];
    }
    hidden.push_str(rest);
    hidden
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
    fn an_echo_is_hidden_also_when_it_is_escaped_or_cut() {
        let secret = Secret::new("hun\"ter\\2é\n");
        for echo in [
            "hun\"ter\\2é\n".to_owned(),
            format!("{:?}", "hun\"ter\\2é\n"),
            format!("{:?}", format!("{:?}", "hun\"ter\\2é\n")),
            serde_json::json!(["hun\"ter\\2é\n"]).to_string(),
            "hun\"ter\\".to_owned(),
        ] {
            let said = secret.hide_in(&format!("unknown: {echo}, {echo}"));
            assert!(!said.contains("hun") && !said.contains("2é"), "{said}");
            assert!(said.starts_with("unknown: ") && said.contains("***"));
        }
        assert_eq!(secret.hide_in("the hun"), "the hun");
        assert_eq!(Secret::new("abc").hide_in("ab abcd"), "ab ***d");
    }

    #[test]
    fn nothing_is_hidden_by_an_empty_secret() {
        assert_eq!(Secret::new("").hide_in("all is told"), "all is told");
    }
}
