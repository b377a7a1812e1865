use std::net::SocketAddr;
use std::time::Duration;

use homeostasis_core::signal::{HealthReport, HealthState};
use homeostasis_core::{ManualClock, Timestamp};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use HealthState::{Critical, Degraded, Healthy, Unhealthy};

/// A server of axum on a real socket that shows a board.
struct Endpoint {
    board: HealthBoard,
    clock: ManualClock,
    address: SocketAddr,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Endpoint {
    async fn start(configure: impl FnOnce(HealthService) -> axum::Router) -> Self {
        let board = HealthBoard::default();
        let clock = ManualClock::new(Timestamp::from_secs(1000));
        let service = HealthService::new(board.clone(), Arc::new(clock.clone()));
        let router = configure(service);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        #[expect(
            clippy::disallowed_methods,
            reason = "the server of a test is not the engine's"
        )]
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self {
            board,
            clock,
            address,
            task,
        }
    }

    fn report(&self, target: &str, check: &str, state: HealthState) {
        let target = target.parse().unwrap();
        let report = HealthReport::new(self.clock.now(), target, check, state)
            .took(Duration::from_micros(1500))
            .saying("password hunter2");
        self.board.record(&report);
    }

    /// The status, the head in small letters and the body.
    async fn ask(&self, method: &str, path: &str) -> (u16, String, String) {
        ask(self.address, method, path).await
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        let (status, head, body) = self.ask("GET", path).await;
        assert!(head.contains("content-type: application/json"), "{head}");
        assert!(head.contains("cache-control: no-store"), "{head}");
        (status, serde_json::from_str(&body).unwrap())
    }
}

async fn ask(address: SocketAddr, method: &str, path: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("{method} {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head.to_lowercase(), body.to_owned())
}

fn at_the_root(service: HealthService) -> axum::Router {
    axum::Router::new().fallback_service(service)
}

#[tokio::test]
async fn every_state_has_its_status() {
    let endpoint = Endpoint::start(at_the_root).await;
    for (report, state, status) in [
        (None, "unknown", 503),
        (Some(Healthy), "healthy", 200),
        (Some(Degraded), "degraded", 200),
        (Some(Unhealthy), "unhealthy", 503),
        (Some(Critical), "critical", 503),
    ] {
        if let Some(report) = report {
            endpoint.report("shop", "http", report);
            endpoint.report("shop", "steady", Healthy);
        }
        for path in ["/health", "/health/ready", "/health/"] {
            let (answered, body) = endpoint.get(path).await;
            assert_eq!(
                (answered, &body["state"]),
                (status, &state.into()),
                "{path}"
            );
        }
        // Whatever is wrong, restarting this process would not help.
        let (answered, body) = endpoint.get("/health/live").await;
        assert_eq!((answered, &body["state"]), (200, &"healthy".into()));
    }
    // What was known is too old now.
    endpoint.clock.advance(Duration::from_secs(60));
    let (status, body) = endpoint.get("/health").await;
    assert_eq!((status, &body["state"]), (503, &"unknown".into()));
    assert_eq!(body["components"][0]["state"], "unknown");
}

#[tokio::test]
async fn components_say_what_they_know_and_no_secret() {
    let endpoint = Endpoint::start(at_the_root).await;
    endpoint.report("shop", "http", Healthy);
    endpoint.clock.advance(Duration::from_secs(10));
    endpoint.report("shop", "http", Healthy);
    let (_, body) = endpoint.get("/health").await;
    let expected = serde_json::json!({
        "state": "healthy",
        "at": "1970-01-01T00:16:50Z",
        "components": [{
            "target": "shop", "check": "http", "tier": "shallow", "state": "healthy",
            "since": "1970-01-01T00:16:40Z", "at": "1970-01-01T00:16:50Z",
            "latency_ms": 1.5, "attempts": 1,
        }],
    });
    assert_eq!(body, expected);
}

#[tokio::test]
async fn head_is_get_without_a_body_and_other_requests_are_refused() {
    let endpoint = Endpoint::start(at_the_root).await;
    endpoint.report("shop", "http", Unhealthy);
    for path in ["/health", "/health/ready", "/health/live"] {
        let (status, _, body) = endpoint.ask("GET", path).await;
        let (of_head, head, empty) = endpoint.ask("HEAD", path).await;
        assert_eq!((of_head, empty.as_str()), (status, ""));
        let length = format!("content-length: {}", body.len());
        assert!(head.contains(&length), "{head}");
        for method in ["POST", "DELETE", "OPTIONS"] {
            let (status, head, _) = endpoint.ask(method, path).await;
            assert_eq!(status, 405, "{method} {path}");
            assert!(head.contains("allow: get, head"), "{head}");
        }
    }
    for path in ["/", "/healthy", "/health/other", "/healthz"] {
        let status = endpoint.ask("GET", path).await.0;
        // Without its prefix the root is the page itself.
        assert_eq!(status, if path == "/" { 503 } else { 404 }, "{path}");
    }
}

#[tokio::test]
async fn below_a_path_of_its_own_and_ready_for_its_own_sake() {
    let endpoint = Endpoint::start(|service| {
        let shop = Target::service("shop").unwrap();
        axum::Router::new().nest_service("/internal/health", service.ready_about([shop]))
    })
    .await;
    endpoint.report("shop/0", "http", Degraded);
    endpoint.report("neighbor", "http", Critical);
    assert_eq!(endpoint.get("/internal/health").await.0, 503);
    let (status, body) = endpoint.get("/internal/health/ready").await;
    assert_eq!((status, body), (200, json!({"state": "degraded"})));
    assert_eq!(endpoint.get("/internal/health/live").await.0, 200);
    assert_eq!(endpoint.ask("GET", "/health").await.0, 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_read_while_reports_come_in_and_every_answer_is_whole() {
    let endpoint = Arc::new(Endpoint::start(at_the_root).await);
    endpoint.report("shop", "c0", Healthy);
    let readers = (0..8).map(|_| {
        let address = endpoint.address;
        async move {
            for _ in 0..25 {
                let (status, _, body) = ask(address, "GET", "/health").await;
                let body: Value = serde_json::from_str(&body).unwrap();
                let components = body["components"].as_array().unwrap();
                let is_ill = |component: &Value| component["state"] == "unhealthy";
                // The sum and its parts are of one moment.
                assert_eq!(components.iter().any(is_ill), status == 503);
                assert_eq!(body["state"] == "unhealthy", status == 503);
            }
        }
    });
    let writer = async {
        for i in 0..500 {
            endpoint.clock.advance(Duration::from_millis(1));
            let state = if i % 2 == 0 { Unhealthy } else { Healthy };
            endpoint.report("shop", "c0", state);
            endpoint.report("shop", &format!("c{}", 1 + i % 20), Healthy);
            tokio::task::yield_now().await;
        }
    };
    #[expect(
        clippy::disallowed_methods,
        reason = "readers of a test at the same time"
    )]
    let readers: Vec<_> = readers.map(tokio::spawn).collect();
    writer.await;
    for reader in readers {
        reader.await.unwrap();
    }
}
