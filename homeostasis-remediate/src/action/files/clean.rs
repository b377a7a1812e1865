//! `clean_files`: delete old files.

use async_trait::async_trait;
use homeostasis_core::Context;
use homeostasis_core::record::{EffectClass, Inverse, RiskLevel};
use serde_json::{Map, Value};

use super::open_files::OpenFiles;
use super::report::{Fate, each};
use super::roots::{FileRoots, Stop, open};
use super::selection::split;
use super::selection::{Selection, capture, last, params, problems, still_meant};
use crate::action::{
    Action, ActionCall, ActionError, ActionSpec, ArgumentProblem, Param, ParamKind,
};

/// Deletes old files below a folder the host lends, those first that nothing changed for longest.
///
/// Parameters: `root` (a registered name), `folder` (a path below it, default the root itself),
/// `pattern` (of names; `*` and `?`), `recursive` (default `false`), `older_than` (1 minute to 10
/// years since content, name or rights last changed), `larger_than` (bytes), `keep_newest`
/// (default 0), `max_files` (default 1000, at most 10,000), `max_bytes`, `open_files` (default
/// `false`: what somebody has open for writing stays).
///
/// What is captured before the first attempt says how many files of how many bytes it means, names
/// the first twenty, and binds every attempt: nothing that was younger then is ever touched.
/// Only regular files whose names are UTF-8 go; links, pipes and other mounts stay, and no link is
/// followed. It cannot be taken back; [`RelocateFiles::aside`](super::RelocateFiles::aside) can.
#[derive(Debug)]
pub struct CleanFiles {
    spec: ActionSpec,
    roots: FileRoots,
}

impl CleanFiles {
    /// The action for files below `roots`.
    pub fn new(roots: FileRoots) -> Self {
        let mut params = params();
        params.push(
            Param::optional(
                "open_files",
                ParamKind::Bool,
                "also what somebody has open for writing",
            )
            .or(false),
        );
        let spec = ActionSpec::new("delete old files")
            .with_params(params)
            .with_effect(EffectClass::Idempotent)
            .with_risk(RiskLevel::Medium)
            .with_inverse(Inverse::Irreversible(
                "deleted files are gone; `move_aside` keeps them".to_owned(),
            ));
        Self { spec, roots }
    }
}

