//! Logs and spans of a stretch of time, counted.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use homeostasis_core::signal::{Level, LogRecord, SpanRecord, SpanStatus};
use homeostasis_core::{Target, Timestamp};
use serde::{Deserialize, Serialize};

use crate::stats::median;

/// Time lost on calls from one service to another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EdgeGaps {
    /// Who calls.
    pub caller: String,
    /// Who is called.
    pub callee: String,
    /// How many calls were seen from both sides.
    pub n: u32,
    /// The time between both sides in microseconds, sorted; at most 64 that stand for all.
    pub gaps: Vec<f64>,
}

/// How many spans an operation had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OperationCount {
    /// Whose operation.
    pub service: String,
    /// Its name.
    pub operation: String,
    /// How many spans.
    pub n: u32,
}

/// How often an operation had a child of this name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CallCount {
    /// Whose operation.
    pub service: String,
    /// Its name.
    pub operation: String,
    /// `service:operation` of the child.
    pub child: String,
    /// How many such children there were.
    pub n: u32,
}

/// How often lines of one kind were written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogCount {
    /// Who wrote.
    pub service: String,
    /// During which operation; `None` if no span of this stretch is known for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    /// Which kind of line: a template, or the place in the code it comes from.
    pub kind: String,
    /// An example, shortened.
    pub sample: String,
    /// How loud the loudest is.
    pub level: Level,
    /// How many lines.
    pub lines: u32,
    /// How many spans of the operation, or traces if that is unknown, have at least one.
    pub spans: u32,
}

/// Everything logged and traced in a stretch of time, counted; every list is sorted by its key.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Activity {
    /// From when.
    pub from: Timestamp,
    /// To when.
    pub to: Timestamp,
    /// How many traces were seen.
    pub traces: u32,
    /// Spans by operation.
    #[serde(default)]
    pub operations: Vec<OperationCount>,
    /// Children by operation.
    #[serde(default)]
    pub calls: Vec<CallCount>,
    /// Calls between services.
    #[serde(default)]
    pub edges: Vec<EdgeGaps>,
    /// Lines by template.
    #[serde(default)]
    pub templates: Vec<LogCount>,
    /// Lines by the place in the code they come from, or by their first three words.
    #[serde(default)]
    pub places: Vec<LogCount>,
    /// Spans that failed without a failed child, by service.
    #[serde(default)]
    pub failed: BTreeMap<String, u32>,
}

/// So many gaps stand for those of an edge.
const MAX_GAPS: usize = 64;

/// Samples of lines are cut after so many characters.
const MAX_SAMPLE: usize = 200;

/// What is counted while spans and lines come in.
#[derive(Debug, Default)]
struct Lines<'a> {
    n: u32,
    /// Spans or traces with such a line.
    within: BTreeSet<Within<'a>>,
    sample: &'a str,
    level: Option<Level>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Within<'a> {
    Span(u64),
    Trace(&'a str),
}

impl Activity {
    /// Counts the spans and lines of `from..=to`. Those without a service are left out, and lines
    /// without a template count only by their place. O(n log n) in the number of both.
    pub fn of(from: Timestamp, to: Timestamp, spans: &[SpanRecord], logs: &[LogRecord]) -> Self {
        let mut activity = Self {
            from,
            to,
            ..Self::default()
        };
        let by_id: HashMap<u64, &SpanRecord> = spans
            .iter()
            .filter(|span| span.span != 0)
            .map(|span| (span.span, span))
            .collect();
        activity.count_spans(spans, &by_id);
        activity.count_lines(logs, &by_id);
        activity
    }

