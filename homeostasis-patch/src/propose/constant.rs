//! What literals come to: whether they hold, and how they compare.

use crate::Language;

/// Calls without arguments of Python that give something empty.
const EMPTY: [&str; 8] = [
    "list()",
    "dict()",
    "set()",
    "tuple()",
    "str()",
    "int()",
    "frozenset()",
    "bytes()",
];

/// Longest first where one begins another.
const OPERATORS: [&str; 12] = [
    "not in", "is not", "===", "!==", "==", "!=", "<=", ">=", "<", ">", "in", "is",
];

#[derive(Debug, Clone, Copy, PartialEq)]
enum Constant<'a> {
    Nothing(&'a str),
    Bool(bool),
    Number(f64),
    /// Between its quotes, without escapes.
    Text(&'a str),
}

impl<'a> Constant<'a> {
    fn of(language: Language, text: &'a str) -> Option<Self> {
        let text = text.trim();
        let is_python = language == Language::Python;
        match text {
            "None" | "null" | "undefined" | "nil" => return Some(Self::Nothing(text)),
            "True" | "true" | "False" | "false" => {
                let holds = matches!(text, "True" | "true");
                return Some(if is_python {
                    Self::Number(f64::from(u8::from(holds)))
                } else {
                    Self::Bool(holds)
                });
            }
            _ => {}
        }
        if let Some(quote @ ('"' | '\'')) = text.chars().next() {
            // Single quotes hold one character elsewhere.
            let has_both = is_python || is_of_web(language);
            let inner = text.strip_prefix(quote)?.strip_suffix(quote)?;
            let is_plain = !inner.contains([quote, '\\']) && (has_both || quote == '"');
            return is_plain.then_some(Self::Text(inner));
        }
        let digits = text.strip_prefix('-').unwrap_or(text);
        if !digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
            return None;
        }
        text.parse().ok().map(Self::Number)
    }
}

const fn is_of_web(language: Language) -> bool {
    matches!(
        language,
        Language::JavaScript | Language::TypeScript | Language::Tsx
    )
}

/// Whether a value holds as a condition; `None` if it cannot be told.
pub(super) fn is_truthy(language: Language, value: &str) -> Option<bool> {
    let value = value.trim();
    match Constant::of(language, value) {
        Some(Constant::Nothing(_)) => return Some(false),
        Some(Constant::Bool(holds)) => return Some(holds),
        Some(Constant::Number(number)) => return Some(number != 0.0),
        Some(Constant::Text(text)) => return Some(!text.is_empty()),
        None => {}
    }
    let is_empty = matches!(value, "{}" | "[]" | "()");
    match language {
        Language::Python => (is_empty || EMPTY.contains(&value)).then_some(false),
        // Lists and objects hold, empty or not.
        _ if is_of_web(language) => matches!(value, "{}" | "[]").then_some(true),
        _ => None,
    }
}

/// What a comparison of a value with what stands before or after it says; `None` if it cannot be
/// told, as of anything but literals.
pub(super) fn compared(language: Language, value: &str, before: &str, after: &str) -> Option<bool> {
    let is_left = before.is_empty();
    let (operator, other) = if is_left {
        let operator = OPERATORS.iter().find(|it| after.starts_with(**it))?;
        (*operator, after.get(operator.len()..)?.trim())
    } else if after.is_empty() {
        let operator = OPERATORS.iter().find(|it| before.ends_with(**it))?;
        let end = before.len() - operator.len();
        (*operator, before.get(..end)?.trim())
    } else {
        // Between the two signs of a chain.
        return None;
    };
    let value = Constant::of(language, value)?;
    let constant = || Constant::of(language, other);
    match operator {
        "==" => equal(language, value, constant()?),
        "!=" => equal(language, value, constant()?).map(|it| !it),
        "===" => Some(identical(value, constant()?)),
        "!==" => Some(!identical(value, constant()?)),
        "is" => same(value, constant()?),
        "is not" => same(value, constant()?).map(|it| !it),
        "in" | "not in" if is_left && language == Language::Python => {
            is_among(language, value, other).map(|it| it == (operator == "in"))
        }
        "<" | "<=" | ">" | ">=" => {
            let (Constant::Number(a), Constant::Number(b)) = (value, constant()?) else {
                return None;
            };
            let (a, b) = if is_left { (a, b) } else { (b, a) };
            Some(match operator {
                "<" => a < b,
                "<=" => a <= b,
                ">" => a > b,
                _ => a >= b,
            })
        }
        _ => None,
    }
}

fn equal(language: Language, one: Constant<'_>, two: Constant<'_>) -> Option<bool> {
    match (one, two) {
        (Constant::Number(a), Constant::Number(b)) => Some(a == b),
        (Constant::Text(a), Constant::Text(b)) => Some(a == b),
        (Constant::Bool(a), Constant::Bool(b)) => Some(a == b),
        // `undefined == null`, and nothing else equals them.
        (Constant::Nothing(_), Constant::Nothing(_)) => Some(true),
        (Constant::Nothing(_), _) | (_, Constant::Nothing(_)) => Some(false),
        _ => (language == Language::Python).then_some(false),
    }
}

/// Without conversion.
fn identical(one: Constant<'_>, two: Constant<'_>) -> bool {
    one == two
}

/// Whether they are one object: of numbers and texts nobody can tell.
fn same(one: Constant<'_>, two: Constant<'_>) -> Option<bool> {
    let is_nothing = |it: Constant<'_>| matches!(it, Constant::Nothing(_));
    (is_nothing(one) || is_nothing(two)).then_some(is_nothing(one) && is_nothing(two))
}

/// Whether a value is one of the literals of a tuple, a list or a set.
fn is_among(language: Language, value: Constant<'_>, container: &str) -> Option<bool> {
    let ends = [('(', ')'), ('[', ']'), ('{', '}')];
    let (open, inner) = ends.iter().find_map(|(open, close)| {
        let inner = container.strip_prefix(*open)?.strip_suffix(*close)?;
        Some((*open, inner))
    })?;
    let elements = elements(inner);
    if open == '(' && elements.len() < 2 && !inner.trim().is_empty() {
        // Parentheses around a text, of which the value may be a part.
        return None;
    }
    let last = elements.last().filter(|it| it.trim().is_empty());
    let elements = &elements[..elements.len() - usize::from(last.is_some())];
    let mut is_unknown = false;
    for element in elements {
        match Constant::of(language, element).and_then(|it| equal(language, value, it)) {
            Some(true) => return Some(true),
            Some(false) => {}
            None => is_unknown = true,
        }
    }
    (!is_unknown).then_some(false)
}

/// At the commas outside of quotes; what has brackets inside falls apart and is no literal.
fn elements(text: &str) -> Vec<&str> {
    let mut quote = None;
    let is_comma = move |c: char| {
        match quote {
            Some(open) if c == open => quote = None,
            None if matches!(c, '"' | '\'') => quote = Some(c),
            _ => {}
        }
        quote.is_none() && c == ','
    };
    text.split(is_comma).collect()
}
