//! What takes more time or memory than before, and what tells credentials.

use super::RefusalReason::{Secret, SensitivePath, WeakCryptography};
use super::fact::{Fact, Sense};
use super::names::Names;
use super::references::Reference;
use super::token::{FlatTree, Kind, Token, joined};
use super::validation::Flag;
use super::words::name_words;
use crate::Language;

/// Numbers from here on are no sizes of a usual request.
const HUGE: f64 = 1e8;

/// A sleep longer than this is a flag, in seconds.
const LONG_SLEEP: f64 = 10.0;

pub(super) fn facts(tree: &FlatTree<'_>, names: &Names, references: &[Reference]) -> Vec<Fact> {
    let mut found = Vec::new();
    for reference in references {
        called(tree, names, reference, &mut found);
    }
    for (idx, token) in tree.tokens.iter().enumerate() {
        let mut push = |key: &str| {
            found.push(Fact::new(
                Sense::Risky(Flag::ResourceUse),
                key,
                token.line,
                &joined(&tree.tokens[idx..tree.tokens.len().min(idx + 8)]),
            ));
        };
        if token.kind == Kind::Number && number(token.text) >= HUGE {
            push("huge");
        }
        if token.is_word() && is_tries(token.text) && is_unbounded(&tree.tokens[idx + 1..]) {
            push("tries");
        }
        if let Some(value) = token.value() {
            if backtracks(value) {
                push("pattern");
            }
            if is_sensitive(value) {
                found.push(Fact::new(
                    Sense::Forbidden(SensitivePath),
                    value,
                    token.line,
                    value,
                ));
            }
            if is_weak(value) {
                found.push(Fact::new(
                    Sense::Forbidden(WeakCryptography),
                    value,
                    token.line,
                    value,
                ));
            }
        }
    }
    for (idx, node) in tree.nodes.iter().enumerate() {
        let is_loop = matches!(
            node.kind,
            "while_statement" | "loop_expression" | "while_expression" | "for_statement"
        );
        if is_loop {
            let tokens = tree.tokens_of(node);
            let head: Vec<_> = tokens.iter().take(6).map(|t| t.text).collect();
            let endless = match head.as_slice() {
                ["while", "(", word, ")", ..] => matches!(*word, "true" | "1"),
                ["while", word, mark, ..] => {
                    matches!(*word, "True" | "true" | "1") && matches!(*mark, ":" | "{")
                }
                ["loop" | "for", "{", ..] | ["for", "(", ";", ";", ")", ..] => true,
                _ => false,
            };
            let below = tree.below(idx).iter().take(4000);
            let ends = below.map(|n| n.kind).any(|kind| {
                matches!(
                    kind,
                    "break_statement"
                        | "break_expression"
                        | "return_statement"
                        | "return_expression"
                        | "raise_statement"
                        | "throw_statement"
                )
            }) || tokens.iter().take(4000).any(|t| {
                matches!(
                    t.text,
                    "break" | "return" | "raise" | "throw" | "?" | "yield"
                )
            });
            if endless && !ends {
                found.push(Fact::new(
                    Sense::Risky(Flag::ResourceUse),
                    "endless",
                    node.line,
                    &joined(&tokens[..tokens.len().min(12)]),
                ));
            }
        }
    }
    found
}

fn called(tree: &FlatTree<'_>, names: &Names, reference: &Reference, found: &mut Vec<Fact>) {
    let path = names.resolved(&reference.path);
    let last = path.rsplit('.').next().unwrap_or_default();
    let mut open = reference.tokens.1;
    let is_macro =
        tree.language == Language::Rust && tree.tokens.get(open).is_some_and(|t| t.is("!"));
    open += usize::from(is_macro);
    if !tree.tokens.get(open).is_some_and(|t| t.is("(")) {
        return;
    }
    let line = reference.line;
    let draws_secret = path.starts_with("secrets.")
        || path.contains("SystemRandom")
        || path.starts_with("SecureRandom")
        || matches!(
            path.as_str(),
            "os.urandom" | "crypto.randomBytes" | "crypto.randomUUID" | "crypto/rand.Read"
        );
    if draws_secret {
        let sense = Sense::Required(WeakCryptography);
        found.push(Fact::new(sense, "secret chance", line, &reference.path));
    }
    let end = tree.closing(open).min(open + 200);
    let arguments = tree.tokens.get(open + 1..end).unwrap_or_default();
    if matches!(last, "sleep" | "Sleep" | "sleepSync") {
        let seconds: f64 = arguments
            .iter()
            .filter(|t| t.kind == Kind::Number)
            .map(|t| number(t.text))
            .product();
        let is_number = arguments.iter().any(|t| t.kind == Kind::Number);
        let millis = matches!(tree.language, Language::Java)
            || arguments
                .iter()
                .any(|t| t.text.to_lowercase().contains("milli"));
        let seconds = if millis { seconds / 1000.0 } else { seconds };
        if is_number && seconds > LONG_SLEEP {
            let text = format!("{}({}", reference.path, joined(arguments));
            found.push(Fact::new(
                Sense::Risky(Flag::ResourceUse),
                "sleep",
                line,
                &text,
            ));
        }
    }
    told_by(tree, &path, (last, is_macro), reference, arguments, found);
}

