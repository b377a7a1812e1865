//! Calls of what cannot be taken back, and whether they moved before what guards them.

use std::collections::BTreeMap;

use super::fact::ChangedLines;
use super::guard::Guard;
use super::token::FlatTree;
use super::words::name_words;

/// A name of something that cannot be taken back.
pub(super) fn has_effect(name: &str) -> bool {
    name_words(name).first().is_some_and(|verb| {
        matches!(
            verb.as_str(),
            "delete"
                | "destroy"
                | "purge"
                | "wipe"
                | "send"
                | "ship"
                | "pay"
                | "charge"
                | "refund"
                | "transfer"
                | "withdraw"
                | "deposit"
                | "publish"
                | "deploy"
                | "execute"
                | "exec"
                | "grant"
                | "revoke"
                | "commit"
                | "save"
                | "unlink"
                | "truncate"
                | "overwrite"
                | "approve"
                | "cancel"
                | "kill"
                | "shutdown"
                | "restart"
        )
    })
}

/// All calls of a text that have an effect, in order: found once, asked often.
#[derive(Debug)]
pub(super) struct Effects<'t> {
    calls: Vec<(usize, &'t str)>,
}

impl<'t> Effects<'t> {
    pub(super) fn of(tree: &FlatTree<'t>) -> Self {
        let pairs = tree.tokens.windows(2).enumerate();
        let calls = pairs.filter(|(idx, pair)| {
            // A definition is not a call.
            let before = idx.checked_sub(1).map_or("", |at| tree.tokens[at].text);
            pair[0].is_word()
                && pair[1].is("(")
                && !matches!(before, "def" | "fn" | "func" | "function")
                && has_effect(pair[0].text)
        });
        Self {
            calls: calls.map(|(idx, pair)| (idx, pair[0].text)).collect(),
        }
    }

    /// Those from one token to before another.
    pub(super) fn within(&self, range: (usize, usize)) -> &[(usize, &'t str)] {
        let place = |at: usize| self.calls.partition_point(|(idx, _)| *idx < at);
        let (start, end) = (place(range.0), place(range.1));
        self.calls.get(start..end).unwrap_or_default()
    }
}

/// Where a check stands: its token, line and function.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) at: usize,
    pub(super) line: usize,
    pub(super) function: Option<usize>,
}

impl From<&Guard> for Place {
    fn from(guard: &Guard) -> Self {
        Self {
            at: guard.at,
            line: guard.line,
            function: guard.function_idx,
        }
    }
}

/// Where the calls of one name stand, in the old and the new function.
#[derive(Debug, Default)]
struct Calls {
    old: Vec<usize>,
    new: Vec<usize>,
    /// One of them is on a line that changed.
    is_touched: bool,
}

/// The effects of functions before and after a change, by name.
///
/// Two lines that stayed keep their order. So of a check on such a line only the effects on changed
/// lines are asked, and of a check on a changed line all: the work is the length of the text, and
/// what was changed times the number of checks, not the square of the text.
#[derive(Debug)]
pub(super) struct Order<'a, 't> {
    old: (&'a FlatTree<'t>, Effects<'t>),
    new: (&'a FlatTree<'t>, Effects<'t>),
    changed: &'a ChangedLines,
    /// By both functions: the calls of each name, those with one on a changed line first, and how
    /// many these are.
    functions: BTreeMap<(usize, usize), (Vec<Calls>, usize)>,
}

impl<'a, 't> Order<'a, 't> {
    pub(super) fn new(
        old: &'a FlatTree<'t>,
        new: &'a FlatTree<'t>,
        changed: &'a ChangedLines,
    ) -> Self {
        Self {
            old: (old, Effects::of(old)),
            new: (new, Effects::of(new)),
            changed,
            functions: BTreeMap::new(),
        }
    }

    /// Names with an effect that came after the place in the old text and come before it in the new
    /// one, and how many names were looked at.
    pub(super) fn is_later(&mut self, was: Place, now: Place) -> (bool, usize) {
        let (Some(old), Some(new)) = (was.function, now.function) else {
            return (false, 1);
        };
        let changed = self.changed;
        let has_moved = changed.old.binary_search(&was.line).is_ok()
            || changed.new.binary_search(&now.line).is_ok();
        let mut n_steps = 1;
        if !self.functions.contains_key(&(old, new)) {
            let calls = self.calls(old, new);
            n_steps += calls.len();
            let (mut touched, others): (Vec<_>, Vec<_>) =
                calls.into_values().partition(|call| call.is_touched);
            let n_touched = touched.len();
            touched.extend(others);
            self.functions.insert((old, new), (touched, n_touched));
        }
        let Some((calls, n_touched)) = self.functions.get(&(old, new)) else {
            return (false, n_steps);
        };
        let n_asked = if has_moved { calls.len() } else { *n_touched };
        for call in calls.iter().take(n_asked) {
            n_steps += 1;
            let before = |places: &[usize], at: usize| places.partition_point(|place| *place < at);
            let (n_was, n_now) = (before(&call.old, was.at), before(&call.new, now.at));
            if n_now > n_was && call.old.len() - n_was > call.new.len() - n_now {
                return (true, n_steps);
            }
        }
        (false, n_steps)
    }

    fn calls(&self, old: usize, new: usize) -> BTreeMap<&'t str, Calls> {
        let mut calls: BTreeMap<&'t str, Calls> = BTreeMap::new();
        let (tree, effects) = &self.old;
        for (at, name) in effects.within(tree.nodes[old].tokens) {
            let call = calls.entry(name).or_default();
            call.old.push(*at);
            let line = tree.tokens[*at].line;
            call.is_touched |= self.changed.old.binary_search(&line).is_ok();
        }
        let (tree, effects) = &self.new;
        for (at, name) in effects.within(tree.nodes[new].tokens) {
            let call = calls.entry(name).or_default();
            call.new.push(*at);
            let line = tree.tokens[*at].line;
            call.is_touched |= self.changed.new.binary_search(&line).is_ok();
        }
        calls
    }

    /// The names with an effect in a function of the old text, and in one of the new.
    pub(super) fn keeps_effect(&self, old: usize, new: usize) -> bool {
        let names = |(tree, effects): &(&FlatTree<'t>, Effects<'t>), idx: usize| {
            let calls = effects.within(tree.nodes[idx].tokens);
            calls
                .iter()
                .map(|(_, name)| *name)
                .collect::<std::collections::BTreeSet<_>>()
        };
        !names(&self.old, old).is_disjoint(&names(&self.new, new))
    }
}
