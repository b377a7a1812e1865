use std::io::Write as _;

use axum::body::{Body, to_bytes};
use flate2::Compression;
use flate2::write::GzEncoder;
use homeostasis_core::signal::{Level, LogRecord, SeriesCatalog, SeriesId, VecSink};
use homeostasis_core::{ManualClock, Timestamp};
use http::HeaderValue;
use http::header::{ALLOW, RETRY_AFTER};
use proptest::prelude::*;

use super::*;

const LOGS: &str = r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{},
    {"timeUnixNano":"18446744073709551615"}]}]}]}"#;

struct Fixture {
    intake: OtlpIntake,
    sink: Arc<VecSink>,
    clock: ManualClock,
}

fn fixture() -> Fixture {
    let (sink, clock) = (
        Arc::new(VecSink::default()),
        ManualClock::new(Timestamp::EPOCH),
    );
    let config = OtlpIntakeConfig {
        max_body: 1000,
        max_decompressed: 2000,
        max_decoded: 20_000,
        max_concurrent: 1,
        ..OtlpIntakeConfig::default()
    };
    let intake = OtlpIntake::new(config, Arc::clone(&sink) as _, Arc::new(clock.clone())).unwrap();
    Fixture {
        intake,
        sink,
        clock,
    }
}

fn post(path: &str, media: &str, body: impl Into<Body>) -> Request<Body> {
    Request::post(path)
        .header(CONTENT_TYPE, media)
        .body(body.into())
        .unwrap()
}

fn json(body: impl Into<Body>) -> Request<Body> {
    post("/v1/logs", "application/json; charset=utf-8", body)
}

fn gzip(plain: &[u8]) -> Request<Body> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(plain).unwrap();
    let mut request = json(encoder.finish().unwrap());
    let headers = request.headers_mut();
    headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    request
}

impl Fixture {
    async fn send(&mut self, request: Request<Body>) -> (u16, String, HeaderMap) {
        let (head, body) = self.intake.call(request).await.unwrap().into_parts();
        let body = to_bytes(Body::new(body), 10_000).await.unwrap();
        let body = String::from_utf8_lossy(&body).into_owned();
        (head.status.as_u16(), body, head.headers)
    }
}

#[tokio::test]
async fn what_is_taken_and_what_is_refused_of_a_request_is_told() {
    let mut fixture = fixture();
    for request in [json(LOGS), gzip(LOGS.as_bytes())] {
        let (status, body, headers) = fixture.send(request).await;
        let reason = "timeUnixNano = 18446744073709551615, expected a time before 2262";
        let expected = format!(
            r#"{{"partialSuccess":{{"errorMessage":"{reason}","rejectedLogRecords":"1"}}}}"#
        );
        assert_eq!((status, body), (200, expected));
        assert_eq!(headers[CONTENT_TYPE], "application/json");
    }
    assert_eq!(fixture.sink.take().len(), 2);
    let empty = post("/v1/metrics", "application/x-protobuf", Body::empty());
    let (status, body, headers) = fixture.send(empty).await;
    assert_eq!((status, body.as_str()), (200, ""));
    assert_eq!(headers[CONTENT_TYPE], "application/x-protobuf");
    let stats = fixture.intake.stats();
    assert_eq!(
        (stats.n_accepted, stats.n_rejected, stats.n_refused),
        (2, 2, 0)
    );
}

