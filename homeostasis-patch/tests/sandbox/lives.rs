//! How programs live in the sandbox, and what happens when their owner goes.

use std::fs;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use homeostasis_core::stage::PatchCheck;
use homeostasis_core::{Cancellation, ErrorKind};
use homeostasis_patch::sandbox::{
    Bound, CopyConfig, Ending, Environment, Layer, Limits, Sandbox, SandboxCommand, SandboxConfig,
    SandboxError, sweep,
};

use homeostasis_patch::trial::{Level, Trial, TrialPlan, TrialTest};

use crate::house::{House, PYTHON, WAYS, Way, context, processes};

#[tokio::test]
async fn a_program_finds_its_project_and_the_report_says_what_held_it() {
    for way in WAYS {
        let Some(house) = House::new(way) else { return };
        let copy = house.copy();
        let code = "import app, os; print(app.VALUE, os.getcwd()); sys.exit(app.VALUE)";
        let command = house.python(code, "", Limits::testing());
        let report = house
            .sandbox
            .run(&context(), &copy, &command)
            .await
            .unwrap();
        assert_eq!(report.ending, Ending::Exited(1), "{report:?}");
        let (project, here) = (house.path("project"), copy.path());
        let stands = if way == Way::Namespaces {
            &project
        } else {
            &here
        };
        assert_eq!(report.output, format!("1 {}\n", stands.display()));
        let held = |layer| report.layers.has(layer);
        assert!(held(Layer::Seccomp) && held(Layer::Rlimits) && held(Layer::Watch));
        assert_eq!(held(Layer::Namespaces), way == Way::Namespaces);
        assert!(
            !held(Layer::Cgroup)
                && report
                    .layers
                    .missing
                    .iter()
                    .any(|m| m.layer == Layer::Cgroup)
        );
    }
}

#[tokio::test]
async fn nothing_runs_without_the_minimum() {
    let Some(house) = House::new(Way::Namespaces) else {
        return;
    };
    let config = SandboxConfig {
        bubblewrap: Some("/nowhere/bwrap".into()),
        ..SandboxConfig::default()
    };
    let refused = Sandbox::new(config.clone()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Denied);
    assert!(
        refused.to_string().contains("namespaces: /nowhere/bwrap"),
        "{refused}"
    );
    let strict = SandboxConfig {
        minimum: [Layer::Namespaces, Layer::Cgroup].into(),
        ..SandboxConfig::default()
    };
    let strict = Sandbox::new(strict).unwrap();
    let command = SandboxCommand::new(["/bin/sh", "-c", ": > ran"]);
    let copy = house.copy();
    let refused = strict.run(&context(), &copy, &command).await.unwrap_err();
    assert!(
        matches!(refused, SandboxError::Unprotected { ref missing } if missing[0].layer == Layer::Cgroup)
    );
    assert!(!copy.path().join("ran").exists());
    let open = Sandbox::new(SandboxConfig {
        minimum: [].into(),
        ..config
    })
    .unwrap();
    let report = open.run(&context(), &copy, &command).await.unwrap();
    assert!(
        report.ending.success() && copy.path().join("ran").exists(),
        "{report:?}"
    );
}

#[tokio::test]
async fn time_deadline_and_cancellation_end_it_with_all_it_started() {
    for way in WAYS {
        let Some(house) = House::new(way) else { return };
        let copy = house.copy();
        let code = "os.fork(); time.sleep(1000)";
        let short = Limits {
            time: Duration::from_millis(700),
            ..Limits::testing()
        };
        let command = house.python(code, "", short);
        let report = house
            .sandbox
            .run(&context(), &copy, &command)
            .await
            .unwrap();
        assert_eq!(report.ending, Ending::Stopped(Bound::Time));
        assert!(report.took >= Duration::from_millis(700) && report.took < Duration::from_secs(5));

        let long = house.python(code, "", Limits::testing());
        let near = context().within(Duration::from_millis(500));
        let report = house.sandbox.run(&near, &copy, &long).await.unwrap();
        assert_eq!(report.ending, Ending::Stopped(Bound::Time));

        let cancellation = Cancellation::default();
        let cx = context().cancelled_by(cancellation.clone());
        let run = house.sandbox.run(&cx, &copy, &long);
        let cancel = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            cancellation.cancel();
        };
        let (report, ()) = tokio::join!(run, cancel);
        assert_eq!(report.unwrap().ending, Ending::Cancelled);
        let refused = house.sandbox.run(&cx, &copy, &long).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Cancelled);

        let cx = context();
        let dropped = house.sandbox.run(&cx, &copy, &long);
        let _ = tokio::time::timeout(Duration::from_millis(500), dropped).await;
        until(|| processes(&house.token).is_empty());
        drop(copy);
        until(|| fs::read_dir(house.path("place")).unwrap().count() == 0);
    }
}

