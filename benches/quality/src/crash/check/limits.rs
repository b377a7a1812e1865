//! Were limits, cool-downs and breakers remembered from life to life?

use std::collections::BTreeMap;
use std::time::Duration;

use homeostasis::core::policy::{BreakerPhase, BreakerState, Limit};
use homeostasis::core::record::{EventKind, HealEvent, Outcome, Plan, VerdictKind};
use homeostasis::core::{Incident, Timestamp};

use super::{Evidence, Fault, Findings};

/// The gate reads a breaker, and the run is opened a moment later: what was settled in that moment
/// it could not know. What an end is stamped with is also earlier than its commit, which waits for the
/// disk. 120 ms of the wall, for a busy machine; a breaker stays open for 500.
const MOMENT: Duration = Duration::from_secs(6);

struct Opening<'a> {
    at: Timestamp,
    incident: &'a Incident,
    plan: &'a Plan,
}

/// Holds every run that was opened against the policy, and against the counters of the store.
pub(super) fn remembered(
    evidence: &Evidence<'_>,
    incidents: &[(Incident, &Vec<HealEvent>)],
    found: &mut Findings,
) {
    let mut openings = Vec::new();
    let mut ends = Vec::new();
    for (incident, events) in incidents {
        for event in *events {
            let plan_of = |run| incident.plan(incident.run(run)?.plan);
            match &event.kind {
                EventKind::RunOpened { run, .. } => {
                    openings.extend(plan_of(*run).map(|plan| Opening {
                        at: event.at,
                        incident,
                        plan,
                    }));
                }
                EventKind::RunEnded { run, outcome } => {
                    let failed =
                        matches!(outcome, Outcome::Failed { .. } | Outcome::Unknown { .. });
                    ends.extend(
                        plan_of(*run)
                            .filter(|_| failed)
                            .map(|plan| (event.at, plan, false)),
                    );
                }
                EventKind::Verified { run, verdict } if verdict.kind != VerdictKind::Uncertain => {
                    let success = verdict.kind == VerdictKind::Success;
                    ends.extend(plan_of(*run).map(|plan| (event.at, plan, success)));
                }
                _ => {}
            }
        }
    }
    openings.sort_by_key(|opening| opening.at);
    ends.sort_by_key(|(at, ..)| *at);
    limits(evidence, &openings, found);
    cool_downs(evidence, &openings, found);
    breakers(evidence, &openings, &ends, found);
    for (counter, hits) in evidence.counters {
        let runs = openings
            .iter()
            .filter(|opening| Limit::counters(opening.plan).contains(counter))
            .count();
        if *hits != runs as u64 {
            found.add(
                Fault::Forgotten,
                format!("{counter} says {hits}, the journal has {runs} runs"),
            );
        }
    }
}

fn limits(evidence: &Evidence<'_>, openings: &[Opening<'_>], found: &mut Findings) {
    for limit in &evidence.policy.limits {
        let mut earlier: BTreeMap<String, Vec<Timestamp>> = BTreeMap::new();
        for opening in openings {
            let counted = earlier
                .entry(Limit::counter(limit.scope, opening.plan))
                .or_default();
            let since = opening.at - limit.window;
            let used = counted.iter().filter(|at| **at >= since).count() as u64;
            if used >= limit.max {
                found.add(
                    Fault::Forgotten,
                    format!(
                        "{}: a run on {} at {} is number {} of {limit}",
                        opening.incident.id,
                        opening.plan.target,
                        opening.at,
                        used + 1
                    ),
                );
            }
            counted.push(opening.at);
        }
    }
}

fn cool_downs(evidence: &Evidence<'_>, openings: &[Opening<'_>], found: &mut Findings) {
    let mut last: BTreeMap<String, Timestamp> = BTreeMap::new();
    for opening in openings {
        let target = opening.plan.target.to_string();
        if let Some(before) = last.insert(target, opening.at)
            && opening.at.since(before) < evidence.policy.min_interval
        {
            found.add(
                Fault::Forgotten,
                format!(
                    "{}: {} rests {:?} after {before}, and a run began at {}",
                    opening.incident.id,
                    opening.plan.target,
                    evidence.policy.min_interval,
                    opening.at
                ),
            );
        }
    }
}

fn breakers(
    evidence: &Evidence<'_>,
    openings: &[Opening<'_>],
    ends: &[(Timestamp, &Plan, bool)],
    found: &mut Findings,
) {
    let policy = &evidence.policy.breaker;
    let mut breakers: BTreeMap<String, BreakerState> = BTreeMap::new();
    let mut ends = ends.iter().peekable();
    for opening in openings {
        while let Some((at, plan, success)) = ends.next_if(|(at, ..)| *at + MOMENT <= opening.at) {
            let breaker = breakers.entry(plan.action_key().clone()).or_default();
            breaker.record(*success, *at, policy);
        }
        let key = opening.plan.action_key().clone();
        let phase = breakers.entry(key).or_default().phase(opening.at, policy);
        if let BreakerPhase::Open { until } = phase {
            found.add(
                Fault::Forgotten,
                format!(
                    "{}: {} ran at {} with its breaker open until {until}",
                    opening.incident.id,
                    opening.plan.action_key(),
                    opening.at
                ),
            );
        }
    }
}
