//! What a classifier reads of an error.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use crate::rule::{ErrorLine, ErrorText};

/// Changes with what is read: a model trained on other features is refused.
pub(super) const VERSION: u32 = 1;

/// Names of features and their places.
pub(super) type Vocabulary = HashMap<String, usize, BuildHasherDefault<Fnv>>;

/// FNV-1a. A text cannot put names into a vocabulary, so it cannot make them collide.
#[derive(Debug, Clone)]
pub(super) struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for Fnv {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

/// Lines that frame an error and say nothing of it.
const NOISE: [&str; 5] = [
    "note: ",
    "During handling of the above",
    "The above exception was",
    "thread '",
    "[Previous line repeated",
];

/// Paths of Rust's own library.
const RUST_LIBRARY: [&str; 3] = ["core::", "alloc::", "std::"];

/// Gives `note` every feature of `text`, some more than once.
///
/// Features are: the language; kinds, their words and their modules; words of messages, their
/// pairs and their short numbers (codes and statuses); functions and modules of the standard
/// library among the frames; words of the functions and source lines of the application. Paths of
/// the application's files are none: they say who wrote a thing, not what failed.
pub(super) fn visit(text: &ErrorText, note: &mut impl FnMut(&str)) {
    let mut name = Name::default();
    if !text.language().is_empty() {
        name.give("language:", &[text.language()], note);
    }
    for line in text.lines() {
        let is_noise = NOISE.iter().any(|noise| line.text().starts_with(noise));
        if !is_noise {
            of_line(line, &mut name, note);
        }
    }
    for frame in text.frames() {
        of_frame(frame, text.language(), &mut name, note);
    }
}

/// A buffer for names, so that reading allocates next to nothing.
#[derive(Default)]
struct Name(String);

impl Name {
    fn give(&mut self, group: &str, parts: &[&str], note: &mut impl FnMut(&str)) {
        self.0.clear();
        self.0.push_str(group);
        for (idx, part) in parts.iter().enumerate() {
            if idx > 0 {
                self.0.push(' ');
            }
            let start = self.0.len();
            self.0.push_str(part);
            if let Some(added) = self.0.get_mut(start..) {
                added.make_ascii_lowercase();
            }
        }
        note(&self.0);
    }
}

fn of_line(line: &ErrorLine, name: &mut Name, note: &mut impl FnMut(&str)) {
    let mut segments = line.kind().rsplit(['.', ':']).filter(|s| !s.is_empty());
    if let Some(kind) = segments.next() {
        name.give("kind:", &[kind], note);
        for word in humps(kind) {
            name.give("word:", &[word], note);
        }
        for module in segments {
            name.give("module:", &[module.trim_matches('_')], note);
        }
    }
    let mut before = "";
    for word in words(line.message()) {
        if word.starts_with(|c: char| c.is_ascii_digit()) {
            if word.len() <= 3 {
                name.give("number:", &[word], note);
            }
            continue;
        }
        if is_constant(word) {
            before = pair(before, "<name>", name, note);
            continue;
        }
        let mut n_humps = 0;
        for hump in humps(word) {
            n_humps += 1;
            before = pair(before, hump, name, note);
        }
        if n_humps > 1 {
            name.give("word:", &[word], note);
        }
    }
}

/// Gives `word` alone and together with the one before it.
fn pair<'a>(before: &str, word: &'a str, name: &mut Name, note: &mut impl FnMut(&str)) -> &'a str {
    if word.len() > 1 {
        name.give("word:", &[word], note);
    }
    if !before.is_empty() {
        name.give("pair:", &[before, word], note);
    }
    word
}

