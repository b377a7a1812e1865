//! What happened to guards: inverted, weaker, gone, passed by, or too late.

use std::collections::{BTreeMap, BTreeSet};

use super::RefusalReason::{self, RemovedAuthorization, RemovedCheck, SkippedTest};
use super::TextSide;
use super::condition::{Atom, Formula, Relation, is_literal};
use super::fact::{ChangedLines, Difference, Fact, Sense};
use super::guard::{Consequence, Guard, effects, guards, is_permission};
use super::identity::is_authorization;
use super::token::{FlatTree, is_function, joined};
use super::validation::Flag;

/// So many guards of a text are compared at most; the first that differ count.
const MAX_GUARDS: usize = 200;

pub(super) fn differences(
    old: &FlatTree<'_>,
    new: &FlatTree<'_>,
    changed: &ChangedLines,
) -> Vec<Difference> {
    let (old_guards, new_guards) = (guards(old), guards(new));
    let mut found = Found(Vec::new());
    let (same, gone, come) = matched(&old_guards, &new_guards, changed);
    let mut come = come;
    for guard in &gone {
        match partner(guard, &come) {
            Some(at) => {
                let now = come.remove(at);
                found.compared(guard, now);
            }
            None => found.gone(guard, old, new),
        }
    }
    for guard in come {
        found.come(guard, &new_guards, new);
    }
    for (was, now) in &same {
        found.later(was, now, old, new);
        found.reassigned(was, now, old, new, changed);
    }
    found.calls_later(old, new);
    found.0
}

type Sorted<'a> = (Vec<(&'a Guard, &'a Guard)>, Vec<&'a Guard>, Vec<&'a Guard>);

/// Which guards stayed as they are, which are gone, and which came.
fn matched<'a>(old: &'a [Guard], new: &'a [Guard], changed: &ChangedLines) -> Sorted<'a> {
    let mut known: BTreeMap<(&str, &Formula, bool), Vec<&Guard>> = BTreeMap::new();
    let key = |guard: &'a Guard| {
        let answers = guard.consequence == Consequence::Answer;
        (guard.function.as_str(), &guard.permits, answers)
    };
    for guard in new.iter().rev() {
        known.entry(key(guard)).or_default().push(guard);
    }
    let (mut same, mut gone) = (Vec::new(), Vec::new());
    let mut used = BTreeSet::new();
    for guard in old {
        match known.get_mut(&key(guard)).and_then(Vec::pop) {
            Some(now) => {
                used.insert(now.at);
                same.push((guard, now));
            }
            None => gone.push(guard),
        }
    }
    let mut come: Vec<&Guard> = new
        .iter()
        .filter(|guard| !used.contains(&guard.at))
        .collect();
    // A condition may begin above the line that changed: nothing is left out, only put later.
    come.sort_by_key(|guard| changed.new.binary_search(&guard.line).is_err());
    gone.sort_by_key(|guard| changed.old.binary_search(&guard.line).is_err());
    gone.truncate(MAX_GUARDS);
    come.truncate(MAX_GUARDS);
    (same, gone, come)
}

/// The new guard that took the place of one that is gone.
fn partner(guard: &Guard, come: &[&Guard]) -> Option<usize> {
    let score = |other: &Guard| {
        let is_answer = |g: &Guard| g.consequence == Consequence::Answer;
        if other.function != guard.function || is_answer(guard) != is_answer(other) {
            return 0;
        }
        let shared = guard
            .words
            .iter()
            .filter(|word| other.words.contains(word))
            .count();
        let same_body = !guard.body.is_empty() && other.body == guard.body;
        shared + 8 * usize::from(same_body)
    };
    let best = come
        .iter()
        .enumerate()
        .map(|(idx, other)| (score(other), std::cmp::Reverse(idx)));
    best.max()
        .filter(|(score, _)| *score > 0)
        .map(|(_, idx)| idx.0)
}

struct Found(Vec<Difference>);

impl Found {
    fn refuse(&mut self, reason: RefusalReason, guard: &Guard, side: TextSide) {
        self.push(Sense::Forbidden(reason), guard, side);
    }

