//! `http_request`: one request to an origin the host allows.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use homeostasis_core::port::{HttpClient, HttpRequest, HttpResponse};
use homeostasis_core::record::{EffectClass, Inverse, RiskLevel};
use homeostasis_core::{ConfigError, Context, ErrorKind};
use serde_json::{Map, Value, json};

use super::credential::{self, Credential, Credentials, Grant};
use super::spec::origin_of;
use crate::action::{
    Action, ActionCall, ActionError, ActionSpec, ArgumentProblem, Capture, Param, ParamKind,
};

/// The longest answer that is read.
const MAX_BODY: usize = 64 * 1024;

/// Sends one HTTP request to an origin the host allows.
///
/// | parameter | meaning |
/// |---|---|
/// | `method` | `GET`, `PUT`, `DELETE` (idempotent) or `POST` (opaque unless told otherwise); default `POST` |
/// | `url` | absolute; its origin must be allowed; placeholders are percent-encoded |
/// | `json` or `body` | what is sent: a value as JSON, or text |
/// | `headers` | names and values |
/// | `credential_name` | a credential of [`with_credentials`](Self::with_credentials): its header is added when the request is sent |
/// | `expected_status` | the statuses that mean success; default any 2xx |
/// | `idempotency_header` | carries the step's key: the request becomes keyed |
/// | `idempotent` | `true` declares that the receiver makes no difference between one `POST` and two |
/// | `restorable` | `true`: the state before is read with `GET` from the same URL, and undo sends it back with the same method |
///
/// Redirects are not followed by the action; a status of 408, 425, 429 or 5xx is a failure that
/// may pass, any other unexpected one stays.
#[derive(Debug)]
pub struct HttpRequestAction {
    spec: ActionSpec,
    client: Arc<dyn HttpClient>,
    origins: BTreeSet<String>,
    credentials: Credentials,
}

