//! How long and how much a cache remembers.

use std::time::Duration;

use homeostasis_core::document::duration_text;
use homeostasis_core::{Ratio, Violation, Violations};
use serde::{Deserialize, Serialize};

use super::super::part::{lasting, within};

/// How long and how much a cache remembers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CacheConfig {
    /// Entries in memory. Default 10,000; 1 to 100,000,000.
    pub max_entries: u32,
    /// Bytes in memory: of names and of answers as JSON, without overhead. Default 64 MiB; at least 1.
    pub max_bytes: u64,
    /// For so long an answer is fresh. Default 1 min; at most 30 days.
    #[serde(with = "duration_text")]
    pub ttl: Duration,
    /// By up to this share the time is shortened at random, so that what was stored together does not
    /// end together. Default 0.1.
    pub ttl_jitter: Ratio,
    /// For so long it is remembered that there is no answer. Default 5 s; 0 remembers it not at all.
    #[serde(with = "duration_text")]
    pub negative_ttl: Duration,
    /// After its time an answer is served for so long while somebody makes it anew. Default 0.
    #[serde(with = "duration_text")]
    pub stale_while_revalidate: Duration,
    /// After its time an answer is served for so long if it cannot be made anew. Default 0.
    #[serde(with = "duration_text")]
    pub stale_if_error: Duration,
    /// After so long an answer in memory is compared with the levels below, where others may have made
    /// it invalid. Default 5 s. It matters only where there are levels below.
    #[serde(with = "duration_text")]
    pub memory_ttl: Duration,
    /// How long one call of a level below may take. Default 250 ms.
    #[serde(with = "duration_text")]
    pub level_timeout: Duration,
    /// A level that failed three times in a row is left alone for so long. Default 2 s.
    #[serde(with = "duration_text")]
    pub level_cool_down: Duration,
}

impl Default for CacheConfig {
    fn default() -> Self {
        Self {
            max_entries: 10_000,
            max_bytes: 64 * 1024 * 1024,
            ttl: Duration::from_secs(60),
            ttl_jitter: Ratio::saturating(0.1),
            negative_ttl: Duration::from_secs(5),
            stale_while_revalidate: Duration::ZERO,
            stale_if_error: Duration::ZERO,
            memory_ttl: Duration::from_secs(5),
            level_timeout: Duration::from_millis(250),
            level_cool_down: Duration::from_secs(2),
        }
    }
}

impl CacheConfig {
    pub(super) fn validate(&self, wrong: &mut Violations) {
        const MOST: Duration = Duration::from_secs(30 * 86_400);
        within(wrong, "max_entries", self.max_entries, 1..=100_000_000);
        if self.max_bytes == 0 {
            wrong.push(Violation::new("max_bytes", 0, "at least 1"));
        }
        for (path, duration) in [
            ("ttl", self.ttl),
            ("negative_ttl", self.negative_ttl),
            ("stale_while_revalidate", self.stale_while_revalidate),
            ("stale_if_error", self.stale_if_error),
        ] {
            if duration > MOST {
                wrong.push(Violation::new(
                    path,
                    format!("{duration:?}"),
                    "at most 30 days",
                ));
            }
        }
        lasting(wrong, "ttl", self.ttl);
        lasting(wrong, "memory_ttl", self.memory_ttl);
        lasting(wrong, "level_timeout", self.level_timeout);
        lasting(wrong, "level_cool_down", self.level_cool_down);
    }

    /// For how long after its time an answer may be of use.
    pub(super) fn stale_for(&self) -> Duration {
        self.stale_while_revalidate.max(self.stale_if_error)
    }
}
