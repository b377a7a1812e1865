//! Reads Python: tracebacks, chains of them, groups of exceptions, syntax errors.

use homeostasis_core::signal::{CauseRelation, ErrorEvent, Frame};

use super::frames::Project;
use super::language::Language;
use super::tree::{MAX_FRAMES, Tree};

const HEADER: &str = "Traceback (most recent call last):";
/// Groups within groups that are followed.
const MAX_NESTING: usize = 16;

/// One exception on its way into the tree.
#[derive(Debug, Default)]
struct Exception {
    /// How the exception before it led to it.
    link: Option<CauseRelation>,
    kind: String,
    message: String,
    /// Outermost first, as Python prints them.
    frames: Vec<Frame>,
    members: Vec<Vec<Exception>>,
    named: bool,
}

/// A line without the margin of its group.
#[derive(Debug, Clone, Copy)]
enum Item<'t> {
    Text(&'t str),
    /// `+---------------- 2 ----------------`
    Member,
}

#[derive(Debug)]
struct Reader<'t> {
    items: Vec<(usize, Item<'t>)>,
    at: usize,
    project: &'t Project,
}

/// The last exception printed, with those it came from as causes.
pub(super) fn parse(lines: &[&str], project: &Project) -> Option<ErrorEvent> {
    let grouped = lines
        .iter()
        .any(|line| line.trim_start().starts_with("+ Exception Group ") || line.contains("+-+---"));
    let items = lines
        .iter()
        .filter_map(|line| {
            if grouped {
                margin(line)
            } else {
                Some((0, Item::Text(line)))
            }
        })
        .collect();
    let mut reader = Reader {
        items,
        at: 0,
        project,
    };
    let mut chain = reader.chain(0);
    let event = chain.pop()?;
    let mut tree = Tree::new(ErrorEvent::default());
    let own = fill(&mut tree, 0, event);
    attach(&mut tree, 0, own, chain);
    Some(tree.into_event())
}

/// Splits the margin of groups off: the top group and the text around it have depth 0.
fn margin(line: &str) -> Option<(usize, Item<'_>)> {
    let rest = line.trim_start_matches(' ');
    let depth = (line.len() - rest.len()) / 2;
    if rest.starts_with("+-+---") {
        return Some((depth, Item::Member));
    }
    if let Some(title) = rest.strip_prefix("+---") {
        // Without a title it closes the group.
        let member = title.contains(' ') && depth > 0;
        return member.then(|| (depth - 1, Item::Member));
    }
    if depth > 0 {
        if let Some(text) = rest.strip_prefix("| ").or_else(|| rest.strip_prefix("+ ")) {
            return Some((depth - 1, Item::Text(text)));
        }
        if rest == "|" {
            return Some((depth - 1, Item::Text("")));
        }
    }
    Some((0, Item::Text(line)))
}

fn link(line: &str) -> Option<CauseRelation> {
    if line.starts_with("The above exception was the direct cause of") {
        Some(CauseRelation::CausedBy)
    } else if line.starts_with("During handling of the above exception") {
        Some(CauseRelation::During)
    } else {
        None
    }
}

