//! What named groups of rules took out of the lines a diagnosis rests on.

use std::collections::{BTreeMap, BTreeSet};

use crate::record::{Diagnosis, Hypothesis, Role};

impl Hypothesis {
    /// What was captured of its cause, by name: proofs of kind `capture` of the findings that name
    /// this very cause.
    ///
    /// Values come from logs: nobody vouches for them. Several values of one name are several lines
    /// that say different things.
    pub fn captures(&self) -> BTreeMap<&str, BTreeSet<&str>> {
        let mut captures: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        let own = self.evidence.iter().filter(|finding| {
            finding.role == Role::Cause
                && finding.cause == self.cause
                && finding.target.service_name() == self.target.service_name()
        });
        for proof in own.flat_map(|finding| &finding.proofs) {
            if proof.kind == "capture" {
                let values = captures.entry(&proof.reference).or_default();
                values.insert(&proof.statement);
            }
        }
        captures
    }
}

impl Diagnosis {
    /// What was captured of the root cause; nothing without one.
    ///
    /// ```
    /// use homeostasis::core::record::{Category, Diagnosis, Finding, Hypothesis, Proof, Role};
    /// use homeostasis::core::{Confidence, Target};
    ///
    /// let orders = Target::service("orders")?;
    /// let finding = Finding::new("rules", orders.clone(), "bad_migration", Category::Configuration, Role::Cause, 4.0)
    ///     .proven_by(Proof {
    ///         kind: "capture".into(),
    ///         reference: "table".into(),
    ///         at: None,
    ///         statement: "prices".into(),
    ///     });
    /// let hypothesis = Hypothesis {
    ///     target: orders,
    ///     cause: "bad_migration".into(),
    ///     category: Category::Configuration,
    ///     confidence: Confidence::ONE,
    ///     evidence: vec![finding],
    ///     explanation: String::new(),
    /// };
    /// let diagnosis = Diagnosis { hypotheses: vec![hypothesis], ..Diagnosis::default() };
    /// assert_eq!(diagnosis.captures()["table"].first(), Some(&"prices"));
    /// # Ok::<(), homeostasis::core::BoxError>(())
    /// ```
    pub fn captures(&self) -> BTreeMap<&str, BTreeSet<&str>> {
        self.root_cause()
            .map(Hypothesis::captures)
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Confidence;
    use crate::record::{Category, Finding, Proof};

    fn finding(who: &str, cause: &str, role: Role, table: &str) -> Finding {
        let category = Category::Configuration;
        let proof = |kind: &str| Proof {
            kind: kind.to_owned(),
            reference: "table".to_owned(),
            at: None,
            statement: table.to_owned(),
        };
        Finding::new("rules", who.parse().unwrap(), cause, category, role, 1.0)
            .proven_by(proof("capture"))
            .proven_by(proof("log"))
    }

    #[test]
    fn only_what_was_said_of_this_very_cause_counts() {
        let hypothesis = Hypothesis {
            target: "orders/0".parse().unwrap(),
            cause: "bad_migration".to_owned(),
            category: Category::Configuration,
            confidence: Confidence::ONE,
            evidence: vec![
                finding("orders/0", "bad_migration", Role::Cause, "prices"),
                finding("orders", "bad_migration", Role::Cause, "rows"),
                finding("orders/0", "disk_full", Role::Cause, "other_cause"),
                finding("orders/0", "bad_migration", Role::Symptom, "symptom"),
                finding("catalog", "bad_migration", Role::Cause, "other_service"),
            ],
            explanation: String::new(),
        };
        let expected = BTreeSet::from(["prices", "rows"]);
        assert_eq!(hypothesis.captures(), BTreeMap::from([("table", expected)]));
        let mut diagnosis = Diagnosis {
            hypotheses: vec![hypothesis],
            abstained: None,
            chain: None,
        };
        assert_eq!(diagnosis.captures().len(), 1);
        diagnosis.abstained = Some("too close".to_owned());
        assert_eq!(diagnosis.captures().len(), 0);
    }
}
