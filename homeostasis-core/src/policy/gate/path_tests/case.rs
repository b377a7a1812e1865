//! Random cases for the gate, and what the design says of them.

use std::collections::BTreeSet;
use std::time::Duration;

use super::super::{Approval, GateFacts, LimitUse, PeerHealth, Purpose};
use super::{INCIDENT, NOW};
use crate::flags::{Flags, Mode};
use crate::id::PlanId;
use crate::policy::{BreakerPhase, BreakerState, CostBenefit, MaintenanceWindow, Policy, Weekday};
use crate::record::{
    BlastRadius, EffectClass, Inverse, Plan, PlanStep, RadiusLevel, RiskLevel, Severity,
};
use crate::rng::Rng;
use crate::target::Target;
use crate::time::Timestamp;
use crate::unit::Ratio;

/// One of `choices`.
pub(super) fn pick<T: Clone>(rng: &mut Rng, choices: &[T]) -> T {
    let at = rng.below(choices.len() as u64);
    choices[usize::try_from(at).unwrap()].clone()
}

fn seldom(rng: &mut Rng) -> bool {
    rng.below(12) == 0
}

/// What the gate is asked, and about what.
#[derive(Debug)]
pub(super) struct Case {
    pub(super) plan: Plan,
    pub(super) policy: Policy,
    mode: Mode,
    flags: Flags,
    kill_switch: bool,
    needs_people: bool,
    pub(super) severity: Severity,
    pub(super) incident_radius: BlastRadius,
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

pub(super) fn plan(rng: &mut Rng, id: u128) -> Plan {
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
    plan
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
    pub(super) fn draw(rng: &mut Rng) -> Self {
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
            .map(|_| Approval {
                plan_hash: pick(rng, &hashes),
                by: pick(rng, &["ann", "bob", "cleo"]).to_owned(),
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
            plan,
            policy,
            mode,
            flags,
            breaker,
            approvals,
        }
    }

    pub(super) fn facts(&self, purpose: Purpose) -> GateFacts<'_> {
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
    pub(super) fn forbidden(&self) -> Option<&'static str> {
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
        let consents: BTreeSet<_> = self
            .approvals
            .iter()
            .filter(|approval| approval.plan_hash == hash)
            .map(|approval| &approval.by)
            .collect();
        (consents.len() < needed.unwrap_or(0)).then_some("consent")
    }
}
