//! No path reaches an effect without a stored plan, every check answered, and a live permit.
//!
//! An engine that errs in every way we can think of walks through the real gate, the real cycle and
//! the real run log, over random incidents, plans, policies and histories. What may be permitted is
//! said here anew, and not with the checks under test.
//!
//! `HOMEOSTASIS_GATE_CASES` sets the number of cases; 2,000 without it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::tests::ORDER;
use super::*;
use crate::cycle::{Incident, transition};
use crate::flags::{Flags, KillSwitch, Mode};
use crate::id::{IdempotencyKey, IncidentId, NodeId, PlanId, TenantId};
use crate::policy::{
    Approval, BreakerPhase, BreakerState, CostBenefit, FileUse, MaintenanceWindow, PatchUse,
    Policy, Weekday,
};
use crate::port::{Fence, FencingToken, StoreError, Tally, TenantPolicy};
use crate::record::{
    Anomaly, BlastRadius, Diagnosis, EffectClass, EventKind, HealEvent, Inverse, PatchKind,
    PlanPatch, PlanStep, RadiusLevel, RiskLevel, RunState, SCHEMA_VERSION, Severity, StepIntent,
    StepPhase, Subject,
};
use crate::rng::Rng;
use crate::stage::{RunJournal, RunLog};
use crate::target::Target;
use crate::time::ManualClock;
use crate::unit::Ratio;

const NOW: Timestamp = Timestamp::from_secs(1_000_000);
const INCIDENT: IncidentId = IncidentId::from_u128(2);
const RUN: RunId = RunId::from_u128(7);

fn cases(default: u32) -> u32 {
    let asked = std::env::var("HOMEOSTASIS_GATE_CASES").ok();
    asked.map_or(default, |n| n.parse().expect("a number of cases"))
}

/// One of `choices`.
fn pick<T: Clone>(rng: &mut Rng, choices: &[T]) -> T {
    let at = rng.below(choices.len() as u64);
    choices[usize::try_from(at).unwrap()].clone()
}

fn seldom(rng: &mut Rng) -> bool {
    rng.below(12) == 0
}

/// What the gate is asked, and about what.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "facts that each hold or not")]
struct Case {
    plan: Plan,
    policy: Policy,
    mode: Mode,
    flags: Flags,
    kill_switch: bool,
    needs_people: bool,
    severity: Severity,
    incident_radius: BlastRadius,
    is_cause_known: bool,
    seen_before: Option<u64>,
    last_change: Option<Timestamp>,
    peers: Option<PeerHealth>,
    critical_service: bool,
    breaker: Option<BreakerState>,
    used: Option<u64>,
    last_run: Option<Timestamp>,
    same_action_runs: u64,
    approvals: Vec<Approval>,
    tenant: TenantId,
    authorization: Testimony,
    preconditions: Testimony,
    tenant_use: Option<TenantUse>,
    patch_use: Option<PatchUse>,
    tally: Option<Tally>,
}

fn radius(rng: &mut Rng, usual: RadiusLevel) -> BlastRadius {
    use RadiusLevel::{ClusterWide, MultiRegion, MultipleServices, SingleService};
    let levels = [SingleService, MultipleServices, ClusterWide, MultiRegion];
    match rng.below(8) {
        0 => BlastRadius::UNKNOWN,
        1 => BlastRadius {
            level: pick(rng, &levels),
            instances: rng.below(20),
            services: 1,
            risk_score: 20.0,
        },
        _ => BlastRadius {
            level: usual,
            instances: 1,
            services: 1,
            risk_score: 1.0,
        },
    }
}

fn plan(rng: &mut Rng, id: u128) -> Plan {
    let target = Target::instance("orders", "0").unwrap();
    let id = PlanId::from_u128(id);
    let mut plan = Plan::new(id, INCIDENT, "playbooks", "restart", target.clone());
    plan.radius = radius(rng, RadiusLevel::SingleInstance);
    plan.require_approval = seldom(rng);
    for number in 0..=rng.below(3) {
        let mut step = PlanStep::new(format!("step {number}"), "restart_process", target.clone());
        step.effect = pick(
            rng,
            &[EffectClass::Read, EffectClass::Keyed, EffectClass::Opaque],
        );
        step.risk = pick(
            rng,
            &[
                RiskLevel::Low,
                RiskLevel::Low,
                RiskLevel::Medium,
                RiskLevel::Medium,
                RiskLevel::High,
                RiskLevel::Critical,
            ],
        );
        step.inverse = match rng.below(8) {
            0 => Inverse::Irreversible("it is sent".to_owned()),
            1..4 => Inverse::Nothing,
            _ => Inverse::Captured("the state before".to_owned()),
        };
        step.timeout = pick(
            rng,
            &[
                Duration::from_secs(1),
                Duration::from_secs(30),
                Duration::from_secs(36_000),
            ],
        );
        plan.steps.push(step);
    }
    if seldom(rng) {
        plan.patches.push(PlanPatch {
            path: "config.toml".to_owned(),
            kind: pick(rng, &[PatchKind::Configuration, PatchKind::Code]),
            risk: RiskLevel::Low,
        });
    }
    plan
}

