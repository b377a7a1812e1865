//! Credentials in a text: by the prefixes their issuers give them, by the name they are given to,
//! and by how random they look.

use super::RefusalReason::Secret;
use super::fact::{Fact, Sense};
use super::token::FlatTree;
use super::words::name_words;

/// Prefixes of issued credentials, and how many characters of a token follow at least.
const PREFIXES: &[(&str, usize)] = &[
    ("AKIA", 16),
    ("ASIA", 16),
    ("ABIA", 16),
    ("ghp_", 30),
    ("gho_", 30),
    ("ghu_", 30),
    ("ghs_", 30),
    ("ghr_", 30),
    ("github_pat_", 30),
    ("glpat-", 18),
    ("gldt-", 18),
    ("sk_live_", 16),
    ("rk_live_", 16),
    ("sk_test_", 16),
    ("pk_live_", 16),
    ("whsec_", 20),
    ("sk-ant-", 20),
    ("sk-proj-", 20),
    ("xoxb-", 20),
    ("xoxp-", 20),
    ("xoxa-", 20),
    ("xoxs-", 20),
    ("xapp-", 20),
    ("AIza", 30),
    ("ya29.", 20),
    ("SG.", 40),
    ("npm_", 30),
    ("pypi-AgE", 20),
    ("dop_v1_", 30),
    ("shpat_", 30),
    ("shpss_", 30),
    ("hvs.", 20),
    ("hf_", 30),
    ("dapi", 32),
    ("lin_api_", 30),
    ("rubygems_", 40),
    ("cio", 60),
    ("EAACEdEose0cBA", 10),
    ("NRAK-", 20),
    ("PMAK-", 30),
    ("sq0csp-", 30),
    ("sq0atp-", 20),
    ("figd_", 30),
    ("tskey-", 16),
    ("eyJhbGciOi", 40),
];

const MARKS: &[&str] = &[
    "PRIVATE KEY-----",
    "hooks.slack.com/services/T",
    "AccountKey=",
    "SharedAccessKey=",
    "discord.com/api/webhooks/",
];

/// Credentials in strings, in what they are joined to, and in comments.
pub(super) fn facts(tree: &FlatTree<'_>, text: &str) -> Vec<Fact> {
    let mut found = plain_facts(text);
    found.extend(of_names(tree));
    for (idx, token) in tree.tokens.iter().enumerate() {
        if (token.is("[") || token.is("("))
            && let Some(value) = listed(tree, idx)
        {
            found.push(fact(&value, token.line));
        }
        if tree.is_continued(idx) {
            continue;
        }
        let Some((value, _)) = tree.folded(idx) else {
            continue;
        };
        let before = |n: usize| idx.checked_sub(n).map(|at| &tree.tokens[at]);
        let is_given =
            before(1).is_some_and(|t| t.is("=") || t.is(":") || t.is(":=") || t.is("=>"));
        let name = before(2)
            .filter(|_| is_given)
            .map_or("", |t| t.value().unwrap_or(t.text));
        // `let key: &str = "…"`: the name stands before the type.
        let typed = (3..9)
            .filter_map(before)
            .zip((4..10).map(before))
            .find(|(t, _)| t.is(":"));
        let name = match typed {
            Some((_, Some(name))) if before(1).is_some_and(|t| t.is("=")) => name.text,
            _ => name,
        };
        if hides_credential(&value)
            || is_credential(&value)
            || is_given && is_password(name, &value)
            || is_random(&value)
        {
            found.push(fact(&value, token.line));
        }
    }
    found
}

/// Credentials put together from names that stand for strings.
fn of_names(tree: &FlatTree<'_>) -> Vec<Fact> {
    let mut values = std::collections::HashMap::new();
    for (idx, trio) in tree.tokens.windows(3).enumerate() {
        if trio[0].is_word()
            && (trio[1].is("=") || trio[1].is(":="))
            && let Some((value, _)) = tree.folded(idx + 2)
        {
            values.insert(trio[0].text, value);
        }
    }
    let mut found = Vec::new();
    let part = |idx: usize| -> Option<&str> {
        let token = tree.tokens.get(idx)?;
        token
            .value()
            .or_else(|| values.get(token.text).map(String::as_str))
    };
    let mut idx = 0;
    while idx < tree.tokens.len() {
        let start = idx;
        let mut value = String::new();
        while let Some(text) = part(idx) {
            value.push_str(text);
            let joins = tree.tokens.get(idx + 1).is_some_and(|t| t.is("+"));
            if !joins || value.len() > 4096 {
                break;
            }
            idx += 2;
        }
        if idx > start && is_credential(&value) {
            found.push(fact(&value, tree.tokens[start].line));
        }
        idx += 1;
    }
    found
}

