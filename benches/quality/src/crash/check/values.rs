//! Are the values in the world those that the steps wrote, and were they put back as they had been?

use std::collections::{BTreeMap, BTreeSet};

use homeostasis::core::record::{EventKind, StepOutcome, StepPhase};

use super::{Evidence, Fault, Findings, key_of};
use crate::crash::world::{EffectRecord, Fate};

/// Follows the setting of each service through its log, and holds what was taken back against what
/// was there before.
pub(super) fn examine(evidence: &Evidence<'_>, found: &mut Findings) {
    let mut by_service: BTreeMap<&str, Vec<(&EffectRecord, &str, &str)>> = BTreeMap::new();
    let mut first_before: BTreeMap<&str, &str> = BTreeMap::new();
    let mut last_after: BTreeMap<&str, &str> = BTreeMap::new();
    for effect in evidence.world.iter().filter(|it| it.fate == Fate::Applied) {
        let Some((before, after)) = &effect.change else {
            continue;
        };
        let changes = by_service.entry(&effect.service).or_default();
        changes.push((effect, before.as_str(), after.as_str()));
        first_before.entry(&effect.key).or_insert(before);
        last_after.insert(&effect.key, after);
    }
    for (service, changes) in &by_service {
        follow(service, changes, evidence.settings.get(*service), found);
    }
    let mut seen = BTreeSet::new();
    for event in evidence.journal.iter().flat_map(|(_, events)| events) {
        let EventKind::StepEnded {
            run,
            step_idx,
            phase: StepPhase::Undo,
            outcome: StepOutcome::Done { .. },
        } = &event.kind
        else {
            continue;
        };
        let done = key_of(*run, *step_idx, StepPhase::Do).to_string();
        let undone = key_of(*run, *step_idx, StepPhase::Undo).to_string();
        let before = first_before.get(done.as_str());
        let after = last_after.get(undone.as_str());
        if before != after && before.is_some() && seen.insert(undone.clone()) {
            found.add(
                Fault::Wrong,
                format!(
                    "{}: {before:?} was there before step {done}, {undone} left {after:?}",
                    event.incident
                ),
            );
        }
    }
}

/// Each change begins where the one before it ended. What was noted by a process that died then may
/// not have been written.
fn follow(
    service: &str,
    changes: &[(&EffectRecord, &str, &str)],
    at_the_end: Option<&String>,
    found: &mut Findings,
) {
    let (mut was, mut is, mut pid) = ("", "", None);
    for &(effect, before, after) in changes {
        let torn = pid != Some(effect.pid) && before == was;
        if before != is && !torn {
            found.add(
                Fault::Wrong,
                format!(
                    "{service} was set to {is:?} and was {before:?} when {} came",
                    effect.key
                ),
            );
        }
        (was, is, pid) = (before, after, Some(effect.pid));
    }
    if let Some(setting) = at_the_end.filter(|it| *it != is && *it != was) {
        found.add(
            Fault::Wrong,
            format!("{service} was set to {is:?} and is {setting:?} at the end"),
        );
    }
}
