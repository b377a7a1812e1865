//! One pass over a text for the literals of all rules.

use std::borrow::Cow;
use std::collections::BTreeMap;

use aho_corasick::{AhoCorasick, BuildError};

use super::literal::fold;

/// Which rules may match a text, found in one pass over it whatever the number of rules.
#[derive(Debug, Clone)]
pub(super) struct Prefilter {
    automaton: AhoCorasick,
    /// Of each literal: its length and the rules that need it.
    literals: Vec<(u32, Vec<usize>)>,
    /// Rules without a literal.
    always: Vec<usize>,
}

impl Prefilter {
    /// Of rules, by number, and their literals, as [`required`](super::literal::required) gives
    /// them.
    pub(super) fn new<'a>(
        rules: impl IntoIterator<Item = (usize, &'a [Vec<u8>])>,
    ) -> Result<Self, BuildError> {
        let mut owners: BTreeMap<&[u8], Vec<usize>> = BTreeMap::new();
        let mut always = Vec::new();
        for (rule, literals) in rules {
            if literals.is_empty() {
                always.push(rule);
            }
            for literal in literals {
                owners.entry(literal).or_default().push(rule);
            }
        }
        let automaton = AhoCorasick::builder()
            .ascii_case_insensitive(true)
            .build(owners.keys())?;
        let literals = owners.into_iter().map(|(literal, rules)| {
            let len = u32::try_from(literal.len()).unwrap_or(u32::MAX);
            (len, rules)
        });
        Ok(Self {
            automaton,
            literals: literals.collect(),
            always,
        })
    }

    /// Calls `found` with each rule that may match `text` and the length of the literal that says
    /// so, 0 for rules that need none; a rule may come several times.
    pub(super) fn scan(&self, text: &str, mut found: impl FnMut(usize, u32)) {
        for rule in &self.always {
            found(*rule, 0);
        }
        for hit in self.automaton.find_overlapping_iter(folded(text).as_ref()) {
            let Some((len, rules)) = self.literals.get(hit.pattern().as_usize()) else {
                continue;
            };
            for rule in rules {
                found(*rule, *len);
            }
        }
    }

    /// Whether no rule is in it.
    pub(super) fn is_empty(&self) -> bool {
        self.always.is_empty() && self.literals.is_empty()
    }
}

/// With the two characters beyond ASCII replaced that are ASCII letters without regard to case.
fn folded(text: &str) -> Cow<'_, str> {
    if text.is_ascii() || !text.contains(|c| fold(c).is_some()) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.chars().map(|c| fold(c).unwrap_or(c)).collect())
}
