//! Adding up what the families say.

use std::collections::BTreeMap;
use std::fmt;

use homeostasis_core::Confidence;
use homeostasis_core::record::Proof;
use serde::{Deserialize, Serialize};

use super::activity::Activity;
use super::behavior::Behavior;
use super::blame::{self, BlamedChange};
use super::bundle::{EvidenceBundle, SeriesKind};
use super::excess::SETTLE;
use super::family::{Family, Scores};
use super::memory::PastIncident;
use super::{network, propagation, resource, symptom, verdict};

/// What one family says of a suspect.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FamilyReading {
    /// Which family.
    pub family: Family,
    /// By how much it makes the suspect more likely, in nats; zero or more.
    pub nats: f64,
    /// Its statistic.
    pub value: f64,
    /// What innocent services reach in it; zero if that is not known.
    pub null: f64,
}

/// A service that may be the cause.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Suspect {
    /// Which.
    pub service: String,
    /// What all families say together, in nats.
    pub nats: f64,
    /// What each family says, strongest first.
    pub families: Vec<FamilyReading>,
    /// What that rests on, strongest family first.
    pub proofs: Vec<Proof>,
    /// Which families speak louder for somebody else, for people.
    pub against: Vec<String>,
}

impl fmt::Display for Suspect {
    /// The sum, the three strongest facts, and what speaks against it first.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {:.2} nats", self.service, self.nats)?;
        for (idx, said) in self
            .families
            .iter()
            .filter(|said| said.nats >= 0.01)
            .enumerate()
        {
            let sign = if idx == 0 { " =" } else { " +" };
            write!(f, "{sign} {} {:.2}", said.family, said.nats)?;
        }
        for (idx, proof) in self.proofs.iter().take(3).enumerate() {
            let sign = if idx == 0 { ':' } else { ';' };
            write!(f, "{sign} {}", proof.statement)?;
        }
        if let Some(first) = self.against.first() {
            write!(f, "; against it: {first}")?;
        }
        Ok(())
    }
}

/// Who may be the cause, most likely first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ranking {
    /// All services with evidence.
    pub suspects: Vec<Suspect>,
    /// How sure it is that the first is right.
    pub confidence: Confidence,
    /// Why nobody is named, if so; the ranking is kept for people.
    pub abstained: Option<String>,
    /// Changes to blame, most guilty first; empty if there is none.
    pub changes: Vec<BlamedChange>,
    /// What to [remember](super::Memory::remember) of this incident for later ones.
    pub past: PastIncident,
}

/// The engine: a pure function of a bundle.
///
/// 1. Families of evidence that have what they need each give every service a statistic.
/// 2. Each divides it by its null level: what the same statistic reaches in calm, or for innocent
///    services in this and the last incidents. Only what is above counts, as a logarithm; so no
///    family needs a weight, and none that sees nothing unusual has a say.
/// 3. The logarithms are added; between equals the name decides.
///
/// The order of what is in a bundle does not matter, nor the units of its series. Time and memory
/// are linear in the bundle, but for sorting.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EvidenceFusion;

impl EvidenceFusion {
    /// Ranks the services of `bundle`.
    pub fn rank(self, bundle: &EvidenceBundle) -> Ranking {
        let now = Activity::pooled(settled(bundle));
        let calm = Activity::pooled(&bundle.calm);
        let behavior = Behavior::of(bundle, &now, &calm);
        let mut past = PastIncident::default();
        if let Some(behavior) = &behavior {
            past.behavior.clone_from(&behavior.raw);
        }
        let has_habits =
            behavior.is_some() && !now.operations.is_empty() && !calm.operations.is_empty();
        let mut families: Vec<Scores> = [
            resource::scores(bundle),
            network::scores(bundle, &now, &calm),
            behavior.map(|behavior| behavior.scores(bundle, &now)),
            propagation::scores(bundle, &now, &calm),
        ]
        .into_iter()
        .flatten()
        .collect();
        let propagates = families
            .iter()
            .any(|scores| scores.family == Family::Propagation);
        let is_measured_alone = bundle.alarm.is_none() && now.is_empty();
        if is_measured_alone {
            let is_symptom = |kind| matches!(kind, SeriesKind::Latency | SeriesKind::Errors);
            families.extend(resource::rises(bundle, Family::Symptom, is_symptom));
        } else if !propagates && !has_habits {
            families.extend(symptom::scores(bundle, &now, &calm));
        }
        for scores in &families {
            let values = scores.readings.values().map(|reading| reading.value);
            let innocent = match scores.family {
                Family::Network => network::residue(bundle, &now, &calm),
                _ => Scores::runner_up(values),
            };
            if let Some(innocent) = innocent {
                past.runner_up.insert(scores.family, innocent);
            }
        }
        let suspects = suspects(families);
        let changes = if bundle.changes.is_empty() {
            Vec::new()
        } else {
            let first = suspects.first().map(|suspect| suspect.service.as_str());
            blame::blamed(bundle, first, &now, &calm, &symptom::moved(bundle))
        };
        past.activity = now;
        Ranking {
            confidence: verdict::confidence(&suspects),
            abstained: verdict::abstention(&suspects),
            suspects,
            changes,
            past,
        }
    }
}

