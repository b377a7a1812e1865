//! Against a real `HAProxy`.

mod injection;

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use homeostasis_core::testing::engine::{Engine, Scratch, find, free_port};
use homeostasis_core::{ErrorKind, Target};
use serde_json::{Map, Value, json};

use super::*;
use crate::action::laws;
use crate::action::{Action, ActionCall, ActionError};

const START: Duration = Duration::from_secs(60);

struct Proxy {
    engine: Option<Engine>,
    socket: PathBuf,
    port: u16,
    _scratch: Scratch,
}

impl Proxy {
    /// With the backend `app` of `a` and `b`, and the backend `one` of `only`; none if it is not installed.
    #[expect(clippy::disallowed_methods, reason = "a test runs a real proxy")]
    fn start() -> Option<Self> {
        let program = find("haproxy", &["/usr/sbin", "/usr/local/sbin"])?;
        let (scratch, port) = (Scratch::new(), free_port());
        let (socket, config) = (scratch.path().join("admin"), scratch.path().join("cfg"));
        let text = format!(
            "global\n stats socket {} mode 600 level admin\n stats socket 127.0.0.1:{port} level admin\n\
            defaults\n mode tcp\n timeout connect 1s\n timeout client 9s\n timeout server 9s\n\
            backend app\n server a 127.0.0.1:1 weight 10\n server b 127.0.0.1:2 weight 20\n\
            backend one\n server only 127.0.0.1:3\n",
            socket.display()
        );
        std::fs::write(&config, text).unwrap();
        let mut command = Command::new(program);
        command.args(["-db", "-f"]).arg(&config);
        let mut engine = Engine::start(command);
        engine.wait_until("socket", START, || UnixStream::connect(&socket).is_ok());
        Some(Self {
            engine: Some(engine),
            socket,
            port,
            _scratch: scratch,
        })
    }