fn of_frame(frame: &str, language: &str, name: &mut Name, note: &mut impl FnMut(&str)) {
    if let Some((_, path)) = frame.split_once("/lib/python") {
        let module = path
            .split_once('/')
            .and_then(|(_, module)| module.split_once(".py"));
        if let Some((module, _)) = module {
            name.give("library:", &[module], note);
        }
        return;
    }
    // The line of a frame's file tells nothing that its function does not.
    if frame.starts_with("at ") {
        return;
    }
    let path = RUST_LIBRARY
        .iter()
        .filter_map(|root| frame.find(root))
        .min();
    if let Some(path) = path.and_then(|start| frame.get(start..)) {
        let is_path = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
        let path = path.split(|c| !is_path(c)).next().unwrap_or_default();
        let end = path
            .match_indices("::")
            .nth(2)
            .map_or(path.len(), |(at, _)| at);
        let path = path[..end].trim_end_matches(':');
        // How every panic begins and every program.
        if !["panicking", "::rt", "ops::function", "sys::"]
            .iter()
            .any(|every| path.contains(every))
        {
            name.give("library:", &[path], note);
        }
        return;
    }
    if frame.starts_with("File \"") {
        let function = frame
            .rsplit_once(", in ")
            .map_or("", |(_, function)| function);
        for word in function
            .split(['_', '.', '<', '>'])
            .filter(|word| word.len() > 1)
        {
            name.give("in:", &[word], note);
        }
    } else if language == "python" {
        let parts = words(frame).flat_map(|word| word.split('_'));
        for word in parts.filter(|word| word.len() > 2) {
            name.give("source:", &[word], note);
        }
    }
}

/// Runs of letters, digits and `_`.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .filter(|word| !word.is_empty())
}

/// Whether it is written as a constant or a variable of the environment is: `DATABASE_URL`.
fn is_constant(word: &str) -> bool {
    word.len() > 2
        && word
            .bytes()
            .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
}

/// The words of a name: `NoSuchTable`, `no_such_table`, `URLError`.
fn humps(word: &str) -> impl Iterator<Item = &str> {
    word.split('_').flat_map(|part| {
        let bytes = part.as_bytes();
        let is = |at: usize, f: fn(&u8) -> bool| bytes.get(at).is_some_and(f);
        let upper = move |at| is(at, u8::is_ascii_uppercase);
        let lower = move |at| is(at, u8::is_ascii_lowercase);
        let begins = move |at: usize| at == 0 || (upper(at) && (!upper(at - 1) || lower(at + 1)));
        (0..part.len())
            .filter(move |at| begins(*at))
            .map(move |start| {
                let end = (start + 1..part.len())
                    .find(|at| begins(*at))
                    .unwrap_or(part.len());
                &part[start..end]
            })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn features(text: &ErrorText) -> Vec<String> {
        let mut found = Vec::new();
        visit(text, &mut |name| found.push(name.to_owned()));
        found
    }

    #[test]
    fn names_are_cut_at_their_humps() {
        let cut = |word| humps(word).collect::<Vec<_>>();
        assert_eq!(cut("NoSuchTable"), ["No", "Such", "Table"]);
        assert_eq!(cut("URLError"), ["URL", "Error"]);
        assert_eq!(cut("no_such__table"), ["no", "such", "table"]);
        assert!(cut("").is_empty());
    }

    #[test]
    fn kinds_words_codes_and_the_library_are_read_and_paths_of_the_application_are_not() {
        let text = "Traceback (most recent call last):\n  File \"/srv/secret_cause.py\", line 3, in load_config\n    return parser.get(x)\n  File \"/usr/lib/python3.11/configparser.py\", line 8, in get\nconfigparser.NoOptionError: [Errno 2] DATABASE_URL is missing";
        let found = features(&ErrorText::of_text(text).in_language("python"));
        for expected in [
            "language:python",
            "kind:nooptionerror",
            "word:option",
            "module:configparser",
            "number:2",
            "pair:<name> is",
            "library:configparser",
            "in:config",
            "source:parser",
        ] {
            assert!(
                found.iter().any(|name| name == expected),
                "{expected} in {found:?}"
            );
        }
        assert!(
            !found.iter().any(|name| name.contains("secret")),
            "{found:?}"
        );
    }

    #[test]
    fn frames_of_rust_tell_the_part_of_the_library() {
        let text = "called `Option::unwrap()` on a `None` value\nstack backtrace:\n   1: core::panicking::panic\n   2: <usize as core::slice::index::SliceIndex<[T]>>::index\n";
        let found = features(&ErrorText::of_text(text).in_language("rust"));
        let library: Vec<_> = found
            .iter()
            .filter(|name| name.starts_with("library:"))
            .collect();
        assert_eq!(library, ["library:core::slice::index"]);
    }
}
