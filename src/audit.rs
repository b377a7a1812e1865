//! The audit log in the journal's store: a chain of records that survives the process.

use std::sync::Arc;

use homeostasis_core::port::{
    AuditEntry, AuditError, AuditRecord, AuditSink, ChainBreak, ChainHead, Commit, Store,
    StoreError, Version, tenant_key, verify_chain,
};
use homeostasis_core::{NodeId, TenantId, async_trait};
use serde_json::Value;
use tokio::sync::Mutex;

/// Where the names of all chains stand.
const CHAINS: &str = "audit/chains";

/// Another process of the same name appends too: how often its turn is awaited.
const ATTEMPTS: usize = 16;

/// The audit log in a [`Store`], one chain for each tenant and node.
///
/// A record and the new end of the chain are one commit, so that a crash leaves no gap. Nothing is
/// removed by itself.
///
/// # What the chain shows
/// Editing, removing or reordering a record breaks it where that happened. Cutting off its end is
/// found too, since the store keeps the end beside the records. A chain whose name was removed from
/// the list of chains is not looked at until the healer writes to it again. Whoever can write to the file can
/// rewrite the whole chain with its end: that only an end kept elsewhere shows. Note what
/// [`head`](AuditSink::head) says now and then where the healer cannot write, and give it to
/// [`verify`](Self::verify).
///
/// ```
/// use homeostasis::StoreAudit;
/// use homeostasis::core::port::{AuditEntry, AuditSink, MemoryStore};
/// use homeostasis::core::{NodeId, TenantId, Timestamp};
/// use std::sync::Arc;
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// let (store, tenant) = (Arc::new(MemoryStore::default()), TenantId::default());
/// let audit = StoreAudit::new(store, &tenant, &NodeId::default());
/// let entry = AuditEntry {
///     at: Timestamp::EPOCH,
///     tenant,
///     principal: "ada".to_owned(),
///     action: "approve".to_owned(),
///     subject: "plan 1".to_owned(),
///     allowed: true,
///     detail: serde_json::Value::Null,
/// };
/// let head = audit.append(entry).await.map(|_| audit.head())?.await?;
/// assert_eq!(audit.verify(Some(head)).await?, head);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct StoreAudit {
    store: Arc<dyn Store>,
    chain: String,
    /// The end as this process knows it, with the version of its document.
    end: Mutex<Option<(Version, ChainHead)>>,
}

