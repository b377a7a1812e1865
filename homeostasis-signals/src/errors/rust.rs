//! Reads Rust: panics of any edition, aborts, backtraces, chains of `anyhow` and `eyre`, and
//! diagnostics of the compiler.

use std::panic::Location;
use std::sync::LazyLock;

use homeostasis_core::signal::{CauseRelation, ErrorEvent, Frame};
use regex::Regex;

use super::frames::Project;
use super::language::Language;
use super::line_shape::regex;
use super::tree::{MAX_FRAMES, Tree};

/// Since 1.73 the message stands in the lines below.
static PANIC: LazyLock<Regex> = LazyLock::new(|| regex(r"\bpanicked at (\S.*?):(\d+):(\d+):$"));

/// Before, the message stood in quotes and could have several lines.
static OLD_PANIC: LazyLock<Regex> = LazyLock::new(|| regex(r"\bpanicked at '"));
static OLD_PLACE: LazyLock<Regex> = LazyLock::new(|| regex(r"^(.*)', (\S.*?):(\d+):(\d+)$"));

static ABORT: LazyLock<Regex> = LazyLock::new(|| {
    regex(
        r"^(?:thread '.*' (?:\(\d+\) )?has overflowed its stack|memory allocation of \d+ bytes failed)$",
    )
});

static DIAGNOSTIC: LazyLock<Regex> = LazyLock::new(|| regex(r"^(error(?:\[E\d{4}\])?): (.*)$"));

/// `   3: 0x55d0c0de - shop::main::h0123456789abcdef`; inlined functions have no number.
static CALL: LazyLock<Regex> =
    LazyLock::new(|| regex(r"^\s+(?:\d+:\s+)?(?:0x[0-9a-f]+ - |- )?(\S.*?)(?:::h[0-9a-f]{16})?$"));

/// The hash of a crate in a symbol: `core[d41d8cd98f00b204]::panic`.
static CRATE_HASH: LazyLock<Regex> = LazyLock::new(|| regex(r"\[[0-9a-f]{8,16}\]"));

static NUMBERED: LazyLock<Regex> = LazyLock::new(|| regex(r"^\s+\d+: (.*)$"));

/// Where a report of errors has its sections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Section {
    Message,
    Causes,
    Location,
}

/// The first panic, abort, error or diagnostic printed.
pub(super) fn parse(lines: &[&str], project: &Project) -> Option<ErrorEvent> {
    for (at, line) in lines.iter().enumerate() {
        let below = lines.get(at + 1..).unwrap_or_default();
        let place = |file: &str, line: &str, column: &str| {
            let number = |text: &str| text.parse().unwrap_or(0);
            project.frame(Language::Rust, "", file, number(line), number(column))
        };
        if let Some([file, line, column]) = PANIC.captures(line).map(|found| found.extract().1) {
            return Some(report(
                "panic",
                String::new(),
                Some(place(file, line, column)),
                below,
                project,
            ));
        }
        if let Some(found) = OLD_PANIC.find(line) {
            let mut message = String::new();
            let rest = line.get(found.end()..).unwrap_or_default();
            for (n, line) in std::iter::once(&rest).chain(below).enumerate() {
                if let Some([last, file, number, column]) =
                    OLD_PLACE.captures(line).map(|found| found.extract().1)
                {
                    let below = below.get(n..).unwrap_or_default();
                    let place = place(file, number, column);
                    return Some(report("panic", message + last, Some(place), below, project));
                }
                message.push_str(line);
                message.push('\n');
            }
            return Some(ErrorEvent::new(
                Language::Rust.name(),
                "panic",
                message.trim_end(),
            ));
        }
        if ABORT.is_match(line) {
            let below = below.strip_prefix(&[""]).unwrap_or(below);
            // What follows is the reason, not the message.
            let below = match below {
                [first, rest @ ..] if first.starts_with("fatal runtime error") => rest,
                _ => below,
            };
            return Some(report("abort", (*line).to_owned(), None, below, project));
        }
        if let Some(message) = line.strip_prefix("Error:") {
            return Some(report(
                "error",
                message.trim().to_owned(),
                None,
                below,
                project,
            ));
        }
        if let Some([kind, message]) = DIAGNOSTIC.captures(line).map(|found| found.extract().1) {
            let mut event = ErrorEvent::new(Language::Rust.name(), kind, message);
            let arrow = below
                .iter()
                .find_map(|line| line.trim_start().strip_prefix("--> "));
            event
                .frames
                .extend(arrow.and_then(|text| position(text, "", project)));
            // Programs print `error: …` for their users, too: a panic below is what went wrong.
            let has_panic = below
                .iter()
                .any(|line| PANIC.is_match(line) || OLD_PANIC.is_match(line));
            if event.frames.is_empty() && has_panic {
                continue;
            }
            return Some(event);
        }
    }
    let start = lines
        .iter()
        .position(|line| line.ends_with("tack backtrace:"))?;
    let above = lines.get(..start)?.join("\n");
    let mut event = ErrorEvent::new(Language::Rust.name(), "error", above.trim());
    event.frames = backtrace(lines.get(start + 1..)?, project);
    Some(event)
}

