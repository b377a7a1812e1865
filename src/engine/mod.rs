//! The engine: interprets core's healing cycle on tokio.
//!
//! ```text
//! Recorder, probes ──> Intake ──> sense ──> Board ──> heal (one task per incident)
//!                                   │                  │  Diagnose, Plan, AskGate, Execute, Verify …
//!                                   v                  v
//!                                 Window <── reads ── stages        IncidentJournal ──> Store
//! ```

mod analysis;
mod board;
mod calls;
mod commanded;
mod events;
mod evidence;
mod flood;
mod gatekeeper;
mod guard;
mod hand_over;
mod heal;
mod health;
mod intake;
mod journal;
mod lease;
mod models;
mod operator;
mod outbox;
mod pager;
mod recorder;
mod recover;
mod refine;
mod rehearse;
mod remember;
mod retain;
#[cfg(feature = "remediate")]
mod roll_out;
mod sense;
mod settings;
mod shared;
mod slots;
mod tasks;
mod triage;
mod versions;
mod watchman;
mod window;

use std::collections::BTreeMap;
use std::sync::Arc;

use homeostasis_core::cycle::replay;
use homeostasis_core::record::{EventKind, HealEvent, Resolution};
use homeostasis_core::signal::SignalSink;
use homeostasis_core::stage::Detector;
use homeostasis_core::{
    Cancellation, Clock, Context, Flags, Incident, IncidentId, KillSwitch, Mode, Observations,
    Topology,
};
use tokio::sync::broadcast;

pub use events::Events;
pub use evidence::{EvidenceError, IncidentEvidence, LeftOut};
pub use flood::FloodSettings;
pub use health::{Blame, EngineHealth};
pub use models::ModelHealth;
pub use operator::{CommandError, Operator};
pub use outbox::ChannelHealth;
pub use recorder::{Recorder, Series};
pub use recover::Recovered;
pub use rehearse::Rehearsal;
#[cfg(feature = "remediate")]
pub use roll_out::RollOutError;
#[cfg(feature = "remediate")]
pub(crate) use roll_out::Rollouts;
pub use settings::EngineSettings;
pub use versions::PlaybookVersion;

pub(crate) use analysis::Panel;
pub(crate) use evidence::Look;
pub(crate) use flood::Flood;
pub(crate) use intake::Intake;
use models::Models;
pub(crate) use outbox::{NOTIFIER, Outbox};

pub(crate) use journal::{JournalError, JournalPorts, describe};
pub(crate) use refine::GuardedRedactor;
pub(crate) use retain::Keeping;
pub(crate) use shared::{Controls, Shared, Stages};
pub(crate) use tasks::Tasks;
pub(crate) use watchman::{Strangers, Watchmen, stop_while_there};
pub(crate) use window::{Window, WindowLimits};

/// Why the engine could not do what a caller asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// No incident has this id.
    #[error("{0} is unknown")]
    UnknownIncident(IncidentId),
    /// The incident is closed.
    #[error("{0} is closed")]
    Closed(IncidentId),
    /// It is not possible in its present state.
    #[error("{id}: {reason}")]
    Refused {
        /// Which incident.
        id: IncidentId,
        /// Why.
        reason: String,
    },
    /// The store failed.
    #[error("the store failed")]
    Store(#[source] homeostasis_core::port::StoreError),
}

/// A running healer. Cheap to clone; all clones are the same healer.
///
/// Made by [`Homeostasis::builder`]. Dropping it does not stop it:
/// [`shutdown`](Homeostasis::shutdown) does.
#[derive(Debug, Clone)]
pub struct Homeostasis {
    pub(crate) shared: Arc<Shared>,
    recovered: Arc<Recovered>,
    #[cfg(feature = "remediate")]
    pub(crate) shelf: Option<Arc<crate::playbooks::Shelf>>,
    #[cfg(feature = "signals")]
    pub(crate) trigger: homeostasis_signals::ProbeTrigger,
}

impl Homeostasis {
    /// Recovers what was left open, then starts sensing.
    pub(crate) async fn launch(
        shared: Arc<Shared>,
        mut detectors: Vec<Box<dyn Detector>>,
        (keeping, keeps_models): (Keeping, bool),
    ) -> Result<Self, JournalError> {
        // Before anything is taken up again.
        shared.recall().await?;
        shared.journal.outbox.restore(&shared).await?;
        let recovered = recover::recover(&shared).await?;
        for (id, reason) in &recovered.unreadable {
            tracing::error!(incident = %id, reason, "the journal of an incident cannot be understood");
        }
        #[cfg(feature = "signals")]
        shared.health_board.ask({
            // The board belongs to the engine: no engine keeps itself alive.
            let (engine, settings) = (Arc::downgrade(&shared), shared.settings.clone());
            let gone = health::Vitals::default();
            move |now| match engine.upgrade() {
                Some(shared) => shared.vitals.report(&settings, now),
                None => gone.report(&settings, now),
            }
        });
        shared.tasks.spawn(remember::reread(Arc::clone(&shared)));
        let mut asked = Vec::new();
        if keeps_models && shared.settings.model_bytes > 0 {
            let models;
            (models, asked) = Models::restore(&shared, &mut detectors).await;
            shared.tasks.spawn(models::run(Arc::clone(&shared), models));
        }
        shared
            .tasks
            .spawn(sense::run(Arc::clone(&shared), detectors, asked));
        shared.tasks.spawn(pager::run(Arc::clone(&shared)));
        Outbox::start(&shared);
        shared
            .tasks
            .spawn(retain::run(Arc::clone(&shared), keeping));
        Ok(Self {
            shared,
            recovered: Arc::new(recovered),
            #[cfg(feature = "remediate")]
            shelf: None,
            #[cfg(feature = "signals")]
            trigger: homeostasis_signals::ProbeTrigger::default(),
        })
    }

