//! Crash tests for remediators: a journal that can die at every write, and runs that go on after it.
//!
//! A [`RunHarness`] keeps the journal of one incident with one plan. Each
//! [`execute`](RunHarness::execute) or [`undo`](RunHarness::undo) is the life of one process: it
//! reads the run from the journal, takes a newer lease, gets a permit, and may die at a [`Crash`].
//! Every event is checked against the healing cycle, so an executor that breaks the order of
//! intents and outcomes is found out.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use crate::context::Context;
use crate::cycle::{Incident, Phase, replay, transition};
use crate::flags::KillSwitch;
use crate::id::{NodeId, RunId, TenantId};
use crate::policy::{GateDecision, GateRecord, Policy};
use crate::port::{Fence, FencingToken, Lease, StoreError};
use crate::record::{
    Anomaly, Diagnosis, EventKind, HealEvent, Outcome, Plan, RunState, SCHEMA_VERSION, Severity,
    Subject, Verdict, VerdictKind,
};
use crate::stage::{ExecuteError, Remediator, RunJournal, RunLog};
use crate::testing::{permit_for, permit_to_undo};
use crate::time::Timestamp;

/// When a process dies, counted in writes to the journal from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Crash {
    /// It lives.
    Never,
    /// Before this write: nothing of it is stored.
    Before(usize),
    /// After this write, before the process learned that it is stored.
    After(usize),
}

impl Crash {
    /// Every crash of a process that writes `n_writes` times.
    pub fn every(n_writes: usize) -> impl Iterator<Item = Self> {
        (0..n_writes).flat_map(|write| [Self::Before(write), Self::After(write)])
    }
}

/// The journal of one incident; a process that writes to it may die.
#[derive(Debug)]
pub struct CrashJournal {
    state: Mutex<JournalState>,
}

#[derive(Debug)]
struct JournalState {
    events: Vec<HealEvent>,
    /// The fold of the events.
    incident: Incident,
    newest: FencingToken,
    crash: Crash,
    writes: usize,
    dead: bool,
}

impl CrashJournal {
    fn lock(&self) -> MutexGuard<'_, JournalState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything stored so far.
    pub fn events(&self) -> Vec<HealEvent> {
        self.lock().events.clone()
    }
}

impl JournalState {
    /// Stores an event, checked against the cycle.
    fn store(&mut self, kind: EventKind, at: Timestamp) {
        let event = event(&self.incident, kind, at);
        if let Err(illegal) = self.incident.apply(&event) {
            panic!("the executor wrote what cannot follow: {illegal}");
        }
        self.events.push(event);
    }
}

fn event(incident: &Incident, kind: EventKind, at: Timestamp) -> HealEvent {
    HealEvent {
        schema_version: SCHEMA_VERSION,
        incident: incident.id,
        seq: incident.n_events,
        at,
        node: NodeId::default(),
        kind,
    }
}

fn died() -> StoreError {
    StoreError::Io {
        what: "writing the journal".to_owned(),
        source: "the test's process died here".into(),
    }
}

#[async_trait]
impl RunJournal for CrashJournal {
    async fn append(&self, kind: EventKind, fence: Fence) -> Result<(), StoreError> {
        let mut state = self.lock();
        if state.dead {
            return Err(died());
        }
        if fence.token != state.newest {
            return Err(StoreError::Fenced {
                resource: fence.resource,
                held: fence.token,
                newest: state.newest,
            });
        }
        let write = state.writes;
        state.writes += 1;
        if state.crash == Crash::Before(write) {
            state.dead = true;
            return Err(died());
        }
        let at = state
            .events
            .last()
            .map_or(Timestamp::EPOCH, |event| event.at);
        state.store(kind, at);
        if state.crash == Crash::After(write) {
            state.dead = true;
            return Err(died());
        }
        Ok(())
    }
}

/// One incident with one plan, and the processes that work on it one after another.
#[derive(Debug)]
pub struct RunHarness {
    plan: Plan,
    run: RunId,
    journal: Arc<CrashJournal>,
    kill_switch: KillSwitch,
}

