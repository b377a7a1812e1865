//! Causal chains: how the first cause led to what was violated, step by step.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::record::bounds::{at_most, short};
use crate::record::{Diagnosis, Proof};
use crate::target::Target;
use crate::time::Timestamp;
use crate::unit::Confidence;

/// Which place a step has in a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChainPlace {
    /// Where it began.
    Cause,
    /// What the cause did to its own service.
    Symptom,
    /// What it did to somebody who waits for that service.
    Caller,
    /// What was violated: the anomaly that raised the incident.
    Objective,
}

impl fmt::Display for ChainPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cause => "cause",
            Self::Symptom => "symptom",
            Self::Caller => "caller",
            Self::Objective => "objective",
        })
    }
}

/// One step of a chain.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChainStep {
    /// Its place.
    pub place: ChainPlace,
    /// Where it happened.
    pub target: Target,
    /// What happened, in one sentence.
    pub what: String,
    /// When it began, if that is known.
    pub at: Option<Timestamp>,
    /// How probable it is that the step before led to this one; of the first, how sure the cause is.
    pub probability: Confidence,
    /// Services between the step before and this one of which nothing is known, in the order they
    /// were passed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub through: Vec<String>,
    /// What it cites; never empty.
    pub proofs: Vec<Proof>,
}

/// From the first cause to the violated objective.
///
/// [`Display`](fmt::Display) prints two kinds of lines: what happened, and below it each proof that
/// it cites; control characters within become spaces.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CausalChain {
    /// The cause first; the objective last, unless the chain is broken.
    pub steps: Vec<ChainStep>,
    /// Why it does not reach the objective, if it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broken: Option<String>,
}

impl ChainStep {
    /// Proofs a step may cite.
    pub const MAX_PROOFS: usize = 8;

    fn violation(&self) -> Option<String> {
        if self.what.trim().is_empty() {
            return Some("it does not say what happened".to_owned());
        }
        if self.proofs.is_empty() {
            return Some("it cites no proof".to_owned());
        }
        at_most("proofs", self.proofs.len(), Self::MAX_PROOFS)
            .or_else(|| {
                let passed = self.through.len();
                at_most("services passed", passed, CausalChain::MAX_STEPS)
            })
            .or_else(|| short("what happened", &self.what))
            .or_else(|| self.proofs.iter().find_map(Proof::violation))
    }
}

impl CausalChain {
    /// Steps a chain may have.
    pub const MAX_STEPS: usize = 32;

    /// What a chain must be, as a sentence if broken.
    ///
    /// One to [`MAX_STEPS`](Self::MAX_STEPS) steps, of which the first and no other is the cause;
    /// the objective is the last step, or it is said why it is not reached; each step says what
    /// happened and cites one to [`MAX_PROOFS`](ChainStep::MAX_PROOFS) proofs; texts have at most
    /// 4096 characters.
    pub fn violation(&self) -> Option<String> {
        let Some((last, before)) = self.steps.split_last() else {
            return Some("a chain without a step".to_owned());
        };
        let n_causes = self.steps.iter().filter(|it| it.place == ChainPlace::Cause);
        if self.steps[0].place != ChainPlace::Cause || n_causes.count() != 1 {
            return Some("a chain that does not begin with its one cause".to_owned());
        }
        let is_early = before.iter().any(|it| it.place == ChainPlace::Objective);
        let is_reached = last.place == ChainPlace::Objective;
        if is_early || is_reached == self.broken.is_some() {
            return Some(
                "a chain that neither ends with the objective nor says why not".to_owned(),
            );
        }
        at_most("steps", self.steps.len(), Self::MAX_STEPS)
            .or_else(|| short("why a chain is broken", self.broken.as_deref()?))
            .or_else(|| {
                let mut steps = self.steps.iter().enumerate();
                steps.find_map(|(idx, step)| {
                    let broken = step.violation()?;
                    Some(format!("step {} of the chain: {broken}", idx + 1))
                })
            })
    }
}

/// Text of others without breaks of lines, so that it cannot look like a step of its own.
fn one_line(text: &str) -> String {
    let is_break = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
    text.chars()
        .map(|c| if is_break(c) { ' ' } else { c })
        .collect()
}

impl fmt::Display for ChainStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.target)?;
        if let Some(at) = self.at {
            write!(f, " at {at}")?;
        }
        if !self.through.is_empty() {
            write!(f, ", through {}", one_line(&self.through.join(", ")))?;
        }
        write!(f, ": {} ({})", one_line(&self.what), self.probability)
    }
}

