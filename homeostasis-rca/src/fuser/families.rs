//! Which findings are not independent of each other.

use std::collections::{BTreeMap, BTreeSet};

use homeostasis_core::record::{Finding, Proof};

/// What a finding rests on. Of a series its name says which: labels are written in more than one way.
pub(super) fn facts(finding: &Finding) -> BTreeSet<(&str, &str)> {
    fn fact(proof: &Proof) -> (&str, &str) {
        let reference = proof.reference.as_str();
        match (proof.kind.as_str(), reference.split_once('/')) {
            // An alarm is of a series: `service/metric`.
            ("alarm", Some((_, metric))) => ("series", metric),
            (kind, _) => (kind, reference.split('{').next().unwrap_or(reference)),
        }
    }
    finding.proofs.iter().map(fact).collect()
}

/// Which family each finding belongs to: those of one analyzer are one, and so are those that rest
/// on one fact.
pub(super) fn families<'a>(findings: impl Iterator<Item = &'a Finding>) -> Vec<usize> {
    fn root(parents: &[usize], mut idx: usize) -> usize {
        while parents[idx] != idx {
            idx = parents[idx];
        }
        idx
    }
    let mut parents: Vec<usize> = Vec::new();
    let mut first: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for (idx, finding) in findings.enumerate() {
        parents.push(idx);
        let analyzer = [("", finding.analyzer.as_str())];
        for key in facts(finding).into_iter().chain(analyzer) {
            let known = *first.entry(key).or_insert(idx);
            // The earlier of two roots stays.
            let (a, b) = (root(&parents, known), root(&parents, idx));
            parents[a.max(b)] = a.min(b);
        }
    }
    (0..parents.len()).map(|idx| root(&parents, idx)).collect()
}
