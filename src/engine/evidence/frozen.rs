//! Signals as they were at one moment, bounded.

use std::collections::BTreeSet;
use std::sync::Arc;

use homeostasis_core::signal::{Change, HealthReport, Labels, LogRecord, SeriesKey, SpanRecord};
use homeostasis_core::{Observations, SeriesWindow, Target, Timestamp};

use super::budget::{Cut, LeftOut, POINT_BYTES, Relevance, Weighed};
use crate::engine::window::{View, Window, is_of};

/// What was seen in one stretch: everything an analysis may look at.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Frozen {
    /// By key.
    pub(super) series: Vec<SeriesWindow>,
    /// These by time.
    pub(super) logs: Vec<LogRecord>,
    pub(super) spans: Vec<SpanRecord>,
    pub(super) changes: Vec<Change>,
    pub(super) health: Vec<HealthReport>,
}

impl Frozen {
    /// What `window` holds of `from..=to`, at most `budget` bytes of it; `related` are the services
    /// whose signals matter more. `known` sees it before anything is copied, and what it answers takes
    /// the place of a copy.
    ///
    /// Values in the environment of an error that are no finite numbers are left out: no file could
    /// hold them.
    pub(crate) fn of<T>(
        window: &Window,
        (from, to): (Timestamp, Timestamp),
        related: &BTreeSet<String>,
        budget: u64,
        known: impl FnOnce(&Seen<'_>) -> Option<T>,
    ) -> Result<(Self, LeftOut, Timestamp), T> {
        window.read(|view| {
            let seen = Seen::of(&view, (from, to), related, budget);
            if let Some(known) = known(&seen) {
                return Err(known);
            }
            let (left_out, complete_since) = (seen.left_out, seen.complete_since);
            let mut frozen = Self {
                series: seen.series,
                logs: seen.logs.into_iter().cloned().collect(),
                spans: seen.spans.into_iter().cloned().collect(),
                changes: seen.changes.into_iter().cloned().collect(),
                health: seen.health.into_iter().cloned().collect(),
            };
            frozen.in_order();
            Ok((frozen, left_out, complete_since))
        })
    }

    /// Brings everything into the order in which it is read.
    pub(super) fn in_order(&mut self) {
        self.series.sort_by(|a, b| a.key.cmp(&b.key));
        self.logs.sort_by_key(|log| log.at);
        self.spans.sort_by_key(|span| span.at);
        self.changes.sort_by_key(|change| change.at);
        self.health.sort_by_key(|report| report.at);
        for log in &mut self.logs {
            let mut errors: Vec<_> = log.error.as_deref_mut().into_iter().collect();
            while let Some(error) = errors.pop() {
                error.environment.retain(|_, value| value.is_finite());
                errors.extend(error.causes.iter_mut().map(|cause| &mut cause.error));
            }
        }
    }

    /// How much it takes, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        let points: usize = self.series.iter().map(|window| window.points.len()).sum();
        POINT_BYTES * points as u64
            + self.logs.iter().map(Weighed::bytes).sum::<u64>()
            + self.spans.iter().map(Weighed::bytes).sum::<u64>()
            + self.changes.iter().map(Weighed::bytes).sum::<u64>()
            + self.health.iter().map(Weighed::bytes).sum::<u64>()
    }

    fn windows(
        &self,
        (from, to): (Timestamp, Timestamp),
        wanted: impl Fn(&SeriesKey) -> bool,
    ) -> Vec<SeriesWindow> {
        let windows = self.series.iter().filter(|window| wanted(&window.key));
        let windows = windows.map(|window| SeriesWindow {
            key: Arc::clone(&window.key),
            points: between(&window.points, (from, to), |(at, _)| *at).to_vec(),
        });
        windows.filter(|window| !window.points.is_empty()).collect()
    }
}

/// What is kept of a window; records are not copied.
#[derive(Debug)]
pub(crate) struct Seen<'a> {
    pub(super) series: Vec<SeriesWindow>,
    pub(super) logs: Vec<&'a LogRecord>,
    pub(super) spans: Vec<&'a SpanRecord>,
    pub(super) changes: Vec<&'a Change>,
    pub(super) health: Vec<&'a HealthReport>,
    pub(super) left_out: LeftOut,
    /// From when on no line and no span of the services in question was left out.
    pub(super) complete_since: Timestamp,
}

