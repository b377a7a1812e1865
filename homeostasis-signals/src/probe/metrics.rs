//! Scrapes a page of metrics.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use homeostasis_core::port::{HttpClient, HttpRequest};
use homeostasis_core::signal::{Level, LogRecord, Signal};
use homeostasis_core::{ConfigError, Context, Target, Timestamp, Violations};
use serde::{Deserialize, Serialize};

use super::check::{Check, absolute_url};
use super::probing::{Missed, Probe};
use super::reading::Reading;
use super::refusal;
use crate::intake::{Scraper, ScraperConfig};

/// Which page is read, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MetricsProbeConfig {
    /// What the probe is called.
    pub name: String,
    /// Whose page it is.
    pub target: Target,
    /// Absolute: `http://127.0.0.1:8080/metrics`.
    pub url: String,
    /// How often it is read; default 10 s.
    #[serde(
        default = "MetricsProbeConfig::default_interval",
        with = "crate::duration_text"
    )]
    pub interval: Duration,
    /// How long it may take; default 5 s.
    #[serde(
        default = "MetricsProbeConfig::default_timeout",
        with = "crate::duration_text"
    )]
    pub timeout: Duration,
    /// How many bytes a page may have; default 16 MiB.
    #[serde(default = "MetricsProbeConfig::default_max_body")]
    pub max_body: usize,
    /// How its lines become series. Its `target` is usually left out here, so that a page may
    /// speak for several services; lines without a label `service` are then of the probe's target.
    #[serde(default)]
    pub scraper: ScraperConfig,
}

impl MetricsProbeConfig {
    /// The defaults for the page at `url` of `target`.
    pub fn new(name: impl Into<String>, target: Target, url: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            target,
            url: url.into(),
            interval: Self::default_interval(),
            timeout: Self::default_timeout(),
            max_body: Self::default_max_body(),
            scraper: ScraperConfig::default(),
        }
    }

    fn check(&self) -> Check<'_> {
        Check {
            name: &self.name,
            target: &self.target,
            interval: self.interval,
            timeout: self.timeout,
        }
    }

    fn default_interval() -> Duration {
        Duration::from_secs(10)
    }

    fn default_timeout() -> Duration {
        Duration::from_secs(5)
    }

    fn default_max_body() -> usize {
        16 * 1024 * 1024
    }
}

/// Reads a page in the Prometheus text format or in `OpenMetrics` through a [`Scraper`].
///
/// It measures `up` with the label `check` (1 if there was a page, 0 if not) and what the scraper
/// derives. Without a page there is nothing but `up` and a log record (`warn`) that says why: old
/// values are not repeated. Lines that
/// cannot be read are counted in `scrape_bad_lines`, those over the scraper's limit in
/// `scrape_left_out`, each only if there is any.
/// It reports no health: a service without its metrics may serve well.
#[derive(Debug)]
pub struct MetricsProbe {
    config: MetricsProbeConfig,
    client: Arc<dyn HttpClient>,
    scraper: Mutex<Scraper>,
}

impl MetricsProbe {
    /// A probe that asks through `client`.
    ///
    /// # Errors
    /// - The name is empty, or the URL does not begin with `http://` or `https://`.
    /// - A duration is zero.
    /// - The scraper's settings are wrong, see [`Scraper::new`].
    pub fn new(
        config: MetricsProbeConfig,
        client: Arc<dyn HttpClient>,
    ) -> Result<Self, ConfigError> {
        let mut wrong = Violations::new();
        config.check().validate(&mut wrong);
        absolute_url(&mut wrong, "url", &config.url);
        let scraper = Scraper::new(config.scraper.clone()).map_err(|error| error.under("scraper"));
        let scraper = wrong.absorb(scraper);
        if let Some(error) = wrong.into_error() {
            return Err(error);
        }
        // Without a violation there is a scraper.
        let scraper = scraper.map_or_else(|| Scraper::new(ScraperConfig::default()), Ok)?;
        Ok(Self {
            config,
            client,
            scraper: Mutex::new(scraper),
        })
    }

    /// There is no page: it is down, and a record says why.
    fn down(&self, at: Timestamp, why: &str) -> Reading {
        let mut record = LogRecord::new(
            at,
            Level::Warn,
            format!("no metrics of {}: {why}", self.config.target),
        );
        record.target = Some(self.config.target.clone());
        record.component = self.config.name.clone().into();
        let mut reading = Reading::default().measured(self.config.check().measure("up", at, 0.0));
        reading.signals.push(Signal::Log(record));
        reading
    }

