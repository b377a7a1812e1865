//! Metrics: what their data points say since the last export.

use std::collections::{BTreeMap, HashMap};

use homeostasis_core::signal::Labels;
use homeostasis_core::{Digest, Timestamp};

use super::any_value::cut;
use super::config::OtlpIntakeConfig;
use super::exponential::ExponentialHistogram;
use super::message::{
    ExponentialPoint, HistogramPoint, KeyValue, Metric, MetricsRequest, NumberPoint, Numbers,
    SummaryPoint,
};
use super::origin::{MAX_LABEL, Origin, OtlpOutcome, digest, text_within, time};
use crate::intake::cumulative::{Cumulative, CumulativeSeries, Growth, Reading};
use crate::intake::derived::{Derived, Group, QUANTILES};
use crate::intake::histograms::{Buckets, OrderedBound};
use crate::measurement::{Measurement, label_target};

/// The flag of a point that says: this series has no value now.
const NO_RECORDED_VALUE: u32 = 1;
/// The most buckets of an explicit histogram.
const MAX_BUCKETS: usize = 1024;

/// Follows the series of all sources.
#[derive(Debug)]
pub(super) struct MetricsFollower {
    sums: CumulativeSeries<Digest, f64>,
    histograms: CumulativeSeries<Digest, Buckets>,
    exponentials: CumulativeSeries<Digest, ExponentialHistogram>,
    /// The time of the last points of sources and metrics, and when they came.
    last: HashMap<Digest, (Timestamp, Timestamp)>,
    swept: Timestamp,
}

impl Cumulative for Buckets {
    fn since(&self, before: &Self) -> Option<Self> {
        let same = self.len() == before.len() && self.keys().eq(before.keys());
        let pairs = self.iter().zip(before.values());
        let fell = |((_, now), before): ((&OrderedBound, &f64), &f64)| now < before;
        (same && !pairs.clone().any(fell)).then(|| {
            pairs
                .map(|((bound, now), before)| (*bound, now - before))
                .collect()
        })
    }
}

/// Whether a metric gives what came since the last export, or since its start.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Temporality {
    Delta,
    Cumulative,
}

impl Temporality {
    fn of(number: i32) -> Result<Self, String> {
        match number {
            1 => Ok(Self::Delta),
            2 => Ok(Self::Cumulative),
            _ => Err(format!(
                "aggregationTemporality = {number}, expected 1 (delta) or 2 (cumulative)"
            )),
        }
    }
}

/// One point apart from its value.
#[derive(Debug)]
struct Place {
    /// Which series it continues.
    stream: Digest,
    /// Which series it becomes.
    group: Group,
    at: Timestamp,
    start: Option<Timestamp>,
    absent_at: Option<Timestamp>,
}

impl Place {
    fn reading<T>(&self, value: T) -> Reading<T> {
        Reading {
            value,
            at: self.at,
            start: self.start,
            absent_at: self.absent_at,
        }
    }

    /// The length of the interval that a delta is about.
    fn seconds(&self) -> Result<f64, String> {
        self.start
            .map(|start| self.at.since(start).as_secs_f64())
            .filter(|seconds| *seconds > 0.0)
            .ok_or_else(|| {
                "a delta without an interval, expected startTimeUnixNano before timeUnixNano"
                    .to_owned()
            })
    }
}

/// What all points of one metric share.
struct Shared<'a> {
    config: &'a OtlpIntakeConfig,
    origin: &'a Origin,
    /// The name of the series.
    base: &'a str,
    metric: Digest,
    /// The time of its last points.
    metric_last: Option<Timestamp>,
    /// The time of the last points of its source.
    source_last: Option<Timestamp>,
    now: Timestamp,
}

/// What every point has.
struct Head {
    attributes: Vec<KeyValue>,
    start: u64,
    time: u64,
}

/// What one request gives.
#[derive(Debug, Default)]
struct Gathered {
    derived: Derived,
    exponentials: BTreeMap<Group, (ExponentialHistogram, Timestamp)>,
    outcome: OtlpOutcome,
    /// How many bytes copies of resource and scope may still take.
    room: usize,
}

impl MetricsFollower {
    pub(super) fn new(config: &OtlpIntakeConfig) -> Self {
        Self {
            sums: CumulativeSeries::new(config.max_series),
            histograms: CumulativeSeries::new(config.max_series),
            exponentials: CumulativeSeries::new(config.max_series),
            last: HashMap::new(),
            swept: Timestamp::EPOCH,
        }
    }

