//! The tree of source spans shared by the three formats, and the walk along a path.

use std::collections::BTreeMap;
use std::ops::Range;

use super::datum::Datum;
use super::path::display;
use super::{ConfigPath, EditError, PathSegment};

/// A value and where it stands in the source, in bytes.
#[derive(Debug)]
pub(crate) struct Node {
    /// Of scalars and bracketed collections: all of their text. Of block collections: from the
    /// first child's start to the last child's end. Empty where the value is left out.
    pub(crate) span: Range<usize>,
    pub(crate) kind: Kind,
    /// An anchor or a tag stands on the value (YAML only).
    pub(crate) property: Option<&'static str>,
}

#[derive(Debug)]
pub(crate) enum Kind {
    Scalar(Datum),
    /// A YAML block scalar (`|` or `>`).
    BlockScalar(String),
    Alias(usize),
    Mapping(Vec<Entry>, Layout),
    Sequence(Vec<Node>, Layout),
}

#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) key_span: Range<usize>,
    /// The key is YAML's plain `<<`.
    pub(crate) merges: bool,
    pub(crate) value: Node,
}

/// How a collection is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Layout {
    /// In brackets or braces, separated by commas.
    Flow,
    /// YAML lines.
    Block,
    /// A TOML table with a header of this span, or the root (empty span at the start).
    Table(Range<usize>),
    /// Written through its children only: TOML dotted or implicit tables, arrays of tables, and
    /// YAML's `[a: 1]` pairs. Children can be set; the collection cannot grow or shrink.
    Bare,
}

impl Node {
    pub(crate) fn kind_name(&self) -> &'static str {
        match &self.kind {
            Kind::Scalar(Datum::Null) => "null",
            Kind::Scalar(_) | Kind::BlockScalar(_) => "a scalar",
            Kind::Alias(_) => "an alias",
            Kind::Mapping(..) => "a mapping",
            Kind::Sequence(..) => "a sequence",
        }
    }

    /// The data of the tree.
    pub(crate) fn datum(&self) -> Result<Datum, EditError> {
        self.datum_at(&mut Vec::new())
    }

    fn datum_at(&self, path: &mut Vec<PathSegment>) -> Result<Datum, EditError> {
        Ok(match &self.kind {
            Kind::Scalar(datum) => datum.clone(),
            Kind::BlockScalar(text) => Datum::Str(text.clone()),
            Kind::Alias(id) => Datum::Opaque(format!("*{id}")),
            Kind::Sequence(items, _) => {
                let mut data = Vec::with_capacity(items.len());
                for (i, item) in items.iter().enumerate() {
                    path.push(PathSegment::Index(i));
                    data.push(item.datum_at(path)?);
                    path.pop();
                }
                Datum::Seq(data)
            }
            Kind::Mapping(entries, _) => {
                let mut data = BTreeMap::new();
                for entry in entries {
                    path.push(PathSegment::Key(entry.key.clone()));
                    let value = entry.value.datum_at(path)?;
                    if data.insert(entry.key.clone(), value).is_some() {
                        return Err(EditError::DuplicateKey {
                            path: display(path),
                        });
                    }
                    path.pop();
                }
                Datum::Map(data)
            }
        })
    }

    /// The place inside this node where an anchor is defined.
    pub(crate) fn has_anchor(&self) -> bool {
        self.property == Some(ANCHOR)
            || match &self.kind {
                Kind::Mapping(entries, _) => entries.iter().any(|e| e.value.has_anchor()),
                Kind::Sequence(items, _) => items.iter().any(Self::has_anchor),
                _ => false,
            }
    }

    pub(crate) fn merges(&self) -> bool {
        matches!(&self.kind, Kind::Mapping(entries, _) if entries.iter().any(|e| e.merges))
    }
}

pub(crate) const ANCHOR: &str = "an anchor";
pub(crate) const TAG: &str = "a tag";

