//! `archive_files` and `move_aside`: move old files to where they can be brought back from.

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use homeostasis_core::document::format_duration;
use homeostasis_core::record::{EffectClass, Inverse, RiskLevel};
use homeostasis_core::{ConfigError, Context};
use serde_json::{Map, Value, json};

use super::copy::{PASSING, move_file};
use super::folder::Folder;
use super::open_files::OpenFiles;
use super::report::{Fate, each};
use super::roots::{FileRoots, Stop, kind, open};
use super::selection::{
    MAX_LISTED, MAX_LISTED_CHARS, Selection, capture, join, last, params, problems, split,
    still_meant,
};
use crate::action::{
    Action, ActionCall, ActionError, ActionSpec, ArgumentProblem, Param, ParamKind, is_name,
};

/// Between the day and the key in the name of a batch.
const SEPARATOR: char = '_';

/// Moves old files below a folder the host lends into a folder of their own in another one; undo
/// moves them back.
///
/// As `archive_files` the parameters are those of [`CleanFiles`](super::CleanFiles) without
/// `open_files`, and `to` (a registered root). As `move_aside` the host names the quarantine and how
/// long it keeps what it has.
///
/// A batch is called by its day and its run, such as `2026-11-22_…`, and has the same folders below
/// as the root. Within a file system a file is renamed, between two it is copied, compared, synced
/// and only then removed. Undo never replaces a file that took the place meanwhile: it says so.
#[derive(Debug)]
pub struct RelocateFiles {
    spec: ActionSpec,
    roots: FileRoots,
    quarantine: Option<(String, Duration)>,
}

impl RelocateFiles {
    /// `archive_files`: playbooks say into which of `roots`.
    pub fn archive(roots: FileRoots) -> Self {
        let mut params = params();
        params.push(Param::required(
            "to",
            ParamKind::Name,
            "into which folder of the host",
        ));
        let spec = ActionSpec::new("move old files into an archive")
            .with_params(params)
            .with_inverse(Inverse::Captured("the files where they were".to_owned()));
        Self {
            spec: spec
                .with_effect(EffectClass::Idempotent)
                .with_risk(RiskLevel::Low),
            roots,
            quarantine: None,
        }
    }

    /// `move_aside`: into the root `quarantine`, where batches older than `retention`, in whole
    /// days, are deleted for good when the next one arrives.
    ///
    /// # Errors
    /// If no root has that name, or the retention is shorter than a day.
    pub fn aside(
        roots: FileRoots,
        quarantine: &str,
        retention: Duration,
    ) -> Result<Self, ConfigError> {
        if !roots.has(quarantine) {
            let found = format!("{quarantine:?}");
            return Err(ConfigError::single(
                "quarantine",
                found,
                "a registered root",
            ));
        }
        let day = Duration::from_secs(86_400);
        if retention < day {
            let found = format_duration(retention);
            return Err(ConfigError::single("retention", found, "a day or longer"));
        }
        let inverse = format!(
            "the files where they were, for {}",
            format_duration(retention)
        );
        let spec = ActionSpec::new("move old files aside")
            .with_params(params())
            .with_effect(EffectClass::Idempotent)
            .with_risk(RiskLevel::Medium)
            .with_inverse(Inverse::Captured(inverse));
        Ok(Self {
            spec,
            roots,
            quarantine: Some((quarantine.to_owned(), retention)),
        })
    }

    fn destination<'a>(&'a self, args: &'a Map<String, Value>) -> Option<&'a str> {
        match &self.quarantine {
            Some((name, _)) => Some(name),
            None => args.get("to").and_then(Value::as_str),
        }
    }

    /// One root within the other would be moved into itself.
    fn overlap(&self, args: &Map<String, Value>) -> Option<ArgumentProblem> {
        let from = self.roots.path_of(args.get("root")?.as_str()?)?;
        let to = self.roots.path_of(self.destination(args)?)?;
        let place = if self.quarantine.is_some() {
            "root"
        } else {
            "to"
        };
        (to.starts_with(&from) || from.starts_with(&to)).then(|| {
            let expected = "a root that is not the other one, nor within it, nor around it";
            ArgumentProblem::new(format!("/{place}"), expected)
        })
    }

    fn places(
        &self,
        call: &ActionCall<'_>,
    ) -> Result<(std::path::PathBuf, std::path::PathBuf), ActionError> {
        if let Some(problem) = self.overlap(call.args) {
            return Err(ActionError::argument(
                problem.pointer.trim_start_matches('/'),
                &problem.expected,
            ));
        }
        let to = self
            .destination(call.args)
            .and_then(|name| self.roots.path_of(name));
        let to = to.ok_or_else(|| ActionError::argument("to", "a registered root"))?;
        Ok((self.roots.path(call, "root")?, to))
    }
}