/// Reads what stands below the first line of an error.
fn report(
    kind: &str,
    message: String,
    place: Option<Frame>,
    below: &[&str],
    project: &Project,
) -> ErrorEvent {
    let mut tree = Tree::new(ErrorEvent::new(Language::Rust.name(), kind, ""));
    let mut section = Section::Message;
    let mut text = message;
    let (mut cause, mut open) = (0, false);
    let mut frames = Vec::new();
    for (at, line) in below.iter().enumerate() {
        match *line {
            "Caused by:" => {
                section = Section::Causes;
                continue;
            }
            "Location:" => {
                section = Section::Location;
                continue;
            }
            "stack backtrace:" | "Stack backtrace:" => {
                let rest = below.get(at + 1..).unwrap_or_default();
                frames = backtrace(rest, project);
                break;
            }
            line if line.starts_with("note: ") || line.starts_with("fatal runtime error: ") => {
                break;
            }
            line if PANIC.is_match(line) || OLD_PANIC.is_match(line) => break,
            _ => {}
        }
        match section {
            // `color-eyre` numbers the message like the causes.
            Section::Message if kind == "error" && text.is_empty() && NUMBERED.is_match(line) => {
                text.clone_from(&numbered(line).unwrap_or_default());
                section = Section::Causes;
            }
            Section::Message => {
                if at > 0 || !text.is_empty() {
                    text.push('\n');
                }
                text.push_str(line);
            }
            Section::Causes if line.trim().is_empty() => open = false,
            Section::Causes => {
                let fresh = numbered(line);
                if fresh.is_none() && open {
                    tree.more_message(cause, line.trim());
                } else {
                    let message = fresh.unwrap_or_else(|| line.trim().to_owned());
                    let error = ErrorEvent::new(Language::Rust.name(), "error", message);
                    let Some(id) = tree.add(cause, CauseRelation::CausedBy, error) else {
                        break;
                    };
                    (cause, open) = (id, true);
                }
            }
            Section::Location => frames.extend(position(line.trim(), "", project)),
        }
    }
    if let Some(place) = place {
        put_place(place, &mut frames);
    }
    frames.truncate(MAX_FRAMES);
    if let Some(event) = tree.error(0) {
        event.message = text;
        event.frames = frames;
    }
    tree.into_event()
}

/// Adds the place of a panic, unless the backtrace says it with the function.
fn put_place(place: Frame, frames: &mut Vec<Frame>) {
    // Full backtraces have absolute paths.
    let said = frames.iter().any(|frame| {
        let folder = frame.file.strip_suffix(&place.file);
        frame.line == place.line
            && folder.is_some_and(|folder| folder.is_empty() || folder.ends_with('/'))
    });
    if !said {
        frames.insert(0, place);
    }
}

