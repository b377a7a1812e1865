//! Scenarios: done against the service, step by step.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use homeostasis_core::port::{HttpClient, HttpRequest};
use homeostasis_core::record::{CheckOutcome, Expected, Scenario, ScenarioCall, ScenarioStep};
use homeostasis_core::{
    BoxError, ConfigError, Context, ErrorKind, Violation, Violations, async_trait, timeout,
};
use serde_json::{Map, Value};

use crate::criterion::Reading;

/// The longest answer that is read.
const MAX_BODY: usize = 256 * 1024;

/// Characters of an answer that a verdict repeats.
const MAX_SHOWN: usize = 80;

/// A function of the host that a scenario can call.
///
/// # Assumptions
/// It is cancel-safe, waits through the context's clock, and is harmless when repeated: the
/// verification of a run begins anew when the process died in it.
#[async_trait]
pub trait ScenarioFunction: fmt::Debug + Send + Sync {
    /// Whether it changes anything; steps that call it must then declare `side_effects`. What does
    /// not say counts as one that does.
    fn has_side_effects(&self) -> bool {
        true
    }

    /// Does it and gives the answer that is compared with what is expected. An error is a failed
    /// step.
    async fn call(&self, cx: &Context, args: &Map<String, Value>) -> Result<Value, BoxError>;
}

const _: fn(&dyn ScenarioFunction) = |_| {};

/// What functional criteria may use: an HTTP client for some origins, and functions of the host.
///
/// By default nothing: every scenario is then *no data*, which says what would settle it.
///
/// | outcome | when |
/// |---|---|
/// | passed | every step answered as expected |
/// | failed | a step did not, did not in time, or could not reach the service |
/// | no data | the client, the origin or the function is not there, or a step has side effects it does not declare |
///
/// ```
/// use std::sync::Arc;
/// use homeostasis::core::port::NoHttp;
/// use homeostasis::verify::Scenarios;
/// let scenarios = Scenarios::default().with_http(Arc::new(NoHttp), ["http://127.0.0.1:8080"])?;
/// assert!(Scenarios::default().with_http(Arc::new(NoHttp), ["shop"]).is_err());
/// # let _ = scenarios;
/// # Ok::<(), homeostasis::core::ConfigError>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Scenarios {
    http: Option<Arc<dyn HttpClient>>,
    origins: BTreeSet<String>,
    functions: BTreeMap<String, Arc<dyn ScenarioFunction>>,
}

