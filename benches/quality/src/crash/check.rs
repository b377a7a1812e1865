//! The checker: do the journal, the world and what was acknowledged agree?

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

mod limits;
mod people;
mod tenures;
mod values;

use homeostasis::core::cycle::{Phase, replay};
use homeostasis::core::policy::{Answer, Policy};
use homeostasis::core::record::{
    EffectClass, EventKind, HealEvent, Inverse, Resolution, StepOutcome, StepPhase, StepState,
};
use homeostasis::core::{Digest, IdempotencyKey, Incident, IncidentId, RunId};

use self::tenures::Tenures;
use super::protocol::Ack;
use super::world::{EffectRecord, Fate, Told};

/// The events of all incidents.
pub(crate) type Journal = Vec<(IncidentId, Vec<HealEvent>)>;

/// Everything that is known after the last life.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Evidence<'a> {
    pub(crate) journal: &'a [(IncidentId, Vec<HealEvent>)],
    pub(crate) world: &'a [EffectRecord],
    pub(crate) acks: &'a [Ack],
    /// What every life was allowed.
    pub(crate) policy: &'a Policy,
    /// The durable counters of runs, as the store has them at the end.
    pub(crate) counters: &'a BTreeMap<String, u64>,
    /// The setting of each service at the end.
    pub(crate) settings: &'a BTreeMap<String, String>,
    /// What people were told, by incident.
    pub(crate) told: &'a BTreeMap<String, Vec<Told>>,
    /// Messages that nobody was told yet.
    pub(crate) untold: &'a [String],
}

/// What may be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Something that was acknowledged, or done, is not in the journal; or the other way round.
    Lost,
    /// Something was done twice that must not be.
    Repeated,
    /// A run without an outcome, an incident that nobody works on.
    Stuck,
    /// A value that is not what it was before, although it was taken back; or nobody's at all.
    Wrong,
    /// Two runs acted on one service at the same time.
    Doubled,
    /// A run that a limit, a cool-down or an open breaker should have held back.
    Forgotten,
    /// A journal that could not have come about.
    Illegal,
}

/// One thing that is wrong, with incident and key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Violation {
    pub(crate) fault: Fault,
    pub(crate) what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fault = match self.fault {
            Fault::Lost => "lost",
            Fault::Repeated => "repeated",
            Fault::Stuck => "stuck",
            Fault::Wrong => "wrong",
            Fault::Doubled => "doubled",
            Fault::Forgotten => "forgotten",
            Fault::Illegal => "illegal",
        };
        write!(f, "{fault}: {}", self.what)
    }
}

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(crate) violations: Vec<Violation>,
    /// Effects that came more than once where that does no harm.
    pub(crate) repeated_harmless: u64,
    /// Effects of somebody who had lost the lease: the target refused them.
    pub(crate) late: u64,
    pub(crate) runs: usize,
    /// Incidents that a verified run closed.
    pub(crate) healed: usize,
    /// Incidents for which people were called.
    pub(crate) handed_to_people: usize,
    /// Incidents in which a plug-in was skipped: none of ours should be.
    pub(crate) blamed: usize,
    /// How often each level of the chain was called.
    pub(crate) levels: BTreeMap<String, u64>,
    /// What people answered about steps that were handed over, and how often.
    pub(crate) answers: BTreeMap<String, u64>,
    /// How often each check of the gate held a plan back.
    pub(crate) held_back: BTreeMap<String, u64>,
}

impl Findings {
    pub(crate) fn count(&self, fault: Fault) -> usize {
        self.violations
            .iter()
            .filter(|violation| violation.fault == fault)
            .count()
    }

    /// What was found elsewhere, too.
    pub(crate) fn merge(&mut self, other: Self) {
        self.violations.extend(other.violations);
        self.repeated_harmless += other.repeated_harmless;
        self.late += other.late;
        self.runs += other.runs;
        self.healed += other.healed;
        self.handed_to_people += other.handed_to_people;
        self.blamed += other.blamed;
        for (sum, part) in [
            (&mut self.levels, other.levels),
            (&mut self.answers, other.answers),
            (&mut self.held_back, other.held_back),
        ] {
            for (name, n) in part {
                *sum.entry(name).or_default() += n;
            }
        }
    }

    fn add(&mut self, fault: Fault, what: String) {
        self.violations.push(Violation { fault, what });
    }
}

