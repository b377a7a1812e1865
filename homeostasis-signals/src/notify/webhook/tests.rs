use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use homeostasis_core::record::Severity;
use homeostasis_core::{BoxFuture, IncidentId, ManualClock, Timestamp};
use serde_json::Value;

use super::*;
use crate::http::HyperClient;
use crate::notify::WebhookFormat;
use crate::testing::{HASTY, PATIENT, Reply, Server, WallClock, closed_port};

const KEYS: [&str; 2] = [
    "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBka",
];

/// The part of the URL that nobody may read.
const PATH: &str = "/T0C4/B0C4/k7QkeepThis";

fn message() -> Notification {
    let (id, at) = (IncidentId::from_u128(7), Timestamp::from_secs(60));
    Notification::new(id, Severity::Sev1, at, "sev1 shop: down", "what was tried")
}

fn config(url: String) -> WebhookConfig {
    WebhookConfig {
        secrets: KEYS.map(Into::into).to_vec(),
        ..WebhookConfig::new("pager", url)
    }
}

fn webhook(config: WebhookConfig) -> Webhook {
    webhook_within(PATIENT, config)
}

fn webhook_within(limit: Duration, mut config: WebhookConfig) -> Webhook {
    (config.timeout, config.within) = (limit, PATIENT);
    let client = Arc::new(HyperClient::new(Arc::new(WallClock)));
    Webhook::new(config, client, Arc::new(WallClock)).unwrap()
}

/// The error in full: kind, text with causes, and `Debug`, which tell no secret.
fn told(error: &NotifyError) -> (ErrorKind, String) {
    let (said, debug) = (error.report().to_string(), format!("{error:?}"));
    for hidden in ["T0C4", "k7Q", "127.0.0.1", "MfKQ", "secret-of-receiver"] {
        assert!(!said.contains(hidden), "{said}");
        assert!(!debug.contains(hidden), "{debug}");
    }
    (error.kind(), said)
}

/// What comes of one attempt at a server that always answers so.
async fn refused(reply: Reply) -> (ErrorKind, String) {
    refused_within(PATIENT, reply).await
}

async fn refused_within(limit: Duration, reply: Reply) -> (ErrorKind, String) {
    let server = Server::start(move |_| reply.clone()).await;
    let mut config = config(server.url(PATH));
    config.attempts = 1;
    let webhook = webhook_within(limit, config);
    told(&webhook.notify(&message()).await.unwrap_err())
}

fn header<'a>(request: &'a str, name: &str) -> &'a str {
    let line = |line: &'a str| line.strip_prefix(name)?.strip_prefix(": ");
    request.lines().find_map(line).unwrap_or_default()
}

#[tokio::test]
async fn a_delivery_carries_its_id_and_a_signature_of_every_key_over_what_arrived() {
    let seen = Arc::new(Mutex::new(String::new()));
    let sink = Arc::clone(&seen);
    let server = Server::start(move |request| {
        request.clone_into(&mut sink.lock().unwrap());
        Reply::status(202, "")
    })
    .await;
    webhook(config(server.url(PATH)))
        .notify(&message())
        .await
        .unwrap();
    let request = seen.lock().unwrap().clone();
    assert!(
        request.starts_with(&format!("POST {PATH} HTTP/1.1\r\n")),
        "{request}"
    );
    assert_eq!(header(&request, "content-type"), "application/json");
    let (_, body) = request.split_once("\r\n\r\n").unwrap();
    let data: Value = serde_json::from_str(body).unwrap();
    let read: Notification = serde_json::from_value(data["data"].clone()).unwrap();
    assert_eq!(read, message());
    let (id, at) = (
        header(&request, "webhook-id"),
        header(&request, "webhook-timestamp"),
    );
    assert!(id.starts_with("msg_") && id.len() == 36, "{id}");
    let at: i64 = at.parse().unwrap();
    assert!((WallClock.now() - Timestamp::from_secs(at)) < Duration::from_secs(60));
    let expected = KEYS.map(|key| {
        let key = SigningKey::read(&key.into()).unwrap();
        key.sign(id, at, body.as_bytes())
    });
    assert_eq!(header(&request, "webhook-signature"), expected.join(" "));
}

