//! A small world for the engine's tests: services that fall ill, and a remedy that cures them.
//!
//! Nothing is pretended but the time: the remedy is an effect that is counted, and the engine sees
//! illness and cure only through the samples of the gauge `ill`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use homeostasis::core::policy::{Permit, Policy};
use homeostasis::core::port::{MemoryNotifier, Store};
use homeostasis::core::record::{
    Anomaly, BlastRadius, Category, EffectClass, EventKind, Finding, HealEvent, Inverse, Outcome,
    Plan, PlanPatch, PlanStep, Proof, RadiusLevel, RiskLevel, Role, StepIntent, StepOutcome,
    StepPhase, StepState, Subject, Verdict, VerdictKind,
};
use homeostasis::core::signal::{SeriesKey, SignalBatch};
use homeostasis::core::stage::{
    AnalyzeError, Analyzer, DetectError, Detector, Evidence, ExecuteError, PlanError, PlanRequest,
    Remediator, RunLog, Verifier, VerifyError, VerifyRequest,
};
use homeostasis::core::{
    Context, IdempotencyKey, Incident, IncidentId, Mode, PlanId, ServiceFacts, Target, Timestamp,
    async_trait,
};
use homeostasis::{Builder, EngineSettings, Events, Homeostasis, SimulatedClock};

pub(crate) const START: Timestamp = Timestamp::from_secs(1_700_000_000);

/// The state of the world outside of the healer.
#[derive(Debug, Default)]
pub(crate) struct World {
    ill: Mutex<BTreeMap<String, bool>>,
    cures: Mutex<BTreeMap<String, u32>>,
    /// Whether the remedy has any effect.
    pub(crate) incurable: AtomicBool,
    /// How many cures run at this moment, and how many ever did at once.
    running: AtomicU32,
    pub(crate) most_running: AtomicU32,
    pub(crate) notifier: Arc<MemoryNotifier>,
    /// What the plans say beside what they always say.
    pub(crate) author: Mutex<Option<String>>,
    pub(crate) patches: Mutex<Vec<PlanPatch>>,
    /// Why the doctor no longer stands by its plans.
    pub(crate) objection: Mutex<Option<String>>,
    /// Whom the plans of its doctor name.
    pub(crate) named: Mutex<Vec<String>>,
}

impl World {
    pub(crate) fn fall_ill(&self, service: &str) {
        self.ill.lock().unwrap().insert(service.to_owned(), true);
    }

    pub(crate) fn is_ill(&self, service: &str) -> bool {
        self.ill
            .lock()
            .unwrap()
            .get(service)
            .copied()
            .unwrap_or(false)
    }

    /// A person does what the healer must not repeat.
    pub(crate) fn cured_by_hand(&self, service: &str) {
        self.ill.lock().unwrap().insert(service.to_owned(), false);
    }

    /// How often `service` was cured.
    pub(crate) fn cures(&self, service: &str) -> u32 {
        self.cures
            .lock()
            .unwrap()
            .get(service)
            .copied()
            .unwrap_or(0)
    }

    async fn cure(&self, cx: &Context, service: &str) {
        let now_running = self.running.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_running.fetch_max(now_running, Ordering::SeqCst);
        *self
            .cures
            .lock()
            .unwrap()
            .entry(service.to_owned())
            .or_default() += 1;
        cx.clock().sleep(Duration::from_secs(3)).await;
        if !self.incurable.load(Ordering::SeqCst) {
            self.ill.lock().unwrap().insert(service.to_owned(), false);
        }
        self.running.fetch_sub(1, Ordering::SeqCst);
    }

    /// A healer of this world with every stage, in automatic mode.
    pub(crate) fn healer(self: &Arc<Self>) -> Builder {
        self.without_doctor().remediator(Doctor(Arc::clone(self)))
    }

    /// The same without a remediator.
    pub(crate) fn without_doctor(self: &Arc<Self>) -> Builder {
        let settings = {
            let mut settings = EngineSettings::default();
            settings.quiet = Duration::from_secs(30);
            settings
        };
        let mut policy = Policy {
            min_interval: Duration::ZERO,
            ..Policy::default()
        };
        policy.pre_approved.insert("cure".to_owned());
        let builder = Homeostasis::empty()
            .settings(settings)
            .policy(policy)
            .mode(Mode::Auto)
            .clock(Arc::new(SimulatedClock::starting_at(START)))
            .notifier(Arc::clone(&self.notifier) as Arc<_>)
            .detector(IllnessDetector)
            .analyzer(IllnessAnalyzer)
            .verifier(CureVerifier(Arc::clone(self)));
        ["a", "b", "c", "d"]
            .into_iter()
            .fold(builder, |builder, service| {
                builder.service(service, ServiceFacts::default())
            })
    }

