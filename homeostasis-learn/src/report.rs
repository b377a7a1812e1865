//! The report after an incident, as Markdown.

use std::fmt::Write;
use std::time::Duration;

use homeostasis_core::Incident;
use homeostasis_core::cycle::replay;
use homeostasis_core::record::{CheckOutcome, EventKind, HealEvent, Inverse, Standing, StepState};

use crate::incident_record::{IncidentRecord, ResolutionMethod};
use crate::kpi::human;
use crate::markdown::escape_markdown as esc;
use crate::project::{ProjectError, project, step_outcome};

/// Tells an incident in Markdown: what happened, times, root cause with evidence, plans, the gate's
/// answers, steps, verdicts and the timeline.
///
/// Text from the outside (explanations, names, reasons) is [escaped](crate::escape_markdown). What
/// is not known is said to be so. An incident that is still open gives a report of so far.
///
/// # Errors
/// As [`project`].
pub fn incident_report_markdown(events: &[HealEvent]) -> Result<String, ProjectError> {
    let record = project(events)?;
    let incident = replay(events)?.ok_or(ProjectError::Empty)?;
    let mut out = String::new();
    // Writing to a string does not fail.
    let _ = write_report(&mut out, &record, &incident, events);
    Ok(out)
}

fn write_report(
    out: &mut String,
    record: &IncidentRecord,
    incident: &Incident,
    events: &[HealEvent],
) -> std::fmt::Result {
    writeln!(out, "# Incident {}\n", record.incident_id)?;
    what_happened(out, record, incident)?;
    times(out, record)?;
    root_cause(out, incident)?;
    selection(out, events)?;
    plans(out, incident)?;
    gate(out, incident, events)?;
    steps(out, incident)?;
    verdicts(out, incident)?;
    timeline(out, events)
}

fn what_happened(
    out: &mut String,
    record: &IncidentRecord,
    incident: &Incident,
) -> std::fmt::Result {
    writeln!(out, "## What happened\n")?;
    for anomaly in &incident.anomalies {
        writeln!(
            out,
            "- {} ({}): {}, expected {}",
            esc(&anomaly.target.to_string()),
            esc(&anomaly.detector),
            esc(&anomaly.explanation),
            esc(&anomaly.expected.to_string())
        )?;
    }
    if incident.n_anomalies_dropped > 0 {
        writeln!(out, "- {} more anomalies", incident.n_anomalies_dropped)?;
    }
    let ended = match &record.resolution {
        None => "it is still open".to_owned(),
        Some(resolution) => match resolution.resolution_method {
            ResolutionMethod::AutoRemediation => "a verified run healed it".to_owned(),
            ResolutionMethod::Recovered => "it recovered without a run".to_owned(),
            ResolutionMethod::Rollback => "it recovered after a run was taken back".to_owned(),
            ResolutionMethod::Manual => "a person closed it".to_owned(),
        },
    };
    writeln!(
        out,
        "\n{}, {}; {ended}{}.\n",
        incident.severity,
        incident.radius,
        if record.metadata.escalated {
            ", people were called"
        } else {
            ""
        }
    )?;
    match incident.score {
        Some(score) => writeln!(out, "How the severity adds up: {score}.\n"),
        None => Ok(()),
    }
}

fn times(out: &mut String, record: &IncidentRecord) -> std::fmt::Result {
    writeln!(out, "## Times\n\n| | |\n|---|---|")?;
    let mut row = |name: &str, value: String| writeln!(out, "| {name} | {value} |");
    row("began", record.detection.since.to_string())?;
    row("found", record.detection.detected_at.to_string())?;
    row(
        "time to detect",
        or_unknown(record.detection.time_to_detect),
    )?;
    for run in &record.remediation {
        row("run took", or_unknown(run.execution_time))?;
    }
    let resolution = record.resolution.as_ref();
    row(
        "closed",
        resolution.map_or_else(|| "still open".to_owned(), |r| r.closed_at.to_string()),
    )?;
    row(
        "found to closed",
        or_unknown(resolution.map(|r| r.time_to_resolution)),
    )?;
    row("began to closed", or_unknown(record.impact.duration))?;
    writeln!(out)
}

fn or_unknown(duration: Option<Duration>) -> String {
    duration.map_or_else(|| "not known".to_owned(), human)
}

