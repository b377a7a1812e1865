//! Was everybody called whom the journal says was, by level and channel, at the right time; and was
//! what people answered about a step true, and kept to?

use std::collections::{BTreeMap, BTreeSet};

use homeostasis::core::policy::EscalationCondition;
use homeostasis::core::record::{EventKind, HandOverAnswer, HealEvent, StepPhase};
use homeostasis::core::{IncidentId, Timestamp};

use super::{Evidence, Fault, Findings, key_of};
use crate::crash::people;
use crate::crash::world::{Fate, Told};

/// Holds what people were told against the journal: nothing is lost, nothing came that no event asks
/// for. The same message once more after a kill does no harm.
pub(super) fn called(evidence: &Evidence<'_>, found: &mut Findings) {
    let mut told: BTreeMap<(String, Told), u64> = BTreeMap::new();
    for (incident, calls) in evidence.told {
        for call in calls {
            *told.entry((incident.clone(), call.clone())).or_default() += 1;
        }
    }
    for (id, events) in evidence.journal {
        timely(*id, events, found);
        let id = id.to_string();
        let is_taken_on = events
            .iter()
            .any(|event| matches!(event.kind, EventKind::Acknowledged { .. }));
        for message in messages(&id, events) {
            let is_call = message.key.contains("/level");
            let what = format!("{id}: {} was never told {}", message.channel, message.key);
            match told.remove(&(id.clone(), message)) {
                Some(times) => found.repeated_harmless += times - 1,
                // Who is still to be called when somebody takes it on is spared.
                None if is_call && is_taken_on => {}
                None => found.add(Fault::Lost, what),
            }
        }
    }
    for ((id, message), times) in told {
        let (channel, key) = (&message.channel, &message.key);
        found.add(
            Fault::Repeated,
            format!("{id}: {channel} was told {key} {times} times, and no event asks for it"),
        );
    }
}

/// What the events of an incident ask to tell, each message once, by the rules of this checker.
fn messages(id: &str, events: &[HealEvent]) -> BTreeSet<Told> {
    let mut reached: BTreeSet<&String> = BTreeSet::new();
    let mut messages = BTreeSet::new();
    let mut answers = 0;
    for event in events {
        let what = match &event.kind {
            EventKind::Notified {
                level,
                round,
                channels,
                ..
            } => {
                reached.extend(channels);
                let message = |channel: &String| Told {
                    channel: channel.clone(),
                    key: format!("{id}/level{level}.{round}"),
                };
                messages.extend(channels.iter().map(message));
                continue;
            }
            EventKind::HandOverAnswered { .. } => {
                answers += 1;
                continue;
            }
            // Each time it is handed over is news to those who were called before.
            EventKind::Escalated { .. } => format!("escalated.{answers}"),
            EventKind::Acknowledged { .. } => "acknowledged".to_owned(),
            EventKind::Closed { .. } => "closed".to_owned(),
            _ => continue,
        };
        messages.extend(reached.iter().map(|channel| Told {
            channel: (*channel).clone(),
            key: format!("{id}/{what}"),
        }));
    }
    messages
}

/// No level is called before its time, or for what nobody waits for any more; and who is handed an
/// incident is called.
fn timely(id: IncidentId, events: &[HealEvent], found: &mut Findings) {
    let chain = &people::rules().policies[0].levels;
    let (mut begun, mut is_hurried, mut is_taken_on) = (None::<Timestamp>, false, false);
    let mut levels = BTreeSet::new();
    let (mut is_handed_over, mut is_called) = (false, false);
    for event in events {
        match &event.kind {
            EventKind::EscalationBegun { .. } => begun = Some(event.at),
            EventKind::TriggerFired { .. } => is_hurried = true,
            EventKind::Acknowledged { .. } => is_taken_on = true,
            EventKind::Escalated { .. } => is_handed_over = true,
            EventKind::Notified { level, round, .. } => {
                is_called = true;
                *found.levels.entry(level.to_string()).or_default() += 1;
                if !levels.insert((*level, *round)) {
                    let what = format!("{id}: level {level} was called twice (seq {})", event.seq);
                    found.add(Fault::Repeated, what);
                }
                let place = usize::try_from(*level)
                    .ok()
                    .and_then(|it| it.checked_sub(1));
                let Some(rule) = place.and_then(|it| chain.get(it)) else {
                    continue;
                };
                let due = begun.map(|begun| begun + rule.delay);
                if !is_hurried && due.is_none_or(|due| event.at < due) {
                    let at = event.at;
                    let what = format!("{id}: level {level} is due at {due:?}, and called at {at}");
                    found.add(Fault::Illegal, what);
                }
                if is_taken_on && rule.condition == EscalationCondition::NotAcknowledged {
                    let what = format!("{id}: level {level} is called though it is taken on");
                    found.add(Fault::Illegal, what);
                }
            }
            _ => {}
        }
    }
    if is_handed_over && !is_called {
        found.add(
            Fault::Lost,
            format!("{id} was handed to people, and nobody was called"),
        );
    }
}

/// What people said had happened had, and the rest had not; and nobody did what they had said must
/// not be done.
pub(super) fn answered(evidence: &Evidence<'_>, found: &mut Findings) {
    let mut applied: BTreeMap<&str, usize> = BTreeMap::new();
    for effect in evidence.world.iter().filter(|it| it.fate == Fate::Applied) {
        *applied.entry(&effect.key).or_default() += 1;
    }
    for (id, events) in evidence.journal {
        for (at, event) in events.iter().enumerate() {
            let EventKind::HandOverAnswered {
                run,
                step_idx,
                answer,
                ..
            } = &event.kind
            else {
                continue;
            };
            *found.answers.entry(answer.to_string()).or_default() += 1;
            let key = key_of(*run, *step_idx, StepPhase::Do).to_string();
            let happened = applied.get(key.as_str()).copied().unwrap_or(0);
            // After an abort no step of the run is begun any more.
            let is_its_own = |begun: usize| *answer == HandOverAnswer::Abort || begun == *step_idx;
            let is_begun_later = events[at..].iter().any(|later| {
                matches!(&later.kind, EventKind::StepIntended { run: of, intent }
                    if of == run && intent.phase == StepPhase::Do && is_its_own(intent.step_idx))
            });
            let wrong = match answer {
                HandOverAnswer::Skip if happened > 0 => "was skipped, and happened",
                HandOverAnswer::MarkDone if happened == 0 => "was marked as done, and was not",
                HandOverAnswer::Skip | HandOverAnswer::MarkDone | HandOverAnswer::Abort
                    if is_begun_later =>
                {
                    "was gone on with against the answer"
                }
                _ => continue,
            };
            found.add(Fault::Repeated, format!("{id}: step {key} {wrong}"));
        }
    }
}
