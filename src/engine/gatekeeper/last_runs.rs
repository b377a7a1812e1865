//! Which run was opened last on a target.
//!
//! A process that was stopped for longer than its lease wakes with a run that it may take up again.
//! If another run was opened on the same target meanwhile, by another healer or for another
//! incident, going on would heal the target twice, and taking back would undo the other's work.

use std::collections::BTreeSet;

use homeostasis_core::port::{Commit, StoreError, Version};
use homeostasis_core::record::Plan;
use homeostasis_core::{RunId, Target};
use serde_json::json;

use crate::engine::shared::Shared;

/// How many targets of one service are remembered. The oldest are forgotten first, and nobody can
/// tell what happened to a forgotten one.
const REMEMBERED: usize = 256;

const PREFIX: &str = "last-runs/";

/// The last runs on the targets of every service that a plan acts on, as the store knows them.
#[derive(Debug)]
pub(super) struct LastRuns(Vec<OfService>);

#[derive(Debug)]
struct OfService {
    key: String,
    version: Version,
    /// With the name of their target, the latest last.
    runs: Vec<(String, RunId)>,
}

impl LastRuns {
    pub(super) async fn read(shared: &Shared, plan: &Plan) -> Result<Self, StoreError> {
        let keys: BTreeSet<_> = targets(plan).map(key).collect();
        let mut services = Vec::with_capacity(keys.len());
        for key in keys {
            let Some(document) = shared.journal.store.document(&key).await? else {
                services.push(OfService {
                    key,
                    version: Version::NONE,
                    runs: Vec::new(),
                });
                continue;
            };
            let runs =
                serde_json::from_value(document.value).map_err(|source| StoreError::Corrupt {
                    path: key.clone(),
                    place: document.version.to_string(),
                    source: Some(Box::new(source)),
                })?;
            services.push(OfService {
                key,
                version: document.version,
                runs,
            });
        }
        Ok(Self(services))
    }

    /// Whether a commit failed because somebody wrote such a document in between.
    pub(super) fn is_theirs(conflict: &str) -> bool {
        conflict.starts_with(PREFIX)
    }

    /// Why `run` of `plan` must not go on: another one was opened on a target of it since.
    pub(super) fn objection(&self, run: RunId, plan: &Plan) -> Option<String> {
        targets(plan).find_map(|target| {
            let of_service = self.0.iter().find(|known| known.key == key(target))?;
            let name = target.to_string();
            match of_service.runs.iter().find(|(known, _)| *known == name) {
                Some((_, last)) if *last == run => None,
                Some((_, last)) => Some(format!("{last} acted on {name} meanwhile")),
                // No run was ever noted, neither this one: its journal is older than the notes.
                None if of_service.runs.is_empty() => None,
                None => Some(format!("what happened to {name} meanwhile is forgotten")),
            }
        })
    }

    /// `commit`, noting that `run` of `plan` is the last on all its targets.
    pub(super) fn note(self, run: RunId, plan: &Plan, mut commit: Commit) -> Commit {
        for mut service in self.0 {
            let own: BTreeSet<_> = targets(plan)
                .filter(|target| key(target) == service.key)
                .map(Target::to_string)
                .collect();
            service.runs.retain(|(target, _)| !own.contains(target));
            service
                .runs
                .extend(own.into_iter().map(|target| (target, run)));
            let surplus = service.runs.len().saturating_sub(REMEMBERED);
            service.runs.drain(..surplus);
            commit = commit.put(service.key, service.version, json!(service.runs));
        }
        commit
    }
}

fn targets(plan: &Plan) -> impl Iterator<Item = &Target> {
    plan.steps
        .iter()
        .map(|step| &step.target)
        .chain([&plan.target])
}

fn key(target: &Target) -> String {
    format!("{PREFIX}{}", target.service_name())
}

#[cfg(test)]
mod tests {

    use homeostasis_core::{IncidentId, PlanId, Rng, Timestamp};

    use super::*;

    fn plan_at(target: Target, rng: &mut Rng) -> (RunId, Plan) {
        let now = Timestamp::EPOCH;
        let (id, incident) = (PlanId::new(now, rng), IncidentId::new(now, rng));
        let plan = Plan::new(id, incident, "doctor", "cure", target);
        (RunId::new(now, rng), plan)
    }

    /// What is known after a commit that notes `run`.
    fn noted(known: LastRuns, run: RunId, plan: &Plan) -> LastRuns {
        let commit = known.note(run, plan, Commit::default());
        let (key, version, value) = commit.documents.into_iter().next().unwrap();
        let runs = serde_json::from_value(value.unwrap()).unwrap();
        LastRuns(vec![OfService { key, version, runs }])
    }

    #[test]
    fn the_last_on_a_target_goes_on_and_the_forgotten_is_the_worst_case() {
        let mut rng = Rng::from_seed(1);
        let instance = |n: usize| Target::instance("a", format!("a-{n}")).unwrap();
        let (first, plan) = plan_at(instance(0), &mut rng);
        let nothing = LastRuns(vec![OfService {
            key: key(&plan.target),
            version: Version::NONE,
            runs: Vec::new(),
        }]);
        assert_eq!(nothing.objection(first, &plan), None);
        let mut known = noted(nothing, first, &plan);
        for n in 1..REMEMBERED {
            let (run, plan) = plan_at(instance(n), &mut rng);
            known = noted(known, run, &plan);
        }
        assert_eq!(known.objection(first, &plan), None);
        let (other, _) = plan_at(instance(0), &mut rng);
        let objection = known.objection(other, &plan).unwrap();
        assert!(objection.contains(&first.to_string()), "{objection}");
        let (one_more, elsewhere) = plan_at(instance(REMEMBERED), &mut rng);
        known = noted(known, one_more, &elsewhere);
        assert_eq!(known.0[0].runs.len(), REMEMBERED);
        let objection = known.objection(first, &plan).unwrap();
        assert!(objection.contains("forgotten"), "{objection}");
    }
}
