//! TLS as a client: whom to trust, and what the other side shows.

mod roots;
mod witness;

use std::sync::Arc;
use std::time::Duration;

use homeostasis_core::{Clock, ConfigError, Timestamp};
use rustls::client::{WantsClientCert, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::UnixTime;
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, ConfigBuilder, WantsVerifier};

pub use self::roots::TrustRoots;
pub(crate) use self::witness::{Shown, Witness};

/// Settings of a client that verifies whom it talks to.
pub(crate) fn verifying(
    trust: &TrustRoots,
    clock: Arc<dyn Clock>,
) -> Result<ClientConfig, ConfigError> {
    let verifier = verifier(trust)?;
    let builder: ConfigBuilder<ClientConfig, WantsClientCert> =
        builder(clock)?.with_webpki_verifier(verifier);
    Ok(builder.with_no_client_auth())
}

/// Settings of a client that finishes the handshake with anybody and keeps what was shown, and
/// what a verifying client would have said to it. Nothing must be sent over such a connection.
pub(crate) fn witnessing(
    trust: &TrustRoots,
    clock: Arc<dyn Clock>,
) -> Result<impl Fn() -> (ClientConfig, Arc<Witness>) + use<>, ConfigError> {
    let (verifier, builder) = (verifier(trust)?, builder(clock)?);
    Ok(move || {
        let witness = Arc::new(Witness::new(Arc::clone(&verifier)));
        let shared: Arc<Witness> = Arc::clone(&witness);
        let config = builder
            .clone()
            .dangerous()
            .with_custom_certificate_verifier(shared)
            .with_no_client_auth();
        (config, witness)
    })
}

fn verifier(trust: &TrustRoots) -> Result<Arc<WebPkiServerVerifier>, ConfigError> {
    WebPkiServerVerifier::builder_with_provider(Arc::new(trust.load()?), provider())
        .build()
        .map_err(|error| trust.refused(&error.to_string()))
}

fn builder(
    clock: Arc<dyn Clock>,
) -> Result<ConfigBuilder<ClientConfig, WantsVerifier>, ConfigError> {
    ClientConfig::builder_with_details(provider(), Arc::new(TlsClock(clock)))
        .with_safe_default_protocol_versions()
        .map_err(|error| ConfigError::single("tls", "ring", error.to_string()))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// The injected clock, as certificates are judged by it.
#[derive(Debug)]
struct TlsClock(Arc<dyn Clock>);

impl TimeProvider for TlsClock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(unix(self.0.now()))
    }
}

fn unix(at: Timestamp) -> UnixTime {
    let since: Duration = at.since(Timestamp::EPOCH);
    UnixTime::since_unix_epoch(since)
}
