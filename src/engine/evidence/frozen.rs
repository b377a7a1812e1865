//! Signals as they were at one moment, bounded.

use std::collections::BTreeSet;
use std::sync::Arc;

use homeostasis_core::signal::{Change, HealthReport, Labels, LogRecord, SeriesKey, SpanRecord};
use homeostasis_core::{Observations, SeriesWindow, Target, Timestamp};

use super::budget::{Cut, LeftOut, POINT_BYTES, Relevance, Weighed};
use crate::engine::window::{Window, is_of};

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
    /// whose signals matter more. Also what was left out, and from when on nothing of theirs was.
    ///
    /// Values in the environment of an error that are no finite numbers are left out: no file could
    /// hold them.
    pub(crate) fn of(
        window: &Window,
        (from, to): (Timestamp, Timestamp),
        related: &BTreeSet<String>,
        budget: u64,
    ) -> (Self, LeftOut, Timestamp) {
        window.read(|view| {
            let within = |at: Timestamp| (from..=to).contains(&at);
            let relevance = |owner: Option<&Target>| match owner {
                Some(owner) if related.contains(owner.service_name()) => Relevance::Related,
                _ => Relevance::Elsewhere,
            };
            let rare = |owner: &Target| match relevance(Some(owner)) {
                Relevance::Related => Relevance::Rare,
                elsewhere => elsewhere,
            };
            let series: Vec<_> = view
                .series
                .iter()
                .map(|(key, points)| (key, relevance(key.target().as_ref()), points))
                .collect();
            let cut = Cut::of((from, to), budget, &|tell| {
                let mut tell = |relevance, at, bytes| {
                    if within(at) {
                        tell(relevance, at, bytes);
                    }
                };
                for (_, relevance, points) in &series {
                    for (at, _) in points.iter() {
                        tell(*relevance, *at, POINT_BYTES);
                    }
                }
                for log in view.logs {
                    tell(relevance(log.target.as_ref()), log.at, log.bytes());
                }
                for span in view.spans {
                    tell(relevance(span.target.as_ref()), span.at, span.bytes());
                }
                for change in view.changes {
                    tell(rare(&change.target), change.at, change.bytes());
                }
                for report in view.health {
                    tell(rare(&report.target), report.at, report.bytes());
                }
            });
            let mut left_out = LeftOut::default();
            let keep = |relevance, at, left_out: &mut u64| {
                let kept = cut.keeps(relevance, at);
                *left_out += u64::from(!kept);
                kept
            };
            let mut frozen = Self::default();
            for (key, relevance, points) in series {
                let all = points.iter().filter(|(at, _)| within(*at)).copied();
                let points: Vec<_> = all
                    .filter(|(at, _)| keep(relevance, *at, &mut left_out.measurements))
                    .collect();
                if !points.is_empty() {
                    let key = Arc::clone(key);
                    frozen.series.push(SeriesWindow { key, points });
                }
            }
            frozen.logs = select(
                view.logs,
                within,
                |log| log.at,
                |log| keep(relevance(log.target.as_ref()), log.at, &mut left_out.logs),
            );
            frozen.spans = select(
                view.spans,
                within,
                |span| span.at,
                |span| {
                    keep(
                        relevance(span.target.as_ref()),
                        span.at,
                        &mut left_out.spans,
                    )
                },
            );
            frozen.changes = select(
                view.changes,
                within,
                |change| change.at,
                |change| keep(rare(&change.target), change.at, &mut left_out.changes),
            );
            frozen.health = select(
                view.health,
                within,
                |report| report.at,
                |report| keep(rare(&report.target), report.at, &mut left_out.health),
            );
            frozen.in_order();
            (frozen, left_out, cut.complete_since())
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

/// The records that `within` and `keep` want, in that order.
fn select<'a, T: Clone + 'a>(
    records: impl IntoIterator<Item = &'a T>,
    within: impl Fn(Timestamp) -> bool,
    at: impl Fn(&T) -> Timestamp,
    mut keep: impl FnMut(&T) -> bool,
) -> Vec<T> {
    let within = records.into_iter().filter(|record| within(at(record)));
    within.filter(|record| keep(record)).cloned().collect()
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
