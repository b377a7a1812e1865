//! Pages of the Prometheus client of Python, in both formats.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::sync::Arc;
use std::time::Duration;

use homeostasis::SystemClock;
use homeostasis::core::Timestamp;
use homeostasis::core::port::{HttpClient, HttpRequest};
use homeostasis::signals::{HyperClient, MetricKind, Scraper, ScraperConfig, parse_exposition};

use crate::python;

/// A program that serves a page; killed when dropped.
struct Served {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    url: String,
}

impl Served {
    fn start() -> Option<Self> {
        let mut program =
            python::script("prometheus_client", include_str!("prometheus_client.py"))?;
        let mut child = program
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let mut served = Self {
            child,
            input,
            output,
            url: String::new(),
        };
        served.url = format!("http://127.0.0.1:{}/metrics", served.line());
        Some(served)
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }

    fn grow(&mut self) {
        writeln!(self.input, "grow").unwrap();
        assert_eq!(self.line(), "grown");
    }

    async fn page(&self, accept: &str) -> String {
        let request = HttpRequest::get(&self.url).header("accept", accept);
        let answer = HyperClient::new(Arc::new(SystemClock))
            .send(request)
            .await
            .unwrap();
        assert_eq!(answer.status, 200);
        answer.text()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const TEXT: &str = "text/plain; version=0.0.4";
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0";

#[tokio::test]
async fn pages_of_prometheus_client_are_scraped_in_both_formats() {
    for accept in [TEXT, OPEN_METRICS] {
        let Some(mut served) = Served::start() else {
            return;
        };
        let mut scraper = Scraper::new(ScraperConfig {
            keep_labels: vec!["queue".to_owned(), "breaker".to_owned()],
            ..ScraperConfig::default()
        })
        .unwrap();
        let first = served.page(accept).await;
        assert_eq!(first.contains("# EOF"), accept == OPEN_METRICS);
        check_page(&first);
        scraper.ingest(&first, Timestamp::from_secs(0));
        served.grow();
        let second = served.page(accept).await;
        let scrape = scraper.ingest(&second, Timestamp::EPOCH + Duration::from_secs(10));
        assert_eq!((&scrape.problems[..], scrape.n_left_out), (&[][..], 0));
        let values: BTreeMap<String, f64> = scrape
            .measurements
            .iter()
            .map(|m| (m.key.to_string(), m.value))
            .collect();
        assert_eq!(values[r#"http_requests_rate{service="shop"}"#], 4.0);
        assert_eq!(values[r#"http_request_errors_rate{service="shop"}"#], 1.0);
        assert_eq!(values[r#"error_ratio{service="shop"}"#], 0.25);
        // All in the bucket from 0.1 to 0.5.
        assert_eq!(values["latency_p50_seconds"], 0.1 + (0.5 - 0.1) * 0.5);
        assert_eq!(values[r#"queue_depth{queue="数"}"#], 7.5);
        let odd = "queue_depth{queue=\"a\\\"b\\\\c\\nd,e={}\"}";
        assert!(values[odd].is_nan());
        // The text format has no states: there they are gauges.
        let state = values.get(r#"breaker{breaker="closed"}"#);
        assert_eq!(state, (accept == TEXT).then_some(&1.0));
    }
}

/// Labels, kinds and values are those that the client was given.
fn check_page(page: &str) {
    let open_metrics = page.contains("# EOF");
    let families = parse_exposition(page).into_result().unwrap();
    let family = |names: [&str; 2]| {
        let name = names[usize::from(open_metrics)];
        let mut found = families.iter().filter(|family| family.name == name);
        found.next().unwrap_or_else(|| panic!("{name} in {page}"))
    };
    let requests = family(["http_requests_total", "http_requests"]);
    assert_eq!(requests.kind, MetricKind::Counter);
    assert_eq!(requests.points[0].labels["path"], "/a\"\\\n");
    assert_eq!(
        (requests.points[0].value, requests.points[1].value),
        (30.0, 10.0)
    );
    let depth = family(["queue_depth"; 2]);
    assert_eq!(depth.kind, MetricKind::Gauge);
    assert_eq!(depth.help, "Jobs \"waiting\"\\now\nor later");
    assert_eq!(depth.points[0].labels["queue"], "a\"b\\c\nd,e={}");
    let latency = family(["latency_seconds"; 2]);
    assert_eq!(latency.kind, MetricKind::Histogram);
    let counts: Vec<f64> = latency
        .points
        .iter()
        .filter(|point| point.name == "latency_seconds_bucket")
        .map(|point| point.value)
        .collect();
    assert_eq!(counts, [0.0, 10.0, 10.0, 10.0]);
    let size = family(["size_bytes"; 2]);
    assert_eq!(size.kind, MetricKind::Summary);
    let sum = size
        .points
        .iter()
        .find(|point| point.name == "size_bytes_sum");
    assert_eq!(sum.unwrap().value, 12.0);
    let info = &family(["build_info", "build"]).points[0].labels;
    assert_eq!(info["version"], "1.0 \"rc\"");
    assert_eq!(info["path"], "C:\\x\ny");
    let state = family(["breaker"; 2]);
    assert_eq!(state.points.len(), 2);
    let kind = [MetricKind::Gauge, MetricKind::StateSet][usize::from(open_metrics)];
    assert_eq!(state.kind, kind);
}
