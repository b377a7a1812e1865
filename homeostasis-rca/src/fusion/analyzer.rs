//! The engine as an analyzer beside others.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use homeostasis_core::record::{Category, Finding, Proof, Role};
use homeostasis_core::signal::Change;
use homeostasis_core::stage::{AnalyzeError, Analyzer, DetectError, Evidence, ModelSnapshot};
use homeostasis_core::{
    Confidence, Context, Incident, IncidentId, SeriesWindow, Target, Timestamp, async_trait,
};

use super::blame::BlamedChange;
use super::bundle::{EvidenceBundle, SeriesKind};
use super::engine::{EvidenceFusion, FamilyReading, Suspect};
use super::excess::sustained;
use super::family::Family;
use super::gather::change_id;
use super::memory::{Memory, PastIncident};
use crate::change;
use crate::gauge::Gauge;
use crate::meaning::Resource;
use crate::scope::Scope;

const NAME: &str = "fusion";

/// What a suspect says below this, in nats, is no finding.
const LEAST: f64 = 0.1;

/// Texts are cut after so many characters.
const MAX_TEXT: usize = 2000;

/// So many changes become findings.
const MOST_CHANGES: usize = 3;

/// A change that is blamed makes an illness more likely by at most this, in nats.
const MAX_CHANGE: f64 = 2.0;

/// The version of the stored memory.
const VERSION: u32 = 1;

/// Of so many open incidents it keeps what to remember; of more the oldest are forgotten.
const MAX_OPEN: usize = 64;

/// Ranks services by [`EvidenceFusion`] from what was observed.
///
/// If the ranking names somebody, the first suspect is a finding of role cause: with the nats that
/// all families give it, but no more than the log odds of the ranking's confidence, since that
/// knows how close the others are. Others are no findings: what speaks for them is in the sentence
/// that shows the sum. If the ranking abstains, there is no such finding. The cause is that of the
/// strongest family: `network_delay`, `behavior_change`, `error_rate` of failures, and for
/// measurements `cpu_saturation`, `memory_leak`, `disk_full`, `resource_growth`, `error_rate` or
/// `slow_response` by what the strongest of them measures; but if those have less than half of all
/// nats, and if a resource is known not to be short (a busier processor below 90 % is work, not
/// illness; so is memory that grows under requests that wait), what is seen from outside:
/// `error_rate` if failures speak too, or else `slow_response`.
///
/// A [blamed change](super::BlamedChange) of weight w is context for `bad_deploy` or
/// `configuration_error` of its service, of `ln(1 + w)` nats and 2 at most; and a cause with the
/// same proofs as the first suspect's if it is a change of that one.
///
/// When an incident closes, what its last ranking says to [remember](super::Ranking::past) goes into the
/// [`Memory`], which is the model that the engine stores; how the diagnosed service behaved, or if
/// there is no diagnosis the one that the ranking names, is not remembered as a habit. The memory
/// changes then alone; all looks of one process at one incident see what the first one saw; and it is part of
/// the bundle that [`bundle`](Self::bundle) gives: saved, that gives the same ranking.
#[derive(Debug, Default)]
pub struct FusionAnalyzer {
    learned: Mutex<Learned>,
}

#[derive(Debug, Default)]
struct Learned {
    memory: Memory,
    /// Incidents that are still open, oldest first.
    open: BTreeMap<IncidentId, Open>,
}

/// An incident that was looked at.
#[derive(Debug)]
struct Open {
    /// What was known at the first look; later looks know the same.
    memory: Memory,
    /// What to remember of it.
    past: PastIncident,
}

impl FusionAnalyzer {
    /// Everything it looks at: what `cx` observed, and what earlier incidents left behind.
    pub fn bundle(&self, cx: &Context, evidence: &Evidence<'_>) -> EvidenceBundle {
        let mut bundle = EvidenceBundle::gather(cx, evidence);
        let learned = self.learned();
        let open = learned.open.get(&evidence.incident.id);
        let memory = open.map_or(&learned.memory, |open| &open.memory);
        bundle.memory = memory.clone();
        bundle
    }