    /// Reads the points of a request that came at `now`.
    pub(super) fn take(
        &mut self,
        request: MetricsRequest,
        config: &OtlpIntakeConfig,
        now: Timestamp,
    ) -> (Vec<Measurement>, OtlpOutcome) {
        self.sums.next_round();
        self.histograms.next_round();
        self.exponentials.next_round();
        let mut gathered = Gathered {
            room: config.max_decoded,
            ..Gathered::default()
        };
        let mut errors_declared = false;
        let mut n_metrics = 0;
        for resource in request.resources {
            let mut origin = Origin::new(resource.resource, config);
            let n_kept = origin.kept.len();
            let source_last = self.last.get(&origin.source).map(|(at, _)| *at);
            let mut latest = None;
            for scope in resource.scopes {
                origin.enter(scope.scope, n_kept, config);
                for metric in scope.metrics {
                    // A metric has its price too, whatever its points.
                    let n_points = metric.n_points();
                    if n_metrics == config.max_items {
                        let told = || format!("more than {n_metrics} metrics");
                        gathered.outcome.refuse(n_points, told);
                        continue;
                    }
                    n_metrics += 1;
                    let base = series_name(&cut(metric.name.clone(), MAX_LABEL), &metric.unit);
                    errors_declared |= config
                        .error_ratio
                        .as_ref()
                        .is_some_and(|ratio| ratio.counts_errors(&base));
                    if n_points == 0 {
                        continue;
                    }
                    let key = digest(Some(origin.scope), [&metric.name, &metric.unit]);
                    let shared = Shared {
                        config,
                        origin: &origin,
                        base: &base,
                        metric: key,
                        metric_last: self.last.get(&key).map(|(at, _)| *at),
                        source_last,
                        now,
                    };
                    let at = self.metric(metric, &shared, &mut gathered);
                    self.remember(key, at, now, config);
                    latest = latest.max(at);
                }
            }
            self.remember(origin.source, latest, now, config);
        }
        self.sweep(now, config);
        let Gathered {
            mut derived,
            exponentials,
            outcome,
            room: _,
        } = gathered;
        for ((base, labels), (histogram, at)) in exponentials {
            for (q, _) in QUANTILES {
                if let Some(value) = histogram.quantile(q) {
                    derived.quantile((base.clone(), labels.clone()), q, value, at);
                }
            }
        }
        let ratio = config.error_ratio.as_ref();
        (derived.into_measurements(ratio, errors_declared), outcome)
    }

    /// Reads all points of a metric; gives the time of the latest.
    fn metric(
        &mut self,
        metric: Metric,
        shared: &Shared<'_>,
        gathered: &mut Gathered,
    ) -> Option<Timestamp> {
        let mut latest = None;
        let mut each = |read: &mut dyn FnMut(&mut Gathered) -> Result<Timestamp, String>| {
            let read = if gathered.outcome.n_accepted < shared.config.max_items {
                read(gathered)
            } else {
                Err(format!("more than {} data points", shared.config.max_items))
            };
            let read = read.map_err(|reason| format!("{}: {reason}", shared.base));
            gathered
                .outcome
                .add(read.map(|at| latest = latest.max(Some(at))));
        };
        for mut point in metric.gauge.into_iter().flat_map(|gauge| gauge.points) {
            each(&mut |gathered| {
                let value = value_of(&point);
                let place = shared.place((&mut point).into(), gathered)?;
                if let Some(value) = value? {
                    gathered.derived.gauge(place.group, value, place.at);
                }
                Ok(place.at)
            });
        }
        if let Some(Numbers {
            points,
            temporality,
            monotonic,
        }) = metric.sum
        {
            for mut point in points {
                each(&mut |gathered| {
                    self.sum(&mut point, temporality, monotonic, shared, gathered)
                });
            }
        }
        if let Some(histogram) = metric.histogram {
            for mut point in histogram.points {
                each(&mut |gathered| {
                    self.histogram(&mut point, histogram.temporality, shared, gathered)
                });
            }
        }
        if let Some(exponential) = metric.exponential {
            for mut point in exponential.points {
                each(&mut |gathered| {
                    self.exponential(&mut point, exponential.temporality, shared, gathered)
                });
            }
        }
        for mut point in metric
            .summary
            .into_iter()
            .flat_map(|summary| summary.points)
        {
            each(&mut |gathered| summary(&mut point, shared, gathered));
        }
        latest
    }

    fn sum(
        &mut self,
        point: &mut NumberPoint,
        temporality: i32,
        monotonic: bool,
        shared: &Shared<'_>,
        gathered: &mut Gathered,
    ) -> Result<Timestamp, String> {
        let temporality = Temporality::of(temporality)?;
        let value = value_of(point)?;
        let place = shared.place(point.into(), gathered)?;
        let Some(value) = value else {
            self.sums.remove(&place.stream);
            return Ok(place.at);
        };
        let at = place.at;
        match (monotonic, temporality) {
            (false, Temporality::Cumulative) => gathered.derived.gauge(place.group, value, at),
            (false, Temporality::Delta) => {
                return Err("a delta of a sum that also falls, expected cumulative".to_owned());
            }
            (true, _) if !(value >= 0.0 && value.is_finite()) => {
                return Err(format!("{value}, expected a sum of at least 0"));
            }
            (true, Temporality::Delta) => {
                let seconds = place.seconds()?;
                gathered.derived.rate(place.group, value / seconds, at);
            }
            (true, Temporality::Cumulative) => {
                let reading = place.reading(value);
                let growth = self.sums.advance(place.stream, reading, shared.now);
                if let Some((grown, seconds)) = settle(growth)? {
                    gathered.derived.rate(place.group, grown / seconds, at);
                }
            }
        }
        Ok(at)
    }

