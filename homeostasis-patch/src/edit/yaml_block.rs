//! Edits of YAML block collections, and of values that are left out.

use serde_json::Value;

use super::splice::{
    Splice, column_as_spaces, line_break, line_end, line_prefix, line_start, next_line, opens_line,
};
use super::tree::{Entry, Holder, Kind, Layout, Node};
use super::yaml_scalar::{key_text, value_text};

/// A refusal: what was found, and what is expected instead.
pub(crate) type Refusal = (&'static str, &'static str);

/// Replaces a value by another.
pub(crate) fn set(
    source: &str,
    node: &Node,
    holder: Option<Holder<'_>>,
    value: &Value,
) -> Result<Vec<Splice>, Refusal> {
    let old = &source[node.span.clone()];
    match &node.kind {
        Kind::BlockScalar(_) => Err(("a block scalar", "a value on one line (edit its text)")),
        Kind::Alias(_) => Err(("an alias", "a value of its own (edit the anchored one)")),
        Kind::Scalar(_) if !old.is_empty() => Ok(vec![Splice::replace(
            node.span.clone(),
            value_text(value, old),
        )]),
        Kind::Scalar(_) => {
            let at = after_indicator(source, node, holder)
                .ok_or(("a value left out", "a value, or a `key:` to write it after"))?;
            Ok(vec![Splice::insert(
                at,
                format!(" {}", value_text(value, "")),
            )])
        }
        Kind::Mapping(entries, Layout::Block) => match value {
            Value::Object(new) if !new.is_empty() => {
                let like = entries.first().map_or("", |e| &source[e.key_span.clone()]);
                let lines: Vec<String> = new
                    .iter()
                    .map(|(k, v)| format!("{}: {}", key_text(k, like), value_text(v, "")))
                    .collect();
                Ok(vec![replace_lines(source, node, &lines)])
            }
            _ => replace_block(source, node, holder, value),
        },
        Kind::Sequence(_, Layout::Block) => match value {
            Value::Array(new) if !new.is_empty() => {
                let lines: Vec<String> = new
                    .iter()
                    .map(|v| format!("- {}", value_text(v, "")))
                    .collect();
                Ok(vec![replace_lines(source, node, &lines)])
            }
            _ => replace_block(source, node, holder, value),
        },
        Kind::Mapping(_, Layout::Flow) | Kind::Sequence(_, Layout::Flow) => {
            Ok(vec![Splice::replace(
                node.span.clone(),
                value_text(value, ""),
            )])
        }
        Kind::Mapping(..) | Kind::Sequence(..) => {
            Err(("a pair without braces", "a mapping in braces"))
        }
    }
}

fn replace_lines(source: &str, node: &Node, lines: &[String]) -> Splice {
    let glue = format!(
        "{}{}",
        line_break(source),
        column_as_spaces(source, node.span.start)
    );
    Splice::replace(node.span.clone(), lines.join(&glue))
}

/// Replaces a whole block by a value on the line of its key.
fn replace_block(
    source: &str,
    node: &Node,
    holder: Option<Holder<'_>>,
    value: &Value,
) -> Result<Vec<Splice>, Refusal> {
    let text = value_text(value, "");
    if holder.is_none() {
        return Ok(vec![Splice::replace(node.span.clone(), text)]);
    }
    let refusal = (
        "a block with a comment before its first line",
        "no comment there",
    );
    let at = after_indicator(source, node, holder).ok_or(refusal)?;
    if !source[at..node.span.start].trim().is_empty() {
        return Err(refusal);
    }
    Ok(vec![Splice::replace(at..node.span.end, format!(" {text}"))])
}

/// The place right after the `:` or `-` that the value hangs on.
fn after_indicator(source: &str, node: &Node, holder: Option<Holder<'_>>) -> Option<usize> {
    match holder? {
        Holder::Entry(entry) => {
            let rest = &source[entry.key_span.end..];
            let blanks = rest.len() - rest.trim_start_matches([' ', '\t']).len();
            rest[blanks..]
                .starts_with(':')
                .then_some(entry.key_span.end + blanks + 1)
        }
        Holder::Item => dash_before(source, node).map(|dash| dash + 1),
    }
}