    /// What recovery found when this healer started.
    pub fn recovered(&self) -> &Recovered {
        &self.recovered
    }

    /// The host's way to record signals.
    pub fn recorder(&self) -> Recorder {
        Recorder::new(
            Arc::clone(&self.shared.intake),
            Arc::clone(self.shared.clock()),
        )
    }

    /// The intake, for capture and probes.
    pub fn sink(&self) -> Arc<dyn SignalSink> {
        Arc::clone(&self.shared.intake) as Arc<_>
    }

    /// Recent signals.
    pub fn observations(&self) -> Arc<dyn Observations> {
        Arc::clone(&self.shared.window) as Arc<_>
    }

    /// The clock it runs on.
    pub fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(self.shared.clock())
    }

    /// Who depends on whom.
    pub fn topology(&self) -> &Topology {
        &self.shared.topology
    }

    /// What is cancelled when it shuts down.
    pub fn cancellation(&self) -> Cancellation {
        self.shared.cancellation.clone()
    }

    /// A context that is about no incident: for probes and tools.
    pub fn context(&self) -> Context {
        self.shared
            .context(None, self.shared.settings.stage_deadline)
            .without_deadline()
    }

    /// Runs `task` until it ends or the healer shuts down.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let cancellation = self.shared.cancellation.clone();
        self.shared.tasks.spawn(async move {
            tokio::select! {
                biased;
                () = cancellation.cancelled() => {}
                () = task => {}
            }
        });
    }

    /// The events from now on.
    pub fn subscribe(&self) -> Events {
        Events::new(
            self.shared.journal.events.subscribe(),
            self.shared.stopped.clone(),
        )
    }

    /// How far it may go by itself.
    pub fn mode(&self) -> Mode {
        self.shared.mode()
    }

    /// Changes how far it may go by itself, on behalf of the host: what people command goes through
    /// [`operator`](Homeostasis::operator), which asks who they are, keeps a record and survives a
    /// restart, as this does not. Steps in flight are not stopped: that is what
    /// [`kill_switch`](Homeostasis::kill_switch) is for.
    pub fn set_mode(&self, mode: Mode) {
        self.shared.set_mode(mode);
    }

    /// Replaces the feature flags.
    pub fn set_flags(&self, flags: Flags) {
        self.shared.set_flags(flags);
    }

    /// Stops every effect at once, with or without a store.
    pub fn kill_switch(&self) -> KillSwitch {
        self.shared.controls.kill_switch.clone()
    }

    /// Its own health.
    pub fn health(&self) -> EngineHealth {
        let (lost_samples, lost_records) = self.shared.intake.lost();
        EngineHealth {
            queue_depth: self.shared.intake.depth(),
            lost_samples,
            lost_records,
            suppressed_records: self.shared.intake.suppressed(),
            open_incidents: self.shared.board().n_open(),
            waiting_heals: self.shared.slots.n_waiting(),
            ..self.shared.vitals.read()
        }
    }

    /// The incidents that are open.
    pub fn open_incidents(&self) -> Vec<IncidentId> {
        self.shared.board().open().collect()
    }

    /// Known incidents, newest first, at most `limit`.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn incidents(&self, limit: usize) -> Result<Vec<IncidentId>, EngineError> {
        self.shared
            .journal
            .store
            .incidents(limit)
            .await
            .map_err(EngineError::Store)
    }

    /// The present state of any incident the store knows.
    ///
    /// # Errors
    /// If it is unknown, its journal cannot be understood, or the store fails.
    pub async fn incident(&self, id: IncidentId) -> Result<Incident, EngineError> {
        incident_of(&self.shared, id).await
    }

    /// The events of any incident the store knows; empty if it is unknown.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn events_of(&self, id: IncidentId) -> Result<Vec<HealEvent>, EngineError> {
        self.shared
            .journal
            .store
            .read(id)
            .await
            .map_err(EngineError::Store)
    }

    /// The evidence of the last analysis of an incident, to be saved and looked at again:
    /// [`Builder::diagnose`](crate::Builder::diagnose).
    ///
    /// It is kept in memory while newer analyses leave room: all that is kept is at most as large as
    /// the budget of one ([`EngineSettings::evidence_bytes`]), or one analysis.
    ///
    /// # Errors
    /// If the incident is unknown, was not analyzed in this life or its evidence had to make room, or
    /// the store fails.
    pub async fn evidence(&self, id: IncidentId) -> Result<IncidentEvidence, EngineError> {
        let mut events = self.events_of(id).await?;
        if events.is_empty() {
            return Err(EngineError::UnknownIncident(id));
        }
        let look = self.shared.kept_evidence().of(id).cloned();
        let Some(look) = look else {
            let reason = "no evidence is kept of it".to_owned();
            return Err(EngineError::Refused { id, reason });
        };
        events.truncate(usize::try_from(look.n_events).unwrap_or(usize::MAX));
        let story = evidence::Story {
            tenant: self.shared.tenant.clone(),
            seed: self.shared.seed,
            flags: look
                .flags
                .iter()
                .map(|(flag, on)| (flag.to_owned(), on))
                .collect(),
            topology: (*self.shared.topology).clone(),
            events,
            from: look.from,
            to: look.to,
            besides: look.besides.to_vec(),
            left_out: look.left_out,
            complete_since: look.complete_since,
        };
        Ok(IncidentEvidence::new(story, &look.frozen))
    }

    /// How the channels do through which people are told, by name.
    pub fn channels(&self) -> BTreeMap<String, ChannelHealth> {
        self.shared.journal.outbox.health()
    }

    /// Closes an incident on behalf of a person the host vouches for.
    ///
    /// The host has proven who they are and that they may: the access control is not asked and the
    /// audit log not written; the journal keeps the name and the note. Nothing is done by it, and a host
    /// whose own incident management is the authority closes here what was closed there.
    /// [`Operator::close_incident`] asks and audits.
    ///
    /// # Errors
    /// If it is unknown or closed, or effects are in flight.
    pub async fn close_incident(
        &self,
        id: IncidentId,
        by: impl Into<String>,
        note: impl Into<String>,
    ) -> Result<(), EngineError> {
        close(&self.shared, id, by.into(), note.into()).await
    }

    /// Stops: no new work begins, steps in flight get the configured grace, then everything ends.
    ///
    /// What is unfinished stays in the journal and is taken up at the next start. Returns how many
    /// tasks had to be ended.
    pub async fn shutdown(&self) -> usize {
        self.shared.cancellation.cancel();
        let grace = self.shared.settings.shutdown_grace;
        let ended = self
            .shared
            .tasks
            .finish(&**self.shared.clock(), grace)
            .await;
        self.shared.stopped.cancel();
        ended
    }
}

