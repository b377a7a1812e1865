//! What the healer does, written down for whoever watches from outside: one JSON object a line.
//!
//! The journal is the truth; this file is a view of it. Each event is in it exactly once, however
//! often the shop was killed: at the start it is compared with the journal and completed.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use homeostasis::Homeostasis;
use homeostasis::core::record::{Diagnosis, EventKind, HealEvent};
use serde_json::{Value, json};

use crate::BoxError;

/// How many incidents the file is completed with.
const INCIDENTS: usize = 1000;

/// Writes every event from the first one on; returns when the healer shuts down.
pub(super) async fn write(healer: &Homeostasis, path: &Path) -> Result<(), BoxError> {
    let mut events = healer.subscribe();
    let mut view = View::open(path)?;
    for incident in healer.incidents(INCIDENTS).await? {
        for event in healer.events_of(incident).await? {
            view.add(healer, &event).await?;
        }
    }
    while let Some(event) = events.next().await {
        view.add(healer, &event).await?;
    }
    Ok(())
}

struct View {
    file: File,
    /// The next event of each incident.
    next: BTreeMap<String, u64>,
}

impl View {
    /// Reads what is there; a line that was cut off by a kill is removed.
    fn open(path: &Path) -> Result<Self, BoxError> {
        let text = match fs::read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            read => read?,
        };
        let whole = text
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |end| end + 1);
        let mut next = BTreeMap::new();
        for line in text[..whole]
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
        {
            let line: Value = serde_json::from_slice(line)?;
            let incident = line["incident"]
                .as_str()
                .ok_or("a line without an incident")?;
            let seq = line["seq"].as_u64().ok_or("a line without a seq")?;
            next.insert(incident.to_owned(), seq + 1);
        }
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        file.set_len(whole as u64)?;
        Ok(Self { file, next })
    }

    async fn add(&mut self, healer: &Homeostasis, event: &HealEvent) -> Result<(), BoxError> {
        let incident = event.incident.to_string();
        if self.next.get(&incident).copied().unwrap_or(0) > event.seq {
            return Ok(());
        }
        let mut line = details(healer, event).await?;
        line["incident"] = json!(incident);
        line["seq"] = json!(event.seq);
        line["at"] = json!(event.at);
        let mut text = line.to_string();
        text.push('\n');
        self.file.write_all(text.as_bytes())?;
        self.next.insert(incident, event.seq + 1);
        Ok(())
    }
}

/// The kind of the event and what a person would ask about it.
async fn details(healer: &Homeostasis, event: &HealEvent) -> Result<Value, BoxError> {
    Ok(match &event.kind {
        EventKind::Opened { anomaly, score, .. }
        | EventKind::AnomalyJoined { anomaly, score, .. } => json!({
            "kind": "detected",
            "service": anomaly.target.service_name(),
            "reason": anomaly.explanation,
            "severity": score.map(|score| score.to_string()),
        }),
        EventKind::Diagnosed { diagnosis } => match diagnosis.root_cause() {
            Some(cause) => json!({
                "kind": "diagnosed",
                "service": cause.target.service_name(),
                "cause": cause.cause,
                "reason": cause.confidence.to_string(),
                "chain": diagnosis.chain.as_ref().map(ToString::to_string),
                "evidence": evidence(diagnosis),
            }),
            None => json!({
                "kind": "not_diagnosed",
                "reason": diagnosis.to_string(),
                "evidence": evidence(diagnosis),
            }),
        },
        EventKind::StepIntended { run, intent } => {
            let incident = healer.incident(event.incident).await?;
            let step = incident
                .run(*run)
                .and_then(|state| incident.plan(state.plan))
                .and_then(|plan| plan.steps.get(intent.step_idx));
            json!({
                "kind": if intent.attempt == 1 { "step_started" } else { "step_tried_again" },
                "action": step.map(|step| format!("{} {}", step.action, step.target)),
                "reason": step.map(|step| step.name.clone()),
            })
        }
        EventKind::Verified { verdict, .. } => json!({
            "kind": "verified",
            "verdict": verdict.kind.to_string(),
            "reason": verdict.reason,
        }),
        EventKind::Closed { .. } => json!({ "kind": "closed", "reason": event.to_string() }),
        other => json!({ "kind": other.name(), "reason": event.to_string() }),
    })
}

/// What the hypotheses rest on, one sentence each with its weight.
fn evidence(diagnosis: &Diagnosis) -> Vec<String> {
    let findings = diagnosis.hypotheses.iter().flat_map(|hypothesis| {
        hypothesis.evidence.iter().map(move |finding| {
            format!(
                "{hypothesis}: {} {:+.1} {}",
                finding.analyzer, finding.log_likelihood_ratio, finding.explanation
            )
        })
    });
    findings.collect()
}