#[tokio::test]
async fn the_cpu_time_of_all_processes_is_reported_and_waiting_costs_none() {
    for way in WAYS {
        let Some(house) = House::new(way) else { return };
        let copy = house.copy();
        let code = r"
def work():
    end = time.process_time() + 0.3
    while time.process_time() < end:
        pass
if os.fork() == 0:
    if os.fork() == 0:
        work()
        os._exit(0)
    os.wait()
    work()
    os._exit(0)
os.wait()
time.sleep(1.5)
";
        let command = house.python(code, "", Limits::testing());
        let report = house.sandbox.run(&context(), &copy, &command).await;
        let report = report.unwrap();
        assert!(report.ending.success(), "{report:?}");
        let cpu = report.cpu.as_millis();
        assert!((600..1300).contains(&cpu), "{way:?}: {cpu} ms");
        assert!(report.took.as_millis() >= 1500);
    }
}

#[tokio::test]
async fn at_most_as_many_as_configured_run_at_once() {
    let config = SandboxConfig {
        parallel: 1,
        ..SandboxConfig::default()
    };
    let Some(house) = House::with(Way::Namespaces, config) else {
        return;
    };
    let copy = house.copy();
    // Each fails if it finds the other's file.
    let code = r#"
open("busy", "x").close()
time.sleep(0.3)
os.remove("busy")
"#;
    let command = house.python(code, "", Limits::testing());
    let cx = context();
    let (one, two) = tokio::join!(
        house.sandbox.run(&cx, &copy, &command),
        house.sandbox.run(&cx, &copy, &command)
    );
    assert!(one.unwrap().ending.success() && two.unwrap().ending.success());
}

#[tokio::test]
async fn bad_commands_are_refused_with_every_reason() {
    let Some(house) = House::new(Way::Namespaces) else {
        return;
    };
    let copy = house.copy();
    let command: SandboxCommand = serde_json::from_str(
        r#"{"argv":[],"folder":"../..","variables":{"":"x"},"limits":{"tasks":1}}"#,
    )
    .unwrap();
    let refused = house
        .sandbox
        .run(&context(), &copy, &command)
        .await
        .unwrap_err();
    let SandboxError::Config(error) = refused else {
        panic!("{refused}")
    };
    let places: Vec<&str> = error.violations().iter().map(|v| v.path.as_str()).collect();
    assert_eq!(places, ["limits.tasks", "argv", "folder", "variables"]);
    let missing = SandboxCommand::new(["/usr/bin/no-such-program"]);
    let report = house
        .sandbox
        .run(&context(), &copy, &missing)
        .await
        .unwrap();
    assert!(
        !report.ending.success() && report.output.contains("no-such-program"),
        "{report:?}"
    );
}

#[tokio::test]
async fn folders_left_out_of_the_copy_are_read_in_their_place() {
    let Some(house) = House::new(Way::Namespaces) else {
        return;
    };
    fs::create_dir(house.path("project/node_modules")).unwrap();
    fs::write(house.path("project/node_modules/pad.js"), "pad").unwrap();
    let code = r#"
print(open("node_modules/pad.js").read())
refused("write", lambda: open("node_modules/pad.js", "w"))
print("contained")
"#;
    house.contained(code, "").await;
    let original = fs::read_to_string(house.path("project/node_modules/pad.js")).unwrap();
    assert_eq!(original, "pad");
}

#[tokio::test]
async fn the_environment_of_a_sandbox_is_compared_with_the_service() {
    let Some(house) = House::new(Way::Namespaces) else {
        return;
    };
    let sandboxed = house
        .sandbox
        .environment(&context(), &house.copy(), &[PYTHON, "--version"])
        .await
        .unwrap();
    let version = sandboxed.interpreter.clone().unwrap();
    assert!(version.starts_with("Python 3."), "{version}");
    assert_eq!(sandboxed.locale, "C.UTF-8");
    let service = Environment {
        interpreter: Some("Python 2.7".to_owned()),
        ..sandboxed.clone()
    };
    let differences = service.differences(&sandboxed);
    assert_eq!(differences.len(), 1);
    assert_eq!(
        (&*differences[0].what, &*differences[0].sandbox),
        ("interpreter", &*version)
    );
}

