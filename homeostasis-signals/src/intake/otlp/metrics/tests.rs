use std::collections::BTreeMap as Map;

use homeostasis_core::testing::processor_time;

use super::*;
use crate::intake::otlp::decode::{OtlpEncoding, OtlpKind, OtlpRequest, Request};

/// A follower and what it is told.
struct Follower {
    metrics: MetricsFollower,
    config: OtlpIntakeConfig,
}

impl Follower {
    fn new(config: OtlpIntakeConfig) -> Self {
        Self {
            metrics: MetricsFollower::new(&config),
            config,
        }
    }

    /// What an export with these metrics gives, at second `now` of our clock.
    fn export(&mut self, now: i64, metrics: &str) -> (Map<String, f64>, OtlpOutcome) {
        let json = format!(
            r#"{{"resourceMetrics":[{{"resource":{{"attributes":[
                {{"key":"service.name","value":{{"stringValue":"shop"}}}}]}},
                "scopeMetrics":[{{"metrics":[{metrics}]}}]}}]}}"#
        );
        let json = json.as_bytes();
        let read = OtlpRequest::decode(OtlpKind::Metrics, OtlpEncoding::Json, json, 1 << 20);
        let Request::Metrics(request) = read.unwrap().0 else {
            unreachable!()
        };
        let now = Timestamp::from_secs(now);
        let (measurements, outcome) = self.metrics.take(request, &self.config, now);
        let values = measurements.iter().map(|m| {
            (
                m.key.to_string().replace(r#"{service="shop"}"#, ""),
                m.value,
            )
        });
        (values.collect(), outcome)
    }

    fn values(&mut self, metrics: &str) -> Vec<(String, f64)> {
        let (values, outcome) = self.export(0, metrics);
        assert_eq!((outcome.n_rejected, outcome.message.as_str()), (0, ""));
        values.into_iter().collect()
    }

    fn refused(&mut self, metrics: &str) -> String {
        let (values, outcome) = self.export(0, metrics);
        assert_eq!((values.len(), outcome.n_rejected), (0, 1));
        outcome.message
    }
}

fn follower() -> Follower {
    Follower::new(OtlpIntakeConfig::default())
}

/// A sum of one point, with times in seconds.
fn sum(name: &str, temporality: u8, [start, time]: [u64; 2], value: f64, more: &str) -> String {
    format!(
        r#"{{"name":"{name}","sum":{{"aggregationTemporality":{temporality},"isMonotonic":true,
        "dataPoints":[{}]}}}}"#,
        point([start, time], &format!(r#""asDouble":{value}{more}"#))
    )
}

fn point([start, time]: [u64; 2], more: &str) -> String {
    let nanos = |seconds: u64| seconds * 1_000_000_000;
    format!(
        r#"{{"startTimeUnixNano":"{}","timeUnixNano":"{}",{more}}}"#,
        nanos(start),
        nanos(time)
    )
}

fn is(name: &str, value: f64) -> Vec<(String, f64)> {
    vec![(name.to_owned(), value)]
}

#[test]
fn a_cumulative_sum_gives_rates_through_resets() {
    let mut follower = follower();
    let mut at = |times, value| follower.values(&sum("jobs.done_total", 2, times, value, ""));
    assert_eq!(at([1, 10], 50.0), []);
    assert_eq!(at([1, 20], 70.0), is("jobs_done_rate", 2.0));
    // A later start: it began anew and has grown past the old value.
    assert_eq!(at([21, 30], 90.0), is("jobs_done_rate", 9.0));
    // The same start and less: some producers do not say that they restarted.
    assert_eq!(at([21, 40], 10.0), is("jobs_done_rate", 1.0));
    // The same export again, as after a reply that was lost.
    assert_eq!(at([21, 40], 10.0), []);
    assert_eq!(at([21, 50], 10.0), is("jobs_done_rate", 0.0));
}

