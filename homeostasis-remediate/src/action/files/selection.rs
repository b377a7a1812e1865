//! Which files a step means: below a folder, by name, age and size, within bounds.

use std::collections::BinaryHeap;
use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::time::Duration;

use homeostasis_core::Timestamp;
use serde_json::{Map, Value, json};

use super::folder::{Folder, Look};
use super::roots::{FileRoots, Stop, kind, open};
use crate::action::glob::Glob;
use crate::action::{ActionCall, ActionError, ArgumentProblem, Param, ParamKind};

/// Most names that are looked at in one walk.
const MAX_LOOKS: u64 = 1_000_000;

/// Folders below folders that are entered.
const MAX_DEPTH: usize = 32;

/// The longest relative path.
const MAX_PATH_BYTES: usize = 4096;

/// Most names that an answer or a captured state lists.
pub(super) const MAX_LISTED: usize = 20;

/// The longest part of a name that is listed.
pub(super) const MAX_LISTED_CHARS: usize = 200;

/// What a step says about the files it means.
#[derive(Debug, Clone)]
pub(super) struct Selection {
    folder: String,
    pattern: Glob,
    recursive: bool,
    older_than: Duration,
    larger_than: Option<u64>,
    keep_newest: usize,
    max_files: usize,
    max_bytes: u64,
}

/// One file that is meant, as it was when it was looked at. They are ordered from the one that has
/// been left alone for longest; equals by path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Found {
    pub(super) changed: i64,
    pub(super) path: String,
    pub(super) size: u64,
    id: (u64, u64),
}

/// The files a step means.
#[derive(Debug, Default)]
pub(super) struct Choice {
    pub(super) files: Vec<Found>,
    n_matched: usize,
    n_unreadable: usize,
}

/// The parameters of a selection.
pub(super) fn params() -> Vec<Param> {
    let count = |min, max| ParamKind::Integer { min, max };
    let age = ParamKind::Duration {
        min: Duration::from_secs(60),
        max: Duration::from_secs(10 * 366 * 86_400),
    };
    vec![
        Param::required("root", ParamKind::Name, "below which folder of the host"),
        Param::optional("folder", ParamKind::Text, "where in it, such as `a/b`").or(""),
        Param::required("pattern", ParamKind::Text, "which names, such as `*.tmp`"),
        Param::optional("recursive", ParamKind::Bool, "also in folders below").or(false),
        Param::required(
            "older_than",
            age,
            "how long nothing changed them: neither content nor name nor rights",
        ),
        Param::optional(
            "larger_than",
            count(0, i64::MAX),
            "only files of more bytes than this",
        ),
        Param::optional(
            "keep_newest",
            count(0, 10_000),
            "so many of the newest that match stay",
        )
        .or(0),
        Param::optional("max_files", count(1, 10_000), "so many at most").or(1000),
        Param::optional("max_bytes", count(1, i64::MAX), "so many bytes at most").or(i64::MAX),
    ]
}

/// Whether `path` is a relative path that leads nowhere but down; nothing is the folder itself.
pub(super) fn leads_down(path: &str) -> bool {
    let is_plain =
        |name: &str| !name.is_empty() && name.len() <= 255 && !matches!(name, "." | "..");
    path.is_empty()
        || path.len() <= MAX_PATH_BYTES
            && !path.chars().any(char::is_control)
            && path.split('/').all(is_plain)
}

/// What is wrong with a relative path, if it is known already.
pub(super) fn path_problem(args: &Map<String, Value>, param: &str) -> Option<ArgumentProblem> {
    let path = args.get(param).and_then(Value::as_str)?;
    let expected =
        "a relative path such as `a/b`, without `.`, `..`, empty names and control characters";
    (!path.contains("${") && !leads_down(path))
        .then(|| ArgumentProblem::new(format!("/{param}"), expected))
}

/// What is wrong with the arguments of a selection beyond their types.
pub(super) fn problems(roots: &FileRoots, args: &Map<String, Value>) -> Vec<ArgumentProblem> {
    let mut problems = roots.problems(args, "root");
    problems.extend(path_problem(args, "folder"));
    let pattern = args.get("pattern").and_then(Value::as_str);
    if pattern.is_some_and(|text| !text.contains("${") && Glob::parse(text).is_none()) {
        problems.push(ArgumentProblem::new("/pattern", Glob::EXPECTED));
    }
    problems
}

