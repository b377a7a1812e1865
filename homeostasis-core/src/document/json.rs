//! Reads JSON (RFC 8259) with `//` and `/* */` comments; trailing commas are refused.
//!
//! JSON has its own reader because a YAML one would refuse parts of it (surrogate pairs in escapes, long keys, tabs).

use super::builder::{Builder, Fatal, Typing};
use super::node::{Span, Value};
use super::scalar::resolve_plain;

struct Reader<'t> {
    text: &'t str,
    at: usize,
    span: Span,
}

/// Reads `text` into `builder`.
pub(super) fn read(text: &str, builder: &mut Builder<'_>) -> Result<(), Fatal> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut reader = Reader {
        text,
        at: 0,
        span: Span { line: 1, column: 1 },
    };
    // True while the collection on top is a mapping.
    let mut open: Vec<bool> = Vec::new();
    let mut expects_value = true;
    loop {
        reader.skip_blank(builder)?;
        if expects_value {
            match reader.peek() {
                Some('[') => {
                    builder.open_sequence(reader.span, 0)?;
                    reader.bump();
                    reader.skip_blank(builder)?;
                    if reader.peek() == Some(']') {
                        reader.bump();
                        builder.close();
                        expects_value = false;
                    } else {
                        open.push(false);
                    }
                }
                Some('{') => {
                    builder.open_mapping(reader.span, 0)?;
                    reader.bump();
                    reader.skip_blank(builder)?;
                    if reader.peek() == Some('}') {
                        reader.bump();
                        builder.close();
                        expects_value = false;
                    } else {
                        open.push(true);
                        reader.key(builder)?;
                    }
                }
                Some('"') => {
                    let span = reader.span;
                    let value = reader.string(builder)?;
                    builder.scalar(&value, Typing::Text, span, 0)?;
                    expects_value = false;
                }
                _ => {
                    reader.literal(builder)?;
                    expects_value = false;
                }
            }
            continue;
        }
        match (open.last(), reader.peek()) {
            (None, None) => return Ok(()),
            (None, _) => return Err(reader.wrong(builder, "the end of the document")),
            (Some(false), Some(']')) | (Some(true), Some('}')) => {
                reader.bump();
                builder.close();
                open.pop();
            }
            (Some(&is_mapping), Some(',')) => {
                reader.bump();
                reader.skip_blank(builder)?;
                if is_mapping {
                    reader.key(builder)?;
                }
                expects_value = true;
            }
            (Some(true), _) => return Err(reader.wrong(builder, "`,` or `}`")),
            (Some(false), _) => return Err(reader.wrong(builder, "`,` or `]`")),
        }
    }
}

impl<'t> Reader<'t> {
    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn bump(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        if c == '\n' {
            self.span.line = self.span.line.saturating_add(1);
            self.span.column = 1;
        } else {
            self.span.column = self.span.column.saturating_add(1);
        }
        Some(c)
    }

    /// Skips `n_bytes` of text without line breaks.
    fn skip(&mut self, n_bytes: usize) {
        let end = self.at + n_bytes;
        while self.at < end && self.bump().is_some() {}
    }

