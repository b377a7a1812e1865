//! Plans: what would be done, as data that can be shown, approved, hashed and simulated.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::digest::Digest;
use crate::id::{IncidentId, PlanId};
use crate::record::bounds::{DAY, HOUR, MILLISECOND, at_most, within};
use crate::record::patch::leaves_project;
use crate::record::{BlastRadius, PatchKind, VerificationSpec};
use crate::target::Target;

/// What is known about doing a step twice. It decides what recovery may do after a crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EffectClass {
    /// It changes nothing.
    Read,
    /// Twice is as good as once.
    Idempotent,
    /// The target drops a second request with our key.
    Keyed,
    /// One can ask whether it happened.
    Probeable,
    /// None of these: never repeated.
    Opaque,
}

impl EffectClass {
    /// Whether an unfinished step may simply run again.
    pub fn may_repeat(self) -> bool {
        matches!(self, Self::Read | Self::Idempotent | Self::Keyed)
    }
}

impl fmt::Display for EffectClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Idempotent => "idempotent",
            Self::Keyed => "keyed",
            Self::Probeable => "probeable",
            Self::Opaque => "opaque",
        })
    }
}

/// How dangerous a step is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RiskLevel {
    /// Little can go wrong.
    Low,
    /// Users may notice.
    Medium,
    /// Users will notice if it goes wrong.
    High,
    /// Data may be lost.
    Critical,
}

impl fmt::Display for RiskLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        })
    }
}

/// Whether and how a step can be taken back.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Inverse {
    /// It changes nothing that would have to be taken back.
    Nothing,
    /// The state before is captured when the step starts and put back by undo.
    Captured(String),
    /// It cannot be taken back, because …
    Irreversible(String),
}

impl Inverse {
    /// Whether undo can take the step back.
    pub fn is_reversible(&self) -> bool {
        !matches!(self, Self::Irreversible(_))
    }
}

/// When a failed step is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Retry {
    /// Attempts in all; at least 1.
    pub attempts: u32,
    /// The wait before the second attempt; it doubles each time, with full jitter.
    pub backoff: Duration,
    /// The wait never exceeds this.
    pub max_backoff: Duration,
}

impl Default for Retry {
    /// One attempt.
    fn default() -> Self {
        Self {
            attempts: 1,
            backoff: Duration::from_millis(500),
            max_backoff: Duration::from_secs(30),
        }
    }
}

/// One step of a plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PlanStep {
    /// For people.
    pub name: String,
    /// Which action.
    pub action: String,
    /// On what.
    pub target: Target,
    /// The action's typed parameters.
    pub args: Map<String, Value>,
    /// What is known about doing it twice.
    pub effect: EffectClass,
    /// How dangerous it is.
    pub risk: RiskLevel,
    /// How it is taken back.
    pub inverse: Inverse,
    /// How long one attempt may take.
    pub timeout: Duration,
    /// When it is tried again.
    pub retry: Retry,
    /// Whether it begins together with the step before it, instead of after it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub with_previous: bool,
    /// How long it may watch without touching anything, at most 24 h; the permit lasts longer by
    /// this.
    #[serde(default, skip_serializing_if = "Duration::is_zero")]
    pub watches: Duration,
    /// Whether it is the pivot of the run: once it is done, neither it nor what was done before it
    /// is taken back.
    ///
    /// Source: C. Richardson, *Microservices Patterns*, 2018, section 4.3.2 ("pivot transaction").
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pivot: bool,
}

impl PlanStep {
    /// A step of the worst kind: opaque, high risk, irreversible; one attempt of 30 s.
    pub fn new(name: impl Into<String>, action: impl Into<String>, target: Target) -> Self {
        Self {
            name: name.into(),
            action: action.into(),
            target,
            args: Map::new(),
            effect: EffectClass::Opaque,
            risk: RiskLevel::High,
            inverse: Inverse::Irreversible("nobody said how".to_owned()),
            timeout: Duration::from_secs(30),
            retry: Retry::default(),
            with_previous: false,
            watches: Duration::ZERO,
            pivot: false,
        }
    }

