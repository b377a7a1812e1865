//! Did the runs on a service hold it one after another, each with a newer lease?

use std::collections::BTreeMap;

use homeostasis::core::port::FencingToken;
use homeostasis::core::record::{EventKind, HealEvent, Outcome};
use homeostasis::core::{Incident, IncidentId, RunId, Timestamp};

use super::{Fault, Findings};

/// From the opening of a run, or from where it was taken up again, to the last that it wrote before
/// it let go or was taken up once more. While people are asked, nobody holds the service.
#[derive(Debug)]
struct Tenure {
    run: RunId,
    incident: IncidentId,
    token: FencingToken,
    from: Timestamp,
    to: Timestamp,
    /// The last step that was intended in it.
    acted: Option<Timestamp>,
}

/// The tenures of all runs, by the name of the service.
#[derive(Debug, Default)]
pub(super) struct Tenures(BTreeMap<String, Vec<Tenure>>);

impl Tenures {
    /// Notes what the runs of one incident did, in the order in which they wrote it.
    pub(super) fn note(&mut self, incident: &Incident, events: &[HealEvent]) {
        for event in events {
            let (run, token) = match &event.kind {
                EventKind::RunOpened { run, token, .. } | EventKind::RunResumed { run, token } => {
                    (*run, Some(*token))
                }
                // It was stopped before it did anything more: its lease may be another's already.
                EventKind::RunEnded {
                    outcome: Outcome::Halted { .. },
                    ..
                }
                | EventKind::UndoEnded {
                    outcome: Outcome::Halted { .. },
                    ..
                } => continue,
                EventKind::StepIntended { run, .. }
                | EventKind::StepEnded { run, .. }
                | EventKind::RunEnded { run, .. }
                | EventKind::Verified { run, .. }
                | EventKind::UndoEnded { run, .. } => (*run, None),
                _ => continue,
            };
            let Some(plan) = incident
                .run(run)
                .and_then(|state| incident.plan(state.plan))
            else {
                continue;
            };
            let service = plan.target.service_name().to_owned();
            let of_service = self.0.entry(service).or_default();
            if let Some(token) = token {
                of_service.push(Tenure {
                    run,
                    incident: incident.id,
                    token,
                    from: event.at,
                    to: event.at,
                    acted: None,
                });
            } else if let Some(tenure) = of_service.iter_mut().rfind(|it| it.run == run) {
                tenure.to = tenure.to.max(event.at);
                if matches!(event.kind, EventKind::StepIntended { .. }) {
                    tenure.acted = Some(event.at);
                }
            }
        }
    }

    /// Holds the tenures of each service against each other.
    pub(super) fn examine(mut self, found: &mut Findings) {
        for (service, tenures) in &mut self.0 {
            tenures.sort_by_key(|it| (it.from, it.to, it.token));
            not_at_once(service, tenures, found);
            not_after_another(service, tenures, found);
            for pair in tenures.windows(2) {
                let (before, after) = (&pair[0], &pair[1]);
                if after.token <= before.token {
                    found.add(
                        Fault::Illegal,
                        format!(
                            "{} on {service} got lease {} at {}, after lease {}",
                            after.run, after.token, after.from, before.token
                        ),
                    );
                }
            }
        }
    }
}

fn doubled(service: &str, one: &Tenure, other: &Tenure, how: &str, found: &mut Findings) {
    found.add(
        Fault::Doubled,
        format!(
            "{} of {} and {} of {} ran on {service} {how}",
            one.run, one.incident, other.run, other.incident
        ),
    );
}

/// No tenure begins before that of another run has ended.
fn not_at_once(service: &str, tenures: &[Tenure], found: &mut Findings) {
    let mut latest: Option<&Tenure> = None;
    for tenure in tenures {
        if let Some(earlier) = latest
            && tenure.run != earlier.run
            && tenure.from < earlier.to
        {
            doubled(service, tenure, earlier, "at once", found);
        }
        if latest.is_none_or(|earlier| tenure.to > earlier.to) {
            latest = Some(tenure);
        }
    }
}

/// A run that lets go of its service, for instance while people are asked, and finds that another
/// run was opened in between, does nothing more. It may still be brought to its end.
fn not_after_another(service: &str, tenures: &[Tenure], found: &mut Findings) {
    let mut opened: BTreeMap<RunId, &Tenure> = BTreeMap::new();
    for tenure in tenures {
        let first = *opened.entry(tenure.run).or_insert(tenure);
        let overtaker = opened
            .values()
            .find(|it| it.run != tenure.run && it.from > first.from && it.from < tenure.from);
        if let Some(acted) = tenure.acted
            && let Some(overtaker) = overtaker
        {
            let how = format!("in turn: the first went on at {acted}");
            doubled(service, tenure, overtaker, &how, found);
        }
    }
}