    fn flag(&mut self, guard: &Guard, side: TextSide) {
        self.push(Sense::Risky(Flag::ChangedCheck), guard, side);
    }

    fn push(&mut self, sense: Sense, guard: &Guard, side: TextSide) {
        let fact = Fact::new(sense, "guard", guard.line, &guard.condition);
        self.0.push(Difference { fact, side });
    }

    /// A guard that reads differently.
    fn compared(&mut self, was: &Guard, now: &Guard) {
        let reason = if was.is_identity() {
            RemovedAuthorization
        } else {
            RemovedCheck
        };
        let forth = was.permits.implies(&now.permits).unwrap_or(false);
        let back = now.permits.implies(&was.permits).unwrap_or(false);
        if forth && back {
            return;
        }
        let opposite = was.permits.negated();
        let is_inverted = now.permits.implies(&opposite) == Some(true)
            && opposite.implies(&now.permits) == Some(true);
        if is_inverted {
            let swaps = was.consequence == Consequence::Body
                && body_of(&was.otherwise) == body_of(&now.body)
                && body_of(&was.body) == body_of(&now.otherwise);
            if swaps {
                return;
            }
        }
        let matters =
            was.is_identity() || was.consequence == Consequence::Error || was.before_effect;
        let refused = if is_inverted {
            matters
        } else if forth {
            self.is_weakening(was, now, matters)
        } else if back {
            false
        } else {
            loses_identity(was, now)
                || was.is_identity() && grants_more(was, now)
                || matters && raises_limit(was, now)
        };
        if refused {
            self.refuse(reason, now, TextSide::New);
        } else {
            self.flag(now, TextSide::New);
        }
    }

    /// The new guard lets more pass than the old one.
    #[expect(clippy::unused_self, reason = "reads like its siblings")]
    fn is_weakening(&self, was: &Guard, now: &Guard, matters: bool) -> bool {
        let pairs = |guard: &Guard| -> Vec<(String, String)> {
            let mut pairs: Vec<_> = guard
                .permits
                .atoms()
                .iter()
                .map(|atom| sides(atom))
                .collect();
            pairs.sort();
            pairs.dedup();
            pairs
        };
        let (before, after) = (pairs(was), pairs(now));
        let added: Vec<&Atom> = now
            .permits
            .atoms()
            .into_iter()
            .filter(|atom| !before.contains(&sides(atom)))
            .collect();
        if !added.is_empty() {
            // Something else passes, too.
            if was.is_identity() {
                return true;
            }
            let leaves = was.consequence != Consequence::Body;
            let is_harmless = added.iter().all(|atom| is_presence(atom, was));
            return was.before_effect && (!is_harmless || !leaves);
        }
        if before == after && only_strictness(&was.permits, &now.permits) {
            // One value more or less at the edge.
            return matters && (was.is_identity() || was.is_limit());
        }
        matters
    }

