//! What happened to guards: inverted, weaker, gone, passed by, or too late.

use std::collections::{BTreeMap, BTreeSet};

use super::RefusalReason::{self, RemovedAuthorization, RemovedCheck, SkippedTest, TooLarge};
use super::TextSide;
use super::assignment::{Assignment, Assignments, mentions};
use super::branch::Branches;
use super::condition::{Formula, is_literal};
use super::effect::{Effects, Moved, Order, Place};
use super::fact::{ChangedLines, Difference, Fact, Sense};
use super::guard::{Consequence, Guard, function_name, guards, is_permission, path_of};
use super::identity::{is_authorization, names_identity};
use super::strictness::{Change, body_of, compared, softened};
use super::token::{FlatTree, is_function};
use super::validation::Flag;
use super::words::name_words;

/// So many guards of a text are compared at most; the first that differ count.
const MAX_GUARDS: usize = 200;

/// So many comparisons of one thing with another are made at most; of a text that needs more the
/// change is refused.
const MAX_STEPS: usize = 4_000_000;

pub(super) fn differences(
    old: &FlatTree<'_>,
    new: &FlatTree<'_>,
    changed: &ChangedLines,
) -> Vec<Difference> {
    counted(old, new, changed, MAX_STEPS).0
}

/// The differences, and how many steps they took.
fn counted<'t>(
    old: &FlatTree<'t>,
    new: &FlatTree<'t>,
    changed: &ChangedLines,
    max_steps: usize,
) -> (Vec<Difference>, usize) {
    let of = |tree: &FlatTree<'t>| guards(tree, &Branches::of(tree), &Effects::of(tree));
    let (old_guards, new_guards) = (of(old), of(new));
    let mut found = Found {
        all: Vec::new(),
        steps: Steps {
            n: 0,
            max: max_steps,
        },
        order: Order::new(old, new, changed),
        names: Names::of(old),
        functions: (functions(old), functions(new)),
        new,
        changed,
    };
    let Sorted {
        same,
        gone,
        mut come,
    } = matched(&old_guards, &new_guards, changed);
    for guard in gone {
        match found.partner(guard, &come) {
            Some(at) => {
                let now = come.remove(at);
                found.compared(guard, now);
            }
            None => found.gone(guard),
        }
    }
    for guard in come {
        found.come(guard, &new_guards);
    }
    for (was, now) in &same {
        if let Some(change) = softened(was, now) {
            found.changed(change, was, now);
        }
        found.later(was, now);
    }
    found.reassigned(&same, &Assignments::of(old), &Assignments::of(new));
    found.calls_later(old);
    if found.steps.is_spent() {
        let text = format!("guards after {max_steps} comparisons");
        let fact = Fact::new(Sense::Forbidden(TooLarge), "guards", 0, &text);
        let side = TextSide::New;
        found.all.push(Difference { fact, side });
    }
    (found.all, found.steps.n)
}

/// Which guards stayed as they are, which are gone, and which came.
struct Sorted<'a> {
    same: Vec<(&'a Guard, &'a Guard)>,
    gone: Vec<&'a Guard>,
    come: Vec<&'a Guard>,
}

