//! Turns pages of cumulative metrics into series a detector can use.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use homeostasis_core::signal::Labels;
use homeostasis_core::{ConfigError, Target, Timestamp, Violation, Violations};
use serde::{Deserialize, Serialize};

use super::cumulative::{CumulativeSeries, Growth, Reading};
use super::derived::{Derived, ErrorRatio};
use super::exposition::{Family, MetricKind, PageProblem, Point, parse_exposition};
use super::histograms::{Buckets, OrderedBound};
use crate::measurement::{Measurement, label_target};

/// How pages become series.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ScraperConfig {
    /// Whose page it is: replaces the labels `service` and `instance` of every line.
    /// Default none: the page speaks for itself, and lines without `service` have no target.
    pub target: Option<Target>,
    /// Labels that are kept besides `service` and `instance`; default none.
    /// Series that differ only in other labels are added up.
    ///
    /// **Warning:** a label with many values multiplies the number of series.
    pub keep_labels: Vec<String>,
    /// The counters behind the derived series `error_ratio`; `None` derives none.
    pub error_ratio: Option<ErrorRatio>,
    /// Whether a counter that appears on a later page than the first has grown from 0.
    ///
    /// Default true, because most libraries create a counter at its first event: otherwise the
    /// first errors of a service would never be seen. Turn it off for pages that forward the
    /// counters of others.
    pub new_series_start_at_zero: bool,
    /// The most lines that are followed at a time, at least 1; default 20 000.
    /// Lines beyond it are left out and counted.
    pub max_series: usize,
    /// How long a line that left the page is remembered; default 1 h.
    #[serde(with = "crate::duration_text")]
    pub forget_after: Duration,
}

impl Default for ScraperConfig {
    fn default() -> Self {
        Self {
            target: None,
            keep_labels: Vec::new(),
            error_ratio: Some(ErrorRatio::default()),
            new_series_start_at_zero: true,
            max_series: 20_000,
            forget_after: Duration::from_secs(3600),
        }
    }
}

/// What one page gave.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct Scrape {
    /// The derived values, sorted by name.
    pub measurements: Vec<Measurement>,
    /// The first lines that could not be read.
    pub problems: Vec<PageProblem>,
    /// How many lines could not be read.
    pub n_problems: usize,
    /// How many lines were left out because [`ScraperConfig::max_series`] was reached.
    pub n_left_out: usize,
}

/// Follows the pages of one source, and derives rates, quantiles and the error ratio.
///
/// - A counter `x_total` becomes `x_rate`, per second, over the time between two pages. A counter
///   that fell was reset and has grown from 0. The first page gives no rates.
/// - A histogram `x_seconds` becomes `x_p50_seconds`, `x_p95_seconds` and `x_p99_seconds` of the
///   observations between two pages ([`histogram_quantile`](super::histogram_quantile)); without new observations there is no
///   value. The unit (`_seconds`, `_milliseconds`, `_bytes`) stays at the end of the name.
/// - A gauge keeps its name. A summary's quantiles 0.5, 0.95 and 0.99 are named like those of a
///   histogram; they cannot be added up, so series that fall together give the largest.
/// - A metric of unknown kind is a counter if its name ends in `_total`, a histogram if it has
///   buckets (`_bucket` with `le`), and a gauge otherwise.
/// - `error_ratio` is the rate of errors by the rate of requests, in `0..=1`, for each combination
///   of kept labels. There is none without requests. A page that declares the counter of errors
///   and has no line of it yet has no errors.
/// - Facts (`info`), states, sums, `_created` and the times on the page are not used: values are
///   of the time the page was read.
///
/// A page that could not be fetched gives nothing ([`Scraper::failed`]); rates then go over the
/// longer time. Linear in the length of the page.
///
/// # Examples
/// ```
/// use homeostasis::core::Timestamp;
/// use homeostasis::signals::{Scraper, ScraperConfig};
///
/// let mut scraper = Scraper::new(ScraperConfig::default())?;
/// let page = |n| format!("# TYPE http_requests_total counter\nhttp_requests_total{{service=\"shop\",route=\"/\"}} {n}\n");
/// assert!(scraper.ingest(&page(100), Timestamp::from_secs(0)).measurements.is_empty());
/// let scrape = scraper.ingest(&page(150), Timestamp::from_secs(10));
/// assert_eq!(scrape.measurements[0].key.to_string(), "http_requests_rate{service=\"shop\"}");
/// assert_eq!(scrape.measurements[0].value, 5.0);
/// # Ok::<(), homeostasis::core::ConfigError>(())
/// ```
#[derive(Debug)]
pub struct Scraper {
    config: ScraperConfig,
    /// The time of the last good page.
    last: Option<Timestamp>,
    /// The cumulative lines seen so far.
    lines: CumulativeSeries<LineKey, f64>,
}

