//! Durations in configurations: `300ms`, `30s`, `5m`.

use std::time::Duration;

use homeostasis_core::document::{format_duration, parse_duration};
use serde::{Deserialize, Deserializer, Serializer};

pub(crate) fn serialize<S: Serializer>(
    duration: &Duration,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&format_duration(*duration))
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Duration, D::Error> {
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
pub(crate) mod option {
    use super::{Deserialize, Deserializer, Duration, Serializer, format_duration, parse};

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
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| parse(&text)).transpose()
    }
}

#[cfg(test)]
mod tests {
    use crate::intake::ScraperConfig;

    #[test]
    fn durations_are_written_as_people_write_them() {
        let config: ScraperConfig = serde_json::from_str(r#"{"forget_after":"90m"}"#).unwrap();
        assert_eq!(config.forget_after.as_secs(), 5400);
        let text = serde_json::to_string(&config).unwrap();
        assert_eq!(
            serde_json::from_str::<ScraperConfig>(&text).unwrap(),
            config
        );
        let error = serde_json::from_str::<ScraperConfig>(r#"{"forget_after":"soon"}"#);
        assert!(
            error
                .unwrap_err()
                .to_string()
                .contains("\"soon\", expected a duration")
        );
    }
}