fn root_cause(out: &mut String, incident: &Incident) -> std::fmt::Result {
    writeln!(out, "## Root cause\n")?;
    let Some(diagnosis) = &incident.diagnosis else {
        return writeln!(out, "Not diagnosed.\n");
    };
    writeln!(out, "{}.\n", esc(&diagnosis.headline()))?;
    if let Some(chain) = &diagnosis.chain {
        for (idx, step) in chain.steps.iter().enumerate() {
            writeln!(out, "{}. {}", idx + 1, esc(&step.to_string()))?;
            for proof in &step.proofs {
                writeln!(out, "   - {}", esc(&proof.to_string()))?;
            }
        }
        writeln!(out)?;
        if let Some(why) = &chain.broken {
            writeln!(out, "Further it cannot be followed: {}.\n", esc(why))?;
        }
    }
    let Some(cause) = diagnosis.root_cause() else {
        return Ok(());
    };
    if !cause.explanation.is_empty() {
        writeln!(out, "{}.\n", esc(&cause.explanation))?;
    }
    for finding in &cause.evidence {
        writeln!(
            out,
            "- {} ({:+.1} nats): {}",
            esc(&finding.analyzer),
            finding.log_likelihood_ratio,
            esc(&finding.explanation)
        )?;
        for proof in &finding.proofs {
            let at = proof.at.map(|at| format!(" at {at}")).unwrap_or_default();
            writeln!(
                out,
                "  - {} {}{at}: {}",
                esc(&proof.kind),
                esc(&proof.reference),
                esc(&proof.statement)
            )?;
        }
    }
    let others = &diagnosis.hypotheses[1..];
    if !others.is_empty() {
        let others: Vec<_> = others.iter().map(|other| esc(&other.to_string())).collect();
        writeln!(out, "\nAlso considered: {}.", others.join(", "))?;
    }
    writeln!(out)
}

/// What was weighed, the chosen and the also-rans with their scores.
fn selection(out: &mut String, events: &[HealEvent]) -> std::fmt::Result {
    for event in events {
        let EventKind::Planned { considered, .. } = &event.kind else {
            continue;
        };
        if considered.is_empty() {
            continue;
        }
        writeln!(out, "## Selection\n")?;
        writeln!(
            out,
            "| candidate | standing | score | made of | why |\n|---|---|---|---|---|"
        )?;
        for candidate in considered {
            let parts: Vec<_> = candidate
                .parts
                .iter()
                .map(|(name, share)| format!("{} {share:.3}", esc(name)))
                .collect();
            let score = match candidate.standing {
                Standing::PassedOver => String::new(),
                _ => format!("{:.3}", candidate.score),
            };
            writeln!(
                out,
                "| {} | {} | {score} | {} | {} |",
                esc(&candidate.name),
                candidate.standing,
                parts.join(", "),
                esc(&candidate.why)
            )?;
        }
        writeln!(out)?;
    }
    Ok(())
}

fn plans(out: &mut String, incident: &Incident) -> std::fmt::Result {
    writeln!(out, "## Plans\n")?;
    if incident.plans.is_empty() {
        return writeln!(out, "None.\n");
    }
    for (idx, plan) in incident.plans.iter().enumerate() {
        let playbook = plan.playbook.as_ref().map_or_else(String::new, |playbook| {
            format!(
                ", playbook {} {}",
                esc(&playbook.id),
                esc(&playbook.version)
            )
        });
        writeln!(
            out,
            "{}. {} on {} ({}{playbook}, risk {}, hash {})",
            idx + 1,
            esc(&plan.title),
            esc(&plan.target.to_string()),
            esc(&plan.remediator),
            plan.risk(),
            plan.hash().short()
        )?;
        for step in &plan.steps {
            let inverse = match &step.inverse {
                Inverse::Nothing => "nothing to undo".to_owned(),
                Inverse::Captured(what) => format!("undo: {}", esc(what)),
                Inverse::Irreversible(why) => format!("irreversible: {}", esc(why)),
            };
            writeln!(
                out,
                "   - {}: {} on {}, {}, {inverse}",
                esc(&step.name),
                esc(&step.action),
                esc(&step.target.to_string()),
                step.effect
            )?;
        }
    }
    writeln!(out)
}

fn gate(out: &mut String, incident: &Incident, events: &[HealEvent]) -> std::fmt::Result {
    writeln!(out, "## Gate\n")?;
    let mut asked = false;
    for event in events {
        match &event.kind {
            EventKind::Gated { plan, record } => {
                asked = true;
                let title = incident.plan(*plan).map_or("", |plan| &plan.title);
                writeln!(out, "{}: {}.\n", esc(title), esc(&record.to_string()))?;
                writeln!(out, "| check | answer | detail |\n|---|---|---|")?;
                for answer in &record.answers {
                    writeln!(
                        out,
                        "| {} | {} | {} |",
                        esc(&format!("{:?}", answer.check)),
                        esc(&format!("{:?}", answer.answer)),
                        esc(&answer.detail)
                    )?;
                }
                writeln!(out)?;
            }
            EventKind::ApprovalDecided { .. } => {
                writeln!(out, "{}.\n", esc(&event.to_string()))?;
            }
            _ => {}
        }
    }
    if asked {
        Ok(())
    } else {
        writeln!(out, "Not asked.\n")
    }
}

