//! Candidates: what was weighed when plans were made, the chosen and the passed over.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// Whether a candidate became a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Standing {
    /// It became the plan that is tried first.
    Chosen,
    /// It became a plan that is tried later, if at all.
    AlsoRan,
    /// Something it needs does not hold; it is no plan.
    PassedOver,
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Chosen => "chosen",
            Self::AlsoRan => "also ran",
            Self::PassedOver => "passed over",
        })
    }
}

/// Something that was weighed as a remedy for one incident.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Candidate {
    /// What: the id of a playbook.
    pub name: String,
    /// What became of it.
    pub standing: Standing,
    /// How well it fits, `0..=1`; 0 if it was passed over.
    pub score: f64,
    /// What the score is made of, each part with its share of it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parts: BTreeMap<String, f64>,
    /// Why it stands where it does, in words.
    pub why: String,
}

impl Candidate {
    /// One that was passed over.
    pub fn passed_over(name: impl Into<String>, why: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            standing: Standing::PassedOver,
            score: 0.0,
            parts: BTreeMap::new(),
            why: why.into(),
        }
    }

    /// One that became a plan of this score; which of them is chosen is seen when all are known.
    pub fn weighed(name: impl Into<String>, score: f64, why: impl Into<String>) -> Self {
        Self {
            standing: Standing::AlsoRan,
            score,
            ..Self::passed_over(name, why)
        }
    }

    /// The same with the parts of its score.
    pub fn made_of(mut self, parts: impl IntoIterator<Item = (&'static str, f64)>) -> Self {
        self.parts = parts
            .into_iter()
            .map(|(name, share)| (name.to_owned(), share))
            .collect();
        self
    }
}

impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.standing)?;
        if self.standing != Standing::PassedOver {
            write!(f, " with {:.3}", self.score)?;
        }
        write!(f, ": {}", self.why)
    }
}
