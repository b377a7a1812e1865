//! Policy: how bad, how far, and whether it may be done at all. Pure functions over facts.

mod blast_radius;
mod breaker;
mod containment;
mod cost_benefit;
mod escalation;
mod gate;
mod maintenance;
mod permit;
mod rules;
mod severity;

pub use blast_radius::{Reach, blast_radius};
pub use breaker::{BreakerPhase, BreakerPolicy, BreakerState};
pub use containment::{SafeModePolicy, StormPolicy};
pub use cost_benefit::{CostBenefit, CostBenefitPolicy};
pub use escalation::{
    EscalationCondition, EscalationLevel, EscalationPolicy, EscalationRepeat, EscalationRules,
    EscalationTrigger, TriggerCondition, escalation_messages,
};
pub use gate::{
    Answer, Approval, Check, Clearance, Gate, GateAnswer, GateDecision, GateFacts, GateRecord,
    LimitUse, PeerHealth, Purpose,
};
pub use maintenance::{MaintenancePolicy, MaintenanceWindow, Weekday};
pub use permit::{Grant, Permit, PermitError};
pub use rules::{Limit, LimitScope, Policy};
pub use severity::{SeverityInputs, SeverityScore, Trend};
