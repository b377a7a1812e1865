//! Shapes of lists and of mappings with free names.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use super::node::Node;
use super::path;
use super::shape::{Shape, refuse};
use crate::violation::Violations;

/// See [`list`].
#[derive(Debug, Clone)]
pub struct List<S> {
    item: S,
    n_items: RangeInclusive<usize>,
}

/// A list of `item`s; every bad item is reported.
pub fn list<S: Shape>(item: S) -> List<S> {
    List {
        item,
        n_items: 0..=usize::MAX,
    }
}

impl<S> List<S> {
    /// The same list with at least `n_items`.
    #[must_use]
    pub fn at_least(mut self, n_items: usize) -> Self {
        self.n_items = n_items..=*self.n_items.end();
        self
    }

    /// The same list with at most `n_items`.
    #[must_use]
    pub fn at_most(mut self, n_items: usize) -> Self {
        self.n_items = *self.n_items.start()..=n_items;
        self
    }
}

impl<S: Shape> Shape for List<S> {
    type Output = Vec<S::Output>;

    fn read(&self, node: &Node, path: &str, violations: &mut Violations) -> Option<Vec<S::Output>> {
        let items = match node.as_sequence() {
            Some(items) if self.n_items.contains(&items.len()) => items,
            _ => return refuse(node, path, self.expected(), violations),
        };
        let read: Vec<_> = items
            .iter()
            .enumerate()
            .map(|(idx, item)| self.item.read(item, &path::item(path, idx), violations))
            .collect();
        read.into_iter().collect()
    }

    fn expected(&self) -> String {
        match (*self.n_items.start(), *self.n_items.end()) {
            (0, usize::MAX) => "a list".to_owned(),
            (start, usize::MAX) => format!("a list of at least {start}"),
            (0, end) => format!("a list of at most {end}"),
            (start, end) => format!("a list of {start} to {end}"),
        }
    }
}

/// See [`map_of`].
#[derive(Debug, Clone)]
pub struct MapOf<S> {
    value: S,
}

/// A mapping with any names, whose values are all of one shape.
pub fn map_of<S: Shape>(value: S) -> MapOf<S> {
    MapOf { value }
}

impl<S: Shape> Shape for MapOf<S> {
    type Output = BTreeMap<String, S::Output>;

    fn read(&self, node: &Node, path: &str, violations: &mut Violations) -> Option<Self::Output> {
        let Some(mapping) = node.as_mapping() else {
            return refuse(node, path, self.expected(), violations);
        };
        let read: Vec<_> = mapping
            .iter()
            .map(|entry| {
                let path = path::field(path, &entry.key);
                let value = self.value.read(&entry.value, &path, violations)?;
                Some((entry.key.clone(), value))
            })
            .collect();
        read.into_iter().collect()
    }

    fn expected(&self) -> String {
        "a mapping".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use crate::document::{Parser, Shape, decode, integer, list, map_of, string};

    fn read<S: Shape>(text: &str, shape: S) -> Result<S::Output, String> {
        let node = Parser::new().parse(text).unwrap();
        decode(&node, shape).map_err(|error| error.to_string())
    }

    fn refused<S: Shape>(text: &str, shape: S) -> String
    where
        S::Output: std::fmt::Debug,
    {
        read(text, shape).unwrap_err()
    }

    #[test]
    fn lists_and_maps_report_every_bad_item() {
        assert_eq!(
            refused("- 1\n- x\n- 3\n- y\n", list(integer(1..=2))),
            "line 2:3: [1] = \"x\", expected an integer between 1 and 2\n\
             line 3:3: [2] = 3, expected an integer between 1 and 2\n\
             line 4:3: [3] = \"y\", expected an integer between 1 and 2"
        );
        assert_eq!(
            refused("[]", list(string()).at_least(1)),
            "line 1:1: document = a list of 0, expected a list of at least 1"
        );
        assert_eq!(
            refused("[a, b]", list(string()).at_most(1)),
            "line 1:1: document = a list of 2, expected a list of at most 1"
        );
        assert_eq!(
            refused("a", list(string())),
            "line 1:1: document = \"a\", expected a list"
        );
        assert_eq!(
            refused("a: 1\nb.c: x\n", map_of(integer(0..=1))),
            "line 2:6: [\"b.c\"] = \"x\", expected an integer between 0 and 1"
        );
        assert_eq!(
            read("{b: 1, a: 0}", map_of(integer(0..=1)))
                .unwrap()
                .into_iter()
                .collect::<Vec<_>>(),
            [("a".into(), 0), ("b".into(), 1)]
        );
    }
}
