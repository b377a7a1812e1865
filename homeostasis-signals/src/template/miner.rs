//! The miner.

use homeostasis_core::ConfigError;
use homeostasis_core::signal::LogTemplate;
use serde_json::Value;

use super::groups::{Groups, Limits};
use super::pattern::{Pattern, key_of};
use super::scan::{Scanner, Token};
use super::state::{self, Stored};

/// Bounds of a miner: about 60 MB at the utmost, a few in life. What lines differ at is counted with
/// each template and goes with it.
const LIMITS: Limits = Limits {
    templates: 16_384,
    bytes: 32 << 20,
    holes: 65_536,
    families: 4_096,
};

/// So many of the newest keys are found again without looking for their holes.
const RECENT: usize = 1 << 14;

/// Learns the templates of log messages from the messages themselves, one at a time.
///
/// *What is a variable:* by look, the same for every program: numbers and whatever holds a digit,
/// addresses, hosts, paths, URLs, ids, times, quoted values of `name="…"`, printed objects. And by
/// evidence: a place where enough different words were seen while the rest stayed the same. How
/// many are enough grows as fewer words remain, so that `link up` and `link down` stay apart.
/// Punctuation does not count. There is nothing to configure.
///
/// *Ids:* an id is a hash of the first message of its template, of 53 bits, so that it is exact
/// where numbers are doubles; 0 is none. The same first message gives the same id in every life and
/// on every machine, unless a template that is there has it. A template keeps its id as it becomes
/// more general. When templates turn out to be one, the id of the oldest stays and the others lead
/// to it: [`resolve`](Self::resolve), and [`LogTemplate::absorbed`] of every line that comes.
/// [`save`](Self::save) and [`load`](Self::load) keep all this through a restart.
///
/// *Bounds:* 16 384 templates of together about 32 MB, of which the one unused for longest gives
/// way, 65 536 places opened by evidence, and as many ids that
/// lead to another. Of a message the first line that is not blank is read, 4 096 bytes and 256
/// words of it. *Cost:* linear in the line; a line of a known template takes one look-up, one with
/// a new word at an open place as many as it has words.
///
/// The same messages in the same order give the same ids, on every machine.
///
/// # Examples
/// ```
/// use homeostasis::signals::TemplateMiner;
/// let mut miner = TemplateMiner::default();
/// let first = miner.mine("order 17 of ann@example.com booked in 3.2 ms");
/// assert_eq!(miner.mine("order 18 of bob@example.com booked in 0.9 ms"), first);
/// assert_eq!(miner.text(first), Some("order <*> of <*> booked in <*>"));
///
/// let declined = miner.template("order 19 of eve@example.com declined");
/// assert_ne!(declined.id(), first);
/// let message = "order 19 of eve@example.com declined";
/// assert_eq!(declined.variables(message).collect::<Vec<_>>(), ["19", "eve@example.com"]);
/// ```
#[derive(Debug)]
pub struct TemplateMiner {
    scanner: Scanner,
    pub(super) groups: Groups,
    /// Kept from one line to the next.
    tokens: Vec<Token>,
    recent: Vec<Recent>,
    pub(super) n_lines: u64,
}

/// Where the key of a line led.
#[derive(Debug, Clone, Copy, Default)]
struct Recent {
    line: u64,
    key: u64,
    generation: u64,
}

/// A template as a miner knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MinedTemplate {
    /// Its id.
    pub id: u64,
    /// Its text, with `<*>` for variables.
    pub text: String,
    /// How many lines were of it.
    pub n_lines: u64,
}

/// What a miner has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct TemplateMinerStats {
    /// Lines read.
    pub n_lines: u64,
    /// Templates known now.
    pub n_templates: usize,
    /// Ids given so far.
    pub n_ids: u64,
    /// Templates that gave way to newer ones.
    pub n_evicted: u64,
}

impl Default for TemplateMiner {
    fn default() -> Self {
        Self::new()
    }
}