fn testimony(rng: &mut Rng) -> Testimony {
    match rng.below(24) {
        0 => Testimony::No("it may not".to_owned()),
        1 => Testimony::Unknown("nobody answers".to_owned()),
        _ => Testimony::Yes,
    }
}

fn policy(rng: &mut Rng) -> Policy {
    let mut policy = Policy::default();
    if rng.below(4) == 0 {
        policy.pre_approved.insert("restart_process".to_owned());
    }
    policy.max_risk = pick(rng, &[RiskLevel::Low, RiskLevel::Medium, RiskLevel::High]);
    policy
        .limits
        .truncate(usize::try_from(rng.below(3)).unwrap());
    policy.safe_mode.new_kind = seldom(rng);
    if seldom(rng) {
        policy.safe_mode.after_change = Duration::from_secs(600);
    }
    if seldom(rng) {
        policy.maintenance.only = ["restart_process".to_owned()].into();
        let opens = Duration::from_secs(rng.below(24) * 3_600);
        policy.maintenance.windows = vec![MaintenanceWindow {
            days: Weekday::ALL.into(),
            opens,
            lasts: Duration::from_secs(3 * 3_600),
        }];
    }
    if rng.below(3) > 0 {
        policy.cost_benefit = None;
    }
    policy
}

impl Case {
    fn draw(rng: &mut Rng) -> Self {
        let plan = plan(rng, 1);
        let policy = policy(rng);
        let mode = match rng.below(12) {
            0 => Mode::Observe,
            1 | 2 => Mode::Approve,
            3 => Mode::Paused {
                by: "ann".to_owned(),
                why: "a release".to_owned(),
                until: NOW + Duration::from_secs(rng.below(2) * 60),
            },
            _ => Mode::Auto,
        };
        let off = pick(
            rng,
            &[
                "heal",
                "heal.playbooks.restart_process",
                "another",
                "another",
            ],
        );
        let flags = Flags::from_iter([(off.to_owned(), rng.below(4) > 0)]);
        let breaker = (!seldom(rng)).then(|| {
            let mut breaker = BreakerState::default();
            for _ in 0..rng.below(5) {
                let at = NOW - Duration::from_secs(rng.below(7_200));
                breaker.record(rng.below(2) == 0, at, &policy.breaker);
            }
            breaker
        });
        let hashes = [
            plan.hash(),
            plan.hash(),
            plan.hash(),
            self::plan(rng, 9).hash(),
        ];
        let approvals = (0..rng.below(4))
            .map(|_| {
                let by = pick(rng, &["ann", "bob", "cleo"]);
                Approval::new(
                    pick(rng, &hashes),
                    by,
                    NOW - Duration::from_secs(rng.below(4_000)),
                )
            })
            .collect();
        Self {
            kill_switch: seldom(rng),
            needs_people: seldom(rng),
            severity: pick(
                rng,
                &[
                    Severity::Sev0,
                    Severity::Sev1,
                    Severity::Sev2,
                    Severity::Sev2,
                    Severity::Sev3,
                ],
            ),
            incident_radius: radius(rng, RadiusLevel::SingleService),
            is_cause_known: !seldom(rng),
            seen_before: (!seldom(rng)).then(|| rng.below(3)),
            last_change: (rng.below(4) == 0).then(|| NOW - Duration::from_secs(rng.below(1_200))),
            peers: (rng.below(4) == 0).then(|| {
                let total = rng.below(6);
                PeerHealth {
                    healthy: rng.below(total + 1),
                    total,
                }
            }),
            critical_service: rng.below(3) == 0,
            used: (!seldom(rng)).then(|| rng.below(5)),
            last_run: (rng.below(3) == 0).then(|| NOW - Duration::from_secs(rng.below(30))),
            same_action_runs: rng.below(4),
            tenant: TenantId::default(),
            authorization: testimony(rng),
            preconditions: testimony(rng),
            tenant_use: (!seldom(rng)).then(|| TenantUse {
                policy: TenantPolicy::default(),
                heals: rng.below(5),
                runs_last_hour: rng.below(61),
            }),
            patch_use: (!seldom(rng)).then(|| PatchUse {
                today: rng.below(3),
                files: plan.patches.iter().map(|_| FileUse::default()).collect(),
            }),
            tally: (!seldom(rng)).then(|| Tally {
                members: 3,
                ayes: rng.below(4),
                noes: 0,
            }),
            plan,
            policy,
            mode,
            flags,
            breaker,
            approvals,
        }
    }