/// The frames of a panic of this process: those of the backtrace, if one was taken, without the
/// machinery above the place of the panic.
pub(crate) fn panic_frames(place: Option<&Location<'_>>, text: Option<&str>) -> Vec<Frame> {
    let project = Project::default();
    let lines: Vec<&str> = text.unwrap_or_default().lines().collect();
    let mut frames = backtrace(&lines, &project);
    let machinery = |frame: &Frame| {
        const MODULES: [&str; 3] = [
            "std::panicking::",
            "core::panicking::",
            "std::sys::backtrace::",
        ];
        let function = frame.function.trim_start_matches('<');
        function.ends_with("rust_begin_unwind")
            || MODULES.iter().any(|module| function.starts_with(module))
    };
    // The hook, then the machinery that called it, then the code that panicked.
    if let Some(first) = frames.iter().position(machinery) {
        let run = frames
            .iter()
            .skip(first)
            .take_while(|frame| machinery(frame))
            .count();
        frames.drain(..first + run);
    }
    let place = place.map(|place| {
        project.frame(
            Language::Rust,
            "",
            place.file(),
            place.line(),
            place.column(),
        )
    });
    if let Some(place) = place {
        put_place(place, &mut frames);
    }
    frames.truncate(MAX_FRAMES);
    frames
}

fn numbered(line: &str) -> Option<String> {
    Some(NUMBERED.captures(line)?.get(1)?.as_str().to_owned())
}

/// The frames of a backtrace as the standard library formats it, short or full, until the first
/// line that is not indented.
fn backtrace(lines: &[&str], project: &Project) -> Vec<Frame> {
    let mut frames: Vec<Frame> = Vec::new();
    let mut function: Option<String> = None;
    let bare = |function: Option<String>| {
        function.map(|function| project.frame(Language::Rust, &function, "", 0, 0))
    };
    for line in lines {
        if frames.len() >= MAX_FRAMES || !line.starts_with(' ') {
            break;
        }
        if let Some(place) = line.trim_start().strip_prefix("at ") {
            let name = function.take().unwrap_or_default();
            frames.extend(position(place, &name, project));
        } else if let Some(found) = CALL.captures(line).and_then(|found| found.get(1)) {
            frames.extend(bare(function.take()));
            function = Some(CRATE_HASH.replace_all(found.as_str(), "").into_owned());
        }
    }
    frames.extend(bare(function));
    frames.truncate(MAX_FRAMES);
    frames
}

/// `src/main.rs:2:5`, or without the column.
fn position(text: &str, function: &str, project: &Project) -> Option<Frame> {
    let (rest, last) = text.trim_end().rsplit_once(':')?;
    let last: u32 = last.parse().ok()?;
    let both = rest
        .rsplit_once(':')
        .and_then(|(file, line)| Some((file, line.parse().ok()?)));
    let (file, line, column) = match both {
        Some((file, line)) => (file, line, last),
        None => (rest, last, 0),
    };
    Some(project.frame(Language::Rust, function, file, line, column))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_frames_of_our_own_panic_begin_where_it_happened() {
        let text = "   0: shop::hook
             at ./src/hook.rs:9:1
   1: std::panicking::panic_with_hook
             at /rustc/0a/library/std/src/panicking.rs:825:13
   2: std::sys::backtrace::__rust_end_short_backtrace
   3: __rustc::rust_begin_unwind
   4: core::panicking::panic_fmt
   5: shop::book
             at ./src/shop.rs:7:5
   6: std::panicking::catch_unwind
";
        let place = Location::caller();
        let frames = panic_frames(Some(place), Some(text));
        let names: Vec<_> = frames.iter().map(|frame| &*frame.function).collect();
        // The place is not in this backtrace.
        assert_eq!(names, ["", "shop::book", "std::panicking::catch_unwind"]);
        assert_eq!((frames[0].line, frames[0].in_project), (place.line(), true));
        assert_eq!((&*frames[1].file, frames[1].line), ("src/shop.rs", 7));
        assert!(!frames[2].in_project);
        assert_eq!(panic_frames(Some(place), None).len(), 1);
        assert!(panic_frames(None, None).is_empty());
    }
}
