//! A registry of versions in parts: what is known of the versions first, then the model that serves, the candidate, and
//! the kept ones, the newest first.

use std::collections::VecDeque;

use homeostasis_core::Timestamp;
use homeostasis_core::stage::{DetectError, Detector, ModelPart, ModelRest, ModelSnapshot};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Candidate, CandidateStanding, ModelEvent, ModelVersion, ModelVersions};
use crate::state;

/// The version of the shape of parts; another one than that of a snapshot of the whole.
const VERSION: u32 = 1001;

/// What is known of the versions, beside their models.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Known {
    serves: Option<ModelVersion>,
    events: VecDeque<ModelEvent>,
    n_events: u64,
    n_versions: u64,
    last_trained: Option<Timestamp>,
}

/// What is in a part.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Piece {
    Known(Known),
    Serving(ModelSnapshot),
    Candidate(CandidateStanding, ModelSnapshot),
    Kept(ModelVersion, ModelSnapshot),
}

/// Where a part begins.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Place {
    /// The versions that serve and learn, and the last event: if they change, the parts before are of another story.
    story: (Option<u64>, Option<u64>, u64),
    section: Section,
    /// Where in the model.
    from: Option<Value>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Section {
    Serving,
    Candidate,
    /// So many kept ones were given.
    Kept(usize),
}

impl<D: Detector> ModelVersions<D> {
    pub(super) fn known(&self) -> Known {
        Known {
            serves: self.serves.clone(),
            events: self.events.clone(),
            n_events: self.n_events,
            n_versions: self.n_versions,
            last_trained: self.last_trained,
        }
    }

    pub(super) fn remember(&mut self, known: Known) {
        self.serves = known.serves;
        self.events = known.events;
        self.n_events = known.n_events;
        self.n_versions = known.n_versions;
        self.last_trained = known.last_trained;
    }

    /// The part at `from`; nothing if versions have come or gone since the first part.
    pub(super) fn part(&self, from: Option<&Value>, max_bytes: usize) -> Option<ModelPart> {
        let Some(from) = from else {
            return self.piece(&Piece::Known(self.known()), Some(Section::Serving), None);
        };
        let place = Place::deserialize(from).ok()?;
        if place.story != self.story() {
            return None;
        }
        let (detector, candidate) = match place.section {
            Section::Serving => (&self.serving, None),
            Section::Candidate => {
                let candidate = self.candidate.as_ref()?;
                (&candidate.detector, Some(&candidate.standing))
            }
            Section::Kept(n) => {
                let (version, snapshot) = self.kept.iter().rev().nth(n)?.clone();
                let piece = Piece::Kept(version, snapshot);
                return self.piece(&piece, self.after(place.section), None);
            }
        };
        let part = detector.snapshot_part(place.from.as_ref(), max_bytes)?;
        let piece = match candidate {
            None => Piece::Serving(part.snapshot),
            Some(standing) => Piece::Candidate(standing.clone(), part.snapshot),
        };
        match part.rest {
            Some(rest) => self.piece(&piece, Some(place.section), Some(rest)),
            None => self.piece(&piece, self.after(place.section), None),
        }
    }

    fn after(&self, section: Section) -> Option<Section> {
        let next = match section {
            Section::Serving if self.candidate.is_some() => return Some(Section::Candidate),
            Section::Serving | Section::Candidate => 0,
            Section::Kept(n) => n + 1,
        };
        (next < self.kept.len()).then_some(Section::Kept(next))
    }

    /// How many models are left from this section on.
    fn n_left(&self, section: Section) -> usize {
        let n_candidates = usize::from(self.candidate.is_some());
        match section {
            Section::Serving => 1 + n_candidates + self.kept.len(),
            Section::Candidate => n_candidates + self.kept.len(),
            Section::Kept(n) => self.kept.len().saturating_sub(n),
        }
    }

    fn story(&self) -> (Option<u64>, Option<u64>, u64) {
        let candidate = self.candidate.as_ref();
        let candidate = candidate.map(|candidate| candidate.standing.version.id);
        let serves = self.serves.as_ref().map(|version| version.id);
        (serves, candidate, self.n_events)
    }

    /// A part before `next`, of which `rest` is left.
    fn piece(
        &self,
        piece: &Piece,
        next: Option<Section>,
        rest: Option<ModelRest>,
    ) -> Option<ModelPart> {
        let next = match next {
            None => None,
            Some(section) => {
                let n_more = rest
                    .as_ref()
                    .map_or(0, |rest| rest.n_left.saturating_sub(1));
                let place = Place {
                    story: self.story(),
                    section,
                    from: rest.map(|rest| rest.from),
                };
                Some(ModelRest {
                    from: state::save(&place)?,
                    n_left: self.n_left(section) + n_more,
                })
            }
        };
        Some(ModelPart {
            snapshot: ModelSnapshot {
                detector: self.name().to_owned(),
                version: VERSION,
                state: state::save(piece)?,
            },
            rest: next,
        })
    }

    /// Takes up a part; the first one is what is known of the versions.
    pub(super) fn take_up(&mut self, part: &ModelSnapshot) -> Result<(), DetectError> {
        match state::open(self.serving.name(), VERSION, part)? {
            Piece::Known(known) => {
                self.serving = (self.make)();
                self.candidate = None;
                self.kept.clear();
                self.remember(known);
            }
            Piece::Serving(snapshot) => self.serving.restore_part(&snapshot)?,
            Piece::Candidate(standing, snapshot) => {
                let make = || Candidate {
                    detector: (self.make)(),
                    standing,
                };
                let candidate = self.candidate.get_or_insert_with(make);
                candidate.detector.restore_part(&snapshot)?;
            }
            Piece::Kept(version, snapshot) => {
                if self.kept.len() < self.config.max_kept {
                    self.kept.push_front((version, snapshot));
                }
            }
        }
        self.handle.publish(self.status());
        Ok(())
    }
}
