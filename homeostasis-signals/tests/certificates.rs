//! Certificates as a client sees them, at a TLS server on a free port with certificates made here.
#![cfg(feature = "tls")]
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "the servers of a test are not the engine's tasks"
)]

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use homeostasis::core::port::{HttpClient, HttpRequest};
use homeostasis::core::signal::HealthState;
use homeostasis::core::testing::engine::free_port;
use homeostasis::core::{BoxFuture, Clock, Context, Target, Timestamp};
use homeostasis::signals::{
    CertificateProbe, CertificateProbeConfig, CertificateSource, HyperClient, TrustRoots, ask,
};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd,
};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

const DAY: f64 = 86_400.0;

/// An authority of this test, and its certificate as a file.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
}

impl Authority {
    fn new() -> Self {
        Self::named("authority")
    }

    fn named(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("roots.pem"), issuer.pem()).unwrap();
        Self { issuer, folder }
    }

    fn roots(&self) -> TrustRoots {
        TrustRoots::Pem(self.folder.path().join("roots.pem"))
    }

    /// A certificate for `name`, valid between two days of the year 2030, each month and day.
    fn certificate(&self, name: &str, from: (u8, u8), until: (u8, u8)) -> Leaf {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_before = date_time_ymd(2030, from.0, from.1);
        params.not_after = date_time_ymd(2030, until.0, until.1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Leaf {
            pem: certificate.pem(),
            certificate: certificate.der().clone(),
            key: PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        }
    }
}

/// What a server shows, and its key.
struct Leaf {
    pem: String,
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

/// It is the 15th of June 2030, whatever the wall says; waiting takes its real time.
#[derive(Debug)]
struct June15;

impl Clock for June15 {
    fn now(&self) -> Timestamp {
        "2030-06-15T00:00:00Z".parse().unwrap()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(duration))
    }
}

/// Serves HTTPS, and every request with `200 ok`.
async fn serve(leaf: Leaf) -> SocketAddr {
    serve_beside(leaf, Vec::new()).await
}

/// The same, showing more certificates beside its own.
async fn serve_beside(leaf: Leaf, others: Vec<CertificateDer<'static>>) -> SocketAddr {
    let shown = std::iter::once(leaf.certificate).chain(others).collect();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(shown, leaf.key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    return;
                };
                let mut request = [0; 4096];
                let _ = stream.read(&mut request).await;
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
                let _ = stream.write_all(answer).await;
                let _ = stream.shutdown().await;
            });
        }
    });
    address
}

struct Seen {
    state: HealthState,
    detail: String,
    days: Option<f64>,
}

async fn look(address: SocketAddr, name: &str, roots: TrustRoots) -> Seen {
    // Longer than any busy machine needs.
    look_within(Duration::from_secs(60), address, name, roots).await
}

async fn look_within(
    timeout: Duration,
    address: SocketAddr,
    name: &str,
    roots: TrustRoots,
) -> Seen {
    let target = Target::service("shop").unwrap();
    let source = CertificateSource::Server {
        address: address.to_string(),
        server_name: Some(name.to_owned()),
    };
    look_at(CertificateProbeConfig {
        roots,
        timeout,
        ..CertificateProbeConfig::new("cert", target, source)
    })
    .await
}

async fn look_at(config: CertificateProbeConfig) -> Seen {
    let clock: Arc<dyn Clock> = Arc::new(June15);
    let probe = CertificateProbe::new(config, Arc::clone(&clock)).unwrap();
    let reading = ask(&probe, &Context::new(clock, 1)).await;
    let report = reading.reports().next().unwrap();
    Seen {
        state: report.state,
        detail: report.detail.clone(),
        days: reading
            .value("certificate_expires_in_seconds")
            .map(|left| left / DAY),
    }
}

#[tokio::test]
async fn the_days_that_are_left_decide() {
    let authority = Authority::new();
    for (until, days, state) in [
        ((7, 30), 45.0, HealthState::Healthy),
        ((7, 5), 20.0, HealthState::Degraded),
        ((6, 18), 3.0, HealthState::Unhealthy),
    ] {
        let leaf = authority.certificate("shop.test", (1, 1), until);
        let seen = look(serve(leaf).await, "shop.test", authority.roots()).await;
        assert_eq!(seen.state, state, "{}", seen.detail);
        assert_eq!(seen.days, Some(days));
    }
}

#[tokio::test]
async fn an_expired_certificate_beside_one_that_clients_accept_is_no_failure() {
    let authority = Authority::new();
    let shop = |until| authority.certificate("shop.test", (1, 1), until);
    for (until, state) in [
        ((6, 13), HealthState::Degraded),
        ((12, 1), HealthState::Healthy),
    ] {
        let beside = vec![shop(until).certificate];
        let address = serve_beside(shop((7, 30)), beside).await;
        let seen = look(address, "shop.test", authority.roots()).await;
        assert_eq!(seen.state, state, "{}", seen.detail);
        assert!(
            seen.detail.starts_with("expires in 45.0 days"),
            "{}",
            seen.detail
        );
        assert_eq!(seen.days, Some(45.0));
    }
}