    fn count_spans(&mut self, spans: &[SpanRecord], by_id: &HashMap<u64, &SpanRecord>) {
        let mut operations: BTreeMap<(&str, &str), u32> = BTreeMap::new();
        let mut calls: BTreeMap<(&str, &str, String), u32> = BTreeMap::new();
        let mut edges: BTreeMap<(&str, &str), Vec<f64>> = BTreeMap::new();
        let mut traces: BTreeSet<&str> = BTreeSet::new();
        let mut failed: BTreeMap<u64, &str> = BTreeMap::new();
        let mut above_failed: BTreeSet<u64> = BTreeSet::new();
        for span in spans {
            let Some(service) = service_of(span) else {
                continue;
            };
            *operations.entry((service, &span.operation)).or_default() += 1;
            traces.extend(span.trace.as_deref());
            if span.status == SpanStatus::Error {
                if span.span == 0 {
                    *self.failed.entry(service.to_owned()).or_default() += 1;
                } else {
                    failed.insert(span.span, service);
                }
                above_failed.insert(span.parent);
            }
            let parent = by_id.get(&span.parent).filter(|_| span.parent != span.span);
            let Some((parent, caller)) = parent.and_then(|p| Some((p, service_of(p)?))) else {
                continue;
            };
            let child = format!("{service}:{}", span.operation);
            *calls.entry((caller, &parent.operation, child)).or_default() += 1;
            if caller != service {
                let lost = parent.duration.as_secs_f64() - span.duration.as_secs_f64();
                let gaps = edges.entry((caller, service)).or_default();
                gaps.push(lost.max(0.0) * 1e6);
            }
        }
        self.traces = count(traces.len());
        self.operations = operations
            .into_iter()
            .map(|((service, operation), n)| OperationCount {
                service: service.to_owned(),
                operation: operation.to_owned(),
                n,
            })
            .collect();
        self.calls = calls
            .into_iter()
            .map(|((service, operation, child), n)| CallCount {
                service: service.to_owned(),
                operation: operation.to_owned(),
                child,
                n,
            })
            .collect();
        self.edges = edges
            .into_iter()
            .map(|((caller, callee), gaps)| EdgeGaps {
                caller: caller.to_owned(),
                callee: callee.to_owned(),
                n: count(gaps.len()),
                gaps: thinned(gaps),
            })
            .collect();
        for (id, service) in failed {
            if !above_failed.contains(&id) {
                *self.failed.entry(service.to_owned()).or_default() += 1;
            }
        }
    }

    fn count_lines(&mut self, logs: &[LogRecord], by_id: &HashMap<u64, &SpanRecord>) {
        type Key<'a> = (&'a str, Option<&'a str>, String);
        let mut templates: BTreeMap<Key<'_>, Lines<'_>> = BTreeMap::new();
        let mut places: BTreeMap<Key<'_>, Lines<'_>> = BTreeMap::new();
        for log in logs {
            let Some(target) = &log.target else {
                continue;
            };
            let service = target.service_name();
            let id = log.fields.get("span_id");
            let id = id.and_then(|id| u64::from_str_radix(id, 16).ok());
            let operation = id
                .and_then(|id| by_id.get(&id))
                .map(|span| &*span.operation);
            let within = match (id, log.correlation.as_deref()) {
                (Some(id), _) => Some(Within::Span(id)),
                (None, trace) => trace.map(Within::Trace),
            };
            let place = place_of(log);
            let template = log
                .template
                .as_ref()
                .map(|template| template.id().to_string());
            let kinds = [(&mut templates, template), (&mut places, Some(place))];
            for (lines, kind) in kinds {
                let Some(kind) = kind else { continue };
                let lines = lines.entry((service, operation, kind)).or_default();
                lines.n = lines.n.saturating_add(log.weight);
                lines.within.extend(within);
                if lines.level.is_none_or(|level| level < log.level) {
                    lines.level = Some(log.level);
                    lines.sample = &log.message;
                }
            }
        }
        self.templates = counted(templates);
        self.places = counted(places);
    }

