//! The window: recent signals in bounded memory, as stages read them.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use homeostasis_core::signal::{
    Change, HealthReport, Labels, LogRecord, Sample, SeriesCatalog, SeriesId, SeriesKey, SpanRecord,
};
use homeostasis_core::{Observations, SeenCalls, SeriesWindow, Target, Timestamp, seen_calls};

use crate::engine::intake::Batch;

/// How much is remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WindowLimits {
    /// Nothing older is kept.
    pub(crate) age: Duration,
    /// Points per series.
    pub(crate) points: usize,
    /// Series.
    pub(crate) series: usize,
    /// Records of each other kind.
    pub(crate) records: usize,
}

/// Recent signals, bounded by age and number.
#[derive(Debug)]
pub(crate) struct Window {
    catalog: SeriesCatalog,
    limits: WindowLimits,
    kept: RwLock<Kept>,
    /// The calls of the stretch that was asked for last: all who look at one incident ask for one.
    counted: Mutex<Option<Counted>>,
}

#[derive(Debug)]
struct Counted {
    stretch: (Timestamp, Timestamp),
    calls: Arc<SeenCalls>,
}

/// The points of one series, by time.
pub(crate) type Points = VecDeque<(Timestamp, f64)>;

/// All that is remembered, while nothing is added.
#[derive(Debug)]
pub(crate) struct View<'a> {
    pub(crate) series: Vec<(Arc<SeriesKey>, &'a Points)>,
    pub(crate) logs: &'a VecDeque<LogRecord>,
    pub(crate) spans: &'a VecDeque<SpanRecord>,
    pub(crate) changes: &'a VecDeque<Change>,
    pub(crate) health: &'a VecDeque<HealthReport>,
}

#[derive(Debug, Default)]
struct Kept {
    series: HashMap<SeriesId, Points>,
    by_metric: HashMap<String, Vec<SeriesId>>,
    logs: VecDeque<LogRecord>,
    spans: VecDeque<SpanRecord>,
    changes: VecDeque<Change>,
    health: VecDeque<HealthReport>,
}

impl Window {
    pub(crate) fn new(catalog: SeriesCatalog, limits: WindowLimits) -> Self {
        Self {
            catalog,
            limits,
            kept: RwLock::default(),
            counted: Mutex::default(),
        }
    }

    /// Adds what arrived and forgets what is too old.
    pub(crate) fn add(&self, batch: &Batch, now: Timestamp) {
        let horizon = now - self.limits.age;
        let mut kept = self.kept.write().unwrap_or_else(PoisonError::into_inner);
        for sample in &batch.samples {
            kept.add_sample(&self.catalog, self.limits, *sample, horizon);
        }
        keep(&mut kept.logs, &batch.logs, self.limits.records, |record| {
            record.at >= horizon
        });
        keep(&mut kept.spans, &batch.spans, self.limits.records, |span| {
            span.at >= horizon
        });
        keep(
            &mut kept.changes,
            &batch.changes,
            self.limits.records,
            |change| change.at >= horizon,
        );
        keep(
            &mut kept.health,
            &batch.health,
            self.limits.records,
            |report| report.at >= horizon,
        );
    }

    /// Gives `read` all that is remembered, series by their keys.
    pub(crate) fn read<T>(&self, read: impl FnOnce(View<'_>) -> T) -> T {
        let kept = self.kept();
        let keyed = kept
            .series
            .iter()
            .filter_map(|(id, points)| Some((self.catalog.key(*id)?, points)));
        let mut series: Vec<_> = keyed.collect();
        series.sort_by(|a, b| a.0.cmp(&b.0));
        read(View {
            series,
            logs: &kept.logs,
            spans: &kept.spans,
            changes: &kept.changes,
            health: &kept.health,
        })
    }

    fn kept(&self) -> RwLockReadGuard<'_, Kept> {
        self.kept.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn windows<'a>(
        &self,
        kept: &Kept,
        ids: impl Iterator<Item = &'a SeriesId>,
        wanted: impl Fn(&SeriesKey) -> bool,
        (from, to): (Timestamp, Timestamp),
    ) -> Vec<SeriesWindow> {
        let mut windows: Vec<_> = ids
            .filter_map(|id| {
                let key = self.catalog.key(*id).filter(|key| wanted(key))?;
                let points: Vec<_> = kept
                    .series
                    .get(id)?
                    .iter()
                    .filter(|(at, _)| (from..=to).contains(at))
                    .copied()
                    .collect();
                (!points.is_empty()).then_some(SeriesWindow { key, points })
            })
            .collect();
        windows.sort_by(|a, b| a.key.cmp(&b.key));
        windows
    }
}

