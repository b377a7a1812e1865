//! What an analyzer looks at: which services, and where the calm before the incident ends.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use homeostasis_core::signal::SeriesKey;
use homeostasis_core::stage::Evidence;
use homeostasis_core::{Context, Observations, SeriesWindow, Target, Timestamp};

use crate::calls::Calls;

/// How long before the estimated onset the incident may in truth have begun: detectors need a
/// few samples to be sure, and callees fall ill before their callers are seen to. Longer, and the
/// end of an earlier incident would be taken for the beginning of this one.
pub(crate) const GUARD: Duration = Duration::from_secs(15);

/// How much later than its caller a callee may seem to fall ill and still be the reason.
pub(crate) const TOLERANCE: Duration = Duration::from_secs(30);

/// The services and the stretch in which the cause is sought.
#[derive(Debug)]
pub(crate) struct Scope<'a> {
    pub(crate) cx: &'a Context,
    pub(crate) from: Timestamp,
    pub(crate) to: Timestamp,
    /// Where the stretch that may be ill begins: the onset minus [`GUARD`].
    pub(crate) split: Timestamp,
    /// The estimated onset.
    pub(crate) onset: Timestamp,
    /// Lines and spans are counted from here on; not before the stretch nor after it.
    pub(crate) complete_since: Timestamp,
    /// The evidence itself: it knows which instants are another incident's.
    evidence: Evidence<'a>,
    /// Services with anomalies.
    pub(crate) affected: BTreeSet<String>,
    /// Those, what they depend on, and who depends on them.
    pub(crate) services: BTreeSet<String>,
    /// Who calls whom.
    pub(crate) calls: Calls,
}

impl<'a> Scope<'a> {
    pub(crate) fn new(cx: &'a Context, evidence: &Evidence<'a>) -> Self {
        let affected: BTreeSet<String> = evidence
            .incident
            .anomalies
            .iter()
            .map(|anomaly| anomaly.target.service_name().to_owned())
            .collect();
        let calls = Calls::of(cx, evidence);
        let related = calls
            .services()
            .filter(|name| affected.iter().any(|ill| calls.related(name, ill)))
            .map(str::to_owned);
        let services = affected.iter().cloned().chain(related).collect();
        // A stretch written the wrong way round, or that begins after the onset, still has an order.
        let from = evidence.from.min(evidence.to);
        let split = (evidence.incident.since - GUARD).clamp(from, evidence.to);
        Self {
            cx,
            from,
            to: evidence.to,
            split,
            onset: evidence.incident.since,
            complete_since: evidence.complete_since.clamp(from, evidence.to),
            evidence: *evidence,
            affected,
            services,
            calls,
        }
    }

    pub(crate) fn observations(&self) -> &dyn Observations {
        self.cx.observations()
    }

    /// Everything measured of `service` in the whole stretch, by name.
    pub(crate) fn series_of(&self, service: &str) -> Vec<SeriesWindow> {
        let Ok(target) = Target::service(service) else {
            return Vec::new();
        };
        let windows = self.observations().series_of(&target, self.from, self.to);
        let mut windows = self.own(windows);
        windows.sort_by(|a, b| a.key.cmp(&b.key));
        windows
    }

    /// The series `metric` of `service` since `from`, by whom they are about.
    pub(crate) fn metric_of(
        &self,
        metric: &str,
        service: &str,
        from: Timestamp,
    ) -> BTreeMap<Target, Vec<SeriesWindow>> {
        let labels = BTreeMap::from([("service".to_owned(), service.to_owned())]);
        let windows = self.observations().series(metric, &labels, from, self.to);
        let mut windows = self.own(windows);
        windows.sort_by(|a, b| a.key.cmp(&b.key));
        let mut found: BTreeMap<Target, Vec<SeriesWindow>> = BTreeMap::new();
        for window in windows {
            if let Some(target) = window.key.target() {
                found.entry(target).or_default().push(window);
            }
        }
        found
    }

    /// Whether what happened at `at` may belong to this incident or to the calm before it.
    pub(crate) fn covers(&self, at: Timestamp) -> bool {
        self.evidence.covers(at)
    }

    /// The same for a line somebody logged: those shortly before another incident was seen to begin
    /// are most likely its first. (A series may lose no calm over that, so it keeps its points.)
    pub(crate) fn covers_line(&self, at: Timestamp) -> bool {
        let others = self.evidence.besides.iter();
        let mut begun = others.map(|(from, _)| *from);
        self.covers(at) && !begun.any(|from| at < from && from <= at + GUARD)
    }

    /// The windows without the points of other incidents.
    fn own(&self, mut windows: Vec<SeriesWindow>) -> Vec<SeriesWindow> {
        for window in &mut windows {
            window.points.retain(|(at, _)| self.covers(*at));
        }
        windows.retain(|window| !window.points.is_empty());
        windows
    }

    /// Whether `service` waits for `other` and not the other way round, so that the illness of the
    /// other shows in the service.
    pub(crate) fn waits_for(&self, service: &str, other: &str) -> bool {
        self.calls.depends_on(service, other) && !self.calls.depends_on(other, service)
    }
}

/// A number for people: three or four digits that matter.
pub(crate) fn number(value: f64) -> String {
    let size = value.abs();
    if size != 0.0 && !(1e-3..1e6).contains(&size) {
        format!("{value:.2e}")
    } else if size >= 100.0 {
        format!("{value:.0}")
    } else if size >= 1.0 {
        format!("{value:.2}")
    } else {
        format!("{value:.4}")
    }
}

/// A value of `key` for people, in the unit its name tells.
pub(crate) fn reading(key: &SeriesKey, value: f64) -> String {
    let metric = &key.metric;
    if metric.ends_with("_bytes") {
        format!("{} MiB", number(value / f64::from(1_u32 << 20)))
    } else if metric.ends_with("_seconds") {
        format!("{} ms", number(value * 1e3))
    } else if metric.ends_with("_ratio") {
        format!("{} %", number(value * 100.0))
    } else if metric.ends_with("_rate") {
        format!("{}/s", number(value))
    } else {
        number(value)
    }
}
