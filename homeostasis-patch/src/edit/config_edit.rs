//! An edit of one value of a configuration document.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::datum::Datum;
use super::flow::Flow;
use super::splice::{self, Splice, bom_len};
use super::tree::{Entry, Kind, Layout, Node, Place, locate, not_found};
use super::{
    ConfigPath, EditError, Format, PathSegment, json, toml, yaml, yaml_block, yaml_scalar,
};

/// What to do at the path.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum EditOp {
    /// Replace the value, which must exist.
    Set(Value),
    /// Add a key, which must not exist, at the end of its mapping; or an item before the index
    /// (the length of the sequence appends).
    Insert(Value),
    /// Remove the key or item, which must exist, with its line.
    Remove,
}

/// One edit of a configuration file, as data.
///
/// Every byte outside the value (or, for insertions and removals, its line and comma) is kept:
/// comments, order, quotes, indentation, line breaks.
/// Comments *inside* a replaced or removed value, and on the line of a removed one, go with it.
///
/// ```
/// use homeostasis::patch::{ConfigEdit, Format};
///
/// let source = "server:\n  timeout_ms: 500  # too low since May\n  host: 'a'\n";
/// let edit = ConfigEdit::set("server.timeout_ms".parse()?, 2_000).expecting(500);
/// assert_eq!(
///     edit.apply(source, Format::Yaml)?,
///     "server:\n  timeout_ms: 2000  # too low since May\n  host: 'a'\n",
/// );
/// # Ok::<(), homeostasis::patch::EditError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfigEdit {
    /// Where.
    pub path: ConfigPath,
    /// What.
    pub op: EditOp,
    /// The value that must be there before a `Set` or `Remove`; `None` accepts any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<Value>,
}

impl ConfigEdit {
    /// Replaces an existing value.
    pub fn set(path: ConfigPath, value: impl Into<Value>) -> Self {
        Self {
            path,
            op: EditOp::Set(value.into()),
            expect: None,
        }
    }

    /// Adds a new key or item.
    pub fn insert(path: ConfigPath, value: impl Into<Value>) -> Self {
        Self {
            path,
            op: EditOp::Insert(value.into()),
            expect: None,
        }
    }

    /// Removes an existing key or item.
    pub fn remove(path: ConfigPath) -> Self {
        Self {
            path,
            op: EditOp::Remove,
            expect: None,
        }
    }

    /// Refuse unless the value in the file equals `value` (ignored by insertions).
    pub fn expecting(mut self, value: impl Into<Value>) -> Self {
        self.expect = Some(value.into());
        self
    }

    /// The edited text.
    ///
    /// The result is parsed again and compared: it reads as the original with exactly this change.
    /// O(length of the source), three parses.
    ///
    /// # Errors
    /// - [`EditError::Parse`], [`EditError::DuplicateKey`]: the source is not a usable document.
    /// - [`EditError::NotFound`], [`EditError::Exists`], [`EditError::WrongKind`]: the path does
    ///   not fit the document.
    /// - [`EditError::Unexpected`]: the precondition does not hold.
    /// - [`EditError::Unsafe`]: anchors, aliases, merge keys, tags, block scalars or a layout at
    ///   the place make an exact edit impossible.
    /// - [`EditError::Unrepresentable`]: the format has no such value.
    /// - [`EditError::Postcondition`]: the result would not read back as asked.
    pub fn apply(&self, source: &str, format: Format) -> Result<String, EditError> {
        let root = parse(source, format)?;
        let mut data = root.datum()?;
        let new = match &self.op {
            EditOp::Set(value) | EditOp::Insert(value) => Some(value),
            EditOp::Remove => None,
        };
        let new = new
            .map(|value| self.representable(value, format))
            .transpose()?;

        let place = locate(&root, &self.path)?;
        self.check_place(&place)?;
        self.check_expected(&place, source)?;
        let splices = self.plan(source, format, &place)?;
        let text = splice::apply(source, splices)
            .ok_or_else(|| self.postcondition("replacements overlap".to_owned()))?;

        let path = self.path.segments();
        let done = match (&self.op, new) {
            (EditOp::Set(_), Some(new)) => data.set(path, new),
            (EditOp::Insert(_), Some(new)) => data.insert(path, new),
            _ => data.remove(path),
        };
        done.ok_or_else(|| self.postcondition("the path is not one place as data".to_owned()))?;
        let read = parse(&text, format)
            .and_then(|root| root.datum())
            .map_err(|error| self.postcondition(error.to_string()))?;
        if read != data {
            return Err(self.postcondition("other values would change".to_owned()));
        }
        Ok(text)
    }