/// Looks at everything.
pub(crate) fn examine(evidence: &Evidence<'_>) -> Findings {
    let mut found = Findings::default();
    acknowledged(evidence, &mut found);
    effects_and_journal(evidence, &mut found);
    repetitions(evidence, &mut found);
    one_run_at_a_time(evidence.world, &mut found);
    values::examine(evidence, &mut found);
    people::called(evidence, &mut found);
    people::answered(evidence, &mut found);
    for message in evidence.untold {
        found.add(Fault::Stuck, format!("{message} was never told"));
    }
    for event in evidence.journal.iter().flat_map(|(_, events)| events) {
        let EventKind::Gated { record, .. } = &event.kind else {
            continue;
        };
        for answer in record.answers.iter().filter(|it| it.answer != Answer::Pass) {
            let check = format!("{:?}", answer.check);
            *found.held_back.entry(check).or_default() += 1;
        }
    }
    let mut incidents = Vec::new();
    let mut tenures = Tenures::default();
    for (id, events) in evidence.journal {
        match replay(events) {
            Ok(Some(incident)) => {
                found.runs += incident.runs.len();
                found.blamed += usize::from(!incident.blamed.is_empty());
                found.handed_to_people += usize::from(incident.escalated);
                found.healed += usize::from(matches!(
                    incident.phase,
                    Phase::Closed {
                        resolution: Resolution::Healed { .. }
                    }
                ));
                unfinished(&incident, &mut found);
                order_of_steps(events, &mut found);
                tenures.note(&incident, events);
                incidents.push((incident, events));
            }
            Ok(None) => found.add(Fault::Lost, format!("{id} is known and has no events")),
            Err(error) => found.add(Fault::Illegal, error.to_string()),
        }
    }
    tenures.examine(&mut found);
    limits::remembered(evidence, &incidents, &mut found);
    found
}

/// Every acknowledged event is there, exactly as it was.
fn acknowledged(evidence: &Evidence<'_>, found: &mut Findings) {
    let journal: BTreeMap<_, _> = evidence
        .journal
        .iter()
        .flat_map(|(_, events)| events)
        .map(|event| ((event.incident, event.seq), event))
        .collect();
    for ack in evidence.acks {
        let place = format!("{} of {} (seq {})", ack.event, ack.incident, ack.seq);
        match journal.get(&(ack.incident, ack.seq)) {
            None => found.add(Fault::Lost, format!("{place} was acknowledged and is gone")),
            Some(event) if Digest::of(*event) != ack.digest => found.add(
                Fault::Lost,
                format!(
                    "{place} was acknowledged and is now another {}",
                    event.kind.name()
                ),
            ),
            Some(_) => {}
        }
    }
}

/// No effect without an intent, no step that is done without an effect.
fn effects_and_journal(evidence: &Evidence<'_>, found: &mut Findings) {
    let mut intents = BTreeSet::new();
    let mut done = BTreeMap::new();
    for event in evidence.journal.iter().flat_map(|(_, events)| events) {
        match &event.kind {
            EventKind::StepIntended { run, intent } => {
                let key = key_of(*run, intent.step_idx, intent.phase);
                if intent.key != key {
                    let (id, other) = (event.incident, &intent.key);
                    found.add(Fault::Illegal, format!("{id}: key {other}, expected {key}"));
                }
                intents.insert((intent.key.as_str(), intent.attempt));
            }
            EventKind::StepEnded {
                run,
                step_idx,
                phase,
                outcome: StepOutcome::Done { .. },
            } => {
                let key = key_of(*run, *step_idx, *phase);
                done.insert(key.to_string(), event.incident);
            }
            _ => {}
        }
    }
    for effect in evidence.world {
        if !intents.contains(&(effect.key.as_str(), effect.attempt)) {
            found.add(
                Fault::Lost,
                format!(
                    "{} on {} happened (key {}, attempt {}, pid {}) without an intent",
                    effect.action, effect.service, effect.key, effect.attempt, effect.pid
                ),
            );
        }
    }
    let happened: BTreeSet<_> = evidence
        .world
        .iter()
        .filter(|effect| effect.fate != Fate::Late)
        .map(|effect| &effect.key)
        .collect();
    for (key, incident) in done.iter().filter(|(key, _)| !happened.contains(key)) {
        found.add(
            Fault::Lost,
            format!("{incident}: step {key} is done and nothing happened"),
        );
    }
}

fn key_of(run: RunId, step_idx: usize, phase: StepPhase) -> IdempotencyKey {
    match phase {
        StepPhase::Do => IdempotencyKey::new(run, step_idx),
        StepPhase::Undo => IdempotencyKey::undo(run, step_idx),
    }
}

