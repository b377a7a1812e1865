//! The redactor: one pass that looks for literals, and a close look where one stands.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::sync::{LazyLock, OnceLock};

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};
use homeostasis_core::port::Redactor;
use regex::{Regex, RegexSet};

use super::assignment::{assigned, identifier};
use super::builder::SecretRedactorBuilder;
use super::card;
use super::check::{self, looks_random};
use super::key_line;
use super::kinds::{KINDS, Kind, Reach};
use super::marker;
use super::named::{is_of_the_public, secret_of};
use super::names::{self, Normal, Strength};
use super::plausible::{is_harmless, random_nearby};
use super::search::{By, Search, Span};

/// Replaces secrets by what they were: `[redacted:github-token]`.
///
/// Values are judged by the name of their field ([`field`](Redactor::field)), and texts by what
/// stands in them ([`text`](Redactor::text)): tokens of a known shape, `name=value` in all its
/// notations, headers, URLs with passwords, private keys, payment cards, and what looks drawn by
/// chance near a word such as `token`. [`kinds`](SecretRedactor::kinds) lists them all.
///
/// A text is searched once for some two hundred literals; only where one stands is it looked at
/// closely. The cost is linear in the length of the text, and a text without secrets comes back
/// borrowed.
///
/// ```
/// use homeostasis::core::port::Redactor;
/// use homeostasis::signals::SecretRedactor;
/// let redactor = SecretRedactor::default();
/// assert_eq!(
///     redactor.text("connecting to postgres://shop:hunter2@db:5432/orders"),
///     "connecting to postgres://shop:[redacted:url-password]@db:5432/orders"
/// );
/// assert_eq!(redactor.field("db.password", "hunter2"), "[redacted:password]");
/// assert_eq!(redactor.field("token_count", "17"), "17");
/// ```
///
/// # What it does not find
/// A password in prose without any sign of being one (`log in as shop with hunter2`), what a host
/// encrypts, compresses or encodes itself, and a secret cut in two by the bounds of a source.
#[derive(Clone)]
pub struct SecretRedactor {
    literals: AhoCorasick,
    /// What to do where a literal stands, by literal.
    duties: Vec<Vec<Duty>>,
    own: Vec<Own>,
    own_set: RegexSet,
    own_names: Vec<Normal>,
    innocent_names: Vec<Normal>,
    allowed: RegexSet,
    without: Vec<String>,
}

/// A pattern of the host.
#[derive(Debug, Clone)]
pub(super) struct Own {
    pub(super) name: String,
    pub(super) regex: Regex,
}

/// Everything a host added, checked.
#[derive(Debug, Default)]
pub(super) struct Additions {
    pub(super) own: Vec<Own>,
    pub(super) own_set: RegexSet,
    pub(super) names: Vec<String>,
    pub(super) innocent_names: Vec<String>,
    pub(super) allowed: RegexSet,
    pub(super) without: Vec<String>,
}

/// What to do where a literal stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Duty {
    /// Step over what was redacted before.
    Marker,
    /// See whether it is a secret of this row of the table.
    Kind(usize),
    /// See whether it is the name of a secret.
    Name,
}

/// The kind of what a name of the host names.
const OWN_NAME: &str = "secret";

/// The kind of what looks drawn by chance near a name.
const RANDOM: &str = "high-entropy";

/// The `@` after a password is looked for over this many bytes.
const LONGEST_LOGIN: usize = 512;

impl SecretRedactor {
    /// Begins a redactor with patterns of the host.
    pub fn builder() -> SecretRedactorBuilder {
        SecretRedactorBuilder::default()
    }

    /// The kinds it knows: what stands in the marker, and what it is; by name.
    pub fn kinds() -> Vec<(&'static str, &'static str)> {
        let by_value = KINDS.iter().map(|kind| (kind.name, kind.what));
        let by_name = names::NAMES.iter().map(|names| (names.kind, names.what));
        let others = [
            (
                card::KIND,
                "number of a payment card with a valid check digit",
            ),
            (
                RANDOM,
                "what looks drawn by chance near the name of a secret",
            ),
            (
                key_line::KIND,
                "a line of base64 alone, as in a private key that was cut into lines",
            ),
        ];
        let mut kinds: Vec<_> = by_value.chain(by_name).chain(others).collect();
        kinds.sort_unstable();
        kinds.dedup_by_key(|(name, _)| *name);
        kinds
    }

