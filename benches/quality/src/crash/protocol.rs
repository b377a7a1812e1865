//! What a child tells its parent: one JSON object per line on standard output.

use std::io::Write;

use homeostasis::core::record::{HealEvent, StepPhase};
use homeostasis::core::{Digest, IdempotencyKey, IncidentId};
use serde::{Deserialize, Serialize};

use super::stage::Stage;

/// One line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "line", rename_all = "snake_case")]
pub(crate) enum Line {
    /// The process runs; the journal is not open yet.
    Starting,
    /// The journal is open; recovery begins.
    Opened,
    /// The healer runs.
    Recovered,
    /// A commit begins.
    Trying { incident: IncidentId },
    /// The store acknowledged an event.
    Durable(Ack),
    /// An effect is in the world; its outcome is not in the journal.
    Effect { key: String, phase: StepPhase },
    /// Nobody is ill and nothing is open.
    Idle,
}

impl Line {
    pub(crate) fn effect(key: &IdempotencyKey, phase: StepPhase) -> Self {
        Self::Effect {
            key: key.to_string(),
            phase,
        }
    }
}

/// An event the store said is durable.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Ack {
    pub(crate) incident: IncidentId,
    pub(crate) seq: u64,
    /// The event's tag, for people.
    pub(crate) event: String,
    /// What exactly was acknowledged.
    pub(crate) digest: Digest,
    /// Where the incident stands after it; `None` if nobody works on it any more.
    pub(crate) stage: Option<Stage>,
}

impl Ack {
    pub(crate) fn of(event: &HealEvent, stage: Option<Stage>) -> Self {
        Self {
            incident: event.incident,
            seq: event.seq,
            event: event.kind.name().to_owned(),
            digest: Digest::of(event),
            stage,
        }
    }
}

/// Says `lines` in one write. A child whose parent no longer listens has no reason to live.
pub(crate) fn say(lines: &[Line]) {
    let mut text = String::new();
    for line in lines {
        match serde_json::to_string(line) {
            Ok(json) => text.push_str(&json),
            Err(_) => std::process::exit(4),
        }
        text.push('\n');
    }
    let mut out = std::io::stdout().lock();
    if out
        .write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .is_err()
    {
        std::process::exit(4);
    }
}
