//! The section `policy` of a configuration.

use std::str::FromStr;
use std::time::Duration;

use homeostasis_core::Ratio;
use homeostasis_core::document::{
    Fields, any_duration, boolean, integer, list, nested, non_empty_string, one_of, parsed, ratio,
};
use homeostasis_core::policy::{
    BreakerPolicy, CostBenefitPolicy, Limit, LimitScope, MaintenancePolicy, MaintenanceWindow,
    PatchPolicy, Policy, PolicyMatrix, PolicyRule, QuorumPolicy, Requirement, SafeModePolicy,
    SignOff, StormPolicy, Weekday,
};
use homeostasis_core::port::Role;
use homeostasis_core::record::{PatchKind, RadiusLevel, RiskLevel};

use super::decode::SEVERITIES;

const RISKS: &[(&str, RiskLevel)] = &[
    ("low", RiskLevel::Low),
    ("medium", RiskLevel::Medium),
    ("high", RiskLevel::High),
    ("critical", RiskLevel::Critical),
];

pub(super) const RADII: &[(&str, RadiusLevel)] = &[
    ("single_instance", RadiusLevel::SingleInstance),
    ("single_service", RadiusLevel::SingleService),
    ("multiple_services", RadiusLevel::MultipleServices),
    ("cluster_wide", RadiusLevel::ClusterWide),
    ("multi_region", RadiusLevel::MultiRegion),
];

const SCOPES: &[(&str, LimitScope)] = &[
    ("global", LimitScope::Global),
    ("target", LimitScope::Target),
    ("action", LimitScope::Action),
    ("action_on_target", LimitScope::ActionOnTarget),
    ("service", LimitScope::Service),
    ("tenant", LimitScope::Tenant),
];

const REQUIREMENTS: &[(&str, Requirement)] = &[
    ("auto", Requirement::Auto),
    ("approval", Requirement::Approvals(1)),
    ("two_approvals", Requirement::Approvals(2)),
    ("three_approvals", Requirement::Approvals(3)),
    ("refused", Requirement::Refused),
    ("people", Requirement::People),
];

const KINDS: &[(&str, PatchKind)] = &[
    ("configuration", PatchKind::Configuration),
    ("code", PatchKind::Code),
];

const DAYS: &[(&str, Weekday)] = &[
    ("monday", Weekday::Monday),
    ("tuesday", Weekday::Tuesday),
    ("wednesday", Weekday::Wednesday),
    ("thursday", Weekday::Thursday),
    ("friday", Weekday::Friday),
    ("saturday", Weekday::Saturday),
    ("sunday", Weekday::Sunday),
];

pub(super) fn policy_fields(d: &mut Fields<'_>) -> Option<Policy> {
    let base = Policy::default();
    let pre_approved = d.default("pre_approved", list(non_empty_string()), Vec::new());
    let matrix = d.default("matrix", nested(matrix), base.matrix);
    let rules = d.default("rules", list(nested(rule)), base.rules);
    let patches = d.default("patches", nested(patches), base.patches);
    let quorum = d.default("quorum", nested(quorum), base.quorum);
    let sign_off = d.default("sign_off", nested(sign_off), base.sign_off);
    let max_risk = d.default("max_risk", one_of(RISKS), base.max_risk);
    let max_radius = d.default("max_radius", one_of(RADII), base.max_radius);
    let max_instances = d.default("max_instances", integer(0..=u64::MAX), base.max_instances);
    let limits = d.default("limits", list(nested(limit)), base.limits);
    let min_interval = d.default("min_interval", any_duration(), base.min_interval);
    let breaker = d.default("breaker", nested(breaker), base.breaker);
    let no_progress = d.default("no_progress", integer(0..=u64::MAX), base.no_progress);
    let safe_mode = d.default("safe_mode", nested(safe_mode), base.safe_mode);
    let storm = d.default("storm", nested(storm), base.storm);
    let maintenance = d.default("maintenance", nested(maintenance), base.maintenance);
    let worth = d.default(
        "cost_benefit",
        nested(cost_benefit),
        Worth(base.cost_benefit),
    );
    let approval_ttl = d.default("approval_ttl", any_duration(), base.approval_ttl);
    let permit_ttl = d.default("permit_ttl", any_duration(), base.permit_ttl);
    Some(Policy {
        pre_approved: pre_approved?.into_iter().collect(),
        matrix: matrix?,
        rules: rules?,
        patches: patches?,
        quorum: quorum?,
        sign_off: sign_off?,
        max_risk: max_risk?,
        max_radius: max_radius?,
        max_instances: max_instances?,
        limits: limits?,
        min_interval: min_interval?,
        breaker: breaker?,
        no_progress: no_progress?,
        safe_mode: safe_mode?,
        storm: storm?,
        maintenance: maintenance?,
        cost_benefit: worth?.0,
        approval_ttl: approval_ttl?,
        permit_ttl: permit_ttl?,
    })
}

