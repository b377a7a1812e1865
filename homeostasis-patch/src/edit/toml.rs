//! TOML through the spans of `toml_edit`'s parser.

use std::fmt::Write as _;

use serde_json::Value;
use toml_edit::{Array, Document, InlineTable, Item, Key, Table, TableLike};

use super::datum::{Datum, Real};
use super::splice::{
    Splice, bom_len, indentation, line_break, line_column, line_end, line_prefix, line_start,
    next_line,
};
use super::tree::{Entry, Kind, Layout, Node, Place};
use super::{ConfigPath, EditError, Format};

pub(crate) fn parse(source: &str) -> Result<Node, EditError> {
    let document = Document::parse(source).map_err(|error| {
        let (line, column) = line_column(source, error.span().map_or(0, |s| s.start));
        let message = error.message().lines().collect::<Vec<_>>().join(", ");
        EditError::Parse {
            format: Format::Toml,
            line,
            column,
            message,
        }
    })?;
    let start = bom_len(source);
    let mut root = table_node(document.as_table());
    root.span = start..start;
    if let Kind::Mapping(_, layout) = &mut root.kind {
        *layout = Layout::Table(start..start);
    }
    Ok(root)
}

fn table_node(table: &Table) -> Node {
    let span = table.span().unwrap_or_default();
    let layout = if table.is_implicit() || table.is_dotted() {
        Layout::Bare
    } else {
        Layout::Table(span.clone())
    };
    Node {
        span,
        kind: Kind::Mapping(entries(table, |k| table.key(k)), layout),
        property: None,
    }
}

fn inline_node(table: &InlineTable) -> Node {
    let layout = if table.is_dotted() {
        Layout::Bare
    } else {
        Layout::Flow
    };
    Node {
        span: table.span().unwrap_or_default(),
        kind: Kind::Mapping(entries(table, |k| table.key(k)), layout),
        property: None,
    }
}

fn entries<'t>(table: &'t dyn TableLike, key: impl Fn(&str) -> Option<&'t Key>) -> Vec<Entry> {
    table
        .iter()
        .map(|(name, item)| Entry {
            key: name.to_owned(),
            key_span: key(name).and_then(Key::span).unwrap_or_default(),
            merges: false,
            value: item_node(item),
        })
        .collect()
}

fn item_node(item: &Item) -> Node {
    match item {
        Item::Table(table) => table_node(table),
        Item::ArrayOfTables(tables) => Node {
            span: tables.span().unwrap_or_default(),
            kind: Kind::Sequence(tables.iter().map(table_node).collect(), Layout::Bare),
            property: None,
        },
        Item::Value(value) => value_node(value),
        Item::None => Node {
            span: 0..0,
            kind: Kind::Scalar(Datum::Null),
            property: None,
        },
    }
}

fn value_node(value: &toml_edit::Value) -> Node {
    use toml_edit::Value as Toml;
    let scalar = |datum| Node {
        span: value.span().unwrap_or_default(),
        kind: Kind::Scalar(datum),
        property: None,
    };
    match value {
        Toml::String(s) => scalar(Datum::Str(s.value().clone())),
        Toml::Integer(i) => scalar(Datum::Int(i128::from(*i.value()))),
        Toml::Float(f) => scalar(Datum::Float(Real(*f.value()))),
        Toml::Boolean(b) => scalar(Datum::Bool(*b.value())),
        Toml::Datetime(d) => scalar(Datum::Opaque(d.value().to_string())),
        Toml::Array(array) => array_node(array),
        Toml::InlineTable(table) => inline_node(table),
    }
}

fn array_node(array: &Array) -> Node {
    Node {
        span: array.span().unwrap_or_default(),
        kind: Kind::Sequence(array.iter().map(value_node).collect(), Layout::Flow),
        property: None,
    }
}

/// A value on one line; strings keep the quotes of the text they replace where they can.
pub(crate) fn value_text(value: &Value, like: &str, path: &str) -> Result<String, EditError> {
    let refuse = |expected| EditError::Unrepresentable {
        path: path.to_owned(),
        value: value.to_string(),
        format: Format::Toml,
        expected,
    };
    Ok(match value {
        Value::Null => return Err(refuse("a value other than null (remove the key instead)")),
        Value::Number(n) if n.is_u64() && !n.is_i64() => {
            return Err(refuse("an integer of at most 9223372036854775807"));
        }
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::String(s) => {
            let literal = like.starts_with('\'') && !like.starts_with("'''");
            if literal && !s.contains('\'') && !s.chars().any(|c| c.is_control() && c != '\t') {
                format!("'{s}'")
            } else {
                quoted(s)
            }
        }
        Value::Array(items) => {
            let items: Vec<_> = items
                .iter()
                .map(|v| value_text(v, "", path))
                .collect::<Result<_, _>>()?;
            format!("[{}]", items.join(", "))
        }
        Value::Object(map) if map.is_empty() => "{}".to_owned(),
        Value::Object(map) => {
            let entries: Vec<_> = map
                .iter()
                .map(|(k, v)| Ok(format!("{} = {}", key_text(k), value_text(v, "", path)?)))
                .collect::<Result<_, EditError>>()?;
            format!("{{ {} }}", entries.join(", "))
        }
    })
}