    fn gone(&mut self, guard: &Guard, old: &FlatTree<'_>, new: &FlatTree<'_>) {
        if guard.consequence == Consequence::Answer {
            // What it answered: the function may be gone, or written anew.
            self.flag(guard, TextSide::Old);
            return;
        }
        let leaves = guard.consequence != Consequence::Body;
        let keeps_effect = || {
            let range = |tree: &FlatTree<'_>, name: &str| {
                let function = functions(tree).into_iter().find(|(known, _)| known == name);
                function.map(|(_, range)| range)
            };
            let names = |tree: &FlatTree<'_>| -> Vec<String> {
                range(tree, &guard.function)
                    .map(|range| {
                        effects(tree, range)
                            .into_iter()
                            .map(|(_, name)| name)
                            .collect()
                    })
                    .unwrap_or_default()
            };
            let left = names(new);
            names(old).iter().any(|name| left.contains(name))
        };
        if guard.is_identity() && (leaves || guard.before_effect) {
            self.refuse(RemovedAuthorization, guard, TextSide::Old);
        } else if guard.before_effect && keeps_effect() {
            self.refuse(RemovedCheck, guard, TextSide::Old);
        } else {
            self.flag(guard, TextSide::Old);
        }
    }

    /// A guard that was not there: one that succeeds passes by what follows it.
    fn come(&mut self, guard: &Guard, all: &[Guard], tree: &FlatTree<'_>) {
        let side = TextSide::New;
        if guard.consequence == Consequence::Answer {
            if guard.permits.is_true() {
                self.refuse(RemovedAuthorization, guard, side);
            }
            return;
        }
        if guard.consequence != Consequence::Leave {
            return;
        }
        let Some(function) = guard.function_idx else {
            return;
        };
        let is_test = guard.function.starts_with("test") || guard.function.starts_with("Test");
        if is_test && guard.body.contains("return") {
            self.refuse(SkippedTest, guard, side);
        }
        let succeeds_for = is_permission(&guard.function) && guard.body.contains("return");
        let end = tree.nodes[function].tokens.1;
        let checks = tree.tokens[guard.at..end]
            .windows(2)
            .skip(1)
            .any(|pair| pair[0].is_word() && pair[1].is("(") && is_authorization(pair[0].text));
        let identity_follows = || {
            all.iter().any(|other| {
                other.function_idx == guard.function_idx
                    && other.at > guard.at
                    && other.consequence == Consequence::Error
                    && other.is_identity()
            })
        };
        let passes = guard.succeeds || guard.yields && !succeeds_for;
        if passes && (succeeds_for || checks || identity_follows()) {
            self.refuse(RemovedAuthorization, guard, side);
        } else if checks || succeeds_for {
            self.flag(guard, side);
        }
    }

    /// A guard that stays, with an effect before it that came after it.
    fn later(&mut self, was: &Guard, now: &Guard, old: &FlatTree<'_>, new: &FlatTree<'_>) {
        let leaves =
            |guard: &Guard| matches!(guard.consequence, Consequence::Error | Consequence::Leave);
        if !leaves(was) || !leaves(now) || !was.before_effect {
            return;
        }
        if is_later(
            (old, was.at, was.function_idx),
            (new, now.at, now.function_idx),
        ) {
            let reason = if was.is_identity() {
                RemovedAuthorization
            } else {
                RemovedCheck
            };
            self.refuse(reason, now, TextSide::New);
        }
    }

    /// Calls of checks, with an effect before them that came after them.
    fn calls_later(&mut self, old: &FlatTree<'_>, new: &FlatTree<'_>) {
        let calls = |tree: &FlatTree<'_>| -> Vec<(String, String, usize, Option<usize>)> {
            let pairs = tree.tokens.windows(2).enumerate();
            pairs
                .filter(|(_, pair)| {
                    pair[0].is_word()
                        && pair[1].is("(")
                        && (is_authorization(pair[0].text) || pair[0].text.starts_with("validate"))
                })
                .filter_map(|(at, pair)| {
                    let function = tree.function_of(at);
                    let name = super::guard::function_name(tree, function?);
                    (name != pair[0].text).then(|| (name, pair[0].text.to_owned(), at, function))
                })
                .take(MAX_GUARDS)
                .collect()
        };
        let now = calls(new);
        for (function, name, at, idx) in calls(old) {
            let mut same = now
                .iter()
                .filter(|call| call.0 == function && call.1 == name);
            let (Some(call), None) = (same.next(), same.next()) else {
                continue;
            };
            if is_later((old, at, idx), (new, call.2, call.3)) {
                let token = &new.tokens[call.2];
                let fact = Fact::new(
                    Sense::Forbidden(RemovedAuthorization),
                    "later",
                    token.line,
                    token.text,
                );
                let side = TextSide::New;
                self.0.push(Difference { fact, side });
            }
        }
    }

    /// What a guard looks at is given another value just before it.
    fn reassigned(
        &mut self,
        was: &Guard,
        now: &Guard,
        old: &FlatTree<'_>,
        new: &FlatTree<'_>,
        changed: &ChangedLines,
    ) {
        let matters =
            was.is_identity() || was.consequence == Consequence::Error || was.before_effect;
        if !matters || was.consequence == Consequence::Answer {
            return;
        }
        let (Some(was_in), Some(now_in)) = (was.function_idx, now.function_idx) else {
            return;
        };
        let start = new.nodes[now_in].tokens.0;
        let touches = changed
            .new
            .iter()
            .any(|line| (new.nodes[now_in].line..=now.line).contains(line));
        if !touches {
            return;
        }
        let before = assignments(old, (old.nodes[was_in].tokens.0, was.at));
        let after = assignments(new, (start, now.at));
        for (name, value, line) in &after {
            if !now.heads.contains(name)
                || changed.new.binary_search(line).is_err()
                || before
                    .iter()
                    .any(|known| known.0 == *name && known.1 == *value)
                || value.split(' ').any(|word| word == name)
            {
                continue;
            }
            let n = |list: &[(String, String, usize)]| list.iter().filter(|a| a.0 == *name).count();
            let is_more = n(&after) > n(&before);
            let written = is_literal(value) || value.parse::<f64>().is_ok();
            if was.is_identity() && (is_more || written) {
                self.refuse(RemovedAuthorization, now, TextSide::New);
            } else if written {
                self.refuse(RemovedCheck, now, TextSide::New);
            } else {
                self.flag(now, TextSide::New);
            }
        }
    }
}

