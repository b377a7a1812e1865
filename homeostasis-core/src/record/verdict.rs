//! Verdicts: did it help?

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// The four answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VerdictKind {
    /// Everything that was asked for holds.
    Success,
    /// Some of it holds.
    Partial,
    /// The data do not decide it.
    Uncertain,
    /// It does not hold, or things got worse.
    Failed,
}

impl fmt::Display for VerdictKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Success => "success",
            Self::Partial => "partial",
            Self::Uncertain => "uncertain",
            Self::Failed => "failed",
        })
    }
}

/// What a verifier advises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Recommendation {
    /// Close the incident.
    Close,
    /// Keep watching.
    Watch,
    /// Take the remedy back.
    RollBack,
    /// Find out why some of it does not work; nothing is taken back meanwhile.
    Investigate,
    /// Call a person.
    Escalate,
}

/// How one criterion came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckOutcome {
    /// It holds.
    Passed,
    /// It does not hold.
    Failed,
    /// There were no data to decide it.
    NoData,
    /// The data do not decide it yet.
    Undecided,
}

/// One criterion, with what was seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckResult {
    /// The criterion in words.
    pub criterion: String,
    /// How it came out.
    pub outcome: CheckOutcome,
    /// What was seen, and what was expected.
    pub detail: String,
}

/// The judgment on one remedy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// The answer.
    pub kind: VerdictKind,
    /// When it was given.
    pub at: Timestamp,
    /// Why, in one sentence.
    pub reason: String,
    /// What is advised.
    pub recommendation: Recommendation,
    /// What it rests on.
    pub checks: Vec<CheckResult>,
}

impl Verdict {
    /// A verdict with the usual advice for its kind.
    pub fn new(kind: VerdictKind, at: Timestamp, reason: impl Into<String>) -> Self {
        let recommendation = match kind {
            VerdictKind::Success => Recommendation::Close,
            VerdictKind::Partial => Recommendation::Watch,
            VerdictKind::Uncertain => Recommendation::Escalate,
            VerdictKind::Failed => Recommendation::RollBack,
        };
        Self {
            kind,
            at,
            reason: reason.into(),
            recommendation,
            checks: Vec::new(),
        }
    }

    /// The same with another advice.
    pub fn advising(mut self, recommendation: Recommendation) -> Self {
        self.recommendation = recommendation;
        self
    }

    /// The same resting on these checks.
    pub fn resting_on(mut self, checks: Vec<CheckResult>) -> Self {
        self.checks = checks;
        self
    }

    /// Joins the verdicts of several verifiers.
    ///
    /// All succeeded: success. Any failed while another succeeded or is partial: partial. All that
    /// decided failed: failed. Nothing decided, or no verdict at all: uncertain. The advice is that
    /// of the verdicts of the joint kind if they agree, or the usual one.
    pub fn join(verdicts: Vec<Self>, at: Timestamp) -> Self {
        let count = |kind| {
            verdicts
                .iter()
                .filter(|verdict| verdict.kind == kind)
                .count()
        };
        let (good, part, bad) = (
            count(VerdictKind::Success),
            count(VerdictKind::Partial),
            count(VerdictKind::Failed),
        );
        let kind = if verdicts.is_empty() || good + part + bad == 0 {
            VerdictKind::Uncertain
        } else if good == verdicts.len() {
            VerdictKind::Success
        } else if bad > 0 && good + part == 0 {
            VerdictKind::Failed
        } else if bad + part == 0 {
            VerdictKind::Uncertain
        } else {
            VerdictKind::Partial
        };
        let reason = if verdicts.is_empty() {
            "no verifier gave a verdict".to_owned()
        } else {
            verdicts
                .iter()
                .map(|verdict| verdict.reason.as_str())
                .collect::<Vec<_>>()
                .join("; ")
        };
        let mut joint = Self::new(kind, at, reason);
        let mut advice = verdicts
            .iter()
            .filter(|verdict| verdict.kind == kind)
            .map(|verdict| verdict.recommendation);
        if let Some(first) = advice.next()
            && advice.all(|other| other == first)
        {
            joint.recommendation = first;
        }
        let checks = verdicts.into_iter().flat_map(|verdict| verdict.checks);
        joint.resting_on(checks.collect())
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind, self.reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use VerdictKind::*;

    #[test]
    fn the_joint_advice_is_the_one_they_agree_on() {
        let partial = || Verdict::new(Partial, Timestamp::EPOCH, "r");
        let look = || partial().advising(Recommendation::Investigate);
        let join = |verdicts| Verdict::join(verdicts, Timestamp::EPOCH).recommendation;
        assert_eq!(join(vec![look()]), Recommendation::Investigate);
        assert_eq!(join(vec![look(), partial()]), Recommendation::Watch);
        let good = Verdict::new(Success, Timestamp::EPOCH, "r");
        assert_eq!(join(vec![good, look()]), Recommendation::Investigate);
    }

    #[test]
    fn joining_never_turns_missing_data_into_success_or_failure() {
        let join = |kinds: &[VerdictKind]| {
            let verdicts = kinds
                .iter()
                .map(|kind| Verdict::new(*kind, Timestamp::EPOCH, "r"))
                .collect();
            Verdict::join(verdicts, Timestamp::EPOCH).kind
        };
        assert_eq!(join(&[]), Uncertain);
        assert_eq!(join(&[Success, Success]), Success);
        assert_eq!(join(&[Success, Uncertain]), Uncertain);
        assert_eq!(join(&[Failed, Uncertain]), Failed);
        assert_eq!(join(&[Failed, Success]), Partial);
        assert_eq!(join(&[Partial]), Partial);
        assert_eq!(join(&[Uncertain]), Uncertain);
    }
}
