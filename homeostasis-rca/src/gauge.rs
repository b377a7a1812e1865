//! How full a resource is, told by the names and units of what is measured of it.

use homeostasis_core::signal::SeriesKey;
use homeostasis_core::{SeriesWindow, Timestamp};

use crate::scope::{number, reading};

/// A limit from here on (2^60) is how systems write that there is none.
const NO_LIMIT: f64 = 1_152_921_504_606_846_976.0;

/// A resource that can run out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Factor {
    Memory,
    Cpu,
    Throttling,
    Load,
    Disk,
    Descriptors,
    Connections,
    Threads,
}

impl Factor {
    /// Under pressure from this fill level on.
    pub(crate) fn high(self) -> f64 {
        match self {
            // Twice as many want a processor as there are.
            Self::Load => 2.0,
            // Held back in a quarter of the periods.
            Self::Throttling => 0.25,
            Self::Disk => 0.95,
            _ => 0.9,
        }
    }

    /// Idle below this fill level.
    pub(crate) fn idle(self) -> f64 {
        match self {
            Self::Load => 0.7,
            Self::Throttling => 0.05,
            Self::Disk => 0.8,
            _ => 0.5,
        }
    }

    /// What its running out is called.
    pub(crate) fn causes(self) -> &'static [&'static str] {
        match self {
            Self::Memory => &["memory_leak"],
            Self::Cpu | Self::Throttling | Self::Load => &["cpu_saturation"],
            Self::Disk => &["disk_full"],
            Self::Descriptors => &["descriptor_leak"],
            Self::Connections => &["connection_pool_exhausted", "connection_leak"],
            Self::Threads => &["thread_pool_exhausted"],
        }
    }

    /// Its name for people.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Cpu => "the processor",
            Self::Throttling => "the processor's quota",
            Self::Load => "the machine",
            Self::Disk => "the disk",
            Self::Descriptors => "file descriptors",
            Self::Connections => "connections",
            Self::Threads => "threads",
        }
    }
}

/// How a metric says how full it is.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Measure {
    /// It is the fill level times this: 1 for a ratio, 100 for percent.
    Of(f64),
    /// It is a stock; a metric that ends like one of these is its limit.
    Against(&'static [&'static str]),
}

/// Stocks, their limits, and what of.
const STOCKS: [(&str, &[&str], Factor); 9] = [
    (
        "resident_memory_bytes",
        &["memory_limit_bytes", "memory_max_bytes"],
        Factor::Memory,
    ),
    (
        "memory_working_set_bytes",
        &["memory_limit_bytes"],
        Factor::Memory,
    ),
    (
        "memory_used_bytes",
        &[
            "memory_limit_bytes",
            "memory_max_bytes",
            "memory_total_bytes",
        ],
        Factor::Memory,
    ),
    ("heap_used_bytes", &["heap_max_bytes"], Factor::Memory),
    (
        "disk_used_bytes",
        &["disk_total_bytes", "disk_size_bytes"],
        Factor::Disk,
    ),
    ("open_fds", &["max_fds"], Factor::Descriptors),
    (
        "connections_active",
        &["connections_max"],
        Factor::Connections,
    ),
    ("threads_busy", &["threads_max"], Factor::Threads),
    ("load1", &["cpu_count"], Factor::Load),
];

/// What a fill level ends with, before its unit.
const LEVELS: [&str; 7] = [
    "used",
    "usage",
    "use",
    "utilization",
    "utilisation",
    "busy",
    "active",
];

/// What its own name is.
const NAMES: [&str; 12] = [
    "cpu",
    "memory",
    "heap",
    "disk",
    "filesystem",
    "fds",
    "descriptors",
    "thread",
    "threads",
    "pool",
    "connection",
    "connections",
];

/// Words that make another thing of it: what is left, what is full by design, how fast it works.
const OTHERS: [&str; 15] = [
    "free",
    "available",
    "idle",
    "unused",
    "not",
    "non",
    "hit",
    "error",
    "io",
    "read",
    "write",
    "wait",
    "swap",
    "cache",
    "buffer",
];

fn measure_of(metric: &str) -> Option<(Factor, Measure)> {
    for (used, limits, factor) in STOCKS {
        if metric.ends_with(used) {
            let is_heap = used.starts_with("heap");
            let other = is_heap && (metric.contains("non_heap") || metric.contains("nonheap"));
            return (!other).then_some((factor, Measure::Against(limits)));
        }
    }
    let (stem, unit) = if let Some(stem) = metric.strip_suffix("_ratio") {
        (stem, 1.0)
    } else {
        (metric.strip_suffix("_percent")?, 100.0)
    };
    let words: Vec<&str> = stem.split('_').collect();
    let has = |names: &[&str]| words.iter().any(|word| names.contains(word));
    let last = *words.last()?;
    let is_throttling = last.starts_with("throttl");
    // A level is told by a word that is known: `cpu_idle_percent` at 5 is a busy processor.
    if has(&OTHERS) || !(is_throttling || LEVELS.contains(&last) || NAMES.contains(&last)) {
        return None;
    }
    let factor = if is_throttling {
        Factor::Throttling
    } else if has(&["cpu"]) {
        Factor::Cpu
    } else if has(&["memory", "heap"]) {
        Factor::Memory
    } else if has(&["disk", "filesystem"]) {
        // A busy disk is not a full one.
        if matches!(last, "busy" | "active") || (last.starts_with("utili") && has(&["disk"])) {
            return None;
        }
        Factor::Disk
    } else if has(&["fds", "descriptors"]) {
        Factor::Descriptors
    } else if has(&["thread", "threads"]) {
        Factor::Threads
    } else if has(&["pool", "connection", "connections"]) {
        Factor::Connections
    } else {
        return None;
    };
    Some((factor, Measure::Of(unit)))
}

