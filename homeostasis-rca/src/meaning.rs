//! What a metric speaks of, told by its name: latency, errors, queues, resources.

use homeostasis_core::record::Category;

/// What a rise of a metric means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Meaning {
    /// It answers more slowly.
    Latency,
    /// It fails more often.
    Errors,
    /// Work piles up: in flight, queued, pending.
    Queue,
    /// It computes more.
    Cpu,
}

impl Meaning {
    /// The meaning of `metric` by the naming conventions of the workspace; `None` for anything else.
    pub(crate) fn of(metric: &str) -> Option<Self> {
        let has = |part| metric.contains(part);
        if has("in_flight") || has("inflight") || has("queue_length") || has("pending_requests") {
            return Some(Self::Queue);
        }
        if metric == "error_ratio"
            || metric.ends_with("_error_ratio")
            || metric.ends_with("_errors_rate")
            || metric.ends_with("_failures_rate")
        {
            return Some(Self::Errors);
        }
        if metric.ends_with("cpu_ratio") {
            return Some(Self::Cpu);
        }
        let is_quantile = ["_p50_seconds", "_p95_seconds", "_p99_seconds"]
            .iter()
            .any(|suffix| metric.ends_with(suffix));
        let is_latency =
            metric.ends_with("latency_seconds") || metric.ends_with("response_time_seconds");
        (is_quantile || is_latency).then_some(Self::Latency)
    }

    /// The smallest deviation that can matter, in the unit of the metric.
    pub(crate) fn floor(self, metric: &str) -> f64 {
        match self {
            // Five milliseconds, one percentage point, a tenth of a request per second.
            Self::Latency => 0.005,
            Self::Errors if metric.ends_with("_rate") => 0.1,
            Self::Errors => 0.01,
            Self::Queue => 0.5,
            Self::Cpu => 0.05,
        }
    }

    /// What it is called when it is the cause.
    pub(crate) fn cause(self) -> (&'static str, Category) {
        match self {
            Self::Latency | Self::Queue => ("slow_response", Category::ResourceExhaustion),
            Self::Errors => ("error_rate", Category::ApplicationError),
            Self::Cpu => ("cpu_saturation", Category::ResourceExhaustion),
        }
    }

    /// How much its rise says, compared with a rise of latency or errors: a queue also grows where
    /// somebody else is slow.
    pub(crate) fn weight(self) -> f64 {
        match self {
            Self::Latency | Self::Errors | Self::Cpu => 1.0,
            Self::Queue => 0.5,
        }
    }
}

/// A resource that runs out when it grows steadily.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Resource {
    /// What its steady growth is called.
    pub(crate) cause: &'static str,
    /// The smallest growth that can matter, in the unit of the metric.
    pub(crate) floor: f64,
}

impl Resource {
    /// The resource that `metric` measures; `None` for what is no stock: rates, latencies, errors.
    pub(crate) fn of(metric: &str) -> Option<Self> {
        let has = |part| metric.contains(part);
        let made = |cause, floor| Some(Self { cause, floor });
        let is_flow = has("_rate") || has("_total") || has("request") || has("response");
        if is_flow || Meaning::of(metric).is_some() {
            return None;
        }
        if metric.ends_with("_fds") || has("file_descriptors") {
            return made("descriptor_leak", 16.0);
        }
        if metric.ends_with("_threads") {
            return made("thread_leak", 8.0);
        }
        let is_disk = has("disk") || has("filesystem");
        if metric.ends_with("_bytes") && !has("free") && !has("available") && !has("limit") {
            let mib = f64::from(1_u32 << 20);
            return made(if is_disk { "disk_full" } else { "memory_leak" }, 4.0 * mib);
        }
        if is_disk && has("us") && metric.ends_with("_ratio") {
            return made("disk_full", 0.05);
        }
        if is_disk && has("us") && metric.ends_with("_percent") {
            return made("disk_full", 5.0);
        }
        if (has("memory") || has("heap")) && metric.ends_with("_ratio") {
            return made("memory_leak", 0.05);
        }
        if metric.ends_with("_ratio") {
            return made("resource_growth", 0.05);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conventional_names_have_their_meaning() {
        for (metric, meaning) in [
            ("http_request_duration_p95_seconds", Some(Meaning::Latency)),
            ("probe_latency_seconds", Some(Meaning::Latency)),
            ("error_ratio", Some(Meaning::Errors)),
            ("http_request_errors_rate", Some(Meaning::Errors)),
            ("http_requests_in_flight", Some(Meaning::Queue)),
            ("process_cpu_ratio", Some(Meaning::Cpu)),
            ("http_requests_rate", None),
            ("process_start_time_seconds", None),
            ("up", None),
        ] {
            assert_eq!(Meaning::of(metric), meaning, "{metric}");
        }
    }

    #[test]
    fn only_stocks_can_leak() {
        let cause = |metric| Resource::of(metric).map(|resource| resource.cause);
        assert_eq!(cause("process_resident_memory_bytes"), Some("memory_leak"));
        assert_eq!(cause("process_open_fds"), Some("descriptor_leak"));
        assert_eq!(cause("process_threads"), Some("thread_leak"));
        assert_eq!(cause("disk_used_ratio"), Some("disk_full"));
        assert_eq!(cause("pool_used_ratio"), Some("resource_growth"));
        for flow in [
            "network_received_bytes_total",
            "http_response_size_bytes",
            "error_ratio",
            "process_cpu_ratio",
            "memory_available_bytes",
        ] {
            assert_eq!(cause(flow), None, "{flow}");
        }
    }
}
