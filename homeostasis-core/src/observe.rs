//! What was seen lately: the read side of signals, for diagnosis, pre-conditions and verification.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use crate::condition::{Quantity, Scope, Variable};
use crate::signal::{Change, HealthReport, Labels, LogRecord, SeriesKey, SpanRecord};
use crate::target::Target;
use crate::time::Timestamp;

/// A stretch of one series, oldest first.
#[derive(Debug, Clone, PartialEq)]
pub struct SeriesWindow {
    /// Which series.
    pub key: Arc<SeriesKey>,
    /// Its points, by time; values may be NaN.
    pub points: Vec<(Timestamp, f64)>,
}

impl SeriesWindow {
    /// The newest point with a value.
    pub fn latest(&self) -> Option<(Timestamp, f64)> {
        self.points
            .iter()
            .rev()
            .find(|(_, value)| !value.is_nan())
            .copied()
    }

    /// The values that are numbers, oldest first.
    pub fn values(&self) -> impl Iterator<Item = f64> + '_ {
        self.points
            .iter()
            .map(|(_, value)| *value)
            .filter(|value| !value.is_nan())
    }
}

/// Recent signals, bounded by age and number.
///
/// *Guarantee:* reads do not block writers for long and never see the future.
/// Nothing found is an empty answer; what was never measured is unknown, not zero.
pub trait Observations: fmt::Debug + Send + Sync {
    /// All series of `metric` that carry `labels`, with their points in `from..=to`.
    ///
    /// Series without a point in that stretch are left out.
    fn series(
        &self,
        metric: &str,
        labels: &Labels,
        from: Timestamp,
        to: Timestamp,
    ) -> Vec<SeriesWindow>;

    /// Everything measured about `target` (or parts of it) in `from..=to`.
    fn series_of(&self, target: &Target, from: Timestamp, to: Timestamp) -> Vec<SeriesWindow>;

    /// Log records in `from..=to`, oldest first, of `target` or of all.
    fn logs(&self, target: Option<&Target>, from: Timestamp, to: Timestamp) -> Vec<LogRecord>;

    /// Spans that began in `from..=to`, oldest first, of `target` or of all.
    fn spans(&self, target: Option<&Target>, from: Timestamp, to: Timestamp) -> Vec<SpanRecord>;

    /// Changes in `from..=to`, oldest first.
    fn changes(&self, from: Timestamp, to: Timestamp) -> Vec<Change>;

    /// Health reports in `from..=to`, oldest first, of `target` or of all.
    fn health(&self, target: Option<&Target>, from: Timestamp, to: Timestamp) -> Vec<HealthReport>;

    /// How often spans that began in `from..=to` show one service calling another.
    ///
    /// Asked often of the same stretch: implementations that hold spans had better count where they
    /// are, and once.
    fn calls(&self, from: Timestamp, to: Timestamp) -> Arc<SeenCalls> {
        let spans = self.spans(None, from, to);
        Arc::new(seen_calls(spans.iter()))
    }
}

/// How often services called each other: by caller and callee.
pub type SeenCalls = BTreeMap<(String, String), u32>;

/// Counts the calls between services that `spans` show: a span of one whose parent, in the same
/// trace, is a span of another. Spans without a trace show none, since their ids may be those of
/// more than one process. O(n log n).
pub fn seen_calls<'a>(spans: impl Iterator<Item = &'a SpanRecord> + Clone) -> SeenCalls {
    fn service(span: &SpanRecord) -> Option<(&str, &str)> {
        Some((span.trace.as_deref()?, span.target.as_ref()?.service_name()))
    }
    let own = spans.clone().filter(|span| span.span != 0);
    let by_id: HashMap<(&str, u64), &str> = own
        .filter_map(|span| service(span).map(|(trace, who)| ((trace, span.span), who)))
        .collect();
    let mut seen: BTreeMap<(&str, &str), u32> = BTreeMap::new();
    for span in spans.filter(|span| span.parent != 0) {
        let Some((trace, callee)) = service(span) else {
            continue;
        };
        if let Some(caller) = by_id.get(&(trace, span.parent)).filter(|it| **it != callee) {
            let n = seen.entry((caller, callee)).or_default();
            *n = n.saturating_add(1);
        }
    }
    let owned = |((a, b), n): ((&str, &str), u32)| ((a.to_owned(), b.to_owned()), n);
    seen.into_iter().map(owned).collect()
}

