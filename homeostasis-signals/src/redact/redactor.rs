//! The redactor: one pass that looks for literals, and a close look where one stands.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::fmt;
use std::ops::Range;
use std::sync::{LazyLock, OnceLock};

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};
use homeostasis_core::port::Redactor;
use regex::{Regex, RegexSet};

use super::assignment::{
    Assignment, Notation, assigned, head, identifier, is_harmless, is_plausible, random_nearby,
    rest_of_header, words_end,
};
use super::builder::SecretRedactorBuilder;
use super::card;
use super::check::{self, looks_random};
use super::kinds::{KINDS, Kind, Reach};
use super::marker;
use super::names::{self, Normal, Strength};

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

/// Where a secret stands.
#[derive(Debug)]
struct Span<'a> {
    range: Range<usize>,
    by: By,
    kind: &'a str,
}

/// How a secret was found. Of two in the same place its look says best what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum By {
    Look,
    Name,
}

/// What is known while a text is searched.
#[derive(Debug, Default)]
struct Search<'a> {
    spans: Vec<Span<'a>>,
    markers: Vec<Range<usize>>,
    /// The last secret or marker: literals within it say nothing.
    decided: Range<usize>,
    /// The end of the last identifier that was looked at.
    named: usize,
    /// How far was looked for values drawn by chance.
    near: usize,
    bare: Range<usize>,
    /// What had the shape of a row and failed its check, with its end.
    failed: Vec<(usize, usize)>,
}

/// The kind of what a name of the host names.
const OWN_NAME: &str = "secret";

/// The kind of what looks drawn by chance near a name.
const RANDOM: &str = "high-entropy";

/// Values are judged by this many bytes.
const JUDGED: usize = 256;

/// The `@` after a password is looked for over this many bytes.
const LONGEST_LOGIN: usize = 512;