/// A cumulative line as it stands on the page.
type LineKey = (String, Labels);

impl Scraper {
    /// A scraper that has seen no page.
    ///
    /// # Errors
    /// - `max_series` is 0.
    /// - `keep_labels` names an empty label, `le` or `quantile`.
    /// - `error_ratio` names no metric, or the same one twice.
    pub fn new(config: ScraperConfig) -> Result<Self, ConfigError> {
        let mut wrong = Violations::new();
        if config.max_series == 0 {
            wrong.push(Violation::new("max_series", 0, "at least 1"));
        }
        for (index, label) in config.keep_labels.iter().enumerate() {
            if ["", "le", "quantile"].contains(&label.as_str()) {
                wrong.push(Violation::new(
                    format!("keep_labels[{index}]"),
                    format!("{label:?}"),
                    "the name of a label other than le and quantile",
                ));
            }
        }
        if let Some(ratio) = &config.error_ratio {
            ratio.check(&mut wrong);
        }
        let lines = CumulativeSeries::new(config.max_series);
        wrong.into_result(Self {
            config,
            last: None,
            lines,
        })
    }

    /// Reads the page fetched at `at`.
    ///
    /// A page that is not later than the one before gives gauges only and is otherwise taken as
    /// the new beginning.
    pub fn ingest(&mut self, text: &str, at: Timestamp) -> Scrape {
        let page = parse_exposition(text);
        self.lines.next_round();
        let mut sums = Derived::default();
        let untyped: BTreeSet<&str> = page.families.iter().filter_map(untyped_histogram).collect();
        for family in &page.families {
            // The sums of a histogram without a type are cumulative and would look like gauges
            // that leak.
            let part = ["_sum", "_count"]
                .iter()
                .find_map(|suffix| family.name.strip_suffix(suffix));
            if family.kind != MetricKind::Unknown || part.is_none_or(|base| !untyped.contains(base))
            {
                self.family(family, at, &mut sums);
            }
        }
        self.lines.forget(at, self.config.forget_after);
        self.last = Some(at);
        let ratio = self.config.error_ratio.as_ref();
        let declared = ratio.is_some_and(|ratio| {
            let mut families = page.families.iter();
            families.any(|family| ratio.counts_errors(&family.name))
        });
        let n_left_out = sums.n_left_out;
        Scrape {
            measurements: sums.into_measurements(ratio, declared),
            problems: page.problems,
            n_problems: page.n_problems,
            n_left_out,
        }
    }

    /// Says that there is no page this time: what was known of the source stays, nothing is given.
    ///
    /// Rates resume over the time since the last good page.
    pub fn failed(&mut self) -> Scrape {
        Scrape::default()
    }

