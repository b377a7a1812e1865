//! Servers that misbehave, and settings that are wrong; real ones are in `tests/email`.

use std::sync::Arc;
use std::time::Duration;

use homeostasis_core::port::{Notification, Notifier as _};
use homeostasis_core::record::Severity;
use homeostasis_core::{ErrorKind, IncidentId, Timestamp};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::testing::WallClock;

/// The failure of a mail to a server that sends `said` at once and then hangs up or is silent.
async fn told(said: &[u8], hangs_up: bool) -> (ErrorKind, String) {
    outcome(said, hangs_up).await.expect("a failure")
}

async fn outcome(said: &[u8], hangs_up: bool) -> Option<(ErrorKind, String)> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let mut config = EmailConfig::new("mail", "127.0.0.1", "a@x.example", ["b@x.example"]);
    config.security = EmailSecurity::Plain;
    config.port = listener.local_addr().expect("an address").port();
    config.within = Duration::from_millis(500);
    let server = async {
        let (mut stream, _) = listener.accept().await.expect("a caller");
        let _ = stream.write_all(said).await;
        if hangs_up {
            let _ = stream.shutdown().await;
        }
        let _ = stream.read_to_end(&mut Vec::new()).await;
    };
    let mail = Email::new(config, Arc::new(WallClock)).expect("a sound configuration");
    let (id, at) = (IncidentId::from_u128(7), Timestamp::from_secs(60));
    let message = Notification::new(id, Severity::Sev1, at, "down", "why");
    let (sent, ()) = tokio::join!(mail.notify(&message), async {
        let _ = tokio::time::timeout(Duration::from_secs(2), server).await;
    });
    let report = sent.err()?.report();
    Some((report.kind, report.to_string()))
}

#[tokio::test]
async fn a_server_that_misbehaves_is_told_apart_and_its_words_are_not_repeated() {
    use ErrorKind::{Permanent, Timeout, Transient};
    let hello = "220 hi\r\n250-me\r\n250 PIPELINING\r\n";
    let with = |rest: &str| format!("{hello}{rest}").into_bytes();
    let endless = [b"220 ".to_vec(), vec![b'x'; 40_000]].concat();
    for (said, hangs_up, kind, what) in [
        (b"".to_vec(), true, Transient, "hung up after the greeting"),
        (b"".to_vec(), false, Timeout, "no end within 500ms"),
        (
            b"554 go away hunter2\r\n".to_vec(),
            true,
            Permanent,
            "the greeting was answered 554",
        ),
        (
            b"HTTP/1.1 400 hunter2\r\n".to_vec(),
            true,
            Permanent,
            "no SMTP after the greeting",
        ),
        (endless, false, Permanent, "an endless line"),
        (
            with("450 hunter2\r\n"),
            true,
            Transient,
            "MAIL was answered 450",
        ),
        (
            with("250 ok\r\n550 hunter2\r\n"),
            true,
            Permanent,
            "RCPT was answered 550",
        ),
        (
            with("250 ok\r\n250 ok\r\n354 go\r\n552 hunter2\r\n"),
            true,
            Permanent,
            "the end of DATA was answered 552",
        ),
        (
            with("250 ok\r\n250 ok\r\n354 go\r\n"),
            true,
            Transient,
            "hung up after the end of DATA",
        ),
    ] {
        let (found, report) = told(&said, hangs_up).await;
        // A server that hung up may be noticed while it is written to.
        let is_cut = found == Transient && report.contains("writing");
        assert!(
            is_cut || (found == kind && report.contains(what)),
            "{report}, expected {what}"
        );
        assert!(!report.contains("hunter2"), "{report}");
    }
}

#[tokio::test]
async fn a_server_that_is_silent_after_the_mail_has_taken_it() {
    for rest in [
        "250 ok\r\n250 ok\r\n354 go\r\n250 taken\r\n",
        "250 ok\r\n250 ok\r\n354 go\r\n250 taken\r\nnonsense",
    ] {
        let said = format!("220 hi\r\n250 me\r\n{rest}");
        assert_eq!(outcome(said.as_bytes(), false).await, None);
    }
}

#[test]
fn everything_wrong_is_named_at_once_and_no_password_is_told_or_sent_in_the_clear() {
    let mut config = EmailConfig::new(
        "",
        "mail server",
        "a@x.example",
        ["ok@x.example", "b@x\r\nDATA"],
    );
    config.people.insert("cto".to_owned(), Vec::new());
    config
        .people
        .insert("ops".to_owned(), vec!["<c@x.example>".to_owned()]);
    config.login = Some(EmailLogin {
        user: "healer".to_owned(),
        password: "hunter2".into(),
    });
    config.security = EmailSecurity::Plain;
    config.within = Duration::ZERO;
    let error = config.check().unwrap_err();
    let paths: Vec<_> = error
        .violations()
        .iter()
        .map(|it| it.path.as_str())
        .collect();
    let expected = [
        "name",
        "server",
        "to[1]",
        "people.cto",
        "people.ops[0]",
        "security",
        "within",
    ];
    assert_eq!(paths, expected);
    assert!(!error.to_string().contains("hunter2"));
    for wrong in [
        "", "a", "@x", "a@", "a b@x", "a@x y", "a@x\n", "a@b@x", "a@x>", "a,b@x", "\"a\"@x", "ä@x",
        "-a@x",
    ] {
        let config = EmailConfig::new("mail", "localhost", "a@x.example", [wrong]);
        assert!(config.check().is_err(), "{wrong:?}");
    }
    let read = r#"{"name": "mail", "server": "smtp.example", "from": "a@x.example", "to": ["b@x.example"]}"#;
    let read: EmailConfig = serde_json::from_str(read).unwrap();
    assert_eq!(
        read,
        EmailConfig::new("mail", "smtp.example", "a@x.example", ["b@x.example"])
    );
    let error = Email::new(read, Arc::new(WallClock)).unwrap_err();
    assert!(error.to_string().contains("Email::trusting"), "{error}");
}