impl Selection {
    /// What the arguments say; they are checked once more, now that placeholders are filled in.
    pub(super) fn of(call: &ActionCall<'_>) -> Result<Self, ActionError> {
        let count = |name: &str| {
            usize::try_from(call.unsigned(name)?)
                .map_err(|_| ActionError::argument(name, "a smaller number"))
        };
        let folder = call.text("folder")?;
        if !leads_down(folder) {
            return Err(ActionError::argument("folder", "a relative path"));
        }
        Ok(Self {
            folder: folder.to_owned(),
            pattern: Glob::parse(call.text("pattern")?)
                .ok_or_else(|| ActionError::argument("pattern", Glob::EXPECTED))?,
            recursive: call.boolean("recursive")?,
            older_than: call.duration("older_than")?,
            larger_than: match call.args.get("larger_than") {
                None | Some(Value::Null) => None,
                Some(_) => Some(call.unsigned("larger_than")?),
            },
            keep_newest: count("keep_newest")?,
            max_files: count("max_files")?,
            max_bytes: call.unsigned("max_bytes")?,
        })
    }

    /// The files meant now; with `last` none that comes after it in their order.
    pub(super) fn choose(
        &self,
        root: &Folder,
        before: i64,
        last: Option<&(i64, String)>,
        stop: &Stop,
    ) -> io::Result<Choice> {
        let mut walk = Walk {
            selection: self,
            before,
            last,
            stop,
            n_looks: 0,
            n_matched: 0,
            n_unreadable: 0,
            oldest: BinaryHeap::new(),
        };
        match root.at(Path::new(&self.folder)) {
            Ok(folder) => walk.folder(&folder, &self.folder, 0)?,
            // A folder that is not there holds nothing.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let n_allowed = walk.n_matched.saturating_sub(self.keep_newest);
        let mut files = walk.oldest.into_sorted_vec();
        files.truncate(n_allowed);
        if let Some(last) = last {
            files.retain(|file| (file.changed, &file.path) <= (last.0, &last.1));
        }
        let mut bytes = 0_u64;
        let n_within = files
            .iter()
            .take_while(|file| {
                bytes = bytes.saturating_add(file.size);
                bytes <= self.max_bytes
            })
            .count();
        files.truncate(n_within);
        Ok(Choice {
            files,
            n_matched: walk.n_matched,
            n_unreadable: walk.n_unreadable,
        })
    }

    /// The moment before which nothing may have changed a file, nanoseconds since 1970.
    pub(super) fn before(&self, now: Timestamp) -> i64 {
        let age = i64::try_from(self.older_than.as_nanos()).unwrap_or(i64::MAX);
        now.as_nanos().saturating_sub(age)
    }
}

struct Walk<'a> {
    selection: &'a Selection,
    before: i64,
    last: Option<&'a (i64, String)>,
    stop: &'a Stop,
    n_looks: u64,
    n_matched: usize,
    n_unreadable: usize,
    /// The oldest of those that match, as many as one run may touch.
    oldest: BinaryHeap<Found>,
}

impl Walk<'_> {
    fn folder(&mut self, folder: &Folder, below: &str, depth: usize) -> io::Result<()> {
        let mut folders = Vec::new();
        folder.each(|name| {
            self.stop.check()?;
            self.n_looks += 1;
            if self.n_looks > MAX_LOOKS {
                let message = format!("more than {MAX_LOOKS} names below the folder");
                return Err(io::Error::other(message));
            }
            match folder.look(name)? {
                Some(look) if look.is_file() => self.file(name, below, &look),
                Some(look) if look.is_folder() && self.selection.recursive => {
                    folders.push(name.to_owned());
                }
                _ => {}
            }
            Ok(())
        })?;
        for name in folders {
            // What cannot be entered is counted: another mount, somebody else's, or a link by now.
            match folder.sub(OsStr::new(&name)) {
                Ok(sub) if depth < MAX_DEPTH => {
                    self.folder(&sub, &join(below, &name), depth + 1)?;
                }
                _ => self.n_unreadable += 1,
            }
        }
        Ok(())
    }

    fn file(&mut self, name: &str, below: &str, look: &Look) {
        let Selection {
            pattern,
            larger_than,
            max_files,
            ..
        } = self.selection;
        if !pattern.matches(name) || larger_than.is_some_and(|bytes| look.size <= bytes) {
            return;
        }
        // What is too young is among the newest that are kept.
        self.n_matched += 1;
        if look.changed >= self.before {
            return;
        }
        let found = Found {
            changed: look.changed,
            path: join(below, name),
            size: look.size,
            id: look.id,
        };
        if self
            .last
            .is_some_and(|last| (found.changed, &found.path) > (last.0, &last.1))
        {
            return;
        }
        self.oldest.push(found);
        if self.oldest.len() > *max_files {
            self.oldest.pop();
        }
    }
}