    /// All of `slices` as one.
    pub fn pooled<'a>(slices: impl IntoIterator<Item = &'a Self>) -> Self {
        let mut pooled: Option<Self> = None;
        for slice in slices {
            let Some(pool) = &mut pooled else {
                pooled = Some(slice.clone());
                continue;
            };
            pool.from = pool.from.min(slice.from);
            pool.to = pool.to.max(slice.to);
            pool.traces = pool.traces.saturating_add(slice.traces);
            merge(
                &mut pool.operations,
                &slice.operations,
                |a, b| (&a.service, &a.operation).cmp(&(&b.service, &b.operation)),
                |into, from| into.n = into.n.saturating_add(from.n),
            );
            merge(
                &mut pool.calls,
                &slice.calls,
                |a, b| a.key().cmp(&b.key()),
                |into, from| into.n = into.n.saturating_add(from.n),
            );
            merge(
                &mut pool.edges,
                &slice.edges,
                |a, b| (&a.caller, &a.callee).cmp(&(&b.caller, &b.callee)),
                |into, from| {
                    into.n = into.n.saturating_add(from.n);
                    into.gaps.extend(&from.gaps);
                },
            );
            for (into, from) in [
                (&mut pool.templates, &slice.templates),
                (&mut pool.places, &slice.places),
            ] {
                merge(
                    into,
                    from,
                    |a, b| a.key().cmp(&b.key()),
                    |into, from| {
                        into.lines = into.lines.saturating_add(from.lines);
                        into.spans = into.spans.saturating_add(from.spans);
                        if into.level < from.level {
                            into.level = from.level;
                            into.sample.clone_from(&from.sample);
                        }
                    },
                );
            }
            for (service, n) in &slice.failed {
                let known = pool.failed.entry(service.clone()).or_default();
                *known = known.saturating_add(*n);
            }
        }
        let mut pooled = pooled.unwrap_or_default();
        // Once, at the end: in between it would weigh the last slices most.
        for edge in &mut pooled.edges {
            edge.gaps = thinned(std::mem::take(&mut edge.gaps));
        }
        pooled
    }

    /// Whether nothing was seen.
    pub fn is_empty(&self) -> bool {
        self.operations.is_empty() && self.templates.is_empty() && self.places.is_empty()
    }
}

impl Activity {
    /// What tells habits: the `most` largest of each kind of count, in the order they have, of
    /// equals the first; without samples, of gaps their median, and nothing with a name of more
    /// than `longest` bytes.
    pub(super) fn habits(&mut self, most: usize, longest: usize) {
        let is_short = |name: &String| name.len() <= longest;
        self.operations
            .retain(|it| is_short(&it.service) && is_short(&it.operation));
        self.calls
            .retain(|it| is_short(&it.service) && is_short(&it.operation) && is_short(&it.child));
        self.edges
            .retain(|it| is_short(&it.caller) && is_short(&it.callee));
        for edge in &mut self.edges {
            edge.gaps = Vec::from_iter(median(edge.gaps.iter().copied()));
            edge.gaps.retain(|gap| gap.is_finite());
        }
        for lines in [&mut self.templates, &mut self.places] {
            lines.retain(|it| {
                is_short(&it.service) && is_short(&it.kind) && it.operation.iter().all(is_short)
            });
            for line in lines.iter_mut() {
                line.sample.clear();
            }
        }
        // Nobody asks later who failed.
        self.failed.clear();
        self.keep_largest(most);
    }

    fn keep_largest(&mut self, most: usize) {
        fn keep<T>(list: &mut Vec<T>, most: usize, size: impl Fn(&T) -> u32) {
            if list.len() <= most {
                return;
            }
            let mut sizes: Vec<(u32, usize)> = list.iter().map(&size).zip(0..).collect();
            sizes.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
            let kept: BTreeSet<usize> = sizes[..most].iter().map(|(_, idx)| *idx).collect();
            let mut idx = 0..;
            list.retain(|_| idx.next().is_some_and(|idx| kept.contains(&idx)));
        }
        keep(&mut self.operations, most, |it| it.n);
        keep(&mut self.calls, most, |it| it.n);
        keep(&mut self.edges, most, |it| it.n);
        keep(&mut self.templates, most, |it| it.lines);
        keep(&mut self.places, most, |it| it.lines);
    }
}

