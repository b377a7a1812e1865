//! Against a real `HAProxy` under load.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use homeostasis_core::port::{Mirror, TrafficRouter, Weights};
use homeostasis_core::testing::engine::{Engine, Scratch, find, free_port};
use homeostasis_core::{ErrorKind, Ratio, Target};

use super::*;
use crate::action::laws;
use crate::traffic::testing::{serve, shift_under_load};

const START: Duration = Duration::from_secs(60);

struct Proxy {
    _engine: Engine,
    socket: PathBuf,
    front: u16,
    scratch: Scratch,
}

impl Proxy {
    /// With two stable servers and a canary, and a backup server; none if it is not installed.
    #[expect(clippy::disallowed_methods, reason = "a test runs a real proxy")]
    async fn start(balance: &str) -> Option<Self> {
        let program = find("haproxy", &["/usr/sbin", "/usr/local/sbin"])?;
        let (scratch, front) = (Scratch::new(), free_port());
        let (socket, config) = (scratch.path().join("admin"), scratch.path().join("cfg"));
        let [one, two, three] = [
            serve("stable-1").await,
            serve("stable-2").await,
            serve("canary-1").await,
        ];
        let text = format!(
            "global\n stats socket {} mode 600 level admin\n\
            defaults\n mode http\n timeout connect 60s\n timeout client 60s\n timeout server 60s\n\
            timeout http-keep-alive 60s\n\
            frontend front\n bind 127.0.0.1:{front}\n default_backend app\n\
            backend app\n balance {balance}\n server stable-1 127.0.0.1:{one}\n\
            server stable-2 127.0.0.1:{two}\n server canary-1 127.0.0.1:{three} weight 0\n\
            server sorry 127.0.0.1:1 backup\n",
            socket.display()
        );
        std::fs::write(&config, text).unwrap();
        let mut command = Command::new(program);
        command.args(["-db", "-f"]).arg(&config);
        let mut engine = Engine::start(command);
        engine.wait_until("socket", START, || UnixStream::connect(&socket).is_ok());
        Some(Self {
            _engine: engine,
            socket,
            front,
            scratch,
        })
    }

    fn say(&self, command: &str) -> String {
        converse(&self.socket, &format!("{command}\n"))
    }

    fn slots(socket: &Path) -> HaproxySlots {
        let target = Target::service("edge").unwrap();
        let mut config = HaproxyConfig::new(target, socket.display().to_string());
        config.timeout = START;
        HaproxySlots::new(config, "app")
            .slot("stable", ["stable-1", "stable-2"])
            .slot("canary", ["canary-1"])
    }

    fn router(&self) -> HaproxyRouter {
        Self::router_of(Self::slots(&self.socket))
    }

    fn router_of(slots: HaproxySlots) -> HaproxyRouter {
        let clock = Arc::clone(laws::context().clock());
        HaproxyRouter::new(clock).service("orders", slots).unwrap()
    }
}

