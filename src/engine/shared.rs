//! What the engine's tasks share.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use homeostasis_core::policy::{EscalationRules, Policy};
use homeostasis_core::port::{Approvals, Coordinator, Enricher, KnowledgeBase, Version};
use homeostasis_core::record::Diagnosis;
use homeostasis_core::stage::{Analyzer, Fuser, Remediator, Verifier};
use homeostasis_core::{
    Cancellation, Clock, Context, ErrorReport, Flags, Incident, IncidentId, KillSwitch, Mode, Rng,
    RunId, TenantId, Timestamp, Topology,
};

use crate::engine::board::{Board, Grouping};
use crate::engine::commanded::Commanded;
use crate::engine::evidence::{DiagnosisCache, DiagnosisKey, KeptEvidence};
use crate::engine::health::Vitals;
use crate::engine::intake::Intake;
use crate::engine::journal::{IncidentJournal, JournalPorts};
use crate::engine::settings::EngineSettings;
use crate::engine::slots::Slots;
use crate::engine::tasks::Tasks;
use crate::engine::watchman::Watchmen;
use crate::engine::window::Window;

/// The stages behind the detectors.
#[derive(Debug)]
pub(crate) struct Stages {
    pub(crate) analyzers: Vec<Arc<dyn Analyzer>>,
    pub(crate) fuser: Arc<dyn Fuser>,
    pub(crate) remediators: Vec<Arc<dyn Remediator>>,
    pub(crate) verifiers: Vec<Arc<dyn Verifier>>,
    #[cfg(feature = "remediate")]
    pub(crate) rollouts: crate::engine::Rollouts,
}

/// What may change while the engine runs.
#[derive(Debug)]
pub(crate) struct Controls {
    pub(crate) mode: RwLock<Mode>,
    /// What holds when a pause is over.
    pub(crate) unpaused: RwLock<Mode>,
    pub(crate) flags: RwLock<Flags>,
    pub(crate) kill_switch: KillSwitch,
    /// The mode it was started with.
    pub(crate) configured: Mode,
    /// What the store has of what was commanded.
    pub(crate) kept: tokio::sync::Mutex<(Version, Commanded)>,
}

impl Controls {
    /// A healer that begins with a pause observes after it: nobody said anything else.
    pub(crate) fn new(mode: Mode, flags: Flags, kill_switch: KillSwitch) -> Self {
        let unpaused = match &mode {
            Mode::Paused { .. } => Mode::default(),
            other => other.clone(),
        };
        Self {
            configured: mode.clone(),
            kept: tokio::sync::Mutex::default(),
            mode: RwLock::new(mode),
            unpaused: RwLock::new(unpaused),
            flags: RwLock::new(flags),
            kill_switch,
        }
    }
}

/// Everything the engine's tasks share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) settings: EngineSettings,
    pub(crate) policy: Policy,
    pub(crate) escalation: EscalationRules,
    pub(crate) controls: Controls,
    pub(crate) topology: Arc<Topology>,
    pub(crate) tenant: TenantId,
    pub(crate) journal: JournalPorts,
    pub(crate) environment: String,
    pub(crate) guard: Watchmen,
    pub(crate) coordinator: Arc<dyn Coordinator>,
    pub(crate) approvals: Arc<dyn Approvals>,
    /// What helped before.
    pub(crate) knowledge: Arc<dyn KnowledgeBase>,
    pub(crate) stages: Stages,
    pub(crate) intake: Arc<Intake>,
    pub(crate) window: Arc<Window>,
    pub(crate) enrichers: Vec<Arc<dyn Enricher>>,
    /// What the checks say now.
    #[cfg(feature = "signals")]
    pub(crate) health_board: homeostasis_signals::HealthBoard,
    pub(crate) vitals: Vitals,
    diagnoses: Mutex<DiagnosisCache>,
    kept_evidence: Mutex<KeptEvidence>,
    pub(crate) slots: Slots,
    pub(crate) tasks: Tasks,
    /// Asks every task to end.
    pub(crate) cancellation: Cancellation,
    /// Every task has ended: no event follows.
    pub(crate) stopped: Cancellation,
    /// Incidents whose opening may or may not be durable.
    doubtful: Mutex<Vec<IncidentId>>,
    pub(crate) seed: u64,
    /// Draws names: seeded from the seed and the start time, so that two lives do not collide.
    pub(crate) ids: Mutex<Rng>,
    board: Mutex<Board>,
    journals: Mutex<BTreeMap<IncidentId, Arc<IncidentJournal>>>,
}

