//! Which lines are of one template: the same words at the same places, but for holes that
//! evidence opened.
//!
//! A new key is compared with those that differ from it at one place only. When enough different
//! words were seen there, the place becomes a hole: what was several templates is one from then on.
//! How many are enough grows as fewer words remain to tell the template by, so that short sentences
//! with different verbs stay apart. Several places may open together when they always differ
//! together.

use homeostasis_core::signal::LogTemplate;

use super::aliases::Aliases;
use super::bytes::mix;
use super::family::{self, Family};
use super::pattern::{
    Holes, Pattern, context, context_of_many, key_of, n_words, open, with_hole, with_holes,
};
use super::scan::{HEXLIKE, NUMBERED, SOFT, Token};
use super::second_chance::{ByHash, SecondChance};

/// So many different words make a hole where enough other words remain.
const ENOUGH: usize = 5;
/// So many remaining words are enough; with each one fewer, twice the evidence is asked for.
pub(super) const REMAINING: usize = 3;
/// So many are enough of names, which vary more easily.
const ENOUGH_NAMES: usize = 3;
/// The first word tells the most: twice the evidence, unless so many others remain.
const MANY_REMAIN: usize = 6;
/// A word seen in so many lines is one of a few that come again and again: no evidence.
const ESTABLISHED: u64 = 64;
/// Ids have so few bits that they are exact where all numbers are doubles, in JSON among others.
pub(super) const ID_BITS: u32 = 53;
/// How often holes are looked for in one line.
const MAX_STEPS: usize = 4;

/// How much is remembered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) templates: usize,
    /// Of the texts and tokens of the templates, about.
    pub(super) bytes: usize,
    pub(super) holes: usize,
    pub(super) families: usize,
}

/// One template.
#[derive(Debug, Clone)]
pub(super) struct Group {
    pub(super) pattern: Pattern,
    pub(super) id: u64,
    /// Which one it was, counted from 1; the oldest lends its id and its text when templates unite.
    pub(super) age: u64,
    pub(super) count: u64,
    /// Ids that were united into this one, the oldest first; the newest of them.
    pub(super) absorbed: Vec<u64>,
    /// What its lines share, once one was asked for.
    pub(super) template: Option<LogTemplate>,
}

impl Group {
    /// Of the ids that were united into one so many are kept with it.
    pub(super) const MOST_ABSORBED: usize = 64;

    /// What it takes in memory, about, with its contexts and the template that is lent to lines.
    fn size(&self) -> usize {
        256 + 2 * self.pattern.text.len() + 128 * self.pattern.tokens.len()
    }

    fn absorb(&mut self, other: Self, aliases: &mut Aliases) {
        let (root, rest) = if self.age <= other.age {
            (self.id, other.id)
        } else {
            (other.id, self.id)
        };
        aliases.add(rest, root);
        self.template = None;
        (self.id, self.age) = (root, self.age.min(other.age));
        self.count = self.count.saturating_add(other.count);
        self.absorbed.extend(other.absorbed);
        self.absorbed.push(rest);
        let n = self.absorbed.len().saturating_sub(Self::MOST_ABSORBED);
        self.absorbed.drain(..n);
    }
}

/// All templates, and what it takes to find the one of a line.
#[derive(Debug)]
pub(super) struct Groups {
    pub(super) limits: Limits,
    pub(super) by_key: SecondChance<Group>,
    pub(super) by_id: ByHash<u64>,
    /// Keys that differ at one place only.
    pub(super) contexts: ByHash<Vec<u64>>,
    /// Contexts that became a hole.
    pub(super) holes: SecondChance<()>,
    pub(super) families: SecondChance<Family>,
    pub(super) aliases: Aliases,
    /// How many templates were born.
    pub(super) n_born: u64,
    /// Of the texts, tokens and contexts.
    bytes: usize,
    /// How often what was found for a key may have changed.
    pub(super) generation: u64,
    pub(super) n_evicted: u64,
}