/// The credential that stands in a list of strings side by side.
fn listed(tree: &FlatTree<'_>, open: usize) -> Option<String> {
    let end = tree.closing(open).min(open + 64);
    let inside = tree.tokens.get(open + 1..end)?;
    let parts: Vec<&str> = inside
        .iter()
        .filter_map(super::token::Token::value)
        .collect();
    let only_texts = inside.iter().all(|t| t.value().is_some() || t.is(","));
    let value = parts.concat();
    (only_texts && parts.len() > 1 && is_credential(&value)).then_some(value)
}

/// A credential written backwards, in base64 or in hexadecimal digits.
fn hides_credential(value: &str) -> bool {
    if !(16..=4096).contains(&value.len()) || !value.is_ascii() {
        return false;
    }
    let reversed: String = value.chars().rev().collect();
    is_credential(&reversed)
        || [base64(value), hexadecimal(value)]
            .into_iter()
            .flatten()
            .filter_map(|bytes| String::from_utf8(bytes).ok())
            .any(|text| is_credential(&text))
}

fn base64(value: &str) -> Option<Vec<u8>> {
    let (mut bytes, mut bits, mut n) = (Vec::new(), 0_u32, 0);
    for b in value.trim_end_matches('=').bytes() {
        let six = match b {
            b'A'..=b'Z' => b - b'A',
            b'a'..=b'z' => b - b'a' + 26,
            b'0'..=b'9' => b - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        bits = bits << 6 & 0xff_ffff | u32::from(six);
        n += 6;
        if n >= 8 {
            n -= 8;
            bytes.push(u8::try_from(bits >> n & 0xff).ok()?);
        }
    }
    Some(bytes)
}

fn hexadecimal(value: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u32>> = value.chars().map(|c| c.to_digit(16)).collect();
    let pairs = digits?;
    pairs
        .chunks(2)
        .map(|pair| u8::try_from(pair[0] * 16 + pair.get(1).copied().unwrap_or(0)).ok())
        .collect()
}

/// Credentials that are known by themselves, anywhere in the text.
pub(super) fn plain_facts(text: &str) -> Vec<Fact> {
    let mut found = Vec::new();
    for (idx, line) in text.lines().enumerate() {
        for word in line.split(|c: char| c.is_whitespace() || "\"'`,;()[]{}<>".contains(c)) {
            let value = word.rsplit_once('=').map_or(word, |(_, value)| value);
            if is_credential(word) || is_credential(value) || has_password(word) {
                found.push(fact(word, idx + 1));
            }
        }
        if MARKS.iter().any(|mark| line.contains(mark)) {
            found.push(fact(line.trim(), idx + 1));
        }
    }
    found
}

/// The credential a setting of a configuration file holds.
pub(super) fn of_setting(name: &str, value: &str, line: usize) -> Option<Fact> {
    (is_password(name, value) || is_random(value)).then(|| fact(value, line))
}

fn fact(value: &str, line: usize) -> Fact {
    let start: String = value.chars().take(4).collect();
    Fact::new(Sense::Forbidden(Secret), value, line, &format!("{start}…"))
}

fn is_token_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.')
}

fn is_credential(value: &str) -> bool {
    MARKS.iter().any(|mark| value.contains(mark))
        || PREFIXES.iter().any(|(prefix, n)| {
            value.match_indices(prefix).any(|(at, _)| {
                let is_start = !value[..at].ends_with(|c: char| c.is_ascii_alphanumeric());
                let rest: Vec<char> = value[at + prefix.len()..]
                    .chars()
                    .take_while(|c| is_token_char(*c))
                    .collect();
                let is_varied =
                    rest.iter().any(char::is_ascii_digit) && entropy(rest.iter().copied()) > 2.5;
                is_start && rest.len() >= *n && is_varied
            })
        })
        || has_password(value)
}

/// `scheme://user:password@host`
fn has_password(word: &str) -> bool {
    let Some((_, rest)) = word.split_once("://") else {
        return false;
    };
    let authority = rest.split('/').next().unwrap_or_default();
    let Some((user, _)) = authority.rsplit_once('@') else {
        return false;
    };
    user.split_once(':')
        .is_some_and(|(_, password)| !password.is_empty() && !is_placeholder(password))
}