fn batch(call: &ActionCall<'_>) -> Result<String, ActionError> {
    call.captured["batch"]
        .as_str()
        .filter(|name| is_name(name))
        .map(str::to_owned)
        .ok_or_else(|| ActionError::invalid("captured state", "expected the name of a batch"))
}

#[async_trait]
impl Action for RelocateFiles {
    fn name(&self) -> &'static str {
        if self.quarantine.is_some() {
            "move_aside"
        } else {
            "archive_files"
        }
    }

    fn spec(&self) -> &ActionSpec {
        &self.spec
    }

    fn check(&self, args: &Map<String, Value>) -> Vec<ArgumentProblem> {
        let mut problems = problems(&self.roots, args);
        if self.quarantine.is_none() {
            problems.extend(self.roots.problems(args, "to"));
        }
        problems.extend(self.overlap(args));
        problems
    }

    async fn capture(&self, cx: &Context, call: &ActionCall<'_>) -> Result<Value, ActionError> {
        self.places(call)?;
        let now = cx.clock().now();
        let mut captured = capture(&self.roots, now, call).await?;
        let day =
            |at: homeostasis_core::Timestamp| at.to_string().chars().take(10).collect::<String>();
        let key = call.key.as_str().replace('/', "-");
        captured["batch"] = format!("{}{SEPARATOR}{key}", day(now)).into();
        if let Some((_, retention)) = &self.quarantine {
            let age = i64::try_from(retention.as_nanos()).unwrap_or(i64::MAX);
            let oldest = now.as_nanos().saturating_sub(age);
            captured["keep_from"] = day(homeostasis_core::Timestamp::from_nanos(oldest)).into();
        }
        Ok(captured)
    }

    async fn perform(&self, _: &Context, call: &ActionCall<'_>) -> Result<Value, ActionError> {
        let ((path, to), selection) = (self.places(call)?, Selection::of(call)?);
        let (last, batch) = (last(call)?, batch(call)?);
        let keep_from = call.captured["keep_from"].as_str().map(str::to_owned);
        let work = move |stop: &Stop| {
            let (root, to) = (open(&path)?, open(&to)?);
            let expired = match &keep_from {
                Some(day) => remove_before(&to, day, stop)
                    .map_err(|error| ActionError::transient("emptying the quarantine", error))?,
                None => 0,
            };
            let choice = still_meant(&selection, (&path, &root), last.as_ref(), stop)?;
            let written = OpenFiles::for_choice(&choice)?;
            let report = each(&root, &choice, &written, stop, |folder, file, look| {
                let (below, name) = split(&file.path);
                if name.starts_with(PASSING) {
                    return Ok(Fate::Unfit);
                }
                let place = to.make(Path::new(&join(&batch, below)))?;
                let moved = move_file((folder, name, look), &place, stop)?;
                Ok(if moved {
                    Fate::Done(file.size)
                } else {
                    Fate::Changed
                })
            });
            let mut output = report
                .map_err(|error| ActionError::transient("moving", error))?
                .finish("moving")?;
            output["batch"] = batch.into();
            output["expired"] = expired.into();
            Ok(output)
        };
        self.roots.run("moving", work).await
    }

    async fn undo(&self, _: &Context, call: &ActionCall<'_>) -> Result<Value, ActionError> {
        let ((path, to), batch) = (self.places(call)?, batch(call)?);
        let mut first: Vec<String> =
            serde_json::from_value(call.captured["first"].clone()).unwrap_or_default();
        // Longer ones were cut when they were listed.
        first.retain(|path| path.chars().count() < MAX_LISTED_CHARS);
        let work = move |stop: &Stop| {
            let (root, to) = (open(&path)?, open(&to)?);
            let mut back = Back {
                root: &root,
                stop,
                n_moved: 0,
                in_the_way: Vec::new(),
            };
            let moved = match to.sub(OsStr::new(&batch)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => in_place(&root, &first),
                folder => folder.and_then(|folder| back.folder(&folder, "")),
            };
            moved
                .and_then(|()| to.remove_empty(&batch).map(drop))
                .map_err(|error| ActionError::Failed {
                    what: "moving back".to_owned(),
                    kind: kind(&error),
                    source: Some(error.into()),
                })?;
            if back.in_the_way.is_empty() {
                return Ok(json!({ "back": back.n_moved }));
            }
            let names = back.in_the_way.join(", ");
            let reason = format!("{} were moved back; in the way: {names}", back.n_moved);
            Err(ActionError::permanent("moving back", reason))
        };
        self.roots.run("moving back", work).await
    }
}