/// The slices that began after the settling, or the last one if there is none yet.
fn settled(bundle: &EvidenceBundle) -> Vec<&Activity> {
    let from = bundle.onset + SETTLE;
    let settled: Vec<_> = bundle.slices.iter().filter(|it| it.from >= from).collect();
    if settled.is_empty() {
        let last = bundle.slices.iter().max_by_key(|it| it.from);
        last.into_iter().collect()
    } else {
        settled
    }
}

/// What a family says of a service, and what that rests on.
type Said = (FamilyReading, Vec<Proof>);

/// Less than this, in nats, is not louder.
const LOUDER: f64 = 0.1;

/// What speaks against `service`: families in which another one has more.
fn against(loudest: &BTreeMap<Family, (String, f64)>, service: &str, said: &[Said]) -> Vec<String> {
    let louder = loudest.iter().filter_map(|(family, (other, nats))| {
        let own = said.iter().find(|(said, _)| said.family == *family);
        let own = own.map_or(0.0, |(said, _)| said.nats);
        (other != service && nats - own > LOUDER)
            .then(|| format!("{family} speaks for {other} ({nats:.2} nats, {own:.2} here)"))
    });
    louder.collect()
}

fn suspects(families: Vec<Scores>) -> Vec<Suspect> {
    let loudest: BTreeMap<Family, (String, f64)> = families
        .iter()
        .filter_map(|scores| {
            // Of equals the first by name.
            let best = scores
                .readings
                .iter()
                .max_by(|a, b| a.1.nats.total_cmp(&b.1.nats).then_with(|| b.0.cmp(a.0)));
            let (service, reading) = best?;
            Some((scores.family, (service.clone(), reading.nats)))
        })
        .collect();
    let mut by_service: BTreeMap<String, (f64, Vec<Said>)> = BTreeMap::new();
    for scores in families {
        for (service, reading) in scores.readings {
            let (total, readings) = by_service.entry(service).or_default();
            *total += reading.nats;
            let said = FamilyReading {
                family: scores.family,
                nats: reading.nats,
                value: reading.value,
                null: scores.null,
            };
            readings.push((said, reading.proofs));
        }
    }
    let mut suspects: Vec<Suspect> = by_service
        .into_iter()
        .map(|(service, (nats, mut readings))| {
            readings.sort_by(|a, b| {
                b.0.nats
                    .total_cmp(&a.0.nats)
                    .then(a.0.family.cmp(&b.0.family))
            });
            let against = against(&loudest, &service, &readings);
            let (families, said): (Vec<_>, Vec<_>) = readings.into_iter().unzip();
            let mut proofs: Vec<Proof> = Vec::new();
            for proof in said.into_iter().flatten() {
                if !proofs.contains(&proof) {
                    proofs.push(proof);
                }
            }
            Suspect {
                service,
                nats,
                families,
                proofs,
                against,
            }
        })
        .collect();
    suspects.sort_by(|a, b| {
        b.nats
            .total_cmp(&a.nats)
            .then_with(|| a.service.cmp(&b.service))
    });
    suspects
}
