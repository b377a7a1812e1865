//! Hosts that texts name, with and without a scheme.

use super::RefusalReason::Network;
use super::fact::{Fact, Sense};
use super::token::{FlatTree, Kind};
use super::validation::Flag;
use super::words::name_words;

const KEY: &str = "host ";

/// The hosts in the strings of a program.
pub(super) fn facts(tree: &FlatTree<'_>) -> Vec<Fact> {
    let mut found = Vec::new();
    for (idx, token) in tree.tokens.iter().enumerate() {
        if token.is("[") {
            // `"".join(["https://", "host"])`
            let end = tree.closing(idx).min(idx + 64);
            let inside = tree.tokens.get(idx + 1..end).unwrap_or_default();
            let parts: Vec<&str> = inside.iter().filter_map(|t| t.value()).collect();
            let value = parts.concat();
            if parts.len() > 1
                && !parts.iter().any(|part| host_of(part).is_some())
                && let Some(host) = host_of(&value)
            {
                found.push(fact(host, token.line, &value));
            }
        }
        if tree.is_continued(idx) {
            continue;
        }
        let folded = tree.folded(idx).map(|(value, _)| value);
        let value = match (&folded, &token.kind) {
            (Some(value), _) => value.as_str(),
            (None, Kind::Template) => {
                let text = token.text;
                let start = text.find(['"', '\'', '`']).unwrap_or(0);
                text[start..].trim_matches(['"', '\'', '`'])
            }
            _ => continue,
        };
        let before = |n: usize| idx.checked_sub(n).map(|at| &tree.tokens[at]);
        let is_given = before(1).is_some_and(|t| {
            t.is("=") || t.is(":") || t.is(":=") || t.is("=>") || t.is("(") || t.is(",")
        });
        let name = before(2)
            .filter(|_| is_given)
            .map_or("", |t| t.value().unwrap_or(t.text));
        if let Some(host) = host_of(value).or_else(|| bare_host(name, value)) {
            found.push(fact(host, token.line, value));
        }
    }
    found
}

/// The host a setting names.
pub(super) fn of_setting(path: &str, value: &str, line: usize) -> Option<Fact> {
    let host = host_of(value).or_else(|| bare_host(path, value))?;
    Some(fact(host, line, value))
}

fn fact(host: &str, line: usize, text: &str) -> Fact {
    let host = host.to_ascii_lowercase();
    Fact::new(
        Sense::Forbidden(Network),
        format!("{KEY}{host}"),
        line,
        text,
    )
}

/// New hosts of a known domain or of the inner network become a matter of risk: people move such
/// services.
pub(super) fn soften(before: &[Fact], after: &mut [Fact]) {
    let known: Vec<&str> = before.iter().filter_map(host_in).map(domain).collect();
    for fact in after {
        let is_near =
            host_in(fact).is_some_and(|host| is_inner(host) || known.contains(&domain(host)));
        if is_near {
            fact.sense = Sense::Risky(Flag::NewHost);
        }
    }
}

fn host_in(fact: &Fact) -> Option<&str> {
    fact.key.strip_prefix(KEY)
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if !name.contains(':') && port.bytes().all(|b| b.is_ascii_digit()) => {
            name
        }
        _ => host,
    }
}

/// The last two labels of a name, three under a public suffix of two; an address as a whole.
fn domain(host: &str) -> &str {
    let host = without_port(host);
    if is_address(host) {
        return host;
    }
    let dots: Vec<usize> = host.rmatch_indices('.').map(|(at, _)| at).collect();
    let Some(second) = dots.get(1) else {
        return host;
    };
    let label = &host[second + 1..dots[0]];
    let is_suffix = matches!(label, "co" | "com" | "org" | "net" | "gov" | "ac" | "edu");
    match (is_suffix, dots.get(2)) {
        (true, Some(third)) => &host[third + 1..],
        (true, None) => host,
        (false, _) => &host[second + 1..],
    }
}