impl HttpRequestAction {
    /// An action that may talk to `origins` such as `http://127.0.0.1:8080`, and to nobody else.
    ///
    /// # Errors
    /// Every origin that is none.
    pub fn new<I>(client: Arc<dyn HttpClient>, origins: I) -> Result<Self, ConfigError>
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        let mut violations = homeostasis_core::Violations::new();
        let mut allowed = BTreeSet::new();
        for origin in origins {
            let text = origin.as_ref();
            match origin_of(text) {
                Some(origin) if text.trim_end_matches('/').eq_ignore_ascii_case(&origin) => {
                    allowed.insert(origin);
                }
                _ => violations.push(homeostasis_core::Violation::new(
                    "http_request.origins",
                    format!("{text:?}"),
                    "an origin such as http://127.0.0.1:8080",
                )),
            }
        }
        let text_map = ParamKind::Map(Box::new(ParamKind::Text));
        let status = ParamKind::Integer { min: 100, max: 599 };
        let spec = ActionSpec::new("send an HTTP request")
            .with_params([
                Param::optional(
                    "method",
                    ParamKind::OneOf(&["GET", "PUT", "DELETE", "POST"]),
                    "the method",
                )
                .or("POST"),
                Param::required("url", ParamKind::Url, "where to")
                    .taking(Capture::Word { max: 128 }),
                Param::optional("json", ParamKind::Any, "what is sent, as JSON")
                    .taking(Capture::Line { max: 256 }),
                Param::optional("body", ParamKind::Text, "what is sent, as text")
                    .taking(Capture::Word { max: 128 }),
                Param::optional("headers", text_map, "names and values"),
                Param::optional(
                    credential::PARAM,
                    ParamKind::Text,
                    "which credential of the host is added",
                ),
                Param::optional(
                    "expected_status",
                    ParamKind::list_of(status),
                    "what means success; any 2xx by default",
                ),
                Param::optional(
                    "idempotency_header",
                    ParamKind::Name,
                    "carries the step's key",
                ),
                Param::optional("idempotent", ParamKind::Bool, "twice is as good as once")
                    .or(false),
                Param::optional(
                    "restorable",
                    ParamKind::Bool,
                    "undo sends back what GET said before",
                )
                .or(false),
            ])
            .with_effect(EffectClass::Opaque)
            .with_risk(RiskLevel::Medium)
            .with_timeout(Duration::from_secs(10));
        let action = Self {
            spec,
            client,
            origins: allowed,
            credentials: Credentials::default(),
        };
        violations.into_result(action)
    }

    /// The same with credentials that playbooks can name with `credential_name`.
    ///
    /// Plans, their hashes and the journal hold the name. The secret is asked for when the request
    /// is sent, goes to the origins of its credential only, and what the other side repeats of it
    /// is hidden; a state before that repeats it, or as much as 6 characters of its beginning, is
    /// not captured.
    ///
    /// # Errors
    /// Every name that is taken or not a plain word, every header that is none, every user name
    /// with a colon, and every credential without an origin or with one the action may not talk to.
    ///
    /// # Examples
    /// ```
    /// use std::sync::Arc;
    /// use homeostasis::core::Secret;
    /// use homeostasis::core::port::NoHttp;
    /// use homeostasis::remediate::action::{Credential, HttpRequestAction};
    ///
    /// let token = Secret::new("from the environment of the service");
    /// let gateway = Credential::bearer(token).for_origin("http://gateway:80");
    /// let action = HttpRequestAction::new(Arc::new(NoHttp), ["http://gateway:80"])?
    ///     .with_credentials([("gateway", gateway)])?;
    /// # let _ = action;
    /// # Ok::<(), homeostasis::core::ConfigError>(())
    /// ```
    pub fn with_credentials<N: Into<String>>(
        mut self,
        credentials: impl IntoIterator<Item = (N, Credential)>,
    ) -> Result<Self, ConfigError> {
        let mut wrong = homeostasis_core::Violations::new();
        for (name, credential) in credentials {
            self.credentials
                .add(name.into(), credential, &self.origins, &mut wrong);
        }
        wrong.into_result(self)
    }

    async fn request(
        &self,
        cx: &Context,
        call: &ActionCall<'_>,
        method: &str,
    ) -> Result<(HttpRequest, Option<Grant>), ActionError> {
        let url = call.text("url")?;
        if !origin_of(url).is_some_and(|origin| self.origins.contains(&origin)) {
            return Err(ActionError::Denied {
                reason: format!("the origin of {url} is not allowed"),
            });
        }
        if let Some(problem) = header_problems(call.args).first() {
            let name = problem.pointer.trim_start_matches('/');
            return Err(ActionError::argument(name, &problem.expected));
        }
        let grant = self.credentials.grant(cx, call.args, url).await?;
        let mut request = HttpRequest::get(url).within(call.deadline.since(cx.now()));
        method.clone_into(&mut request.method);
        request.max_body = MAX_BODY;
        for (name, value) in call
            .args
            .get("headers")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
        {
            request = request.header(name, value.as_str().unwrap_or_default());
        }
        if let Some(grant) = &grant {
            request = request.header(&grant.header, &grant.value);
        }
        Ok((request, grant))
    }

    async fn send(
        &self,
        (request, grant): (HttpRequest, Option<Grant>),
        expected: Option<&Vec<Value>>,
    ) -> Result<Answer, ActionError> {
        let what = format!("{} {}", request.method, request.url);
        let answer = match self.client.send(request).await {
            Ok(response) => Answer { response, grant },
            Err(error) if error.kind() == ErrorKind::Denied => {
                return Err(ActionError::Denied {
                    reason: told(grant.as_ref(), &error.to_string()),
                });
            }
            Err(error) => {
                return Err(ActionError::Failed {
                    what,
                    kind: error.kind(),
                    source: Some(match &grant {
                        Some(grant) => grant.hide(&error.report().to_string()).into(),
                        None => error.into(),
                    }),
                });
            }
        };
        let status = answer.status();
        let good = match expected {
            None => answer.response.is_success(),
            Some(expected) => expected
                .iter()
                .any(|expected| expected.as_u64() == Some(u64::from(status))),
        };
        if good {
            return Ok(answer);
        }
        let source = format!("the status is {status}: {}", answer.beginning(200));
        Err(match status {
            408 | 425 | 429 | 500..=599 => ActionError::transient(what, source),
            _ => ActionError::permanent(what, source),
        })
    }
}

/// Headers that could begin another header, or are none: no client needs to see them.
fn header_problems(args: &Map<String, Value>) -> Vec<ArgumentProblem> {
    let headers = args.get("headers").and_then(Value::as_object);
    let mut problems = Vec::new();
    for (name, value) in headers.into_iter().flatten() {
        let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        if name.is_empty() || !name.chars().all(is_token) {
            let expected = "names of headers: letters, digits and !#$%&'*+-.^_`|~";
            problems.push(ArgumentProblem::new("/headers", expected));
            continue;
        }
        let is_text = |c: char| c == '\t' || !c.is_control();
        if value
            .as_str()
            .is_some_and(|text| !text.chars().all(is_text))
        {
            let expected = "one line without control characters";
            problems.push(ArgumentProblem::new(format!("/headers/{name}"), expected));
        }
    }
    problems
}

/// An answer, and what must not be told of it.
struct Answer {
    response: HttpResponse,
    grant: Option<Grant>,
}

impl Answer {
    fn status(&self) -> u16 {
        self.response.status
    }

    /// The beginning of the body without what it repeats of a credential.
    fn beginning(&self, n_chars: usize) -> String {
        let text = told(self.grant.as_ref(), &self.response.text());
        text.chars().take(n_chars).collect()
    }
}

