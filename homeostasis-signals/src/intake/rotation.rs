//! The files that rotation leaves beside a log, and their order.

use std::cmp::Ordering;
use std::fs::{self, File, Metadata};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// How many files with names like that of the log are looked at.
const MAX_NEIGHBORS: usize = 10_000;
/// The endings of files that hold a log which cannot be read here.
const COMPRESSED: [&str; 7] = [".gz", ".bz2", ".xz", ".zst", ".lz4", ".Z", ".zip"];

/// What stands at the path of a log and beside it, at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listing {
    /// The number of the file at the path itself, if there is one.
    pub(super) live: Option<u64>,
    /// The files beside it whose names begin alike, older ones first.
    pub(super) beside: Vec<Neighbor>,
}

/// A file whose name begins like that of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Neighbor {
    pub(super) path: PathBuf,
    pub(super) number: u64,
    /// Nanoseconds since the epoch.
    pub(super) modified: i64,
    /// What rotation made its name of; `None` if the name does not look like rotation.
    pub(super) age: Option<Age>,
    pub(super) is_compressed: bool,
}

/// What was put into the name of a log when it was rotated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Age {
    /// `.1`, `.2` behind the name, or before its extension: the larger, the older.
    Counter(u32),
    /// `-20260102`, `.2026-01-02.3`: the larger, the newer.
    Date(String),
}

impl Age {
    /// The order of time, older ones first.
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Counter(a), Self::Counter(b)) => b.cmp(a),
            (Self::Date(a), Self::Date(b)) => by_numbers(a, b),
            // A scheme that was changed: what it was before cannot be told.
            (Self::Counter(_), Self::Date(_)) => Ordering::Less,
            (Self::Date(_), Self::Counter(_)) => Ordering::Greater,
        }
    }
}

impl Listing {
    /// What is there, or `None` while it changes: rotation renames one file after the other.
    pub(super) fn take(log: &Path) -> io::Result<Option<Self>> {
        let mut before = Self::once(log)?;
        for _ in 0..5 {
            let now = Self::once(log)?;
            if now.is_like(&before) {
                return Ok(Some(now));
            }
            before = now;
        }
        Ok(None)
    }

    /// Whether every file has kept its name, and none was added.
    pub(super) fn is_still_so(&self, log: &Path) -> io::Result<bool> {
        Ok(Self::take(log)?.is_some_and(|now| now.is_like(self)))
    }

    /// The same files under the same names; they may have grown.
    fn is_like(&self, other: &Self) -> bool {
        let names = |listing: &Self| -> Vec<(PathBuf, u64)> {
            let of = |neighbor: &Neighbor| (neighbor.path.clone(), neighbor.number);
            listing.beside.iter().map(of).collect()
        };
        self.live == other.live && names(self) == names(other)
    }