    fn learned(&self) -> MutexGuard<'_, Learned> {
        self.learned.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Analyzer for FusionAnalyzer {
    fn name(&self) -> &'static str {
        NAME
    }

    fn closed(&self, incident: &Incident) {
        let mut learned = self.learned();
        if let Some(Open { mut past, .. }) = learned.open.remove(&incident.id) {
            let diagnosis = incident.diagnosis.as_ref();
            if let Some(cause) = diagnosis.and_then(|it| it.root_cause()) {
                past.culprits = [cause.target.service_name().to_owned()].into();
            }
            learned.memory.remember(past);
        }
    }

    fn snapshot(&self) -> Option<ModelSnapshot> {
        let memory = self.learned().memory.clone();
        Some(ModelSnapshot {
            detector: NAME.to_owned(),
            version: VERSION,
            state: serde_json::to_value(memory).ok()?,
        })
    }

    fn restore(&self, snapshot: &ModelSnapshot) -> Result<(), DetectError> {
        if (snapshot.detector.as_str(), snapshot.version) != (NAME, VERSION) {
            let what = format!("snapshot of {} {}", snapshot.detector, snapshot.version);
            return Err(DetectError::invalid(
                what,
                format!("expected {NAME} {VERSION}"),
            ));
        }
        let read: Memory = serde_json::from_value(snapshot.state.clone())
            .map_err(|error| DetectError::invalid("snapshot of fusion", error.to_string()))?;
        // A stored one may be longer than this version keeps.
        let mut memory = Memory::default();
        for incident in read.incidents() {
            memory.remember(incident.clone());
        }
        self.learned().memory = memory;
        Ok(())
    }

    async fn analyze(
        &self,
        cx: &Context,
        evidence: &Evidence<'_>,
    ) -> Result<Vec<Finding>, AnalyzeError> {
        let bundle = self.bundle(cx, evidence);
        let onset = bundle.onset;
        let mut ranking = EvidenceFusion.rank(&bundle);
        {
            let mut past = std::mem::take(&mut ranking.past);
            past.trim();
            let first = ranking.suspects.first();
            let first = first.filter(|_| ranking.abstained.is_none());
            past.culprits
                .extend(first.map(|suspect| suspect.service.clone()));
            let memory = bundle.memory;
            let mut learned = self.learned();
            let open = Open { memory, past };
            learned.open.insert(evidence.incident.id, open);
            while learned.open.len() > MAX_OPEN {
                learned.open.pop_first();
            }
        }
        let named = ranking.suspects.first().filter(|suspect| {
            ranking.abstained.is_none() && suspect.nats >= LEAST && !suspect.proofs.is_empty()
        });
        let first = named.and_then(|suspect| {
            let short = |metric: &str| is_short(cx, evidence, onset, suspect, metric);
            finding(suspect, ranking.confidence, short)
        });
        let mut findings = changes(cx, evidence, &ranking.changes, first.as_ref());
        findings.extend(first);
        Ok(findings)
    }
}

