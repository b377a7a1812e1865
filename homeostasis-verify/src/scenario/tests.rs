//! Against a real server on this machine: what counts is what goes over the wire.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use super::*;
use homeostasis_core::port::{HttpError, HttpResponse};
use homeostasis_core::{ManualClock, Timestamp};
use serde_json::json;

/// Answers `/orders/7` and logs in with `POST /login`; everything else is 404.
fn server(n_requests: usize) -> (SocketAddr, std::thread::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let served = std::thread::spawn(move || {
        (0..n_requests)
            .map(|_| {
                let (mut stream, _) = listener.accept().unwrap();
                let mut request = vec![0; 4096];
                let n = stream.read(&mut request).unwrap();
                let request = String::from_utf8_lossy(&request[..n]).into_owned();
                let (status, body) = match request.split(" HTTP/").next().unwrap() {
                    "GET /orders/7" => (200, r#"{"id": 7, "items": [{"state": "shipped"}]}"#),
                    "POST /login" | "GET /login" => (201, "welcome"),
                    _ => (404, "no such page"),
                };
                let length = body.len();
                let head = format!("HTTP/1.1 {status} x\r\ncontent-length: {length}\r\n\r\n");
                stream
                    .write_all(format!("{head}{body}").as_bytes())
                    .unwrap();
                request
            })
            .collect()
    });
    (address, served)
}

/// The least client that speaks HTTP/1.1 over a socket. Each answer takes `latency` on the clock.
#[derive(Debug)]
struct Wire {
    clock: ManualClock,
    latency: Duration,
}

#[async_trait]
impl HttpClient for Wire {
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let failed = |error: std::io::Error| HttpError::transient("sending", error);
        let authority = request.url.trim_start_matches("http://");
        let (host, path) = authority.split_once('/').unwrap();
        let mut stream = TcpStream::connect(host).map_err(failed)?;
        let head = format!(
            "{} /{path} HTTP/1.1\r\nhost: {host}\r\n\r\n",
            request.method
        );
        let sent = [head.as_bytes(), &request.body].concat();
        stream.write_all(&sent).map_err(failed)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).map_err(failed)?;
        self.clock.advance(self.latency);
        let status = answer[9..12].parse().unwrap();
        let body = answer.split_once("\r\n\r\n").unwrap().1;
        Ok(HttpResponse::new(status, Vec::new(), body.into()))
    }
}

fn get(url: String, expect: Expected) -> ScenarioStep {
    ScenarioStep {
        name: "page".to_owned(),
        call: ScenarioCall::Http {
            method: "GET".to_owned(),
            url,
            json: None,
        },
        expect,
        timeout: Duration::from_secs(5),
        side_effects: false,
    }
}

fn scenario(steps: Vec<ScenarioStep>) -> Scenario {
    Scenario {
        name: "a customer".to_owned(),
        steps,
    }
}

fn world(address: SocketAddr, latency: Duration) -> (Scenarios, Context) {
    let clock = ManualClock::new(Timestamp::EPOCH);
    let cx = Context::new(Arc::new(clock.clone()), 1);
    let client = Arc::new(Wire { clock, latency });
    let origin = format!("http://{address}");
    (
        Scenarios::default().with_http(client, [origin]).unwrap(),
        cx,
    )
}

