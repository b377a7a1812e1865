//! Calls of what cannot be taken back, and whether they moved before what guards them.

use std::collections::BTreeMap;

use super::fact::ChangedLines;
use super::guard::Guard;
use super::token::{FlatTree, Token};
use super::words::name_words;

/// So far the end of the types of a call is looked for.
const MAX_GENERICS: usize = 40;

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

/// A name of something that takes away or hands over, where it is done to something: `os.remove`, `store.write`,
/// `write_file`.
fn takes_away(name: &str, is_member: bool) -> bool {
    let words = name_words(name);
    let is_verb = words.first().is_some_and(|verb| {
        matches!(
            verb.as_str(),
            "remove"
                | "rmtree"
                | "rmdir"
                | "write"
                | "insert"
                | "drop"
                | "move"
                | "rename"
                | "debit"
                | "credit"
                | "post"
                | "upload"
                | "enqueue"
        )
    });
    is_verb && (is_member || words.len() > 1)
}

/// A name of something that changes what others see, where it is done to something: `row.set`, `user.update`.
fn may_change(name: &str, is_member: bool) -> bool {
    let words = name_words(name);
    let is_verb = words.first().is_some_and(|verb| {
        matches!(
            verb.as_str(),
            "update" | "set" | "put" | "create" | "emit" | "notify" | "run" | "reset" | "close"
        )
    });
    is_verb && (is_member || words.len() > 1)
}

/// All calls of a text that have an effect, in order: found once, asked often.
#[derive(Debug)]
pub(super) struct Effects<'t> {
    calls: Vec<(usize, &'t str)>,
}

impl<'t> Effects<'t> {
    /// Calls of what cannot be taken back.
    pub(super) fn of(tree: &FlatTree<'t>) -> Self {
        Self {
            calls: calls(tree, |name, _| has_effect(name)),
        }
    }

    /// The same, and whatever else may change something: what it is called, or the member that is set.
    fn possible(tree: &FlatTree<'t>) -> Self {
        let mut found = calls(tree, |name, is_member| {
            has_effect(name) || takes_away(name, is_member) || may_change(name, is_member)
        });
        let is_set = |token: &Token<'_>| {
            let text = token.text;
            text == "=" || matches!(text, "+=" | "-=" | "*=" | "/=" | "|=" | "&=" | "%=")
        };
        let signs = tree.tokens.iter().enumerate();
        found.extend(
            signs
                .filter(|(_, token)| is_set(token))
                .filter_map(|(at, _)| {
                    let name = tree.tokens.get(at.checked_sub(1)?)?;
                    let dot = tree.tokens.get(at.checked_sub(2)?)?;
                    (name.is_word() && dot.is(".")).then_some((at, name.text))
                }),
        );
        found.sort_unstable();
        Self { calls: found }
    }

    /// Those from one token to before another.
    pub(super) fn within(&self, range: (usize, usize)) -> &[(usize, &'t str)] {
        let place = |at: usize| self.calls.partition_point(|(idx, _)| *idx < at);
        let (start, end) = (place(range.0), place(range.1));
        self.calls.get(start..end).unwrap_or_default()
    }
}

/// The calls whose name is one; it is told whether the call is one of a member.
fn calls<'t>(tree: &FlatTree<'t>, is_one: impl Fn(&str, bool) -> bool) -> Vec<(usize, &'t str)> {
    let named = tree.tokens.iter().enumerate().filter(|(idx, token)| {
        let before = idx.checked_sub(1).map_or("", |at| tree.tokens[at].text);
        // A definition is not a call.
        token.is_word()
            && !matches!(before, "def" | "fn" | "func" | "function")
            && is_one(token.text, matches!(before, "." | "::" | "?."))
            && is_called(&tree.tokens[idx + 1..])
    });
    named.map(|(idx, token)| (idx, token.text)).collect()
}

