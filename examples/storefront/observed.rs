//! What the healer did, read from its event file: the conductor knows nothing else about it.
//!
//! The one place that knows the shape of the healer's events. A line is a JSON object with
//! `incident`, `at` (RFC 3339) and `kind`; what else is in it depends on the kind, see [`apply`].

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use crate::BoxError;

/// One line of the event file.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Event {
    pub(crate) incident: String,
    #[serde(deserialize_with = "rfc3339")]
    pub(crate) at: Timestamp,
    pub(crate) kind: String,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

impl Event {
    /// What this event says in `field`, if it is text.
    pub(crate) fn text(&self, field: &str) -> Option<String> {
        self.rest.get(field)?.as_str().map(str::to_owned)
    }

    /// One line for the person who watches.
    pub(crate) fn describe(&self) -> String {
        let details = ["service", "cause", "action", "verdict", "reason"]
            .into_iter()
            .filter_map(|field| self.text(field))
            .collect::<Vec<_>>()
            .join(", ");
        let separator = if details.is_empty() { "" } else { ": " };
        format!("{} {}{separator}{details}", self.incident, self.kind)
    }
}

fn rfc3339<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(serde::de::Error::custom)
}

/// Who is to blame, and for what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RootCause {
    pub(crate) service: String,
    pub(crate) cause: String,
}

impl std::fmt::Display for RootCause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.service, self.cause)
    }
}

/// An incident as far as it is known.
#[derive(Debug, Clone)]
pub(crate) struct Incident {
    pub(crate) id: String,
    pub(crate) detected_at: Timestamp,
    pub(crate) root_cause: Option<RootCause>,
    /// In the order they were begun.
    pub(crate) actions: Vec<String>,
    pub(crate) verdict: Option<String>,
    pub(crate) closed: bool,
    pub(crate) events: Vec<Event>,
}

impl Incident {
    /// Has it begun to act and not yet reached an end?
    pub(crate) fn is_acting(&self) -> bool {
        !self.actions.is_empty() && self.verdict.is_none() && !self.closed
    }

    /// Is nothing done about it any more: closed, or taken back?
    pub(crate) fn has_ended(&self) -> bool {
        self.closed || self.first("undo_ended").is_some()
    }

    /// When an event of this kind came first.
    pub(crate) fn first(&self, kind: &str) -> Option<Timestamp> {
        let mut events = self.events.iter();
        events
            .find(|event| event.kind == kind)
            .map(|event| event.at)
    }
}

/// Reads the event file as it grows.
#[derive(Debug)]
pub(crate) struct Observer {
    path: PathBuf,
    offset: u64,
    incidents: BTreeMap<String, Incident>,
}

impl Observer {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self {
            path,
            offset: 0,
            incidents: BTreeMap::new(),
        }
    }

    /// Reads what was added; a line still being written waits for the next time.
    pub(crate) fn refresh(&mut self) -> Result<Vec<Event>, BoxError> {
        let mut file = match File::open(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            opened => opened?,
        };
        file.seek(SeekFrom::Start(self.offset))?;
        let mut added = Vec::new();
        file.read_to_end(&mut added)?;
        let mut events = Vec::new();
        for line in added.split_inclusive(|byte| *byte == b'\n') {
            if !line.ends_with(b"\n") {
                break;
            }
            let event: Event = serde_json::from_slice(line).map_err(|error| {
                format!("{} at byte {}: {error}", self.path.display(), self.offset)
            })?;
            self.offset += line.len() as u64;
            self.apply(event.clone());
            events.push(event);
        }
        Ok(events)
    }

    fn apply(&mut self, event: Event) {
        let incident = self
            .incidents
            .entry(event.incident.clone())
            .or_insert_with(|| Incident {
                id: event.incident.clone(),
                detected_at: event.at,
                root_cause: None,
                actions: Vec::new(),
                verdict: None,
                closed: false,
                events: Vec::new(),
            });
        match event.kind.as_str() {
            "diagnosed" => {
                if let (Some(service), Some(cause)) = (event.text("service"), event.text("cause")) {
                    incident.root_cause = Some(RootCause { service, cause });
                }
            }
            "step_started" => incident.actions.extend(event.text("action")),
            "verified" => incident.verdict = event.text("verdict"),
            "closed" => incident.closed = true,
            _ => {}
        }
        incident.events.push(event);
    }

    /// Incidents detected at or after an instant, oldest first.
    pub(crate) fn since(&self, at: Timestamp) -> Vec<&Incident> {
        let mut found: Vec<&Incident> = self
            .incidents
            .values()
            .filter(|incident| incident.detected_at >= at)
            .collect();
        found.sort_by_key(|incident| incident.detected_at);
        found
    }

    pub(crate) fn incident(&self, id: &str) -> Option<&Incident> {
        self.incidents.get(id)
    }

    pub(crate) fn has_open_incident(&self) -> bool {
        self.incidents.values().any(|incident| !incident.closed)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_half_written_line_waits_and_incidents_add_up() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.jsonl");
        let mut observer = Observer::new(path.clone());
        assert!(observer.refresh().unwrap().is_empty());

        let mut file = File::create(&path).unwrap();
        file.write_all(
            b"{\"incident\":\"i1\",\"at\":\"2025-01-01T00:00:01Z\",\"kind\":\"detected\"}\n\
              {\"incident\":\"i1\",\"at\":\"2025-01-01T00:00:02Z\",\"kind\":\"diagnosed\",\
               \"service\":\"orders\",\"cause\":\"process_exit\"}\n\
              {\"incident\":\"i1\",\"at\":\"2025-01-01T00:00:03Z\",\"kind\":\"step_st",
        )
        .unwrap();
        assert_eq!(observer.refresh().unwrap().len(), 2);
        file.write_all(b"arted\",\"action\":\"restart orders\"}\n")
            .unwrap();
        let events = observer.refresh().unwrap();
        assert_eq!(events[0].describe(), "i1 step_started: restart orders");

        let incidents = observer.since(Timestamp::UNIX_EPOCH);
        let root_cause = incidents[0].root_cause.as_ref().unwrap();
        assert_eq!(root_cause.to_string(), "orders: process_exit");
        assert!(incidents[0].is_acting() && observer.has_open_incident());

        file.write_all(b"not json\n").unwrap();
        let refused = observer.refresh().unwrap_err().to_string();
        assert!(refused.contains("events.jsonl at byte"), "{refused}");
    }
}
