//! Units of telemetry and the arithmetic between them.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The unit of a value.
///
/// Families that convert into each other: ratios, times, bytes, bytes per second, and rates.
/// Decimal prefixes of bytes are powers of 1000 (`kB`, `MB`), binary ones powers of 1024 (`KiB`, `MiB`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Unit {
    /// Not told; taken from the name of the variable, and never guessed.
    #[default]
    Unspecified,
    /// A number of things, without dimension.
    Count,
    /// A share of a whole, 1 being all of it.
    Ratio,
    /// A share of a whole in hundredths.
    Percent,
    /// Billionths of a second.
    Nanosecond,
    /// Millionths of a second.
    Microsecond,
    /// Thousandths of a second.
    Millisecond,
    /// Seconds.
    Second,
    /// 60 seconds.
    Minute,
    /// 3600 seconds.
    Hour,
    /// 24 hours.
    Day,
    /// 7 days.
    Week,
    /// Bytes.
    Byte,
    /// 1000 bytes.
    Kilobyte,
    /// 1000² bytes.
    Megabyte,
    /// 1000³ bytes.
    Gigabyte,
    /// 1000⁴ bytes.
    Terabyte,
    /// 1024 bytes.
    Kibibyte,
    /// 1024² bytes.
    Mebibyte,
    /// 1024³ bytes.
    Gibibyte,
    /// 1024⁴ bytes.
    Tebibyte,
    /// Bytes per second.
    BytePerSecond,
    /// 1000 bytes per second.
    KilobytePerSecond,
    /// 1000² bytes per second.
    MegabytePerSecond,
    /// 1000³ bytes per second.
    GigabytePerSecond,
    /// Things per second.
    PerSecond,
    /// Things per minute.
    PerMinute,
    /// Things per hour.
    PerHour,
}

use Unit::{
    Byte, BytePerSecond, Count, Day, Gibibyte, Gigabyte, GigabytePerSecond, Hour, Kibibyte,
    Kilobyte, KilobytePerSecond, Mebibyte, Megabyte, MegabytePerSecond, Microsecond, Millisecond,
    Minute, Nanosecond, PerHour, PerMinute, PerSecond, Percent, Ratio, Second, Tebibyte, Terabyte,
    Unspecified, Week,
};

/// Every unit that can be written, with its symbol and its other spellings.
const WRITTEN: [(Unit, &str, &[&str]); 25] = [
    (Percent, "%", &[]),
    (Nanosecond, "ns", &["nanosecond", "nanoseconds"]),
    (
        Microsecond,
        "us",
        &["µs", "μs", "microsecond", "microseconds"],
    ),
    (Millisecond, "ms", &["millisecond", "milliseconds"]),
    (Second, "s", &["sec", "secs", "second", "seconds"]),
    (Minute, "m", &["min", "mins", "minute", "minutes"]),
    (Hour, "h", &["hr", "hrs", "hour", "hours"]),
    (Day, "d", &["day", "days"]),
    (Week, "w", &["week", "weeks"]),
    (Byte, "B", &["byte", "bytes"]),
    (Kilobyte, "kB", &["KB"]),
    (Megabyte, "MB", &[]),
    (Gigabyte, "GB", &[]),
    (Terabyte, "TB", &[]),
    (Kibibyte, "KiB", &[]),
    (Mebibyte, "MiB", &[]),
    (Gibibyte, "GiB", &[]),
    (Tebibyte, "TiB", &[]),
    (BytePerSecond, "B/s", &[]),
    (KilobytePerSecond, "kB/s", &["KB/s"]),
    (MegabytePerSecond, "MB/s", &[]),
    (GigabytePerSecond, "GB/s", &[]),
    (PerSecond, "/s", &["rps", "qps"]),
    (PerMinute, "/min", &[]),
    (PerHour, "/h", &[]),
];

