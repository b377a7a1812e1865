//! Labelled lines, as loghub has them.

use std::error::Error;
use std::path::{Path, PathBuf};

/// The lines of one system.
pub(super) struct Labelled {
    pub(super) name: String,
    pub(super) lines: Vec<Line>,
}

/// One line and its true group.
pub(super) struct Line {
    pub(super) content: String,
    pub(super) event: String,
}

impl Labelled {
    pub(super) fn contents(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().map(|line| line.content.as_str())
    }
}

/// The systems below `data`, by name.
pub(super) fn read_all(data: &Path) -> Result<Vec<Labelled>, Box<dyn Error>> {
    let failed = |error: std::io::Error| format!("{}: {error}", data.display());
    let mut folders: Vec<PathBuf> = Vec::new();
    for entry in std::fs::read_dir(data).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        // Other folders may lie beside the systems; one with a log, or made for one, is a system.
        if path.is_dir() && is_system(&path) {
            folders.push(path);
        }
    }
    folders.sort();
    if folders.is_empty() {
        let expected =
            "<System>/<System>_2k.log_structured.csv or <System>_full.log_structured.csv";
        return Err(format!("{}: expected {expected}", data.display()).into());
    }
    folders.iter().map(|folder| read(folder)).collect()
}

fn name_of(folder: &Path) -> String {
    folder
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

fn is_system(folder: &Path) -> bool {
    folder.read_dir().is_ok_and(|entries| {
        let name = name_of(folder);
        entries.flatten().any(|entry| {
            let file = entry.file_name();
            file.to_string_lossy().starts_with(&format!("{name}_"))
        })
    })
}

fn read(folder: &Path) -> Result<Labelled, Box<dyn Error>> {
    let name = name_of(folder);
    let candidates =
        ["2k", "full"].map(|size| folder.join(format!("{name}_{size}.log_structured.csv")));
    let path = candidates
        .iter()
        .find(|path| path.is_file())
        .unwrap_or(&candidates[0]);
    let bytes = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let lines = lines_of(&String::from_utf8_lossy(&bytes))
        .map_err(|message| format!("{}: {message}", path.display()))?;
    Ok(Labelled { name, lines })
}

fn lines_of(csv: &str) -> Result<Vec<Line>, String> {
    let mut rows = Rows(csv);
    let header = rows.next().unwrap_or_default();
    let column = |name: &str| {
        header
            .iter()
            .position(|column| column.trim_start_matches('\u{feff}') == name)
    };
    let content = column("Content").ok_or("no column Content in the first row")?;
    let (id, text) = (column("EventId"), column("EventTemplate"));
    if id.or(text).is_none() {
        return Err("no column EventId or EventTemplate in the first row".to_owned());
    }
    let mut lines = Vec::new();
    for (number, mut row) in (2_usize..).zip(rows) {
        let mut take = |at: usize| row.get_mut(at).map(std::mem::take);
        let event = id.and_then(&mut take).filter(|event| !event.is_empty());
        let event = event.or_else(|| text.and_then(&mut take));
        let (Some(content), Some(event)) = (take(content), event) else {
            return Err(format!(
                "row {number} has {} columns, expected {}",
                row.len(),
                header.len()
            ));
        };
        lines.push(Line { content, event });
    }
    if lines.is_empty() {
        return Err("no line below the first row".to_owned());
    }
    Ok(lines)
}

/// The rows of a CSV file with quotes as RFC 4180 has them.
struct Rows<'a>(&'a str);

impl Iterator for Rows<'_> {
    type Item = Vec<String>;

    fn next(&mut self) -> Option<Vec<String>> {
        if self.0.is_empty() {
            return None;
        }
        let mut row = vec![String::new()];
        let mut is_quoted = false;
        let mut rest = self.0.char_indices().peekable();
        while let Some((at, c)) = rest.next() {
            let next_is = |c: char, rest: &mut std::iter::Peekable<std::str::CharIndices<'_>>| {
                rest.next_if(|(_, next)| *next == c).is_some()
            };
            match c {
                '"' if !is_quoted => is_quoted = true,
                '"' if next_is('"', &mut rest) => push(&mut row, '"'),
                '"' => is_quoted = false,
                ',' if !is_quoted => row.push(String::new()),
                '\r' if !is_quoted => {}
                '\n' if !is_quoted => {
                    self.0 = &self.0[at + 1..];
                    return Some(row);
                }
                other => push(&mut row, other),
            }
        }
        self.0 = "";
        Some(row)
    }
}

fn push(row: &mut [String], c: char) {
    if let Some(field) = row.last_mut() {
        field.push(c);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_and_line_ends_within_them_are_read() {
        let csv = "LineId,Content,EventId\r\n1,\"a, \"\"b\"\"\nc\",E1\r\n2,d,E2";
        let lines = lines_of(csv).unwrap();
        assert_eq!(lines[0].content, "a, \"b\"\nc");
        assert_eq!(
            (lines[1].content.as_str(), lines[1].event.as_str()),
            ("d", "E2")
        );
    }

    #[test]
    fn what_is_missing_is_named() {
        for (csv, named) in [
            ("", "Content"),
            ("Content\nx", "EventId"),
            ("Content,EventId\n", "no line"),
            ("Content,EventId\nx,E1\ny", "row 3"),
        ] {
            let error = lines_of(csv).err().unwrap_or_default();
            assert!(error.contains(named), "{csv:?}: {error}");
        }
    }
}
