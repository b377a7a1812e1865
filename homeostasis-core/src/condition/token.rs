//! The words of a condition.

use std::fmt;
use std::ops::Range;

use super::error::ConditionError;
use super::unit::Unit;

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    Number(f64, Unit),
    Text(String),
    Name(String),
    /// `and`, `or`, `not`, `in`, `true`, `false`.
    Keyword(&'static str),
    Symbol(&'static str),
    End,
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(..) => f.write_str("a number"),
            Self::Text(_) => f.write_str("a string"),
            Self::Name(name) => write!(f, "`{name}`"),
            Self::Keyword(word) => write!(f, "`{word}`"),
            Self::Symbol(symbol) => write!(f, "`{symbol}`"),
            Self::End => f.write_str("the end"),
        }
    }
}

const KEYWORDS: [&str; 6] = ["and", "or", "not", "in", "true", "false"];
/// Longer symbols stand before their prefixes.
const SYMBOLS: [&str; 18] = [
    "<=", ">=", "==", "!=", "<", ">", "=", "+", "-", "*", "/", "(", ")", "[", "]", "{", "}", ",",
];

pub(super) type Spanned = (Token, Range<usize>);

/// Splits `text` into words; the last is always [`Token::End`].
pub(super) fn tokens(text: &str) -> Result<Vec<Spanned>, ConditionError> {
    let mut found = Vec::new();
    let mut at = 0;
    loop {
        at += text[at..].len() - text[at..].trim_start().len();
        let rest = &text[at..];
        let Some(first) = rest.chars().next() else {
            found.push((Token::End, at..at));
            return Ok(found);
        };
        let (token, n_bytes) = if first.is_ascii_digit() {
            number(text, at)?
        } else if first == '"' || first == '\'' {
            string(text, at, first)?
        } else if first.is_ascii_alphabetic() || first == '_' {
            let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | ':');
            let n_bytes = rest.find(|c| !is_name(c)).unwrap_or(rest.len());
            let word = &rest[..n_bytes];
            let keyword = KEYWORDS
                .iter()
                .find(|keyword| keyword.eq_ignore_ascii_case(word));
            (
                keyword.map_or_else(|| Token::Name(word.to_owned()), |k| Token::Keyword(k)),
                n_bytes,
            )
        } else if let Some(symbol) = SYMBOLS.iter().find(|symbol| rest.starts_with(**symbol)) {
            (Token::Symbol(symbol), symbol.len())
        } else {
            let span = at..at + first.len_utf8();
            let expected = "a variable, a number, a string in quotes or an operator (`and`, `or`, `not`, `==`, …)";
            return Err(wrong(
                text,
                span,
                format!("`{}`", first.escape_debug()),
                expected,
            ));
        };
        found.push((token, at..at + n_bytes));
        at += n_bytes;
    }
}

pub(super) fn wrong(
    text: &str,
    span: Range<usize>,
    found: impl Into<String>,
    expected: impl Into<String>,
) -> ConditionError {
    ConditionError {
        text: text.to_owned(),
        span,
        found: found.into(),
        expected: expected.into(),
    }
}

fn number(text: &str, at: usize) -> Result<(Token, usize), ConditionError> {
    let rest = &text[at..];
    let digits = |from: usize| {
        let tail = &rest[from..];
        from + tail
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(tail.len())
    };
    let mut end = digits(0);
    if rest[end..].starts_with('.') && digits(end + 1) > end + 1 {
        end = digits(end + 1);
    }
    if rest[end..].starts_with(['e', 'E']) {
        let sign = usize::from(rest[end + 1..].starts_with(['+', '-']));
        let exponent = end + 1 + sign;
        if digits(exponent) > exponent {
            end = digits(exponent);
        }
    }
    let value: f64 = rest[..end].parse().unwrap_or(f64::INFINITY);
    if !value.is_finite() {
        return Err(wrong(
            text,
            at..at + end,
            format!("`{}`", &rest[..end]),
            "a number below 1.8e308",
        ));
    }
    let (unit, n_bytes) = unit(&rest[end..]);
    let end = end + n_bytes;
    let Some(unit) = unit else {
        let expected =
            "a unit such as %, ms, s, m, h, d, kB, MB, GiB or /s after the number, or a space";
        return Err(wrong(
            text,
            at..at + end,
            format!("`{}`", &rest[..end]),
            expected,
        ));
    };
    Ok((Token::Number(value, unit), end))
}

/// The unit at the start of `rest` and its length; no unit when there is one that does not exist.
fn unit(rest: &str) -> (Option<Unit>, usize) {
    let is_word = |c: char| c.is_alphanumeric() || c == '_' || c == '.';
    let word_end = |from: usize| {
        let tail = &rest[from..];
        from + tail.find(|c| !is_word(c)).unwrap_or(tail.len())
    };
    if rest.starts_with('%') {
        return (Some(Unit::Percent), 1);
    }
    let word = word_end(0);
    if rest[word..].starts_with('/') {
        let end = word_end(word + 1);
        if let Some(unit) = Unit::from_symbol(rest[..end].trim_start_matches('_')) {
            return (Some(unit), end);
        }
    }
    if word == 0 {
        return (Some(Unit::Unspecified), 0);
    }
    (
        Unit::from_symbol(rest[..word].strip_prefix('_').unwrap_or(&rest[..word])),
        word,
    )
}

fn string(text: &str, at: usize, quote: char) -> Result<(Token, usize), ConditionError> {
    let mut value = String::new();
    let mut chars = text[at..].char_indices().skip(1);
    while let Some((idx, c)) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some((_, c @ ('\\' | '"' | '\''))) => value.push(c),
                Some((_, 'n')) => value.push('\n'),
                Some((_, 't')) => value.push('\t'),
                other => {
                    let end = other.map_or(text.len(), |(idx, c)| at + idx + c.len_utf8());
                    let span = at + idx..end;
                    let found = format!("`{}`", text[span.clone()].escape_debug());
                    return Err(wrong(
                        text,
                        span,
                        found,
                        "an escape: \\\\, \\\", \\', \\n or \\t",
                    ));
                }
            },
            c if c == quote => return Ok((Token::Text(value), idx + 1)),
            c => value.push(c),
        }
    }
    Err(wrong(
        text,
        at..text.len(),
        "a string without end",
        format!("a closing `{quote}`"),
    ))
}