impl Shared {
    #[expect(
        clippy::too_many_arguments,
        reason = "called once, by the builder, with named locals"
    )]
    pub(crate) fn new(
        settings: EngineSettings,
        (policy, escalation): (Policy, EscalationRules),
        controls: Controls,
        topology: Topology,
        journal: JournalPorts,
        (environment, guard): (String, Watchmen),
        (coordinator, approvals, knowledge): (
            Arc<dyn Coordinator>,
            Arc<dyn Approvals>,
            Arc<dyn KnowledgeBase>,
        ),
        stages: Stages,
        (intake, window, enrichers): (Arc<Intake>, Arc<Window>, Vec<Arc<dyn Enricher>>),
        seed: u64,
    ) -> Self {
        #[cfg(feature = "signals")]
        let health_board = homeostasis_signals::HealthBoard::default()
            .redacted_by(Arc::clone(&journal.redactor))
            .clocked_by(Arc::clone(&journal.clock));
        let life = Rng::from_seed(seed).fork(journal.clock.now().as_nanos().unsigned_abs());
        Self {
            slots: Slots::new(settings.max_concurrent_heals),
            settings,
            policy,
            escalation,
            controls,
            topology: Arc::new(topology),
            tenant: TenantId::default(),
            journal,
            environment,
            guard,
            coordinator,
            approvals,
            knowledge,
            stages,
            intake,
            window,
            enrichers,
            #[cfg(feature = "signals")]
            health_board,
            vitals: Vitals::default(),
            diagnoses: Mutex::default(),
            kept_evidence: Mutex::default(),
            tasks: Tasks::default(),
            cancellation: Cancellation::default(),
            stopped: Cancellation::default(),
            doubtful: Mutex::default(),
            seed,
            ids: Mutex::new(life),
            board: Mutex::default(),
            journals: Mutex::default(),
        }
    }

    pub(crate) fn clock(&self) -> &Arc<dyn Clock> {
        &self.journal.clock
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.journal.clock.now()
    }

    pub(crate) fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The evidence of the last analyses.
    pub(crate) fn kept_evidence(&self) -> MutexGuard<'_, KeptEvidence> {
        let kept = self.kept_evidence.lock();
        kept.unwrap_or_else(PoisonError::into_inner)
    }

    /// A diagnosis that still holds.
    pub(crate) fn cached_diagnosis(&self, key: &DiagnosisKey) -> Option<Diagnosis> {
        let cache = self.diagnoses.lock();
        let cache = cache.unwrap_or_else(PoisonError::into_inner);
        let cached = cache.get(key, self.now(), self.settings.diagnosis_ttl);
        cached.cloned()
    }

    /// Remembers a diagnosis.
    pub(crate) fn cache_diagnosis(&self, key: DiagnosisKey, diagnosis: &Diagnosis) {
        let cache = self.diagnoses.lock();
        let mut cache = cache.unwrap_or_else(PoisonError::into_inner);
        let size = self.settings.diagnosis_cache;
        cache.put(key, diagnosis.clone(), self.now(), size);
    }

    /// Incidents whose opening may or may not be durable.
    pub(crate) fn doubtful(&self) -> MutexGuard<'_, Vec<IncidentId>> {
        self.doubtful.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The journals of the open incidents.
    pub(crate) fn journals(&self) -> MutexGuard<'_, BTreeMap<IncidentId, Arc<IncidentJournal>>> {
        self.journals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The journal of an open incident.
    pub(crate) fn journal_of(&self, id: IncidentId) -> Option<Arc<IncidentJournal>> {
        self.journals().get(&id).map(Arc::clone)
    }

    pub(crate) fn grouping(&self) -> Grouping {
        Grouping {
            window: self.settings.correlation_window,
            aftershock: self.settings.aftershock,
            max_open: self.settings.max_open_incidents,
        }
    }

    /// How far it may go; after a pause, what held before it.
    pub(crate) fn mode(&self) -> Mode {
        let read = |mode: &RwLock<Mode>| {
            let mode = mode.read();
            mode.unwrap_or_else(PoisonError::into_inner).clone()
        };
        match read(&self.controls.mode) {
            Mode::Paused { until, .. } if until <= self.now() => read(&self.controls.unpaused),
            mode => mode,
        }
    }

    pub(crate) fn set_mode(&self, mode: Mode) {
        let controls = &self.controls;
        if !matches!(mode, Mode::Paused { .. }) {
            let unpaused = controls.unpaused.write();
            unpaused
                .unwrap_or_else(PoisonError::into_inner)
                .clone_from(&mode);
        }
        *controls
            .mode
            .write()
            .unwrap_or_else(PoisonError::into_inner) = mode;
    }

    /// Begins a pause, or prolongs the present one.
    ///
    /// # Errors
    /// The end of the present one if that lasts as long or longer.
    pub(crate) fn begin_pause(
        &self,
        by: String,
        why: String,
        until: Timestamp,
    ) -> Result<(), Timestamp> {
        let mode = self.controls.mode.write();
        let mut mode = mode.unwrap_or_else(PoisonError::into_inner);
        match &*mode {
            Mode::Paused { until: present, .. } if *present >= until => Err(*present),
            _ => {
                *mode = Mode::Paused { by, why, until };
                Ok(())
            }
        }
    }

    /// The mode as it was set, and what holds after a pause.
    pub(crate) fn modes(&self) -> (Mode, Mode) {
        let read = |mode: &RwLock<Mode>| {
            let mode = mode.read();
            mode.unwrap_or_else(PoisonError::into_inner).clone()
        };
        (read(&self.controls.mode), read(&self.controls.unpaused))
    }

    pub(crate) fn set_modes(&self, present: Mode, unpaused: Mode) {
        let set = |place: &RwLock<Mode>, mode| {
            *place.write().unwrap_or_else(PoisonError::into_inner) = mode;
        };
        set(&self.controls.mode, present);
        set(&self.controls.unpaused, unpaused);
    }

    /// What held before a pause holds again.
    pub(crate) fn end_pause(&self) {
        let unpaused = self.controls.unpaused.read();
        let mode = unpaused.unwrap_or_else(PoisonError::into_inner).clone();
        let present = self.controls.mode.write();
        *present.unwrap_or_else(PoisonError::into_inner) = mode;
    }

    pub(crate) fn set_flags(&self, flags: Flags) {
        let present = self.controls.flags.write();
        *present.unwrap_or_else(PoisonError::into_inner) = flags;
    }

    pub(crate) fn flags(&self) -> Flags {
        self.controls
            .flags
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(crate) fn new_incident_id(&self) -> IncidentId {
        IncidentId::new(
            self.now(),
            &mut self.ids.lock().unwrap_or_else(PoisonError::into_inner),
        )
    }

    pub(crate) fn new_run_id(&self) -> RunId {
        RunId::new(
            self.now(),
            &mut self.ids.lock().unwrap_or_else(PoisonError::into_inner),
        )
    }

    /// The context of a call that is about no incident, or about `incident`, within `limit`.
    pub(crate) fn context(&self, incident: Option<&Incident>, limit: Duration) -> Context {
        let cx = Context::new(Arc::clone(self.clock()), self.seed)
            .for_tenant(self.tenant.clone())
            .with_flags(self.flags())
            .observing(Arc::clone(&self.window) as Arc<_>)
            .in_topology(Arc::clone(&self.topology))
            .cancelled_by(self.cancellation.clone())
            .within(limit);
        match incident {
            Some(incident) => cx.for_incident(incident.id),
            None => cx,
        }
    }

    /// Sleeps, or ends early because the engine shuts down. Says whether it may go on.
    pub(crate) async fn pause(&self, duration: Duration) -> bool {
        let mut sleep = self.clock().sleep(duration);
        tokio::select! {
            biased;
            () = self.cancellation.cancelled() => false,
            () = &mut sleep => true,
        }
    }

    /// A text without its secrets, for what is told to people.
    pub(crate) fn redacted(&self, text: &str) -> String {
        self.journal.redactor.text(text).into_owned()
    }

    /// Notes what a plug-in did.
    pub(crate) fn blame(&self, stage: &str, plugin: &str, report: &ErrorReport) {
        let mut report = report.clone();
        report.redact(&*self.journal.redactor);
        tracing::warn!(stage, plugin, %report, "plug-in skipped");
        self.vitals.blame(stage, plugin, report, self.now());
    }
}