    /// Records the state of `services` once a second until the healer shuts down.
    pub(crate) fn watch(self: &Arc<Self>, healer: &Homeostasis, services: &'static [&'static str]) {
        let (world, recorder, clock) = (Arc::clone(self), healer.recorder(), healer.clock());
        healer.spawn(async move {
            let gauges: Vec<_> = services
                .iter()
                .map(|service| recorder.series(&SeriesKey::new("ill").with("service", *service)))
                .collect();
            loop {
                for (service, gauge) in services.iter().zip(&gauges) {
                    gauge.record(f64::from(u8::from(world.is_ill(service))));
                }
                clock.sleep(Duration::from_secs(1)).await;
            }
        });
    }
}

/// Waits for an event; fails the test after a few simulated hours.
pub(crate) async fn until(
    healer: &Homeostasis,
    events: &mut Events,
    wanted: impl Fn(&HealEvent) -> bool,
) -> Arc<HealEvent> {
    let clock = healer.clock();
    let found = async {
        loop {
            let event = events.next().await.expect("the engine runs");
            if wanted(&event) {
                return event;
            }
        }
    };
    homeostasis::core::timeout(&*clock, Duration::from_secs(2 * 3600), found)
        .await
        .expect("the event comes within two hours")
}

/// Lets simulated seconds pass.
pub(crate) async fn pass(healer: &Homeostasis, secs: u64) {
    healer.clock().sleep(Duration::from_secs(secs)).await;
}

/// Waits for the end of an incident, at most so long; time that nothing needs costs as much as any.
pub(crate) async fn closes(healer: &Homeostasis, id: IncidentId, within_secs: u64) -> Incident {
    for _ in 0..within_secs {
        let incident = healer.incident(id).await.unwrap();
        if incident.is_closed() {
            return incident;
        }
        pass(healer, 1).await;
    }
    healer.incident(id).await.unwrap()
}

pub(crate) fn is(name: &'static str) -> impl Fn(&HealEvent) -> bool {
    move |event| event.kind.name() == name
}

/// The events of an incident by name.
pub(crate) async fn names(store: &dyn Store, id: IncidentId) -> Vec<&'static str> {
    store
        .read(id)
        .await
        .unwrap()
        .iter()
        .map(|event| event.kind.name())
        .collect()
}

#[derive(Debug)]
pub(crate) struct IllnessDetector;

#[async_trait]
impl Detector for IllnessDetector {
    fn name(&self) -> &str {
        "illness"
    }

    async fn detect(
        &mut self,
        _: &Context,
        batch: SignalBatch<'_>,
    ) -> Result<Vec<Anomaly>, DetectError> {
        let mut found = Vec::new();
        for sample in batch.samples.iter().filter(|sample| sample.value > 0.5) {
            let key = batch.catalog.key(sample.series).unwrap();
            let Some(target) = key.target().filter(|_| key.metric == "ill") else {
                continue;
            };
            let subject = Subject::Series((*key).clone());
            found.push(Anomaly::new("illness", target, subject, sample.at).saying("it is ill"));
        }
        Ok(found)
    }
}

#[derive(Debug)]
struct IllnessAnalyzer;

#[async_trait]
impl Analyzer for IllnessAnalyzer {
    fn name(&self) -> &str {
        "illness"
    }

    async fn analyze(
        &self,
        _: &Context,
        evidence: &Evidence<'_>,
    ) -> Result<Vec<Finding>, AnalyzeError> {
        let anomaly = &evidence.incident.anomalies[0];
        let proof = Proof {
            kind: "series".to_owned(),
            reference: anomaly.subject.to_string(),
            at: Some(anomaly.at),
            statement: anomaly.explanation.clone(),
        };
        let category = Category::ApplicationError;
        let finding = Finding::new(
            "illness",
            anomaly.target.clone(),
            "illness",
            category,
            Role::Cause,
            5.0,
        );
        Ok(vec![finding.proven_by(proof)])
    }
}

/// One opaque step: whoever repeats it does harm.
#[derive(Debug)]
pub(crate) struct Doctor(pub(crate) Arc<World>);

#[async_trait]
impl Remediator for Doctor {
    fn name(&self) -> &str {
        "doctor"
    }

