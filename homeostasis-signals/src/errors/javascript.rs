//! Reads JavaScript as V8 and Node print it: stacks, the excerpt of an uncaught error, its
//! properties with `[cause]` and `[errors]`.

use std::sync::LazyLock;

use homeostasis_core::signal::{CauseRelation, ErrorEvent, Frame};
use regex::Regex;

use super::frames::Project;
use super::language::Language;
use super::line_shape::{Shape, regex, shape};
use super::tree::{MAX_FRAMES, Tree};

/// The kind of what is not an `Error`.
const THROWN: &str = "throw";
/// How far above its first frame an error may be named.
const MESSAGE_LINES: usize = 64;

/// `TypeError [ERR_X]: no`, perhaps within brackets when there is no stack.
static NAMED: LazyLock<Regex> =
    LazyLock::new(|| regex(r"^(?:Uncaught )?(\[?)([A-Za-z_$][\w$.]*)(?: \[\w+\])?(?:: (.*)|:?)$"));

/// The same behind other text.
static BEHIND: LazyLock<Regex> =
    LazyLock::new(|| regex(r"\b([A-Z][\w$]*(?:Error|Exception)|Error)(?: \[\w+\])?(?:: (.*))?$"));

/// Errors of one line within an array of one line.
static INLINE: LazyLock<Regex> =
    LazyLock::new(|| regex(r"\[([A-Za-z_$][\w$.]*)(?: \[\w+\])?(?:: ([^\]]*))?\]"));

/// Whether a line is a frame of JavaScript rather than of Java.
pub(super) fn is_frame(line: &str) -> bool {
    place(line).is_some()
}

/// The first error printed, with what caused it.
pub(super) fn parse(lines: &[&str], project: &Project) -> Option<ErrorEvent> {
    let mut reader = Reader {
        project,
        tree: Tree::new(ErrorEvent::default()),
        open: vec![(0, 0)],
        arrays: Vec::new(),
        sealed: false,
    };
    let start = reader.start(lines)?;
    for line in lines.get(start + 1..).unwrap_or_default() {
        if line.starts_with("Node.js v") {
            break;
        }
        reader.line(line);
    }
    let mut event = reader.tree.into_event();
    // The excerpt says where the compiler stumbled, or what was thrown without a stack.
    if event.innermost_in_project().is_none()
        && let Some((file, number)) = excerpt(lines).and_then(|line| line.rsplit_once(':'))
    {
        let number = number.parse().unwrap_or(0);
        let frame = project.frame(Language::JavaScript, "", file, number, 0);
        if frame.in_project || event.frames.is_empty() {
            event.frames.insert(0, frame);
            event.frames.truncate(MAX_FRAMES);
        }
    }
    Some(event)
}

/// The line above the excerpt of the source, which uncaught errors begin with.
fn excerpt<'t>(lines: &[&'t str]) -> Option<&'t str> {
    let line = lines.iter().find(|line| !line.trim().is_empty())?;
    (shape(line) == Shape::NodePlace).then_some(line)
}

#[derive(Debug)]
struct Reader<'p> {
    project: &'p Project,
    tree: Tree,
    /// Errors whose properties may still come, each more indented than the one before.
    open: Vec<(usize, usize)>,
    /// Arrays of errors: their indentation and whose they are.
    arrays: Vec<(usize, usize)>,
    /// The message of the last error is complete.
    sealed: bool,
}

impl Reader<'_> {
    /// Finds the line that names the error, and fills it in.
    fn start(&mut self, lines: &[&str]) -> Option<usize> {
        let found = named(lines)?;
        if let Some(error) = self.tree.error(0) {
            *error = found.error;
        }
        self.sealed = found.sealed;
        Some(found.at)
    }

    fn line(&mut self, line: &str) {
        let text = line.trim();
        let indent = line.len() - line.trim_start().len();
        let frame = frame(line, self.project);
        if let Some(frame) = frame {
            // Deeper than its error, which may not be the last one that was opened.
            if let Some(id) = self.parent(indent) {
                self.tree.frame(id, frame);
            }
            self.sealed = true;
        } else if let Some(rest) = text.strip_prefix("[cause]: ") {
            let (error, sealed) = value(rest);
            self.nested(indent, CauseRelation::CausedBy, error, sealed);
        } else if let Some(rest) = text.strip_prefix("[errors]: [") {
            if let Some(parent) = self.parent(indent) {
                for found in INLINE.captures_iter(rest) {
                    let error = error(
                        found.get(1).map_or("", |kind| kind.as_str()),
                        found.get(2).map_or("", |message| message.as_str()),
                    );
                    self.tree.add(parent, CauseRelation::Member, error);
                }
                if rest.trim_end_matches([',', ' ']).is_empty() {
                    self.arrays.push((indent, parent));
                }
            }
            self.sealed = true;
        } else if text.starts_with(']') {
            self.arrays.retain(|(at, _)| *at < indent);
        } else if self.is_member(indent)
            && let Some((error, sealed)) = header(text)
        {
            self.nested(indent, CauseRelation::Member, error, sealed);
        } else if !self.sealed
            && let Some((_, id)) = self.open.last()
        {
            self.tree.more_message(*id, line.trim_end());
        }
    }

    /// Whether an error at this indentation is an element of the innermost array.
    fn is_member(&self, indent: usize) -> bool {
        let ready = self.sealed || self.open.last().is_some_and(|(at, _)| *at < indent);
        ready && self.arrays.last().is_some_and(|(at, _)| indent == at + 2)
    }

    /// The innermost open error that is less indented.
    fn parent(&mut self, indent: usize) -> Option<usize> {
        while self.open.len() > 1 && self.open.last().is_some_and(|(at, _)| *at >= indent) {
            self.open.pop();
        }
        self.open.last().map(|(_, id)| *id)
    }

    fn nested(&mut self, indent: usize, how: CauseRelation, error: ErrorEvent, sealed: bool) {
        let parent = self.parent(indent);
        if let Some(id) = parent.and_then(|parent| self.tree.add(parent, how, error)) {
            self.open.push((indent, id));
            self.sealed = sealed;
        } else {
            self.sealed = true;
        }
    }
}

