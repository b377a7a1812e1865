//! Who is down, and how: gone, refusing, silent or failing.

use homeostasis_core::record::{Category, Finding, Proof, Role};
use homeostasis_core::signal::{HealthReport, HealthState};
use homeostasis_core::stage::{AnalyzeError, Analyzer, Evidence};
use homeostasis_core::{Context, SeriesWindow, Target, Timestamp, async_trait};

use crate::scope::Scope;

/// Reads `process_up`, `up` and health reports.
///
/// A process that is gone is `process_down`. One that lives, or may live, and does not do its work
/// is `connection_refused`, `slow_response` (silence, a timeout) or `error_rate` (it answers, but
/// wrongly), as the probes say. Where only `up` is known and it is 0, `process_down` is likely but
/// far from sure. A target that has come back since is weaker evidence. What was not measured says
/// nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct DownAnalyzer;

/// What one yes-or-no series says of a target since the onset.
struct Pulse {
    proof: Proof,
    /// Zeros in a row at the end; 0 if it is well now.
    n_down_now: usize,
    /// Since when it is or was 0.
    onset: Timestamp,
    /// When it was 0 last.
    last: Timestamp,
}

impl Pulse {
    /// `None` if it never was 0 in `window`.
    fn of(window: &SeriesWindow) -> Option<Self> {
        let known: Vec<_> = window
            .points
            .iter()
            .filter(|(_, value)| value.is_finite())
            .collect();
        let n_down_now = known.iter().rev().take_while(|(_, v)| *v == 0.0).count();
        let first = if n_down_now > 0 {
            known.get(known.len() - n_down_now)?
        } else {
            known.iter().find(|(_, v)| *v == 0.0)?
        };
        let last = known.iter().rev().find(|(_, v)| *v == 0.0)?.0;
        let state = if n_down_now > 0 {
            format!("is 0 since {}", first.0)
        } else {
            format!("was 0 at {} and is not any more", first.0)
        };
        Some(Self {
            proof: Proof {
                kind: "series".to_owned(),
                reference: window.key.to_string(),
                at: Some(first.0),
                statement: format!("{} {state}", window.key.metric),
            },
            n_down_now,
            onset: first.0,
            last,
        })
    }
}

/// The reports of one check on one target.
struct Check<'a> {
    last: &'a HealthReport,
    n_bad_now: usize,
    onset: Timestamp,
}

impl<'a> Check<'a> {
    /// One per target and check whose last report is bad.
    fn all(reports: &'a [HealthReport]) -> Vec<Self> {
        let mut names: Vec<_> = reports.iter().map(|r| (&r.target, &r.check)).collect();
        names.sort();
        names.dedup();
        names
            .into_iter()
            .filter_map(|(target, check)| {
                let mut its: Vec<_> = reports
                    .iter()
                    .filter(|r| r.target == *target && r.check == *check)
                    .collect();
                // Reports of one instant count as the better one: a tie is no evidence of illness.
                its.sort_by(|a, b| a.at.cmp(&b.at).then(b.state.cmp(&a.state)));
                let bad = its
                    .iter()
                    .rev()
                    .take_while(|r| r.state != HealthState::Healthy);
                let n_bad_now = bad.clone().count();
                let first = bad.last()?;
                Some(Self {
                    last: its.last()?,
                    n_bad_now,
                    onset: first.at,
                })
            })
            .collect()
    }

    /// What the last report says is wrong, if it says so.
    fn cause(&self) -> Option<(&'static str, Category)> {
        if self.last.state == HealthState::Degraded {
            return Some(("slow_response", Category::ResourceExhaustion));
        }
        let detail = self.last.detail.to_lowercase();
        let says = |words: &[&str]| words.iter().any(|word| detail.contains(word));
        if says(&["refused", "unreachable", "no route"]) {
            Some(("connection_refused", Category::Network))
        } else if says(&[
            "timeout",
            "timed out",
            "time out",
            "deadline",
            "no answer",
            "slow",
        ]) {
            Some(("slow_response", Category::ResourceExhaustion))
        } else if says(&["status", "http 5", "body", "reset", "error"]) {
            Some(("error_rate", Category::ApplicationError))
        } else {
            None
        }
    }

    fn proof(&self) -> Proof {
        let detail = if self.last.detail.is_empty() {
            String::new()
        } else {
            format!(": {}", self.last.detail)
        };
        Proof {
            kind: "health".to_owned(),
            reference: format!("{}/{}", self.last.target, self.last.check),
            at: Some(self.last.at),
            statement: format!(
                "{} reports in a row of {} are bad{detail}",
                self.n_bad_now, self.last.check
            ),
        }
    }
}