fn keep<T: Clone>(ring: &mut VecDeque<T>, new: &[T], limit: usize, fresh: impl Fn(&T) -> bool) {
    ring.extend(new.iter().cloned());
    while ring.len() > limit || ring.front().is_some_and(|oldest| !fresh(oldest)) {
        ring.pop_front();
    }
}

impl Kept {
    fn add_sample(
        &mut self,
        catalog: &SeriesCatalog,
        limits: WindowLimits,
        sample: Sample,
        horizon: Timestamp,
    ) {
        if !self.series.contains_key(&sample.series) {
            let Some(key) = catalog.key(sample.series) else {
                return;
            };
            if self.series.len() >= limits.series {
                return;
            }
            self.by_metric
                .entry(key.metric.clone())
                .or_default()
                .push(sample.series);
        }
        let ring = self.series.entry(sample.series).or_default();
        // Late samples are put where they belong; nearly all are the newest.
        let place = ring
            .iter()
            .rposition(|(at, _)| *at <= sample.at)
            .map_or(0, |i| i + 1);
        ring.insert(place, (sample.at, sample.value));
        while ring.len() > limits.points || ring.front().is_some_and(|(at, _)| *at < horizon) {
            ring.pop_front();
        }
    }
}

/// Whether what belongs to `owner` is about `wanted` or a part of it, or the other way round.
pub(crate) fn is_of(owner: Option<&Target>, wanted: Option<&Target>) -> bool {
    match (wanted, owner) {
        (None, _) => true,
        (Some(wanted), Some(owner)) => wanted.contains(owner) || owner.contains(wanted),
        (Some(_), None) => false,
    }
}

impl Observations for Window {
    fn series(
        &self,
        metric: &str,
        labels: &Labels,
        from: Timestamp,
        to: Timestamp,
    ) -> Vec<SeriesWindow> {
        let kept = self.kept();
        let ids = kept.by_metric.get(metric).into_iter().flatten();
        self.windows(&kept, ids, |key| key.matches(metric, labels), (from, to))
    }

    fn series_of(&self, target: &Target, from: Timestamp, to: Timestamp) -> Vec<SeriesWindow> {
        let kept = self.kept();
        let wanted = |key: &SeriesKey| {
            key.target()
                .is_some_and(|owner| target.contains(&owner) || owner.contains(target))
        };
        self.windows(&kept, kept.series.keys(), wanted, (from, to))
    }

    fn logs(&self, target: Option<&Target>, from: Timestamp, to: Timestamp) -> Vec<LogRecord> {
        let within = |record: &&LogRecord| {
            (from..=to).contains(&record.at) && is_of(record.target.as_ref(), target)
        };
        sorted(self.kept().logs.iter().filter(within).cloned(), |record| {
            record.at
        })
    }

    fn spans(&self, target: Option<&Target>, from: Timestamp, to: Timestamp) -> Vec<SpanRecord> {
        let within = |span: &&SpanRecord| {
            (from..=to).contains(&span.at) && is_of(span.target.as_ref(), target)
        };
        sorted(self.kept().spans.iter().filter(within).cloned(), |span| {
            span.at
        })
    }

    fn changes(&self, from: Timestamp, to: Timestamp) -> Vec<Change> {
        let within = |change: &&Change| (from..=to).contains(&change.at);
        sorted(
            self.kept().changes.iter().filter(within).cloned(),
            |change| change.at,
        )
    }

    fn health(&self, target: Option<&Target>, from: Timestamp, to: Timestamp) -> Vec<HealthReport> {
        let within = |report: &&HealthReport| {
            (from..=to).contains(&report.at) && is_of(Some(&report.target), target)
        };
        sorted(
            self.kept().health.iter().filter(within).cloned(),
            |report| report.at,
        )
    }

    /// A stretch that is asked for again gets the same answer, whatever came late.
    fn calls(&self, from: Timestamp, to: Timestamp) -> Arc<SeenCalls> {
        let stretch = (from, to);
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = counted.as_ref().filter(|it| it.stretch == stretch) {
            return Arc::clone(&known.calls);
        }
        let kept = self.kept();
        let within = kept.spans.iter().filter(|it| (from..=to).contains(&it.at));
        let calls = Arc::new(seen_calls(within));
        drop(kept);
        let known = Arc::clone(&calls);
        *counted = Some(Counted { stretch, calls });
        known
    }
}

