//! Asks a URL.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use homeostasis_core::port::{HttpClient, HttpRequest, HttpResponse};
use homeostasis_core::{ConfigError, Context, Secret, Target, Violation, Violations};
use serde::{Deserialize, Serialize};

use super::check::{Check, Finding, absolute_url, checks};
use super::probing::Probe;
use super::reading::Reading;
use super::refusal;

/// What is asked, and which answer is good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpProbeConfig {
    /// What the probe is called.
    pub name: String,
    /// Whom it is about.
    pub target: Target,
    /// Absolute: `http://127.0.0.1:8080/healthz`.
    pub url: String,
    /// The method; default `GET`. **Warning:** it is sent again and again: it must change nothing.
    #[serde(default = "HttpProbeConfig::default_method")]
    pub method: String,
    /// Headers to send; default none. Their values are never shown, and none is serialized.
    #[serde(default, skip_serializing)]
    pub headers: Vec<(String, Secret)>,
    /// The status that is good; default any of 200 to 299.
    #[serde(default)]
    pub expect_status: Option<u16>,
    /// What the body must contain; default nothing.
    #[serde(default)]
    pub expect_body: Option<String>,
    /// A good answer that took longer means degraded; default 1 s.
    #[serde(
        default = "HttpProbeConfig::default_slow_after",
        with = "crate::duration_text"
    )]
    pub slow_after: Duration,
    /// How often it is asked; default 10 s.
    #[serde(
        default = "HttpProbeConfig::default_interval",
        with = "crate::duration_text"
    )]
    pub interval: Duration,
    /// How long an answer may take; default 5 s.
    #[serde(
        default = "HttpProbeConfig::default_timeout",
        with = "crate::duration_text"
    )]
    pub timeout: Duration,
    /// How many bytes a body may have; default 64 KiB.
    #[serde(default = "HttpProbeConfig::default_max_body")]
    pub max_body: usize,
}

impl HttpProbeConfig {
    /// The defaults for asking `url` about `target`.
    pub fn new(name: impl Into<String>, target: Target, url: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            target,
            url: url.into(),
            method: Self::default_method(),
            headers: Vec::new(),
            expect_status: None,
            expect_body: None,
            slow_after: Self::default_slow_after(),
            interval: Self::default_interval(),
            timeout: Self::default_timeout(),
            max_body: Self::default_max_body(),
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

    fn default_method() -> String {
        "GET".to_owned()
    }

    fn default_slow_after() -> Duration {
        Duration::from_secs(1)
    }

    fn default_interval() -> Duration {
        Duration::from_secs(10)
    }

    fn default_timeout() -> Duration {
        Duration::from_secs(5)
    }

    fn default_max_body() -> usize {
        64 * 1024
    }
}

/// The headers as they are sent.
pub(super) fn exposed(headers: &[(String, Secret)]) -> Vec<(String, String)> {
    headers
        .iter()
        .map(|(name, value)| (name.clone(), value.expose().to_owned()))
        .collect()
}

/// Asks a URL and judges status, body and latency.
///
/// It measures `up` (1 if the answer is good, 0 if not) and, if there was any answer,
/// `probe_latency_seconds` until its last byte, both with the label `check`, and reports
/// - *healthy:* a good answer in time;
/// - *degraded:* a good answer that took longer than `slow_after`;
/// - *unhealthy:* anything else. The detail begins with the reason: `status 503, …`,
///   `body without "ok"`, `connection refused: …`, `timeout: …`, `connection reset: …`,
///   `denied: …` for requests that the client refuses to send, or else the error.
///
/// # Examples
/// ```
/// use std::sync::Arc;
/// use homeostasis::core::Target;
/// use homeostasis::core::port::NoHttp;
/// use homeostasis::signals::{HttpProbe, HttpProbeConfig};
///
/// let config = HttpProbeConfig::new("healthz", Target::service("shop")?, "https//typo");
/// let error = HttpProbe::new(config, Arc::new(NoHttp)).unwrap_err();
/// assert!(error.to_string().starts_with("url = \"https//typo\", expected"));
/// # Ok::<(), homeostasis::core::NameError>(())
/// ```
#[derive(Debug)]
pub struct HttpProbe {
    config: HttpProbeConfig,
    client: Arc<dyn HttpClient>,
}

impl HttpProbe {
    /// A probe that asks through `client`.
    ///
    /// # Errors
    /// - The name is empty, or the URL does not begin with `http://` or `https://`.
    /// - The expected status is not in `100..=599`.
    /// - A duration is zero, or `slow_after` is longer than `timeout`.
    pub fn new(config: HttpProbeConfig, client: Arc<dyn HttpClient>) -> Result<Self, ConfigError> {
        let mut wrong = Violations::new();
        config.check().validate(&mut wrong);
        absolute_url(&mut wrong, "url", &config.url);
        if let Some(status) = config.expect_status.filter(|s| !(100..=599).contains(s)) {
            wrong.push(Violation::new("expect_status", status, "100 to 599"));
        }
        if config.slow_after.is_zero() || config.slow_after > config.timeout {
            wrong.push(Violation::new(
                "slow_after",
                format!("{:?}", config.slow_after),
                "more than 0s and at most timeout",
            ));
        }
        wrong.into_result(Self { config, client })
    }