/// One field for each severity, and in it one for each radius.
fn matrix(d: &mut Fields<'_>) -> Option<PolicyMatrix> {
    let mut matrix = PolicyMatrix::default();
    let mut is_sound = true;
    for (name, severity) in SEVERITIES {
        match d.optional(name, nested(row)) {
            Some(cells) => {
                for (radius, requirement) in cells.into_iter().flatten() {
                    matrix = matrix.with(*severity, radius, requirement);
                }
            }
            None => is_sound = false,
        }
    }
    is_sound.then_some(matrix)
}

fn row(d: &mut Fields<'_>) -> Option<Vec<(RadiusLevel, Requirement)>> {
    let cells = RADII
        .iter()
        .map(|(name, radius)| (*radius, d.optional(name, one_of(REQUIREMENTS))));
    let cells: Vec<_> = cells.collect();
    let cells = cells
        .into_iter()
        .map(|(radius, cell)| Some((radius, cell?)));
    let cells: Option<Vec<_>> = cells.collect();
    let given = cells?.into_iter();
    Some(
        given
            .filter_map(|(radius, cell)| Some((radius, cell?)))
            .collect(),
    )
}

fn rule(d: &mut Fields<'_>) -> Option<PolicyRule> {
    let name = d.required("name", non_empty_string());
    let names = || list(non_empty_string());
    let services = d.default("services", names(), Vec::new());
    let actions = d.default("actions", names(), Vec::new());
    let severities = d.default("severities", list(one_of(SEVERITIES)), Vec::new());
    let environments = d.default("environments", names(), Vec::new());
    let require = d.required("require", one_of(REQUIREMENTS));
    Some(PolicyRule {
        name: name?,
        services: services?.into_iter().collect(),
        actions: actions?.into_iter().collect(),
        severities: severities?.into_iter().collect(),
        environments: environments?.into_iter().collect(),
        require: require?,
    })
}

fn patches(d: &mut Fields<'_>) -> Option<PatchPolicy> {
    let base = PatchPolicy::default();
    let kinds = d.default(
        "kinds",
        list(one_of(KINDS)),
        base.kinds.iter().copied().collect(),
    );
    let max_risk = d.default("max_risk", one_of(RISKS), base.max_risk);
    let per_day = d.default("per_day", integer(0..=u64::MAX), base.per_day);
    let per_file_per_day = d.default(
        "per_file_per_day",
        integer(0..=u64::MAX),
        base.per_file_per_day,
    );
    let cool_down = d.default("cool_down", any_duration(), base.cool_down);
    let critical_files = d.default("critical_files", list(non_empty_string()), Vec::new());
    Some(PatchPolicy {
        kinds: kinds?.into_iter().collect(),
        max_risk: max_risk?,
        per_day: per_day?,
        per_file_per_day: per_file_per_day?,
        cool_down: cool_down?,
        critical_files: critical_files?.into_iter().collect(),
    })
}

fn quorum(d: &mut Fields<'_>) -> Option<QuorumPolicy> {
    let base = QuorumPolicy::default();
    let from_risk = d.default("from_risk", one_of(RISKS), base.from_risk);
    let share = d.default("share", ratio(0.0..=1.0), base.share.get());
    Some(QuorumPolicy {
        from_risk: from_risk?,
        share: Ratio::saturating(share?),
    })
}

/// One field for each radius: the roles that must be among those who agree.
fn sign_off(d: &mut Fields<'_>) -> Option<SignOff> {
    let mut sign_off = SignOff::default();
    let mut is_sound = true;
    for (name, radius) in RADII {
        match d.optional(name, list(non_empty_string())) {
            Some(Some(roles)) => {
                let roles = roles.iter().map(|role| Role::named(role)).collect();
                sign_off.0.insert(*radius, roles);
            }
            Some(None) => {}
            None => is_sound = false,
        }
    }
    is_sound.then_some(sign_off)
}

