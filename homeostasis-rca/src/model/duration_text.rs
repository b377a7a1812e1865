//! Durations in a configuration as people write them: `300ms`, `20s`, `5m`.

use std::time::Duration;

use homeostasis_core::document::{format_duration, parse_duration};
use serde::{Deserialize, Deserializer, Serializer, de};

pub(super) fn serialize<S: Serializer>(
    duration: &Duration,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&format_duration(*duration))
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_duration(&text).ok_or_else(|| {
        let expected = &"a duration such as 300ms, 30s, 5m";
        de::Error::invalid_value(de::Unexpected::Str(&text), expected)
    })
}
