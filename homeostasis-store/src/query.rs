//! Reads, each in a snapshot of its own.

use homeostasis_core::port::{ClosedIncident, Document, StoreError, Version};
use homeostasis_core::record::HealEvent;
use homeostasis_core::{IncidentId, Timestamp};
use redb::{Database, ReadTransaction, ReadableDatabase, ReadableTable};

use crate::apply::{event_name, measure};
use crate::failure::Failure;
use crate::table::{DOCUMENTS, EVENTS, HEADS, HITS, OPEN, SIZES, TIMES};

/// A snapshot, and the name of its file for errors.
pub(crate) struct Snapshot {
    txn: ReadTransaction,
    path: String,
}

impl Snapshot {
    pub(crate) fn new(db: &Database, path: &str) -> Result<Self, Failure> {
        Ok(Self {
            txn: db.begin_read()?,
            path: path.to_owned(),
        })
    }

    pub(crate) fn events(&self, incident: IncidentId) -> Result<Vec<HealEvent>, Failure> {
        let bits = incident.as_u128();
        let head = self.txn.open_table(HEADS)?.get(bits)?;
        let n_events = head.map_or(0, |head| head.value().0);
        let table = self.txn.open_table(EVENTS)?;
        let mut events = Vec::new();
        for entry in table.range((bits, 0)..=(bits, u64::MAX))? {
            let (key, value) = entry?;
            let seq = key.value().1;
            if seq != events.len() as u64 {
                return Err(self.missing(incident, events.len() as u64));
            }
            events.push(self.decode(incident, seq, value.value().1)?);
        }
        if events.len() as u64 == n_events {
            Ok(events)
        } else {
            Err(self.missing(incident, events.len() as u64))
        }
    }

    pub(crate) fn events_by_time(
        &self,
        from: Timestamp,
        to: Timestamp,
        limit: usize,
    ) -> Result<Vec<HealEvent>, Failure> {
        if from > to {
            return Ok(Vec::new());
        }
        let times = self.txn.open_table(TIMES)?;
        let table = self.txn.open_table(EVENTS)?;
        let first = (from.as_nanos(), 0, 0);
        let last = (to.as_nanos(), u128::MAX, u64::MAX);
        let mut events = Vec::new();
        for entry in times.range(first..=last)?.take(limit) {
            let (_, bits, seq) = entry?.0.value();
            let incident = IncidentId::from_u128(bits);
            let Some(event) = table.get((bits, seq))? else {
                return Err(self.missing(incident, seq));
            };
            events.push(self.decode(incident, seq, event.value().1)?);
        }
        Ok(events)
    }

    pub(crate) fn open_incidents(&self) -> Result<Vec<IncidentId>, Failure> {
        let mut incidents = Vec::new();
        for entry in self.txn.open_table(OPEN)?.iter()? {
            incidents.push(IncidentId::from_u128(entry?.0.value()));
        }
        Ok(incidents)
    }

    pub(crate) fn incidents(&self, limit: usize) -> Result<Vec<IncidentId>, Failure> {
        let mut incidents = Vec::new();
        for entry in self.txn.open_table(HEADS)?.iter()?.rev().take(limit) {
            incidents.push(IncidentId::from_u128(entry?.0.value()));
        }
        Ok(incidents)
    }

    /// By the time of closing; and those among them whose size was not noted.
    pub(crate) fn closed_incidents(
        &self,
    ) -> Result<(Vec<ClosedIncident>, Vec<ClosedIncident>), Failure> {
        let sizes = match self.txn.open_table(SIZES) {
            Ok(sizes) => Some(sizes),
            // Nothing was written since an earlier version did.
            Err(redb::TableError::TableDoesNotExist(_)) => None,
            Err(error) => return Err(error.into()),
        };
        let events = self.txn.open_table(EVENTS)?;
        let (mut incidents, mut measured) = (Vec::new(), Vec::new());
        for entry in self.txn.open_table(HEADS)?.iter()? {
            let (incident, head) = entry?;
            let (bits, (n_events, last_at, closed)) = (incident.value(), head.value());
            if !closed {
                continue;
            }
            let known = match &sizes {
                Some(sizes) => sizes.get(bits)?.map(|size| size.value()),
                None => None,
            };
            let closed = ClosedIncident {
                id: IncidentId::from_u128(bits),
                version: Version(n_events),
                closed_at: Timestamp::from_nanos(last_at),
                bytes: match known {
                    Some(bytes) => bytes,
                    None => measure(&events, bits)?,
                },
            };
            incidents.push(closed);
            if known.is_none() {
                measured.push(closed);
            }
        }
        incidents.sort_by_key(|incident| (incident.closed_at, incident.id));
        Ok((incidents, measured))
    }

    pub(crate) fn hits(&self, key: &str, since: Timestamp) -> Result<u64, Failure> {
        let table = self.txn.open_table(HITS)?;
        let mut n = 0;
        for entry in table.range((key, since.as_nanos(), 0)..=(key, i64::MAX, u64::MAX))? {
            entry?;
            n += 1;
        }
        Ok(n)
    }

    pub(crate) fn last_hit(&self, key: &str) -> Result<Option<Timestamp>, Failure> {
        let table = self.txn.open_table(HITS)?;
        let last = table
            .range((key, i64::MIN, 0)..=(key, i64::MAX, u64::MAX))?
            .next_back()
            .transpose()?;
        Ok(last.map(|(key, _)| Timestamp::from_nanos(key.value().1)))
    }

    pub(crate) fn document(&self, key: &str) -> Result<Option<Document>, Failure> {
        let Some(found) = self.txn.open_table(DOCUMENTS)?.get(key)? else {
            return Ok(None);
        };
        self.read_document(key, found.value()).map(Some)
    }

    /// Those whose keys begin with `prefix`, by key.
    pub(crate) fn documents(
        &self,
        prefix: &str,
        limit: usize,
    ) -> Result<Vec<(String, Document)>, Failure> {
        let mut documents = Vec::new();
        for entry in self.txn.open_table(DOCUMENTS)?.range(prefix..)?.take(limit) {
            let (key, found) = entry?;
            let key = key.value();
            if !key.starts_with(prefix) {
                break;
            }
            documents.push((key.to_owned(), self.read_document(key, found.value())?));
        }
        Ok(documents)
    }

    fn read_document(&self, key: &str, (version, json): (u64, &[u8])) -> Result<Document, Failure> {
        match serde_json::from_slice(json) {
            Ok(value) => Ok(Document {
                version: Version(version),
                value,
            }),
            Err(error) => Err(self.corrupt(format!("document {key:?}"), Some(error))),
        }
    }

    fn decode(&self, incident: IncidentId, seq: u64, json: &[u8]) -> Result<HealEvent, Failure> {
        match serde_json::from_slice::<HealEvent>(json) {
            Ok(event) if event.incident == incident && event.seq == seq => Ok(event),
            Ok(event) => {
                let other = event_name(event.incident, event.seq);
                let place = format!("{}: it holds {other}", event_name(incident, seq));
                Err(self.corrupt(place, None))
            }
            Err(error) => Err(self.corrupt(event_name(incident, seq), Some(error))),
        }
    }

    fn missing(&self, incident: IncidentId, seq: u64) -> Failure {
        let place = format!("{}: it is missing", event_name(incident, seq));
        self.corrupt(place, None)
    }

    fn corrupt(&self, place: String, cause: Option<serde_json::Error>) -> Failure {
        Failure::Refused(StoreError::Corrupt {
            path: self.path.clone(),
            place,
            source: cause.map(Into::into),
        })
    }
}
