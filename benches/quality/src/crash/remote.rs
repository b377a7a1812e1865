//! A journal and leases that several healers share: kept by the drill, asked through a socket.
//!
//! The journal's file belongs to one process. To see what a healer does that was stopped while
//! another one took over, both must outlive neither the file nor each other: the drill holds it, and
//! answers one request of one line on each connection.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use homeostasis::core::port::{
    ClosedIncident, Commit, CoordinateError, Coordinator, Document, Fence, FencingToken, Lease,
    LocalCoordinator, Store, StoreError, Version,
};
use homeostasis::core::record::HealEvent;
use homeostasis::core::{IncidentId, Timestamp, async_trait};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};

type Token = (String, FencingToken);

#[derive(Debug, Serialize, Deserialize)]
enum Request {
    Commit {
        events: Vec<HealEvent>,
        expected: u64,
        fence: Option<Token>,
        hits: Vec<(String, Timestamp)>,
        documents: Vec<(String, u64, Option<Value>)>,
    },
    Read(IncidentId),
    ReadTime(Timestamp, Timestamp, usize),
    OpenIncidents,
    Incidents(usize),
    Hits(String, Timestamp),
    LastHit(String),
    Document(String),
    Documents(String, usize),
    NextToken(String),
    PruneHits(Timestamp),
    Acquire(String, String, Duration),
    Renew(Token, Timestamp, Duration),
    Release(Token, Timestamp),
}

/// Why not; both kinds of error in the form that passes the socket.
#[derive(Debug, Serialize, Deserialize)]
enum Refusal {
    Conflict(String, u64, u64),
    Fenced(String, FencingToken, FencingToken),
    Invalid(String),
    Held(String, String, Timestamp),
    Lost(String, FencingToken),
    Io(String),
}

type Answer = Result<Value, Refusal>;

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Conflict {
                what,
                expected,
                found,
            } => Self::Conflict(what, expected.0, found.0),
            StoreError::Fenced {
                resource,
                held,
                newest,
            } => Self::Fenced(resource, held, newest),
            StoreError::Invalid { reason } => Self::Invalid(reason),
            other => Self::Io(other.to_string()),
        }
    }
}

impl From<CoordinateError> for Refusal {
    fn from(error: CoordinateError) -> Self {
        match error {
            CoordinateError::Held {
                resource,
                holder,
                until,
            } => Self::Held(resource, holder, until),
            CoordinateError::Lost { resource, token } => Self::Lost(resource, token),
            other => Self::Io(other.to_string()),
        }
    }
}

impl From<Refusal> for StoreError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Conflict(what, expected, found) => Self::Conflict {
                what,
                expected: Version(expected),
                found: Version(found),
            },
            Refusal::Fenced(resource, held, newest) => Self::Fenced {
                resource,
                held,
                newest,
            },
            Refusal::Invalid(reason) => Self::Invalid { reason },
            other => StoreError::Io {
                what: "asking the shared journal".to_owned(),
                source: format!("{other:?}").into(),
            },
        }
    }
}

/// How often a healer came too late.
#[derive(Debug, Default)]
pub(crate) struct Refused {
    /// Writes under a lease that was not the newest.
    pub(crate) fenced: AtomicU64,
    /// Writes of somebody who did not know what another had written.
    pub(crate) conflicts: AtomicU64,
    /// Renewals of a lease that was lost.
    pub(crate) lost: AtomicU64,
}

impl Refused {
    pub(crate) fn counters(&self) -> [&AtomicU64; 3] {
        [&self.fenced, &self.conflicts, &self.lost]
    }
}

/// Answers on `socket` until it is dropped.
pub(crate) async fn serve(
    socket: PathBuf,
    store: Arc<dyn Store>,
    leases: Arc<LocalCoordinator>,
    refused: Arc<Refused>,
) -> std::io::Result<()> {
    let listener = UnixListener::bind(socket)?;
    loop {
        let (stream, _) = listener.accept().await?;
        let (store, leases) = (Arc::clone(&store), Arc::clone(&leases));
        let refused = Arc::clone(&refused);
        #[expect(
            clippy::disallowed_methods,
            reason = "the drill serves a healer, and is no part of one"
        )]
        tokio::spawn(async move {
            // A client that was killed hears no answer; what it asked for is done all the same.
            let _ = answer_one(stream, &*store, &leases, &refused).await;
        });
    }
}