/// The present state of any incident the store knows.
async fn incident_of(shared: &Shared, id: IncidentId) -> Result<Incident, EngineError> {
    let events = shared.journal.store.read(id).await;
    replay(&events.map_err(EngineError::Store)?)
        .map_err(|error| EngineError::Refused {
            id,
            reason: error.to_string(),
        })?
        .ok_or(EngineError::UnknownIncident(id))
}

/// The journal of an open incident, or why there is none.
async fn open_journal(
    shared: &Shared,
    id: IncidentId,
) -> Result<Arc<journal::IncidentJournal>, EngineError> {
    if let Some(journal) = shared.journal_of(id) {
        return Ok(journal);
    }
    incident_of(shared, id).await?;
    Err(EngineError::Closed(id))
}

async fn close(
    shared: &Shared,
    id: IncidentId,
    by: String,
    note: String,
) -> Result<(), EngineError> {
    let journal = open_journal(shared, id).await?;
    let resolution = Resolution::Manual { by, note };
    let closed = vec![EventKind::Closed { resolution }];
    appended(id, journal.append(closed).await)
}

async fn acknowledge(
    shared: &Shared,
    id: IncidentId,
    by: String,
    note: String,
) -> Result<(), EngineError> {
    let journal = open_journal(shared, id).await?;
    if let Some(taken) = &journal.incident().await.escalation.acknowledged {
        let reason = format!("{} has acknowledged it at {}", taken.by, taken.at);
        return Err(EngineError::Refused { id, reason });
    }
    let kind = EventKind::Acknowledged { by, note };
    appended(id, journal.append(vec![kind]).await)
}

/// What a caller is told of an append.
fn appended<T>(id: IncidentId, appended: Result<T, JournalError>) -> Result<(), EngineError> {
    match appended {
        Ok(_) => Ok(()),
        Err(JournalError::Store(error)) => Err(EngineError::Store(error)),
        Err(error) => Err(EngineError::Refused {
            id,
            reason: describe(&error),
        }),
    }
}

/// A stream with room for this many events per slow subscriber.
pub(crate) fn event_channel() -> broadcast::Sender<Arc<HealEvent>> {
    broadcast::channel(1024).0
}
