//! The gate: ordered checks between a plan and the world, each a pure function over facts.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::flags::{Flags, Mode};
use crate::id::RunId;
use crate::policy::{BreakerPhase, BreakerState, Limit, Permit, Policy};
use crate::port::Lease;
use crate::record::{BlastRadius, Plan, RadiusLevel, Severity, StepPhase};
use crate::time::Timestamp;

/// What the effects are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Purpose {
    /// A new run: every check applies.
    Execute,
    /// A run that another process began: it was counted and approved then.
    Resume,
    /// Taking a run back: what was done may always be undone, unless everything is stopped.
    Undo,
}

impl Purpose {
    /// The steps a permit for this purpose covers: forward ones, or those that take back.
    pub fn phase(self) -> StepPhase {
        match self {
            Self::Execute | Self::Resume => StepPhase::Do,
            Self::Undo => StepPhase::Undo,
        }
    }
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Execute => "execute",
            Self::Resume => "resume",
            Self::Undo => "undo",
        })
    }
}

/// A granted approval.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approval {
    /// What was approved.
    pub plan_hash: Digest,
    /// By whom.
    pub by: String,
}

/// How much of a limit is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitUse {
    /// The limit.
    pub limit: Limit,
    /// How many runs fall into its window.
    pub used: u64,
}

/// Everything the gate looks at. Gathered by the engine, so that the gate itself is pure.
#[derive(Debug, Clone)]
pub struct GateFacts<'a> {
    /// The present.
    pub now: Timestamp,
    /// What the effects are for.
    pub purpose: Purpose,
    /// Whether everything is stopped.
    pub kill_switch: bool,
    /// How far the healer may go by itself.
    pub mode: &'a Mode,
    /// Feature flags; `heal` and `heal.<playbook>` turn acting off.
    pub flags: &'a Flags,
    /// The operator's policy.
    pub policy: &'a Policy,
    /// Why only people may act on the incident, if a detector said so.
    pub needs_people: Option<&'a str>,
    /// How bad the incident is.
    pub severity: Severity,
    /// How far the incident reaches.
    pub incident_radius: BlastRadius,
    /// Whether an operator marked the target critical; unknown is critical.
    pub critical_service: bool,
    /// The breaker of the plan's action; `None` means it could not be read.
    pub breaker: Option<&'a BreakerState>,
    /// The limits that apply; `None` means the counters could not be read.
    pub limits: Option<Vec<LimitUse>>,
    /// When the last run on this target began.
    pub last_run: Option<Timestamp>,
    /// How often this action was run for this fingerprint within a day.
    pub same_action_runs: u64,
    /// The approvals people gave.
    pub approvals: &'a [Approval],
}

/// The checks, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Check {
    /// Everything is stopped, or not.
    KillSwitch,
    /// Whether only people can help.
    People,
    /// Feature flags.
    FeatureFlag,
    /// Observe, approve, auto, paused.
    Mode,
    /// Severity against blast radius.
    Policy,
    /// The risk of the steps.
    Risk,
    /// Whether it can be taken back.
    Reversible,
    /// Whether it failed too often.
    CircuitBreaker,
    /// How often it may run.
    RateLimit,
    /// How soon it may run again.
    CoolDown,
    /// Whether it goes round in circles.
    NoProgress,
    /// Whether people agreed.
    Approval,
}

/// One answer, with its numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GateAnswer {
    /// Which check.
    pub check: Check,
    /// What it decided by itself.
    pub answer: Answer,
    /// The numbers and the reason.
    pub detail: String,
}

/// What one check decided by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Answer {
    /// Nothing against it.
    Pass,
    /// Only if this many people agree.
    NeedsApproval(u32),
    /// Not now.
    Defer(Timestamp),
    /// Say what would be done, do not do it.
    Recommend,
    /// Not at all.
    Refuse,
    /// People must take over.
    Escalate,
}

/// What the gate decided.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum GateDecision {
    /// It may run.
    Permitted,
    /// It may run once people agree.
    NeedsApproval {
        /// How many.
        approvals: u32,
        /// When silence becomes a refusal.
        expires: Timestamp,
    },
    /// It is asked again then; it is not dropped.
    Deferred {
        /// When.
        until: Timestamp,
    },
    /// It is only recommended.
    Recommended,
    /// This plan may not run; another one may.
    Refused,
    /// People must take over.
    Escalated,
}

