//! Reads Java, and what else runs on its machine: causes, suppressed exceptions, modules, lambdas.

use std::sync::LazyLock;

use homeostasis_core::signal::{CauseRelation, ErrorEvent, Frame};
use regex::{Captures, Regex};

use super::frames::Project;
use super::language::Language;
use super::line_shape::regex;
use super::tree::Tree;

/// `\tat java.base/java.util.ArrayList.get(ArrayList.java:427) ~[app.jar:1.0]`
static FRAME: LazyLock<Regex> = LazyLock::new(|| {
    regex(
        r"^\s*at (?:[^\s()]*?/)??([^\s()/]+(?:/0x[0-9a-f]+)?[^\s()/]*)\((Native Method|Unknown Source|[^\s():]+(?::\d+)?)\)(?:\s+~?\[.*\])?\s*$",
    )
});

/// A line that names a throwable, from its beginning.
static NAMED: LazyLock<Regex> = LazyLock::new(|| {
    regex(
        r#"^(?:Exception in thread ".*?" |Caused by: |Suppressed: )?((?:[\w$]+\.)+[A-Za-z_$][\w$]*|[A-Z_$][\w$]*)(?::(?: (.*))?)?$"#,
    )
});

/// The same behind the text of a log line.
static BEHIND: LazyLock<Regex> =
    LazyLock::new(|| regex(r"(?:^|[\s:])((?:[a-z_][\w$]*\.)+[A-Z_$][\w$]*)(?:: (.*))?$"));

/// The address of a hidden class, other in every run.
static HIDDEN: LazyLock<Regex> = LazyLock::new(|| regex(r"/0x[0-9a-f]+"));

/// How far above its first frame a throwable may be named.
const MESSAGE_LINES: usize = 64;

/// Whether a line is a frame of Java rather than of JavaScript.
pub(super) fn is_frame(line: &str) -> bool {
    FRAME.is_match(line)
}

/// The first throwable printed, with its causes.
pub(super) fn parse(lines: &[&str], project: &Project) -> Option<ErrorEvent> {
    let first_frame = lines.iter().position(|line| is_frame(line));
    let (start, kind, message) = match first_frame {
        Some(frame) => named_above(lines.get(..frame)?),
        None => lines
            .first()
            .and_then(|line| split(&NAMED.captures(line)?))
            .map(|(kind, message)| (0, kind, message)),
    }
    .or(first_frame.map(|frame| (frame.saturating_sub(1), "", "")))?;
    let mut tree = Tree::new(ErrorEvent::new(Language::Java.name(), kind, message));
    // The throwable that is open at each depth of indentation.
    let mut open = vec![0];
    let mut current = Some(0);
    for line in lines.get(start + 1..).unwrap_or_default() {
        let text = line.trim();
        let nested = [
            ("Caused by: ", CauseRelation::CausedBy),
            ("Suppressed: ", CauseRelation::Suppressed),
        ]
        .into_iter()
        .find_map(|(label, relation)| Some((relation, text.strip_prefix(label)?)));
        if let Some((relation, rest)) = nested {
            let rest = rest
                .strip_prefix("[CIRCULAR REFERENCE: ")
                .map_or(rest, |inner| inner.trim_end_matches(']'));
            let level = level(line).min(open.len());
            let (parent, slot) = match relation {
                CauseRelation::Suppressed => (level.saturating_sub(1), level.max(1)),
                _ => (level.min(open.len() - 1), level.min(open.len() - 1)),
            };
            let (kind, message) = NAMED
                .captures(rest)
                .and_then(|found| split(&found))
                .unwrap_or(("", rest));
            let cause = ErrorEvent::new(Language::Java.name(), kind, message);
            current = open
                .get(parent)
                .and_then(|parent| tree.add(*parent, relation, cause));
            if let Some(id) = current {
                open.truncate(slot);
                open.push(id);
            }
        } else if let Some(frame) = frame(line, project) {
            if let Some(id) = current {
                tree.frame(id, frame);
            }
        } else if let Some(n) = elided(text) {
            if let Some(id) = current {
                tree.common_frames(id, n);
            }
        } else if let Some(id) = current
            && !tree.has_frames(id)
        {
            tree.more_message(id, line);
        }
    }
    Some(tree.into_event())
}

/// Where above its frames a throwable is named, and how.
fn named_above<'t>(above: &[&'t str]) -> Option<(usize, &'t str, &'t str)> {
    let near = above.len().saturating_sub(MESSAGE_LINES)..above.len();
    let find = |pattern: &Regex, sure: bool| {
        near.clone().rev().find_map(|at| {
            let (kind, message) = split(&pattern.captures(above.get(at)?)?)?;
            let certain =
                kind.contains('.') || kind.ends_with("Exception") || kind.ends_with("Error");
            (certain || !sure).then_some((at, kind, message))
        })
    };
    find(&NAMED, true)
        .or_else(|| find(&BEHIND, true))
        .or_else(|| find(&NAMED, false))
}

fn split<'t>(found: &Captures<'t>) -> Option<(&'t str, &'t str)> {
    let message = found.get(2).map_or("", |message| message.as_str());
    Some((found.get(1)?.as_str(), message))
}

/// How many frames `... 12 more` leaves out because they end the trace around it too.
fn elided(text: &str) -> Option<usize> {
    let rest = text.strip_prefix("... ")?;
    let number = rest
        .strip_suffix(" more")
        .or_else(|| rest.strip_suffix(" common frames omitted"))?;
    number.parse().ok()
}

fn level(line: &str) -> usize {
    let tabs = line.bytes().take_while(|byte| *byte == b'\t').count();
    let spaces = line
        .bytes()
        .skip(tabs)
        .take_while(|byte| *byte == b' ')
        .count();
    tabs + spaces.div_ceil(4)
}

fn frame(line: &str, project: &Project) -> Option<Frame> {
    let found = FRAME.captures(line)?;
    let function = HIDDEN.replace(found.get(1)?.as_str(), "");
    let place = found.get(2)?.as_str();
    let (file, line) = match place {
        "Native Method" | "Unknown Source" => ("", 0),
        place => place
            .split_once(':')
            .map_or((place, 0), |(file, line)| (file, line.parse().unwrap_or(0))),
    };
    Some(project.frame(Language::Java, &function, file, line, 0))
}