#[test]
fn a_series_that_appears_later_has_grown_from_zero() {
    let status = |code: &str| {
        format!(r#","attributes":[{{"key":"code","value":{{"stringValue":"{code}"}}}}]"#)
    };
    let mut eager = follower();
    eager.values(&sum("n", 2, [1, 10], 5.0, &status("200")));
    let failed = sum("n", 2, [1, 20], 5.0, &status("500"));
    assert_eq!(eager.values(&failed), is("n_rate", 0.5));
    let mut careful = Follower::new(OtlpIntakeConfig {
        new_series_start_at_zero: false,
        ..OtlpIntakeConfig::default()
    });
    careful.values(&sum("n", 2, [1, 10], 5.0, &status("200")));
    assert_eq!(careful.values(&failed), []);
    // Another metric of the same source, which says that it began after the last export.
    assert_eq!(
        careful.values(&sum("m", 2, [22, 30], 5.0, "")),
        is("m_rate", 0.5)
    );
}

#[test]
fn series_are_added_up_over_attributes_that_are_not_kept() {
    let mut follower = Follower::new(OtlpIntakeConfig {
        keep_attributes: vec!["http.route".to_owned()],
        ..OtlpIntakeConfig::default()
    });
    let attribute = |name: &str, value: &str| {
        format!(r#"{{"key":"{name}","value":{{"stringValue":"{value}"}}}}"#)
    };
    let gauge = |points: &[String]| {
        let points = points.join(",");
        format!(r#"{{"name":"open","unit":"By","gauge":{{"dataPoints":[{points}]}}}}"#)
    };
    let of = |route: &str, user: &str, value: i64| {
        let (route, user) = (attribute("http.route", route), attribute("user", user));
        point(
            [0, 9],
            &format!(r#""asInt":"{value}","attributes":[{route},{user}]"#),
        )
    };
    let points = [of("/a", "x", 2), of("/a", "y", 3), of("/b", "x", 7)];
    let (values, _) = follower.export(0, &gauge(&points));
    let expected = [
        (
            r#"open_bytes{http_route="/a",service="shop"}"#.to_owned(),
            5.0,
        ),
        (
            r#"open_bytes{http_route="/b",service="shop"}"#.to_owned(),
            7.0,
        ),
    ];
    assert_eq!(values, Map::from(expected));
}

#[test]
fn deltas_are_rates_over_their_interval_and_need_one() {
    let mut follower = follower();
    assert_eq!(
        follower.values(&sum("n", 1, [10, 14], 8.0, "")),
        is("n_rate", 2.0)
    );
    assert_eq!(
        follower.values(&sum("n", 1, [14, 16], 0.0, "")),
        is("n_rate", 0.0)
    );
    let message = follower.refused(&sum("n", 1, [0, 16], 1.0, ""));
    assert!(
        message.starts_with("n: a delta without an interval"),
        "{message}"
    );
    let falling = sum("n", 1, [1, 2], 1.0, "").replace("true", "false");
    assert!(follower.refused(&falling).contains("expected cumulative"));
    let rising = sum("n", 2, [1, 2], -1.5, "").replace("true", "false");
    assert_eq!(follower.values(&rising), is("n", -1.5));
}

#[test]
fn the_error_ratio_is_derived_as_from_a_page() {
    let mut follower = follower();
    let mut at = |second, errors: Option<f64>| {
        let requests = sum("http.requests", 2, [1, second], second as f64, "");
        let errors = errors.map(|n| sum("http.request.errors", 2, [1, second], n, ""));
        let both: Vec<String> = [Some(requests), errors].into_iter().flatten().collect();
        let (values, _) = follower.export(0, &both.join(","));
        values.get("error_ratio").copied()
    };
    assert_eq!(at(10, Some(0.0)), None);
    assert_eq!(at(20, Some(5.0)), Some(0.5));
    // Without word of errors nothing is known of them.
    assert_eq!(at(30, None), None);
}

fn histogram(temporality: u8, times: [u64; 2], counts: &str) -> String {
    let point = point(
        times,
        &format!(r#""explicitBounds":[0.1,0.5],"bucketCounts":{counts}"#),
    );
    format!(
        r#"{{"name":"http.duration","unit":"s","histogram":{{
        "aggregationTemporality":{temporality},"dataPoints":[{point}]}}}}"#
    )
}

#[test]
fn histograms_give_quantiles_of_what_came_since() {
    let mut follower = follower();
    assert_eq!(
        follower.values(&histogram(2, [1, 10], r#"["90","5","5"]"#)),
        []
    );
    let values = follower.values(&histogram(2, [1, 20], "[90,105,5]"));
    let expected = [("p50", 0.5), ("p95", 0.95), ("p99", 0.99)].map(|(word, q)| {
        (
            format!("http_duration_{word}_seconds"),
            0.1 + (0.5 - 0.1) * q,
        )
    });
    assert_eq!(values, expected);
    // Nothing new: no quantiles. Then a restart: all of it is new.
    assert_eq!(follower.values(&histogram(2, [1, 30], "[90,105,5]")), []);
    let values = follower.values(&histogram(2, [1, 40], "[10,0,0]"));
    assert_eq!(values[0].1, 0.05);
    let values = follower.values(&histogram(1, [1, 40], "[0,0,10]"));
    assert_eq!(values[0].1, 0.5);
    for (counts, told) in [
        ("[1,2]", "2 bucketCounts with 2"),
        ("[1,2,3,4]", "4 bucketCounts"),
    ] {
        let message = follower.refused(&histogram(2, [1, 50], counts));
        assert!(message.contains(told), "{message}");
    }
    let descending = histogram(2, [1, 50], "[1,2,3]").replace("0.1,0.5", "0.5,0.1");
    assert!(follower.refused(&descending).contains("ascending"));
    let vague = histogram(0, [1, 50], "[1,2,3]");
    assert!(
        follower
            .refused(&vague)
            .contains("aggregationTemporality = 0")
    );
}

#[test]
fn exponential_histograms_and_summaries_give_quantiles() {
    let mut follower = follower();
    let mut at = |times, counts: &str| {
        let buckets = format!(
            r#""scale":0,"zeroCount":"1","positive":{{"offset":1,"bucketCounts":{counts}}}"#
        );
        let point = point(times, &buckets);
        follower.values(&format!(
            r#"{{"name":"size","exponentialHistogram":{{"aggregationTemporality":2,
            "dataPoints":[{point}]}}}}"#
        ))
    };
    assert_eq!(at([1, 10], r#"["100"]"#), []);
    // Ten more in (4, 8].
    let values = at([1, 20], r#"["100","10"]"#);
    assert_eq!(values[0], ("size_p50".to_owned(), 2.5_f64.exp2()));
    let summary = r#"{"name":"rpc","unit":"ms","summary":{"dataPoints":[{"quantileValues":[
        {"quantile":0.95,"value":12.5},{"quantile":0.3,"value":1}]}]}}"#;
    let values = follower.values(summary);
    assert_eq!(values, is("rpc_p95_milliseconds", 12.5));
}