/// Without a batch, files were never moved or are back; or the retention is over.
fn in_place(root: &Folder, first: &[String]) -> io::Result<()> {
    for path in first {
        let (below, name) = split(path);
        let folder = match root.at(Path::new(below)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            folder => folder?,
        };
        if folder.look(name)?.is_some() {
            return Ok(());
        }
    }
    if first.is_empty() {
        return Ok(());
    }
    let why = "the files are neither in their place nor in their batch any more";
    Err(io::Error::new(io::ErrorKind::NotFound, why))
}

struct Back<'a> {
    root: &'a Folder,
    stop: &'a Stop,
    n_moved: u64,
    /// The first files whose place is taken.
    in_the_way: Vec<String>,
}

impl Back<'_> {
    fn folder(&mut self, folder: &Folder, below: &str) -> io::Result<()> {
        let mut names = Vec::new();
        folder.each(|name| {
            names.push(name.to_owned());
            Ok(())
        })?;
        for name in names {
            self.stop.check()?;
            let Some(look) = folder.look(&name)? else {
                continue;
            };
            let path = join(below, &name);
            if look.is_folder() {
                self.folder(&folder.sub(OsStr::new(&name))?, &path)?;
                folder.remove_empty(&name)?;
                continue;
            }
            if name.starts_with(PASSING) {
                folder.remove(&name)?;
                continue;
            }
            let place = self.root.make(Path::new(below))?;
            match move_file((folder, &name, &look), &place, self.stop) {
                Ok(true) => self.n_moved += 1,
                Ok(false) => return Err(io::Error::other(format!("{path} changed meanwhile"))),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    if self.in_the_way.len() < MAX_LISTED {
                        self.in_the_way.push(path);
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Deletes batches of days before `day`; says how many files went.
fn remove_before(quarantine: &Folder, day: &str, stop: &Stop) -> io::Result<u64> {
    let mut expired = Vec::new();
    quarantine.each(|name| {
        let of_a_day = name.split_once(SEPARATOR).map(|(day, _)| day);
        let is_batch =
            |day: &str| day.len() == 10 && day.bytes().all(|b| b.is_ascii_digit() || b == b'-');
        if of_a_day.is_some_and(|of| is_batch(of) && of < day) {
            expired.push(name.to_owned());
        }
        Ok(())
    })?;
    let mut n_files = 0;
    for name in expired {
        if quarantine.look(&name)?.is_some_and(|look| look.is_folder()) {
            n_files += empty(&quarantine.sub(OsStr::new(&name))?, stop)?;
            quarantine.remove_empty(&name)?;
        }
    }
    Ok(n_files)
}

fn empty(folder: &Folder, stop: &Stop) -> io::Result<u64> {
    let (mut names, mut n_files) = (Vec::new(), 0);
    folder.each(|name| {
        names.push(name.to_owned());
        Ok(())
    })?;
    for name in names {
        stop.check()?;
        match folder.look(&name)? {
            Some(look) if look.is_folder() => {
                n_files += empty(&folder.sub(OsStr::new(&name))?, stop)?;
                folder.remove_empty(&name)?;
            }
            _ => n_files += u64::from(folder.remove(&name)?),
        }
    }
    Ok(n_files)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::testing::{Playground, later, perform};
    use super::*;
    use crate::action::laws;

    fn args() -> Value {
        json!({"root": "tmp", "pattern": "*.log", "older_than": "1h", "recursive": true, "to": "store"})
    }

    #[tokio::test]
    async fn doing_and_taking_back_are_harmless_twice() {
        let place = Playground::new();
        for name in ["a.log", "sub/b.log", "sub/deep/c.log", "stays"] {
            place.write(name, name);
        }
        let archive = RelocateFiles::archive(place.roots());
        laws::repeat_and_undo_in(&later(2), &archive, &args(), || place.tree()).await;
        let day = Duration::from_secs(86_400);
        let aside = RelocateFiles::aside(place.roots(), "store", day).unwrap();
        let mut args = args();
        args.as_object_mut().unwrap().remove("to");
        laws::repeat_and_undo_in(&later(2), &aside, &args, || place.tree()).await;
    }

    #[tokio::test]
    async fn to_another_file_system_it_is_copied_compared_and_removed() {
        let place = Playground::new();
        let text = "text\n".repeat(50_000);
        place.write("a.log", &text);
        let memory = Path::new("/dev/shm");
        let Ok(elsewhere) = tempfile::tempdir_in(memory) else {
            return homeostasis_core::testing::engine::missing("a second file system at /dev/shm");
        };
        let roots = place.roots().root("memory", elsewhere.path()).unwrap();
        let action = RelocateFiles::archive(roots);
        let mut args = args();
        args["to"] = "memory".into();
        let observe = || {
            use std::os::unix::fs::MetadataExt;
            let modified = fs::metadata(place.path("a.log")).map(|found| found.mtime_nsec());
            (place.tree(), modified.ok())
        };
        laws::repeat_and_undo_in(&later(2), &action, &args, observe).await;
        assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0);
        perform(&action, &later(2), &args).await.unwrap();
        assert!(place.names().is_empty());
        let batch = fs::read_dir(elsewhere.path())
            .unwrap()
            .next()
            .unwrap()
            .unwrap();
        assert_eq!(
            fs::read_to_string(batch.path().join("a.log")).unwrap(),
            text
        );
    }

    #[tokio::test]
    async fn undo_replaces_nothing_that_took_the_place() {
        let place = Playground::new();
        place.write("a.log", "old");
        place.write("b.log", "old");
        let action = RelocateFiles::archive(place.roots());
        let (cx, mut args) = (later(2), args().as_object().unwrap().clone());
        action.spec().fill_defaults(&mut args);
        let (target, key) = (
            homeostasis_core::Target::service("x").unwrap(),
            laws::key(0),
        );
        let call = ActionCall::new(&target, &args, &key);
        let captured = action.capture(&cx, &call).await.unwrap();
        let call = call.with_captured(&captured);
        action.perform(&cx, &call).await.unwrap();
        place.write("a.log", "new");
        let error = action
            .undo(&cx, &call)
            .await
            .unwrap_err()
            .report()
            .to_string();
        assert!(error.contains("in the way: a.log"), "{error}");
        assert_eq!(
            (place.read("a.log"), place.read("b.log")),
            ("new".to_owned(), "old".to_owned())
        );
        fs::remove_file(place.path("a.log")).unwrap();
        assert_eq!(action.undo(&cx, &call).await.unwrap()["back"], 1);
        assert_eq!(place.read("a.log"), "old");
        // Neither here nor there: nothing was put back, and nobody is told it was.
        for name in ["a.log", "b.log"] {
            fs::remove_file(place.path(name)).unwrap();
        }
        let error = action.undo(&cx, &call).await.unwrap_err().report();
        assert!(error.to_string().contains("nor in their batch"), "{error}");
    }

    #[tokio::test]
    async fn the_quarantine_forgets_what_is_older_than_its_retention() {
        let place = Playground::new();
        let retention = Duration::from_secs(7 * 86_400);
        let action = RelocateFiles::aside(place.roots(), "store", retention).unwrap();
        let mut args = args();
        args.as_object_mut().unwrap().remove("to");
        place.write("sub/a.log", "x");
        let first = perform(&action, &later(2), &args).await.unwrap();
        place.write("b.log", "x");
        let second = perform(&action, &later(24 * 6), &args).await.unwrap();
        assert_eq!(
            (&first["expired"], &second["expired"]),
            (&json!(0), &json!(0))
        );
        place.write("c.log", "x");
        let third = perform(&action, &later(24 * 9), &args).await.unwrap();
        assert_eq!((&third["done"], &third["expired"]), (&json!(1), &json!(1)));
        let kept = place.tree().1;
        let kept: Vec<_> = kept.keys().filter(|name| name.contains(".log")).collect();
        assert_eq!(kept.len(), 2, "{kept:?}");
    }

    #[test]
    fn a_root_is_not_moved_into_itself() {
        let place = Playground::new();
        fs::create_dir(place.path("inner")).unwrap();
        let roots = place.roots().root("inner", place.path("inner")).unwrap();
        let action = RelocateFiles::archive(roots.clone());
        for to in ["tmp", "inner", "none"] {
            let args = json!({"root": "tmp", "pattern": "*", "older_than": "1h", "to": to});
            let problems = action.check(args.as_object().unwrap());
            assert_eq!(problems[0].pointer, "/to", "{to}");
        }
        let day = Duration::from_secs(86_400);
        assert!(RelocateFiles::aside(roots.clone(), "none", day).is_err());
        assert!(RelocateFiles::aside(roots, "store", day / 2).is_err());
    }
}
