//! Against a real nginx.

mod injection;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use homeostasis_core::Target;
use homeostasis_core::testing::engine::{Engine, Scratch, find, free_port};
use serde_json::{Map, Value, json};

use super::*;
use crate::action::laws;
use crate::action::{Action, ActionCall, ActionError};

const START: Duration = Duration::from_secs(60);

pub(super) struct Nginx {
    engine: Engine,
    pub(super) program: PathBuf,
    pub(super) scratch: Scratch,
    pub(super) front: u16,
    /// Where the servers `one` and `two` are.
    pub(super) servers: [String; 2],
}

impl Nginx {
    /// With the upstream `app` of the server `one`; none if it is not installed.
    fn start() -> Option<Self> {
        let servers = [free_port(), free_port()].map(|port| format!("127.0.0.1:{port}"));
        let [one, two] = &servers;
        let more = format!(
            "server {{ listen {one}; return 200 one; }}\nserver {{ listen {two}; return 200 two; }}"
        );
        Self::start_before(servers, &more)
    }

    /// With the upstream `app` of the first of these, and more in its configuration.
    #[expect(clippy::disallowed_methods, reason = "a test runs a real server")]
    pub(super) fn start_before(servers: [String; 2], more: &str) -> Option<Self> {
        let program = find("nginx", &["/usr/sbin", "/usr/local/sbin"])?;
        let scratch = Scratch::new();
        let folder = scratch.path();
        let front = free_port();
        let temp: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {};\n", folder.join(kind).display()))
            .concat();
        let config = format!(
            "daemon off;\npid {0}/pid;\nerror_log {0}/error.log;\nworker_processes 2;\nevents {{}}\n\
            http {{\naccess_log off;\n{temp}include {0}/up/*;\n\
            server {{ listen 127.0.0.1:{front}; location / {{ proxy_pass http://app; }} }}\n{more}\n}}\n",
            folder.display()
        );
        fs::write(folder.join("nginx.conf"), config).unwrap();
        fs::create_dir(folder.join("up")).unwrap();
        fs::write(
            folder.join("up/app.upstream"),
            format!("upstream app {{ server {}; }}\n", servers[0]),
        )
        .unwrap();
        let mut command = Command::new(&program);
        command
            .arg("-p")
            .arg(folder)
            .arg("-c")
            .arg(folder.join("nginx.conf"));
        let mut engine = Engine::start(command);
        engine.wait_for_port(front, START);
        let pid = folder.join("pid");
        let n_workers = || workers::Workers::of(&pid).map_or(0, |workers| workers.n_serving());
        engine.wait_until("two workers", START, || n_workers() == 2);
        Some(Self {
            engine,
            program,
            scratch,
            front,
            servers,
        })
    }

    pub(super) fn file(&self) -> PathBuf {
        self.scratch.path().join("up/app.upstream")
    }

    /// Who answers at the front.
    fn answer(&self) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.front)).unwrap();
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.rsplit("\r\n\r\n").next().unwrap().to_owned()
    }

    pub(super) fn workers(&self) -> workers::Workers {
        workers::Workers::of(&self.scratch.path().join("pid")).unwrap()
    }

    pub(super) fn config(&self) -> NginxConfig {
        let mut config = NginxConfig::new(Target::service("edge").unwrap());
        config.program.clone_from(&self.program);
        config.config = self.scratch.path().join("nginx.conf");
        config.prefix = Some(self.scratch.path().to_owned());
        config.pid_file = self.scratch.path().join("pid");
        config.with_upstream("app", self.file())
    }

    fn action(&self) -> NginxReload {
        NginxReload::default().nginx("edge", self.config()).unwrap()
    }

    fn args(&self, weights: [u32; 2]) -> Value {
        json!({"nginx": "edge", "servers": {&self.servers[0]: weights[0], &self.servers[1]: weights[1]}})
    }
}

fn filled(args: &Value) -> Map<String, Value> {
    args.as_object().unwrap().clone()
}

/// Captures and does it once.
async fn once(action: &dyn Action, args: &Value) -> Result<Value, ActionError> {
    let (args, target, key) = (filled(args), Target::service("edge").unwrap(), laws::key(1));
    let call = ActionCall::new(&target, &args, &key);
    let captured = action.capture(&laws::context(), &call).await?;
    action
        .perform(&laws::context(), &call.with_captured(&captured))
        .await
}

pub(super) fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.collect()
}

#[tokio::test]
async fn an_upstream_is_replaced_put_back_and_new_workers_serve_it() {
    let Some(nginx) = Nginx::start() else { return };
    let action = nginx.action();
    assert_eq!(nginx.answer(), "one");
    let observe = || (nginx.answer(), fs::read_to_string(nginx.file()).unwrap());
    laws::repeat_and_undo(&action, &nginx.args([0, 3]), observe).await;
    assert_eq!(nginx.answer(), "one");
    let before = nginx.workers();
    let output = once(&action, &nginx.args([0, 3])).await.unwrap();
    // The second may be on its way.
    assert!(output["workers"].as_u64() >= Some(1), "{output}");
    assert_eq!(nginx.answer(), "two");
    assert!(nginx.workers().took_over_from(&before) && !before.took_over_from(&before));
    // Without servers it is only reloaded.
    let (file, before) = (fs::read_to_string(nginx.file()).unwrap(), nginx.workers());
    let plain = json!({"nginx": "edge"});
    laws::repeat_and_undo(&action, &plain, || {
        fs::read_to_string(nginx.file()).unwrap()
    })
    .await;
    assert!(nginx.workers().took_over_from(&before));
    assert_eq!(fs::read_to_string(nginx.file()).unwrap(), file);
    assert_eq!(names(&nginx.scratch.path().join("up")), ["app.upstream"]);
}