    fn family(&mut self, family: &Family, at: Timestamp, sums: &mut Derived) {
        let bucket_name = format!("{}_bucket", family.name);
        // A page without types still shows a histogram by its buckets.
        let base = untyped_histogram(family);
        let mut buckets = HistogramLines::default();
        for point in &family.points {
            match family.kind {
                MetricKind::Counter => {
                    self.counter(&family.name, point, at, sums);
                }
                MetricKind::Histogram if point.name == bucket_name => {
                    buckets.add(point);
                }
                MetricKind::Summary if point.name == family.name => {
                    self.quantile(&family.name, point, at, sums);
                }
                MetricKind::Unknown if point.name.ends_with("_total") => {
                    self.counter(&family.name, point, at, sums);
                }
                MetricKind::Unknown if base.is_some() => buckets.add(point),
                MetricKind::Gauge | MetricKind::Unknown => self.gauge(point, at, sums),
                _ => {}
            }
        }
        let base = base.unwrap_or(&family.name);
        for (labels, buckets) in buckets.histograms {
            self.histogram(base, &labels, &buckets, at, sums);
        }
    }

    fn gauge(&self, point: &Point, at: Timestamp, sums: &mut Derived) {
        let group = (point.name.clone(), self.kept(&point.labels));
        sums.gauge(group, point.value, at);
    }

    fn quantile(&self, base: &str, point: &Point, at: Timestamp, sums: &mut Derived) {
        let q = point.labels.get("quantile").and_then(|q| q.parse().ok());
        if let Some(q) = q {
            let group = (base.to_owned(), self.kept(&point.labels));
            sums.quantile(group, q, point.value, at);
        }
    }

    fn counter(&mut self, base: &str, point: &Point, at: Timestamp, sums: &mut Derived) {
        if !(point.value >= 0.0 && point.value.is_finite()) {
            return;
        }
        let key = (point.name.clone(), point.labels.clone());
        match self.advance(key, point.value, at, sums) {
            Growth::By(grown, seconds) | Growth::From0(grown, seconds) => {
                let group = (base.to_owned(), self.kept(&point.labels));
                sums.rate(group, grown / seconds, at);
            }
            Growth::Unknown | Growth::LeftOut => {}
        }
    }

    /// Adds what one histogram has grown by. A reset shows in one bucket and means all of them.
    fn histogram(
        &mut self,
        base: &str,
        labels: &Labels,
        buckets: &Buckets,
        at: Timestamp,
        sums: &mut Derived,
    ) {
        let mut grown = Vec::with_capacity(buckets.len());
        let mut reset = false;
        for (bound, value) in buckets {
            let mut key_labels = labels.clone();
            key_labels.insert("le".to_owned(), bound.get().to_string());
            let key = (format!("{base}_bucket"), key_labels);
            match self.advance(key, *value, at, sums) {
                Growth::By(by, _) => grown.push((*bound, by, *value)),
                Growth::From0(..) => {
                    reset = true;
                    grown.push((*bound, *value, *value));
                }
                Growth::Unknown | Growth::LeftOut => {}
            }
        }
        // With a bucket missing the shape would be wrong; next time all are known.
        if grown.is_empty() || grown.len() < buckets.len() {
            return;
        }
        let group = (base.to_owned(), self.kept(labels));
        let grown = grown
            .into_iter()
            .map(|(bound, by, value)| (bound, if reset { value } else { by }));
        sums.histogram(group, grown, at);
    }

    /// Remembers a cumulative value and says by how much it has grown.
    fn advance(
        &mut self,
        key: LineKey,
        value: f64,
        at: Timestamp,
        sums: &mut Derived,
    ) -> Growth<f64> {
        let absent_at = self.last.filter(|_| self.config.new_series_start_at_zero);
        let reading = Reading {
            value,
            at,
            start: None,
            absent_at,
        };
        let growth = self.lines.advance(key, reading, at);
        sums.n_left_out += usize::from(growth == Growth::LeftOut);
        growth
    }

    /// The labels that a derived series keeps.
    fn kept(&self, labels: &Labels) -> Labels {
        let mut kept: Labels = labels
            .iter()
            .filter(|(name, _)| {
                matches!(name.as_str(), "service" | "instance")
                    || self.config.keep_labels.contains(name)
            })
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        if let Some(target) = &self.config.target {
            label_target(&mut kept, target);
        }
        kept
    }
}

/// The histograms of one family, bucket by bucket.
#[derive(Debug, Default)]
struct HistogramLines {
    histograms: BTreeMap<Labels, Buckets>,
}

