//! Time limits: how long, by name.

use super::token::{FlatTree, Kind, Token};

/// A limit: its name without case and underscores, how long (in a unit of its own, infinite if
/// there is none), and where.
#[derive(Debug, Clone)]
pub(super) struct TimeLimit {
    pub(super) name: String,
    pub(super) value: f64,
    pub(super) line: usize,
    pub(super) text: String,
}

pub(super) fn is_time_limit(name: &str) -> bool {
    let plain = plain(name);
    let is_limit = ["timeout", "deadline", "timelimit", "maxwait"]
        .iter()
        .any(|word| plain.contains(word));
    is_limit
        && !matches!(plain.as_str(), "settimeout" | "cleartimeout")
        && !plain.ends_with("error")
        && !plain.contains("exceeded")
        && !plain.contains("timeoutexc")
}

fn plain(name: &str) -> String {
    name.chars()
        .filter(|c| c.is_alphanumeric())
        .flat_map(char::to_lowercase)
        .collect()
}

/// Every limit that is given a value.
pub(super) fn time_limits(tree: &FlatTree<'_>) -> Vec<TimeLimit> {
    let mut found = Vec::new();
    for (idx, token) in tree.tokens.iter().enumerate() {
        let name = token.value().unwrap_or(token.text);
        let is_name = token.is_word()
            || token
                .value()
                .is_some_and(|v| v.len() < 60 && !v.contains(' '));
        if !is_name || !is_time_limit(name) {
            continue;
        }
        let sign = tree.tokens.get(idx + 1).map_or("", |t| t.text);
        if !matches!(sign, "=" | ":" | "(" | ":=" | "," | "]") {
            continue;
        }
        let line = token.line;
        let rest: Vec<&Token<'_>> = tree.tokens[idx + 2..]
            .iter()
            .take(12)
            .take_while(|t| t.line == line && !t.is(";") && !t.is("}"))
            .collect();
        if let Some(value) = value(&rest) {
            let text: Vec<_> = tree.tokens[idx..].iter().take(8).map(|t| t.text).collect();
            found.push(TimeLimit {
                name: plain(name),
                value,
                line,
                text: text.join(" "),
            });
        }
    }
    found
}

/// The product of the numbers that come first, in the unit the words around them name.
fn value(tokens: &[&Token<'_>]) -> Option<f64> {
    let mut product: Option<f64> = None;
    let mut unit = 1.0;
    for token in tokens {
        match &token.kind {
            Kind::Number => product = Some(product.unwrap_or(1.0) * number(token.text)?),
            Kind::Text(text)
                if product.is_none() && text.starts_with(|c: char| c.is_ascii_digit()) =>
            {
                let digits: String = text
                    .chars()
                    .take_while(|c| c.is_ascii_digit() || *c == '.')
                    .collect();
                product = Some(digits.parse().ok()?);
                unit *= factor(&text[digits.len()..]);
            }
            Kind::Word
                if product.is_none()
                    && matches!(
                        token.text,
                        "None" | "null" | "undefined" | "nil" | "Infinity" | "MAX"
                    ) =>
            {
                return Some(f64::INFINITY);
            }
            Kind::Word => unit *= factor(token.text),
            _ if product.is_some() && (token.is(",") || token.is(")")) => break,
            _ => {}
        }
    }
    let value = product? * unit;
    // No time at all stands for no limit.
    Some(if value == 0.0 { f64::INFINITY } else { value })
}

fn number(text: &str) -> Option<f64> {
    let kept: String = text
        .chars()
        .filter(|c| *c != '_')
        .take_while(|c| c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E'))
        .collect();
    kept.parse().ok()
}

/// Seconds in the unit a word names; 1 if it names none.
fn factor(word: &str) -> f64 {
    let word = plain(word);
    for (name, seconds) in [
        ("nano", 1e-9),
        ("micro", 1e-6),
        ("milli", 1e-3),
        ("minute", 60.0),
        ("mins", 60.0),
        ("hour", 3600.0),
        ("day", 86400.0),
    ] {
        if word.contains(name) {
            return seconds;
        }
    }
    match word.as_str() {
        "ms" => 1e-3,
        "us" => 1e-6,
        "ns" => 1e-9,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => 1.0,
    }
}

/// The limits of `old` that are longer or gone in `new`, each with its old or new place.
pub(super) fn wider<'a>(
    old: &'a [TimeLimit],
    new: &'a [TimeLimit],
) -> Vec<(&'a TimeLimit, Option<&'a TimeLimit>)> {
    let mut rest: Vec<&TimeLimit> = new.iter().collect();
    let mut changed: Vec<&TimeLimit> = Vec::new();
    for limit in old {
        match rest
            .iter()
            .position(|n| n.name == limit.name && n.value.total_cmp(&limit.value).is_eq())
        {
            Some(at) => {
                rest.remove(at);
            }
            None => changed.push(limit),
        }
    }
    let mut found = Vec::new();
    for limit in changed {
        match rest.iter().position(|n| n.name == limit.name) {
            Some(at) => {
                let now = rest.remove(at);
                if now.value > limit.value {
                    found.push((limit, Some(now)));
                }
            }
            None => found.push((limit, None)),
        }
    }
    found
}