impl Reader<'_> {
    /// Exceptions that are linked to each other, in the order printed.
    fn chain(&mut self, depth: usize) -> Vec<Exception> {
        let mut chain: Vec<Exception> = Vec::new();
        let mut next = None;
        let mut current: Option<Exception> = None;
        while let Some(&(own, item)) = self.items.get(self.at) {
            let line = match item {
                Item::Member if own > depth => {
                    self.at += 1;
                    let members = if own <= MAX_NESTING {
                        self.chain(own)
                    } else {
                        Vec::new()
                    };
                    if let Some(exception) = &mut current {
                        exception.members.push(members);
                    }
                    continue;
                }
                Item::Text(line) if own >= depth => line,
                _ => break,
            };
            self.at += 1;
            if line.contains(HEADER) {
                match current.take() {
                    // A second error that has nothing to do with the first.
                    Some(done) if done.named => {
                        chain.push(done);
                        self.at = self.items.len();
                        return chain;
                    }
                    _ => {}
                }
                current = Some(Exception {
                    link: next.take(),
                    ..Exception::default()
                });
            } else if let Some(relation) = link(line) {
                chain.extend(current.take());
                next = Some(relation);
            } else {
                self.line(&mut current, line, &mut next, depth);
            }
        }
        chain.extend(current);
        chain
    }

    fn line(
        &self,
        current: &mut Option<Exception>,
        line: &str,
        next: &mut Option<CauseRelation>,
        depth: usize,
    ) {
        let Some(exception) = current else {
            let frame = frame(line, self.project);
            // Members of groups and causes may have no traceback.
            let bare = (depth > 0 || next.is_some()) && !line.trim().is_empty();
            if frame.is_some() || bare {
                let mut exception = Exception {
                    link: next.take(),
                    ..Exception::default()
                };
                if frame.is_none() {
                    exception.name(line);
                }
                exception.frames.extend(frame);
                *current = Some(exception);
            } else if exception_line(line).is_some_and(|(kind, _)| is_kind_alone(kind)) {
                let mut exception = Exception::default();
                exception.name(line);
                *current = Some(exception);
            }
            return;
        };
        if exception.named {
            // The quotes around a traceback of another process.
            if line != "\"\"\"" {
                exception.message.push('\n');
                exception.message.push_str(line);
            }
        } else if let Some(frame) = frame(line, self.project) {
            exception.frames.push(frame);
        } else if !line.starts_with([' ', '\t']) && !line.is_empty() {
            exception.name(line);
        }
    }
}

impl Exception {
    fn name(&mut self, line: &str) {
        self.named = true;
        match exception_line(line) {
            Some((kind, message)) => {
                kind.clone_into(&mut self.kind);
                message.clone_into(&mut self.message);
            }
            None => line.clone_into(&mut self.message),
        }
    }
}

/// Without a traceback only a line of this form starts an exception.
fn is_kind_alone(kind: &str) -> bool {
    ["Error", "Exception", "Exit", "Interrupt", "Warning"]
        .iter()
        .any(|end| kind.ends_with(end))
}

/// `kind: message` or `kind`.
fn exception_line(line: &str) -> Option<(&str, &str)> {
    let line = line.trim_end();
    let (kind, message) = match line.split_once(": ") {
        Some(parts) => parts,
        None => (line.strip_suffix(':').unwrap_or(line), ""),
    };
    let valid = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '<' | '>');
    let begins = kind.starts_with(|c: char| c.is_alphabetic() || c == '_');
    (begins && kind.chars().all(valid)).then_some((kind, message))
}

/// `  File "a.py", line 3, in f`; a syntax error has no function.
fn frame(line: &str, project: &Project) -> Option<Frame> {
    let (file, rest) = line
        .trim_start()
        .strip_prefix("File \"")?
        .split_once("\", line ")?;
    let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, rest) = rest.split_at(digits);
    let function = rest.strip_prefix(", in ").unwrap_or_default().trim_end();
    Some(project.frame(Language::Python, function, file, number.parse().ok()?, 0))
}

/// Puts an exception in the place of `id`; gives what linked it to the one before.
fn fill(tree: &mut Tree, id: usize, exception: Exception) -> Option<CauseRelation> {
    let Exception {
        link,
        kind,
        message,
        mut frames,
        members,
        ..
    } = exception;
    frames.reverse();
    frames.truncate(MAX_FRAMES);
    if let Some(error) = tree.error(id) {
        *error = ErrorEvent::new(Language::Python.name(), kind, message);
        error.frames = frames;
    }
    for mut chain in members {
        let Some(member) = chain.pop() else { continue };
        if let Some(id) = tree.add(id, CauseRelation::Member, ErrorEvent::default()) {
            let own = fill(tree, id, member);
            attach(tree, id, own, chain);
        }
    }
    link
}

/// Hangs the exceptions before `id` below it, nearest first.
fn attach(
    tree: &mut Tree,
    mut id: usize,
    mut relation: Option<CauseRelation>,
    mut chain: Vec<Exception>,
) {
    while let Some(exception) = chain.pop() {
        let how = relation.unwrap_or_default();
        let Some(cause) = tree.add(id, how, ErrorEvent::default()) else {
            return;
        };
        relation = fill(tree, cause, exception);
        id = cause;
    }
}