#[test]
fn a_point_without_recorded_value_ends_its_series() {
    let mut follower = follower();
    follower.values(&sum("n", 2, [1, 10], 5.0, ""));
    assert_eq!(
        follower.values(&sum("n", 2, [1, 20], 0.0, r#","flags":1"#)),
        []
    );
    // It is back, and has grown since its metric last spoke.
    assert_eq!(
        follower.values(&sum("n", 2, [25, 30], 5.0, "")),
        is("n_rate", 0.5)
    );
}

#[test]
fn series_and_points_are_bounded_and_old_ones_forgotten() {
    let mut follower = Follower::new(OtlpIntakeConfig {
        max_series: 1,
        max_items: 2,
        forget_after: std::time::Duration::from_secs(80),
        ..OtlpIntakeConfig::default()
    });
    let both = format!(
        "{},{}",
        sum("a", 2, [1, 10], 1.0, ""),
        sum("b", 2, [1, 10], 1.0, "")
    );
    let (_, outcome) = follower.export(10, &both);
    assert_eq!((outcome.n_accepted, outcome.n_rejected), (1, 1));
    assert_eq!(outcome.message, "b: a series beyond the limit max_series");
    follower.export(200, "");
    let (_, outcome) = follower.export(200, &sum("b", 2, [1, 200], 1.0, ""));
    assert_eq!((outcome.n_accepted, outcome.n_rejected), (1, 0));
    let gauge = r#"{"name":"g","gauge":{"dataPoints":[{"asInt":1},{"asInt":1},{"asInt":1},{}]}}"#;
    let (values, outcome) = follower.export(200, gauge);
    assert_eq!(
        (values["g"], outcome.n_accepted, outcome.n_rejected),
        (2.0, 2, 2)
    );
    assert_eq!(outcome.message, "g: more than 2 data points");
}

#[test]
fn metrics_count_as_items_and_those_without_points_are_nothing() {
    let mut follower = Follower::new(OtlpIntakeConfig {
        max_items: 2,
        ..OtlpIntakeConfig::default()
    });
    let bad = |name: &str| {
        let points = r#"{"timeUnixNano":"18446744073709551615","asInt":1}"#;
        format!(r#"{{"name":"{name}","gauge":{{"dataPoints":[{points},{points}]}}}}"#)
    };
    let metrics = [bad("a"), bad("b"), bad("c"), bad("d")];
    let (_, outcome) = follower.export(0, &metrics.join(","));
    assert_eq!((outcome.n_accepted, outcome.n_rejected), (0, 8));
    // Those beyond the limit are not even remembered as seen, nor are empty ones.
    let good =
        |name: &str| format!(r#"{{"name":"{name}","gauge":{{"dataPoints":[{{"asInt":1}}]}}}}"#);
    let empty = r#"{"name":"e","gauge":{"dataPoints":[]}}"#;
    let (values, outcome) = follower.export(1, &[empty, &good("a"), &good("b")].join(","));
    assert_eq!(values, Map::from([("a".to_owned(), 1.0)]));
    assert_eq!(outcome.message, "more than 2 metrics");
    // The source and the metric `a`.
    assert_eq!(follower.metrics.last.len(), 2);
}

#[test]
fn scopes_whose_names_differ_only_at_their_end_are_followed_apart() {
    let mut follower = follower();
    let mut export = |times, values: [f64; 2]| {
        let scope = |end: &str, value| {
            let metric = sum("n", 2, times, value, "");
            let name = "s".repeat(1000);
            format!(r#"{{"scope":{{"name":"{name}{end}"}},"metrics":[{metric}]}}"#)
        };
        let scopes = [scope("a", values[0]), scope("b", values[1])].join(",");
        let json = format!(r#"{{"resourceMetrics":[{{"scopeMetrics":[{scopes}]}}]}}"#);
        let json = json.as_bytes();
        let read = OtlpRequest::decode(OtlpKind::Metrics, OtlpEncoding::Json, json, 1 << 20);
        let Request::Metrics(request) = read.unwrap().0 else {
            unreachable!()
        };
        let (config, now) = (&follower.config, Timestamp::EPOCH);
        let measurements = follower.metrics.take(request, config, now).0;
        measurements.iter().map(|m| m.value).collect::<Vec<_>>()
    };
    assert!(export([1, 10], [5.0, 50.0]).is_empty());
    assert_eq!(export([1, 20], [15.0, 80.0]), [4.0]);
}

#[test]
fn a_long_scope_name_costs_once_whatever_the_number_of_metrics() {
    let (n_metrics, n_bytes) = (5_000, 1 << 20);
    let metric = r#"{"name":"m","gauge":{"dataPoints":[{"asInt":1}]}}"#;
    let json = format!(
        r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"scope":{{"name":"{}"}},"metrics":[{}{metric}]}}]}}]}}"#,
        "s".repeat(n_bytes),
        format!("{metric},").repeat(n_metrics - 1),
    );
    let json = json.as_bytes();
    let read = OtlpRequest::decode(OtlpKind::Metrics, OtlpEncoding::Json, json, 64 << 20);
    let Request::Metrics(request) = read.unwrap().0 else {
        unreachable!()
    };
    let mut follower = follower();
    let ((_, outcome), took) = processor_time(|| {
        let (metrics, config) = (&mut follower.metrics, &follower.config);
        metrics.take(request, config, Timestamp::EPOCH)
    });
    assert_eq!(outcome.n_accepted, n_metrics);
    // 5 GiB to hash would be minutes; 1 MiB is milliseconds.
    assert!(took < std::time::Duration::from_secs(10), "{took:?}");
}
