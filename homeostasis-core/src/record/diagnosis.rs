//! Diagnosis: findings, the hypotheses they add up to, and honest abstention.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::target::Target;
use crate::time::Timestamp;
use crate::unit::Confidence;

/// The family of causes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Category {
    /// Memory, CPU, disk, descriptors, connections ran out.
    ResourceExhaustion,
    /// Connectivity, latency of links, name resolution.
    Network,
    /// Crash, deadlock, defect.
    ApplicationError,
    /// A wrong setting or a bad deployment.
    Configuration,
    /// Something it depends on failed.
    DependencyFailure,
    /// Input that does not fit.
    DataValidation,
    /// Races, locks.
    Concurrency,
    /// An attack or a broken protection.
    Security,
    /// Nobody knows.
    Unknown,
}

impl fmt::Display for Category {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ResourceExhaustion => "resource exhaustion",
            Self::Network => "network",
            Self::ApplicationError => "application error",
            Self::Configuration => "configuration",
            Self::DependencyFailure => "dependency failure",
            Self::DataValidation => "data validation",
            Self::Concurrency => "concurrency",
            Self::Security => "security",
            Self::Unknown => "unknown",
        })
    }
}

/// Which part something plays in a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// It may be the cause.
    Cause,
    /// It is a consequence.
    Symptom,
    /// It makes causes more or less likely but is none by itself.
    Context,
}

/// A fact a finding rests on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Proof {
    /// The kind of fact: `series`, `log`, `change`, `health`, `rule` …
    pub kind: String,
    /// Which one, so that it can be found again.
    pub reference: String,
    /// When.
    pub at: Option<Timestamp>,
    /// What it says.
    pub statement: String,
}

/// One piece of evidence from one analyzer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Finding {
    /// Who says so.
    pub analyzer: String,
    /// About whom.
    pub target: Target,
    /// The kind of cause in the vocabulary of playbooks: `memory_leak`, `process_down` …
    pub cause: String,
    /// Its family.
    pub category: Category,
    /// What part it plays.
    pub role: Role,
    /// How much more likely the facts are if this is so than if it is not, as a natural logarithm;
    /// negative speaks against it.
    pub log_likelihood_ratio: f64,
    /// When it began, if the analyzer can tell.
    pub onset: Option<Timestamp>,
    /// What it rests on; never empty for a cause.
    pub proofs: Vec<Proof>,
    /// One sentence for people.
    pub explanation: String,
}

impl Finding {
    /// A finding without proofs yet.
    pub fn new(
        analyzer: impl Into<String>,
        target: Target,
        cause: impl Into<String>,
        category: Category,
        role: Role,
        log_likelihood_ratio: f64,
    ) -> Self {
        Self {
            analyzer: analyzer.into(),
            target,
            cause: cause.into(),
            category,
            role,
            log_likelihood_ratio,
            onset: None,
            proofs: Vec::new(),
            explanation: String::new(),
        }
    }

    /// The same with one proof more.
    pub fn proven_by(mut self, proof: Proof) -> Self {
        self.proofs.push(proof);
        self
    }

    /// The same with this sentence.
    pub fn saying(mut self, explanation: impl Into<String>) -> Self {
        self.explanation = explanation.into();
        self
    }

    /// The post-conditions the engine checks of what an analyzer returns, as a sentence if broken.
    pub fn violation(&self) -> Option<String> {
        if !self.log_likelihood_ratio.is_finite() {
            return Some(format!(
                "log likelihood ratio = {}, expected a finite number",
                self.log_likelihood_ratio
            ));
        }
        if self.role == Role::Cause && self.proofs.is_empty() {
            return Some(format!("cause {:?} without a proof", self.cause));
        }
        if self.cause.is_empty() {
            return Some("a finding that names no cause".to_owned());
        }
        None
    }
}

/// One possible root cause with what speaks for and against it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Hypothesis {
    /// Who is ill.
    pub target: Target,
    /// Of what.
    pub cause: String,
    /// The family.
    pub category: Category,
    /// How sure.
    pub confidence: Confidence,
    /// What it rests on, strongest first.
    pub evidence: Vec<Finding>,
    /// One sentence for people.
    pub explanation: String,
}

impl fmt::Display for Hypothesis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} ({})", self.cause, self.target, self.confidence)
    }
}

/// Why it happened, ranked; or why nobody can say.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Diagnosis {
    /// Best first; empty only with an abstention.
    pub hypotheses: Vec<Hypothesis>,
    /// Why no cause is named, if none is.
    pub abstained: Option<String>,
}

impl Diagnosis {
    /// No cause is named, because of `reason`.
    pub fn abstain(reason: impl Into<String>) -> Self {
        Self {
            hypotheses: Vec::new(),
            abstained: Some(reason.into()),
        }
    }

    /// The best hypothesis, unless it abstained.
    pub fn root_cause(&self) -> Option<&Hypothesis> {
        if self.abstained.is_some() {
            None
        } else {
            self.hypotheses.first()
        }
    }
}

impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.root_cause(), &self.abstained) {
            (Some(cause), _) => write!(f, "{cause}"),
            (None, Some(reason)) => write!(f, "no root cause named: {reason}"),
            (None, None) => f.write_str("no root cause named"),
        }
    }
}
