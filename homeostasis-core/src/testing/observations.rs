//! Observations from memory: a world that a test writes down.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::observe::{Observations, SeriesWindow};
use crate::signal::{Change, HealthReport, Labels, LogRecord, SeriesKey, SpanRecord};
use crate::target::Target;
use crate::time::{Clock, Timestamp};

/// Observations that were recorded beforehand, in any order.
///
/// Paced by a clock they hide what has not happened yet, so that code that waits and looks again
/// meets the recording as it would have met the world.
///
/// ```
/// use std::time::Duration;
/// use homeostasis::core::signal::{Labels, SeriesKey};
/// use homeostasis::core::testing::RecordedObservations;
/// use homeostasis::core::{Observations, Timestamp};
///
/// let start = Timestamp::from_secs(0);
/// let world = RecordedObservations::new().with_sampled(
///     SeriesKey::new("up").with("service", "orders"),
///     start,
///     start + Duration::from_secs(60),
///     Duration::from_secs(10),
///     |at| if at < Timestamp::from_secs(30) { 1.0 } else { 0.0 },
/// );
/// let seen = world.series("up", &Labels::new(), start, Timestamp::from_secs(30));
/// assert_eq!(seen[0].latest(), Some((Timestamp::from_secs(30), 0.0)));
/// ```
#[derive(Debug, Clone, Default)]
pub struct RecordedObservations {
    series: BTreeMap<Arc<SeriesKey>, Vec<(Timestamp, f64)>>,
    logs: Vec<LogRecord>,
    spans: Vec<SpanRecord>,
    changes: Vec<Change>,
    health: Vec<HealthReport>,
    clock: Option<Arc<dyn Clock>>,
}

impl RecordedObservations {
    /// Nothing recorded yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same, hiding everything after the present of `clock`.
    pub fn paced_by(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = Some(clock);
        self
    }

    /// The same with one point more.
    pub fn with_point(self, key: SeriesKey, at: Timestamp, value: f64) -> Self {
        self.with_series(key, [(at, value)])
    }

    /// The same with these points more; they join those the series already has.
    pub fn with_series(
        mut self,
        key: SeriesKey,
        points: impl IntoIterator<Item = (Timestamp, f64)>,
    ) -> Self {
        let all = self.series.entry(Arc::new(key)).or_default();
        all.extend(points);
        // Stable: points of one instant keep the order of recording.
        all.sort_by_key(|(at, _)| *at);
        self
    }

    /// The same with the points of `value` at `from`, `from + step` … up to `to`, both included.
    ///
    /// A `step` of zero gives the one point at `from`.
    pub fn with_sampled(
        self,
        key: SeriesKey,
        from: Timestamp,
        to: Timestamp,
        step: Duration,
        mut value: impl FnMut(Timestamp) -> f64,
    ) -> Self {
        let mut points = Vec::new();
        let mut at = from;
        while at <= to {
            points.push((at, value(at)));
            let next = at + step;
            if next == at {
                break;
            }
            at = next;
        }
        self.with_series(key, points)
    }

    /// The same with one log record more.
    pub fn with_log(mut self, record: LogRecord) -> Self {
        self.logs.push(record);
        self.logs.sort_by_key(|record| record.at);
        self
    }

    /// The same with one span more.
    pub fn with_span(mut self, span: SpanRecord) -> Self {
        self.spans.push(span);
        self.spans.sort_by_key(|span| span.at);
        self
    }

    /// The same with one change more.
    pub fn with_change(mut self, change: Change) -> Self {
        self.changes.push(change);
        self.changes.sort_by_key(|change| change.at);
        self
    }

    /// The same with one health report more.
    pub fn with_health(mut self, report: HealthReport) -> Self {
        self.health.push(report);
        self.health.sort_by_key(|report| report.at);
        self
    }

    fn visible(&self, to: Timestamp) -> Timestamp {
        self.clock.as_ref().map_or(to, |clock| to.min(clock.now()))
    }

    fn windows(
        &self,
        from: Timestamp,
        to: Timestamp,
        wanted: impl Fn(&SeriesKey) -> bool,
    ) -> Vec<SeriesWindow> {
        let to = self.visible(to);
        self.series
            .iter()
            .filter(|(key, _)| wanted(key))
            .filter_map(|(key, points)| {
                let points: Vec<_> = points
                    .iter()
                    .filter(|(at, _)| (from..=to).contains(at))
                    .copied()
                    .collect();
                (!points.is_empty()).then(|| SeriesWindow {
                    key: Arc::clone(key),
                    points,
                })
            })
            .collect()
    }
}

/// The records of one kind in a stretch, of `target` or of all.
fn select<T: Clone>(
    records: &[T],
    stretch: (Timestamp, Timestamp),
    target: Option<&Target>,
    at: impl Fn(&T) -> Timestamp,
    of: impl Fn(&T) -> Option<&Target>,
) -> Vec<T> {
    records
        .iter()
        .filter(|record| (stretch.0..=stretch.1).contains(&at(record)))
        .filter(|record| {
            target.is_none_or(|wanted| of(record).is_some_and(|its| wanted.contains(its)))
        })
        .cloned()
        .collect()
}

