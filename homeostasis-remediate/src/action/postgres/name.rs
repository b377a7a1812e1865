//! Names of tables and indexes, as they are written in a statement.

use crate::action::{ActionCall, ActionError, ArgumentProblem};

/// What is expected where one is read.
pub(super) const EXPECTED: &str =
    "schema.name, each part as it is stored, at most 63 bytes, or in double quotes";

/// The longest part: `NAMEDATALEN - 1`.
const MAX_BYTES: usize = 63;

/// The name of something in a schema, as it is stored: nothing is folded to lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct QualifiedName {
    pub(super) schema: String,
    pub(super) name: String,
}

impl QualifiedName {
    /// Reads `schema.name`, where a part with a dot in it stands in double quotes.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (schema, rest) = part(text)?;
        let (name, rest) = part(rest.strip_prefix('.')?)?;
        rest.is_empty().then_some(Self { schema, name })
    }

    /// The argument `param` of a call.
    pub(super) fn of(call: &ActionCall<'_>, param: &str) -> Result<Self, ActionError> {
        Self::parse(call.text(param)?).ok_or_else(|| ActionError::argument(param, EXPECTED))
    }

    /// What is wrong with `value` as the argument `param`; placeholders are looked at when they are filled in.
    pub(super) fn problem(param: &str, value: Option<&serde_json::Value>) -> Vec<ArgumentProblem> {
        let text = value.and_then(serde_json::Value::as_str);
        match text.filter(|text| !text.contains("${") && Self::parse(text).is_none()) {
            Some(_) => vec![ArgumentProblem::new(format!("/{param}"), EXPECTED)],
            None => Vec::new(),
        }
    }

    /// As it stands in a statement.
    pub(super) fn quoted(&self) -> String {
        format!("{}.{}", quoted(&self.schema), quoted(&self.name))
    }
}

/// An identifier in double quotes: whatever it holds, it is one identifier.
fn quoted(identifier: &str) -> String {
    format!("\"{}\"", identifier.replace('"', "\"\""))
}

/// The first part of a name, and what follows it.
fn part(text: &str) -> Option<(String, &str)> {
    let (part, rest) = if let Some(inside) = text.strip_prefix('"') {
        let mut from = 0;
        let end = loop {
            let at = from + inside[from..].find('"')?;
            if !inside[at + 1..].starts_with('"') {
                break at;
            }
            from = at + 2;
        };
        (inside[..end].replace("\"\"", "\""), &inside[end + 1..])
    } else {
        let end = text.find('.').unwrap_or(text.len());
        (text[..end].to_owned(), &text[end..])
    };
    let good = (1..=MAX_BYTES).contains(&part.len()) && !part.contains(char::is_control);
    good.then_some((part, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_name_has_a_schema_and_nothing_after_it() {
        let read = |text| QualifiedName::parse(text).map(|name| name.quoted());
        assert_eq!(read("public.Orders").unwrap(), r#""public"."Orders""#);
        assert_eq!(read(r#"a."b.c""#).unwrap(), r#""a"."b.c""#);
        assert_eq!(
            read(r#"a.b"; DROP TABLE x --"#).unwrap(),
            r#""a"."b""; DROP TABLE x --""#
        );
        for bad in [
            "", "orders", "a.", ".a", "a.b.c", "a.\"b", "a.\"b\"c", "a.b\nc", "a.b\0",
        ] {
            assert_eq!(read(bad), None, "{bad:?}");
        }
        assert_eq!(read(&format!("a.{}", "x".repeat(64))), None);
    }

    proptest! {
        #[test]
        fn whatever_it_holds_a_quoted_name_is_read_back(schema in "[^\\x00-\\x1f\\x7f-\\x9f]{1,15}", name in "[^\\x00-\\x1f\\x7f-\\x9f]{1,15}") {
            let name = QualifiedName { schema, name };
            prop_assert_eq!(QualifiedName::parse(&name.quoted()), Some(name));
        }
    }
}