/// A name without dots, or an address or a domain that no stranger's machine has.
fn is_inner(host: &str) -> bool {
    let host = without_port(host);
    if is_address(host) {
        let parts: Vec<u8> = host
            .split('.')
            .filter_map(|part| part.parse().ok())
            .collect();
        return matches!(
            parts.as_slice(),
            [10 | 127, ..] | [192, 168, ..] | [172, 16..=31, ..]
        );
    }
    let top = host.rsplit('.').next().unwrap_or_default();
    let is_inner = matches!(
        top,
        "internal" | "local" | "localdomain" | "lan" | "svc" | "intranet" | "corp"
    );
    let is_number = host.starts_with(|c: char| c.is_ascii_digit())
        && host.chars().all(|c| c.is_ascii_hexdigit() || c == 'x');
    is_inner || !is_number && !host.contains('.') && !host.contains(':')
}

fn is_address(host: &str) -> bool {
    let parts: Vec<_> = host.split('.').collect();
    parts.len() == 4 && parts.iter().all(|part| part.parse::<u8>().is_ok())
}

/// A host without a scheme, given to a name that says what it is.
fn bare_host<'v>(name: &str, value: &'v str) -> Option<&'v str> {
    let names_host = name.split('.').flat_map(name_words).any(|word| {
        matches!(
            word.as_str(),
            "host"
                | "hosts"
                | "hostname"
                | "endpoint"
                | "endpoints"
                | "server"
                | "servers"
                | "upstream"
                | "proxy"
                | "registry"
                | "webhook"
                | "mirror"
                | "broker"
                | "brokers"
                | "address"
                | "addr"
                | "url"
                | "uri"
                | "domain"
                | "relay"
                | "peer"
                | "peers"
                | "origin"
        )
    });
    let value = value.trim();
    let rest = value.strip_prefix("//");
    let host = rest.unwrap_or(value).split(['/', '?', '#', '\\']).next()?;
    let host = host.rsplit('@').next()?;
    let plain = without_port(host);
    let is_name = plain.len() > 3
        && plain
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-'))
        && plain.contains('.')
        && plain
            .rsplit('.')
            .next()
            .is_some_and(|top| top.len() >= 2 && top.bytes().all(|b| b.is_ascii_alphabetic()));
    let is_host = is_name || is_address(plain) && !matches!(plain, "0.0.0.0");
    ((names_host || rest.is_some()) && is_host).then_some(host)
}

/// The host of an absolute address.
fn host_of(value: &str) -> Option<&str> {
    let (scheme, rest) = value.trim().split_once("://")?;
    let is_scheme = !scheme.is_empty()
        && scheme.len() < 40
        && scheme
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | ':' | '-' | '.'));
    let host = rest
        .split(['/', '?', '#', ' ', '\\'])
        .next()?
        .rsplit('@')
        .next()?;
    (is_scheme && !host.is_empty() && !host.starts_with(['{', '$', '%'])).then_some(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domain_is_what_one_owner_has() {
        for (host, expected) in [
            ("a.b.example.org:443", "example.org"),
            ("shop.co.uk", "shop.co.uk"),
            ("x.shop.co.uk", "shop.co.uk"),
            ("db", "db"),
            ("10.0.0.1:5432", "10.0.0.1"),
        ] {
            assert_eq!(domain(host), expected, "{host}");
        }
        for (host, inner) in [
            ("db", true),
            ("192.168.1.9", true),
            ("203.0.113.9", false),
            ("a.example", false),
        ] {
            assert_eq!(is_inner(host), inner, "{host}");
        }
    }

    #[test]
    fn a_host_is_known_by_its_scheme_or_its_name() {
        for (name, value, expected) in [
            ("", "https://good.example@evil.test/x", Some("evil.test")),
            ("", "https://evil.test\\@good.example/", Some("evil.test")),
            ("smtp.host", "mail.shop.example", Some("mail.shop.example")),
            ("file", "a.tar.gz", None),
            ("", "//cdn.test/x", Some("cdn.test")),
            ("", "// a comment", None),
            ("version", "1.2.3.4", None),
        ] {
            let host = host_of(value).or_else(|| bare_host(name, value));
            assert_eq!(host, expected, "{value}");
        }
    }
}
