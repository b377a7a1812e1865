//! Tables in CSV files, with quotes.

use std::error::Error;
use std::path::Path;

/// A table: its header and its rows.
#[derive(Debug, Default)]
pub(crate) struct Table {
    pub(crate) path: String,
    pub(crate) header: Vec<String>,
    pub(crate) rows: Vec<Vec<String>>,
}

impl Table {
    /// Reads a file with a header.
    pub(crate) fn read(path: &Path) -> Result<Self, Box<dyn Error>> {
        let text = super::text(path)?;
        let mut rows = rows(&text).into_iter();
        Ok(Self {
            path: path.display().to_string(),
            header: rows.next().unwrap_or_default(),
            rows: rows.collect(),
        })
    }

    /// Where the column `name` is.
    pub(crate) fn column(&self, name: &str) -> Result<usize, String> {
        let found = self.header.iter().position(|field| field == name);
        found.ok_or_else(|| format!("{}: no column {name:?} in {:?}", self.path, self.header))
    }

    /// The number in a field; `None` if it is empty or no finite number.
    pub(crate) fn number(row: &[String], column: usize) -> Option<f64> {
        let value: f64 = row.get(column)?.trim().parse().ok()?;
        value.is_finite().then_some(value)
    }
}

/// The rows of a CSV text after RFC 4180; blank lines are left out.
pub(crate) fn rows(text: &str) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    let mut row: Vec<String> = Vec::new();
    let mut field = String::new();
    let mut is_quoted = false;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if is_quoted && chars.peek() == Some(&'"') => {
                chars.next();
                field.push('"');
            }
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => row.push(std::mem::take(&mut field)),
            '\r' if !is_quoted && chars.peek() == Some(&'\n') => {}
            '\n' if !is_quoted => {
                row.push(std::mem::take(&mut field));
                if row.iter().any(|field| !field.is_empty()) {
                    rows.push(std::mem::take(&mut row));
                } else {
                    row.clear();
                }
            }
            c => field.push(c),
        }
    }
    if !field.is_empty() || !row.is_empty() {
        row.push(field);
        rows.push(row);
    }
    rows
}