/// The collection a path ends in, and the child's position there when it exists.
#[derive(Debug)]
pub(crate) struct Place<'t> {
    /// The collection that holds (or will hold) the last step.
    pub(crate) parent: &'t Node,
    /// Index of the child in the parent.
    pub(crate) child: Option<usize>,
}

/// What a value hangs on.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Holder<'t> {
    Entry(&'t Entry),
    Item,
}

impl<'t> Place<'t> {
    pub(crate) fn node(&self) -> Option<&'t Node> {
        let child = self.child?;
        match &self.parent.kind {
            Kind::Mapping(entries, _) => entries.get(child).map(|e| &e.value),
            Kind::Sequence(items, _) => items.get(child),
            _ => None,
        }
    }

    pub(crate) fn holder(&self) -> Option<Holder<'t>> {
        match &self.parent.kind {
            Kind::Mapping(entries, _) => entries.get(self.child?).map(Holder::Entry),
            _ => Some(Holder::Item),
        }
    }
}

/// Walks to the parent of the last step; refuses what is shared through anchors and aliases.
pub(crate) fn locate<'t>(root: &'t Node, path: &ConfigPath) -> Result<Place<'t>, EditError> {
    let segments = path.segments();
    let mut place = step(root, path, 0)?;
    for depth in 1..segments.len() {
        let Some(node) = place.node() else {
            return Err(not_found(place.parent, path, depth));
        };
        place = step(node, path, depth)?;
    }
    Ok(place)
}

fn step<'t>(parent: &'t Node, path: &ConfigPath, depth: usize) -> Result<Place<'t>, EditError> {
    let at = || path.prefix(depth);
    if matches!(parent.kind, Kind::Alias(_)) {
        return Err(EditError::Unsafe {
            path: at(),
            found: "an alias".to_owned(),
            expected: "a value of its own (edit the anchored one)",
        });
    }
    if parent.property == Some(ANCHOR) {
        return Err(EditError::Unsafe {
            path: at(),
            found: "an anchor that other places may repeat".to_owned(),
            expected: "a value used in one place",
        });
    }
    let child = match (&parent.kind, &path.segments()[depth]) {
        (Kind::Mapping(entries, _), PathSegment::Key(key)) => {
            entries.iter().position(|e| e.key == *key)
        }
        (Kind::Sequence(items, _), PathSegment::Index(i)) => (*i < items.len()).then_some(*i),
        (_, segment) => {
            return Err(EditError::WrongKind {
                path: at(),
                found: parent.kind_name(),
                expected: match segment {
                    PathSegment::Key(_) => "a mapping",
                    PathSegment::Index(_) => "a sequence",
                },
            });
        }
    };
    Ok(Place { parent, child })
}

/// The error for the missing step number `depth` (1-based) under `parent`.
pub(crate) fn not_found(parent: &Node, path: &ConfigPath, depth: usize) -> EditError {
    let nearest = match (&parent.kind, &path.segments()[depth - 1]) {
        (Kind::Mapping(entries, _), PathSegment::Key(missing)) => entries
            .iter()
            .map(|e| &e.key)
            .min_by_key(|key| (distance(missing, key), key.len()))
            .map(|key| format!("{key:?}")),
        (Kind::Sequence(items, _), _) if !items.is_empty() => {
            Some(format!("index {}", items.len() - 1))
        }
        _ => None,
    };
    EditError::NotFound {
        path: path.prefix(depth),
        nearest,
    }
}

/// Levenshtein distance in characters, over the first 64 of each: O(64²).
fn distance(a: &str, b: &str) -> usize {
    const LONGEST: usize = 64;
    let b: Vec<char> = b.chars().take(LONGEST).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().take(LONGEST).enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_edits() {
        assert_eq!(distance("timeout", "timeout_ms"), 3);
        assert_eq!(distance("port", "prot"), 2);
        assert_eq!(distance("", "abc"), 3);
    }
}
