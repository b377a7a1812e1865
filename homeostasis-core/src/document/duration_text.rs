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
    let text = String::deserialize(deserializer)?;
    parse_duration(&text).ok_or_else(|| {
        serde::de::Error::custom(format!(
            "{text:?}, expected a duration such as 300ms, 30s, 5m"
        ))
    })
}