fn matched<'a>(old: &'a [Guard], new: &'a [Guard], changed: &ChangedLines) -> Sorted<'a> {
    let answers = |guard: &Guard| guard.consequence == Consequence::Answer;
    let mut known: BTreeMap<(&str, &Formula, bool), Vec<&Guard>> = BTreeMap::new();
    for guard in new.iter().rev() {
        let key = (guard.path.as_str(), &guard.permits, answers(guard));
        known.entry(key).or_default().push(guard);
    }
    let (mut same, mut left) = (Vec::new(), Vec::new());
    let mut used = BTreeSet::new();
    for guard in old {
        let key = (guard.path.as_str(), &guard.permits, answers(guard));
        match known.get_mut(&key).and_then(Vec::pop) {
            Some(now) => {
                used.insert(now.at);
                same.push((guard, now));
            }
            None => left.push(guard),
        }
    }
    // A condition around a guard that changed is judged by itself, unless what the guard is about
    // cannot be taken back: the guard is the same if it stands as deep.
    let mut inner: BTreeMap<(&str, &Formula, usize), Vec<&Guard>> = BTreeMap::new();
    for guard in new.iter().rev().filter(|guard| !used.contains(&guard.at)) {
        if guard.n_around > 0 && !answers(guard) {
            let key = (guard.path.as_str(), &guard.own, guard.n_around);
            inner.entry(key).or_default().push(guard);
        }
    }
    let mut gone = Vec::new();
    for guard in left {
        let key = (guard.path.as_str(), &guard.own, guard.n_around);
        let may_match = !guard.is_identity() && !guard.before_effect;
        let now = may_match.then(|| inner.get_mut(&key).and_then(Vec::pop));
        match now.flatten() {
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
    Sorted { same, gone, come }
}

/// How much was done of how much may be.
#[derive(Debug)]
struct Steps {
    n: usize,
    max: usize,
}

impl Steps {
    /// Whether the work may go on.
    fn spend(&mut self, n: usize) -> bool {
        self.n = self.n.saturating_add(n);
        !self.is_spent()
    }

    fn is_spent(&self) -> bool {
        self.n > self.max
    }
}

/// How often each name stands in a text.
struct Names<'t>(BTreeMap<&'t str, usize>);

impl<'t> Names<'t> {
    fn of(tree: &FlatTree<'t>) -> Self {
        let mut found = BTreeMap::new();
        for token in tree.tokens.iter().filter(|t| t.is_word()) {
            *found.entry(token.text).or_default() += 1;
        }
        Self(found)
    }

    fn n(&self, name: &str) -> usize {
        self.0.get(name).copied().unwrap_or(0)
    }
}

/// The first function of each path.
type Functions = BTreeMap<String, usize>;

fn functions(tree: &FlatTree<'_>) -> Functions {
    let mut found = Functions::new();
    for (idx, node) in tree.nodes.iter().enumerate() {
        if is_function(node.kind) {
            found.entry(path_of(tree, idx)).or_insert(idx);
        }
    }
    found
}

struct Found<'a, 't> {
    all: Vec<Difference>,
    steps: Steps,
    order: Order<'a, 't>,
    names: Names<'t>,
    functions: (Functions, Functions),
    new: &'a FlatTree<'t>,
    changed: &'a ChangedLines,
}

fn reason_of(guard: &Guard) -> RefusalReason {
    if guard.is_identity() {
        RemovedAuthorization
    } else {
        RemovedCheck
    }
}

impl Found<'_, '_> {
    fn refuse(&mut self, reason: RefusalReason, guard: &Guard, side: TextSide) {
        self.push(Sense::Forbidden(reason), guard, side);
    }

    fn flag(&mut self, guard: &Guard, side: TextSide) {
        self.push(Sense::Risky(Flag::ChangedCheck), guard, side);
    }

    fn push(&mut self, sense: Sense, guard: &Guard, side: TextSide) {
        let fact = Fact::new(sense, "guard", guard.line, &guard.condition);
        self.all.push(Difference { fact, side });
    }

    /// The new guard that took the place of one that is gone.
    fn partner(&mut self, guard: &Guard, come: &[&Guard]) -> Option<usize> {
        let mut best = None;
        for (idx, other) in come.iter().enumerate() {
            if !self.steps.spend(1) {
                break;
            }
            let is_answer = |g: &Guard| g.consequence == Consequence::Answer;
            if other.path != guard.path || is_answer(guard) != is_answer(other) {
                continue;
            }
            self.steps.spend(guard.all_words.len());
            let shared = guard.all_words.intersection(&other.all_words).count();
            let same_body = !guard.body.is_empty() && other.body == guard.body;
            let score = shared + 8 * usize::from(same_body);
            let leaves = usize::from(other.consequence == guard.consequence);
            let score = if score > 0 { 2 * score + leaves } else { 0 };
            if score > best.map_or(0, |(best, _)| best) {
                best = Some((score, idx));
            }
        }
        best.map(|(_, idx)| idx)
    }

    /// A guard that reads differently.
    fn compared(&mut self, was: &Guard, now: &Guard) {
        let change = {
            let is_known = |name: &str| self.names.n(name) > 0;
            let is_once = |name: &str| self.names.n(name) == 1;
            compared(was, now, &is_known, &is_once)
        };
        self.changed(change, was, now);
    }

    fn changed(&mut self, change: Change, was: &Guard, now: &Guard) {
        match change {
            Change::Same => {}
            Change::Doubtful => self.flag(now, TextSide::New),
            Change::Weaker => self.refuse(reason_of(was), now, TextSide::New),
        }
    }

    fn gone(&mut self, guard: &Guard) {
        if guard.consequence == Consequence::Answer {
            // What it answered: the function may be gone, or written anew.
            self.flag(guard, TextSide::Old);
            return;
        }
        let leaves = guard.consequence != Consequence::Body;
        let keeps_effect = || {
            let old = self.functions.0.get(&guard.path);
            let new = self.functions.1.get(&guard.path);
            old.zip(new)
                .is_some_and(|(old, new)| self.order.keeps_effect(*old, *new))
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
    fn come(&mut self, guard: &Guard, all: &[Guard]) {
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
        let end = self.new.nodes[function].tokens.1;
        if !self.steps.spend(end - guard.at + all.len()) {
            return;
        }
        let checks = self.new.tokens[guard.at..end]
            .windows(2)
            .skip(1)
            .any(|pair| pair[0].is_word() && pair[1].is("(") && is_authorization(pair[0].text));
        let same_function = |other: &&Guard| other.function_idx == guard.function_idx;
        let identity_follows = || {
            all.iter().filter(same_function).any(|other| {
                let refuses = match other.consequence {
                    Consequence::Error => true,
                    Consequence::Leave => !other.grants && (other.denies || !other.yields),
                    _ => false,
                };
                other.at > guard.at && other.is_identity() && refuses
            })
        };
        // What only some are permitted, others get, too.
        let permits_as = || {
            let body = body_of(&guard.body);
            let mut known = all.iter().filter(same_function);
            known.any(|other| other.grants && other.at != guard.at && body_of(&other.body) == body)
        };
        let passes = guard.succeeds || guard.yields && !succeeds_for;
        if passes && (succeeds_for || checks || identity_follows() || permits_as()) {
            self.refuse(RemovedAuthorization, guard, side);
        } else if checks || succeeds_for {
            self.flag(guard, side);
        }
    }

    /// A guard that stays, with an effect before it that came after it.
    fn later(&mut self, was: &Guard, now: &Guard) {
        let leaves =
            |guard: &Guard| matches!(guard.consequence, Consequence::Error | Consequence::Leave);
        let protects =
            was.before_effect || was.is_identity() || was.consequence == Consequence::Error;
        if !leaves(was) || !leaves(now) || !protects || self.steps.is_spent() {
            return;
        }
        let (moved, n) = self.order.later(Place::from(was), Place::from(now));
        self.steps.spend(n);
        match moved {
            Moved::Nothing => {}
            Moved::Added => self.flag(now, TextSide::New),
            Moved::Shifted if !was.is_identity() && !was.is_limit() => {
                self.flag(now, TextSide::New);
            }
            Moved::Shifted | Moved::Guarded => self.refuse(reason_of(was), now, TextSide::New),
        }
    }

    /// Calls of checks, with an effect before them that came after them.
    fn calls_later(&mut self, old: &FlatTree<'_>) {
        let mut now: BTreeMap<(String, &str), Vec<Place>> = BTreeMap::new();
        for (function, name, place) in check_calls(self.new) {
            now.entry((function, name)).or_default().push(place);
        }
        for (function, name, was) in check_calls(old) {
            let Some([place]) = now.get(&(function, name)).map(Vec::as_slice) else {
                continue;
            };
            if self.steps.is_spent() {
                break;
            }
            let (moved, n) = self.order.later(was, *place);
            self.steps.spend(n);
            if moved == Moved::Guarded {
                let sense = Sense::Forbidden(RemovedAuthorization);
                let fact = Fact::new(sense, "later", place.line, name);
                let side = TextSide::New;
                self.all.push(Difference { fact, side });
            }
        }
    }

    /// What a guard looks at is given another value just before it.
    fn reassigned(&mut self, same: &[(&Guard, &Guard)], old: &Assignments, new: &Assignments) {
        let mut by_function: BTreeMap<usize, Vec<(&Guard, &Guard)>> = BTreeMap::new();
        for (was, now) in same {
            let matters =
                was.is_identity() || was.consequence == Consequence::Error || was.before_effect;
            if let (true, Some(_), Some(function)) = (
                matters && was.consequence != Consequence::Answer,
                was.function_idx,
                now.function_idx,
            ) {
                by_function.entry(function).or_default().push((was, now));
            }
        }
        for one in &new.all {
            if self.changed.new.binary_search(&one.line).is_err() {
                continue;
            }
            let guards = one.function.and_then(|idx| by_function.get(&idx));
            for (was, now) in guards.into_iter().flatten() {
                if one.at >= now.at {
                    continue;
                }
                if !self.steps.spend(1 + now.condition.len() / 16) {
                    return;
                }
                if !looks_at(now, &one.target) {
                    continue;
                }
                let mut n_before = 0;
                let mut is_known = false;
                for known in old.before(was.function_idx, &one.target, was.at) {
                    n_before += 1;
                    is_known |= known.value == one.value && known.is_update == one.is_update;
                }
                let n_after = new.before(now.function_idx, &one.target, now.at).count();
                self.steps.spend(n_before + n_after);
                if !is_known {
                    self.assigned(one, was, now, n_after > n_before);
                }
            }
        }
    }

    /// One value that came before a guard that looks at it.
    fn assigned(&mut self, one: &Assignment, was: &Guard, now: &Guard, is_more: bool) {
        let written = is_literal(&one.value) || one.value.parse::<f64>().is_ok();
        let normalizes = one.only_normalizes();
        let is_of_itself = one.is_of_itself();
        if was.is_identity() && !normalizes && (is_more || written) {
            self.refuse(RemovedAuthorization, now, TextSide::New);
        } else if written && !is_of_itself {
            self.refuse(RemovedCheck, now, TextSide::New);
        } else if !normalizes || was.is_identity() {
            self.flag(now, TextSide::New);
        }
    }
}

/// The guard reads what is assigned, or, of a permission, something of its owner.
fn looks_at(guard: &Guard, target: &str) -> bool {
    if mentions(&guard.condition, target) {
        return true;
    }
    let Some((owner, member)) = target.rsplit_once(" . ") else {
        return false;
    };
    guard.is_identity()
        && mentions(&guard.condition, owner)
        && name_words(member).iter().any(|word| names_identity(word))
}

/// Calls of checks outside of their own definitions: the function they stand in, their name and
/// place. The first of them.
fn check_calls<'t>(tree: &FlatTree<'t>) -> Vec<(String, &'t str, Place)> {
    let pairs = tree.tokens.windows(2).enumerate();
    pairs
        .filter(|(_, pair)| {
            pair[0].is_word()
                && pair[1].is("(")
                && (is_authorization(pair[0].text) || pair[0].text.starts_with("validate"))
        })
        .filter_map(|(at, pair)| {
            let function = tree.function_of(at);
            let name = function_name(tree, function?);
            let place = Place {
                end: at,
                line: pair[0].line,
                function,
            };
            (name != pair[0].text).then_some((name, pair[0].text, place))
        })
        .take(MAX_GUARDS)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Language;
    use crate::syntax::Syntax;

    /// The differences and steps of a change of one line, the `moved`th.
    fn steps(old: &str, new: &str, moved: &[usize], max: usize) -> (Vec<Difference>, usize) {
        let (old_syntax, new_syntax) = (
            Syntax::parse(Language::Python, old),
            Syntax::parse(Language::Python, new),
        );
        let changed = ChangedLines {
            old: moved.to_vec(),
            new: moved.to_vec(),
        };
        counted(
            &FlatTree::new(&old_syntax, old),
            &FlatTree::new(&new_syntax, new),
            &changed,
            max,
        )
    }

    /// A function with `n` guards that raise, each before an effect of another name, and one more
    /// effect before or behind the first of them.
    fn hostile(n: usize, is_early: bool) -> String {
        let mut text = String::from("def f(x):\n");
        let wipe = "    wipe(x)\n";
        text.push_str(if is_early { wipe } else { "    x = x\n" });
        for idx in 0..n {
            let guard = format!("    if x > {idx}:\n        raise E(x)\n    send_{idx}(x)\n");
            text.push_str(&guard);
        }
        text.push_str(if is_early { "    x = x\n" } else { wipe });
        text
    }

    #[test]
    fn work_grows_with_the_text_and_what_changed() {
        let n_steps = |n: usize| {
            let moved = [2, 3 * n + 3];
            let (found, n_steps) = steps(&hostile(n, false), &hostile(n, true), &moved, usize::MAX);
            let is_refused = found
                .iter()
                .any(|one| one.fact.sense == Sense::Forbidden(RemovedCheck));
            assert!(is_refused, "{n} guards: {found:?}");
            n_steps
        };
        let (small, large) = (n_steps(400), n_steps(1_600));
        assert!(large <= 5 * small, "{small} steps, then {large}");
    }

    #[test]
    fn text_that_needs_too_much_work_is_refused() {
        let (found, n_steps) = steps(&hostile(200, false), &hostile(200, true), &[2, 603], 100);
        assert!(n_steps <= 1_000, "{n_steps} steps");
        let too_large = found
            .iter()
            .any(|one| one.fact.sense == Sense::Forbidden(TooLarge));
        assert!(too_large, "{found:?}");
    }
}