/// What a name ends in and the unit that tells; the longer of two that fit stands first.
const SUFFIXES: [(&str, Unit); 31] = [
    ("bytes_per_second", BytePerSecond),
    ("per_second", PerSecond),
    ("per_minute", PerMinute),
    ("per_hour", PerHour),
    ("rps", PerSecond),
    ("qps", PerSecond),
    ("percent", Percent),
    ("percentage", Percent),
    ("pct", Percent),
    ("ratio", Ratio),
    ("nanoseconds", Nanosecond),
    ("ns", Nanosecond),
    ("microseconds", Microsecond),
    ("us", Microsecond),
    ("milliseconds", Millisecond),
    ("millis", Millisecond),
    ("ms", Millisecond),
    ("seconds", Second),
    ("secs", Second),
    ("minutes", Minute),
    ("hours", Hour),
    ("days", Day),
    ("bytes", Byte),
    ("kb", Kilobyte),
    ("mb", Megabyte),
    ("gb", Gigabyte),
    ("kib", Kibibyte),
    ("mib", Mebibyte),
    ("gib", Gibibyte),
    ("count", Count),
    ("bucket", Count),
];

/// Words before `_rate` that make it a share (of requests that fail, of reads that hit) and not a speed.
const SHARES: [&str; 16] = [
    "error",
    "errors",
    "failure",
    "success",
    "hit",
    "miss",
    "positive",
    "negative",
    "loss",
    "drop",
    "timeout",
    "rejection",
    "acceptance",
    "availability",
    "completion",
    "conversion",
];

impl Unit {
    /// The unit that the name of a metric tells, as Prometheus and playbooks write names; [`Unit::Unspecified`] when it
    /// tells none.
    ///
    /// `_total` and `_sum` stand after the unit (`sent_bytes_total`), and alone `_total` counts things.
    /// `error_rate`, `hit_rate` and the like are ratios; other rates (`refresh_rate`) tell nothing.
    ///
    /// # Examples
    /// ```
    /// use homeostasis::core::condition::Unit;
    ///
    /// assert_eq!(Unit::from_metric_name("disk_usage_percent"), Unit::Percent);
    /// assert_eq!(Unit::from_metric_name("request_duration_seconds"), Unit::Second);
    /// assert_eq!(Unit::from_metric_name("sent_bytes_total"), Unit::Byte);
    /// assert_eq!(Unit::from_metric_name("requests_total"), Unit::Count);
    /// assert_eq!(Unit::from_metric_name("p95_latency"), Unit::Unspecified);
    /// ```
    pub fn from_metric_name(name: &str) -> Self {
        let name = name.to_ascii_lowercase();
        let name = name.rsplit(['.', ':']).next().unwrap_or_default();
        if let Some(before) = name.strip_suffix("_total") {
            return match Self::from_suffix(before) {
                Unspecified => Count,
                unit => unit,
            };
        }
        Self::from_suffix(name.strip_suffix("_sum").unwrap_or(name))
    }

    fn from_suffix(name: &str) -> Self {
        let before = |suffix: &str| match name.strip_suffix(suffix)? {
            "" => Some(""),
            before => before.strip_suffix('_'),
        };
        if let Some(before) = before("rate") {
            let word = before.rsplit('_').next().unwrap_or_default();
            return if SHARES.contains(&word) {
                Ratio
            } else {
                Unspecified
            };
        }
        SUFFIXES
            .iter()
            .find(|(suffix, _)| before(suffix).is_some())
            .map_or(Unspecified, |(_, unit)| *unit)
    }