    /// What is wrong with an answer.
    fn complaint(&self, answer: &HttpResponse) -> Option<String> {
        match self.config.expect_status {
            Some(expected) if answer.status != expected => {
                return Some(format!("status {}, expected {expected}", answer.status));
            }
            None if !answer.is_success() => {
                return Some(format!("status {}, expected 200 to 299", answer.status));
            }
            _ => {}
        }
        let wanted = self.config.expect_body.as_deref()?;
        (!answer.text().contains(wanted)).then(|| format!("body without {wanted:?}"))
    }
}

#[async_trait]
impl Probe for HttpProbe {
    checks!(Shallow);

    async fn probe(&self, cx: &Context) -> Reading {
        let mut request = HttpRequest::get(&self.config.url).within(self.config.timeout);
        request.method.clone_from(&self.config.method);
        request.headers = exposed(&self.config.headers);
        request.max_body = self.config.max_body;
        let started = cx.now();
        let answer = self.client.send(request).await;
        let at = cx.now();
        let check = self.config.check();
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                return check.silent(started, at, Finding::unhealthy(refusal::of_http(&error)));
            }
        };
        let (latency, slow_after) = (at.since(started), self.config.slow_after);
        let status = answer.status;
        let finding = match self.complaint(&answer) {
            Some(complaint) => Finding::unhealthy(complaint),
            None if latency > slow_after => Finding::degraded(format!(
                "status {status} after {latency:?}, slower than {slow_after:?}"
            )),
            None => Finding::healthy(format!("status {status}")),
        };
        check.answered(started, at, finding)
    }
}

#[cfg(feature = "http")]
#[cfg(test)]
mod tests {
    use homeostasis_core::signal::HealthState;

    use super::*;
    use crate::http::HyperClient;
    use crate::testing::{HASTY, PATIENT, Reply, Server, WallClock, closed_port};

    async fn read(url: String, change: impl Fn(&mut HttpProbeConfig)) -> Reading {
        let target = Target::instance("shop", "1").unwrap();
        let mut config = HttpProbeConfig::new("healthz", target, url);
        (config.timeout, config.slow_after) = (PATIENT, PATIENT);
        change(&mut config);
        let client = Arc::new(HyperClient::new(Arc::new(WallClock)));
        let probe = HttpProbe::new(config, client).unwrap();
        super::super::ask(&probe, &Context::new(Arc::new(WallClock), 1)).await
    }

    fn told(reading: &Reading) -> (HealthState, &str) {
        let report = reading.reports().next().unwrap();
        (report.state, &report.detail)
    }

    #[tokio::test]
    async fn a_good_answer_is_healthy_and_measured() {
        let server = Server::start(|_| Reply::status(204, "")).await;
        let reading = read(server.url("/healthz"), |_| {}).await;
        assert_eq!(told(&reading), (HealthState::Healthy, "status 204"));
        assert_eq!(reading.value("up"), Some(1.0));
        assert!(reading.value("probe_latency_seconds").unwrap() > 0.0);
        assert_eq!(
            reading.measurements[0].key.to_string(),
            r#"up{check="healthz",instance="1",service="shop"}"#
        );
    }