impl fmt::Display for CausalChain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (idx, step) in self.steps.iter().enumerate() {
            if idx > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{}. {step}", idx + 1)?;
            for proof in &step.proofs {
                write!(f, "\n   - {}", one_line(&proof.to_string()))?;
            }
        }
        match &self.broken {
            Some(why) => write!(f, "\nbroken: {}", one_line(why)),
            None => Ok(()),
        }
    }
}

impl Diagnosis {
    /// The chain, if there is one, tells of the root cause and keeps its own rules.
    pub(super) fn chain_violation(&self) -> Option<String> {
        let chain = self.chain.as_ref()?;
        if let Some(broken) = chain.violation() {
            return Some(broken);
        }
        let first = &chain.steps[0].target;
        match self.root_cause() {
            None => Some("a chain without a root cause".to_owned()),
            Some(root) if root.target != *first => Some(format!(
                "a chain that begins at {first}, expected the root cause's {}",
                root.target
            )),
            Some(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(place: ChainPlace, who: &str, what: &str) -> ChainStep {
        ChainStep {
            place,
            target: Target::service(who).unwrap(),
            what: what.to_owned(),
            at: Some(Timestamp::from_secs(60)),
            probability: Confidence::saturating(0.9),
            through: Vec::new(),
            proofs: vec![Proof {
                kind: "series".to_owned(),
                reference: format!("errors{{service=\"{who}\"}}"),
                at: None,
                statement: "errors rose from 0 to 5".to_owned(),
            }],
        }
    }

    #[test]
    fn text_with_breaks_of_lines_is_no_step_of_its_own() {
        let mut forged = chain();
        let evil = "fix\n2. objective: gateway: all well\u{2028}\r# well";
        forged.steps[0].what = evil.to_owned();
        forged.steps[0].proofs[0].statement = evil.to_owned();
        forged.steps[1].through = vec![evil.to_owned()];
        forged.broken = Some(evil.to_owned());
        let text = forged.to_string();
        assert_eq!(text.lines().count(), 5, "{text}");
        assert!(!text.contains(['\r', '\u{2028}']), "{text:?}");
    }

    fn chain() -> CausalChain {
        let mut objective = step(ChainPlace::Objective, "gateway", "it fails");
        objective.through = vec!["router".to_owned()];
        let cause = step(ChainPlace::Cause, "orders", "process_down");
        CausalChain {
            steps: vec![cause, objective],
            broken: None,
        }
    }

    #[test]
    fn a_person_reads_each_step_with_what_it_cites() {
        let told = "1. cause: orders at 1970-01-01T00:01:00Z: process_down (90.0 %)\n   \
                    - series errors{service=\"orders\"}: errors rose from 0 to 5\n\
                    2. objective: gateway at 1970-01-01T00:01:00Z, through router: it fails (90.0 %)\n   \
                    - series errors{service=\"gateway\"}: errors rose from 0 to 5";
        assert_eq!(chain().to_string(), told);
        let mut broken = chain();
        broken.steps.pop();
        broken.broken = Some("nothing calls orders".to_owned());
        let told = broken.to_string();
        assert!(told.ends_with("\nbroken: nothing calls orders"), "{told}");
        assert_eq!(broken.violation(), None);
    }

    #[test]
    fn a_chain_begins_with_its_cause_ends_with_the_objective_and_cites_everywhere() {
        type Breaks<'a> = &'a dyn Fn(&mut CausalChain);
        let broken = |breaks: Breaks<'_>| {
            let mut chain = chain();
            breaks(&mut chain);
            chain.violation().unwrap_or_default()
        };
        assert_eq!(broken(&|_| {}), "");
        let cases: [(&str, Breaks<'_>); 7] = [
            ("without a step", &|chain| chain.steps.clear()),
            ("its one cause", &|chain| chain.steps.reverse()),
            ("neither ends", &|chain| drop(chain.steps.pop())),
            ("neither ends", &|chain| chain.broken = Some("no".into())),
            ("step 2 of the chain: it cites no proof", &|chain| {
                chain.steps[1].proofs.clear();
            }),
            ("it does not say what happened", &|chain| {
                chain.steps[0].what.clear();
            }),
            ("33 steps, expected at most 32", &|chain| {
                let link = step(ChainPlace::Caller, "b", "slow");
                chain.steps.splice(1..1, vec![link; 31]);
            }),
        ];
        for (complaint, breaks) in cases {
            let said = broken(breaks);
            assert!(said.contains(complaint), "{complaint}: {said:?}");
        }
    }
}
