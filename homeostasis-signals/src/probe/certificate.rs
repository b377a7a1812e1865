//! Looks at the certificate a server shows.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use homeostasis_core::signal::HealthState;
use homeostasis_core::{Clock, ConfigError, Context, Target, Timestamp, Violation, Violations};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use serde::{Deserialize, Serialize};
use tokio_rustls::TlsConnector;
use x509_cert::Certificate;
use x509_cert::der::Decode;

use super::blocking::Blocking;
use super::check::{Check, Finding, checks};
use super::probing::Probe;
use super::reading::Reading;
use super::refusal;
use crate::look_up::LookUps;
use crate::tls::{self, Shown, TrustRoots, Witness};

/// Where a certificate is looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum CertificateSource {
    /// At a TLS server, as a client sees it.
    Server {
        /// Host and port: `shop.example:443`.
        address: String,
        /// The name the certificate must be for; default the host of the address.
        #[serde(default)]
        server_name: Option<String>,
    },
    /// In a PEM file, all of them; only their dates are looked at.
    File(PathBuf),
}

/// Which certificate is looked at, and how long it must still be valid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertificateProbeConfig {
    /// What the probe is called.
    pub name: String,
    /// Whom it is about.
    pub target: Target,
    /// Where it is looked at.
    pub source: CertificateSource,
    /// Who may have issued it; default whom the system trusts.
    #[serde(default)]
    pub roots: TrustRoots,
    /// Less time until it expires is degraded; default 30 days.
    #[serde(
        default = "CertificateProbeConfig::default_degraded_below",
        with = "crate::duration_text"
    )]
    pub degraded_below: Duration,
    /// Less is unhealthy; default 7 days, at most `degraded_below`.
    #[serde(
        default = "CertificateProbeConfig::default_unhealthy_below",
        with = "crate::duration_text"
    )]
    pub unhealthy_below: Duration,
    /// How often it is asked; default 15 min.
    #[serde(
        default = "CertificateProbeConfig::default_interval",
        with = "crate::duration_text"
    )]
    pub interval: Duration,
    /// How long it may take; default 5 s.
    #[serde(
        default = "CertificateProbeConfig::default_timeout",
        with = "crate::duration_text"
    )]
    pub timeout: Duration,
}

impl CertificateProbeConfig {
    /// The defaults for the server at `address` of `target`.
    pub fn server(name: impl Into<String>, target: Target, address: impl Into<String>) -> Self {
        let source = CertificateSource::Server {
            address: address.into(),
            server_name: None,
        };
        Self::new(name, target, source)
    }

    /// The defaults for `source` of `target`.
    pub fn new(name: impl Into<String>, target: Target, source: CertificateSource) -> Self {
        Self {
            name: name.into(),
            target,
            source,
            roots: TrustRoots::default(),
            degraded_below: Self::default_degraded_below(),
            unhealthy_below: Self::default_unhealthy_below(),
            interval: Self::default_interval(),
            timeout: Self::default_timeout(),
        }
    }

    fn check(&self) -> Check<'_> {
        Check {
            name: &self.name,
            target: &self.target,
            interval: self.interval,
            timeout: self.timeout,
        }
    }

    fn default_degraded_below() -> Duration {
        Duration::from_secs(30 * 86_400)
    }

    fn default_unhealthy_below() -> Duration {
        Duration::from_secs(7 * 86_400)
    }

    fn default_interval() -> Duration {
        Duration::from_secs(15 * 60)
    }

    fn default_timeout() -> Duration {
        Duration::from_secs(5)
    }
}

const DAY: f64 = 86_400.0;

type Settings = dyn Fn() -> (rustls::ClientConfig, Arc<Witness>) + Send + Sync;

