//! Whom to trust.

use std::path::PathBuf;

use homeostasis_core::ConfigError;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde::{Deserialize, Serialize};

/// The authorities whose certificates are trusted.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrustRoots {
    /// Those that the operating system trusts.
    #[default]
    System,
    /// Those in a PEM file, and no others.
    Pem(PathBuf),
}

impl TrustRoots {
    pub(super) fn load(&self) -> Result<RootCertStore, ConfigError> {
        let mut store = RootCertStore::empty();
        match self {
            Self::System => {
                // One broken file among many must not take away all the others.
                let found = rustls_native_certs::load_native_certs();
                store.add_parsable_certificates(found.certs);
            }
            Self::Pem(path) => {
                let refused = |error: &dyn std::error::Error| self.refused(&error.to_string());
                let certificates =
                    CertificateDer::pem_file_iter(path).map_err(|error| refused(&error))?;
                for certificate in certificates {
                    store
                        .add(certificate.map_err(|error| refused(&error))?)
                        .map_err(|error| refused(&error))?;
                }
            }
        }
        if store.is_empty() {
            return Err(self.refused("it has none"));
        }
        Ok(store)
    }

    pub(super) fn refused(&self, why: &str) -> ConfigError {
        let found = match self {
            Self::System => "those of the system".to_owned(),
            Self::Pem(path) => format!("{:?}", path.display().to_string()),
        };
        ConfigError::single(
            "roots",
            found,
            format!("certificates of authorities: {why}"),
        )
    }
}