#[tokio::test]
async fn slack_gets_a_text_and_no_signature() {
    let server = Server::start(|request| {
        let is_slack = request.contains(r#"{"text":"*sev1 shop: down*\nwhat was tried\nincident "#)
            && !request.contains("webhook-");
        Reply::status(if is_slack { 200 } else { 400 }, "ok")
    })
    .await;
    let mut config = WebhookConfig::new("chat", server.url(PATH));
    config.format = WebhookFormat::Slack;
    webhook(config).notify(&message()).await.unwrap();
}

#[tokio::test]
async fn pager_duty_gets_events_of_one_alert_in_the_documented_shape() {
    use NotificationKind::{Acknowledged, Call, Digest, Resolved};
    const ROUTING: &str = "R0123456789abcdefR0123456789abcd";
    let seen = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&seen);
    let server = Server::start(move |request| {
        let (head, body) = request.split_once("\r\n\r\n").unwrap();
        let event: Value = serde_json::from_str(body).unwrap_or_default();
        // What the service asks of each event, and of one that triggers.
        let has = |name: &str| {
            event["payload"][name]
                .as_str()
                .is_some_and(|it| !it.is_empty())
        };
        let is_event = event["routing_key"] == ROUTING
            && event["dedup_key"]
                .as_str()
                .is_some_and(|key| key.len() <= 255)
            && !head.contains("webhook-");
        let is_complete = match event["event_action"].as_str() {
            Some("trigger") => has("summary") && has("source") && has("severity"),
            Some("acknowledge" | "resolve") => event["payload"].is_null(),
            _ => false,
        };
        sink.lock().unwrap().push(event["event_action"].clone());
        Reply::status(
            if is_event && is_complete { 202 } else { 400 },
            r#"{"status":"success"}"#,
        )
    })
    .await;
    let mut config = WebhookConfig::new("pager", server.url("/v2/enqueue"));
    config.format = WebhookFormat::PagerDuty;
    config.secrets.push(ROUTING.into());
    let webhook = webhook(config);
    let mut said = message();
    for kind in [Call, Acknowledged, Resolved] {
        assert!(webhook.takes(kind));
        said.kind = kind;
        webhook.notify(&said).await.unwrap();
    }
    assert!(!webhook.takes(Digest));
    assert_eq!(*seen.lock().unwrap(), ["trigger", "acknowledge", "resolve"]);
    assert!(!format!("{webhook:?}").contains("R0123"));
}

