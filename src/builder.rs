//! The builder: what a healer is made of.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use homeostasis_core::policy::{EscalationRules, Policy};
use homeostasis_core::port::{
    Approvals, Archive, AuditSink, Authenticator, Authorizer, Coordinator, Electorate, Enricher,
    KnowledgeBase, LocalCoordinator, MemoryApprovals, MemoryKnowledge, MemoryStore, NoApprovals,
    NoNotifier, Notifier, Redactor, Retention, SingleTenant, SoleMember, Store, TenantDirectory,
    TenantPolicy,
};
use homeostasis_core::record::{Diagnosis, EventKind};
use homeostasis_core::signal::{SeriesCatalog, SeriesLimits};
use homeostasis_core::stage::{Analyzer, Detector, Fuser, Remediator, StrongestFinding, Verifier};
use homeostasis_core::{
    Clock, ConfigError, Context, Flags, KillSwitch, ManualClock, Mode, NodeId, ServiceFacts,
    TenantId, Topology,
};

use crate::audit::StoreAudit;
use crate::clock::SystemClock;
use crate::config::AccessConfig;
use crate::engine::{
    Controls, EngineSettings, Flood, GuardedRedactor, Homeostasis, IncidentEvidence, Intake,
    JournalPorts, Keeping, Look, NOTIFIER, Outbox, Panel, Shared, Stages, Strangers, Tasks,
    Watchmen, Window, WindowLimits, describe, event_channel, stop_while_there,
};
use crate::furnished::Parts;

/// Why a healer did not start. Nothing runs then: it never half-starts.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// Settings are out of range, names are taken twice.
    #[error("{0}")]
    Config(#[from] ConfigError),
    /// Recovery could not read the journal.
    #[error("recovery failed: {0}")]
    Recovery(String),
    /// The evidence cannot be looked at again.
    #[error("{0}")]
    Evidence(String),
    /// There is no tokio runtime to run on.
    #[error("no tokio runtime: call start() from within one")]
    NoRuntime,
}

/// Puts a healer together; made by [`Homeostasis::builder`] or [`Homeostasis::empty`].
#[derive(Debug)]
#[must_use = "a builder does nothing until it is started"]
pub struct Builder {
    pub(crate) settings: EngineSettings,
    pub(crate) policy: Policy,
    pub(crate) escalation: EscalationRules,
    pub(crate) mode: Mode,
    pub(crate) flags: Flags,
    pub(crate) topology: Topology,
    pub(crate) node: NodeId,
    pub(crate) seed: u64,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) kill_switch: KillSwitch,
    pub(crate) kill_switch_files: Vec<PathBuf>,
    pub(crate) environment: String,
    pub(crate) access: Option<AccessConfig>,
    pub(crate) authenticator: Option<Arc<dyn Authenticator>>,
    pub(crate) authorizer: Option<Arc<dyn Authorizer>>,
    pub(crate) tenants: Option<Arc<dyn TenantDirectory>>,
    pub(crate) electorate: Arc<dyn Electorate>,
    pub(crate) audit: Option<Arc<dyn AuditSink>>,
    pub(crate) store: Option<Arc<dyn Store>>,
    pub(crate) coordinator: Option<Arc<dyn Coordinator>>,
    pub(crate) approvals: Option<Arc<dyn Approvals>>,
    pub(crate) channels: BTreeMap<String, Arc<dyn Notifier>>,
    pub(crate) knowledge: Arc<dyn KnowledgeBase>,
    pub(crate) redactor: Option<Arc<dyn Redactor>>,
    pub(crate) enrichers: Vec<Arc<dyn Enricher>>,
    pub(crate) detectors: Vec<Box<dyn Detector>>,
    pub(crate) analyzers: Vec<Arc<dyn Analyzer>>,
    pub(crate) fuser: Arc<dyn Fuser>,
    pub(crate) remediators: Vec<Arc<dyn Remediator>>,
    pub(crate) verifiers: Vec<Arc<dyn Verifier>>,
    #[cfg(feature = "remediate")]
    pub(crate) rollout_actions: Option<Arc<homeostasis_remediate::action::ActionRegistry>>,
    pub(crate) keeping: Keeping,
    pub(crate) parts: Parts,
}