fn converse(socket: &Path, command: &str) -> String {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.write_all(command.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn weights(stable: u32, canary: u32) -> Weights {
    Weights::new([("stable", stable), ("canary", canary)]).unwrap()
}

async fn told(router: &HaproxyRouter) -> Weights {
    router.weights("orders").await.unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shares_are_those_asked_for_and_no_request_fails_up_and_down() {
    let Some(proxy) = Proxy::start("roundrobin").await else {
        return;
    };
    let outcome = shift_under_load(&proxy.router(), proxy.front, 2000).await;
    assert_eq!(outcome.failed, [""; 0]);
    assert_eq!(outcome.closed, 0, "no connection was closed");
    assert!(outcome.answered >= 18_000, "{}", outcome.answered);
}

/// Passes on so many conversations, and lets the next one wait for ever.
fn relay(to: PathBuf, at: &Path, n_passed: usize) -> tokio::sync::oneshot::Receiver<()> {
    let listener = UnixListener::bind(at).unwrap();
    let (waits, waiting) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        for _ in 0..n_passed {
            let (mut stream, _) = listener.accept().unwrap();
            let mut command = Vec::new();
            while !command.ends_with(b"\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                command.extend(byte);
            }
            let answer = converse(&to, std::str::from_utf8(&command).unwrap());
            stream.write_all(answer.as_bytes()).unwrap();
        }
        let (mut held, _) = listener.accept().unwrap();
        let _ = waits.send(());
        // Until the router is gone.
        held.read_to_end(&mut Vec::new()).unwrap();
    });
    waiting
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_router_killed_between_two_commands_leaves_what_is_told_and_mended() {
    let Some(proxy) = Proxy::start("roundrobin").await else {
        return;
    };
    let direct = proxy.router();
    let (before, after) = (weights(100, 0), weights(10, 90));
    // Look, look who is a backup server, raise, look, lower, look.
    let both = weights(2, 1);
    let left = [&before, &before, &before, &both, &both, &after];
    for (n_passed, left) in left.into_iter().enumerate() {
        for mend in [&after, &before] {
            direct.set_weights("orders", &before).await.unwrap();
            let at = proxy.scratch.path().join("relay");
            let waiting = relay(proxy.socket.clone(), &at, n_passed);
            let router = Proxy::router_of(Proxy::slots(&at));
            tokio::select! {
                ended = router.set_weights("orders", &after) => panic!("{ended:?}"),
                waits = waiting => waits.unwrap(),
            }
            std::fs::remove_file(&at).unwrap();
            let now = told(&direct).await;
            assert!(
                now.distance(left).get() <= 0.01,
                "after {n_passed}: {now:?}"
            );
            direct.set_weights("orders", mend).await.unwrap();
            assert!(told(&direct).await.distance(mend).get() <= 0.01);
        }
    }
}

#[tokio::test]
async fn nothing_is_lowered_for_a_slot_that_takes_no_requests() {
    let Some(proxy) = Proxy::start("roundrobin").await else {
        return;
    };
    let router = proxy.router();
    router.set_weights("orders", &weights(1, 0)).await.unwrap();
    proxy.say("set server app/canary-1 state maint");
    let error = router
        .set_weights("orders", &weights(0, 1))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Transient);
    let report = error.report().to_string();
    assert!(report.contains("slot canary of backend app"), "{report}");
    assert!(
        report.contains("none of [\"canary-1\"] takes requests"),
        "{report}"
    );
    assert_eq!(told(&router).await, weights(512, 0));
    // Back again it is not told before it is true.
    proxy.say("set server app/canary-1 state ready");
    router.set_weights("orders", &weights(0, 1)).await.unwrap();
    assert_eq!(told(&router).await, weights(0, 256));
    // What is set is told, whoever is down: it may be captured to be restored.
    router.set_weights("orders", &weights(1, 1)).await.unwrap();
    for server in ["stable-2", "stable-1", "canary-1"] {
        proxy.say(&format!("set server app/{server} state maint"));
        assert_eq!(told(&router).await, weights(256, 256), "{server}");
    }
}

#[tokio::test]
async fn a_slot_that_died_is_lowered_and_what_is_in_force_repeated() {
    let Some(proxy) = Proxy::start("roundrobin").await else {
        return;
    };
    let router = proxy.router();
    router.set_weights("orders", &weights(1, 1)).await.unwrap();
    proxy.say("set server app/canary-1 state maint");
    router.set_weights("orders", &weights(1, 1)).await.unwrap();
    let back = weights(90, 10);
    router.set_weights("orders", &back).await.unwrap();
    assert!(told(&router).await.distance(&back).get() <= 0.01);
    let error = router.set_weights("orders", &weights(1, 1)).await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Transient);
}

#[tokio::test]
async fn a_server_that_would_get_no_weight_serves_no_slot() {
    let Some(proxy) = Proxy::start("roundrobin").await else {
        return;
    };
    let router = proxy.router();
    router.set_weights("orders", &weights(0, 1)).await.unwrap();
    proxy.say("set server app/stable-1 state maint");
    // Rounded, it is 1 for `stable-1` and nothing for `stable-2`, which is up.
    let error = router.set_weights("orders", &weights(1, 256)).await;
    let report = error.unwrap_err().report().to_string();
    assert!(report.contains("none of [\"stable-1\"]"), "{report}");
}