    fn once(log: &Path) -> io::Result<Self> {
        let live = match fs::metadata(log) {
            Ok(metadata) => Some(file_number(&metadata)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let (Some(name), directory) = (name_of(log), directory_of(log)) else {
            return Ok(Self {
                live,
                beside: Vec::new(),
            });
        };
        let stem = stem_of(name);
        let mut beside = Vec::new();
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            let found = entry.file_name();
            let Some(found) = found.to_str() else {
                continue;
            };
            if found == name || !found.starts_with(stem) {
                continue;
            }
            // It may be gone again, or be none of ours.
            let Ok(metadata) = fs::metadata(entry.path()) else {
                continue;
            };
            if !metadata.is_file() {
                continue;
            }
            if beside.len() == MAX_NEIGHBORS {
                return Err(io::Error::other(format!(
                    "more than {MAX_NEIGHBORS} files in {} have names that begin with {stem:?}: \
                     remove old ones, or give the log a directory of its own",
                    directory.display()
                )));
            }
            let bare = COMPRESSED.iter().find_map(|end| found.strip_suffix(end));
            beside.push(Neighbor {
                path: entry.path(),
                number: file_number(&metadata),
                modified: modified_nanos(&metadata),
                age: age(name, bare.unwrap_or(found)),
                is_compressed: bare.is_some(),
            });
        }
        beside.sort_by(|a, b| match (&a.age, &b.age) {
            (Some(x), Some(y)) => x.cmp(y).then_with(|| a.path.cmp(&b.path)),
            (None, None) => (a.modified, &a.path).cmp(&(b.modified, &b.path)),
            (None, Some(_)) => Ordering::Less,
            (Some(_), None) => Ordering::Greater,
        });
        Ok(Self { live, beside })
    }

    /// The place of the file with this number among those beside.
    pub(super) fn find(&self, number: u64) -> Option<usize> {
        self.beside.iter().position(|found| found.number == number)
    }

    /// The rotated files that hold what came after the file at `idx`, oldest first; `None` if its
    /// name does not tell.
    pub(super) fn after(&self, idx: usize) -> Option<&[Neighbor]> {
        self.beside[idx].age.as_ref()?;
        Some(&self.beside[idx + 1..])
    }

    /// The rotated files that came after `previous`, which was the newest one then (`None` if
    /// there was none), oldest first. If it is gone, the time tells: those that were written to at
    /// or after `modified`.
    pub(super) fn since(&self, previous: Option<u64>, modified: i64) -> Newer {
        let aged = self.beside.iter().filter(|found| found.age.is_some());
        let Some(previous) = previous else {
            return Newer {
                files: aged.cloned().collect(),
                is_certain: true,
            };
        };
        match self.find(previous).and_then(|idx| self.after(idx)) {
            Some(after) => Newer {
                files: after.to_vec(),
                is_certain: true,
            },
            None => Newer {
                files: aged
                    .filter(|found| found.modified >= modified)
                    .cloned()
                    .collect(),
                is_certain: false,
            },
        }
    }

    /// The number of the newest rotated file that is not among `newer`.
    pub(super) fn before(&self, newer: &[Neighbor]) -> Option<u64> {
        self.beside
            .iter()
            .rfind(|found| found.age.is_some() && !newer.contains(found))
            .map(|found| found.number)
    }
}

/// Rotated files from some moment on.
#[derive(Debug)]
pub(super) struct Newer {
    pub(super) files: Vec<Neighbor>,
    /// Whether their names tell, and not only the time of writing.
    pub(super) is_certain: bool,
}

/// What rotation put into the name; `None` if it does not look so.
fn age(log: &str, found: &str) -> Option<Age> {
    let stem = stem_of(log);
    let (added, is_inside) = if let Some(added) = found.strip_prefix(log) {
        (added, false)
    } else {
        let extension = &log[stem.len()..];
        (found.strip_prefix(stem)?.strip_suffix(extension)?, true)
    };
    if matches!(added, ".old" | ".bak" | ".prev") {
        return Some(Age::Counter(0));
    }
    if !added.starts_with(['.', '-', '_']) || !added.contains(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let digits = &added[1..];
    let is_counter = digits.len() <= 4 && digits.bytes().all(|byte| byte.is_ascii_digit());
    // `worker-0.log` is the log of another worker, and `worker-31415.log` that of another process.
    if is_counter && !(is_inside && (has_date(digits) || !added.starts_with('.'))) {
        return digits.parse().ok().map(Age::Counter);
    }
    if is_inside && !has_date(added) {
        return None;
    }
    added
        .bytes()
        .all(|byte| byte.is_ascii_digit() || b"._-:+TZ".contains(&byte))
        .then(|| Age::Date(added.to_owned()))
}

/// Whether a number in `text` is a year, begins with a year and a month, or is a time in seconds or
/// milliseconds since the epoch.
fn has_date(text: &str) -> bool {
    let is_in = |digits: &str, from: u16, to: u16| {
        let number = digits.parse::<u16>();
        number.is_ok_and(|number| (from..=to).contains(&number))
    };
    text.split(|c: char| !c.is_ascii_digit())
        .any(|digits| match digits.len() {
            4 => is_in(digits, 1970, 2199),
            6 | 8 | 12 | 14 => is_in(&digits[..4], 1970, 2199) && is_in(&digits[4..6], 1, 12),
            10 | 13 => digits.starts_with(['1', '2']),
            _ => false,
        })
}

/// Compares texts so that numbers in them count as numbers: `-9` before `-10`.
fn by_numbers(a: &str, b: &str) -> Ordering {
    let chunks = |text: &str| -> Vec<(usize, String)> {
        text.split(|c: char| !c.is_ascii_digit())
            .map(|digits| digits.trim_start_matches('0').to_owned())
            .map(|digits| (digits.len(), digits))
            .collect()
    };
    chunks(a).cmp(&chunks(b)).then_with(|| a.cmp(b))
}

/// Opens a file, and nothing that would wait for somebody at its other end, as a FIFO does.
pub(super) fn open_regular(path: &Path) -> io::Result<File> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "not a regular file",
        ));
    }
    File::open(path)
}

