//! What was changed shortly before, and whether the changed thing itself came to harm.

use std::time::Duration;

use homeostasis_core::record::{Category, Finding, Proof, Role};
use homeostasis_core::signal::{Change, ChangeKind};
use homeostasis_core::stage::{AnalyzeError, Analyzer, Evidence};
use homeostasis_core::{ConfigError, Context, Target, Violation, Violations, async_trait};

use crate::meaning::Meaning;
use crate::scope::Scope;
use crate::shift::Shift;

/// What was ill this long before a change, or in the last four points before it, was not made ill
/// by it.
const JUST_BEFORE: Duration = Duration::from_secs(20);

/// How fast a change stops being suspicious.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ChangeConfig {
    /// By how much a change at the very moment of the onset multiplies the odds; at least 1, which
    /// means never; default 8.
    pub max_ratio: f64,
    /// After this time what is above 1 of the multiplier has fallen to 1/e; more than zero; default
    /// 5 minutes.
    pub decay: Duration,
    /// How far after the estimated onset a change may lie and still precede it in truth: onsets are
    /// estimates; at most 10 minutes; default 15 seconds.
    pub tolerance: Duration,
}

impl Default for ChangeConfig {
    fn default() -> Self {
        Self {
            max_ratio: 8.0,
            decay: Duration::from_secs(300),
            tolerance: Duration::from_secs(15),
        }
    }
}

/// Correlates deployments, flags, configuration changes and migrations with the incident.
///
/// A change counts if it was made to an affected service or to one an affected service depends on,
/// before the onset. It is then *context*: it multiplies the odds of illnesses of the thing that
/// was changed, by less the longer ago it was, and is never evidence alone. It becomes a *cause*
/// (`bad_deploy`, or `configuration_error` for a change of configuration) only with independent
/// evidence of harm: latency or errors of that very thing rose after the change and were calm
/// before it. If nothing was changed that could matter, a context finding says so.
#[derive(Debug, Clone, Copy, Default)]
pub struct ChangeAnalyzer {
    config: ChangeConfig,
}

impl ChangeAnalyzer {
    const NAME: &str = "change";

    /// An analyzer with `config`.
    ///
    /// # Errors
    /// Names every value out of its range.
    pub fn new(config: ChangeConfig) -> Result<Self, ConfigError> {
        let mut violations = Violations::new();
        if !(config.max_ratio >= 1.0 && config.max_ratio <= 1e6) {
            let violation = Violation::new("max_ratio", config.max_ratio, "1 <= ratio <= 1e6");
            violations.push(violation);
        }
        if config.decay.is_zero() {
            violations.push(Violation::new("decay", "0s", "more than zero"));
        }
        if config.tolerance > Duration::from_secs(600) {
            let value = format!("{:?}", config.tolerance);
            violations.push(Violation::new("tolerance", value, "at most 10m"));
        }
        violations.into_result(Self { config })
    }

    /// By how much a change this long before the onset multiplies the odds, in nats.
    fn nats(&self, before_onset: Duration) -> f64 {
        let share = (-before_onset.as_secs_f64() / self.config.decay.as_secs_f64()).exp();
        (1.0 + (self.config.max_ratio - 1.0) * share).ln()
    }

    /// Latency and errors of what was changed that rose after the change and not before, strongest
    /// first.
    fn harm(scope: &Scope<'_>, change: &Change) -> Vec<Shift> {
        let mut harm: Vec<_> = scope
            .series_of(change.target.service_name())
            .into_iter()
            .filter(|window| {
                let its = window.key.target();
                let kind = Meaning::of(&window.key.metric);
                its.is_some_and(|its| overlap(&its, &change.target))
                    && matches!(kind, Some(Meaning::Latency | Meaning::Errors))
            })
            .filter_map(|window| {
                let shift = Shift::of(&window, change.at)?;
                // Was it ill already? The last points before the change, against those before them.
                let mut past = window;
                past.points.retain(|(at, _)| *at < change.at);
                let fourth_last = past.points.iter().rev().nth(3)?.0;
                let since = fourth_last.min(change.at - JUST_BEFORE);
                let was_ill = Shift::of(&past, since)
                    .is_some_and(|earlier| earlier.nats() > shift.nats() / 2.0);
                (!was_ill).then_some(shift)
            })
            .collect();
        harm.sort_by(Shift::by_strength);
        harm
    }

