//! Scenarios: what a service must still be able to do, as data.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::record::bounds::{MAX_TEXT, MILLISECOND, at_most, short, within};

/// Steps that are done one after another; each must answer as expected, and the first that does
/// not ends it.
///
/// A scenario may be done more than once: the verification of a run begins anew when the process
/// died in it, and again when its watch is extended. So a step with side effects must be harmless
/// when repeated, and must say that it has them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scenario {
    /// For people: "a customer logs in".
    pub name: String,
    /// What is done, in order; 1 to 16.
    pub steps: Vec<ScenarioStep>,
}

/// One step of a [`Scenario`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScenarioStep {
    /// For people: "the page of an order".
    pub name: String,
    /// What is done.
    pub call: ScenarioCall,
    /// What it must answer.
    #[serde(default)]
    pub expect: Expected,
    /// How long it may take before it counts as failed; 1 ms to 1 min.
    pub timeout: Duration,
    /// Whether it changes anything. A request other than `GET`, `HEAD` and `OPTIONS`, and a function
    /// that says so of itself, are refused without it.
    #[serde(default)]
    pub side_effects: bool,
}

/// What a step of a scenario does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ScenarioCall {
    /// Sends a request. It holds no secret: plans are approved and journaled as they are.
    Http {
        /// `GET`, `POST` …
        method: String,
        /// Absolute.
        url: String,
        /// Sent as JSON, if any.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        json: Option<Value>,
    },
    /// Calls a function that the host registered.
    Function {
        /// Its name.
        name: String,
        /// What it is given.
        #[serde(default)]
        args: Map<String, Value>,
    },
}

/// What a step must answer; everything that is given must hold.
///
/// The answer of a function has no status; it is JSON, and text where it is a JSON text.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Expected {
    /// One of these; empty means any 2xx.
    pub status: Vec<u16>,
    /// The body contains this text.
    pub contains: Option<String>,
    /// The body is JSON, and at each JSON pointer (RFC 6901: `/items/0/id`) stands this value.
    pub json: BTreeMap<String, Value>,
    /// The answer took at most this long.
    pub within: Option<Duration>,
}

impl Scenario {
    /// Steps a scenario may have.
    pub const MAX_STEPS: usize = 16;

    /// How long it may take at most.
    pub fn longest(&self) -> Duration {
        let limits = self.steps.iter().map(|step| step.timeout);
        limits.fold(Duration::ZERO, Duration::saturating_add)
    }

    pub(super) fn violation(&self) -> Option<String> {
        let named = |broken| format!("scenario {:?}: {broken}", self.name);
        at_most("steps", self.steps.len(), Self::MAX_STEPS)
            .or_else(|| {
                self.steps
                    .is_empty()
                    .then(|| "0 steps, expected 1 or more".to_owned())
            })
            .or_else(|| short("the name", &self.name))
            .or_else(|| {
                self.steps.iter().find_map(|step| {
                    let broken = step.violation()?;
                    Some(format!("step {:?}: {broken}", step.name))
                })
            })
            .map(named)
    }
}

impl ScenarioStep {
    /// Whether what is called leaves everything as it is, as far as HTTP promises.
    pub fn is_safe(&self) -> bool {
        match &self.call {
            ScenarioCall::Http { method, .. } => {
                matches!(method.as_str(), "GET" | "HEAD" | "OPTIONS")
            }
            ScenarioCall::Function { .. } => true,
        }
    }

    fn violation(&self) -> Option<String> {
        let minute = Duration::from_secs(60);
        within("timeout", &self.timeout, &(MILLISECOND..=minute))
            .or_else(|| short("the name", &self.name))
            .or_else(|| self.call.violation())
            .or_else(|| {
                (!self.is_safe() && !self.side_effects).then(|| {
                    "a request that may change something, expected `side_effects: true` or GET"
                        .to_owned()
                })
            })
            .or_else(|| self.expect.violation())
    }
}

