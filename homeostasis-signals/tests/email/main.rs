//! Mails through a real SMTP server.
#![cfg(all(unix, feature = "email"))]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../otlp/python.rs"]
mod python;

use std::sync::Arc;
use std::time::Duration;

use homeostasis::SystemClock;
use homeostasis::core::port::{Notification, NotificationKind, Notifier};
use homeostasis::core::record::Severity;
use homeostasis::core::testing::engine::{Engine, Scratch, free_port};
use homeostasis::core::{ErrorKind, IncidentId, Timestamp};
use homeostasis::signals::{Email, EmailConfig, EmailLogin, EmailSecurity};
use serde_json::Value;

struct Server {
    folder: Scratch,
    _engine: Engine,
    port: u16,
}

impl Server {
    /// Starts it; with a certificate for `localhost` it asks for TLS and a login.
    fn start(is_secure: bool) -> Option<Self> {
        let mut command = python::script("aiosmtpd", include_str!("server.py"))?;
        let (folder, port) = (Scratch::new(), free_port());
        command
            .arg(port.to_string())
            .arg(folder.path().join("mails"));
        if is_secure {
            let authority =
                rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
            let (certificate, key) = (
                folder.path().join("cert.pem"),
                folder.path().join("key.pem"),
            );
            std::fs::write(&certificate, authority.cert.pem()).unwrap();
            std::fs::write(&key, authority.signing_key.serialize_pem()).unwrap();
            command.args([certificate, key]).args(["healer", "hunter2"]);
        }
        let mut engine = Engine::start(command);
        engine.wait_for_port(port, Duration::from_secs(30));
        Some(Self {
            folder,
            _engine: engine,
            port,
        })
    }

    fn config(&self) -> EmailConfig {
        let to = ["ops@shop.example", "night@shop.example"];
        let mut config = EmailConfig::new("mail", "localhost", "healer@shop.example", to);
        (config.port, config.security) = (self.port, EmailSecurity::Plain);
        config
    }