#[tokio::test]
async fn the_answer_decides_between_what_passes_and_what_stays() {
    let echo = "secret-of-receiver".repeat(10);
    for (status, kind) in [
        (500, ErrorKind::Transient),
        (503, ErrorKind::Transient),
        (429, ErrorKind::Transient),
        (408, ErrorKind::Transient),
        (400, ErrorKind::Permanent),
        (401, ErrorKind::Permanent),
        (404, ErrorKind::Permanent),
        (410, ErrorKind::Permanent),
        (304, ErrorKind::Permanent),
    ] {
        let (found, said) = refused(Reply::status(status, &echo)).await;
        assert_eq!(found, kind, "{status}");
        assert!(
            said.contains(&format!("webhook `pager` failed: status {status}")),
            "{said}"
        );
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let n_elsewhere = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&n_elsewhere);
    let elsewhere = Server::start(move |_| {
        count.fetch_add(1, Ordering::SeqCst);
        Reply::status(200, "")
    })
    .await;
    for status in [301, 302, 307, 308] {
        let to = elsewhere.url("/");
        let redirect =
            format!("HTTP/1.1 {status} Moved\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n");
        let (kind, said) = refused(Reply::Raw(redirect)).await;
        assert_eq!(kind, ErrorKind::Permanent);
        assert!(said.ends_with("redirects are not followed"), "{said}");
    }
    assert_eq!(n_elsewhere.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_server_that_hangs_or_drips_costs_no_more_than_the_limit() {
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 9000\r\n\r\n";
    let drip = Reply::Drip(head.to_owned() + &"x".repeat(9000));
    for reply in [Reply::Silence, drip] {
        let begun = WallClock.now();
        let (kind, said) = refused_within(HASTY, reply).await;
        assert_eq!(kind, ErrorKind::Timeout);
        assert!(said.ends_with("no answer within 200ms"), "{said}");
        // Before the drip ends, which takes a minute and a half.
        assert!(WallClock.now() - begun < PATIENT);
    }
}

#[tokio::test]
async fn a_server_that_is_cut_gone_or_floods_is_told_apart() {
    let cut = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nsecret-of".to_owned();
    let (kind, said) = refused(Reply::Raw(cut)).await;
    assert_eq!(
        (kind, said.as_str()),
        (ErrorKind::Transient, "webhook `pager` failed: no answer")
    );
    let flood = "x".repeat(MAX_ANSWER + 1);
    let (kind, said) = refused(Reply::status(200, &flood)).await;
    assert_eq!(kind, ErrorKind::Permanent);
    assert!(said.contains("longer than 256 KiB"), "{said}");
    let mut config = config(format!("http://{}{PATH}", closed_port()));
    config.attempts = 1;
    let (kind, said) = told(&webhook(config).notify(&message()).await.unwrap_err());
    assert_eq!(kind, ErrorKind::Transient);
    assert!(said.ends_with("connection refused"), "{said}");
    let no_tls = webhook(self::config(format!("https://127.0.0.1{PATH}")));
    let (kind, said) = told(&no_tls.notify(&message()).await.unwrap_err());
    assert_eq!(kind, ErrorKind::Denied);
    assert!(said.contains("speaks TLS"), "{said}");
}

#[cfg(feature = "tls")]
#[tokio::test]
async fn a_server_that_speaks_no_tls_is_told() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}{PATH}", listener.local_addr().unwrap());
    let server = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        let _ = stream.read_to_end(&mut Vec::new()).await;
    };
    let authority = rcgen::generate_simple_self_signed(vec!["pager".to_owned()]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("roots.pem");
    std::fs::write(&file, authority.cert.pem()).unwrap();
    let clock = Arc::new(WallClock);
    let roots = crate::TrustRoots::Pem(file);
    let client = HyperClient::new(Arc::clone(&clock) as _).trusting(&roots);
    let mut config = config(url);
    config.attempts = 1;
    let webhook = Webhook::new(config, Arc::new(client.unwrap()), clock).unwrap();
    let said = message();
    let (sent, ()) = tokio::join!(webhook.notify(&said), server);
    let (kind, said) = told(&sent.unwrap_err());
    assert_eq!(kind, ErrorKind::Transient);
    assert!(
        said.ends_with("no TLS connection that can be trusted"),
        "{said}"
    );
}

#[tokio::test]
async fn a_message_gets_through_at_the_third_attempt_under_one_id() {
    let ids = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&ids);
    let server = Server::start(move |request| {
        let mut seen = seen.lock().unwrap();
        seen.push(header(request, "webhook-id").to_owned());
        match seen.len() {
            1 => Reply::Raw(
                "HTTP/1.1 429 Busy\r\nretry-after: 0\r\ncontent-length: 0\r\n\r\n".to_owned(),
            ),
            2 => Reply::Raw("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n".to_owned()),
            _ => Reply::status(200, ""),
        }
    })
    .await;
    let webhook = webhook(config(server.url(PATH)));
    webhook.notify(&message()).await.unwrap();
    let ids = ids.lock().unwrap();
    assert_eq!(ids.len(), 3);
    assert!(
        ids.iter().all(|id| *id == ids[0] && !id.is_empty()),
        "{ids:?}"
    );
}