impl Scenarios {
    /// The same, sending requests to these origins such as `http://127.0.0.1:8080` and no other.
    ///
    /// # Errors
    /// Every origin that is none.
    pub fn with_http<I>(
        mut self,
        client: Arc<dyn HttpClient>,
        origins: I,
    ) -> Result<Self, ConfigError>
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        let mut violations = Violations::new();
        for origin in origins {
            let text = origin.as_ref();
            match origin_of(text).filter(|it| text.trim_end_matches('/').eq_ignore_ascii_case(it)) {
                Some(origin) => {
                    self.origins.insert(origin);
                }
                None => violations.push(Violation::new(
                    "verify.scenarios.origins",
                    format!("{text:?}"),
                    "an origin such as http://127.0.0.1:8080",
                )),
            }
        }
        self.http = Some(client);
        violations.into_result(self)
    }

    /// The same with a function of the host.
    ///
    /// # Errors
    /// If the name is empty or taken.
    pub fn with_function(
        mut self,
        name: impl Into<String>,
        function: impl ScenarioFunction + 'static,
    ) -> Result<Self, ConfigError> {
        let name = name.into();
        if name.is_empty() || self.functions.contains_key(&name) {
            let path = "verify.scenarios.functions";
            return Err(ConfigError::single(path, name, "a name that is not taken"));
        }
        self.functions.insert(name, Arc::new(function));
        Ok(self)
    }

    /// Why a scenario cannot be done here, if so: what is missing, and where.
    pub fn problem(&self, scenario: &Scenario) -> Option<String> {
        scenario.steps.iter().find_map(|step| {
            let problem = self.step_problem(step)?;
            Some(format!("step {:?}: {problem}", step.name))
        })
    }

    fn step_problem(&self, step: &ScenarioStep) -> Option<String> {
        let has_effects = match &step.call {
            ScenarioCall::Http { url, .. } => {
                if self.http.is_none() {
                    return Some("no HTTP client is given to scenarios".to_owned());
                }
                if !origin_of(url).is_some_and(|origin| self.origins.contains(&origin)) {
                    let origins: Vec<_> = self.origins.iter().map(String::as_str).collect();
                    let allowed = origins.join(", ");
                    // A user and a password are not shown.
                    let is_shown = !url.contains('@');
                    let url = if is_shown { url } else { "(with a user)" };
                    return Some(format!("url = {url:?}, expected an origin of {allowed}"));
                }
                !step.is_safe()
            }
            ScenarioCall::Function { name, .. } => match self.functions.get(name) {
                None => return Some(format!("function = {name:?}, expected a registered one")),
                Some(function) => function.has_side_effects(),
            },
            other => return Some(format!("{other:?}, expected a request or a function")),
        };
        // A verifier holds no permit, and what it does is repeated after a restart.
        (has_effects || step.side_effects).then(|| {
            "it may change something, expected a step that only reads: a scenario has no permit to \
             act, and `side_effects: true` gives none"
                .to_owned()
        })
    }

    /// Does the steps in order, up to the first that does not answer as expected.
    pub(crate) async fn run(&self, cx: &Context, scenario: &Scenario) -> Reading {
        if let Some(problem) = self.problem(scenario) {
            return Reading::new(CheckOutcome::NoData, problem.clone())
                .settled_by(format!("a scenario that can be done ({problem})"));
        }
        for step in &scenario.steps {
            let begun = cx.now();
            let answer = timeout(&**cx.clock(), step.timeout, self.call(cx, step)).await;
            let took = cx.now().since(begun);
            let told = match answer {
                Err(_elapsed) => Err(format!("no answer within {:?}", step.timeout)),
                Ok(Err(refused)) if refused.is_denied => {
                    return Reading::new(
                        CheckOutcome::NoData,
                        format!("step {:?}: {}", step.name, refused.why),
                    )
                    .settled_by("a client that may send it".to_owned());
                }
                Ok(Err(refused)) => Err(refused.why),
                Ok(Ok(answer)) => answer.compare(&step.expect, took),
            };
            if let Err(why) = told {
                return Reading::new(CheckOutcome::Failed, format!("step {:?}: {why}", step.name));
            }
        }
        let n = scenario.steps.len();
        Reading::new(
            CheckOutcome::Passed,
            format!("{n} of {n} steps answered as expected"),
        )
    }

    async fn call(&self, cx: &Context, step: &ScenarioStep) -> Result<Answer, Refused> {
        let gone = || Refused::new("what it calls is gone");
        match &step.call {
            ScenarioCall::Http { method, url, json } => {
                let client = self.http.as_ref().ok_or_else(gone)?;
                let mut request = HttpRequest::get(url).within(step.timeout);
                if let Some(json) = json {
                    let body = json.to_string();
                    request = HttpRequest::post(url, "application/json", body).within(step.timeout);
                }
                method.clone_into(&mut request.method);
                request.max_body = MAX_BODY;
                let answer = client.send(request).await.map_err(|error| Refused {
                    is_denied: error.kind() == ErrorKind::Denied,
                    why: error.report().to_string(),
                })?;
                Ok(Answer {
                    status: Some(answer.status),
                    json: serde_json::from_slice(&answer.body).ok(),
                    text: answer.text(),
                })
            }
            ScenarioCall::Function { name, args } => {
                let function = self.functions.get(name).ok_or_else(gone)?;
                let answer = function.call(cx, args).await;
                let json = answer.map_err(|error| Refused::new(brief(&error.to_string())))?;
                Ok(Answer {
                    status: None,
                    text: json
                        .as_str()
                        .map_or_else(|| json.to_string(), str::to_owned),
                    json: Some(json),
                })
            }
            _ => Err(gone()),
        }
    }
}

