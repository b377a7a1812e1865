//! Who is leaking: steady growth of a resource, large against its own past.

use std::collections::BTreeMap;
use std::sync::Arc;

use homeostasis_core::record::{Category, Finding, Proof, Role};
use homeostasis_core::stage::{AnalyzeError, Analyzer, Evidence};
use homeostasis_core::{Context, SeriesWindow, Timestamp, async_trait};

use crate::meaning::Resource;
use crate::scope::{Scope, reading};
use crate::stats::{Level, buckets, mann_kendall, median, theil_sen};

/// Points are folded into at most this many medians before trends are sought.
const N_BUCKETS: u32 = 40;

/// Shorter series have no trend that could be told from chance.
const MIN_BUCKETS: usize = 8;

/// One-sided 0.1 % of the standard normal distribution.
const SIGNIFICANT: f64 = 3.09;

/// Looks for resources that grow steadily: memory, descriptors, threads, disks.
///
/// The slope is the median over all pairs of points (Theil and Sen), steadiness is tested by Mann
/// and Kendall at 0.1 %. Growth counts only if it still goes on in its last third, so that a
/// warm-up that flattens does not, and if it exceeds a tenth of the level it began at, three times
/// the noise around the line, and a floor by unit. The onset is unknown, so the whole stretch, its
/// last half and its last quarter are tried and the strongest one counts; where there is a past
/// before it, the growth must also exceed three times the slope of that past.
///
/// Descriptors count without the established connections among them (`process_connections` of the
/// same process), which also pile up where somebody else is slow.
///
/// Causes: `memory_leak`, `descriptor_leak`, `thread_leak`, `disk_full`, or `resource_growth` for
/// other ratios; 1 to 5 nats.
#[derive(Debug, Clone, Copy, Default)]
pub struct TrendAnalyzer;

#[derive(Debug, Clone, Copy)]
struct Growth {
    onset: Timestamp,
    from: f64,
    to: f64,
    per_second: f64,
    /// How many times larger than what would not matter.
    effect: f64,
}

impl Growth {
    fn of(window: &SeriesWindow, floor: f64) -> Option<Self> {
        let points: Vec<_> = window
            .points
            .iter()
            .filter(|(_, value)| value.is_finite())
            .copied()
            .collect();
        let (first, last) = (points.first()?.0, points.last()?.0);
        let span = last.since(first);
        [1, 2, 4]
            .into_iter()
            .filter_map(|part| {
                let split = points.partition_point(|(at, _)| *at < last - span / part);
                Self::in_stretch(&points[..split], &points[split..], floor)
            })
            .max_by(|a, b| a.effect.total_cmp(&b.effect))
    }

    fn in_stretch(
        past: &[(Timestamp, f64)],
        points: &[(Timestamp, f64)],
        floor: f64,
    ) -> Option<Self> {
        let line = buckets(points, N_BUCKETS);
        if line.len() < MIN_BUCKETS {
            return None;
        }
        let values: Vec<f64> = line.iter().map(|(_, value)| *value).collect();
        let slope = theil_sen(&line)?;
        let late = &line[line.len() - line.len() / 3 - 2..];
        let is_steady =
            slope > 0.0 && mann_kendall(&values) > SIGNIFICANT && theil_sen(late)? > slope / 3.0;
        if !is_steady {
            return None;
        }
        let past = buckets(past, N_BUCKETS);
        if past.len() >= MIN_BUCKETS && slope < 3.0 * theil_sen(&past)? {
            return None;
        }
        let seconds = line.last()?.0 - line.first()?.0;
        let growth = slope * seconds;
        let intercept = median(line.iter().map(|(at, value)| value - slope * at))?;
        let start = intercept + slope * line.first()?.0;
        let rest = line.iter().map(|(at, v)| v - intercept - slope * at);
        let noise = Level::of(rest, 4, 0.0)?.scale;
        let effect = growth / (0.1 * start.abs()).max(3.0 * noise).max(floor);
        (effect.is_finite() && effect > 1.0).then_some(Self {
            onset: points.first()?.0,
            from: start,
            to: start + growth,
            per_second: slope,
            effect,
        })
    }

    fn nats(self) -> f64 {
        (1.0 + 2.0 * self.effect.ln()).clamp(1.0, 5.0)
    }
}

/// The descriptors of a process that are no established connections, if those are known: where
/// somebody is slow, requests wait and their connections pile up, and nothing leaks.
fn without_connections(open: &SeriesWindow, windows: &[SeriesWindow]) -> Option<SeriesWindow> {
    let connections = windows.iter().find(|window| {
        window.key.metric == "process_connections" && window.key.labels == open.key.labels
    })?;
    let established: BTreeMap<Timestamp, f64> = connections.points.iter().copied().collect();
    let points = open
        .points
        .iter()
        .filter_map(|(at, value)| Some((*at, value - established.get(at)?)))
        .collect();
    Some(SeriesWindow {
        key: Arc::clone(&open.key),
        points,
    })
}