    fn facts(&self, purpose: Purpose) -> GateFacts<'_> {
        let limits = self.used.map(|used| {
            let limits = self.policy.limits.iter();
            limits
                .map(|limit| LimitUse {
                    limit: *limit,
                    used,
                })
                .collect()
        });
        GateFacts {
            now: NOW,
            purpose,
            kill_switch: self.kill_switch,
            mode: &self.mode,
            flags: &self.flags,
            policy: &self.policy,
            environment: "production",
            tenant: &self.tenant,
            category: None,
            authorization: self.authorization.clone(),
            tenant_use: self.tenant_use.clone(),
            preconditions: self.preconditions.clone(),
            patch_use: self.patch_use.clone(),
            tally: self.tally,
            needs_people: self.needs_people.then_some("the backup is gone"),
            severity: self.severity,
            incident_radius: self.incident_radius,
            is_cause_known: self.is_cause_known,
            seen_before: self.seen_before,
            last_change: self.last_change,
            n_services: 3,
            peers: self.peers,
            critical_service: self.critical_service,
            breaker: self.breaker.as_ref(),
            limits,
            last_run: self.last_run,
            same_action_runs: self.same_action_runs,
            approvals: &self.approvals,
        }
    }

    /// Why no new run of the plan may begin, as the design says it; `None` if one may.
    fn forbidden(&self) -> Option<&'static str> {
        let (plan, policy) = (&self.plan, &self.policy);
        let vouched = policy.is_pre_approved(plan);
        let paused = matches!(self.mode, Mode::Paused { until, .. } if until > NOW);
        let own_flag = format!("heal.{}", plan.action_key());
        let open = |breaker: &BreakerState| {
            matches!(
                breaker.phase(NOW, &policy.breaker),
                BreakerPhase::Open { .. }
            )
        };
        let full = |used: u64| policy.limits.iter().any(|limit| used >= limit.max);
        let too_few = |peers: PeerHealth| {
            peers.total >= policy.storm.at_least
                && Ratio::of(peers.healthy, peers.total) < policy.storm.min_healthy
        };
        let taken = |used: &TenantUse| {
            used.heals >= u64::from(used.policy.max_concurrent_heals)
                || used.runs_last_hour >= u64::from(used.policy.max_runs_per_hour)
        };
        let elected = |tally: Tally| tally.ayes * 10 >= tally.members * 6;
        let changed = self.last_change.map(|at| NOW - at);
        let is_safe_mode = !vouched
            && ((policy.safe_mode.unknown_cause && !self.is_cause_known)
                || (policy.safe_mode.new_kind && self.seen_before.unwrap_or(0) == 0)
                || changed.is_some_and(|ago| ago < policy.safe_mode.after_change));
        let is_closed = policy.maintenance.waits(plan).is_some()
            && policy.maintenance.open_until(NOW).is_none();
        let stops = [
            (self.kill_switch, "the kill switch"),
            (self.needs_people, "people are needed"),
            (self.authorization != Testimony::Yes, "authorization"),
            (self.preconditions != Testimony::Yes, "the pre-conditions"),
            (
                self.tenant_use.as_ref().is_none_or(taken),
                "the tenant's quota",
            ),
            (
                plan.patches
                    .iter()
                    .any(|patch| !policy.patches.kinds.contains(&patch.kind))
                    || (!plan.patches.is_empty() && self.patch_use.is_none()),
                "patches",
            ),
            (
                plan.risk() >= policy.quorum.from_risk && !self.tally.is_some_and(elected),
                "the votes",
            ),
            (!self.flags.is_on("heal", true), "the flag of all"),
            (!self.flags.is_on(&own_flag, true), "its flag"),
            (self.mode == Mode::Observe, "the mode"),
            (paused, "a pause"),
            (self.breaker.as_ref().is_none_or(open), "the breaker"),
            (self.used.is_none_or(full), "a limit"),
            (
                self.last_run
                    .is_some_and(|last| NOW - last < policy.min_interval),
                "the cool-down",
            ),
            (self.same_action_runs >= policy.no_progress, "no progress"),
            (self.peers.is_some_and(too_few), "a storm"),
            (is_closed, "the maintenance window"),
            (
                self.severity == Severity::Sev0
                    && self.incident_radius.level == RadiusLevel::MultiRegion,
                "the worst incident",
            ),
            (
                is_safe_mode && plan.radius.level > RadiusLevel::SingleInstance,
                "safe mode",
            ),
        ];
        if let Some((_, why)) = stops.iter().find(|(stops, _)| *stops) {
            return Some(why);
        }
        let worth = policy.cost_benefit.as_ref().map(|costs| {
            let breaker = self.breaker.clone().unwrap_or_default();
            CostBenefit::of(plan, self.incident_radius, 3, &breaker, costs).net()
        });
        let irreversible = |step: &PlanStep| matches!(step.inverse, Inverse::Irreversible(_));
        let asks = [
            (plan.radius.level >= RadiusLevel::ClusterWide, 2_usize),
            (plan.radius.level > policy.max_radius, 1),
            (self.severity == Severity::Sev0 && !vouched, 1),
            (self.mode == Mode::Approve, 1),
            (plan.require_approval, 1),
            (plan.risk() > policy.max_risk && !vouched, 1),
            (plan.steps.iter().any(irreversible) && !vouched, 1),
            (is_safe_mode, 1),
            (worth.is_some_and(|net| net <= 0.0) && !vouched, 1),
        ];
        let needed = asks.iter().filter(|(asks, _)| *asks).map(|(_, n)| *n).max();
        let hash = plan.hash();
        let consents: std::collections::BTreeSet<_> = self
            .approvals
            .iter()
            .filter(|approval| approval.plan_hash == hash)
            .filter(|approval| NOW - approval.at < policy.approval_ttl)
            .map(|approval| &approval.by)
            .collect();
        (consents.len() < needed.unwrap_or(0)).then_some("consent")
    }
}

