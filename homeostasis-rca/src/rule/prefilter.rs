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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use regex::Regex;

    use super::super::literal::required;
    use super::*;

    /// Patterns of the shapes that people write.
    fn pattern() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            "[a-cKkSs \u{17f}\u{212a}]{1,4}",
            Just("[ab]".to_owned()),
            Just(r"\w".to_owned()),
            Just(".{0,3}".to_owned()),
            Just("^".to_owned()),
        ];
        let tree = leaf.prop_recursive(3, 24, 3, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 1..4).prop_map(|parts| parts.concat()),
                prop::collection::vec(inner.clone(), 1..4)
                    .prop_map(|parts| format!("(?:{})", parts.join("|"))),
                (inner.clone(), 0_u32..3, 0_u32..2)
                    .prop_map(|(part, from, more)| format!("(?:{part}){{{from},{}}}", from + more)),
                inner.prop_map(|part| format!("(?<g>{part})").replace("(?<g>", "(")),
            ]
        });
        (tree, any::<bool>())
            .prop_map(|(tree, any_case)| format!("{}{tree}", if any_case { "(?i)" } else { "" }))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]

        #[test]
        fn no_match_is_lost(
            patterns in prop::collection::vec(pattern(), 1..4),
            text in "[a-cKkSs \u{17f}\u{212a}\u{fc}]{0,24}",
        ) {
            let sets: Vec<Vec<Vec<u8>>> = patterns
                .iter()
                .map(|pattern| required(&regex_syntax::parse(pattern).unwrap()).unwrap_or_default())
                .collect();
            let prefilter = Prefilter::new(sets.iter().map(Vec::as_slice).enumerate()).unwrap();
            let mut found = Vec::new();
            prefilter.scan(&text, |rule, _| found.push(rule));
            for (rule, pattern) in patterns.iter().enumerate() {
                if Regex::new(pattern).unwrap().is_match(&text) {
                    prop_assert!(found.contains(&rule), "{pattern:?} in {text:?}: {:?}", sets[rule]);
                }
            }
        }
    }

    #[test]
    fn only_rules_whose_literal_is_there_are_tried() {
        let literal = |text: &str| vec![text.as_bytes().to_vec()];
        let sets = [
            literal("refused"),
            literal("reset"),
            Vec::new(),
            literal("fuse"),
        ];
        let prefilter = Prefilter::new(sets.iter().map(Vec::as_slice).enumerate()).unwrap();
        let mut found = Vec::new();
        prefilter.scan("Connection REFUSED", |rule, len| found.push((rule, len)));
        found.sort_unstable();
        assert_eq!(found, [(0, 7), (2, 0), (3, 4)]);
    }
}
