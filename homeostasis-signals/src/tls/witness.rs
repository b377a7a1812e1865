//! Keeps the certificates that a server showed.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};

/// What a server showed.
#[derive(Debug, Clone)]
pub(crate) struct Shown {
    /// Its own certificate first, then those that vouch for it.
    pub(crate) chain: Vec<CertificateDer<'static>>,
    /// Why a verifying client would have refused it.
    pub(crate) refusal: Option<String>,
}

/// A verifier that lets everybody pass and remembers what the real one said.
#[derive(Debug)]
pub(crate) struct Witness {
    real: Arc<WebPkiServerVerifier>,
    shown: Mutex<Option<Shown>>,
}

impl Witness {
    pub(super) fn new(real: Arc<WebPkiServerVerifier>) -> Self {
        Self {
            real,
            shown: Mutex::default(),
        }
    }

    /// What was shown, if the handshake came that far.
    pub(crate) fn shown(&self) -> Option<Shown> {
        self.shown
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = self.real.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        );
        let chain = std::iter::once(end_entity)
            .chain(intermediates)
            .map(|certificate| certificate.clone().into_owned())
            .collect();
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = Some(Shown {
            chain,
            refusal: verified.err().map(|error| name_of(&error)),
        });
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.real
            .verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.real
            .verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.real.supported_verify_schemes()
    }
}

/// Why a certificate was refused: first the reason as everybody calls it.
fn name_of(error: &Error) -> String {
    let name = match error {
        Error::InvalidCertificate(reason) => match reason {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => "expired",
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "not valid yet"
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "wrong name"
            }
            CertificateError::UnknownIssuer => "untrusted issuer",
            CertificateError::BadSignature => "bad signature",
            CertificateError::Revoked => "revoked",
            _ => "invalid certificate",
        },
        _ => "invalid certificate",
    };
    format!("{name}: {error}")
}
