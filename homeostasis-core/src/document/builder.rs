//! Builds the tree from the events of a reader, within limits, and collects what is wrong on the way.

use std::collections::HashMap;
use std::sync::Arc;

use super::interpolation::{Lookup, interpolate};
use super::node::{Entry, Mapping, Node, Span, Value};
use super::parser::Limits;
use super::path;
use super::scalar::resolve_plain;
use crate::violation::{Violation, Violations};

/// A problem after which reading cannot go on.
pub(super) type Fatal = Violation;

/// How a scalar gets its type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Typing {
    /// By how it looks (YAML's plain scalars).
    Plain,
    /// Always a string.
    Text,
}

enum Open {
    Sequence(Vec<Node>),
    Mapping {
        mapping: Mapping,
        index: HashMap<String, usize>,
        key: Option<(String, Span)>,
    },
}

struct Frame {
    open: Open,
    span: Span,
    anchor: usize,
}

struct Size {
    n_nodes: usize,
    depth: usize,
    n_bytes: usize,
}

pub(super) struct Builder<'a> {
    source: Option<Arc<str>>,
    limits: Limits,
    lookup: Option<&'a Lookup<'a>>,
    frames: Vec<Frame>,
    anchors: HashMap<usize, Node>,
    root: Option<Node>,
    n_nodes: usize,
    n_bytes: usize,
    violations: Violations,
}

impl<'a> Builder<'a> {
    pub(super) fn new(
        source: Option<Arc<str>>,
        limits: Limits,
        lookup: Option<&'a Lookup<'a>>,
    ) -> Self {
        Self {
            source,
            limits,
            lookup,
            frames: Vec::new(),
            anchors: HashMap::new(),
            root: None,
            n_nodes: 0,
            n_bytes: 0,
            violations: Violations::new(),
        }
    }

    /// The path of the value that comes next.
    pub(super) fn path(&self) -> String {
        self.frames
            .iter()
            .fold(String::new(), |path, frame| match &frame.open {
                Open::Sequence(items) => path::item(&path, items.len()),
                Open::Mapping {
                    key: Some((key, _)),
                    ..
                } => path::field(&path, key),
                Open::Mapping { key: None, .. } => path,
            })
    }

    /// Whether the next scalar is the name of a field.
    pub(super) fn expects_key(&self) -> bool {
        matches!(
            self.frames.last(),
            Some(Frame {
                open: Open::Mapping { key: None, .. },
                ..
            })
        )
    }

    /// The place of the name of the field whose value comes next.
    pub(super) fn key_span(&self) -> Option<Span> {
        match &self.frames.last()?.open {
            Open::Mapping {
                key: Some((_, span)),
                ..
            } => Some(*span),
            _ => None,
        }
    }

    pub(super) fn violation(
        &self,
        span: Span,
        value: impl std::fmt::Display,
        expected: impl Into<String>,
    ) -> Violation {
        let violation = Violation::new(self.path(), value, expected).at(span.line, span.column);
        match &self.source {
            Some(source) => violation.in_source(source.as_ref()),
            None => violation,
        }
    }

    pub(super) fn report(&mut self, violation: Violation) {
        self.violations.push(violation);
    }

    pub(super) fn key(&mut self, text: String, span: Span) -> Result<(), Fatal> {
        self.spend(span, 0, 1, text.len())?;
        if let Some(Frame {
            open: Open::Mapping { key, .. },
            ..
        }) = self.frames.last_mut()
        {
            *key = Some((text, span));
        }
        Ok(())
    }

    pub(super) fn scalar(
        &mut self,
        text: &str,
        typing: Typing,
        span: Span,
        anchor: usize,
    ) -> Result<(), Fatal> {
        self.spend(span, 1, 1, text.len())?;
        let filled = match self.lookup.map(|lookup| interpolate(text, lookup)) {
            None | Some(Ok(None)) => None,
            Some(Ok(Some(filled))) => {
                self.spend(span, 0, 1, filled.len())?;
                Some(filled)
            }
            Some(Err(problems)) => {
                for problem in problems {
                    self.report(self.violation(span, format_args!("\"{text}\""), problem));
                }
                None
            }
        };
        let written = (filled.is_some() || typing == Typing::Plain).then(|| text.into());
        let text = filled.as_deref().unwrap_or(text);
        let value = match typing {
            Typing::Plain => resolve_plain(text),
            Typing::Text => Value::String(text.to_owned()),
        };
        self.finish(
            Node {
                source: self.source.clone(),
                span,
                written,
                value,
            },
            anchor,
        );
        Ok(())
    }

    /// A value that is not text.
    pub(super) fn literal(&mut self, text: &str, value: Value, span: Span) -> Result<(), Fatal> {
        self.spend(span, 1, 1, text.len())?;
        self.finish(
            Node {
                source: self.source.clone(),
                span,
                written: Some(text.into()),
                value,
            },
            0,
        );
        Ok(())
    }