impl<'a> Seen<'a> {
    fn of(
        view: &View<'a>,
        (from, to): (Timestamp, Timestamp),
        related: &BTreeSet<String>,
        budget: u64,
    ) -> Self {
        let within = |at: Timestamp| (from..=to).contains(&at);
        let relevance = |owner: Option<&Target>, of_related| match owner {
            Some(owner) if related.contains(owner.service_name()) => of_related,
            _ => Relevance::Elsewhere,
        };
        let of_log = |log: &LogRecord| relevance(log.target.as_ref(), Relevance::Logs);
        let of_span = |span: &SpanRecord| relevance(span.target.as_ref(), Relevance::Spans);
        let rare = |owner: &Target| relevance(Some(owner), Relevance::Rare);
        let series: Vec<_> = view
            .series
            .iter()
            .map(|(key, points)| {
                let relevance = relevance(key.target().as_ref(), Relevance::Points);
                (key, relevance, *points)
            })
            .collect();
        // Records are weighed once; points all weigh the same.
        let logs = view
            .logs
            .iter()
            .map(|log| (of_log(log), log.at, log.bytes()));
        let spans = view.spans.iter();
        let spans = spans.map(|span| (of_span(span), span.at, span.bytes()));
        let changes = view.changes.iter();
        let changes = changes.map(|change| (rare(&change.target), change.at, change.bytes()));
        let health = view.health.iter();
        let health = health.map(|report| (rare(&report.target), report.at, report.bytes()));
        let records: Vec<(Relevance, Timestamp, u64)> = logs
            .chain(spans)
            .chain(changes)
            .chain(health)
            .filter(|(_, at, _)| within(*at))
            .collect();
        let cut = Cut::of((from, to), budget, &|tell| {
            for (_, relevance, points) in &series {
                for (at, _) in points.iter().filter(|(at, _)| within(*at)) {
                    tell(*relevance, *at, POINT_BYTES);
                }
            }
            for (relevance, at, bytes) in &records {
                tell(*relevance, *at, *bytes);
            }
        });
        let mut left_out = LeftOut::default();
        let keep = |relevance, at, left_out: &mut u64| {
            let kept = within(at) && cut.keeps(relevance, at);
            *left_out += u64::from(within(at) && !kept);
            kept
        };
        let mut windows = Vec::new();
        for (key, relevance, points) in series {
            let points = points.iter().copied();
            let points: Vec<_> = points
                .filter(|(at, _)| keep(relevance, *at, &mut left_out.measurements))
                .collect();
            if !points.is_empty() {
                let key = Arc::clone(key);
                windows.push(SeriesWindow { key, points });
            }
        }
        let logs = view.logs.iter();
        let logs = logs.filter(|log| keep(of_log(log), log.at, &mut left_out.logs));
        let logs = logs.collect();
        let spans = view.spans.iter();
        let spans = spans.filter(|span| keep(of_span(span), span.at, &mut left_out.spans));
        let spans = spans.collect();
        let changes = view.changes.iter();
        let changes = changes
            .filter(|change| keep(rare(&change.target), change.at, &mut left_out.changes))
            .collect();
        let health = view.health.iter();
        let health = health
            .filter(|report| keep(rare(&report.target), report.at, &mut left_out.health))
            .collect();
        Self {
            series: windows,
            logs,
            spans,
            changes,
            health,
            left_out,
            complete_since: cut.complete_since(),
        }
    }
}

/// The part of `items`, which are ordered by time, in `from..=to`; empty if that is reversed.
fn between<T>(
    items: &[T],
    (from, to): (Timestamp, Timestamp),
    at: impl Fn(&T) -> Timestamp,
) -> &[T] {
    let start = items.partition_point(|item| at(item) < from);
    let end = items.partition_point(|item| at(item) <= to);
    items.get(start..end).unwrap_or_default()
}

impl Observations for Frozen {
    fn series(
        &self,
        metric: &str,
        labels: &Labels,
        from: Timestamp,
        to: Timestamp,
    ) -> Vec<SeriesWindow> {
        // Keys are ordered by their metric first.
        let start = self.series.partition_point(|w| *w.key.metric < *metric);
        let all = &self.series[start..];
        let end = all.partition_point(|w| *w.key.metric <= *metric);
        let windows = all[..end].iter().filter(|w| w.key.matches(metric, labels));
        let windows = windows.map(|window| SeriesWindow {
            key: Arc::clone(&window.key),
            points: between(&window.points, (from, to), |(at, _)| *at).to_vec(),
        });
        windows.filter(|window| !window.points.is_empty()).collect()
    }

    fn series_of(&self, target: &Target, from: Timestamp, to: Timestamp) -> Vec<SeriesWindow> {
        self.windows((from, to), |key| is_of(key.target().as_ref(), Some(target)))
    }

    fn logs(&self, target: Option<&Target>, from: Timestamp, to: Timestamp) -> Vec<LogRecord> {
        let logs = between(&self.logs, (from, to), |log| log.at).iter();
        logs.filter(|log| is_of(log.target.as_ref(), target))
            .cloned()
            .collect()
    }

    fn spans(&self, target: Option<&Target>, from: Timestamp, to: Timestamp) -> Vec<SpanRecord> {
        let spans = between(&self.spans, (from, to), |span| span.at).iter();
        spans
            .filter(|span| is_of(span.target.as_ref(), target))
            .cloned()
            .collect()
    }

    fn changes(&self, from: Timestamp, to: Timestamp) -> Vec<Change> {
        between(&self.changes, (from, to), |change| change.at).to_vec()
    }

    fn health(&self, target: Option<&Target>, from: Timestamp, to: Timestamp) -> Vec<HealthReport> {
        let reports = between(&self.health, (from, to), |report| report.at).iter();
        reports
            .filter(|report| is_of(Some(&report.target), target))
            .cloned()
            .collect()
    }
}