/// Why there is no answer.
struct Refused {
    is_denied: bool,
    why: String,
}

impl Refused {
    fn new(why: impl Into<String>) -> Self {
        Self {
            is_denied: false,
            why: why.into(),
        }
    }
}

/// What a step answered.
struct Answer {
    status: Option<u16>,
    text: String,
    json: Option<Value>,
}

impl Answer {
    /// Everything that is expected, or the first thing that is not so.
    fn compare(&self, expected: &Expected, took: Duration) -> Result<(), String> {
        if let Some(status) = self.status {
            let (good, wanted) = if expected.status.is_empty() {
                ((200..300).contains(&status), "2xx".to_owned())
            } else {
                (
                    expected.status.contains(&status),
                    format!("{:?}", expected.status),
                )
            };
            if !good {
                return Err(format!(
                    "status {status}, expected {wanted}; {}",
                    self.shown()
                ));
            }
        }
        if let Some(wanted) = expected
            .contains
            .as_ref()
            .filter(|it| !self.text.contains(*it))
        {
            return Err(format!(
                "expected an answer with {wanted:?}; {}",
                self.shown()
            ));
        }
        for (pointer, wanted) in &expected.json {
            let Some(json) = &self.json else {
                return Err(format!("expected JSON; {}", self.shown()));
            };
            let found = json.pointer(pointer);
            if !found.is_some_and(|found| is_same(found, wanted)) {
                let found = found.map_or_else(|| "nothing".to_owned(), |it| brief(&it.to_string()));
                let wanted = brief(&wanted.to_string());
                return Err(format!("{found} at {pointer:?}, expected {wanted}"));
            }
        }
        match expected.within.filter(|limit| took > *limit) {
            Some(limit) => Err(format!("it took {took:?}, expected at most {limit:?}")),
            None => Ok(()),
        }
    }

    fn shown(&self) -> String {
        format!("the answer was {:?}", brief(&self.text))
    }
}

/// Whether two values mean the same: 3 and 3.0 are one number, as JSON has it.
fn is_same(found: &Value, wanted: &Value) -> bool {
    match (found, wanted) {
        (Value::Number(one), Value::Number(other)) => {
            one == other || (one.is_f64() || other.is_f64()) && one.as_f64() == other.as_f64()
        }
        (Value::Array(some), Value::Array(others)) => {
            let mut pairs = some.iter().zip(others);
            some.len() == others.len() && pairs.all(|(one, other)| is_same(one, other))
        }
        (Value::Object(some), Value::Object(others)) => {
            let mut fields = some.iter();
            let is_there = |(name, one): (&String, &Value)| {
                others.get(name).is_some_and(|it| is_same(one, it))
            };
            some.len() == others.len() && fields.all(is_there)
        }
        _ => found == wanted,
    }
}

fn brief(text: &str) -> String {
    text.chars().take(MAX_SHOWN).collect()
}

/// Scheme and authority in lower case; `None` for what is no plain HTTP URL.
fn origin_of(url: &str) -> Option<String> {
    if url
        .chars()
        .any(|c| !c.is_ascii_graphic() || matches!(c, '\\' | '"' | '<' | '>'))
    {
        return None;
    }
    let (scheme, rest) = url.split_once("://")?;
    let scheme = scheme.to_ascii_lowercase();
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let good = matches!(scheme.as_str(), "http" | "https")
        && !authority.is_empty()
        && !authority.contains(['@', '%', '$', '{']);
    good.then(|| format!("{scheme}://{}", authority.to_ascii_lowercase()))
}

#[cfg(test)]
mod tests;
