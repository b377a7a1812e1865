//! The page of a real `node_exporter`.

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use homeostasis::SystemClock;
use homeostasis::core::Timestamp;
use homeostasis::core::port::{HttpClient, HttpRequest};
use homeostasis::core::testing::engine::{self, Engine};
use homeostasis::signals::{HyperClient, MetricKind, Scraper, ScraperConfig, parse_exposition};

#[expect(clippy::disallowed_methods, reason = "the other side of a test")]
fn start(port: u16) -> Option<Engine> {
    let program = engine::find("prometheus-node-exporter", &["/usr/bin"])?;
    let mut command = Command::new(program);
    command
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .stdin(Stdio::null());
    let mut exporter = Engine::start(command);
    exporter.wait_for_port(port, Duration::from_secs(30));
    Some(exporter)
}

async fn page(port: u16) -> String {
    let url = format!("http://127.0.0.1:{port}/metrics");
    let mut request = HttpRequest::get(url).within(Duration::from_secs(30));
    request.max_body = 16 << 20;
    let answer = HyperClient::new(Arc::new(SystemClock))
        .send(request)
        .await
        .unwrap();
    assert_eq!(answer.status, 200);
    answer.text()
}

#[tokio::test]
async fn a_page_of_node_exporter_is_read_as_it_says() {
    let port = engine::free_port();
    let Some(_exporter) = start(port) else {
        return;
    };
    let first = page(port).await;
    let read = parse_exposition(&first);
    assert_eq!(read.problems, []);
    let declared: BTreeSet<&str> = first
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
        .collect();
    let families: BTreeSet<&str> = read.families.iter().map(|f| f.name.as_str()).collect();
    assert_eq!(families, declared);
    let n_lines = first.lines().filter(|line| !line.starts_with('#')).count();
    assert_eq!(read.n_points(), n_lines);
    assert!(n_lines > 300, "{n_lines}");

    let mut scraper = Scraper::new(ScraperConfig {
        target: Some("node/1".parse().unwrap()),
        ..ScraperConfig::default()
    })
    .unwrap();
    scraper.ingest(&first, Timestamp::from_secs(0));
    let second = page(port).await;
    let scrape = scraper.ingest(&second, Timestamp::from_secs(10));
    assert_eq!((&scrape.problems[..], scrape.n_left_out), (&[][..], 0));
    let measured: BTreeMap<&str, f64> = scrape
        .measurements
        .iter()
        .map(|m| (m.key.metric.as_str(), m.value))
        .collect();
    // Each counter of both pages has a rate: what it has grown by, over the ten seconds.
    let now = parse_exposition(&second);
    let sums = |page: &homeostasis::signals::Exposition| -> BTreeMap<String, f64> {
        let counters = page
            .families
            .iter()
            .filter(|f| f.kind == MetricKind::Counter);
        counters
            .map(|f| {
                (
                    f.name.clone(),
                    f.points.iter().map(|point| point.value).sum(),
                )
            })
            .collect()
    };
    let before = sums(&read);
    let mut n_counters = 0;
    for (name, sum) in sums(&now) {
        let Some(before) = before.get(&name) else {
            continue;
        };
        let rate = measured[format!("{}_rate", name.trim_end_matches("_total")).as_str()];
        let expected = (sum - before) / 10.0;
        assert!(
            (rate - expected).abs() <= 1e-9 * sum.max(1.0),
            "{name}: {rate}"
        );
        n_counters += 1;
    }
    assert!(n_counters > 50, "{n_counters}");
    let load = now
        .families
        .iter()
        .find(|family| family.name == "node_load1");
    assert_eq!(measured["node_load1"], load.unwrap().points[0].value);
}