impl Homeostasis {
    /// A builder without any stage, for hosts that bring their own.
    pub fn empty() -> Builder {
        Builder {
            settings: EngineSettings::default(),
            policy: Policy::default(),
            escalation: EscalationRules::default(),
            mode: Mode::default(),
            flags: Flags::default(),
            topology: Topology::default(),
            node: NodeId::default(),
            seed: 0,
            clock: Arc::new(SystemClock),
            kill_switch: KillSwitch::default(),
            kill_switch_files: Vec::new(),
            environment: String::new(),
            access: None,
            authenticator: None,
            authorizer: None,
            tenants: None,
            electorate: Arc::new(SoleMember),
            audit: None,
            store: None,
            coordinator: None,
            approvals: None,
            channels: BTreeMap::new(),
            knowledge: Arc::new(MemoryKnowledge::default()),
            redactor: None,
            enrichers: Vec::new(),
            detectors: Vec::new(),
            analyzers: Vec::new(),
            fuser: Arc::new(StrongestFinding),
            remediators: Vec::new(),
            verifiers: Vec::new(),
            #[cfg(feature = "remediate")]
            rollout_actions: None,
            keeping: Keeping::default(),
            parts: Parts::default(),
        }
    }
}

impl Builder {
    /// The engine's rhythm, bounds and deadlines.
    pub fn settings(mut self, settings: EngineSettings) -> Self {
        self.settings = settings;
        self
    }

    /// What the healer may do by itself.
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// How far it may go; [`Mode::Observe`] unless told otherwise.
    pub fn mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    /// Feature flags.
    pub fn flags(mut self, flags: Flags) -> Self {
        self.flags = flags;
        self
    }

    /// A service with what is known of it. What is not known counts as the worst case.
    pub fn service(mut self, name: impl Into<String>, facts: ServiceFacts) -> Self {
        self.topology.insert(name, facts);
        self
    }

    /// All services at once.
    pub fn topology(mut self, topology: Topology) -> Self {
        self.topology = topology;
        self
    }

    /// The name of this copy of the healer.
    pub fn node(mut self, node: NodeId) -> Self {
        self.node = node;
        self
    }

    /// Where chance comes from; the same seed on the same signals does the same.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Where time comes from; the system's clock unless told otherwise.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// The kill switch; a new one that is released unless told otherwise.
    pub fn kill_switch(mut self, kill_switch: KillSwitch) -> Self {
        self.kill_switch = kill_switch;
        self
    }

