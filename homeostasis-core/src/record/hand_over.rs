//! Handing a step over to people, and taking it back from them.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::id::{IncidentId, RunId};

/// What a person says about a step of which nobody could tell whether it happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum HandOverAnswer {
    /// It did not happen: do it, with the same key, and go on. Refused if the run was cancelled.
    Resume,
    /// It did not happen and is not needed: go on with the next step.
    Skip,
    /// It happened: go on with the next step; an undo takes it back like any other.
    MarkDone,
    /// Stop here and take back what can be taken back.
    Abort,
}

impl fmt::Display for HandOverAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Resume => "resume",
            Self::Skip => "skip",
            Self::MarkDone => "mark done",
            Self::Abort => "abort",
        })
    }
}

/// A question that waits for a person.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HandOver {
    /// Of which incident.
    pub incident: IncidentId,
    /// Of which run.
    pub run: RunId,
    /// Which step, from 0.
    pub step_idx: usize,
    /// Which question of this run, from 0; the answer must name it.
    pub question: u32,
    /// Why nobody can tell whether it happened.
    pub reason: String,
}

/// An answer that was given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct AnsweredHandOver {
    /// About which step, from 0.
    pub step_idx: usize,
    /// What.
    pub answer: HandOverAnswer,
    /// By whom.
    pub by: String,
    /// Why.
    pub reason: String,
    /// What was captured before the step was first tried: if it is done now, this is what an undo
    /// puts back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub captured: Option<Value>,
}

/// Who stopped a run, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RunCancellation {
    /// Who.
    pub by: String,
    /// Why.
    pub reason: String,
}

impl RunCancellation {
    pub(crate) fn new(by: &str, reason: &str) -> Self {
        Self {
            by: by.to_owned(),
            reason: reason.to_owned(),
        }
    }
}

impl AnsweredHandOver {
    pub(crate) fn new(step_idx: usize, answer: HandOverAnswer, by: &str, reason: &str) -> Self {
        Self {
            step_idx,
            answer,
            by: by.to_owned(),
            reason: reason.to_owned(),
            captured: None,
        }
    }
}
