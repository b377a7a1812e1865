//! JSON with comments and trailing commas, scanned into source spans.

use serde_json::Value;

use super::datum::{Datum, MAX_DEPTH, Real};
use super::flow::skip_trivia;
use super::splice::{bom_len, line_column};
use super::tree::{Entry, Kind, Layout, Node};
use super::{EditError, Format};

pub(crate) fn parse(source: &str) -> Result<Node, EditError> {
    let mut scanner = Scanner {
        source,
        at: bom_len(source),
    };
    scanner.skip();
    let root = scanner.value(0)?;
    scanner.skip();
    if scanner.at < source.len() {
        return Err(scanner.error("expected the end of the document"));
    }
    Ok(root)
}

/// A value on one line.
pub(crate) fn value_text(value: &Value) -> String {
    match value {
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(value_text).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Object(map) if map.is_empty() => "{}".to_owned(),
        Value::Object(map) => {
            let entries: Vec<_> = map
                .iter()
                .map(|(k, v)| format!("{}: {}", key_text(k), value_text(v)))
                .collect();
            format!("{{{}}}", entries.join(", "))
        }
        scalar => scalar.to_string(),
    }
}

pub(crate) fn key_text(key: &str) -> String {
    Value::from(key).to_string()
}

struct Scanner<'s> {
    source: &'s str,
    at: usize,
}

impl Scanner<'_> {
    fn value(&mut self, depth: usize) -> Result<Node, EditError> {
        if depth > MAX_DEPTH {
            return Err(self.error("nested too deeply, expected at most 96 levels"));
        }
        let start = self.at;
        let kind = match self.peek() {
            Some(b'{') => self.object(depth)?,
            Some(b'[') => self.array(depth)?,
            Some(b'"') => Kind::Scalar(Datum::Str(self.string()?)),
            Some(b'-' | b'0'..=b'9') => Kind::Scalar(self.number()?),
            Some(b't') => self.word("true", Datum::Bool(true))?,
            Some(b'f') => self.word("false", Datum::Bool(false))?,
            Some(b'n') => self.word("null", Datum::Null)?,
            _ => return Err(self.error("expected a value")),
        };
        Ok(Node {
            span: start..self.at,
            kind,
            property: None,
        })
    }

    fn object(&mut self, depth: usize) -> Result<Kind, EditError> {
        self.at += 1;
        let mut entries = Vec::new();
        loop {
            self.skip();
            if self.eat(b'}') {
                return Ok(Kind::Mapping(entries, Layout::Flow));
            }
            if self.peek() != Some(b'"') {
                return Err(self.error("expected a key in double quotes or `}`"));
            }
            let start = self.at;
            let key = self.string()?;
            let key_span = start..self.at;
            self.skip();
            if !self.eat(b':') {
                return Err(self.error("expected `:`"));
            }
            self.skip();
            let value = self.value(depth + 1)?;
            entries.push(Entry {
                key,
                key_span,
                merges: false,
                value,
            });
            self.skip();
            if !self.eat(b',') && self.peek() != Some(b'}') {
                return Err(self.error("expected `,` or `}`"));
            }
        }
    }

    fn array(&mut self, depth: usize) -> Result<Kind, EditError> {
        self.at += 1;
        let mut items = Vec::new();
        loop {
            self.skip();
            if self.eat(b']') {
                return Ok(Kind::Sequence(items, Layout::Flow));
            }
            items.push(self.value(depth + 1)?);
            self.skip();
            if !self.eat(b',') && self.peek() != Some(b']') {
                return Err(self.error("expected `,` or `]`"));
            }
        }
    }

    fn string(&mut self) -> Result<String, EditError> {
        let start = self.at;
        let mut escaped = false;
        for (i, b) in self.source.as_bytes()[start + 1..].iter().enumerate() {
            match b {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => {
                    let end = start + i + 2;
                    let text = serde_json::from_str(&self.source[start..end])
                        .map_err(|_| self.error("expected a string with valid escapes"))?;
                    self.at = end;
                    return Ok(text);
                }
                b'\n' => break,
                _ => {}
            }
        }
        Err(self.error("expected a closing double quote"))
    }

    fn number(&mut self) -> Result<Datum, EditError> {
        let rest = &self.source[self.at..];
        let len = rest
            .find(|c: char| !matches!(c, '0'..='9' | '-' | '+' | '.' | 'e' | 'E'))
            .unwrap_or(rest.len());
        let text = &rest[..len];
        if !is_number(text) {
            return Err(self.error("expected a number"));
        }
        self.at += len;
        if let Ok(int) = text.parse::<i128>()
            && text != "-0"
        {
            return Ok(Datum::Int(int));
        }
        Ok(match text.parse::<f64>() {
            Ok(f) if f.is_finite() && (text.contains(['.', 'e', 'E']) || text == "-0") => {
                Datum::Float(Real(f))
            }
            _ => Datum::Opaque(text.to_owned()),
        })
    }

    fn word(&mut self, word: &str, datum: Datum) -> Result<Kind, EditError> {
        let rest = &self.source[self.at..];
        let len = rest
            .find(|c: char| !c.is_ascii_alphanumeric())
            .unwrap_or(rest.len());
        if &rest[..len] != word {
            return Err(self.error("expected a value"));
        }
        self.at += len;
        Ok(Kind::Scalar(datum))
    }

    fn skip(&mut self) {
        self.at = skip_trivia(self.source, self.at, Format::Json);
    }

    fn peek(&self) -> Option<u8> {
        self.source.as_bytes().get(self.at).copied()
    }

    fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn error(&self, message: &str) -> EditError {
        let (line, column) = line_column(self.source, self.at);
        EditError::Parse {
            format: Format::Json,
            line,
            column,
            message: message.to_owned(),
        }
    }
}