#[tokio::test]
async fn a_certificate_no_client_accepts_is_named_and_its_dates_are_known() {
    let authority = Authority::new();
    let stranger = Authority::named("stranger");
    let shop = |from, until| authority.certificate("shop.test", from, until);
    let expired = serve(shop((1, 1), (6, 13))).await;
    let future = serve(shop((8, 1), (12, 1))).await;
    let good = serve(shop((1, 1), (12, 1))).await;
    for (address, name, roots, begins) in [
        (expired, "shop.test", authority.roots(), "expired"),
        (future, "shop.test", authority.roots(), "not valid yet"),
        (good, "other.test", authority.roots(), "wrong name"),
        (good, "shop.test", stranger.roots(), "untrusted issuer"),
    ] {
        let seen = look(address, name, roots).await;
        assert_eq!(seen.state, HealthState::Unhealthy);
        assert!(seen.detail.starts_with(begins), "{begins}: {}", seen.detail);
        assert!(seen.days.is_some());
    }
}

/// A server without TLS that does `what` with whoever connects.
async fn plain(what: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut hello = [0; 1024];
                let _ = stream.read(&mut hello).await;
                match what {
                    "hang" => std::future::pending().await,
                    "close" => {}
                    _ => {
                        let _ = stream.write_all(what.as_bytes()).await;
                        // A socket closed over something unread is reset, and what it said may be lost.
                        let _ = stream.shutdown().await;
                        let _ = stream.read_to_end(&mut Vec::new()).await;
                    }
                }
            });
        }
    });
    address
}

#[tokio::test]
async fn servers_that_hang_close_or_speak_something_else_are_told_apart() {
    let authority = Authority::new();
    let gone = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let hasty = Duration::from_millis(300);
    let hangs = plain("hang").await;
    let seen = look_within(hasty, hangs, "shop.test", authority.roots()).await;
    assert_eq!(seen.state, HealthState::Unhealthy);
    assert!(seen.detail.starts_with("timeout"), "{}", seen.detail);
    assert!(seen.days.is_none());
    for (address, begins) in [
        (plain("close").await, "handshake"),
        (plain("HTTP/1.1 400 Bad Request\r\n\r\n").await, "no tls"),
        (gone, "connection refused"),
    ] {
        let seen = look(address, "shop.test", authority.roots()).await;
        assert_eq!(seen.state, HealthState::Unhealthy);
        assert!(seen.detail.starts_with(begins), "{begins}: {}", seen.detail);
        assert!(seen.days.is_none());
    }
}

#[tokio::test]
async fn a_file_is_judged_by_the_first_of_its_certificates_to_expire() {
    let authority = Authority::new();
    let path = authority.folder.path().join("chain.pem");
    let short = authority.certificate("shop.test", (1, 1), (6, 25)).pem;
    fs::write(&path, format!("{}{short}", authority.issuer.pem())).unwrap();
    let target = Target::service("shop").unwrap();
    let of = |path| {
        let source = CertificateSource::File(path);
        CertificateProbeConfig::new("cert", target.clone(), source)
    };
    let seen = look_at(of(path)).await;
    assert_eq!(seen.state, HealthState::Degraded, "{}", seen.detail);
    assert_eq!(seen.days, Some(10.0));
    let seen = look_at(of(authority.folder.path().join("gone.pem"))).await;
    assert_eq!(seen.state, HealthState::Unhealthy);
    assert!(seen.detail.contains("gone.pem"), "{}", seen.detail);
}

#[tokio::test]
async fn https_is_asked_where_the_issuer_is_trusted_and_nowhere_else() {
    let authority = Authority::new();
    let leaf = authority.certificate("localhost", (1, 1), (12, 1));
    let port = serve(leaf).await.port();
    let request = HttpRequest::get(format!("https://localhost:{port}/healthz"));
    let client = || HyperClient::new(Arc::new(June15));
    let trusting = client().trusting(&authority.roots()).unwrap();
    assert_eq!(trusting.send(request.clone()).await.unwrap().text(), "ok");
    let stranger = client()
        .trusting(&Authority::named("stranger").roots())
        .unwrap();
    let refused = stranger.send(request.clone()).await.unwrap_err();
    let words = refused.report().to_string();
    assert!(words.contains("UnknownIssuer"), "{words}");
    let words = client().send(request).await.unwrap_err().to_string();
    assert!(words.contains("no TLS"), "{words}");
}
