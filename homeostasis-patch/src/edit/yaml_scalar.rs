//! YAML scalars: what plain text means, and how to write a value so that every reader agrees.

use std::fmt::Write as _;

use serde_json::Value;

use super::datum::{Datum, Real};

/// The core schema's reading of a plain scalar (YAML 1.2.2, section 10.3.2).
pub(crate) fn resolve_plain(text: &str) -> Datum {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Datum::Null,
        "true" | "True" | "TRUE" => return Datum::Bool(true),
        "false" | "False" | "FALSE" => return Datum::Bool(false),
        ".nan" | ".NaN" | ".NAN" => return Datum::Float(Real(f64::NAN)),
        _ => {}
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") {
        let sign = if text.starts_with('-') { -1.0 } else { 1.0 };
        return Datum::Float(Real(f64::INFINITY * sign));
    }
    let radix = |prefix, radix| {
        let digits: &str = text.strip_prefix(prefix)?;
        let valid = !digits.is_empty() && digits.chars().all(|c| c.is_digit(radix));
        valid.then(|| i128::from_str_radix(digits, radix).ok())
    };
    if let Some(int) = radix("0x", 16).or_else(|| radix("0o", 8)) {
        return int.map_or_else(|| Datum::Opaque(text.to_owned()), Datum::Int);
    }
    if !unsigned.is_empty() && unsigned.bytes().all(|b| b.is_ascii_digit()) {
        return text
            .parse()
            .map_or_else(|_| Datum::Opaque(text.to_owned()), Datum::Int);
    }
    let is_float = unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && unsigned.contains(|c: char| c.is_ascii_digit())
        && unsigned
            .bytes()
            .all(|b| matches!(b, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-'));
    match text.parse::<f64>() {
        Ok(f) if is_float && f.is_finite() => Datum::Float(Real(f)),
        Ok(_) if is_float => Datum::Opaque(text.to_owned()),
        _ => Datum::Str(text.to_owned()),
    }
}

/// A value on one line; strings keep the quotes (or their absence) of the text they replace.
pub(crate) fn value_text(value: &Value, like: &str) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(b) => b.to_string(),
        Value::Number(n) => number_text(n),
        Value::String(s) => string_text(s, like),
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(|v| value_text(v, "\"")).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Object(map) => {
            let entries: Vec<_> = map
                .iter()
                .map(|(k, v)| format!("{}: {}", key_text(k, ""), value_text(v, "\"")))
                .collect();
            format!("{{{}}}", entries.join(", "))
        }
    }
}

/// A key, quoted like its sibling.
pub(crate) fn key_text(key: &str, like: &str) -> String {
    string_text(key, like)
}

/// YAML 1.1 readers take `1e20` for a string: a float always shows a point and a signed exponent.
fn number_text(number: &serde_json::Number) -> String {
    let text = number.to_string();
    let Some((mantissa, exponent)) = text.split_once('e') else {
        return text;
    };
    let point = if mantissa.contains('.') { "" } else { ".0" };
    let sign = if exponent.starts_with(['-', '+']) {
        ""
    } else {
        "+"
    };
    format!("{mantissa}{point}e{sign}{exponent}")
}

fn string_text(text: &str, like: &str) -> String {
    if like.starts_with('\'') && text.chars().all(is_printable) {
        return format!("'{}'", text.replace('\'', "''"));
    }
    if !like.starts_with(['\'', '"']) && is_safely_plain(text) {
        return text.to_owned();
    }
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if is_printable(c) => out.push(c),
            c if u32::from(c) <= 0xFFFF => {
                let _ = write!(out, "\\u{:04X}", u32::from(c));
            }
            c => {
                let _ = write!(out, "\\U{:08X}", u32::from(c));
            }
        }
    }
    out.push('"');
    out
}

/// Printable on one line, with no line break in any version of YAML, no byte order mark.
fn is_printable(c: char) -> bool {
    !c.is_control()
        && !matches!(
            c,
            '\u{2028}' | '\u{2029}' | '\u{FEFF}' | '\u{FFFE}' | '\u{FFFF}'
        )
}

/// A string that YAML 1.1 and 1.2 readers both take for the same string, in any context.
fn is_safely_plain(text: &str) -> bool {
    const RESERVED: [&str; 14] = [
        "y",
        "n",
        "yes",
        "no",
        "on",
        "off",
        "true",
        "false",
        "null",
        "nan",
        "inf",
        "none",
        "nil",
        "undefined",
    ];
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_' || c == '/')
        && text.chars().all(|c| {
            c.is_ascii_alphanumeric()
                || matches!(c, '_' | '/' | '.' | '-' | ':' | ' ' | '@' | '=' | '%' | '+')
        })
        && !text.ends_with([':', ' '])
        && !text.contains(": ")
        && !RESERVED.contains(&text.to_ascii_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_scalars_follow_the_core_schema() {
        for (text, datum) in [
            ("", Datum::Null),
            ("~", Datum::Null),
            ("True", Datum::Bool(true)),
            ("yes", Datum::Str("yes".into())),
            ("-12", Datum::Int(-12)),
            ("0x1F", Datum::Int(31)),
            ("0o17", Datum::Int(15)),
            ("1.5e3", Datum::Float(Real(1500.0))),
            (".5", Datum::Float(Real(0.5))),
            ("-.inf", Datum::Float(Real(f64::NEG_INFINITY))),
            ("inf", Datum::Str("inf".into())),
            ("1_000", Datum::Str("1_000".into())),
            ("1e999", Datum::Opaque("1e999".into())),
            ("-", Datum::Str("-".into())),
            ("30s", Datum::Str("30s".into())),
        ] {
            assert_eq!(resolve_plain(text), datum, "{text:?}");
        }
    }

    #[test]
    fn strings_that_a_reader_could_take_for_something_else_are_quoted() {
        for text in [
            "no",
            "On",
            "12:30:00",
            "1e3",
            "2024-01-01",
            "a: b",
            "a #b",
            "",
            "- x",
            "&a",
            "null",
        ] {
            assert!(string_text(text, "").starts_with('"'), "{text:?}");
        }
        for text in ["debug", "http://host:80/x", "/var/log", "two words"] {
            assert_eq!(string_text(text, ""), text);
        }
        assert_eq!(string_text("it's", "'x'"), "'it''s'");
        assert_eq!(
            number_text(&serde_json::Number::from_f64(1e20).unwrap()),
            "1.0e+20"
        );
    }
}