fn limit(d: &mut Fields<'_>) -> Option<Limit> {
    let scope = d.default("scope", one_of(SCOPES), LimitScope::Global);
    let max = d.required("max", integer(0..=u64::MAX));
    let window = d.required("window", any_duration());
    Some(Limit {
        scope: scope?,
        max: max?,
        window: window?,
    })
}

fn breaker(d: &mut Fields<'_>) -> Option<BreakerPolicy> {
    let base = BreakerPolicy::default();
    let consecutive_failures = d.default(
        "consecutive_failures",
        integer(0..=u32::MAX),
        base.consecutive_failures,
    );
    let failure_ratio = d.default("failure_ratio", ratio(0.0..=1.0), base.failure_ratio.get());
    let window = d.default("window", integer(0..=usize::MAX), base.window);
    let cool_down = d.default("cool_down", any_duration(), base.cool_down);
    Some(BreakerPolicy {
        consecutive_failures: consecutive_failures?,
        failure_ratio: Ratio::saturating(failure_ratio?),
        window: window?,
        cool_down: cool_down?,
    })
}

fn safe_mode(d: &mut Fields<'_>) -> Option<SafeModePolicy> {
    let base = SafeModePolicy::default();
    let unknown_cause = d.default("unknown_cause", boolean(), base.unknown_cause);
    let new_kind = d.default("new_kind", boolean(), base.new_kind);
    let after_change = d.default("after_change", any_duration(), base.after_change);
    Some(SafeModePolicy {
        unknown_cause: unknown_cause?,
        new_kind: new_kind?,
        after_change: after_change?,
    })
}

fn storm(d: &mut Fields<'_>) -> Option<StormPolicy> {
    let base = StormPolicy::default();
    let min_healthy = d.default("min_healthy", ratio(0.0..=1.0), base.min_healthy.get());
    let at_least = d.default("at_least", integer(1..=u64::MAX), base.at_least);
    Some(StormPolicy {
        min_healthy: Ratio::saturating(min_healthy?),
        at_least: at_least?,
    })
}

fn maintenance(d: &mut Fields<'_>) -> Option<MaintenancePolicy> {
    let windows = d.default("windows", list(nested(window)), Vec::new());
    let only = d.default("only", list(non_empty_string()), Vec::new());
    let base = MaintenancePolicy::default();
    let max_wait = d.default("max_wait", any_duration(), base.max_wait);
    Some(MaintenancePolicy {
        windows: windows?,
        only: only?.into_iter().collect(),
        max_wait: max_wait?,
    })
}

pub(super) fn window(d: &mut Fields<'_>) -> Option<MaintenanceWindow> {
    let days = d.default("days", list(one_of(DAYS)), Vec::new());
    let opens = d.required(
        "opens",
        parsed::<TimeOfDay>("a time of day in UTC as HH:MM"),
    );
    let lasts = d.required("lasts", any_duration());
    Some(MaintenanceWindow {
        days: days?.into_iter().collect(),
        opens: opens?.0,
        lasts: lasts?,
    })
}

/// A time of day as `HH:MM`: how long after midnight it is.
struct TimeOfDay(Duration);

impl FromStr for TimeOfDay {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = |digits: &str, below: u64| {
            let is_number = digits.len() == 2 && digits.bytes().all(|byte| byte.is_ascii_digit());
            let number = digits.parse().ok().filter(|number| *number < below);
            number.filter(|_| is_number)
        };
        let (hours, minutes) = text.split_once(':').ok_or("there is no colon")?;
        let hours: u64 = number(hours, 24).ok_or("hours are 00 to 23")?;
        let minutes: u64 = number(minutes, 60).ok_or("minutes are 00 to 59")?;
        Ok(Self(Duration::from_secs(hours * 3600 + minutes * 60)))
    }
}

/// How a plan's worth is added up, if anybody asks.
struct Worth(Option<CostBenefitPolicy>);

/// `enabled: false` asks nobody what a plan is worth.
fn cost_benefit(d: &mut Fields<'_>) -> Option<Worth> {
    let base = CostBenefitPolicy::default();
    let enabled = d.default("enabled", boolean(), true);
    let without_healing = d.default("without_healing", any_duration(), base.without_healing);
    let low = d.default("low", any_duration(), base.low);
    let medium = d.default("medium", any_duration(), base.medium);
    let high = d.default("high", any_duration(), base.high);
    let critical = d.default("critical", any_duration(), base.critical);
    let policy = CostBenefitPolicy {
        without_healing: without_healing?,
        low: low?,
        medium: medium?,
        high: high?,
        critical: critical?,
    };
    Some(Worth(enabled?.then_some(policy)))
}
