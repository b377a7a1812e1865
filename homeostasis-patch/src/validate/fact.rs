//! Facts about a text, and what their coming and going means.

use std::collections::HashMap;

use super::validation::{Flag, shortened};
use super::{RefusalReason, TextSide};

/// What it means when there are more, or fewer, of a fact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Sense {
    /// One more is refused.
    Forbidden(RefusalReason),
    /// One fewer is refused.
    Required(RefusalReason),
    /// One more raises the risk.
    Risky(Flag),
    /// One fewer raises the risk.
    Kept(Flag),
}

/// Something a text says, at a line.
#[derive(Debug, Clone)]
pub(super) struct Fact {
    pub(super) sense: Sense,
    /// Facts of one sense and key are alike.
    pub(super) key: String,
    /// 1-based.
    pub(super) line: usize,
    pub(super) text: String,
}

impl Fact {
    pub(super) fn new(sense: Sense, key: impl Into<String>, line: usize, text: &str) -> Self {
        let (key, text) = (key.into(), shortened(text));
        Self {
            sense,
            key,
            line,
            text,
        }
    }
}

/// Which lines of a text a change touches, 1-based and in order.
#[derive(Debug, Default)]
pub(super) struct ChangedLines {
    pub(super) old: Vec<usize>,
    pub(super) new: Vec<usize>,
}

/// A fact that came or went against its sense.
#[derive(Debug)]
pub(super) struct Difference {
    pub(super) fact: Fact,
    pub(super) side: TextSide,
}

/// What came and what went, against the sense of the facts.
pub(super) fn compare(old: &[Fact], new: &[Fact], changed: &ChangedLines) -> Vec<Difference> {
    let grows = |fact: &&Fact| matches!(fact.sense, Sense::Forbidden(_) | Sense::Risky(_));
    let shrinks = |fact: &&Fact| !grows(fact);
    let mut found = surplus(new.iter().filter(grows), old, &changed.new, TextSide::New);
    found.extend(surplus(
        old.iter().filter(shrinks),
        new,
        &changed.old,
        TextSide::Old,
    ));
    found
}

/// The facts of `more` that `fewer` has not as many of. Those on lines that stayed are taken for
/// the known ones first.
fn surplus<'f>(
    more: impl Iterator<Item = &'f Fact>,
    fewer: &[Fact],
    changed: &[usize],
    side: TextSide,
) -> Vec<Difference> {
    let mut known: HashMap<(Sense, &str), usize> = HashMap::new();
    for fact in fewer {
        *known.entry((fact.sense, fact.key.as_str())).or_default() += 1;
    }
    let (touched, stayed): (Vec<&Fact>, Vec<&Fact>) =
        more.partition(|fact| changed.binary_search(&fact.line).is_ok());
    let mut found = Vec::new();
    for fact in stayed.into_iter().chain(touched) {
        match known.get_mut(&(fact.sense, fact.key.as_str())) {
            Some(n) if *n > 0 => *n -= 1,
            _ => found.push(Difference {
                fact: fact.clone(),
                side,
            }),
        }
    }
    found
}
