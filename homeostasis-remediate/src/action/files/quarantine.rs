//! `empty_quarantine`: delete for good what was moved aside long ago.

use std::ffi::OsStr;
use std::io;
use std::time::Duration;

use async_trait::async_trait;
use homeostasis_core::document::format_duration;
use homeostasis_core::record::{EffectClass, Inverse, RiskLevel};
use homeostasis_core::{ConfigError, Context, Target, Timestamp};
use serde_json::{Map, Value, json};

use super::folder::Folder;
use super::roots::{FileRoots, Stop, kind, open};
use super::selection::{MAX_LISTED, MAX_PATH_BYTES, join, listed};
use crate::action::{Action, ActionCall, ActionError, ActionSpec, Param, ParamKind, is_name};

/// How the names of batches of `move_aside` begin; a day and `_` follow. Others are nobody's to
/// delete.
pub(super) const ASIDE: &str = "aside_";

/// Most batches of one step.
const MAX_BATCHES: usize = 1000;

/// The day of a moment, such as `2026-11-22`.
pub(super) fn day(at: Timestamp) -> String {
    at.to_string().chars().take(10).collect()
}

/// Deletes what [`RelocateFiles::aside`](super::RelocateFiles::aside) moved into a quarantine longer
/// ago than the host keeps it; archives and other folders there stay.
///
/// Parameter: `max_files` (default 1000, at most 10,000). What is captured before the first attempt
/// names the batches and counts their files up to that; every attempt deletes from these only. A
/// file whose name is not UTF-8 stays, and so does its batch. It cannot be taken back.
#[derive(Debug)]
pub struct EmptyQuarantine {
    spec: ActionSpec,
    roots: FileRoots,
    quarantine: String,
    retention: Duration,
}

impl EmptyQuarantine {
    /// The action for the root `quarantine`, which keeps a batch for `retention` after its day.
    ///
    /// # Errors
    /// If no root has that name, or the retention is shorter than a day.
    pub fn new(
        roots: FileRoots,
        quarantine: &str,
        retention: Duration,
    ) -> Result<Self, ConfigError> {
        if !roots.has(quarantine) {
            let found = format!("{quarantine:?}");
            let expected = "a registered root";
            return Err(ConfigError::single("quarantine", found, expected));
        }
        if retention < Duration::from_secs(86_400) {
            let found = format_duration(retention);
            return Err(ConfigError::single("retention", found, "a day or longer"));
        }
        let count = ParamKind::Integer {
            min: 1,
            max: 10_000,
        };
        let why = "what is deleted from the quarantine is gone";
        let spec = ActionSpec::new("delete what was moved aside long ago")
            .with_params([Param::optional("max_files", count, "so many at most").or(1000)])
            .with_effect(EffectClass::Idempotent)
            .with_risk(RiskLevel::Medium)
            .with_inverse(Inverse::Irreversible(why.to_owned()));
        Ok(Self {
            spec,
            roots,
            quarantine: quarantine.to_owned(),
            retention,
        })
    }

    async fn walk(
        &self,
        what: &'static str,
        work: impl FnOnce(&Folder, &Stop) -> io::Result<Value> + Send + 'static,
    ) -> Result<Value, ActionError> {
        let path = self.roots.path_of(&self.quarantine);
        let path = path.ok_or_else(|| ActionError::invalid("quarantine", "a registered root"))?;
        let run = move |stop: &Stop| {
            work(&open(&path)?, stop).map_err(|error| ActionError::Failed {
                what: what.to_owned(),
                kind: kind(&error),
                source: Some(error.into()),
            })
        };
        self.roots.run(what, run).await
    }
}

/// Whether `name` is a batch of a day before `before`.
fn is_expired(name: &str, before: &str) -> bool {
    let day = name
        .strip_prefix(ASIDE)
        .and_then(|rest| rest.split_once('_'));
    let is_day =
        |day: &str| day.len() == 10 && day.bytes().all(|b| b.is_ascii_digit() || b == b'-');
    is_name(name) && day.is_some_and(|(day, _)| is_day(day) && day < before)
}

#[async_trait]
impl Action for EmptyQuarantine {
    fn name(&self) -> &'static str {
        "empty_quarantine"
    }

    fn spec(&self) -> &ActionSpec {
        &self.spec
    }

    fn touches(&self, target: &Target, _: &Map<String, Value>) -> Target {
        self.roots.touched(target, Some(&self.quarantine))
    }

    async fn capture(&self, cx: &Context, call: &ActionCall<'_>) -> Result<Value, ActionError> {
        let age = i64::try_from(self.retention.as_nanos()).unwrap_or(i64::MAX);
        let oldest = cx.clock().now().as_nanos().saturating_sub(age);
        let before = day(Timestamp::from_nanos(oldest));
        let max_files = call.unsigned("max_files")?;
        let work = move |quarantine: &Folder, stop: &Stop| {
            let mut batches = Vec::new();
            quarantine.each(|name| {
                stop.check()?;
                if is_expired(name, &before) {
                    batches.push(name.to_owned());
                }
                Ok(())
            })?;
            batches.sort_unstable();
            batches.truncate(MAX_BATCHES);
            let mut emptying = Emptying::new(stop, max_files, true);
            emptying.batches(quarantine, &batches)?;
            Ok(json!({ "batches": batches, "before": before, "files": emptying.n_done }))
        };
        self.walk("looking at the quarantine", work).await
    }

    async fn perform(&self, _: &Context, call: &ActionCall<'_>) -> Result<Value, ActionError> {
        let malformed = |_| ActionError::invalid("captured state", "expected names of batches");
        let mut batches: Vec<String> =
            serde_json::from_value(call.captured["batches"].clone()).map_err(malformed)?;
        let before = call.captured["before"].as_str().unwrap_or_default();
        batches.retain(|name| is_expired(name, before));
        let max_files = call.unsigned("max_files")?;
        let n_captured = call.captured["files"].as_u64().unwrap_or(0);
        let work = move |quarantine: &Folder, stop: &Stop| {
            let mut emptying = Emptying::new(stop, max_files.min(n_captured), false);
            emptying.batches(quarantine, &batches)?;
            Ok(json!({
                "done": emptying.n_done,
                "failed": emptying.n_failed,
                "failures": listed(emptying.failures.iter().map(String::as_str)),
            }))
        };
        self.walk("emptying the quarantine", work).await
    }
}