fn is_placeholder(value: &str) -> bool {
    value.starts_with(['$', '{', '<', '%', '*', '/', '.'])
        || value.contains("{{")
        || value.contains("${")
        || value.chars().all(|c| c == 'x' || c == '*' || c == '.')
}

/// A literal given to a name that says what it is.
fn is_password(name: &str, value: &str) -> bool {
    let words = name_words(name);
    let is_named = words.iter().any(|word| {
        matches!(
            word.as_str(),
            "password"
                | "passwd"
                | "pwd"
                | "passphrase"
                | "secret"
                | "token"
                | "apikey"
                | "credential"
                | "credentials"
        )
    }) || words.windows(2).any(|pair| {
        matches!(
            pair[0].as_str(),
            "api" | "private" | "secret" | "access" | "signing" | "encryption"
        ) && pair[1] == "key"
    });
    let names_a_place = words.last().is_some_and(|last| {
        matches!(
            last.as_str(),
            "file"
                | "path"
                | "url"
                | "name"
                | "header"
                | "field"
                | "env"
                | "type"
                | "kind"
                | "label"
                | "length"
                | "id"
                | "prefix"
                | "pattern"
                | "error"
                | "message"
        )
    });
    // A word of letters only is a name or a message, not a password.
    let is_dense = value.len() >= 8
        && !value.contains(char::is_whitespace)
        && value
            .chars()
            .any(|c| !c.is_ascii_alphabetic() && c != '_' && c != '-' && c != '.');
    is_named && !names_a_place && is_dense && !is_placeholder(value)
}

/// Long, of letters and digits in no order.
fn is_random(value: &str) -> bool {
    let n = value.len();
    if !(20..=4096).contains(&n) {
        return false;
    }
    if value.bytes().all(|b| b.is_ascii_hexdigit()) {
        return n >= 32 && entropy(value.chars()) > 3.0;
    }
    let is_token = value
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=' | '_' | '-'));
    let digits = value.bytes().filter(u8::is_ascii_digit).count();
    let upper = value.bytes().filter(u8::is_ascii_uppercase).count();
    let lower = value.bytes().filter(u8::is_ascii_lowercase).count();
    // Names change case and kind rarely, random text at every other letter.
    let class = |b: u8| match b {
        b'0'..=b'9' => 0,
        b'A'..=b'Z' => 1,
        b'a'..=b'z' => 2,
        _ => 3,
    };
    let bytes = value.as_bytes();
    let n_changes = bytes
        .windows(2)
        .filter(|pair| class(pair[0]) != class(pair[1]))
        .count();
    is_token
        && digits >= 2
        && upper >= 2
        && lower >= 2
        && entropy(value.chars()) > 3.8
        && n_changes * 3 > n
}

/// Bits for each character (Shannon 1948).
fn entropy(chars: impl Iterator<Item = char>) -> f64 {
    let mut counts = std::collections::BTreeMap::new();
    let mut n = 0.0;
    for c in chars {
        *counts.entry(c).or_insert(0.0) += 1.0;
        n += 1.0;
    }
    counts
        .values()
        .map(|count: &f64| -(count / n) * (count / n).log2())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_messages_are_not_random() {
        for value in [
            "application/vnd.ms-excel",
            "get_user_by_identifier_v2",
            "ERR_SSL_VERSION_OR_CIPHER_MISMATCH",
            "550e8400-e29b-41d4-a716-446655440000",
            "AbstractSingletonProxyFactoryBean2",
            "0123456789",
        ] {
            assert!(!is_random(value) && !is_credential(value), "{value}");
        }
        assert!(is_random("q8Zr2LwX0vYtB7nKc4PdMfHs1UaE9oJg"));
        assert!(is_random("9f86d081884c7d659a2feaa0c55ad015"));
    }

    #[test]
    fn a_password_is_known_by_its_name() {
        for (name, value, is) in [
            ("db_password", "hunter22", true),
            ("apiKey", "abc-123-def", true),
            ("password", "password", false),
            ("password", "${DB_PASSWORD}", false),
            ("password_file", "/run/secrets/db1", false),
            ("token_length", "12345678", false),
            ("author", "hunter22", false),
        ] {
            assert_eq!(is_password(name, value), is, "{name} {value}");
        }
    }

    #[test]
    fn a_secret_is_not_repeated_whole() {
        let found = plain_facts("postgres://u:hunter22@h/db");
        assert_eq!(found[0].text, "post…");
    }
}