/// The decision with every answer: what is kept on the incident.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GateRecord {
    /// The decision.
    pub decision: GateDecision,
    /// The answers up to the one that decided.
    pub answers: Vec<GateAnswer>,
}

impl GateRecord {
    /// Why it was decided so: the details of the checks that did not pass.
    pub fn reason(&self) -> String {
        let objections: Vec<_> = self
            .answers
            .iter()
            .filter(|answer| answer.answer != Answer::Pass)
            .map(|answer| answer.detail.as_str())
            .collect();
        if objections.is_empty() {
            "every check passed".to_owned()
        } else {
            objections.join("; ")
        }
    }

    /// A deferral for a reason outside of the gate: a lease that somebody else holds.
    pub fn deferred(mut self, until: Timestamp) -> Self {
        self.decision = GateDecision::Deferred { until };
        self
    }
}

impl fmt::Display for GateRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.decision {
            GateDecision::Permitted => f.write_str("permitted"),
            GateDecision::NeedsApproval { approvals, .. } => {
                write!(f, "needs {approvals} approval(s): {}", self.reason())
            }
            GateDecision::Deferred { until } => {
                write!(f, "deferred until {until}: {}", self.reason())
            }
            GateDecision::Recommended => write!(f, "recommended only: {}", self.reason()),
            GateDecision::Refused => write!(f, "refused: {}", self.reason()),
            GateDecision::Escalated => write!(f, "escalated: {}", self.reason()),
        }
    }
}

/// The proof that a plan passed every check; with a lease it becomes a [`Permit`].
#[derive(Debug)]
#[must_use = "a clearance without a lease permits nothing"]
pub struct Clearance {
    plan_hash: Digest,
    purpose: Purpose,
    expires: Timestamp,
}

impl Clearance {
    /// The permit for `run` under `lease`.
    pub fn with_lease(self, run: RunId, lease: Lease) -> Permit {
        Permit::new(self.plan_hash, self.purpose, run, lease, self.expires)
    }
}

/// Asks every check in order.
#[derive(Debug, Clone, Copy, Default)]
pub struct Gate;

impl Gate {
    /// Decides on `plan`. A clearance is given exactly with [`GateDecision::Permitted`].
    ///
    /// The first check that refuses, defers, escalates or only recommends decides; checks that ask
    /// for approval are collected, the strictest counts.
    pub fn ask(plan: &Plan, facts: &GateFacts<'_>) -> (GateRecord, Option<Clearance>) {
        let mut answers = Vec::new();
        let mut needed = 0;
        for (check, ask) in CHECKS {
            let (answer, detail) = if check.applies(facts.purpose) {
                ask(plan, facts, needed)
            } else {
                continue;
            };
            answers.push(GateAnswer {
                check: *check,
                answer: answer.clone(),
                detail,
            });
            let decision = match answer {
                Answer::Pass => continue,
                Answer::NeedsApproval(n) if *check != Check::Approval => {
                    needed = needed.max(n);
                    continue;
                }
                Answer::NeedsApproval(approvals) => GateDecision::NeedsApproval {
                    approvals,
                    expires: facts.now + facts.policy.approval_ttl,
                },
                Answer::Defer(until) => GateDecision::Deferred { until },
                Answer::Recommend => GateDecision::Recommended,
                Answer::Refuse => GateDecision::Refused,
                Answer::Escalate => GateDecision::Escalated,
            };
            return (GateRecord { decision, answers }, None);
        }
        let clearance = Clearance {
            plan_hash: plan.hash(),
            purpose: facts.purpose,
            expires: facts.now + facts.policy.permit_ttl,
        };
        (
            GateRecord {
                decision: GateDecision::Permitted,
                answers,
            },
            Some(clearance),
        )
    }
}