fn steps(out: &mut String, incident: &Incident) -> std::fmt::Result {
    writeln!(out, "## Steps\n")?;
    if incident.runs.is_empty() {
        return writeln!(out, "Nothing was executed.\n");
    }
    for run in &incident.runs {
        let ended = run.outcome.as_ref().map_or_else(
            || "still going on".to_owned(),
            |outcome| esc(&outcome.to_string()),
        );
        writeln!(out, "{}: {ended}{}.\n", run.run, resumed(run.resumed))?;
        writeln!(
            out,
            "| step | outcome | attempts | taken back |\n|---|---|---|---|"
        )?;
        let named = incident.plan(run.plan).map_or(&[][..], |plan| &plan.steps);
        for ((step, state), undo) in named.iter().zip(&run.steps).zip(&run.undo) {
            writeln!(
                out,
                "| {} | {} | {} | {} |",
                esc(&step.name),
                esc(step_outcome(state)),
                state.attempts(),
                if *undo == StepState::NotStarted {
                    "no".to_owned()
                } else {
                    esc(step_outcome(undo))
                }
            )?;
        }
        writeln!(out)?;
    }
    Ok(())
}

fn resumed(times: u32) -> String {
    if times == 0 {
        String::new()
    } else {
        format!(", taken up again {times} times")
    }
}

fn verdicts(out: &mut String, incident: &Incident) -> std::fmt::Result {
    writeln!(out, "## Verdict\n")?;
    if incident.verdicts.is_empty() {
        return writeln!(out, "None was given.\n");
    }
    for (run, verdict) in &incident.verdicts {
        writeln!(
            out,
            "{} on {run} at {}: {}.\n",
            verdict.kind,
            verdict.at,
            esc(&verdict.reason)
        )?;
        for check in &verdict.checks {
            let outcome = match check.outcome {
                CheckOutcome::Passed => "passed",
                CheckOutcome::Failed => "failed",
                CheckOutcome::NoData => "no data",
                CheckOutcome::Undecided => "undecided",
            };
            writeln!(
                out,
                "- {outcome}: {} ({})",
                esc(&check.criterion),
                esc(&check.detail)
            )?;
        }
        writeln!(out)?;
    }
    Ok(())
}

fn timeline(out: &mut String, events: &[HealEvent]) -> std::fmt::Result {
    writeln!(out, "## Timeline\n\n| at | after | what |\n|---|---|---|")?;
    let start = events.first().map(|event| event.at);
    for event in events {
        let after = start.map_or(Duration::ZERO, |start| event.at.since(start));
        writeln!(
            out,
            "| {} | {} | {} |",
            event.at,
            human(after),
            esc(&event.to_string())
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[test]
    fn a_healed_incident_is_told_from_symptom_to_verdict() {
        let report = incident_report_markdown(&fixture::healed(1, 0)).unwrap();
        for expected in [
            "- orders/0 (sustained): up = 0, expected 1",
            "a verified run healed it",
            "| time to detect | 20.0 s |",
            "| run took | 10.0 s |",
            "| found to closed | 50.0 s |",
            r"process\_down of orders/0 \(90.0 %\).",
            r"  - series process\_up at 1970-01-01T00:00:25Z: process\_up fell to 0",
            "\n1. cause: orders/0: the process ended \\(90.0 %\\)\n   - series process\\_up: ",
            "1. restart orders on orders/0 (playbooks, playbook restart-1 1.0.0",
            r"| Policy | Pass | SEV2 \| small radius |",
            r"| restart it | done | 1 | no |",
            "success on run-",
            "- passed: up == 1 (held 3 of 3 times)",
            "| 1970-01-01T00:01:10Z | 50.0 s | closed, healed by",
        ] {
            assert!(
                report.contains(expected),
                "{expected:?} is not in\n{report}"
            );
        }
    }

    #[test]
    fn what_did_not_happen_is_said() {
        let report = incident_report_markdown(&fixture::open(1, 0)).unwrap();
        for expected in [
            "it is still open",
            "| time to detect | not known |",
            "| closed | still open |",
            "Not diagnosed.",
            "Not asked.",
            "Nothing was executed.",
            "None was given.",
        ] {
            assert!(
                report.contains(expected),
                "{expected:?} is not in\n{report}"
            );
        }
        let report = incident_report_markdown(&fixture::taken_back(1, 0)).unwrap();
        assert!(report.contains("people were called"), "{report}");
        assert!(
            report.contains("| restart it | done | 1 | done |"),
            "{report}"
        );
    }

    #[test]
    fn text_from_outside_cannot_become_markup() {
        let evil = "x\n\n# Owned | <script>alert(1)</script> [a](b)";
        let report = incident_report_markdown(&fixture::healed_saying(1, 0, evil)).unwrap();
        assert!(
            !report.contains("<script>") && !report.contains("\n# Owned"),
            "{report}"
        );
        assert!(!report.contains("[a](b)"), "{report}");
        let rows = report
            .lines()
            .skip_while(|line| *line != "## Timeline")
            .skip(2);
        for row in rows {
            let bars = row.replace("\\|", "").matches('|').count();
            assert_eq!(bars, 4, "{row}");
        }
    }
}