struct Emptying<'a> {
    stop: &'a Stop,
    max_files: u64,
    /// Only counting.
    is_dry: bool,
    n_done: u64,
    n_failed: u64,
    failures: Vec<String>,
}

impl<'a> Emptying<'a> {
    fn new(stop: &'a Stop, max_files: u64, is_dry: bool) -> Self {
        Self {
            stop,
            max_files,
            is_dry,
            n_done: 0,
            n_failed: 0,
            failures: Vec::new(),
        }
    }

    fn batches(&mut self, quarantine: &Folder, batches: &[String]) -> io::Result<()> {
        for name in batches {
            self.name(quarantine, name, name)?;
        }
        Ok(())
    }

    /// What cannot be deleted is counted and keeps nothing else from being deleted.
    fn name(&mut self, folder: &Folder, name: &str, path: &str) -> io::Result<()> {
        self.stop.check()?;
        if self.n_done == self.max_files {
            return Ok(());
        }
        if let Err(error) = self.remove(folder, name, path) {
            self.stop.check()?;
            self.n_failed += 1;
            if self.failures.len() < MAX_LISTED {
                self.failures.push(format!("{path}: {error}"));
            }
        }
        Ok(())
    }

    fn remove(&mut self, folder: &Folder, name: &str, path: &str) -> io::Result<()> {
        let Some(look) = folder.look(name)? else {
            return Ok(());
        };
        if !look.is_folder() {
            let is_gone = self.is_dry || folder.remove(name)?;
            self.n_done += u64::from(is_gone);
            return Ok(());
        }
        if path.len() > MAX_PATH_BYTES {
            return Err(io::ErrorKind::InvalidFilename.into());
        }
        let sub = folder.sub(OsStr::new(name))?;
        let mut names = Vec::new();
        sub.each(|name| {
            names.push(name.to_owned());
            Ok(())
        })?;
        for name in names {
            self.name(&sub, &name, &join(path, &name))?;
        }
        if !self.is_dry {
            folder.remove_empty(name)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::RelocateFiles;
    use super::super::testing::{Playground, later, perform};
    use super::*;
    use crate::action::laws;

    const WEEK: Duration = Duration::from_secs(7 * 86_400);

    #[tokio::test]
    async fn what_was_moved_aside_goes_after_its_retention_and_archives_stay() {
        let place = Playground::new();
        let mut args =
            json!({"root": "tmp", "pattern": "*.log", "older_than": "1h", "recursive": true});
        let aside = RelocateFiles::aside(place.roots(), "store").unwrap();
        place.write("sub/a.log", "x");
        place.write("b.log", "x");
        perform(&aside, &later(2), &args).await.unwrap();
        args["to"] = "store".into();
        place.write("archived.log", "x");
        perform(&RelocateFiles::archive(place.roots()), &later(2), &args)
            .await
            .unwrap();
        let store = place.store();
        for name in ["2025-01-01_backup", "aside_of-somebody"] {
            fs::create_dir(store.join(name)).unwrap();
        }
        let action = EmptyQuarantine::new(place.roots(), "store", WEEK).unwrap();
        let before = place.tree();
        for (hours, max_files, n_files) in [(24 * 6, 9, 0), (24 * 9, 1, 1), (24 * 9, 9, 1)] {
            let args = json!({"max_files": max_files});
            assert!(hours > 24 * 7 || place.tree() == before);
            let output = perform(&action, &later(hours), &args).await.unwrap();
            assert_eq!(
                (&output["done"], &output["failed"]),
                (&json!(n_files), &json!(0))
            );
        }
        let tree = place.tree().1;
        let has = |end: &str| tree.keys().any(|name| name.ends_with(end));
        for kept in ["/archived.log", "2025-01-01_backup", "aside_of-somebody"] {
            assert!(has(kept), "{kept}: {tree:?}");
        }
        assert!(!has("/a.log") && !has("/b.log"), "{tree:?}");
        assert_eq!(tree.len(), 4, "{tree:?}");
    }

    #[tokio::test]
    async fn emptying_twice_is_emptying_once() {
        let place = Playground::new();
        for name in ["a.tmp", "b/c.tmp"] {
            place.write(name, "x");
        }
        let args = json!({"root": "tmp", "pattern": "*", "older_than": "1h", "recursive": true});
        let aside = RelocateFiles::aside(place.roots(), "store").unwrap();
        perform(&aside, &later(2), &args).await.unwrap();
        let action = EmptyQuarantine::new(place.roots(), "store", WEEK).unwrap();
        laws::repeat_and_undo_in(&later(24 * 9), &action, &json!({}), || place.tree()).await;
        assert!(place.tree().1.is_empty());
    }

    #[test]
    fn a_quarantine_is_a_root_and_keeps_for_a_day_or_longer() {
        let place = Playground::new();
        let (roots, day) = (place.roots(), Duration::from_secs(86_400));
        assert!(EmptyQuarantine::new(roots.clone(), "none", day).is_err());
        assert!(EmptyQuarantine::new(roots.clone(), "store", day / 2).is_err());
        assert!(EmptyQuarantine::new(roots, "store", day).is_ok());
    }
}