    fn representable(&self, value: &Value, format: Format) -> Result<Datum, EditError> {
        Datum::from_json(value).ok_or_else(|| EditError::Unrepresentable {
            path: self.path.to_string(),
            value: "nested over 96 levels".to_owned(),
            format,
            expected: "at most 96 levels",
        })
    }

    fn check_place(&self, place: &Place<'_>) -> Result<(), EditError> {
        let n_steps = self.path.segments().len();
        if let EditOp::Insert(_) = self.op {
            if place.parent.merges() {
                return Err(self.unsafe_at("a merge key `<<` beside it", "a mapping without merge"));
            }
            return match (&place.parent.kind, self.path.segments().last()) {
                (Kind::Mapping(..), _) if place.child.is_some() => Err(EditError::Exists {
                    path: self.path.to_string(),
                }),
                (Kind::Sequence(items, _), Some(PathSegment::Index(i))) if *i > items.len() => {
                    Err(not_found(place.parent, &self.path, n_steps))
                }
                _ => Ok(()),
            };
        }
        let Some(node) = place.node() else {
            if place.parent.merges() {
                return Err(self.unsafe_at(
                    "no such key, but a merge key `<<` that may bring it",
                    "a key written in the mapping itself",
                ));
            }
            return Err(not_found(place.parent, &self.path, n_steps));
        };
        if self.op == EditOp::Remove && place.parent.merges() {
            return Err(self.unsafe_at("a merge key `<<` beside it", "a mapping without merge"));
        }
        if node.has_anchor() {
            return Err(self.unsafe_at("an anchor that other places may repeat", "a value without"));
        }
        match (node.property, &self.op) {
            (Some(tag), EditOp::Set(_)) => Err(self.unsafe_at(tag, "a value without a tag")),
            _ => Ok(()),
        }
    }

    fn check_expected(&self, place: &Place<'_>, source: &str) -> Result<(), EditError> {
        let (Some(expected), Some(node)) = (&self.expect, place.node()) else {
            return Ok(());
        };
        if Datum::from_json(expected) == Some(node.datum()?) {
            return Ok(());
        }
        Err(EditError::Unexpected {
            path: self.path.to_string(),
            found: source[node.span.clone()].to_owned(),
            expected: expected.to_string(),
        })
    }

    fn plan(
        &self,
        source: &str,
        format: Format,
        place: &Place<'_>,
    ) -> Result<Vec<Splice>, EditError> {
        let refused = |(found, expected): yaml_block::Refusal| self.unsafe_at(found, expected);
        match &self.op {
            EditOp::Set(value) => {
                let node = place
                    .node()
                    .ok_or_else(|| self.postcondition("no value".to_owned()))?;
                if format == Format::Yaml {
                    return yaml_block::set(source, node, place.holder(), value).map_err(refused);
                }
                if let Kind::Mapping(_, layout) | Kind::Sequence(_, layout) = &node.kind
                    && *layout != Layout::Flow
                {
                    return Err(self.unsafe_at(
                        "a table with lines of its own",
                        "a value on one line (set its keys one by one)",
                    ));
                }
                let text = self.value_text(format, value, &source[node.span.clone()])?;
                Ok(vec![Splice::replace(node.span.clone(), text)])
            }
            EditOp::Insert(value) => self.plan_insert(source, format, place, value),
            EditOp::Remove => {
                let child = place
                    .child
                    .ok_or_else(|| self.postcondition("no value".to_owned()))?;
                match &place.parent.kind {
                    Kind::Mapping(_, Layout::Flow) | Kind::Sequence(_, Layout::Flow) => {
                        flow(source, format, place.parent)
                            .and_then(|flow| flow.remove(child))
                            .ok_or_else(|| self.unclear())
                    }
                    Kind::Mapping(entries, Layout::Block) => {
                        yaml_block::remove_key(source, entries, child).map_err(refused)
                    }
                    Kind::Sequence(items, Layout::Block) => {
                        yaml_block::remove_item(source, items, child).map_err(refused)
                    }
                    Kind::Mapping(entries, _) if format == Format::Toml => {
                        toml::remove(source, place, &entries[child], &self.path)
                    }
                    _ => Err(self.unclear()),
                }
            }
        }
    }