impl DownAnalyzer {
    const NAME: &str = "down";

    fn examine(scope: &Scope<'_>, service: &str, findings: &mut Vec<Finding>) {
        let Ok(whole) = Target::service(service) else {
            return;
        };
        let processes = scope.metric_of("process_up", service, scope.split);
        let mut dead: Vec<Finding> = Vec::new();
        for (target, windows) in &processes {
            // What was over when this began belongs to an earlier incident.
            let pulses: Vec<_> = windows
                .iter()
                .filter_map(Pulse::of)
                .filter(|pulse| pulse.n_down_now > 0 || pulse.last >= scope.onset)
                .collect();
            let Some(worst) = pulses.iter().max_by_key(|pulse| pulse.n_down_now) else {
                continue;
            };
            let nats = match worst.n_down_now {
                0 => 2.0,
                1 => 5.0,
                _ => 6.0,
            };
            let verb = if worst.n_down_now == 0 { "was" } else { "is" };
            let mut finding = cause(target, "process_down", Category::ApplicationError, nats)
                .proven_by(worst.proof.clone())
                .saying(format!("the process of {target} {verb} gone"));
            finding.onset = Some(worst.onset);
            dead.push(finding);
        }
        let mut reports = scope
            .observations()
            .health(Some(&whole), scope.split, scope.to);
        reports.retain(|report| scope.covers(report.at));
        let mut silent: Vec<Finding> = Vec::new();
        for check in Check::all(&reports) {
            let target = &check.last.target;
            let weight = if check.n_bad_now >= 2 { 1.0 } else { 0.6 };
            let is_degraded = check.last.state == HealthState::Degraded;
            let (name, category, nats) = match check.cause() {
                Some((name, category)) if is_degraded => (name, category, 2.0),
                Some((name, category)) => (name, category, 4.5),
                None if processes.is_empty() => ("process_down", Category::ApplicationError, 2.5),
                None => ("slow_response", Category::ResourceExhaustion, 4.0),
            };
            let proof = check.proof();
            let mut finding = cause(target, name, category, nats * weight)
                .saying(format!("{target}: {}", proof.statement))
                .proven_by(proof);
            finding.onset = Some(check.onset);
            silent.push(finding);
        }
        for (target, windows) in scope.metric_of("up", service, scope.split) {
            let is_told = silent.iter().any(|f| overlap(&f.target, &target));
            for pulse in windows.iter().filter_map(Pulse::of) {
                if pulse.n_down_now == 0 {
                    continue;
                }
                // The probe behind `up` has said why: that is the same fact, not a second one.
                if is_told {
                    for finding in silent.iter_mut().filter(|f| overlap(&f.target, &target)) {
                        finding.proofs.push(pulse.proof.clone());
                    }
                    continue;
                }
                let (name, category, nats) = if processes.is_empty() {
                    ("process_down", Category::ApplicationError, 2.5)
                } else {
                    ("slow_response", Category::ResourceExhaustion, 4.0)
                };
                let weight = if pulse.n_down_now >= 2 { 1.0 } else { 0.6 };
                let mut finding = cause(&target, name, category, nats * weight)
                    .saying(format!("{target} does not answer"))
                    .proven_by(pulse.proof.clone());
                finding.onset = Some(pulse.onset);
                silent.push(finding);
            }
        }
        // A dead process does not answer either: the probes then prove its death.
        for finding in silent {
            let of_the_dead: Vec<_> = dead
                .iter_mut()
                .filter(|dead| {
                    dead.log_likelihood_ratio >= 5.0 && overlap(&dead.target, &finding.target)
                })
                .collect();
            if of_the_dead.is_empty() {
                findings.push(finding);
            } else {
                for dead in of_the_dead {
                    dead.proofs.extend(finding.proofs.iter().cloned());
                }
            }
        }
        findings.extend(dead);
    }
}

fn overlap(a: &Target, b: &Target) -> bool {
    a.contains(b) || b.contains(a)
}

fn cause(target: &Target, name: &str, category: Category, nats: f64) -> Finding {
    Finding::new(
        DownAnalyzer::NAME,
        target.clone(),
        name,
        category,
        Role::Cause,
        nats,
    )
}

#[async_trait]
impl Analyzer for DownAnalyzer {
    fn name(&self) -> &str {
        Self::NAME
    }

    async fn analyze(
        &self,
        cx: &Context,
        evidence: &Evidence<'_>,
    ) -> Result<Vec<Finding>, AnalyzeError> {
        let scope = Scope::new(cx, evidence);
        let mut findings = Vec::new();
        for service in &scope.services {
            Self::examine(&scope, service, &mut findings);
        }
        Ok(findings)
    }
}
