//! Hostile strings through every string parameter of every action on the host: nothing runs that
//! was not declared, and nothing outside the roots changes.

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use homeostasis_core::Target;
use homeostasis_core::port::{HttpClient, HttpError, HttpRequest, HttpResponse};
use serde_json::{Map, Value, json};

use super::files::testing::{Playground, later};
use super::program::testing::Fake;
use super::*;

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
struct Case {
    action: Box<dyn Action>,
    args: Value,
}

fn case(action: impl Action + 'static, args: Value) -> Case {
    Case {
        action: Box::new(action),
        args,
    }
}

fn hostile(place: &Playground) -> Vec<String> {
    let outside = place.outside().path().to_str().unwrap();
    let long = ["a".repeat(300), "a/".repeat(3000), "x".repeat(200_000)];
    let texts = HOSTILE.iter().map(|text| text.replace("OUTSIDE", outside));
    texts.chain(long).collect()
}

/// The good arguments with each string in turn replaced: those given and those that may be given.
fn attacks(case: &Case, text: &str) -> Vec<(String, Map<String, Value>)> {
    let mut good = case.args.as_object().unwrap().clone();
    case.action.spec().fill_defaults(&mut good);
    let mut attacks = Vec::new();
    for param in &case.action.spec().params {
        let value = match &param.kind {
            ParamKind::Integer { .. } | ParamKind::Bool => continue,
            ParamKind::List(kind) => match **kind {
                ParamKind::Text => json!(["first", text]),
                _ => continue,
            },
            ParamKind::Map(_) => json!({ "x-header": text }),
            ParamKind::Any => json!({ text: text }),
            _ => text.into(),
        };
        let mut args = good.clone();
        args.insert(param.name.to_owned(), value);
        attacks.push((param.name.to_owned(), args));
    }
    attacks
}

/// Runs it as playbooks have it, and once more without the checks before, as if somebody had
/// forgotten them: what an action does must not rest on others.
async fn attack(
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
    let (cx, target, key) = (later(2), Target::service("orders").unwrap(), laws::key(0));
    let call = ActionCall::new(&target, args, &key);
    let captured = action.capture(&cx, &call).await?;
    let call = call.with_captured(&captured);
    let output = action.perform(&cx, &call).await?;
    action.probe(&cx, &call).await;
    Ok(output)
}

#[tokio::test]
async fn no_string_of_a_file_action_leads_out_of_the_roots() {
    let place = Playground::new();
    place.write("sub/old.tmp", "x");
    place.write("a.log", "x");
    symlink(place.outside().path(), place.path("link")).unwrap();
    symlink(place.outside().path().join("canary"), place.path("alias")).unwrap();
    let files = json!({"root": "tmp", "pattern": "*.tmp", "older_than": "1h", "recursive": true});
    let mut archived = files.clone();
    archived["to"] = "store".into();
    let day = Duration::from_secs(86_400);
    let log = json!({"root": "tmp", "file": "a.log"});
    let mut truncated = log.clone();
    truncated["how"] = "copy_truncate".into();
    let roots = place.roots();
    let cases = [
        case(CleanFiles::new(roots.clone()), files.clone()),
        case(CompressFiles::new(roots.clone()), files.clone()),
        case(RelocateFiles::archive(roots.clone()), archived),
        case(
            RelocateFiles::aside(roots.clone(), "store", day).unwrap(),
            files,
        ),
        case(RotateLog::new(roots.clone()), log),
        case(RotateLog::new(roots), truncated),
    ];
    let outside = place.outside().tree();
    let before = place.tree();
    let mut n_attacks = 0;
    for case in &cases {
        for text in hostile(&place) {
            for (param, args) in attacks(case, &text) {
                // These mean files of the root, and say so.
                if param == "pattern" && text == "*" || param == "folder" && text.is_empty() {
                    continue;
                }
                for is_checked in [true, false] {
                    let result = attack(&*case.action, &args, is_checked).await;
                    let shown: String = text.chars().take(40).collect();
                    let what = format!("{} {param} {shown:?}: {result:?}", case.action.name());
                    assert_eq!(place.outside().tree(), outside, "{what}");
                    assert_eq!(place.tree(), before, "{what}");
                    n_attacks += 1;
                }
            }
        }
    }
    assert!(n_attacks > 2000, "{n_attacks}");
    // They do something when nobody attacks.
    for case in &cases[..1] {
        let good = attack(&*case.action, case.args.as_object().unwrap(), true).await;
        assert!(good.is_err() || place.tree() != before);
    }
}

