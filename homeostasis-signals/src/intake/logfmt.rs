//! Reads logfmt: `ts=2026-11-22T01:00:00Z level=warn msg="no route" retry`.

use serde_json::{Map, Value};

/// Names of which one at least stands in a line of a logger that writes logfmt.
const TELLING: [&str; 6] = [
    "level=",
    "lvl=",
    "severity=",
    "msg=",
    "message=",
    "log.level=",
];

/// Whether a line begins with `name=`.
pub(super) fn begins_with_name(line: &str) -> bool {
    let name_len = line
        .bytes()
        .take_while(|byte| {
            byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-' | b'@')
        })
        .count();
    name_len > 0 && line.as_bytes().get(name_len) == Some(&b'=')
}

/// Whether a line is meant as logfmt: it begins with `name=` and names a level or a message.
pub(super) fn is_logfmt(line: &str) -> bool {
    begins_with_name(line)
        && TELLING.iter().any(|name| {
            line.match_indices(name)
                .any(|(at, _)| at == 0 || line.as_bytes()[at - 1] == b' ')
        })
}

/// The pairs of a line; linear in its length.
///
/// A value is either quoted, with the escapes of JSON, or ends at white space; a quote that is
/// never closed ends with the line. A name alone is `true`. Of a name that comes twice the last
/// value counts, as in JSON. A value without a name is passed over.
pub(super) fn parse(line: &str) -> Map<String, Value> {
    let mut pairs = Map::new();
    let mut rest = line.trim_start();
    while !rest.is_empty() {
        let name_end = rest
            .find(|c: char| c == '=' || c.is_whitespace())
            .unwrap_or(rest.len());
        let (name, after) = rest.split_at(name_end);
        let value = if let Some(after) = after.strip_prefix('=') {
            let (value, after) = if let Some(quoted) = after.strip_prefix('"') {
                unquote(quoted)
            } else {
                let end = after.find(char::is_whitespace).unwrap_or(after.len());
                (after[..end].to_owned(), &after[end..])
            };
            rest = after;
            Value::String(value)
        } else {
            rest = after;
            Value::Bool(true)
        };
        if !name.is_empty() {
            pairs.insert(name.to_owned(), value);
        }
        rest = rest.trim_start();
    }
    pairs
}

/// Reads up to the closing quote; gives the text and what follows the quote.
fn unquote(quoted: &str) -> (String, &str) {
    let end = quoted.find(['"', '\\']).unwrap_or(quoted.len());
    let mut text = quoted[..end].to_owned();
    let mut rest = &quoted[end..];
    loop {
        let mut chars = rest.chars();
        match chars.next() {
            None => return (text, ""),
            Some('"') => return (text, chars.as_str()),
            Some('\\') => {
                match chars.next() {
                    Some('n') => text.push('\n'),
                    Some('r') => text.push('\r'),
                    Some('t') => text.push('\t'),
                    Some('u') => {
                        let (decoded, after) = unescape_unicode(chars.as_str());
                        text.push(decoded);
                        rest = after;
                        continue;
                    }
                    // `\"` and `\\`; of an escape that means nothing the character stays.
                    Some(other) => text.push(other),
                    None => text.push('\\'),
                }
                rest = chars.as_str();
            }
            Some(_) => {
                let end = rest.find(['"', '\\']).unwrap_or(rest.len());
                text.push_str(&rest[..end]);
                rest = &rest[end..];
            }
        }
    }
}

/// The character of four hexadecimal digits, or of two times four with `\u` between them.
fn unescape_unicode(after_u: &str) -> (char, &str) {
    let unit = |text: &str| u16::from_str_radix(text.get(..4)?, 16).ok();
    let Some(first) = unit(after_u) else {
        return (char::REPLACEMENT_CHARACTER, after_u);
    };
    let rest = &after_u[4..];
    let second = rest.strip_prefix("\\u").and_then(unit);
    let mut decoded = char::decode_utf16([first].into_iter().chain(second));
    let decoded_first = decoded.next().and_then(Result::ok);
    let used_both = second.is_some() && decoded_first.is_some_and(|c| c.len_utf16() == 2);
    (
        decoded_first.unwrap_or(char::REPLACEMENT_CHARACTER),
        if used_both { &rest[6..] } else { rest },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn check(line: &str, expected: &Value) {
        assert_eq!(Value::Object(parse(line)), *expected, "{line}");
    }

    #[test]
    fn quotes_escapes_bare_names_and_doubles_are_read() {
        check(
            r#"level=warn  msg="no \"route\"\n\tto \\ \u00e9 \ud83d\ude00" retry key= a.b=1 "#,
            &json!({"level": "warn", "msg": "no \"route\"\n\tto \\ é 😀", "retry": true, "key": "", "a.b": "1"}),
        );
        check("a=1 a=2", &json!({"a": "2"}));
        check("url=/x?y=1&z=2", &json!({"url": "/x?y=1&z=2"}));
        check("a=\"\" b=\"x\"c=d", &json!({"a": "", "b": "x", "c": "d"}));
    }

    #[test]
    fn what_is_broken_is_read_as_far_as_it_goes() {
        check(
            r#"msg="never closed a=b"#,
            &json!({"msg": "never closed a=b"}),
        );
        check(r#"msg="ends in \"#, &json!({"msg": "ends in \\"}));
        check("=value a=1", &json!({"a": "1"}));
        check(
            r#"a="\ud83d x" b="\uzz""#,
            &json!({"a": "\u{fffd} x", "b": "\u{fffd}zz"}),
        );
        check("", &json!({}));
    }

    #[test]
    fn lines_meant_as_logfmt_are_told_from_prose() {
        for line in [
            "level=info msg=hi",
            "ts=1 lvl=warn x",
            "a=b msg=\"x\"",
            "msg=x",
        ] {
            assert!(is_logfmt(line), "{line}");
        }
        for line in [
            "a=b",
            "x level=info",
            "GET /?level=3 msg=",
            "=level=",
            "url=/?level=3",
            "",
        ] {
            assert!(!is_logfmt(line), "{line}");
        }
    }

    proptest! {
        #[test]
        fn no_line_makes_it_panic(line in "\\PC*|([a-z]=?|\"|\\\\(u[0-9a-f]{0,5})?| |=|é)*") {
            let _ = (parse(&line), is_logfmt(&line));
        }

        #[test]
        fn what_is_written_with_quotes_is_read_back(
            pairs in prop::collection::btree_map("[a-z][a-z_.]{0,8}", "\\PC{0,12}", 0..6)
        ) {
            let line = pairs
                .iter()
                .map(|(name, value)| format!("{name}={}", json!(value)))
                .collect::<Vec<_>>()
                .join(" ");
            let expected: Map<_, _> = pairs.into_iter().map(|(n, v)| (n, json!(v))).collect();
            prop_assert_eq!(parse(&line), expected);
        }
    }
}