    /// The unit as it follows a number in a condition; empty for those that are not written.
    pub fn symbol(self) -> &'static str {
        WRITTEN
            .iter()
            .find(|(unit, ..)| *unit == self)
            .map_or("", |(_, symbol, _)| symbol)
    }

    /// The unit with this symbol or name, such as `ms`, `MiB`, `%` or `days`; case counts.
    pub fn from_symbol(symbol: &str) -> Option<Self> {
        WRITTEN
            .iter()
            .find(|(_, own, others)| *own == symbol || others.contains(&symbol))
            .map(|(unit, ..)| *unit)
    }

    /// `value` of this unit in the unit `to`; `None` when they are of different families or one is unspecified.
    ///
    /// # Examples
    /// ```
    /// use homeostasis::core::condition::Unit;
    ///
    /// assert_eq!(Unit::Percent.convert(0.1, Unit::Ratio), Some(0.001));
    /// assert_eq!(Unit::Mebibyte.convert(1.0, Unit::Byte), Some(1_048_576.0));
    /// assert_eq!(Unit::Second.convert(1.0, Unit::Byte), None);
    /// ```
    pub fn convert(self, value: f64, to: Self) -> Option<f64> {
        let (from, to) = (self.measure()?, to.measure()?);
        from.fits(to).then(|| from.convert(value, to))
    }

    pub(super) fn measure(self) -> Option<Measure> {
        let (kind, n, per) = match self {
            Unspecified => return None,
            Count => (COUNT, 1.0, 1.0),
            Ratio => (SHARE, 1.0, 1.0),
            Percent => (SHARE, 1.0, 100.0),
            Nanosecond => (TIME, 1.0, 1e9),
            Microsecond => (TIME, 1.0, 1e6),
            Millisecond => (TIME, 1.0, 1e3),
            Second => (TIME, 1.0, 1.0),
            Minute => (TIME, 60.0, 1.0),
            Hour => (TIME, 3_600.0, 1.0),
            Day => (TIME, 86_400.0, 1.0),
            Week => (TIME, 604_800.0, 1.0),
            Byte => (BYTES, 1.0, 1.0),
            Kilobyte => (BYTES, 1e3, 1.0),
            Megabyte => (BYTES, 1e6, 1.0),
            Gigabyte => (BYTES, 1e9, 1.0),
            Terabyte => (BYTES, 1e12, 1.0),
            Kibibyte => (BYTES, 1_024.0, 1.0),
            Mebibyte => (BYTES, 1_048_576.0, 1.0),
            Gibibyte => (BYTES, 1_073_741_824.0, 1.0),
            Tebibyte => (BYTES, 1_099_511_627_776.0, 1.0),
            BytePerSecond => (SPEED, 1.0, 1.0),
            KilobytePerSecond => (SPEED, 1e3, 1.0),
            MegabytePerSecond => (SPEED, 1e6, 1.0),
            GigabytePerSecond => (SPEED, 1e9, 1.0),
            PerSecond => (RATE, 1.0, 1.0),
            PerMinute => (RATE, 1.0, 60.0),
            PerHour => (RATE, 1.0, 3_600.0),
        };
        Some(Measure { n, per, ..kind })
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Unspecified => "unspecified",
            Count => "count",
            Ratio => "ratio",
            unit => unit.symbol(),
        })
    }
}

/// A unit as arithmetic sees it: powers of bytes and seconds, and a scale `n / per` to the base unit.
///
/// The scale is kept as a fraction of whole numbers so that a conversion rounds once.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Measure {
    bytes: i16,
    seconds: i16,
    is_share: bool,
    n: f64,
    per: f64,
}

const COUNT: Measure = Measure {
    bytes: 0,
    seconds: 0,
    is_share: false,
    n: 1.0,
    per: 1.0,
};
const SHARE: Measure = Measure {
    is_share: true,
    ..COUNT
};
const TIME: Measure = Measure {
    seconds: 1,
    ..COUNT
};
const BYTES: Measure = Measure { bytes: 1, ..COUNT };
const SPEED: Measure = Measure {
    bytes: 1,
    seconds: -1,
    ..COUNT
};
const RATE: Measure = Measure {
    seconds: -1,
    ..COUNT
};

impl Measure {
    pub(super) fn fits(self, other: Self) -> bool {
        (self.bytes, self.seconds, self.is_share) == (other.bytes, other.seconds, other.is_share)
    }

    pub(super) fn is_count(self) -> bool {
        self.fits(COUNT)
    }

    pub(super) fn share() -> Self {
        SHARE
    }

    pub(super) fn convert(self, value: f64, to: Self) -> f64 {
        let (n, per) = (self.n * to.per, self.per * to.n);
        if n >= per {
            value * (n / per)
        } else {
            value / (per / n)
        }
    }