/// Looks at a certificate and at how long it is still valid.
///
/// It measures `up`, `probe_latency_seconds` and `certificate_expires_in_seconds` (of the server's
/// own certificate; in a file, of the first to expire; negative once it has), all with the label
/// `check`, and reports
/// - *healthy:* valid for long enough;
/// - *degraded:* valid for less than `degraded_below`, or another certificate the server shows is:
///   clients may find a path without that one, and one they need is refused when it expires;
/// - *unhealthy:* valid for less than `unhealthy_below`, or refused as any client would; the detail
///   begins with `expired`, `not valid yet`, `wrong name`, `untrusted issuer`, `bad signature`,
///   `invalid certificate`, `no tls` (the server speaks something else), `handshake`, or as
///   [`TcpProbe`](super::TcpProbe) has it. Revocation is not asked for.
///
/// The handshake is finished even with a server nobody should trust, so that the dates are known;
/// nothing is sent over the connection, and no session is kept.
///
/// # Examples
/// ```
/// use std::sync::Arc;
/// use homeostasis::core::{ManualClock, Target, Timestamp};
/// use homeostasis::signals::{CertificateProbe, CertificateProbeConfig, TrustRoots};
///
/// let mut config = CertificateProbeConfig::server("cert", Target::service("shop")?, "shop.example");
/// config.roots = TrustRoots::Pem("/nonexistent.pem".into());
/// let error = CertificateProbe::new(config, Arc::new(ManualClock::new(Timestamp::EPOCH))).unwrap_err();
/// let text = error.to_string();
/// assert!(text.contains("roots") && text.contains("expected host:port"), "{text}");
/// # Ok::<(), homeostasis::core::NameError>(())
/// ```
pub struct CertificateProbe {
    config: CertificateProbeConfig,
    settings: Option<Box<Settings>>,
    blocking: Blocking,
    look_ups: LookUps,
}

impl fmt::Debug for CertificateProbe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CertificateProbe")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl CertificateProbe {
    /// A probe that judges dates by `clock`. The roots are read once, now.
    ///
    /// # Errors
    /// - The name is empty, the address not `host:port`, or the server's name none of DNS or IP.
    /// - The roots cannot be read, or there are none.
    /// - A duration is zero, or `unhealthy_below` is more than `degraded_below`.
    pub fn new(config: CertificateProbeConfig, clock: Arc<dyn Clock>) -> Result<Self, ConfigError> {
        let mut wrong = Violations::new();
        config.check().validate(&mut wrong);
        if config.unhealthy_below > config.degraded_below {
            let found = format!("{:?}", config.unhealthy_below);
            let expected = "at most degraded_below";
            wrong.push(Violation::new("unhealthy_below", found, expected));
        }
        let settings = match &config.source {
            CertificateSource::File(_) => None,
            CertificateSource::Server {
                address,
                server_name,
            } => {
                match place(address, server_name.as_deref()) {
                    Ok(_) => {}
                    Err(violation) => wrong.push(violation),
                }
                let settings = wrong.absorb(tls::witnessing(&config.roots, clock));
                settings.map(|settings| Box::new(settings) as Box<Settings>)
            }
        };
        wrong.into_result(Self {
            config,
            settings,
            blocking: Blocking::default(),
            look_ups: LookUps::default(),
        })
    }

    async fn look(&self) -> Result<Shown, String> {
        let (address, server_name) = match &self.config.source {
            CertificateSource::File(path) => return self.read(path.clone()).await,
            CertificateSource::Server {
                address,
                server_name,
            } => (address, server_name),
        };
        let name =
            place(address, server_name.as_deref()).map_err(|violation| violation.to_string())?;
        let (settings, witness) = match &self.settings {
            Some(settings) => settings(),
            None => return Err("no TLS settings".to_owned()),
        };
        let connected = self.look_ups.connect(address).await;
        let stream = connected.map_err(|error| refusal::of_io(&error, address))?;
        let shaken = TlsConnector::from(Arc::new(settings))
            .connect(name, stream)
            .await;
        match (witness.shown(), shaken) {
            (Some(mut shown), Err(error)) => {
                let why = || format!("handshake: {address}: {error}");
                shown.refusal.get_or_insert_with(why);
                Ok(shown)
            }
            (Some(shown), Ok(_)) => Ok(shown),
            (None, Err(error)) => Err(handshake(&error, address)),
            (None, Ok(_)) => Err(format!("handshake: {address}: no certificate was shown")),
        }
    }

    async fn read(&self, path: PathBuf) -> Result<Shown, String> {
        self.blocking
            .run(move |_| {
                let place = path.display();
                let of = |error: rustls::pki_types::pem::Error| format!("{place}: {error}");
                let chain: Vec<_> = CertificateDer::pem_file_iter(&path)
                    .map_err(of)?
                    .collect::<Result<_, _>>()
                    .map_err(of)?;
                if chain.is_empty() {
                    return Err(format!("{place}: no certificate in it"));
                }
                Ok(Shown {
                    chain,
                    refusal: None,
                })
            })
            .await
            .and_then(|shown| shown)
    }

    /// How long what is looked at is still valid, and the finding.
    fn judge(&self, shown: &Shown, now: Timestamp) -> Result<(f64, Finding), String> {
        let is_file = matches!(self.config.source, CertificateSource::File(_));
        let own = if is_file { shown.chain.len() } else { 1 };
        let (own, others) = shown.chain.split_at(own.min(shown.chain.len()));
        let left = seconds_left(own, now)?;
        let finding = self.judge_own(shown, left);
        let soon = self.config.degraded_below.as_secs_f64();
        let beside = match seconds_left(others, now) {
            Ok(beside) if beside < soon => Some(format!("expires in {:.1} days", beside / DAY)),
            Ok(_) => None,
            Err(why) => Some(why),
        };
        Ok(match beside {
            Some(beside) if finding.state == HealthState::Healthy => {
                let detail = finding.detail;
                let detail = format!("{detail}; a certificate shown beside it: {beside}");
                (left, Finding::degraded(detail))
            }
            _ => (left, finding),
        })
    }

    fn judge_own(&self, shown: &Shown, left: f64) -> Finding {
        if let Some(why) = &shown.refusal {
            return Finding::unhealthy(why.clone());
        }
        let days = left / DAY;
        if left < 0.0 {
            return Finding::unhealthy(format!("expired: {:.1} days ago", -days));
        }
        let detail = format!("expires in {days:.1} days");
        if left < self.config.unhealthy_below.as_secs_f64() {
            Finding::unhealthy(detail)
        } else if left < self.config.degraded_below.as_secs_f64() {
            Finding::degraded(detail)
        } else {
            Finding::healthy(detail)
        }
    }
}

