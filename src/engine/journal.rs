//! The journal of one incident: every change passes the transition function, then the store, then
//! the event stream.

use std::sync::Arc;

use homeostasis_core::cycle::{IllegalTransition, Incident, replay, transition};
use homeostasis_core::port::{Commit, Fence, Redactor, Store, StoreError, Version};
use homeostasis_core::record::{EventKind, HealEvent, SCHEMA_VERSION};
use homeostasis_core::stage::RunJournal;
use homeostasis_core::{Clock, ErrorKind, IncidentId, NodeId, async_trait};
use tokio::sync::{Mutex, broadcast};

use crate::engine::outbox::{self, Letter, Outbox};

/// Why an event was not appended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JournalError {
    /// It cannot follow what is there.
    #[error("the event is not legal here")]
    Illegal(#[from] IllegalTransition),
    /// The store refused or failed.
    #[error("the store refused")]
    Store(#[from] StoreError),
    /// What would be executed holds a secret, and the journal keeps none.
    #[error(
        "a secret in the {0}; let it name the secret (a variable, a file) instead of holding it"
    )]
    Secret(String),
    /// There is nothing to go on from.
    #[error("{0} has no events")]
    Unknown(IncidentId),
}

impl JournalError {
    /// What may be done next.
    pub(crate) fn kind(&self) -> ErrorKind {
        match self {
            Self::Store(error) => error.kind(),
            Self::Illegal(_) | Self::Secret(_) | Self::Unknown(_) => ErrorKind::Permanent,
        }
    }
}

/// What all journals share.
#[derive(Debug, Clone)]
pub(crate) struct JournalPorts {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) node: NodeId,
    pub(crate) events: broadcast::Sender<Arc<HealEvent>>,
    /// Every event passes it before it is committed, published or acted on.
    pub(crate) redactor: Arc<dyn Redactor>,
    /// What events ask to tell is durable with them.
    pub(crate) outbox: Arc<Outbox>,
}

/// The journal of one incident, with its present state.
#[derive(Debug)]
pub(crate) struct IncidentJournal {
    id: IncidentId,
    ports: JournalPorts,
    held: Mutex<Held>,
}

/// The state as this process knows it.
#[derive(Debug)]
struct Held {
    incident: Arc<Incident>,
    /// A write failed: whether it is durable nobody knows until the store is read again.
    stale: bool,
}

impl Held {
    fn fresh(incident: Incident) -> Mutex<Self> {
        Mutex::new(Self {
            incident: Arc::new(incident),
            stale: false,
        })
    }
}

impl IncidentJournal {
    /// Opens a new incident and hits `counter`; `kinds` begins with [`EventKind::Opened`].
    pub(crate) async fn open(
        ports: JournalPorts,
        id: IncidentId,
        kinds: Vec<EventKind>,
        counter: Option<String>,
    ) -> Result<Self, JournalError> {
        let (incident, events, letters) = advance(&ports, id, None, kinds)?;
        let incident = incident.ok_or(JournalError::Unknown(id))?;
        let commit = Commit::append(Version::NONE, events.clone());
        let mut commit = outbox::keeping(commit, &letters);
        if let Some(counter) = counter {
            commit = commit.hit(counter, incident.opened_at);
        }
        ports.store.commit(commit).await?;
        ports.outbox.queue(letters);
        publish(&ports, events);
        Ok(Self {
            id,
            ports,
            held: Held::fresh(incident),
        })
    }

    /// Takes up an incident that another process left.
    pub(crate) async fn resume(ports: JournalPorts, id: IncidentId) -> Result<Self, JournalError> {
        let incident = replay(&ports.store.read(id).await?)?.ok_or(JournalError::Unknown(id))?;
        Ok(Self {
            id,
            ports,
            held: Held::fresh(incident),
        })
    }

    pub(crate) fn id(&self) -> IncidentId {
        self.id
    }

    /// The present state; after a failed write, as the store has it.
    pub(crate) async fn incident(&self) -> Arc<Incident> {
        let mut held = self.held.lock().await;
        if held.stale
            && let Err(error) = self.reload(&mut held).await
        {
            tracing::error!(incident = %self.id, error = describe(&error), "the journal cannot be read");
        }
        Arc::clone(&held.incident)
    }

    async fn reload(&self, held: &mut Held) -> Result<(), JournalError> {
        let events = self.ports.store.read(self.id).await?;
        let known = held.incident.n_events;
        let (mut state, mut letters) = (None, Vec::new());
        for event in &events {
            let after = transition(state, event)?.0;
            if event.seq >= known {
                let redactor = &*self.ports.redactor;
                letters.extend(self.ports.outbox.letters(event, &after, redactor));
            }
            state = Some(after);
        }
        held.incident = Arc::new(state.ok_or(JournalError::Unknown(self.id))?);
        held.stale = false;
        self.ports.outbox.queue(letters);
        // What turned out to be durable has not been told yet.
        publish(
            &self.ports,
            events
                .into_iter()
                .filter(|event| event.seq >= known)
                .collect(),
        );
        Ok(())
    }