    fn page(&self, text: &str, at: Timestamp) -> Reading {
        let scrape = self
            .scraper
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .ingest(text, at);
        let mut reading = Reading::default().measured(self.config.check().measure("up", at, 1.0));
        for (metric, n) in [
            ("scrape_bad_lines", scrape.n_problems),
            ("scrape_left_out", scrape.n_left_out),
        ] {
            if n > 0 {
                reading = reading.measured(self.config.check().measure(metric, at, n as f64));
            }
        }
        let mut measurements = scrape.measurements;
        for measurement in &mut measurements {
            let labels = &mut measurement.key.labels;
            if !labels.contains_key("service") {
                crate::measurement::label_target(labels, &self.config.target);
            }
        }
        reading.measurements.append(&mut measurements);
        reading
    }
}

#[async_trait]
impl Probe for MetricsProbe {
    fn name(&self) -> &str {
        &self.config.name
    }

    fn target(&self) -> Option<&Target> {
        Some(&self.config.target)
    }

    fn reports_health(&self) -> bool {
        false
    }

    fn interval(&self) -> Duration {
        self.config.interval
    }

    fn timeout(&self) -> Duration {
        self.config.timeout
    }

    async fn probe(&self, cx: &Context) -> Reading {
        let mut request = HttpRequest::get(&self.config.url)
            .within(self.config.timeout)
            .header(
                "accept",
                "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5",
            );
        request.max_body = self.config.max_body;
        let answer = self.client.send(request).await;
        let at = cx.now();
        match answer {
            Ok(answer) if answer.is_success() => self.page(&answer.text(), at),
            Ok(answer) => self.down(
                at,
                &format!("status {}, expected 200 to 299", answer.status),
            ),
            Err(error) => self.down(at, &refusal::of_http(&error)),
        }
    }

    fn missed(&self, at: Timestamp, why: &Missed) -> Reading {
        self.down(at, &why.to_string())
    }
}

#[cfg(feature = "http")]
#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use homeostasis_core::ManualClock;

    use super::*;
    use crate::http::HyperClient;
    use crate::testing::{Reply, Server, WallClock};

    /// How often the server of the one test that counts was asked.
    static ASKED: AtomicU64 = AtomicU64::new(0);

    #[tokio::test]
    async fn a_page_becomes_series_and_a_failure_only_says_down() {
        let server = Server::start(|_| match ASKED.fetch_add(1, Ordering::SeqCst) {
            2 => Reply::status(500, "http_requests_total 5\n"),
            n => Reply::status(
                200,
                &format!(
                    "# TYPE http_requests_total counter\nhttp_requests_total{{route=\"/\"}} {}\n\
                     # TYPE depth gauge\ndepth{{service=\"queue\"}} {n}\nbad line\n",
                    n * 100
                ),
            ),
        })
        .await;
        let clock = ManualClock::new(Timestamp::EPOCH);
        let cx = Context::new(Arc::new(clock.clone()), 1);
        let target = Target::instance("shop", "1").unwrap();
        let config = MetricsProbeConfig::new("metrics", target, server.url("/metrics"));
        let client = Arc::new(HyperClient::new(Arc::new(WallClock)));
        let probe = MetricsProbe::new(config, client).unwrap();
        let mut readings = Vec::new();
        for _ in 0..4 {
            readings.push(super::super::ask(&probe, &cx).await);
            clock.advance(Duration::from_secs(10));
        }
        let rates: Vec<Option<f64>> = readings
            .iter()
            .map(|reading| reading.value("http_requests_rate"))
            .collect();
        assert_eq!(rates, [None, Some(10.0), None, Some(10.0)]);
        let ups: Vec<Option<f64>> = readings.iter().map(|r| r.value("up")).collect();
        assert_eq!(ups, [Some(1.0), Some(1.0), Some(0.0), Some(1.0)]);
        assert_eq!(readings[2].measurements.len(), 1);
        assert!(matches!(
            &readings[2].signals[..],
            [Signal::Log(log)] if log.message.contains("status 500")
        ));
        let keys: Vec<String> = readings[1]
            .measurements
            .iter()
            .map(|measurement| measurement.key.to_string())
            .collect();
        assert_eq!(
            keys,
            [
                r#"up{check="metrics",instance="1",service="shop"}"#,
                r#"scrape_bad_lines{check="metrics",instance="1",service="shop"}"#,
                r#"depth{service="queue"}"#,
                r#"http_requests_rate{instance="1",service="shop"}"#,
            ]
        );
    }
}