/// Without braces and semicolons around it.
fn body_of(text: &str) -> &str {
    text.trim_start_matches("else ")
        .trim_matches(|c: char| c.is_whitespace() || matches!(c, '{' | '}' | ':' | ';'))
}

fn sides(atom: &Atom) -> (String, String) {
    let (a, b) = (atom.left.clone(), atom.right.clone());
    if a <= b { (a, b) } else { (b, a) }
}

/// The same but for `<` and `<=`.
fn only_strictness(was: &Formula, now: &Formula) -> bool {
    was.lenient() == now.lenient()
}

/// The test of a value for being there, or of an index for being inside.
fn is_presence(atom: &Atom, of: &Guard) -> bool {
    let none = |text: &str| {
        matches!(
            text,
            "None" | "null" | "nil" | "undefined" | "0" | "\"\"" | "''"
        )
    };
    let counts =
        |text: &str| text.contains("len") || text.contains("length") || text.contains("size");
    match atom.relation {
        Relation::Equal | Relation::Unequal => none(&atom.left) || none(&atom.right),
        Relation::Less | Relation::LessOrEqual => {
            counts(&atom.left) || counts(&atom.right) || none(&atom.left) || none(&atom.right)
        }
        Relation::Holds | Relation::Fails => {
            let name = atom.left.split(" . ").next().unwrap_or_default();
            atom.left.starts_with("isinstance")
                || atom.left.contains("is_empty")
                || !name.contains(' ')
                    && of.heads.iter().any(|head| head == name)
                    && name == atom.left
                || atom.left.contains(" in ")
        }
    }
}

/// A word about permission is no longer asked about.
fn loses_identity(was: &Guard, now: &Guard) -> bool {
    let n = |guard: &Guard| {
        let words = guard.words.iter();
        words
            .filter(|word| super::identity::names_identity(word))
            .count()
    };
    n(was) > n(now) || was.consequence == Consequence::Answer && now.permits.is_true()
}

/// More values are let in, a comparison is turned around, or what was denied by default is granted.
fn grants_more(was: &Guard, now: &Guard) -> bool {
    let n = |guard: &Guard, is: &dyn Fn(&str) -> bool| {
        guard.condition.split(' ').filter(|word| is(word)).count()
    };
    let is_true = |word: &str| matches!(word, "True" | "true");
    let is_text = |word: &str| word.starts_with(['"', '\'']);
    let is_all = |word: &str| matches!(word, "all" | "every");
    let is_any = |word: &str| matches!(word, "any" | "some");
    let lists = was.condition.contains('[')
        || was.words.iter().any(|word| word == "in")
        || was.condition.contains(" in ");
    let about_people = was
        .body
        .split(' ')
        .chain(was.condition.split(' '))
        .any(|word| {
            super::words::name_words(word).iter().any(|word| {
                matches!(
                    word.as_str(),
                    "role"
                        | "roles"
                        | "admin"
                        | "admins"
                        | "user"
                        | "users"
                        | "permission"
                        | "permissions"
                        | "owner"
                        | "owners"
                        | "group"
                        | "groups"
                        | "scope"
                        | "scopes"
                )
            })
        });
    let opposite = |a: Relation, b: Relation| {
        matches!(
            (a, b),
            (Relation::Equal, Relation::Unequal)
                | (Relation::Unequal, Relation::Equal)
                | (Relation::Holds, Relation::Fails)
                | (Relation::Fails, Relation::Holds)
        )
    };
    let turned = was.permits.atoms().iter().any(|a| {
        now.permits.atoms().iter().any(|b| {
            let shares = [&b.left, &b.right].into_iter().any(|side| {
                !side.is_empty() && !is_literal(side) && (*side == a.left || *side == a.right)
            });
            shares && opposite(a.relation, b.relation)
        })
    });
    turned
        || n(now, &is_true) > n(was, &is_true)
        || n(was, &is_all) > n(now, &is_all) && n(now, &is_any) > n(was, &is_any)
        || lists && about_people && n(now, &is_text) > n(was, &is_text)
}