#[async_trait]
impl Action for CleanFiles {
    fn name(&self) -> &'static str {
        "clean_files"
    }

    fn spec(&self) -> &ActionSpec {
        &self.spec
    }

    fn check(&self, args: &Map<String, Value>) -> Vec<ArgumentProblem> {
        problems(&self.roots, args)
    }

    async fn capture(&self, cx: &Context, call: &ActionCall<'_>) -> Result<Value, ActionError> {
        capture(&self.roots, cx.clock().now(), call).await
    }

    async fn perform(&self, _: &Context, call: &ActionCall<'_>) -> Result<Value, ActionError> {
        let (path, selection) = (self.roots.path(call, "root")?, Selection::of(call)?);
        let (last, also_open) = (last(call)?, call.boolean("open_files")?);
        let work = move |stop: &Stop| {
            let root = open(&path)?;
            let choice = still_meant(&selection, (&path, &root), last.as_ref(), stop)?;
            let written = if also_open {
                OpenFiles::default()
            } else {
                OpenFiles::for_choice(&choice)?
            };
            let report = each(&root, &choice, &written, stop, |folder, file, _| {
                folder.remove(split(&file.path).1)?;
                Ok(Fate::Done(file.size))
            });
            report
                .map_err(|error| ActionError::transient("deleting", error))?
                .finish("deleting")
        };
        self.roots.run("deleting", work).await
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use homeostasis_core::Target;

    use serde_json::json;

    use super::super::testing::{Playground, later, perform};
    use super::*;
    use crate::action::laws;

    fn args(more: &Value) -> Value {
        let mut args = json!({"root": "tmp", "pattern": "*.tmp", "older_than": "1h"});
        let more = more.as_object().unwrap().clone();
        args.as_object_mut().unwrap().extend(more);
        args
    }

    #[tokio::test]
    async fn doing_it_twice_is_doing_it_once_and_the_bounds_hold() {
        let place = Playground::new();
        for idx in 0..9 {
            place.write(&format!("{idx}.tmp"), "12345678");
        }
        place.write("keep.log", "x");
        let action = CleanFiles::new(place.roots());
        let bounds = args(&json!({"max_files": 4, "keep_newest": 2}));
        laws::repeat_and_undo_in(&later(2), &action, &bounds, || place.tree()).await;
        assert_eq!(
            place.names(),
            ["4.tmp", "5.tmp", "6.tmp", "7.tmp", "8.tmp", "keep.log"]
        );
        let bytes = perform(&action, &later(2), &args(&json!({"max_bytes": 17})))
            .await
            .unwrap();
        assert_eq!((&bytes["done"], &bytes["bytes"]), (&json!(2), &json!(16)));
        let kept = perform(&action, &later(2), &args(&json!({"keep_newest": 2})))
            .await
            .unwrap();
        assert_eq!(kept["done"], 1);
        assert_eq!(place.names(), ["7.tmp", "8.tmp", "keep.log"]);
    }

    #[tokio::test]
    async fn what_is_young_small_open_or_elsewhere_stays() {
        let place = Playground::new();
        for name in ["a.tmp", "sub/b.tmp", "open.tmp"] {
            place.write(name, "0123456789");
        }
        place.write("small.tmp", "01234");
        let writer = fs::OpenOptions::new()
            .append(true)
            .open(place.path("open.tmp"))
            .unwrap();
        let action = CleanFiles::new(place.roots());
        let young = perform(&action, &later(0), &args(&json!({"recursive": true})))
            .await
            .unwrap();
        assert_eq!(young["done"], 0);
        let large = args(&json!({"larger_than": 5}));
        let output = perform(&action, &later(2), &large).await.unwrap();
        assert_eq!(
            (&output["first"], &output["open"]),
            (&json!(["a.tmp"]), &json!(1))
        );
        assert_eq!(place.names(), ["open.tmp", "small.tmp", "sub/b.tmp"]);
        let told = args(&json!({"larger_than": 5, "open_files": true, "recursive": true}));
        assert_eq!(perform(&action, &later(2), &told).await.unwrap()["done"], 2);
        drop(writer);
    }

    /// Nobody can make a file look old: the time of the last change of its rights counts too.
    #[tokio::test]
    async fn a_backdated_file_is_young() {
        let place = Playground::new();
        place.write("a.tmp", "x");
        let file = fs::File::options()
            .write(true)
            .open(place.path("a.tmp"))
            .unwrap();
        file.set_modified(std::time::UNIX_EPOCH).unwrap();
        drop(file);
        let action = CleanFiles::new(place.roots());
        let output = perform(&action, &later(0), &args(&json!({})))
            .await
            .unwrap();
        assert_eq!(output["done"], 0);
        assert_eq!(place.names(), ["a.tmp"]);
    }

    #[tokio::test]
    async fn what_changed_since_it_was_captured_stays() {
        let place = Playground::new();
        place.write("a.tmp", "x");
        place.write("b.tmp", "x");
        let action = CleanFiles::new(place.roots());
        let (cx, mut args) = (later(2), args(&json!({})).as_object().unwrap().clone());
        action.spec().fill_defaults(&mut args);
        let (target, key) = (Target::service("x").unwrap(), laws::key(0));
        let call = ActionCall::new(&target, &args, &key);
        let captured = action.capture(&cx, &call).await.unwrap();
        assert_eq!(
            (&captured["files"], &captured["bytes"]),
            (&json!(2), &json!(2))
        );
        assert_eq!(captured["first"], json!(["a.tmp", "b.tmp"]));
        place.wait_for_another_time("b.tmp");
        place.write("a.tmp", "new");
        place.write("c.tmp", "new");
        let output = action
            .perform(&cx, &call.with_captured(&captured))
            .await
            .unwrap();
        assert_eq!(output["first"], json!(["b.tmp"]));
        assert_eq!(place.names(), ["a.tmp", "c.tmp"]);
    }

    /// A folder is a link to somebody else's every other moment.
    #[test]
    fn swapping_a_folder_for_a_link_gains_nothing() {
        let place = Playground::new();
        let outside = place.outside();
        let stop = AtomicBool::new(false);
        let (swapped, link) = (place.path("swap"), place.path("link"));
        let real = place.path("real");
        for idx in 0..40 {
            place.write(&format!("swap/{idx}.tmp"), "x");
        }
        symlink(outside.path(), &link).unwrap();
        let before = outside.tree();
        let action = CleanFiles::new(place.roots());
        let args = args(&json!({"recursive": true, "max_files": 1, "open_files": true}));
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let runtime = runtime.unwrap();
        let mut n_done = 0;
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::SeqCst) {
                    fs::rename(&swapped, &real).unwrap();
                    fs::rename(&link, &swapped).unwrap();
                    // Without a pause its reader would find the folder changed for ever.
                    std::thread::sleep(Duration::from_micros(200));
                    fs::rename(&swapped, &link).unwrap();
                    fs::rename(&real, &swapped).unwrap();
                    std::thread::sleep(Duration::from_micros(200));
                }
            });
            for _ in 0..100 {
                let output = runtime.block_on(perform(&action, &later(2), &args));
                n_done += output.map_or(0, |output| output["done"].as_u64().unwrap());
            }
            stop.store(true, Ordering::SeqCst);
        });
        assert!(n_done > 0, "it never found a file");
        assert_eq!(outside.tree(), before);
    }

    /// The same at the worst moment: between choosing and deleting.
    #[test]
    fn a_folder_that_became_a_link_after_the_choice_is_not_entered() {
        let place = Playground::new();
        place.write("swap/canary.tmp", "canary.tmp");
        place.write("other.tmp", "x");
        let before = place.outside().tree();
        let args = args(&json!({"recursive": true}));
        let mut args = args.as_object().unwrap().clone();
        CleanFiles::new(place.roots()).spec.fill_defaults(&mut args);
        let (target, key) = (Target::service("x").unwrap(), laws::key(0));
        let call = ActionCall::new(&target, &args, &key);
        let selection = Selection::of(&call).unwrap();
        let root = open(&place.roots().path_of("tmp").unwrap()).unwrap();
        let stop = Stop::default();
        let choice = selection.choose(&root, i64::MAX, None, &stop).unwrap();
        assert_eq!(choice.files.len(), 2);
        fs::rename(place.path("swap"), place.path("real")).unwrap();
        symlink(place.outside().path(), place.path("swap")).unwrap();
        let report = each(
            &root,
            &choice,
            &OpenFiles::default(),
            &stop,
            |folder, file, _| {
                folder.remove(split(&file.path).1)?;
                Ok(Fate::Done(file.size))
            },
        );
        let output = report.unwrap().finish("deleting").unwrap();
        assert_eq!((&output["done"], &output["failed"]), (&json!(1), &json!(1)));
        assert_eq!(place.outside().tree(), before);
    }
}