    fn say(&self, command: &str) -> String {
        let mut stream = UnixStream::connect(&self.socket).unwrap();
        stream.write_all(format!("{command}\n").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// Weight and status of the server as the statistics have them.
    fn status(&self, backend: &str, server: &str) -> (String, String) {
        let csv = self.say(&format!("show stat {backend} 4 -1"));
        let line = csv
            .lines()
            .find(|line| line.starts_with(&format!("{backend},{server},")));
        let cells: Vec<_> = line.unwrap().split(',').collect();
        (cells[18].to_owned(), cells[17].to_owned())
    }

    fn instances(&self, over_tcp: bool) -> HaproxyInstances {
        let socket = if over_tcp {
            format!("127.0.0.1:{}", self.port)
        } else {
            self.socket.display().to_string()
        };
        let mut config = HaproxyConfig::new(Target::service("edge").unwrap(), socket);
        config.timeout = START;
        HaproxyInstances::default()
            .instance("edge", config)
            .unwrap()
    }
}

fn filled(action: &dyn Action, args: &Value) -> Map<String, Value> {
    let mut args = args.as_object().unwrap().clone();
    action.spec().fill_defaults(&mut args);
    args
}

/// Captures and does it once.
async fn once(action: &dyn Action, args: &Value) -> Result<Value, ActionError> {
    let (args, target) = (filled(action, args), Target::service("edge").unwrap());
    let key = laws::key(1);
    let call = ActionCall::new(&target, &args, &key);
    let captured = action.capture(&laws::context(), &call).await?;
    action
        .perform(&laws::context(), &call.with_captured(&captured))
        .await
}

#[tokio::test]
async fn state_and_weight_obey_the_laws_over_both_sockets() {
    let Some(proxy) = Proxy::start() else { return };
    for over_tcp in [false, true] {
        let state = HaproxyServer::set_state(proxy.instances(over_tcp));
        for (before, wanted, status) in [
            ("ready", "maint", "MAINT"),
            ("ready", "drain", "DRAIN"),
            ("maint", "ready", "no check"),
            ("drain", "maint", "MAINT"),
            ("maint", "drain", "DRAIN"),
        ] {
            proxy.say(&format!("set server app/a state {before}"));
            let args = json!({"haproxy": "edge", "backend": "app", "server": "a", "state": wanted});
            laws::repeat_and_undo(&state, &args, || proxy.status("app", "a")).await;
            let output = once(&state, &args).await.unwrap();
            assert_eq!(
                output,
                json!({"state": wanted, "weight": 10, "sessions": 0})
            );
            assert_eq!(proxy.status("app", "a").1, status, "{before} {wanted}");
            proxy.say("set server app/a state ready");
        }
        let weight = HaproxyServer::set_weight(proxy.instances(over_tcp));
        for wanted in [0, 7, 256] {
            let args =
                json!({"haproxy": "edge", "backend": "app", "server": "a", "weight": wanted});
            laws::repeat_and_undo(&weight, &args, || proxy.status("app", "a")).await;
            assert_eq!(proxy.status("app", "a").0, "10");
        }
    }
}

#[tokio::test]
async fn the_last_server_is_not_taken_away_unless_told() {
    let Some(proxy) = Proxy::start() else { return };
    let state = HaproxyServer::set_state(proxy.instances(false));
    let weight = HaproxyServer::set_weight(proxy.instances(false));
    let only = json!({"haproxy": "edge", "backend": "one", "server": "only", "state": "drain"});
    let none = json!({"haproxy": "edge", "backend": "one", "server": "only", "weight": 0});
    for (action, args) in [(&state, &only), (&weight, &none)] {
        let error = once(action, args).await.unwrap_err();
        assert!(
            error
                .to_string()
                .contains("0 others take requests, expected at least 1"),
            "{error}"
        );
    }
    assert_eq!(
        proxy.status("one", "only"),
        ("1".to_owned(), "no check".to_owned())
    );
    proxy.say("set server app/b state drain");
    let a = json!({"haproxy": "edge", "backend": "app", "server": "a", "state": "maint"});
    assert!(once(&state, &a).await.is_err());
    proxy.say("set server app/b state ready");
    // It was possible when it was captured, and is not any more.
    let (args, target) = (filled(&state, &a), Target::service("edge").unwrap());
    let key = laws::key(1);
    let call = ActionCall::new(&target, &args, &key);
    let captured = state.capture(&laws::context(), &call).await.unwrap();
    proxy.say("set server app/b weight 0");
    let late = state
        .perform(&laws::context(), &call.with_captured(&captured))
        .await;
    assert!(matches!(late, Err(ActionError::Invalid { .. })), "{late:?}");
    assert_eq!(proxy.status("app", "a").1, "no check");
    let mut told = only.clone();
    told["min_left"] = 0.into();
    assert_eq!(once(&state, &told).await.unwrap()["state"], "drain");
    // What gives a server back is never refused.
    let back = json!({"haproxy": "edge", "backend": "one", "server": "only", "state": "ready"});
    assert_eq!(once(&state, &back).await.unwrap()["state"], "ready");
}

#[tokio::test]
async fn undo_does_not_take_the_last_server_away() {
    let Some(proxy) = Proxy::start() else { return };
    let state = HaproxyServer::set_state(proxy.instances(false));
    proxy.say("set server app/a state drain");
    let args = json!({"haproxy": "edge", "backend": "app", "server": "a", "state": "ready"});
    let (args, target) = (filled(&state, &args), Target::service("edge").unwrap());
    let key = laws::key(1);
    let call = ActionCall::new(&target, &args, &key);
    let captured = state.capture(&laws::context(), &call).await.unwrap();
    let call = call.with_captured(&captured);
    state.perform(&laws::context(), &call).await.unwrap();
    proxy.say("set server app/b state maint");
    let error = state.undo(&laws::context(), &call).await.unwrap_err();
    assert!(
        error.to_string().contains("0 others take requests"),
        "{error}"
    );
    assert_eq!(proxy.status("app", "a").1, "no check");
    proxy.say("set server app/b state ready");
    state.undo(&laws::context(), &call).await.unwrap();
    assert_eq!(proxy.status("app", "a").1, "DRAIN");
}

#[tokio::test]
async fn a_server_that_is_stopping_is_not_counted_and_what_cannot_be_read_back_has_begun() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let socket = listener.local_addr().unwrap().to_string();
    // Looks, in capture and in perform, the command, and then nobody.
    let stub = std::thread::spawn(move || {
        for _ in 0..3 {
            let (stream, _) = listener.accept().unwrap();
            let mut command = String::new();
            BufReader::new(&stream).read_line(&mut command).unwrap();
            let answer = if command.starts_with("show servers state app") {
                "1\n# srv_name srv_op_state srv_admin_state srv_uweight\na 2 0 1\nb 3 0 1\nc 0 0 1\nd 2 0 1\n"
            } else {
                "\n"
            };
            (&stream).write_all(answer.as_bytes()).unwrap();
        }
    });
    let config = HaproxyConfig::new(Target::service("edge").unwrap(), socket);
    let instances = HaproxyInstances::default().instance("edge", config);
    let state = HaproxyServer::set_state(instances.unwrap());
    let mut args = json!({"haproxy": "edge", "backend": "app", "server": "a", "state": "drain",
        "min_left": 2});
    let error = {
        let filled = filled(&state, &args);
        let (target, key) = (Target::service("edge").unwrap(), laws::key(1));
        let call = ActionCall::new(&target, &filled, &key);
        state.perform(&laws::context(), &call).await.unwrap_err()
    };
    assert!(
        error.to_string().contains("1 others take requests"),
        "{error}"
    );
    args["min_left"] = 1.into();
    let error = {
        let filled = filled(&state, &args);
        let (target, key) = (Target::service("edge").unwrap(), laws::key(1));
        let call = ActionCall::new(&target, &filled, &key);
        state.perform(&laws::context(), &call).await.unwrap_err()
    };
    stub.join().unwrap();
    assert!(error.may_have_begun(), "{}", error.report());
}

#[tokio::test]
async fn what_is_not_there_is_named_and_nothing_else_is_said() {
    let Some(mut proxy) = Proxy::start() else {
        return;
    };
    let state = HaproxyServer::set_state(proxy.instances(false));
    let args = |backend: &str, server: &str| json!({"haproxy": "edge", "backend": backend, "server": server, "state": "maint"});
    let error = once(&state, &args("none", "a")).await.unwrap_err();
    assert!(error.to_string().contains("Can't find backend"), "{error}");
    let error = once(&state, &args("app", "none")).await.unwrap_err();
    assert!(
        error.to_string().contains("a server of the backend"),
        "{error}"
    );
    for evil in [
        "a;shutdown sessions server app/b",
        "a\nset server app/b state maint",
        "a b",
        "app/b",
    ] {
        let problems = state
            .spec()
            .problems(&filled(&state, &args("app", evil)), false);
        assert_eq!(problems[0].pointer, "/server", "{evil:?}");
        assert!(matches!(
            once(&state, &args("app", evil)).await,
            Err(ActionError::Invalid { .. })
        ));
        assert!(matches!(
            once(&state, &args(evil, "a")).await,
            Err(ActionError::Invalid { .. })
        ));
    }
    assert_eq!(proxy.status("app", "b").1, "no check");
    proxy.engine = None;
    let error = once(&state, &args("app", "a")).await.unwrap_err();
    assert!(
        !error.may_have_begun() && error.kind() == ErrorKind::Transient,
        "{error:?}"
    );
    for socket in ["", "relative", "u:s3cret@host:1"] {
        let config = HaproxyConfig::new(Target::service("edge").unwrap(), socket);
        let error = HaproxyInstances::default()
            .instance("edge", config)
            .unwrap_err();
        assert!(
            error.to_string().starts_with("haproxies.edge.socket"),
            "{error}"
        );
        assert!(!error.to_string().contains("s3cret"), "{error}");
    }
}
