//! Whether what stands after a name can be the secret that the name promises.

use std::ops::Range;

use super::assignment::Notation;
use super::check::{is_word, looks_random};
use super::marker;
use super::scan::REACH;

/// A reference to a secret has at most this many bytes.
const LONGEST_REFERENCE: usize = 256;

/// Whether `value` can be the secret that its name promises.
///
/// `is_last` says that nothing follows it on its line.
pub(super) fn is_plausible(
    value: &str,
    notation: Notation,
    is_last: bool,
    is_password: bool,
) -> bool {
    if is_harmless(value)
        || (!is_password && is_locator(value))
        || (!(is_password && notation == Notation::Pair) && is_state(value))
    {
        return false;
    }
    let all_digits = value.bytes().all(|byte| byte.is_ascii_digit());
    if all_digits && !is_password && value.len() < 6 {
        return false;
    }
    notation != Notation::Prose || !is_word(value) || (is_password && is_last)
}

/// What stands for a secret and is none: a placeholder, a reference, a mask.
pub(super) fn is_harmless(value: &str) -> bool {
    const WORDS: &[&str] = &[
        "",
        "null",
        "(null)",
        "none",
        "nil",
        "nan",
        "undefined",
        "true",
        "false",
        "redacted",
        "(redacted)",
        "hidden",
        "(hidden)",
        "masked",
        "n/a",
    ];
    let value = value.trim();
    let bare = value.trim_matches(['"', '\'', '\\']);
    let is_reference = is_reference(bare);
    let mut bytes = bare.bytes();
    let is_mask = bytes.next().is_some_and(|first| {
        matches!(first, b'*' | b'.' | b'-' | b'x' | b'X' | b'#' | b'_' | b'?')
            && bytes.all(|byte| byte == first)
    });
    marker::end(bare, 0) == Some(bare.len())
        || is_reference
        || is_mask
        || WORDS.iter().any(|word| bare.eq_ignore_ascii_case(word))
}

/// Whether the value as a whole is a variable, a place in a template or a placeholder. What only
/// begins like one may be a secret. A blank ends a value, so `{{ name }}` may be cut.
fn is_reference(value: &str) -> bool {
    let all = |text: &str, others: &str| {
        !text.is_empty()
            && text
                .chars()
                .all(|letter| letter.is_ascii_alphanumeric() || others.contains(letter))
    };
    let no_digits = |text: &str| !text.bytes().any(|byte| byte.is_ascii_digit());
    if value.len() > LONGEST_REFERENCE {
        return false;
    }
    if matches!(value, "%s" | "%d" | "%v" | "{}" | "{:?}" | "{{" | "{{}}") {
        return true;
    }
    if let Some(rest) = value.strip_prefix("$(") {
        return all(rest.strip_suffix(')').unwrap_or(rest), "_-./");
    }
    if let Some(rest) = value.strip_prefix("${") {
        let rest = rest.strip_prefix('{').unwrap_or(rest);
        let name = rest.trim_end_matches('}');
        return rest.is_empty() || all(name, "_.:-");
    }
    if let Some(name) = value.strip_prefix('$') {
        return all(name, "_")
            && no_digits(&name[..1])
            && !name.bytes().any(|byte| byte.is_ascii_lowercase());
    }
    let inner = |open: &str, shut: &str| value.strip_prefix(open)?.strip_suffix(shut);
    inner("{{", "}}").is_some_and(|name| all(name, "_.- "))
        || inner("%(", ")s").is_some_and(|name| all(name, "_"))
        || inner("%", "%").is_some_and(|name| all(name, "_"))
        || inner("<", ">").is_some_and(|name| all(name, "_.- ") && no_digits(name))
}