    #[tokio::test]
    async fn a_good_answer_that_is_slow_is_degraded() {
        let server = Server::start(|_| Reply::status(200, "ok")).await;
        let reading = read(server.url("/"), |config| {
            config.slow_after = Duration::from_nanos(1);
        })
        .await;
        let (state, detail) = told(&reading);
        assert_eq!(state, HealthState::Degraded);
        assert!(detail.contains("slower than 1ns"), "{detail}");
        assert_eq!(reading.value("up"), Some(1.0));
    }

    #[tokio::test]
    async fn a_bad_status_and_a_bad_body_are_unhealthy_and_named() {
        let server = Server::start(|request| {
            if request.starts_with("HEAD") {
                Reply::status(302, "")
            } else {
                Reply::status(503, "degraded")
            }
        })
        .await;
        let reading = read(server.url("/"), |_| {}).await;
        let expected = (HealthState::Unhealthy, "status 503, expected 200 to 299");
        assert_eq!(told(&reading), expected);
        assert_eq!(reading.value("up"), Some(0.0));
        assert!(reading.value("probe_latency_seconds").is_some());
        let reading = read(server.url("/"), |config| {
            config.expect_status = Some(503);
            config.expect_body = Some("healthy".to_owned());
        })
        .await;
        assert_eq!(
            told(&reading),
            (HealthState::Unhealthy, "body without \"healthy\"")
        );
        let reading = read(server.url("/"), |config| {
            "HEAD".clone_into(&mut config.method);
            config.expect_status = Some(302);
        })
        .await;
        assert_eq!(told(&reading).0, HealthState::Healthy);
    }

    #[tokio::test]
    async fn no_answer_is_unhealthy_and_says_of_which_kind() {
        let silent = Server::start(|_| Reply::Silence).await;
        let reset = Server::start(|_| Reply::Raw(String::new())).await;
        let closed = format!("http://{}/", closed_port());
        for (url, begins) in [
            (closed, "connection refused: "),
            (silent.url("/"), "timeout: "),
            (reset.url("/"), "exchange with "),
            ("https://127.0.0.1/".to_owned(), "denied: "),
        ] {
            let is_waited_out = begins == "timeout: ";
            let reading = read(url, |config| {
                if is_waited_out {
                    (config.timeout, config.slow_after) = (HASTY, HASTY);
                }
            })
            .await;
            let (state, detail) = told(&reading);
            assert_eq!(state, HealthState::Unhealthy);
            assert!(detail.starts_with(begins), "{detail}, expected {begins}");
            assert_eq!(reading.value("up"), Some(0.0));
            assert_eq!(reading.value("probe_latency_seconds"), None);
        }
    }

    #[tokio::test]
    async fn headers_are_sent_and_neither_shown_nor_serialized() {
        let server = Server::start(|request| {
            let knows = request.contains("authorization: Bearer hunter2\r\n");
            Reply::status(if knows { 200 } else { 401 }, "")
        })
        .await;
        let text = serde_json::json!({"name": "healthz", "target": "shop", "url": server.url("/"),
            "headers": [["authorization", "Bearer hunter2"]]});
        let mut config: HttpProbeConfig = serde_json::from_value(text).unwrap();
        (config.timeout, config.slow_after) = (PATIENT, PATIENT);
        let written = serde_json::to_string(&config).unwrap();
        let client = Arc::new(HyperClient::new(Arc::new(WallClock)));
        let probe = HttpProbe::new(config, client).unwrap();
        let shown = format!("{written} {probe:?}");
        assert!(!shown.contains("hunter2"), "{shown}");
        assert!(shown.contains(r#"("authorization", ***)"#), "{shown}");
        let reading = super::super::ask(&probe, &Context::new(Arc::new(WallClock), 1)).await;
        assert_eq!(told(&reading), (HealthState::Healthy, "status 200"));
    }

    #[test]
    fn every_wrong_setting_is_named() {
        let target = Target::service("shop").unwrap();
        let config = HttpProbeConfig {
            expect_status: Some(42),
            interval: Duration::ZERO,
            timeout: Duration::ZERO,
            ..HttpProbeConfig::new("", target, "/healthz")
        };
        let client = Arc::new(homeostasis_core::port::NoHttp);
        let error = HttpProbe::new(config, client).unwrap_err();
        let paths: Vec<&str> = error.violations().iter().map(|v| v.path.as_str()).collect();
        let expected = [
            "name",
            "interval",
            "timeout",
            "url",
            "expect_status",
            "slow_after",
        ];
        assert_eq!(paths, expected);
    }
}