    async fn plan(&self, cx: &Context, request: PlanRequest<'_>) -> Result<Vec<Plan>, PlanError> {
        let Some(cause) = request.diagnosis.root_cause() else {
            return Ok(Vec::new());
        };
        let id = PlanId::new(cx.now(), &mut cx.rng(1));
        let target = cause.target.clone();
        let mut plan = Plan::new(id, request.incident.id, "doctor", "cure", target.clone());
        plan.fitness = 1.0;
        plan.notify.clone_from(&self.0.named.lock().unwrap());
        plan.radius = BlastRadius {
            level: RadiusLevel::SingleInstance,
            instances: 1,
            services: 1,
            risk_score: 1.0,
        };
        let mut step = PlanStep::new("cure", "cure", target);
        step.effect = EffectClass::Opaque;
        step.risk = RiskLevel::Low;
        step.inverse = Inverse::Nothing;
        plan.steps.push(step);
        plan.author.clone_from(&self.0.author.lock().unwrap());
        plan.patches.clone_from(&self.0.patches.lock().unwrap());
        Ok(vec![plan])
    }

    async fn objection(&self, _: &Context, _: &Plan) -> Result<Option<String>, PlanError> {
        Ok(self.0.objection.lock().unwrap().clone())
    }

    async fn execute(
        &self,
        cx: &Context,
        permit: Permit,
        run: &mut RunLog<'_>,
    ) -> Result<Outcome, ExecuteError> {
        run.redeem(permit)
            .map_err(|error| ExecuteError::permanent("redeeming", error))?;
        let step = &run.plan().steps[0];
        match run.step(StepPhase::Do, 0) {
            StepState::NotStarted => {}
            StepState::InFlight(_) => {
                let reason = "the process died while it was done".to_owned();
                let outcome = StepOutcome::Unknown {
                    reason: reason.clone(),
                };
                run.end(StepPhase::Do, 0, outcome)
                    .await
                    .map_err(|error| ExecuteError::transient("noting the outcome", error))?;
                return Ok(Outcome::Unknown {
                    step_idx: 0,
                    reason,
                });
            }
            StepState::Ended {
                outcome: StepOutcome::Unknown { reason },
                ..
            } => {
                return Ok(Outcome::Unknown {
                    step_idx: 0,
                    reason: reason.clone(),
                });
            }
            StepState::Ended { .. } => return Ok(Outcome::Completed),
        }
        let intent = StepIntent {
            step_idx: 0,
            phase: StepPhase::Do,
            attempt: 1,
            key: IdempotencyKey::new(run.state().run, 0),
            effect: step.effect,
            captured: serde_json::Value::Null,
            deadline: cx.now() + step.timeout,
        };
        if let Err(error) = run.intend(intent).await {
            return Ok(error.halted());
        }
        self.0.cure(cx, step.target.service_name()).await;
        let done = StepOutcome::Done {
            output: serde_json::Value::Null,
        };
        run.end(StepPhase::Do, 0, done)
            .await
            .map_err(|error| ExecuteError::transient("noting the outcome", error))?;
        Ok(Outcome::Completed)
    }

    async fn undo(
        &self,
        _: &Context,
        _: Permit,
        _: &mut RunLog<'_>,
    ) -> Result<Outcome, ExecuteError> {
        Ok(Outcome::Completed)
    }
}

#[derive(Debug)]
struct CureVerifier(Arc<World>);

#[async_trait]
impl Verifier for CureVerifier {
    fn name(&self) -> &str {
        "cure"
    }

    async fn verify(
        &self,
        cx: &Context,
        request: VerifyRequest<'_>,
    ) -> Result<Verdict, VerifyError> {
        cx.clock().sleep(Duration::from_secs(2)).await;
        let ill = self.0.is_ill(request.plan.target.service_name());
        let kind = if ill {
            VerdictKind::Failed
        } else {
            VerdictKind::Success
        };
        Ok(Verdict::new(
            kind,
            cx.now(),
            if ill { "still ill" } else { "cured" },
        ))
    }
}

/// Whether the event says that this plug-in of this stage was skipped.
pub(crate) fn blames(event: &HealEvent, in_stage: &str, named: &str) -> bool {
    matches!(
        &event.kind,
        EventKind::Blamed { stage, plugin, .. } if stage == in_stage && plugin == named
    )
}

/// The target of a service.
pub(crate) fn service(name: &str) -> Target {
    Target::service(name).unwrap()
}