/// What makes a hole.
struct Evidence {
    weight: usize,
    holes: Holes,
    context: u64,
    siblings: Vec<u64>,
}

impl Groups {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            by_key: SecondChance::default(),
            by_id: ByHash::default(),
            contexts: ByHash::default(),
            holes: SecondChance::default(),
            families: SecondChance::default(),
            aliases: Aliases::default(),
            n_born: 0,
            bytes: 0,
            generation: 0,
            n_evicted: 0,
        }
    }

    /// The key of the template of a line with these tokens, which become those of the template.
    pub(super) fn find(&mut self, tokens: &mut Vec<Token>) -> Option<u64> {
        let mut key = key_of(tokens);
        for _ in 0..MAX_STEPS {
            if self.by_key.has(key) {
                return Some(key);
            }
            open(tokens, self.known_holes(key, tokens)?);
            key = key_of(tokens);
        }
        self.by_key.has(key).then_some(key)
    }

    /// A hole that lines like this one have.
    fn known_holes(&self, key: u64, tokens: &[Token]) -> Option<Holes> {
        let one = (0..tokens.len()).find(|at| {
            !tokens[*at].is_variable() && self.holes.has(context(with_hole(key, tokens, *at), *at))
        });
        if let Some(at) = one {
            return Some(Holes::One(at));
        }
        let is_known = |bits: &&u64| {
            let context = context_of_many(with_holes(key, tokens, **bits), **bits);
            self.holes.has(context)
        };
        let family = family::of(tokens).and_then(|name| self.families.peek(name));
        let many = family.and_then(|family| family.holes.iter().find(is_known));
        let many = many.copied().map(Holes::Many);
        many.or_else(|| self.hexlike_holes(tokens))
    }

    /// Letters that are digits in other lines: `mask=c vis=ab` where `mask=7 vis=1f` is known.
    fn hexlike_holes(&self, tokens: &[Token]) -> Option<Holes> {
        let hexlike = (0_u64..64).zip(tokens);
        let hexlike = hexlike.filter(|(_, token)| token.flags & HEXLIKE != 0);
        let bits = hexlike.fold(0_u64, |bits, (at, _)| bits | 1 << at);
        if bits == 0 || n_words(tokens) < bits.count_ones() as usize + REMAINING {
            return None;
        }
        let mut opened = tokens.to_vec();
        open(&mut opened, Holes::Many(bits));
        self.by_key
            .has(key_of(&opened))
            .then_some(Holes::Many(bits))
    }

    /// Counts a line of the template with this key; whether there is one.
    pub(super) fn count(&mut self, key: u64) -> bool {
        let Some(group) = self.by_key.get(key) else {
            return false;
        };
        group.count = group.count.saturating_add(1);
        true
    }

    /// Takes in a line of a kind that was not seen before; its key.
    pub(super) fn add(&mut self, pattern: Pattern) -> u64 {
        self.n_born += 1;
        let group = Group {
            id: self.new_id(key_of(&pattern.tokens)),
            age: self.n_born,
            pattern,
            count: 1,
            absorbed: Vec::new(),
            template: None,
        };
        // Before it is there, or it would be the only one that was not used yet.
        while self.by_key.len() >= self.limits.templates
            || self.bytes.saturating_add(group.size()) > self.limits.bytes
        {
            if !self.evict() {
                break;
            }
        }
        let key = self.insert(group);
        while self.holes.len() > self.limits.holes && self.holes.evict().is_some() {
            self.generation += 1;
        }
        while self.families.len() > self.limits.families && self.families.evict().is_some() {
            self.generation += 1;
        }
        key
    }

    /// The id of a template that begins with a line of this key: a hash of it, so that it is the
    /// same in every life and on every machine, unless another template has it.
    pub(super) fn new_id(&mut self, key: u64) -> u64 {
        let mut id = mix(key) >> (64 - ID_BITS);
        // An id that leads to a template that is there is one of its own.
        while id == 0 || self.by_id.contains_key(&self.aliases.resolve(id)) {
            id = mix(id.wrapping_add(key)) >> (64 - ID_BITS);
        }
        self.aliases.remove(id);
        id
    }

    /// Ends, because every turn but the last makes words into variables or unites two groups.
    fn insert(&mut self, mut group: Group) -> u64 {
        loop {
            let key = key_of(&group.pattern.tokens);
            if let Some(old) = self.by_key.get(key) {
                self.by_id.remove(&old.id);
                old.absorb(group, &mut self.aliases);
                self.by_id.insert(old.id, key);
                return key;
            }
            if let Some(holes) = self.known_holes(key, &group.pattern.tokens) {
                group.pattern.open(holes);
                continue;
            }
            let tokens = group.pattern.tokens.clone();
            self.put(key, group, false);
            self.join_family(key, &tokens);
            let Some(found) = self
                .evidence(key, &tokens)
                .or_else(|| self.evidence_of_many(key, &tokens))
            else {
                return key;
            };
            match self.promote(&found) {
                Some(united) => group = united,
                None => return key,
            }
        }
    }

    /// Adds a template under its key.
    pub(super) fn put(&mut self, key: u64, group: Group, is_used: bool) {
        self.bytes += group.size();
        self.by_id.insert(group.id, key);
        self.remember(key, &group.pattern.tokens);
        self.by_key.insert(key, group, is_used);
    }

    /// Makes the line a sibling of those that differ from it at one place.
    fn remember(&mut self, key: u64, tokens: &[Token]) {
        if n_words(tokens) >= 2 {
            for at in (0..tokens.len()).filter(|at| !tokens[*at].is_variable()) {
                let siblings = self
                    .contexts
                    .entry(context(with_hole(key, tokens, at), at))
                    .or_default();
                if !siblings.contains(&key) {
                    siblings.push(key);
                }
            }
        }
    }

    fn join_family(&mut self, key: u64, tokens: &[Token]) {
        let Some(name) = family::of(tokens) else {
            return;
        };
        if !self.families.has(name) {
            self.families.insert(name, Family::default(), false);
        }
        if let Some(family) = self.families.get(name) {
            family.add(key);
        }
    }

    fn take(&mut self, key: u64) -> Option<Group> {
        let group = self.by_key.remove(key)?;
        self.forget(key, &group);
        Some(group)
    }

    /// Removes every trace of a template that is gone.
    fn forget(&mut self, key: u64, group: &Group) {
        self.bytes = self.bytes.saturating_sub(group.size());
        self.by_id.remove(&group.id);
        let tokens = &group.pattern.tokens;
        for at in (0..tokens.len()).filter(|at| !tokens[*at].is_variable()) {
            let context = context(with_hole(key, tokens, at), at);
            let Some(siblings) = self.contexts.get_mut(&context) else {
                continue;
            };
            if let Some(place) = siblings.iter().position(|sibling| *sibling == key) {
                siblings.swap_remove(place);
            }
            if siblings.is_empty() {
                self.contexts.remove(&context);
            }
        }
    }

    /// The lines of a context that are still there, in an order that does not depend on theirs.
    fn live(&self, context: u64) -> Vec<u64> {
        let siblings = self.contexts.get(&context).map_or(&[][..], Vec::as_slice);
        let mut live: Vec<u64> = siblings
            .iter()
            .copied()
            .filter(|key| self.by_key.has(*key))
            .collect();
        live.sort_unstable();
        live
    }

    /// The best reason to open one place of this line.
    fn evidence(&self, key: u64, tokens: &[Token]) -> Option<Evidence> {
        let remaining = n_words(tokens).checked_sub(1)?;
        let mut best: Option<Evidence> = None;
        for at in (0..tokens.len()).filter(|at| !tokens[*at].is_variable()) {
            let holed = with_hole(key, tokens, at);
            let context = context(holed, at);
            let siblings = self.live(context);
            // The same line with a variable at this place was seen: `user 7` and `user admin`.
            let is_variable_elsewhere = remaining >= REMAINING && at > 0 && self.by_key.has(holed);
            let weight = if is_variable_elsewhere {
                usize::MAX
            } else {
                self.weight(&siblings, at, remaining)
            };
            if weight > best.as_ref().map_or(0, |best| best.weight) {
                best = Some(Evidence {
                    weight,
                    holes: Holes::One(at),
                    context,
                    siblings,
                });
            }
        }
        if best.is_some() || remaining + 1 < REMAINING {
            return best;
        }
        // And the other way round: this line has the variable, and others have words.
        (1..tokens.len())
            .filter(|at| tokens[*at].is_variable())
            .find_map(|at| {
                let context = context(key, at);
                let siblings = self.live(context);
                (!siblings.is_empty()).then_some(Evidence {
                    weight: usize::MAX,
                    holes: Holes::One(at),
                    context,
                    siblings,
                })
            })
    }

    /// How much the siblings say for a hole at this place; 0 if not enough.
    fn weight(&self, siblings: &[u64], at: usize, remaining: usize) -> usize {
        if remaining == 0 || siblings.len() < ENOUGH_NAMES {
            return 0;
        }
        let groups = || siblings.iter().filter_map(|key| self.by_key.peek(*key));
        // `sda1` may be a name among few words, or the only word that tells a message.
        let soft = if remaining < REMAINING {
            SOFT
        } else {
            SOFT | NUMBERED
        };
        let is_soft = |group: &Group| {
            let token = group.pattern.tokens.get(at);
            token.is_some_and(|token| token.flags & soft != 0)
        };
        let n = groups().filter(|group| group.count < ESTABLISHED).count();
        let mut needed = ENOUGH << REMAINING.saturating_sub(remaining);
        if at == 0 && remaining < MANY_REMAIN {
            needed *= 2;
        }
        let are_names = n >= ENOUGH_NAMES && groups().all(is_soft);
        if n >= needed || are_names { n } else { 0 }
    }

    /// A reason to open several places of this line together: lines that differ from it at exactly
    /// these, each time in all of them.
    fn evidence_of_many(&self, key: u64, tokens: &[Token]) -> Option<Evidence> {
        let family = self.families.peek(family::of(tokens)?)?;
        let live = family.keys.iter().filter(|other| **other != key);
        let live = live.filter_map(|other| Some((*other, self.by_key.peek(*other)?)));
        let others: Vec<_> = live
            .filter(|(_, group)| group.count < ESTABLISHED)
            .map(|(other, group)| (other, group.pattern.tokens.as_slice()))
            .collect();
        let (bits, siblings) = family::holes(key, tokens, &others)?;
        Some(Evidence {
            weight: siblings.len(),
            holes: Holes::Many(bits),
            context: context_of_many(with_holes(key, tokens, bits), bits),
            siblings,
        })
    }

    /// Opens the hole and unites its lines; what they become.
    fn promote(&mut self, found: &Evidence) -> Option<Group> {
        self.generation += 1;
        if !self.holes.has(found.context) {
            self.holes.insert(found.context, (), false);
        }
        if let Holes::Many(bits) = found.holes {
            let tokens = &self.by_key.peek(*found.siblings.first()?)?.pattern.tokens;
            let family = self.families.get(family::of(tokens)?)?;
            family.open(bits);
        }
        self.contexts.remove(&found.context);
        let mut taken: Vec<Group> = found
            .siblings
            .iter()
            .filter_map(|key| self.take(*key))
            .collect();
        // The oldest lends its text.
        taken.sort_unstable_by_key(|group| group.age);
        let mut taken = taken.into_iter();
        let mut united = taken.next()?;
        for group in taken {
            united.absorb(group, &mut self.aliases);
        }
        united.pattern.open(found.holes);
        Some(united)
    }

    fn evict(&mut self) -> bool {
        let Some((key, group)) = self.by_key.evict() else {
            return false;
        };
        self.forget(key, &group);
        self.n_evicted += 1;
        true
    }
}