/// What follows a name calls it: `(`, `!(`, `::<T>(`, `<T>(`.
fn is_called(rest: &[Token<'_>]) -> bool {
    let skipped = usize::from(rest.first().is_some_and(|t| t.is("!") || t.is("::")));
    let rest = rest.get(skipped..).unwrap_or_default();
    if !rest.first().is_some_and(|t| t.is("<")) {
        return rest.first().is_some_and(|t| t.is("("));
    }
    let mut depth = 0_usize;
    let close = rest.iter().take(MAX_GENERICS).position(|token| {
        depth += usize::from(token.is("<"));
        let n_closed = match token.text {
            ">" => 1,
            ">>" => 2,
            _ => 0,
        };
        depth = depth.saturating_sub(n_closed);
        depth == 0
    });
    let after = close.and_then(|close| rest.get(close + 1));
    after.is_some_and(|t| t.is("("))
}

/// Where a check stands: before which token its refusal ends, its line and function.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) end: usize,
    pub(super) line: usize,
    pub(super) function: Option<usize>,
}

impl From<&Guard> for Place {
    fn from(guard: &Guard) -> Self {
        Self {
            end: guard.body_end,
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
    /// They cannot be taken back.
    is_sure: bool,
    /// They take away or hand over.
    takes: bool,
}

/// What became of the effects that a check stands before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Moved {
    Nothing,
    /// There is one more in front of it.
    Added,
    /// What it stood before, and may change something, is done in front of it.
    Shifted,
    /// What it stood before, and cannot be taken back, is done in front of it.
    Guarded,
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
            old: (old, Effects::possible(old)),
            new: (new, Effects::possible(new)),
            changed,
            functions: BTreeMap::new(),
        }
    }

    /// What of the effects that came after the place in the old text comes before it in the new one, and how
    /// many names were looked at.
    pub(super) fn later(&mut self, was: Place, now: Place) -> (Moved, usize) {
        let (Some(old), Some(new)) = (was.function, now.function) else {
            return (Moved::Nothing, 1);
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
            return (Moved::Nothing, n_steps);
        };
        let n_asked = if has_moved { calls.len() } else { *n_touched };
        let mut moved = Moved::Nothing;
        for call in calls.iter().take(n_asked) {
            n_steps += 1;
            let before = |places: &[usize], at: usize| places.partition_point(|place| *place < at);
            let (n_was, n_now) = (before(&call.old, was.end), before(&call.new, now.end));
            if n_now <= n_was {
                continue;
            }
            // What the check stands before is done in front of it, or where it refuses.
            let (left, stays) = (call.old.len() - n_was, call.new.len() - n_now);
            if left > 0 && (call.is_sure || stays < left && call.takes) {
                return (Moved::Guarded, n_steps);
            }
            if stays < left {
                moved = Moved::Shifted;
            } else if call.is_sure {
                moved = moved.max(Moved::Added);
            }
        }
        (moved, n_steps)
    }

    fn calls(&self, old: usize, new: usize) -> BTreeMap<&'t str, Calls> {
        let mut calls: BTreeMap<&'t str, Calls> = BTreeMap::new();
        let (tree, effects) = &self.old;
        for (at, name) in effects.within(tree.nodes[old].tokens) {
            let call = calls.entry(name).or_default();
            call.is_sure = has_effect(name);
            call.takes = call.is_sure || takes_away(name, true);
            call.old.push(*at);
            let line = tree.tokens[*at].line;
            call.is_touched |= self.changed.old.binary_search(&line).is_ok();
        }
        let (tree, effects) = &self.new;
        for (at, name) in effects.within(tree.nodes[new].tokens) {
            let call = calls.entry(name).or_default();
            call.is_sure = has_effect(name);
            call.takes = call.is_sure || takes_away(name, true);
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
                .filter(|name| has_effect(name))
                .collect::<std::collections::BTreeSet<_>>()
        };
        !names(&self.old, old).is_disjoint(&names(&self.new, new))
    }
}