/// A clock that leaps over every wait, and keeps them.
#[derive(Debug)]
struct Leaps(Arc<ManualClock>, Arc<Mutex<Vec<Duration>>>);

impl Clock for Leaps {
    fn now(&self) -> Timestamp {
        self.0.now()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        let (clock, waits) = (Arc::clone(&self.0), Arc::clone(&self.1));
        Box::pin(async move {
            clock.advance(duration);
            waits.lock().unwrap().push(duration);
        })
    }
}

/// Answers with a status and `Retry-After`, and needs no time for it; or not at all.
#[derive(Debug)]
struct Answers(u16, Option<&'static str>);

#[async_trait]
impl HttpClient for Answers {
    async fn send(&self, _: HttpRequest) -> Result<HttpResponse, HttpError> {
        if self.0 == 0 {
            std::future::pending::<()>().await;
        }
        let headers = self
            .1
            .map(|wait| ("Retry-After".to_owned(), wait.to_owned()));
        Ok(HttpResponse::new(
            self.0,
            headers.into_iter().collect(),
            Vec::new(),
        ))
    }
}

/// What is said after ten attempts at most, and the waits.
async fn tried(client: Answers) -> (ErrorKind, String, Vec<Duration>) {
    let waits = Arc::new(Mutex::new(Vec::new()));
    let clock = Leaps(
        Arc::new(ManualClock::new(Timestamp::EPOCH)),
        Arc::clone(&waits),
    );
    let mut config = config(format!("http://pager{PATH}"));
    config.attempts = 10;
    let webhook = Webhook::new(config, Arc::new(client), Arc::new(clock)).unwrap();
    let (kind, said) = told(&webhook.notify(&message()).await.unwrap_err());
    let waits = waits.lock().unwrap().clone();
    (kind, said, waits)
}

#[tokio::test]
async fn it_is_tried_again_after_growing_waits_and_within_the_time_for_all() {
    let (kind, said, waits) = tried(Answers(503, None)).await;
    assert_eq!(kind, ErrorKind::Transient);
    assert!(
        said.ends_with(&format!("status 503, attempt {}", waits.len() + 1)),
        "{said}"
    );
    assert!(waits.iter().sum::<Duration>() < Duration::from_secs(20));
    assert!(waits.len() >= 4, "{waits:?}");
    for (i, wait) in waits.iter().enumerate() {
        assert!(*wait <= Duration::from_millis(500 << i), "{waits:?}");
    }
    // A client that ignores its limit is cut off at 5 s, and not asked for longer than 20 s.
    let (kind, said, waits) = tried(Answers(0, None)).await;
    assert_eq!(kind, ErrorKind::Timeout);
    assert!(said.contains("no answer within"), "{said}");
    assert!(waits.contains(&Duration::from_secs(5)));
    assert!(
        waits.iter().sum::<Duration>() <= Duration::from_secs(20),
        "{waits:?}"
    );
}

#[tokio::test]
async fn the_receiver_is_given_the_time_it_asks_for_if_there_is_as_much() {
    let (_, said, waits) = tried(Answers(429, Some("6"))).await;
    assert_eq!(waits, [Duration::from_secs(6); 3]);
    assert!(
        said.ends_with("status 429, attempt 4, asks to wait 6s"),
        "{said}"
    );
    let (kind, said, waits) = tried(Answers(503, Some("Thu, 01 Jan 1970 01:00:00 GMT"))).await;
    assert_eq!((kind, waits.len()), (ErrorKind::Transient, 0));
    assert!(said.ends_with("status 503, asks to wait 3600s"), "{said}");
    // What will not pass is not tried again, whatever is asked.
    let (kind, _, waits) = tried(Answers(403, Some("1"))).await;
    assert_eq!((kind, waits.len()), (ErrorKind::Permanent, 0));
}