/// The incident's journal: everything passes the cycle, and the lease must be the newest.
#[derive(Debug)]
struct Book {
    kept: Mutex<(Option<Incident>, Vec<HealEvent>)>,
    newest: FencingToken,
}

impl Book {
    fn write(&self, kind: EventKind) -> Result<(), String> {
        let mut kept = self.kept.lock().unwrap();
        let event = HealEvent {
            schema_version: SCHEMA_VERSION,
            incident: INCIDENT,
            seq: kept.1.len() as u64,
            at: NOW,
            node: NodeId::default(),
            kind,
        };
        let (next, _) = transition(kept.0.clone(), &event).map_err(|error| error.to_string())?;
        kept.0 = Some(next);
        kept.1.push(event);
        Ok(())
    }

    fn run(&self) -> Option<RunState> {
        self.kept.lock().unwrap().0.as_ref()?.run(RUN).cloned()
    }
}

#[async_trait]
impl RunJournal for Book {
    async fn append(&self, kind: EventKind, fence: Fence) -> Result<(), StoreError> {
        if fence.token < self.newest {
            return Err(StoreError::Fenced {
                resource: fence.resource,
                held: fence.token,
                newest: self.newest,
            });
        }
        self.write(kind)
            .map_err(|reason| StoreError::Invalid { reason })
    }
}

/// What the engine does wrong on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Error {
    PlanNotStored,
    PlanChangedAfterTheGate,
    PlanChangedAfterTheRunOpened,
    GateNotAsked,
    AnswerForged,
    PermitForAnotherPlan,
    PermitForAnotherRun,
    PermitToUndo,
    NoPermit,
    RunNotOpened,
    StateMadeUp,
    LeaseTakenOver,
    LeaseOlderThanTheRuns,
    PermitExpired,
    SwitchThrownLater,
}