/// `text` without what it repeats of a credential.
fn told(grant: Option<&Grant>, text: &str) -> String {
    grant.map_or_else(|| text.to_owned(), |grant| grant.hide(text))
}

fn method(args: &Map<String, Value>) -> &str {
    args.get("method").and_then(Value::as_str).unwrap_or("POST")
}

fn is_set(args: &Map<String, Value>, name: &str) -> bool {
    args.get(name).and_then(Value::as_bool).unwrap_or(false)
}

#[async_trait]
impl Action for HttpRequestAction {
    fn name(&self) -> &'static str {
        "http_request"
    }

    fn spec(&self) -> &ActionSpec {
        &self.spec
    }

    fn effect(&self, args: &Map<String, Value>) -> EffectClass {
        match method(args) {
            "GET" => EffectClass::Read,
            "PUT" | "DELETE" => EffectClass::Idempotent,
            _ if args.contains_key("idempotency_header") => EffectClass::Keyed,
            _ if is_set(args, "idempotent") => EffectClass::Idempotent,
            _ => EffectClass::Opaque,
        }
    }

    fn inverse(&self, args: &Map<String, Value>) -> Inverse {
        match method(args) {
            "GET" => Inverse::Nothing,
            _ if is_set(args, "restorable") => {
                Inverse::Captured("what GET said before is sent back".to_owned())
            }
            _ => Inverse::Irreversible("the request is not declared restorable".to_owned()),
        }
    }

    fn check(&self, args: &Map<String, Value>) -> Vec<ArgumentProblem> {
        let mut problems = Vec::new();
        let url = args.get("url").and_then(Value::as_str).unwrap_or_default();
        if let Some(origin) = origin_of(url)
            && !self.origins.contains(&origin)
        {
            let origins: Vec<_> = self.origins.iter().map(String::as_str).collect();
            let expected = format!("an allowed origin: {}", origins.join(", "));
            problems.push(ArgumentProblem::new("/url", expected));
        }
        if args.contains_key("json") && args.contains_key("body") {
            problems.push(ArgumentProblem::new("/body", "either `json` or `body`"));
        }
        if method(args) == "DELETE" && is_set(args, "restorable") {
            let expected = "false: a deleted resource is not put back by deleting again";
            problems.push(ArgumentProblem::new("/restorable", expected));
        }
        problems.extend(header_problems(args));
        self.credentials.check(args, &mut problems);
        problems
    }

    async fn capture(&self, cx: &Context, call: &ActionCall<'_>) -> Result<Value, ActionError> {
        if !matches!(self.inverse(call.args), Inverse::Captured(_)) {
            return Ok(Value::Null);
        }
        let request = self.request(cx, call, "GET").await?;
        let Answer { response, grant } = self.send(request, None).await?;
        let content_type = response
            .headers
            .iter()
            .find(|(name, _)| name == "content-type")
            .map_or("application/json", |(_, value)| value.as_str());
        let body = String::from_utf8(response.body.clone())
            .map_err(|_| ActionError::invalid("the state before", "expected text in UTF-8"))?;
        let repeats = |text: &str| told(grant.as_ref(), text) != text;
        if repeats(&body) || repeats(content_type) {
            let expected = "it repeats the credential, expected a state that can be journaled";
            return Err(ActionError::invalid("the state before", expected));
        }
        Ok(json!({ "content_type": content_type, "body": body }))
    }

    async fn perform(&self, cx: &Context, call: &ActionCall<'_>) -> Result<Value, ActionError> {
        let (mut request, grant) = self.request(cx, call, method(call.args)).await?;
        if let Some(value) = call.args.get("json") {
            request.body = value.to_string().into_bytes();
            request = request.header("content-type", "application/json");
        } else if let Some(text) = call.args.get("body").and_then(Value::as_str) {
            request.body = text.as_bytes().to_vec();
        }
        if let Some(header) = call.args.get("idempotency_header").and_then(Value::as_str) {
            request = request.header(header, call.key.as_str());
        }
        let expected = call.args.get("expected_status").and_then(Value::as_array);
        let answer = self.send((request, grant), expected).await?;
        Ok(json!({ "status": answer.status(), "body": answer.beginning(1024) }))
    }

    async fn undo(&self, cx: &Context, call: &ActionCall<'_>) -> Result<Value, ActionError> {
        let captured = (
            call.captured["body"].as_str(),
            call.captured["content_type"].as_str(),
        );
        let (Some(body), Some(content_type)) = captured else {
            return Err(ActionError::invalid(
                "captured state",
                "expected what GET said",
            ));
        };
        let (mut request, grant) = self.request(cx, call, method(call.args)).await?;
        request.body = body.as_bytes().to_vec();
        request = request.header("content-type", content_type);
        if let Some(header) = call.args.get("idempotency_header").and_then(Value::as_str) {
            request = request.header(header, call.key.as_str());
        }
        let answer = self.send((request, grant), None).await?;
        Ok(json!({ "status": answer.status() }))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use homeostasis_core::Target;
    use homeostasis_core::port::HttpError;

    use super::*;
    use crate::action::laws;

    /// One resource at one URL, and a log of who sent what.
    #[derive(Debug, Default)]
    struct Resource {
        body: Mutex<String>,
        log: Mutex<Vec<HttpRequest>>,
        status: Option<u16>,
    }

    #[async_trait]
    impl HttpClient for Resource {
        async fn send(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
            self.log.lock().unwrap().push(request.clone());
            if let Some(status) = self.status {
                return Ok(HttpResponse::new(status, Vec::new(), b"no".to_vec()));
            }
            let mut body = self.body.lock().unwrap();
            if request.method != "GET" {
                *body = String::from_utf8(request.body).unwrap();
            }
            Ok(HttpResponse::new(
                200,
                Vec::new(),
                body.clone().into_bytes(),
            ))
        }
    }

    fn action(client: Arc<Resource>) -> HttpRequestAction {
        HttpRequestAction::new(client, ["http://gateway:80"]).unwrap()
    }

    fn map(value: &Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[tokio::test]
    async fn a_restorable_put_obeys_the_laws() {
        let client = Arc::new(Resource {
            body: Mutex::new(r#"{"enabled":false}"#.to_owned()),
            ..Resource::default()
        });
        let action = action(Arc::clone(&client));
        let args = json!({
            "method": "PUT", "url": "http://gateway:80/flags/f", "json": {"enabled": true}, "restorable": true,
        });
        laws::repeat_and_undo(&action, &args, || client.body.lock().unwrap().clone()).await;
        let log = client.log.lock().unwrap();
        assert!(
            log.iter()
                .any(|request| request.body == br#"{"enabled":true}"#)
        );
    }

    #[test]
    fn the_class_follows_the_method_and_the_declarations() {
        let action = action(Arc::default());
        let class = |args: Value| action.effect(&map(&args));
        assert_eq!(class(json!({"method": "GET"})), EffectClass::Read);
        assert_eq!(class(json!({"method": "DELETE"})), EffectClass::Idempotent);
        assert_eq!(class(json!({"method": "POST"})), EffectClass::Opaque);
        assert_eq!(
            class(json!({"idempotency_header": "x-key"})),
            EffectClass::Keyed
        );
        assert_eq!(class(json!({"idempotent": true})), EffectClass::Idempotent);
        assert!(
            !action
                .inverse(&map(&json!({"method": "PUT"})))
                .is_reversible()
        );
    }

    #[tokio::test]
    async fn a_keyed_post_carries_the_key_and_a_foreign_origin_is_denied() {
        let client = Arc::new(Resource::default());
        let action = action(Arc::clone(&client));
        let target = Target::service("gateway").unwrap();
        let key = laws::key(4);
        let cx = laws::context();
        let args = map(&json!({"url": "http://gateway:80/x", "idempotency_header": "x-key"}));
        let call = ActionCall::new(&target, &args, &key);
        action.perform(&cx, &call).await.unwrap();
        let sent = client.log.lock().unwrap().pop().unwrap();
        assert!(
            sent.headers
                .contains(&("x-key".to_owned(), key.to_string()))
        );
        let args = map(&json!({"url": "http://gateway:8080/x"}));
        assert_eq!(action.check(&args)[0].pointer, "/url");
        let error = action
            .perform(&cx, &ActionCall::new(&target, &args, &key))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied);
        assert!(client.log.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn statuses_decide_between_failures_that_pass_and_those_that_stay() {
        let target = Target::service("gateway").unwrap();
        let key = laws::key(0);
        for (status, kind) in [(503, ErrorKind::Transient), (404, ErrorKind::Permanent)] {
            let action = action(Arc::new(Resource {
                status: Some(status),
                ..Resource::default()
            }));
            let args = map(&json!({"url": "http://gateway:80/x"}));
            let call = ActionCall::new(&target, &args, &key);
            let error = action.perform(&laws::context(), &call).await.unwrap_err();
            assert_eq!(error.kind(), kind, "{status}");
            assert!(error.may_have_begun());
            let args = map(&json!({"url": "http://gateway:80/x", "expected_status": [status]}));
            let call = ActionCall::new(&target, &args, &key);
            action.perform(&laws::context(), &call).await.unwrap();
        }
    }

    #[test]
    fn origins_that_are_none_are_all_named() {
        let client: Arc<dyn HttpClient> = Arc::new(Resource::default());
        let error =
            HttpRequestAction::new(client, ["http://a/path", "b", "http://c:1/"]).unwrap_err();
        assert_eq!(error.violations().len(), 2);
    }
}
