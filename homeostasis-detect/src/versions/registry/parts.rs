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
const VERSION: u32 = 1003;
/// A kept model is in parts of so many bytes.
const KEPT_BYTES: usize = 256 * 1024;
/// No model has more of them.
const MAX_PARTS: usize = 100_000;

/// What is known of the versions, beside their models.
#[derive(Debug, Default, Serialize, Deserialize)]
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
    Serving {
        model: ModelSnapshot,
        is_last: bool,
    },
    Candidate {
        standing: CandidateStanding,
        model: ModelSnapshot,
        is_last: bool,
    },
    Kept {
        version: ModelVersion,
        model: ModelSnapshot,
        is_last: bool,
    },
}

/// What parts brought that is not whole yet, so that a prefix of them is a state that could have been: the model that
/// serves has no version before it is whole, and a candidate is none before.
#[derive(Debug)]
pub(super) struct Incoming<D> {
    known: Option<Known>,
    candidate: Option<Candidate<D>>,
    kept: Vec<ModelSnapshot>,
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
    /// So many kept ones were given, and so many parts of the next.
    Kept(usize, usize),
}

/// The model of a detector between two calls, in parts.
pub(super) fn whole(detector: &impl Detector) -> Option<Vec<ModelSnapshot>> {
    let (mut parts, mut from) = (Vec::new(), None);
    while parts.len() < MAX_PARTS {
        let part = detector.snapshot_part(from.as_ref(), KEPT_BYTES)?;
        parts.push(part.snapshot);
        let Some(rest) = part.rest else {
            return Some(parts);
        };
        from = Some(rest.from);
    }
    None
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
            Section::Kept(n, nth) => {
                let (version, parts) = self.kept.iter().rev().nth(n)?;
                let piece = Piece::Kept {
                    version: version.clone(),
                    model: parts.get(nth)?.clone(),
                    is_last: nth + 1 == parts.len(),
                };
                return self.piece(&piece, self.after(place.section), None);
            }
        };
        let part = detector.snapshot_part(place.from.as_ref(), max_bytes)?;
        let (model, is_last) = (part.snapshot, part.rest.is_none());
        let piece = match candidate {
            None => Piece::Serving { model, is_last },
            Some(standing) => Piece::Candidate {
                standing: standing.clone(),
                model,
                is_last,
            },
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
            Section::Kept(n, nth) => {
                let (_, parts) = self.kept.iter().rev().nth(n)?;
                if nth + 1 < parts.len() {
                    return Some(Section::Kept(n, nth + 1));
                }
                n + 1
            }
        };
        (next < self.kept.len()).then_some(Section::Kept(next, 0))
    }

    /// How many models are left from this section on.
    fn n_left(&self, section: Section) -> usize {
        let n_candidates = usize::from(self.candidate.is_some());
        match section {
            Section::Serving => 1 + n_candidates + self.kept.len(),
            Section::Candidate => n_candidates + self.kept.len(),
            Section::Kept(n, _) => self.kept.len().saturating_sub(n),
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

    /// Takes up a part; the first one is what is known of the versions. If a model does not fit, it begins anew.
    pub(super) fn take_up(&mut self, part: &ModelSnapshot) -> Result<(), DetectError> {
        let piece = state::open(self.serving.name(), VERSION, part)?;
        if let Piece::Known(known) = piece {
            self.begin_anew();
            self.incoming = Some(Incoming {
                known: Some(known),
                candidate: None,
                kept: Vec::new(),
            });
            self.handle.publish(self.status());
            return Ok(());
        }
        let what = "a part of a model that has versions";
        let Some(mut incoming) = self.incoming.take() else {
            return state::require(false, what, "what is known of the versions before it");
        };
        let is_served = incoming.known.is_none();
        let in_order = is_served != matches!(piece, Piece::Serving { .. });
        let taken = state::require(in_order, what, "the whole model that serves, then others")
            .and_then(|()| self.take_piece(piece, &mut incoming));
        if taken.is_ok() {
            self.incoming = Some(incoming);
        } else {
            self.begin_anew();
        }
        self.handle.publish(self.status());
        taken
    }

    fn take_piece(&mut self, piece: Piece, incoming: &mut Incoming<D>) -> Result<(), DetectError> {
        match piece {
            Piece::Known(known) => incoming.known = Some(known),
            Piece::Serving { model, is_last } => {
                self.serving.restore_part(&model)?;
                if is_last && let Some(known) = incoming.known.take() {
                    self.remember(known);
                }
            }
            Piece::Candidate {
                standing,
                model,
                is_last,
            } => {
                let make = || Candidate {
                    detector: (self.make)(),
                    standing,
                };
                let candidate = incoming.candidate.get_or_insert_with(make);
                candidate.detector.restore_part(&model)?;
                if is_last {
                    self.candidate = incoming.candidate.take();
                }
            }
            Piece::Kept {
                version,
                model,
                is_last,
            } => {
                incoming.kept.push(model);
                let parts = is_last.then(|| std::mem::take(&mut incoming.kept));
                if let Some(parts) = parts.filter(|_| self.kept.len() < self.config.max_kept) {
                    self.kept.push_front((version, parts));
                }
            }
        }
        Ok(())
    }

    /// As if nothing had ever been learned.
    fn begin_anew(&mut self) {
        self.serving = (self.make)();
        (self.candidate, self.incoming) = (None, None);
        self.kept.clear();
        self.remember(Known::default());
    }
}