    /// Appends; everything becomes durable together, with what `extend` adds to the commit.
    pub(crate) async fn append_with(
        &self,
        kinds: Vec<EventKind>,
        extend: impl FnOnce(Commit) -> Commit,
    ) -> Result<Arc<Incident>, JournalError> {
        let mut held = self.held.lock().await;
        if held.stale {
            self.reload(&mut held).await?;
        }
        self.write(&mut held, kinds, extend).await
    }

    async fn write(
        &self,
        held: &mut Held,
        kinds: Vec<EventKind>,
        extend: impl FnOnce(Commit) -> Commit,
    ) -> Result<Arc<Incident>, JournalError> {
        let expected = Version(held.incident.n_events);
        let present = Some((*held.incident).clone());
        let (next, events, letters) = advance(&self.ports, self.id, present, kinds)?;
        let next = next.ok_or(JournalError::Unknown(self.id))?;
        let commit = outbox::keeping(Commit::append(expected, events.clone()), &letters);
        if let Err(error) = self.ports.store.commit(extend(commit)).await {
            held.stale = true;
            return Err(error.into());
        }
        held.incident = Arc::new(next);
        self.ports.outbox.queue(letters);
        publish(&self.ports, events);
        Ok(Arc::clone(&held.incident))
    }

    /// Appends what `kinds` makes of the present state, if it makes anything. If the store fails,
    /// people are told all the same what they would have been told.
    pub(crate) async fn call(
        &self,
        kinds: impl Fn(&Incident) -> Vec<EventKind>,
    ) -> Result<(), JournalError> {
        let mut held = self.held.lock().await;
        let written = if held.stale {
            self.reload(&mut held).await
        } else {
            Ok(())
        };
        let written = match written {
            Ok(()) => match kinds(&held.incident) {
                none if none.is_empty() => return Ok(()),
                some => self.write(&mut held, some, |commit| commit).await.map(drop),
            },
            Err(error) => Err(error),
        };
        // Another writer calls people itself; in every other case there are only people left.
        let is_dead = |error: &StoreError| {
            !matches!(
                error,
                StoreError::Conflict { .. } | StoreError::Fenced { .. }
            )
        };
        if matches!(&written, Err(JournalError::Store(error)) if is_dead(error)) {
            let present = Some((*held.incident).clone());
            let kinds = kinds(&held.incident);
            let (_, _, letters) = advance(&self.ports, self.id, present, kinds)?;
            self.ports.outbox.queue_unkept(letters);
        }
        written
    }

    /// Appends.
    pub(crate) async fn append(
        &self,
        kinds: Vec<EventKind>,
    ) -> Result<Arc<Incident>, JournalError> {
        self.append_with(kinds, |commit| commit).await
    }
}

#[async_trait]
impl RunJournal for IncidentJournal {
    async fn append(&self, kind: EventKind, fence: Fence) -> Result<(), StoreError> {
        match self
            .append_with(vec![kind], |commit| commit.fenced(Some(fence)))
            .await
        {
            Ok(_) => Ok(()),
            Err(JournalError::Store(error)) => Err(error),
            Err(other) => Err(StoreError::Invalid {
                reason: describe(&other),
            }),
        }
    }
}

/// An error with its causes in one line.
pub(crate) fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// The state after some events, the events, and what they ask to tell.
type Advanced = (Option<Incident>, Vec<HealEvent>, Vec<Letter>);

fn advance(
    ports: &JournalPorts,
    id: IncidentId,
    mut state: Option<Incident>,
    kinds: Vec<EventKind>,
) -> Result<Advanced, JournalError> {
    let at = ports.clock.now();
    let mut letters = Vec::new();
    let mut events = Vec::with_capacity(kinds.len());
    for mut kind in kinds {
        kind.redact(&*ports.redactor);
        if let Some(place) = kind.secret_parameter(&*ports.redactor) {
            return Err(JournalError::Secret(place));
        }
        let event = HealEvent {
            schema_version: SCHEMA_VERSION,
            incident: id,
            seq: state.as_ref().map_or(0, |incident| incident.n_events),
            at,
            node: ports.node.clone(),
            kind,
        };
        let after = transition(state, &event)?.0;
        letters.extend(ports.outbox.letters(&event, &after, &*ports.redactor));
        state = Some(after);
        events.push(event);
    }
    Ok((state, events, letters))
}

fn publish(ports: &JournalPorts, events: Vec<HealEvent>) {
    for event in events {
        // Without a subscriber there is nobody to tell.
        let _ = ports.events.send(Arc::new(event));
    }
}
