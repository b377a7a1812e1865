use std::sync::Mutex;

use homeostasis_core::port::{HttpClient, HttpError, HttpRequest, HttpResponse};
use homeostasis_core::record::Plan;
use homeostasis_core::{ConfigError, IncidentId, PlanId, Target, Topology};
use serde_json::json;

use super::*;
use crate::action::{Action, ActionCall, ActionRegistry, HttpRequestAction, laws};
use crate::playbook::{Captures, CheckRegistry, PlanBinding, PlaybookSet};

const TOKEN: &str = "swordfish-of-the-gateway";
const ORIGINS: [&str; 2] = ["http://gateway:80", "http://mirror:80"];

/// Keeps what was sent, and answers with a status and all headers it was sent; or with an error
/// that repeats them.
#[derive(Debug)]
struct Echo {
    status: Option<u16>,
    log: Mutex<Vec<HttpRequest>>,
}

impl Echo {
    fn answering(status: impl Into<Option<u16>>) -> Arc<Self> {
        Arc::new(Self {
            status: status.into(),
            log: Mutex::default(),
        })
    }

    fn header(&self, name: &str) -> Option<String> {
        let log = self.log.lock().unwrap();
        let headers = log.last()?.headers.iter();
        let mut found = headers.filter(|(given, _)| given == name);
        found.next().map(|(_, value)| value.clone())
    }
}

#[async_trait]
impl HttpClient for Echo {
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let echo = format!("{:?}", request.headers);
        self.log.lock().unwrap().push(request);
        match self.status {
            Some(status) => Ok(HttpResponse::new(status, Vec::new(), echo.into_bytes())),
            None => Err(HttpError::transient(echo.clone(), echo)),
        }
    }
}

fn action(client: &Arc<Echo>, credential: Credential) -> Result<HttpRequestAction, ConfigError> {
    HttpRequestAction::new(Arc::clone(client) as _, ORIGINS)?
        .with_credentials([("gateway", credential)])
}

fn gateway() -> Credential {
    Credential::bearer(Secret::new(TOKEN)).for_origin("http://Gateway:80/")
}

fn args(change: Value) -> Map<String, Value> {
    let mut args = json!({"url": "http://gateway:80/x", "credential_name": "gateway"});
    let object = args.as_object_mut().unwrap();
    let Value::Object(change) = change else {
        panic!("a change is an object")
    };
    object.extend(change);
    object.clone()
}

/// Performs the action once; gives what is journaled of it.
async fn performed(action: &HttpRequestAction, args: &Map<String, Value>) -> Result<Value, String> {
    let (target, key) = (Target::service("gateway").unwrap(), laws::key(0));
    let call = ActionCall::new(&target, args, &key);
    let done = action.perform(&laws::context(), &call).await;
    done.map_err(|error| format!("{} {error:?}", error.report()))
}

#[tokio::test]
async fn each_form_is_sent_as_its_header_and_nothing_of_it_comes_back() {
    let secret = || Secret::new(TOKEN);
    for (credential, header, value) in [
        (
            Credential::bearer(secret()),
            "authorization",
            format!("Bearer {TOKEN}"),
        ),
        (
            Credential::header("x-door", secret()),
            "x-door",
            TOKEN.to_owned(),
        ),
        (
            Credential::basic("ann", secret()),
            "authorization",
            format!("Basic {}", base64(format!("ann:{TOKEN}").as_bytes())),
        ),
    ] {
        let credential = credential.for_origin(ORIGINS[0]);
        for status in [Some(200), Some(403), None] {
            let client = Echo::answering(status);
            let action = action(&client, credential.clone()).unwrap();
            let told = match performed(&action, &args(json!({}))).await {
                Ok(output) => output.to_string(),
                Err(error) => error,
            };
            assert_eq!(client.header(header).as_ref(), Some(&value), "{told}");
            let encoded = value.rsplit(' ').next().unwrap();
            assert!(!told.contains(TOKEN) && !told.contains(encoded), "{told}");
            assert!(told.contains("***"), "{told}");
            assert!(!format!("{credential:?} {:?}", action.spec()).contains(TOKEN));
        }
    }
    // A request that names none carries none.
    let client = Echo::answering(200);
    let mut args = args(json!({}));
    args.remove(PARAM);
    performed(&action(&client, gateway()).unwrap(), &args)
        .await
        .unwrap();
    assert_eq!(client.header("authorization"), None);
}

