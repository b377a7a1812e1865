//! A root with files in it, and a folder beside it that nobody may touch.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use homeostasis_core::{Context, IncidentId, ManualClock, Target};
use serde_json::Value;

use super::FileRoots;
use crate::action::{Action, ActionCall, ActionError, laws};

/// What stands below a folder: content, or where a link leads; with rights.
pub(crate) type Tree = BTreeMap<String, (u32, Vec<u8>)>;

pub(crate) struct Playground {
    dir: tempfile::TempDir,
    outside: Outside,
}

pub(crate) struct Outside(PathBuf);

fn tree(folder: &Path) -> Tree {
    fn walk(base: &Path, folder: &Path, tree: &mut Tree) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let found = fs::symlink_metadata(&path).unwrap();
            let name = path
                .strip_prefix(base)
                .unwrap()
                .to_string_lossy()
                .into_owned();
            let content = if found.is_symlink() {
                fs::read_link(&path)
                    .unwrap()
                    .into_os_string()
                    .into_encoded_bytes()
            } else if found.is_file() {
                fs::read(&path).unwrap()
            } else {
                Vec::new()
            };
            tree.insert(name, (found.mode(), content));
            if found.is_dir() {
                walk(base, &path, tree);
            }
        }
    }
    let mut found = Tree::new();
    walk(folder, folder, &mut found);
    found
}

impl Playground {
    pub(crate) fn new() -> Self {
        Self::beside(tempfile::tempdir().unwrap())
    }

    fn beside(dir: tempfile::TempDir) -> Self {
        let outside = Outside(dir.path().join("outside"));
        for folder in ["root", "store", "outside/sub"] {
            fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        for name in ["canary", "canary.tmp", "sub/canary.log"] {
            fs::write(outside.0.join(name), name).unwrap();
        }
        Self { dir, outside }
    }

    /// `tmp` is the root, `store` another one beside it.
    pub(crate) fn roots(&self) -> FileRoots {
        let roots = FileRoots::default();
        let roots = roots.root("tmp", self.dir.path().join("root")).unwrap();
        roots.root("store", self.dir.path().join("store")).unwrap()
    }

    pub(crate) fn outside(&self) -> &Outside {
        &self.outside
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join("root").join(name)
    }

    pub(crate) fn write(&self, name: &str, content: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// File systems count time in steps: waits until what is written now is newer than `name`.
    pub(crate) fn wait_for_another_time(&self, name: &str) {
        let changed = |path: &Path| {
            let found = fs::metadata(path).unwrap();
            (found.ctime(), found.ctime_nsec())
        };
        let (probe, before) = (self.dir.path().join("probe"), changed(&self.path(name)));
        loop {
            fs::write(&probe, "x").unwrap();
            if changed(&probe) > before {
                break;
            }
            std::thread::yield_now();
        }
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// Both roots.
    pub(crate) fn tree(&self) -> (Tree, Tree) {
        (
            tree(&self.dir.path().join("root")),
            tree(&self.dir.path().join("store")),
        )
    }

    /// The files of the root.
    pub(crate) fn names(&self) -> Vec<String> {
        let files = self.tree().0.into_iter();
        files
            .filter(|(_, (mode, _))| mode & 0o170_000 == 0o100_000)
            .map(|(name, _)| name)
            .collect()
    }
}

impl Outside {
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn tree(&self) -> Tree {
        tree(&self.0)
    }
}

/// So many hours from now: what was written just now is old then.
pub(crate) fn later(hours: u64) -> Context {
    let now = laws::context().clock().now() + Duration::from_secs(hours * 3600);
    Context::new(Arc::new(ManualClock::new(now)), 1).for_incident(IncidentId::from_u128(9))
}

/// One run of the action: arguments checked, captured, performed.
pub(crate) async fn perform(
    action: &dyn Action,
    cx: &Context,
    args: &Value,
) -> Result<Value, ActionError> {
    let mut args = args.as_object().unwrap().clone();
    action.spec().fill_defaults(&mut args);
    let mut problems = action.spec().problems(&args, false);
    problems.extend(action.check(&args));
    if let Some(problem) = problems.first() {
        return Err(ActionError::invalid(&problem.pointer, &problem.expected));
    }
    let (target, key) = (Target::service("orders").unwrap(), laws::key(0));
    let call = ActionCall::new(&target, &args, &key);
    let captured = action.capture(cx, &call).await?;
    action.perform(cx, &call.with_captured(&captured)).await
}