/// Why a chain could not be verified.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// It does not hold.
    #[error(transparent)]
    Broken(#[from] ChainBreak),
    /// It could not be read.
    #[error("the audit log could not be read")]
    Unreadable(#[source] StoreError),
}

impl StoreAudit {
    /// The chain of `tenant` that `node` writes.
    pub fn new(store: Arc<dyn Store>, tenant: &TenantId, node: &NodeId) -> Self {
        Self::of_chain(store, tenant_key(tenant, node.as_str()))
    }

    /// The chain with this name.
    pub fn of_chain(store: Arc<dyn Store>, chain: impl Into<String>) -> Self {
        Self {
            store,
            chain: chain.into(),
            end: Mutex::new(None),
        }
    }

    /// The names of all chains in a store, in order.
    ///
    /// # Errors
    /// If the store fails, or what names them was changed.
    pub async fn chains(store: &dyn Store) -> Result<Vec<String>, StoreError> {
        match store.document(CHAINS).await? {
            Some(document) => read(CHAINS, document.value),
            None => Ok(Vec::new()),
        }
    }

    /// The name of the chain.
    pub fn chain(&self) -> &str {
        &self.chain
    }

    /// Reads the whole chain and checks it, also against the end that was `noted` elsewhere; returns
    /// its present end. O(records).
    ///
    /// # Errors
    /// - [`VerifyError::Broken`] names the first record that was edited, removed, reordered or cut off.
    /// - [`VerifyError::Unreadable`] if the store fails.
    pub async fn verify(&self, noted: Option<ChainHead>) -> Result<ChainHead, VerifyError> {
        let fail = |seq, reason| Err(VerifyError::Broken(ChainBreak { seq, reason }));
        let (_, end) = match self.load().await {
            Ok(end) => end,
            Err(StoreError::Corrupt { .. }) => {
                return fail(0, "what says where it ends was changed");
            }
            Err(error) => return Err(VerifyError::Unreadable(error)),
        };
        let mut head = ChainHead::genesis();
        let mut noted = noted;
        loop {
            if let Some(mark) = noted.filter(|mark| mark.seq == head.seq) {
                if mark.hash != head.hash {
                    return fail(
                        mark.seq,
                        "the chain before it is not the one that was noted",
                    );
                }
                noted = None;
            }
            let record = match self.record(head.seq).await {
                Ok(record) => record,
                Err(StoreError::Corrupt { .. }) => {
                    return fail(head.seq, "its content was changed");
                }
                Err(error) => return Err(VerifyError::Unreadable(error)),
            };
            match record {
                Some(_) if head.seq == end.seq => {
                    return fail(head.seq, "it lies beyond the end of the chain");
                }
                Some(record) => head = verify_chain(head, &[record])?,
                None if head.seq < end.seq => return fail(head.seq, "it is missing"),
                None => break,
            }
        }
        if head != end {
            return fail(end.seq, "the end of the chain was changed");
        }
        match noted {
            Some(_) => fail(head.seq, "the end of the chain was cut off"),
            None => Ok(head),
        }
    }

    /// The end of the chain as the store has it.
    async fn load(&self) -> Result<(Version, ChainHead), StoreError> {
        let key = self.head_key();
        match self.store.document(&key).await? {
            Some(document) => Ok((document.version, read(&key, document.value)?)),
            None => Ok((Version::NONE, ChainHead::genesis())),
        }
    }

    async fn record(&self, seq: u64) -> Result<Option<AuditRecord>, StoreError> {
        let key = self.record_key(seq);
        match self.store.document(&key).await? {
            Some(document) => read(&key, document.value).map(Some),
            None => Ok(None),
        }
    }

    fn head_key(&self) -> String {
        format!("audit/{}/head", self.chain)
    }

    fn record_key(&self, seq: u64) -> String {
        format!("audit/{}/{seq:020}", self.chain)
    }

    /// The first commit of a life also names the chain: a name that was removed comes back.
    async fn named(&self, commit: Commit) -> Result<Commit, StoreError> {
        let document = self.store.document(CHAINS).await?;
        let version = document.as_ref().map_or(Version::NONE, |it| it.version);
        let mut chains: Vec<String> = match document {
            Some(document) => read(CHAINS, document.value)?,
            None => Vec::new(),
        };
        let Err(place) = chains.binary_search(&self.chain) else {
            return Ok(commit);
        };
        chains.insert(place, self.chain.clone());
        Ok(commit.put(CHAINS, version, Value::from(chains)))
    }

    async fn try_append(
        &self,
        (version, head): (Version, ChainHead),
        is_first: bool,
        entry: AuditEntry,
    ) -> Result<(AuditRecord, (Version, ChainHead)), StoreError> {
        let (record, next) = head.append(entry);
        let mut commit = Commit::default()
            .put(self.head_key(), version, written(&next)?)
            .put(
                self.record_key(record.seq),
                Version::NONE,
                written(&record)?,
            );
        if is_first {
            commit = self.named(commit).await?;
        }
        self.store.commit(commit).await?;
        Ok((record, (Version(version.0 + 1), next)))
    }
}

#[async_trait]
impl AuditSink for StoreAudit {
    async fn append(&self, entry: AuditEntry) -> Result<AuditRecord, AuditError> {
        let mut end = self.end.lock().await;
        let mut attempt = 0;
        loop {
            // After a failure nobody knows where the end is but the store.
            let (known, is_first) = match end.take() {
                Some(known) => (known, false),
                None => (self.load().await.map_err(failed)?, true),
            };
            match self.try_append(known, is_first, entry.clone()).await {
                Ok((record, next)) => {
                    *end = Some(next);
                    return Ok(record);
                }
                Err(StoreError::Conflict { .. }) if attempt < ATTEMPTS => attempt += 1,
                Err(error) => return Err(failed(error)),
            }
        }
    }

    async fn records(&self, from: u64, limit: usize) -> Result<Vec<AuditRecord>, AuditError> {
        let mut records = Vec::new();
        for seq in from.. {
            if records.len() == limit {
                break;
            }
            match self.record(seq).await.map_err(failed)? {
                Some(record) => records.push(record),
                None => break,
            }
        }
        Ok(records)
    }

    async fn head(&self) -> Result<ChainHead, AuditError> {
        self.load().await.map(|(_, head)| head).map_err(failed)
    }
}

fn failed(error: StoreError) -> AuditError {
    AuditError::Failed {
        what: "writing or reading the audit log".to_owned(),
        kind: error.kind(),
        source: Some(Box::new(error)),
    }
}

fn read<T: serde::de::DeserializeOwned>(key: &str, value: Value) -> Result<T, StoreError> {
    serde_json::from_value(value).map_err(|source| StoreError::Corrupt {
        path: key.to_owned(),
        place: "its content".to_owned(),
        source: Some(Box::new(source)),
    })
}

fn written<T: serde::Serialize>(value: &T) -> Result<Value, StoreError> {
    serde_json::to_value(value).map_err(|source| StoreError::Invalid {
        reason: format!("an audit record: {source}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use homeostasis_core::Timestamp;
    use homeostasis_core::port::MemoryStore;

    fn entry(action: &str) -> AuditEntry {
        AuditEntry {
            at: Timestamp::from_secs(1_700_000_000),
            tenant: TenantId::default(),
            principal: "ada".to_owned(),
            action: action.to_owned(),
            subject: "orders".to_owned(),
            allowed: true,
            detail: serde_json::json!({"share": 0.1, "n": 3}),
        }
    }

    async fn log(n: usize) -> (Arc<dyn Store>, StoreAudit) {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
        let audit = StoreAudit::of_chain(Arc::clone(&store), "c");
        for i in 0..n {
            audit.append(entry(&format!("act {i}"))).await.unwrap();
        }
        (store, audit)
    }

    /// What somebody with the file does: writes or deletes a document.
    async fn tamper(store: &dyn Store, key: &str, value: Option<Value>) {
        let version = store
            .document(key)
            .await
            .unwrap()
            .map_or(Version::NONE, |it| it.version);
        let mut commit = Commit::default();
        commit.documents.push((key.to_owned(), version, value));
        store.commit(commit).await.unwrap();
    }

    #[tokio::test]
    async fn a_chain_goes_on_where_another_life_or_writer_left_it() {
        let (store, audit) = log(3).await;
        let other = StoreAudit::of_chain(Arc::clone(&store), "c");
        other.append(entry("other")).await.unwrap();
        // It does not know of the other's record.
        audit.append(entry("mine")).await.unwrap();
        let head = audit.verify(None).await.unwrap();
        assert_eq!(head.seq, 5);
        let said: Vec<_> = audit.records(2, 9).await.unwrap();
        let said: Vec<_> = said
            .iter()
            .map(|record| record.entry.action.as_str())
            .collect();
        assert_eq!(said, ["act 2", "other", "mine"]);
        StoreAudit::of_chain(Arc::clone(&store), "b")
            .append(entry("b"))
            .await
            .unwrap();
        assert_eq!(StoreAudit::chains(&*store).await.unwrap(), ["b", "c"]);
        // A name that somebody removed comes back with the next life.
        tamper(&*store, CHAINS, Some(serde_json::json!(["b"]))).await;
        let next = StoreAudit::of_chain(Arc::clone(&store), "c");
        next.append(entry("next")).await.unwrap();
        assert_eq!(StoreAudit::chains(&*store).await.unwrap(), ["b", "c"]);
    }

    #[tokio::test]
    async fn what_is_edited_removed_reordered_or_cut_off_is_found_where_it_happened() {
        let key = |seq: u64| format!("audit/c/{seq:020}");
        let broken = |error: VerifyError| match error {
            VerifyError::Broken(at) => (at.seq, at.reason),
            VerifyError::Unreadable(error) => panic!("{error}"),
        };
        // Edited.
        let (store, audit) = log(5).await;
        let mut value = store.document(&key(2)).await.unwrap().unwrap().value;
        value["principal"] = Value::from("eve");
        tamper(&*store, &key(2), Some(value)).await;
        let found = broken(audit.verify(None).await.unwrap_err());
        assert_eq!(found, (2, "its content was changed"));
        // Removed.
        let (store, audit) = log(5).await;
        tamper(&*store, &key(2), None).await;
        assert_eq!(
            broken(audit.verify(None).await.unwrap_err()),
            (2, "it is missing")
        );
        // Reordered.
        let (store, audit) = log(5).await;
        let one = store.document(&key(1)).await.unwrap().unwrap().value;
        let two = store.document(&key(2)).await.unwrap().unwrap().value;
        tamper(&*store, &key(1), Some(two)).await;
        tamper(&*store, &key(2), Some(one)).await;
        let found = broken(audit.verify(None).await.unwrap_err());
        assert_eq!(found, (1, "a record is missing, repeated or out of order"));
        // Cut off, with the end left as it was.
        let (store, audit) = log(5).await;
        tamper(&*store, &key(4), None).await;
        assert_eq!(
            broken(audit.verify(None).await.unwrap_err()),
            (4, "it is missing")
        );
        // Cut off with the end moved back, but what was cut off is still there.
        let (store, audit) = log(4).await;
        let end = store.document("audit/c/head").await.unwrap().unwrap().value;
        audit.append(entry("last")).await.unwrap();
        let noted = audit.head().await.unwrap();
        tamper(&*store, "audit/c/head", Some(end)).await;
        let found = broken(audit.verify(None).await.unwrap_err());
        assert_eq!(found, (4, "it lies beyond the end of the chain"));
        // Cut off with all of it: only an end that was noted elsewhere shows it.
        tamper(&*store, &key(4), None).await;
        assert_eq!(audit.verify(None).await.unwrap().seq, 4);
        let found = broken(audit.verify(Some(noted)).await.unwrap_err());
        assert_eq!(found, (4, "the end of the chain was cut off"));
        // Written anew from the beginning: the same.
        let (_, forged) = log(9).await;
        assert!(forged.verify(None).await.is_ok());
        let (_, other) = log(1).await;
        other.append(entry("another")).await.unwrap();
        let noted = other.head().await.unwrap();
        let found = broken(forged.verify(Some(noted)).await.unwrap_err());
        let expected = "the chain before it is not the one that was noted";
        assert_eq!(found, (2, expected));
    }
}