#[tokio::test]
async fn every_assertion_is_held_against_what_the_server_answers() {
    let state = |value: Value| Expected {
        json: [("/items/0/state".to_owned(), value)].into(),
        ..Expected::default()
    };
    let contains = |text: &str| Expected {
        contains: Some(text.to_owned()),
        ..Expected::default()
    };
    let within = |millis| Expected {
        within: Some(Duration::from_millis(millis)),
        ..Expected::default()
    };
    let status = |status| Expected {
        status: vec![status],
        ..Expected::default()
    };
    let cases = [
        ("orders/7", state(json!("shipped")), None),
        (
            "orders/7",
            state(json!("lost")),
            Some(r#""shipped" at "/items/0/state", expected "lost""#),
        ),
        ("orders/7", contains("shipped"), None),
        (
            "orders/7",
            contains("lost"),
            Some(r#"expected an answer with "lost""#),
        ),
        ("orders/7", within(300), None),
        (
            "orders/7",
            within(200),
            Some("it took 250ms, expected at most 200ms"),
        ),
        (
            "orders/8",
            Expected::default(),
            Some("status 404, expected 2xx"),
        ),
        ("orders/8", status(404), None),
        (
            "orders/8",
            Expected {
                status: vec![404],
                ..state(json!(1))
            },
            Some("expected JSON"),
        ),
    ];
    let (address, served) = server(cases.len());
    for (path, expect, refusal) in cases {
        let (scenarios, cx) = world(address, Duration::from_millis(250));
        let step = get(format!("http://{address}/{path}"), expect);
        let reading = scenarios.run(&cx, &scenario(vec![step])).await;
        match refusal {
            None => assert_eq!(reading.outcome, CheckOutcome::Passed, "{reading:?}"),
            Some(words) => {
                assert_eq!(reading.outcome, CheckOutcome::Failed, "{reading:?}");
                assert!(reading.detail.contains(words), "{reading:?}");
            }
        }
    }
    served.join().unwrap();
}

#[tokio::test]
async fn steps_come_in_order_and_the_first_that_fails_is_the_last() {
    let (address, served) = server(2);
    let (scenarios, cx) = world(address, Duration::ZERO);
    let login = get(format!("http://{address}/login"), Expected::default());
    let lost = get(format!("http://{address}/lost"), Expected::default());
    let never = get(format!("http://{address}/orders/7"), Expected::default());
    let reading = scenarios
        .run(&cx, &scenario(vec![login, lost, never]))
        .await;
    assert_eq!(reading.outcome, CheckOutcome::Failed);
    let seen = served.join().unwrap();
    assert!(seen[0].starts_with("GET /login "), "{seen:?}");
    assert!(seen[1].starts_with("GET /lost "), "{seen:?}");
    // Nobody listens any more: that is a failure of the service, not missing data.
    let gone = get(format!("http://{address}/orders/7"), Expected::default());
    let reading = scenarios.run(&cx, &scenario(vec![gone])).await;
    assert_eq!(reading.outcome, CheckOutcome::Failed, "{reading:?}");
}

/// Counts in a cell that is shared with the test.
#[derive(Debug, Clone, Default)]
struct Counter {
    calls: Arc<std::sync::atomic::AtomicU32>,
    only_reads: bool,
    hangs: bool,
}

#[async_trait]
impl ScenarioFunction for Counter {
    fn has_side_effects(&self) -> bool {
        !self.only_reads
    }

    async fn call(&self, _: &Context, args: &Map<String, Value>) -> Result<Value, BoxError> {
        self.calls.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        if self.hangs {
            std::future::pending::<()>().await;
        }
        match args.get("rows") {
            Some(rows) => Ok(json!({"rows": rows})),
            None => Err("no such table".into()),
        }
    }
}

#[tokio::test]
async fn functions_answer_fail_and_never_act_undeclared() {
    let counter = Counter::default();
    let reader = Counter {
        only_reads: true,
        ..Counter::default()
    };
    let scenarios = Scenarios::default()
        .with_function("insert", counter.clone())
        .unwrap()
        .with_function("count", reader)
        .unwrap();
    assert!(
        scenarios
            .clone()
            .with_function("count", Counter::default())
            .is_err()
    );
    let cx = Context::new(Arc::new(ManualClock::new(Timestamp::EPOCH)), 1);
    let step = |name: &str, args: Value, side_effects: bool| ScenarioStep {
        call: ScenarioCall::Function {
            name: name.to_owned(),
            args: args.as_object().unwrap().clone(),
        },
        side_effects,
        ..get(
            String::new(),
            Expected {
                json: [("/rows".to_owned(), json!(3))].into(),
                ..Expected::default()
            },
        )
    };
    for (step, outcome) in [
        (
            step("count", json!({"rows": 3}), false),
            CheckOutcome::Passed,
        ),
        (
            step("count", json!({"rows": 4}), false),
            CheckOutcome::Failed,
        ),
        (step("count", json!({}), false), CheckOutcome::Failed),
        (step("drop", json!({}), true), CheckOutcome::NoData),
        (
            step("insert", json!({"rows": 3}), false),
            CheckOutcome::NoData,
        ),
    ] {
        let reading = scenarios.run(&cx, &scenario(vec![step])).await;
        assert_eq!(reading.outcome, outcome, "{reading:?}");
    }
    let calls = || counter.calls.load(std::sync::atomic::Ordering::SeqCst);
    assert_eq!(calls(), 0, "a step that may change something is not done");
    let declared = step("insert", json!({"rows": 3}), true);
    let reading = scenarios.run(&cx, &scenario(vec![declared])).await;
    assert_eq!((reading.outcome, calls()), (CheckOutcome::NoData, 0));
    assert!(reading.detail.contains("no permit"), "{reading:?}");
}

#[tokio::test]
async fn what_does_not_answer_in_time_has_failed_and_what_is_not_allowed_is_no_data() {
    let clock = ManualClock::new(Timestamp::EPOCH);
    let cx = Context::new(Arc::new(clock.clone()), 1);
    let hanging = Counter {
        only_reads: true,
        hangs: true,
        ..Counter::default()
    };
    let scenarios = Scenarios::default().with_function("hang", hanging).unwrap();
    let mut step = get("http://127.0.0.1:9/".to_owned(), Expected::default());
    let denied = scenarios.run(&cx, &scenario(vec![step.clone()])).await;
    assert_eq!(denied.outcome, CheckOutcome::NoData);
    assert!(denied.would_settle.unwrap().contains("no HTTP client"));
    step.call = ScenarioCall::Function {
        name: "hang".to_owned(),
        args: Map::new(),
    };
    let hung = scenario(vec![step]);
    let mut running = std::pin::pin!(scenarios.run(&cx, &hung));
    let mut task = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(running.as_mut().poll(&mut task).is_pending());
    clock.advance(Duration::from_secs(5));
    let reading = running.await;
    assert_eq!(reading.outcome, CheckOutcome::Failed);
    assert!(
        reading.detail.contains("no answer within 5s"),
        "{reading:?}"
    );
    // Another origin than the one that is allowed.
    let (scenarios, cx) = world("127.0.0.1:9".parse().unwrap(), Duration::ZERO);
    let elsewhere = get("http://127.0.0.1:10/".to_owned(), Expected::default());
    let reading = scenarios.run(&cx, &scenario(vec![elsewhere])).await;
    assert_eq!(reading.outcome, CheckOutcome::NoData, "{reading:?}");
}

#[test]
fn numbers_that_mean_the_same_are_the_same() {
    let same = |one: Value, other: Value| is_same(&one, &other);
    assert!(same(json!(3), json!(3.0)));
    assert!(same(
        json!({"a": [3, {"b": 1.0}]}),
        json!({"a": [3.0, {"b": 1}]})
    ));
    for (one, other) in [
        (json!(3), json!(3.1)),
        (json!(3), json!("3")),
        (json!([1, 2]), json!([1])),
        (json!({"a": 1}), json!({"b": 1})),
        (json!({"a": 1}), json!({"a": 1, "b": 1})),
        (json!(u64::MAX), json!(u64::MAX - 1)),
    ] {
        assert!(!same(one.clone(), other.clone()), "{one} and {other}");
    }
}