/// What `suspect` is to blame for; `is_short` says of a metric whether its resource is short, `None`
/// if nobody can tell.
fn finding(
    suspect: &Suspect,
    sure: Confidence,
    is_short: impl Fn(&str) -> Option<bool>,
) -> Option<Finding> {
    let target = Target::service(&suspect.service).ok()?;
    let strongest = suspect.families.first()?;
    let speaks = |family| {
        let said = |it: &FamilyReading| it.family == family && it.nats > LEAST;
        suspect.families.iter().any(said)
    };
    let seen_from_outside = if speaks(Family::Failure) {
        ("error_rate", Category::ApplicationError)
    } else {
        ("slow_response", Category::ResourceExhaustion)
    };
    let (cause, category) = match strongest.family {
        Family::Network => ("network_delay", Category::Network),
        Family::Behavior => ("behavior_change", Category::ApplicationError),
        Family::Failure => ("error_rate", Category::ApplicationError),
        // No family says more than all others: what is seen from outside is all that is known.
        _ if strongest.nats < suspect.nats / 2.0 => seen_from_outside,
        _ => {
            // Of what other families cite the text says nothing of what was measured.
            let mut proofs = suspect.proofs.iter();
            let measured = proofs.find(|it| matches!(it.kind.as_str(), "series" | "alarm"));
            let metric = measured.map_or("", |it| metric_of(&suspect.service, &it.reference));
            match SeriesKind::of_metric(metric) {
                SeriesKind::Cpu if is_short(metric) == Some(false) => seen_from_outside,
                SeriesKind::Cpu => ("cpu_saturation", Category::ResourceExhaustion),
                SeriesKind::Memory | SeriesKind::Disk => {
                    let is_seen = speaks(Family::Failure) || speaks(Family::Symptom);
                    if is_seen && is_short(metric) != Some(true) {
                        seen_from_outside
                    } else {
                        // As the trend of the same series is called, so that both speak of one cause.
                        let stock = Resource::of(metric).map(|stock| stock.cause);
                        let cause = stock.unwrap_or("resource_growth");
                        (cause, Category::ResourceExhaustion)
                    }
                }
                SeriesKind::Errors => ("error_rate", Category::ApplicationError),
                _ => ("slow_response", Category::ResourceExhaustion),
            }
        }
    };
    // A ranking is never certain of itself, and names nobody it is not surer of than of a coin.
    let odds = sure.get() / sure.complement().get().max(f64::EPSILON);
    let nats = suspect.nats.min(odds.ln());
    let mut finding = Finding::new(NAME, target, cause, category, Role::Cause, nats)
        .saying(cut(&suspect.to_string()));
    finding.onset = suspect.proofs.iter().filter_map(|proof| proof.at).min();
    let proofs = suspect.proofs.iter().take(Finding::MAX_PROOFS - 1);
    let proof = |proof: &Proof| Proof {
        reference: cut(&proof.reference),
        statement: cut(&proof.statement),
        ..proof.clone()
    };
    finding.proofs = proofs.map(proof).collect();
    Some(finding)
}

/// Whether the resource that `metric` measures was short in two neighboring readings since `onset`;
/// `None` if no gauge of the suspect tells how full it was.
fn is_short(
    cx: &Context,
    evidence: &Evidence<'_>,
    onset: Timestamp,
    suspect: &Suspect,
    metric: &str,
) -> Option<bool> {
    let mut owners: BTreeMap<Target, Vec<SeriesWindow>> = BTreeMap::new();
    for window in Scope::new(cx, evidence).series_of(&suspect.service) {
        if let Some(owner) = window.key.target() {
            owners.entry(owner).or_default().push(window);
        }
    }
    let gauges = owners.values().flat_map(|windows| Gauge::among(windows));
    let levels = gauges
        .filter(|gauge| gauge.key.metric.eq_ignore_ascii_case(metric))
        .filter_map(|gauge| {
            let since = gauge.looks.iter().filter(|look| look.at >= onset);
            let levels: Vec<f64> = since.map(|look| look.level).collect();
            Some(sustained(&levels)? >= gauge.factor.high())
        });
    levels.reduce(|one, other| one || other)
}

/// What the ranking blames changes for.
fn changes(
    cx: &Context,
    evidence: &Evidence<'_>,
    blamed: &[BlamedChange],
    first: Option<&Finding>,
) -> Vec<Finding> {
    let made = cx.observations().changes(evidence.from, evidence.to);
    let mut findings = Vec::new();
    for blame in blamed.iter().take(MOST_CHANGES) {
        let is_blamed = |change: &&Change| {
            change_id(change) == blame.id
                && change.target.service_name() == blame.service
                && change.at == blame.at
        };
        let Some(change) = made.iter().find(is_blamed) else {
            continue;
        };
        let nats = blame.weight.ln_1p().min(MAX_CHANGE);
        let (target, cause) = (change.target.to_service(), change::cause(change.kind));
        let mut proof = change::proof(change);
        proof.reference = cut(&proof.reference);
        proof.statement = cut(&format!(
            "{}: {}",
            proof.statement,
            blame.reasons.join("; ")
        ));
        let said = cut(&format!(
            "{} is to blame: {}",
            blame.id,
            blame.reasons.join("; ")
        ));
        let of = |role, nats| {
            let category = Category::Configuration;
            let finding = Finding::new(NAME, target.clone(), cause, category, role, nats);
            let mut finding = finding.proven_by(proof.clone()).saying(said.clone());
            finding.onset = Some(change.at);
            finding
        };
        findings.push(of(Role::Context, nats));
        if let Some(ill) = first.filter(|first| first.target == target) {
            let mut cause = of(Role::Cause, ill.log_likelihood_ratio);
            cause.proofs.extend(ill.proofs.iter().cloned());
            findings.push(cause);
        }
    }
    findings
}