async fn answer_one(
    stream: UnixStream,
    store: &dyn Store,
    leases: &LocalCoordinator,
    refused: &Refused,
) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    stream.read_line(&mut line).await?;
    let request = serde_json::from_str(&line)?;
    let answer = perform(request, store, leases).await;
    match &answer {
        Err(Refusal::Fenced(..)) => refused.fenced.fetch_add(1, Ordering::Relaxed),
        Err(Refusal::Conflict(..)) => refused.conflicts.fetch_add(1, Ordering::Relaxed),
        Err(Refusal::Lost(..)) => refused.lost.fetch_add(1, Ordering::Relaxed),
        _ => 0,
    };
    stream.write_all(&serde_json::to_vec(&answer)?).await
}

async fn perform(request: Request, store: &dyn Store, leases: &LocalCoordinator) -> Answer {
    Ok(match request {
        Request::Commit {
            events,
            expected,
            fence,
            hits,
            documents,
        } => {
            let fence = fence.map(|(resource, token)| Fence { resource, token });
            let mut commit = Commit::append(Version(expected), events).fenced(fence);
            commit.hits = hits;
            commit.documents = documents
                .into_iter()
                .map(|(key, version, value)| (key, Version(version), value))
                .collect();
            json(&store.commit(commit).await?.0)?
        }
        Request::Read(id) => json(&store.read(id).await?)?,
        Request::ReadTime(from, to, limit) => json(&store.read_time(from, to, limit).await?)?,
        Request::OpenIncidents => json(&store.open_incidents().await?)?,
        Request::Incidents(limit) => json(&store.incidents(limit).await?)?,
        Request::Hits(key, since) => json(&store.hits(&key, since).await?)?,
        Request::LastHit(key) => json(&store.last_hit(&key).await?)?,
        Request::Document(key) => {
            let document = store.document(&key).await?;
            json(&document.map(|document| (document.version.0, document.value)))?
        }
        Request::Documents(prefix, limit) => {
            let documents = store.documents(&prefix, limit).await?;
            let documents = documents.into_iter();
            let documents: Vec<_> = documents
                .map(|(key, document)| (key, document.version.0, document.value))
                .collect();
            json(&documents)?
        }
        Request::NextToken(resource) => json(&store.next_token(&resource).await?)?,
        Request::PruneHits(before) => json(&store.prune_hits(before).await?)?,
        Request::Acquire(resource, holder, ttl) => {
            let lease = leases.acquire(&resource, &holder, ttl).await?;
            json(&(lease.token, lease.expires))?
        }
        Request::Renew((resource, token), expires, ttl) => {
            let lease = Lease::new(resource, token, expires);
            let lease = leases.renew(&lease, ttl).await?;
            json(&(lease.token, lease.expires))?
        }
        Request::Release((resource, token), expires) => {
            leases.release(&Lease::new(resource, token, expires)).await;
            Value::Null
        }
    })
}

fn json(value: &impl Serialize) -> Answer {
    serde_json::to_value(value).map_err(|error| Refusal::Io(error.to_string()))
}

/// The shared journal and the leases, as a healer sees them.
#[derive(Clone)]
pub(crate) struct Remote(PathBuf);

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Remote({})", self.0.display())
    }
}

impl Remote {
    pub(crate) fn new(socket: PathBuf) -> Self {
        Self(socket)
    }

    async fn ask<T: DeserializeOwned>(&self, request: Request) -> Result<T, Refusal> {
        let exchange = async {
            let mut stream = UnixStream::connect(&self.0).await?;
            let mut line = serde_json::to_vec(&request)?;
            line.push(b'\n');
            stream.write_all(&line).await?;
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await?;
            serde_json::from_slice::<Answer>(&answer).map_err(std::io::Error::other)
        };
        let answer = exchange
            .await
            .unwrap_or_else(|error| Err(Refusal::Io(error.to_string())))?;
        serde_json::from_value(answer).map_err(|error| Refusal::Io(error.to_string()))
    }

    async fn asked<T: DeserializeOwned>(&self, request: Request) -> Result<T, StoreError> {
        self.ask(request).await.map_err(StoreError::from)
    }
}