    fn plan_insert(
        &self,
        source: &str,
        format: Format,
        place: &Place<'_>,
        value: &Value,
    ) -> Result<Vec<Splice>, EditError> {
        let refused = |(found, expected): yaml_block::Refusal| self.unsafe_at(found, expected);
        match (&place.parent.kind, self.path.segments().last()) {
            (Kind::Mapping(entries, Layout::Flow), Some(PathSegment::Key(key))) => {
                let entry = self.entry_text(source, format, entries, key, value)?;
                flow(source, format, place.parent)
                    .and_then(|flow| flow.insert(entries.len(), &entry))
                    .ok_or_else(|| self.unclear())
            }
            (Kind::Sequence(_, Layout::Flow), Some(PathSegment::Index(index))) => {
                let text = self.value_text(format, value, "\"")?;
                flow(source, format, place.parent)
                    .and_then(|flow| flow.insert(*index, &text))
                    .ok_or_else(|| self.unclear())
            }
            (Kind::Mapping(entries, Layout::Block), Some(PathSegment::Key(key))) => {
                yaml_block::insert_key(source, entries, key, value).map_err(refused)
            }
            (Kind::Sequence(items, Layout::Block), Some(PathSegment::Index(index))) => {
                yaml_block::insert_item(source, items, *index, value).map_err(refused)
            }
            (Kind::Mapping(entries, Layout::Table(header)), Some(PathSegment::Key(key))) => {
                let entry = self.entry_text(source, format, entries, key, value)?;
                let at = header.start.max(bom_len(source));
                Ok(toml::insert(source, place.parent, at, &entry))
            }
            _ => Err(self.unclear()),
        }
    }

    /// `key: value` as its siblings write it.
    fn entry_text(
        &self,
        source: &str,
        format: Format,
        siblings: &[Entry],
        key: &str,
        value: &Value,
    ) -> Result<String, EditError> {
        let last = siblings.last();
        let like = last.map_or("", |e| &source[e.key_span.clone()]);
        let (key, mark, usual) = match format {
            Format::Toml => (toml::key_text(key), "=", " = "),
            Format::Yaml => (yaml_scalar::key_text(key, like), ":", ": "),
            Format::Json => (json::key_text(key), ":", ": "),
        };
        let separator = last
            .and_then(|e| source.get(e.key_span.end..e.value.span.start))
            .filter(|s| s.trim_matches([' ', '\t']) == mark)
            .filter(|s| format != Format::Yaml || s.ends_with(' '))
            .unwrap_or(usual);
        Ok(format!(
            "{key}{separator}{}",
            self.value_text(format, value, "\"")?
        ))
    }

    fn value_text(&self, format: Format, value: &Value, like: &str) -> Result<String, EditError> {
        match format {
            Format::Toml => toml::value_text(value, like, &self.path.to_string()),
            Format::Yaml => Ok(yaml_scalar::value_text(value, like)),
            Format::Json => Ok(json::value_text(value)),
        }
    }

    fn unclear(&self) -> EditError {
        self.unsafe_at(
            "a layout without a clear place for the change",
            "a collection in brackets, a block or a table with its own header",
        )
    }

    fn unsafe_at(&self, found: &str, expected: &'static str) -> EditError {
        EditError::Unsafe {
            path: self.path.to_string(),
            found: found.to_owned(),
            expected,
        }
    }

    fn postcondition(&self, detail: String) -> EditError {
        EditError::Postcondition {
            path: self.path.to_string(),
            detail,
        }
    }
}

/// Makes several edits, each on the result of the one before; all or none.
///
/// # Errors
/// Those of [`ConfigEdit::apply`].
pub fn apply_edits(
    source: &str,
    format: Format,
    edits: &[ConfigEdit],
) -> Result<String, EditError> {
    edits
        .iter()
        .try_fold(source.to_owned(), |text, edit| edit.apply(&text, format))
}

pub(crate) fn parse(source: &str, format: Format) -> Result<Node, EditError> {
    match format {
        Format::Toml => toml::parse(source),
        Format::Yaml => yaml::parse(source),
        Format::Json => json::parse(source),
    }
}

fn flow<'s>(source: &'s str, format: Format, node: &Node) -> Option<Flow<'s>> {
    let items = match &node.kind {
        Kind::Mapping(entries, Layout::Flow) => entries
            .iter()
            .map(|e| e.key_span.start..e.value.span.end.max(e.key_span.end))
            .collect(),
        Kind::Sequence(items, Layout::Flow) => items.iter().map(|i| i.span.clone()).collect(),
        _ => return None,
    };
    Some(Flow {
        source,
        format,
        span: node.span.clone(),
        items,
    })
}

impl fmt::Display for ConfigEdit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.op {
            EditOp::Set(value) => write!(f, "set {} to {value}", self.path)?,
            EditOp::Insert(value) => write!(f, "insert {} = {value}", self.path)?,
            EditOp::Remove => write!(f, "remove {}", self.path)?,
        }
        match &self.expect {
            Some(expected) => write!(f, " (expecting {expected})"),
            None => Ok(()),
        }
    }
}