    pub(super) fn open_sequence(&mut self, span: Span, anchor: usize) -> Result<(), Fatal> {
        self.open(Open::Sequence(Vec::new()), span, anchor)
    }

    pub(super) fn open_mapping(&mut self, span: Span, anchor: usize) -> Result<(), Fatal> {
        let open = Open::Mapping {
            mapping: Mapping::default(),
            index: HashMap::new(),
            key: None,
        };
        self.open(open, span, anchor)
    }

    fn open(&mut self, open: Open, span: Span, anchor: usize) -> Result<(), Fatal> {
        self.spend(span, 1, 1, 0)?;
        self.frames.push(Frame { open, span, anchor });
        Ok(())
    }

    pub(super) fn close(&mut self) {
        let Some(Frame { open, span, anchor }) = self.frames.pop() else {
            return;
        };
        let value = match open {
            Open::Sequence(items) => Value::Sequence(items),
            Open::Mapping { mapping, .. } => Value::Mapping(mapping),
        };
        self.finish(
            Node {
                source: self.source.clone(),
                span,
                written: None,
                value,
            },
            anchor,
        );
    }

    pub(super) fn alias(&mut self, anchor: usize, span: Span) -> Result<(), Fatal> {
        let Some(node) = self.anchors.get(&anchor) else {
            return Err(self.violation(
                span,
                "alias",
                "an alias of a value that is complete, not of one it stands in",
            ));
        };
        let size = size(node);
        self.spend(span, size.depth, size.n_nodes, size.n_bytes)?;
        if let Some(node) = self.anchors.get(&anchor).cloned() {
            self.finish(node, 0);
        }
        Ok(())
    }

    /// The tree, unless something was wrong.
    pub(super) fn finish_document(self) -> (Option<Node>, Violations) {
        (self.root, self.violations)
    }

    /// Counts what comes next against the limits.
    fn spend(
        &mut self,
        span: Span,
        depth: usize,
        n_nodes: usize,
        n_bytes: usize,
    ) -> Result<(), Fatal> {
        self.n_nodes = self.n_nodes.saturating_add(n_nodes);
        self.n_bytes = self.n_bytes.saturating_add(n_bytes);
        let Limits {
            max_nodes,
            max_depth,
            max_bytes,
        } = self.limits;
        let over = if self.frames.len() + depth > max_depth {
            Some(("nesting too deep", format!("at most {max_depth} levels")))
        } else if self.n_nodes > max_nodes {
            Some((
                "too many values",
                format!("at most {max_nodes} values with aliases expanded"),
            ))
        } else if self.n_bytes > max_bytes {
            Some((
                "too much text",
                format!("at most {max_bytes} bytes with aliases and variables expanded"),
            ))
        } else {
            None
        };
        match over {
            Some((what, expected)) => Err(self.violation(span, what, expected)),
            None => Ok(()),
        }
    }

    fn finish(&mut self, node: Node, anchor: usize) {
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        match self.frames.last_mut() {
            None => self.root = Some(node),
            Some(Frame {
                open: Open::Sequence(items),
                ..
            }) => items.push(node),
            Some(Frame {
                open:
                    Open::Mapping {
                        mapping,
                        index,
                        key,
                    },
                ..
            }) => {
                let Some((name, key_span)) = key.clone() else {
                    return;
                };
                if let Some(&first) = index.get(&name) {
                    let first = mapping.entries[first].key_span;
                    let expected = format!(
                        "each key once; it is first given on line {} and again on line {}",
                        first.line, key_span.line
                    );
                    let violation = self.violation(key_span, "duplicate key", expected);
                    self.report(violation);
                } else {
                    index.insert(name.clone(), mapping.entries.len());
                    mapping.entries.push(Entry {
                        key: name,
                        key_span,
                        value: node,
                    });
                }
            }
        }
        if let Some(Frame {
            open: Open::Mapping { key, .. },
            ..
        }) = self.frames.last_mut()
        {
            *key = None;
        }
    }
}

fn size(node: &Node) -> Size {
    let own = Size {
        n_nodes: 1,
        depth: 1,
        n_bytes: node.written.as_ref().map_or(0, |text| text.len())
            + node.as_str().map_or(0, str::len),
    };
    let add = |sum: Size, child: Size| Size {
        n_nodes: sum.n_nodes + child.n_nodes,
        depth: sum.depth.max(child.depth + 1),
        n_bytes: sum.n_bytes + child.n_bytes,
    };
    match &node.value {
        Value::Sequence(items) => items.iter().map(size).fold(own, add),
        Value::Mapping(mapping) => mapping.iter().fold(own, |sum, entry| {
            let mut child = size(&entry.value);
            child.n_nodes += 1;
            child.n_bytes += entry.key.len();
            add(sum, child)
        }),
        _ => own,
    }
}