#[async_trait]
impl Store for Remote {
    async fn commit(&self, commit: Commit) -> Result<Version, StoreError> {
        let request = Request::Commit {
            events: commit.events,
            expected: commit.expected.0,
            fence: commit.fence.map(|fence| (fence.resource, fence.token)),
            hits: commit.hits,
            documents: commit
                .documents
                .into_iter()
                .map(|(key, version, value)| (key, version.0, value))
                .collect(),
        };
        self.asked(request).await.map(Version)
    }

    async fn read(&self, incident: IncidentId) -> Result<Vec<HealEvent>, StoreError> {
        self.asked(Request::Read(incident)).await
    }

    async fn read_time(
        &self,
        from: Timestamp,
        to: Timestamp,
        limit: usize,
    ) -> Result<Vec<HealEvent>, StoreError> {
        self.asked(Request::ReadTime(from, to, limit)).await
    }

    async fn open_incidents(&self) -> Result<Vec<IncidentId>, StoreError> {
        self.asked(Request::OpenIncidents).await
    }

    async fn incidents(&self, limit: usize) -> Result<Vec<IncidentId>, StoreError> {
        self.asked(Request::Incidents(limit)).await
    }

    async fn hits(&self, key: &str, since: Timestamp) -> Result<u64, StoreError> {
        self.asked(Request::Hits(key.to_owned(), since)).await
    }

    async fn last_hit(&self, key: &str) -> Result<Option<Timestamp>, StoreError> {
        self.asked(Request::LastHit(key.to_owned())).await
    }

    async fn document(&self, key: &str) -> Result<Option<Document>, StoreError> {
        let document: Option<(u64, Value)> = self.asked(Request::Document(key.to_owned())).await?;
        Ok(document.map(|(version, value)| Document {
            version: Version(version),
            value,
        }))
    }

    async fn documents(
        &self,
        prefix: &str,
        limit: usize,
    ) -> Result<Vec<(String, Document)>, StoreError> {
        let request = Request::Documents(prefix.to_owned(), limit);
        let documents: Vec<(String, u64, Value)> = self.asked(request).await?;
        let documents = documents.into_iter().map(|(key, version, value)| {
            let version = Version(version);
            (key, Document { version, value })
        });
        Ok(documents.collect())
    }

    async fn next_token(&self, resource: &str) -> Result<FencingToken, StoreError> {
        self.asked(Request::NextToken(resource.to_owned())).await
    }

    async fn prune_hits(&self, before: Timestamp) -> Result<u64, StoreError> {
        self.asked(Request::PruneHits(before)).await
    }

    async fn closed_incidents(&self) -> Result<Vec<ClosedIncident>, StoreError> {
        // Nobody looks after the age of the drill's journal.
        Ok(Vec::new())
    }

    async fn forget(&self, _: &[(IncidentId, Version)]) -> Result<u64, StoreError> {
        Ok(0)
    }
}

#[async_trait]
impl Coordinator for Remote {
    async fn acquire(
        &self,
        resource: &str,
        holder: &str,
        ttl: Duration,
    ) -> Result<Lease, CoordinateError> {
        let request = Request::Acquire(resource.to_owned(), holder.to_owned(), ttl);
        lease(resource, self.ask(request).await)
    }

    async fn renew(&self, held: &Lease, ttl: Duration) -> Result<Lease, CoordinateError> {
        let token = (held.resource.clone(), held.token);
        lease(
            &held.resource,
            self.ask(Request::Renew(token, held.expires, ttl)).await,
        )
    }

    async fn release(&self, held: &Lease) {
        let token = (held.resource.clone(), held.token);
        // A lease that could not be given back runs out.
        let _ = self
            .ask::<Value>(Request::Release(token, held.expires))
            .await;
    }
}

fn lease(
    resource: &str,
    answer: Result<(FencingToken, Timestamp), Refusal>,
) -> Result<Lease, CoordinateError> {
    match answer {
        Ok((token, expires)) => Ok(Lease::new(resource, token, expires)),
        Err(Refusal::Held(resource, holder, until)) => Err(CoordinateError::Held {
            resource,
            holder,
            until,
        }),
        Err(Refusal::Lost(resource, token)) => Err(CoordinateError::Lost { resource, token }),
        Err(other) => Err(CoordinateError::Store {
            resource: resource.to_owned(),
            source: other.into(),
        }),
    }
}
