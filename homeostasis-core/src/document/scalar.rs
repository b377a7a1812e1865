//! Plain scalars: the YAML 1.2 core schema (YAML 1.2.2, section 10.3.2).

use super::node::Value;

/// The value of a plain (unquoted) scalar.
///
/// `null`, `true`, `false` (each also capitalized), integers (decimal, `0x`, `0o`) and floats are what they look like;
/// everything else, `yes` and `no` included, is a string.
/// Integers beyond 128 bits become floats.
pub(super) fn resolve_plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        ".nan" | ".NaN" | ".NAN" => return Value::Float(f64::NAN),
        _ => {}
    }
    integer(text)
        .map(Value::Int)
        .or_else(|| float(text).map(Value::Float))
        .unwrap_or_else(|| Value::String(text.to_owned()))
}

fn integer(text: &str) -> Option<i128> {
    let all = |digits: &str, radix| !digits.is_empty() && digits.chars().all(|c| c.is_digit(radix));
    if let Some(digits) = text.strip_prefix("0x") {
        return all(digits, 16)
            .then(|| i128::from_str_radix(digits, 16).ok())
            .flatten();
    }
    if let Some(digits) = text.strip_prefix("0o") {
        return all(digits, 8)
            .then(|| i128::from_str_radix(digits, 8).ok())
            .flatten();
    }
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    all(digits, 10).then(|| text.parse().ok()).flatten()
}

fn float(text: &str) -> Option<f64> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") {
        return Some(if text.starts_with('-') {
            f64::NEG_INFINITY
        } else {
            f64::INFINITY
        });
    }
    let in_alphabet = |b: u8| b.is_ascii_digit() || matches!(b, b'+' | b'-' | b'.' | b'e' | b'E');
    if !text.bytes().all(in_alphabet) {
        return None;
    }
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_core_schema_is_followed() {
        let string = |s: &str| Value::String(s.to_owned());
        for (text, value) in [
            ("", Value::Null),
            ("~", Value::Null),
            ("null", Value::Null),
            ("nUll", string("nUll")),
            ("True", Value::Bool(true)),
            ("yes", string("yes")),
            ("no", string("no")),
            ("on", string("on")),
            ("12", Value::Int(12)),
            ("-12", Value::Int(-12)),
            ("+12", Value::Int(12)),
            ("012", Value::Int(12)),
            ("0x1F", Value::Int(31)),
            ("0o17", Value::Int(15)),
            ("0x-1", string("0x-1")),
            ("0x", string("0x")),
            ("1_000", string("1_000")),
            ("1.5", Value::Float(1.5)),
            (".5", Value::Float(0.5)),
            ("5.", Value::Float(5.0)),
            ("1e3", Value::Float(1000.0)),
            ("-.inf", Value::Float(f64::NEG_INFINITY)),
            ("inf", string("inf")),
            ("nan", string("nan")),
            (".", string(".")),
            ("-", string("-")),
            ("1.2.3", string("1.2.3")),
            ("5m", string("5m")),
            ("12:30", string("12:30")),
            ("2026-01-01", string("2026-01-01")),
        ] {
            assert_eq!(resolve_plain(text), value, "{text}");
        }
        assert!(matches!(resolve_plain(".nan"), Value::Float(f) if f.is_nan()));
    }

    #[test]
    fn an_integer_beyond_128_bits_is_a_float() {
        assert_eq!(
            resolve_plain(&format!("1{}", "0".repeat(40))),
            Value::Float(1e40)
        );
    }
}