pub(crate) fn key_text(key: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !key.is_empty() && key.chars().all(bare) {
        key.to_owned()
    } else {
        quoted(key)
    }
}

/// A basic string.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04X}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Adds `entry` (`key = value`) after the table's last own line.
pub(crate) fn insert(source: &str, table: &Node, header: usize, entry: &str) -> Vec<Splice> {
    let eol = line_break(source);
    let Kind::Mapping(entries, _) = &table.kind else {
        return Vec::new();
    };
    if let Some(last) = entries.iter().filter_map(|e| own_end(&e.value)).max() {
        let indent = indentation(source, last_line_key(entries, last));
        return vec![Splice::insert(
            line_end(source, last),
            format!("{eol}{indent}{entry}"),
        )];
    }
    if table.span.is_empty() {
        let tail = if source.len() > header { eol } else { "" };
        return vec![Splice::insert(header, format!("{entry}{tail}"))];
    }
    let indent = indentation(source, header);
    vec![Splice::insert(
        line_end(source, table.span.end),
        format!("{eol}{indent}{entry}"),
    )]
}

/// End of the value's lines under the table's own header; `None` for tables with other headers.
fn own_end(node: &Node) -> Option<usize> {
    match &node.kind {
        Kind::Mapping(_, Layout::Table(_)) | Kind::Sequence(_, Layout::Bare) => None,
        Kind::Mapping(entries, Layout::Bare) => {
            // An implicit table of other headers has no end of its own either.
            entries
                .iter()
                .map(|e| own_end(&e.value))
                .collect::<Option<Vec<_>>>()?
                .into_iter()
                .max()
        }
        _ => Some(node.span.end),
    }
}

/// Start of the key whose value ends last.
fn last_line_key(entries: &[Entry], end: usize) -> usize {
    entries
        .iter()
        .find(|e| own_end(&e.value) == Some(end))
        .map_or(end, |e| e.key_span.start)
}

/// Removes a `key = value` with its lines.
pub(crate) fn remove(
    source: &str,
    place: &Place<'_>,
    entry: &Entry,
    path: &ConfigPath,
) -> Result<Vec<Splice>, EditError> {
    let refuse = |found: &str, expected| EditError::Unsafe {
        path: path.to_string(),
        found: found.to_owned(),
        expected,
    };
    let is_value = !matches!(
        entry.value.kind,
        Kind::Mapping(_, Layout::Table(_) | Layout::Bare) | Kind::Sequence(_, Layout::Bare)
    );
    if !is_value {
        return Err(refuse(
            "a table with lines of its own",
            "a key with a value on its own line",
        ));
    }
    let siblings = if let Kind::Mapping(entries, _) = &place.parent.kind {
        entries.len()
    } else {
        0
    };
    let dotted = !line_prefix(source, entry.key_span.start).trim().is_empty();
    if dotted && siblings == 1 {
        return Err(refuse(
            "the only key of a dotted table",
            "the removal of the whole table",
        ));
    }
    let start = line_start(source, entry.key_span.start);
    Ok(vec![Splice::delete(
        start..next_line(source, entry.value.span.end),
    )])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn parse_errors_name_the_line() {
        let Err(EditError::Parse { line, .. }) = parse("a = 1\nb = \n") else {
            panic!()
        };
        assert_eq!(line, 2);
    }

    #[test]
    fn values_toml_cannot_hold_are_refused() {
        assert!(value_text(&Value::Null, "", "a").is_err());
        assert!(value_text(&Value::from(u64::MAX), "", "a").is_err());
        assert!(value_text(&serde_json::json!([1, {"x": null}]), "", "a").is_err());
    }

    proptest! {
        #[test]
        fn written_scalars_read_back(
            s in any::<String>(), i in any::<i64>(), f in any::<f64>(), key in any::<String>(),
        ) {
            let value = serde_json::json!({ key: [s, i, f] });
            let text = format!("x = {}", value_text(&value, "", "x").unwrap_or_default());
            prop_assume!(f.is_finite());
            let read = parse(&text).unwrap().datum().unwrap();
            let expected = Datum::from_json(&serde_json::json!({ "x": value })).unwrap();
            prop_assert_eq!(read, expected);
        }
    }
}