/// The metric that a proof refers to: `metric{…}` of a series, `service/metric` of an alarm.
fn metric_of<'a>(service: &str, reference: &'a str) -> &'a str {
    let own = reference.strip_prefix(service);
    let metric = own.and_then(|rest| rest.strip_prefix('/'));
    let metric = metric.unwrap_or(reference);
    metric.split('{').next().unwrap_or(metric)
}

/// Names of operations and first words of lines can be as long as they like; findings cannot.
fn cut(text: &str) -> String {
    text.chars().take(MAX_TEXT).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cause(families: &[Family], kind: &str, reference: &str, short: Option<bool>) -> String {
        let reading = |family: &Family| FamilyReading {
            family: *family,
            nats: 2.0 / families.len() as f64,
            value: 2.0,
            null: 1.0,
        };
        let suspect = Suspect {
            service: "orders".to_owned(),
            nats: 2.0,
            families: families.iter().map(reading).collect(),
            proofs: vec![Proof {
                kind: kind.to_owned(),
                reference: reference.to_owned(),
                at: None,
                statement: "a line".to_owned(),
            }],
            against: Vec::new(),
        };
        let finding = finding(&suspect, Confidence::saturating(0.9), |_| short);
        finding.unwrap().cause
    }

    const MEMORY: &str = "process_resident_memory_bytes{service=\"orders\"}";

    #[test]
    fn the_cause_is_not_taken_from_what_another_family_cites() {
        let cause = |kind, reference| cause(&[Family::Propagation], kind, reference, None);
        assert_eq!(cause("log", "cpu cache flushed"), "slow_response");
        assert_eq!(cause("series", "cpu_usage"), "cpu_saturation");
        // As the trend calls the growth of the same series.
        assert_eq!(cause("series", MEMORY), "memory_leak");
        assert_eq!(cause("series", "disk_used_ratio"), "disk_full");
    }

    #[test]
    fn a_resource_that_is_not_short_is_no_cause() {
        let cpu = |families: &[Family], short| {
            cause(families, "series", "process_cpu_ratio", Some(short))
        };
        assert_eq!(cpu(&[Family::Resource], true), "cpu_saturation");
        assert_eq!(cpu(&[Family::Resource], false), "slow_response");
        let failing = [Family::Resource, Family::Failure];
        assert_eq!(cpu(&failing, false), "error_rate");
        // Requests that wait hold memory; where nobody waits it leaks.
        let memory = |families: &[Family], short| cause(families, "series", MEMORY, short);
        let slow = [Family::Resource, Family::Symptom];
        assert_eq!(memory(&slow, None), "slow_response");
        assert_eq!(memory(&slow, Some(true)), "memory_leak");
        assert_eq!(memory(&[Family::Resource], None), "memory_leak");
    }

    #[test]
    fn the_cause_is_not_taken_from_the_name_of_a_service() {
        let kind = |reference| SeriesKind::of_metric(metric_of("memcached", reference));
        assert_eq!(kind("memcached/queue"), SeriesKind::Other);
        assert_eq!(kind("queue{service=\"memcached\"}"), SeriesKind::Other);
        assert_eq!(kind("memcached/cpu_usage"), SeriesKind::Cpu);
        assert_eq!(kind("heap{service=\"memcached\"}"), SeriesKind::Memory);
    }
}