impl HistogramLines {
    fn add(&mut self, point: &Point) {
        let mut labels = point.labels.clone();
        let Some(bound) = labels.remove("le").and_then(|le| le.parse::<f64>().ok()) else {
            return;
        };
        if !(point.value >= 0.0 && point.value.is_finite()) {
            return;
        }
        if let Some(bound) = OrderedBound::new(bound) {
            let buckets = self.histograms.entry(labels).or_default();
            buckets.entry(bound).or_insert(point.value);
        }
    }
}

/// The base name if the page does not say what the family is and its lines are buckets.
fn untyped_histogram(family: &Family) -> Option<&str> {
    let base = family.name.strip_suffix("_bucket")?;
    let bounded = |point: &Point| point.labels.contains_key("le");
    (family.kind == MetricKind::Unknown && family.points.iter().all(bounded)).then_some(base)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn scraper() -> Scraper {
        Scraper::new(ScraperConfig::default()).unwrap()
    }

    fn values(scrape: &Scrape) -> BTreeMap<String, f64> {
        scrape
            .measurements
            .iter()
            .map(|m| (m.key.to_string(), m.value))
            .collect()
    }

    fn ingest(scraper: &mut Scraper, secs: i64, page: &str) -> BTreeMap<String, f64> {
        values(&scraper.ingest(page, Timestamp::from_secs(secs)))
    }

    fn requests(ok: u64, failed: u64) -> String {
        format!(
            "# TYPE http_requests_total counter\n\
             http_requests_total{{service=\"shop\",status=\"200\"}} {ok}\n\
             http_requests_total{{service=\"shop\",status=\"500\"}} {failed}\n\
             # TYPE http_request_errors_total counter\n\
             http_request_errors_total{{service=\"shop\"}} {failed}\n"
        )
    }

    #[test]
    fn rates_are_summed_over_dropped_labels_and_give_the_error_ratio() {
        let mut scraper = scraper();
        assert!(ingest(&mut scraper, 0, &requests(100, 0)).is_empty());
        let values = ingest(&mut scraper, 10, &requests(190, 10));
        assert_eq!(values[r#"http_requests_rate{service="shop"}"#], 10.0);
        assert_eq!(values[r#"http_request_errors_rate{service="shop"}"#], 1.0);
        assert_eq!(values[r#"error_ratio{service="shop"}"#], 0.1);
        let quiet = ingest(&mut scraper, 20, &requests(190, 10));
        assert_eq!(quiet[r#"http_requests_rate{service="shop"}"#], 0.0);
        assert!(!quiet.contains_key(r#"error_ratio{service="shop"}"#));
    }

    #[test]
    fn a_counter_that_fell_has_grown_from_zero() {
        let mut scraper = scraper();
        ingest(&mut scraper, 0, &requests(1000, 50));
        let values = ingest(&mut scraper, 5, &requests(20, 5));
        assert_eq!(values[r#"http_requests_rate{service="shop"}"#], 5.0);
        assert_eq!(values[r#"error_ratio{service="shop"}"#], 0.2);
    }

    #[test]
    fn a_counter_that_appears_later_has_grown_from_zero_unless_told_otherwise() {
        let before = "# TYPE http_requests_total counter\nhttp_requests_total 10\n";
        let after = format!(
            "{before}# TYPE http_request_errors_total counter\nhttp_request_errors_total 4\n"
        );
        let after = after.replace("total 10", "total 18");
        let mut eager = scraper();
        ingest(&mut eager, 0, before);
        assert_eq!(ingest(&mut eager, 2, &after)["error_ratio"], 0.5);
        let mut careful = Scraper::new(ScraperConfig {
            new_series_start_at_zero: false,
            ..ScraperConfig::default()
        })
        .unwrap();
        ingest(&mut careful, 0, before);
        let values = ingest(&mut careful, 2, &after);
        assert!(!values.contains_key("http_request_errors_rate"));
        assert_eq!(values["http_requests_rate"], 4.0);
    }

    #[test]
    fn errors_that_are_declared_and_absent_are_zero_and_undeclared_ones_unknown() {
        let page = |n: u32, more: &str| {
            format!("# TYPE http_requests_total counter\nhttp_requests_total {n}\n{more}")
        };
        let declared = "# TYPE http_request_errors_total counter\n";
        let mut scraper = scraper();
        ingest(&mut scraper, 0, &page(1, ""));
        assert!(!ingest(&mut scraper, 1, &page(2, "")).contains_key("error_ratio"));
        assert_eq!(
            ingest(&mut scraper, 2, &page(3, declared))["error_ratio"],
            0.0
        );
    }

    #[test]
    fn a_failed_scrape_gives_nothing_and_the_next_rate_goes_over_the_longer_time() {
        let mut scraper = scraper();
        ingest(&mut scraper, 0, &requests(0, 0));
        assert_eq!(scraper.failed(), Scrape::default());
        let values = ingest(&mut scraper, 20, &requests(100, 0));
        assert_eq!(values[r#"http_requests_rate{service="shop"}"#], 5.0);
        assert!(ingest(&mut scraper, 20, &requests(200, 0)).is_empty());
        assert!(ingest(&mut scraper, 10, &requests(300, 0)).is_empty());
    }

    fn latency(counts: [u32; 3], route: &str) -> String {
        let [a, b, c] = counts;
        format!(
            "http_request_duration_seconds_bucket{{route=\"{route}\",le=\"0.1\"}} {a}\n\
             http_request_duration_seconds_bucket{{route=\"{route}\",le=\"0.50\"}} {b}\n\
             http_request_duration_seconds_bucket{{route=\"{route}\",le=\"+Inf\"}} {c}\n\
             http_request_duration_seconds_sum{{route=\"{route}\"}} 1\n\
             http_request_duration_seconds_count{{route=\"{route}\"}} {c}\n"
        )
    }

    #[test]
    fn quantiles_are_those_of_the_increase_over_all_routes_and_absent_without_one() {
        let kind = "# TYPE http_request_duration_seconds histogram\n";
        let mut scraper = scraper();
        let first = format!(
            "{kind}{}{}",
            latency([900, 900, 900], "/a"),
            latency([5, 5, 5], "/b")
        );
        assert!(ingest(&mut scraper, 0, &first).is_empty());
        // The increase: 60 up to 0.1, 30 up to 0.5, 10 beyond.
        let second = format!(
            "{kind}{}{}",
            latency([940, 970, 970], "/a"),
            latency([25, 25, 35], "/b")
        );
        let values = ingest(&mut scraper, 10, &second);
        let p50 = values["http_request_duration_p50_seconds"];
        assert!((p50 - 0.1 * 50.0 / 60.0).abs() < 1e-12);
        assert_eq!(values["http_request_duration_p95_seconds"], 0.5);
        assert_eq!(values.len(), 3);
        assert!(ingest(&mut scraper, 20, &second).is_empty());
        // A restart: one bucket falls, so all of them count from zero.
        let restarted = format!(
            "{kind}{}",
            latency([950, 960, 960], "/a").replace("/a", "/b")
        );
        let grown = ingest(&mut scraper, 30, &restarted);
        assert!(grown["http_request_duration_p99_seconds"] <= 0.5);
        let restarted = format!("{kind}{}", latency([0, 10, 20], "/b"));
        let reset = ingest(&mut scraper, 40, &restarted);
        assert_eq!(reset["http_request_duration_p50_seconds"], 0.5);
    }

    #[test]
    fn a_histogram_without_a_type_is_known_by_its_buckets() {
        let mut scraper = scraper();
        ingest(&mut scraper, 0, &latency([0, 0, 0], "/"));
        let values = ingest(&mut scraper, 1, &latency([10, 10, 10], "/"));
        let names: Vec<&str> = values.keys().map(String::as_str).collect();
        let expected = ["p50", "p95", "p99"].map(|p| format!("http_request_duration_{p}_seconds"));
        assert_eq!(names, expected);
    }

    #[test]
    fn gauges_summaries_and_unknown_metrics_find_their_names() {
        let page = "# TYPE process_resident_memory_bytes gauge\nprocess_resident_memory_bytes 7\n\
             # TYPE rpc_size_bytes summary\nrpc_size_bytes{quantile=\"0.95\",m=\"a\"} 5\nrpc_size_bytes{quantile=\"0.95\",m=\"b\"} 9\n\
             rpc_size_bytes{quantile=\"0.2\"} 1\nrpc_size_bytes_count 12\njobs_total 3\ndepth{q=\"a\"} 1\ndepth{q=\"b\"} 2\n\
             # TYPE build info\nbuild_info{version=\"1\"} 1\n";
        let mut scraper = Scraper::new(ScraperConfig {
            target: Some("shop/1".parse().unwrap()),
            keep_labels: vec!["q".to_owned()],
            ..ScraperConfig::default()
        })
        .unwrap();
        scraper.ingest(page, Timestamp::EPOCH);
        let values = ingest(&mut scraper, 1, page);
        let of = |metric: &str, more: &str| {
            values[&format!("{metric}{{instance=\"1\",{more}service=\"shop\"}}")]
        };
        assert_eq!(of("process_resident_memory_bytes", ""), 7.0);
        assert_eq!(of("rpc_size_p95_bytes", ""), 9.0);
        assert_eq!(of("jobs_rate", ""), 0.0);
        assert_eq!(of("depth", "q=\"b\","), 2.0);
        assert_eq!(values.len(), 5);
    }

    #[test]
    fn an_explosion_of_labels_is_bounded_and_old_lines_are_forgotten() {
        let mut scraper = Scraper::new(ScraperConfig {
            max_series: 10,
            forget_after: Duration::from_secs(60),
            ..ScraperConfig::default()
        })
        .unwrap();
        let page = |from: u32| {
            (from..from + 25).fold("# TYPE n counter\n".to_owned(), |page, user| {
                format!("{page}n_total{{user=\"{user}\"}} 1\n")
            })
        };
        assert_eq!(scraper.ingest(&page(0), Timestamp::EPOCH).n_left_out, 15);
        scraper.ingest("", Timestamp::from_secs(100));
        assert_eq!(
            scraper
                .ingest(&page(50), Timestamp::from_secs(101))
                .n_left_out,
            15
        );
    }

    #[test]
    fn every_wrong_setting_is_named() {
        let error = Scraper::new(ScraperConfig {
            max_series: 0,
            keep_labels: vec!["route".to_owned(), "le".to_owned()],
            error_ratio: Some(ErrorRatio {
                errors: "a".to_owned(),
                requests: "a".to_owned(),
            }),
            ..ScraperConfig::default()
        })
        .unwrap_err();
        let paths: Vec<&str> = error.violations().iter().map(|v| v.path.as_str()).collect();
        assert_eq!(
            paths,
            ["max_series", "keep_labels[1]", "error_ratio.errors"]
        );
    }

    proptest! {
        #[test]
        fn rates_are_never_negative_and_add_up_to_what_was_counted(
            pages in proptest::collection::vec((0_u32..1000, any::<bool>()), 1..20),
        ) {
            let mut scraper = scraper();
            let (mut counter, mut counted) = (0_u64, 0_u64);
            ingest(&mut scraper, 0, "# TYPE n counter\nn_total 0\n");
            let mut sum = 0.0;
            for (second, (more, restart)) in (1_i64..).zip(pages) {
                if restart && u64::from(more) < counter {
                    counter = 0;
                }
                counter += u64::from(more);
                counted += u64::from(more);
                let rate = ingest(&mut scraper, second, &format!("# TYPE n counter\nn_total {counter}\n"))["n_rate"];
                prop_assert!(rate >= 0.0);
                sum += rate;
            }
            prop_assert!((sum - counted as f64).abs() < 1e-6);
        }
    }
}
