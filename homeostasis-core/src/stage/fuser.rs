//! Fusers: from findings to one diagnosis.

use std::fmt;
use std::sync::Arc;

use crate::context::Context;
use crate::record::{Category, Diagnosis, Finding, Hypothesis, Role};
use crate::stage::Evidence;
use crate::unit::Confidence;

/// Adds findings up to a ranked diagnosis, or abstains.
///
/// It is pure: no I/O, and the same findings give the same diagnosis.
pub trait Fuser: fmt::Debug + Send + Sync {
    /// Adds them up.
    fn fuse(&self, cx: &Context, evidence: &Evidence<'_>, findings: Vec<Finding>) -> Diagnosis;
}

const _: fn(&dyn Fuser) = |_| {};

impl<T: Fuser + ?Sized> Fuser for Arc<T> {
    fn fuse(&self, cx: &Context, evidence: &Evidence<'_>, findings: Vec<Finding>) -> Diagnosis {
        (**self).fuse(cx, evidence, findings)
    }
}

/// Believes the strongest cause, for hosts that bring no fuser: with prior odds of one to four
/// against it, confidence is the posterior of that finding alone. Below one half it abstains.
#[derive(Debug, Clone, Copy, Default)]
pub struct StrongestFinding;

impl Fuser for StrongestFinding {
    fn fuse(&self, _: &Context, _: &Evidence<'_>, findings: Vec<Finding>) -> Diagnosis {
        let mut causes: Vec<_> = findings
            .into_iter()
            .filter(|finding| finding.role == Role::Cause)
            .collect();
        causes.sort_by(|a, b| {
            b.log_likelihood_ratio
                .total_cmp(&a.log_likelihood_ratio)
                .then_with(|| a.cause.cmp(&b.cause))
        });
        let posterior = |finding: &Finding| {
            let odds = 0.25 * finding.log_likelihood_ratio.exp();
            Confidence::saturating(if odds.is_infinite() {
                1.0
            } else {
                odds / (1.0 + odds)
            })
        };
        let hypotheses: Vec<_> = causes
            .into_iter()
            .filter(|finding| finding.category != Category::Unknown)
            .map(|finding| Hypothesis {
                target: finding.target.clone(),
                cause: finding.cause.clone(),
                category: finding.category,
                confidence: posterior(&finding),
                explanation: finding.explanation.clone(),
                evidence: vec![finding],
            })
            .collect();
        let believed = hypotheses
            .first()
            .is_some_and(|best| best.confidence.get() >= 0.5);
        let abstained = (!believed).then(|| match hypotheses.first() {
            Some(best) => format!("the strongest cause, {best}, is less likely than not"),
            None => "no analyzer found a cause".to_owned(),
        });
        Diagnosis {
            hypotheses,
            abstained,
            chain: None,
        }
    }
}
