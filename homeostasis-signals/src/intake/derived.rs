//! Series that are derived from metrics, however they came: rates, quantiles, the error ratio.

use std::collections::BTreeMap;

use homeostasis_core::signal::{Labels, SeriesKey};
use homeostasis_core::{Timestamp, Violation, Violations};
use serde::{Deserialize, Serialize};

use super::histograms::{self, Buckets, OrderedBound};
use super::quantile::histogram_quantile;
use crate::measurement::Measurement;

/// The units that stay at the end of a derived name.
const UNITS: [&str; 3] = ["_seconds", "_milliseconds", "_bytes"];
/// The quantiles that are derived, and how their names say it.
pub(crate) const QUANTILES: [(f64, &str); 3] = [(0.5, "p50"), (0.95, "p95"), (0.99, "p99")];

/// Which counters say how many requests there were and how many failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ErrorRatio {
    /// Requests that failed; default `http_request_errors_total`.
    pub errors: String,
    /// All requests, those that failed included; default `http_requests_total`.
    pub requests: String,
}

impl Default for ErrorRatio {
    fn default() -> Self {
        Self {
            errors: "http_request_errors_total".to_owned(),
            requests: "http_requests_total".to_owned(),
        }
    }
}

impl ErrorRatio {
    pub(super) fn check(&self, wrong: &mut Violations) {
        for (name, metric) in [("errors", &self.errors), ("requests", &self.requests)] {
            if metric.is_empty() {
                wrong.push(Violation::new(
                    format!("error_ratio.{name}"),
                    "\"\"",
                    "the name of a counter",
                ));
            }
        }
        if self.errors == self.requests {
            wrong.push(Violation::new(
                "error_ratio.errors",
                &self.errors,
                "another counter than error_ratio.requests",
            ));
        }
    }

    /// Whether `family` is the counter of errors.
    pub(super) fn counts_errors(&self, family: &str) -> bool {
        rate_name(family) == rate_name(&self.errors)
    }
}

/// A derived series under construction: its base name and the labels it keeps.
pub(super) type Group = (String, Labels);

/// Values of one instant, added up over the labels that are not kept.
#[derive(Debug, Default)]
pub(super) struct Derived {
    gauges: BTreeMap<Group, Value>,
    maxima: BTreeMap<Group, Value>,
    rates: BTreeMap<Group, Value>,
    histograms: BTreeMap<Group, (Buckets, Timestamp)>,
    /// How many values had no room.
    pub(super) n_left_out: usize,
}

#[derive(Debug, Clone, Copy)]
struct Value {
    value: f64,
    /// The latest of what was put together.
    at: Timestamp,
}

impl Derived {
    pub(super) fn gauge(&mut self, group: Group, value: f64, at: Timestamp) {
        put(&mut self.gauges, group, value, at, |sum, more| sum + more);
    }

    /// The rate of the counter `base`.
    pub(super) fn rate(&mut self, (base, labels): Group, per_second: f64, at: Timestamp) {
        let group = (rate_name(&base), labels);
        put(&mut self.rates, group, per_second, at, |sum, more| {
            sum + more
        });
    }

    /// A quantile that the source computed. Those cannot be added up: the largest stays.
    pub(super) fn quantile(&mut self, (base, labels): Group, q: f64, value: f64, at: Timestamp) {
        let word = QUANTILES
            .iter()
            .find(|(wanted, _)| (wanted - q).abs() < 1e-9);
        if let Some((_, word)) = word
            && !value.is_nan()
        {
            let group = (quantile_name(&base, word), labels);
            put(&mut self.maxima, group, value, at, f64::max);
        }
    }

    /// What the histogram `base` has grown by: cumulative counts.
    pub(super) fn histogram(
        &mut self,
        group: Group,
        grown: impl IntoIterator<Item = (OrderedBound, f64)>,
        at: Timestamp,
    ) {
        let (sum, latest) = self.histograms.entry(group).or_default();
        histograms::add(sum, grown);
        *latest = (*latest).max(at);
    }

    /// The values, sorted by name.
    ///
    /// `errors_declared` says that the source knows the counter of errors, so that none of it is
    /// zero errors.
    pub(super) fn into_measurements(
        mut self,
        ratio: Option<&ErrorRatio>,
        errors_declared: bool,
    ) -> Vec<Measurement> {
        for ((base, labels), (buckets, at)) in std::mem::take(&mut self.histograms) {
            let buckets = histograms::to_buckets(&buckets);
            for (q, _) in QUANTILES {
                if let Some(value) = histogram_quantile(q, &buckets) {
                    self.quantile((base.clone(), labels.clone()), q, value, at);
                }
            }
        }
        let ratios = ratio
            .map(|ratio| error_ratios(&self.rates, ratio, errors_declared))
            .unwrap_or_default();
        let mut measurements: Vec<Measurement> = self
            .gauges
            .into_iter()
            .chain(self.maxima)
            .chain(self.rates)
            .chain(ratios)
            .map(|((metric, labels), Value { value, at })| Measurement {
                key: SeriesKey { metric, labels },
                at,
                value,
            })
            .collect();
        measurements.sort_by(|a, b| a.key.cmp(&b.key));
        measurements
    }
}

fn put(
    values: &mut BTreeMap<Group, Value>,
    group: Group,
    value: f64,
    at: Timestamp,
    join: fn(f64, f64) -> f64,
) {
    values
        .entry(group)
        .and_modify(|held| {
            held.value = join(held.value, value);
            held.at = held.at.max(at);
        })
        .or_insert(Value { value, at });
}

pub(crate) fn rate_name(counter: &str) -> String {
    format!("{}_rate", counter.strip_suffix("_total").unwrap_or(counter))
}

pub(crate) fn quantile_name(base: &str, word: &str) -> String {
    UNITS
        .iter()
        .find_map(|unit| Some(format!("{}_{word}{unit}", base.strip_suffix(unit)?)))
        .unwrap_or_else(|| format!("{base}_{word}"))
}

/// The ratio for every combination of labels that has requests.
fn error_ratios(
    rates: &BTreeMap<Group, Value>,
    names: &ErrorRatio,
    errors_declared: bool,
) -> Vec<(Group, Value)> {
    let (errors, requests) = (rate_name(&names.errors), rate_name(&names.requests));
    rates
        .iter()
        .filter(|((metric, _), rate)| *metric == requests && rate.value > 0.0)
        .filter_map(|((_, labels), requests)| {
            let failed = rates.get(&(errors.clone(), labels.clone()));
            let failed = failed
                .map(|rate| rate.value)
                .or(errors_declared.then_some(0.0))?;
            // Both are read a moment apart, so that there may be more errors than requests.
            let value = (failed / requests.value).clamp(0.0, 1.0);
            let at = requests.at;
            Some((
                ("error_ratio".to_owned(), labels.clone()),
                Value { value, at },
            ))
        })
        .collect()
}
