//! People: whom the healer calls, and what they do about it. They act on nothing they were not
//! called about, so that a chain of calls that is forgotten leaves somebody ill for ever.

use std::collections::BTreeMap;
use std::sync::Arc;

use homeostasis::Homeostasis;
use homeostasis::core::cycle::Phase;
use homeostasis::core::policy::{
    EscalationCondition, EscalationLevel, EscalationPolicy, EscalationRules, EscalationTrigger,
    TriggerCondition,
};
use homeostasis::core::port::{
    Notification, NotificationKind, Notifier, NotifyError, Principal, Role,
};
use homeostasis::core::record::{HandOver, HandOverAnswer};
use homeostasis::core::{Digest, IdempotencyKey, Incident, IncidentId, Rng, async_trait};

use super::child::wall;
use super::world::{Told, World, give_up};

/// Their names: who is called first, and who is called about what lasts.
pub(crate) const CHANNELS: [&str; 2] = ["pager", "mail"];

/// The last level of the chain.
const LAST_LEVEL: u32 = 3;

/// How often they look.
const LOOK_MILLIS: u64 = 8;

/// Three levels: at once, if nobody has taken it on after a while, and if it lasts whoever took it on.
pub(crate) fn rules() -> EscalationRules {
    use EscalationCondition::{Always, NotAcknowledged, NotResolved};
    let level = |millis, condition, channels: &[&str]| EscalationLevel {
        delay: wall(millis),
        condition,
        notify: Vec::new(),
        channels: channels.iter().map(|it| (*it).to_owned()).collect(),
    };
    let twice = EscalationTrigger::one_level(TriggerCondition::Attempts(2));
    EscalationRules {
        policies: vec![EscalationPolicy {
            name: "chain".to_owned(),
            levels: vec![
                level(0, Always, &["pager"]),
                level(25, NotAcknowledged, &["pager", "mail"]),
                level(50, NotResolved, &["mail"]),
            ],
            ..EscalationPolicy::default()
        }],
        triggers: BTreeMap::from([("tried twice".to_owned(), twice)]),
        ..EscalationRules::default()
    }
}

/// A channel; what comes through it is in the world.
#[derive(Debug)]
pub(crate) struct Channel {
    pub(crate) name: &'static str,
    pub(crate) world: Arc<World>,
}

#[async_trait]
impl Notifier for Channel {
    async fn notify(&self, message: &Notification) -> Result<(), NotifyError> {
        let (channel, key) = (self.name.to_owned(), message.key.clone());
        let incident = message.incident.to_string();
        let tell = || self.world.tell(&incident, &Told { channel, key });
        tokio::task::block_in_place(tell).unwrap_or_else(|error| give_up(&error));
        Ok(())
    }

    // Each by itself, also of an incident that is over by then: every one of them is counted.
    fn takes(&self, kind: NotificationKind) -> bool {
        kind != NotificationKind::Digest
    }
}

/// What somebody makes of a call. Each incident finds another one, the same in every life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Habit {
    /// They take it on when they are first called.
    takes_on: bool,
    /// They do nothing about it before this level was called.
    acts_on: u32,
}

impl Habit {
    fn about(incident: IncidentId) -> Self {
        let drawn = Digest::of(&incident).as_bytes()[0] % 4;
        let (takes_on, acts_on) = match drawn {
            0 => (true, 1),
            1 => (false, 2),
            2 => (false, LAST_LEVEL),
            _ => (true, LAST_LEVEL),
        };
        Self { takes_on, acts_on }
    }
}

/// The highest level of the chain that was called, as far as people heard; 0 is none.
fn highest(told: &[Told]) -> u32 {
    let level = |told: &Told| {
        let (_, what) = told.key.rsplit_once('/')?;
        let (level, _) = what.strip_prefix("level")?.split_once('.')?;
        level.parse().ok()
    };
    told.iter().filter_map(level).max().unwrap_or(0)
}

/// Takes on, answers and cures what was handed over, for as long as the healer lives.
pub(crate) async fn respond(healer: Homeostasis, world: Arc<World>, mut chance: Rng) {
    let ada = healer.operator_as(Principal::new("ada", [Role::Operator]));
    loop {
        healer.clock().sleep(wall(LOOK_MILLIS)).await;
        for id in healer.open_incidents() {
            let told = world.told(&id.to_string());
            let heard = highest(&told.unwrap_or_else(|error| give_up(&error)));
            let habit = Habit::about(id);
            if heard == 0 {
                continue;
            }
            let Ok(incident) = healer.incident(id).await else {
                continue;
            };
            if habit.takes_on && incident.escalation.acknowledged.is_none() {
                // Refused if another life's people did, or it is over: the journal says which.
                let _ = ada.acknowledge(id, "on it").await;
            }
            if incident.phase != Phase::Escalated || heard < habit.acts_on {
                continue;
            }
            if let Some(asked) = incident.hand_over() {
                let answer = answer(&world, &incident, &asked, &mut chance);
                // As above; and it may have recovered meanwhile.
                let _ = ada.answer_hand_over(&asked, answer, "looked").await;
                continue;
            }
            for target in incident.targets() {
                let cured = world.cure(target.service_name());
                cured.unwrap_or_else(|error| give_up(&error));
            }
        }
    }
}

/// What became of the step, and what is to be done now. Who looks shows the lease of the run: whoever
/// held an older one comes too late from then on.
fn answer(
    world: &World,
    incident: &Incident,
    asked: &HandOver,
    chance: &mut Rng,
) -> HandOverAnswer {
    use HandOverAnswer::{Abort, MarkDone, Resume, Skip};
    let Some((run, plan)) = incident
        .run(asked.run)
        .and_then(|run| Some((run, incident.plan(run.plan)?)))
    else {
        return Abort;
    };
    let service = plan.target.service_name();
    let key = IdempotencyKey::new(asked.run, asked.step_idx);
    let look = || {
        let visit = world.visit(service)?;
        let is_ours = visit.is_newest(run.token)?;
        Ok((is_ours, visit.has(key.as_str())?))
    };
    let looked: std::io::Result<_> = tokio::task::block_in_place(look);
    let (is_ours, happened) = looked.unwrap_or_else(|error| give_up(&error));
    let is_well = world
        .illness(service)
        .unwrap_or_else(|error| give_up(&error))
        .is_none();
    let answers: &[HandOverAnswer] = match (happened, is_ours && !is_well) {
        (true, true) => &[MarkDone, MarkDone, MarkDone, Abort],
        (false, true) if asked.question == 0 => &[Resume, Resume, Skip, Abort],
        (false, true) => &[Skip, Skip, Abort],
        // The world has moved on.
        (_, false) => &[Abort],
    };
    let drawn = usize::try_from(chance.below(answers.len() as u64));
    drawn.map_or(Abort, |at| answers[at])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_know_how_far_a_chain_was_called_from_what_they_were_told() {
        let told = |keys: &[&str]| {
            let told = keys.iter().map(|key| Told {
                channel: "pager".to_owned(),
                key: format!("inc-7/{key}"),
            });
            highest(&told.collect::<Vec<_>>())
        };
        assert_eq!(told(&[]), 0);
        assert_eq!(told(&["level0.0", "acknowledged", "escalated.9"]), 0);
        assert_eq!(told(&["level1.0", "level3.0", "level2.0", "closed"]), 3);
    }
}