#[tokio::test]
async fn what_is_put_back_was_read_and_is_sent_with_the_credential() {
    let client = Echo::answering(200);
    let action = action(&client, gateway()).unwrap();
    let args = args(json!({"method": "PUT", "restorable": true}));
    let (target, key) = (Target::service("gateway").unwrap(), laws::key(0));
    let call = ActionCall::new(&target, &args, &key);
    // This server repeats the credential, which the journal must not keep.
    let refused = action.capture(&laws::context(), &call).await.unwrap_err();
    assert!(
        refused.to_string().contains("repeats the credential"),
        "{refused}"
    );
    assert!(client.header("authorization").unwrap().contains(TOKEN));
    client.log.lock().unwrap().clear();
    let captured = json!({"body": "{}", "content_type": "application/json"});
    let call = call.with_captured(&captured);
    action.undo(&laws::context(), &call).await.unwrap();
    assert!(client.header("authorization").unwrap().contains(TOKEN));
}

#[tokio::test]
async fn a_credential_goes_to_its_own_origins_only() {
    let client = Echo::answering(200);
    let action = action(&client, gateway()).unwrap();
    let args = args(json!({"url": "http://mirror:80/x"}));
    let problem = ArgumentProblem::new(
        "/url",
        "an origin to which `gateway` may be sent: http://gateway:80",
    );
    assert_eq!(action.check(&args), [problem]);
    let refused = performed(&action, &args).await.unwrap_err();
    assert!(
        refused.starts_with("denied: no credential `gateway`"),
        "{refused}"
    );
    assert!(client.log.lock().unwrap().is_empty());
}

#[test]
fn nothing_else_of_a_step_sends_the_header_of_its_credential() {
    let action = action(&Echo::answering(200), gateway()).unwrap();
    let args = args(json!({
        "headers": {"Authorization": "x", "accept": "y"},
        "idempotency_header": "AUTHORIZATION",
    }));
    let problems = action.check(&args);
    let places: Vec<_> = problems.iter().map(|problem| &*problem.pointer).collect();
    assert_eq!(places, ["/headers/Authorization", "/idempotency_header"]);
}

const PLAYBOOK: &str = "
playbook_id: drain
name: Drain
version: '1.0.0'
trigger: {cause: overload, service: gateway}
remediation_steps:
  - action: http_request
    url: http://gateway:80/drain
    credential_name: gateway
";

fn plan(text: &str) -> Result<Plan, ConfigError> {
    let mut actions = ActionRegistry::default();
    let credentials = [("gateway", gateway()), ("spare", gateway())];
    let action = HttpRequestAction::new(Echo::answering(200), ORIGINS)?;
    actions.register(action.with_credentials(credentials)?)?;
    let set = PlaybookSet::parse([("drain.yaml", text)], &actions, &CheckRegistry::default())?;
    let binding = PlanBinding {
        id: PlanId::from_u128(1),
        incident: IncidentId::from_u128(2),
        remediator: "playbooks",
        target: &Target::service("gateway").unwrap(),
        topology: &Topology::default(),
        fitness: 1.0,
        captures: Captures::Sample,
    };
    set.get("drain").unwrap().to_plan(&actions, binding)
}

#[test]
fn an_unknown_name_is_refused_where_it_stands() {
    for wrong in ["gatewya", "'${target.service}'"] {
        let text = PLAYBOOK.replace(
            "credential_name: gateway",
            &format!("credential_name: {wrong}"),
        );
        let error = plan(&text).unwrap_err().to_string();
        let place = "drain.yaml:9:22: remediation_steps[0].credential_name = ";
        assert!(error.contains(place), "{error}");
        assert!(
            error.contains("expected one of `gateway`, `spare`"),
            "{error}"
        );
    }
}

