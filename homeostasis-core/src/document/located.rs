//! Values that remember where they were written.

use std::ops::Deref;

use super::node::{Node, Value};
use super::path;
use super::shape::{Shape, decode_at};
use crate::violation::{ConfigError, Violation, Violations};

/// A value that remembers where it was written, so that a later check can still point there.
///
/// It dereferences to the value.
#[derive(Debug, Clone, PartialEq)]
pub struct Located<T> {
    value: T,
    path: String,
    node: Node,
}

/// A part of a document that is not decoded yet, such as the arguments of an action.
pub type Raw = Located<()>;

impl<T> Located<T> {
    /// The value, without its place.
    pub fn into_inner(self) -> T {
        self.value
    }

    /// The path of the value in its document.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The value as it stands in the document.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// The value as JSON; see [`Node::to_json`].
    pub fn to_json(&self) -> serde_json::Value {
        self.node.to_json()
    }

    /// A violation at the place of this value.
    pub fn violation(&self, expected: impl Into<String>) -> Violation {
        self.node.violation(&self.path, expected)
    }

    /// A violation at the place of a part of this value, named by a JSON pointer such as `/targets/0`; at the place of
    /// the nearest part around it that exists, if there is no such part.
    pub fn violation_at(&self, pointer: &str, expected: impl Into<String>) -> Violation {
        let mut path = self.path.clone();
        let mut node = &self.node;
        let mut is_missing = false;
        for token in pointer.split('/').skip(1) {
            path = match node.value() {
                Value::Sequence(_) if !is_missing => format!("{path}[{token}]"),
                _ => path::field(&path, &token.replace("~1", "/").replace("~0", "~")),
            };
            match node.pointer(&format!("/{token}")) {
                Some(below) if !is_missing => node = below,
                _ => is_missing = true,
            }
        }
        if is_missing {
            node.place(Violation::new(path, "", expected), node.span())
        } else {
            node.violation(path, expected)
        }
    }

    /// Reads this part of the document by a shape.
    ///
    /// # Errors
    /// Everything that is wrong with it, with paths from the top of the document.
    pub fn decode<S: Shape>(&self, shape: S) -> Result<S::Output, ConfigError> {
        decode_at(&self.node, &self.path, &shape)
    }
}

impl<T> Deref for Located<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

/// See [`located`] and [`raw`].
#[derive(Debug, Clone, Copy)]
pub struct LocatedShape<S> {
    shape: S,
}

/// The value of `shape` together with its place.
pub fn located<S: Shape>(shape: S) -> LocatedShape<S> {
    LocatedShape { shape }
}

impl<S: Shape> Shape for LocatedShape<S> {
    type Output = Located<S::Output>;

    fn read(&self, node: &Node, path: &str, violations: &mut Violations) -> Option<Self::Output> {
        let value = self.shape.read(node, path, violations)?;
        Some(Located {
            value,
            path: path.to_owned(),
            node: node.clone(),
        })
    }

    fn expected(&self) -> String {
        self.shape.expected()
    }
}

/// Any value, kept as it stands in the document.
pub fn raw() -> LocatedShape<Anything> {
    LocatedShape { shape: Anything }
}

/// The shape behind [`raw`].
#[derive(Debug, Clone, Copy)]
pub struct Anything;

impl Shape for Anything {
    type Output = ();

    fn read(&self, _: &Node, _: &str, _: &mut Violations) -> Option<()> {
        Some(())
    }

    fn expected(&self) -> String {
        "a value".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use crate::document::{Parser, decode, list, map_of, raw, string};

    #[test]
    fn a_raw_part_keeps_its_places_for_later_checks() {
        let node = Parser::new()
            .source("f")
            .parse("args:\n  to: [a, 5]\n")
            .unwrap();
        let args = decode(&node, map_of(raw()))
            .unwrap()
            .remove("args")
            .unwrap();
        assert_eq!(args.to_json(), serde_json::json!({"to": ["a", 5]}));
        assert_eq!(
            args.violation_at("/to/1", "a name").to_string(),
            "f:2:11: args.to[1] = 5, expected a name"
        );
        assert_eq!(
            args.violation_at("/from/x", "a name").to_string(),
            "f:2:3: args.from.x is missing, expected a name"
        );
        let error = args.decode(map_of(list(string()))).unwrap_err();
        assert_eq!(
            error.to_string(),
            "f:2:11: args.to[1] = 5, expected a string (put it in quotes)"
        );
    }
}