/// The name that the certificate at `address` must be for.
fn place(address: &str, server_name: Option<&str>) -> Result<ServerName<'static>, Violation> {
    let host = address
        .rsplit_once(':')
        .filter(|(_, port)| port.parse::<u16>().is_ok_and(|port| port > 0))
        .map(|(host, _)| host.trim_start_matches('[').trim_end_matches(']'))
        .ok_or_else(|| Violation::new("source.address", format!("{address:?}"), "host:port"))?;
    let name = server_name.unwrap_or(host).to_owned();
    ServerName::try_from(name.clone()).map_err(|_| {
        let expected = "a DNS name or an IP address";
        Violation::new("source.server_name", format!("{name:?}"), expected)
    })
}

fn handshake(error: &io::Error, address: &str) -> String {
    let tls = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match tls {
        Some(rustls::Error::InvalidMessage(_)) => {
            format!("no tls: {address} answers with something else: {error}")
        }
        Some(error) => format!("handshake: {address}: {error}"),
        None if error.kind() == io::ErrorKind::UnexpectedEof => {
            format!("handshake: {address} closed the connection")
        }
        None => refusal::of_io(error, address),
    }
}

/// For how many seconds all of `certificates` are still valid; negative if one is not any more, and
/// infinite if there are none.
fn seconds_left(certificates: &[CertificateDer<'_>], now: Timestamp) -> Result<f64, String> {
    let mut least = f64::INFINITY;
    for certificate in certificates {
        let read = Certificate::from_der(certificate)
            .map_err(|error| format!("invalid certificate: {error}"))?;
        let until = read.tbs_certificate().validity().not_after;
        let until = until.to_unix_duration().as_secs_f64();
        least = least.min(until - now.as_secs_f64());
    }
    Ok(least)
}

#[async_trait]
impl Probe for CertificateProbe {
    checks!(Comprehensive);

    async fn probe(&self, cx: &Context) -> Reading {
        let started = cx.now();
        let shown = self.look().await;
        let at = cx.now();
        let check = self.config.check();
        let looked = shown.and_then(|shown| self.judge(&shown, at));
        match looked {
            Err(why) => check.silent(started, at, Finding::unhealthy(why)),
            Ok((left, finding)) => check.answered(started, at, finding).measured(check.measure(
                "certificate_expires_in_seconds",
                at,
                left,
            )),
        }
    }
}
