//! An error with its causes, while it is being read.

use homeostasis_core::signal::{CauseRelation, ErrorCause, ErrorEvent, Frame};

/// The most frames kept of one error: the innermost.
pub(super) const MAX_FRAMES: usize = 256;
/// How deep causes lie below the event.
const MAX_DEPTH: usize = 16;
/// How many causes all errors of an event have together.
const MAX_CAUSES: usize = 64;

/// Errors by number, 0 being the event itself; each knows its parent, which came before it.
#[derive(Debug)]
pub(super) struct Tree {
    nodes: Vec<Node>,
}

#[derive(Debug)]
struct Node {
    error: ErrorEvent,
    parent: usize,
    relation: CauseRelation,
    depth: usize,
}

impl Tree {
    pub(super) fn new(event: ErrorEvent) -> Self {
        let mut tree = Self { nodes: Vec::new() };
        tree.push(event, 0, CauseRelation::CausedBy, 0);
        tree
    }

    /// Adds a cause; `None` if there are too many or it lies too deep.
    pub(super) fn add(
        &mut self,
        parent: usize,
        relation: CauseRelation,
        error: ErrorEvent,
    ) -> Option<usize> {
        let depth = self.nodes.get(parent)?.depth + 1;
        if depth > MAX_DEPTH || self.nodes.len() > MAX_CAUSES {
            return None;
        }
        Some(self.push(error, parent, relation, depth))
    }

    fn push(
        &mut self,
        error: ErrorEvent,
        parent: usize,
        relation: CauseRelation,
        depth: usize,
    ) -> usize {
        self.nodes.push(Node {
            error,
            parent,
            relation,
            depth,
        });
        self.nodes.len() - 1
    }

    pub(super) fn error(&mut self, id: usize) -> Option<&mut ErrorEvent> {
        self.nodes.get_mut(id).map(|node| &mut node.error)
    }

    /// Adds a frame unless there are enough.
    pub(super) fn frame(&mut self, id: usize, frame: Frame) {
        if let Some(error) = self.error(id)
            && error.frames.len() < MAX_FRAMES
        {
            error.frames.push(frame);
        }
    }

    /// Adds the outermost `n` frames of the error it led to.
    pub(super) fn common_frames(&mut self, id: usize, n: usize) {
        let Some(parent) = self
            .nodes
            .get(id)
            .and_then(|node| self.nodes.get(node.parent))
        else {
            return;
        };
        let frames = &parent.error.frames;
        let common = frames
            .get(frames.len().saturating_sub(n)..)
            .unwrap_or_default();
        let common = common.to_vec();
        for frame in common {
            self.frame(id, frame);
        }
    }

    /// Goes on with the message of an error.
    pub(super) fn more_message(&mut self, id: usize, line: &str) {
        if let Some(error) = self.error(id) {
            error.message.push('\n');
            error.message.push_str(line);
        }
    }

    pub(super) fn has_frames(&self, id: usize) -> bool {
        self.nodes
            .get(id)
            .is_some_and(|node| !node.error.frames.is_empty())
    }

    /// The event with all its causes, in the order they were added.
    pub(super) fn into_event(mut self) -> ErrorEvent {
        while self.nodes.len() > 1
            && let Some(mut node) = self.nodes.pop()
        {
            finish(&mut node.error);
            let mut cause = ErrorCause::default();
            cause.relation = node.relation;
            cause.error = node.error;
            if let Some(parent) = self.error(node.parent) {
                parent.causes.insert(0, cause);
            }
        }
        let mut event = self.nodes.pop().map(|node| node.error).unwrap_or_default();
        finish(&mut event);
        event
    }
}

fn finish(error: &mut ErrorEvent) {
    error.message.truncate(error.message.trim_end().len());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_keep_their_order_and_stay_within_their_limits() {
        let error = |kind: String| ErrorEvent::new("", kind, "");
        let mut tree = Tree::new(error("0".into()));
        let mut parent = 0;
        for i in 1..40 {
            let Some(id) = tree.add(parent, CauseRelation::CausedBy, error(i.to_string())) else {
                break;
            };
            parent = id;
        }
        for i in 0..100 {
            tree.add(0, CauseRelation::Member, error(format!("m{i}")));
        }
        let event = tree.into_event();
        assert_eq!(event.root().kind, MAX_DEPTH.to_string());
        assert_eq!(event.causes.len() + MAX_DEPTH - 1, MAX_CAUSES);
        assert_eq!(event.causes[1].error.kind, "m0");
        assert_eq!(event.causes[2].error.kind, "m1");
    }
}