#[tokio::test]
async fn no_string_of_a_program_s_action_becomes_an_argument_that_was_not_declared() {
    let place = Playground::new();
    let outside = place.outside().tree();
    let fake = Fake::new("exit 0", &[]);
    let systemctl = Systemctl::new(fake.tool(), ["*"]).unwrap();
    let kubectl = Kubectl::new(fake.tool());
    let kubectl = kubectl.namespaces(["*"]).unwrap().nodes(["*"]).unwrap();
    let interfaces = NetworkInterfaces::new(fake.tool(), ["*"]).unwrap();
    let firewall = Firewall::new(fake.tool(), ["inet filter input"]).unwrap();
    let unit = json!({"unit": "web.service"});
    let (node, web) = (
        json!({"node": "a"}),
        json!({"namespace": "shop", "deployment": "web"}),
    );
    let rule = json!({
        "chain": "inet filter input", "source": "192.0.2.7", "protocol": "tcp", "port": 80,
    });
    let with = |args: &Value, name: &str, value: Value| {
        let mut args = args.clone();
        args[name] = value;
        args
    };
    let cases = [
        case(systemctl.restart_unit(), unit.clone()),
        case(systemctl.start_unit(), unit.clone()),
        case(systemctl.stop_unit(), unit.clone()),
        case(systemctl.reload_unit(), unit.clone()),
        case(
            systemctl.set_unit_limits(),
            with(&unit, "tasks_max", 5.into()),
        ),
        case(
            kubectl.delete_pod(),
            json!({"namespace": "shop", "pod": "web-1"}),
        ),
        case(kubectl.scale_deployment(), with(&web, "replicas", 5.into())),
        case(kubectl.restart_rollout(), web.clone()),
        case(kubectl.undo_rollout(), web),
        case(kubectl.cordon_node(), node.clone()),
        case(kubectl.uncordon_node(), node.clone()),
        case(kubectl.drain_node(), node),
        case(interfaces.restart_interface(), json!({"interface": "eth1"})),
        case(firewall.add_rule(), rule),
    ];
    let mut n_attacks = 0;
    for case in &cases {
        // In this world these are names like any other.
        let is_good = |text: &String| matches!(text.as_str(), "link" | "alias");
        for text in hostile(&place).into_iter().filter(|text| !is_good(text)) {
            for (param, args) in attacks(case, &text) {
                for is_checked in [true, false] {
                    let result = attack(&*case.action, &args, is_checked).await;
                    let calls = fake.calls();
                    let what = format!(
                        "{} {param} {text:?}: {result:?} {calls:?}",
                        case.action.name()
                    );
                    assert!(result.is_err(), "{what}");
                    // Not even a question.
                    assert!(calls.is_empty(), "{what}");
                    n_attacks += 1;
                }
            }
        }
        let good = attack(&*case.action, &filled(case), true).await;
        let calls = fake.calls();
        assert!(!calls.is_empty(), "{}: {good:?}", case.action.name());
    }
    assert!(n_attacks > 1500, "{n_attacks}");
    assert_eq!(place.outside().tree(), outside);
}

fn filled(case: &Case) -> Map<String, Value> {
    let mut args = case.args.as_object().unwrap().clone();
    case.action.spec().fill_defaults(&mut args);
    args
}

