//! What a miner has learnt, as JSON.

use std::collections::HashSet;

use homeostasis_core::{ConfigError, Violation, Violations};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::aliases::Aliases;
use super::family::{self, Family};
use super::groups::{Group, Groups, ID_BITS, Limits};
use super::miner::TemplateMiner;
use super::pattern::{Pattern, key_of};
use super::scan::{MAX_BYTES, MAX_TOKENS, Token};

pub(super) const VERSION: u32 = 2;

/// All that is stored of a miner: a copy, so that writing it holds nobody up.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Stored {
    version: u32,
    n_lines: u64,
    n_evicted: u64,
    n_born: u64,
    templates: Vec<StoredGroup>,
    holes: Vec<(u64, bool)>,
    families: Vec<StoredFamily>,
    /// From which id to which.
    aliases: Vec<(u64, u64)>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredGroup {
    id: u64,
    age: u64,
    text: String,
    n_lines: u64,
    /// Word, flags, begin and end.
    tokens: Vec<(u64, u8, u32, u32)>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    absorbed: Vec<u64>,
    is_used: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredFamily {
    name: u64,
    keys: Vec<u64>,
    holes: Vec<u64>,
    is_used: bool,
}

impl Stored {
    pub(super) fn of(miner: &TemplateMiner) -> Self {
        let groups = &miner.groups;
        Self {
            version: VERSION,
            n_lines: miner.n_lines,
            n_evicted: groups.n_evicted,
            n_born: groups.n_born,
            templates: groups
                .by_key
                .iter()
                .map(|(_, group, is_used)| StoredGroup {
                    id: group.id,
                    age: group.age,
                    text: group.pattern.text.clone(),
                    n_lines: group.count,
                    tokens: group
                        .pattern
                        .tokens
                        .iter()
                        .map(|token| (token.word, token.flags, token.start, token.end))
                        .collect(),
                    absorbed: group.absorbed.clone(),
                    is_used,
                })
                .collect(),
            holes: groups
                .holes
                .iter()
                .map(|(hole, (), is_used)| (hole, is_used))
                .collect(),
            families: groups
                .families
                .iter()
                .map(|(name, family, is_used)| StoredFamily {
                    name,
                    keys: family.keys.iter().copied().collect(),
                    holes: family.holes.iter().copied().collect(),
                    is_used,
                })
                .collect(),
            aliases: groups.aliases.iter().collect(),
        }
    }

    pub(super) fn to_value(&self) -> Value {
        // Numbers, texts and lists of them always serialize.
        serde_json::to_value(self).unwrap_or_default()
    }
}

pub(super) fn load(state: &Value, limits: Limits) -> Result<TemplateMiner, ConfigError> {
    let stored = Stored::deserialize(state).map_err(|error| {
        ConfigError::single(
            "template_miner",
            error,
            "the state that a template miner saves",
        )
    })?;
    let mut found = Violations::new();
    if stored.version != VERSION {
        let expected = format!("version {VERSION}");
        found.push(Violation::new("version", stored.version, expected));
    }
    for (path, n, most) in [
        ("templates", stored.templates.len(), limits.templates),
        ("holes", stored.holes.len(), limits.holes),
        ("families", stored.families.len(), limits.families),
        ("aliases", stored.aliases.len(), Aliases::MOST),
    ] {
        if n > most {
            let expected = format!("at most {most}");
            found.push(Violation::new(path, n, expected));
        }
    }
    if stored.n_born > u64::MAX / 2 {
        let expected = "from 0 to 2^63 - 1";
        found.push(Violation::new("n_born", stored.n_born, expected));
    }
    let mut led = HashSet::new();
    for (at, (from, to)) in stored.aliases.iter().enumerate() {
        // What leads on is led on later: so nothing leads in a circle.
        let is_known = is_id(*from) && is_id(*to) && from != to;
        if !is_known || led.contains(to) || !led.insert(*from) {
            let expected = "from an id that leads nowhere yet to another one that does not";
            let value = format!("{from} to {to}");
            found.push(Violation::new(format!("aliases[{at}]"), value, expected));
        }
    }
    for (at, family) in stored.families.iter().enumerate() {
        let (n_keys, n_holes) = (family.keys.len(), family.holes.len());
        if n_keys > family::MOST_KEYS || n_holes > family::MOST_HOLES {
            let (keys, holes) = (family::MOST_KEYS, family::MOST_HOLES);
            let expected = format!("at most {keys} keys and {holes} holes");
            let value = format!("{n_keys} keys and {n_holes} holes");
            found.push(Violation::new(format!("families[{at}]"), value, expected));
        }
    }
    // What is out of its bounds is not worked on.
    found.into_result(())?;
    let mut found = Violations::new();
    let mut groups = Groups::new(limits);
    (groups.n_born, groups.n_evicted) = (stored.n_born, stored.n_evicted);
    for (hole, is_used) in stored.holes {
        groups.holes.insert(hole, (), is_used);
    }
    for family in stored.families {
        let restored = Family {
            keys: family.keys.into(),
            holes: family.holes.into(),
        };
        groups
            .families
            .insert(family.name, restored, family.is_used);
    }
    for (from, to) in stored.aliases {
        groups.aliases.add(from, to);
    }
    let mut ages = HashSet::new();
    for (at, stored) in stored.templates.into_iter().enumerate() {
        if let Some(wrong) = stored.violation(&groups, &mut ages) {
            found.push(wrong.under(&format!("templates[{at}]")));
            continue;
        }
        let is_used = stored.is_used;
        let group = stored.into_group();
        groups.put(key_of(&group.pattern.tokens), group, is_used);
    }
    found.into_result(TemplateMiner::of(groups, stored.n_lines))
}

fn is_id(id: u64) -> bool {
    (1..1 << ID_BITS).contains(&id)
}

impl StoredGroup {
    fn violation(&self, groups: &Groups, ages: &mut HashSet<u64>) -> Option<Violation> {
        let is_taken = groups.by_id.contains_key(&self.id) || groups.aliases.has(self.id);
        if !is_id(self.id) || is_taken {
            let expected = format!("an id of its own from 1 to below 2^{ID_BITS}");
            return Some(Violation::new("id", self.id, expected));
        }
        if !(1..=groups.n_born).contains(&self.age) || !ages.insert(self.age) {
            let expected = format!("an age of its own from 1 to {}", groups.n_born);
            return Some(Violation::new("age", self.age, expected));
        }
        // A variable may be written longer than it was read.
        let longest = 2 * MAX_BYTES;
        if self.text.len() > longest || self.tokens.len() > MAX_TOKENS {
            let expected = format!("at most {longest} bytes and {MAX_TOKENS} tokens");
            let value = format!("{} bytes, {} tokens", self.text.len(), self.tokens.len());
            return Some(Violation::new("text", value, expected));
        }
        let are_ids = self.absorbed.iter().all(|id| is_id(*id));
        if self.absorbed.len() > Group::MOST_ABSORBED || !are_ids {
            let most = Group::MOST_ABSORBED;
            let expected = format!("at most {most} ids below 2^{ID_BITS}");
            return Some(Violation::new("absorbed", self.absorbed.len(), expected));
        }
        let mut from = 0;
        for (at, (_, _, start, end)) in self.tokens.iter().enumerate() {
            let range = *start as usize..*end as usize;
            if *start < from || self.text.get(range).is_none() {
                let value = format!("{start}..{end}");
                let expected = "a part of the text after the one before";
                return Some(Violation::new(format!("tokens[{at}]"), value, expected));
            }
            from = *end;
        }
        let key = key_of(&self.tokens());
        groups.by_key.has(key).then(|| {
            let expected = "tokens that no other template has";
            Violation::new("tokens", format!("{:?}", self.text), expected)
        })
    }

    fn tokens(&self) -> Vec<Token> {
        let token = |&(word, flags, start, end): &(u64, u8, u32, u32)| Token {
            word,
            flags,
            start,
            end,
        };
        self.tokens.iter().map(token).collect()
    }

    fn into_group(self) -> Group {
        let tokens = self.tokens();
        Group {
            pattern: Pattern {
                tokens,
                text: self.text,
            },
            id: self.id,
            age: self.age,
            count: self.n_lines,
            absorbed: self.absorbed,
            template: None,
        }
    }
}