const ERRORS: [Error; 15] = [
    Error::PlanNotStored,
    Error::PlanChangedAfterTheGate,
    Error::PlanChangedAfterTheRunOpened,
    Error::GateNotAsked,
    Error::AnswerForged,
    Error::PermitForAnotherPlan,
    Error::PermitForAnotherRun,
    Error::PermitToUndo,
    Error::NoPermit,
    Error::RunNotOpened,
    Error::StateMadeUp,
    Error::LeaseTakenOver,
    Error::LeaseOlderThanTheRuns,
    Error::PermitExpired,
    Error::SwitchThrownLater,
];

/// A forged answer that the gate gave as well, and a state as the journal has it, change nothing.
const HARMLESS: [Error; 2] = [Error::AnswerForged, Error::StateMadeUp];

/// Goes all the way as far as it gets; what stopped it, if something did.
#[expect(clippy::too_many_lines, reason = "one way, told in its order")]
async fn walk(case: &Case, errors: &[Error], rng: &mut Rng) -> Result<(), String> {
    let errs = |error| errors.contains(&error);
    let token = FencingToken::new(5);
    let book = Book {
        kept: Mutex::new((None, Vec::new())),
        newest: if errs(Error::LeaseTakenOver) {
            token.next()
        } else {
            token
        },
    };
    let target = case.plan.target.clone();
    let subject = Subject::Health("orders".to_owned());
    let anomaly = Anomaly::new("test", target, subject, NOW).saying("it is ill");
    book.write(EventKind::Opened {
        tenant: TenantId::default(),
        anomaly: Box::new(anomaly),
        severity: case.severity,
        radius: case.incident_radius,
        score: None,
    })?;
    let diagnosis = Diagnosis::abstain("it is a test");
    book.write(EventKind::Diagnosed { diagnosis })?;
    let other = plan(rng, 4);
    let stored = if errs(Error::PlanNotStored) {
        &other
    } else {
        &case.plan
    };
    let plans = vec![stored.clone()];
    book.write(EventKind::Planned {
        plans,
        considered: Vec::new(),
    })?;

    let purpose = if errs(Error::PermitToUndo) {
        Purpose::Undo
    } else {
        Purpose::Execute
    };
    let (real, clearance) = Gate::ask(&case.plan, &case.facts(purpose));
    let clearance = match (errs(Error::PermitForAnotherPlan), clearance) {
        (true, _) => Gate::ask(&other, &case.facts(purpose)).1,
        (false, clearance) => clearance,
    };
    let mut record = real.clone();
    if errs(Error::AnswerForged) {
        record.decision = GateDecision::Permitted;
    }
    let mut carried_out = case.plan.clone();
    if errs(Error::PlanChangedAfterTheGate) {
        carried_out.steps[0].timeout += Duration::from_secs(1);
    }
    let plan_hash = carried_out.hash();
    if !errs(Error::GateNotAsked) {
        book.write(EventKind::Gated {
            plan: case.plan.id,
            record,
        })?;
    }
    if !errs(Error::RunNotOpened) {
        book.write(EventKind::RunOpened {
            run: RUN,
            plan: case.plan.id,
            plan_hash,
            token,
        })?;
    }
    if errs(Error::PlanChangedAfterTheRunOpened) {
        carried_out.steps[0].action = "wipe".to_owned();
    }
    let n_steps = carried_out.steps.len();
    let made_up = || RunState::new(RUN, case.plan.id, plan_hash, n_steps, token, NOW);
    let state = match book.run() {
        Some(state) if !errs(Error::StateMadeUp) => state,
        _ => made_up(),
    };

    let (clock, switch) = (ManualClock::new(NOW), KillSwitch::default());
    let mut log = RunLog::new(&carried_out, state, &book, &clock, switch.clone());
    if !errs(Error::NoPermit) {
        let clearance = clearance.ok_or("the gate gave no clearance")?;
        let run = if errs(Error::PermitForAnotherRun) {
            RunId::from_u128(8)
        } else {
            RUN
        };
        let held = if errs(Error::LeaseOlderThanTheRuns) {
            FencingToken::new(4)
        } else {
            token
        };
        let permit = clearance.with_lease(run, Lease::new("heal/orders", held, NOW));
        log.redeem(permit).map_err(|error| format!("{error:?}"))?;
    }
    if errs(Error::PermitExpired) {
        clock.advance(case.policy.permit_ttl);
    }
    if errs(Error::SwitchThrownLater) {
        switch.engage();
    }
    let step_idx = usize::try_from(rng.below(n_steps as u64)).unwrap();
    let intent = StepIntent {
        step_idx,
        phase: StepPhase::Do,
        attempt: 1,
        key: IdempotencyKey::new(RUN, step_idx),
        effect: carried_out.steps[step_idx].effect,
        captured: serde_json::Value::Null,
        deadline: NOW,
    };
    log.intend(intent)
        .await
        .map_err(|error| format!("{error:?}"))?;

    // From here on the effect would begin.
    assert!(
        errors.iter().all(|error| HARMLESS.contains(error)),
        "{errors:?}"
    );
    assert_eq!(case.forbidden(), None, "an effect in spite of {case:?}");
    let events = book.kept.into_inner().unwrap().1;
    let kinds = || events.iter().map(|event| &event.kind);
    assert!(
        kinds().any(|kind| matches!(kind, EventKind::Planned { plans, .. }
        if plans.iter().any(|plan| plan.hash() == carried_out.hash())))
    );
    let answered: Vec<_> = real.answers.iter().map(|answer| answer.check).collect();
    assert_eq!(
        answered,
        CHECKS.iter().map(|(check, _)| *check).collect::<Vec<_>>()
    );
    assert!(kinds().any(|kind| matches!(kind, EventKind::Gated { record, .. } if *record == real)));
    Ok(())
}