/// RFC 8259, section 6.
fn is_number(text: &str) -> bool {
    let text = text.strip_prefix('-').unwrap_or(text);
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((m, e)) => (m, Some(e.strip_prefix(['-', '+']).unwrap_or(e))),
        None => (text, None),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((w, f)) => (w, Some(f)),
        None => (mantissa, None),
    };
    let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    digits(whole)
        && (whole == "0" || !whole.starts_with('0'))
        && fraction.is_none_or(digits)
        && exponent.is_none_or(digits)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn scan_errors_name_line_column_and_expectation() {
        for (text, place, expected) in [
            ("{\n  a: 1}", (2, 3), "a key in double quotes"),
            ("[1 2]", (1, 4), "`,` or `]`"),
            ("{\"é\" 1}", (1, 6), "`:`"),
            ("[01]", (1, 2), "a number"),
            ("nulls", (1, 1), "a value"),
            ("{} x", (1, 4), "the end"),
            ("[,]", (1, 2), "a value"),
            ("\"a\nb\"", (1, 1), "closing double quote"),
            ("/* x", (1, 1), "a value"),
            ("", (1, 1), "a value"),
        ] {
            let Err(EditError::Parse {
                line,
                column,
                message,
                ..
            }) = parse(text)
            else {
                panic!("{text:?} was accepted");
            };
            assert_eq!((line, column), place, "{text:?}: {message}");
            assert!(message.contains(expected), "{text:?}: {message}");
        }
    }

    #[test]
    fn comments_and_trailing_commas_are_read() {
        let node = parse("// a\n{\"x\": [1, /* b */ 2,], // c\n}\n").unwrap();
        let expected = serde_json::json!({"x": [1, 2]});
        assert_eq!(node.datum().unwrap(), Datum::from_json(&expected).unwrap());
    }

    #[test]
    fn deep_nesting_is_refused_not_overflowed() {
        assert!(parse(&"[".repeat(100_000)).is_err());
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::btree_map(any::<String>(), inner, 0..5)
                    .prop_map(|m| Value::Object(m.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn written_values_read_back(value in json()) {
            let expected = Datum::from_json(&value).unwrap();
            prop_assert_eq!(parse(&value_text(&value)).unwrap().datum().unwrap(), expected.clone());
            prop_assert_eq!(parse(&value.to_string()).unwrap().datum().unwrap(), expected);
        }

        #[test]
        fn no_text_panics(text in r#"[\[\]{}:,"/*\\ \n0-9eE.truefalsn-]{0,40}"#) {
            let ours = parse(&text).map(|n| n.datum());
            if let Ok(value) = serde_json::from_str::<Value>(&text) {
                match ours {
                    Ok(Ok(datum)) => prop_assert_eq!(datum, Datum::from_json(&value).unwrap()),
                    Ok(Err(EditError::DuplicateKey { .. })) => {}
                    other => prop_assert!(false, "{:?}", other),
                }
            }
        }
    }
}