/// A word that says how it is with a secret.
fn is_state(value: &str) -> bool {
    const WORDS: &[&str] = &[
        "yes",
        "no",
        "on",
        "off",
        "ok",
        "unset",
        "set",
        "empty",
        "missing",
        "required",
        "optional",
        "invalid",
        "valid",
        "expired",
        "unknown",
        "disabled",
        "enabled",
        "default",
        "failed",
        "failure",
        "changed",
        "denied",
        "rejected",
        "accepted",
        "incorrect",
        "wrong",
        "revoked",
        "absent",
        "present",
        "not",
        "string",
        "str",
        "&str",
        "bytes",
        "locked",
        "reset",
        "success",
    ];
    let value = value.trim_end_matches(['.', ',', '!']);
    WORDS.iter().any(|word| value.eq_ignore_ascii_case(word))
}

/// A path or an address says where a secret is.
fn is_locator(value: &str) -> bool {
    let is_path = |rest: &str| {
        rest.bytes()
            .all(|byte| byte.is_ascii_lowercase() || matches!(byte, b'/' | b'.' | b'-' | b'_'))
    };
    value.starts_with("http://")
        || value.starts_with("https://")
        || value.starts_with("file:")
        || (value.starts_with(['/', '~', '.']) && is_path(&value[1..]))
        || value.bytes().take(REACH).any(|byte| byte == b'(')
}

/// The first text that looks drawn by chance within reach after a name that is followed by prose.
///
/// `seen` is how far earlier calls looked: a text is judged once.
pub(super) fn random_nearby(text: &str, from: usize, seen: &mut usize) -> Option<Range<usize>> {
    if from < *seen {
        return None;
    }
    let bytes = text.as_bytes();
    let mut i = from;
    while i < bytes.len().min(from + REACH) {
        let run = bytes[i..]
            .iter()
            .take_while(|byte| {
                byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'_' | b'=')
            })
            .count();
        if run >= 20 {
            let found = i..i + run;
            *seen = found.end;
            let before = i.checked_sub(1).map_or(b' ', |i| bytes[i]);
            let after = bytes.get(found.end).copied().unwrap_or(b' ');
            let stands_alone = matches!(
                before,
                b' ' | b'\t' | b'"' | b'\'' | b'`' | b'=' | b'(' | b'[' | b'<'
            ) && !matches!(after, b'.' | b'-' | b':' | b'@');
            let word = &text[found.clone()];
            let is_secret = stands_alone
                && !word.starts_with('/')
                && looks_random(word)
                && (run >= 32 || word.bytes().any(|byte| byte.is_ascii_uppercase()));
            return is_secret.then_some(found);
        }
        match bytes.get(i + run) {
            // A line that ends, or what was redacted before, ends the search.
            None | Some(b'\n' | b'\r' | b'[') => return None,
            Some(_) => i += run + 1,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_for_a_secret_is_harmless() {
        for value in [
            "",
            "null",
            "True",
            "***",
            "xxxxx",
            "${DB_PASSWORD}",
            "$PASSWORD",
            "{{ password }}",
            "<password>",
            "%s",
            "{}",
            "%(password)s",
            "%PASSWORD%",
            "$(cat",
            "[redacted:token]",
            "\"\"",
        ] {
            assert!(is_harmless(value), "{value}");
        }
        for value in [
            "hunter2",
            "$ecret",
            "xox",
            "a*b",
            "%s3cret!",
            "$1ABC",
            "$",
            "<hunter2>",
            "{}hunter",
            "[redacted:token]hunter2",
        ] {
            assert!(!is_harmless(value), "{value}");
        }
    }

    #[test]
    fn prose_needs_more_than_a_colon() {
        assert!(!is_plausible("expected", Notation::Prose, false, false));
        assert!(is_plausible("hunter2", Notation::Prose, false, true));
        assert!(is_plausible("swordfish", Notation::Line, false, true));
        assert!(!is_plausible("12", Notation::Pair, false, false));
        assert!(!is_plausible(
            "/run/secrets/token",
            Notation::Pair,
            false,
            false
        ));
    }
}