/// The service that `a_killed_service_leaves_no_process` kills: runs the same test again, to be killed.
const VICTIM: &str = "HOMEOSTASIS_SANDBOX_VICTIM";

#[expect(
    clippy::disallowed_methods,
    reason = "the service to be killed is a real process"
)]
#[tokio::test]
async fn a_killed_service_leaves_no_process_and_a_sweep_no_folder() {
    if let Ok(way) = std::env::var(VICTIM) {
        let way = if way == "Group" {
            Way::Group
        } else {
            Way::Namespaces
        };
        let house = House::new(way).unwrap();
        println!("{} {}", house.token, house.path("place").display());
        let copy = house.copy();
        let command = house.python("os.fork(); time.sleep(1000)", "", Limits::testing());
        house
            .sandbox
            .run(&context(), &copy, &command)
            .await
            .unwrap();
        return;
    }
    for way in WAYS {
        let Some(house) = House::new(way) else { return };
        let home = tempfile::tempdir().unwrap();
        let said = home.path().join("said");
        let mut service = Command::new(std::env::current_exe().unwrap())
            .args(["lives::a_killed_service", "--nocapture"])
            .env(VICTIM, format!("{way:?}"))
            .env("TMPDIR", home.path())
            .stdout(fs::File::create(&said).unwrap())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut token = String::new();
        let mut place = std::path::PathBuf::new();
        until(|| {
            let text = fs::read_to_string(&said).unwrap();
            let line = text
                .lines()
                .find_map(|l| Some(l[l.find("sandbox-test-")?..].to_owned()));
            let Some((a, b)) = line.as_deref().and_then(|l| l.split_once(' ')) else {
                return false;
            };
            (token, place) = (a.to_owned(), b.into());
            processes(&token).len() >= 2
        });
        assert_eq!(
            sweep(&place).unwrap(),
            Vec::<std::path::PathBuf>::new(),
            "its owner lives"
        );
        service.kill().unwrap();
        service.wait().unwrap();
        until(|| processes(&token).is_empty());
        // What the engine does when the next life begins.
        assert_eq!(fs::read_dir(&place).unwrap().count(), 2);
        let show = TrialTest::new("show", Level::Trigger, SandboxCommand::new(["false"]));
        let plan = TrialPlan {
            tests: vec![show],
            ..TrialPlan::default()
        };
        let copy = CopyConfig::default();
        let trial = Trial::new(house.sandbox.clone(), plan, &place, copy).unwrap();
        assert!(trial.proves().is_empty(), "a trigger alone tests nothing");
        trial.recover().await.unwrap();
        assert_eq!(fs::read_dir(&place).unwrap().count(), 0);
    }
}

/// Waits for a condition of real processes, 20 s at most.
fn until(mut holds: impl FnMut() -> bool) {
    for _ in 0..1000 {
        if holds() {
            return;
        }
        thread::sleep(Duration::from_millis(20));
    }
    panic!("did not come to hold in 20 s");
}

#[tokio::test]
async fn a_crate_is_tested_offline_with_a_toolchain_shown_read_only() {
    let Some(house) = House::with_toolchain() else {
        return;
    };
    let manifest =
        "[package]\nname = \"shop\"\nversion = \"0.1.0\"\nedition = \"2024\"\n[workspace]\n";
    fs::create_dir(house.path("project/src")).unwrap();
    fs::write(house.path("project/Cargo.toml"), manifest).unwrap();
    let code = "#[test]\nfn last() {\n    let v: Vec<u8> = Vec::new();\n    v[v.len() - 1];\n}\n";
    fs::write(house.path("project/src/lib.rs"), code).unwrap();
    let command = SandboxCommand::new(["cargo", "test", "--offline", "--lib"]);
    let copy = house.copy();
    let report = house
        .sandbox
        .run(&context(), &copy, &command)
        .await
        .unwrap();
    assert_eq!(report.ending, Ending::Exited(101), "{report:#?}");
    assert!(
        report.output.contains("attempt to subtract with overflow"),
        "{report:#?}"
    );
    assert!(!house.path("project/target").exists());
}
