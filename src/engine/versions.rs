//! Versions: the text of each playbook that a plan was made from, kept under its hash.

use std::sync::Arc;

use homeostasis_core::record::PlaybookRef;
use homeostasis_core::{Digest, ErrorKind, ErrorReport};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::engine::journal::JournalError;
use crate::engine::shared::Shared;
use crate::engine::{EngineError, Homeostasis};

/// A playbook as it was when a plan was made from it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PlaybookVersion {
    /// Its id.
    pub id: String,
    /// Its version, as its author counts.
    pub version: String,
    /// The hash of its text as it was read.
    pub hash: Digest,
    /// Its text.
    pub text: String,
    /// Whether a secret was taken out of the text, so that it has another hash now.
    pub redacted: bool,
}

fn key(hash: Digest) -> String {
    format!("playbook/{hash}")
}

/// Those of `sources` that the store does not hold yet, as documents to write.
pub(crate) async fn unknown(
    shared: &Shared,
    sources: Vec<(PlaybookRef, Arc<str>)>,
) -> Result<Vec<(String, Value)>, JournalError> {
    let mut documents: Vec<(String, Value)> = Vec::new();
    for (PlaybookRef { id, version, hash }, text) in sources {
        let key = key(hash);
        if documents.iter().any(|(known, _)| *known == key)
            || shared.journal.store.document(&key).await?.is_some()
        {
            continue;
        }
        // What stands under a hash is what hashes to it, whoever made the plan.
        if Digest::of_bytes(text.as_bytes()) != hash {
            let what = format!("the text given for {id} is not the one its plan names");
            let report = ErrorReport::message(ErrorKind::Permanent, what);
            shared.blame("remediator", &id, &report);
            continue;
        }
        let kept = shared.redacted(&text);
        let document = PlaybookVersion {
            redacted: *kept != *text,
            text: kept,
            id,
            version,
            hash,
        };
        // It holds texts only.
        if let Ok(document) = serde_json::to_value(document) {
            documents.push((key, document));
        }
    }
    Ok(documents)
}

impl Homeostasis {
    /// The playbook that a plan was made from, by the hash in
    /// [`Plan::playbook`](homeostasis_core::record::Plan::playbook), as it was then; `None` if the
    /// store does not have it.
    ///
    /// # Errors
    /// If the store fails, or holds something else under this name.
    pub async fn playbook_version(
        &self,
        hash: Digest,
    ) -> Result<Option<PlaybookVersion>, EngineError> {
        use homeostasis_core::port::StoreError;

        let key = key(hash);
        let found = self.shared.journal.store.document(&key).await;
        let Some(document) = found.map_err(EngineError::Store)? else {
            return Ok(None);
        };
        let version = serde_json::from_value(document.value).map_err(|source| {
            EngineError::Store(StoreError::Corrupt {
                path: key,
                place: document.version.to_string(),
                source: Some(Box::new(source)),
            })
        })?;
        Ok(Some(version))
    }
}
