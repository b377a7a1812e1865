//! What people switched: the kill switch, flags, the mode, and whether only people can help.

use super::{Answer, GateFacts, Purpose};
use crate::flags::Mode;
use crate::record::Plan;

pub(super) fn kill_switch(_: &Plan, facts: &GateFacts<'_>, _: u32) -> (Answer, String) {
    if facts.kill_switch {
        (Answer::Escalate, "the kill switch is engaged".to_owned())
    } else {
        (Answer::Pass, "the kill switch is released".to_owned())
    }
}

pub(super) fn people(_: &Plan, facts: &GateFacts<'_>, _: u32) -> (Answer, String) {
    match facts.needs_people {
        Some(why) => (Answer::Escalate, format!("people are needed: {why}")),
        None => (Answer::Pass, "no detector asks for people".to_owned()),
    }
}

pub(super) fn feature_flag(plan: &Plan, facts: &GateFacts<'_>, _: u32) -> (Answer, String) {
    let mut asked = vec!["heal".to_owned(), format!("heal.{}", plan.action_key())];
    if facts.environment.is_empty() {
        // Nobody said which it is: it may be any that a flag is about.
        let flags = facts.flags.iter().map(|(flag, _)| flag);
        let of_one = flags.filter(|flag| flag.starts_with("heal.environment."));
        asked.extend(of_one.map(str::to_owned));
    } else {
        asked.push(format!("heal.environment.{}", facts.environment));
    }
    if let Some(category) = facts.category {
        asked.push(format!("heal.cause.{}", category.key()));
    }
    asked.push(format!("heal.tenant.{}", facts.tenant));
    match asked.iter().find(|flag| !facts.flags.is_on(flag, true)) {
        Some(flag) => (Answer::Recommend, format!("flag {flag:?} is off")),
        None => (Answer::Pass, format!("flags {asked:?} are on")),
    }
}

pub(super) fn mode(_: &Plan, facts: &GateFacts<'_>, _: u32) -> (Answer, String) {
    let detail = format!("mode {}", facts.mode);
    match facts.mode {
        Mode::Observe => (Answer::Recommend, detail),
        Mode::Approve if facts.purpose == Purpose::Execute => (Answer::NeedsApproval(1), detail),
        Mode::Approve | Mode::Auto => (Answer::Pass, detail),
        Mode::Paused { until, .. } if *until > facts.now => (Answer::Defer(*until), detail),
        // What it was before the pause is not known here; the engine knows, and asks with that.
        Mode::Paused { .. } if facts.purpose == Purpose::Execute => {
            (Answer::NeedsApproval(1), "the pause is over".to_owned())
        }
        Mode::Paused { .. } => (Answer::Pass, "the pause is over".to_owned()),
    }
}
