//! Durations in configurations as people write them: `5m`, `1h30m`.

use std::time::Duration;

use homeostasis_core::document::{format_duration, parse_duration};
use serde::{Deserialize, Deserializer, Serializer, de};

pub(crate) fn serialize<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&format_duration(*value))
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(d)?;
    parse_duration(&text).ok_or_else(|| wrong(&text))
}

fn wrong<E: de::Error>(text: &str) -> E {
    de::Error::invalid_value(
        de::Unexpected::Str(text),
        &"a duration such as 300ms, 30s, 5m",
    )
}

/// The same for a duration that may be absent.
pub(crate) mod option {
    use super::{
        Deserialize, Deserializer, Duration, Serializer, format_duration, parse_duration, wrong,
    };

    #[expect(clippy::ref_option, reason = "the signature serde asks for")]
    pub(crate) fn serialize<S: Serializer>(
        value: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => serializer.serialize_str(&format_duration(*value)),
            None => serializer.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        d: D,
    ) -> Result<Option<Duration>, D::Error> {
        Option::<String>::deserialize(d)?
            .map(|text| parse_duration(&text).ok_or_else(|| wrong(&text)))
            .transpose()
    }
}