    /// The kinds that are known by how they look, with the regular expression of each, for other
    /// tools that look for secrets: a kind may stand there more than once.
    ///
    /// The group `secret` is the secret where there is one. An expression alone finds more than the
    /// redactor, which also looks at what stands around a match and at check digits.
    ///
    /// ```
    /// use homeostasis::signals::SecretRedactor;
    /// assert!(SecretRedactor::expressions().any(|(kind, _)| kind == "jwt"));
    /// ```
    pub fn expressions() -> impl Iterator<Item = (&'static str, &'static str)> {
        KINDS.iter().map(|kind| (kind.name, kind.regex))
    }

    pub(super) fn with(additions: Additions) -> Self {
        let mut literals: Vec<String> = vec![marker::HEAD.to_owned()];
        let mut duties = vec![vec![Duty::Marker]];
        let mut add = |literal: &str, duty: Duty| {
            let literal = literal.to_ascii_lowercase();
            let i = literals.iter().position(|known| *known == literal);
            let i = i.unwrap_or_else(|| {
                literals.push(literal);
                duties.push(Vec::new());
                duties.len() - 1
            });
            duties[i].push(duty);
        };
        for (row, kind) in KINDS.iter().enumerate() {
            if !additions.without.iter().any(|name| name == kind.name) {
                for literal in kind.literals {
                    add(literal, Duty::Kind(row));
                }
            }
        }
        for literal in names::LITERALS {
            add(literal, Duty::Name);
        }
        for name in &additions.names {
            add(last_word(name), Duty::Name);
        }
        let automaton = AhoCorasick::builder()
            .kind(Some(AhoCorasickKind::DFA))
            .match_kind(MatchKind::Standard)
            .ascii_case_insensitive(true)
            .build(&literals)
            .expect("some hundreds of short literals fit the automaton");
        let normal = |names: &[String]| names.iter().map(|name| Normal::of(name)).collect();
        Self {
            literals: automaton,
            duties,
            own_names: normal(&additions.names),
            innocent_names: normal(&additions.innocent_names),
            own: additions.own,
            own_set: additions.own_set,
            allowed: additions.allowed,
            without: additions.without,
        }
    }

    /// The kind that the name of a field promises, and how sure that is.
    fn name_kind(&self, name: &str) -> Option<(&'static str, Strength, usize)> {
        let normal = Normal::of(name);
        let ends_with_any = |names: &[Normal]| {
            names
                .iter()
                .any(|known| normal.as_bytes().ends_with(known.as_bytes()))
        };
        if ends_with_any(&self.innocent_names) {
            return None;
        }
        if ends_with_any(&self.own_names) {
            return Some((OWN_NAME, Strength::Sure, normal.as_bytes().len()));
        }
        let names = names::classify(&normal)?;
        self.wants(names.kind)
            .then_some((names.kind, names.strength, normal.as_bytes().len()))
    }

    fn wants(&self, kind: &str) -> bool {
        !self.without.iter().any(|name| name == kind)
    }

    fn is_allowed(&self, secret: &str) -> bool {
        !self.allowed.is_empty() && self.allowed.is_match(secret)
    }