#[tokio::test]
async fn requests_that_are_refused_leave_nothing_behind_and_say_why() {
    let mut fixture = fixture();
    let media = "application/json";
    let mut brotli = json(LOGS);
    let headers = brotli.headers_mut();
    headers.insert(CONTENT_ENCODING, HeaderValue::from_static("br"));
    let mut broken = gzip(LOGS.as_bytes());
    *broken.body_mut() = Body::from("no gzip");
    let get = Request::get("/v1/logs").body(Body::empty()).unwrap();
    let many = format!(
        r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{}{{}}]}}]}}]}}"#,
        "{},".repeat(300)
    );
    let cases = vec![
        (
            post("/v1/log", media, LOGS),
            404,
            "/v1/log, expected /v1/logs,",
        ),
        (get, 405, "GET, expected POST"),
        (
            post("/v1/logs", "text/plain", LOGS),
            415,
            "\\\"text/plain\\\", expected app",
        ),
        (brotli, 415, "content-encoding \\\"br\\\", expected gzip"),
        (json("{"), 400, "line 1 column 1: EOF while parsing"),
        (broken, 400, "expected gzip"),
        (json(vec![b' '; 1001]), 413, "max_body = 1000"),
        (
            json(Body::new(Body::from(vec![b' '; 1001]))),
            413,
            "max_body = 1000",
        ),
        (gzip(&[b' '; 100_000]), 413, "max_decompressed = 2000"),
        (gzip(many.as_bytes()), 413, "max_decoded = 20000"),
    ];
    let n = cases.len() as u64;
    for (request, expected, told) in cases {
        let (status, body, headers) = fixture.send(request).await;
        assert_eq!(status, expected, "{body}");
        assert!(body.contains(told), "{body}");
        assert_eq!(headers.get(ALLOW).is_some(), status == 405);
    }
    assert_eq!(fixture.intake.stats().n_refused, n);
    assert_eq!(fixture.sink.take(), []);
    let bad = post("/v1/traces", "application/x-protobuf", vec![0xff]);
    let (status, body, headers) = fixture.send(bad).await;
    assert_eq!(
        (status, &headers[CONTENT_TYPE]),
        (400, &"application/x-protobuf".parse().unwrap())
    );
    // A google.rpc.Status: code 3 (invalid argument) and the message.
    assert!(body.starts_with("\u{8}\u{3}\u{12}"), "{body:?}");
}

/// A body that gives so many bytes and then nothing, for ever.
struct Stalled(usize);

impl http_body::Body for Stalled {
    type Data = bytes::Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<bytes::Bytes>, Infallible>>> {
        let n = std::mem::take(&mut self.0);
        if n == 0 {
            return Poll::Pending;
        }
        let frame = http_body::Frame::data(vec![b' '; n].into());
        Poll::Ready(Some(Ok(frame)))
    }
}

impl Fixture {
    /// A request whose first bytes have come, and no more will.
    async fn stall(
        &mut self,
        n: usize,
    ) -> BoxFuture<'static, Result<Response<OtlpReply>, Infallible>> {
        let mut stalled = self.intake.call(json(Body::new(Stalled(n))));
        let pending = poll_fn(|cx| Poll::Ready(stalled.as_mut().poll(cx).is_pending())).await;
        assert!(pending);
        stalled
    }
}

#[tokio::test]
async fn bodies_that_stall_keep_nobody_out_until_their_bytes_fill_the_room() {
    let mut fixture = fixture();
    let slow = [fixture.stall(1).await, fixture.stall(1).await];
    assert_eq!(fixture.send(json(LOGS)).await.0, 200);
    let hog = fixture.stall(997).await;
    let (status, body, headers) = fixture.send(json(LOGS)).await;
    assert_eq!(
        (status, &headers[RETRY_AFTER]),
        (503, &HeaderValue::from_static("1"))
    );
    let told = "max_concurrent = 1 times max_body = 1000 bytes are on their way";
    assert!(body.contains(told), "{body}");
    // Its bytes go with it, whether it is given up or refused.
    drop(hog);
    assert_eq!(fixture.send(json(LOGS)).await.0, 200);
    fixture.clock.advance(std::time::Duration::from_secs(10));
    for stalled in slow {
        assert_eq!(stalled.await.unwrap().status(), 408);
    }
    assert_eq!(fixture.send(json(vec![b' '; 1000])).await.0, 400);
}

/// Remembers the threads that give it signals, and keeps them while `closed` is locked.
#[derive(Debug, Default)]
struct Gate {
    catalog: SeriesCatalog,
    closed: Mutex<()>,
    threads: Mutex<Vec<std::thread::ThreadId>>,
}

impl SignalSink for Gate {
    fn sample(&self, _: SeriesId, _: Timestamp, _: f64) {
        self.signal(Signal::Log(LogRecord::new(
            Timestamp::EPOCH,
            Level::Info,
            "",
        )));
    }

    fn signal(&self, _: Signal) {
        let id = std::thread::current().id();
        self.threads.lock().unwrap().push(id);
        drop(self.closed.lock().unwrap());
    }

