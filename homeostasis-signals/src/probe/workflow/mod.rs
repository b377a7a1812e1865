//! Walks through several requests as a user would, and cleans up behind itself.

mod config;
mod template;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use homeostasis_core::port::{HttpClient, HttpRequest, HttpResponse};
use homeostasis_core::{ConfigError, Context, Timestamp, Violations, timeout};
use serde_json::Value;

pub use self::config::{Extract, WorkflowProbeConfig, WorkflowStep};
use self::template::{Escape, fill};
use super::check::{Finding, checks};
use super::probing::Probe;
use super::reading::Reading;
use super::refusal;

/// The longest value a step may take out of an answer.
const MAX_VALUE: usize = 4096;

/// Walks through a workflow over HTTP: sign up, log in, order, and remove it all again.
///
/// Each step is one request; the first that fails ends the walk. Then the clean-up steps run, all
/// of them, whatever failed before, in the time kept for them (`cleanup_within`).
/// It measures `up`, `probe_latency_seconds` and for each step that was answered
/// `workflow_step_seconds` with the label `step`, and reports
/// - *healthy:* every step and every clean-up step went well;
/// - *degraded:* the steps went well, but something was left behind;
/// - *unhealthy:* a step failed; the detail names it: `step "log in": status 500, …`.
///
/// When the probe itself is dropped (the process stops), nothing more is sent: names made with
/// `${run}` tell what was left behind. Values taken out of answers are not reported.
///
/// # Examples
/// ```
/// use std::sync::Arc;
/// use homeostasis::core::Target;
/// use homeostasis::core::port::NoHttp;
/// use homeostasis::signals::{Extract, WorkflowProbe, WorkflowProbeConfig, WorkflowStep};
///
/// let sign_up = WorkflowStep::post("sign up", "http://shop/users", r#"{"name":"probe-${run}"}"#)
///     .extracting("user", Extract::Json("/id".to_owned()));
/// let look = WorkflowStep::get("look", "http://shop/users/${user}");
/// let mut config = WorkflowProbeConfig::new("signup", Target::service("shop")?, vec![sign_up, look]);
/// config.cleanup = vec![WorkflowStep::get("remove", "http://shop/users/${user}").using("DELETE")];
/// assert!(WorkflowProbe::new(config.clone(), Arc::new(NoHttp)).is_ok());
///
/// config.steps.remove(0);
/// let error = WorkflowProbe::new(config, Arc::new(NoHttp)).unwrap_err();
/// assert!(error.to_string().contains(r#"steps[0].variable = "user""#), "{error}");
/// # Ok::<(), homeostasis::core::NameError>(())
/// ```
#[derive(Debug)]
pub struct WorkflowProbe {
    config: WorkflowProbeConfig,
    client: Arc<dyn HttpClient>,
}

/// What a walk has so far.
#[derive(Debug)]
struct Walk {
    values: BTreeMap<String, String>,
    /// The steps that were answered, and for how many seconds.
    took: Vec<(String, f64)>,
}

impl WorkflowProbe {
    /// A probe that asks through `client`.
    ///
    /// # Errors
    /// - A name is empty or comes twice, a URL is not absolute, a status not in `100..=599`.
    /// - There is no step, or there are more than 32; or as many clean-up steps.
    /// - A variable is used that no step before extracts, or a brace is not closed.
    /// - A duration is zero, or `cleanup_within` is not less than `timeout`.
    pub fn new(
        config: WorkflowProbeConfig,
        client: Arc<dyn HttpClient>,
    ) -> Result<Self, ConfigError> {
        let mut wrong = Violations::new();
        config.validate(&mut wrong);
        wrong.into_result(Self { config, client })
    }

    async fn steps(&self, cx: &Context, walk: &mut Walk) -> Result<(), String> {
        for step in &self.config.steps {
            self.step(cx, step, walk)
                .await
                .map_err(|why| format!("step {:?}: {why}", step.name))?;
        }
        Ok(())
    }