/// The errors of one walk: none in half of them, one as a rule, several now and then.
fn errors(rng: &mut Rng) -> Vec<Error> {
    let n = [0, 0, 0, 0, 1, 1, 1, 3];
    let mut errors: Vec<_> = (0..pick(rng, &n)).map(|_| pick(rng, &ERRORS)).collect();
    errors.sort();
    errors.dedup();
    errors
}

#[test]
fn no_path_reaches_an_effect_without_a_stored_plan_every_answer_and_a_live_permit() {
    let cases = cases(2_000);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let seen: RefCell<(u32, BTreeMap<String, u32>)> = RefCell::default();
    let config = Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    };
    let law = |seed: u64| {
        let mut rng = Rng::from_seed(seed);
        let case = Case::draw(&mut rng);
        let errors = errors(&mut rng);
        let came = runtime.block_on(walk(&case, &errors, &mut rng));
        let mut seen = seen.borrow_mut();
        seen.0 += u32::from(came.is_ok());
        for error in errors {
            *seen.1.entry(format!("{error:?}")).or_default() += 1;
        }
        Ok(())
    };
    TestRunner::new(config).run(&any::<u64>(), law).unwrap();
    let (reached, errors) = seen.into_inner();
    eprintln!("{reached} of {cases} walks reached an effect; errors: {errors:?}");
    assert!(reached > cases / 50, "only {reached} walks got through");
    assert_eq!(
        errors.len(),
        ERRORS.len(),
        "an error was never made: {errors:?}"
    );
}

/// Whether these checks let something through that must not be.
fn lets_through(checks: &[(Check, Ask)], most: u64) -> bool {
    (0..most).any(|seed| {
        let case = Case::draw(&mut Rng::from_seed(seed));
        let (_, clearance) = Gate::ask_each(checks, &case.plan, &case.facts(Purpose::Execute));
        clearance.is_some() && case.forbidden().is_some()
    })
}

#[test]
fn a_gate_without_any_one_of_its_checks_lets_something_through() {
    assert!(!lets_through(CHECKS, u64::from(cases(2_000))));
    for gone in 0..CHECKS.len() {
        let mut checks = CHECKS.to_vec();
        let (check, _) = checks.remove(gone);
        assert!(lets_through(&checks, 50_000), "nothing misses {check:?}");
    }
}

#[test]
fn two_checks_that_changed_places_are_seen_in_the_answers() {
    let case = (0..100_000)
        .map(|seed| Case::draw(&mut Rng::from_seed(seed)))
        .find(|case| {
            Gate::ask(&case.plan, &case.facts(Purpose::Execute))
                .1
                .is_some()
        })
        .unwrap();
    let order = |checks: &[(Check, Ask)]| {
        let (record, _) = Gate::ask_each(checks, &case.plan, &case.facts(Purpose::Execute));
        let asked = record.answers.iter().map(|answer| answer.check);
        asked.collect::<Vec<_>>()
    };
    assert_eq!(order(CHECKS), ORDER);
    for first in 1..CHECKS.len() {
        let mut checks = CHECKS.to_vec();
        checks.swap(first - 1, first);
        assert_ne!(order(&checks), ORDER);
    }
}
