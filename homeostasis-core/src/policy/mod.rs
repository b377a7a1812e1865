//! Policy: how bad, how far, and whether it may be done at all. Pure functions over facts.

mod blast_radius;
mod breaker;
mod containment;
mod cost_benefit;
mod escalation;
mod gate;
mod maintenance;
mod matrix;
mod patching;
mod permit;
mod quorum;
mod rules;
mod severity;
mod sign_off;

pub use blast_radius::{Reach, blast_radius};
pub use breaker::{BreakerPhase, BreakerPolicy, BreakerState};
pub use containment::{SafeModePolicy, StormPolicy};
pub use cost_benefit::{CostBenefit, CostBenefitPolicy};
pub use escalation::{
    EscalationCondition, EscalationLevel, EscalationPolicy, EscalationRepeat, EscalationRules,
    EscalationTrigger, TriggerCondition, escalation_messages,
};
pub use gate::{
    Answer, Check, Clearance, Gate, GateAnswer, GateDecision, GateFacts, GateRecord, LimitUse,
    PeerHealth, Purpose, TenantUse, Testimony,
};
pub use maintenance::{MaintenancePolicy, MaintenanceWindow, Weekday};
pub use matrix::{PolicyMatrix, PolicyRule, Requirement};
pub use patching::{FileUse, PatchPolicy, PatchUse};
pub use permit::{Grant, Permit, PermitError};
pub use quorum::QuorumPolicy;
pub use rules::{Limit, LimitScope, Policy};
pub use severity::{SeverityInputs, SeverityScore, Trend};
pub use sign_off::{Approval, SignOff, is_own_author};
