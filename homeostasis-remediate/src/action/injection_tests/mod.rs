//! Hostile strings through every string parameter of every action: nothing runs that was not declared, and
//! nothing changes that the host did not hand over.
//!
//! What each engine is attacked with stands beside its actions; whole playbooks, labels, logs and names of
//! targets are in `run/injection_tests.rs`.

#[cfg(all(feature = "files", feature = "process", target_os = "linux"))]
mod host;
mod in_process;

use std::path::Path;
use std::sync::Mutex;

use async_trait::async_trait;
use homeostasis_core::port::{HttpClient, HttpError, HttpRequest, HttpResponse};
use homeostasis_core::{Context, Target};
use serde_json::{Map, Value, json};

#[cfg(all(feature = "files", feature = "process", target_os = "linux"))]
pub(crate) use super::files::testing::{Playground, Tree, later};
#[cfg(all(feature = "files", feature = "process", target_os = "linux"))]
pub(crate) use super::program::testing::Fake;
use super::{Action, ActionCall, ActionError, ParamKind, laws};

/// What an attacker may have written into a label, a log line or the name of a target. `OUTSIDE`
/// becomes a folder that nobody may touch.
const HOSTILE: [&str; 44] = [
    "",
    " ",
    "'",
    "\"",
    "`touch OUTSIDE/ran`",
    "$(touch OUTSIDE/ran)",
    "${IFS}touch${IFS}OUTSIDE/ran",
    "'; touch OUTSIDE/ran; '",
    "\"; touch OUTSIDE/ran; \"",
    "a && touch OUTSIDE/ran",
    "a | touch OUTSIDE/ran",
    "> OUTSIDE/ran",
    "a\ntouch OUTSIDE/ran",
    "a\r\nX-Injected: yes",
    "a\0b",
    "\u{1b}[2J",
    "..",
    ".",
    "/",
    "../outside",
    "../outside/canary",
    "sub/../../outside",
    "sub/./x",
    "OUTSIDE",
    "OUTSIDE/canary",
    "/etc/passwd",
    "link",
    "link/sub",
    "link/canary.tmp",
    "alias",
    "-rf",
    "--all",
    "--kubeconfig=OUTSIDE/canary",
    "-o=OUTSIDE/ran",
    "--",
    "*",
    "web.service --now",
    "web.service;reboot",
    "wеb.service",
    "web\u{200b}",
    "\u{202e}bew",
    "\u{2024}\u{2024}/outside",
    "%2e%2e%2foutside",
    "http://evil:80/@gateway:80/",
];

/// An action, arguments that are good, and what to look at.
pub(crate) struct Case {
    pub(crate) action: Box<dyn Action>,
    args: Value,
}

pub(crate) fn case(action: impl Action + 'static, args: Value) -> Case {
    Case {
        action: Box::new(action),
        args,
    }
}

/// All of it, with texts that are too long for many places.
pub(crate) fn hostile(outside: &Path) -> Vec<String> {
    let outside = outside.to_str().unwrap();
    let long = ["a".repeat(300), "a/".repeat(3000), "x".repeat(200_000)];
    let texts = HOSTILE.iter().map(|text| text.replace("OUTSIDE", outside));
    texts.chain(long).collect()
}

/// The good arguments with each string in turn replaced: those given and those that may be given.
pub(crate) fn attacks(case: &Case, text: &str) -> Vec<(String, Map<String, Value>)> {
    let mut good = case.args.as_object().unwrap().clone();
    case.action.spec().fill_defaults(&mut good);
    let mut attacks = Vec::new();
    for param in &case.action.spec().params {
        let values = match &param.kind {
            ParamKind::Integer { .. } | ParamKind::Bool => continue,
            ParamKind::List(kind) => match **kind {
                ParamKind::Text => vec![json!(["first", text])],
                _ => continue,
            },
            ParamKind::Map(kind) => match **kind {
                ParamKind::Integer { .. } => vec![json!({ text: 1 }), json!({ "a:1": text })],
                _ => vec![json!({ "x-header": text }), json!({ text: "value" })],
            },
            ParamKind::Any => vec![json!({ text: text })],
            _ => vec![text.into()],
        };
        for value in values {
            let mut args = good.clone();
            args.insert(param.name.to_owned(), value);
            attacks.push((param.name.to_owned(), args));
        }
    }
    attacks
}

/// Runs it as playbooks have it, and once more without the checks before, as if somebody had
/// forgotten them: what an action does must not rest on others.
pub(crate) async fn attack(
    cx: &Context,
    action: &dyn Action,
    args: &Map<String, Value>,
    is_checked: bool,
) -> Result<Value, ActionError> {
    if is_checked {
        let mut problems = action.spec().problems(args, false);
        problems.extend(action.check(args));
        if let Some(problem) = problems.first() {
            assert!(!problem.expected.is_empty());
            return Err(ActionError::argument(&problem.pointer, &problem.expected));
        }
    }
    let (target, key) = (Target::service("orders").unwrap(), laws::key(0));
    let call = ActionCall::new(&target, args, &key);
    let captured = action.capture(cx, &call).await?;
    let call = call.with_captured(&captured);
    let output = action.perform(cx, &call).await?;
    action.probe(cx, &call).await;
    Ok(output)
}

/// Takes back with these arguments what never was done.
pub(crate) async fn attack_undo(
    cx: &Context,
    action: &dyn Action,
    args: &Map<String, Value>,
    captured: &Value,
) -> Result<Value, ActionError> {
    let (target, key) = (Target::service("orders").unwrap(), laws::key(0));
    let call = ActionCall::new(&target, args, &key).with_captured(captured);
    action.undo(cx, &call).await
}

/// The good arguments, with defaults.
pub(crate) fn filled(case: &Case) -> Map<String, Value> {
    let mut args = case.args.as_object().unwrap().clone();
    case.action.spec().fill_defaults(&mut args);
    args
}

/// Keeps what was sent.
#[derive(Debug, Default)]
pub(crate) struct Recorder(pub(crate) Mutex<Vec<HttpRequest>>);

#[async_trait]
impl HttpClient for Recorder {
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        self.0.lock().unwrap().push(request);
        Ok(HttpResponse::new(200, Vec::new(), Vec::new()))
    }
}
