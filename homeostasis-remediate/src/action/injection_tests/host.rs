//! Files, programs, processes and requests: no string leads out of the roots, becomes an argument that was
//! not declared, or names another host.

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::Arc;
use std::time::Duration;

use homeostasis_core::Target;
use homeostasis_core::port::HttpClient;
use serde_json::{Value, json};

use super::super::*;
use super::*;

/// Two files to act on, links that lead out, and something in the quarantine for long.
fn furnished() -> Playground {
    let place = Playground::new();
    place.write("sub/old.tmp", "x");
    place.write("a.log", "x");
    symlink(place.outside().path(), place.path("link")).unwrap();
    symlink(place.outside().path().join("canary"), place.path("alias")).unwrap();
    let store = place.store();
    fs::create_dir(store.join("aside_2020-01-01_run")).unwrap();
    fs::write(store.join("aside_2020-01-01_run/file"), "x").unwrap();
    place
}

fn file_cases(place: &Playground) -> Vec<Case> {
    let files = json!({"root": "tmp", "pattern": "*.tmp", "older_than": "1h", "recursive": true});
    let mut archived = files.clone();
    archived["to"] = "store".into();
    let day = Duration::from_secs(86_400);
    let log = json!({"root": "tmp", "file": "a.log"});
    let mut truncated = log.clone();
    truncated["how"] = "copy_truncate".into();
    let roots = place.roots();
    let aside = RelocateFiles::aside(roots.clone(), "store").unwrap();
    let emptied = EmptyQuarantine::new(roots.clone(), "store", day).unwrap();
    vec![
        case(CleanFiles::new(roots.clone()), files.clone()),
        case(CompressFiles::new(roots.clone()), files.clone()),
        case(RelocateFiles::archive(roots.clone()), archived),
        case(aside, files),
        case(emptied, json!({})),
        case(RotateLog::new(roots.clone()), log),
        case(RotateLog::new(roots), truncated),
    ]
}

#[tokio::test]
async fn every_file_action_acts_when_nobody_attacks() {
    for idx in 0..file_cases(&furnished()).len() {
        let place = furnished();
        let case = &file_cases(&place)[idx];
        let (before, outside) = (place.tree(), place.outside().tree());
        let result = attack(&later(2), &*case.action, &filled(case), true).await;
        let what = format!("{}: {result:?}", case.action.name());
        assert!(result.is_ok() && place.tree() != before, "{what}");
        assert_eq!(place.outside().tree(), outside, "{what}");
    }
}

#[tokio::test]
async fn no_string_of_a_file_action_leads_out_of_the_roots() {
    let place = furnished();
    let cases = file_cases(&place);
    let outside = place.outside().tree();
    let before = place.tree();
    let mut n_attacks = 0;
    for case in &cases {
        for text in hostile(place.outside().path()) {
            for (param, args) in attacks(case, &text) {
                // These mean files of the root, and say so.
                if param == "pattern" && text == "*" || param == "folder" && text.is_empty() {
                    continue;
                }
                for is_checked in [true, false] {
                    let result = attack(&later(2), &*case.action, &args, is_checked).await;
                    let shown: String = text.chars().take(40).collect();
                    let what = format!("{} {param} {shown:?}: {result:?}", case.action.name());
                    assert_eq!(place.outside().tree(), outside, "{what}");
                    assert_eq!(place.tree(), before, "{what}");
                    n_attacks += 1;
                }
                // Also the name of the batch, as if somebody had written into the journal.
                for batch in [text.as_str(), "batch"] {
                    let forged = json!({"batch": batch, "first": [text], "files": 1});
                    let undone = attack_undo(&later(2), &*case.action, &args, &forged).await;
                    let what = format!("undo of {} {param}: {undone:?}", case.action.name());
                    assert_eq!(place.outside().tree(), outside, "{what}");
                    assert_eq!(place.tree(), before, "{what}");
                    n_attacks += 1;
                }
            }
        }
    }
    assert!(n_attacks > 2000, "{n_attacks}");
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
        for text in hostile(place.outside().path())
            .into_iter()
            .filter(|text| !is_good(text))
        {
            for (param, args) in attacks(case, &text) {
                for is_checked in [true, false] {
                    let result = attack(&later(2), &*case.action, &args, is_checked).await;
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
                let undone = attack_undo(&later(2), &*case.action, &args, &json!({})).await;
                let what = format!("undo of {} {param} {text:?}", case.action.name());
                assert!(
                    undone.is_err() && fake.calls().is_empty(),
                    "{what}: {undone:?}"
                );
                n_attacks += 1;
            }
        }
        let good = attack(&later(2), &*case.action, &filled(case), true).await;
        let calls = fake.calls();
        assert!(!calls.is_empty(), "{}: {good:?}", case.action.name());
    }
    assert!(n_attacks > 1500, "{n_attacks}");
    assert_eq!(place.outside().tree(), outside);
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
    for text in hostile(place.outside().path()) {
        for (param, args) in attacks(&case, &text) {
            for is_checked in [true, false] {
                let result = attack(&later(2), &*case.action, &args, is_checked).await;
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
        for text in hostile(place.outside().path()) {
            for (param, args) in attacks(case, &text) {
                for is_checked in [true, false] {
                    let result = attack(&later(2), &*case.action, &args, is_checked).await;
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
    for text in hostile(place.outside().path()) {
        for (param, args) in attacks(&case, &text) {
            let mut results = Vec::new();
            for is_checked in [true, false] {
                results.push(attack(&later(2), &*case.action, &args, is_checked).await);
            }
            for sent in recorder.0.lock().unwrap().drain(..) {
                let what = format!("{param} {text:?}: {results:?} {sent:?}");
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
    let good = attack(&later(2), &*case.action, &filled(&case), true).await;
    assert_eq!(recorder.0.lock().unwrap().len(), 1, "{good:?}");
}