/// One look at a resource.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Look {
    pub(crate) at: Timestamp,
    /// How full: 1 is the limit.
    pub(crate) level: f64,
    value: f64,
    limit: Option<f64>,
}

/// What one series says of one resource, by time.
#[derive(Debug, Clone)]
pub(crate) struct Gauge {
    pub(crate) factor: Factor,
    pub(crate) key: SeriesKey,
    pub(crate) looks: Vec<Look>,
}

impl Gauge {
    /// The gauges among `windows`, which are all of one target.
    ///
    /// Of several limits the smallest holds; the latest reading of it at a point's time, or else the
    /// first. A value that is no number, is negative or cannot be in its unit (a disk of 97 in a
    /// ratio) is left out, and so is a stock whose limit nobody knows or that has none.
    pub(crate) fn among(windows: &[SeriesWindow]) -> Vec<Self> {
        let gauges = windows.iter().filter_map(|window| {
            let (factor, measure) = measure_of(&window.key.metric)?;
            let looks: Vec<Look> = match measure {
                Measure::Of(unit) => {
                    let looks = window.points.iter().map(|(at, value)| Look {
                        at: *at,
                        level: value / unit,
                        value: *value,
                        limit: None,
                    });
                    looks.filter(|look| is_level(factor, look.level)).collect()
                }
                Measure::Against(limits) => {
                    let limits: Vec<&SeriesWindow> = windows
                        .iter()
                        .filter(|limit| is_limit(limit, window, limits))
                        .collect();
                    let looks = window.points.iter().filter_map(|(at, value)| {
                        let limit = limits
                            .iter()
                            .filter_map(|window| value_at(&window.points, *at))
                            .filter(|limit| *limit > 0.0 && *limit < NO_LIMIT)
                            .min_by(f64::total_cmp)?;
                        Some(Look {
                            at: *at,
                            level: value / limit,
                            value: *value,
                            limit: Some(limit),
                        })
                    });
                    looks.filter(|look| is_level(factor, look.level)).collect()
                }
            };
            (!looks.is_empty()).then(|| Self {
                factor,
                key: (*window.key).clone(),
                looks,
            })
        });
        gauges.collect()
    }

    /// Whether its being idle speaks for enough of the resource: a machine has more than the limit of
    /// one process, and who is not held back may still be short of processors.
    pub(crate) fn can_clear(&self) -> bool {
        let is_machine = ["host_", "node_", "system_"]
            .iter()
            .any(|whole| self.key.metric.starts_with(whole));
        match self.factor {
            Factor::Throttling | Factor::Load => false,
            Factor::Memory | Factor::Cpu => !is_machine,
            _ => true,
        }
    }

    /// The look at `at` or the last one before it, if it is not older than `max_age`.
    pub(crate) fn at(&self, at: Timestamp, max_age: std::time::Duration) -> Option<&Look> {
        let after = self.looks.partition_point(|look| look.at <= at);
        let look = self.looks.get(after.checked_sub(1)?)?;
        (at.since(look.at) <= max_age).then_some(look)
    }

    /// What `look` says, with value and limit.
    pub(crate) fn statement(&self, look: &Look) -> String {
        let metric = &self.key.metric;
        let value = reading(&self.key, look.value);
        match look.limit {
            None if metric.ends_with("_percent") => format!("{metric} is {value} %"),
            None => format!("{metric} is {value}"),
            Some(limit) => {
                let limit = reading(&self.key, limit);
                let level = number(look.level * 100.0);
                format!("{metric} is {value} of {limit} ({level} %)")
            }
        }
    }
}

/// Whether a resource can be that full. Processors can be overcommitted, others hardly.
fn is_level(factor: Factor, level: f64) -> bool {
    let most = match factor {
        Factor::Cpu | Factor::Load => 4096.0,
        _ => 1.5,
    };
    (0.0..=most).contains(&level)
}

/// Whether `limit` bounds `used`: it is named so and all its labels are those of `used`.
fn is_limit(limit: &SeriesWindow, used: &SeriesWindow, names: &[&str]) -> bool {
    let labels = &used.key.labels;
    names.iter().any(|name| limit.key.metric.ends_with(name))
        && limit
            .key
            .labels
            .iter()
            .all(|(name, value)| labels.get(name) == Some(value))
}