    fn histogram(
        &mut self,
        point: &mut HistogramPoint,
        temporality: i32,
        shared: &Shared<'_>,
        gathered: &mut Gathered,
    ) -> Result<Timestamp, String> {
        let temporality = Temporality::of(temporality)?;
        let buckets = buckets(point)?;
        let place = shared.place(point.into(), gathered)?;
        if point.flags & NO_RECORDED_VALUE != 0 {
            self.histograms.remove(&place.stream);
            return Ok(place.at);
        }
        let grown = match temporality {
            Temporality::Delta => Some(buckets),
            Temporality::Cumulative => {
                let reading = place.reading(buckets);
                let growth = self.histograms.advance(place.stream, reading, shared.now);
                settle(growth)?.map(|(grown, _)| grown)
            }
        };
        if let Some(grown) = grown {
            gathered.derived.histogram(place.group, grown, place.at);
        }
        Ok(place.at)
    }

    fn exponential(
        &mut self,
        point: &mut ExponentialPoint,
        temporality: i32,
        shared: &Shared<'_>,
        gathered: &mut Gathered,
    ) -> Result<Timestamp, String> {
        let temporality = Temporality::of(temporality)?;
        let histogram = ExponentialHistogram::new(point)?;
        let place = shared.place(point.into(), gathered)?;
        if point.flags & NO_RECORDED_VALUE != 0 {
            self.exponentials.remove(&place.stream);
            return Ok(place.at);
        }
        let grown = match temporality {
            Temporality::Delta => Some(histogram),
            Temporality::Cumulative => {
                let reading = place.reading(histogram);
                let growth = self.exponentials.advance(place.stream, reading, shared.now);
                settle(growth)?.map(|(grown, _)| grown)
            }
        };
        if let Some(grown) = grown {
            match gathered.exponentials.get_mut(&place.group) {
                Some((sum, latest)) => {
                    sum.add(grown);
                    *latest = (*latest).max(place.at);
                }
                None => {
                    gathered.exponentials.insert(place.group, (grown, place.at));
                }
            }
        }
        Ok(place.at)
    }

    /// Remembers when a source or a metric last spoke.
    fn remember(
        &mut self,
        key: Digest,
        at: Option<Timestamp>,
        now: Timestamp,
        config: &OtlpIntakeConfig,
    ) {
        // Without room only the first growth of a new series is lost.
        if let Some(at) = at
            && (self.last.len() < config.max_series || self.last.contains_key(&key))
        {
            self.last.insert(key, (at, now));
        }
    }

    /// Forgets what no longer comes, from time to time: it looks at every series.
    fn sweep(&mut self, now: Timestamp, config: &OtlpIntakeConfig) {
        if now.since(self.swept) < config.forget_after / 8 {
            return;
        }
        self.swept = now;
        self.sums.forget(now, config.forget_after);
        self.histograms.forget(now, config.forget_after);
        self.exponentials.forget(now, config.forget_after);
        let old = |arrived: Timestamp| now.since(arrived) > config.forget_after;
        self.last.retain(|_, (_, arrived)| !old(*arrived));
    }
}

impl Metric {
    fn n_points(&self) -> usize {
        self.gauge.as_ref().map_or(0, |data| data.points.len())
            + self.sum.as_ref().map_or(0, |data| data.points.len())
            + self.histogram.as_ref().map_or(0, |data| data.points.len())
            + self
                .exponential
                .as_ref()
                .map_or(0, |data| data.points.len())
            + self.summary.as_ref().map_or(0, |data| data.points.len())
    }
}