/// The line that names the error.
struct Named {
    at: usize,
    error: ErrorEvent,
    /// It has no stack, so that what follows is not its message.
    sealed: bool,
}

fn named(lines: &[&str]) -> Option<Named> {
    let at_line = |at: usize, (error, sealed): (ErrorEvent, bool)| Named { at, error, sealed };
    if excerpt(lines).is_some() {
        let caret = lines.iter().take(16).position(|line| is_caret(line))?;
        let at = caret
            + 1
            + lines
                .get(caret + 1..)?
                .iter()
                .position(|line| !line.trim().is_empty())?;
        return Some(at_line(at, value(lines.get(at)?)));
    }
    if let Some(found) = lines.first().and_then(|line| header(line)) {
        return Some(at_line(0, found));
    }
    let first_frame = lines
        .iter()
        .position(|line| is_frame(line))
        .unwrap_or(lines.len());
    let near = first_frame.saturating_sub(MESSAGE_LINES)..first_frame;
    let behind = |line: &str| {
        let found = BEHIND.captures(line)?;
        let message = found.get(2).map_or("", |message| message.as_str());
        Some((error(found.get(1)?.as_str(), message), false))
    };
    let look = |how: &dyn Fn(&str) -> Option<(ErrorEvent, bool)>| {
        near.clone()
            .rev()
            .find_map(|at| Some(at_line(at, how(lines.get(at)?)?)))
    };
    look(&|line| header(line).filter(|(error, _)| is_error(&error.kind)))
        .or_else(|| look(&behind))
        .or_else(|| {
            let at = first_frame.checked_sub(1)?;
            Some(at_line(at, value(lines.get(at)?)))
        })
}

fn is_error(kind: &str) -> bool {
    kind.ends_with("Error") || kind.ends_with("Exception") || kind.ends_with("Rejection")
}

/// `     ^^^` below the excerpt.
fn is_caret(line: &str) -> bool {
    let marks = line.trim();
    !marks.is_empty() && marks.bytes().all(|byte| byte == b'^')
}

fn error(kind: &str, message: &str) -> ErrorEvent {
    ErrorEvent::new(Language::JavaScript.name(), kind, message)
}

/// An error by name, and whether it is complete in this line.
fn header(line: &str) -> Option<(ErrorEvent, bool)> {
    let text = line.trim().trim_end_matches(" {");
    let found = NAMED.captures(text.trim_end_matches(','))?;
    let kind = found.get(2)?.as_str();
    let message = found.get(3).map_or("", |message| message.as_str());
    if found.get(1).is_some_and(|bracket| !bracket.is_empty()) {
        return Some((error(kind, message.strip_suffix(']')?), true));
    }
    // A word alone is no error.
    (!message.is_empty() || is_error(kind)).then(|| (error(kind, message), false))
}

/// An error or any other value that was thrown.
fn value(text: &str) -> (ErrorEvent, bool) {
    header(text).unwrap_or_else(|| {
        let text = text.trim();
        let text = text
            .strip_prefix("Uncaught ")
            .unwrap_or(text)
            .trim_end_matches(',');
        let plain = text
            .strip_prefix('\'')
            .and_then(|text| text.strip_suffix('\''))
            .unwrap_or(text);
        (error(THROWN, plain), true)
    })
}

/// The function and place of `    at f (/srv/app.js:3:9) {`.
fn place(line: &str) -> Option<(&str, &str)> {
    let text = line.trim().strip_prefix("at ")?;
    let text = text.trim_end_matches([' ', '{', ',']);
    let (function, place) = match text.split_once(" (") {
        Some((function, place)) => (function, place.strip_suffix(')')?),
        None => ("", text.strip_prefix("async ").unwrap_or(text)),
    };
    let known = matches!(place, "<anonymous>" | "native" | "unknown location")
        || place.starts_with("index ")
        || position(place).is_some();
    known.then_some((function, place))
}

/// `file:line:column`
fn position(place: &str) -> Option<(&str, u32, u32)> {
    let (rest, column) = place.rsplit_once(':')?;
    let (file, line) = rest.rsplit_once(':')?;
    Some((file, line.parse().ok()?, column.parse().ok()?))
}

fn frame(line: &str, project: &Project) -> Option<Frame> {
    let (function, place) = place(line)?;
    let function = function.strip_prefix("async ").unwrap_or(function);
    let function = function.split(" [as ").next().unwrap_or(function);
    // Code that was evaluated is where `eval` was called.
    let place = match place.strip_prefix("eval at ") {
        Some(origin) => origin
            .rsplit_once('(')
            .and_then(|(_, origin)| origin.split(')').next())
            .unwrap_or(origin),
        None => place,
    };
    let (file, line, column) = position(place).unwrap_or(match place {
        "<anonymous>" | "native" => (place, 0, 0),
        _ => ("<anonymous>", 0, 0),
    });
    Some(project.frame(Language::JavaScript, function, file, line, column))
}
