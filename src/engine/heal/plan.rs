//! Planning: what every remediator would do, best first.

use std::collections::BTreeSet;
use std::sync::Arc;

use homeostasis_core::port::{Commit, StoreError, Version};
use homeostasis_core::record::{Candidate, EventKind, Plan, Standing};
use homeostasis_core::stage::{PlanRequest, Selection};
use homeostasis_core::{ErrorKind, ErrorReport, Incident};

use super::Heal;
use crate::engine::calls::{check, join};
use crate::engine::gatekeeper;
use crate::engine::journal::JournalError;
use crate::engine::versions;

/// At most this many plans are kept for one incident.
const MAX_PLANS: usize = 16;

/// At most this many candidates are kept for one incident, the best of them.
const MAX_CONSIDERED: usize = 32;

impl Heal {
    pub(super) async fn plan(&mut self, incident: &Arc<Incident>) -> Result<(), JournalError> {
        let limit = self.shared.settings.stage_deadline;
        let mut kinds = Vec::new();
        let mut plans: Vec<Plan> = Vec::new();
        let mut considered: Vec<Candidate> = Vec::new();
        let mut sources = Vec::new();
        let mut calls = Vec::new();
        for remediator in &self.shared.stages.remediators {
            let (name, remediator) = (remediator.name().to_owned(), Arc::clone(remediator));
            let cx = self.shared.context(Some(incident), limit);
            let subject = Arc::clone(incident);
            calls.push((
                name,
                Box::pin(self.call(limit, async move {
                    let Some(diagnosis) = &subject.diagnosis else {
                        return Ok(Selection::default());
                    };
                    let request = PlanRequest::new(&subject, diagnosis);
                    remediator
                        .select(&cx, request)
                        .await
                        .map_err(|error| error.report())
                })),
            ));
        }
        for (name, answer) in join(calls).await {
            let violation = |plan: &Plan| {
                plan.violation()
                    .or_else(|| {
                        (plan.incident != incident.id)
                            .then(|| "a plan for another incident".to_owned())
                    })
                    .or_else(|| {
                        (plan.remediator != name)
                            .then(|| format!("a plan in the name of {:?}", plan.remediator))
                    })
                    .or_else(|| {
                        // Such a plan is not verified: only people order one.
                        plan.ordered_by
                            .is_some()
                            .then(|| "an ordered plan as an answer to trouble".to_owned())
                    })
                    .or_else(|| {
                        let place = plan.secret_parameter(&*self.shared.journal.redactor)?;
                        Some(format!("a secret in {place}, expected the name of one"))
                    })
            };
            let checked = answer.and_then(|made| {
                let plans = check(made.plans, violation)?;
                Ok(Selection::new(plans, made.considered).made_from(made.sources))
            });
            match checked {
                Ok(Selection {
                    plans: made,
                    considered: weighed,
                    sources: texts,
                    ..
                }) => {
                    considered.extend(weighed);
                    sources.extend(texts);
                    for plan in made {
                        // The cycle tells plans apart by their ids and refuses two with one.
                        if plans.iter().any(|known| known.id == plan.id) {
                            let twice = format!("broke its post-condition: {} twice", plan.id);
                            let report = ErrorReport::message(ErrorKind::Permanent, twice);
                            kinds.push(self.blamed("remediator", &name, report));
                        } else {
                            plans.push(plan);
                        }
                    }
                }
                Err(report) => kinds.push(self.blamed("remediator", &name, report)),
            }
        }
        plans.sort_by(|a, b| {
            b.fitness
                .total_cmp(&a.fitness)
                .then_with(|| a.risk().cmp(&b.risk()))
                .then_with(|| a.title.cmp(&b.title))
        });
        self.broken_last(&mut plans).await;
        cut(&mut plans, &mut considered);
        stand(&mut considered, plans.first());
        sources.retain(|(reference, _)| {
            let mut refs = plans.iter().filter_map(|plan| plan.playbook.as_ref());
            refs.any(|known| known.hash == reference.hash)
        });
        let texts = versions::unknown(&self.shared, sources).await?;
        kinds.push(EventKind::Planned { plans, considered });
        let keep = |commit: Commit| {
            texts.into_iter().fold(commit, |commit, (key, text)| {
                commit.put(key, Version::NONE, text)
            })
        };
        match self.journal.append_with(kinds.clone(), keep).await {
            // Another incident kept the same text meanwhile. If the journal itself moved on, the cycle
            // refuses the plans.
            Err(JournalError::Store(StoreError::Conflict { .. })) => {
                self.journal.append(kinds).await.map(drop)
            }
            other => other.map(drop),
        }
    }
}

impl Heal {
    /// Puts plans whose circuit breaker is open behind the others: by their turn it may have closed,
    /// and if it has not the gate refuses them with its numbers.
    async fn broken_last(&self, plans: &mut [Plan]) {
        let mut open = BTreeSet::new();
        for plan in plans.iter() {
            if gatekeeper::open_until(&self.shared, plan).await.is_some() {
                open.insert(plan.id);
            }
        }
        // The sort is stable.
        plans.sort_by_key(|plan| open.contains(&plan.id));
    }
}

/// Keeps as many plans as an incident has room for; the others are said to be passed over.
fn cut(plans: &mut Vec<Plan>, considered: &mut [Candidate]) {
    for plan in plans.drain(MAX_PLANS.min(plans.len())..) {
        let name = plan.action_key();
        if let Some(candidate) = considered.iter_mut().find(|it| it.name == name) {
            let why = format!("{MAX_PLANS} others come first");
            *candidate = Candidate::passed_over(name, why);
        }
    }
}

/// Says which candidate was chosen, best first, and keeps as many as have room.
fn stand(considered: &mut Vec<Candidate>, first: Option<&Plan>) {
    let chosen = first.and_then(|plan| plan.playbook.as_ref().map(|playbook| &playbook.id));
    for candidate in considered.iter_mut() {
        if Some(&candidate.name) == chosen && candidate.standing == Standing::AlsoRan {
            candidate.standing = Standing::Chosen;
        }
    }
    considered.sort_by(|a, b| {
        let rank = |candidate: &Candidate| candidate.standing == Standing::PassedOver;
        rank(a)
            .cmp(&rank(b))
            .then_with(|| b.score.total_cmp(&a.score))
            .then_with(|| a.name.cmp(&b.name))
    });
    considered.truncate(MAX_CONSIDERED);
}