    pub(super) fn times(self, other: Self) -> Self {
        let is_pure = |m: Self| (m.bytes, m.seconds) == (0, 0);
        Self {
            bytes: self.bytes.saturating_add(other.bytes),
            seconds: self.seconds.saturating_add(other.seconds),
            is_share: is_pure(self) && is_pure(other) && self.is_share && other.is_share,
            n: self.n * other.n,
            per: self.per * other.per,
        }
    }

    /// A quotient of like units is a share of a whole.
    pub(super) fn over(self, other: Self) -> Self {
        let bytes = self.bytes.saturating_sub(other.bytes);
        let seconds = self.seconds.saturating_sub(other.seconds);
        let is_share = (bytes, seconds) == (0, 0) && (self.is_share || !other.is_share);
        Self {
            bytes,
            seconds,
            is_share,
            n: self.n * other.per,
            per: self.per * other.n,
        }
    }
}

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = WRITTEN.iter().map(|(unit, ..)| *unit).chain([Count, Ratio]);
        let named = all.into_iter().find(|unit| {
            unit.measure()
                .is_some_and(|m| m.fits(*self) && m.n * self.per == self.n * m.per)
        });
        match named {
            Some(unit) => unit.fmt(f),
            None => write!(f, "B^{} s^{}", self.bytes, self.seconds),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_units_as_prometheus_and_playbooks_write_them() {
        for (name, unit) in [
            ("disk_usage_percent", Percent),
            ("error_ratio", Ratio),
            ("error_rate", Ratio),
            ("false_positive_rate", Ratio),
            ("cache.hit_rate", Ratio),
            ("refresh_rate", Unspecified),
            ("latency_ms", Millisecond),
            ("latency_seconds", Second),
            ("request_duration_seconds_sum", Second),
            ("request_duration_seconds_count", Count),
            ("process_cpu_seconds_total", Second),
            ("free_bytes", Byte),
            ("sent_bytes_per_second", BytePerSecond),
            ("requests_per_second", PerSecond),
            ("requests_total", Count),
            ("LATENCY_MS", Millisecond),
            ("memory_available", Unspecified),
            ("items", Unspecified),
            ("status", Unspecified),
            ("forms", Unspecified),
            ("", Unspecified),
        ] {
            assert_eq!(Unit::from_metric_name(name), unit, "{name}");
        }
    }

    #[test]
    fn conversions_round_once() {
        assert_eq!(Percent.convert(57.0, Ratio), Some(0.57));
        assert_eq!(Ratio.convert(0.001, Percent), Some(0.1));
        assert_eq!(Millisecond.convert(300.0, Second), Some(0.3));
        assert_eq!(Second.convert(0.25, Millisecond), Some(250.0));
        assert_eq!(Day.convert(7.0, Week), Some(1.0));
        assert_eq!(PerMinute.convert(600.0, PerSecond), Some(10.0));
        assert_eq!(Megabyte.convert(1.0, Kilobyte), Some(1000.0));
        assert_eq!(Count.convert(1.0, Ratio), None);
        assert_eq!(Unspecified.convert(1.0, Count), None);
    }

    #[test]
    fn every_symbol_reads_back() {
        for (unit, symbol, others) in WRITTEN {
            assert_eq!(Unit::from_symbol(symbol), Some(unit));
            for other in others {
                assert_eq!(Unit::from_symbol(other), Some(unit), "{other}");
            }
            assert_eq!(unit.symbol(), symbol);
        }
    }

    #[test]
    fn products_and_quotients_combine_units() {
        let measure = |unit: Unit| unit.measure().unwrap();
        assert!(
            measure(Megabyte)
                .over(measure(Second))
                .fits(measure(BytePerSecond))
        );
        assert!(measure(Byte).over(measure(Kilobyte)).fits(measure(Ratio)));
        assert!(measure(Count).over(measure(Count)).fits(measure(Ratio)));
        assert!(
            measure(PerSecond)
                .times(measure(Minute))
                .fits(measure(Count))
        );
        assert!(measure(Percent).times(measure(Byte)).fits(measure(Byte)));
        assert_eq!(measure(Megabyte).over(measure(Second)).to_string(), "MB/s");
        assert_eq!(
            measure(Second).times(measure(Second)).to_string(),
            "B^0 s^2"
        );
    }
}