    /// Runs every clean-up step that has its values; what went wrong, if anything did.
    async fn clean_up(&self, cx: &Context, walk: &mut Walk) -> Option<String> {
        let mut complaint = None;
        for step in &self.config.cleanup {
            let has_values = step.texts().all(|text| {
                template::variables(text)
                    .is_ok_and(|names| names.iter().all(|name| walk.values.contains_key(*name)))
            });
            if !has_values {
                continue;
            }
            if let Err(why) = self.step(cx, step, walk).await {
                complaint.get_or_insert(format!("clean-up {:?}: {why}", step.name));
            }
        }
        complaint
    }

    async fn step(&self, cx: &Context, step: &WorkflowStep, walk: &mut Walk) -> Result<(), String> {
        let request = self.request(step, &walk.values)?;
        let started = cx.now();
        let answer = self
            .client
            .send(request)
            .await
            .map_err(|error| refusal::of_http(&error))?;
        let took = cx.now().since(started).as_secs_f64();
        walk.took.push((step.name.clone(), took));
        let is_good = match step.expect_status {
            Some(expected) => answer.status == expected,
            None => answer.is_success(),
        };
        if !is_good {
            let expected = step
                .expect_status
                .map_or_else(|| "200 to 299".to_owned(), |status| status.to_string());
            return Err(format!("status {}, expected {expected}", answer.status));
        }
        if let Some(wanted) = &step.expect_body {
            let filled = fill(wanted, &walk.values, Escape::None);
            if !filled.is_some_and(|text| answer.text().contains(&text)) {
                return Err(format!("body without {wanted:?}"));
            }
        }
        for (variable, from) in &step.extract {
            let value = extract(&answer, from)?;
            walk.values.insert(variable.clone(), value);
        }
        Ok(())
    }

    fn request(
        &self,
        step: &WorkflowStep,
        values: &BTreeMap<String, String>,
    ) -> Result<HttpRequest, String> {
        let without_value = || "a variable has no value".to_owned();
        let url = fill(&step.url, values, Escape::Url).ok_or_else(without_value)?;
        let mut request = HttpRequest::get(url).within(self.config.timeout);
        request.method.clone_from(&step.method);
        for (name, value) in &step.headers {
            let value = fill(value.expose(), values, Escape::None).ok_or_else(without_value)?;
            if value.contains(['\r', '\n']) {
                return Err(format!("header {name:?} would hold a line break"));
            }
            request = request.header(name, value);
        }
        if let Some(body) = &step.body {
            let stated = step
                .headers
                .iter()
                .find(|(name, _)| name.eq_ignore_ascii_case("content-type"))
                .map(|(_, value)| value.expose());
            let is_json = stated.is_none_or(|stated| stated.contains("json"));
            let escape = if is_json { Escape::Json } else { Escape::None };
            let body = fill(body.expose(), values, escape).ok_or_else(without_value)?;
            request.body = body.into_bytes();
            if stated.is_none() {
                request = request.header("content-type", "application/json");
            }
        }
        Ok(request)
    }
}

fn extract(answer: &HttpResponse, from: &Extract) -> Result<String, String> {
    let value = match from {
        Extract::Header(wanted) => answer
            .headers
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(wanted))
            .map(|(_, value)| value.clone())
            .ok_or_else(|| format!("answer without the header {wanted:?}"))?,
        Extract::Json(pointer) => {
            let body: Value = serde_json::from_slice(&answer.body)
                .map_err(|error| format!("body is not JSON: {error}"))?;
            match body.pointer(pointer) {
                Some(Value::String(text)) => text.clone(),
                Some(value @ (Value::Number(_) | Value::Bool(_))) => value.to_string(),
                Some(_) => return Err(format!("{pointer} of the body is no single value")),
                None => return Err(format!("body without {pointer}")),
            }
        }
    };
    if value.len() > MAX_VALUE {
        let n = value.len();
        return Err(format!("value of {n} bytes, at most {MAX_VALUE} are taken"));
    }
    Ok(value)
}

#[async_trait]
impl Probe for WorkflowProbe {
    checks!(Comprehensive);