    fn violation(&self) -> Option<String> {
        within("timeout", &self.timeout, &(MILLISECOND..=DAY))
            .or_else(|| within("watches", &self.watches, &(Duration::ZERO..=DAY)))
            .or_else(|| within("attempts", &self.retry.attempts, &(1..=100)))
            .or_else(|| within("backoff", &self.retry.backoff, &(Duration::ZERO..=HOUR)))
            .or_else(|| {
                within(
                    "max_backoff",
                    &self.retry.max_backoff,
                    &(Duration::ZERO..=HOUR),
                )
            })
            .map(|broken| format!("step {:?}: {broken}", self.name))
    }
}

/// Which playbook a plan was made from: name, version and the hash of its text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlaybookRef {
    /// Its `playbook_id`.
    pub id: String,
    /// Its version.
    pub version: String,
    /// The hash of what was read.
    pub hash: Digest,
}

/// A file that a plan changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanPatch {
    /// The file, relative to the project.
    pub path: String,
    /// What kind of text it is.
    pub kind: PatchKind,
    /// How dangerous the change is.
    pub risk: RiskLevel,
}

/// What would be done about an incident.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Plan {
    /// Its id.
    pub id: PlanId,
    /// For which incident.
    pub incident: IncidentId,
    /// Which remediator made it and can run it.
    pub remediator: String,
    /// From which playbook, if any.
    pub playbook: Option<PlaybookRef>,
    /// Who wrote what it was made from, if it says so: they may not approve it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// Who ordered it, if it is not the answer to trouble: there is nothing to wait for to go away,
    /// its own steps watch the outcome, and a run that completed has succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ordered_by: Option<String>,
    /// For people.
    pub title: String,
    /// What the heal lock is taken on.
    pub target: Target,
    /// The steps, in order.
    pub steps: Vec<PlanStep>,
    /// The files it changes; most plans change none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub patches: Vec<PlanPatch>,
    /// How far the plan itself reaches.
    pub radius: BlastRadius,
    /// Whether its author asks for approval whatever the policy says.
    pub require_approval: bool,
    /// How the outcome is judged.
    pub verification: VerificationSpec,
    /// Who else is called if it was tried and people are needed: channels, or people and roles.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notify: Vec<String>,
    /// How well it fits, `0..=1`, as its remediator sees it; plans are tried best first.
    pub fitness: f64,
}

impl Plan {
    /// A plan without steps whose reach is unknown.
    pub fn new(
        id: PlanId,
        incident: IncidentId,
        remediator: impl Into<String>,
        title: impl Into<String>,
        target: Target,
    ) -> Self {
        Self {
            id,
            incident,
            remediator: remediator.into(),
            playbook: None,
            author: None,
            ordered_by: None,
            title: title.into(),
            target,
            steps: Vec::new(),
            patches: Vec::new(),
            radius: BlastRadius::UNKNOWN,
            require_approval: false,
            verification: VerificationSpec::default(),
            notify: Vec::new(),
            fitness: 0.0,
        }
    }

    /// What approvals and permits are bound to: everything in it.
    pub fn hash(&self) -> Digest {
        Digest::of(self)
    }

    /// The worst risk of its steps.
    pub fn risk(&self) -> RiskLevel {
        self.steps
            .iter()
            .map(|step| step.risk)
            .max()
            .unwrap_or(RiskLevel::Low)
    }

    /// The steps that begin together, in order: runs of positions, each of at least one step.
    pub fn groups(&self) -> Vec<std::ops::Range<usize>> {
        let mut groups: Vec<std::ops::Range<usize>> = Vec::new();
        for (step_idx, step) in self.steps.iter().enumerate() {
            match groups.last_mut() {
                Some(group) if step.with_previous => group.end = step_idx + 1,
                _ => groups.push(step_idx..step_idx + 1),
            }
        }
        groups
    }

