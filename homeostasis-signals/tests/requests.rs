//! The request layer in an axum server, over real connections.
#![expect(clippy::unwrap_used, reason = "helpers of a test")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::Body;
use axum::extract::{MatchedPath, Path};
use axum::http::{Request, StatusCode};
use axum::routing::get;
use homeostasis::core::record::EventKind;
use homeostasis::core::{BoxFuture, Clock, Context, Target, Timestamp};
use homeostasis::signals::RequestLayer;
use homeostasis::{Config, Homeostasis};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tower_layer::Layer;
use tower_service::Service;

/// The wall clock: real requests take real time.
#[derive(Debug)]
struct WallClock;

impl Clock for WallClock {
    #[expect(clippy::disallowed_methods, reason = "this is the clock of this test")]
    fn now(&self) -> Timestamp {
        Timestamp::EPOCH + SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(duration))
    }
}

/// Answers by the number in the path; "hang" never answers.
async fn order(id: Path<String>, entered: Arc<Semaphore>) -> (StatusCode, &'static str) {
    match id.parse::<u32>() {
        Ok(id) if id % 10 == 3 => panic!("order {id}"),
        Ok(id) if id % 10 == 5 => (StatusCode::BAD_GATEWAY, "no"),
        Ok(id) if id % 10 == 7 => (StatusCode::CONFLICT, "taken"),
        Ok(_) => {
            tokio::time::sleep(Duration::from_millis(2)).await;
            (StatusCode::OK, "yes")
        }
        Err(_) => {
            entered.add_permits(1);
            std::future::pending().await
        }
    }
}

async fn send(address: SocketAddr, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: shop\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

/// The status of the answer; 0 if the connection was closed without one.
async fn status_of(mut stream: TcpStream) -> u16 {
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8_lossy(&answer);
    answer
        .split(' ')
        .nth(1)
        .map_or(0, |code| code.parse().unwrap())
}

#[expect(
    clippy::disallowed_methods,
    reason = "a server of a test is not the engine's"
)]
fn spawn<F: Future<Output: Send> + Send + 'static>(work: F) -> tokio::task::JoinHandle<F::Output> {
    tokio::spawn(work)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_requests_are_counted_exactly_and_answered_as_before() {
    let entered = Arc::new(Semaphore::new(0));
    let seen = Arc::clone(&entered);
    let router = || {
        let entered = Arc::clone(&seen);
        let handler = move |id| order(id, Arc::clone(&entered));
        Router::new().route("/orders/{id}", get(handler))
    };
    let requests = RequestLayer::new(Target::service("shop").unwrap(), Arc::new(WallClock))
        .route(|head| Some(head.extensions.get::<MatchedPath>()?.as_str().to_owned()));
    let mut addresses = Vec::new();
    for app in [router(), router().layer(requests.clone())] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        addresses.push(listener.local_addr().unwrap());
        spawn(async move { axum::serve(listener, app).await });
    }
    let [plain, counted] = addresses[..] else {
        unreachable!()
    };

    let cx = Context::new(Arc::new(WallClock), 1);
    let probe = requests.probe();
    probe.probe(&cx).await;
    let mut clients = tokio::task::JoinSet::new();
    for client in 0..20_u32 {
        clients.spawn(async move {
            for id in 0..20 {
                let path = format!("/orders/{}", client * 20 + id);
                let expected = status_of(send(plain, &path).await).await;
                assert_eq!(status_of(send(counted, &path).await).await, expected);
            }
            assert_eq!(status_of(send(counted, "/nowhere").await).await, 404);
        });
    }
    while let Some(ended) = clients.join_next().await {
        ended.unwrap();
    }
    // Clients that give up while their request is being worked on.
    let mut waiting = Vec::new();
    for _ in 0..5 {
        waiting.push(send(counted, "/orders/hang").await);
    }
    entered.acquire_many(5).await.unwrap().forget();
    assert_eq!(
        probe.probe(&cx).await.value("http_requests_in_flight"),
        Some(5.0)
    );
    drop(waiting);
    let orders = || {
        let mut counts = requests.counts().into_iter();
        counts
            .find(|counts| counts.route == "/orders/{id}")
            .unwrap()
    };
    let begun = cx.now();
    while orders().cancelled < 5 {
        tokio::time::sleep(Duration::from_millis(2)).await;
        assert!(
            cx.now().since(begun) < Duration::from_secs(60),
            "{:?}",
            orders()
        );
    }

    let counts = orders();
    assert_eq!(counts.method, "GET");
    assert_eq!(counts.by_class, [0, 280, 0, 40, 40]);
    assert_eq!(
        (counts.panicked, counts.failed, counts.cancelled),
        (40, 0, 5)
    );
    assert_eq!((counts.answered(), counts.errors()), (400, 80));
    let unmatched = requests
        .counts()
        .into_iter()
        .find(|c| c.route == ":unmatched")
        .unwrap();
    assert_eq!(unmatched.by_class, [0, 0, 0, 20, 0]);
    assert_eq!(requests.counts().len(), 2);

    let reading = probe.probe(&cx).await;
    assert_eq!(reading.value("http_requests_in_flight"), Some(0.0));
    assert!(reading.value("http_requests_cancelled_rate").unwrap() > 0.0);
}

/// What the layer counts reaches the detectors under the names they know.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_begins_to_fail_is_an_incident() {
    let config = "
        services: { shop: {} }
        conditions:
          - { name: errors, condition: error_ratio > 5% and http_requests_rate > 1, for: 300ms, severity: sev2 }
    ";
    let requests = RequestLayer::new(Target::service("shop").unwrap(), Arc::new(WallClock));
    let healer = Homeostasis::builder()
        .config(Config::parse(config).unwrap())
        .probe(requests.probe_every(Duration::from_millis(100)))
        .start()
        .await
        .unwrap();
    let mut events = healer.subscribe();
    let mut app = requests.layer(Router::new().route(
        "/orders/{id}",
        get(|| std::future::ready(StatusCode::BAD_GATEWAY)),
    ));
    let traffic = async {
        loop {
            let request = Request::get("/orders/7").body(Body::empty()).unwrap();
            app.call(request).await.unwrap();
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let opened = async {
        while let Some(event) = events.next().await {
            if let EventKind::Opened { .. } = event.kind {
                return event.to_string();
            }
        }
        unreachable!("the healer runs")
    };
    let opened = tokio::time::timeout(Duration::from_secs(60), async {
        tokio::select! {
            opened = opened => opened,
            () = traffic => unreachable!("it goes on for ever"),
        }
    });
    let opened = opened.await.unwrap();
    assert!(opened.contains("shop"), "{opened}");
    healer.shutdown().await;
}
