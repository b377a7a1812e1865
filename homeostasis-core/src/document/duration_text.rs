//! For `#[serde(with = "homeostasis_core::document::duration_text")]`: durations in configurations
//! as people write them, `300ms`, `30s`, `5m`.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serializer};

use super::{format_duration, parse_duration};

/// Writes `duration` as text.
///
/// # Errors
/// Those of the serializer.
pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&format_duration(*duration))
}

/// Reads a duration from text.
///
/// # Errors
/// What is there is no text, or no duration.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    parse(&String::deserialize(deserializer)?)
}

fn parse<E: serde::de::Error>(text: &str) -> Result<Duration, E> {
    parse_duration(text).ok_or_else(|| {
        E::custom(format!(
            "{text:?}, expected a duration such as 300ms, 30s, 5m"
        ))
    })
}

/// The same for a duration that may be absent.
pub mod option {
    use super::{Deserialize, Deserializer, Duration, Serializer, format_duration, parse};

    /// Writes `value` as text, or that there is none.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(
        value: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => serializer.serialize_str(&format_duration(*value)),
            None => serializer.serialize_none(),
        }
    }

    /// Reads a duration from text, or that there is none.
    ///
    /// # Errors
    /// What is there is no text, or no duration.
    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| parse(&text)).transpose()
    }
}