impl CallCount {
    pub(super) fn key(&self) -> (&str, &str, &str) {
        (&self.service, &self.operation, &self.child)
    }
}

impl LogCount {
    pub(super) fn key(&self) -> (&str, Option<&str>, &str) {
        (&self.service, self.operation.as_deref(), &self.kind)
    }
}

fn service_of(span: &SpanRecord) -> Option<&str> {
    span.target.as_ref().map(Target::service_name)
}

/// Where in the code a line comes from, or else how it begins.
fn place_of(log: &LogRecord) -> String {
    if log.component.is_empty() {
        let words: Vec<_> = log.message.split_whitespace().take(3).collect();
        words.join(" ")
    } else {
        log.component.to_string()
    }
}

fn counted(lines: BTreeMap<(&str, Option<&str>, String), Lines<'_>>) -> Vec<LogCount> {
    lines
        .into_iter()
        .map(|((service, operation, kind), lines)| LogCount {
            service: service.to_owned(),
            operation: operation.map(str::to_owned),
            kind,
            sample: lines.sample.chars().take(MAX_SAMPLE).collect(),
            level: lines.level.unwrap_or(Level::Info),
            lines: lines.n,
            spans: count(lines.within.len()),
        })
        .collect()
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// The values sorted, and of many so few that they still stand for their distribution.
fn thinned(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_unstable_by(f64::total_cmp);
    let n = values.len();
    if n <= MAX_GAPS {
        return values;
    }
    (0..MAX_GAPS)
        .map(|idx| values[(2 * idx + 1) * n / (2 * MAX_GAPS)])
        .collect()
}

/// Merges the sorted `from` into the sorted `into`.
fn merge<T: Clone>(
    into: &mut Vec<T>,
    from: &[T],
    order: impl Fn(&T, &T) -> Ordering,
    add: impl Fn(&mut T, &T),
) {
    let mut known = std::mem::take(into).into_iter().peekable();
    let mut other = from.iter().peekable();
    loop {
        match (known.peek(), other.peek()) {
            (Some(a), Some(b)) => match order(a, b) {
                Ordering::Less => into.extend(known.next()),
                Ordering::Greater => into.extend(other.next().cloned()),
                Ordering::Equal => {
                    if let (Some(mut a), Some(b)) = (known.next(), other.next()) {
                        add(&mut a, b);
                        into.push(a);
                    }
                }
            },
            (Some(_), None) => into.extend(known.next()),
            (None, Some(_)) => into.extend(other.next().cloned()),
            (None, None) => break,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_order_of_slices_does_not_matter() {
        let slice = |from: u32| Activity {
            edges: vec![EdgeGaps {
                caller: "web".to_owned(),
                callee: "orders".to_owned(),
                n: 64,
                gaps: (0..64).map(|i| f64::from(from + i)).collect(),
            }],
            ..Activity::default()
        };
        let slices = [slice(0), slice(1000), slice(2000)];
        let pooled = Activity::pooled(&slices);
        assert_eq!(pooled, Activity::pooled(slices.iter().rev()));
        let of = |from: f64| {
            let gaps = pooled.edges[0].gaps.iter();
            gaps.filter(|gap| (from..from + 64.0).contains(*gap))
                .count()
        };
        assert!(
            [0.0, 1000.0, 2000.0]
                .iter()
                .all(|from| of(*from).abs_diff(21) <= 1)
        );
    }

    #[test]
    fn every_failed_span_without_an_id_counts() {
        let mut span = SpanRecord::new(Timestamp::EPOCH, Duration::ZERO, "GET")
            .of(Target::service("web").unwrap());
        span.status = SpanStatus::Error;
        let activity = Activity::of(
            Timestamp::EPOCH,
            Timestamp::EPOCH,
            &[span.clone(), span],
            &[],
        );
        assert_eq!(activity.failed["web"], 2);
    }
}