#[async_trait]
impl Analyzer for TrendAnalyzer {
    fn name(&self) -> &'static str {
        "trend"
    }

    async fn analyze(
        &self,
        cx: &Context,
        evidence: &Evidence<'_>,
    ) -> Result<Vec<Finding>, AnalyzeError> {
        let scope = Scope::new(cx, evidence);
        let mut findings: Vec<Finding> = Vec::new();
        let windows: Vec<SeriesWindow> = scope
            .services
            .iter()
            .flat_map(|service| scope.series_of(service))
            .collect();
        for window in &windows {
            let (Some(resource), Some(target)) =
                (Resource::of(&window.key.metric), window.key.target())
            else {
                continue;
            };
            let is_open = resource.cause == "descriptor_leak";
            let rest = is_open.then(|| without_connections(window, &windows));
            let rest = rest.flatten();
            let Some(growth) = Growth::of(rest.as_ref().unwrap_or(window), resource.floor) else {
                continue;
            };
            let statement = format!(
                "{} grew steadily from {} to {}, {} per minute",
                window.key.metric,
                reading(&window.key, growth.from),
                reading(&window.key, growth.to),
                reading(&window.key, growth.per_second * 60.0)
            );
            let mut finding = Finding::new(
                self.name(),
                target.clone(),
                resource.cause,
                Category::ResourceExhaustion,
                Role::Cause,
                growth.nats(),
            )
            .proven_by(Proof {
                kind: "series".to_owned(),
                reference: window.key.to_string(),
                at: Some(growth.onset),
                statement: statement.clone(),
            })
            .saying(format!("{target}: {statement}"));
            finding.onset = Some(growth.onset);
            findings.push(finding);
        }
        Ok(findings)
    }
}

#[cfg(test)]
mod tests {
    use homeostasis_core::signal::SeriesKey;

    use super::*;

    const MIB: f64 = 1_048_576.0;

    fn growth(mib: impl Fn(f64) -> f64) -> Option<Growth> {
        let key = SeriesKey::new("process_resident_memory_bytes").with("service", "catalog");
        let points = (0..300_u32)
            .map(|i| {
                let wobble = f64::from(i * 7919 % 13) / 13.0;
                let at = Timestamp::from_secs(i64::from(i) * 2);
                (at, (mib(f64::from(i)) + wobble) * MIB)
            })
            .collect();
        let window = SeriesWindow {
            key: Arc::new(key),
            points,
        };
        Growth::of(&window, 4.0 * MIB)
    }

    #[test]
    fn connections_that_pile_up_are_no_leak_of_descriptors() {
        let series = |metric: &str, value: &dyn Fn(f64) -> f64| SeriesWindow {
            key: Arc::new(SeriesKey::new(metric).with("service", "catalog")),
            points: (0..300_u32)
                .map(|i| (Timestamp::from_secs(i64::from(i)), value(f64::from(i))))
                .collect(),
        };
        let connections = series("process_connections", &|i| 5.0 + i / 2.0);
        let open = |leaked: f64| series("process_open_fds", &|i| 20.0 + i / 2.0 + leaked * i);
        let grows = |open: &SeriesWindow| {
            let rest = without_connections(open, std::slice::from_ref(&connections)).unwrap();
            Growth::of(&rest, 16.0).is_some()
        };
        assert!(Growth::of(&open(0.0), 16.0).is_some());
        assert!(!grows(&open(0.0)));
        assert!(grows(&open(1.0)));
        assert!(without_connections(&open(0.0), &[]).is_none());
    }

    #[test]
    fn a_leak_is_found_whether_it_is_old_or_young() {
        let old = growth(|i| 50.0 + i).unwrap();
        assert!(old.nats() > 4.0, "{old:?}");
        let young = growth(|i| 50.0 + (i - 240.0).max(0.0) * 2.0).unwrap();
        assert!(young.nats() > 3.0, "{young:?}");
        assert!(young.onset >= Timestamp::from_secs(440), "{young:?}");
    }

    #[test]
    fn level_noise_step_warm_up_and_sawtooth_are_no_leaks() {
        assert!(growth(|_| 50.0).is_none());
        assert!(growth(|i| if i < 250.0 { 50.0 } else { 90.0 }).is_none());
        assert!(growth(|i| 100.0 - 80.0 * (-i / 40.0).exp()).is_none());
        assert!(growth(|i| 50.0 + i % 37.0).is_none());
        assert!(growth(|i| 150.0 - i / 3.0).is_none());
    }

    #[test]
    fn growth_that_has_always_been_is_not_large_against_its_past() {
        let always = growth(|i| 1000.0 + i / 50.0);
        assert!(always.is_none(), "{always:?}");
    }
}