/// The finite value at `at` or last before it, or else the first.
fn value_at(points: &[(Timestamp, f64)], at: Timestamp) -> Option<f64> {
    let after = points.partition_point(|(point, _)| *point <= at);
    let finite = |(_, value): &&(Timestamp, f64)| value.is_finite();
    let before = points[..after].iter().rev().find(finite);
    before
        .or_else(|| points[after..].iter().find(finite))
        .map(|(_, value)| *value)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;

    fn window(metric: &str, points: &[(i64, f64)]) -> SeriesWindow {
        let at = |(secs, value): &(i64, f64)| (Timestamp::from_secs(*secs), *value);
        SeriesWindow {
            key: Arc::new(SeriesKey::new(metric).with("service", "orders")),
            points: points.iter().map(at).collect(),
        }
    }

    fn levels(windows: &[SeriesWindow]) -> Vec<(Factor, Vec<f64>)> {
        let of = |gauge: Gauge| {
            let levels = gauge.looks.iter().map(|look| look.level).collect();
            (gauge.factor, levels)
        };
        Gauge::among(windows).into_iter().map(of).collect()
    }

    #[test]
    fn ratios_percents_and_stocks_with_a_limit_tell_the_same() {
        for windows in [
            vec![window("host_memory_used_ratio", &[(1, 0.25)])],
            vec![window("memory_usage_percent", &[(1, 25.0)])],
            vec![
                window("process_resident_memory_bytes", &[(1, 256.0)]),
                window("container_memory_limit_bytes", &[(0, 1024.0)]),
                window("process_memory_max_bytes", &[(0, 4096.0)]),
            ],
        ] {
            assert_eq!(levels(&windows), [(Factor::Memory, vec![0.25])]);
        }
    }

    #[test]
    fn what_cannot_be_in_its_unit_and_what_has_no_limit_says_nothing() {
        for windows in [
            vec![window(
                "disk_used_ratio",
                &[(1, 97.0), (2, f64::NAN), (3, -0.5)],
            )],
            vec![window("process_open_fds", &[(1, 900.0)])],
            vec![
                window("process_open_fds", &[(1, 900.0)]),
                window("process_max_fds", &[(1, 18_446_744_073_709_551_615.0)]),
            ],
            vec![
                window("process_open_fds", &[(1, 900.0)]),
                window("process_max_fds", &[(0, 0.0), (1, f64::NAN)]),
            ],
            vec![],
        ] {
            assert_eq!(levels(&windows), [], "{windows:?}");
        }
    }

    #[test]
    fn what_is_left_and_what_is_no_fill_level_says_nothing() {
        for name in [
            "memory_available_ratio",
            "cache_hit_ratio",
            "host_cpu_idle_percent",
            "cpu_iowait_percent",
            "cpu_steal_ratio",
            "memory_unused_percent",
            "memory_not_used_ratio",
            "memory_fragmentation_ratio",
            "swap_memory_used_ratio",
            "disk_remaining_percent",
            "disk_io_utilization_percent",
            "disk_utilization_percent",
            "disk_busy_percent",
            "pool_idle_ratio",
            "pool_timeout_ratio",
            "buffer_pool_used_ratio",
            "connections_refused_ratio",
            "thread_error_ratio",
        ] {
            assert_eq!(levels(&[window(name, &[(1, 0.9)])]), [], "{name}");
        }
        for (name, factor) in [
            ("cpu_ratio", Factor::Cpu),
            ("host_cpu_busy_ratio", Factor::Cpu),
            ("filesystem_utilization_ratio", Factor::Disk),
            ("container_cpu_throttled_ratio", Factor::Throttling),
            ("thread_pool_active_ratio", Factor::Threads),
            ("db_pool_used_ratio", Factor::Connections),
            ("fds_used_ratio", Factor::Descriptors),
        ] {
            let found = levels(&[window(name, &[(1, 0.9)])]);
            assert_eq!(found, [(factor, vec![0.9])], "{name}");
        }
    }

    #[test]
    fn a_limit_that_changes_is_read_at_the_time_and_of_the_same_labels() {
        let mut other = window("process_max_fds", &[(0, 1.0)]);
        let labels = (*other.key).clone().with("pool", "other");
        other.key = Arc::new(labels);
        let windows = [
            window("process_open_fds", &[(1, 50.0), (5, 50.0)]),
            window("process_max_fds", &[(2, 100.0), (4, 200.0)]),
            other,
        ];
        assert_eq!(levels(&windows), [(Factor::Descriptors, vec![0.5, 0.25])]);
    }

    #[test]
    fn a_look_is_the_last_before_and_not_too_old() {
        let gauges = Gauge::among(&[window("disk_used_ratio", &[(10, 0.5), (20, 0.75)])]);
        let at = |secs| {
            let look = gauges[0].at(Timestamp::from_secs(secs), Duration::from_secs(60));
            look.map(|look| look.level)
        };
        assert_eq!(at(9), None);
        assert_eq!(
            (at(19), at(20), at(80)),
            (Some(0.5), Some(0.75), Some(0.75))
        );
        assert_eq!(at(81), None);
    }
}