    fn search<'a>(&'a self, text: &str) -> Search<'a> {
        let mut search = Search::default();
        for hit in self.literals.find_overlapping_iter(text) {
            if search.decided.contains(&hit.start()) {
                continue;
            }
            for duty in &self.duties[hit.pattern().as_usize()] {
                match duty {
                    Duty::Marker => search.step_over(text, hit.start()),
                    Duty::Kind(row) => self.look_at(text, hit.range(), *row, &mut search),
                    Duty::Name => self.look_at_name(text, hit.range(), &mut search),
                }
            }
        }
        if self.wants(card::KIND) {
            for range in card::numbers(text) {
                self.found(text, range, (By::Look, card::KIND), &mut search);
            }
        }
        if self.wants(key_line::KIND) {
            for range in key_line::lines(text) {
                self.found(text, range, (By::Name, key_line::KIND), &mut search);
            }
        }
        let own = (!self.own.is_empty()).then(|| self.own_set.matches(text));
        for i in own.iter().flatten() {
            let own = &self.own[i];
            for captures in own.regex.captures_iter(text) {
                if let Some(secret) = captures.name("secret").or_else(|| captures.get(0)) {
                    self.found(text, secret.range(), (By::Look, &own.name), &mut search);
                }
            }
        }
        search
    }

    fn found<'a>(
        &self,
        text: &str,
        range: Range<usize>,
        (by, kind): (By, &'a str),
        search: &mut Search<'a>,
    ) {
        let secret = &text[range.clone()];
        let is_marked = match by {
            By::Look => marker::begins(secret),
            By::Name => marker::end(secret, 0) == Some(secret.len()),
        };
        if !range.is_empty()
            && !is_marked
            && !search.cuts_a_marker(&range)
            && !self.is_allowed(secret)
        {
            search.decided = range.clone();
            search.spans.push(Span { range, by, kind });
        }
    }

    /// Whether a secret of the table's row stands at the literal.
    fn look_at(&self, text: &str, hit: Range<usize>, row: usize, search: &mut Search<'_>) {
        let kind = &KINDS[row];
        let bytes = text.as_bytes();
        let before = |i: usize| i.checked_sub(1).map_or(b' ', |i| bytes[i]);
        let back = |n: usize, is_part: fn(&u8) -> bool| {
            let reach = bytes[..hit.start].iter().rev().take(n);
            hit.start - reach.take_while(|byte| is_part(byte)).count()
        };
        let is_part = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let start = match kind.reach {
            Reach::Word
                if is_part(before(hit.start)) && !check::follows_escape(bytes, hit.start) =>
            {
                return;
            }
            Reach::Anywhere | Reach::Word | Reach::Login => hit.start,
            Reach::Run(n) => {
                let start = back(n, |byte| !ends_run(*byte));
                (start..hit.start)
                    .find(|i| text.is_char_boundary(*i))
                    .unwrap_or(hit.start)
            }
            Reach::Digits(n) => back(n, u8::is_ascii_digit),
            Reach::Hex(n) => back(n, u8::is_ascii_hexdigit),
            Reach::Token(n) => back(n, |byte| {
                byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'~' | b'.')
            }),
        };
        if search
            .failed
            .iter()
            .any(|(failed, end)| *failed == row && start < *end)
        {
            return;
        }
        let end = match kind.reach {
            Reach::Login => {
                let run = bytes[start..].iter().take(LONGEST_LOGIN);
                let run = run.take_while(|byte| !ends_run(**byte)).count();
                let last = bytes[start..start + run]
                    .iter()
                    .rposition(|byte| *byte == b'@');
                let Some(last) = last else { return };
                start + last + 1
            }
            _ => text.len(),
        };
        let Some(captures) = compiled(row, kind).captures(&text[start..end]) else {
            return;
        };
        let Some(secret) = captures.name("secret").or_else(|| captures.get(0)) else {
            return;
        };
        let range = start + secret.start()..start + secret.end();
        if check::holds(kind.check, secret.as_str())
            && !is_harmless(secret.as_str())
            && !marker::begins(secret.as_str())
        {
            self.found(text, range, (By::Look, kind.name), search);
        } else {
            search.failed.retain(|(failed, _)| *failed != row);
            search.failed.push((row, range.end));
        }
    }

    /// Whether a name of a secret stands at the literal, and a value after it.
    fn look_at_name(&self, text: &str, hit: Range<usize>, search: &mut Search<'_>) {
        if hit.start < search.named {
            return;
        }
        let name = identifier(text, hit);
        let name = name.start.max(search.named)..name.end;
        search.named = name.end;
        let value = assigned(text, &name, &mut search.bare);
        let rest = &text[name.end..];
        // Prose: a close look only if something follows that could be one.
        if value.is_none() && !rest.starts_with([' ', '\t', '"', '\'', '(']) {
            return;
        }
        let Some((kind, strength, n_letters)) = self.name_kind(&text[name.clone()]) else {
            return;
        };
        if let Some(value) = value
            && let Some(range) = secret_of(text, (&name, &value), kind, strength, n_letters)
        {
            self.found(text, range, (By::Name, kind), search);
        } else if self.wants(RANDOM)
            && !is_of_the_public(&text[..name.start])
            && let Some(range) = random_nearby(text, name.end, &mut search.near)
        {
            self.found(text, range, (By::Name, RANDOM), search);
        }
    }
}

