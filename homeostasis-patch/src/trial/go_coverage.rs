//! What Go's tests say of the code that ran, if told where to by `-coverprofile`.
//!
//! Source of the format: `golang.org/x/tools/cover`, type `Profile`: a line for each block of
//! statements, `import/path/file.go:3.20,5.2 1 0`, with columns in bytes, counted from 1.

use std::collections::{BTreeMap, BTreeSet};

use crate::project_file::ProjectFile;

/// A stretch of the file, in lines and bytes of them, the end not included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Block {
    start: (u64, usize),
    end: (u64, usize),
}

/// Which blocks of one file ran, in whatever test program.
#[derive(Debug)]
pub(super) struct GoCoverage<'a> {
    source: &'a str,
    /// As profiles call the file.
    name: String,
    ran: BTreeMap<Block, bool>,
}

impl<'a> GoCoverage<'a> {
    /// Of a file that no test ran yet, which profiles call `name`.
    pub(super) fn of(source: &'a str, name: String) -> Self {
        Self {
            source,
            name,
            ran: BTreeMap::new(),
        }
    }

    /// Adds what a profile says of the file; what cannot be read adds nothing.
    pub(super) fn add(&mut self, profile: &str) {
        for line in profile.lines() {
            let told = line.strip_prefix(&self.name);
            let Some(told) = told.and_then(|rest| rest.strip_prefix(':')) else {
                continue;
            };
            if let Some((block, has_run)) = block(told) {
                *self.ran.entry(block).or_default() |= has_run;
            }
        }
    }

    /// Of `lines`, counted from 1, those that ran as a whole and those of which something did not;
    /// `None` if no profile speaks of the file. Lines outside of every block (declarations, lines
    /// without a letter or digit, comments that take whole lines) are neither.
    pub(super) fn judge(&self, lines: &BTreeSet<u64>) -> Option<(BTreeSet<u64>, BTreeSet<u64>)> {
        if self.ran.is_empty() {
            return None;
        }
        let (mut ran, mut missed) = (BTreeSet::new(), BTreeSet::new());
        for (number, line) in (1..).zip(self.source.lines()) {
            if !lines.contains(&number) || line.trim_start().starts_with("//") {
                continue;
            }
            let mut counts = self
                .ran
                .iter()
                .filter(|(block, _)| block.speaks_of(number, line))
                .map(|(_, has_run)| *has_run)
                .peekable();
            if counts.peek().is_none() {
                continue;
            }
            let all_ran = counts.all(|has_run| has_run);
            if all_ran { &mut ran } else { &mut missed }.insert(number);
        }
        Some((ran, missed))
    }
}

impl Block {
    /// Whether a letter or digit of `line` is in it.
    fn speaks_of(self, number: u64, line: &str) -> bool {
        if !(self.start.0..=self.end.0).contains(&number) {
            return false;
        }
        let column = |(of, at): (u64, usize)| (of == number).then(|| at.saturating_sub(1));
        let from = column(self.start).unwrap_or(0);
        let to = column(self.end).unwrap_or(line.len()).min(line.len());
        line.get(from..to)
            .is_some_and(|part| part.contains(char::is_alphanumeric))
    }
}

/// `3.20,5.2 1 0`: where it is, how many statements it has, how often it ran.
fn block(told: &str) -> Option<(Block, bool)> {
    let mut words = told.split(' ');
    let (start, end) = words.next()?.split_once(',')?;
    let _statements: u64 = words.next()?.parse().ok()?;
    let count: u64 = words.next()?.parse().ok()?;
    let place = |text: &str| -> Option<(u64, usize)> {
        let (line, column) = text.split_once('.')?;
        Some((line.parse().ok()?, column.parse().ok()?))
    };
    let block = Block {
        start: place(start)?,
        end: place(end)?,
    };
    (words.next().is_none()).then_some((block, count > 0))
}

/// What profiles call the file at `path` below `root`: its place in the module whose `go.mod` is
/// nearest above it. `None` without one.
pub(super) fn name_in_profiles(root: &std::path::Path, path: &str) -> Option<String> {
    let mut folder = path;
    loop {
        folder = folder.rsplit_once('/').map_or("", |(above, _)| above);
        let manifest = if folder.is_empty() {
            "go.mod".to_owned()
        } else {
            format!("{folder}/go.mod")
        };
        if let Ok(manifest) = ProjectFile::read(root, &manifest) {
            let module = module(manifest.text())?;
            let rest = path.strip_prefix(folder)?.trim_start_matches('/');
            return Some(format!("{module}/{rest}"));
        }
        if folder.is_empty() {
            return None;
        }
    }
}

/// The path that a `go.mod` declares.
fn module(manifest: &str) -> Option<&str> {
    manifest.lines().find_map(|line| {
        let (line, _comment) = line.split_once("//").unwrap_or((line, ""));
        let declared = line.trim().strip_prefix("module")?;
        let path = declared.strip_prefix(char::is_whitespace)?.trim();
        Some(path.trim_matches(['"', '`'])).filter(|path| !path.is_empty())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "package m\n\nfunc Price(i *Item) int {\n\tif i == nil {\n\t\treturn 0\n\t}\n\t// the rest\n\treturn i.price * 2\n}\n";
    const PROFILE: &str = "mode: set\n\
        example.com/m/price.go:3.25,4.14 1 1\n\
        example.com/m/price.go:4.14,6.3 1 1\n\
        example.com/m/price.go:8.2,8.20 1 0\n\
        example.com/m/other/price.go:5.1,5.9 1 0\n";

    #[test]
    fn a_line_ran_if_every_block_it_is_in_ran() {
        let all: BTreeSet<u64> = (1..=9).collect();
        let mut coverage = GoCoverage::of(SOURCE, "example.com/m/price.go".to_owned());
        coverage.add("no profile\nexample.com/m/price.go:8.2\n");
        coverage.add("example.com/m/price.go:8.2,8.20 1 many\n");
        assert_eq!(coverage.judge(&all), None);
        coverage.add(PROFILE);
        assert_eq!(coverage.judge(&all), Some(([4, 5].into(), [8].into())));
        // Another program ran the rest.
        coverage.add("example.com/m/price.go:8.2,8.20 1 3\n");
        assert_eq!(coverage.judge(&all), Some(([4, 5, 8].into(), [].into())));
        coverage.add("example.com/m/price.go:9.7,2.1 1 0\n");
        assert_eq!(coverage.judge(&all).unwrap().1, [].into(), "reversed");
    }

    #[test]
    fn files_are_named_by_the_module_above_them() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path();
        assert_eq!(name_in_profiles(root, "svc/a/price.go"), None);
        std::fs::write(root.join("go.mod"), "// ours\nmodule example.com/m // it\n").unwrap();
        std::fs::create_dir_all(root.join("svc/a")).unwrap();
        let name = |path| name_in_profiles(root, path).unwrap();
        assert_eq!(name("price.go"), "example.com/m/price.go");
        assert_eq!(name("svc/a/price.go"), "example.com/m/svc/a/price.go");
        std::fs::write(root.join("svc/go.mod"), "\nmodule \"other.org/svc\"\n").unwrap();
        assert_eq!(name("svc/a/price.go"), "other.org/svc/a/price.go");
    }
}
