//! Whether a change of files may be made here, now.

use super::{Answer, GateFacts};
use crate::record::Plan;

/// A plan that changes no file has nothing to answer for. The strictest answer of all its files
/// counts; pre-approval waives none of it.
pub(super) fn patch_risk(plan: &Plan, facts: &GateFacts<'_>, _: u32) -> (Answer, String) {
    let policy = &facts.policy.patches;
    let patches = &plan.patches;
    if patches.is_empty() {
        return (Answer::Pass, "it changes no file".to_owned());
    }
    if let Some(patch) = patches
        .iter()
        .find(|patch| !policy.kinds.contains(&patch.kind))
    {
        let detail = format!(
            "patches of {} are not allowed here: {:?}",
            patch.kind, patch.path
        );
        return (Answer::Refuse, detail);
    }
    let read = facts.patch_use.as_ref();
    let Some(used) = read.filter(|used| used.files.len() == patches.len()) else {
        let detail = "what was patched lately could not be read".to_owned();
        return (Answer::Escalate, detail);
    };
    for (patch, file) in patches.iter().zip(&used.files) {
        // A failure of the future means that the clock was set back: it counts as one of now.
        let failed_at = file.failed_at.map(|at| at.min(facts.now));
        let free = failed_at.map(|at| at + policy.cool_down);
        if let Some(free) = free.filter(|free| *free > facts.now) {
            let detail = format!("a patch of {:?} failed, it rests until {free}", patch.path);
            return (Answer::Refuse, detail);
        }
        if file.today >= policy.per_file_per_day {
            let detail = format!(
                "{:?} was patched {} times within a day, {} allowed",
                patch.path, file.today, policy.per_file_per_day
            );
            return (Answer::Refuse, detail);
        }
    }
    let asked = patches.len() as u64;
    let detail = format!(
        "{asked} files, {} were patched within a day, {} allowed",
        used.today, policy.per_day
    );
    if used.today.saturating_add(asked) > policy.per_day {
        return (Answer::Refuse, detail);
    }
    if let Some(patch) = patches.iter().find(|patch| policy.is_critical(&patch.path)) {
        let detail = format!("{:?} is a critical file", patch.path);
        return (Answer::NeedsApproval(2), detail);
    }
    if let Some(patch) = patches.iter().find(|patch| patch.risk > policy.max_risk) {
        let detail = format!(
            "a patch of {:?} of risk {}, allowed {}",
            patch.path, patch.risk, policy.max_risk
        );
        return (Answer::NeedsApproval(1), detail);
    }
    (Answer::Pass, detail)
}