fn sorted<T>(items: impl Iterator<Item = T>, at: impl Fn(&T) -> Timestamp) -> Vec<T> {
    let mut items: Vec<_> = items.collect();
    items.sort_by_key(at);
    items
}

#[cfg(test)]
mod tests {
    use super::*;
    use homeostasis_core::signal::HealthState;

    const LIMITS: WindowLimits = WindowLimits {
        age: Duration::from_secs(60),
        points: 4,
        series: 2,
        records: 3,
    };

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    fn sample(catalog: &SeriesCatalog, key: &SeriesKey, secs: i64) -> Sample {
        Sample {
            series: catalog.intern(key),
            at: at(secs),
            value: secs as f64,
        }
    }

    #[test]
    fn points_are_ordered_and_bounded_by_number_and_age() {
        let catalog = SeriesCatalog::default();
        let window = Window::new(catalog.clone(), LIMITS);
        let key = SeriesKey::new("m").with("service", "a");
        let samples = [5, 3, 4, 1, 2]
            .map(|secs| sample(&catalog, &key, secs))
            .to_vec();
        window.add(
            &Batch {
                samples,
                ..Batch::default()
            },
            at(5),
        );
        let read = |from, to| window.series("m", &Labels::new(), at(from), at(to));
        assert_eq!(
            read(0, 9)[0].points,
            [2, 3, 4, 5].map(|secs| (at(secs), secs as f64))
        );
        assert_eq!(read(3, 4)[0].points.len(), 2);
        assert!(read(6, 9).is_empty());
        let later = Batch {
            samples: vec![sample(&catalog, &key, 64)],
            ..Batch::default()
        };
        window.add(&later, at(64));
        assert_eq!(
            read(0, 99)[0].points,
            [4, 5, 64].map(|secs| (at(secs), secs as f64))
        );
    }

    #[test]
    fn calls_are_counted_once_for_all_who_ask_of_one_stretch() {
        let limits = WindowLimits {
            records: 8,
            ..LIMITS
        };
        let window = Window::new(SeriesCatalog::default(), limits);
        let span = |id, parent, who: &str, trace: Option<&str>| {
            let mut span = SpanRecord::new(at(1), Duration::ZERO, "GET").of(who.parse().unwrap());
            (span.span, span.parent) = (id, parent);
            span.trace = trace.map(str::to_owned);
            span
        };
        // Ids without a trace may be those of two processes.
        let spans = vec![
            span(1, 0, "a/1", Some("t")),
            span(2, 1, "b", Some("t")),
            span(1, 0, "c", None),
            span(3, 1, "b", None),
        ];
        let batch = Batch {
            spans,
            ..Batch::default()
        };
        window.add(&batch, at(1));
        let calls = window.calls(at(0), at(9));
        let expected = [(("a".to_owned(), "b".to_owned()), 1)];
        assert_eq!(*calls, expected.into());
        assert!(Arc::ptr_eq(&calls, &window.calls(at(0), at(9))));
        assert!(window.calls(at(2), at(9)).is_empty());
    }

    #[test]
    fn no_more_series_than_allowed() {
        let catalog = SeriesCatalog::default();
        let window = Window::new(catalog.clone(), LIMITS);
        let samples = ["a", "b", "c"]
            .map(|service| sample(&catalog, &SeriesKey::new("m").with("service", service), 1))
            .to_vec();
        window.add(
            &Batch {
                samples,
                ..Batch::default()
            },
            at(1),
        );
        assert_eq!(window.series("m", &Labels::new(), at(0), at(9)).len(), 2);
    }

    #[test]
    fn a_service_sees_the_reports_of_its_instances() {
        let window = Window::new(SeriesCatalog::default(), LIMITS);
        let report = |target: &str| {
            HealthReport::new(at(1), target.parse().unwrap(), "http", HealthState::Healthy)
        };
        let health = vec![report("a/0"), report("a/1"), report("b/0")];
        window.add(
            &Batch {
                health,
                ..Batch::default()
            },
            at(1),
        );
        let of = |target: &str| {
            window
                .health(Some(&target.parse().unwrap()), at(0), at(9))
                .len()
        };
        assert_eq!((of("a"), of("a/0"), of("c")), (2, 1, 0));
    }
}
