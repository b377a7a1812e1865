//! One contiguous change.

use std::fmt;

/// What a line of a hunk does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LineKind {
    /// In both texts.
    Context,
    /// In the old text only.
    Delete,
    /// In the new text only.
    Insert,
}

/// A line of a hunk.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DiffLine {
    /// What it does.
    pub kind: LineKind,
    /// The line with its line break; without one only where the file ends so.
    pub text: String,
}

/// One contiguous change with the lines around it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hunk {
    pub(super) old_start: usize,
    pub(super) new_start: usize,
    pub(super) lines: Vec<DiffLine>,
    pub(super) section: String,
}

impl Hunk {
    /// 0-based index of the first old line (of the line after the change, for pure insertions).
    #[must_use]
    pub fn old_start(&self) -> usize {
        self.old_start
    }

    /// 0-based index of the first new line.
    #[must_use]
    pub fn new_start(&self) -> usize {
        self.new_start
    }

    /// The lines, in order.
    #[must_use]
    pub fn lines(&self) -> &[DiffLine] {
        &self.lines
    }

    /// The lines of the old text.
    pub fn old_lines(&self) -> impl Iterator<Item = &str> {
        self.side(LineKind::Insert)
    }

    /// The lines of the new text.
    pub fn new_lines(&self) -> impl Iterator<Item = &str> {
        self.side(LineKind::Delete)
    }

    fn side(&self, without: LineKind) -> impl Iterator<Item = &str> {
        self.lines
            .iter()
            .filter(move |l| l.kind != without)
            .map(|l| l.text.as_str())
    }

    pub(super) fn inverted(&self) -> Self {
        let mut lines = Vec::with_capacity(self.lines.len());
        let mut inserts = Vec::new();
        // Deletions go before insertions within a run, as every tool prints them.
        for line in &self.lines {
            match line.kind {
                LineKind::Context => {
                    lines.append(&mut inserts);
                    lines.push(line.clone());
                }
                LineKind::Delete => {
                    inserts.push(DiffLine {
                        kind: LineKind::Insert,
                        text: line.text.clone(),
                    });
                }
                LineKind::Insert => {
                    lines.push(DiffLine {
                        kind: LineKind::Delete,
                        text: line.text.clone(),
                    });
                }
            }
        }
        lines.append(&mut inserts);
        Self {
            old_start: self.new_start,
            new_start: self.old_start,
            lines,
            section: self.section.clone(),
        }
    }
}

impl fmt::Display for Hunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("@@ -")?;
        write_range(f, self.old_start, self.old_lines().count())?;
        f.write_str(" +")?;
        write_range(f, self.new_start, self.new_lines().count())?;
        f.write_str(" @@")?;
        if !self.section.is_empty() {
            write!(f, " {}", self.section)?;
        }
        f.write_str("\n")?;
        for line in &self.lines {
            let mark = match line.kind {
                LineKind::Context => ' ',
                LineKind::Delete => '-',
                LineKind::Insert => '+',
            };
            write!(f, "{mark}{}", line.text)?;
            if !line.text.ends_with('\n') {
                f.write_str("\n\\ No newline at end of file\n")?;
            }
        }
        Ok(())
    }
}

/// An empty range names the line before it, others their first line; a length of 1 is left out.
fn write_range(f: &mut fmt::Formatter<'_>, start: usize, len: usize) -> fmt::Result {
    match len {
        0 => write!(f, "{start},0"),
        1 => write!(f, "{}", start + 1),
        _ => write!(f, "{},{len}", start + 1),
    }
}