    /// How long its steps may watch without touching anything, in all.
    pub fn watches(&self) -> Duration {
        let watches = self.steps.iter().map(|step| step.watches);
        watches.fold(Duration::ZERO, Duration::saturating_add)
    }

    /// Whether every step can be taken back.
    pub fn is_reversible(&self) -> bool {
        self.steps.iter().all(|step| step.inverse.is_reversible())
    }

    /// What limits are counted by: the playbook, or remediator and first action.
    pub fn action_key(&self) -> String {
        match (&self.playbook, self.steps.first()) {
            (Some(playbook), _) => playbook.id.clone(),
            (None, Some(step)) => format!("{}.{}", self.remediator, step.action),
            (None, None) => self.remediator.clone(),
        }
    }

    /// Steps a plan may have.
    pub const MAX_STEPS: usize = 256;

    /// The post-conditions the engine checks of what a remediator returns, as a sentence if broken.
    ///
    /// A plan has 1 to [`MAX_STEPS`](Self::MAX_STEPS) steps, and at most as many patches, of files
    /// inside the project; each step with a time of 1 ms to 24 h, 1 to
    /// 100 attempts, waits of at most 1 h between them, and a watch of at most 24 h; a bounded
    /// [verification](VerificationSpec::violation); a fitness of `0..=1` and a risk score of
    /// `0..=100`.
    pub fn violation(&self) -> Option<String> {
        if self.steps.is_empty() {
            return Some(format!("plan {:?} without steps", self.title));
        }
        let outside = |patch: &&PlanPatch| leaves_project(&patch.path);
        if let Some(patch) = self.patches.iter().find(outside) {
            return Some(format!(
                "path {:?}, expected one inside the project",
                patch.path
            ));
        }
        let mut paths = BTreeSet::new();
        if let Some(twice) = self.patches.iter().find(|it| !paths.insert(&it.path)) {
            return Some(format!("path {:?} twice, expected once", twice.path));
        }
        at_most("steps", self.steps.len(), Self::MAX_STEPS)
            .or_else(|| at_most("patches", self.patches.len(), Self::MAX_STEPS))
            .or_else(|| within("fitness", &self.fitness, &(0.0..=1.0)))
            .or_else(|| within("risk score", &self.radius.risk_score, &(0.0..=100.0)))
            .or_else(|| self.steps.iter().find_map(PlanStep::violation))
            .or_else(|| self.verification.violation())
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} on {} ({})",
            self.title,
            self.target,
            self.hash().short()
        )?;
        for (i, step) in self.steps.iter().enumerate() {
            let args = Value::Object(step.args.clone());
            writeln!(
                f,
                "  {}. {}{}: {} on {} {args} [{}, risk {}, {}]",
                i + 1,
                if step.with_previous {
                    "at the same time "
                } else {
                    ""
                },
                step.name,
                step.action,
                step.target,
                step.effect,
                step.risk,
                match &step.inverse {
                    Inverse::Nothing => "nothing to undo".to_owned(),
                    Inverse::Captured(what) => format!("undo: {what}"),
                    Inverse::Irreversible(why) => format!("irreversible: {why}"),
                },
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    /// How a plan is broken.
    type Breaks<'a> = &'a dyn Fn(&mut Plan);

    use super::*;
    use crate::record::{Comparison, Criterion};
    use crate::rng::Rng;
    use crate::time::Timestamp;

    /// A step that waited for years held its slot and its lease for as long.
    #[test]
    fn nothing_in_a_plan_is_without_a_bound() {
        let plan = || {
            let target = Target::service("orders").unwrap();
            let (id, incident) = (PlanId::from_u128(1), IncidentId::from_u128(2));
            let mut plan = Plan::new(id, incident, "playbooks", "restart", target.clone());
            plan.steps.push(PlanStep::new("s", "restart", target));
            plan
        };
        let broken = |breaks: &dyn Fn(&mut Plan)| {
            let mut plan = plan();
            breaks(&mut plan);
            plan.violation().unwrap_or_default()
        };
        let ns = Duration::from_nanos(1);
        assert_eq!(broken(&|_| {}), "");
        assert_eq!(
            broken(&|plan| plan.steps[0].timeout = DAY + ns),
            "step \"s\": timeout = 86400.000000001s, expected 1ms..=86400s"
        );
        let cases: [(&str, Breaks<'_>); 16] = [
            ("without steps", &|plan| plan.steps.clear()),
            ("257 steps", &|plan| {
                plan.steps = vec![plan.steps[0].clone(); 257];
            }),
            ("fitness", &|plan| plan.fitness = f64::NAN),
            ("risk score", &|plan| plan.radius.risk_score = f64::INFINITY),
            ("timeout", &|plan| {
                plan.steps[0].timeout = MILLISECOND.saturating_sub(ns);
            }),
            ("attempts", &|plan| plan.steps[0].retry.attempts = 0),
            ("attempts", &|plan| plan.steps[0].retry.attempts = 101),
            ("backoff", &|plan| plan.steps[0].retry.backoff = HOUR + ns),
            ("max_backoff", &|plan| {
                plan.steps[0].retry.max_backoff = Duration::MAX;
            }),
            ("wait", &|plan| plan.verification.wait = HOUR + ns),
            ("watch", &|plan| plan.verification.watch = DAY + ns),
            ("interval", &|plan| {
                plan.verification.interval = Duration::ZERO;
            }),
            ("interval", &|plan| plan.verification.interval = HOUR + ns),
            ("path \"a\" twice", &|plan| {
                let patch = PlanPatch {
                    path: "a".to_owned(),
                    kind: PatchKind::Configuration,
                    risk: RiskLevel::Low,
                };
                plan.patches = vec![patch.clone(), patch];
            }),
            ("window", &|plan| {
                plan.verification.criteria.push(criterion(1.0, DAY + ns));
            }),
            ("comparison", &|plan| {
                plan.verification.criteria.push(criterion(f64::NAN, DAY));
            }),
        ];
        for (complaint, breaks) in cases {
            let said = broken(breaks);
            assert!(said.contains(complaint), "{complaint}: {said:?}");
        }
        let many = broken(&|plan| plan.verification.criteria = vec![criterion(1.0, DAY); 65]);
        assert_eq!(many, "65 criteria, expected at most 64");
        assert_eq!(
            broken(&|plan| plan.verification.criteria = vec![criterion(1.0, DAY); 64]),
            ""
        );
    }

    fn criterion(times: f64, window: Duration) -> Criterion {
        Criterion::Comparison {
            metric: "latency".to_owned(),
            target: Target::service("orders").unwrap(),
            comparison: Comparison::AtMost(times),
            window,
            baseline: crate::record::Baseline::default(),
        }
    }

    #[test]
    fn any_change_of_a_plan_changes_its_hash() {
        let mut rng = Rng::from_seed(1);
        let target = Target::service("orders").unwrap();
        let id = PlanId::new(Timestamp::EPOCH, &mut rng);
        let incident = IncidentId::new(Timestamp::EPOCH, &mut rng);
        let mut plan = Plan::new(id, incident, "playbooks", "restart orders", target.clone());
        plan.steps
            .push(PlanStep::new("restart", "restart_process", target));
        let approved = plan.hash();
        assert_eq!(plan.clone().hash(), approved);
        plan.steps[0]
            .args
            .insert("signal".to_owned(), Value::from("KILL"));
        assert_ne!(plan.hash(), approved);
        let text = serde_json::to_string(&plan).unwrap();
        assert_eq!(
            serde_json::from_str::<Plan>(&text).unwrap().hash(),
            plan.hash()
        );
    }
}
