//! What is said of a check that fails.

use std::time::Duration;

use homeostasis_core::Timestamp;
use homeostasis_core::document::format_duration;
use homeostasis_core::record::{Anomaly, Expectation, Subject};
use homeostasis_core::signal::{HealthReport, HealthState};

/// The longest detail that is repeated, in characters; an explanation has its bounds.
const MAX_DETAIL: usize = 1024;

/// The state as a number for the picture: 0 healthy, 1 degraded, 2 unhealthy, 3 critical.
pub(super) fn level(state: HealthState) -> f64 {
    match state {
        HealthState::Healthy => 0.0,
        HealthState::Degraded => 1.0,
        HealthState::Unhealthy => 2.0,
        HealthState::Critical => 3.0,
    }
}

/// The anomaly of a check that fails, without hints.
pub(super) fn anomaly(
    detector: &str,
    report: &HealthReport,
    since: Timestamp,
    n_bad: u32,
) -> Anomaly {
    let subject = Subject::Health(report.check.clone());
    let mut anomaly = Anomaly::new(detector, report.target.clone(), subject, report.at)
        .saying(sentence(report, since, n_bad));
    anomaly.since = since;
    anomaly.expected = Expectation::Words("healthy".to_owned());
    anomaly
}

fn sentence(report: &HealthReport, since: Timestamp, n_bad: u32) -> String {
    let reports = if n_bad == 1 { "report" } else { "reports" };
    let lasting = match report.at.since(since) {
        Duration::ZERO => String::new(),
        length => format!(" ({} so far)", format_duration(length)),
    };
    let detail: String = report.detail.trim().chars().take(MAX_DETAIL).collect();
    let colon = if detail.is_empty() { "" } else { ": " };
    format!(
        "health check {} is {}, expected healthy; {n_bad} bad {reports} in a row since {since}{lasting}{colon}{detail}",
        report.check, report.state
    )
}