/// A path below a folder that may be the root itself.
pub(super) fn join(below: &str, name: &str) -> String {
    if below.is_empty() {
        name.to_owned()
    } else {
        format!("{below}/{name}")
    }
}

/// Folder and name of a path below a root.
pub(super) fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

impl Found {
    /// Whether this is what was looked at, unchanged.
    pub(super) fn is(&self, look: &Look) -> bool {
        look.is_file()
            && look.id == self.id
            && look.changed == self.changed
            && look.size == self.size
    }

    pub(super) fn id(&self) -> (u64, u64) {
        self.id
    }
}

impl Choice {
    pub(super) fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.size).sum()
    }

    /// What a step would touch, and up to where: what is captured before its first attempt.
    fn to_json(&self) -> Value {
        json!({
            "last": self.files.last().map(|file| (file.changed, &file.path)),
            "files": self.files.len(),
            "bytes": self.bytes(),
            "matched": self.n_matched,
            "unreadable_folders": self.n_unreadable,
            "first": listed(self.files.iter().map(|file| &*file.path)),
        })
    }
}

/// The first names, for people.
pub(super) fn listed<'a>(names: impl Iterator<Item = &'a str>) -> Vec<String> {
    names
        .take(MAX_LISTED)
        .map(|name| name.chars().take(MAX_LISTED_CHARS).collect())
        .collect()
}

/// What the step would touch if it ran now; it changes nothing.
pub(super) async fn capture(
    roots: &FileRoots,
    now: Timestamp,
    call: &ActionCall<'_>,
) -> Result<Value, ActionError> {
    let (path, selection) = (roots.path(call, "root")?, Selection::of(call)?);
    roots
        .run("walking", move |stop| {
            let root = open(&path)?;
            let chosen = selection.choose(&root, selection.before(now), None, stop);
            Ok(chosen.map_err(|error| walked(&path, error))?.to_json())
        })
        .await
}

fn walked(path: &Path, error: io::Error) -> ActionError {
    let what = format!("walking {}", path.display());
    ActionError::not_begun(what, kind(&error), error)
}

/// The last file that was captured, in the order of all; `None` if there was nothing to do.
pub(super) fn last(call: &ActionCall<'_>) -> Result<Option<(i64, String)>, ActionError> {
    serde_json::from_value(call.captured["last"].clone())
        .map_err(|error| ActionError::invalid("captured state", error.to_string()))
}

/// Those of the captured files that are still as they were: what an attempt touches, at most.
pub(super) fn still_meant(
    selection: &Selection,
    (path, root): (&Path, &Folder),
    last: Option<&(i64, String)>,
    stop: &Stop,
) -> Result<Choice, ActionError> {
    let Some(last) = last else {
        return Ok(Choice::default());
    };
    // Everything up to the last one was old enough when it was captured.
    let before = last.0.saturating_add(1);
    selection
        .choose(root, before, Some(last), stop)
        .map_err(|error| walked(path, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_down_only() {
        for good in ["", "a", "a/b.c", "a b/ü", "-x", "...", "a/..b"] {
            assert!(leads_down(good), "{good:?}");
        }
        let long = format!("{}x", "x/".repeat(3000));
        for evil in [
            "/", "/etc", ".", "..", "a/..", "../a", "a//b", "a/", "a/./b", "a\0", "a\n/b", &long,
        ] {
            assert!(!leads_down(evil), "{evil:?}");
        }
    }
}
