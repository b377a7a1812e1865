//! The literals by which a rule is found.

use super::{Pattern, Rule, literal};

/// By what a rule is found.
#[derive(Debug)]
pub(super) struct Anchor {
    /// Sets of literals: each with the pattern of [`Patterns::any`](super::Patterns::any) that needs
    /// one of them, by number, or `None` if all that is to match does.
    pub(super) sets: Vec<(Option<usize>, Vec<Vec<u8>>)>,
    pub(super) in_template: bool,
    /// What the rest of the rule adds to its specificity.
    pub(super) rest: u32,
}

impl Anchor {
    /// The literals of the part of `rule` whose shortest literal is longest.
    pub(super) fn of(rule: &Rule) -> Self {
        let patterns = &rule.patterns;
        let union = || {
            let sets = patterns.any.iter().map(|p| p.literals().to_vec());
            let sets = sets.enumerate().map(|(idx, set)| (Some(idx), set));
            let all_have = patterns.any.iter().all(|p| !p.literals().is_empty());
            if all_have {
                sets.collect()
            } else {
                vec![(None, Vec::new())]
            }
        };
        let of = |pattern: &Option<Pattern>| {
            let literals = pattern.as_ref().map(|p| p.literals().to_vec());
            vec![(None, literals.unwrap_or_default())]
        };
        let min_len = |pattern: &Option<Pattern>| pattern.as_ref().map_or(0, Pattern::min_len);
        let parts = [
            (
                union(),
                patterns.any.iter().map(Pattern::min_len).min().unwrap_or(0),
            ),
            (of(&patterns.kind), min_len(&patterns.kind)),
            (of(&patterns.message), min_len(&patterns.message)),
        ];
        let total: usize = parts.iter().map(|(_, len)| len).sum();
        let in_template = total == 0;
        let (sets, own) = if in_template {
            (of(&patterns.template), 0)
        } else {
            let best = parts.into_iter().max_by_key(|(sets, _)| shortest(sets));
            best.unwrap_or_default()
        };
        let template = if in_template {
            0
        } else {
            min_len(&patterns.template)
        };
        let others = total - own + template + min_len(&patterns.frame);
        let others = u32::try_from(others.min(99)).unwrap_or(99);
        Self {
            sets,
            in_template,
            rest: rule.scope_specificity() + others,
        }
    }

    /// How specific a match by the shortest literal is.
    pub(super) fn specificity(&self) -> u32 {
        let shortest = u32::try_from(self.shortest()).unwrap_or(u32::MAX);
        self.rest.saturating_add(shortest)
    }

    /// Bytes of its shortest literal; 0 if it has none.
    pub(super) fn shortest(&self) -> usize {
        shortest(&self.sets)
    }
}

fn shortest(sets: &[(Option<usize>, Vec<Vec<u8>>)]) -> usize {
    let lens = sets.iter().map(|(_, set)| literal::shortest(set));
    lens.min().unwrap_or(0)
}

impl Rule {
    /// Bytes of the shortest literal by which the rule is found; 0 if it must be tried on every
    /// line.
    pub fn shortest_literal(&self) -> usize {
        Anchor::of(self).shortest()
    }
}
