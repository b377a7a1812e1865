//! A hot swap of real processes under load: the new worker starts, is warmed up and checked, takes
//! over, and the old one is drained and stopped, with no request lost; a bad one is stopped again and
//! the old one never was.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use homeostasis::core::policy::Policy;
use homeostasis::core::port::{ArmMeter, MemoryArms, MemoryRouter, TrafficRouter, Weights};
use homeostasis::core::record::EffectClass;
use homeostasis::core::testing::engine::free_port;
use homeostasis::core::{Clock, IncidentId, Mode, Rng, ServiceFacts, Target};
use homeostasis::remediate::action::{
    ActionError, ActionSpec, AwaitCanary, AwaitDrained, CallFunction, ProcessSpec,
    ProcessSupervisor, ShiftTraffic, StartProcess, StopProcess,
};
use homeostasis::remediate::rollout::{Rollout, RolloutStage, RolloutStep, RolloutStrategy};
use homeostasis::{Homeostasis, SystemClock};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::shop::PlainAnalyst;

/// Tells a copy of this test that it is a worker: `PORT ANSWER`.
const WORKER: &str = "ROLLOUT_TEST_WORKER";

/// The worker: this test program, started again with a variable that says so.
#[tokio::test]
async fn worker() {
    let Ok(orders) = std::env::var(WORKER) else {
        return;
    };
    let (port, status) = orders.split_once(' ').unwrap();
    let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
    let address = SocketAddr::from(([127, 0, 0, 1], port.parse().unwrap()));
    let listener = TcpListener::bind(address).await.unwrap();
    // It does not outlive the tests, however they end.
    let parent = std::os::unix::process::parent_id();
    let mut look = tokio::time::interval(Duration::from_secs(1));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = look.tick() => {
                if std::os::unix::process::parent_id() != parent {
                    return;
                }
                continue;
            }
        };
        let (mut peer, _) = accepted.unwrap();
        let answer = answer.clone();
        tokio::spawn(async move {
            let mut head = [0; 512];
            let n = peer.read(&mut head).await.unwrap_or(0);
            if n > 0 {
                // A request takes its time: one that is cut off is lost.
                tokio::time::sleep(Duration::from_millis(5)).await;
                let _ = peer.write_all(answer.as_bytes()).await;
            }
        });
    }
}

/// One request; the status it was answered with.
async fn ask(port: u16) -> std::io::Result<u16> {
    let mut peer = TcpStream::connect(("127.0.0.1", port)).await?;
    peer.write_all(b"GET /orders HTTP/1.1\r\nHost: orders\r\n\r\n")
        .await?;
    let mut answer = String::new();
    peer.read_to_string(&mut answer).await?;
    let status = answer
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    status.ok_or_else(|| std::io::Error::other(format!("no status in {answer:?}")))
}

/// The host of both workers: the only way to them is through its router.
#[derive(Debug)]
struct Host {
    ports: BTreeMap<&'static str, u16>,
    router: Arc<MemoryRouter>,
    arms: Arc<MemoryArms>,
    supervisor: ProcessSupervisor,
    is_over: AtomicBool,
    n_good: AtomicU64,
    lost: Mutex<Vec<String>>,
    _folder: tempfile::TempDir,
}

impl Host {
    async fn open(new_answer: &str) -> Arc<Self> {
        let folder = tempfile::tempdir().unwrap();
        let supervisor = ProcessSupervisor::new(Arc::new(SystemClock));
        let mut ports = BTreeMap::new();
        for (slot, answer) in [("blue", "200 OK"), ("green", new_answer)] {
            let port = free_port();
            let program = std::env::current_exe().unwrap();
            let program = program.to_str().unwrap();
            let argv = [program, "--exact", "hot_swap::worker", "--nocapture"];
            let target = Target::instance("orders", slot).unwrap();
            let mut spec =
                ProcessSpec::new(target, argv, folder.path().join(format!("{slot}.pid")));
            spec.env
                .insert(WORKER.to_owned(), format!("{port} {answer}"));
            supervisor.register(slot, spec).unwrap();
            ports.insert(slot, port);
        }
        let router = Arc::new(MemoryRouter::default());
        let all = Weights::new([("blue", 100)]).unwrap();
        router.set_weights("orders", &all).await.unwrap();
        let host = Arc::new(Self {
            ports,
            router,
            arms: Arc::default(),
            supervisor,
            is_over: AtomicBool::new(false),
            n_good: AtomicU64::new(0),
            lost: Mutex::default(),
            _folder: folder,
        });
        host.supervisor.start("blue").await.unwrap();
        host.answers("blue").await;
        host
    }

