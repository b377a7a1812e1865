//! How requests are bounded and become signals.

use std::time::Duration;

use homeostasis_core::{Target, Violation, Violations};
use serde::{Deserialize, Serialize};

use crate::intake::derived::ErrorRatio;

/// How requests are bounded and become signals.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OtlpIntakeConfig {
    /// Whose signals they are if the resource has no `service.name`; default none.
    pub target: Option<Target>,
    /// Attributes, by their names in OpenTelemetry (`http.route`), that become labels of metrics
    /// beside `service` and `instance`; those of resource and scope become fields of logs and
    /// spans too. Default none: series that differ only in other attributes are added up.
    ///
    /// **Warning:** an attribute with many values multiplies the number of series.
    pub keep_attributes: Vec<String>,
    /// The counters behind the derived series `error_ratio`, by the names that series have here;
    /// `None` derives none.
    pub error_ratio: Option<ErrorRatio>,
    /// Whether a series that appears in a metric that was seen before has grown from 0; default
    /// true, as for a [`Scraper`](crate::Scraper).
    pub new_series_start_at_zero: bool,
    /// The most sums, histograms and exponential histograms that are followed, of each as many; at
    /// least 1, default 20 000. Points beyond it are refused.
    pub max_series: usize,
    /// How long a series that no longer comes is remembered; default 1 h.
    #[serde(with = "crate::duration_text")]
    pub forget_after: Duration,
    /// The most bytes of a request as it is sent, at least 1; default 4 MiB.
    pub max_body: usize,
    /// The most bytes of a request once it is decompressed, at least 1; default 16 MiB.
    pub max_decompressed: usize,
    /// The most memory that a request may take once it is read, in bytes, at least 1; default
    /// 64 MiB. Copies of what its items share (kept attributes, the name of the scope) may take as
    /// much again; items beyond it are refused. A batch of 8192 spans with 20 attributes each takes about 16 MiB.
    pub max_decoded: usize,
    /// The most log records, metrics, data points, or spans with their events in a request, at
    /// least 1; default 20 000. What is beyond is refused.
    pub max_items: usize,
    /// The most attributes of one item, at least 1; default 128. Further ones are dropped.
    pub max_attributes: usize,
    /// How deep arrays and lists may stand in each other in a value; default 8. An item with a
    /// deeper one is refused. At 0 all values are plain.
    pub max_value_depth: usize,
    /// The most bytes of a message or of an attribute's value, at least 1; default 64 KiB. Longer
    /// text is cut.
    pub max_text: usize,
    /// The most requests that are read at a time, at least 1; default 8. Further ones are told to
    /// come again (503). Bodies that arrive may take as many times `max_body` bytes together.
    pub max_concurrent: usize,
    /// How long a body may take to arrive; default 10 s.
    #[serde(with = "crate::duration_text")]
    pub body_timeout: Duration,
}

impl Default for OtlpIntakeConfig {
    fn default() -> Self {
        Self {
            target: None,
            keep_attributes: Vec::new(),
            error_ratio: Some(ErrorRatio::default()),
            new_series_start_at_zero: true,
            max_series: 20_000,
            forget_after: Duration::from_secs(3600),
            max_body: 4 << 20,
            max_decompressed: 16 << 20,
            max_decoded: 64 << 20,
            max_items: 20_000,
            max_attributes: 128,
            max_value_depth: 8,
            max_text: 64 << 10,
            max_concurrent: 8,
            body_timeout: Duration::from_secs(10),
        }
    }
}

impl OtlpIntakeConfig {
    pub(super) fn check(&self) -> Violations {
        let mut wrong = Violations::new();
        for (name, value) in [
            ("max_series", self.max_series),
            ("max_body", self.max_body),
            ("max_decompressed", self.max_decompressed),
            ("max_decoded", self.max_decoded),
            ("max_items", self.max_items),
            ("max_attributes", self.max_attributes),
            ("max_text", self.max_text),
            ("max_concurrent", self.max_concurrent),
        ] {
            if value == 0 {
                wrong.push(Violation::new(name, 0, "at least 1"));
            }
        }
        if self.body_timeout.is_zero() {
            wrong.push(Violation::new("body_timeout", "0s", "more than 0s"));
        }
        for (index, name) in self.keep_attributes.iter().enumerate() {
            if name.is_empty() {
                wrong.push(Violation::new(
                    format!("keep_attributes[{index}]"),
                    "\"\"",
                    "the name of an attribute",
                ));
            }
        }
        if let Some(ratio) = &self.error_ratio {
            ratio.check(&mut wrong);
        }
        wrong
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_wrong_setting_is_named() {
        let config: OtlpIntakeConfig = serde_json::from_str(
            r#"{"max_body":0,"max_items":0,"body_timeout":"0s","keep_attributes":["a",""],"error_ratio":{"errors":""}}"#,
        )
        .unwrap();
        let error = config.check().into_result(()).unwrap_err();
        let paths: Vec<&str> = error.violations().iter().map(|v| v.path.as_str()).collect();
        let expected = [
            "max_body",
            "max_items",
            "body_timeout",
            "keep_attributes[1]",
            "error_ratio.errors",
        ];
        assert_eq!(paths, expected);
        assert!(serde_json::from_str::<OtlpIntakeConfig>(r#"{"max_bodies":1}"#).is_err());
    }
}
