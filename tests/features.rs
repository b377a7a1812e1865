//! `docs/features.md` tells the truth about names: every row is there once, and every file, item and test it names exists.
//!
//! Whether a row is done is for people to judge; that what it points at is there is judged here.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The sections and how many rows each has.
const SECTIONS: [(char, usize); 12] = [
    ('S', 7),
    ('D', 14),
    ('K', 4),
    ('R', 11),
    ('P', 8),
    ('A', 7),
    ('G', 10),
    ('E', 2),
    ('V', 5),
    ('L', 5),
    ('O', 5),
    ('Q', 4),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Item,
    Shown,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Everything wrong with `page`; `read` gives the text of a file of the repository.
fn problems(page: &str, read: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let mut problems = Vec::new();
    let mut ids = Vec::new();
    for line in page.lines().filter(|line| line.starts_with('|')) {
        let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
        if cells[0] == "id" || cells[0].starts_with("---") {
            continue;
        }
        let &[id, what, status, items, shown] = cells.as_slice() else {
            problems.push(format!("{}: {} cells, expected 5", cells[0], cells.len()));
            continue;
        };
        ids.push(id);
        if what.is_empty() {
            problems.push(format!("{id}: no name"));
        }
        let n_items = references(id, items, Kind::Item, &read, &mut problems);
        let n_shown = references(id, shown, Kind::Shown, &read, &mut problems);
        let has_all = n_items > 0 && n_shown > 0;
        let has_none = items.is_empty() && shown.is_empty();
        let is_in_part = status
            .strip_prefix("in part: ")
            .is_some_and(|part| !part.is_empty());
        match status {
            "done" if has_all => {}
            _ if is_in_part && has_all => {}
            "not yet" if has_none => {}
            "done" | "not yet" => problems.push(format!(
                "{id}: {status}, with {n_items} items and {n_shown} tests"
            )),
            _ if is_in_part => problems.push(format!(
                "{id}: in part, with {n_items} items and {n_shown} tests"
            )),
            _ => problems.push(format!(
                "{id}: status {status:?}, expected `done`, `in part: …` or `not yet`"
            )),
        }
    }
    let expected: Vec<_> = SECTIONS
        .iter()
        .flat_map(|(section, n)| (1..=*n).map(move |row| format!("{section}{row}")))
        .collect();
    let mut seen = BTreeSet::new();
    problems.extend(
        ids.iter()
            .filter(|id| !seen.insert(**id))
            .map(|id| format!("{id}: there twice")),
    );
    problems.extend(
        expected
            .iter()
            .filter(|id| !seen.contains(id.as_str()))
            .map(|id| format!("{id}: missing")),
    );
    problems.extend(
        seen.iter()
            .filter(|id| !expected.iter().any(|known| known == **id))
            .map(|id| format!("{id}: no such row")),
    );
    if problems.is_empty() && ids != expected {
        problems.push("the rows are out of order".to_owned());
    }
    problems
}

/// Checks each reference of a cell; returns how many there are.
fn references(
    id: &str,
    cell: &str,
    kind: Kind,
    read: &impl Fn(&str) -> Option<String>,
    problems: &mut Vec<String>,
) -> usize {
    let references: Vec<_> = cell
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .collect();
    for reference in &references {
        let bare = reference
            .strip_prefix('`')
            .and_then(|rest| rest.strip_suffix('`'));
        let Some(bare) = bare else {
            problems.push(format!("{id}: {reference}, expected it between backticks"));
            continue;
        };
        let (path, identifier) = match bare.split_once('#') {
            Some((path, identifier)) => (path, Some(identifier)),
            None => (bare, None),
        };
        let Some(text) = read(path) else {
            problems.push(format!("{id}: {path} does not exist"));
            continue;
        };
        let is_there = match (identifier, kind) {
            (Some(identifier), Kind::Item) => defines_public(&text, identifier),
            (Some(identifier), Kind::Shown) => defines_test(&text, identifier),
            (None, Kind::Shown) => path.starts_with("examples/"),
            (None, Kind::Item) => false,
        };
        if !is_there {
            let expected = if kind == Kind::Item {
                "a public item"
            } else {
                "a test, or an example"
            };
            problems.push(format!("{id}: {bare}, expected {expected}"));
        }
    }
    references.len()
}

/// Whether a line of `text` defines the public item `identifier`.
fn defines_public(text: &str, identifier: &str) -> bool {
    const KEYWORDS: [&str; 9] = [
        "async fn", "const fn", "fn", "struct", "enum", "trait", "type", "const", "mod",
    ];
    text.lines().any(|line| {
        let Some(item) = line.trim_start().strip_prefix("pub ") else {
            return false;
        };
        KEYWORDS
            .iter()
            .filter_map(|keyword| item.strip_prefix(keyword)?.strip_prefix(' '))
            .any(|name| is_name(name, identifier))
    })
}

/// Whether `text` has a function `identifier` with a test attribute directly above it.
fn defines_test(text: &str, identifier: &str) -> bool {
    let lines: Vec<_> = text.lines().map(str::trim).collect();
    lines.iter().enumerate().any(|(idx, line)| {
        let line = line.strip_prefix("async ").unwrap_or(line);
        let is_it = line
            .strip_prefix("fn ")
            .is_some_and(|name| is_name(name, identifier));
        is_it
            && lines[..idx]
                .iter()
                .rev()
                .take_while(|line| line.starts_with('#') || line.starts_with("//"))
                .any(|line| line.starts_with("#[test]") || line.starts_with("#[tokio::test"))
    })
}

/// Whether `text` begins with exactly the name `identifier`.
fn is_name(text: &str, identifier: &str) -> bool {
    text.strip_prefix(identifier)
        .is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
}

fn read(path: &str) -> Option<String> {
    // Paths below the root only: what a page names must be in the repository.
    let is_plain = !path.starts_with('/') && !path.split('/').any(|part| part == "..");
    is_plain
        .then(|| fs::read_to_string(root().join(path)).ok())
        .flatten()
}

#[test]
fn every_row_is_there_and_names_what_exists() {
    let page = fs::read_to_string(root().join("docs/features.md")).unwrap();
    let problems = problems(&page, read);
    assert!(
        problems.is_empty(),
        "docs/features.md:\n{}",
        problems.join("\n")
    );
}

#[test]
fn what_is_wrong_with_a_page_is_named() {
    let read = |path: &str| {
        (path == "a.rs").then(|| {
            "pub struct Thing;\nstruct Hidden;\n#[test]\nfn works() {}\nfn helper() {}\n".to_owned()
        })
    };
    let row = |row: &str| {
        let page =
            format!("| id | what | status | item | shown by |\n|---|---|---|---|---|\n{row}\n");
        let mut found = problems(&page, read);
        found.retain(|problem| !problem.ends_with(": missing"));
        found
    };
    assert_eq!(
        row("| S1 | n | done | `a.rs#Thing` | `a.rs#works` |"),
        [""; 0]
    );
    assert_eq!(row("| S1 | n | not yet | | |"), [""; 0]);
    for (line, expected) in [
        (
            "| S1 | n | done | `a.rs#Hidden` | `a.rs#works` |",
            "S1: a.rs#Hidden, expected a public item",
        ),
        (
            "| S1 | n | done | `a.rs#Thin` | `a.rs#works` |",
            "S1: a.rs#Thin, expected a public item",
        ),
        (
            "| S1 | n | done | `a.rs#Thing` | `a.rs#helper` |",
            "S1: a.rs#helper, expected a test, or an example",
        ),
        (
            "| S1 | n | done | `b.rs#Thing` | `a.rs#works` |",
            "S1: b.rs does not exist",
        ),
        (
            "| S1 | n | done | `a.rs#Thing` | |",
            "S1: done, with 1 items and 0 tests",
        ),
        (
            "| S1 | n | in part: x | | `a.rs#works` |",
            "S1: in part, with 0 items and 1 tests",
        ),
        (
            "| S1 | n | not yet | `a.rs#Thing` | |",
            "S1: not yet, with 1 items and 0 tests",
        ),
        (
            "| S1 | n | soon | | |",
            "S1: status \"soon\", expected `done`, `in part: …` or `not yet`",
        ),
        (
            "| S1 | n | done | a.rs#Thing | `a.rs#works` |",
            "S1: a.rs#Thing, expected it between backticks",
        ),
        ("| S99 | n | not yet | | |", "S99: no such row"),
        (
            "| S1 | n | not yet | | |\n| S1 | n | not yet | | |",
            "S1: there twice",
        ),
    ] {
        assert_eq!(row(line), [expected], "{line}");
    }
}