    fn examine(scope: &Scope<'_>, change: &Change, nats: f64, findings: &mut Vec<Finding>) {
        let target = &change.target;
        let (cause, category) = (cause(change.kind), Category::Configuration);
        let proof = proof(change);
        let mut context = Finding::new(
            Self::NAME,
            target.clone(),
            cause,
            category,
            Role::Context,
            nats,
        )
        .proven_by(proof.clone())
        .saying(format!(
            "{} ({}) makes an illness of {target} {:.1} times as likely",
            proof.statement,
            change.at,
            nats.exp()
        ));
        context.onset = Some(change.at);
        findings.push(context);
        let harm = Self::harm(scope, change);
        if let Some(worst) = harm.first() {
            let mut finding = Finding::new(
                Self::NAME,
                target.clone(),
                cause,
                category,
                Role::Cause,
                worst.nats(),
            )
            .proven_by(proof.clone())
            .saying(format!(
                "after the {}, {}",
                proof.statement,
                worst.statement()
            ));
            finding.onset = Some(change.at);
            finding.proofs.extend(harm.iter().take(3).map(Shift::proof));
            findings.push(finding);
        }
    }
}

fn overlap(a: &Target, b: &Target) -> bool {
    a.contains(b) || b.contains(a)
}

/// What a change of this kind is called when it is the cause.
pub(crate) fn cause(kind: ChangeKind) -> &'static str {
    match kind {
        ChangeKind::Config => "configuration_error",
        _ => "bad_deploy",
    }
}

/// That `change` was made.
pub(crate) fn proof(change: &Change) -> Proof {
    let (what, target) = (kind(change.kind), &change.target);
    Proof {
        kind: "change".to_owned(),
        reference: format!("{what} of {target}"),
        at: Some(change.at),
        statement: format!("{what} of {target}: {}", change.summary),
    }
}

fn kind(kind: ChangeKind) -> &'static str {
    match kind {
        ChangeKind::Deploy => "deployment",
        ChangeKind::Flag => "flag",
        ChangeKind::Config => "configuration change",
        ChangeKind::Migration => "migration",
        _ => "change",
    }
}

#[async_trait]
impl Analyzer for ChangeAnalyzer {
    fn name(&self) -> &str {
        Self::NAME
    }

    async fn analyze(
        &self,
        cx: &Context,
        evidence: &Evidence<'_>,
    ) -> Result<Vec<Finding>, AnalyzeError> {
        let scope = Scope::new(cx, evidence);
        let onset = evidence.incident.since;
        let mut changes = scope.observations().changes(scope.from, scope.to);
        changes.retain(|change| {
            let service = change.target.service_name();
            let may_harm = change.kind != ChangeKind::Scale
                && scope
                    .affected
                    .iter()
                    .any(|ill| ill == service || scope.calls.depends_on(ill, service));
            may_harm && change.at <= onset + self.config.tolerance
        });
        // Newest first: of several changes of one thing the last before the onset is the suspect.
        changes.sort_by(|a, b| {
            b.at.cmp(&a.at)
                .then_with(|| a.target.cmp(&b.target))
                .then_with(|| a.kind.cmp(&b.kind))
                .then_with(|| a.summary.cmp(&b.summary))
        });
        let mut findings = Vec::new();
        let mut seen = Vec::new();
        for change in &changes {
            let identity = (change.target.clone(), change.kind == ChangeKind::Config);
            if seen.contains(&identity) {
                continue;
            }
            seen.push(identity);
            let nats = self.nats(onset.since(change.at));
            Self::examine(&scope, change, nats, &mut findings);
        }
        if changes.is_empty() {
            for service in &scope.affected {
                let Ok(target) = Target::service(service) else {
                    continue;
                };
                findings.push(
                    Finding::new(
                        Self::NAME,
                        target,
                        "bad_deploy",
                        Category::Configuration,
                        Role::Context,
                        -1.0,
                    )
                    .saying(format!(
                        "no change to blame: nothing that {service} is or depends on was changed \
                         between {} and {onset}",
                        scope.from
                    )),
                );
            }
        }
        Ok(findings)
    }
}
