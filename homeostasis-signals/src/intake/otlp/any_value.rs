//! Values of attributes and bodies, and the text they become.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Serialize, Serializer};

use super::message::KeyValue;

/// A value of any type.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) enum AnyValue {
    #[default]
    Empty,
    Text(String),
    Bool(bool),
    Int(i64),
    Double(f64),
    Array(Vec<AnyValue>),
    List(Vec<KeyValue>),
    Bytes(Vec<u8>),
}

impl AnyValue {
    /// The value as text: text as it is, bytes in Base64, all else as JSON; nothing is empty.
    ///
    /// Numbers that JSON lacks are `NaN`, `Infinity` and `-Infinity`.
    /// Source: *OpenTelemetry*, "`AnyValue` representation for non-OTLP protocols".
    pub(super) fn into_text(self) -> String {
        match self {
            Self::Empty => String::new(),
            Self::Text(text) => text,
            Self::Bytes(bytes) => STANDARD.encode(bytes),
            Self::Double(number) if !number.is_finite() => no_number(number).to_owned(),
            // Neither a map with other keys than text nor a failing writer is possible.
            value => serde_json::to_string(&value).unwrap_or_default(),
        }
    }

    /// Whether it has at most `levels` levels of arrays and lists.
    pub(super) fn fits(&self, levels: usize) -> bool {
        match self {
            Self::Array(values) => levels > 0 && values.iter().all(|value| value.fits(levels - 1)),
            Self::List(entries) => {
                levels > 0 && entries.iter().all(|entry| entry.value.fits(levels - 1))
            }
            _ => true,
        }
    }
}

impl Serialize for AnyValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Empty => serializer.serialize_unit(),
            Self::Text(text) => serializer.serialize_str(text),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Int(number) => serializer.serialize_i64(*number),
            Self::Double(number) if number.is_finite() => serializer.serialize_f64(*number),
            Self::Double(number) => serializer.serialize_str(no_number(*number)),
            Self::Array(values) => serializer.collect_seq(values),
            Self::List(entries) => {
                serializer.collect_map(entries.iter().map(|entry| (&entry.key, &entry.value)))
            }
            Self::Bytes(bytes) => serializer.serialize_str(&STANDARD.encode(bytes)),
        }
    }
}

fn no_number(number: f64) -> &'static str {
    if number.is_nan() {
        "NaN"
    } else if number > 0.0 {
        "Infinity"
    } else {
        "-Infinity"
    }
}

/// A word that is cut goes as a whole if it has at most this many bytes.
const LONGEST_WORD: usize = 1024;

/// Cuts `text` to at most `max` bytes, the ellipsis not counted.
///
/// It cuts before the word that does not fit: half a token would not be known for a secret.
pub(super) fn cut(mut text: String, max: usize) -> String {
    if text.len() > max {
        let is_within = !text.as_bytes()[max].is_ascii_whitespace();
        let from = max.saturating_sub(LONGEST_WORD);
        let blank = text.as_bytes()[from..max]
            .iter()
            .rposition(u8::is_ascii_whitespace)
            .filter(|_| is_within);
        let end = blank.map_or(max, |blank| from + blank + 1);
        let end = (0..=end).rev().find(|at| text.is_char_boundary(*at));
        text.truncate(end.unwrap_or(0));
        text.push('…');
    }
    text
}

/// Ids as people write them; `None` for one of another length or of zeros only, which is none.
pub(super) fn hex(id: &[u8], length: usize) -> Option<String> {
    use std::fmt::Write as _;
    let good = id.len() == length && id.iter().any(|byte| *byte != 0);
    good.then(|| {
        id.iter()
            .fold(String::with_capacity(2 * length), |mut text, byte| {
                // Writing into a string does not fail.
                let _ = write!(text, "{byte:02x}");
                text
            })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_before_the_word_that_does_not_fit() {
        let cut_at = |max| cut("using key ghp_0123 now".to_owned(), max);
        assert_eq!(cut_at(22), "using key ghp_0123 now");
        assert_eq!(cut_at(18), "using key ghp_0123…");
        assert_eq!(cut_at(17), "using key …");
        assert_eq!(cut_at(2), "us…");
        assert_eq!(cut("ää".to_owned(), 3), "ä…");
    }

    #[test]
    fn values_become_text_as_the_specification_says() {
        let list = AnyValue::List(vec![KeyValue {
            key: "k".to_owned(),
            value: AnyValue::Array(vec![
                AnyValue::Int(i64::MIN),
                AnyValue::Double(f64::NAN),
                AnyValue::Bytes(vec![0xff]),
                AnyValue::Empty,
                AnyValue::Text("é\"".to_owned()),
            ]),
        }]);
        assert!(list.fits(2) && !list.fits(1));
        assert_eq!(
            list.into_text(),
            r#"{"k":[-9223372036854775808,"NaN","/w==",null,"é\""]}"#
        );
        assert_eq!(AnyValue::Double(2.0).into_text(), "2.0");
        assert_eq!(AnyValue::Double(f64::NEG_INFINITY).into_text(), "-Infinity");
        assert_eq!(AnyValue::Empty.into_text(), "");
    }

    #[test]
    fn text_is_cut_between_characters_and_ids_of_zeros_are_none() {
        assert_eq!(cut("aé".to_owned(), 2), "a…");
        assert_eq!(cut("aé".to_owned(), 3), "aé");
        assert_eq!(hex(&[0x0a, 0xbc], 2).as_deref(), Some("0abc"));
        assert_eq!(hex(&[0, 0], 2), None);
        assert_eq!(hex(&[1], 2), None);
    }
}