impl Shared<'_> {
    /// Where a point belongs.
    fn place(&self, head: Head, gathered: &mut Gathered) -> Result<Place, String> {
        self.origin.charge(1, &mut gathered.room, self.config)?;
        let at = time(head.time, "timeUnixNano")?.unwrap_or(self.now);
        let start = time(head.start, "startTimeUnixNano")?;
        let config = self.config;
        let n = head.attributes.len();
        if n > config.max_attributes {
            gathered
                .outcome
                .remark(|| format!("{n} attributes, expected at most {}", config.max_attributes));
        }
        let mut attributes = head
            .attributes
            .into_iter()
            .take(config.max_attributes)
            .map(|entry| {
                let text = text_within(entry.value, &entry.key, config)?;
                Ok((entry.key, text))
            })
            .collect::<Result<Vec<_>, String>>()?;
        attributes.sort();
        let texts = attributes.iter().flat_map(|(key, value)| [key, value]);
        let stream = digest(Some(self.metric), texts);
        let mut labels = Labels::new();
        for (key, value) in self.origin.kept.iter().chain(&attributes) {
            if config.keep_attributes.contains(key) {
                labels.insert(prometheus_name(key), cut(value.clone(), MAX_LABEL));
            }
        }
        if let Some(target) = &self.origin.target {
            label_target(&mut labels, target);
        }
        // A series that was not in the metric's last export began after it; one that says it began
        // after the last export of its source did so whatever the metric.
        let began_later = |last: &Timestamp| start.is_some_and(|start| start >= *last);
        let absent_at = self
            .metric_last
            .filter(|last| config.new_series_start_at_zero || began_later(last))
            .or_else(|| self.source_last.filter(began_later));
        Ok(Place {
            stream,
            group: (self.base.to_owned(), labels),
            at,
            start,
            absent_at,
        })
    }
}

fn summary(
    point: &mut SummaryPoint,
    shared: &Shared<'_>,
    gathered: &mut Gathered,
) -> Result<Timestamp, String> {
    let place = shared.place(point.into(), gathered)?;
    if point.flags & NO_RECORDED_VALUE == 0 {
        for quantile in &point.quantiles {
            let group = place.group.clone();
            gathered
                .derived
                .quantile(group, quantile.quantile, quantile.value, place.at);
        }
    }
    Ok(place.at)
}

/// The growth as numbers, if there is any to speak of.
fn settle<T>(growth: Growth<T>) -> Result<Option<(T, f64)>, String> {
    match growth {
        Growth::By(grown, seconds) | Growth::From0(grown, seconds) => Ok(Some((grown, seconds))),
        Growth::Unknown => Ok(None),
        Growth::LeftOut => Err("a series beyond the limit max_series".to_owned()),
    }
}

/// The value of a point; none if the source says that there is none.
fn value_of(point: &NumberPoint) -> Result<Option<f64>, String> {
    if point.flags & NO_RECORDED_VALUE != 0 {
        return Ok(None);
    }
    let int = point.int.map(|int| int as f64);
    match point.double.or(int) {
        Some(value) => Ok(Some(value)),
        None => Err("a point without a value, expected asDouble or asInt".to_owned()),
    }
}

/// The cumulative counts of an explicit histogram; none if it has no buckets.
fn buckets(point: &HistogramPoint) -> Result<Buckets, String> {
    let (counts, bounds) = (&point.counts, &point.bounds);
    if counts.is_empty() && bounds.is_empty() {
        return Ok(Buckets::new());
    }
    if counts.len() != bounds.len() + 1 || counts.len() > MAX_BUCKETS {
        return Err(format!(
            "{} bucketCounts with {} explicitBounds, expected one more, and at most {MAX_BUCKETS}",
            counts.len(),
            bounds.len()
        ));
    }
    let ascending = bounds.windows(2).all(|pair| pair[0] < pair[1]);
    if !ascending || !bounds.iter().all(|bound| bound.is_finite()) {
        return Err("explicitBounds out of order, expected ascending finite numbers".to_owned());
    }
    let mut count = 0.0;
    let uppers = bounds.iter().copied().chain([f64::INFINITY]);
    Ok(uppers
        .zip(counts)
        .filter_map(|(upper, inside)| {
            count += *inside as f64;
            Some((OrderedBound::new(upper)?, count))
        })
        .collect())
}

/// The name by the rules of Prometheus, without `_total`: `io.read` in `By` is `io_read_bytes`.
fn series_name(name: &str, unit: &str) -> String {
    let name = prometheus_name(name);
    let name = name.strip_suffix("_total").unwrap_or(&name);
    let unit = match unit {
        "s" => "seconds",
        "ms" => "milliseconds",
        "By" => "bytes",
        _ => return name.to_owned(),
    };
    if name.ends_with(unit) {
        name.to_owned()
    } else {
        format!("{name}_{unit}")
    }
}

fn prometheus_name(name: &str) -> String {
    let good = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    name.chars()
        .map(|c| if good(c) { c } else { '_' })
        .collect()
}

macro_rules! heads {
    ($($name:ident)*) => {$(
        impl From<&mut $name> for Head {
            fn from(point: &mut $name) -> Self {
                Self {
                    attributes: std::mem::take(&mut point.attributes),
                    start: point.start_time,
                    time: point.time,
                }
            }
        }
    )*};
}

heads!(NumberPoint HistogramPoint ExponentialPoint SummaryPoint);

#[cfg(test)]
mod tests;