    fn wrong(&self, builder: &Builder<'_>, expected: &str) -> Fatal {
        let found = if self.rest().is_empty() {
            "the end of the text".to_owned()
        } else {
            let is_word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '-' | '+');
            let chars = self.rest().chars().enumerate();
            let word: String = chars
                .take_while(|(idx, c)| *idx == 0 || (*idx < 40 && is_word(*c)))
                .map(|(_, c)| c)
                .collect();
            format!("`{word}`")
        };
        builder.violation(self.span, found, expected)
    }

    fn skip_blank(&mut self, builder: &Builder<'_>) -> Result<(), Fatal> {
        loop {
            let rest = self.rest();
            if rest.starts_with([' ', '\t', '\r', '\n']) {
                self.bump();
            } else if rest.starts_with("//") {
                self.skip(rest.find('\n').unwrap_or(rest.len()));
            } else if let Some(comment) = rest.strip_prefix("/*") {
                match comment.find("*/") {
                    Some(end) => self.skip(end + 4),
                    None => return Err(self.wrong(builder, "a comment that is closed by `*/`")),
                }
            } else {
                return Ok(());
            }
        }
    }

    fn key(&mut self, builder: &mut Builder<'_>) -> Result<(), Fatal> {
        if self.peek() != Some('"') {
            return Err(self.wrong(builder, "a key in double quotes"));
        }
        let span = self.span;
        let key = self.string(builder)?;
        builder.key(key, span)?;
        self.skip_blank(builder)?;
        if self.peek() != Some(':') {
            return Err(self.wrong(builder, "`:` after the key"));
        }
        self.bump();
        Ok(())
    }

    fn string(&mut self, builder: &Builder<'_>) -> Result<String, Fatal> {
        let rest = self.rest();
        let mut bytes = rest.bytes().enumerate().skip(1);
        let end = loop {
            match bytes.next() {
                Some((_, b'\\')) => {
                    bytes.next();
                }
                Some((idx, b'"')) => break Some(idx + 1),
                Some((_, b'\n')) | None => break None,
                Some(_) => {}
            }
        };
        // The literal is cut at ASCII quotes, so the slice is on character boundaries.
        let literal = end.and_then(|end| rest.get(..end));
        match literal.map(|literal| (literal.len(), serde_json::from_str::<String>(literal))) {
            Some((n_bytes, Ok(value))) => {
                self.skip(n_bytes);
                Ok(value)
            }
            Some((_, Err(_))) => Err(self.wrong(
                builder,
                "a string with valid escapes (\\\" \\\\ \\/ \\b \\f \\n \\r \\t \\uXXXX) and no control characters",
            )),
            None => Err(self.wrong(builder, "a string that is closed by `\"` on its line")),
        }
    }

    fn literal(&mut self, builder: &mut Builder<'_>) -> Result<(), Fatal> {
        let rest = self.rest();
        let n_bytes = rest
            .find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.')))
            .unwrap_or(rest.len());
        let word = &rest[..n_bytes];
        let value = match word {
            "null" => Some(Value::Null),
            "true" => Some(Value::Bool(true)),
            "false" => Some(Value::Bool(false)),
            // serde_json is the judge of what a JSON number is.
            number if serde_json::from_str::<serde_json::Number>(number).is_ok() => {
                Some(resolve_plain(number))
                    .filter(|value| matches!(value, Value::Int(_) | Value::Float(_)))
            }
            _ => None,
        };
        let Some(value) = value else {
            return Err(self.wrong(builder, "a JSON value"));
        };
        let span = self.span;
        self.skip(n_bytes);
        builder.literal(word, value, span)
    }
}

#[cfg(test)]
mod tests {
    use crate::document::{Format, Node, Parser};
    use crate::violation::ConfigError;

    fn parse(text: &str) -> Result<Node, ConfigError> {
        Parser::new().format(Format::Json).parse(text)
    }

    fn error(text: &str) -> String {
        parse(text).unwrap_err().to_string()
    }

    #[test]
    fn comments_do_not_move_places() {
        let node = parse("// head\n{ /* a\n b */ \"k\": // tail\n\t[1, 2e3, \"\\ud83d\\ude00 // no comment\"]}\n").unwrap();
        assert_eq!(
            node.to_json(),
            serde_json::json!({"k": [1, 2000.0, "😀 // no comment"]})
        );
        let span = node.pointer("/k/1").unwrap().span();
        assert_eq!((span.line, span.column), (4, 6));
        let entry = node.as_mapping().unwrap().entry("k").unwrap();
        assert_eq!((entry.key_span.line, entry.key_span.column), (3, 7));
    }

    #[test]
    fn each_mistake_is_named_with_its_place() {
        assert_eq!(
            error(""),
            "line 1:1: document = the end of the text, expected a JSON value"
        );
        assert_eq!(
            error("{\"a\": nope}"),
            "line 1:7: a = `nope`, expected a JSON value"
        );
        assert_eq!(
            error("{\"a\": 01}"),
            "line 1:7: a = `01`, expected a JSON value"
        );
        assert_eq!(
            error("[1, 2"),
            "line 1:6: document[2] = the end of the text, expected `,` or `]`"
                .replace("document", "")
        );
        assert_eq!(error("[1,]"), "line 1:4: [1] = `]`, expected a JSON value");
        assert_eq!(
            error("{\"a\": 1,}"),
            "line 1:9: document = `}`, expected a key in double quotes"
        );
        assert_eq!(
            error("{a: 1}"),
            "line 1:2: document = `a`, expected a key in double quotes"
        );
        assert_eq!(
            error("{\"a\" 1}"),
            "line 1:6: a = `1`, expected `:` after the key"
        );
        assert_eq!(
            error("{\"a\": 1 \"b\"}"),
            "line 1:9: document = `\"b`, expected `,` or `}`"
        );
        assert_eq!(
            error("1 2"),
            "line 1:3: document = `2`, expected the end of the document"
        );
        assert!(error("\"abc").contains("closed by"));
        assert!(error("\"\\x\"").contains("valid escapes"));
        assert!(error("/* open").contains("closed by `*/`"));
    }

    #[test]
    fn duplicate_keys_are_named_with_both_lines() {
        assert_eq!(
            error("{\"a\": 1,\n\"a\": 2}"),
            "line 2:1: a = duplicate key, expected each key once; it is first given on line 1 and again on line 2"
        );
    }
}