/// What logs and errors tell.
fn told_by(
    tree: &FlatTree<'_>,
    path: &str,
    (last, is_macro): (&str, bool),
    reference: &Reference,
    arguments: &[Token<'_>],
    found: &mut Vec<Fact>,
) {
    let line = reference.line;
    let lower = path.to_lowercase();
    let is_log = (["log", "console", "sentry", "tracing", "slog"]
        .iter()
        .any(|word| lower.contains(word))
        && matches!(
            last.to_lowercase().as_str(),
            "debug"
                | "info"
                | "warn"
                | "warning"
                | "error"
                | "exception"
                | "critical"
                | "log"
                | "trace"
                | "fatal"
                | "infof"
                | "errorf"
                | "debugf"
                | "warnf"
                | "printf"
                | "println"
                | "print"
        ))
        || matches!(
            lower.as_str(),
            "print" | "fmt.println" | "fmt.printf" | "system.out.println" | "pprint"
        )
        || is_macro
            && matches!(
                last,
                "println"
                    | "eprintln"
                    | "print"
                    | "dbg"
                    | "info"
                    | "warn"
                    | "error"
                    | "debug"
                    | "trace"
            );
    if is_log {
        for token in told(arguments, tree.language) {
            let sense = if is_credential_name(token) {
                Sense::Forbidden(Secret)
            } else {
                Sense::Risky(Flag::Disclosure)
            };
            found.push(Fact::new(sense, format!("tells {token}"), line, token));
        }
    }
    let is_error = tree
        .tokens
        .get(reference.tokens.0.wrapping_sub(1))
        .is_some_and(|t| t.is("raise") || t.is("new") || t.is("throw"))
        || matches!(last, "Errorf" | "Err" | "bail" | "panic" | "anyhow");
    if is_error {
        for token in told(arguments, tree.language) {
            found.push(Fact::new(
                Sense::Risky(Flag::Disclosure),
                format!("tells {token}"),
                line,
                token,
            ));
        }
    }
}

/// The names of credentials among what is told, also those inside of format strings.
fn told<'a>(arguments: &'a [Token<'_>], language: Language) -> Vec<&'a str> {
    let mut found: Vec<&str> = Vec::new();
    for (idx, token) in arguments.iter().enumerate() {
        let is_called = arguments
            .get(idx + 1)
            .is_some_and(|t| t.is("(") || t.is("."));
        let is_named = arguments.get(idx + 1).is_some_and(|t| t.is("="));
        if token.is_word() && !is_called && !is_named && is_told_name(token.text) {
            found.push(token.text);
        }
        if language == Language::Rust
            && let Some(value) = token.value()
        {
            let inside = value
                .split('{')
                .skip(1)
                .filter_map(|part| part.split(['}', ':']).next());
            found.extend(inside.filter(|name| is_told_name(name)));
        }
    }
    found
}

fn is_told_name(name: &str) -> bool {
    let words = name_words(name);
    is_credential_name(name)
        || words.last().is_some_and(|last| {
            matches!(
                last.as_str(),
                "token" | "secret" | "cookie" | "credential" | "authorization"
            )
        })
}

fn is_credential_name(name: &str) -> bool {
    let words = name_words(name);
    let last = words.last().map_or("", String::as_str);
    matches!(
        last,
        "password" | "passwd" | "passphrase" | "pwd" | "secret" | "credentials" | "apikey"
    ) || words.len() >= 2
        && last == "key"
        && matches!(
            words[words.len() - 2].as_str(),
            "api" | "private" | "secret" | "signing" | "encryption"
        )
}

fn is_tries(name: &str) -> bool {
    name_words(name).iter().any(|word| {
        matches!(
            word.as_str(),
            "retries" | "retry" | "attempts" | "tries" | "redirects"
        )
    })
}

/// `= None`, `= 1000000`, `: Infinity`
fn is_unbounded(rest: &[Token<'_>]) -> bool {
    let [sign, value, ..] = rest else {
        return false;
    };
    let value = if value.is("-") {
        &rest[2.min(rest.len() - 1)]
    } else {
        value
    };
    matches!(sign.text, "=" | ":" | ":=" | "(")
        && (value.kind == Kind::Number && number(value.text) >= 1000.0
            || rest.get(2).is_some_and(|t| t.is("**") || t.is("<<"))
            || matches!(
                value.text,
                "None"
                    | "null"
                    | "Infinity"
                    | "inf"
                    | "MAX_VALUE"
                    | "math"
                    | "usize"
                    | "u32"
                    | "u64"
            ))
}

fn number(text: &str) -> f64 {
    let plain: String = text.chars().filter(|c| *c != '_').collect();
    let based = |prefix: &str, radix| {
        let digits = plain.strip_prefix(prefix)?;
        let digits: String = digits.chars().take_while(|c| c.is_digit(radix)).collect();
        u64::from_str_radix(&digits, radix).ok()
    };
    if let Some(value) = based("0x", 16)
        .or_else(|| based("0o", 8))
        .or_else(|| based("0b", 2))
    {
        // Addresses, masks and hashes are written so: they are not sizes.
        return if value > u64::from(u32::MAX) {
            0.0
        } else {
            1.0
        };
    }
    let digits: String = plain
        .chars()
        .take_while(|c| c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E'))
        .collect();
    digits
        .trim_end_matches(['e', 'E', '.'])
        .parse()
        .unwrap_or(0.0)
}

/// A group that is repeated and ends with something that is repeated: `(a+)+`.
fn backtracks(pattern: &str) -> bool {
    if pattern.len() > 2000 {
        return false;
    }
    let chars: Vec<char> = pattern.chars().collect();
    let repeats = |at: usize| {
        matches!(chars.get(at), Some('+' | '*'))
            || chars.get(at) == Some(&'{')
                && chars[at..]
                    .iter()
                    .take(8)
                    .collect::<String>()
                    .contains(",}")
    };
    let mut open: Vec<usize> = Vec::new();
    let mut at = 0;
    while at < chars.len() {
        match chars[at] {
            '\\' => at += 1,
            '(' => open.push(at),
            ')' => {
                if let Some(start) = open.pop()
                    && repeats(at + 1)
                {
                    let inside = &chars[start + 1..at];
                    // A separator that must stand there keeps the parts apart.
                    let last = inside.iter().rposition(|c| !matches!(c, '?' | ')'));
                    // A repetition in braces is told by where they open: `x{2,}`.
                    let last = last.map(|last| match inside[last] {
                        '}' => inside[..last]
                            .iter()
                            .rposition(|c| *c == '{')
                            .unwrap_or(last),
                        _ => last,
                    });
                    let ends_repeated = last.is_some_and(|last| repeats(start + 1 + last));
                    let optional_end = inside.last() == Some(&'?')
                        && inside.iter().any(|c| matches!(c, '+' | '*'));
                    if ends_repeated || optional_end {
                        return true;
                    }
                }
            }
            _ => {}
        }
        at += 1;
    }
    false
}

/// Files of the machine that no repair of a service reads.
fn is_sensitive(value: &str) -> bool {
    if value.len() > 400 {
        return false;
    }
    let starts = [
        "/etc/shadow",
        "/etc/passwd",
        "/etc/sudoers",
        "/etc/ssh",
        "/etc/cron",
        "/etc/ld.so",
        "/root/",
        "/proc/self/mem",
        "/proc/self/environ",
        "/proc/self/maps",
        "/dev/mem",
        "/dev/kmem",
        "/var/run/docker.sock",
        "/var/run/secrets",
    ];
    let parts = [
        "/.ssh/",
        "/.aws/",
        "/.kube/",
        "/.gnupg/",
        "/.netrc",
        "/.docker/config",
        "/.bashrc",
        "/.bash_history",
        "/.profile",
        "/.npmrc",
        "/.pypirc",
        "id_rsa",
        "id_ed25519",
        "authorized_keys",
    ];
    starts.iter().any(|start| {
        value.starts_with(start) || value.starts_with("file://") && value[7..].starts_with(start)
    }) || parts.iter().any(|part| value.contains(part))
        || value.starts_with("~/.")
        || value.starts_with("/proc/") && value.ends_with("/mem")
}

/// The name of an algorithm that protects less than its successors.
fn is_weak(value: &str) -> bool {
    let plain = value.to_ascii_uppercase();
    matches!(
        plain.as_str(),
        "MD5"
            | "MD4"
            | "MD2"
            | "SHA1"
            | "SHA-1"
            | "DES"
            | "RC4"
            | "ARCFOUR"
            | "RC2"
            | "SSLV3"
            | "TLSV1"
            | "TLSV1.1"
    ) || plain.contains("/ECB/")
        || plain.ends_with("-ECB")
        || plain.starts_with("DES-")
        || plain.starts_with("RC4-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_that_backtrack_are_known() {
        for pattern in [
            r"(a+)+",
            r"^(\w+\s?)+$",
            r"(.*)*",
            r"((a|b)*)+",
            r"(x{2,})+",
        ] {
            assert!(backtracks(pattern), "{pattern}");
        }
        for pattern in [
            r"\w+",
            r"(\d+,)*",
            r"([a-z]+\.)+",
            r"(a|b)+",
            r"\(a+\)+",
            "(",
            "(a",
            r"(?:\d{3})+",
        ] {
            assert!(!backtracks(pattern), "{pattern}");
        }
    }

    #[test]
    fn numbers_are_read_in_any_form() {
        for (text, value) in [
            ("10_000", 1e4),
            ("1e9", 1e9),
            ("0xff", 1.0),
            ("3usize", 3.0),
            ("2.5", 2.5),
        ] {
            assert!((number(text) - value).abs() < 1e-9, "{text}");
        }
    }
}
