//! Messages: what people read, derived from the event that is the reason for it.

use std::collections::BTreeSet;

use crate::cycle::Incident;
use crate::port::{Notification, NotificationKind, Redactor};
use crate::record::{EventKind, HealEvent, Resolution};

/// The messages that `event` asks for, each with the name of its channel; a channel that is named
/// twice gets one.
///
/// `after` is the incident with the event. Keys follow from what happened, so that the same event
/// makes the same messages in every life. Texts pass `redactor`.
pub fn escalation_messages(
    event: &HealEvent,
    after: &Incident,
    redactor: &dyn Redactor,
) -> Vec<(String, Notification)> {
    let reached = &after.escalation.channels;
    let (kind, what, reason, channels, to) = match &event.kind {
        EventKind::Notified {
            level,
            round,
            channels,
            to,
            reason,
        } => {
            let what = format!("level{level}.{round}");
            let channels: BTreeSet<&String> = channels.iter().collect();
            (
                NotificationKind::Call,
                what,
                reason.clone(),
                channels,
                &to[..],
            )
        }
        // Who was called before hears that the healer has given up.
        EventKind::Escalated { reason } => {
            // Only an answer brings it back from people: what is handed over after one is news.
            let answers: usize = after.runs.iter().map(|run| run.answers.len()).sum();
            let what = format!("escalated.{answers}");
            let channels = reached.iter().collect();
            (
                NotificationKind::Call,
                what,
                reason.clone(),
                channels,
                &[][..],
            )
        }
        EventKind::Acknowledged { by, note } => {
            let reason = match note.as_str() {
                "" => format!("acknowledged by {by}"),
                note => format!("acknowledged by {by}: {note}"),
            };
            let channels = reached.iter().collect();
            let kind = NotificationKind::Acknowledged;
            (kind, "acknowledged".to_owned(), reason, channels, &[][..])
        }
        EventKind::Closed { resolution } => {
            let reason = match resolution {
                Resolution::Healed { .. } => "healed".to_owned(),
                Resolution::Recovered => "recovered by itself".to_owned(),
                Resolution::Manual { by, note } => format!("closed by {by}: {note}"),
            };
            let channels = reached.iter().collect();
            let kind = NotificationKind::Resolved;
            (kind, "closed".to_owned(), reason, channels, &[][..])
        }
        _ => return Vec::new(),
    };
    if channels.is_empty() {
        return Vec::new();
    }
    let (title, body) = texts(after, &reason);
    let (title, body) = (redactor.text(&title), redactor.text(&body));
    let (id, severity) = (after.id, after.severity);
    let mut message = Notification::new(id, severity, event.at, title, body);
    message.kind = kind;
    message.to = to.to_vec();
    message.key = format!("{id}/{what}");
    let to_each = |channel: &String| (channel.clone(), message.clone());
    channels.into_iter().map(to_each).collect()
}

fn texts(incident: &Incident, reason: &str) -> (String, String) {
    let first = &incident.anomalies[0];
    let title = format!("{} {}: {reason}", incident.severity, first.target);
    let diagnosis = incident.diagnosis.as_ref();
    let cause = diagnosis.map_or_else(|| "not diagnosed".to_owned(), ToString::to_string);
    let plans: Vec<_> = incident
        .plans
        .iter()
        .map(|plan| plan.title.as_str())
        .collect();
    let mut body = format!("{first}\n{cause}\nplans: {}", plans.join(", "));
    if let Some(acknowledged) = &incident.escalation.acknowledged {
        body.push_str("\nacknowledged by ");
        body.push_str(&acknowledged.by);
    }
    (title, body)
}