#[tokio::test]
async fn what_is_tried_is_not_included_and_goes_with_the_call() {
    let Some(mut nginx) = Nginx::start() else {
        return;
    };
    let args = nginx.args([0, 3]);
    // What a process that was killed left behind does no harm.
    let folder = nginx.scratch.path().join("up");
    let tried = folder.join(".app.upstream.try");
    for left in [&tried, &folder.join(".app.upstream.1.new")] {
        fs::write(left, "pid /dev/null;").unwrap();
    }
    once(&nginx.action(), &args).await.unwrap();
    assert_eq!(nginx.answer(), "two");
    assert!(!tried.exists());
    // It takes long, and the call is dropped.
    let slow = nginx.scratch.path().join("slow");
    fs::write(&slow, "#!/bin/sh\nexec sleep 600\n").unwrap();
    fs::set_permissions(&slow, fs::Permissions::from_mode(0o755)).unwrap();
    nginx.program = slow;
    let action = nginx.action();
    let is_there = async {
        while !tried.exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        ended = once(&action, &args) => panic!("{ended:?}"),
        () = is_there => {}
    }
    assert!(!tried.exists());
}

#[tokio::test]
async fn what_nginx_refuses_leaves_the_file_and_the_workers_alone() {
    let Some(nginx) = Nginx::start() else { return };
    let action = nginx.action();
    let before = (fs::read_to_string(nginx.file()).unwrap(), nginx.workers());
    let now = || (fs::read_to_string(nginx.file()).unwrap(), nginx.workers());
    // Nobody is called so: only nginx finds out.
    let nobody = json!({"nginx": "edge", "servers": {"no-such-host.invalid:80": 1}});
    let error = once(&action, &nobody).await.unwrap_err();
    assert!(matches!(error, ActionError::Invalid { .. }), "{error:?}");
    assert!(
        error.to_string().contains("no-such-host.invalid"),
        "{error}"
    );
    assert_eq!(now(), before);
    // Good by itself, and not with the rest of the configuration.
    let config = nginx.scratch.path().join("nginx.conf");
    let good = fs::read_to_string(&config).unwrap();
    fs::write(&config, good.replace("events {}", "events {} what;")).unwrap();
    let error = once(&action, &nginx.args([0, 3])).await.unwrap_err();
    assert!(error.to_string().contains("what"), "{error}");
    assert_eq!(now(), before);
    assert_eq!(names(&nginx.scratch.path().join("up")), ["app.upstream"]);
    fs::write(&config, good).unwrap();
    // What stands in a configuration is a host and a port, and nothing more.
    for evil in [
        "a:80; } server { listen 81",
        "a:80\n",
        "127.0.0.1:1 backup",
        "unix:/x",
        "$x:80",
        "a:80#",
    ] {
        let args = json!({"nginx": "edge", "servers": {evil: 1}});
        assert_eq!(action.check(&filled(&args)).len(), 1, "{evil:?}");
        assert!(
            matches!(once(&action, &args).await, Err(ActionError::Invalid { .. })),
            "{evil:?}"
        );
    }
    let none = action.check(&filled(&nginx.args([0, 0])));
    assert!(none[0].expected.contains("weight above 0"), "{none:?}");
    assert_eq!(now(), before);
    // A link is not followed.
    fs::rename(nginx.file(), nginx.scratch.path().join("elsewhere")).unwrap();
    std::os::unix::fs::symlink("elsewhere", nginx.file()).unwrap();
    let error = once(&action, &nginx.args([0, 3])).await.unwrap_err();
    assert!(
        !error.may_have_begun() && error.report().to_string().contains("no regular file"),
        "{error:?}"
    );
    assert_eq!(nginx.answer(), "one");
}

#[tokio::test]
async fn a_master_that_does_not_run_is_told() {
    let Some(mut nginx) = Nginx::start() else {
        return;
    };
    nginx.engine.kill();
    let error = once(&nginx.action(), &nginx.args([0, 3]))
        .await
        .unwrap_err();
    assert!(!error.may_have_begun(), "{error:?}");
    assert!(
        error.report().to_string().contains("no master that runs"),
        "{}",
        error.report()
    );
    assert!(
        fs::read_to_string(nginx.file())
            .unwrap()
            .starts_with("upstream app {")
    );
}

#[test]
fn wrong_paths_are_all_told() {
    let mut config = NginxConfig::new(Target::service("edge").unwrap());
    config.program = "nginx".into();
    config.pid_file = "nginx.pid".into();
    let config = config.with_upstream("a b", "conf.d/a");
    let error = NginxReload::default().nginx("edge", config).unwrap_err();
    assert_eq!(error.violations().len(), 4, "{error}");
}