#[tokio::test]
async fn what_cannot_be_shared_as_asked_is_refused_before_anything_is_said() {
    let Some(proxy) = Proxy::start("roundrobin").await else {
        return;
    };
    let router = proxy.router();
    let before = proxy.say("show servers state app");
    let refused = async |router: &HaproxyRouter, service: &str, weights: &Weights| {
        let error = router.set_weights(service, weights).await.unwrap_err();
        assert_eq!(proxy.say("show servers state app"), before);
        error.report().to_string()
    };
    let green = Weights::new([("green", 1)]).unwrap();
    let error = refused(&router, "orders", &green).await;
    assert!(
        error.contains(r#""green", expected one of ["canary", "stable"]"#),
        "{error}"
    );
    let error = refused(&router, "order", &weights(1, 1)).await;
    assert!(
        error.contains(r#""order", expected one of ["orders"]"#),
        "{error}"
    );
    let mut slots = Proxy::slots(&proxy.socket);
    slots = slots.slot("canary", ["canary-9"]);
    let error = refused(&Proxy::router_of(slots), "orders", &weights(1, 1)).await;
    assert!(
        error.contains(r#"server "canary-9", expected one of"#),
        "{error}"
    );
    // A backup server may be a stranger, another not.
    let slots = Proxy::slots(&proxy.socket).slot("stable", ["stable-1"]);
    let router_of_less = Proxy::router_of(slots);
    let error = refused(&router_of_less, "orders", &weights(1, 1)).await;
    assert!(
        error.contains(r#"server "stable-2" takes requests"#),
        "{error}"
    );
    let unread = router_of_less.weights("orders").await.unwrap_err();
    let unread = unread.report().to_string();
    assert!(unread.contains(r#"server "stable-2" takes"#), "{unread}");
    let mut slots = Proxy::slots(&proxy.socket);
    slots.backend = "none".to_owned();
    let error = refused(&Proxy::router_of(slots), "orders", &weights(1, 1)).await;
    assert!(error.contains("Can't find backend"), "{error}");
    let mirror = Mirror {
        slot: "canary".to_owned(),
        share: Ratio::ONE,
    };
    let error = router
        .set_mirror("orders", Some(&mirror))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("copies no requests"), "{error}");
    assert_eq!(router.weights("order").await.unwrap(), None);
}

#[tokio::test]
async fn a_balance_that_keeps_its_weights_is_told_in_its_own_words() {
    let Some(proxy) = Proxy::start("static-rr").await else {
        return;
    };
    let error = proxy
        .router()
        .set_weights("orders", &weights(1, 1))
        .await
        .unwrap_err();
    let report = error.report().to_string();
    assert!(report.contains("static LB algorithm"), "{report}");
    // Nothing that serves was lowered.
    assert_eq!(told(&proxy.router()).await, weights(2, 0));
}

#[tokio::test]
async fn a_drained_slot_is_told_empty_when_its_last_answer_is_out() {
    let Some(proxy) = Proxy::start("roundrobin").await else {
        return;
    };
    let router = proxy.router();
    router.set_weights("orders", &weights(0, 1)).await.unwrap();
    assert_eq!(router.in_flight("orders", "canary").await.unwrap(), Some(0));
    // A request whose body is not complete.
    let mut slow = std::net::TcpStream::connect(("127.0.0.1", proxy.front)).unwrap();
    slow.write_all(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\n1")
        .unwrap();
    while router.in_flight("orders", "canary").await.unwrap() == Some(0) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    router.set_weights("orders", &weights(1, 0)).await.unwrap();
    assert_eq!(router.in_flight("orders", "canary").await.unwrap(), Some(1));
    assert_eq!(router.in_flight("orders", "stable").await.unwrap(), Some(0));
    drop(slow);
    while router.in_flight("orders", "canary").await.unwrap() == Some(1) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(router.in_flight("orders", "green").await.unwrap(), None);
}

#[test]
fn everything_wrong_with_a_service_is_told() {
    let target = Target::service("edge").unwrap();
    let slots = HaproxySlots::new(HaproxyConfig::new(target, "relative"), "a b")
        .slot("stable", ["a;b", "c", "c"])
        .slot("canary", [""; 0]);
    let clock = Arc::clone(laws::context().clock());
    let error = HaproxyRouter::new(clock)
        .service("orders", slots)
        .unwrap_err();
    let places: Vec<_> = error
        .violations()
        .iter()
        .map(|one| one.path.as_str())
        .collect();
    let expected = [
        "haproxy.socket",
        "backend",
        "slots.canary",
        "slots.stable[0]",
        "slots.stable[2]",
    ];
    assert_eq!(
        places,
        expected.map(|place| format!("services.orders.{place}"))
    );
}