impl RunHarness {
    /// An incident whose gate has just permitted `plan`; the run is open and nothing is done.
    ///
    /// # Panics
    /// If the plan breaks its post-conditions.
    pub fn new(plan: Plan, now: Timestamp) -> Self {
        if let Some(violation) = plan.violation() {
            panic!("the test's plan is no plan: {violation}");
        }
        let run = RunId::from_u128(plan.id.as_u128() + 1);
        let subject = Subject::Health("test".to_owned());
        let anomaly = Anomaly::new("test", plan.target.clone(), subject, now).saying("it is ill");
        let opened = HealEvent {
            schema_version: SCHEMA_VERSION,
            incident: plan.incident,
            seq: 0,
            at: now,
            node: NodeId::default(),
            kind: EventKind::Opened {
                tenant: TenantId::default(),
                anomaly: Box::new(anomaly),
                severity: Severity::Sev2,
                radius: plan.radius,
                score: None,
            },
        };
        let (incident, _) = transition(None, &opened).expect("an incident may be opened");
        let mut state = JournalState {
            events: vec![opened],
            incident,
            newest: FencingToken::new(1),
            crash: Crash::Never,
            writes: 0,
            dead: false,
        };
        let diagnosis = Diagnosis::abstain("a test");
        state.store(EventKind::Diagnosed { diagnosis }, now);
        let plans = vec![plan.clone()];
        state.store(
            EventKind::Planned {
                plans,
                considered: Vec::new(),
            },
            now,
        );
        let record = GateRecord {
            decision: GateDecision::Permitted,
            answers: Vec::new(),
        };
        state.store(
            EventKind::Gated {
                plan: plan.id,
                record,
            },
            now,
        );
        state.store(
            EventKind::RunOpened {
                run,
                plan: plan.id,
                plan_hash: plan.hash(),
                token: state.newest,
            },
            now,
        );
        Self {
            plan,
            run,
            journal: Arc::new(CrashJournal {
                state: Mutex::new(state),
            }),
            kill_switch: KillSwitch::default(),
        }
    }

    /// The switch the run log looks at.
    pub fn kill_switch(&self) -> &KillSwitch {
        &self.kill_switch
    }

    /// The run's id.
    pub fn run(&self) -> RunId {
        self.run
    }

    /// The incident as the journal tells it.
    ///
    /// # Panics
    /// If the journal is not legal.
    pub fn incident(&self) -> Incident {
        replay(&self.journal.events())
            .expect("every event was checked when it was stored")
            .expect("the harness opened the incident")
    }

    /// The run as the journal tells it.
    ///
    /// # Panics
    /// If the journal is not legal.
    pub fn state(&self) -> RunState {
        self.incident()
            .run(self.run)
            .expect("the harness opened the run")
            .clone()
    }

    /// How many writes the last process made.
    pub fn writes(&self) -> usize {
        self.journal.lock().writes
    }

    /// Everything stored so far.
    pub fn events(&self) -> Vec<HealEvent> {
        self.journal.events()
    }

    /// The life of one process that executes or resumes the run.
    ///
    /// # Errors
    /// What the remediator says, always if the process died.
    pub async fn execute(
        &self,
        remediator: &dyn Remediator,
        cx: &Context,
        crash: Crash,
    ) -> Result<Outcome, ExecuteError> {
        let token = self.begin(cx, crash);
        let permit = permit_for(&self.plan, self.run, self.lease(token, cx.now()), cx.now());
        let mut log = self.log(cx);
        let outcome = remediator.execute(cx, permit, &mut log).await?;
        self.end(
            EventKind::RunEnded {
                run: self.run,
                outcome: outcome.clone(),
            },
            cx.now(),
        );
        Ok(outcome)
    }

    /// Says that the executed plan did not help, so that it is taken back.
    ///
    /// # Panics
    /// If the run is not waiting for a verdict.
    pub fn condemn(&self, now: Timestamp) {
        let verdict = Verdict::new(VerdictKind::Failed, now, "it did not help");
        self.journal.lock().store(
            EventKind::Verified {
                run: self.run,
                verdict,
            },
            now,
        );
    }

    /// Whether the cycle now wants the run taken back.
    pub fn wants_undo(&self) -> bool {
        matches!(self.incident().phase, Phase::Undoing { .. })
    }

    /// The life of one process that takes the run back, or goes on with it.
    ///
    /// # Errors
    /// What the remediator says, always if the process died.
    pub async fn undo(
        &self,
        remediator: &dyn Remediator,
        cx: &Context,
        crash: Crash,
    ) -> Result<Outcome, ExecuteError> {
        let token = self.begin(cx, crash);
        let permit = permit_to_undo(&self.plan, self.run, self.lease(token, cx.now()), cx.now());
        let mut log = self.log(cx);
        let outcome = remediator.undo(cx, permit, &mut log).await?;
        self.end(
            EventKind::UndoEnded {
                run: self.run,
                outcome: outcome.clone(),
            },
            cx.now(),
        );
        Ok(outcome)
    }

    /// A new process: it takes a newer lease and says that it takes the run up.
    fn begin(&self, cx: &Context, crash: Crash) -> FencingToken {
        let mut state = self.journal.lock();
        state.newest = state.newest.next();
        let token = state.newest;
        let run = self.run;
        state.store(EventKind::RunResumed { run, token }, cx.now());
        state.crash = crash;
        state.writes = 0;
        state.dead = false;
        token
    }

    fn lease(&self, token: FencingToken, now: Timestamp) -> Lease {
        let expires = now + Policy::default().permit_ttl;
        Lease::new(self.plan.target.to_string(), token, expires)
    }

    fn end(&self, kind: EventKind, now: Timestamp) {
        let mut state = self.journal.lock();
        assert!(!state.dead, "a dead process brought the run to an end");
        state.store(kind, now);
    }

    fn log<'a>(&'a self, cx: &'a Context) -> RunLog<'a> {
        RunLog::new(
            &self.plan,
            self.state(),
            &*self.journal,
            &**cx.clock(),
            self.kill_switch.clone(),
        )
    }
}
