//! The folders a host lends to playbooks, and how work in them is run.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use homeostasis_core::{ConfigError, ErrorKind, Target};
use serde_json::{Map, Value};

use super::folder::Folder;
use crate::action::flag::new_name;
use crate::action::{ActionCall, ActionError, ArgumentProblem, unknown_name};

/// The folders below which playbooks may touch files, each under a name.
///
/// A playbook says the name and never the folder. A clone is the same set for another action; work
/// on one set is done by one action at a time.
///
/// # Examples
/// ```
/// use homeostasis::remediate::action::{CleanFiles, FileRoots};
///
/// let spool = std::env::temp_dir().join("homeostasis-doc-spool");
/// std::fs::create_dir_all(&spool)?;
/// let roots = FileRoots::default().root("spool", &spool)?;
/// let action = CleanFiles::new(roots);
/// assert!(FileRoots::default().root("all", "/").is_err());
/// # drop(action);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct FileRoots {
    roots: BTreeMap<String, PathBuf>,
    targets: BTreeMap<String, Target>,
    pub(super) all_writers_are_seen: bool,
    busy: Arc<Mutex<()>>,
}

impl FileRoots {
    /// The same with one folder more. Links in `path` are followed now, on the host's word, and
    /// never again: from here on a link anywhere in it is an error.
    ///
    /// # Errors
    /// If the name is taken or not a plain word, or the path is not absolute, is no folder, cannot
    /// be opened, or is `/`.
    pub fn root(
        mut self,
        name: impl Into<String>,
        path: impl AsRef<Path>,
    ) -> Result<Self, ConfigError> {
        let name = new_name("roots", name.into(), &self.roots)?;
        let path = path.as_ref();
        let refused = |expected: String| {
            ConfigError::single(format!("roots.{name}"), path.display(), expected)
        };
        if !path.is_absolute() {
            return Err(refused("an absolute path".to_owned()));
        }
        let real = path
            .canonicalize()
            .map_err(|error| refused(format!("a folder: {error}")))?;
        if !real.is_dir() {
            return Err(refused("a folder".to_owned()));
        }
        if real == Path::new("/") {
            return Err(refused("a folder below `/`".to_owned()));
        }
        Folder::open(&real).map_err(|error| refused(format!("a folder it may list: {error}")))?;
        self.roots.insert(name, real);
        Ok(self)
    }

    /// The same where a step below the root `name` touches `target`, whatever it is planned for: blast
    /// radius and the limits per target follow that.
    #[must_use]
    pub fn touching(mut self, name: impl Into<String>, target: Target) -> Self {
        self.targets.insert(name.into(), target);
        self
    }

    /// What a step touches that is planned for `planned`.
    pub(super) fn touched(&self, planned: &Target, root: Option<&str>) -> Target {
        let own = root.and_then(|name| self.targets.get(name));
        own.unwrap_or(planned).clone()
    }

    /// The same on the host's word that only processes write below these folders whose open files
    /// this process sees: its own user's, or all if it is root, in its own container.
    ///
    /// Without it, files stay while `/proc` has a process that does not show what it has open.
    /// Writers in other containers or on other machines that share a folder are never seen.
    #[must_use]
    pub fn all_writers_are_seen(mut self) -> Self {
        self.all_writers_are_seen = true;
        self
    }

    /// What is wrong with the name of a root.
    pub(super) fn problems(&self, args: &Map<String, Value>, param: &str) -> Vec<ArgumentProblem> {
        unknown_name(args, param, self.roots.keys())
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.roots.contains_key(name)
    }

    /// Where the root is that the argument `param` names.
    pub(super) fn path(&self, call: &ActionCall<'_>, param: &str) -> Result<PathBuf, ActionError> {
        self.path_of(call.text(param)?)
            .ok_or_else(|| ActionError::argument(param, "a registered root"))
    }

    pub(super) fn path_of(&self, name: &str) -> Option<PathBuf> {
        self.roots.get(name).cloned()
    }

    /// Runs `work` where it may block. When the future is dropped, `work` stops at its next file or
    /// piece of one, or never begins; nothing else of this set begins before it has ended.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        what: &str,
        work: impl FnOnce(&Stop) -> Result<T, ActionError> + Send + 'static,
    ) -> Result<T, ActionError> {
        let (busy, stop) = (Arc::clone(&self.busy), Stop::default());
        let _stop_when_dropped = StopWhenDropped(stop.clone());
        let waiting = format!("waiting to begin {what}");
        let worker = tokio::task::spawn_blocking(move || {
            let _alone = busy.lock().unwrap_or_else(PoisonError::into_inner);
            // Whoever waited for its turn until nobody waited for it does nothing.
            stop.check()
                .map_err(|error| ActionError::not_begun(waiting, ErrorKind::Transient, error))?;
            work(&stop)
        });
        worker
            .await
            .map_err(|error| ActionError::permanent(what, error))?
    }
}

