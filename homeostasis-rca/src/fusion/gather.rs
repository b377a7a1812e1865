//! A bundle from what an engine observes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use homeostasis_core::record::Subject;
use homeostasis_core::signal::Change;
use homeostasis_core::stage::Evidence;
use homeostasis_core::{Context, Target, Timestamp};

use super::activity::Activity;
use super::bundle::{Alarm, EvidenceBundle, EvidenceChange, EvidenceSeries, SeriesKind, Worse};
use crate::scope::Scope;

/// So long is a slice of logs and spans.
const SLICE: Duration = Duration::from_secs(60);

/// So many slices are made at most, the last ones.
const MAX_SLICES: u32 = 30;

impl EvidenceBundle {
    /// What `cx` observed of the services that `evidence` concerns: calm is what was before the
    /// estimated onset, less a guard of 15 seconds, and outside of other incidents.
    ///
    /// Services that call each other in a circle are kept as they are.
    pub fn gather(cx: &Context, evidence: &Evidence<'_>) -> Self {
        let scope = Scope::new(cx, evidence);
        let mut bundle = Self::new(scope.onset.min(scope.to), scope.to);
        let first = evidence.incident.anomalies.iter().min_by_key(|it| it.since);
        bundle.alarm = first.and_then(|anomaly| match &anomaly.subject {
            Subject::Series(key) => Some(Alarm {
                service: anomaly.target.service_name().to_owned(),
                metric: key.metric.clone(),
                at: anomaly.since,
            }),
            _ => None,
        });
        for (name, facts) in cx.topology().services() {
            if scope.services.contains(name) {
                bundle
                    .calls
                    .insert(name.to_owned(), facts.depends_on.clone());
            }
        }
        for service in &scope.services {
            for window in scope.series_of(service) {
                let metric = window.key.metric.clone();
                let split = window.points.partition_point(|(at, _)| *at < scope.split);
                let (calm, points) = window.points.split_at(split);
                bundle.series.push(EvidenceSeries {
                    service: service.clone(),
                    callee: None,
                    kind: SeriesKind::of_metric(&metric),
                    worse: worse_of(&metric),
                    metric,
                    calm: calm
                        .iter()
                        .map(|(_, value)| *value)
                        .filter(|v| v.is_finite())
                        .collect(),
                    points: points
                        .iter()
                        .filter(|(_, v)| v.is_finite())
                        .copied()
                        .collect(),
                });
            }
        }
        bundle.slices = slices(&scope, bundle.onset, scope.to);
        bundle.calm = slices(&scope, scope.complete_since.min(scope.split), scope.split);
        let changes = scope.observations().changes(scope.from, scope.to);
        let related = changes.into_iter().filter(|change| {
            scope.services.contains(change.target.service_name()) && scope.covers(change.at)
        });
        bundle.changes = related
            .map(|change| EvidenceChange {
                id: change_id(&change).to_owned(),
                at: change.at,
                service: change.target.service_name().to_owned(),
                files: change
                    .fields
                    .get("files")
                    .map(|files| files.lines().map(str::to_owned).collect())
                    .unwrap_or_default(),
                diff: change.fields.get("diff").unwrap_or_default().to_owned(),
                summary: change.summary,
            })
            .collect();
        bundle
    }
}

/// Under which name a change is known: its commit, or else what it says of itself.
pub(super) fn change_id(change: &Change) -> &str {
    change.fields.get("commit").unwrap_or(&change.summary)
}

/// Which direction is bad, by the usual names of what is good.
fn worse_of(metric: &str) -> Worse {
    let metric = metric.to_ascii_lowercase();
    if metric.contains("success") || metric.contains("availability") {
        Worse::Down
    } else {
        Worse::Up
    }
}

/// Logs and spans of `from..to` of the services in scope, by slices; empty ones are left out.
fn slices(scope: &Scope<'_>, from: Timestamp, to: Timestamp) -> Vec<Activity> {
    let from = from.max(to - SLICE * MAX_SLICES);
    let is_own = |service: Option<&str>| service.is_some_and(|it| scope.services.contains(it));
    let place = |at: Timestamp| at.since(from).as_secs() / SLICE.as_secs();
    let mut spans: BTreeMap<u64, Vec<_>> = BTreeMap::new();
    for span in scope.observations().spans(None, from, to) {
        let service = span.target.as_ref().map(Target::service_name);
        if is_own(service) && scope.covers(span.at) && span.at < to {
            spans.entry(place(span.at)).or_default().push(span);
        }
    }
    let mut logs: BTreeMap<u64, Vec<_>> = BTreeMap::new();
    for log in scope.observations().logs(None, from, to) {
        let service = log.target.as_ref().map(Target::service_name);
        if is_own(service) && scope.covers(log.at) && log.at < to {
            logs.entry(place(log.at)).or_default().push(log);
        }
    }
    let places: BTreeSet<u64> = spans.keys().chain(logs.keys()).copied().collect();
    let slice = |place: u64| {
        let began = from + Duration::from_secs(place * SLICE.as_secs());
        let spans = spans.get(&place).map_or(&[][..], Vec::as_slice);
        let logs = logs.get(&place).map_or(&[][..], Vec::as_slice);
        Activity::of(began, (began + SLICE).min(to), spans, logs)
    };
    places.into_iter().map(slice).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn less_of_what_is_good_is_worse_however_it_is_spelled() {
        for good in ["success_ratio", "SuccessRate(%)", "Availability"] {
            assert_eq!(worse_of(good), Worse::Down, "{good}");
        }
        assert_eq!(worse_of("Latency"), Worse::Up);
    }
}
