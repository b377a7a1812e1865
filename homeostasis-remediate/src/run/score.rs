//! What speaks for one fitting playbook rather than another: history, time, reach.
//!
//! | part | share | 0 | 1 |
//! |---|---|---|---|
//! | success | 0.4 | it never helped | it always helped |
//! | reach | 0.3 | it reaches far beyond the trouble | not beyond the trouble |
//! | time | 0.2 | it takes for ever | it takes no time |
//! | recency | 0.1 | it never helped | it helped just now |
//!
//! The share of successes is that of a Beta distribution: what the playbook's author claims in
//! `metadata.success_rate` weighs as much as two runs, one of two if nothing is claimed, so that one
//! success of one run is two thirds and not everything. Without a control every such share
//! overstates a remedy, as some trouble passes by itself; so it orders playbooks and opens no gate.

use std::time::Duration;

use homeostasis_core::Timestamp;
use homeostasis_core::document::parse_duration;
use homeostasis_core::port::{Effectiveness, PastIncident};
use homeostasis_core::record::{Plan, RadiusLevel, VerdictKind};
use serde_json::Value;

use crate::playbook::Playbook;

/// How many runs the claim of an author weighs.
const CLAIM: f64 = 2.0;

/// A run of this length has half of the time's share.
const HALF_TIME: Duration = Duration::from_secs(600);

/// A success of this age has half of the recency's share.
const HALF_AGE: Duration = Duration::from_secs(30 * 24 * 3600);

/// What is known of a playbook in similar incidents.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct History {
    pub(super) did: Effectiveness,
    pub(super) last_success: Option<Timestamp>,
}

impl History {
    /// What `similar` incidents say of the playbook `id`; `did` counts all runs against the cause.
    pub(super) fn of(id: &str, similar: &[PastIncident], did: Option<Effectiveness>) -> Self {
        let is_success = |verdict: &VerdictKind| *verdict == VerdictKind::Success;
        let of_it = || similar.iter().flat_map(|past| past.verdicts(id));
        let helped = similar
            .iter()
            .filter(|past| past.verdicts(id).any(|verdict| is_success(&verdict)));
        Self {
            did: did.unwrap_or_else(|| Effectiveness {
                runs: of_it().count() as u64,
                successes: of_it().filter(is_success).count() as u64,
            }),
            last_success: helped.map(|past| past.closed_at).max(),
        }
    }
}

/// The parts of a score, each weighed; their sum is `0..=1`.
pub(super) fn parts(
    playbook: &Playbook,
    plan: &Plan,
    incident_reach: RadiusLevel,
    history: &History,
    now: Timestamp,
) -> [(&'static str, f64); 4] {
    let claimed = playbook
        .metadata()
        .get("success_rate")
        .and_then(Value::as_f64)
        .filter(|rate| (0.0..=1.0).contains(rate))
        .unwrap_or(0.5);
    let Effectiveness { runs, successes } = history.did;
    let success = (CLAIM * claimed + successes as f64) / (CLAIM + runs as f64);
    let beyond = level(plan.radius.level).saturating_sub(level(incident_reach));
    let reach = 1.0 - f64::from(beyond) / 4.0;
    let time = halved(expected_time(playbook), HALF_TIME);
    let recency = history
        .last_success
        .map_or(0.0, |at| halved(now.since(at), HALF_AGE));
    [
        ("success", 0.4 * success),
        ("reach", 0.3 * reach),
        ("time", 0.2 * time),
        ("recency", 0.1 * recency),
    ]
}

/// `2^(-elapsed / half)`.
fn halved(elapsed: Duration, half: Duration) -> f64 {
    (-elapsed.as_secs_f64() / half.as_secs_f64()).exp2()
}

fn level(level: RadiusLevel) -> u32 {
    match level {
        RadiusLevel::SingleInstance => 0,
        RadiusLevel::SingleService => 1,
        RadiusLevel::MultipleServices => 2,
        RadiusLevel::ClusterWide => 3,
        RadiusLevel::MultiRegion => 4,
    }
}

/// What its author measured (`metadata.avg_execution_time`), or the longest a first attempt of each
/// step may take.
fn expected_time(playbook: &Playbook) -> Duration {
    let measured = playbook.metadata().get("avg_execution_time");
    if let Some(measured) = measured.and_then(Value::as_str).and_then(parse_duration) {
        return measured;
    }
    let (mut begins, mut ends) = (Duration::ZERO, Duration::ZERO);
    for step in playbook.steps() {
        if !step.with_previous {
            begins = ends;
        }
        ends = ends.max(begins.saturating_add(step.timeout));
    }
    ends
}