    fn catalog(&self) -> &SeriesCatalog {
        &self.catalog
    }
}

fn gated(max_concurrent: usize) -> (OtlpIntake, Arc<Gate>) {
    let gate = Arc::new(Gate::default());
    let config = OtlpIntakeConfig {
        max_concurrent,
        ..OtlpIntakeConfig::default()
    };
    let clock = Arc::new(ManualClock::new(Timestamp::EPOCH));
    let intake = OtlpIntake::new(config, Arc::clone(&gate) as _, clock).unwrap();
    (intake, gate)
}

fn padded(n: usize) -> Vec<u8> {
    let mut body = br#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{}]}]}]}"#.to_vec();
    body.resize(body.len() + n, b' ');
    body
}

#[tokio::test]
async fn only_small_requests_are_read_by_the_task_of_the_host() {
    let (mut intake, gate) = gated(1);
    let mut bomb = gzip(&padded(1 << 20));
    let length = http_body::Body::size_hint(bomb.body()).exact().unwrap();
    assert!(length < 2000, "{length}");
    for (request, here) in [
        (json(padded(0)), true),
        (json(padded(MAX_INLINE)), false),
        (std::mem::take(&mut bomb), false),
    ] {
        let answer = intake.call(request).await.unwrap();
        assert_eq!(answer.status(), 200);
        let threads = std::mem::take(&mut *gate.threads.lock().unwrap());
        assert_eq!(threads.len(), 1);
        assert_eq!(threads[0] == std::thread::current().id(), here);
    }
}

#[tokio::test]
#[expect(
    clippy::await_holding_lock,
    reason = "the test holds up the other thread"
)]
async fn a_request_that_is_read_elsewhere_holds_its_place_even_if_nobody_waits() {
    let (mut intake, gate) = gated(1);
    let held = gate.closed.lock().unwrap();
    let mut large = intake.call(json(padded(MAX_INLINE)));
    let pending = poll_fn(|cx| Poll::Ready(large.as_mut().poll(cx).is_pending())).await;
    assert!(pending);
    drop(large);
    let refused = intake.call(json(padded(0))).await.unwrap();
    assert_eq!(refused.status(), 503);
    drop(held);
    while intake.stats().n_accepted == 0 || intake.shared.permits.available_permits() == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(intake.call(json(padded(0))).await.unwrap().status(), 200);
}

#[tokio::test]
#[expect(
    clippy::await_holding_lock,
    reason = "the test holds up the other thread"
)]
async fn metrics_that_wait_for_others_do_not_keep_the_task_of_the_host() {
    let (mut intake, gate) = gated(2);
    let body = r#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[
        {"name":"m","gauge":{"dataPoints":[{"asInt":1}]}}]}]}]}"#;
    let metrics = |n: usize| {
        let body = format!("{body}{}", " ".repeat(n));
        post("/v1/metrics", "application/json", body)
    };
    let held = gate.closed.lock().unwrap();
    let mut large = intake.call(metrics(MAX_INLINE));
    let mut small = intake.call(metrics(0));
    let pending = poll_fn(|cx| Poll::Ready(large.as_mut().poll(cx).is_pending())).await;
    assert!(pending);
    while gate.threads.lock().unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    // This returns although the lock is held.
    let pending = poll_fn(|cx| Poll::Ready(small.as_mut().poll(cx).is_pending())).await;
    assert!(pending);
    drop(held);
    assert_eq!(large.await.unwrap().status(), 200);
    assert_eq!(small.await.unwrap().status(), 200);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_is_sent_is_answered_with_200_or_4xx(
        body in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..100),
            (0..LOGS.len(), "\\PC{0,3}").prop_map(|(at, text)| {
                let mut changed = LOGS.as_bytes().to_vec();
                changed.splice(at..LOGS.len().min(at + 2), text.bytes());
                changed
            }),
        ],
        path in "/v1/(logs|metrics|traces|x)",
        media in "application/(json|x-protobuf|x)",
        compressed in any::<bool>(),
    ) {
        let mut request = post(&path, &media, body);
        if compressed {
            request.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (status, ..) = runtime.block_on(fixture().send(request));
        prop_assert!(status == 200 || (400..500).contains(&status), "{}", status);
    }
}