    /// Waits until the worker answers.
    async fn answers(&self, slot: &str) {
        let give_up = now() + Duration::from_secs(20);
        while ask(self.ports[slot]).await.is_err() {
            assert!(now() < give_up, "{slot} does not answer");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Asks through the router again and again, until it is over.
    async fn load(self: Arc<Self>, seed: u64) {
        let mut rng = Rng::from_seed(seed);
        let clock = SystemClock;
        while !self.is_over.load(Ordering::SeqCst) {
            let slot = self.router.pick("orders", &mut rng).unwrap();
            let begun = now();
            let answered = ask(self.ports[slot.as_str()]).await;
            let is_good = matches!(answered, Ok(200));
            self.arms
                .record(&clock, ("orders", &slot), begun.elapsed(), !is_good);
            if is_good {
                self.n_good.fetch_add(1, Ordering::SeqCst);
            } else {
                self.lost
                    .lock()
                    .unwrap()
                    .push(format!("{slot}: {answered:?}"));
            }
        }
    }

    /// A healer that swaps `blue` for `green`.
    async fn swap(self: &Arc<Self>) -> (Homeostasis, IncidentId) {
        let mut policy = Policy::default();
        for name in [
            "start_process",
            "warm_up",
            "shift_traffic",
            "await_canary",
            "await_drained",
            "stop_process",
        ] {
            policy.pre_approved.insert(name.to_owned());
        }
        let ports = self.ports.clone();
        let warm_up = CallFunction::new(
            "warm_up",
            ActionSpec::new("ask a worker until it answers").with_effect(EffectClass::Read),
            move |_| {
                let port = ports["green"];
                Box::pin(async move {
                    let asked = ask(port).await;
                    let status = asked.map_err(|error| ActionError::transient("warming", error))?;
                    Ok::<Value, ActionError>(json!({ "status": status }))
                })
            },
        );
        let meter = Arc::clone(&self.arms) as Arc<dyn ArmMeter>;
        let healer = Homeostasis::empty()
            .policy(policy)
            .mode(Mode::Auto)
            .service("orders", ServiceFacts::default())
            .action(StartProcess::new(self.supervisor.clone()))
            .action(StopProcess::new(self.supervisor.clone()))
            .action(ShiftTraffic::new(Arc::clone(&self.router) as Arc<_>))
            .action(AwaitCanary::new(Arc::clone(&meter), Arc::new(PlainAnalyst)))
            .action(AwaitDrained::new(meter))
            .action(warm_up)
            .start()
            .await
            .unwrap();
        let mut swap = Rollout::new("orders", "blue", "green");
        let stages = [10, 100].map(|percent| RolloutStage {
            at_least: Duration::from_secs(2),
            ..RolloutStage::of(percent)
        });
        swap.strategy = RolloutStrategy::Stages(stages.to_vec());
        swap.interval = Duration::from_secs(1);
        swap.decide_within = Duration::from_secs(60);
        swap.before = vec![
            RolloutStep::new("start_process", json!({"process": "green"})),
            RolloutStep {
                attempts: 30,
                ..RolloutStep::new("warm_up", json!({}))
            },
        ];
        let drained = json!({"service": "orders", "slot": "blue", "quiet": "2s"});
        swap.after = vec![
            RolloutStep::new("await_drained", drained),
            RolloutStep::new("stop_process", json!({"process": "blue"})),
        ];
        let id = healer.roll_out(&swap, "ada").await.unwrap();
        (healer, id)
    }

    fn lives(&self, slot: &str) -> bool {
        self.supervisor.running(slot).unwrap().is_some()
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "real processes live in real time"
)]
fn now() -> Instant {
    Instant::now()
}

/// Swaps under the load of four clients; which slots live at the end.
async fn swapped(new_answer: &str) -> (Arc<Host>, bool, [bool; 2]) {
    let host = Host::open(new_answer).await;
    let clients: Vec<_> = (0..4)
        .map(|seed| tokio::spawn(Arc::clone(&host).load(seed)))
        .collect();
    let (healer, id) = host.swap().await;
    let give_up = now() + Duration::from_secs(120);
    let incident = loop {
        let incident = healer.incident(id).await.unwrap();
        if incident.is_closed() || incident.escalated {
            break incident;
        }
        assert!(now() < give_up, "{:?}: {:?}", incident.phase, incident.runs);
        SystemClock.sleep(Duration::from_millis(100)).await;
    };
    // A while longer: what was stopped is not missed.
    SystemClock.sleep(Duration::from_millis(500)).await;
    host.is_over.store(true, Ordering::SeqCst);
    for client in clients {
        client.await.unwrap();
    }
    healer.shutdown().await;
    let lives = ["blue", "green"].map(|slot| host.lives(slot));
    for slot in ["blue", "green"] {
        host.supervisor.stop(slot).await.unwrap();
    }
    (host, incident.is_closed(), lives)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_is_swapped_under_load_without_a_lost_request() {
    let (host, is_closed, lives) = swapped("200 OK").await;
    assert!(is_closed);
    assert_eq!(lives, [false, true]);
    assert_eq!(*host.lost.lock().unwrap(), Vec::<String>::new());
    let n = host.n_good.load(Ordering::SeqCst);
    assert!(n > 500, "{n} requests");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_worker_is_stopped_again_and_the_old_one_never_was() {
    let (host, is_closed, lives) = swapped("500 Oh").await;
    assert!(!is_closed);
    assert_eq!(lives, [true, false]);
    let all = Weights::new([("blue", 100)]).unwrap();
    assert_eq!(host.router.weights("orders").await.unwrap(), Some(all));
    // Only what the new one answered was bad; nothing was cut off.
    let lost = host.lost.lock().unwrap();
    assert!(!lost.is_empty());
    assert!(lost.iter().all(|it| it == "green: Ok(500)"), "{lost:?}");
}