impl Observations for RecordedObservations {
    fn series(
        &self,
        metric: &str,
        labels: &Labels,
        from: Timestamp,
        to: Timestamp,
    ) -> Vec<SeriesWindow> {
        self.windows(from, to, |key| key.matches(metric, labels))
    }

    fn series_of(&self, target: &Target, from: Timestamp, to: Timestamp) -> Vec<SeriesWindow> {
        self.windows(from, to, |key| {
            key.target().is_some_and(|its| target.contains(&its))
        })
    }

    fn logs(&self, target: Option<&Target>, from: Timestamp, to: Timestamp) -> Vec<LogRecord> {
        select(
            &self.logs,
            (from, self.visible(to)),
            target,
            |record| record.at,
            |record| record.target.as_ref(),
        )
    }

    fn spans(&self, target: Option<&Target>, from: Timestamp, to: Timestamp) -> Vec<SpanRecord> {
        select(
            &self.spans,
            (from, self.visible(to)),
            target,
            |span| span.at,
            |span| span.target.as_ref(),
        )
    }

    fn changes(&self, from: Timestamp, to: Timestamp) -> Vec<Change> {
        select(
            &self.changes,
            (from, self.visible(to)),
            None,
            |change| change.at,
            |change| Some(&change.target),
        )
    }

    fn health(&self, target: Option<&Target>, from: Timestamp, to: Timestamp) -> Vec<HealthReport> {
        select(
            &self.health,
            (from, self.visible(to)),
            target,
            |report| report.at,
            |report| Some(&report.target),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signal::{HealthState, Level};
    use crate::time::ManualClock;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    fn target(text: &str) -> Target {
        text.parse().unwrap()
    }

    fn up(instance: &str) -> SeriesKey {
        SeriesKey::new("up")
            .with("service", "orders")
            .with("instance", instance)
    }

    #[test]
    fn points_come_sorted_and_only_from_the_stretch_asked_for() {
        let world = RecordedObservations::new()
            .with_point(up("0"), at(30), 3.0)
            .with_series(up("0"), [(at(10), 1.0), (at(20), 2.0)])
            .with_point(up("1"), at(90), 9.0);
        let seen = world.series("up", &Labels::new(), at(10), at(20));
        assert_eq!(seen.len(), 1);
        assert_eq!(seen[0].points, [(at(10), 1.0), (at(20), 2.0)]);
        assert!(
            world
                .series("down", &Labels::new(), at(0), at(99))
                .is_empty()
        );
    }

    #[test]
    fn a_service_includes_its_instances_and_not_the_other_way_round() {
        let world = RecordedObservations::new()
            .with_point(up("0"), at(1), 1.0)
            .with_log(LogRecord::new(at(1), Level::Error, "a").of(target("orders/1")))
            .with_log(LogRecord::new(at(2), Level::Error, "b").of(target("orders")))
            .with_log(LogRecord::new(at(3), Level::Error, "nobody's"))
            .with_health(HealthReport::new(
                at(2),
                target("orders/0"),
                "http",
                HealthState::Unhealthy,
            ));
        assert_eq!(world.series_of(&target("orders"), at(0), at(9)).len(), 1);
        assert_eq!(world.series_of(&target("orders/0"), at(0), at(9)).len(), 1);
        assert!(
            world
                .series_of(&target("orders/1"), at(0), at(9))
                .is_empty()
        );
        assert_eq!(world.logs(Some(&target("orders")), at(0), at(9)).len(), 2);
        assert_eq!(world.logs(None, at(0), at(9)).len(), 3);
        assert_eq!(world.health(None, at(0), at(9)).len(), 1);
        assert!(
            world
                .health(Some(&target("catalog")), at(0), at(9))
                .is_empty()
        );
    }

    #[test]
    fn a_clock_hides_the_future() {
        let clock = ManualClock::new(at(10));
        let world = RecordedObservations::new()
            .with_sampled(up("0"), at(0), at(60), Duration::from_secs(5), |_| 1.0)
            .paced_by(Arc::new(clock.clone()));
        let count = || {
            world.series("up", &Labels::new(), at(0), at(60))[0]
                .points
                .len()
        };
        assert_eq!(count(), 3);
        clock.advance(Duration::from_secs(100));
        assert_eq!(count(), 13);
    }

    #[test]
    fn a_step_of_zero_gives_one_point() {
        let world = RecordedObservations::new().with_sampled(
            up("0"),
            at(0),
            at(60),
            Duration::ZERO,
            |_| 1.0,
        );
        assert_eq!(
            world.series_of(&target("orders"), at(0), at(60))[0]
                .points
                .len(),
            1
        );
    }
}