/// Whether the byte ends a URL or another run without blanks and quotes.
fn ends_run(byte: u8) -> bool {
    byte.is_ascii_whitespace() || matches!(byte, b'"' | b'\'' | b'`' | b'<' | b'>')
}

/// The last word of a name.
fn last_word(name: &str) -> &str {
    let mut words = name.split(|letter: char| !letter.is_ascii_alphanumeric());
    words.rfind(|word| !word.is_empty()).unwrap_or(name)
}

/// The expression of a row, made when it is first needed.
fn compiled(row: usize, kind: &Kind) -> &'static Regex {
    static COMPILED: LazyLock<Vec<OnceLock<Regex>>> =
        LazyLock::new(|| KINDS.iter().map(|_| OnceLock::new()).collect());
    COMPILED[row].get_or_init(|| {
        let ascii = kind.regex.replace(r"\b", r"(?-u:\b)");
        Regex::new(&format!(r"\A(?:{ascii})")).expect("a test compiles every row")
    })
}

/// How often a text from which secrets were taken is looked at again: more than secrets stand inside
/// of each other.
const MAX_ROUNDS: usize = 8;

impl Redactor for SecretRedactor {
    fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let search = self.search(text);
        if search.spans.is_empty() {
            return Cow::Borrowed(text);
        }
        let mut redacted = search.apply(text);
        // Where one secret stood inside of another, the marker can make the outer one plain.
        for _ in 0..MAX_ROUNDS {
            let again = self.search(&redacted);
            if again.spans.is_empty() {
                return Cow::Owned(redacted);
            }
            redacted = again.apply(&redacted);
        }
        // Nobody writes such a text but to hide something in it: the rest goes as a whole.
        let search = self.search(&redacted);
        let rest = search.spans.iter().map(|span| span.range.start).min();
        if let Some(start) = rest {
            redacted.truncate(start);
            marker::push(&mut redacted, "rest");
        }
        Cow::Owned(redacted)
    }

    fn field<'a>(&self, name: &str, value: &'a str) -> Cow<'a, str> {
        let is_marker = marker::end(value, 0) == Some(value.len());
        let Some((kind, strength, _)) = self.name_kind(name).filter(|_| !is_marker) else {
            return self.text(value);
        };
        let is_weak = strength == Strength::Weak && kind == "secret" && !looks_random(value);
        // Signs that stand for a secret in a text may be one in a field that says it holds it.
        let is_named = !value.starts_with("${") && value.contains(['$', '%', '<', '{', '-', '?']);
        let is_harmless = is_harmless(value) && !(kind == "password" && is_named);
        if is_weak || is_harmless || self.is_allowed(value) {
            return self.text(value);
        }
        let mut redacted = String::new();
        marker::push(&mut redacted, kind);
        Cow::Owned(redacted)
    }
}

impl Default for SecretRedactor {
    /// All kinds of the table. Made once and shared.
    fn default() -> Self {
        static SHIPPED: LazyLock<SecretRedactor> =
            LazyLock::new(|| SecretRedactor::with(Additions::default()));
        SHIPPED.clone()
    }
}

impl fmt::Debug for SecretRedactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretRedactor")
            .field("n_literals", &self.duties.len())
            .field("n_own_patterns", &self.own.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