    /// Nothing is done while something is at `path`: a file, a folder, a link; what cannot be looked
    /// at counts as there. It is looked at before every step, and works with a dead store.
    pub fn kill_switch_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.kill_switch_files.push(path.into());
        self
    }

    /// Which environment this is, for flags, rules and grants.
    pub fn environment(mut self, environment: impl Into<String>) -> Self {
        self.environment = environment.into();
        self
    }

    /// Who is who and who may what; unless told otherwise nobody is known, and the healer itself may
    /// do everything its policy allows.
    pub fn access(mut self, access: AccessConfig) -> Self {
        self.access = Some(access);
        self
    }

    /// Who is who, instead of what [`access`](Self::access) says.
    pub fn authenticator(mut self, authenticator: Arc<dyn Authenticator>) -> Self {
        self.authenticator = Some(authenticator);
        self
    }

    /// Who may what, instead of what [`access`](Self::access) says.
    pub fn authorizer(mut self, authorizer: Arc<dyn Authorizer>) -> Self {
        self.authorizer = Some(authorizer);
        self
    }

    /// What applies to tenants; unless told otherwise there is one, without a quota.
    pub fn tenants(mut self, tenants: Arc<dyn TenantDirectory>) -> Self {
        self.tenants = Some(tenants);
        self
    }

    /// Who votes on risky plans; this healer alone unless told otherwise.
    pub fn electorate(mut self, electorate: Arc<dyn Electorate>) -> Self {
        self.electorate = electorate;
        self
    }

    /// Where records go of what was commanded and done; to the journal's store unless told otherwise.
    pub fn audit(mut self, audit: Arc<dyn AuditSink>) -> Self {
        self.audit = Some(audit);
        self
    }

    /// The journal; in memory unless told otherwise, which survives no restart.
    ///
    /// What detectors and enrichers have learned is stored in it too, under the name of the
    /// [`node`](Self::node), and taken up at the next start: copies that share a store need names of
    /// their own.
    pub fn store(mut self, store: Arc<dyn Store>) -> Self {
        self.store = Some(store);
        self
    }

    /// How many closed incidents the journal keeps, and how long. What is too much is removed soon
    /// after the start and then once an hour.
    ///
    /// Without a limit of age they are kept for 30 days if they go to an
    /// [`archive`](Self::archive), or if the journal is in memory only; a durable journal without an
    /// archive keeps everything. No age is judged by a clock that is more than a day ahead of where
    /// it was last seen: after a longer stop it catches up by a day an hour.
    pub fn retention(mut self, retention: Retention) -> Self {
        self.keeping.retention = retention;
        self
    }

    /// Where closed incidents go before the journal forgets them; nowhere unless told otherwise.
    pub fn archive(mut self, archive: impl Archive + 'static) -> Self {
        self.keeping.archive = Some(Arc::new(archive));
        self
    }

    /// Who may act on what; leases within this process unless told otherwise.
    pub fn coordinator(mut self, coordinator: Arc<dyn Coordinator>) -> Self {
        self.coordinator = Some(coordinator);
        self
    }

    /// Where people are asked. Unless told otherwise plans wait for those who
    /// [show a token](Homeostasis::operator), and if nobody can, what needs approval is refused.
    pub fn approvals(mut self, approvals: Arc<dyn Approvals>) -> Self {
        self.approvals = Some(approvals);
        self
    }

    /// How people are called; nobody unless told otherwise, which each escalation reports.
    ///
    /// It is the [`channel`](Self::channel) `notifier`.
    pub fn notifier(self, notifier: Arc<dyn Notifier>) -> Self {
        self.channel(NOTIFIER, notifier)
    }

    /// One way more to reach people, under the name by which the levels of an escalation policy use
    /// it; of two with one name the later counts. Without a policy every channel is told once.
    pub fn channel(mut self, name: impl Into<String>, notifier: Arc<dyn Notifier>) -> Self {
        self.channels.insert(name.into(), notifier);
        self
    }

    /// Who is called about which incident, when, and what makes an incident graver.
    pub fn escalation(mut self, rules: EscalationRules) -> Self {
        self.escalation = rules;
        self
    }

    /// Where closed incidents are remembered, and what helped in similar ones; in memory unless told
    /// otherwise, filled from the journal at the start. It decides what is tried first, never what is
    /// allowed.
    pub fn knowledge(mut self, knowledge: Arc<dyn KnowledgeBase>) -> Self {
        self.knowledge = knowledge;
        self
    }

    /// What takes secrets out of all that is kept or leaves the healer.
    ///
    /// Unless told otherwise it is `SecretRedactor::default()` of the feature `signals`, with what
    /// the section `redaction` of a configuration adds; without that feature it is
    /// [`NoRedaction`](homeostasis_core::port::NoRedaction).
    pub fn redactor(mut self, redactor: Arc<dyn Redactor>) -> Self {
        self.redactor = Some(redactor);
        self
    }

    /// One enricher more; they are called in the order in which they were added.
    pub fn enricher(mut self, enricher: Arc<dyn Enricher>) -> Self {
        self.enrichers.push(enricher);
        self
    }

    /// One detector more.
    pub fn detector(mut self, detector: impl Detector + 'static) -> Self {
        self.detectors.push(Box::new(detector));
        self
    }

    /// More detectors.
    pub fn detectors(mut self, detectors: impl IntoIterator<Item = Box<dyn Detector>>) -> Self {
        self.detectors.extend(detectors);
        self
    }

    /// One analyzer more.
    pub fn analyzer(mut self, analyzer: impl Analyzer + 'static) -> Self {
        self.analyzers.push(Arc::new(analyzer));
        self
    }

    /// What adds findings up; [`StrongestFinding`] unless told otherwise.
    pub fn fuser(mut self, fuser: impl Fuser + 'static) -> Self {
        self.fuser = Arc::new(fuser);
        self
    }

    /// One remediator more.
    pub fn remediator(mut self, remediator: impl Remediator + 'static) -> Self {
        self.remediators.push(Arc::new(remediator));
        self
    }

    /// One verifier more.
    pub fn verifier(mut self, verifier: impl Verifier + 'static) -> Self {
        self.verifiers.push(Arc::new(verifier));
        self
    }

    /// Checks everything, recovers what an earlier life left open, then starts.
    ///
    /// # Errors
    /// If a setting is out of range, two plug-ins of a stage have one name, there is no runtime, or
    /// the journal cannot be read. Nothing runs then.
    pub async fn start(self) -> Result<Homeostasis, StartError> {
        // What is made of it is large, and would make the future of every caller as large.
        Box::pin(self.start_all()).await
    }

    async fn start_all(self) -> Result<Homeostasis, StartError> {
        tokio::runtime::Handle::try_current().map_err(|_| StartError::NoRuntime)?;
        let (mut builder, mut violations) = self.assemble();
        violations.absorb(crate::check::check(&builder));
        violations.into_result(())?;
        #[cfg(all(feature = "patch", feature = "remediate"))]
        if let Some(recovery) = builder.parts.patch_recovery.take() {
            recovery.run().await;
        }
        let parts = std::mem::take(&mut builder.parts);
        let healer = builder.launch().await?;
        #[cfg(feature = "remediate")]
        let healer = healer.with_shelf(parts.shelf);
        #[cfg(feature = "signals")]
        let healer = healer.asking(parts.probes);
        #[cfg(not(any(feature = "signals", feature = "remediate")))]
        drop(parts);
        Ok(healer)
    }

    /// Looks again at saved evidence, with the analyzers and the fuser of this builder; nothing else
    /// of it is started, and nothing is touched.
    ///
    /// Whoever made the evidence came to the same diagnosis, to the bit, if the analyzers, their
    /// settings and rules are the same and each kept its contract: the same evidence gives the same
    /// findings. Time stands still at the moment of the evidence: an analyzer that waits for it to
    /// pass waits until its deadline, which is one of real time.
    ///
    /// # Errors
    /// As for [`start`](Self::start), and if the evidence holds no story of an open incident. An
    /// analyzer that fails is an error here too: the diagnosis without it would be another.
    pub async fn diagnose(self, evidence: &IncidentEvidence) -> Result<Diagnosis, StartError> {
        tokio::runtime::Handle::try_current().map_err(|_| StartError::NoRuntime)?;
        let mut builder = self;
        // Whoever runs may hold them.
        (builder.parts.store, builder.parts.archive) = (None, None);
        let (builder, mut violations) = builder.assemble();
        violations.absorb(crate::check::check(&builder));
        violations.into_result(())?;
        let incident = evidence
            .incident()
            .map_err(|error| StartError::Evidence(error.to_string()))?;
        let look = Look {
            from: evidence.from,
            to: evidence.to,
            besides: evidence.besides.clone().into(),
            n_events: incident.n_events,
            flags: evidence.flags.iter().cloned().collect(),
            frozen: Arc::new(evidence.frozen()),
            left_out: evidence.left_out,
            complete_since: evidence.complete_since.unwrap_or(evidence.from),
        };
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(evidence.to));
        let wall: Arc<dyn Clock> = Arc::new(SystemClock);
        let cx = Context::new(Arc::clone(&clock), evidence.seed)
            .for_tenant(evidence.tenant.clone())
            .with_flags(look.flags.clone())
            .observing(Arc::clone(&look.frozen) as Arc<_>)
            .in_topology(Arc::new(evidence.topology.clone()))
            .for_incident(incident.id);
        let panel = Panel {
            analyzers: &builder.analyzers,
            fuser: &builder.fuser,
            tasks: &Tasks::default(),
            // Nobody advances a clock that stands still: deadlines are those of the wall.
            clock: &wall,
            limit: builder.settings.stage_deadline,
        };
        let (diagnosis, faults) = panel.analyze(&cx, &Arc::new(incident), &look).await;
        if let Some((stage, plugin, report)) = faults.first() {
            let fault = format!("the {stage} {plugin} {report}");
            return Err(StartError::Evidence(fault));
        }
        let redactor = GuardedRedactor(builder.redactor.unwrap_or_else(shipped_redactor));
        // As it would be journaled.
        let mut told = EventKind::Diagnosed { diagnosis };
        told.redact(&redactor);
        match told {
            EventKind::Diagnosed { diagnosis } => Ok(diagnosis),
            other => Err(StartError::Evidence(format!("an event {}", other.name()))),
        }
    }

    /// Who stands around the gate, and who is asked to approve.
    fn take_watchmen(&mut self, store: &Arc<dyn Store>) -> (Watchmen, Arc<dyn Approvals>) {
        let tenant = TenantId::default();
        let access = self.access.take().unwrap_or_default();
        let has_operators = self.authenticator.is_some() || !access.tokens.is_empty();
        let approvals = self.approvals.take().unwrap_or_else(|| {
            if has_operators {
                Arc::new(MemoryApprovals::default())
            } else {
                Arc::new(NoApprovals)
            }
        });
        let audit = self
            .audit
            .take()
            .unwrap_or_else(|| Arc::new(StoreAudit::new(Arc::clone(store), &tenant, &self.node)));
        let guard = Watchmen {
            authenticator: self
                .authenticator
                .take()
                .unwrap_or_else(|| Arc::new(access.tokens)),
            authorizer: self
                .authorizer
                .take()
                .unwrap_or_else(|| Arc::new(access.roles)),
            healer: access.healer,
            tenants: self.tenants.take().unwrap_or_else(|| {
                let without_quota = TenantPolicy {
                    mode: None,
                    max_concurrent_heals: u32::MAX,
                    max_runs_per_hour: u32::MAX,
                };
                Arc::new(SingleTenant::new(tenant, without_quota))
            }),
            electorate: Arc::clone(&self.electorate),
            audit,
            strangers: Strangers::default(),
        };
        (guard, approvals)
    }

    async fn launch(mut self) -> Result<Homeostasis, StartError> {
        let is_durable = self.store.is_some();
        let store = self.store.take();
        let store = store.unwrap_or_else(|| Arc::new(MemoryStore::default()));
        let (guard, approvals) = self.take_watchmen(&store);
        let settings = self.settings;
        let redactor: Arc<dyn Redactor> = Arc::new(GuardedRedactor(
            self.redactor.unwrap_or_else(shipped_redactor),
        ));
        let catalog = SeriesCatalog::with_limits(SeriesLimits {
            total: settings.max_series,
            per_metric: settings.max_series_per_metric,
            label_values: settings.label_values.clone(),
        })
        .redacted_by(Arc::clone(&redactor));
        let intake = Intake::new(
            catalog.clone(),
            settings.sample_queue,
            settings.record_queue,
            Flood::new(&settings.flood),
        );
        let limits = WindowLimits {
            age: settings.window,
            points: settings.window_points,
            series: settings.max_series,
            records: settings.window_records,
        };
        let window = Window::new(catalog, limits);
        let keeping = self.keeping.for_store(is_durable);
        let coordinator = self.coordinator.unwrap_or_else(|| {
            Arc::new(LocalCoordinator::new(
                Arc::clone(&store),
                Arc::clone(&self.clock),
            ))
        });
        let mut channels = self.channels;
        if channels.is_empty() {
            channels.insert(NOTIFIER.to_owned(), Arc::new(NoNotifier));
        }
        let names = channels.keys().cloned().collect();
        let escalation = self.escalation.falling_back_on(names);
        let journal = JournalPorts {
            store,
            clock: self.clock,
            node: self.node,
            events: event_channel(),
            redactor,
            outbox: Arc::new(Outbox::new(channels)),
        };
        for path in &self.kill_switch_files {
            stop_while_there(&self.kill_switch, path);
        }
        let controls = Controls::new(self.mode, self.flags, self.kill_switch);
        let stages = Stages {
            analyzers: self.analyzers,
            fuser: self.fuser,
            remediators: self.remediators,
            verifiers: self.verifiers,
            #[cfg(feature = "remediate")]
            rollouts: crate::engine::Rollouts::of(self.rollout_actions),
        };
        let shared = Shared::new(
            settings,
            (self.policy, escalation),
            controls,
            self.topology,
            journal,
            (self.environment, guard),
            (coordinator, approvals, self.knowledge),
            stages,
            (Arc::new(intake), Arc::new(window), self.enrichers),
            self.seed,
        );
        Homeostasis::launch(Arc::new(shared), self.detectors, (keeping, is_durable))
            .await
            .map_err(|error| StartError::Recovery(describe(&error)))
    }
}

#[cfg(feature = "signals")]
pub(crate) fn shipped_redactor() -> Arc<dyn Redactor> {
    Arc::new(homeostasis_signals::SecretRedactor::default())
}

#[cfg(not(feature = "signals"))]
pub(crate) fn shipped_redactor() -> Arc<dyn Redactor> {
    Arc::new(homeostasis_core::port::NoRedaction)
}