/// A number that bounds something is ten times as large, or more.
fn raises_limit(was: &Guard, now: &Guard) -> bool {
    let numbers = |guard: &Guard| -> Vec<(String, f64)> {
        let atoms = guard.permits.atoms();
        let found = atoms.iter().filter_map(|atom| {
            let number = |text: &str| text.replace('_', "").parse::<f64>().ok();
            match (number(&atom.left), number(&atom.right)) {
                (Some(value), None) => Some((atom.right.clone(), value)),
                (None, Some(value)) => Some((atom.left.clone(), value)),
                _ => None,
            }
        });
        found.collect()
    };
    let now = numbers(now);
    numbers(was).iter().any(|(name, value)| {
        now.iter().any(|(other, more)| {
            other == name && value.abs() > 0.0 && more.abs() >= 10.0 * value.abs()
        })
    })
}

type Place<'a, 't> = (&'a FlatTree<'t>, usize, Option<usize>);

/// An effect that came after the place in the old text comes before it in the new one.
fn is_later(old: Place<'_, '_>, new: Place<'_, '_>) -> bool {
    let around = |(tree, at, function): Place<'_, '_>| -> Option<(Vec<String>, Vec<String>)> {
        let (start, end) = tree.nodes[function?].tokens;
        let end = end.min(start + 8000);
        let names = |range: (usize, usize)| -> Vec<String> {
            effects(tree, range)
                .into_iter()
                .map(|(_, name)| name)
                .collect()
        };
        let at = at.clamp(start, end);
        Some((names((start, at)), names((at, end))))
    };
    let (Some(was), Some(now)) = (around(old), around(new)) else {
        return false;
    };
    let n = |list: &[String], name: &String| list.iter().filter(|known| *known == name).count();
    now.0
        .iter()
        .any(|name| n(&now.0, name) > n(&was.0, name) && n(&was.1, name) > n(&now.1, name))
}

fn functions(tree: &FlatTree<'_>) -> Vec<(String, (usize, usize))> {
    let nodes = tree.nodes.iter().enumerate();
    nodes
        .filter(|(_, node)| is_function(node.kind))
        .map(|(idx, node)| (super::guard::function_name(tree, idx), node.tokens))
        .collect()
}

/// `name = value`: the name, the value and the line.
fn assignments(tree: &FlatTree<'_>, range: (usize, usize)) -> Vec<(String, String, usize)> {
    let tokens = &tree.tokens[range.0..range.1.max(range.0)];
    let mut found = Vec::new();
    for (idx, pair) in tokens.windows(2).enumerate().take(8000) {
        let is_sign = pair[1].is("=") || pair[1].is(":=");
        let before = idx.checked_sub(1).map_or("", |at| tokens[at].text);
        if !pair[0].is_word() || !is_sign || matches!(before, "." | "(" | ",") {
            continue;
        }
        let line = pair[0].line;
        let value: Vec<_> = tokens[idx + 2..]
            .iter()
            .take(64)
            .take_while(|t| t.line == line && !t.is(";"))
            .cloned()
            .collect();
        found.push((pair[0].text.to_owned(), joined(&value), line));
    }
    found
}