/// The present values of one target's metrics, as a [`Scope`] for conditions.
///
/// A variable without labels means the target's series of that name; the newest value not older
/// than `since` counts. Several matching series give their maximum, the worst case for a threshold
/// that alarms upwards; conditions that need another view name their labels.
#[derive(Debug)]
pub struct TargetScope<'a> {
    /// Where to read.
    pub observations: &'a dyn Observations,
    /// Whose metrics; `None` for any.
    pub target: Option<&'a Target>,
    /// Nothing older counts.
    pub since: Timestamp,
    /// The present.
    pub now: Timestamp,
}

impl TargetScope<'_> {
    /// The series that `variable` means, with their points in `since..=now`.
    pub fn series(&self, variable: &Variable) -> Vec<SeriesWindow> {
        let mut labels = variable.labels().clone();
        if let Some(target) = self.target.filter(|_| !labels.contains_key("service")) {
            labels.insert("service".to_owned(), target.service_name().to_owned());
            if let Some(instance) = target.instance_name() {
                labels
                    .entry("instance".to_owned())
                    .or_insert_with(|| instance.to_owned());
            }
        }
        let read = |labels: &Labels| {
            self.observations
                .series(variable.name(), labels, self.since, self.now)
        };
        let mut found = read(&labels);
        let asked_for = variable.label("instance").is_some();
        if found.is_empty() && !asked_for && labels.remove("instance").is_some() {
            // What is measured of the service as a whole holds for its instances.
            found = read(&labels);
            found.retain(|window| !window.key.labels.contains_key("instance"));
        }
        found
    }
}

impl Scope for TargetScope<'_> {
    fn lookup(&self, variable: &Variable) -> Option<Quantity> {
        self.series(variable)
            .iter()
            .filter_map(|window| window.latest().map(|(_, value)| value))
            .reduce(f64::max)
            .map(Quantity::number)
    }
}

/// Observations of nothing: every question has an empty answer.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoObservations;

impl Observations for NoObservations {
    fn series(&self, _: &str, _: &Labels, _: Timestamp, _: Timestamp) -> Vec<SeriesWindow> {
        Vec::new()
    }

    fn series_of(&self, _: &Target, _: Timestamp, _: Timestamp) -> Vec<SeriesWindow> {
        Vec::new()
    }

    fn logs(&self, _: Option<&Target>, _: Timestamp, _: Timestamp) -> Vec<LogRecord> {
        Vec::new()
    }

    fn spans(&self, _: Option<&Target>, _: Timestamp, _: Timestamp) -> Vec<SpanRecord> {
        Vec::new()
    }

    fn changes(&self, _: Timestamp, _: Timestamp) -> Vec<Change> {
        Vec::new()
    }

    fn health(&self, _: Option<&Target>, _: Timestamp, _: Timestamp) -> Vec<HealthReport> {
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::RecordedObservations;

    #[test]
    fn an_instance_without_its_own_series_reads_those_of_its_service() {
        let at = Timestamp::from_secs(10);
        let of = |key: SeriesKey, value| (key.with("service", "orders"), value);
        let (whole, own) = (
            SeriesKey::new("load"),
            SeriesKey::new("up").with("instance", "0"),
        );
        let other = SeriesKey::new("load_own").with("instance", "1");
        let world = [of(whole, 1.0), of(own, 0.0), of(other, 5.0)]
            .into_iter()
            .fold(RecordedObservations::default(), |world, (key, value)| {
                world.with_point(key, at, value)
            });
        let target = Target::instance("orders", "0").unwrap();
        let scope = TargetScope {
            observations: &world,
            target: Some(&target),
            since: Timestamp::EPOCH,
            now: at,
        };
        let truth = |text: &str| {
            crate::condition::Condition::parse(text)
                .unwrap()
                .evaluate(&scope)
                .unwrap()
        };
        assert!(truth("load == 1").is_true());
        assert!(truth("up == 0").is_true());
        assert!(truth("load_own == 5").is_unknown());
    }
}