    /// What arrived.
    fn mails(&self) -> Vec<Value> {
        let mails = std::fs::read_to_string(self.folder.path().join("mails")).unwrap_or_default();
        mails
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

fn message(title: &str, body: &str) -> Notification {
    let (id, at) = (IncidentId::from_u128(7), Timestamp::from_secs(60));
    Notification::new(id, Severity::Sev1, at, title, body)
}

fn mailer(config: EmailConfig) -> Email {
    Email::new(config, Arc::new(SystemClock)).unwrap()
}

fn header<'a>(mail: &'a Value, name: &str) -> Vec<&'a str> {
    let headers = mail["headers"].as_array().unwrap().iter();
    let named = headers.filter(|it| it[0].as_str().unwrap().eq_ignore_ascii_case(name));
    named.map(|it| it[1].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_arrives_as_it_was_meant_and_nothing_in_it_becomes_a_header_or_a_recipient() {
    let Some(server) = Server::start(false) else {
        return;
    };
    let title =
        "SEV1 läden: \u{2603} down\r\nBcc: evil@example.com\r\n\r\nRCPT TO:<evil@example.com>";
    let body = format!("why\r\n.\r\nQUIT\r\n{}", "long line ".repeat(500));
    let said = message(title, &body);
    mailer(server.config()).notify(&said).await.unwrap();
    let mails = server.mails();
    let [mail] = &mails[..] else {
        panic!("{mails:?}");
    };
    assert_eq!(mail["from"], "healer@shop.example");
    assert_eq!(
        mail["to"],
        serde_json::json!(["night@shop.example", "ops@shop.example"])
    );
    let flat = title.replace(['\r', '\n'], " ");
    assert_eq!(header(mail, "Subject"), [flat.as_str()]);
    assert!(header(mail, "Bcc").is_empty());
    assert_eq!(mail["defects"], serde_json::json!([]));
    assert!(mail["longest"].as_u64().unwrap() <= 78, "{mail}");
    let text = mail["body"].as_str().unwrap().replace("\r\n", "\n");
    assert!(text.contains(&body.replace("\r\n", "\n")), "{text}");
    assert!(text.contains(&format!("incident {}", said.incident)));
    for name in [
        "From",
        "To",
        "Date",
        "Message-ID",
        "References",
        "Auto-Submitted",
    ] {
        assert_eq!(header(mail, name).len(), 1, "{name} in {mail}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn people_are_reached_by_name_and_a_mail_that_comes_twice_has_one_id() {
    let Some(server) = Server::start(false) else {
        return;
    };
    let mut config = server.config();
    config
        .people
        .insert("cto".to_owned(), vec!["eve@shop.example".to_owned()]);
    let mail = mailer(config);
    let mut said = message("down", "");
    said.to = vec!["cto".to_owned(), "nobody we know".to_owned()];
    mail.notify(&said).await.unwrap();
    mail.notify(&said).await.unwrap();
    said.kind = NotificationKind::Resolved;
    said.to = vec!["nobody we know".to_owned()];
    mail.notify(&said).await.unwrap();
    let mails = server.mails();
    assert_eq!(mails[0]["to"], serde_json::json!(["eve@shop.example"]));
    assert_eq!(mails[2]["to"].as_array().unwrap().len(), 2);
    let ids: Vec<_> = mails.iter().map(|it| header(it, "Message-ID")[0]).collect();
    assert!(ids[0] == ids[1] && ids[1] != ids[2], "{ids:?}");
    let threads: Vec<_> = mails.iter().map(|it| header(it, "References")[0]).collect();
    assert!(threads.iter().all(|it| *it == threads[0]), "{threads:?}");
    assert_eq!(header(&mails[2], "Subject"), ["[resolved] down"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_refused_keeps_the_mail_from_no_other_and_who_may_be_taken_later_is_tried_later() {
    let Some(server) = Server::start(false) else {
        return;
    };
    let to = |to: &[&str]| {
        let mut config = server.config();
        config.to = to.iter().map(|it| format!("{it}@shop.example")).collect();
        mailer(config)
    };
    let said = message("down", "");
    to(&["gone", "ops"]).notify(&said).await.unwrap();
    assert_eq!(
        server.mails()[0]["to"],
        serde_json::json!(["ops@shop.example"])
    );
    let error = to(&["gone"]).notify(&said).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Permanent);
    assert!(error.report().to_string().contains("RCPT was answered 550"));
    let error = to(&["busy", "gone"]).notify(&said).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Transient);
    assert_eq!(server.mails().len(), 1);
    to(&["busy", "ops"]).notify(&said).await.unwrap();
    assert_eq!(
        server.mails()[1]["to"],
        serde_json::json!(["ops@shop.example"])
    );
}

#[cfg(feature = "tls")]
#[tokio::test(flavor = "multi_thread")]
async fn with_tls_it_logs_in_and_without_a_server_to_be_trusted_nothing_is_said() {
    use homeostasis::signals::TrustRoots;

    let Some(server) = Server::start(true) else {
        return;
    };
    let mut config = server.config();
    config.security = EmailSecurity::StartTls;
    config.login = Some(EmailLogin {
        user: "healer".to_owned(),
        password: "hunter2".into(),
    });
    let roots = TrustRoots::Pem(server.folder.path().join("cert.pem"));
    let with = |config: &EmailConfig| {
        Email::trusting(config.clone(), Arc::new(SystemClock), &roots).unwrap()
    };
    let said = message("down", "");
    with(&config).notify(&said).await.unwrap();
    assert_eq!(server.mails()[0]["secure"], true);
    let mut wrong = config.clone();
    wrong.login.as_mut().unwrap().password = "guess".into();
    let error = with(&wrong).notify(&said).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert!(
        error.report().to_string().contains("AUTH was answered 535"),
        "{:?}",
        error.report()
    );
    // Another machine's certificate.
    let mut other = config.clone();
    other.server = "127.0.0.1".to_owned();
    let error = with(&other).notify(&said).await.unwrap_err();
    assert!(
        error
            .report()
            .to_string()
            .contains("no TLS that can be trusted")
    );
    // A server that offers none.
    let Some(plain) = Server::start(false) else {
        return;
    };
    config.port = plain.port;
    let error = with(&config).notify(&said).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert_eq!((server.mails().len(), plain.mails().len()), (1, 0));
    assert!(!format!("{:?}", with(&config)).contains("hunter2"));
}
