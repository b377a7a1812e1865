//! Durations in configurations: `300ms`, `30s`, `5m`.

pub(crate) use homeostasis_core::document::duration_text::{deserialize, option, serialize};

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