type Ask = fn(&Plan, &GateFacts<'_>, u32) -> (Answer, String);

const CHECKS: &[(Check, Ask)] = &[
    (Check::KillSwitch, kill_switch),
    (Check::People, people),
    (Check::FeatureFlag, feature_flag),
    (Check::Mode, mode),
    (Check::Policy, severity_and_radius),
    (Check::Risk, risk),
    (Check::Reversible, reversible),
    (Check::CircuitBreaker, circuit_breaker),
    (Check::RateLimit, rate_limit),
    (Check::CoolDown, cool_down),
    (Check::NoProgress, no_progress),
    (Check::Approval, approval),
];

impl Check {
    fn applies(self, purpose: Purpose) -> bool {
        match purpose {
            Purpose::Execute => true,
            Purpose::Resume => matches!(self, Self::KillSwitch | Self::FeatureFlag | Self::Mode),
            Purpose::Undo => self == Self::KillSwitch,
        }
    }
}

fn kill_switch(_: &Plan, facts: &GateFacts<'_>, _: u32) -> (Answer, String) {
    if facts.kill_switch {
        (Answer::Escalate, "the kill switch is engaged".to_owned())
    } else {
        (Answer::Pass, "the kill switch is released".to_owned())
    }
}

fn people(_: &Plan, facts: &GateFacts<'_>, _: u32) -> (Answer, String) {
    match facts.needs_people {
        Some(why) => (Answer::Escalate, format!("people are needed: {why}")),
        None => (Answer::Pass, "no detector asks for people".to_owned()),
    }
}

fn feature_flag(plan: &Plan, facts: &GateFacts<'_>, _: u32) -> (Answer, String) {
    let own = format!("heal.{}", plan.action_key());
    let off = ["heal", own.as_str()]
        .into_iter()
        .find(|flag| !facts.flags.is_on(flag, true));
    match off {
        Some(flag) => (Answer::Recommend, format!("flag {flag:?} is off")),
        None => (Answer::Pass, format!("flags \"heal\" and {own:?} are on")),
    }
}

fn mode(_: &Plan, facts: &GateFacts<'_>, _: u32) -> (Answer, String) {
    let detail = format!("mode {}", facts.mode);
    match facts.mode {
        Mode::Observe => (Answer::Recommend, detail),
        Mode::Approve if facts.purpose == Purpose::Execute => (Answer::NeedsApproval(1), detail),
        Mode::Approve | Mode::Auto => (Answer::Pass, detail),
        Mode::Paused { until, .. } if *until > facts.now => (Answer::Defer(*until), detail),
        Mode::Paused { .. } => (Answer::Pass, "the pause is over".to_owned()),
    }
}

fn severity_and_radius(plan: &Plan, facts: &GateFacts<'_>, _: u32) -> (Answer, String) {
    let pre_approved = facts.policy.is_pre_approved(plan);
    let detail = format!(
        "{} with a plan of radius {} in an incident of radius {}",
        facts.severity, plan.radius, facts.incident_radius
    );
    if facts.severity == Severity::Sev0 && facts.incident_radius.level == RadiusLevel::MultiRegion {
        return (Answer::Escalate, format!("{detail}: always for people"));
    }
    let critical = !pre_approved && facts.critical_service;
    let by_radius = match plan.radius.level {
        RadiusLevel::ClusterWide | RadiusLevel::MultiRegion => 2,
        own if own > facts.policy.max_radius => 1,
        RadiusLevel::SingleService if plan.radius.instances > facts.policy.max_instances => 1,
        RadiusLevel::SingleService
            if critical || (!pre_approved && facts.severity > Severity::Sev1) =>
        {
            1
        }
        // A grave incident of a critical service does not wait for its smallest remedy.
        RadiusLevel::SingleInstance if critical && facts.severity > Severity::Sev1 => 1,
        _ => 0,
    };
    if facts.severity == Severity::Sev0 && !pre_approved {
        // Gravity adds to what the radius asks for, it never takes from it.
        return (
            Answer::NeedsApproval(by_radius.max(1)),
            format!("{detail}: only pre-approved actions run by themselves"),
        );
    }
    if by_radius == 0 {
        (Answer::Pass, detail)
    } else {
        (Answer::NeedsApproval(by_radius), detail)
    }
}

fn risk(plan: &Plan, facts: &GateFacts<'_>, _: u32) -> (Answer, String) {
    let detail = format!("risk {}, allowed {}", plan.risk(), facts.policy.max_risk);
    if plan.require_approval {
        (
            Answer::NeedsApproval(1),
            "the plan itself asks for approval".to_owned(),
        )
    } else if plan.risk() > facts.policy.max_risk && !facts.policy.is_pre_approved(plan) {
        (Answer::NeedsApproval(1), detail)
    } else {
        (Answer::Pass, detail)
    }
}

fn reversible(plan: &Plan, facts: &GateFacts<'_>, _: u32) -> (Answer, String) {
    match plan.steps.iter().find(|step| !step.inverse.is_reversible()) {
        Some(step) if !facts.policy.is_pre_approved(plan) => (
            Answer::NeedsApproval(1),
            format!("step {:?} cannot be taken back", step.name),
        ),
        Some(step) => (
            Answer::Pass,
            format!(
                "step {:?} cannot be taken back but is pre-approved",
                step.name
            ),
        ),
        None => (Answer::Pass, "every step can be taken back".to_owned()),
    }
}

fn circuit_breaker(plan: &Plan, facts: &GateFacts<'_>, _: u32) -> (Answer, String) {
    let Some(breaker) = facts.breaker else {
        return (
            Answer::Escalate,
            "the circuit breaker could not be read".to_owned(),
        );
    };
    let failures = breaker.consecutive_failures();
    match breaker.phase(facts.now, &facts.policy.breaker) {
        BreakerPhase::Closed => (
            Answer::Pass,
            format!("breaker closed, {failures} failures in a row"),
        ),
        BreakerPhase::HalfOpen => (Answer::Pass, "breaker half open: one attempt".to_owned()),
        BreakerPhase::Open { until } => (
            Answer::Refuse,
            format!(
                "breaker of {} open until {until} after {failures} failures in a row",
                plan.action_key()
            ),
        ),
    }
}

fn rate_limit(_: &Plan, facts: &GateFacts<'_>, _: u32) -> (Answer, String) {
    let Some(limits) = &facts.limits else {
        return (
            Answer::Escalate,
            "the rate limits could not be read".to_owned(),
        );
    };
    match limits.iter().find(|usage| usage.used >= usage.limit.max) {
        Some(usage) => {
            // A sliding window frees a place at the latest when it has passed once.
            let wait = usage.limit.window.min(std::time::Duration::from_secs(60));
            (
                Answer::Defer(facts.now + wait),
                format!("{} runs used of {}", usage.used, usage.limit),
            )
        }
        None => (Answer::Pass, format!("{} limits have room", limits.len())),
    }
}

fn cool_down(plan: &Plan, facts: &GateFacts<'_>, _: u32) -> (Answer, String) {
    // A run of the future means that the clock was set back: it counts as one of this moment.
    let last_run = facts.last_run.map(|last| last.min(facts.now));
    match last_run.map(|last| last + facts.policy.min_interval) {
        Some(free) if free > facts.now => (
            Answer::Defer(free),
            format!("{} rests until {free}", plan.target),
        ),
        _ => (Answer::Pass, format!("{} has rested", plan.target)),
    }
}

fn no_progress(plan: &Plan, facts: &GateFacts<'_>, _: u32) -> (Answer, String) {
    let (runs, allowed) = (facts.same_action_runs, facts.policy.no_progress);
    if allowed > 0 && runs >= allowed {
        (
            Answer::Escalate,
            format!(
                "{} ran {runs} times for the same fingerprint within a day",
                plan.action_key()
            ),
        )
    } else {
        (
            Answer::Pass,
            format!("{runs} earlier runs for the same fingerprint"),
        )
    }
}

fn approval(plan: &Plan, facts: &GateFacts<'_>, needed: u32) -> (Answer, String) {
    let hash = plan.hash();
    let mut people: Vec<_> = facts
        .approvals
        .iter()
        .filter(|approval| approval.plan_hash == hash)
        .map(|approval| approval.by.as_str())
        .collect();
    people.sort_unstable();
    people.dedup();
    let detail = format!(
        "{} of {needed} approvals for {}",
        people.len(),
        hash.short()
    );
    if people.len() as u64 >= u64::from(needed) {
        (Answer::Pass, detail)
    } else {
        (Answer::NeedsApproval(needed), detail)
    }
}

#[cfg(test)]
mod tests;
