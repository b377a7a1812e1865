//! Reads Go: panics, fatal errors of the runtime, dumps of goroutines.

use homeostasis_core::signal::{CauseRelation, ErrorEvent};

use super::frames::Project;
use super::language::Language;
use super::tree::Tree;

/// The panic that ended the program, with those it interrupted as causes; frames are those of the
/// first goroutine, which is the one that failed.
pub(super) fn parse(lines: &[&str], project: &Project) -> Option<ErrorEvent> {
    let body = lines
        .iter()
        .position(|line| line.starts_with("goroutine ") || line.starts_with("runtime stack:"));
    let start = lines.iter().position(|line| opening(line).is_some());
    let mut panics: Vec<(&str, String)> = Vec::new();
    if let Some(start) = start.filter(|start| body.is_none_or(|body| *start < body)) {
        read_panics(lines.get(start..body.unwrap_or(lines.len()))?, &mut panics);
    } else {
        let place = body.or_else(|| {
            let first = lines.iter().position(|line| place(line).is_some())?;
            first.checked_sub(1)
        })?;
        panics.push(logged(lines.get(..place)?)?);
    }
    let (kind, message) = panics.pop()?;
    let mut tree = Tree::new(ErrorEvent::new(Language::Go.name(), kind, message));
    let mut id = 0;
    while let Some((kind, message)) = panics.pop() {
        let before = ErrorEvent::new(Language::Go.name(), kind, message);
        match tree.add(id, CauseRelation::During, before) {
            Some(next) => id = next,
            None => break,
        }
    }
    // The stack of the runtime itself comes before that of the goroutine.
    let goroutine = lines.iter().position(|line| line.starts_with("goroutine "));
    frames(
        lines.get(goroutine.or(body).unwrap_or(0)..)?,
        project,
        &mut tree,
    );
    Some(tree.into_event())
}

/// The kind and message of a line that begins a panic.
fn opening(line: &str) -> Option<(&'static str, &str)> {
    ["panic", "fatal error"]
        .into_iter()
        .find_map(|kind| Some((kind, line.strip_prefix(kind)?.strip_prefix(": ")?)))
}

/// Panics in the order they happened: a later one is indented and interrupted the one before.
fn read_panics<'t>(lines: &[&'t str], panics: &mut Vec<(&'t str, String)>) {
    for line in lines {
        let nested = line.strip_prefix('\t').and_then(opening);
        if let Some((kind, message)) = nested.or_else(|| opening(line)) {
            panics.push((kind, message.to_owned()));
        } else if line.starts_with("[signal ") || line.starts_with("exit status ") {
            break;
        } else if let Some((_, message)) = panics.last_mut() {
            message.push('\n');
            message.push_str(line);
        }
    }
    for (_, message) in panics {
        let text = message.trim_end();
        let bare = [
            "[recovered]",
            "[recovered, repanicked]",
            "[recovered, goexit]",
        ]
        .iter()
        .find_map(|mark| text.strip_suffix(mark));
        message.truncate(bare.unwrap_or(text).trim_end().len());
    }
}

/// An error that somebody logged above its stack: `http: panic serving 1.2.3.4:5: boom`.
fn logged<'t>(above: &[&'t str]) -> Option<(&'t str, String)> {
    let line = above.iter().rev().find(|line| !line.trim().is_empty())?;
    let message = match line.split_once("http: panic serving ") {
        // The address ends with the port.
        Some((_, rest)) => rest.split_once(": ").map_or(rest, |(_, message)| message),
        None => return Some(("error", (*line).to_owned())),
    };
    Some(("panic", message.to_owned()))
}

/// The file and line of `\t/srv/main.go:12 +0x1d`.
fn place(line: &str) -> Option<(&str, u32)> {
    let text = line
        .strip_prefix('\t')
        .or_else(|| line.strip_prefix("    "))?
        .trim();
    let text = text.split_once(" +0x").map_or(text, |(place, _)| place);
    let (file, line) = text.rsplit_once(':')?;
    Some((file, line.parse().ok()?))
}

/// Reads the frames of the first goroutine.
fn frames(lines: &[&str], project: &Project, tree: &mut Tree) {
    let mut function = "";
    let mut seen = false;
    for line in lines {
        if let Some((file, line)) = place(line) {
            let frame = project.frame(Language::Go, function, file, line, 0);
            tree.frame(0, frame);
            (function, seen) = ("", true);
        } else if (line.is_empty() || line.starts_with("goroutine ")) && seen {
            return;
        } else {
            function = call(line);
        }
    }
}

/// The function of `main.(*T).f(0xc00001, {0x1, 0x2})` or `created by main.f in goroutine 1`.
fn call(line: &str) -> &str {
    if let Some(creator) = line.strip_prefix("created by ") {
        return creator.split(" in goroutine").next().unwrap_or_default();
    }
    if line.ends_with(')') {
        // Arguments hold no parentheses, receivers do.
        line.rfind('(')
            .and_then(|at| line.get(..at))
            .unwrap_or(line)
    } else {
        line
    }
}