#[tokio::test]
async fn the_arguments_of_run_program_stay_one_argument_each() {
    let place = Playground::new();
    let outside = place.outside().tree();
    let fake = Fake::new("exit 0", &[]);
    let mut program = Program::new("/bin/sh");
    program.fixed_args = vec![fake.script()];
    let action = RunProgram::default().allow("record", program).unwrap();
    let case = case(action, json!({"program": "record", "args": ["first"]}));
    for text in hostile(&place) {
        for (param, args) in attacks(&case, &text) {
            for is_checked in [true, false] {
                let result = attack(&*case.action, &args, is_checked).await;
                let calls = fake.calls();
                // A single argument longer than the kernel takes is its refusal.
                let expected = if param == "args" && !text.contains('\0') && text.len() < 128 * 1024
                {
                    vec![vec!["first".to_owned(), text.clone()]]
                } else {
                    assert!(result.is_err(), "{param} {text:?}");
                    Vec::new()
                };
                assert_eq!(calls, expected, "{param} {text:?}: {result:?}");
            }
        }
    }
    assert_eq!(place.outside().tree(), outside);
}

#[tokio::test]
async fn no_string_names_a_process_that_the_host_did_not() {
    let dir = tempfile::tempdir().unwrap();
    let place = Playground::new();
    let supervisor = ProcessSupervisor::new(Arc::new(laws::RealClock));
    let target = Target::instance("catalog", "0").unwrap();
    let spec = ProcessSpec::new(target, ["/usr/bin/sleep", "1000"], dir.path().join("pid"));
    supervisor.register("catalog", spec).unwrap();
    let before = supervisor.start("catalog").await.unwrap();
    let limit = json!({"process": "catalog", "limit": "open_files", "value": 64});
    let cases = [
        case(
            RestartProcess::new(supervisor.clone()),
            json!({"process": "catalog"}),
        ),
        case(
            StopProcess::new(supervisor.clone()),
            json!({"process": "catalog"}),
        ),
        case(SetResourceLimit::new(supervisor.clone()), limit),
    ];
    let limits = || fs::read_to_string(format!("/proc/{}/limits", before.pid)).unwrap();
    let limits_before = limits();
    for case in &cases {
        for text in hostile(&place) {
            for (param, args) in attacks(case, &text) {
                for is_checked in [true, false] {
                    let result = attack(&*case.action, &args, is_checked).await;
                    assert!(result.is_err(), "{} {param} {text:?}", case.action.name());
                }
            }
        }
    }
    assert_eq!(supervisor.running("catalog").unwrap(), Some(before));
    assert_eq!(limits(), limits_before);
    assert_eq!(
        fs::read_dir(dir.path()).unwrap().count(),
        1,
        "only the pid file"
    );
    supervisor.stop("catalog").await.unwrap();
}

/// Keeps what was sent.
#[derive(Debug, Default)]
struct Recorder(Mutex<Vec<HttpRequest>>);

#[async_trait]
impl HttpClient for Recorder {
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        self.0.lock().unwrap().push(request);
        Ok(HttpResponse::new(200, Vec::new(), Vec::new()))
    }
}

#[tokio::test]
async fn no_string_of_a_request_leads_to_another_host_or_adds_a_header() {
    let place = Playground::new();
    let recorder = Arc::new(Recorder::default());
    let client: Arc<dyn HttpClient> = Arc::<Recorder>::clone(&recorder);
    let action = HttpRequestAction::new(client, ["http://gateway:80"]).unwrap();
    let case = case(
        action,
        json!({"url": "http://gateway:80/flags/f", "method": "PUT", "body": "x"}),
    );
    let mut n_sent = 0;
    for text in hostile(&place) {
        for (param, args) in attacks(&case, &text) {
            let result = attack(&*case.action, &args, true).await;
            for sent in recorder.0.lock().unwrap().drain(..) {
                let what = format!("{param} {text:?}: {result:?} {sent:?}");
                assert!(sent.url.starts_with("http://gateway:80/"), "{what}");
                assert_eq!(sent.method, "PUT", "{what}");
                let is_clean = |text: &str| !text.chars().any(char::is_control);
                assert!(
                    sent.headers
                        .iter()
                        .all(|(name, value)| is_clean(name) && is_clean(value)),
                    "{what}"
                );
                n_sent += 1;
            }
        }
    }
    assert!(n_sent > 0);
}