impl ScenarioCall {
    fn violation(&self) -> Option<String> {
        let is_token = |text: &str| {
            !text.is_empty() && text.len() <= 128 && text.bytes().all(|b| b.is_ascii_graphic())
        };
        match self {
            Self::Http { method, url, .. } => {
                let bytes = url.as_bytes();
                let good = (url.starts_with("http://") || url.starts_with("https://"))
                    && url.len() <= MAX_TEXT
                    && bytes.iter().all(u8::is_ascii_graphic);
                let authority = url.split('/').nth(2).unwrap_or_default();
                if authority.contains('@') {
                    // Not shown: it may hold a password.
                    return Some(
                        "url with a user, expected one without `user:password@`".to_owned(),
                    );
                }
                (!good)
                    .then(|| format!("url = {url:?}, expected one such as http://127.0.0.1:8080/"))
                    .or_else(|| {
                        let upper = method.bytes().all(|b| b.is_ascii_uppercase());
                        (!upper || !is_token(method))
                            .then(|| format!("method = {method:?}, expected one such as GET"))
                    })
            }
            Self::Function { name, .. } => {
                (!is_token(name)).then(|| format!("function = {name:?}, expected a name"))
            }
        }
    }
}

impl Expected {
    fn violation(&self) -> Option<String> {
        let codes = self
            .status
            .iter()
            .find(|status| !(100..=599).contains(*status));
        let pointers = self.json.keys();
        let wrong = |pointer: &&String| !pointer.is_empty() && !pointer.starts_with('/');
        codes
            .map(|status| format!("status = {status}, expected 100 to 599"))
            .or_else(|| {
                let pointer = pointers.clone().find(wrong)?;
                Some(format!(
                    "json = {pointer:?}, expected a JSON pointer such as /status"
                ))
            })
            .or_else(|| short("`contains`", self.contains.as_deref().unwrap_or_default()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(method: &str, url: &str) -> ScenarioStep {
        ScenarioStep {
            name: "page".to_owned(),
            call: ScenarioCall::Http {
                method: method.to_owned(),
                url: url.to_owned(),
                json: None,
            },
            expect: Expected::default(),
            timeout: Duration::from_secs(5),
            side_effects: false,
        }
    }

    fn violation(steps: Vec<ScenarioStep>) -> String {
        let name = "log in".to_owned();
        Scenario { name, steps }.violation().unwrap_or_default()
    }

    #[test]
    fn a_request_that_may_change_something_must_say_so() {
        assert_eq!(violation(vec![step("GET", "http://a/")]), "");
        let mut order = step("POST", "http://a/orders");
        let text = violation(vec![order.clone()]);
        assert!(
            text.contains("step \"page\"") && text.contains("`side_effects: true`"),
            "{text}"
        );
        order.side_effects = true;
        assert_eq!(violation(vec![order]), "");
    }

    #[test]
    fn what_cannot_be_done_is_named() {
        assert!(violation(Vec::new()).contains("0 steps"));
        assert!(violation(vec![step("GET", "http://a/"); 17]).contains("at most 16"));
        assert!(violation(vec![step("GET", "ftp://a/")]).contains("url = \"ftp://a/\""));
        let user = violation(vec![step("GET", "http://smoke:hunter2@a/")]);
        assert!(
            user.contains("without `user:password@`") && !user.contains("hunter2"),
            "{user}"
        );
        assert!(violation(vec![step("get", "http://a/")]).contains("method = \"get\""));
        let broken = |change: &dyn Fn(&mut ScenarioStep)| {
            let mut step = step("GET", "http://a/");
            change(&mut step);
            violation(vec![step])
        };
        assert!(broken(&|s| s.timeout = Duration::ZERO).contains("timeout"));
        assert!(broken(&|s| s.expect.status = vec![99]).contains("100 to 599"));
        let pointer = broken(&|s| {
            s.expect.json.insert("status".to_owned(), Value::Null);
        });
        assert!(pointer.contains("JSON pointer"), "{pointer}");
    }
}
