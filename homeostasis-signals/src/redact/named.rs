//! The secret that a name promises: which part of the value it is, if it is one.

use std::ops::Range;

use super::assignment::{Assignment, Notation, rest_of_header, words_end};
use super::check::{self, looks_random};
use super::marker;
use super::names::Strength;
use super::plausible::{is_harmless, is_plausible};
use super::scan::head;

/// Values are judged by this many bytes.
const JUDGED: usize = 256;

/// The part of the value that is the secret; `None` if it is none.
pub(super) fn secret_of(
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
pub(super) fn is_of_the_public(before: &str) -> bool {
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