/// The `-` of a block sequence's item.
fn dash_before(source: &str, item: &Node) -> Option<usize> {
    let before = source[..item.span.start].trim_end();
    before.ends_with('-').then(|| before.len() - 1)
}

/// Adds a key after the last one, indented like its siblings.
pub(crate) fn insert_key(
    source: &str,
    entries: &[Entry],
    key: &str,
    value: &Value,
) -> Result<Vec<Splice>, Refusal> {
    let last = entries
        .last()
        .ok_or(("an empty block", "a mapping with keys"))?;
    let first = entries.first().unwrap_or(last);
    let indent = column_as_spaces(source, first.key_span.start);
    let end = line_end(source, last.value.span.end.max(last.key_span.end));
    let key = key_text(key, &source[last.key_span.clone()]);
    let entry = format!(
        "{}{indent}{key}: {}",
        line_break(source),
        value_text(value, "")
    );
    Ok(vec![Splice::insert(end, entry)])
}

/// Adds an item before the given one, or after the last.
pub(crate) fn insert_item(
    source: &str,
    items: &[Node],
    index: usize,
    value: &Value,
) -> Result<Vec<Splice>, Refusal> {
    let refusal = (
        "an item without a dash of its own",
        "a sequence with one item per line",
    );
    let text = format!("- {}", value_text(value, ""));
    let eol = line_break(source);
    let (neighbor, is_last) = match items.get(index) {
        Some(next) => (next, false),
        None => (items.last().ok_or(refusal)?, true),
    };
    let dash = dash_before(source, neighbor).ok_or(refusal)?;
    let indent = column_as_spaces(source, dash);
    if is_last {
        let end = line_end(source, neighbor.span.end);
        return Ok(vec![Splice::insert(end, format!("{eol}{indent}{text}"))]);
    }
    Ok(vec![Splice::insert(dash, format!("{text}{eol}{indent}"))])
}

/// Removes a key with its lines.
pub(crate) fn remove_key(
    source: &str,
    entries: &[Entry],
    index: usize,
) -> Result<Vec<Splice>, Refusal> {
    let entry = entries.get(index).ok_or(("no key", "a key"))?;
    let end = entry.value.span.end.max(entry.key_span.end);
    let next = entries.get(index + 1).map(|e| e.key_span.start);
    remove_lines(source, entry.key_span.start, end, next, entries.len())
}

/// Removes an item with its lines.
pub(crate) fn remove_item(
    source: &str,
    items: &[Node],
    index: usize,
) -> Result<Vec<Splice>, Refusal> {
    let refusal = (
        "an item without a dash of its own",
        "a sequence with one item per line",
    );
    let item = items.get(index).ok_or(("no item", "an item"))?;
    let dash = dash_before(source, item).ok_or(refusal)?;
    let next = items
        .get(index + 1)
        .and_then(|next| dash_before(source, next));
    remove_lines(source, dash, item.span.end, next, items.len())
}

fn remove_lines(
    source: &str,
    start: usize,
    end: usize,
    next: Option<usize>,
    n_siblings: usize,
) -> Result<Vec<Splice>, Refusal> {
    if n_siblings == 1 {
        return Err((
            "the only entry of a block",
            "another entry to remain (remove the whole block, or set it to an empty value)",
        ));
    }
    if opens_line(source, start) {
        return Ok(vec![Splice::delete(
            line_start(source, start)..next_line(source, end),
        )]);
    }
    // The first entry shares its line with the `-` of an outer item: the next one moves up.
    let outer = line_prefix(source, start)
        .chars()
        .all(|c| matches!(c, ' ' | '-'));
    match next {
        Some(next) if outer && source[end..next].trim().is_empty() => {
            Ok(vec![Splice::delete(start..next)])
        }
        _ => Err((
            "an entry that shares its line with others",
            "an entry on a line of its own",
        )),
    }
}