/// The kind of a line of base64 alone.
const KEY_LINE: &str = "key-material";

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
                KEY_LINE,
                "a line of base64 alone, as in a private key that was cut into lines",
            ),
        ];
        let mut kinds: Vec<_> = by_value.chain(by_name).chain(others).collect();
        kinds.sort_unstable();
        kinds.dedup_by_key(|(name, _)| *name);
        kinds
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
        if self.wants(KEY_LINE) {
            for range in key_lines(text) {
                self.found(text, range, (By::Name, KEY_LINE), &mut search);
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

/// The part of the value that is the secret; `None` if it is none.
fn secret_of(
    text: &str,
    (name, assignment): (&Range<usize>, &Assignment),
    kind: &str,
    strength: Strength,
    n_letters: usize,
) -> Option<Range<usize>> {
    let range = &assignment.value;
    // A long value is judged by its head: names within it would each judge all of the rest.
    let value = head(&text[range.clone()], JUDGED);
    let is_password = kind == "password";
    match kind {
        "authorization" => {
            if !is_plausible(value, Notation::Line, false, false) || is_lone_word(assignment, value)
            {
                return None;
            }
            return Some(rest_of_header(text, name, range));
        }
        "cookie" if value.contains('=') && !is_harmless(value) => {
            return Some(rest_of_header(text, name, range));
        }
        // ZooKeeper counts its sessions in hexadecimal.
        "session" => {
            return (looks_random(value) && !value.starts_with("0x") && !marker::begins(value))
                .then(|| range.clone());
        }
        _ => {}
    }
    // `PWD` is the working directory.
    if is_password && value.starts_with('/') && text[..range.start].ends_with("PWD=") {
        return None;
    }
    let is_sure = strength == Strength::Sure || (is_password && n_letters > "pass".len());
    let is_last = text[range.end..]
        .bytes()
        .next()
        .is_none_or(|byte| byte == b'\n' || byte == b'\r');
    let is_secret = if assignment.notation == Notation::Pair && is_typed(kind, value) {
        true
    } else if is_sure {
        is_plausible(value, assignment.notation, is_last, is_password)
    } else {
        looks_random(value)
            && !marker::begins(value)
            && is_plausible(value, assignment.notation, is_last, false)
    };
    is_secret.then(|| match assignment.notation {
        Notation::Line if is_sure => range.start..words_end(text, range),
        _ => range.clone(),
    })
}

/// Whether the value of a weak name is what people type under it: a password with a digit that is
/// no count or measure, a code of digits.
fn is_typed(kind: &str, value: &str) -> bool {
    let n_digits = value.bytes().filter(u8::is_ascii_digit).count();
    match kind {
        "password" => {
            n_digits > 0
                && value.len() >= 6
                && value.starts_with(|first: char| !first.is_ascii_digit() && first != '/')
                && is_plausible(value, Notation::Prose, false, false)
        }
        "otp-code" => (4..=10).contains(&value.len()) && n_digits == value.len(),
        _ => false,
    }
}

/// Whether the value is a word of prose rather than the scheme of an authorization header.
fn is_lone_word(assignment: &Assignment, value: &str) -> bool {
    const SCHEMES: &[&str] = &[
        "bearer",
        "basic",
        "digest",
        "token",
        "bot",
        "apikey",
        "negotiate",
        "ntlm",
        "oauth",
        "hawk",
        "signature",
        "ssws",
        "key",
    ];
    let is_scheme = SCHEMES
        .iter()
        .any(|scheme| value.eq_ignore_ascii_case(scheme));
    assignment.notation == Notation::Prose && check::is_word(value) && !is_scheme
}

/// Whether the words before a name say that it is none of a secret: `public key`.
fn is_of_the_public(before: &str) -> bool {
    const WORDS: &[&str] = &[
        "public",
        "host",
        "primary",
        "partition",
        "cache",
        "row",
        "sort",
    ];
    let before = before.trim_end().as_bytes();
    WORDS.iter().any(|word| {
        before.len() >= word.len()
            && before[before.len() - word.len()..].eq_ignore_ascii_case(word.as_bytes())
    })
}

/// Where lines of nothing but base64 stand, as in a private key whose first line is elsewhere.
///
/// Like the search for card numbers it looks at the ends of windows, and so at few bytes.
fn key_lines(text: &str) -> impl Iterator<Item = Range<usize>> + '_ {
    const LEAST: usize = 60;
    const MOST: usize = 80;
    let bytes = text.as_bytes();
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=');
    let mut next = 0;
    std::iter::from_fn(move || {
        while let Some(window) = bytes.get(next..next + LEAST) {
            if let Some(bad) = window.iter().rposition(|byte| !is_part(byte)) {
                next += bad + 1;
                continue;
            }
            // In an escaped text the lines are parted by `\n`, and it ends with a quote.
            let start = next + usize::from(check::follows_escape(bytes, next + 1));
            let end = start
                + bytes[start..]
                    .iter()
                    .take_while(|byte| is_part(byte))
                    .count();
            next = end;
            let before = text[..start].trim_end_matches(' ').as_bytes();
            let opens = start == 0
                || check::follows_escape(bytes, start)
                || before
                    .last()
                    .is_none_or(|byte| matches!(byte, b'\n' | b'"'));
            let closes = bytes
                .get(end)
                .is_none_or(|byte| matches!(byte, b'\n' | b'\r' | b'"' | b'\\'));
            let line = &text[start..end];
            let is_key = opens
                && closes
                && (LEAST..=MOST).contains(&line.len())
                && line.bytes().any(|byte| byte.is_ascii_uppercase())
                && line.bytes().any(|byte| byte.is_ascii_lowercase())
                && looks_random(line);
            if is_key {
                return Some(start..end);
            }
        }
        None
    })
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

impl Search<'_> {
    fn step_over(&mut self, text: &str, start: usize) {
        if let Some(end) = marker::end(text, start) {
            self.decided = start..end;
            self.markers.push(start..end);
        }
    }

    /// Whether the range begins or ends within a marker, or is a part of one.
    fn cuts_a_marker(&self, range: &Range<usize>) -> bool {
        let first = self
            .markers
            .partition_point(|marker| marker.end <= range.start);
        let last = self
            .markers
            .partition_point(|marker| marker.start < range.end);
        self.markers[first..last.max(first)]
            .iter()
            .take(1)
            .chain(self.markers[first..last.max(first)].last())
            .any(|marker| marker.start < range.start || range.end < marker.end)
    }

    /// `text` with a marker for every span; spans that overlap become one.
    fn apply(mut self, text: &str) -> String {
        self.spans
            .sort_unstable_by_key(|span| (span.range.start, Reverse(span.range.end), span.by));
        let mut redacted = String::with_capacity(text.len());
        let mut done = 0;
        for span in &self.spans {
            if span.range.start >= done {
                redacted.push_str(&text[done..span.range.start]);
                marker::push(&mut redacted, span.kind);
            }
            done = done.max(span.range.end);
        }
        redacted.push_str(&text[done..]);
        redacted
    }
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