/// Whether `copy` begins and ends with what stands in `log` at the same places, and was not
/// finished before the log was begun: then it is a copy of it, whole or in the making.
pub(super) fn is_copy_of(copy: &Path, log: &Path) -> io::Result<bool> {
    let (mut copy, mut log) = (open_regular(copy)?, open_regular(log)?);
    let of_copy = copy.metadata()?;
    let len = of_copy.len();
    // Not every file system tells when a file was created.
    let begun = nanos(log.metadata()?.created());
    if len == 0 || modified_nanos(&of_copy) < begun {
        return Ok(false);
    }
    for from in [0, len.saturating_sub(256)] {
        let read = |file: &mut File| -> io::Result<Vec<u8>> {
            let mut bytes = Vec::new();
            file.seek(SeekFrom::Start(from))?;
            file.take(256.min(len - from)).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        if read(&mut copy)? != read(&mut log)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn name_of(path: &Path) -> Option<&str> {
    path.file_name().and_then(|name| name.to_str())
}

/// The name without its last extension.
fn stem_of(name: &str) -> &str {
    match name.rfind('.') {
        Some(dot) if dot > 0 => &name[..dot],
        _ => name,
    }
}

pub(super) fn directory_of(path: &Path) -> &Path {
    path.parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or_else(|| Path::new("."))
}

/// What tells a file from another one in the same directory, whatever it is called.
#[cfg(unix)]
pub(super) fn file_number(metadata: &Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(metadata)
}

/// What tells a file from another one in the same directory: when it was made.
#[cfg(not(unix))]
pub(super) fn file_number(metadata: &Metadata) -> u64 {
    u64::try_from(nanos(metadata.created())).unwrap_or(0)
}

/// When a file was last written to, in nanoseconds since the epoch; 0 where that is not known.
pub(super) fn modified_nanos(metadata: &Metadata) -> i64 {
    nanos(metadata.modified())
}

fn nanos(at: io::Result<std::time::SystemTime>) -> i64 {
    at.ok()
        .and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok())
        .and_then(|since| i64::try_from(since.as_nanos()).ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(log: &str, files: &[&str]) -> Vec<(String, bool, bool)> {
        let directory = tempfile::tempdir().unwrap();
        for file in files {
            fs::write(directory.path().join(file), "x").unwrap();
        }
        let listing = Listing::take(&directory.path().join(log)).unwrap().unwrap();
        listing
            .beside
            .iter()
            .map(|found| {
                let name = name_of(&found.path).unwrap().to_owned();
                (name, found.age.is_some(), found.is_compressed)
            })
            .collect()
    }

    #[test]
    fn rotated_files_are_ordered_by_what_their_names_say() {
        let order = |log, files: &[&str]| -> Vec<String> {
            names(log, files)
                .into_iter()
                .filter(|n| n.1)
                .map(|n| n.0)
                .collect()
        };
        assert_eq!(
            order(
                "a.log",
                &[
                    "a.log",
                    "a.log.2",
                    "a.log.10.gz",
                    "a.log.1",
                    "b.log.1",
                    "a.log.lock"
                ]
            ),
            ["a.log.10.gz", "a.log.2", "a.log.1"]
        );
        assert_eq!(
            order(
                "a.log",
                &[
                    "a-2026-01-10.log",
                    "a-2026-01-02.log",
                    "a-errors.log",
                    "a.log"
                ]
            ),
            ["a-2026-01-02.log", "a-2026-01-10.log"]
        );
        assert_eq!(
            order(
                "a.log",
                &["a.log-20260102.10", "a.log-20260102.9", "a.log-20260101"]
            ),
            ["a.log-20260101", "a.log-20260102.9", "a.log-20260102.10"]
        );
        assert_eq!(order("a", &["a.1", "a.0", "ab.1"]), ["a.1", "a.0"]);
        assert_eq!(
            order("a.log", &["a.log.old", "a.1.log"]),
            ["a.1.log", "a.log.old"]
        );
    }

    #[test]
    fn names_that_are_no_rotation_are_only_neighbors() {
        let found = names("a.log", &["a.log.swp", "a.log.2.gz", "a-old-errors.log"]);
        assert_eq!(
            found.iter().map(|n| (n.1, n.2)).collect::<Vec<_>>(),
            [(false, false), (false, false), (true, true)]
        );
    }

    #[test]
    fn the_logs_of_siblings_are_no_rotations() {
        let siblings = [
            "worker-0.log",
            "worker-1.log",
            "worker_2.log",
            "worker-31415.log",
            "worker-1-2.log",
        ];
        let found = names("worker.log", &siblings);
        assert!(found.iter().all(|n| !n.1), "{found:?}");
        let rotated = [
            "worker-2026.log",
            "worker-20260102.log",
            "worker.2026-01-02.3.log",
            "worker_01-02-2026.log",
            "worker-1795300000.log",
            "worker.1.log",
            "worker.log-0",
            "worker.log.0",
        ];
        let found = names("worker.log", &rotated);
        assert!(found.iter().all(|n| n.1), "{found:?}");
    }

    #[test]
    fn a_directory_with_more_rotated_files_than_are_looked_at_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("a.log");
        for n in 0..=MAX_NEIGHBORS {
            File::create(directory.path().join(format!("a.log.{n}"))).unwrap();
            File::create(directory.path().join(format!("other {n}"))).unwrap();
        }
        let error = Listing::take(&log).unwrap_err().to_string();
        assert!(error.contains("more than 10000 files"), "{error}");
        // Others do not count.
        fs::remove_file(directory.path().join("a.log.0")).unwrap();
        let listing = Listing::take(&log).unwrap().unwrap();
        assert_eq!(listing.beside.len(), MAX_NEIGHBORS);
    }

    #[test]
    fn a_finished_file_that_ends_like_the_log_is_no_copy_of_it() {
        let directory = tempfile::tempdir().unwrap();
        let (log, old) = (directory.path().join("a"), directory.path().join("a.1"));
        let beat = "the heart beats\n".repeat(100);
        fs::write(&log, format!("second\n{beat}")).unwrap();
        fs::write(&old, format!("first.\n{beat}")).unwrap();
        assert!(!is_copy_of(&old, &log).unwrap());
        // The same from end to end, but finished before the log was begun.
        fs::write(&old, format!("second\n{beat}")).unwrap();
        assert!(is_copy_of(&old, &log).unwrap());
        if fs::metadata(&log).unwrap().created().is_err() {
            eprintln!("skipped in part: this file system does not tell when a file was created");
            return;
        }
        let file = File::options().write(true).open(&old).unwrap();
        let long_ago = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000);
        file.set_modified(long_ago).unwrap();
        assert!(!is_copy_of(&old, &log).unwrap());
    }

    #[test]
    fn a_copy_in_the_making_is_known_as_one() {
        let directory = tempfile::tempdir().unwrap();
        let (log, copy) = (directory.path().join("a"), directory.path().join("a.1"));
        fs::write(&log, "one\ntwo\nthree\n").unwrap();
        fs::write(&copy, "one\ntwo").unwrap();
        assert!(is_copy_of(&copy, &log).unwrap());
        fs::write(&log, "four\nfive\nsix\n").unwrap();
        assert!(!is_copy_of(&copy, &log).unwrap());
        fs::write(&copy, "").unwrap();
        assert!(!is_copy_of(&copy, &log).unwrap());
    }
}