/// What must happen once happened once.
fn repetitions(evidence: &Evidence<'_>, found: &mut Findings) {
    let incidents: BTreeMap<_, _> = evidence
        .journal
        .iter()
        .flat_map(|(_, events)| events)
        .filter_map(|event| match &event.kind {
            EventKind::StepIntended { intent, .. } => Some((intent.key.as_str(), event.incident)),
            _ => None,
        })
        .collect();
    let mut by_key: BTreeMap<&str, Vec<&EffectRecord>> = BTreeMap::new();
    for effect in evidence.world {
        if effect.fate == Fate::Late {
            found.late += 1;
        } else {
            by_key.entry(&effect.key).or_default().push(effect);
        }
    }
    for (key, effects) in by_key {
        let harmful = match effects[0].nature {
            EffectClass::Opaque | EffectClass::Probeable | EffectClass::Keyed => {
                let applied = |effect: &&&EffectRecord| effect.fate == Fate::Applied;
                effects.iter().filter(applied).count()
            }
            EffectClass::Read | EffectClass::Idempotent => 1,
        };
        if harmful > 1 {
            let first = effects[0];
            let who: Vec<_> = effects
                .iter()
                .map(|effect| format!("attempt {} by pid {}", effect.attempt, effect.pid))
                .collect();
            let incident = incidents
                .get(key)
                .map_or_else(|| "no incident".to_owned(), ToString::to_string);
            found.add(
                Fault::Repeated,
                format!(
                    "{incident}: {} {} on {} happened {harmful} times with key {key}: {}",
                    first.nature,
                    first.action,
                    first.service,
                    who.join(", ")
                ),
            );
        } else {
            found.repeated_harmless += effects.len() as u64 - 1;
        }
    }
}

/// What runs did to a service does not interleave, as its own log has it.
fn one_run_at_a_time(world: &[EffectRecord], found: &mut Findings) {
    let mut last: BTreeMap<&str, &str> = BTreeMap::new();
    let mut over: BTreeSet<(&str, &str)> = BTreeSet::new();
    for effect in world.iter().filter(|effect| effect.fate != Fate::Late) {
        let service = effect.service.as_str();
        let run = effect.key.split('/').next().unwrap_or_default();
        if let Some(before) = last.insert(service, run)
            && before != run
        {
            over.insert((service, before));
        }
        if over.contains(&(service, run)) {
            found.add(
                Fault::Doubled,
                format!(
                    "{run} acted on {service} again after another run had: {}",
                    effect.key
                ),
            );
        }
    }
}

/// Every run has an outcome; every incident is closed or with people.
fn unfinished(incident: &Incident, found: &mut Findings) {
    let id = incident.id;
    for run in incident.runs.iter().filter(|run| run.outcome.is_none()) {
        found.add(Fault::Stuck, format!("{id}: {} has no outcome", run.run));
    }
    let handed_over = matches!(
        incident.phase,
        Phase::Closed { .. }
            | Phase::Escalated
            | Phase::Recommended
            | Phase::AwaitingApproval { .. }
    );
    if !handed_over {
        found.add(Fault::Stuck, format!("{id} is left {:?}", incident.phase));
    }
}

/// A step begins when all groups before its own are settled; it is taken back when all that began
/// after it are.
fn order_of_steps(events: &[HealEvent], found: &mut Findings) {
    for (at, event) in events.iter().enumerate() {
        let EventKind::StepIntended { run, intent } = &event.kind else {
            continue;
        };
        // What came before is legal: the whole is.
        let Ok(Some(before)) = replay(&events[..at]) else {
            continue;
        };
        let Some((state, plan)) = before
            .run(*run)
            .and_then(|state| Some((state, before.plan(state.plan)?)))
        else {
            continue;
        };
        let due = match intent.phase {
            StepPhase::Do => {
                let mut groups = plan.groups().into_iter();
                let own = groups.find(|group| group.contains(&intent.step_idx));
                let first = own.map_or(intent.step_idx, |group| group.start);
                state.steps[..first].iter().all(StepState::is_settled)
            }
            StepPhase::Undo => {
                let began = |step_idx: &usize| *step_idx == intent.step_idx;
                let own = state.begun.iter().position(began);
                let later = own.map_or(&[][..], |own| &state.begun[own + 1..]);
                later.iter().all(|step_idx| {
                    state.undo[*step_idx].is_settled()
                        || !state.steps[*step_idx].may_have_happened()
                        || plan.steps[*step_idx].inverse == Inverse::Nothing
                })
            }
        };
        if !due {
            found.add(
                Fault::Illegal,
                format!(
                    "{}: step {} began out of order (seq {})",
                    event.incident, intent.key, event.seq
                ),
            );
        }
    }
}

#[cfg(test)]
mod tests;