/// Whether work shall stop because nobody waits for it any more.
#[derive(Debug, Clone, Default)]
pub(super) struct Stop(Arc<AtomicBool>);

impl Stop {
    pub(super) fn check(&self) -> io::Result<()> {
        if self.0.load(Ordering::Relaxed) {
            return Err(io::Error::other("its time is over"));
        }
        Ok(())
    }
}

struct StopWhenDropped(Stop);

impl Drop for StopWhenDropped {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::Relaxed);
    }
}

/// Opens a root before anything is touched.
pub(super) fn open(path: &Path) -> Result<Folder, ActionError> {
    Folder::open(path).map_err(|error| {
        let what = format!("opening {}", path.display());
        ActionError::not_begun(what, kind(&error), error)
    })
}

/// What may be done next after an error of a file system.
pub(super) fn kind(error: &io::Error) -> ErrorKind {
    match error.kind() {
        io::ErrorKind::Interrupted
        | io::ErrorKind::StorageFull
        | io::ErrorKind::QuotaExceeded
        | io::ErrorKind::ResourceBusy
        | io::ErrorKind::ExecutableFileBusy
        | io::ErrorKind::WouldBlock => ErrorKind::Transient,
        _ => ErrorKind::Permanent,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_is_a_folder_that_exists_and_not_everything() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        let roots = FileRoots::default().root("tmp", dir.path()).unwrap();
        for (name, path) in [
            ("a", Path::new("relative")),
            ("a", Path::new("/")),
            ("a", Path::new("/proc/..")),
            ("a", &dir.path().join("none")),
            ("a", &file),
            ("tmp", dir.path()),
            ("../a", dir.path()),
            ("-a", dir.path()),
        ] {
            let refusal = roots.clone().root(name, path).unwrap_err().to_string();
            assert!(refusal.contains("roots"), "{refusal}");
        }
    }

    #[tokio::test]
    async fn work_whose_future_is_dropped_stops_before_the_next_begins() {
        let roots = FileRoots::default();
        let (begun, mut has_begun) = tokio::sync::mpsc::unbounded_channel();
        let ended = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&ended);
        let mut first = Box::pin(roots.run("work", move |stop| {
            begun.send(()).unwrap();
            while stop.check().is_ok() {
                std::thread::yield_now();
            }
            ends.store(true, Ordering::SeqCst);
            Ok(())
        }));
        tokio::select! {
            _ = &mut first => panic!("it ended by itself"),
            _ = has_begun.recv() => {}
        }
        drop(first);
        let seen = Arc::clone(&ended);
        let after = roots.run("work", move |_| Ok(seen.load(Ordering::SeqCst)));
        assert!(after.await.unwrap());
    }

    #[test]
    fn a_root_of_another_service_is_touched_for_it() {
        let (orders, logs) = (
            Target::service("orders").unwrap(),
            Target::service("logs").unwrap(),
        );
        let roots = FileRoots::default().touching("logs", logs.clone());
        assert_eq!(roots.touched(&orders, Some("logs")), logs);
        assert_eq!(roots.touched(&orders, Some("tmp")), orders);
        let args = serde_json::json!({"root": "logs"});
        let action = crate::action::CompressFiles::new(roots);
        let touched = crate::action::Action::touches(&action, &orders, args.as_object().unwrap());
        assert_eq!(touched, logs);
    }

    #[tokio::test]
    #[expect(
        clippy::await_holding_lock,
        reason = "the work waits for it on a thread of its own"
    )]
    async fn work_given_up_before_its_turn_never_begins() {
        let roots = FileRoots::default();
        let turn = roots.busy.lock().unwrap();
        let began = Arc::new(AtomicBool::new(false));
        let begins = Arc::clone(&began);
        let mut queued = Box::pin(roots.run("work", move |_| {
            begins.store(true, Ordering::SeqCst);
            Ok(())
        }));
        let polled = std::future::poll_fn(|cx| std::task::Poll::Ready(queued.as_mut().poll(cx)));
        assert!(polled.await.is_pending());
        drop(queued);
        drop(turn);
        // Its thread holds a share of the lock until it has ended.
        while Arc::strong_count(&roots.busy) > 1 {
            std::thread::yield_now();
        }
        assert!(!began.load(Ordering::SeqCst));
    }
}