impl TemplateMiner {
    /// A miner that has seen nothing.
    pub fn new() -> Self {
        Self {
            scanner: Scanner::default(),
            groups: Groups::new(LIMITS),
            tokens: Vec::new(),
            recent: vec![Recent::default(); RECENT],
            n_lines: 0,
        }
    }

    /// Learns a message; the id of its template. A blank message has a template too, without text.
    pub fn mine(&mut self, message: &str) -> u64 {
        let key = self.key(message);
        self.groups.by_key.peek(key).map_or(0, |group| group.id)
    }

    /// Learns a message; its template with the variables of this message.
    pub fn template(&mut self, message: &str) -> LogTemplate {
        let key = self.key(message);
        let Some(group) = self.groups.by_key.peek_mut(key) else {
            return LogTemplate::new(0, "");
        };
        let template = group.template.get_or_insert_with(|| {
            LogTemplate::new(group.id, group.pattern.text.as_str())
                .absorbing(group.absorbed.iter().copied())
        });
        template.of_line(group.pattern.variables(message, &self.scanner))
    }

    /// The key of a message's template, in which it is counted.
    fn key(&mut self, message: &str) -> u64 {
        self.n_lines += 1;
        self.scanner.scan(message);
        let line = key_of(&self.scanner.tokens);
        if self.groups.count(line) {
            return line;
        }
        let slot = usize::try_from(line >> 20).unwrap_or(0) % RECENT;
        let recent = self.recent[slot];
        if recent.line == line
            && recent.generation == self.groups.generation
            && self.groups.count(recent.key)
        {
            return recent.key;
        }
        self.tokens.clone_from(&self.scanner.tokens);
        let key = match self.groups.find(&mut self.tokens) {
            Some(key) => {
                self.groups.count(key);
                key
            }
            None => self.groups.add(Pattern::of(message, &self.scanner)),
        };
        self.recent[slot] = Recent {
            line,
            key,
            generation: self.groups.generation,
        };
        key
    }

    /// The id that stands for `id` now: of the template it was united with, or itself.
    pub fn resolve(&self, id: u64) -> u64 {
        self.groups.aliases.resolve(id)
    }

    /// The text of a template; `None` for one that gave way, or never was.
    pub fn text(&self, id: u64) -> Option<&str> {
        let key = self.groups.by_id.get(&self.resolve(id))?;
        Some(self.groups.by_key.peek(*key)?.pattern.text.as_str())
    }

    /// All templates known now, the oldest first.
    pub fn templates(&self) -> Vec<MinedTemplate> {
        let groups = self.groups.by_key.iter().map(|(_, group, _)| group);
        let mut groups: Vec<_> = groups.collect();
        groups.sort_unstable_by_key(|group| group.age);
        groups
            .into_iter()
            .map(|group| MinedTemplate {
                id: group.id,
                text: group.pattern.text.clone(),
                n_lines: group.count,
            })
            .collect()
    }

    /// What it has seen.
    pub fn stats(&self) -> TemplateMinerStats {
        TemplateMinerStats {
            n_lines: self.n_lines,
            n_templates: self.groups.by_key.len(),
            n_ids: self.groups.n_born,
            n_evicted: self.groups.n_evicted,
        }
    }

    /// All it has learnt. A miner that [loads](Self::load) it goes on as this one would.
    pub fn save(&self) -> Value {
        Stored::of(self).to_value()
    }

    /// Takes up what another miner has learnt, in place of what this one has.
    ///
    /// # Errors
    /// Everything in `state` that no miner saves, with its place; this one is then as it was.
    pub fn load(&mut self, state: &Value) -> Result<(), ConfigError> {
        *self = state::load(state, LIMITS)?;
        Ok(())
    }

    pub(super) fn of(groups: Groups, n_lines: u64) -> Self {
        Self {
            groups,
            n_lines,
            ..Self::new()
        }
    }
}

#[cfg(test)]
mod tests;