#[test]
fn the_plan_and_its_hash_bind_the_name_and_hold_no_secret() {
    let one = plan(PLAYBOOK).unwrap();
    let other =
        plan(&PLAYBOOK.replace("credential_name: gateway", "credential_name: spare")).unwrap();
    assert_eq!(one.steps[0].args[PARAM], "gateway");
    assert_ne!(one.hash(), other.hash());
    let text = serde_json::to_string(&one).unwrap() + &format!("{one:?}{one}");
    assert!(!text.contains(TOKEN), "{text}");
}

#[test]
fn every_wrong_credential_is_named() {
    let secret = || Secret::new(TOKEN);
    let credentials = [
        ("a b", gateway()),
        ("homeless", Credential::bearer(secret())),
        ("stray", gateway().for_origin("http://elsewhere:80")),
        ("path", gateway().for_origin("http://mirror:80/x")),
        (
            "header",
            Credential::header("x y", secret()).for_origin(ORIGINS[0]),
        ),
        (
            "user",
            Credential::basic("a:b", secret()).for_origin(ORIGINS[0]),
        ),
        ("twice", gateway()),
        ("twice", gateway()),
    ];
    let action = HttpRequestAction::new(Echo::answering(200), ORIGINS).unwrap();
    let error = action.with_credentials(credentials).unwrap_err();
    let places = error.violations().iter().map(|wrong| {
        let place = wrong.path.strip_prefix("http_request.credentials.");
        place.unwrap().to_owned()
    });
    let expected = [
        "a b",
        "homeless.origins",
        "stray.origins",
        "path.origins",
        "header.header",
        "user.user",
        "twice",
    ];
    assert_eq!(places.collect::<Vec<_>>(), expected);
    assert!(!error.to_string().contains(TOKEN));
}

/// A store of secrets that knows another one each time, until it knows none.
#[derive(Debug)]
struct Rotating(Mutex<Vec<&'static str>>);

#[async_trait]
impl SecretSource for Rotating {
    async fn secret(&self, _: &Context) -> Result<Secret, BoxError> {
        let next = self.0.lock().unwrap().pop();
        next.map(Secret::from)
            .ok_or_else(|| "the vault is sealed".into())
    }
}

#[tokio::test]
async fn the_secret_is_asked_for_each_time_and_nothing_is_sent_without_it() {
    let client = Echo::answering(200);
    let source = Rotating(Mutex::new(vec!["", "two\nlines", "second", "first"]));
    let credential = Credential::header("x-door", source).for_origin(ORIGINS[0]);
    let action = action(&client, credential).unwrap();
    for expected in ["first", "second"] {
        performed(&action, &args(json!({}))).await.unwrap();
        assert_eq!(client.header("x-door").as_deref(), Some(expected));
    }
    for expected in [
        "one line of text",
        "one line of text",
        "the vault is sealed",
    ] {
        let refused = performed(&action, &args(json!({}))).await.unwrap_err();
        assert!(
            refused.contains("reading the credential `gateway`"),
            "{refused}"
        );
        assert!(refused.contains(expected), "{refused}");
    }
    assert_eq!(client.log.lock().unwrap().len(), 2);
    let (target, args, key) = (Target::service("a").unwrap(), args(json!({})), laws::key(0));
    let call = ActionCall::new(&target, &args, &key);
    let sealed = action.perform(&laws::context(), &call).await.unwrap_err();
    assert!(!sealed.may_have_begun() && sealed.kind().is_retryable());
}

#[test]
fn base64_is_that_of_rfc_4648() {
    for (text, encoded) in [
        ("", ""),
        ("f", "Zg=="),
        ("fo", "Zm8="),
        ("foo", "Zm9v"),
        ("foob", "Zm9vYg=="),
        ("fooba", "Zm9vYmE="),
        ("foobar", "Zm9vYmFy"),
        ("Aladdin:open sesame", "QWxhZGRpbjpvcGVuIHNlc2FtZQ=="),
    ] {
        assert_eq!(base64(text.as_bytes()), encoded);
    }
    assert_eq!(base64(&[0xfb, 0xff]), "+/8=");
}
