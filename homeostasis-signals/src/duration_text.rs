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
    let text = String::deserialize(deserializer)?;
    parse_duration(&text).ok_or_else(|| {
        serde::de::Error::custom(format!(
            "{text:?}, expected a duration such as 300ms, 30s, 5m"
        ))
    })
}

/// The same where there may be none.
#[cfg(feature = "postgres")]
pub(crate) mod option {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    struct Text(#[serde(with = "super")] Duration);

    #[expect(clippy::ref_option, reason = "serde gives a reference to the field")]
    pub(crate) fn serialize<S: Serializer>(
        duration: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        duration.map(Text).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        let text = Option::<Text>::deserialize(deserializer)?;
        Ok(text.map(|Text(duration)| duration))
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