    async fn probe(&self, cx: &Context) -> Reading {
        let started: Timestamp = cx.now();
        let stream = started.as_nanos().unsigned_abs();
        let run = format!("{:016x}", cx.rng(stream).next_u64());
        let mut walk = Walk {
            values: BTreeMap::from([("run".to_owned(), run)]),
            took: Vec::new(),
        };
        let clock = Arc::clone(cx.clock());
        let limit = self
            .config
            .timeout
            .saturating_sub(self.config.cleanup_within);
        let walked = timeout(&*clock, limit, self.steps(cx, &mut walk))
            .await
            .unwrap_or_else(|_| Err(format!("timeout: steps took more than {limit:?}")));
        // A little less than what is kept: the schedule must not come first.
        let limit = self.config.cleanup_within.mul_f64(0.9);
        let cleaned = timeout(&*clock, limit, self.clean_up(cx, &mut walk))
            .await
            .unwrap_or_else(|_| Some(format!("clean-up took more than {limit:?}")));
        let finding = match (walked, cleaned) {
            (Err(why), None) => Finding::unhealthy(why),
            (Err(why), Some(also)) => Finding::unhealthy(format!("{why}; {also}")),
            (Ok(()), Some(why)) => Finding::degraded(why),
            (Ok(()), None) => Finding::healthy(format!("{} steps", self.config.steps.len())),
        };
        let at = cx.now();
        let check = self.config.check();
        let mut reading = check.answered(started, at, finding);
        let took = walk.took.into_iter().map(|(step, seconds)| {
            let measured = check.measure("workflow_step_seconds", at, seconds);
            measured.with("step", step)
        });
        reading.measurements.extend(took);
        reading
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Duration;

    use homeostasis_core::port::HttpError;
    use homeostasis_core::signal::HealthState;
    use homeostasis_core::{Clock, ManualClock, Target};

    use super::super::ask;
    use super::*;

    /// A service of users that does as it is told.
    #[derive(Debug)]
    struct Users {
        clock: ManualClock,
        present: Mutex<Vec<String>>,
        asked: Mutex<Vec<String>>,
        breaks: &'static str,
        hangs: &'static str,
    }

    #[async_trait]
    impl HttpClient for Users {
        async fn send(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
            let path = request.url.strip_prefix("http://shop").unwrap();
            let asked = format!("{} {path}", request.method);
            self.asked.lock().unwrap().push(asked.clone());
            self.clock.sleep(Duration::from_millis(10)).await;
            if !self.hangs.is_empty() && asked.starts_with(self.hangs) {
                std::future::pending::<()>().await;
            }
            if !self.breaks.is_empty() && asked.starts_with(self.breaks) {
                return Ok(HttpResponse::new(500, Vec::new(), Vec::new()));
            }
            let mut users = self.present.lock().unwrap();
            let answer =
                |status, body: String| Ok(HttpResponse::new(status, Vec::new(), body.into_bytes()));
            let id = path.rsplit('/').next().unwrap().to_owned();
            match request.method.as_str() {
                "POST" => {
                    let body: Value = serde_json::from_slice(&request.body).unwrap();
                    let name = body["name"].as_str().unwrap().to_owned();
                    users.push(name.clone());
                    answer(201, serde_json::json!({"user": {"id": name}}).to_string())
                }
                "DELETE" => {
                    users.retain(|user| *user != id);
                    answer(204, String::new())
                }
                _ if users.contains(&id) => answer(200, format!("hello {id}")),
                _ => answer(404, String::new()),
            }
        }
    }

    fn config() -> WorkflowProbeConfig {
        let body = r#"{"name":"probe-${run}"}"#;
        let sign_up = WorkflowStep::post("sign up", "http://shop/users", body)
            .extracting("user", Extract::Json("/user/id".to_owned()));
        let mut log_in = WorkflowStep::get("log in", "http://shop/users/${user}");
        log_in.expect_body = Some("hello ${user}".to_owned());
        let target = Target::service("shop").unwrap();
        let mut config = WorkflowProbeConfig::new("signup", target, vec![sign_up, log_in]);
        let remove = WorkflowStep::get("remove", "http://shop/users/${user}").using("DELETE");
        config.cleanup = vec![remove];
        config
    }

    async fn walk(breaks: &'static str, hangs: &'static str) -> (Reading, Arc<Users>) {
        let clock = ManualClock::new(Timestamp::EPOCH);
        let users = Arc::new(Users {
            clock: clock.clone(),
            present: Mutex::default(),
            asked: Mutex::default(),
            breaks,
            hangs,
        });
        let client = Arc::clone(&users) as Arc<dyn HttpClient>;
        let probe = WorkflowProbe::new(config(), client).unwrap();
        let cx = Context::new(Arc::new(clock.clone()), 1);
        let drive = async {
            for _ in 0..2500 {
                tokio::task::yield_now().await;
                clock.advance(Duration::from_millis(10));
            }
        };
        let (reading, ()) = tokio::join!(ask(&probe, &cx), drive);
        (reading, users)
    }

    fn told(reading: &Reading) -> (HealthState, String) {
        let report = reading.reports().next().unwrap();
        (report.state, report.detail.clone())
    }

    #[tokio::test]
    async fn values_flow_from_step_to_step_and_nothing_is_left_behind() {
        let (reading, users) = walk("", "").await;
        assert_eq!(told(&reading), (HealthState::Healthy, "2 steps".to_owned()));
        assert!(users.present.lock().unwrap().is_empty());
        let asked = users.asked.lock().unwrap();
        assert!(asked[1].starts_with("GET /users/probe-"), "{asked:?}");
        let steps = reading
            .measurements
            .iter()
            .filter(|m| m.key.metric == "workflow_step_seconds");
        assert_eq!(steps.count(), 3);
    }

    #[tokio::test]
    async fn a_step_that_fails_is_named_and_what_was_made_is_removed() {
        let (reading, users) = walk("GET", "").await;
        let (state, detail) = told(&reading);
        assert_eq!(state, HealthState::Unhealthy);
        assert_eq!(detail, r#"step "log in": status 500, expected 200 to 299"#);
        assert!(users.present.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_step_that_hangs_leaves_time_to_clean_up() {
        let (reading, users) = walk("", "GET").await;
        let (state, detail) = told(&reading);
        assert_eq!(state, HealthState::Unhealthy);
        assert!(
            detail.starts_with("timeout: steps took more than 15s"),
            "{detail}"
        );
        assert!(users.present.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn what_could_not_be_removed_is_degraded_even_if_it_hangs() {
        for (breaks, hangs) in [("DELETE", ""), ("", "DELETE")] {
            let (reading, users) = walk(breaks, hangs).await;
            let (state, detail) = told(&reading);
            assert_eq!(state, HealthState::Degraded, "{detail}");
            assert!(detail.starts_with("clean-up"), "{detail}");
            assert_eq!(users.present.lock().unwrap().len(), 1);
        }
    }

    #[tokio::test]
    async fn nothing_is_removed_that_was_never_made() {
        let (reading, users) = walk("POST", "").await;
        assert_eq!(told(&reading).0, HealthState::Unhealthy);
        assert_eq!(*users.asked.lock().unwrap(), ["POST /users"]);
    }

    #[test]
    fn what_is_sent_is_neither_shown_nor_serialized() {
        let mut config = config();
        config.steps[0] =
            WorkflowStep::post("sign up", "http://shop/users", "{\"pin\":\"hunter2\"}");
        config.steps[0].headers = vec![("x-key".to_owned(), "hunter2".into())];
        config.steps.truncate(1);
        config.cleanup.clear();
        let written = serde_json::to_string(&config).unwrap();
        let probe = WorkflowProbe::new(config, Arc::new(homeostasis_core::port::NoHttp)).unwrap();
        let shown = format!("{written} {probe:?}");
        assert!(!shown.contains("hunter2"), "{shown}");
        let request = probe
            .request(&probe.config.steps[0], &BTreeMap::new())
            .unwrap();
        assert_eq!(request.body, b"{\"pin\":\"hunter2\"}");
        assert_eq!(request.headers[0].1, "hunter2");
    }

    #[test]
    fn every_wrong_setting_is_named_with_its_step() {
        let mut config = config();
        config.steps[1].name = "sign up".to_owned();
        config.steps[1].url = "http://shop/${user".to_owned();
        config.cleanup[0].expect_status = Some(42);
        config.cleanup_within = config.timeout;
        let error = WorkflowProbe::new(config, Arc::new(homeostasis_core::port::NoHttp));
        let text = error.unwrap_err().to_string();
        for part in [
            "cleanup_within",
            r#"steps[1].variable = "user""#,
            r#"steps[1].name = "sign up""#,
            "cleanup[0].expect_status = 42",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
