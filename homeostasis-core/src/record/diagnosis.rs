//! Diagnosis: findings, the hypotheses they add up to, and honest abstention.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::record::CausalChain;
use crate::record::bounds::{at_most, finite, short};
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

impl Category {
    /// Its name in configurations and flags: `resource_exhaustion`.
    pub fn key(self) -> &'static str {
        match self {
            Self::ResourceExhaustion => "resource_exhaustion",
            Self::Network => "network",
            Self::ApplicationError => "application_error",
            Self::Configuration => "configuration",
            Self::DependencyFailure => "dependency_failure",
            Self::DataValidation => "data_validation",
            Self::Concurrency => "concurrency",
            Self::Security => "security",
            Self::Unknown => "unknown",
        }
    }
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

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.kind, self.reference, self.statement)
    }
}

impl Proof {
    pub(super) fn violation(&self) -> Option<String> {
        short("a kind of proof", &self.kind)
            .or_else(|| short("a proof's reference", &self.reference))
            .or_else(|| short("a proof's statement", &self.statement))
    }
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

    /// Proofs a finding may rest on.
    pub const MAX_PROOFS: usize = 64;

    /// The post-conditions the engine checks of what an analyzer returns, as a sentence if broken.
    ///
    /// A cause is named and proven, the ratio is finite, there are at most
    /// [`MAX_PROOFS`](Self::MAX_PROOFS) proofs, and each text has at most 4096 characters.
    pub fn violation(&self) -> Option<String> {
        if let Some(broken) = finite("log likelihood ratio", self.log_likelihood_ratio) {
            return Some(broken);
        }
        if self.role == Role::Cause && self.proofs.is_empty() {
            return Some(format!("cause {:?} without a proof", self.cause));
        }
        if self.cause.is_empty() {
            return Some("a finding that names no cause".to_owned());
        }
        at_most("proofs", self.proofs.len(), Self::MAX_PROOFS)
            .or_else(|| short("a cause", &self.cause))
            .or_else(|| short("an explanation", &self.explanation))
            .or_else(|| self.proofs.iter().find_map(Proof::violation))
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

impl Hypothesis {
    fn violation(&self) -> Option<String> {
        if self.cause.is_empty() {
            return Some("it names no cause".to_owned());
        }
        at_most("findings", self.evidence.len(), Diagnosis::MAX_EVIDENCE)
            .or_else(|| short("a cause", &self.cause))
            .or_else(|| short("an explanation", &self.explanation))
            .or_else(|| self.evidence.iter().find_map(Finding::violation))
    }
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
    /// How the root cause led to what was violated, if a fuser says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chain: Option<CausalChain>,
}

impl Diagnosis {
    /// No cause is named, because of `reason`.
    pub fn abstain(reason: impl Into<String>) -> Self {
        Self {
            hypotheses: Vec::new(),
            abstained: Some(reason.into()),
            chain: None,
        }
    }

    /// Hypotheses a diagnosis may have.
    pub const MAX_HYPOTHESES: usize = 64;

    /// Findings one hypothesis may rest on.
    pub const MAX_EVIDENCE: usize = 1024;

    /// The post-conditions the engine checks of what a fuser returns, as a sentence if broken.
    ///
    /// At most [`MAX_HYPOTHESES`](Self::MAX_HYPOTHESES) hypotheses, each naming its cause and
    /// resting on at most [`MAX_EVIDENCE`](Self::MAX_EVIDENCE) findings that keep
    /// [theirs](Finding::violation); each text has at most 4096 characters; without a hypothesis
    /// there is an abstention; a chain begins at the root cause and keeps
    /// [its rules](CausalChain::violation).
    pub fn violation(&self) -> Option<String> {
        if self.hypotheses.is_empty() && self.abstained.is_none() {
            return Some("a diagnosis without a hypothesis or an abstention".to_owned());
        }
        at_most("hypotheses", self.hypotheses.len(), Self::MAX_HYPOTHESES)
            .or_else(|| short("an abstention", self.abstained.as_deref()?))
            .or_else(|| {
                let mut ranked = self.hypotheses.iter().enumerate();
                ranked.find_map(|(idx, hypothesis)| {
                    let broken = hypothesis.violation()?;
                    Some(format!("hypothesis {}: {broken}", idx + 1))
                })
            })
            .or_else(|| self.chain_violation())
    }

    /// The best hypothesis, unless it abstained.
    pub fn root_cause(&self) -> Option<&Hypothesis> {
        if self.abstained.is_some() {
            None
        } else {
            self.hypotheses.first()
        }
    }

    /// The root cause, or why none is named, in one line.
    pub fn headline(&self) -> String {
        match (self.root_cause(), &self.abstained) {
            (Some(cause), _) => cause.to_string(),
            (None, Some(reason)) => format!("no root cause named: {reason}"),
            (None, None) => "no root cause named".to_owned(),
        }
    }
}

impl fmt::Display for Diagnosis {
    /// The [headline](Self::headline), and below it the chain, if there is one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.headline())?;
        match &self.chain {
            Some(chain) => write!(f, "\n{chain}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding() -> Finding {
        let target = Target::service("orders").unwrap();
        let category = Category::ApplicationError;
        Finding::new("test", target, "illness", category, Role::Cause, 2.0).proven_by(Proof {
            kind: "series".to_owned(),
            reference: "up".to_owned(),
            at: None,
            statement: "up = 0".to_owned(),
        })
    }

    fn hypothesis() -> Hypothesis {
        Hypothesis {
            target: Target::service("orders").unwrap(),
            cause: "illness".to_owned(),
            category: Category::ApplicationError,
            confidence: Confidence::ONE,
            evidence: vec![finding()],
            explanation: String::new(),
        }
    }

    fn diagnosis(hypotheses: Vec<Hypothesis>) -> Diagnosis {
        Diagnosis {
            hypotheses,
            abstained: None,
            chain: None,
        }
    }

    #[test]
    fn a_finding_is_finite_and_bounded() {
        assert_eq!(finding().violation(), None);
        let mut endless = finding();
        endless.log_likelihood_ratio = f64::INFINITY;
        assert!(endless.violation().unwrap().contains("= inf"));
        let mut proven = finding();
        proven.proofs = vec![proven.proofs[0].clone(); 65];
        assert_eq!(
            proven.violation().unwrap(),
            "65 proofs, expected at most 64"
        );
        let mut told = finding();
        told.proofs[0].statement = "x".repeat(4097);
        assert_eq!(
            told.violation().unwrap(),
            "a proof's statement of 4097 characters, expected at most 4096"
        );
        let long = finding().saying("x".repeat(4097));
        assert!(long.violation().unwrap().starts_with("an explanation"));
    }

    #[test]
    fn a_diagnosis_keeps_the_bounds_of_everything_in_it() {
        assert_eq!(diagnosis(vec![hypothesis(); 64]).violation(), None);
        assert_eq!(Diagnosis::abstain("no data").violation(), None);
        assert!(Diagnosis::default().violation().is_some());
        assert_eq!(
            diagnosis(vec![hypothesis(); 65]).violation().unwrap(),
            "65 hypotheses, expected at most 64"
        );
        let mut second = hypothesis();
        second.evidence[0].proofs.clear();
        assert_eq!(
            diagnosis(vec![hypothesis(), second]).violation().unwrap(),
            "hypothesis 2: cause \"illness\" without a proof"
        );
    }
}
