//! The literals by which a rule is found.

use super::{Pattern, Rule, literal};

/// By what a rule is found.
#[derive(Debug)]
pub(super) struct Anchor {
    pub(super) literals: Vec<Vec<u8>>,
    pub(super) in_template: bool,
    /// What the rest of the rule adds to its specificity.
    pub(super) rest: u32,
}

impl Anchor {
    /// The literals of the part of `rule` whose shortest literal is longest.
    pub(super) fn of(rule: &Rule) -> Self {
        let union = || {
            let sets = rule.patterns.iter().map(Pattern::literals);
            let all_have = rule.patterns.iter().all(|p| !p.literals().is_empty());
            let all = sets.flatten().cloned().collect::<Vec<_>>();
            if all_have { all } else { Vec::new() }
        };
        let of = |pattern: &Option<Pattern>| {
            pattern
                .as_ref()
                .map(|p| p.literals().to_vec())
                .unwrap_or_default()
        };
        let min_len = |pattern: &Option<Pattern>| pattern.as_ref().map_or(0, Pattern::min_len);
        let parts = [
            (
                union(),
                rule.patterns
                    .iter()
                    .map(Pattern::min_len)
                    .min()
                    .unwrap_or(0),
            ),
            (of(&rule.kind), min_len(&rule.kind)),
            (of(&rule.message), min_len(&rule.message)),
        ];
        let total: usize = parts.iter().map(|(_, len)| len).sum();
        let in_template = total == 0;
        let (literals, own) = if in_template {
            (of(&rule.template), 0)
        } else {
            let best = parts
                .into_iter()
                .max_by_key(|(set, _)| literal::shortest(set));
            best.unwrap_or_default()
        };
        let others = u32::try_from((total - own).min(99)).unwrap_or(99);
        Self {
            literals,
            in_template,
            rest: rule.scope_specificity() + others,
        }
    }

    /// Bytes of its shortest literal; 0 if it has none.
    pub(super) fn shortest(&self) -> usize {
        literal::shortest(&self.literals)
    }
}

impl Rule {
    /// Bytes of the shortest literal by which the rule is found; 0 if it must be tried on every
    /// line.
    pub fn shortest_literal(&self) -> usize {
        Anchor::of(self).shortest()
    }
}
