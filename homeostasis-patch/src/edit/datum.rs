//! Configuration data compared across formats: what an edit must and must not change.

use std::collections::BTreeMap;

use serde_json::Value;

use super::PathSegment;

/// Nesting deeper than this is refused, in documents and in new values.
pub(crate) const MAX_DEPTH: usize = 96;

/// A value as data. Mappings are unordered; their order in the text is kept by splicing.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Datum {
    Null,
    Bool(bool),
    Int(i128),
    Float(Real),
    Str(String),
    /// A value JSON has no word for (date, tagged scalar, alias, huge number), by its text.
    Opaque(String),
    Seq(Vec<Datum>),
    Map(BTreeMap<String, Datum>),
}

/// A float equal to itself, NaN included; zeros of either sign differ.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Real(pub(crate) f64);

impl PartialEq for Real {
    fn eq(&self, other: &Self) -> bool {
        self.0.to_bits() == other.0.to_bits() || (self.0.is_nan() && other.0.is_nan())
    }
}

impl Datum {
    /// The datum of a JSON value; `None` when it is nested too deeply.
    pub(crate) fn from_json(value: &Value) -> Option<Self> {
        Self::from_json_at(value, 0)
    }

    fn from_json_at(value: &Value, depth: usize) -> Option<Self> {
        if depth > MAX_DEPTH {
            return None;
        }
        Some(match value {
            Value::Null => Self::Null,
            Value::Bool(b) => Self::Bool(*b),
            Value::Number(n) => {
                if let Some(i) = n.as_i128() {
                    Self::Int(i)
                } else if let Some(f) = n.as_f64() {
                    Self::Float(Real(f))
                } else {
                    Self::Opaque(n.to_string())
                }
            }
            Value::String(s) => Self::Str(s.clone()),
            Value::Array(items) => Self::Seq(
                items
                    .iter()
                    .map(|v| Self::from_json_at(v, depth + 1))
                    .collect::<Option<_>>()?,
            ),
            Value::Object(map) => Self::Map(
                map.iter()
                    .map(|(k, v)| Some((k.clone(), Self::from_json_at(v, depth + 1)?)))
                    .collect::<Option<_>>()?,
            ),
        })
    }

    /// Replaces the value at `path`; `None` when there is none.
    pub(crate) fn set(&mut self, path: &[PathSegment], value: Datum) -> Option<()> {
        *path.iter().try_fold(self, |at, step| at.child_mut(step))? = value;
        Some(())
    }

    /// Adds a new key, or an item before the index; `None` when the parent does not allow it.
    pub(crate) fn insert(&mut self, path: &[PathSegment], value: Datum) -> Option<()> {
        let (last, parents) = path.split_last()?;
        let parent = parents
            .iter()
            .try_fold(self, |at, step| at.child_mut(step))?;
        match (parent, last) {
            (Self::Map(map), PathSegment::Key(k)) if !map.contains_key(k) => {
                map.insert(k.clone(), value);
                Some(())
            }
            (Self::Seq(items), PathSegment::Index(i)) if *i <= items.len() => {
                items.insert(*i, value);
                Some(())
            }
            _ => None,
        }
    }

    /// Removes the value at `path`; `None` when there is none.
    pub(crate) fn remove(&mut self, path: &[PathSegment]) -> Option<()> {
        let (last, parents) = path.split_last()?;
        let parent = parents
            .iter()
            .try_fold(self, |at, step| at.child_mut(step))?;
        match (parent, last) {
            (Self::Map(map), PathSegment::Key(k)) => map.remove(k).map(|_| ()),
            (Self::Seq(items), PathSegment::Index(i)) if *i < items.len() => {
                items.remove(*i);
                Some(())
            }
            _ => None,
        }
    }

    fn child_mut(&mut self, step: &PathSegment) -> Option<&mut Datum> {
        match (self, step) {
            (Self::Map(map), PathSegment::Key(k)) => map.get_mut(k),
            (Self::Seq(items), PathSegment::Index(i)) => items.get_mut(*i),
            _ => None,
        }
    }
}
